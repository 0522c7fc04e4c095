//! Desks: who waits for each provider, in order, and whether somebody sees to them. A session's task puts its patient here,
//! and hears of their position; a desk's page hears of all who wait. Nobody is asked again and again: what is different is
//! pushed, and whoever is slow sees the last of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;
use vestibule_domain::{ProviderRef, SessionId, TenantId};
use vestibule_signaling::Waits;

/// A desk: one provider's queue at one clinic.
pub(crate) type Desk = (TenantId, ProviderRef);

/// All desks that anybody is at.
#[derive(Clone, Debug, Default)]
pub(super) struct Desks(Arc<Mutex<HashMap<Desk, AtDesk>>>);

/// What there is of one desk.
#[derive(Debug)]
struct AtDesk {
    sessions: BTreeMap<SessionId, Stand>,
    /// Those who look on, and of them those who may let people in.
    watchers: usize,
    attendants: usize,
    seen: watch::Sender<Arc<Seen>>,
}

/// How one session stands to its desk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stand {
    waits: Option<Waits>,
    scheduled_start: Option<Timestamp>,
    provider_present: bool,
}

/// A desk as it is seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// First come first.
    pub(crate) waiting: Vec<Waiting>,
    /// Whether somebody looks at the desk who may let people in, or a provider is in one of its sessions.
    pub(crate) attended: bool,
}

/// Somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) session: SessionId,
    pub(crate) scheduled_start: Option<Timestamp>,
    pub(crate) who: Waits,
}

impl Desks {
    /// A session's place at its desk, as long as it has a task. Nobody waits yet.
    pub(super) fn join(&self, desk: Desk, session: SessionId) -> Place {
        let seen = self.at(&desk, |at| {
            at.sessions.insert(session, Stand::default());
            at.seen.subscribe()
        });
        Place { desks: self.clone(), desk, session, seen }
    }

    /// A look at a desk. By who may let people in it is attended as long as they look.
    pub(super) fn watch(&self, desk: Desk, attends: bool) -> Watch {
        let seen = self.at(&desk, |at| {
            at.watchers += 1;
            at.attendants += usize::from(attends);
            at.seen.subscribe()
        });
        Watch { desks: self.clone(), desk, attends, seen }
    }

    /// Does something at a desk, tells those who look on what it led to, and forgets a desk that nobody is at.
    fn at<T>(&self, desk: &Desk, change: impl FnOnce(&mut AtDesk) -> T) -> T {
        let mut desks = self.lock();
        let at = desks.entry(desk.clone()).or_insert_with(AtDesk::new);
        let done = change(at);
        at.tell();
        if at.sessions.is_empty() && at.watchers == 0 {
            desks.remove(desk);
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Desk, AtDesk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AtDesk {
    fn new() -> Self {
        Self { sessions: BTreeMap::new(), watchers: 0, attendants: 0, seen: watch::Sender::default() }
    }

    fn tell(&self) {
        let seen = self.look();
        self.seen.send_if_modified(|told| {
            let differs = **told != seen;
            if differs {
                *told = Arc::new(seen);
            }
            differs
        });
    }

    fn look(&self) -> Seen {
        let waiting = self.sessions.iter().filter_map(|(session, stand)| {
            let who = stand.waits.clone()?;
            Some(Waiting { session: *session, scheduled_start: stand.scheduled_start, who })
        });
        let mut waiting: Vec<Waiting> = waiting.collect();
        waiting.sort_by_key(|waiting| (waiting.who.since, waiting.session));
        let attended = self.attendants > 0 || self.sessions.values().any(|stand| stand.provider_present);
        Seen { waiting, attended }
    }
}

/// A session's place at its desk; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    desks: Desks,
    desk: Desk,
    session: SessionId,
    seen: watch::Receiver<Arc<Seen>>,
}

impl Place {
    /// The patient waits, or does not.
    pub(super) fn set_waiting(&self, waits: Option<Waits>) {
        self.change(|stand| stand.waits = waits);
    }

    /// What else there is to know of the session.
    pub(super) fn set_facts(&self, scheduled_start: Option<Timestamp>, provider_present: bool) {
        self.change(|stand| {
            stand.scheduled_start = scheduled_start;
            stand.provider_present = provider_present;
        });
    }

    /// The patient's position from 1, and whether somebody sees to the desk: now.
    pub(super) fn look(&mut self) -> (Option<u32>, bool) {
        let seen = self.seen.borrow_and_update();
        let found = (1..).zip(&seen.waiting).find(|(_, waiting)| waiting.session == self.session);
        (found.map(|(position, _)| position), seen.attended)
    }

    /// Ready when [`Self::look`] may give something else.
    pub(super) async fn changed(&mut self) {
        // The sender lives as long as this place does.
        let _ = self.seen.changed().await;
    }

    fn change(&self, change: impl FnOnce(&mut Stand)) {
        let mut desks = self.desks.lock();
        let at = desks.get_mut(&self.desk);
        let Some(at) = at else { return };
        let Some(stand) = at.sessions.get_mut(&self.session) else { return };
        let before = stand.clone();
        change(stand);
        if *stand != before {
            at.tell();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.desks.at(&self.desk, |at| at.sessions.remove(&self.session));
    }
}

/// A look at a desk.
#[derive(Debug)]
pub(crate) struct Watch {
    desks: Desks,
    desk: Desk,
    attends: bool,
    seen: watch::Receiver<Arc<Seen>>,
}

impl Watch {
    pub(crate) fn look(&mut self) -> Arc<Seen> {
        Arc::clone(&self.seen.borrow_and_update())
    }

    /// Ready when [`Self::look`] gives something else.
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as this does.
        let _ = self.seen.changed().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.desks.at(&self.desk, |at| {
            at.watchers -= 1;
            at.attendants -= usize::from(self.attends);
        });
    }
}

#[cfg(test)]
mod tests {
    use vestibule_domain::ParticipantId;

    use super::*;

    fn desk(name: &str) -> Desk {
        (TenantId::new(Timestamp::UNIX_EPOCH, [0; 10]), name.parse().unwrap())
    }

    fn session(number: u8) -> SessionId {
        SessionId::new(Timestamp::UNIX_EPOCH, [number; 10])
    }

    fn waits(number: u8, second: i64) -> Waits {
        Waits {
            participant: ParticipantId::new(Timestamp::UNIX_EPOCH, [number; 10]),
            name: format!("P{number}"),
            since: Timestamp::from_second(second).unwrap(),
            connected: true,
            new_device: false,
            provider_present: false,
        }
    }

    fn names(seen: &Seen) -> Vec<&str> {
        seen.waiting.iter().map(|waiting| &*waiting.who.name).collect()
    }

    #[test]
    fn positions_follow_the_order_of_coming_and_move_up() {
        let desks = Desks::default();
        let mut second = desks.join(desk("a"), session(2));
        let mut first = desks.join(desk("a"), session(1));
        let mut elsewhere = desks.join(desk("b"), session(3));
        second.set_waiting(Some(waits(2, 20)));
        assert_eq!(second.look(), (Some(1), false));
        first.set_waiting(Some(waits(1, 10)));
        elsewhere.set_waiting(Some(waits(3, 5)));
        assert_eq!((first.look().0, second.look().0, elsewhere.look().0), (Some(1), Some(2), Some(1)));
        first.set_waiting(None);
        assert_eq!((first.look().0, second.look().0), (None, Some(1)));
        first.set_waiting(Some(waits(1, 10)));
        drop(first);
        assert_eq!(second.look().0, Some(1), "who is gone waits no more");
        drop((second, elsewhere));
        assert!(desks.lock().is_empty(), "and nothing is kept of it");
    }

    #[test]
    fn a_desk_is_attended_while_somebody_looks_or_a_provider_is_there() {
        let desks = Desks::default();
        let mut one = desks.join(desk("a"), session(1));
        let other = desks.join(desk("a"), session(2));
        assert!(!one.look().1);
        other.set_facts(None, true);
        assert!(one.look().1, "in another session of it");
        other.set_facts(None, false);
        assert!(!one.look().1);
        let onlooker = desks.watch(desk("a"), false);
        assert!(!one.look().1, "who may let nobody in is of no use to those who wait");
        let watch = desks.watch(desk("a"), true);
        let elsewhere = desks.watch(desk("b"), true);
        assert!(one.look().1);
        drop(watch);
        assert!(!one.look().1);
        drop((one, other, onlooker, elsewhere));
        assert!(desks.lock().is_empty());
    }

    #[tokio::test]
    async fn who_looks_hears_of_what_is_different_and_of_nothing_else() {
        let desks = Desks::default();
        let mut watch = desks.watch(desk("a"), true);
        assert_eq!(*watch.look(), Seen { waiting: Vec::new(), attended: true });
        let place = desks.join(desk("a"), session(1));
        place.set_facts(None, false);
        assert!(!watch.seen.has_changed().unwrap(), "a session in which nobody waits is nothing new");
        place.set_waiting(Some(waits(1, 10)));
        watch.changed().await;
        assert_eq!(names(&watch.look()), ["P1"]);
        place.set_waiting(Some(waits(1, 10)));
        assert!(!watch.seen.has_changed().unwrap());
        place.set_waiting(Some(Waits { connected: false, ..waits(1, 10) }));
        place.set_facts(Some(Timestamp::UNIX_EPOCH), true);
        watch.changed().await;
        let seen = watch.look();
        assert_eq!(
            (seen.waiting[0].who.connected, seen.waiting[0].scheduled_start),
            (false, Some(Timestamp::UNIX_EPOCH)),
            "of several changes the last"
        );
        drop(place);
        watch.changed().await;
        assert_eq!(names(&watch.look()), [""; 0]);
    }
}
