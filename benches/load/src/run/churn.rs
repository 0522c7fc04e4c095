//! Patients who come and go beside calls that run.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;

use super::measured::Measured;
use super::members::{Reasons, first_packet};
use super::{Stage, Stop};
use crate::clock;
use crate::measure::quantiles::Milliseconds;
use crate::report::Churn;
use crate::scenario::{Person, Presence};
use crate::server::{Admission, Participant, Server, ServerError};

/// One who came and went again.
struct Visit {
    guest: Person,
    stayed: Result<Stay, ServerError>,
}

struct Stay {
    connected: Duration,
    first_packet: Option<Result<Duration, ServerError>>,
}

impl Stage<'_> {
    /// Lets them come and go for as long as is said; the window is that time.
    pub(super) async fn churn(
        &self,
        joins_per_second: f64,
        stay: Duration,
        duration: Duration,
    ) -> (Measured, Churn) {
        let people = self.plan.rooms.iter().flat_map(|room| &room.people);
        let mut free: VecDeque<Person> =
            people.filter(|person| person.presence == Presence::ComesAndGoes).cloned().collect();
        let mut interval = tokio::time::interval(Duration::from_secs_f64(1.0 / joins_per_second));
        interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let bar = self.run.bar(duration.as_secs(), "people come and go");
        let opened = self.open_window();
        let started = clock::now();
        let mut tally = Tally::default();
        let mut visits = JoinSet::new();
        while clock::now().saturating_duration_since(started) < duration {
            bar.set_position(clock::now().saturating_duration_since(started).as_secs());
            tokio::select! {
                () = self.run.stop.wished() => break,
                Some(visit) = visits.join_next(), if !visits.is_empty() => free.extend(tally.note(visit)),
                _ = interval.tick() => match free.pop_front() {
                    Some(guest) => {
                        let (server, stop) = (Arc::clone(&self.run.server), self.run.stop.clone());
                        visits.spawn(visit(server, guest, stay, stop));
                    }
                    None => tally.churn.skipped += 1,
                },
            }
        }
        let length = clock::now().saturating_duration_since(started);
        let measured = self.close_window(opened).await;
        bar.finish_and_clear();
        while let Some(visit) = visits.join_next().await {
            tally.note(visit);
        }
        (measured, tally.end(length))
    }
}

async fn visit(server: Arc<dyn Server>, guest: Person, stay: Duration, stop: Stop) -> Visit {
    let stayed = come_and_go(server.as_ref(), &guest, stay, &stop).await;
    Visit { guest, stayed }
}

async fn come_and_go(
    server: &dyn Server,
    guest: &Person,
    stay: Duration,
    stop: &Stop,
) -> Result<Stay, ServerError> {
    let participant: Box<dyn Participant> = server.join(guest, Admission::AtOnce).await?;
    let first_packet = first_packet(participant.as_ref(), stop).await;
    stop.sleep(stay).await;
    let failure = participant.failure();
    participant.leave().await;
    match failure {
        Some(failure) => Err(ServerError::Environment(failure)),
        None => Ok(Stay { connected: participant.connected_after(), first_packet }),
    }
}

#[derive(Default)]
struct Tally {
    churn: Churn,
    connected: Vec<Duration>,
    first_packet: Vec<Duration>,
    reasons: Reasons,
}

impl Tally {
    /// Counts one; the guest may come again.
    fn note(&mut self, visit: Result<Visit, JoinError>) -> Option<Person> {
        let visit = match visit {
            Ok(visit) => visit,
            // A mistake of ours; the guest is gone with it.
            Err(error) => {
                self.churn.failed += 1;
                self.reasons.note(error.to_string());
                return None;
            }
        };
        let stay = visit.stayed.and_then(|stay| {
            let first_packet = stay.first_packet.transpose()?;
            Ok((stay.connected, first_packet))
        });
        match stay {
            Ok((connected, first_packet)) => {
                self.churn.joined += 1;
                self.churn.left += 1;
                self.connected.push(connected);
                self.first_packet.extend(first_packet);
            }
            Err(error) => {
                self.churn.failed += 1;
                self.reasons.note(error.to_string());
            }
        }
        Some(visit.guest)
    }

    fn end(self, length: Duration) -> Churn {
        #[expect(clippy::cast_precision_loss, reason = "people are few")]
        let joins = self.churn.joined as f64;
        Churn {
            joins_per_second: (joins / length.as_secs_f64().max(1e-6) * 10.0).round() / 10.0,
            connected_ms: Milliseconds::of(&self.connected),
            first_packet_ms: Milliseconds::of(&self.first_packet),
            reasons: self.reasons.list(),
            ..self.churn
        }
    }
}
