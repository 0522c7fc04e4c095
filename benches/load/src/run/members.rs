//! Those who came: how they came in, how long it took, and that they leave.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::{Run, Stop};
use crate::measure::quantiles::{Milliseconds, milliseconds};
use crate::report::{Joins, Reason};
use crate::scenario::{Person, Role};
use crate::server::{Admission, Participant, Server, ServerError};

/// Who is in and hears nothing for so long is as good as out.
const FIRST_PACKET: Duration = Duration::from_secs(15);
/// How many leave at once.
const LEAVE_AT_ONCE: usize = 32;
/// Bars of the plot of join times.
const BARS: usize = 30;

/// All who came at the beginning.
#[derive(Default)]
pub(super) struct Members {
    all: Vec<Member>,
    wanted: usize,
    most: usize,
    failed: usize,
    lost_later: usize,
    connected: Vec<Duration>,
    first_packet: Vec<Duration>,
    reasons: Reasons,
}

/// Somebody who is in.
#[derive(Clone)]
pub(super) struct Member {
    /// The number of their room.
    pub(super) room: u32,
    /// What they are there.
    pub(super) role: Role,
    /// They themselves.
    pub(super) participant: Arc<dyn Participant>,
}

/// What went wrong, and how often.
#[derive(Default)]
pub(super) struct Reasons(BTreeMap<String, usize>);

/// How somebody came in.
pub(super) struct Joined {
    pub(super) participant: Arc<dyn Participant>,
    /// From the token until the transport was connected.
    pub(super) connected: Duration,
    /// From the token until the first packet of somebody else, where somebody sent already.
    pub(super) first_packet: Option<Result<Duration, ServerError>>,
}

impl Members {
    /// Lets people come, one after another at the rate of the run. Who is first in a room comes before the others: it
    /// is the provider, who lets them in.
    pub(super) async fn ramp(
        &mut self,
        run: &Run,
        people: &[&Person],
        admission: Admission,
        bar: &ProgressBar,
    ) {
        let mut interval = tokio::time::interval(Duration::from_secs_f64(1.0 / run.options.ramp));
        interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut doors: HashMap<u32, watch::Receiver<Option<bool>>> = HashMap::new();
        let mut coming = JoinSet::new();
        let mut left_to_come = people.iter();
        self.wanted += people.len();
        loop {
            tokio::select! {
                () = run.stop.wished() => break,
                Some(done) = coming.join_next(), if !coming.is_empty() => self.came(done, bar),
                _ = interval.tick() => {
                    let Some(&person) = left_to_come.next() else { break };
                    let door = doors.get(&person.room).cloned();
                    let opener = door.is_none().then(|| {
                        let (opener, door) = watch::channel(None);
                        doors.insert(person.room, door);
                        opener
                    });
                    let (server, stop) = (Arc::clone(&run.server), run.stop.clone());
                    coming.spawn(come_in(server, person.clone(), admission, door, opener, stop));
                }
            }
        }
        while let Some(done) = coming.join_next().await {
            self.came(done, bar);
        }
    }

    fn came(
        &mut self,
        done: Result<(Person, Result<Joined, ServerError>), tokio::task::JoinError>,
        bar: &ProgressBar,
    ) {
        bar.inc(1);
        let (person, joined) = match done {
            Ok(done) => done,
            Err(error) => {
                self.failed += 1;
                return self.note(error.to_string());
            }
        };
        match joined {
            Ok(joined) => {
                self.connected.push(joined.connected);
                match joined.first_packet {
                    Some(Ok(time)) => self.first_packet.push(time),
                    Some(Err(error)) => {
                        self.failed += 1;
                        self.note(format!("in, but nothing came: {error}"));
                    }
                    None => {}
                }
                self.all.push(Member {
                    room: person.room,
                    role: person.role,
                    participant: joined.participant,
                });
                self.most = self.most.max(self.all.len());
            }
            Err(error) => {
                self.failed += 1;
                self.note(error.to_string());
            }
        }
    }

    /// How many are in.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many were in at once.
    pub(super) fn most_at_once(&self) -> usize {
        self.most
    }

    /// How many did not get in.
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// How many of those who are in have a transport that is of no use any more.
    pub(super) fn broken(&self) -> usize {
        self.all.iter().filter(|member| member.participant.failure().is_some()).count()
    }

    /// Those who are in.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.all.iter()
    }

    /// Something went wrong.
    pub(super) fn note(&mut self, reason: String) {
        self.reasons.note(reason);
    }

    /// Everybody leaves; the providers last, since the room ends with them.
    pub(super) async fn leave(&mut self, bar: &ProgressBar) {
        for member in &self.all {
            if let Some(failure) = member.participant.failure() {
                self.lost_later += 1;
                self.reasons.note(failure);
            }
        }
        let (providers, others): (Vec<_>, Vec<_>) =
            self.all.drain(..).partition(|member| member.role == Role::Provider);
        for group in [others, providers] {
            stream::iter(group)
                .for_each_concurrent(LEAVE_AT_ONCE, |member| async move {
                    member.participant.leave().await;
                    bar.inc(1);
                })
                .await;
        }
    }

    /// How they came, for the report.
    pub(super) fn joins(&self) -> Joins {
        Joins {
            wanted: self.wanted,
            joined: self.connected.len(),
            failed: self.failed,
            reasons: self.reasons.list(),
            connected_ms: Milliseconds::of(&self.connected),
            first_packet_ms: Milliseconds::of(&self.first_packet),
            lost_later: self.lost_later,
        }
    }

    /// How long they took, for a plot: upper bound in milliseconds, and how many.
    pub(super) fn histogram(&self) -> Vec<(f64, f64)> {
        histogram(&self.connected)
    }
}

#[expect(clippy::cast_precision_loss, reason = "bars and people are few")]
fn histogram(times: &[Duration]) -> Vec<(f64, f64)> {
    let Some(longest) = times.iter().max() else { return Vec::new() };
    let width = (milliseconds(*longest) / BARS as f64).max(f64::MIN_POSITIVE);
    let mut bars = vec![0.0; BARS];
    for time in times {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        let index = (milliseconds(*time) / width).ceil() as usize;
        bars[index.clamp(1, BARS) - 1] += 1.0;
    }
    bars.into_iter().enumerate().map(|(index, count)| ((index as f64 + 1.0) * width, count)).collect()
}

impl Reasons {
    /// One more.
    pub(super) fn note(&mut self, reason: String) {
        *self.0.entry(reason).or_default() += 1;
    }

    /// Most frequent first.
    pub(super) fn list(&self) -> Vec<Reason> {
        let mut list: Vec<_> =
            self.0.iter().map(|(reason, &count)| Reason { reason: reason.clone(), count }).collect();
        list.sort_by_key(|one| std::cmp::Reverse(one.count));
        list
    }
}

async fn come_in(
    server: Arc<dyn Server>,
    person: Person,
    admission: Admission,
    door: Option<watch::Receiver<Option<bool>>>,
    opener: Option<watch::Sender<Option<bool>>>,
    stop: Stop,
) -> (Person, Result<Joined, ServerError>) {
    let is_first = opener.is_some();
    if let Some(mut door) = door {
        // Who had to open it may be gone with it.
        let opened = door.wait_for(Option::is_some).await.is_ok_and(|opened| *opened == Some(true));
        if !opened {
            return (
                person,
                Err(ServerError::Environment("the first of their room did not get in".to_owned())),
            );
        }
    }
    let hears_at_once = !is_first && admission == Admission::AtOnce;
    let joined = join(server.as_ref(), &person, admission, hears_at_once, &opener, &stop).await;
    if let Some(opener) = opener {
        opener.send_if_modified(|opened| opened.replace(joined.is_ok()).is_none());
    }
    (person, joined)
}

/// Brings one person in, and waits for their first packet if somebody sends already.
async fn join(
    server: &dyn Server,
    person: &Person,
    admission: Admission,
    hears_at_once: bool,
    opener: &Option<watch::Sender<Option<bool>>>,
    stop: &Stop,
) -> Result<Joined, ServerError> {
    let participant: Arc<dyn Participant> = Arc::from(server.join(person, admission).await?);
    if let Some(opener) = opener {
        opener.send_replace(Some(true));
    }
    let connected = participant.connected_after();
    let first_packet = if hears_at_once && (person.hears > 0 || person.sees > 0) {
        first_packet(participant.as_ref(), stop).await
    } else {
        None
    };
    Ok(Joined { participant, connected, first_packet })
}

/// The time from the token until the first packet; nothing if it is to end before.
pub(super) async fn first_packet(
    participant: &dyn Participant,
    stop: &Stop,
) -> Option<Result<Duration, ServerError>> {
    let first = tokio::select! {
        first = tokio::time::timeout(FIRST_PACKET, participant.first_packet()) => first,
        () = stop.wished() => return None,
    };
    let first = first.unwrap_or(Err(ServerError::Late("a first packet")));
    Some(first.map(|at| at.saturating_duration_since(participant.started())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_reason_stands_first() {
        let mut reasons = Reasons::default();
        for reason in ["late", "closed", "late"] {
            reasons.note(reason.to_owned());
        }
        let list: Vec<_> = reasons.list().into_iter().map(|one| (one.reason, one.count)).collect();
        assert_eq!(list, [("late".to_owned(), 2), ("closed".to_owned(), 1)]);
    }

    #[test]
    fn each_join_is_in_one_bar() {
        let times: Vec<_> = (1..=60).map(Duration::from_millis).collect();
        let bars = histogram(&times);
        assert_eq!(bars.len(), BARS);
        assert!(bars.iter().all(|(_, count)| (count - 2.0).abs() < f64::EPSILON), "{bars:?}");
        assert!((bars[BARS - 1].0 - 60.0).abs() < 1e-6);
        assert_eq!(histogram(&[]), []);
        assert!((histogram(&[Duration::ZERO])[0].1 - 1.0).abs() < f64::EPSILON);
    }
}
