//! The timers of sessions that nobody is in: every session reaches its end by its own timers, with or without visitors.

use tokio::time::{Duration, MissedTickBehavior, interval};

use crate::clock;
use crate::live::Registry;
use crate::store::Store;

/// How often the store is looked through.
const INTERVAL: Duration = Duration::from_secs(15);
/// Sessions woken at a time; the rest at the next look.
const SESSIONS_MAX: u32 = 200;

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
