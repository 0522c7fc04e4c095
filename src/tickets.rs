//! Connection tickets: what a join token is exchanged for when the person presses *join*. Each opens one socket, once.
//!
//! They live for a minute and in memory only; who loses theirs to a restart gets another.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use vestibule_domain::{ParticipantId, SessionId};

use crate::data_dir::fill_random;

const TICKET_BYTES: usize = 32;
/// How long a ticket is good for.
const LIFE: SignedDuration = SignedDuration::from_secs(60);
/// Tickets that are good at once, of all and of one participant: nobody can use them up for the others.
const TICKETS_MAX: usize = 10_000;
const TICKETS_EACH_MAX: usize = 4;

/// Whom a ticket lets in, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) session: SessionId,
    pub(crate) participant: ParticipantId,
    /// The token epoch of the participant when it was given.
    pub(crate) epoch: u32,
    /// Whoever took it had signed in as staff of the clinic, and may let people in there.
    pub(crate) vouched: bool,
}

/// All tickets that are good now, by their hash: a look at memory gives none away.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    by_hash: HashMap<[u8; 32], (Admission, Timestamp)>,
    /// Oldest first.
    by_participant: HashMap<ParticipantId, VecDeque<[u8; 32]>>,
}

/// There are as many tickets as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many people are joining at once")]
pub(crate) struct TooMany;

impl Tickets {
    /// A new ticket, and when it is of no use any more.
    pub(crate) fn issue(&self, now: Timestamp, admission: Admission) -> Result<(String, Timestamp), TooMany> {
        let mut bytes = [0; TICKET_BYTES];
        fill_random(&mut bytes);
        let ticket = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let expires_at = now.checked_add(LIFE).unwrap_or(Timestamp::MAX);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.make_room(now, admission.participant);
        if given.by_hash.len() >= TICKETS_MAX {
            return Err(TooMany);
        }
        let hash = hash(&ticket);
        given.by_hash.insert(hash, (admission, expires_at));
        given.by_participant.entry(admission.participant).or_default().push_back(hash);
        Ok((ticket, expires_at))
    }

    /// Takes a ticket: it is used up then.
    pub(crate) fn redeem(&self, now: Timestamp, ticket: &str) -> Option<Admission> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let (admission, expires_at) = given.take(&hash(ticket))?;
        (expires_at > now).then_some(admission)
    }
}

impl Given {
    /// Takes out the oldest ticket of somebody who has as many as they may, and what is of no use any more.
    fn make_room(&mut self, now: Timestamp, participant: ParticipantId) {
        let theirs = self.by_participant.get(&participant).map_or(0, VecDeque::len);
        if theirs >= TICKETS_EACH_MAX
            && let Some(oldest) =
                self.by_participant.get(&participant).and_then(|hashes| hashes.front().copied())
        {
            self.take(&oldest);
        }
        if self.by_hash.len() >= TICKETS_MAX {
            let old = self.by_hash.iter().filter(|(_, (_, expires_at))| *expires_at <= now);
            for hash in old.map(|(hash, _)| *hash).collect::<Vec<_>>() {
                self.take(&hash);
            }
        }
    }

    fn take(&mut self, hash: &[u8; 32]) -> Option<(Admission, Timestamp)> {
        let taken = self.by_hash.remove(hash)?;
        if let Entry::Occupied(mut theirs) = self.by_participant.entry(taken.0.participant) {
            theirs.get_mut().retain(|other| other != hash);
            if theirs.get().is_empty() {
                theirs.remove();
            }
        }
        Some(taken)
    }
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        Admission {
            session: SessionId::new(Timestamp::UNIX_EPOCH, [1; 10]),
            participant: ParticipantId::new(Timestamp::UNIX_EPOCH, [2; 10]),
            epoch: 0,
            vouched: false,
        }
    }

    #[test]
    fn a_ticket_is_good_once_and_for_a_minute() {
        let tickets = Tickets::default();
        let now = Timestamp::UNIX_EPOCH;
        let (ticket, expires_at) = tickets.issue(now, admission()).unwrap();
        assert_eq!(expires_at, now + LIFE);
        assert_eq!(tickets.redeem(now, "something else"), None);
        assert_eq!(tickets.redeem(expires_at - SignedDuration::from_nanos(1), &ticket), Some(admission()));
        assert_eq!(tickets.redeem(now, &ticket), None, "once");
        let (ticket, expires_at) = tickets.issue(now, admission()).unwrap();
        assert_eq!(tickets.redeem(expires_at, &ticket), None, "too late");
    }

    #[test]
    fn old_tickets_make_room_for_new_ones() {
        let tickets = Tickets::default();
        let now = Timestamp::UNIX_EPOCH;
        for number in 0..TICKETS_MAX {
            tickets.issue(now, admission_of(number)).unwrap();
        }
        assert_eq!(tickets.issue(now, admission_of(TICKETS_MAX)), Err(TooMany));
        assert!(tickets.issue(now + LIFE, admission_of(TICKETS_MAX)).is_ok());
        let given = tickets.given.lock().unwrap();
        assert_eq!((given.by_hash.len(), given.by_participant.len()), (1, 1));
    }

    #[test]
    fn one_participant_cannot_use_up_the_tickets_of_the_others() {
        let tickets = Tickets::default();
        let now = Timestamp::UNIX_EPOCH;
        let mut theirs = Vec::new();
        for _ in 0..2 * TICKETS_MAX {
            theirs.push(tickets.issue(now, admission()).unwrap().0);
        }
        let good = theirs.iter().filter(|ticket| tickets.redeem(now, ticket).is_some()).count();
        assert_eq!(good, TICKETS_EACH_MAX);
        assert!(tickets.given.lock().unwrap().by_participant.is_empty());
    }

    fn admission_of(number: usize) -> Admission {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Admission {
            participant: ParticipantId::new(Timestamp::from_second(number as i64).unwrap(), bytes),
            ..admission()
        }
    }
}
