//! Handshakes of an `rtc-dtls` client through the core's gate with an association here, over a seeded lossy
//! line in virtual time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::config::{ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use vestibule_media_core::dtls_gate::{DtlsGate, GateVerdict};
use vestibule_media_core::sdp::Fingerprint;
use vestibule_media_core::srtp::{KeyingMaterial, SrtpProfile, SrtpRole, session};

use super::acceptor::{RtcDtlsAssociation, library_profile};
use super::*;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5_000);
/// After how long Chromium repeats its ClientHello; it doubles with each repeat.
const CHROMIUM_FIRST_REPEAT: Duration = Duration::from_millis(50);
/// How often BoringSSL sends a flight again.
const CHROMIUM_REPEATS_MAX: u32 = 12;
/// How often `rtc-dtls` does.
const LIBRARY_REPEATS_MAX: u32 = 7;

pub(super) fn start() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time is counted from some instant, and there is no other way to one"
    )]
    Instant::now()
}

/// What the client shows and wants; made once, for making it takes longer than a handshake.
pub(super) struct ClientSetup {
    config: Arc<HandshakeConfig>,
    fingerprint: Fingerprint,
}

impl ClientSetup {
    pub(super) fn new(profiles: &[SrtpProtectionProfile], with_certificate: bool) -> Self {
        let provider = AwsLcRsProvider::new();
        let certificate =
            Certificate::generate_self_signed(vec!["client".to_owned()], provider.crypto()).unwrap();
        let fingerprint = Fingerprint::of_certificate(&certificate.certificate[0]);
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::new(provider))
            .with_certificates(if with_certificate { vec![certificate] } else { vec![] })
            .with_srtp_protection_profiles(profiles.to_vec())
            .with_insecure_skip_verify(true)
            .with_flight_interval(CHROMIUM_FIRST_REPEAT)
            .build(true, Some(SERVER))
            .unwrap();
        Self { config: Arc::new(config), fingerprint }
    }

    /// Chromium's order.
    fn chromium() -> Self {
        Self::new(
            &[
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            ],
            true,
        )
    }
}

/// A client with the manners of Chromium: its ClientHello comes in two datagrams, and every flight that goes
/// unanswered is repeated after 50 ms, 100 ms, and so on.
///
/// `rtc-dtls` as a client has the flaw it has as a server, that any handshake record disarms its timer, and
/// it gives up sooner than a browser. So the ClientHellos are repeated here, it is shown nothing it has read
/// before, and after its last repeat of the last flight that is sent as it was, but for the numbers of the
/// clear records.
pub(super) struct Client {
    endpoint: Endpoint,
    /// Numbers of clear records, as cutting ClientHellos makes more of them.
    next_record: u64,
    /// What is being waited with for an answer: a ClientHello as it was before it was cut, or the last
    /// flight.
    unanswered: Vec<u8>,
    flight: Flight,
    tries: u32,
    deadline: Option<Instant>,
    outbox: Vec<Vec<u8>>,
    pub(super) complete: bool,
    pub(super) failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Hello,
    HelloWithCookie,
    Last,
}

impl Client {
    pub(super) fn connect(setup: &ClientSetup, now: Instant) -> Self {
        let mut client = Self {
            endpoint: Endpoint::new(SERVER, TransportProtocol::UDP, None),
            next_record: 0,
            unanswered: Vec::new(),
            flight: Flight::Hello,
            tries: 0,
            deadline: None,
            outbox: Vec::new(),
            complete: false,
            failed: false,
        };
        client.endpoint.connect(now, SERVER, Arc::clone(&setup.config), None).unwrap();
        client.drain(now);
        client
    }

    pub(super) fn take_outbox(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.outbox)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| !self.failed && !self.complete)
    }

    pub(super) fn receive(&mut self, datagram: &[u8], now: Instant) {
        if self.failed || self.has_read(datagram) {
            return;
        }
        match self.endpoint.read(now, SERVER, None, datagram.into()) {
            Ok(events) => {
                self.complete |= events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
            }
            Err(_) => self.failed = true,
        }
        self.drain(now);
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|at| now < at) {
            return;
        }
        self.tries += 1;
        self.failed |= self.tries > CHROMIUM_REPEATS_MAX;
        let again = self.unanswered.clone();
        match self.flight {
            Flight::Last if self.tries <= LIBRARY_REPEATS_MAX => {
                self.failed |= self.endpoint.handle_timeout(SERVER, now).is_err();
                self.drain(now);
            }
            Flight::Last => self.send_last_flight(&again),
            Flight::Hello | Flight::HelloWithCookie => self.send_hello(&again),
        }
        self.deadline = Some(now + CHROMIUM_FIRST_REPEAT * 2_u32.pow(self.tries));
    }

    /// Whether a datagram holds only clear messages of a flight this client has answered.
    fn has_read(&self, datagram: &[u8]) -> bool {
        let answered = match self.flight {
            Flight::Hello => return false,
            Flight::HelloWithCookie => 0,
            Flight::Last => 5,
        };
        records(datagram).all(|record| record[0] == 22 && epoch(record) == 0 && record[18] <= answered)
    }

    fn drain(&mut self, now: Instant) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let datagram = transmit.message;
            let hello = datagram[0] == 22 && epoch(&datagram) == 0 && datagram[13] == 1;
            let flight = match (hello, self.flight) {
                (true, _) if datagram[18] == 0 => Flight::Hello,
                (true, _) => Flight::HelloWithCookie,
                (false, _) => Flight::Last,
            };
            if self.flight != flight || self.deadline.is_none() {
                self.flight = flight;
                self.tries = 0;
                self.deadline = Some(now + CHROMIUM_FIRST_REPEAT);
            }
            self.unanswered = datagram.to_vec();
            match hello {
                true => self.send_hello(&datagram),
                false => self.send_last_flight(&datagram),
            }
        }
    }

    fn send_last_flight(&mut self, datagram: &[u8]) {
        let renumbered = records(datagram).flat_map(|record| self.renumber(record)).collect();
        self.outbox.push(renumbered);
    }

    /// Cuts a ClientHello into two fragments, each in a datagram of its own.
    fn send_hello(&mut self, hello: &[u8]) {
        let body = &hello[25..];
        let cut = body.len() * 2 / 3;
        for (from, to) in [(0, cut), (cut, body.len())] {
            let mut datagram = hello[..25].to_vec();
            datagram[11..13].copy_from_slice(&((12 + to - from) as u16).to_be_bytes());
            datagram[19..22].copy_from_slice(&(from as u32).to_be_bytes()[1..]);
            datagram[22..25].copy_from_slice(&((to - from) as u32).to_be_bytes()[1..]);
            datagram.extend_from_slice(&body[from..to]);
            let datagram = self.renumber(&datagram);
            self.outbox.push(datagram);
        }
    }

    /// Gives a clear record a number not used yet. What is encrypted is authenticated with its number.
    fn renumber(&mut self, record: &[u8]) -> Vec<u8> {
        let mut record = record.to_vec();
        if epoch(&record) == 0 {
            record[5..11].copy_from_slice(&self.next_record.to_be_bytes()[2..]);
            self.next_record += 1;
        }
        record
    }

    fn keys(&self, profile: SrtpProfile) -> KeyingMaterial {
        let state = self.endpoint.get_connection_state(SERVER).unwrap();
        assert_eq!(state.srtp_protection_profile(), library_profile(profile));
        let exported =
            state.export_keying_material("EXTRACTOR-dtls_srtp", &[], profile.exporter_len()).unwrap();
        KeyingMaterial::from_exporter(profile, exported.as_ref()).unwrap()
    }

    fn server_fingerprint(&self) -> Fingerprint {
        let state = self.endpoint.get_connection_state(SERVER).unwrap();
        Fingerprint::of_certificate(&state.peer_certificates[0])
    }
}

fn epoch(record: &[u8]) -> u16 {
    u16::from_be_bytes([record[3], record[4]])
}

fn records(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let len = 13 + usize::from(u16::from_be_bytes([*rest.get(11)?, *rest.get(12)?]));
        let (record, after) = rest.split_at(len);
        rest = after;
        Some(record)
    })
}

/// The server's side: gate, association and what came of it.
struct Server<'a> {
    acceptor: &'a RtcDtlsAcceptor,
    filter: bool,
    gate: DtlsGate,
    association: Option<RtcDtlsAssociation>,
    outbox: Vec<Vec<u8>>,
    established: Option<(KeyingMaterial, Fingerprint)>,
    failed: Option<DtlsError>,
    closed: bool,
    datagrams_given: usize,
}

impl<'a> Server<'a> {
    fn new(acceptor: &'a RtcDtlsAcceptor, filter: bool) -> Self {
        Self {
            acceptor,
            filter,
            gate: DtlsGate::default(),
            association: None,
            outbox: Vec::new(),
            established: None,
            failed: None,
            closed: false,
            datagrams_given: 0,
        }
    }

    fn receive(&mut self, datagram: &[u8], now: Instant) {
        match self.gate.inspect(datagram) {
            GateVerdict::Pass => self.give(datagram, now),
            GateVerdict::ClientHello { datagram, profile } => {
                let (acceptor, filter) = (self.acceptor, self.filter);
                self.association.get_or_insert_with(|| {
                    let association = acceptor.associate(profile, now).unwrap();
                    if filter { association } else { association.without_filter() }
                });
                self.give(&datagram, now);
            }
            GateVerdict::Hold | GateVerdict::Refuse(_) => {}
        }
    }

    fn give(&mut self, datagram: &[u8], now: Instant) {
        self.datagrams_given += 1;
        if let Some(association) = &mut self.association {
            association.handle_datagram(datagram, now);
        }
        self.drain();
    }

    fn deadline(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|association| association.deadline())
    }

    fn timeout(&mut self, now: Instant) {
        if let Some(association) = &mut self.association {
            association.handle_timeout(now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.association.as_mut().and_then(|association| association.poll()) {
            match output {
                AssociationOutput::Transmit(datagram) => {
                    if self.filter {
                        self.gate.sent(&datagram);
                    }
                    self.outbox.push(datagram);
                }
                AssociationOutput::Established { keys, fingerprint } => {
                    assert!(self.established.is_none(), "established twice");
                    self.gate.established();
                    self.established = Some((keys, fingerprint));
                }
                AssociationOutput::Failed(error) => self.failed = Some(error),
                AssociationOutput::Closed => self.closed = true,
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Toward {
    Client,
    Server,
}

/// A line that loses datagrams of both directions alike and delays them by 15 to 35 ms, so that they
/// overtake.
struct Line {
    rng: StdRng,
    loss: f64,
    underway: BTreeMap<(Instant, u64), (Toward, Vec<u8>)>,
    sent: u64,
}

impl Line {
    fn send(&mut self, toward: Toward, datagrams: Vec<Vec<u8>>, now: Instant) {
        for datagram in datagrams {
            self.sent += 1;
            let delay = Duration::from_micros(self.rng.random_range(15_000..35_000));
            if !self.rng.random_bool(self.loss) {
                self.underway.insert((now + delay, self.sent), (toward, datagram));
            }
        }
    }
}

/// One handshake until both sides are done, or nobody has anything left to do.
fn handshake<'a>(
    setup: &ClientSetup,
    acceptor: &'a RtcDtlsAcceptor,
    filter: bool,
    loss: f64,
    seed: u64,
) -> (Client, Server<'a>, Duration) {
    let begin = start();
    let mut now = begin;
    let mut line = Line { rng: StdRng::seed_from_u64(seed), loss, underway: BTreeMap::new(), sent: 0 };
    let mut client = Client::connect(setup, now);
    let mut server = Server::new(acceptor, filter);
    loop {
        line.send(Toward::Server, client.take_outbox(), now);
        line.send(Toward::Client, std::mem::take(&mut server.outbox), now);
        if client.complete && server.established.is_some() {
            break;
        }
        let arrives = line.underway.first_key_value().map(|(&(at, _), _)| at);
        let Some(next) = [arrives, client.deadline(), server.deadline()].into_iter().flatten().min() else {
            break;
        };
        now = next.max(now);
        if arrives == Some(next)
            && let Some((_, (toward, datagram))) = line.underway.pop_first()
        {
            match toward {
                Toward::Client => client.receive(&datagram, now),
                Toward::Server => server.receive(&datagram, now),
            }
        }
        client.timeout(now);
        server.timeout(now);
    }
    (client, server, now - begin)
}

fn rig() -> (ServerCertificate, RtcDtlsAcceptor) {
    let certificate = ServerCertificate::generate().unwrap();
    let acceptor = RtcDtlsAcceptor::new(&certificate).unwrap();
    (certificate, acceptor)
}

/// Both sides can read each other with what they exported.
fn assert_same_keys(ours: &KeyingMaterial, theirs: &KeyingMaterial) {
    assert_eq!(ours.profile(), theirs.profile());
    assert_eq!((ours.client_key(), ours.client_salt()), (theirs.client_key(), theirs.client_salt()));
    assert_eq!((ours.server_key(), ours.server_salt()), (theirs.server_key(), theirs.server_salt()));
    let (mut sealer, _) = session(ours, SrtpRole::Server).unwrap();
    let (_, mut opener) = session(theirs, SrtpRole::Client).unwrap();
    let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 1];
    packet.resize(8 + sealer.rtcp_overhead(), 0);
    let len = sealer.seal_rtcp(&mut packet, 8).unwrap();
    assert_eq!(opener.open_rtcp(&mut packet[..len]), Ok(8));
}

fn assert_all_complete(loss: f64) {
    let (certificate, acceptor) = rig();
    let setup = ClientSetup::chromium();
    let mut took = Vec::new();
    for seed in 0..200 {
        let (client, server, duration) = handshake(&setup, &acceptor, true, loss, seed);
        assert!(server.failed.is_none(), "loss {loss} seed {seed}: {:?}", server.failed);
        assert!(!client.failed, "loss {loss} seed {seed}: the client gave up");
        let (keys, fingerprint) = server.established.as_ref().expect("the loop ends when both are done");
        assert!(client.complete, "loss {loss} seed {seed}: nobody has anything left to do");
        assert_eq!(*fingerprint, setup.fingerprint);
        assert_eq!(client.server_fingerprint(), certificate.fingerprint());
        assert_same_keys(keys, &client.keys(SrtpProfile::AeadAes128Gcm));
        took.push(duration);
    }
    took.sort();
    vestibule_sim::report!(
        "{loss} lost each way, 200 handshakes: median {:?}, 95 % {:?}, longest {:?}",
        took[100],
        took[190],
        took[199]
    );
}

#[test]
fn two_hundred_handshakes_complete_with_a_tenth_of_the_datagrams_lost_each_way() {
    assert_all_complete(0.10);
}

#[test]
fn two_hundred_handshakes_complete_with_a_quarter_of_the_datagrams_lost_each_way() {
    assert_all_complete(0.25);
}

/// `rtc-dtls` 0.21.1, server role: a ClientHello repeated while the server waits for the client's last flight
/// disarms its retransmission timer. If the server's flight was lost, nobody sends anything that helps any
/// more.
#[test]
fn a_repeated_client_hello_deadlocks_the_library_and_the_filter_prevents_it() {
    let (_, acceptor) = rig();
    let setup = ClientSetup::chromium();
    let stuck = |filter| {
        let complete = |&seed: &u64| {
            let (client, server, _) = handshake(&setup, &acceptor, filter, 0.10, seed);
            client.complete && server.established.is_some()
        };
        200 - (0..200).filter(complete).count()
    };
    let (without, with) = (stuck(false), stuck(true));
    vestibule_sim::report!(
        "of 200 handshakes at a tenth lost each way, without the filter {without} never complete, with it {with}"
    );
    assert!(without > 0, "the library has mended its timer: the filter may go");
    assert_eq!(with, 0);
}

#[test]
fn each_profile_is_negotiated_when_it_is_the_best_on_offer() {
    let (_, acceptor) = rig();
    for profile in SrtpProfile::PREFERENCE {
        let setup = ClientSetup::new(&[library_profile(profile)], true);
        let (client, server, _) = handshake(&setup, &acceptor, true, 0.0, 1);
        let (keys, _) = server.established.expect("established");
        assert_same_keys(&keys, &client.keys(profile));
    }
}

#[test]
fn a_client_without_srtp_never_reaches_the_library() {
    let (_, acceptor) = rig();
    for profiles in [&[][..], &[SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32][..]] {
        let setup = ClientSetup::new(profiles, true);
        let (client, server, _) = handshake(&setup, &acceptor, true, 0.0, 1);
        assert!(!client.complete && server.established.is_none());
        assert_eq!(server.datagrams_given, 0);
    }
}

/// What the gate prevents: the association holds its own, should the profile not be what it was told.
#[test]
fn an_association_fails_on_another_profile_and_on_none() {
    let (_, acceptor) = rig();
    for profiles in [&[SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80][..], &[][..]] {
        let now = start();
        let setup = ClientSetup::new(profiles, true);
        let mut client = Client::connect(&setup, now);
        let mut association = acceptor.associate(SrtpProfile::AeadAes128Gcm, now).unwrap();
        // Past the gate, so each ClientHello is put together here.
        let mut failed = None;
        for _ in 0..8 {
            for datagram in whole_hellos(client.take_outbox()) {
                association.handle_datagram(&datagram, now);
            }
            while let Some(output) = association.poll() {
                match output {
                    AssociationOutput::Transmit(datagram) => client.receive(&datagram, now),
                    AssociationOutput::Failed(error) => failed = Some(error),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(matches!(failed, Some(DtlsError::Handshake(_) | DtlsError::WrongSrtpProfile)), "{failed:?}");
        assert_eq!(association.deadline(), None);
    }
}

/// Puts ClientHellos together again that the client cut in two.
fn whole_hellos(datagrams: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut whole: Vec<Vec<u8>> = Vec::new();
    for datagram in datagrams {
        let is_rest = datagram[13] == 1 && epoch(&datagram) == 0 && datagram[19..22] != [0, 0, 0];
        match whole.last_mut() {
            Some(first) if is_rest => {
                first.extend_from_slice(&datagram[25..]);
                let len = first.len() - 25;
                first[11..13].copy_from_slice(&((len + 12) as u16).to_be_bytes());
                first[22..25].copy_from_slice(&(len as u32).to_be_bytes()[1..]);
            }
            _ => whole.push(datagram),
        }
    }
    whole
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let (_, acceptor) = rig();
    let setup = ClientSetup::new(&[SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm], false);
    let (client, server, _) = handshake(&setup, &acceptor, true, 0.0, 1);
    assert!(server.established.is_none() && server.failed.is_some() && !client.complete);
}

#[test]
fn the_last_flight_is_repeated_when_the_client_repeats_its_own() {
    let (_, acceptor) = rig();
    let setup = ClientSetup::chromium();
    let now = start();
    let mut client = Client::connect(&setup, now);
    let mut server = Server::new(&acceptor, true);
    while server.established.is_none() {
        client.take_outbox().iter().for_each(|datagram| server.receive(datagram, now));
        let answers = std::mem::take(&mut server.outbox);
        if server.established.is_none() {
            answers.iter().for_each(|datagram| client.receive(datagram, now));
        }
    }
    // The server's last flight was lost: the client repeats its own after 50 ms.
    assert!(!client.complete);
    let later = now + CHROMIUM_FIRST_REPEAT;
    client.timeout(later);
    client.take_outbox().iter().for_each(|datagram| server.receive(datagram, later));
    assert!(!server.outbox.is_empty(), "the server repeats its last flight");
    std::mem::take(&mut server.outbox).iter().for_each(|datagram| client.receive(datagram, later));
    assert!(client.complete);
}

#[test]
fn a_client_that_closes_is_heard() {
    let (_, acceptor) = rig();
    let (mut client, mut server, _) = handshake(&ClientSetup::chromium(), &acceptor, true, 0.0, 1);
    let now = start();
    client.endpoint.close(now).unwrap();
    while let Some(transmit) = client.endpoint.poll_transmit() {
        server.receive(&transmit.message, now);
    }
    assert!(server.closed);
}

#[test]
fn a_handshake_that_goes_nowhere_is_given_up() {
    let (_, acceptor) = rig();
    let setup = ClientSetup::chromium();
    let begin = start();
    let mut server = Server::new(&acceptor, true);
    Client::connect(&setup, begin).take_outbox().iter().for_each(|datagram| server.receive(datagram, begin));
    let mut now = begin;
    let mut wakes = 0;
    while let Some(at) = server.deadline() {
        now = at;
        server.timeout(now);
        wakes += 1;
    }
    assert!(matches!(server.failed, Some(DtlsError::Timeout)), "{:?}", server.failed);
    assert_eq!(now - begin, vestibule_media_core::bounds::CONNECT_TIMEOUT);
    assert!(wakes < 50, "{wakes} wakes");
}

/// Once the ServerHello is out and the client silent, the flight is sent eight times, over nine seconds.
#[test]
fn an_unanswered_flight_is_repeated_ever_more_slowly() {
    let (_, acceptor) = rig();
    let begin = start();
    let mut client = Client::connect(&ClientSetup::chromium(), begin);
    let mut server = Server::new(&acceptor, true);
    for _ in 0..2 {
        client.take_outbox().iter().for_each(|datagram| server.receive(datagram, begin));
        let answers = std::mem::take(&mut server.outbox);
        answers.iter().for_each(|datagram| client.receive(datagram, begin));
    }
    let mut sent_at = vec![0];
    while let Some(at) = server.deadline() {
        server.timeout(at);
        if !std::mem::take(&mut server.outbox).is_empty() {
            sent_at.push((at - begin).as_millis());
        }
    }
    assert_eq!(sent_at, [0, 250, 750, 1_500, 2_500, 3_750, 5_250, 7_000]);
    assert!(matches!(server.failed, Some(DtlsError::Handshake(_))));
}

#[test]
fn the_fragment_attack_never_reaches_an_association() {
    let (_, acceptor) = rig();
    let now = start();
    let mut server = Server::new(&acceptor, true);
    let begin = start();
    for number in 0..223_u32 {
        let mut body = Vec::new();
        for at in number * 90..(number + 1) * 90 {
            body.extend_from_slice(&[1, 0, 0x1f, 0xff, 0, 0]);
            body.extend_from_slice(&(at % 0x1fff).to_be_bytes()[1..]);
            body.extend_from_slice(&[0, 0, 1, 0x55]);
        }
        let mut datagram = vec![22, 0xfe, 0xfd, 0, 0, 0, 0];
        datagram.extend_from_slice(&number.to_be_bytes());
        datagram.extend_from_slice(&(body.len() as u16).to_be_bytes());
        datagram.extend_from_slice(&body);
        server.receive(&datagram, now);
    }
    vestibule_sim::report!("223 datagrams of 90 one-byte fragments: {:?}", begin.elapsed());
    assert_eq!(server.datagrams_given, 0);
    assert!(server.association.is_none());
    let (bytes, fragments) = server.gate.held();
    assert!(bytes <= 8_192 && fragments <= 8);
}

#[test]
fn garbage_truncated_and_oversized_datagrams_never_panic() {
    let (_, acceptor) = rig();
    let setup = ClientSetup::chromium();
    let now = start();
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut client = Client::connect(&setup, now);
        let mut server = Server::new(&acceptor, true);
        let mut gateless = acceptor.associate(SrtpProfile::AeadAes128Gcm, now).unwrap();
        for _ in 0..4 {
            for datagram in client.take_outbox() {
                for _ in 0..20 {
                    let mut bad = datagram.clone();
                    for _ in 0..rng.random_range(0..5) {
                        let at = rng.random_range(0..bad.len());
                        bad[at] = rng.random();
                    }
                    bad.truncate(rng.random_range(0..=bad.len()));
                    bad.resize(bad.len() + rng.random_range(0..3) * 800, rng.random());
                    server.receive(&bad, now);
                    gateless.handle_datagram(&bad, now);
                    while gateless.poll().is_some() {}
                }
                server.receive(&datagram, now);
            }
            std::mem::take(&mut server.outbox).iter().for_each(|datagram| client.receive(datagram, now));
        }
    }
}
