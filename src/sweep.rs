//! What nobody else would see to: the timers of sessions that nobody is in, since every session reaches its end by its
//! own timers, and rooms on a video backend that no session has.

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, MissedTickBehavior, interval};

use crate::backends::{BackendError, Backends};
use crate::clock;
use crate::live::Registry;
use crate::store::{Store, StoreError};

/// How often the store is looked through.
const INTERVAL: Duration = Duration::from_secs(15);
/// Sessions woken at a time; the rest at the next look.
const SESSIONS_MAX: u32 = 200;
/// How often the backends are looked through.
const ROOMS_INTERVAL: Duration = Duration::from_secs(300);
/// A room this young may belong to a session that is just being written.
const ROOM_AGE: SignedDuration = SignedDuration::from_mins(10);
/// Rooms looked at in one go.
const ROOMS_MAX: usize = 500;

/// Wakes sessions whose time has come, and those that people are in: they were live when the server stopped, or could
/// not be had when somebody came. Those that are awake do not notice.
pub(crate) async fn run(store: Store, registry: Registry) {
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match store.live_sessions().await {
            Ok(live) => live.into_iter().for_each(|session| registry.wake(session)),
            Err(error) => tracing::error!(%error, "the sessions that are live could not be read"),
        }
        match store.due_sessions(clock::now(), SESSIONS_MAX).await {
            Ok(due) => due.into_iter().for_each(|session| registry.wake(session)),
            Err(error) => tracing::error!(%error, "the sessions whose time has come could not be read"),
        }
    }
}

/// Releases rooms without a session, now and then.
pub(crate) async fn run_rooms(store: Store, backends: Backends) {
    let mut tick = interval(ROOMS_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match release_orphans(&store, &backends, clock::now()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "rooms without a session were released"),
            Err(error) => tracing::warn!(%error, "rooms without a session may be left; it is looked again"),
        }
    }
}

/// Why the look was broken off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SweepError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Releases the rooms that were provisioned a while ago and that no session has which is not over; how many.
pub(crate) async fn release_orphans(
    store: &Store,
    backends: &Backends,
    now: Timestamp,
) -> Result<usize, SweepError> {
    let then = now.checked_sub(ROOM_AGE).unwrap_or(Timestamp::MIN);
    let mut released = 0;
    for (backend, port) in backends.iter() {
        let mut after = None;
        loop {
            let rooms = port.rooms(then, after.as_ref(), ROOMS_MAX).await?;
            let Some(last) = rooms.last().cloned() else { break };
            for room in store.rooms_without_session(backend, &rooms).await? {
                port.release(&room).await?;
                released += 1;
            }
            after = Some(last);
        }
    }
    Ok(released)
}
