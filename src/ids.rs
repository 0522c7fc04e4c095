//! Where new identifiers come from: the operating system's randomness, which the domain asks to be given.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use vestibule_domain::EventId;

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
            aws_lc_rs::rand::fill(&mut bytes).expect("the operating system has randomness");
            bytes
        })
    }

    /// From `random`.
    pub(crate) fn from_fn(random: impl Fn() -> [u8; 10] + Send + Sync + 'static) -> Self {
        Self { random: Arc::new(random) }
    }

    /// Random bytes for an identifier of the domain.
    pub(crate) fn bytes(&self) -> [u8; 10] {
        (self.random)()
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
