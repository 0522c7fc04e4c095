//! The queues in front of providers: a patient's position is their place in the queue of the provider's desk.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;
use vestibule_domain::{ProviderRef, SessionId, TenantId};

/// A desk: one provider's queue at one clinic.
pub(super) type Desk = (TenantId, ProviderRef);

/// All queues that somebody waits in.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<HashMap<Desk, Queue>>);

/// Who waits at one desk, first come first.
#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<(Timestamp, SessionId), watch::Sender<u32>>,
}

impl Queues {
    /// Puts a session's patient into a queue; the receiver tells their position from now on, from 1.
    pub(super) fn enter(&self, desk: &Desk, since: Timestamp, session: SessionId) -> watch::Receiver<u32> {
        let (sender, receiver) = watch::channel(0);
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(desk.clone()).or_default();
        queue.waiting.insert((since, session), sender);
        queue.number();
        receiver
    }

    /// Takes a session's patient out.
    pub(super) fn leave(&self, desk: &Desk, since: Timestamp, session: SessionId) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queues.get_mut(desk) else { return };
        queue.waiting.remove(&(since, session));
        queue.number();
        if queue.waiting.is_empty() {
            queues.remove(desk);
        }
    }
}

impl Queue {
    fn number(&self) {
        for (position, sender) in (1..).zip(self.waiting.values()) {
            sender.send_if_modified(|told| std::mem::replace(told, position) != position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_follow_the_order_of_coming_and_move_up() {
        let queues = Queues::default();
        let tenant = TenantId::new(Timestamp::UNIX_EPOCH, [0; 10]);
        let desk = (tenant, "dr-a".parse().unwrap());
        let other_desk = (tenant, "dr-b".parse().unwrap());
        let session = |n| SessionId::new(Timestamp::UNIX_EPOCH, [n; 10]);
        let at = |second| Timestamp::from_second(second).unwrap();
        let second = queues.enter(&desk, at(20), session(2));
        let first = queues.enter(&desk, at(10), session(1));
        let elsewhere = queues.enter(&other_desk, at(30), session(3));
        assert_eq!((*first.borrow(), *second.borrow(), *elsewhere.borrow()), (1, 2, 1));
        queues.leave(&desk, at(10), session(1));
        assert_eq!(*second.borrow(), 1);
        queues.leave(&desk, at(20), session(2));
        queues.leave(&other_desk, at(30), session(3));
        assert!(queues.0.lock().unwrap().is_empty());
    }
}
