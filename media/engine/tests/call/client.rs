//! A client of the engine on a real socket: ICE check, DTLS, SRTP; what a browser does, without the browser.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use vestibule_media_core::demux::{DatagramKind, classify};
use vestibule_media_core::rtcp::{RtcpPacket, RtcpWriter, packets};
use vestibule_media_core::rtp::RtpHeader;
use vestibule_media_core::sdp::{Fingerprint, Offer};
use vestibule_media_core::srtp::{self, KeyingMaterial, SrtpOpener, SrtpProfile, SrtpRole, SrtpSealer};
use vestibule_media_core::stun::{self, IntegrityKey, Message};
use vestibule_media_core::{Command, Event, MediaGate, PeerId, RoomId};
use vestibule_media_engine::Engine;

use vestibule_sim::offer::{ClientAnswer, ClientOffer};

use crate::way::Way;

/// Long enough for any machine; it only keeps a failing test from hanging.
const PATIENCE: Duration = Duration::from_secs(20);
const UFRAG: &str = "clnt";
const PASSWORD: &str = "0123456789abcdefghijklmn";

/// A connected peer.
pub(crate) struct Client {
    pub(crate) peer: PeerId,
    pub(crate) answer: ClientAnswer,
    way: Way,
    sealer: SrtpSealer,
    opener: SrtpOpener,
}

impl Client {
    /// What a client offers; its fingerprint comes when it joins.
    pub(crate) fn offer() -> ClientOffer {
        ClientOffer::new(UFRAG, PASSWORD, "")
    }

    /// Adds `peer` to `room`, negotiates `offer` and connects, by TCP or by UDP.
    pub(crate) fn join(
        engine: &Engine,
        events: &Receiver<Event>,
        room: RoomId,
        peer: PeerId,
        mut offer: ClientOffer,
        by_tcp: bool,
    ) -> Self {
        let certificate = certificate();
        offer.fingerprint = Fingerprint::of_certificate(&certificate.certificate[0]).to_string();
        for command in [
            Command::AddPeer { room, peer },
            Command::SetMediaGate { peer, gate: MediaGate::Open },
            Command::Offer { peer, negotiation: 1, offer: Box::new(Offer::parse(&offer.to_sdp()).unwrap()) },
        ] {
            engine.send(room, command).unwrap();
        }
        let answer = wait_for(events, |event| match event {
            Event::Answer { sdp, .. } => Some(ClientAnswer::parse(&sdp)),
            _ => None,
        });
        let server = answer.candidates.iter().find(|candidate| candidate.is_tcp() == by_tcp).unwrap();
        let mut way = Way::to(*server);
        check(&mut way, &answer);
        let keys = handshake(&mut way, server.socket(), client_config(certificate), &answer.fingerprint);
        let (sealer, opener) = srtp::session(&keys, SrtpRole::Client).unwrap();
        wait_for(events, |event| {
            matches!(event, Event::Connected { peer: who, .. } if who == peer).then_some(())
        });
        Self { peer, answer, way, sealer, opener }
    }

    /// Seals and sends one RTP packet.
    pub(crate) fn send_rtp(&mut self, packet: &[u8]) {
        let header = RtpHeader::parse(packet).unwrap();
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + self.sealer.rtp_overhead(), 0);
        let index = u64::from(header.sequence);
        let len = self.sealer.seal_rtp(&mut buffer, header.header_len, packet.len(), index).unwrap();
        self.way.send(&buffer[..len]);
    }

    /// Writes, seals and sends RTCP.
    pub(crate) fn send_rtcp(&mut self, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let mut buffer = [0; 512];
        let mut writer = RtcpWriter::new(&mut buffer[..256]);
        write(&mut writer);
        let len = writer.len();
        let len = self.sealer.seal_rtcp(&mut buffer, len).unwrap();
        self.way.send(&buffer[..len]);
    }

    /// Whether a keyframe is asked for in what comes until nothing does for a tick.
    pub(crate) fn is_asked_for_keyframe(&mut self) -> bool {
        let mut is_asked = false;
        while let Some(mut buffer) = self.way.receive() {
            if classify(&buffer) == Some(DatagramKind::Rtcp) {
                let len = self.opener.open_rtcp(&mut buffer).expect("sealed for this client");
                is_asked |=
                    packets(&buffer[..len]).any(|packet| matches!(packet, Ok(RtcpPacket::Pli { .. })));
            }
        }
        is_asked
    }

    /// The next RTP packet, opened; `None` when none comes for a tick.
    pub(crate) fn receive_rtp(&mut self) -> Option<(RtpHeader, Vec<u8>)> {
        loop {
            let mut buffer = self.way.receive()?;
            if classify(&buffer) != Some(DatagramKind::Rtp) {
                continue;
            }
            let header = RtpHeader::parse(&buffer).unwrap();
            let opened = self.opener.open_rtp(&mut buffer, &header).expect("sealed for this client");
            let payload = header.payload(&buffer[..opened.len]).unwrap();
            return Some((header, buffer[payload].to_vec()));
        }
    }
}

/// The first event of which `pick` makes something; others are passed over.
pub(crate) fn wait_for<T>(events: &Receiver<Event>, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        let event = events.recv_timeout(PATIENCE).expect("the event comes");
        assert!(!matches!(event, Event::Refused { .. } | Event::OfferRejected { .. }), "{event:?}");
        if let Some(picked) = pick(event) {
            return picked;
        }
    }
}

fn check(way: &mut Way, answer: &ClientAnswer) {
    let key = IntegrityKey::new(&answer.pwd);
    let mut bytes = [0; 512];
    let len = stun::write_binding_request(&mut bytes, &[1; 12], UFRAG, &answer.ufrag, true, 1, &key);
    let start = now();
    loop {
        assert!(start.elapsed() < PATIENCE, "no answer to the check");
        way.send(&bytes[..len]);
        let Some(response) = way.receive() else { continue };
        let Ok(Message::Response(response)) = stun::parse(&response) else { continue };
        assert_eq!(response.mapped_address, Some(way.local()));
        response.verify(&key).expect("signed with the answer's password");
        return assert!(response.success);
    }
}

fn certificate() -> Certificate {
    Certificate::generate_self_signed(vec!["client".to_owned()], AwsLcRsProvider::new().crypto()).unwrap()
}

fn client_config(certificate: Certificate) -> Arc<HandshakeConfig> {
    let config = ConfigBuilder::default()
        .with_crypto_provider(Arc::new(AwsLcRsProvider::new()))
        .with_certificates(vec![certificate])
        // Chromium's order: the server must choose GCM all the same.
        .with_srtp_protection_profiles(vec![
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        ])
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_insecure_skip_verify(true)
        .build(true, None)
        .unwrap();
    Arc::new(config)
}

fn handshake(
    way: &mut Way,
    server: SocketAddr,
    config: Arc<HandshakeConfig>,
    fingerprint: &str,
) -> KeyingMaterial {
    let mut endpoint = Endpoint::new(way.local(), TransportProtocol::UDP, None);
    endpoint.connect(now(), server, config, None).unwrap();
    let start = now();
    let mut complete = false;
    while !complete {
        assert!(start.elapsed() < PATIENCE, "DTLS does not complete");
        flush(&mut endpoint, way);
        match way.receive() {
            Some(datagram) if classify(&datagram) == Some(DatagramKind::Dtls) => {
                let events = endpoint.read(now(), server, None, datagram[..].into()).unwrap();
                complete = events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
            }
            Some(_) => {}
            None => endpoint.handle_timeout(server, now()).unwrap(),
        }
    }
    flush(&mut endpoint, way);
    let state = endpoint.get_connection_state(server).unwrap();
    assert_eq!(state.srtp_protection_profile(), SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm);
    assert_eq!(Fingerprint::of_certificate(&state.peer_certificates[0]).to_string(), fingerprint);
    let profile = SrtpProfile::AeadAes128Gcm;
    let exported = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], profile.exporter_len()).unwrap();
    KeyingMaterial::from_exporter(profile, exported.as_ref()).unwrap()
}

fn flush(endpoint: &mut Endpoint, way: &mut Way) {
    while let Some(transmit) = endpoint.poll_transmit() {
        way.send(&transmit.message);
    }
}

#[expect(clippy::disallowed_methods, reason = "the client's socket and its DTLS timers run in real time")]
fn now() -> Instant {
    Instant::now()
}
