//! Places for images that are being sent: each is held in memory until it is kept, so there are only so many, and no
//! caller has all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, timeout};

/// Images that are being sent at a time.
const PLACES: usize = 8;
/// Of these, how many one caller has.
const PLACES_OF_CALLER: usize = 3;
/// How long one waits for a place.
const WAIT: Duration = Duration::from_secs(2);

/// Gives the places.
#[derive(Debug)]
pub(super) struct Uploads {
    places: Arc<Semaphore>,
    /// Of those who have one or wait for one.
    callers: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// Room for one image, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _of_caller: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// No place became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many images are being sent at once")]
pub(crate) struct NoPlace;

impl Uploads {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), callers: Mutex::default() }
    }

    /// Waits for a place, and not for long.
    pub(super) async fn place(&self, caller: &str) -> Result<Place, NoPlace> {
        let of_caller = self.of_caller(caller);
        let both = async {
            // Their own first: who has enough does not stand in the way of others.
            let _of_caller = of_caller.acquire_owned().await.map_err(|_| NoPlace)?;
            let _of_all = Arc::clone(&self.places).acquire_owned().await.map_err(|_| NoPlace)?;
            Ok(Place { _of_caller, _of_all })
        };
        timeout(WAIT, both).await.unwrap_or(Err(NoPlace))
    }

    fn of_caller(&self, caller: &str) -> Arc<Semaphore> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = callers.get(caller).and_then(Weak::upgrade) {
            return known;
        }
        // Permits keep theirs alive: what is gone has nobody.
        callers.retain(|_, known| known.strong_count() > 0);
        let places = Arc::new(Semaphore::new(PLACES_OF_CALLER));
        callers.insert(caller.to_owned(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slow_uploads_of_one_caller_leave_places_for_others() {
        let uploads = Uploads::new();
        let mut held = Vec::new();
        for _ in 0..PLACES_OF_CALLER {
            held.push(uploads.place("slow").await.unwrap());
        }
        let begun = Instant::now();
        assert_eq!(uploads.place("slow").await.unwrap_err(), NoPlace);
        assert_eq!(begun.elapsed().as_secs(), WAIT.as_secs());
        drop(uploads.place("other").await.unwrap());
        held.pop();
        held.push(uploads.place("slow").await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_place_for_long() {
        let uploads = Uploads::new();
        let mut held = Vec::new();
        for number in 0..PLACES {
            held.push(uploads.place(&number.to_string()).await.unwrap());
        }
        assert_eq!(uploads.place("late").await.unwrap_err(), NoPlace);
        held.pop();
        held.push(uploads.place("late").await.unwrap());
        held.clear();
        drop(uploads.place("next").await.unwrap());
        assert_eq!(uploads.callers.lock().unwrap().len(), 1, "who has no place is forgotten");
    }
}
