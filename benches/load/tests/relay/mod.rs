//! A forwarder between two transports of a plane, in real time on the loopback, that does to packets what a test asks.
//!
//! Both transports have the same keys in opposite roles, so that the relay may pass packets on as they are. It has the
//! keys, too, and looks into what it passes on.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{setsockopt, sockopt};
use vestibule_load::client::{
    Keyed, Kind, MediaPlane, PerKind, PlaneOptions, ReceivedCodec, Receives, Rtx, SendStream, SourceId,
    TransportId, WindowCounts,
};
use vestibule_load::media::{MediaLibrary, Model, Stamp};
use vestibule_load::sdp::{AUDIO_PAYLOAD_TYPE, EXTENSION_IDS, VIDEO_PAYLOAD_TYPE, VIDEO_RTX_PAYLOAD_TYPE};
use vestibule_media_core::rtp::RtpHeader;
use vestibule_media_core::srtp::{KeyingMaterial, SrtpOpener, SrtpProfile, SrtpRole, SrtpSealer, session};

/// What becomes of a media packet on its way from the sender to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Drop,
    Twice,
    /// After the next packet of its stream.
    Overtaken,
    /// After this time.
    Held(Duration),
    /// The sender is asked for a keyframe.
    PassAndAsk,
}

/// A packet as the relay sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) ssrc: u32,
    pub(crate) retransmission: bool,
    pub(crate) stamp: Stamp,
}

/// What the relay did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) media_passed: u64,
    pub(crate) media_dropped: u64,
    pub(crate) retransmissions_passed: u64,
    pub(crate) twice: u64,
    pub(crate) overtaken: u64,
    /// For each packet that was passed on, in ns: how long it was held at least, and how long it took at most from its
    /// stamp until the receiver's kernel had it.
    pub(crate) at_least: Vec<u64>,
    pub(crate) at_most: Vec<u64>,
    pub(crate) seen: Vec<Seen>,
    /// When a keyframe was asked for, in ns since the Unix epoch.
    pub(crate) asked: Vec<u64>,
}

pub(crate) type Rule = dyn FnMut(&Seen) -> Fate + Send;

pub(crate) fn wall_ns() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the relay measures in real time what the plane measures")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

pub(crate) struct Rig {
    pub(crate) plane: MediaPlane,
    pub(crate) sender: TransportId,
    stop: Arc<AtomicBool>,
    progress: Receiver<u64>,
    relay: Option<JoinHandle<Done>>,
}

/// A stream as a test asks for it.
pub(crate) fn stream(source: u32, model: Model) -> SendStream {
    let kind = if matches!(model, Model::Opus(_)) { Kind::Audio } else { Kind::Video };
    let ssrc = 1_000 + source;
    let video = kind == Kind::Video;
    SendStream {
        source: SourceId(source),
        kind,
        encoding: 0,
        model,
        ssrc,
        rtx: video.then_some(Rtx { ssrc: ssrc + 500, payload_type: VIDEO_RTX_PAYLOAD_TYPE }),
        payload_type: if video { VIDEO_PAYLOAD_TYPE } else { AUDIO_PAYLOAD_TYPE },
        mid: source.to_string(),
        rid: None,
        extensions: EXTENSION_IDS,
    }
}

pub(crate) fn receives(nack: bool) -> Receives {
    Receives {
        codecs: vec![
            ReceivedCodec { kind: Kind::Audio, payload_type: AUDIO_PAYLOAD_TYPE, rtx: None, nack: false },
            ReceivedCodec {
                kind: Kind::Video,
                payload_type: VIDEO_PAYLOAD_TYPE,
                rtx: Some(VIDEO_RTX_PAYLOAD_TYPE),
                nack,
            },
        ],
        extensions: EXTENSION_IDS,
        pairs: Vec::new(),
    }
}

impl Done {
    /// How many packets were sent, retransmissions not counted.
    pub(crate) fn media(&self) -> u64 {
        self.seen.iter().filter(|seen| !seen.retransmission).count() as u64
    }

    /// Whether the relay itself lost none of what was sent, and the receiver's socket neither.
    pub(crate) fn is_whole(&self, counts: &WindowCounts) -> bool {
        let sent = counts.sent.total().packets - counts.retransmissions_sent;
        counts.socket_drops == 0 && counts.send_failures == 0 && self.media() == sent
    }
}

impl Rig {
    /// A plane with a sender and a receiver that have the relay between them. Nothing flows yet.
    pub(crate) fn new(
        streams: Vec<SendStream>,
        nack: bool,
        rule: impl FnMut(&Seen) -> Fate + Send + 'static,
    ) -> Self {
        let profile = SrtpProfile::AeadAes128Gcm;
        let options = PlaneOptions {
            pin: None,
            bind: [127, 0, 0, 1].into(),
            announce: [127, 0, 0, 1].into(),
            profile,
            receive_buffer_bytes: 4 << 20,
            media: Arc::new(MediaLibrary::default()),
            transport_feedback: true,
        };
        let (plane, _) = MediaPlane::start(options).unwrap();
        let expected =
            PerKind { audio: 0, video: streams.iter().filter(|s| s.kind == Kind::Video).count() as u32 };
        let (from, to) = (plane.open(PerKind::default()).unwrap(), plane.open(expected).unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Past the system's limit where that is allowed.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let keys = KeyingMaterial::from_exporter(profile, &[7; 56]).unwrap();
        let remote = Some(socket.local_addr().unwrap());
        let keyed = |role, sends, receives| Keyed { remote, keys: keys.clone(), role, sends, receives };
        plane.connect_keyed(from.id, keyed(SrtpRole::Client, streams, Receives::default()));
        plane.connect_keyed(to.id, keyed(SrtpRole::Server, Vec::new(), receives(nack)));
        let stop = Arc::new(AtomicBool::new(false));
        let (told, progress) = channel();
        let relay = Relay {
            socket,
            sender: from.address,
            receiver: to.address,
            opener: session(&keys, SrtpRole::Server).unwrap().1,
            sealer: session(&keys, SrtpRole::Server).unwrap().0,
            rule: Box::new(rule),
            overtaken: HashMap::new(),
            held: VecDeque::new(),
            done: Done::default(),
            told,
        };
        let until = Arc::clone(&stop);
        let relay = std::thread::spawn(move || relay.run(&until));
        Self { plane, sender: from.id, stop, progress, relay: Some(relay) }
    }

    /// Begins a window, lets media flow until the relay has seen `media` packets as they were first sent, and ends it.
    pub(crate) fn measure(&mut self, media: u64) -> (WindowCounts, Done) {
        self.plane.begin_window();
        self.plane.set_sending(self.sender, true);
        while self.progress.recv().unwrap() < media {}
        self.plane.set_sending(self.sender, false);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let counts = runtime.block_on(self.plane.end_window());
        self.stop.store(true, Ordering::Relaxed);
        (counts, self.relay.take().unwrap().join().unwrap())
    }
}

struct Relay {
    socket: UdpSocket,
    sender: SocketAddr,
    receiver: SocketAddr,
    opener: SrtpOpener,
    sealer: SrtpSealer,
    rule: Box<Rule>,
    /// By SSRC: what waits for the packet after it.
    overtaken: HashMap<u32, (Vec<u8>, Seen)>,
    /// What is held until some time, in ns.
    held: VecDeque<(u64, u64, Vec<u8>, Seen)>,
    done: Done,
    told: Sender<u64>,
}

impl Relay {
    fn run(mut self, until: &AtomicBool) -> Done {
        let mut buffer = [0; 2_048];
        while !until.load(Ordering::Relaxed) {
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                self.datagram(&buffer[..len], from);
            }
            while self.held.front().is_some_and(|(due, ..)| *due <= wall_ns()) {
                let (_, came_at, bytes, seen) = self.held.pop_front().unwrap();
                self.pass(&bytes, &seen, came_at);
            }
        }
        self.done
    }

    fn datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        let came_at = wall_ns();
        let is_rtcp = (192..=223).contains(&datagram[1]);
        if from == self.receiver || is_rtcp {
            let to = if from == self.receiver { self.sender } else { self.receiver };
            self.socket.send_to(datagram, to).unwrap();
            return;
        }
        let header = RtpHeader::parse(datagram).unwrap();
        let mut opened = datagram.to_vec();
        let len = self.opener.open_rtp(&mut opened, &header).unwrap().len;
        let stamp = Stamp::read(&opened[..len]).expect("each packet has a stamp");
        let retransmission = header.payload_type == VIDEO_RTX_PAYLOAD_TYPE;
        let seen = Seen { ssrc: header.ssrc, retransmission, stamp };
        self.done.seen.push(seen);
        let before = self.overtaken.remove(&header.ssrc);
        match (self.rule)(&seen) {
            Fate::Pass => self.pass(datagram, &seen, came_at),
            Fate::Drop => self.done.media_dropped += u64::from(!retransmission),
            Fate::Twice => {
                self.pass(datagram, &seen, came_at);
                self.socket.send_to(datagram, self.receiver).unwrap();
                self.done.twice += 1;
            }
            Fate::Overtaken => {
                self.done.overtaken += 1;
                self.overtaken.insert(header.ssrc, (datagram.to_vec(), seen));
            }
            Fate::Held(time) => {
                let due = came_at + time.as_nanos() as u64;
                self.held.push_back((due, came_at, datagram.to_vec(), seen));
            }
            Fate::PassAndAsk => {
                self.ask_for_keyframe(header.ssrc);
                self.pass(datagram, &seen, came_at);
            }
        }
        if let Some((bytes, seen)) = before {
            self.pass(&bytes, &seen, came_at);
        }
        let media = self.done.media();
        // The test may have all it wants.
        let _ = self.told.send(media);
    }

    fn pass(&mut self, datagram: &[u8], seen: &Seen, came_at: u64) {
        let at_least = wall_ns() - came_at;
        self.socket.send_to(datagram, self.receiver).unwrap();
        // On the loopback the receiver's kernel has it when the call returns.
        let at_most = wall_ns() - seen.stamp.sent_at_ns;
        if seen.retransmission {
            self.done.retransmissions_passed += 1;
        } else {
            self.done.media_passed += 1;
            self.done.at_least.push(at_least);
            self.done.at_most.push(at_most);
        }
    }

    fn ask_for_keyframe(&mut self, ssrc: u32) {
        let mut out = [0; 64];
        let mut writer = vestibule_media_core::rtcp::RtcpWriter::new(&mut out);
        // Not the receiver's own, whose numbering the sender follows.
        writer.pli(4_242, ssrc).unwrap();
        let len = writer.len();
        let len = self.sealer.seal_rtcp(&mut out, len).unwrap();
        self.socket.send_to(&out[..len], self.sender).unwrap();
        self.done.asked.push(wall_ns());
    }
}
