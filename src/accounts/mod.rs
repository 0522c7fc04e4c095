//! Accounts of a clinic's own staff, for clinics with no integration that signs people in: who they are, their passwords,
//! what they are signed in with, and one-time links.
//!
//! It knows the store and no HTTP; times are arguments.

mod attempts;
mod first;
mod id;
mod link;
mod login;
mod password;
mod secret;
mod session;
mod sign_in;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use vestibule_domain::Actor;

pub(crate) use attempts::Attempts;
pub(crate) use first::{invite_first_admins, print_link};
pub(crate) use id::{ApiKeyId, StaffAccountId};
pub(crate) use link::{LinkError, NewLink};
pub(crate) use login::LoginName;
pub(crate) use password::{Crowded, NewPassword, PasswordHash, WeakPassword};
pub(crate) use secret::{Secret, SecretHash};
pub(crate) use session::{SESSION_LIFE, whose};
pub(crate) use sign_in::{ChangeError, SignInError, SignedIn};

use crate::store::{AuditEntry, Beside, StaffAccount};
use attempts::UnknownNames;
use password::Hasher;

/// What signing in needs besides the store: turns for the slow hash, and the names that have no account.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    hasher: Hasher,
    unknown: UnknownNames,
}

/// When something is asked for, and by which request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) now: Timestamp,
    pub(crate) request: Option<String>,
}

impl Asked {
    /// What goes beside a change of an account: the line of the audit.
    pub(crate) fn beside(&self, actor: Actor, action: &'static str, account: &StaffAccount) -> Beside {
        self.beside_all(vec![self.line(actor, action, account)])
    }

    /// The same with the lines that are given.
    pub(crate) fn beside_all(&self, audit: Vec<AuditEntry>) -> Beside {
        Beside { request: self.request.clone(), audit, ..Beside::default() }
    }

    /// A line of the audit about an account.
    pub(crate) fn line(&self, actor: Actor, action: &'static str, account: &StaffAccount) -> AuditEntry {
        AuditEntry {
            tenant: account.tenant,
            at: self.now,
            actor,
            action: action.into(),
            subject_kind: "staff",
            subject: account.id.to_string(),
            session: None,
        }
    }
}
