//! Datagrams on their way in: demux, connectivity checks, DTLS up to the worker, consent.

use crate::address::TransportAddress;
use crate::api::{DisconnectReason, DtlsEvent, DtlsMessage, Event, PathChange, PeerId};
use crate::bounds::QUIET_AFTER;
use crate::demux::{DatagramKind, classify};
use crate::dtls_gate::GateVerdict;
use crate::keys::PeerKey;
use crate::peer::Transport;
use crate::sdp::Fingerprint;
use crate::sfu::Sfu;
use crate::slot::Slot;
use crate::srtp::{self, KeyingMaterial, SrtpRole};
use crate::stun::{self, BindingRequest, Message, StunError};
use crate::time::Time;
use crate::timers::Timer;

/// Room for any STUN answer of ours.
const STUN_ANSWER_BYTES_MAX: usize = stun::MESSAGE_BYTES_MAX;

impl Sfu {
    pub(crate) fn handle_datagram(&mut self, from: TransportAddress, bytes: &mut [u8], now: Time) {
        self.counters.datagrams_in += 1;
        let known = self.addresses.get(&from).copied();
        if known.is_none() && !self.unknown.admit(from.ip(), now) {
            self.counters.dropped_unknown_rate += 1;
            return;
        }
        match (classify(bytes), known) {
            (Some(DatagramKind::Stun), _) => self.handle_stun(from, bytes, now),
            (Some(DatagramKind::Rtp), Some(key)) => self.handle_rtp(key, bytes, now),
            (Some(DatagramKind::Rtcp), Some(key)) => self.handle_rtcp(key, bytes, now),
            (Some(DatagramKind::Dtls), Some(key)) => self.handle_dtls(key, bytes),
            (Some(_), None) => self.counters.dropped_unknown_address += 1,
            (None, _) => self.counters.dropped_unclassified += 1,
        }
    }

    // STUN (RFC 8489) for ICE-lite (RFC 8445)

    fn handle_stun(&mut self, from: TransportAddress, bytes: &[u8], now: Time) {
        match stun::parse(bytes) {
            Ok(Message::BindingRequest(request)) => self.handle_check(from, &request, now),
            // A lite agent asks nothing, so a response is nobody's; an indication keeps a NAT open and wants no answer.
            Ok(_) => {}
            Err(_) => self.counters.dropped_stun_malformed += 1,
        }
    }

    fn handle_check(&mut self, from: TransportAddress, request: &BindingRequest<'_>, now: Time) {
        let key =
            request.local_ufrag.try_into().ok().and_then(|ufrag| self.ufrags.get::<[u8; 8]>(&ufrag)).copied();
        // An address serves one peer at a time. A check proves who sent it and not from where, so whoever is there and
        // goes on checking stays (RFC 8445 section 19: a source address can be forged).
        let holder = self.addresses.get(&from).copied().filter(|&holder| Some(holder) != key);
        if holder.and_then(|holder| self.peers.get(holder)).is_some_and(|peer| peer.ice.holds(from, now)) {
            self.counters.dropped_address_held += 1;
            return;
        }
        let Some((key, peer)) = key.and_then(|key| Some((key, self.peers.get_mut(key)?))) else {
            self.counters.dropped_stun_username += 1;
            return;
        };
        let outcome = match peer.ice.handle_check(request, from, now) {
            Ok(outcome) => outcome,
            Err(StunError::Username) => {
                self.counters.dropped_stun_username += 1;
                return;
            }
            Err(_) => {
                self.counters.dropped_stun_integrity += 1;
                return;
            }
        };
        if peer.note_heard(now) {
            self.heard_again(key, now);
        }
        self.answer_check(key, from, request);
        if let Some(evicted) = outcome.evicted
            && self.addresses.get(&evicted) == Some(&key)
        {
            self.addresses.remove(&evicted);
        }
        if !outcome.accepted {
            return;
        }
        if self.addresses.insert(from, key).is_some_and(|before| before != key) {
            self.counters.addresses_taken_over += 1;
        }
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.timers.set(Timer::Ice, peer.ice.next_timeout());
        let id = peer.id;
        if outcome.roamed {
            peer.tx.path_changed(now);
            peer.rtt = None;
        }
        self.schedule(key);
        self.follow_path(key, now);
        if outcome.restarted {
            self.emit(Event::PathChanged { peer: id });
        }
    }

    fn answer_check(&mut self, key: PeerKey, from: TransportAddress, request: &BindingRequest<'_>) {
        let Some(integrity) = self.peers.get(key).and_then(|peer| peer.ice.key_of(request.local_ufrag))
        else {
            return;
        };
        let Some(out) = self.slab.begin(STUN_ANSWER_BYTES_MAX) else {
            self.counters.dropped_tx_full += 1;
            return;
        };
        let id = &request.transaction_id;
        let len = if request.unknown_required {
            self.counters.stun_refused += 1;
            stun::write_unknown_attributes(out, id, request.unknown_attributes(), integrity)
        } else if request.controlled {
            // We are lite, so the other side controls (RFC 8445 section 7.3.1.1).
            self.counters.stun_refused += 1;
            stun::write_binding_error(out, id, 487, integrity)
        } else {
            self.counters.stun_answered += 1;
            stun::write_binding_success(out, id, from.socket(), integrity)
        };
        self.slab.commit_direct(from, len);
    }

    pub(crate) fn ice_timeout(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let id = peer.id;
        let expiry = peer.ice.handle_timeout(now);
        if let Some(retired) = expiry.retired {
            self.ufrags.remove(&retired);
        }
        if expiry.restart_failed {
            self.emit(Event::RestartFailed { peer: id });
        }
        if expiry.consent_expired {
            self.disconnect(key, DisconnectReason::ConsentExpired);
        } else if let Some(peer) = self.peers.get_mut(key) {
            peer.timers.set(Timer::Ice, peer.ice.next_timeout());
        }
    }

    /// Something is different about a connection a peer opened.
    pub(crate) fn handle_path(&mut self, address: TransportAddress, change: PathChange, now: Time) {
        // Of one that is nobody's nothing is known.
        let Some(&key) = self.addresses.get(&address) else { return };
        let Some(peer) = self.peers.get_mut(key) else { return };
        match change {
            PathChange::Full => peer.ice.set_full(address, true),
            PathChange::Free => peer.ice.set_full(address, false),
            PathChange::Closed => {
                let another_way = peer.ice.close(address, now);
                if another_way {
                    peer.tx.path_changed(now);
                    peer.rtt = None;
                }
                self.addresses.remove(&address);
            }
        }
        self.follow_path(key, now);
    }

    /// Lets video wait while there is no way for it, or none that takes more. What has waited too long then begins anew, by
    /// the rules for a slow line.
    fn follow_path(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let (held, cut_off) = (peer.ice.is_held(), peer.ice.is_cut_off());
        if (held, cut_off) == (peer.tx.held, peer.tx.cut_off) {
            return;
        }
        self.counters.paths_full += u64::from(held && !peer.tx.held);
        (peer.tx.held, peer.tx.cut_off) = (held, cut_off);
        if held {
            // Without a pacer nothing can wait, and without a path nothing is worth it.
            if peer.tx.control.is_none() || cut_off {
                peer.slots.iter_mut().for_each(Slot::begin_anew);
            }
            return;
        }
        self.allocate(key, now);
        self.opened(key, now);
        self.pace(key, now);
    }

    // Silence

    /// A peer that was quiet was heard.
    #[cold]
    pub(crate) fn heard_again(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.quiet = false;
        peer.timers.set(Timer::Quiet, Some(now + QUIET_AFTER));
        let event = Event::Heard { peer: peer.id };
        self.schedule(key);
        self.emit(event);
        // Its connection may be good again, which is told once it has been for a while.
        self.report_later(key, now);
    }

    pub(crate) fn quiet_timeout(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let quiet_at = peer.heard_at + QUIET_AFTER;
        if now < quiet_at {
            peer.timers.set(Timer::Quiet, Some(quiet_at));
            return;
        }
        peer.quiet = true;
        let event = Event::Quiet { peer: peer.id };
        self.emit(event);
        self.watch(key, now);
    }

    // DTLS

    fn handle_dtls(&mut self, key: PeerKey, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.transport == Transport::Gone || peer.negotiated.is_none() {
            self.counters.dropped_dtls_gate += 1;
            return;
        }
        let id = peer.id;
        match peer.dtls.inspect(bytes) {
            GateVerdict::Hold => {}
            GateVerdict::Refuse(_) => self.counters.dropped_dtls_gate += 1,
            GateVerdict::Pass => {
                self.counters.dtls_passed += 1;
                self.emit_dtls(id, DtlsMessage::Datagram(bytes.to_vec()));
            }
            GateVerdict::ClientHello { datagram, profile } => {
                self.counters.dtls_passed += 1;
                self.emit_dtls(id, DtlsMessage::ClientHello { datagram, profile });
            }
        }
    }

    pub(crate) fn handle_dtls_event(&mut self, id: PeerId, event: DtlsEvent, now: Time) {
        let key = self.peer_ids.get(&id).copied();
        let Some((key, peer)) = key.and_then(|key| Some((key, self.peers.get_mut(key)?))) else {
            self.counters.stale_peer += 1;
            return;
        };
        if peer.transport == Transport::Gone {
            self.counters.stale_peer += 1;
            return;
        }
        match event {
            DtlsEvent::Transmit(datagram) => self.send_dtls(key, &datagram),
            DtlsEvent::Established { keys, fingerprint } => self.establish(key, &keys, &fingerprint, now),
            DtlsEvent::Failed => self.disconnect(key, DisconnectReason::DtlsFailed),
            DtlsEvent::Closed => self.disconnect(key, DisconnectReason::DtlsClosed),
        }
    }

    fn send_dtls(&mut self, key: PeerKey, datagram: &[u8]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(out) = self.slab.begin(datagram.len()) else {
            self.counters.dropped_tx_full += 1;
            return;
        };
        out.copy_from_slice(datagram);
        peer.dtls.sent(datagram);
        let was_empty = peer.tx.queue.is_empty();
        self.slab.commit(&mut peer.tx.queue, datagram.len());
        if was_empty {
            self.dirty.push(key);
        }
    }

    fn establish(&mut self, key: PeerKey, keys: &KeyingMaterial, fingerprint: &Fingerprint, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let expected = peer.negotiated.as_ref().map(|negotiated| &negotiated.terms.fingerprint);
        if expected != Some(fingerprint) {
            self.disconnect(key, DisconnectReason::FingerprintMismatch);
            return;
        }
        let Ok((sealer, opener)) = srtp::session(keys, SrtpRole::Server) else {
            self.disconnect(key, DisconnectReason::SrtpKeys);
            return;
        };
        peer.dtls.established();
        peer.tx.sealer = Some(sealer);
        peer.opener = Some(Box::new(opener));
        peer.profile = Some(keys.profile());
        peer.transport = Transport::Connected;
        peer.timers.set(Timer::Connect, None);
        peer.heard_at = now;
        peer.timers.set(Timer::Quiet, Some(now + QUIET_AFTER));
        let event = Event::Connected { peer: peer.id, profile: keys.profile() };
        self.schedule(key);
        self.emit(event);
        self.opened(key, now);
    }

    pub(crate) fn connect_timed_out(&mut self, key: PeerKey) {
        if self.peers.get(key).is_some_and(|peer| peer.transport == Transport::Connecting) {
            self.disconnect(key, DisconnectReason::ConnectTimeout);
        }
    }

    /// The transport is gone for good. The peer keeps its seats and stays silent until it is removed.
    pub(crate) fn disconnect(&mut self, key: PeerKey, reason: DisconnectReason) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.transport == Transport::Gone {
            return;
        }
        peer.transport = Transport::Gone;
        peer.tx.sealer = None;
        peer.opener = None;
        for timer in Timer::ALL {
            peer.timers.set(timer, None);
        }
        let id = peer.id;
        self.forget_addresses(key);
        self.stop_sources(key);
        self.emit_dtls(id, DtlsMessage::Forget);
        self.emit(Event::Disconnected { peer: id, reason });
    }

    /// Takes a peer out of the demux tables.
    pub(crate) fn forget_addresses(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get(key) else { return };
        for address in peer.ice.addresses() {
            if self.addresses.get(&address) == Some(&key) {
                self.addresses.remove(&address);
            }
        }
        for ufrag in peer.ice.ufrags() {
            self.ufrags.remove(&ufrag);
        }
    }
}
