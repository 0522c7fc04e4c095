//! What streams of server-sent events have in common (WHATWG HTML, section 9.2): how long one lasts, and how many a caller
//! has at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::http::problem::ApiError;

/// How long a stream lasts; then the client comes again.
pub(super) const STREAM_LIFE: Duration = Duration::from_secs(15 * 60);
/// A word now and then, so that no proxy takes the stream for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Streams of one caller at a time.
const STREAMS_EACH_MAX: usize = 8;

/// How many streams each caller has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

/// The right to one stream, given back when it ends.
#[derive(Debug)]
pub(super) struct Seat {
    streams: Streams,
    caller: String,
}

impl Streams {
    pub(super) fn take(&self, caller: &str) -> Result<Seat, ApiError> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(caller.to_owned()).or_default();
        if *count >= STREAMS_EACH_MAX {
            return Err(ApiError::TooOften { wait_s: KEEP_ALIVE.as_secs() });
        }
        *count += 1;
        drop(open);
        Ok(Seat { streams: self.clone(), caller: caller.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.caller);
            }
        }
    }
}
