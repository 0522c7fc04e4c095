//! One transport: from a socket without a remote to packets in both directions.

mod outgoing;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use vestibule_media_core::rtcp::{RtcpPacket, packets};
use vestibule_media_core::rtp::RtpHeader;
use vestibule_media_core::sdp::{Fingerprint, IceParameters};
use vestibule_media_core::srtp::{KeyingMaterial, SrtpError, SrtpRole};

use super::dtls::{self, DtlsConfig, Handshake};
use super::ice::{Agent, CHECK_MICROS, CONSENT_MICROS, Progress};
use super::receive::{At, Receiver};
use super::send::{SendState, Wire};
use super::socket::{BATCH, Batch, Burst};
use super::srtp::Srtp;
use super::tally::Tally;
use super::wheel::{Timer, Wheel, spread};
use super::{Connect, Keyed, PerKind, PlaneEvent, Receives, SendStream, TransportError, TransportId};
use crate::clock::{self, Clock};
use crate::media::MediaLibrary;

/// How often a browser sends transport-wide feedback.
const TRANSPORT_FEEDBACK_MICROS: u64 = 100_000;
const REPORT_MICROS: u64 = 1_000_000;
/// How soon after a gap or a missing keyframe is looked at.
const FEEDBACK_MICROS: u64 = 5_000;
const HANDSHAKE_MICROS: u64 = 10_000;
/// Batches taken of one socket before the others have their turn.
const BATCHES_IN_A_ROW: usize = 8;

/// What all transports of a plane share.
pub(super) struct Context {
    pub(super) clock: Clock,
    /// In µs, of this tick.
    pub(super) now: u64,
    pub(super) burst: Burst,
    pub(super) tally: Tally,
    pub(super) wheel: Wheel,
    pub(super) library: Arc<MediaLibrary>,
    pub(super) dtls: Arc<DtlsConfig>,
    pub(super) events: UnboundedSender<PlaneEvent>,
    pub(super) transport_feedback: bool,
}

impl Context {
    pub(super) fn new(
        clock: Clock,
        library: Arc<MediaLibrary>,
        dtls: Arc<DtlsConfig>,
        events: UnboundedSender<PlaneEvent>,
    ) -> Self {
        let (burst, tally, wheel) = (Burst::new(), Tally::default(), Wheel::new());
        Self { clock, now: 0, burst, tally, wheel, library, dtls, events, transport_feedback: true }
    }
}

#[derive(Debug)]
enum Stage {
    /// No remote yet.
    Open,
    /// Looking for the path.
    Checking {
        expected: Fingerprint,
    },
    /// The path is there; the socket takes nothing else.
    Shaking(Box<Handshake>),
    Connected(Box<Srtp>),
    Failed,
}

/// One transport.
#[derive(Debug)]
pub(super) struct Transport {
    id: TransportId,
    pub(super) socket: UdpSocket,
    local: IceParameters,
    /// None where the keys were known beforehand.
    agent: Option<Agent>,
    /// Where the socket is connected to.
    remote: Option<SocketAddr>,
    stage: Stage,
    sending: bool,
    sends: Vec<SendState>,
    pub(super) receiver: Receiver,
    transport_sequence: u16,
    /// What the socket last said of its drops.
    dropped: u32,
    feedback_is_due: bool,
    /// From how many sources something is to come.
    expected: PerKind<u32>,
    /// The window in which that holds: it was connected when it began.
    watched: u32,
}

impl Transport {
    pub(super) fn new(
        id: TransportId,
        socket: UdpSocket,
        local: IceParameters,
        expected: PerKind<u32>,
    ) -> Self {
        Self {
            id,
            socket,
            local,
            agent: None,
            remote: None,
            stage: Stage::Open,
            sending: false,
            sends: Vec::new(),
            receiver: Receiver::new(Receives::default()),
            transport_sequence: 0,
            dropped: 0,
            feedback_is_due: false,
            expected,
            watched: 0,
        }
    }

    pub(super) const fn id(&self) -> TransportId {
        self.id
    }

    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Connected(_))
    }

    /// A window begins.
    pub(super) const fn watch(&mut self, window: u32) {
        if self.is_connected() {
            self.watched = window;
        }
    }

    /// What is sent here.
    pub(super) fn sends(&self) -> impl Iterator<Item = &SendState> {
        self.sends.iter()
    }

    /// Of how many sources that were to come nothing did in a window that is over.
    pub(super) fn starved(&self, window: u32) -> PerKind<u32> {
        if self.watched != window {
            return PerKind::default();
        }
        let mut missing = self.expected;
        for (kind, _) in self.receiver.ledgers().filter(|(_, ledger)| ledger.came_in(window)) {
            missing[kind] = missing[kind].saturating_sub(1);
        }
        missing
    }

    // Commands

    pub(super) fn connect(&mut self, connect: Connect, cx: &mut Context) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        let Connect { remote, controlling, sends, receives } = connect;
        self.receiver.extend(&receives);
        self.stage = Stage::Checking { expected: remote.fingerprint };
        self.agent = Some(Agent::new(
            self.local.clone(),
            remote.ice,
            remote.candidates,
            controlling,
            cx.now,
            self.id.slot ^ self.id.generation.rotate_left(16) ^ clock::wall_ns() as u32,
        ));
        self.add_streams(sends, cx);
        self.timer(Timer::Check, cx);
    }

    pub(super) fn connect_keyed(&mut self, keyed: Keyed, cx: &mut Context) {
        if !matches!(self.stage, Stage::Open) {
            return;
        }
        self.receiver.extend(&keyed.receives);
        if let Some(remote) = keyed.remote {
            if self.socket.connect(remote).is_err() {
                return self.fail(TransportError::Ice, cx);
            }
            self.remote = Some(remote);
        }
        self.add_streams(keyed.sends, cx);
        self.keyed(keyed.keys, keyed.role, cx);
    }

    fn add_streams(&mut self, streams: Vec<SendStream>, cx: &mut Context) {
        for stream in streams {
            match SendState::new(stream, &cx.library) {
                Some(state) => self.sends.push(state),
                None => self.fail(TransportError::Recording, cx),
            }
        }
    }

    pub(super) fn set_sending(&mut self, on: bool, cx: &mut Context) {
        self.sending = on;
        if on && self.is_connected() {
            self.schedule_frames(cx);
        }
    }

    pub(super) fn restart_ice(&mut self, local: IceParameters, remote: IceParameters, cx: &mut Context) {
        self.local = local.clone();
        if let Some(agent) = &mut self.agent {
            agent.restart(local, remote, cx.now);
            self.check(cx);
        }
    }

    // Time

    pub(super) fn timer(&mut self, timer: Timer, cx: &mut Context) {
        match timer {
            Timer::Frame(at) => self.send_frames(at, cx),
            Timer::Feedback => {
                self.feedback_is_due = false;
                self.feedback(cx);
            }
            Timer::TransportFeedback => {
                self.transport_feedback(cx);
                self.again(TRANSPORT_FEEDBACK_MICROS, timer, cx);
            }
            Timer::Report => {
                self.report(cx);
                self.again(REPORT_MICROS, timer, cx);
            }
            Timer::Check => {
                self.check(cx);
                let interval = match self.stage {
                    Stage::Failed => return,
                    Stage::Checking { .. } => CHECK_MICROS,
                    _ => CONSENT_MICROS,
                };
                cx.wheel.set(cx.now + interval, self.id, timer);
            }
            Timer::Handshake => {
                if let Stage::Shaking(handshake) = &mut self.stage {
                    match handshake.tick(cx.now, cx.clock.instant(cx.now)) {
                        Ok(()) => {
                            self.send_handshake();
                            cx.wheel.set(cx.now + HANDSHAKE_MICROS, self.id, timer);
                        }
                        Err(reason) => self.fail(reason, cx),
                    }
                }
            }
        }
    }

    fn again(&self, after: u64, timer: Timer, cx: &mut Context) {
        if self.is_connected() {
            cx.wheel.set(cx.now + after, self.id, timer);
        }
    }

    fn check(&mut self, cx: &mut Context) {
        let (Some(agent), socket, remote) = (&mut self.agent, &self.socket, self.remote) else { return };
        if agent.has_expired(cx.now) {
            let lost = matches!(self.stage, Stage::Connected(_));
            return self.fail(if lost { TransportError::ConsentExpired } else { TransportError::Ice }, cx);
        }
        agent.check(cx.now, &mut |bytes, to| send_to(socket, remote, bytes, to));
    }

    // Receiving

    /// Takes what waits at the socket.
    pub(super) fn drain(&mut self, batch: &mut Batch, cx: &mut Context) {
        match self.stage {
            Stage::Open | Stage::Checking { .. } | Stage::Failed => self.drain_checks(cx),
            Stage::Shaking(_) | Stage::Connected(_) => self.drain_batches(batch, cx),
        }
    }

    fn drain_checks(&mut self, cx: &mut Context) {
        let mut buffer = [0; 2_048];
        while let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
            if is_stun(&buffer[..len]) {
                self.stun(&buffer[..len], from, cx);
            }
            if matches!(self.stage, Stage::Shaking(_)) {
                return;
            }
        }
    }

    fn drain_batches(&mut self, batch: &mut Batch, cx: &mut Context) {
        for _ in 0..BATCHES_IN_A_ROW {
            let taken = batch.receive(&self.socket, clock::wall_ns());
            if let Some(dropped) = taken.dropped {
                cx.tally.socket_drops(u64::from(dropped.wrapping_sub(self.dropped)));
                self.dropped = dropped;
            }
            for at in 0..taken.datagrams {
                let (datagram, wall_ns) = batch.datagram(at);
                self.datagram(datagram, wall_ns, cx);
            }
            if taken.datagrams < BATCH {
                break;
            }
        }
        if self.receiver.needs_feedback && !self.feedback_is_due {
            self.feedback_is_due = true;
            cx.wheel.set(cx.now + FEEDBACK_MICROS, self.id, Timer::Feedback);
        }
    }

    /// Sorts by the first two bytes (RFC 7983, RFC 5761).
    #[inline]
    fn datagram(&mut self, datagram: &mut [u8], wall_ns: u64, cx: &mut Context) {
        match *datagram {
            [128..=191, 192..=223, ..] => self.rtcp(datagram, cx),
            [128..=191, ..] => self.rtp(datagram, wall_ns, cx),
            [0..=3, ..] => {
                if let Some(from) = self.remote {
                    self.stun(datagram, from, cx);
                }
            }
            [20..=63, ..] => self.dtls(datagram, cx),
            _ => {}
        }
    }

    #[inline]
    fn rtp(&mut self, datagram: &mut [u8], wall_ns: u64, cx: &mut Context) {
        let Stage::Connected(srtp) = &mut self.stage else { return };
        let Ok(header) = RtpHeader::parse(datagram) else { return cx.tally.undecryptable() };
        let Some(slot) = self.receiver.slot_of(&header) else { return cx.tally.unexpected() };
        match srtp.open_rtp(slot, datagram, &header) {
            Ok(opened) => {
                let micros = cx.clock.micros_of_wall(wall_ns);
                let at = At { bytes: datagram.len(), micros, wall_ns };
                let packet = &datagram[..opened.len];
                let first = self.receiver.packet(slot, &header, packet, opened.index, at, &mut cx.tally);
                if let Some(kind) = first {
                    let at = cx.clock.instant(micros);
                    let _ = cx.events.send(PlaneEvent::FirstPacket { id: self.id, kind, at });
                }
            }
            Err(SrtpError::Replayed) => cx.tally.replayed(self.receiver.kind_of(slot), datagram.len()),
            Err(_) => cx.tally.undecryptable(),
        }
    }

    fn rtcp(&mut self, datagram: &mut [u8], cx: &mut Context) {
        let Stage::Connected(srtp) = &mut self.stage else { return };
        let len = match srtp.open_rtcp(datagram) {
            Ok(len) => len,
            Err(SrtpError::Replayed) => return,
            Err(_) => return cx.tally.undecryptable(),
        };
        for packet in packets(&datagram[..len]).map_while(Result::ok) {
            match packet {
                RtcpPacket::SenderReport { ssrc, info, .. } => {
                    self.receiver.sender_report(ssrc, info.ntp.middle(), cx.now);
                }
                RtcpPacket::Nack { media_ssrc, lost, .. } => {
                    let mut wire = Wire {
                        sealer: &mut srtp.sealer,
                        socket: &self.socket,
                        burst: &mut cx.burst,
                        transport_sequence: &mut self.transport_sequence,
                        library: &cx.library,
                        tally: &mut cx.tally,
                    };
                    let stream = self.sends.iter_mut().find(|send| send.stream.ssrc == media_ssrc);
                    if let Some(stream) = stream.filter(|_| self.sending) {
                        lost.for_each(|sequence| stream.retransmit(sequence, &mut wire));
                    }
                }
                RtcpPacket::Pli { media_ssrc, .. } => keyframe(&mut self.sends, media_ssrc, &mut cx.tally),
                RtcpPacket::Fir { entries, .. } => {
                    entries.for_each(|(ssrc, _)| keyframe(&mut self.sends, ssrc, &mut cx.tally));
                }
                _ => {}
            }
        }
    }

    // Connecting

    fn stun(&mut self, datagram: &[u8], from: SocketAddr, cx: &mut Context) {
        let (Some(agent), socket, remote) = (&mut self.agent, &self.socket, self.remote) else { return };
        let send: &mut dyn FnMut(&[u8], SocketAddr) = &mut |bytes, to| send_to(socket, remote, bytes, to);
        match agent.handle(datagram, from, cx.now, send) {
            Progress::None => {}
            Progress::Valid => self.check(cx),
            Progress::Selected(path) => self.selected(path, cx),
        }
    }

    /// The path is there: the socket takes nothing from elsewhere any more, and DTLS begins.
    fn selected(&mut self, path: SocketAddr, cx: &mut Context) {
        let Stage::Checking { expected } = self.stage else { return };
        if self.socket.connect(path).is_err() {
            return self.fail(TransportError::Ice, cx);
        }
        self.remote = Some(path);
        match Handshake::begin(&cx.dtls, expected, cx.now, cx.clock.instant(cx.now)) {
            Ok(handshake) => {
                self.stage = Stage::Shaking(Box::new(handshake));
                self.send_handshake();
                cx.wheel.set(cx.now + HANDSHAKE_MICROS, self.id, Timer::Handshake);
            }
            Err(reason) => self.fail(reason, cx),
        }
    }

    fn send_handshake(&mut self) {
        if let Stage::Shaking(handshake) = &mut self.stage {
            for datagram in handshake.outbox.drain(..) {
                // What is not taken now is repeated.
                let _ = self.socket.send(&datagram);
            }
        }
    }

    fn dtls(&mut self, datagram: &[u8], cx: &mut Context) {
        match &mut self.stage {
            Stage::Shaking(handshake) => {
                let result = handshake.receive(datagram, cx.now, cx.clock.instant(cx.now));
                self.send_handshake();
                match result {
                    Ok(None) => {}
                    Ok(Some(keys)) => self.keyed(keys, SrtpRole::Client, cx),
                    Err(reason) => self.fail(reason, cx),
                }
            }
            Stage::Connected(_) if dtls::is_alert(datagram) => self.fail(TransportError::Closed, cx),
            _ => {}
        }
    }

    /// Keys are there: media may flow.
    fn keyed(&mut self, keys: KeyingMaterial, role: SrtpRole, cx: &mut Context) {
        if matches!(self.stage, Stage::Failed) {
            return;
        }
        let Ok(srtp) = Srtp::new(keys, role) else { return self.fail(TransportError::Dtls, cx) };
        self.stage = Stage::Connected(Box::new(srtp));
        let now = cx.clock.instant(cx.clock.micros());
        let _ = cx.events.send(PlaneEvent::Connected { id: self.id, at: now });
        let turn = |interval| cx.now + spread(self.id.slot, interval);
        cx.wheel.set(turn(REPORT_MICROS), self.id, Timer::Report);
        if cx.transport_feedback {
            cx.wheel.set(turn(TRANSPORT_FEEDBACK_MICROS), self.id, Timer::TransportFeedback);
        }
        if self.sending {
            self.schedule_frames(cx);
        }
    }

    fn fail(&mut self, reason: TransportError, cx: &mut Context) {
        if !matches!(self.stage, Stage::Failed) {
            self.stage = Stage::Failed;
            let _ = cx.events.send(PlaneEvent::Failed { id: self.id, reason });
        }
    }
}

fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [0..=3, ..])
}

/// The sender of media with this SSRC is asked for a keyframe.
fn keyframe(sends: &mut [SendState], ssrc: u32, tally: &mut Tally) {
    if let Some(send) = sends.iter_mut().find(|send| send.stream.ssrc == ssrc) {
        send.want_keyframe();
        if let Some(counts) = tally.now() {
            counts.keyframe_requests_received += 1;
        }
    }
}

/// A connected socket takes no address.
fn send_to(socket: &UdpSocket, connected_to: Option<SocketAddr>, bytes: &[u8], to: SocketAddr) {
    // Checks are repeated, and consent has its own patience.
    let _ = if connected_to.is_some() { socket.send(bytes) } else { socket.send_to(bytes, to) };
}
