//! A room in a real [`Sfu`]: one publisher of VP8, many subscribers, connected by checks and fixed SRTP keys.
//!
//! It stands in for the browsers and the DTLS worker; everything in between is the product.

use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::rtcp::{ReportBlock, RtcpWriter};
use vestibule_media_core::rtp::{HeaderWriter, RtpHeader};
use vestibule_media_core::sdp::{Fingerprint, Offer};
use vestibule_media_core::srtp::{self, KeyingMaterial, SrtpOpener, SrtpProfile, SrtpRole, SrtpSealer};
use vestibule_media_core::stun::{self, IntegrityKey};
use vestibule_media_core::vp8::{self, CanonicalDescriptor};
use vestibule_media_core::{
    Command, DtlsEvent, Event, Input, MediaGate, NtpTime, Output, PeerId, RoomId, SeatId, Sfu, SfuConfig,
    Time, WallClock,
};

const ROOM: RoomId = RoomId(1);
const PUBLISHER: PeerId = PeerId(1);
const PUBLISHER_SSRC: u32 = 0x1234_5678;
const VIDEO_PAYLOAD_TYPE: u8 = 96;
const UFRAG: &str = "abcd";
const PASSWORD: &str = "0123456789abcdefghijklmn";
const FINGERPRINT: &str =
    "1D:51:F9:79:E3:AD:B7:B7:8B:D6:C4:2C:44:5E:15:01:AC:C2:F8:98:7A:02:5A:BF:3E:68:64:70:DE:74:EF:9E";

/// A room whose publisher is seen by every subscriber.
pub(crate) struct Room {
    pub(crate) sfu: Sfu,
    pub(crate) now: Time,
    publisher: Publisher,
}

struct Publisher {
    address: SocketAddr,
    sealer: SrtpSealer,
    next: u64,
    frame: u32,
    payload_bytes: usize,
}

impl Room {
    /// Connects the publisher and one subscriber at each of `addresses`, and sends a keyframe through.
    pub(crate) fn new(addresses: &[SocketAddr], payload_bytes: usize) -> Self {
        let config = SfuConfig {
            candidates: vec!["127.0.0.1:7000".parse().unwrap()],
            fingerprint: FINGERPRINT.parse().unwrap(),
            wall_clock: WallClock::new(NtpTime::from_unix(Duration::from_secs(1_800_000_000))),
        };
        let mut sfu = Sfu::new(config, [7; 32]);
        let mut now = Time::from_millis(1_000);
        sfu.handle_input(Input::Command(Command::CreateRoom { room: ROOM }), now);

        let address = "127.0.0.1:6999".parse().unwrap();
        let publisher = Peer::connect(&mut sfu, &mut now, PUBLISHER, address, &publisher_offer());
        let publisher = Publisher { address, sealer: publisher.sealer, next: 1_000, frame: 0, payload_bytes };
        let mut room = Self { sfu, now, publisher };
        let mut subscribers: Vec<_> =
            (2..).zip(addresses).map(|(id, address)| room.subscribe(PeerId(id), *address)).collect();
        for mut packet in room.seal_frame(2) {
            room.publish(&mut packet);
        }
        room.acknowledge(&mut subscribers);
        room
    }

    fn subscribe(&mut self, id: PeerId, address: SocketAddr) -> Peer {
        let peer = Peer::connect(&mut self.sfu, &mut self.now, id, address, &subscriber_offer());
        let seat = Command::SetSeat { peer: id, seat: SeatId(0), occupant: Some(PUBLISHER) };
        self.sfu.handle_input(Input::Command(seat), self.now);
        peer
    }

    /// Every subscriber reports on what it received, after which its packets need no mid any more.
    fn acknowledge(&mut self, subscribers: &mut [Peer]) {
        let mut received: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        while let Some(output) = self.sfu.poll_output() {
            if let Output::Transmit(transmit) = output {
                received.push((transmit.to, transmit.packet(0).to_vec()));
            }
        }
        for subscriber in subscribers {
            let (_, packet) =
                received.iter_mut().find(|(to, _)| *to == subscriber.address).expect("was sent to");
            let header = RtpHeader::parse(packet).unwrap();
            subscriber.opener.open_rtp(packet, &header).expect("opens with the fixed keys");
            self.now = self.now + Duration::from_millis(1);
            let report = ReportBlock {
                ssrc: header.ssrc,
                fraction_lost: 0,
                cumulative_lost: 0,
                highest_sequence: u32::from(header.sequence),
                jitter: 0,
                last_sender_report: 0,
                delay_since_last_sender_report: 0,
            };
            let mut bytes = [0; 256];
            let mut writer = RtcpWriter::new(&mut bytes);
            writer.receiver_report(1, &[report]).unwrap();
            let len = writer.len();
            let len = subscriber.sealer.seal_rtcp(&mut bytes, len).unwrap();
            self.sfu.handle_input(
                Input::Datagram { from: subscriber.address, bytes: &mut bytes[..len] },
                self.now,
            );
        }
        self.drop_outputs();
        assert_eq!(self.sfu.counters().dropped_rtcp_auth + self.sfu.counters().dropped_rtcp_malformed, 0);
    }

    /// One frame of `packets` packets, sealed as the publisher seals it; the first frame is a keyframe.
    pub(crate) fn seal_frame(&mut self, packets: usize) -> Vec<Vec<u8>> {
        let publisher = &mut self.publisher;
        let first_of_all = publisher.frame == 0;
        publisher.frame += 1;
        let timestamp = publisher.frame.wrapping_mul(3_000);
        (0..packets)
            .map(|number| {
                let mut packet = vec![0; 12 + publisher.payload_bytes + 16];
                let index = publisher.next;
                publisher.next += 1;
                let last = number + 1 == packets;
                let header_len = HeaderWriter::new(
                    &mut packet,
                    VIDEO_PAYLOAD_TYPE,
                    last,
                    index as u16,
                    timestamp,
                    PUBLISHER_SSRC,
                    false,
                )
                .finish();
                let descriptor = CanonicalDescriptor {
                    start_of_partition: number == 0,
                    picture_id: publisher.frame as u16 & 0x7fff,
                    tl0_picture_index: publisher.frame as u8,
                    ..CanonicalDescriptor::default()
                };
                let payload = &mut packet[header_len..];
                vp8::write_canonical(payload, &descriptor);
                // RFC 7741 section 4.3: the P bit of the frame's first byte is clear on a keyframe.
                let body = vp8::CANONICAL_DESCRIPTOR_LEN;
                payload[body] = u8::from(!first_of_all);
                payload[body + 3..body + 10].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01]);
                let len = header_len + publisher.payload_bytes;
                publisher.sealer.seal_rtp(&mut packet, header_len, len, index).unwrap();
                packet
            })
            .collect()
    }

    /// Lets one sealed packet in. It is decrypted in place, so it can be let in once.
    pub(crate) fn publish(&mut self, packet: &mut [u8]) {
        self.now = self.now + Duration::from_micros(10);
        self.sfu.handle_input(Input::Datagram { from: self.publisher.address, bytes: packet }, self.now);
    }

    pub(crate) fn drop_outputs(&mut self) {
        while self.sfu.poll_output().is_some() {}
    }
}

/// One peer's client side.
struct Peer {
    address: SocketAddr,
    sealer: SrtpSealer,
    opener: SrtpOpener,
}

impl Peer {
    fn connect(sfu: &mut Sfu, now: &mut Time, peer: PeerId, address: SocketAddr, offer: &str) -> Self {
        // Slow enough for the limiter of unknown addresses: all of them share one IP address here.
        *now = *now + Duration::from_millis(100);
        for command in [
            Command::AddPeer { room: ROOM, peer },
            Command::SetMediaGate { peer, gate: MediaGate::Open },
            Command::Offer { peer, negotiation: 1, offer: Box::new(Offer::parse(offer).unwrap()) },
        ] {
            sfu.handle_input(Input::Command(command), *now);
        }
        let answer = take_answer(sfu);
        let attribute =
            |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let (ufrag, password) = (attribute("a=ice-ufrag:"), attribute("a=ice-pwd:"));

        let mut check = [0; 512];
        let key = IntegrityKey::new(&password);
        let transaction = [peer.0 as u8; 12];
        let len = stun::write_binding_request(&mut check, &transaction, UFRAG, &ufrag, true, 1, &key);
        sfu.handle_input(Input::Datagram { from: address, bytes: &mut check[..len] }, *now);

        let profile = SrtpProfile::AeadAes128Gcm;
        let exported: Vec<u8> = (0..profile.exporter_len()).map(|i| (i as u8) ^ (peer.0 as u8)).collect();
        let keys = KeyingMaterial::from_exporter(profile, &exported).unwrap();
        let (sealer, opener) = srtp::session(&keys, SrtpRole::Client).unwrap();
        let fingerprint: Fingerprint = FINGERPRINT.parse().unwrap();
        let event = DtlsEvent::Established { keys, fingerprint };
        sfu.handle_input(Input::Dtls { peer, event }, *now);
        let mut connected = false;
        while let Some(output) = sfu.poll_output() {
            connected |= matches!(output, Output::Event(Event::Connected { .. }));
        }
        assert!(connected, "{peer:?} did not connect");
        Self { address, sealer, opener }
    }
}

fn take_answer(sfu: &mut Sfu) -> String {
    let mut answer = None;
    while let Some(output) = sfu.poll_output() {
        match output {
            Output::Event(Event::Answer { sdp, .. }) => answer = Some(sdp),
            Output::Event(other) => panic!("no answer but {other:?}"),
            _ => {}
        }
    }
    answer.expect("an offer is answered")
}

fn publisher_offer() -> String {
    let video = video_line(0, "sendonly", &format!("a=ssrc:{PUBLISHER_SSRC} cname:bench\r\n"));
    offer("0", &video)
}

fn subscriber_offer() -> String {
    let audio = format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{}a=mid:0\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n",
        transport_lines()
    );
    offer("0 1", &(audio + &video_line(1, "recvonly", "")))
}

fn offer(mids: &str, media: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n{media}")
}

fn video_line(mid: u8, direction: &str, more: &str) -> String {
    // Transport-wide numbers only where they are sent: what a publisher's feedback costs is not per forwarded packet.
    let transport_cc = if direction == "recvonly" {
        "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\na=rtcp-fb:96 transport-cc\r\n"
    } else {
        ""
    };
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n{}a=mid:{mid}\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         {transport_cc}a={direction}\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n{more}",
        transport_lines()
    )
}

fn transport_lines() -> String {
    format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PASSWORD}\r\na=fingerprint:sha-256 {FINGERPRINT}\r\n\
         a=setup:actpass\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
    )
}
