//! The SFU of one shard: rooms, peers and sources, driven by datagrams, commands and time.
//!
//! One mutation by [`Sfu::handle_input`], then a full drain of [`Sfu::poll_output`]. What the inputs mean is in the
//! modules beside: transport (STUN, DTLS, demux), media (RTP), feedback (RTCP), rooms (commands), negotiation (SDP).

use std::collections::{HashMap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use slotmap::SlotMap;

use crate::address::TransportAddress;
use crate::allocator::Claim;
use crate::api::{DtlsMessage, Event, Input, Output, PeerId, RoomId, SfuConfig};
use crate::bounds::{OUTPUT_QUEUE_MAX, PEERS_MAX, RTCP_BYTES_MAX};
use crate::counters::Counters;
use crate::egress::{TxQueue, TxSlab};
use crate::hash::KeyedHash;
use crate::ice::LocalUfrag;
use crate::keys::{PeerKey, RoomKey, SourceKey};
use crate::limiter::UnknownLimiter;
use crate::peer::Peer;
use crate::rtcp::SenderInfo;
use crate::source::Source;
use crate::speakers::Speakers;
use crate::time::Time;
use crate::timers::{Timer, TimerHeap};

/// The SFU of one shard. It owns no socket and reads no clock.
pub struct Sfu {
    pub(crate) config: SfuConfig,
    pub(crate) rng: StdRng,
    pub(crate) rooms: SlotMap<RoomKey, Room>,
    pub(crate) peers: SlotMap<PeerKey, Peer>,
    pub(crate) sources: SlotMap<SourceKey, Source>,
    pub(crate) room_ids: HashMap<RoomId, RoomKey>,
    pub(crate) peer_ids: HashMap<PeerId, PeerKey>,
    pub(crate) addresses: HashMap<TransportAddress, PeerKey, KeyedHash>,
    pub(crate) ufrags: HashMap<LocalUfrag, PeerKey>,
    pub(crate) unknown: UnknownLimiter,
    pub(crate) slab: TxSlab,
    /// Peers whose queue in the slab is not empty.
    pub(crate) dirty: Vec<PeerKey>,
    pub(crate) outputs: VecDeque<QueuedOutput>,
    pub(crate) timers: TimerHeap,
    pub(crate) counters: Counters,
    pub(crate) scratch: Scratch,
}

pub(crate) struct Room {
    pub(crate) id: RoomId,
    pub(crate) peers: Vec<PeerKey>,
    pub(crate) speakers: Speakers,
}

/// An output that is not a packet.
pub(crate) enum QueuedOutput {
    Dtls(PeerId, DtlsMessage),
    Event(Event),
}

/// Buffers used again and again, so that nothing is allocated per report or feedback.
pub(crate) struct Scratch {
    pub(crate) rtcp: Vec<u8>,
    pub(crate) sequences: Vec<u16>,
    pub(crate) reports: Vec<(u32, SenderInfo)>,
    pub(crate) claims: Vec<Claim>,
    /// Sources of which a slot shows something else since the packet that is being fanned out.
    pub(crate) switched: Vec<SourceKey>,
}

impl Sfu {
    /// An empty SFU. `seed` feeds every random choice; the same seed and inputs give the same outputs.
    #[must_use]
    pub fn new(config: SfuConfig, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        Self {
            config,
            unknown: UnknownLimiter::new(rng.random()),
            // Room for all from the start: a table that grew while a room is full of people would hold up their packets
            // for as long as it takes to copy it. Memory that is not used yet costs nothing.
            addresses: HashMap::with_capacity_and_hasher(2 * PEERS_MAX, KeyedHash::new(rng.random())),
            rng,
            rooms: SlotMap::with_key(),
            peers: SlotMap::with_capacity_and_key(PEERS_MAX),
            sources: SlotMap::with_capacity_and_key(2 * PEERS_MAX),
            room_ids: HashMap::new(),
            peer_ids: HashMap::with_capacity(PEERS_MAX),
            ufrags: HashMap::with_capacity(2 * PEERS_MAX),
            slab: TxSlab::new(),
            dirty: Vec::with_capacity(64),
            outputs: VecDeque::new(),
            timers: TimerHeap::default(),
            counters: Counters::default(),
            scratch: Scratch {
                rtcp: vec![0; RTCP_BYTES_MAX],
                sequences: Vec::with_capacity(256),
                reports: Vec::new(),
                claims: Vec::with_capacity(16),
                switched: Vec::with_capacity(16),
            },
        }
    }

    // Getters

    /// What has been counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Enough waits in the TX slab that the outputs should be drained before more is read.
    #[must_use]
    pub const fn wants_flush(&self) -> bool {
        self.slab.wants_flush()
    }

    /// Packets waiting in the TX slab.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.slab.len()
    }

    /// Whether a check validated this address, and it is somebody's still.
    #[must_use]
    pub fn is_path(&self, address: TransportAddress) -> bool {
        self.addresses.contains_key(&address)
    }

    /// How much of everything there is: for tests that nothing is left behind.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            rooms: self.rooms.len(),
            peers: self.peers.len(),
            sources: self.sources.len(),
            addresses: self.addresses.len(),
            ufrags: self.ufrags.len(),
            timer_entries: self.timers.len(),
            subscriptions: self.sources.values().map(|source| source.subscribers.len()).sum(),
        }
    }

    // Inputs

    /// Takes one input in. `now` never goes back.
    pub fn handle_input(&mut self, input: Input<'_>, now: Time) {
        match input {
            Input::Datagram { from, bytes } => self.handle_datagram(from, bytes, now),
            Input::Path { address, change } => self.handle_path(address, change, now),
            Input::Timeout => self.handle_timeout(now),
            Input::Command(command) => self.handle_command(command, now),
            Input::Dtls { peer, event } => self.handle_dtls_event(peer, event, now),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        while let Some((at, key)) = self.timers.pop_due(now) {
            let Some(peer) = self.peers.get_mut(key) else { continue };
            if !TimerHeap::is_current(at, &mut peer.timers) {
                continue;
            }
            for timer in Timer::ALL {
                let Some(peer) = self.peers.get_mut(key) else { break };
                if peer.timers.take_due(timer, now) {
                    self.handle_timer(key, timer, now);
                }
            }
            self.schedule(key);
        }
    }

    fn handle_timer(&mut self, key: PeerKey, timer: Timer, now: Time) {
        match timer {
            Timer::Connect => self.connect_timed_out(key),
            Timer::Ice => self.ice_timeout(key, now),
            Timer::Repair => self.repair(key, now),
            Timer::Feedback => self.send_transport_feedback(key),
            Timer::Report => self.report(key, now),
            Timer::Pace => self.pace(key, now),
            Timer::Probe => self.look_for_more(key, now),
            Timer::Test => self.line_tested(key),
            Timer::Pause => self.review_wanted(key, now),
            Timer::Quiet => self.quiet_timeout(key, now),
        }
    }

    // Outputs

    /// The next output; `None` when there is none left until the next input.
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(match output {
                QueuedOutput::Dtls(peer, message) => Output::Dtls { peer, message },
                QueuedOutput::Event(event) => Output::Event(event),
            });
        }
        for key in self.dirty.drain(..) {
            // A peer that is gone, or has no path, leaves its packets behind.
            let Some(peer) = self.peers.get_mut(key) else { continue };
            match peer.ice.selected() {
                Some(to) => self.slab.depart(&mut peer.tx.queue, to),
                None => peer.tx.queue = TxQueue::default(),
            }
        }
        if self.slab.has_departures() {
            return Some(Output::Transmits(self.slab.drain()));
        }
        self.slab.reset();
        None
    }

    /// When [`Input::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next_at()
    }

    // Helpers of the modules beside

    pub(crate) fn emit(&mut self, event: Event) {
        self.outputs.push_back(QueuedOutput::Event(event));
    }

    pub(crate) fn emit_dtls(&mut self, peer: PeerId, message: DtlsMessage) {
        if self.outputs.len() >= OUTPUT_QUEUE_MAX && !matches!(message, DtlsMessage::Forget) {
            self.counters.dropped_output_full += 1;
            return;
        }
        self.outputs.push_back(QueuedOutput::Dtls(peer, message));
    }

    pub(crate) fn schedule(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(key) {
            self.timers.schedule(key, &mut peer.timers);
        }
    }

    /// Seals the first `len` bytes of the RTCP scratch and queues them for a peer.
    pub(crate) fn send_rtcp(&mut self, key: PeerKey, len: usize) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let (Some(sealer), Some(out)) = (peer.tx.sealer.as_mut(), self.slab.begin(RTCP_BYTES_MAX + 64))
        else {
            self.counters.dropped_tx_full += u64::from(peer.tx.sealer.is_some());
            return;
        };
        out[..len].copy_from_slice(&self.scratch.rtcp[..len]);
        let Ok(sealed) = sealer.seal_rtcp(out, len) else {
            self.counters.dropped_seal += 1;
            return;
        };
        let was_empty = peer.tx.queue.is_empty();
        self.slab.commit(&mut peer.tx.queue, sealed);
        if was_empty {
            self.dirty.push(key);
        }
        self.counters.rtcp_out += 1;
    }
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Rooms.
    pub rooms: usize,
    /// Peers.
    pub peers: usize,
    /// Sources.
    pub sources: usize,
    /// Addresses in the demux table.
    pub addresses: usize,
    /// Username fragments in the demux table.
    pub ufrags: usize,
    /// Entries of the timer heap, stale ones included.
    pub timer_entries: usize,
    /// Slots that show a source.
    pub subscriptions: usize,
}
