//! The sequencer: gives events that were committed their positions in the feeds, one at a time for all servers on a
//! database, and tells those who wait for news.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::store::Store;

/// Events that get their positions in one transaction.
const BATCH: u32 = 500;
/// How often it is looked without being told: another server, or a command beside this one, may have written.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The pause after the store did not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// The way to the sequencer. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    written: Arc<Notify>,
    /// Counts the batches that got positions.
    grown: watch::Sender<u64>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self { written: Arc::new(Notify::new()), grown: watch::Sender::new(0) }
    }

    /// What a writer tells of each change.
    pub(crate) fn written(&self) -> Arc<Notify> {
        Arc::clone(&self.written)
    }

    /// Something was written.
    pub(crate) fn tell(&self) {
        self.written.notify_one();
    }

    /// Changes when a feed may have grown.
    pub(crate) fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// A feed has grown.
    pub(crate) fn nudge(&self) {
        self.grown.send_modify(|count| *count += 1);
    }

    /// Lives as long as the server.
    pub(crate) async fn run(self, store: Store) {
        loop {
            match store.sequence(BATCH).await {
                Ok(0) => {
                    // Told or not, it looks again.
                    drop(timeout(LOOK_AGAIN, self.written.notified()).await);
                }
                Ok(_) => self.nudge(),
                Err(error) => {
                    tracing::error!(%error, "events got no positions in the feeds; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
