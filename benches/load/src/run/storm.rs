//! All signaling sockets are cut at once, as when a proxy restarts; people come back by themselves while media flows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::Stage;
use super::measured::{Measured, Taken};
use super::members::Reasons;
use crate::clock;
use crate::measure::quantiles::{Milliseconds, milliseconds};
use crate::report::Storm;
use crate::server::{Participant, ServerError};

/// Waits before the tries to come back, as the protocol says; the last is that of all further ones.
const RETRY: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(5),
];
/// Who is not back by then is not counted on any more.
const PATIENCE: Duration = Duration::from_secs(60);

impl Stage<'_> {
    /// Cuts, and waits until all are back. The window begins with the cut, and lasts until then at least.
    pub(super) async fn storm(&self) -> (Measured, Storm) {
        let bar = self.run.bar(self.members.len() as u64, "coming back");
        let opened = self.open_window();
        let cut = clock::now();
        let taken = Taken::now(self.run.transports.plane());
        let mut reasons = Reasons::default();
        let mut back = FuturesUnordered::new();
        for member in self.members.iter() {
            if let Err(error) = member.participant.cut() {
                reasons.note(error.to_string());
            }
        }
        for member in self.members.iter() {
            back.push(come_back(Arc::clone(&member.participant), cut));
        }
        let mut times = Vec::new();
        loop {
            tokio::select! {
                () = self.run.stop.wished() => break,
                next = back.next() => match next {
                    Some(Ok(time)) => times.push(time),
                    Some(Err(error)) => reasons.note(error.to_string()),
                    None => break,
                },
            }
            bar.inc(1);
        }
        drop(back);
        self.series.note_late_with_people(taken.late_with_people(self.run.transports.plane()));
        bar.finish_and_clear();
        let rest = self.run.options.window.saturating_sub(clock::now().saturating_duration_since(cut));
        self.wait(rest, "measuring").await;
        let measured = self.close_window(opened).await;
        let is_complete = times.len() == self.members.len();
        let storm = Storm {
            cut: self.members.len(),
            back: times.len(),
            back_ms: Milliseconds::of(&times),
            all_back_ms: times.iter().max().filter(|_| is_complete).map(|time| milliseconds(*time)),
            reasons: reasons.list(),
        };
        (measured, storm)
    }
}

async fn come_back(participant: Arc<dyn Participant>, cut: Instant) -> Result<Duration, ServerError> {
    let mut waits = RETRY.iter().chain(std::iter::repeat(&RETRY[RETRY.len() - 1]));
    loop {
        tokio::time::sleep(*waits.next().unwrap_or(&RETRY[0])).await;
        let since = || clock::now().saturating_duration_since(cut);
        match participant.resume().await {
            Ok(()) => return Ok(since()),
            Err(error) if since() > PATIENCE => return Err(error),
            Err(ServerError::Unreachable { .. } | ServerError::Handshake(_) | ServerError::Late(_)) => {}
            Err(error) => return Err(error),
        }
    }
}
