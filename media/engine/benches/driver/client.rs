//! One client: connected by a check and fixed keys, it seals media and reports as a browser does.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::rtcp::{ReportBlock, RtcpWriter};
use vestibule_media_core::rtp::HeaderWriter;
use vestibule_media_core::sdp::{Fingerprint, Offer};
use vestibule_media_core::srtp::{self, KeyingMaterial, SrtpProfile, SrtpRole, SrtpSealer};
use vestibule_media_core::stun::{self, IntegrityKey};
use vestibule_media_core::vp8::{self, CanonicalDescriptor};
use vestibule_media_core::{Command, DtlsEvent, Event, Input, MediaGate, Output, PeerId, RoomId};
use vestibule_sim::offer::{
    AUDIO_LEVEL_ID, ClientAnswer, ClientLine, ClientOffer, OPUS, TEST_FINGERPRINT, TRANSPORT_CC_ID, VP8,
};

use super::Server;
use super::trace::Trace;

const UFRAG: &str = "abcd";
const PASSWORD: &str = "0123456789abcdefghijklmn";
/// Room for header, payload and tag of anything a client sends.
const PACKET_BYTES_MAX: usize = 1_400;
const FRAME_TICKS: u32 = 3_000;
const SPEECH_TICKS: u32 = 960;

/// A connected client.
pub(crate) struct Client {
    pub(crate) peer: PeerId,
    pub(crate) address: SocketAddr,
    pub(crate) keys: KeyingMaterial,
    pub(crate) answer: ClientAnswer,
    /// A connectivity check; its repeats are consent.
    pub(crate) check: Vec<u8>,
    pub(crate) sealer: SrtpSealer,
    trace: Trace,
    /// `None`: the client numbers its packets in its streams alone.
    transport_sequence: Option<u16>,
    audio: Stream,
    video: Stream,
    /// The next frame is a keyframe, as the first is.
    pub(crate) keyframe_due: bool,
}

struct Stream {
    ssrc: u32,
    next: u64,
    frame: u32,
}

impl Client {
    /// The SSRC of the microphone of `peer`.
    pub(crate) const fn audio_ssrc(peer: PeerId) -> u32 {
        peer.0 as u32 * 16 + 1
    }

    /// The SSRC of the camera of `peer`.
    pub(crate) const fn video_ssrc(peer: PeerId) -> u32 {
        peer.0 as u32 * 16 + 2
    }

    /// The m-line of a microphone.
    pub(crate) const fn microphone(peer: PeerId) -> ClientLine {
        ClientLine::Microphone { ssrc: Self::audio_ssrc(peer) }
    }

    /// The m-line of a camera in one encoding.
    pub(crate) const fn camera(peer: PeerId) -> ClientLine {
        ClientLine::Screen { ssrc: Self::video_ssrc(peer), rtx: peer.0 as u32 * 16 + 3 }
    }

    /// Adds a peer with its gate open and connects it.
    pub(crate) fn join(
        server: &mut Server,
        room: RoomId,
        peer: PeerId,
        address: SocketAddr,
        lines: &[ClientLine],
    ) -> Self {
        // Slow enough for the limiter of unknown addresses, many of which share one IP address here.
        server.pass(Duration::from_millis(5));
        let mut offer = ClientOffer::new(UFRAG, PASSWORD, TEST_FINGERPRINT);
        offer.lines.extend_from_slice(lines);
        let offer = Box::new(Offer::parse(&offer.to_sdp()).unwrap());
        server.command(Command::AddPeer { room, peer });
        server.command(Command::SetMediaGate { peer, gate: MediaGate::Open });
        server.command(Command::Offer { peer, negotiation: 1, offer });
        let answer = server.take_answer();

        let mut check = vec![0; 512];
        let key = IntegrityKey::new(&answer.pwd);
        let transaction = [peer.0 as u8; 12];
        let len = stun::write_binding_request(&mut check, &transaction, UFRAG, &answer.ufrag, true, 1, &key);
        check.truncate(len);
        server.input(Input::Datagram { from: address.into(), bytes: &mut check });

        let profile = SrtpProfile::AeadAes128Gcm;
        let salt = peer.0.to_be_bytes();
        let exported: Vec<u8> = (0..profile.exporter_len()).map(|i| (i as u8) ^ salt[i % 8]).collect();
        let keys = KeyingMaterial::from_exporter(profile, &exported).unwrap();
        let (sealer, _) = srtp::session(&keys, SrtpRole::Client).unwrap();
        let fingerprint: Fingerprint = TEST_FINGERPRINT.parse().unwrap();
        let event = DtlsEvent::Established { keys: keys.clone(), fingerprint };
        server.input(Input::Dtls { peer, event });
        let mut connected = false;
        while let Some(output) = server.sfu.poll_output() {
            connected |= matches!(output, Output::Event(Event::Connected { .. }));
        }
        assert!(connected, "{peer:?} did not connect");
        let stream = |ssrc| Stream { ssrc, next: 1_000, frame: 0 };
        Self {
            peer,
            address,
            keys,
            answer,
            check,
            sealer,
            trace: Trace::new(peer.0),
            transport_sequence: Some(0),
            audio: stream(Self::audio_ssrc(peer)),
            video: stream(Self::video_ssrc(peer)),
            keyframe_due: true,
        }
    }

    /// The client does not number its packets for the transport: no feedback is sent to it.
    pub(crate) fn without_transport_sequence(mut self) -> Self {
        self.transport_sequence = None;
        self
    }

    /// The next frame as the trace has it, sealed: one datagram for each packet.
    pub(crate) fn frame(&mut self) -> Vec<Vec<u8>> {
        let sizes: Vec<usize> = self.trace.frame(self.keyframe_due).collect();
        self.frame_of(&sizes)
    }

    /// The next frame in packets of these payload sizes.
    pub(crate) fn frame_of(&mut self, sizes: &[usize]) -> Vec<Vec<u8>> {
        let keyframe = std::mem::take(&mut self.keyframe_due);
        self.video.frame += 1;
        let (frame, timestamp) = (self.video.frame, self.video.frame.wrapping_mul(FRAME_TICKS));
        let descriptor = CanonicalDescriptor {
            picture_id: frame as u16 & 0x7fff,
            tl0_picture_index: frame as u8,
            ..CanonicalDescriptor::default()
        };
        let mut packets = Vec::with_capacity(sizes.len());
        for (at, size) in sizes.iter().enumerate() {
            let mut payload = vec![0x5a; *size];
            let start_of_partition = at == 0;
            vp8::write_canonical(&mut payload, &CanonicalDescriptor { start_of_partition, ..descriptor });
            let body = &mut payload[vp8::CANONICAL_DESCRIPTOR_LEN..];
            // RFC 7741 section 4.3: the P bit of the frame's first byte is clear on a keyframe.
            body[0] = u8::from(!keyframe);
            body[3..10].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01]);
            packets.push(self.seal(true, timestamp, at + 1 == sizes.len(), &payload));
        }
        packets
    }

    /// The next 20 ms of speech, sealed.
    pub(crate) fn speech(&mut self) -> Vec<u8> {
        let payload = vec![0x5a; self.trace.speech()];
        self.audio.frame += 1;
        self.seal(false, self.audio.frame.wrapping_mul(SPEECH_TICKS), false, &payload)
    }

    fn seal(&mut self, is_video: bool, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        let stream = if is_video { &mut self.video } else { &mut self.audio };
        let index = stream.next;
        stream.next += 1;
        let mut packet = vec![0; PACKET_BYTES_MAX];
        let payload_type = if is_video { VP8 } else { OPUS };
        let mut header =
            HeaderWriter::new(&mut packet, payload_type, marker, index as u16, timestamp, stream.ssrc, false);
        if let Some(sequence) = &mut self.transport_sequence {
            header.extension(TRANSPORT_CC_ID, &sequence.to_be_bytes());
            *sequence = sequence.wrapping_add(1);
        }
        if !is_video {
            header.extension(AUDIO_LEVEL_ID, &[0x9e]);
        }
        let header_len = header.finish();
        let len = header_len + payload.len();
        packet[header_len..len].copy_from_slice(payload);
        let sealed = self.sealer.seal_rtp(&mut packet, header_len, len, index).unwrap();
        packet.truncate(sealed);
        packet
    }

    /// The SSRCs the server sends with: of media, and of retransmissions.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u32, Option<u32>)> {
        self.answer.media.iter().filter_map(|media| Some((media.ssrc?, media.rtx_ssrc)))
    }

    /// A receiver report on every slot, sealed. After it the server leaves the mid away.
    pub(crate) fn report(&mut self) -> Vec<u8> {
        let ssrcs = self.slots().flat_map(|(ssrc, rtx)| [Some(ssrc), rtx]).flatten();
        let blocks: Vec<_> = ssrcs.map(|ssrc| ReportBlock { ssrc, ..ReportBlock::default() }).collect();
        self.rtcp(|writer| writer.receiver_report(1, &blocks).unwrap())
    }

    /// What `write` writes, sealed.
    pub(crate) fn rtcp(&mut self, write: impl FnOnce(&mut RtcpWriter<'_>)) -> Vec<u8> {
        let mut bytes = vec![0; PACKET_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut bytes[..1_200]);
        write(&mut writer);
        let len = writer.len();
        let len = self.sealer.seal_rtcp(&mut bytes, len).unwrap();
        bytes.truncate(len);
        bytes
    }
}
