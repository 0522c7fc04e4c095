//! One-time links: whoever holds one sets the account's password. For a new colleague, for one who is locked out, and for
//! the first administrator.

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::Actor;

use super::session::{begin, begun_since};
use super::{Accounts, Asked, Crowded, NewPassword, Secret, SignedIn, WeakPassword};
use crate::config::PublicUrl;
use crate::store::{OneTimeLink, PasswordChange, StaffAccount, Store, StoreError};

/// How long a link is good, if it is not used.
pub(super) const LINK_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// A link that was just made. What it says is kept nowhere.
#[derive(Clone, Debug)]
pub(crate) struct NewLink {
    secret: Secret,
    pub(crate) expires_at: Timestamp,
}

/// Why a link sets no password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Used, replaced by a newer one, too old, of a disabled account, or never there.
    #[error("this link is not good, or not any more")]
    NotGood,
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    #[error(transparent)]
    Crowded(#[from] Crowded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NewLink {
    /// One made now, and what is kept of it.
    pub(crate) fn fresh(now: Timestamp) -> (Self, OneTimeLink) {
        let secret = Secret::fresh();
        let expires_at = now.checked_add(LINK_LIFE).unwrap_or(Timestamp::MAX);
        let kept = OneTimeLink { hash: secret.hash(), created_at: now, expires_at };
        (Self { secret, expires_at }, kept)
    }

    /// Makes one for an account, in the place of the one it has.
    pub(crate) async fn make(
        store: &Store,
        account: &StaffAccount,
        actor: Actor,
        asked: &Asked,
    ) -> Result<Self, StoreError> {
        let (link, kept) = Self::fresh(asked.now);
        store.replace_link(account.id, kept, asked.beside(actor, "staff.link_made", account)).await?;
        Ok(link)
    }

    /// To be handed to its owner, and to nobody else.
    pub(crate) fn url(&self, origin: &PublicUrl) -> String {
        setup_url(origin, &self.secret)
    }
}

/// The token is in the fragment: no server and no proxy sees it in an address.
fn setup_url(origin: &PublicUrl, secret: &Secret) -> String {
    format!("{origin}/setup#{}", secret.reveal())
}

impl Accounts {
    /// Whose link it is. Changes nothing.
    pub(crate) async fn look_at_link(
        &self,
        store: &Store,
        token: &str,
        now: Timestamp,
    ) -> Result<(OneTimeLink, StaffAccount), LinkError> {
        let secret = Secret::parse(token).ok_or(LinkError::NotGood)?;
        store.link(secret.hash(), now).await?.ok_or(LinkError::NotGood)
    }

    /// Sets the password and signs its owner in. All their other sessions end, and a lock is off.
    pub(crate) async fn use_link(
        &self,
        store: &Store,
        token: &str,
        password: String,
        asked: &Asked,
    ) -> Result<SignedIn, LinkError> {
        let (link, account) = self.look_at_link(store, token, asked.now).await?;
        let password = self.hash(NewPassword::parse(password, &account.login)?).await?;
        let (secret, session) = begin(asked.now);
        let change =
            PasswordChange { account: account.id, password, session, sessions_since: begun_since(asked.now) };
        let beside = asked.beside(account.id.actor(), "staff.password_set", &account);
        if store.use_link(link.hash, change, beside).await? {
            return Ok(SignedIn { account, secret });
        }
        // Used by somebody else a moment ago.
        Err(LinkError::NotGood)
    }
}
