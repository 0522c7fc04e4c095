//! The transports of the media plane, and who waits for what they report.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::client::{
    LocalTransport, MediaPlane, PerKind, PlaneError, PlaneEvent, TransportError, TransportId,
};

/// The plane, with its events handed to those they concern.
#[derive(Clone)]
pub struct Transports {
    plane: MediaPlane,
    progress: Arc<Mutex<HashMap<TransportId, watch::Sender<Progress>>>>,
}

/// How far a transport is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// When DTLS was done.
    pub connected: Option<Instant>,
    /// When the first media packet came.
    pub first_packet: Option<Instant>,
    /// Why it is of no use any more.
    pub failed: Option<TransportError>,
}

/// A transport of ours. It is closed when this is dropped.
pub struct Transport {
    /// What a description needs to say of it.
    pub local: LocalTransport,
    transports: Transports,
    progress: watch::Receiver<Progress>,
}

impl Transports {
    /// Takes over a plane that was started. Its events are handed on for as long as it runs.
    #[must_use]
    pub fn new(plane: MediaPlane, mut events: UnboundedReceiver<PlaneEvent>) -> Self {
        let transports = Self { plane, progress: Arc::default() };
        let progress = Arc::clone(&transports.progress);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                note(&locked(&progress), &event);
            }
        });
        transports
    }

    /// The plane itself.
    #[must_use]
    pub const fn plane(&self) -> &MediaPlane {
        &self.plane
    }

    /// A transport that knows no remote yet, and through which media of so many sources are to come.
    ///
    /// # Errors
    ///
    /// There is no socket for it.
    pub fn open(&self, expected: PerKind<u32>) -> Result<Transport, PlaneError> {
        let local = self.plane.open(expected)?;
        let (sender, progress) = watch::channel(Progress::default());
        locked(&self.progress).insert(local.id, sender);
        Ok(Transport { local, transports: self.clone(), progress })
    }
}

fn note(all: &HashMap<TransportId, watch::Sender<Progress>>, event: &PlaneEvent) {
    let change = |id: &TransportId, change: &dyn Fn(&mut Progress)| {
        if let Some(progress) = all.get(id) {
            progress.send_modify(change);
        }
    };
    match event {
        PlaneEvent::Connected { id, at } => change(id, &|progress| progress.connected = Some(*at)),
        PlaneEvent::FirstPacket { id, at, .. } => {
            change(id, &|progress| progress.first_packet = progress.first_packet.or(Some(*at)));
        }
        PlaneEvent::Failed { id, reason } => change(id, &|progress| progress.failed = Some(*reason)),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held; and a map with one entry too many would still be one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport {
    /// The plane it belongs to.
    #[must_use]
    pub const fn plane(&self) -> &MediaPlane {
        &self.transports.plane
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Waits for something it reports.
    ///
    /// # Errors
    ///
    /// It failed first.
    pub async fn until(
        &self,
        what: impl Fn(&Progress) -> Option<Instant>,
    ) -> Result<Instant, TransportError> {
        let mut progress = self.progress.clone();
        loop {
            let now = *progress.borrow_and_update();
            if let Some(at) = what(&now) {
                return Ok(at);
            }
            if let Some(failed) = now.failed {
                return Err(failed);
            }
            // The sender is kept until this transport is dropped.
            if progress.changed().await.is_err() {
                return Err(TransportError::Closed);
            }
        }
    }
}

impl Transport {
    /// Nothing comes or goes any more.
    pub fn close(&self) {
        if locked(&self.transports.progress).remove(&self.local.id).is_some() {
            self.transports.plane.close(self.local.id);
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.close();
    }
}
