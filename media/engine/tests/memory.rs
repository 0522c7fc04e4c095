//! What one participant who only watches costs in memory, counted by the allocator: in the core, and in its DTLS
//! association, with what the C library of the ciphers takes for them as its sizes are known.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail by panicking, as the test does")]

#[path = "../../core/tests/counting/mod.rs"]
mod counting;
#[path = "../benches/driver/mod.rs"]
mod driver;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use driver::Server;
use driver::client::Client;
use driver::reports::{REPORT_MS, Reports};
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::Endpoint;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use vestibule_media_core::srtp::SrtpProfile;
use vestibule_media_core::{Output, PeerId, RoomId};
use vestibule_media_engine::dtls::{
    AssociationOutput, DtlsAcceptor, DtlsAssociation, RtcDtlsAcceptor, ServerCertificate,
};
use vestibule_sim::offer::ClientLine;

const PEERS: usize = 100;
/// What is asked of both together.
const BYTES_MAX: isize = 30_000;
/// Seats in the offer of who watches: those of a visit with interpreters.
const SEATS: usize = 3;
/// Contexts of AES-GCM that the C library holds for one peer: in and out, RTP and RTCP.
const CIPHER_BYTES: isize = 4 * 600;

#[test]
fn who_only_watches_takes_little_memory() {
    let (core, dtls) = (bytes_in_the_core() + CIPHER_BYTES, bytes_of_an_association());
    vestibule_sim::report!("bytes of one who only watches: {core} in the core, {dtls} for DTLS");
    assert!(core + dtls <= BYTES_MAX, "{core} and {dtls}");
}

/// Of one of many who are shown a camera, tell of each packet of it as browsers do, and have asked for some again.
fn bytes_in_the_core() -> isize {
    let mut server = Server::new();
    let (room, owner) = (RoomId(1), PeerId(1));
    server.open_room(room);
    let lines = [Client::microphone(owner), Client::camera(owner)];
    let mut publisher = Client::join(&mut server, room, owner, "10.0.0.1:5000".parse().unwrap(), &lines);
    // The ring of the one who is seen has grown before; it is shared by all.
    play(&mut server, &mut publisher, &mut [], &mut Reports::default());
    let before = counting::held();
    let mut watchers: Vec<_> = (0..PEERS)
        .map(|at| {
            let id = PeerId(at as u64 + 2);
            let address = SocketAddr::from(([10, 0, 1, at as u8], 5_000));
            let mut lines = Vec::new();
            (0..SEATS).for_each(|_| lines.extend([ClientLine::AudioSeat, ClientLine::VideoSeat]));
            let watcher = Client::join(&mut server, room, id, address, &lines);
            server.seat(id, 0, owner);
            watcher
        })
        .collect();
    let mut reports = Reports::default();
    watchers.iter().for_each(|watcher| reports.add(watcher));
    publisher.keyframe_due = true;
    play(&mut server, &mut publisher, &mut watchers, &mut reports);
    for watcher in &mut watchers {
        let mut report = watcher.report();
        server.datagram(watcher.address, &mut report);
        let (ssrc, _) = watcher.slots().nth(1).unwrap();
        let lost: Vec<u16> = (0..=u16::MAX).step_by(256).collect();
        let mut nack = watcher.rtcp(|writer| writer.nack(1, ssrc, &lost).unwrap());
        server.datagram(watcher.address, &mut nack);
    }
    pass(&mut server, 100, &mut reports);
    assert!(server.sfu.counters().rtx_out >= PEERS as u64, "{:?}", server.sfu.counters());
    drop((watchers, reports));
    (counting::held() - before) / PEERS as isize
}

/// Ten seconds of the camera, and of what its watchers tell of it.
fn play(server: &mut Server, publisher: &mut Client, watchers: &mut [Client], reports: &mut Reports) {
    for at in 1..=300 {
        publisher.keyframe_due |= at % 30 == 0;
        for mut packet in publisher.frame() {
            server.datagram(publisher.address, &mut packet);
        }
        pass(server, 33, reports);
        if at % (REPORT_MS / 33) == 0 {
            for (from, mut message) in reports.tell(watchers) {
                server.datagram(from, &mut message);
            }
        }
    }
}

fn pass(server: &mut Server, millis: usize, reports: &mut Reports) {
    for _ in 0..millis {
        server.pass(Duration::from_millis(1));
        server.timers();
        while let Some(output) = server.sfu.poll_output() {
            let Output::Transmits(transmits) = output else { continue };
            for transmit in transmits {
                reports.note(transmit.to.socket(), transmit.packets().last().unwrap_or_default(), server.now);
            }
        }
    }
}

/// After its handshake, with the clients' side taken off.
fn bytes_of_an_association() -> isize {
    let acceptor = RtcDtlsAcceptor::new(&ServerCertificate::generate().unwrap()).unwrap();
    let config = client_config();
    let associations: Vec<_> = (0..PEERS).map(|_| handshake(&acceptor, &config)).collect();
    let before = counting::held();
    drop(associations);
    (before - counting::held()) / PEERS as isize
}

fn client_config() -> Arc<HandshakeConfig> {
    let certificate =
        Certificate::generate_self_signed(vec!["client".to_owned()], AwsLcRsProvider::new().crypto())
            .unwrap();
    let config = ConfigBuilder::default()
        .with_crypto_provider(Arc::new(AwsLcRsProvider::new()))
        .with_certificates(vec![certificate])
        .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_insecure_skip_verify(true)
        .build(true, None)
        .unwrap();
    Arc::new(config)
}

fn handshake(acceptor: &RtcDtlsAcceptor, config: &Arc<HandshakeConfig>) -> Box<dyn DtlsAssociation> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 5_000));
    let now = now();
    let mut client = Endpoint::new(server, TransportProtocol::UDP, None);
    client.connect(now, server, Arc::clone(config), None).unwrap();
    let mut association = acceptor.accept(SrtpProfile::AeadAes128Gcm, now).unwrap();
    let mut established = false;
    while !established {
        while let Some(datagram) = client.poll_transmit() {
            association.handle_datagram(&datagram.message, now);
        }
        while let Some(output) = association.poll() {
            match output {
                AssociationOutput::Transmit(datagram) => {
                    client.read(now, server, None, datagram.as_slice().into()).unwrap();
                }
                AssociationOutput::Established { .. } => established = true,
                other => panic!("{other:?}"),
            }
        }
    }
    association
}

#[expect(clippy::disallowed_methods, reason = "a handshake wants a time, and nothing here waits for one")]
fn now() -> Instant {
    Instant::now()
}
