//! A transport finds its way to a server over a bad line: ICE, DTLS with the engine's own acceptor, and media both ways.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc::UnboundedReceiver;
use vestibule_load::client::{
    Connect, Kind, MediaPlane, PerKind, PlaneEvent, PlaneOptions, ReceivedCodec, Receives, RemoteTransport,
    SendStream, SourceId, TransportError, fresh_ice,
};
use vestibule_load::media::{MediaLibrary, Model, OpusModel, Stamp};
use vestibule_load::sdp::EXTENSION_IDS;
use vestibule_media_core::dtls_gate::{DtlsGate, GateVerdict};
use vestibule_media_core::rtp::{HeaderWriter, RtpHeader};
use vestibule_media_core::sdp::{Fingerprint, IceParameters};
use vestibule_media_core::srtp::{SrtpOpener, SrtpProfile, SrtpRole, SrtpSealer, session};
use vestibule_media_core::stun::{self, IntegrityKey, Message};
use vestibule_media_engine::dtls::{
    AssociationOutput, DtlsAcceptor, DtlsAssociation, RtcDtlsAcceptor, ServerCertificate,
};

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the server side of a handshake in real time")]
    Instant::now()
}

/// One transport of an ICE-lite server that loses datagrams of both directions.
struct Server {
    socket: UdpSocket,
    ice: IceParameters,
    acceptor: RtcDtlsAcceptor,
    gate: DtlsGate,
    association: Option<Box<dyn DtlsAssociation>>,
    srtp: Option<(SrtpSealer, SrtpOpener)>,
    shown: Option<Fingerprint>,
    client: Option<SocketAddr>,
    rng: StdRng,
    loss: f64,
    opened: u64,
}

impl Server {
    /// Returns the fingerprint the client has shown.
    fn run(mut self, until: &AtomicBool) -> Option<Fingerprint> {
        let mut buffer = [0; 2_048];
        let mut sent = 0;
        while !until.load(Ordering::Relaxed) {
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer)
                && !self.rng.random_bool(self.loss)
            {
                self.datagram(&mut buffer[..len], from);
            }
            if let Some(association) = &mut self.association
                && association.deadline().is_some_and(|at| at <= now())
            {
                association.handle_timeout(now());
            }
            self.drain();
            // So that what the client hears says that it was heard.
            if self.opened > 0 {
                sent += 1;
                self.send_media(sent);
            }
        }
        self.shown
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(client) = self.client.filter(|_| !self.rng.random_bool(self.loss)) {
            self.socket.send_to(bytes, client).unwrap();
        }
    }

    fn datagram(&mut self, datagram: &mut [u8], from: SocketAddr) {
        match datagram[0] {
            0..=3 => {
                let Ok(Message::BindingRequest(request)) = stun::parse(datagram) else { return };
                let key = IntegrityKey::new(&self.ice.pwd);
                request.verify(&key).expect("the check has the server's password");
                let mut out = [0; 256];
                let len = stun::write_binding_success(&mut out, &request.transaction_id, from, &key);
                self.client = Some(from);
                self.send(&out[..len]);
            }
            20..=63 => match self.gate.inspect(datagram) {
                GateVerdict::Pass => self.give(datagram),
                GateVerdict::ClientHello { datagram, profile } => {
                    if self.association.is_none() {
                        self.association = Some(self.acceptor.accept(profile, now()).unwrap());
                    }
                    self.give(&datagram);
                }
                GateVerdict::Hold | GateVerdict::Refuse(_) => {}
            },
            _ => {
                let Some((_, opener)) = &mut self.srtp else { return };
                if (192..=223).contains(&datagram[1]) {
                    opener.open_rtcp(datagram).unwrap();
                    return;
                }
                let header = RtpHeader::parse(datagram).unwrap();
                let len = opener.open_rtp(datagram, &header).unwrap().len;
                assert_eq!(Stamp::read(&datagram[..len]).unwrap().source, SourceId(5));
                self.opened += 1;
            }
        }
    }

    fn give(&mut self, datagram: &[u8]) {
        if let Some(association) = &mut self.association {
            association.handle_datagram(datagram, now());
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.association.as_mut().and_then(|association| association.poll()) {
            match output {
                AssociationOutput::Transmit(datagram) => {
                    self.gate.sent(&datagram);
                    self.send(&datagram);
                }
                AssociationOutput::Established { keys, fingerprint } => {
                    self.gate.established();
                    self.shown = Some(fingerprint);
                    self.srtp = Some(session(&keys, SrtpRole::Server).unwrap());
                }
                // The client may have refused us.
                AssociationOutput::Failed(_) | AssociationOutput::Closed => {}
            }
        }
    }

    fn send_media(&mut self, number: u64) {
        let mut out = [0; 256];
        let header_len = HeaderWriter::new(&mut out, 111, false, number as u16, 0, 77, false).finish();
        let len = header_len + 60;
        let stamp = Stamp {
            source: SourceId(9),
            encoding: 0,
            keyframe: false,
            dtx: false,
            part: 0,
            counter: number,
            sent_at_ns: 0,
        };
        stamp.write(&mut out[header_len..len]);
        let Some((sealer, _)) = &mut self.srtp else { return };
        let sealed = sealer.seal_rtp(&mut out, header_len, len, number).unwrap();
        self.send(&out[..sealed]);
    }
}

/// Waits for an event. The channel closes when the plane is gone, so a plane that hangs shows as a test that does.
fn next(events: &mut UnboundedReceiver<PlaneEvent>) -> PlaneEvent {
    events.blocking_recv().expect("the plane runs")
}

fn plane(profile: SrtpProfile) -> (MediaPlane, UnboundedReceiver<PlaneEvent>) {
    MediaPlane::start(PlaneOptions {
        pin: None,
        bind: [127, 0, 0, 1].into(),
        announce: [127, 0, 0, 1].into(),
        profile,
        receive_buffer_bytes: 1 << 20,
        media: Arc::new(MediaLibrary::default()),
        transport_feedback: true,
    })
    .unwrap()
}

fn server(loss: f64, seed: u64) -> (Server, RemoteTransport) {
    let certificate = ServerCertificate::generate().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let ice = fresh_ice(&mut rng);
    let remote = RemoteTransport {
        ice: ice.clone(),
        candidates: vec![SocketAddr::from(([127, 0, 0, 1], 9)), socket.local_addr().unwrap()],
        fingerprint: certificate.fingerprint(),
    };
    let server = Server {
        socket,
        ice,
        acceptor: RtcDtlsAcceptor::new(&certificate).unwrap(),
        gate: DtlsGate::default(),
        association: None,
        srtp: None,
        shown: None,
        client: None,
        rng,
        loss,
        opened: 0,
    };
    (server, remote)
}

fn microphone() -> SendStream {
    SendStream {
        source: SourceId(5),
        kind: Kind::Audio,
        encoding: 0,
        model: Model::Opus(OpusModel { dtx: false }),
        ssrc: 55,
        rtx: None,
        payload_type: 111,
        mid: "0".to_owned(),
        rid: None,
        extensions: EXTENSION_IDS,
    }
}

fn receives() -> Receives {
    Receives {
        codecs: vec![ReceivedCodec { kind: Kind::Audio, payload_type: 111, rtx: None, nack: false }],
        extensions: EXTENSION_IDS,
        pairs: Vec::new(),
    }
}

#[test]
fn transports_connect_over_a_line_that_loses_a_fifth() {
    for (seed, profile) in (0..).zip([SrtpProfile::PREFERENCE; 3].concat()) {
        let (plane, mut events) = plane(profile);
        let (server, remote) = server(0.2, seed);
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || server.run(&until));
        let transport = plane.open(PerKind::default()).unwrap();
        plane.set_sending(transport.id, true);
        let sends = vec![microphone()];
        plane.connect(transport.id, Connect { remote, controlling: true, sends, receives: receives() });
        match next(&mut events) {
            PlaneEvent::Connected { id, .. } => assert_eq!(id, transport.id),
            other => panic!("seed {seed}: {other:?}"),
        }
        match next(&mut events) {
            PlaneEvent::FirstPacket { id, kind, .. } => assert_eq!((id, kind), (transport.id, Kind::Audio)),
            other => panic!("seed {seed}: {other:?}"),
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(thread.join().unwrap(), Some(plane.fingerprint()), "seed {seed}");
        plane.close(transport.id);
    }
}

#[test]
fn a_server_with_another_certificate_is_refused() {
    let (plane, mut events) = plane(SrtpProfile::AeadAes128Gcm);
    let (server, mut remote) = server(0.0, 1);
    remote.fingerprint = Fingerprint::from_sha256([1; 32]);
    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let thread = std::thread::spawn(move || server.run(&until));
    let transport = plane.open(PerKind::default()).unwrap();
    let connect = Connect { remote, controlling: true, sends: Vec::new(), receives: receives() };
    plane.connect(transport.id, connect);
    assert!(matches!(next(&mut events), PlaneEvent::Failed { reason: TransportError::Fingerprint, .. }));
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

#[test]
fn a_recording_that_is_not_there_fails_the_transport() {
    let (plane, mut events) = plane(SrtpProfile::AeadAes128Gcm);
    let (_server, remote) = server(0.0, 1);
    let transport = plane.open(PerKind::default()).unwrap();
    let model = Model::Recording(vestibule_load::media::RecordingId(0));
    let sends = vec![SendStream { model, ..microphone() }];
    plane.connect(transport.id, Connect { remote, controlling: true, sends, receives: receives() });
    assert!(matches!(next(&mut events), PlaneEvent::Failed { reason: TransportError::Recording, .. }));
}
