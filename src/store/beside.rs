//! What goes into the transaction of a change without being the change: who asked for it in the words of the audit, the
//! answer that is kept for a repeated request, secrets.

use std::borrow::Cow;

use jiff::Timestamp;
use vestibule_domain::{Actor, TenantId};

/// What else a transaction writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// The request it came by, if it was one; kept with the events.
    pub(crate) request: Option<String>,
    /// What the audit says beyond the events.
    pub(crate) audit: Vec<AuditEntry>,
    /// The answer, for when the request comes again.
    pub(crate) idempotency: Option<IdempotencyRecord>,
    /// Secrets that are set, or cleared.
    pub(crate) secrets: Vec<SecretWrite>,
}

/// One line of the audit for what no event tells. Identifiers and codes; no name, no clinical text, no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditEntry {
    pub(crate) tenant: TenantId,
    pub(crate) at: Timestamp,
    pub(crate) actor: Actor,
    /// What was done, as in `token.issued`.
    pub(crate) action: Cow<'static, str>,
    /// What to: `session`, `participant`, `staff`, `api_key`, `async_visit`.
    pub(crate) subject_kind: &'static str,
    /// Which.
    pub(crate) subject: String,
    /// The session it is about, if it is about one.
    pub(crate) session: Option<String>,
}

/// An answer to be given again (Idempotency-Key). It may hold a credential, so it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdempotencyRecord {
    pub(crate) tenant: TenantId,
    /// Whose key it is: two callers may use the same.
    pub(crate) caller: String,
    pub(crate) key: String,
    /// SHA-256 of method, path and body.
    pub(crate) request_hash: Vec<u8>,
    pub(crate) status: u16,
    /// Headers and body.
    pub(crate) sealed_answer: Vec<u8>,
    pub(crate) created_at: Timestamp,
}

impl IdempotencyRecord {
    /// What [`StoreError::Exists`](super::StoreError::Exists) names when the key was used already.
    pub(crate) const TAKEN: &'static str = "the idempotency key";
}

/// What is known of a request that came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) request_hash: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) sealed_answer: Vec<u8>,
}

/// A secret that is set, or cleared where `sealed` is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretWrite {
    /// Which, as in `jitsi_jwt_secret` or `webhook/<id>`.
    pub(crate) name: String,
    /// The key it is sealed under, and what came of it.
    pub(crate) sealed: Option<(u32, Vec<u8>)>,
}

/// A secret as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedSecret {
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    /// The key it is sealed under.
    pub(crate) key_id: u32,
    pub(crate) sealed: Vec<u8>,
}

impl SealedSecret {
    /// What the secret of that name is sealed for: in another's place it does not open.
    pub(crate) fn purpose(tenant: TenantId, name: &str) -> String {
        format!("tenant/{tenant}/secret/{name}")
    }
}
