//! The floor: what sealing and sending the same packets costs without a server around it.
//!
//! A child process makes the frames of a scenario's publishers by itself, seals each packet for each receiver and sends
//! it as the engine does, to receivers of the very plane that measures servers. Its CPU time is read as a server's is, by
//! its process id. Nobody answers it: the cost of feedback is not in it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use vestibule_media_core::rtp::HeaderWriter;
use vestibule_media_core::srtp::{KeyingMaterial, SrtpError, SrtpProfile, SrtpRole, SrtpSealer, session};
use vestibule_media_engine::socket::{ShardSocket, SocketOptions};

use crate::client::{
    Keyed, Kind, MediaPlane, PerKind, PlaneError, ReceivedCodec, Receives, SourceId, TransportId, spread,
};
use crate::clock::{self, Clock};
use crate::media::{Frame, Generator, MediaLibrary, Model, PAYLOAD_BYTES_MAX, Stamp};
use crate::sdp::{AUDIO_PAYLOAD_TYPE, EXTENSION_IDS, VIDEO_PAYLOAD_TYPE};

/// Bytes of a sealed packet at most: headers, payload, tag.
const PACKET_BYTES_MAX: usize = 64 + PAYLOAD_BYTES_MAX + 16;

/// What the child sends; it reads this from its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloorSpec {
    /// The address it sends from.
    pub bind: IpAddr,
    /// The number of the SRTP profile in DTLS ([`SrtpProfile::dtls_id`]).
    pub profile: u16,
    /// How long it sends.
    pub duration: Duration,
    /// Everybody who receives something.
    pub receivers: Vec<FloorReceiver>,
    /// The streams, as a server would forward them: of a simulcast the one encoding that is shown.
    pub streams: Vec<FloorStream>,
}

/// One receiving transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorReceiver {
    /// Where it is.
    pub address: SocketAddr,
    /// What its keys are made from.
    pub key_seed: u64,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloorStream {
    /// Whose; unique among streams.
    pub source: SourceId,
    /// What makes its frames.
    pub model: Model,
    /// Who gets it: places in [`FloorSpec::receivers`].
    pub to: Vec<u32>,
}

/// What the child did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorReport {
    /// Packets the kernel took.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Packets the kernel did not take.
    pub dropped: u64,
    /// CPU time of the thread that sealed and sent.
    pub cpu: Duration,
}

/// Why the floor could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// No such SRTP profile.
    #[error("no SRTP profile has the number {0}")]
    Profile(u16),
    /// A stream goes to a receiver that is not in the list.
    #[error("a stream goes to receiver {0}, who is not in the list")]
    NoReceiver(u32),
    /// A stream's recording is not in the library.
    #[error("there is no such recording")]
    NoRecording,
    /// The crypto library refused a key.
    #[error("no keys: {0}")]
    Keys(#[from] SrtpError),
    /// No socket.
    #[error("no socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The plane has no more transports.
    #[error(transparent)]
    Plane(#[from] PlaneError),
}

/// Opens transports on `plane` for a floor to send to, each with the sources it is to hear.
///
/// # Errors
/// [`FloorError::Plane`] when the plane has no socket for one more, [`FloorError::Keys`].
pub fn receivers(
    plane: &MediaPlane,
    profile: SrtpProfile,
    expected: &[PerKind<u32>],
) -> Result<Vec<(TransportId, FloorReceiver)>, FloorError> {
    let codec = |kind, payload_type| ReceivedCodec { kind, payload_type, rtx: None, nack: false };
    let receives = Receives {
        codecs: vec![codec(Kind::Audio, AUDIO_PAYLOAD_TYPE), codec(Kind::Video, VIDEO_PAYLOAD_TYPE)],
        extensions: EXTENSION_IDS,
        pairs: Vec::new(),
    };
    let open = |(key_seed, &expected): (u64, &PerKind<u32>)| {
        let transport = plane.open(expected)?;
        let keys = keys(profile, key_seed)?;
        let (sends, receives) = (Vec::new(), receives.clone());
        plane.connect_keyed(
            transport.id,
            Keyed { remote: None, keys, role: SrtpRole::Client, sends, receives },
        );
        Ok((transport.id, FloorReceiver { address: transport.address, key_seed }))
    };
    (0..).zip(expected).map(open).collect()
}

fn keys(profile: SrtpProfile, seed: u64) -> Result<KeyingMaterial, SrtpError> {
    let mut exported = vec![0; profile.exporter_len()];
    StdRng::seed_from_u64(seed).fill(&mut exported[..]);
    KeyingMaterial::from_exporter(profile, &exported)
}

/// Sends what `spec` says, for as long as it says, on the calling thread.
///
/// # Errors
/// See [`FloorError`].
pub fn send(spec: &FloorSpec, library: &MediaLibrary) -> Result<FloorReport, FloorError> {
    let mut floor = Floor::new(spec, library)?;
    let clock = Clock::start();
    let end = spec.duration.as_micros() as u64;
    let cpu = clock::thread_cpu();
    let mut due: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    for (at, stream) in spec.streams.iter().enumerate() {
        due.push(Reverse((spread(stream.source.0, 33_333), at)));
    }
    while let Some(Reverse((due_at, at))) = due.pop().filter(|Reverse((due_at, _))| *due_at < end) {
        clock.sleep_until(due_at);
        let next = floor.send_frame(at, due_at, library);
        due.push(Reverse((due_at + u64::from(next), at)));
    }
    clock.sleep_until(end);
    let counters = floor.socket.counters();
    Ok(FloorReport {
        packets: counters.sent_datagrams,
        bytes: counters.sent_bytes,
        dropped: counters.dropped_buffer_full + counters.dropped_refused,
        cpu: clock::thread_cpu().saturating_sub(cpu),
    })
}

struct Floor<'a> {
    spec: &'a FloorSpec,
    socket: ShardSocket,
    receivers: Vec<Receiver>,
    streams: Vec<Stream>,
    /// Of the frame that is being sent, as long as they are; the room behind is used again.
    payloads: Vec<([u8; PAYLOAD_BYTES_MAX], usize)>,
    /// How many those are.
    parts: usize,
    /// Its packets, sealed for each receiver.
    slab: Vec<u8>,
}

struct Receiver {
    address: SocketAddr,
    sealer: SrtpSealer,
    transport_sequence: u16,
    /// The packets of this frame, in the slab.
    packets: Vec<Range<usize>>,
}

struct Stream {
    generator: Generator,
    payload_type: u8,
    clock_khz: u64,
    index: u64,
    counter: u64,
}

impl<'a> Floor<'a> {
    fn new(spec: &'a FloorSpec, library: &MediaLibrary) -> Result<Self, FloorError> {
        let profile = SrtpProfile::from_dtls_id(spec.profile).ok_or(FloorError::Profile(spec.profile))?;
        let receiver = |told: &FloorReceiver| -> Result<Receiver, FloorError> {
            let (sealer, _) = session(&keys(profile, told.key_seed)?, SrtpRole::Server)?;
            Ok(Receiver { address: told.address, sealer, transport_sequence: 0, packets: Vec::new() })
        };
        let stream = |told: &FloorStream| -> Result<Stream, FloorError> {
            if let Some(unknown) = told.to.iter().find(|to| **to as usize >= spec.receivers.len()) {
                return Err(FloorError::NoReceiver(*unknown));
            }
            let generator =
                Generator::new(&told.model, told.source, 0, library).ok_or(FloorError::NoRecording)?;
            let (payload_type, clock_khz) = match generator.kind() {
                Kind::Audio => (AUDIO_PAYLOAD_TYPE, 48),
                Kind::Video => (VIDEO_PAYLOAD_TYPE, 90),
            };
            Ok(Stream { generator, payload_type, clock_khz, index: 1, counter: 0 })
        };
        Ok(Self {
            spec,
            socket: ShardSocket::open(SocketAddr::new(spec.bind, 0), &SocketOptions::default())?,
            receivers: spec.receivers.iter().map(receiver).collect::<Result<_, _>>()?,
            streams: spec.streams.iter().map(stream).collect::<Result<_, _>>()?,
            payloads: Vec::new(),
            parts: 0,
            slab: Vec::new(),
        })
    }

    /// Sends the next frame of a stream to all who get it, and tells how many µs later the one after is due.
    fn send_frame(&mut self, at: usize, due_at: u64, library: &MediaLibrary) -> u32 {
        let stream = &mut self.streams[at];
        let frame = stream.generator.next(stream.counter == 0, library);
        self.write_payloads(at, &frame, library);
        let told = &self.spec.streams[at];
        let bytes_max = told.to.len() * self.parts * PACKET_BYTES_MAX;
        if self.slab.len() < bytes_max {
            self.slab.resize(bytes_max, 0);
        }
        let mut end = 0;
        for &to in &told.to {
            end = self.seal_for(to, at, due_at, end);
        }
        let packets = self.parts as u64;
        let stream = &mut self.streams[at];
        (stream.index, stream.counter) = (stream.index + packets, stream.counter + packets);
        let (receivers, slab) = (&self.receivers, &self.slab);
        self.socket.send(told.to.iter().map(|to| {
            let receiver = &receivers[*to as usize];
            (receiver.address, receiver.packets.iter().map(|range| &slab[range.clone()]))
        }));
        frame.micros_to_next
    }

    /// Writes the payloads all receivers of a frame get.
    fn write_payloads(&mut self, at: usize, frame: &Frame, library: &MediaLibrary) {
        let sent_at_ns = clock::wall_ns();
        self.parts = usize::from(frame.parts);
        if self.payloads.len() < self.parts {
            self.payloads.resize(self.parts, ([0; PAYLOAD_BYTES_MAX], 0));
        }
        for (part, (payload, len)) in (0..frame.parts).zip(&mut self.payloads) {
            *len = frame.write_part(part, library, payload);
            let stamp = Stamp {
                source: self.spec.streams[at].source,
                encoding: 0,
                keyframe: frame.keyframe && self.streams[at].is_video(),
                dtx: frame.dtx,
                part: part.min(255) as u8,
                counter: self.streams[at].counter + u64::from(part),
                sent_at_ns,
            };
            stamp.write(&mut payload[..*len]);
        }
    }

    /// Seals the frame's packets for one receiver from `end` of the slab on, and returns where they end.
    fn seal_for(&mut self, to: u32, at: usize, due_at: u64, mut end: usize) -> usize {
        let (receiver, stream) = (&mut self.receivers[to as usize], &self.streams[at]);
        let timestamp = (due_at * stream.clock_khz / 1_000) as u32;
        let ssrc = self.spec.streams[at].source.0 + 1;
        receiver.packets.clear();
        for (part, (payload, payload_len)) in self.payloads[..self.parts].iter().enumerate() {
            let out = &mut self.slab[end..end + PACKET_BYTES_MAX];
            let index = stream.index + part as u64;
            let marker = stream.is_video() && part + 1 == self.parts;
            let (payload_type, sequence) = (stream.payload_type, index as u16);
            let mut header = HeaderWriter::new(out, payload_type, marker, sequence, timestamp, ssrc, false);
            if let Some(id) = EXTENSION_IDS.transport_cc {
                header.extension(id, &receiver.transport_sequence.to_be_bytes());
            }
            receiver.transport_sequence = receiver.transport_sequence.wrapping_add(1);
            let header_len = header.finish();
            let len = header_len + payload_len;
            out[header_len..len].copy_from_slice(&payload[..*payload_len]);
            // It fails only when a key has protected 2^48 packets.
            if let Ok(sealed) = receiver.sealer.seal_rtp(out, header_len, len, index) {
                receiver.packets.push(end..end + sealed);
                end += sealed;
            }
        }
        end
    }
}

impl Stream {
    const fn is_video(&self) -> bool {
        self.payload_type == VIDEO_PAYLOAD_TYPE
    }
}
