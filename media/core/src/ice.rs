//! The ICE-lite agent of one peer (RFC 8445 section 2.5): answers checks, keeps the addresses they validated, and
//! chooses the one to send to. It never sends a check of its own.
//!
//! Two generations of credentials live side by side during a restart, and the old path is left only when the client
//! nominated one of the new generation: make before break.

use rand::{Rng, RngExt};

use crate::address::TransportAddress;
use crate::bounds::{
    ADDRESS_HELD, ADDRESSES_PER_PEER_MAX, CONSENT_EXPIRY, ICE_PREVIOUS_GENERATION, ICE_RESTART_TIMEOUT,
};
use crate::sdp::IceParameters;
use crate::stun::{BindingRequest, IntegrityKey, StunError};
use crate::time::Time;

/// Bytes of a username fragment of ours; its fixed length makes it a table key.
pub(crate) const UFRAG_BYTES: usize = 8;
const PWD_BYTES: usize = 24;

/// A username fragment of ours.
pub(crate) type LocalUfrag = [u8; UFRAG_BYTES];

/// One pair of credentials.
struct Generation {
    ufrag: LocalUfrag,
    pwd: String,
    key: IntegrityKey,
    remote_ufrag: Option<String>,
}

/// An address a check validated.
#[derive(Clone, Copy, Debug)]
struct Path {
    address: TransportAddress,
    last_check_at: Time,
    /// It is a connection that takes no more for now.
    full: bool,
}

pub(crate) struct IceAgent {
    current: Generation,
    current_number: u32,
    /// The generation before a restart, and when it ends; it has no end before the new one carried the switch.
    previous: Option<(Box<Generation>, Option<Time>)>,
    restart_deadline: Option<Time>,
    paths: Vec<Path>,
    selected: Option<Selected>,
    /// The connection in use has closed, and there was no other path.
    is_cut_off: bool,
    /// Some check was good: from then on they must go on.
    is_validated: bool,
    last_check_at: Time,
}

#[derive(Clone, Copy, Debug)]
struct Selected {
    address: TransportAddress,
    generation: u32,
    nominated: bool,
}

/// What a verified check means for the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckOutcome {
    /// The check is good and its address validated.
    pub(crate) accepted: bool,
    /// This address gave way to the new one.
    pub(crate) evicted: Option<TransportAddress>,
    /// Packets go by another way from now on, not only to another port of a NAT.
    pub(crate) roamed: bool,
    /// A restart is complete: the new generation was nominated.
    pub(crate) restarted: bool,
}

/// What time did to the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IceExpiry {
    pub(crate) consent_expired: bool,
    pub(crate) restart_failed: bool,
    /// This username fragment is no longer ours.
    pub(crate) retired: Option<LocalUfrag>,
}

impl IceAgent {
    pub(crate) fn new(rng: &mut impl Rng, now: Time) -> Self {
        Self {
            current: Generation::new(rng),
            current_number: 0,
            previous: None,
            restart_deadline: None,
            paths: Vec::new(),
            selected: None,
            is_cut_off: false,
            is_validated: false,
            last_check_at: now,
        }
    }

    // Getters

    /// The current credentials, for an answer.
    pub(crate) fn local(&self) -> IceParameters {
        self.current.parameters()
    }

    pub(crate) const fn local_ufrag(&self) -> LocalUfrag {
        self.current.ufrag
    }

    /// Every username fragment that is ours now.
    pub(crate) fn ufrags(&self) -> impl Iterator<Item = LocalUfrag> {
        [Some(self.current.ufrag), self.previous.as_ref().map(|(generation, _)| generation.ufrag)]
            .into_iter()
            .flatten()
    }

    /// Every validated address.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = TransportAddress> {
        self.paths.iter().map(|path| path.address)
    }

    /// Whether a check came from this address not long ago.
    pub(crate) fn holds(&self, address: TransportAddress, now: Time) -> bool {
        let path = self.paths.iter().find(|path| path.address == address);
        path.is_some_and(|path| now.since(path.last_check_at) < ADDRESS_HELD)
    }

    /// Where packets go.
    #[inline]
    pub(crate) fn selected(&self) -> Option<TransportAddress> {
        self.selected.map(|selected| selected.address)
    }

    /// Whether the connection in use has closed and there is no other path yet: nothing is to be sent to anybody.
    pub(crate) const fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Whether video has to wait: there is no path any more, or the one in use takes no more for now.
    pub(crate) fn is_held(&self) -> bool {
        self.is_cut_off || self.paths.iter().any(|path| path.full && Some(path.address) == self.selected())
    }

    /// The remote username fragment of the current generation.
    pub(crate) fn remote_ufrag(&self) -> Option<&str> {
        self.current.remote_ufrag.as_deref()
    }

    // Commands

    pub(crate) fn set_remote(&mut self, remote: &IceParameters) {
        self.current.remote_ufrag = Some(remote.ufrag.clone());
    }

    /// Begins a restart. Gives the username fragment that is no longer ours, if a restart was under way already.
    pub(crate) fn restart(
        &mut self,
        remote: &IceParameters,
        rng: &mut impl Rng,
        now: Time,
    ) -> Option<LocalUfrag> {
        let mut next = Generation::new(rng);
        next.remote_ufrag = Some(remote.ufrag.clone());
        let was_current = Box::new(std::mem::replace(&mut self.current, next));
        self.current_number += 1;
        self.restart_deadline = Some(now + ICE_RESTART_TIMEOUT);
        // With a restart under way, the generation whose path is in use stays; the one that never came up goes.
        match self.previous.take() {
            Some((in_use, None)) => {
                self.previous = Some((in_use, None));
                Some(was_current.ufrag)
            }
            Some((ending, Some(_))) => {
                self.previous = Some((was_current, None));
                Some(ending.ufrag)
            }
            None => {
                self.previous = Some((was_current, None));
                None
            }
        }
    }

    /// Takes a check in. `Err` if it is of neither generation or not authentic; nothing changed then.
    pub(crate) fn handle_check(
        &mut self,
        request: &BindingRequest<'_>,
        from: TransportAddress,
        now: Time,
    ) -> Result<CheckOutcome, StunError> {
        let (generation, number) = self.generation_of(request.local_ufrag).ok_or(StunError::Username)?;
        if generation.remote_ufrag.as_deref().is_some_and(|ufrag| ufrag.as_bytes() != request.remote_ufrag) {
            return Err(StunError::Username);
        }
        request.verify(&generation.key)?;
        if request.controlled || request.unknown_required {
            return Ok(CheckOutcome::default());
        }
        (self.last_check_at, self.is_validated) = (now, true);
        let mut outcome = CheckOutcome { accepted: true, ..CheckOutcome::default() };
        self.note_path(from, now, &mut outcome);
        self.select(from, number, request.use_candidate, now, &mut outcome);
        Ok(outcome)
    }

    /// A connection takes more, or takes no more.
    pub(crate) fn set_full(&mut self, address: TransportAddress, full: bool) {
        if let Some(path) = self.paths.iter_mut().find(|path| path.address == address) {
            path.full = full;
        }
    }

    /// A connection is gone. If it was in use, the path that was checked last is, unless consent for that has expired (RFC
    /// 7675). True if packets go by another way now.
    pub(crate) fn close(&mut self, address: TransportAddress, now: Time) -> bool {
        self.paths.retain(|path| path.address != address);
        let Some(closed) = self.selected.take_if(|selected| selected.address == address) else {
            return false;
        };
        let alive = self.paths.iter().filter(|path| now.since(path.last_check_at) < CONSENT_EXPIRY);
        self.selected = alive.max_by_key(|path| path.last_check_at).map(|path| Selected {
            address: path.address,
            nominated: false,
            ..closed
        });
        self.is_cut_off = self.selected.is_none();
        self.selected().is_some_and(|other| other.is_another_way(&address))
    }

    /// The key that answers a request of this username fragment.
    pub(crate) fn key_of(&self, local_ufrag: &[u8]) -> Option<&IntegrityKey> {
        self.generation_of(local_ufrag).map(|(generation, _)| &generation.key)
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) -> IceExpiry {
        let mut expiry = IceExpiry {
            consent_expired: self.is_validated && now >= self.last_check_at + CONSENT_EXPIRY,
            ..IceExpiry::default()
        };
        if self.restart_deadline.is_some_and(|deadline| now >= deadline) {
            self.restart_deadline = None;
            expiry.restart_failed = true;
        }
        if let Some((generation, Some(end))) = &self.previous
            && now >= *end
        {
            expiry.retired = Some(generation.ufrag);
            self.previous = None;
        }
        expiry
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let consent = self.is_validated.then(|| self.last_check_at + CONSENT_EXPIRY);
        let previous = self.previous.as_ref().and_then(|(_, end)| *end);
        [consent, self.restart_deadline, previous].into_iter().flatten().min()
    }

    // Helpers

    fn generation_of(&self, local_ufrag: &[u8]) -> Option<(&Generation, u32)> {
        if self.current.ufrag == local_ufrag {
            return Some((&self.current, self.current_number));
        }
        let (previous, _) = self.previous.as_ref()?;
        (previous.ufrag == local_ufrag).then(|| (&**previous, self.current_number.wrapping_sub(1)))
    }

    fn note_path(&mut self, from: TransportAddress, now: Time, outcome: &mut CheckOutcome) {
        if let Some(path) = self.paths.iter_mut().find(|path| path.address == from) {
            path.last_check_at = now;
            return;
        }
        if self.paths.len() >= ADDRESSES_PER_PEER_MAX {
            let selected = self.selected();
            let oldest = (0..self.paths.len())
                .filter(|&i| Some(self.paths[i].address) != selected)
                .min_by_key(|&i| self.paths[i].last_check_at);
            if let Some(oldest) = oldest {
                outcome.evicted = Some(self.paths.swap_remove(oldest).address);
            }
        }
        self.paths.push(Path { address: from, last_check_at: now, full: false });
    }

    /// RFC 8445 section 8.1.1: the nominated pair is used; until there is one, the first valid pair carries DTLS.
    fn select(
        &mut self,
        from: TransportAddress,
        generation: u32,
        nominated: bool,
        now: Time,
        outcome: &mut CheckOutcome,
    ) {
        let better = match self.selected {
            None => true,
            Some(old) if old.address == from && old.generation == generation => {
                if nominated {
                    self.selected = Some(Selected { nominated: true, ..old });
                }
                false
            }
            // A straggler of the generation before the restart must not pull the path back.
            Some(old) => nominated && generation >= old.generation,
        };
        if better {
            outcome.roamed =
                self.is_cut_off || self.selected().is_some_and(|before| before.is_another_way(&from));
            self.is_cut_off = false;
            self.selected = Some(Selected { address: from, generation, nominated });
        }
        let carried = self.selected.is_some_and(|s| s.generation == self.current_number && s.nominated);
        // However late: a restart reported as failed that comes up all the same is complete then.
        if carried && let Some((_, end @ None)) = &mut self.previous {
            *end = Some(now + ICE_PREVIOUS_GENERATION);
            self.restart_deadline = None;
            outcome.restarted = true;
        }
    }
}

impl Generation {
    fn new(rng: &mut impl Rng) -> Self {
        // RFC 8445 section 5.3 asks for 24 and 128 bits of randomness; 64 letters give 48 and 144.
        let mut ufrag = LocalUfrag::default();
        ufrag.fill_with(|| ice_char(rng));
        let pwd: String = (0..PWD_BYTES).map(|_| char::from(ice_char(rng))).collect();
        Self { ufrag, key: IntegrityKey::new(&pwd), pwd, remote_ufrag: None }
    }

    fn parameters(&self) -> IceParameters {
        IceParameters { ufrag: self.ufrag.iter().copied().map(char::from).collect(), pwd: self.pwd.clone() }
    }
}

/// A character of RFC 8839's `ice-char`.
fn ice_char(rng: &mut impl Rng) -> u8 {
    const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    CHARS[rng.random_range(0..CHARS.len())]
}
