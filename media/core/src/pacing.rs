//! What leaves when the pacer lets it, and probes.

use crate::api::{CommandError, Event, PeerId};
use crate::bounds::{LINE_TEST_EXPIRY, RTT_DEFAULT};
use crate::congestion::ESTIMATE_MAX_BPS;
use crate::downlink::Egress;
use crate::feedback::media_left;
use crate::keys::PeerKey;
use crate::pacer::{Next, Repair};
use crate::peer::Peer;
use crate::sfu::Sfu;
use crate::slot::Slot;
use crate::time::Time;
use crate::timers::Timer;

/// How far back what is sent once more may be: what is much older receivers take for a stream that began anew.
const FILLER_BACK_MAX: u64 = 32;

impl Sfu {
    /// Lets what waited for a subscriber leave, as much as may now.
    pub(crate) fn pace(&mut self, key: PeerKey, now: Time) {
        let mut switched = None;
        let control = self.peers.get_mut(key).and_then(|peer| peer.tx.control.as_mut());
        if control.is_some_and(|control| control.take_drained(now)) {
            self.want_keyframes_for(key, now);
        }
        if let Some(peer) = self.peers.get_mut(key) {
            if !peer.is_open() {
                if let Some(control) = &mut peer.tx.control {
                    control.pacer.clear();
                    control.probe = None;
                }
                return;
            }
            if peer.tx.held {
                return;
            }
            let rtt = peer.rtt_or_default();
            let Peer { slots, tx, timers, .. } = peer;
            let was_empty = tx.queue.is_empty();
            while let Some(next) = tx.control.as_mut().and_then(|control| control.next(now)) {
                let came_at = match next {
                    Next::Offer(offer) => offer.at,
                    Next::Repair(_) => now,
                };
                let mut egress =
                    Egress { slab: &mut self.slab, tx, counters: &mut self.counters, now, came_at };
                match next {
                    Next::Repair(Repair { slot, sequence }) => {
                        slots[slot as usize].retransmit(sequence, &self.sources, rtt, &mut egress);
                    }
                    Next::Offer(offer) => {
                        let Some(source) = self.sources.get(offer.source) else { continue };
                        let slot = &mut slots[offer.slot as usize];
                        if slot.on_packet(offer.source, source, offer.encoding, offer.index, &mut egress) {
                            switched = Some(offer.source);
                        }
                    }
                }
            }
            if was_empty && !tx.queue.is_empty() {
                self.dirty.push(key);
                media_left(key, tx, timers, &mut self.timers, now);
            }
        }
        if let Some(source) = switched {
            self.update_wanted(source, now);
        }
        self.send_probe(key, now);
        self.ask_for_feedback(key, now);
        self.pace_later(key, now);
    }

    /// Sends one small packet to somebody who says nothing of all that is on its way, if that is due.
    fn ask_for_feedback(&mut self, key: PeerKey, now: Time) {
        let Some(Peer { slots, tx, .. }) = self.peers.get_mut(key) else { return };
        if !tx.control.as_mut().is_some_and(|control| control.asks(now)) {
            return;
        }
        let was_empty = tx.queue.is_empty();
        let mut egress = Egress { slab: &mut self.slab, tx, counters: &mut self.counters, now, came_at: now };
        if let Some(slot) = slots.iter_mut().find(|slot| slot.can_fill()) {
            slot.send_filler(0, true, &self.sources, &mut egress);
        }
        if was_empty && !tx.queue.is_empty() {
            self.dirty.push(key);
        }
    }

    /// Sends what is due of a probe.
    fn send_probe(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let rtt = peer.round_trip(now).unwrap_or(RTT_DEFAULT);
        let Peer { slots, tx, timers, .. } = peer;
        let was_empty = tx.queue.is_empty();
        // Once more what was shown last, in the slot that shows most; where nothing is, padding.
        let filler = slots
            .iter_mut()
            .filter(|slot| slot.can_fill())
            .max_by_key(|slot| (slot.shown().is_some(), slot.sent.payload_bytes));
        let Some(filler) = filler else {
            if let Some(control) = &mut tx.control {
                control.probe = None;
            }
            return;
        };
        let mut told_at = None;
        while let Some(run) = tx.control.as_mut().and_then(|control| control.probe.as_mut()) {
            if run.due_at() > now && !run.is_over() {
                break;
            }
            let (back, small) = (run.back, run.is_small());
            run.back = (run.back + 1) % FILLER_BACK_MAX;
            let mut egress =
                Egress { slab: &mut self.slab, tx, counters: &mut self.counters, now, came_at: now };
            // One packet more than was asked for: a rate is of what lies between two.
            let over = run_is_over(&egress);
            if !filler.send_filler(back, small, &self.sources, &mut egress) || over {
                told_at = tx.control.as_mut().and_then(|control| control.end_probe(rtt, now));
                break;
            }
        }
        if let Some(at) = told_at {
            timers.set(Timer::Test, Some(at));
            self.timers.schedule(key, timers);
        }
        if was_empty && !tx.queue.is_empty() {
            self.dirty.push(key);
        }
    }

    /// Looks whether a probe is due, and begins it.
    pub(crate) fn probe(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get_mut(key).filter(|peer| peer.is_open() && !peer.tx.held) else {
            return;
        };
        if !peer.slots.iter().any(Slot::can_fill) {
            return;
        }
        if peer.tx.control.as_mut().is_some_and(|control| control.begin_probe(now)) {
            self.send_probe(key, now);
            self.pace_later(key, now);
        }
    }

    /// So much is probed for from now on, beside what is wanted.
    pub(crate) fn seek_rate(&mut self, id: PeerId, bps: u64, now: Time) -> Result<(), CommandError> {
        let key = self.peer_key(id)?;
        let peer = self.peers.get_mut(key).ok_or(CommandError::UnknownPeer)?;
        if let Some(control) = &mut peer.tx.control {
            control.allocation.sought_bps = bps.min(ESTIMATE_MAX_BPS);
            self.allocate(key, now);
        }
        Ok(())
    }

    /// Tests a peer's line. Where that cannot be, it is said at once.
    pub(crate) fn test_line(&mut self, id: PeerId, bps: u64, now: Time) -> Result<(), CommandError> {
        let key = self.peer_key(id)?;
        let peer = self.peers.get_mut(key).ok_or(CommandError::UnknownPeer)?;
        let can_send = peer.is_open() && peer.slots.iter().any(Slot::can_fill);
        let control = peer.tx.control.as_mut().filter(|_| can_send);
        if !control.is_some_and(|control| control.begin_test(bps.min(ESTIMATE_MAX_BPS), now)) {
            self.emit(Event::LineTested { peer: id, lost: None });
            return Ok(());
        }
        // However it goes on, something is said.
        peer.timers.set(Timer::Test, Some(now + LINE_TEST_EXPIRY));
        self.timers.schedule(key, &mut peer.timers);
        self.send_probe(key, now);
        self.pace_later(key, now);
        Ok(())
    }

    /// Says what became of a test.
    pub(crate) fn line_tested(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.timers.set(Timer::Test, None);
        let lost = peer.tx.control.as_mut().and_then(|control| control.end_test());
        let event = Event::LineTested { peer: peer.id, lost };
        self.emit(event);
    }

    /// Somebody wants more than their line is known to carry: a probe, and another look.
    pub(crate) fn look_for_more(&mut self, key: PeerKey, now: Time) {
        self.probe(key, now);
        // Sets the timer again where more is wanted still.
        self.allocate(key, now);
    }

    /// Sets the timer for what waits.
    pub(crate) fn pace_later(&mut self, key: PeerKey, now: Time) {
        let Some(peer) = self.peers.get_mut(key).filter(|peer| !peer.tx.held) else { return };
        let Some(control) = &peer.tx.control else { return };
        if let Some(next) = control.due_at(now) {
            peer.timers.set_sooner(Timer::Pace, next);
            self.timers.schedule(key, &mut peer.timers);
        }
    }
}

fn run_is_over(egress: &Egress<'_>) -> bool {
    egress.tx.control.as_ref().and_then(|control| control.probe.as_deref()).is_none_or(|run| run.is_over())
}
