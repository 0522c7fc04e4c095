//! Patients who wait with warm transports are let in one after another.

use std::time::Duration;

use super::Stage;
use super::members::{Member, Reasons};
use crate::clock;
use crate::measure::quantiles::Milliseconds;
use crate::report::WaitingRoom;
use crate::scenario::Role;
use crate::server::ServerError;

/// Who sees nothing for so long after they were let in is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(10);

impl Stage<'_> {
    /// The next is let in when the one before sees something.
    pub(super) async fn let_in_one_by_one(&self) -> WaitingRoom {
        let mut times = Vec::new();
        let mut reasons = Reasons::default();
        let of = |role| self.members.iter().filter(move |member| member.role == role);
        let bar = self.run.bar(of(Role::Patient).count() as u64, "letting in");
        for patient in of(Role::Patient) {
            if self.run.stop.is_wished() {
                break;
            }
            let Some(provider) = of(Role::Provider).find(|provider| provider.room == patient.room) else {
                continue;
            };
            match let_in(provider, patient).await {
                Ok(time) => times.push(time),
                Err(error) => reasons.note(error.to_string()),
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        WaitingRoom {
            admitted: times.len(),
            first_packet_ms: Milliseconds::of(&times),
            reasons: reasons.list(),
        }
    }
}

async fn let_in(provider: &Member, patient: &Member) -> Result<Duration, ServerError> {
    let said = clock::now();
    let seen = async {
        // What the patient sees may come before the provider hears that it is done.
        let (done, seen) = tokio::join!(provider.participant.admit(), patient.participant.first_packet());
        done.and(seen)
    };
    let seen = tokio::time::timeout(PATIENCE, seen).await;
    let at = seen.unwrap_or(Err(ServerError::Late("a packet after the admission")))?;
    Ok(at.saturating_duration_since(said))
}
