//! Where new identifiers come from: the operating system's randomness, which the domain asks to be given.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use vestibule_domain::{EventId, ParticipantId, SessionId, TenantId, WebhookId};

use crate::accounts::{ApiKeyId, StaffAccountId};
use crate::data_dir::fill_random;

/// Ten bytes nobody foresees, each time anew.
type Random = dyn Fn() -> [u8; 10] + Send + Sync;

/// Makes identifiers. An argument of those who need some, so that a test can say which.
#[derive(Clone)]
pub(crate) struct Ids {
    random: Arc<Random>,
}

impl Ids {
    /// From the operating system.
    ///
    /// # Panics
    /// Later, when it has no randomness to give: nothing that a server does then would be safe.
    pub(crate) fn system() -> Self {
        Self::from_fn(|| {
            let mut bytes = [0; 10];
            fill_random(&mut bytes);
            bytes
        })
    }

    /// From `random`.
    pub(crate) fn from_fn(random: impl Fn() -> [u8; 10] + Send + Sync + 'static) -> Self {
        Self { random: Arc::new(random) }
    }

    /// Random bytes for an identifier of the domain.
    fn bytes(&self) -> [u8; 10] {
        (self.random)()
    }

    /// For a tenant made at `at`.
    pub(crate) fn tenant(&self, at: Timestamp) -> TenantId {
        TenantId::new(at, self.bytes())
    }

    /// For a session made at `at`.
    pub(crate) fn session(&self, at: Timestamp) -> SessionId {
        SessionId::new(at, self.bytes())
    }

    /// For a participant invited at `at`.
    pub(crate) fn participant(&self, at: Timestamp) -> ParticipantId {
        ParticipantId::new(at, self.bytes())
    }

    /// For an account made at `at`.
    pub(crate) fn staff_account(&self, at: Timestamp) -> StaffAccountId {
        StaffAccountId::new(at, self.bytes())
    }

    /// For an API key made at `at`.
    pub(crate) fn api_key(&self, at: Timestamp) -> ApiKeyId {
        ApiKeyId::new(at, self.bytes())
    }

    /// For a webhook endpoint made at `at`.
    pub(crate) fn webhook(&self, at: Timestamp) -> WebhookId {
        WebhookId::new(at, self.bytes())
    }

    /// For an event that happened at `at`.
    pub(crate) fn event(&self, at: Timestamp) -> EventId {
        EventId::new(at, self.bytes())
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ids")
    }
}
