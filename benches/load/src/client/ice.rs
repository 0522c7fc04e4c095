//! Connectivity checks (RFC 8445) and consent (RFC 7675) of one transport with one local candidate.
//!
//! A controlling agent checks all candidates until one answers, nominates that one, and goes on asking it for consent. A
//! controlled one answers checks and takes the path the other nominates, as a lite agent does: that is all a server needs
//! that offers.

use std::net::SocketAddr;

use vestibule_media_core::sdp::IceParameters;
use vestibule_media_core::stun::{self, IntegrityKey, MESSAGE_BYTES_MAX, Message};

/// How often a check is repeated until the path is there.
pub(super) const CHECK_MICROS: u64 = 50_000;
/// How often consent is asked for.
pub(super) const CONSENT_MICROS: u64 = 2_500_000;
/// How long a path is looked for, and how long consent lasts.
const EXPIRY_MICROS: u64 = 30_000_000;
/// Host, as libwebrtc tells it for a peer-reflexive candidate (RFC 8445 section 7.1.1).
const PRIORITY: u32 = 1_845_501_695;
/// Checks that may be under way.
const PENDING_MAX: usize = 16;

/// A check that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Check {
    id: [u8; 12],
    to: SocketAddr,
    nominates: bool,
    sent_at: u64,
}

/// What a message led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing new.
    None,
    /// A candidate answered: nominate it at once.
    Valid,
    /// The path is chosen.
    Selected(SocketAddr),
}

/// One agent.
#[derive(Debug)]
pub(super) struct Agent {
    local: IceParameters,
    remote: IceParameters,
    local_key: IntegrityKey,
    remote_key: IntegrityKey,
    controlling: bool,
    candidates: Vec<SocketAddr>,
    /// The first that answered.
    valid: Option<SocketAddr>,
    selected: Option<SocketAddr>,
    pending: Vec<Check>,
    next_id: u64,
    salt: u32,
    heard_at: u64,
    /// The last round trip, in µs.
    pub(super) rtt_micros: u64,
}

/// A message to send.
pub(super) type Outgoing<'a> = &'a mut dyn FnMut(&[u8], SocketAddr);

impl Agent {
    pub(super) fn new(
        local: IceParameters,
        remote: IceParameters,
        candidates: Vec<SocketAddr>,
        controlling: bool,
        now: u64,
        salt: u32,
    ) -> Self {
        Self {
            local_key: IntegrityKey::new(&local.pwd),
            remote_key: IntegrityKey::new(&remote.pwd),
            local,
            remote,
            controlling,
            candidates,
            valid: None,
            selected: None,
            pending: Vec::new(),
            next_id: 0,
            salt,
            heard_at: now,
            rtt_micros: 100_000,
        }
    }

    /// Other credentials on the same path.
    pub(super) fn restart(&mut self, local: IceParameters, remote: IceParameters, now: u64) {
        self.local_key = IntegrityKey::new(&local.pwd);
        self.remote_key = IntegrityKey::new(&remote.pwd);
        (self.local, self.remote) = (local, remote);
        self.pending.clear();
        self.heard_at = now;
    }

    /// Whether nothing was heard for so long that the path is taken for lost.
    pub(super) const fn has_expired(&self, now: u64) -> bool {
        now.saturating_sub(self.heard_at) > EXPIRY_MICROS
    }

    /// Sends the checks that are due: to the path, or to all candidates while there is none.
    pub(super) fn check(&mut self, now: u64, send: Outgoing<'_>) {
        if !self.controlling {
            return;
        }
        match self.selected.or(self.valid) {
            Some(path) => self.send_check(path, true, now, send),
            None => {
                for at in 0..self.candidates.len() {
                    self.send_check(self.candidates[at], false, now, send);
                }
            }
        }
    }

    fn send_check(&mut self, to: SocketAddr, nominates: bool, now: u64, send: Outgoing<'_>) {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.salt.to_be_bytes());
        id[4..].copy_from_slice(&self.next_id.to_be_bytes());
        self.next_id += 1;
        let mut out = [0; MESSAGE_BYTES_MAX * 2];
        let (local, remote, key) = (&self.local.ufrag, &self.remote.ufrag, &self.remote_key);
        let len = stun::write_binding_request(&mut out, &id, local, remote, nominates, PRIORITY, key);
        if self.pending.len() == PENDING_MAX {
            self.pending.remove(0);
        }
        self.pending.push(Check { id, to, nominates, sent_at: now });
        send(&out[..len], to);
    }

    /// Takes a STUN message that came from `from`.
    pub(super) fn handle(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: u64,
        send: Outgoing<'_>,
    ) -> Progress {
        match stun::parse(datagram) {
            Ok(Message::BindingRequest(request)) => {
                if request.verify(&self.local_key).is_err() {
                    return Progress::None;
                }
                let mut out = [0; MESSAGE_BYTES_MAX];
                let id = &request.transaction_id;
                let len = stun::write_binding_success(&mut out, id, from, &self.local_key);
                send(&out[..len], from);
                self.heard_at = now;
                if !self.controlling && request.use_candidate && self.selected.is_none() {
                    self.selected = Some(from);
                    return Progress::Selected(from);
                }
                Progress::None
            }
            Ok(Message::Response(response)) => {
                let found = self.pending.iter().position(|check| check.id == response.transaction_id);
                let Some(at) = found.filter(|_| response.verify(&self.remote_key).is_ok()) else {
                    return Progress::None;
                };
                let check = self.pending.remove(at);
                if !response.success {
                    return Progress::None;
                }
                self.heard_at = now;
                self.rtt_micros = now.saturating_sub(check.sent_at);
                self.answered(check)
            }
            _ => Progress::None,
        }
    }

    fn answered(&mut self, check: Check) -> Progress {
        if check.nominates && self.selected.is_none() {
            self.selected = Some(check.to);
            return Progress::Selected(check.to);
        }
        if self.valid.is_none() {
            self.valid = Some(check.to);
            return Progress::Valid;
        }
        Progress::None
    }
}
