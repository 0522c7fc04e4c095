//! A simulated browser: checks connectivity, publishes synthetic media as libwebrtc would, and receives like one, with
//! NACK, RTX, PLI, reports and transport-wide feedback.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vestibule_media_core::TransportAddress;
use vestibule_media_core::api::{AudioProfile, PeerId, SeatInfo, SourceKind};
use vestibule_media_core::demux::{DatagramKind, classify};
use vestibule_media_core::rtcp::{ReportBlock, RtcpPacket, RtcpWriter, SenderInfo, packets};
use vestibule_media_core::rtp::{ExtensionIds, HeaderWriter, RtpHeader};
use vestibule_media_core::sdp::{CodecName, Rid};
use vestibule_media_core::srtp::{KeyingMaterial, SrtpOpener, SrtpProfile, SrtpRole, SrtpSealer, session};
use vestibule_media_core::stun::{self, IntegrityKey, Message};
use vestibule_media_core::time::{NtpTime, Time, WallClock};
use vestibule_media_core::twcc::TwccRecorder;

use crate::checker::CheckedLine;
use crate::coding::{self, is_layered};
use crate::estimate::ReceiverEstimate;
use crate::offer::{self, ClientAnswer, ClientLine, ClientOffer};
use crate::playout::DELAY_MAX;
use crate::receive::{Media, Packet, Received, RxStream};
use crate::red::{self, Red};
use crate::synthetic::{Scalability, TAG_BYTES, Tag, Temporal};
use crate::uplink::Uplink;

/// How often a browser checks its path (libwebrtc: 2.5 s on a stable one).
const CHECK_INTERVAL: Duration = Duration::from_millis(2_500);
const CHECK_DOUBTFUL: Duration = Duration::from_millis(480);
const CHECK_RETRY: Duration = Duration::from_millis(100);
const RECEIVER_TICK: Duration = Duration::from_millis(20);
/// What libwebrtc's transport-wide feedback takes of the way up at the most, its bytes, and the longest time between two.
const FEEDBACK_SHARE: f64 = 0.05;
const FEEDBACK_BYTES: f64 = 68.0;
const FEEDBACK_INTERVAL_MAX: Duration = Duration::from_millis(250);
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Packets of one SSRC that carry mid and rid.
const FIRST_PACKETS: u64 = 30;
const PACKET_BYTES: usize = 1_100;
const FRAME_INTERVAL: Duration = Duration::from_millis(33);
/// Opus as browsers send it, and as it is sent when asked to be thrifty.
const VOICE: Voice = Voice { frame: Duration::from_millis(20), bytes: 80 };
const VOICE_THRIFTY: Voice = Voice { frame: Duration::from_millis(60), bytes: 120 };
const VOICE_LEAST: Voice = Voice { frame: Duration::from_millis(120), bytes: 120 };
/// How a keyframe compares to the frames between: of encoders that are always alike, and of others.
const KEYFRAME_SIZE: f64 = 4.0;
const KEYFRAME_SIZES: std::ops::RangeInclusive<f64> = 4.0..=6.0;
const FRAME_SIZES: std::ops::RangeInclusive<f64> = 0.8..=1.2;
/// What a voice takes of the way up, below what a browser sends no picture at all, and the poorest it sends, of the lowest.
const VOICE_BPS: f64 = 60_000.0;
const PICTURE_BPS_MIN: u64 = 45_000;
const SHARE_MIN: f64 = 0.2;
/// RFC 6464: the V bit, and the level of who speaks all the time, in -dBov. Quieter than the second is no voice.
const VOICE_ACTIVITY: u8 = 0x80;
const LEVEL_SPEAKING: u8 = 30;
/// A client's SSRC of its screen, from the first of its own.
const SCREEN_SSRC: u32 = 40;
/// How often the receiver's own estimate is told.
const REMB_INTERVAL: Duration = Duration::from_secs(1);
/// Who estimates it themselves takes a new look so often, and at once when a queue grows (aiortc).
const ESTIMATE_INTERVAL: Duration = Duration::from_millis(500);
const LEVEL_QUIET: u8 = 70;

/// The frames of a voice.
struct Voice {
    frame: Duration,
    bytes: usize,
}

/// How a publisher fills the VP8 payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureIds {
    /// 15 bits and TL0PICIDX, as libwebrtc does.
    Wide,
    /// The same, and KEYIDX.
    Keyed,
    /// 7 bits, no TL0PICIDX.
    Narrow,
    /// None at all.
    Absent,
}

/// What a client does.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Publishes audio.
    pub microphone: bool,
    /// Encodings of the camera: 0, 1 or 3.
    pub camera: usize,
    /// Seats asked for.
    pub seats: usize,
    /// SRTP profile, in place of a DTLS negotiation.
    pub profile: SrtpProfile,
    /// Video codecs it offers, to send and to receive.
    pub codecs: Vec<CodecName>,
    /// Takes the dependency descriptor with what it receives.
    pub receives_dependency: bool,
    /// How VP8 frames are numbered.
    pub picture_ids: PictureIds,
    /// Bit rates of the encodings, lowest first.
    pub rates_bps: [u32; 3],
    /// How far its wall clock is from the server's, in µs.
    pub clock_offset_us: i64,
    /// Sends sender reports.
    pub sender_reports: bool,
    /// Temporal layers of each encoding of the camera: 1 to 3. Beyond 1 it takes [`PictureIds::Wide`] or
    /// [`PictureIds::Keyed`]; H264 has none.
    pub temporal_layers: u8,
    /// Spatial layers of a camera in VP9 or AV1: several sizes in one stream, or each in an encoding of its own.
    pub scalability: Scalability,
    /// Frames differ in size, by this seed, as an encoder's do.
    pub sizes_seed: Option<u64>,
    /// Does as the server's word of wanted encodings and of a thrifty voice says.
    pub obeys: bool,
    /// Offers redundant audio (RFC 2198).
    pub red: bool,
    /// Earlier frames that go along with each of its own voice (RFC 2198).
    pub red_distance: usize,
    /// Offers transport-wide feedback.
    pub transport_cc: bool,
    /// Offers its own estimate of what it receives (`goog-remb`); it tells it once [`Client::remb_bps`] is set, or what it
    /// estimates itself.
    pub remb: bool,
    /// Estimates what it receives, by when pictures left.
    pub estimates: bool,
    /// Bit rate of a screen, in one encoding, beside the camera.
    pub screen_bps: Option<u32>,
    /// Seats for screens asked for, behind the others.
    pub screen_seats: usize,
    /// Time between two transport-wide feedback messages at the least; a multiple of 20 ms. Chromium takes 50 ms, and up to 250
    /// where the way up is thought to carry little: so does a client that has an estimate of that.
    pub transport_feedback: Duration,
    /// Time between two NACKs of one packet; browsers take the round trip.
    pub nack_retry: Duration,
    /// How long a picture may stay incomplete before a keyframe is asked for.
    pub keyframe_patience: Duration,
    /// The longest delay voices are played with.
    pub playout_delay_max: Duration,
    /// How loud its voice is, in -dBov, from each time on (RFC 6464). Until the first it speaks.
    pub levels: Vec<(Time, u8)>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            microphone: true,
            camera: 3,
            seats: 1,
            profile: SrtpProfile::AeadAes128Gcm,
            codecs: offer::VIDEO_CODECS.to_vec(),
            receives_dependency: true,
            picture_ids: PictureIds::Wide,
            rates_bps: [150_000, 500_000, 1_500_000],
            clock_offset_us: 0,
            sender_reports: true,
            temporal_layers: 1,
            scalability: Scalability::L3_KEY,
            sizes_seed: None,
            obeys: false,
            red: true,
            red_distance: 0,
            transport_cc: true,
            remb: true,
            estimates: false,
            screen_bps: None,
            screen_seats: 0,
            transport_feedback: RECEIVER_TICK,
            nack_retry: Duration::from_millis(100),
            keyframe_patience: Duration::from_millis(400),
            playout_delay_max: DELAY_MAX,
            levels: Vec::new(),
        }
    }
}

/// What the server tells a publisher over signaling.
#[derive(Clone, Debug)]
pub enum Signal {
    /// Only these encodings of the camera are wanted.
    Encodings(SourceKind, Vec<Rid>),
    /// Pictures are wanted in this codec.
    Codec(SourceKind, CodecName),
    /// The voice is wanted so.
    Audio(AudioProfile),
}

/// How long it took from the server's word until it was done.
#[derive(Clone, Debug, Default)]
pub struct Obedience {
    /// Encodings that were stopped.
    pub paused: Vec<Duration>,
    /// Encodings that were begun again: to the first packet of their keyframe.
    pub resumed: Vec<Duration>,
    /// Other words than the last about the voice.
    pub voice: Vec<Duration>,
}

/// A simulated browser.
pub struct Client {
    /// Its peer in the SFU.
    pub peer: PeerId,
    /// Where it sends from; change it to roam.
    pub address: TransportAddress,
    /// What it does.
    pub config: ClientConfig,
    /// Its keys; the world hands the same to the SFU.
    pub keys: KeyingMaterial,
    /// Datagrams to send, the world's links take them.
    pub outbox: Vec<Vec<u8>>,
    /// A check was answered.
    pub ice_connected: bool,
    /// SRTP may flow (the world saw `Connected`).
    pub connected: bool,
    /// Nothing is sent while this is set: the browser's tab sleeps, or its line is cut.
    pub frozen: bool,
    /// Camera and microphone send nothing while set; RTCP goes on.
    pub muted: bool,
    /// All answers in order.
    pub answers: Vec<ClientAnswer>,
    /// NACKed packets this client has sent again.
    pub retransmitted: u64,
    /// Keyframe requests received.
    pub keyframe_requests: u64,
    /// Transport-wide feedback received.
    pub transport_feedback: u64,
    /// Arrivals those messages told of.
    pub transport_arrivals: u64,
    /// Reports on its own streams: SSRC to last block.
    pub reports: HashMap<u32, ReportBlock>,
    /// NACKs it sends name only packets it really misses; a storm client asks for everything, always.
    pub nack_storm: bool,
    /// It tells nothing of what it receives: no feedback, no reports, no NACKs.
    pub mute_feedback: bool,
    /// What it tells that it can receive (draft-alvestrand-rmcat-remb-03): once a second, and at once when it changes.
    pub remb_bps: Option<u64>,
    /// Sizes from this on are not sent, whatever is wanted.
    pub withheld_from: Option<u8>,
    /// How quickly it did as it was told.
    pub obedience: Obedience,
    /// What it thinks its way to the server carries. It sends no more; without it, all it has.
    pub uplink: Option<Uplink>,
    /// When anything came last, and when any media did.
    pub heard_at: Option<Time>,
    /// The latter.
    pub media_at: Option<Time>,
    /// When a check of the path was answered last.
    pub checked_at: Option<Time>,
    ufrag: String,
    pwd: String,
    sealer: SrtpSealer,
    opener: SrtpOpener,
    ids: ExtensionIds,
    offer: ClientOffer,
    next_check_at: Time,
    checks: u32,
    transport_sequence: u16,
    streams: Vec<TxStream>,
    lines: Vec<CheckedLine>,
    received: HashMap<u32, RxStream>,
    recorder: TwccRecorder,
    next_tick_at: Time,
    next_transport_feedback_at: Time,
    next_report_at: Time,
    /// What was told last of [`Self::remb_bps`], and when.
    remb_told: Option<(u64, Time)>,
    /// What it estimates itself.
    estimate: Option<ReceiverEstimate>,
    wall_clock: WallClock,
    sizes: Option<StdRng>,
}

/// One SSRC a client sends.
struct TxStream {
    mid: &'static str,
    rid: Option<&'static str>,
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    codec: CodecName,
    /// Bytes of a mean frame of each spatial layer, lowest first; one where there are no layers.
    layer_bytes: Vec<usize>,
    /// In a codec with layers another stream carries its size.
    is_carried: bool,
    video: bool,
    encoding: u8,
    index: u64,
    rtx_index: u64,
    timestamp_base: u32,
    frame: u32,
    next_frame_at: Time,
    interval: Duration,
    frame_bytes: usize,
    keyframe_due: bool,
    since_keyframe: u32,
    base_frames: u32,
    /// By its own choice.
    paused: bool,
    /// The way does not carry it.
    withheld: bool,
    /// The server said that nobody is shown it.
    unwanted: bool,
    /// So many sizes are wanted: where one stream carries them all, as many layers.
    sizes: usize,
    /// When the server said that it is wanted again, until it is sent.
    resumes_since: Option<Time>,
    sent_packets: u32,
    history: VecDeque<Sent>,
}

impl TxStream {
    /// It carries all sizes.
    fn is_layered(&self) -> bool {
        is_layered(self.codec) && !self.layer_bytes.is_empty()
    }

    /// How many of the sizes are sent in it.
    fn sizes_sent(&self) -> usize {
        match (is_layered(self.codec), &self.layer_bytes[..]) {
            (true, sizes @ [_, ..]) => self.sizes.min(sizes.len()),
            (true, []) if self.is_carried => 0,
            _ => usize::from(!self.unwanted),
        }
    }
}

/// A packet that was sent, to be sent again.
#[derive(Clone)]
struct Sent {
    index: u64,
    timestamp: u32,
    marker: bool,
    codec: CodecName,
    dependency: Option<Vec<u8>>,
    payload: Vec<u8>,
}

impl Client {
    /// A client before its offer.
    ///
    /// # Panics
    ///
    /// Never with the keys made here.
    #[must_use]
    pub fn new(peer: PeerId, config: ClientConfig, wall_clock: NtpTime) -> Self {
        let address = SocketAddr::from(([10, 0, (peer.0 >> 8) as u8, peer.0 as u8], 40_000));
        let exported: Vec<u8> =
            (0..config.profile.exporter_len()).map(|i| (i as u8).wrapping_mul(7) ^ peer.0 as u8).collect();
        let keys = KeyingMaterial::from_exporter(config.profile, &exported).expect("the profile's length");
        let (sealer, opener) = session(&keys, SrtpRole::Client).expect("usable keys");
        let (ufrag, pwd) = (format!("cl{:06}", peer.0), format!("passwordOfClient{:06}abcdef", peer.0));
        let mut offer = ClientOffer::new(&ufrag, &pwd, offer::TEST_FINGERPRINT);
        let base = 0x0010_0000_u32.wrapping_mul(peer.0 as u32 + 1);
        if config.microphone {
            offer = offer.with(ClientLine::Microphone { ssrc: base + 1 });
        }
        offer = match config.camera {
            0 => offer,
            1 => offer.with(ClientLine::Screen { ssrc: base + 10, rtx: base + 20 }),
            n => offer.with(ClientLine::Camera { rids: offer::RIDS[..n].to_vec() }),
        };
        if config.screen_bps.is_some() {
            offer = offer.with(ClientLine::Screen { ssrc: base + SCREEN_SSRC, rtx: base + SCREEN_SSRC + 10 });
        }
        offer = offer.with_seats(config.seats);
        // Behind another video line, for a line without audio before it.
        offer.lines.extend((0..config.screen_seats).map(|_| ClientLine::VideoSeat));
        (offer.red, offer.transport_cc, offer.remb) = (config.red, config.transport_cc, config.remb);
        offer.codecs.clone_from(&config.codecs);
        offer.receives_dependency = config.receives_dependency;
        let ids = ExtensionIds {
            mid: Some(offer::MID_ID),
            rid: Some(offer::RID_ID),
            repaired_rid: Some(offer::REPAIRED_RID_ID),
            transport_cc: config.transport_cc.then_some(offer::TRANSPORT_CC_ID),
            abs_send_time: (config.remb && !config.transport_cc).then_some(offer::ABS_SEND_TIME_ID),
            audio_level: Some(offer::AUDIO_LEVEL_ID),
            video_orientation: Some(offer::VIDEO_ORIENTATION_ID),
            playout_delay: Some(offer::PLAYOUT_DELAY_ID),
            dependency: Some(offer::DEPENDENCY_ID),
        };
        let streams = Self::make_streams(&config, base);
        let sizes = config.sizes_seed.map(|seed| StdRng::seed_from_u64(seed.wrapping_add(peer.0)));
        let wall_clock = WallClock::new(wall_clock.offset_micros(config.clock_offset_us));
        let estimate = config.estimates.then(ReceiverEstimate::default);
        Self {
            peer,
            address: address.into(),
            config,
            keys,
            outbox: Vec::new(),
            ice_connected: false,
            connected: false,
            frozen: false,
            muted: false,
            answers: Vec::new(),
            retransmitted: 0,
            keyframe_requests: 0,
            transport_feedback: 0,
            transport_arrivals: 0,
            reports: HashMap::new(),
            nack_storm: false,
            mute_feedback: false,
            remb_bps: None,
            withheld_from: None,
            obedience: Obedience::default(),
            uplink: None,
            heard_at: None,
            media_at: None,
            checked_at: None,
            ufrag,
            pwd,
            sealer,
            opener,
            ids,
            offer,
            next_check_at: Time::ZERO,
            checks: 0,
            transport_sequence: 0,
            streams,
            lines: Vec::new(),
            received: HashMap::new(),
            recorder: TwccRecorder::new(),
            next_tick_at: Time::ZERO,
            next_transport_feedback_at: Time::ZERO,
            next_report_at: Time::ZERO,
            remb_told: None,
            estimate,
            wall_clock,
            sizes,
        }
    }

    fn make_streams(config: &ClientConfig, base: u32) -> Vec<TxStream> {
        let stream = |mid, rid, ssrc: u32, video: bool, encoding: u8, interval, frame_bytes| TxStream {
            mid,
            rid,
            ssrc,
            rtx_ssrc: video.then_some(ssrc + 10),
            codec: if video { config.codecs[0] } else { CodecName::Opus },
            layer_bytes: Vec::new(),
            is_carried: false,
            video,
            encoding,
            // Near the end of the sequence space, so that every test crosses a rollover.
            index: 65_400 - 10 * u64::from(encoding),
            rtx_index: 65_500,
            timestamp_base: ssrc.wrapping_mul(2_654_435_761),
            frame: 0,
            next_frame_at: Time::ZERO,
            interval,
            frame_bytes,
            keyframe_due: true,
            since_keyframe: 0,
            base_frames: 0,
            paused: false,
            withheld: false,
            unwanted: false,
            sizes: offer::RIDS.len(),
            resumes_since: None,
            sent_packets: 0,
            history: VecDeque::new(),
        };
        let mut streams = Vec::new();
        if config.microphone {
            streams.push(stream("0", None, base + 1, false, 0, VOICE.frame, VOICE.bytes));
        }
        let mid = if config.microphone { "1" } else { "0" };
        for encoding in 0..config.camera {
            let rid = (config.camera > 1).then(|| offer::RIDS[encoding]);
            let bytes = config.rates_bps[encoding] as usize / 8 / 30;
            let ssrc = base + 10 + encoding as u32;
            streams.push(stream(mid, rid, ssrc, true, encoding as u8, FRAME_INTERVAL, bytes));
        }
        // Layers go in the first of the encodings, as in browsers.
        let layers = usize::from(config.scalability.layers);
        let mut cameras = streams.iter_mut().filter(|stream| stream.video && config.camera > 1 && layers > 1);
        if let Some(first) = cameras.next() {
            first.layer_bytes = config.rates_bps[..layers].iter().map(|bps| *bps as usize / 8 / 30).collect();
            cameras.for_each(|stream| stream.is_carried = true);
        }
        if let Some(bps) = config.screen_bps {
            let mid = ["0", "1", "2"][usize::from(config.microphone) + usize::from(config.camera > 0)];
            let bytes = bps as usize / 8 / 30;
            streams.push(stream(mid, None, base + SCREEN_SSRC, true, 0, FRAME_INTERVAL, bytes));
        }
        streams
    }

    // What a test looks at

    /// The offer as it stands; `restart` first gives it new credentials.
    #[must_use]
    pub fn offer_sdp(&self) -> String {
        self.offer.to_sdp()
    }

    /// Asks for more seats in the next offer.
    pub fn add_seats(&mut self, seats: usize) {
        self.offer = self.offer.clone().with_seats(seats);
        self.offer.version += 1;
    }

    /// What the m-line with this mid was shown.
    #[must_use]
    pub fn received(&self, mid: &str) -> Received {
        let line = self.lines.iter().find(|line| line.mid == mid);
        line.and_then(|line| self.received.get(&line.ssrc))
            .map(|stream| stream.stats.clone())
            .unwrap_or_default()
    }

    /// What seat `seat` was shown: audio and video.
    #[must_use]
    pub fn seat(&self, seats: &[SeatInfo], seat: usize) -> (Received, Received) {
        let of = |mid: Option<vestibule_media_core::sdp::Mid>| {
            mid.map(|mid| self.received(mid.as_str())).unwrap_or_default()
        };
        (of(seats[seat].audio), of(seats[seat].video))
    }

    /// Packets of media that came so far, and that are missing.
    pub fn counted(&self) -> (u64, u64) {
        let counts = self.received.values().map(RxStream::counted);
        counts.fold((0, 0), |(came, missing), one| (came + one.0, missing + one.1))
    }

    /// The share of the voice that the server missed when it last said so.
    pub fn voice_lost(&self) -> f64 {
        let voice = self.streams.iter().find(|stream| !stream.video);
        let report = voice.and_then(|stream| self.reports.get(&stream.ssrc));
        report.map_or(0.0, |report| f64::from(report.fraction_lost) / 256.0)
    }

    /// The SSRCs it sends, with their encodings.
    pub fn sent_ssrcs(&self) -> impl Iterator<Item = (u32, bool, u8)> {
        self.streams.iter().map(|stream| (stream.ssrc, stream.video, stream.encoding))
    }

    /// Lines of the newest answer the SFU sends on.
    #[must_use]
    pub fn lines(&self) -> &[CheckedLine] {
        &self.lines
    }

    /// The ids of header extensions, as offered.
    #[must_use]
    pub const fn extension_ids(&self) -> ExtensionIds {
        self.ids
    }

    /// A credential pair for an ICE restart; checks use it from now on, once the answer is in.
    pub fn new_credentials(&mut self) -> (String, String) {
        self.ufrag = format!("{}r", self.ufrag);
        self.pwd = format!("{}r", self.pwd);
        (self.ufrag.clone(), self.pwd.clone())
    }

    /// The server's credentials of a restart.
    pub fn restarted(&mut self, ufrag: String, pwd: String, now: Time) {
        if let Some(answer) = self.answers.last_mut() {
            answer.ufrag = ufrag;
            answer.pwd = pwd;
        }
        self.next_check_at = now;
        self.ice_connected = false;
    }

    /// Stops or resumes one encoding, as a browser's estimator does.
    pub fn pause_encoding(&mut self, encoding: u8, paused: bool) {
        for stream in self.streams.iter_mut().filter(|stream| stream.video && stream.encoding == encoding) {
            stream.paused = paused;
            stream.keyframe_due |= !paused;
        }
    }

    /// Stops or resumes the voice.
    pub fn pause_voice(&mut self, paused: bool) {
        for stream in self.streams.iter_mut().filter(|stream| !stream.video) {
            stream.paused = paused;
        }
    }

    /// Does as the server said at `said_at`, if it obeys; what it is to send nobody may ignore.
    pub fn signalled(&mut self, signal: &Signal, said_at: Time, now: Time) {
        if let Signal::Codec(kind, codec) = signal {
            self.send_codec(*kind, *codec);
        }
        if !self.config.obeys {
            return;
        }
        match signal {
            Signal::Encodings(SourceKind::Camera, rids) => {
                for stream in self.streams.iter_mut().filter(|stream| stream.video) {
                    let Some(rid) = stream.rid else { continue };
                    let unwanted = !rids.iter().any(|wanted| wanted.as_str() == rid);
                    let sent = stream.sizes_sent();
                    (stream.unwanted, stream.sizes) = (unwanted, rids.len());
                    match stream.sizes_sent().cmp(&sent) {
                        Ordering::Less => {
                            stream.keyframe_due |= stream.is_layered();
                            self.obedience.paused.push(now.since(said_at));
                        }
                        Ordering::Greater => {
                            stream.keyframe_due = true;
                            stream.resumes_since = Some(said_at);
                        }
                        Ordering::Equal => {}
                    }
                }
            }
            Signal::Encodings(..) | Signal::Codec(..) => {}
            Signal::Audio(profile) => {
                let voice = match profile {
                    AudioProfile::Full => VOICE,
                    AudioProfile::Thrifty => VOICE_THRIFTY,
                    AudioProfile::Least => VOICE_LEAST,
                };
                for stream in self.streams.iter_mut().filter(|stream| !stream.video) {
                    if stream.interval != voice.frame {
                        self.obedience.voice.push(now.since(said_at));
                    }
                    (stream.interval, stream.frame_bytes) = (voice.frame, voice.bytes);
                }
            }
        }
    }

    /// Sends its camera in another codec by its own choice.
    pub fn send_camera_in(&mut self, codec: CodecName) {
        self.send_codec(SourceKind::Camera, codec);
    }

    /// Sends a kind of picture in another codec from the next frame on. Any client does: it may send no other.
    fn send_codec(&mut self, kind: SourceKind, codec: CodecName) {
        let is_screen = |stream: &TxStream| stream.mid != "0" && stream.mid != "1";
        let streams = self.streams.iter_mut().filter(|stream| stream.video && stream.codec != codec);
        for stream in streams.filter(|stream| is_screen(stream) == (kind == SourceKind::Screen)) {
            stream.codec = codec;
            stream.keyframe_due = true;
        }
    }

    /// Goes on with sequence numbers further on, as a stream does that began anew.
    pub fn jump_sequence(&mut self, encoding: u8, by: u64) {
        for stream in self.streams.iter_mut().filter(|stream| stream.video && stream.encoding == encoding) {
            stream.index += by;
        }
    }

    /// The lines of an answer the SFU sends on.
    #[must_use]
    pub fn lines_of(sdp: &str) -> Vec<CheckedLine> {
        let answer = ClientAnswer::parse(sdp);
        answer
            .media
            .iter()
            .filter(|media| media.direction.starts_with("send"))
            .filter_map(|media| {
                let video = media.kind == "video";
                let formats = media.rtpmaps.iter().filter_map(|(payload_type, rtpmap)| {
                    let codec = CodecName::ALL.into_iter().find(|codec| codec.rtpmap() == rtpmap)?;
                    let apt = format!("apt={payload_type}");
                    let rtx = media.fmtps.iter().find(|(_, fmtp)| *fmtp == apt).map(|(rtx, _)| *rtx);
                    Some((codec, *payload_type, rtx))
                });
                Some(CheckedLine {
                    mid: media.mid.clone(),
                    video,
                    ssrc: media.ssrc?,
                    rtx_ssrc: media.rtx_ssrc,
                    formats: formats.collect(),
                    red_payload_type: media.payload_type("red"),
                })
            })
            .collect()
    }

    /// Takes an answer.
    pub fn answered(&mut self, sdp: &str, now: Time) {
        let answer = ClientAnswer::parse(sdp);
        self.lines = Self::lines_of(sdp);
        for stream in self.streams.iter_mut().filter(|stream| stream.video && self.checks == 0) {
            let media = answer.media(stream.mid);
            let first = media.payload_types.first().and_then(|first| {
                let (_, rtpmap) = media.rtpmaps.iter().find(|(payload_type, _)| payload_type == first)?;
                CodecName::ALL.into_iter().find(|codec| codec.rtpmap() == rtpmap)
            });
            stream.codec = first.unwrap_or(stream.codec);
        }
        self.answers.push(answer);
        if self.checks == 0 {
            self.next_check_at = now;
        }
    }

    // Time

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn next_at(&self) -> Time {
        let mut next = if self.answers.is_empty() { Time::from_micros(u64::MAX) } else { self.next_check_at };
        if self.connected {
            next = next.min(self.next_tick_at).min(self.next_report_at);
            next = self.streams.iter().map(|stream| stream.next_frame_at).fold(next, Time::min);
        }
        next
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time) {
        if !self.answers.is_empty() && self.next_check_at <= now {
            self.send_check(now);
        }
        if !self.connected {
            return;
        }
        for at in 0..self.streams.len() {
            while self.streams[at].next_frame_at <= now {
                self.send_frame(at, now);
            }
        }
        if let Some(uplink) = &mut self.uplink {
            uplink.tick(now);
        }
        if self.next_tick_at <= now {
            self.next_tick_at = now + RECEIVER_TICK;
            self.receiver_feedback(now);
        }
        if self.next_report_at <= now {
            self.next_report_at = now + REPORT_INTERVAL;
            self.send_reports(now);
        }
        if self.frozen {
            self.outbox.clear();
        }
    }

    fn send_check(&mut self, now: Time) {
        // A path that does not answer is checked more often; of those that model their way up.
        let is_doubtful =
            self.uplink.is_some() && self.checked_at.is_none_or(|at| now.since(at) > CHECK_INTERVAL);
        self.next_check_at = now
            + match self.ice_connected {
                true if is_doubtful => CHECK_DOUBTFUL,
                true => CHECK_INTERVAL,
                false => CHECK_RETRY,
            };
        self.checks += 1;
        let Some(answer) = self.answers.last() else { return };
        let mut id = [0; 12];
        id[..4].copy_from_slice(&self.checks.to_be_bytes());
        id[4..].copy_from_slice(&self.peer.0.to_be_bytes());
        let mut out = [0; 256];
        // The first checks do not nominate, as with real browsers.
        let nominate = self.checks > 1;
        let key = IntegrityKey::new(&answer.pwd);
        let len = stun::write_binding_request(
            &mut out,
            &id,
            &self.ufrag,
            &answer.ufrag,
            nominate,
            1_845_501_695,
            &key,
        );
        self.outbox.push(out[..len].to_vec());
    }

    // Publishing

    fn send_frame(&mut self, at: usize, now: Time) {
        let peer = self.peer.0 as u32;
        let stream = &mut self.streams[at];
        if stream.next_frame_at == Time::ZERO {
            stream.next_frame_at = now;
        }
        let captured_at = stream.next_frame_at;
        stream.next_frame_at = captured_at + stream.interval;
        // Of a codec with layers one stream carries all sizes.
        let is_unwanted = stream.sizes_sent() == 0;
        let from = self.withheld_from.unwrap_or(u8::MAX);
        let is_withheld = stream.video && !stream.is_layered() && stream.encoding >= from;
        let share = self.uplink.as_ref().filter(|_| stream.video).map_or(1.0, |uplink| {
            share_of(uplink.estimate_bps(), &self.config.rates_bps, usize::from(stream.encoding))
        });
        let was_withheld = std::mem::replace(&mut stream.withheld, share <= 0.0);
        stream.keyframe_due |= was_withheld;
        if self.muted || stream.paused || is_unwanted || is_withheld || stream.withheld {
            return;
        }
        if let Some(said_at) = stream.resumes_since.take() {
            self.obedience.resumed.push(now.since(said_at));
        }
        let keyframe = std::mem::take(&mut stream.keyframe_due) && stream.video;
        if keyframe {
            stream.since_keyframe = 0;
        }
        let has_temporal = stream.video && stream.codec != CodecName::H264;
        let layers = if has_temporal { self.config.temporal_layers } else { 1 };
        let temporal = Temporal::at(layers, stream.since_keyframe);
        stream.since_keyframe += 1;
        if temporal.id() == 0 {
            stream.base_frames = stream.base_frames.wrapping_add(1);
        }
        let tl0 = stream.base_frames.wrapping_sub(1) as u8;
        let rate = if stream.video { 90 } else { 48 };
        let timestamp = stream.timestamp_base.wrapping_add((captured_at.as_micros() * rate / 1_000) as u32);
        let frame = stream.frame;
        stream.frame += 1;
        let sizes = if stream.is_layered() {
            let most = stream.layer_bytes.len().min(from.max(1).into());
            stream.layer_bytes[..most.min(stream.sizes_sent())].to_vec()
        } else {
            vec![(stream.frame_bytes as f64 * share) as usize]
        };
        let picture = Tag {
            peer,
            ssrc: stream.ssrc,
            frame,
            part: 0,
            parts: 1,
            keyframe,
            encoding: stream.encoding,
            captured_at,
            temporal,
            duration_ms: if stream.video { 0 } else { stream.interval.as_millis() as u8 },
            spatial: 0,
            scalability: Scalability { layers: sizes.len() as u8, ..self.config.scalability },
            spatial_most: if stream.is_layered() { stream.layer_bytes.len() as u8 } else { 1 },
            tl0,
        };
        for (spatial, mean) in (0..).zip(sizes) {
            let size = frame_size(self.sizes.as_mut(), picture.duration_ms == 0, keyframe, temporal);
            self.send_layer(
                at,
                &Tag { spatial, ..picture },
                timestamp,
                (mean as f64 * size).round() as usize,
                now,
            );
        }
    }

    /// Sends the packets of one layer of a picture.
    fn send_layer(&mut self, at: usize, layer: &Tag, timestamp: u32, bytes: usize, now: Time) {
        let (codec, video) = (self.streams[at].codec, self.streams[at].video);
        // A keyframe of H264 has its parameter sets in a packet of their own.
        let least = if codec == CodecName::H264 && layer.keyframe { 2 } else { 1 };
        let parts = bytes.div_ceil(PACKET_BYTES).clamp(least, 255) as u8;
        for part in 0..parts {
            let tag = Tag { part, parts, ..*layer };
            let mut payload = Vec::with_capacity(PACKET_BYTES + 64);
            if video {
                coding::write_header(&mut payload, codec, self.config.picture_ids, &tag);
            }
            tag.write(&mut payload, (bytes / usize::from(parts)).max(TAG_BYTES));
            coding::close(&mut payload, codec, &tag);
            let dependency = (codec == CodecName::Av1).then(|| coding::dependency_descriptor(&tag));
            let marker = video && part + 1 == parts && tag.spatial + 1 == tag.scalability.layers;
            self.send_media(at, timestamp, marker, payload, dependency, now);
        }
    }

    fn send_media(
        &mut self,
        at: usize,
        timestamp: u32,
        marker: bool,
        payload: Vec<u8>,
        dependency: Option<Vec<u8>>,
        now: Time,
    ) {
        let stream = &mut self.streams[at];
        let (index, codec) = (stream.index, stream.codec);
        stream.index += 1;
        stream.sent_packets += 1;
        stream.history.push_back(Sent {
            index,
            timestamp,
            marker,
            codec,
            dependency: dependency.clone(),
            payload: payload.clone(),
        });
        if stream.history.len() > 1_000 {
            stream.history.pop_front();
        }
        let (ssrc, distance) = (stream.ssrc, self.config.red_distance);
        let (payload_type, payload) = if stream.video || distance == 0 {
            (offer::payload_type(codec), payload)
        } else {
            let frames: Vec<_> =
                stream.history.iter().map(|sent| (sent.timestamp, &sent.payload[..])).collect();
            let along = frames.len().min(distance + 1);
            (offer::RED, red::payload(&frames[frames.len() - along..], offer::OPUS))
        };
        let dependency = dependency.as_deref();
        self.send_rtp(at, payload_type, ssrc, index, timestamp, marker, &payload, dependency, false, now);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of an RTP packet")]
    fn send_rtp(
        &mut self,
        at: usize,
        payload_type: u8,
        ssrc: u32,
        index: u64,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        dependency: Option<&[u8]>,
        rtx: bool,
        now: Time,
    ) {
        let stream = &self.streams[at];
        let mut out = vec![0; payload.len() + 384];
        let is_long = dependency.is_some_and(|descriptor| descriptor.len() > 16);
        let mut header =
            HeaderWriter::new(&mut out, payload_type, marker, index as u16, timestamp, ssrc, is_long);
        if let Some(descriptor) = dependency {
            header.extension(offer::DEPENDENCY_ID, descriptor);
        }
        if self.config.transport_cc {
            header.extension(offer::TRANSPORT_CC_ID, &self.transport_sequence.to_be_bytes());
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
        }
        if u64::from(stream.sent_packets) < FIRST_PACKETS || rtx {
            header.extension(offer::MID_ID, stream.mid.as_bytes());
            if let Some(rid) = stream.rid {
                header.extension(if rtx { offer::REPAIRED_RID_ID } else { offer::RID_ID }, rid.as_bytes());
            }
        }
        if !stream.video {
            header.extension(offer::AUDIO_LEVEL_ID, &[self.config.level_at(now)]);
        }
        let header_len = header.finish();
        out[header_len..header_len + payload.len()].copy_from_slice(payload);
        let len = self
            .sealer
            .seal_rtp(&mut out, header_len, header_len + payload.len(), index)
            .expect("a client's packet can be sealed");
        out.truncate(len);
        if let Some(uplink) = self.uplink.as_mut().filter(|_| self.config.transport_cc) {
            uplink.sent(self.transport_sequence.wrapping_sub(1), len, now);
        }
        self.outbox.push(out);
    }

    /// Sends a packet of redundant audio (RFC 2198) with this payload, whatever it is.
    ///
    /// # Panics
    ///
    /// If the client has no microphone.
    pub fn send_redundant(&mut self, payload: &[u8], now: Time) {
        let at = self.streams.iter().position(|stream| !stream.video).expect("a microphone");
        let stream = &mut self.streams[at];
        let (ssrc, index, timestamp) = (stream.ssrc, stream.index, stream.timestamp_base);
        stream.index += 1;
        self.send_rtp(at, offer::RED, ssrc, index, timestamp, false, payload, None, false, now);
    }

    /// Sends an RTP padding packet on the RTX SSRC, as libwebrtc probes.
    pub fn send_rtx_padding(&mut self, video_stream: usize) {
        let at = self.streams.iter().position(|stream| stream.video).expect("a video stream") + video_stream;
        let stream = &mut self.streams[at];
        let (ssrc, index) = (stream.rtx_ssrc.expect("video has RTX"), stream.rtx_index);
        stream.rtx_index += 1;
        let mut out = vec![0; 400];
        let mut header = HeaderWriter::new(
            &mut out,
            offer::rtx_payload_type(stream.codec),
            false,
            index as u16,
            stream.timestamp_base,
            ssrc,
            false,
        );
        header.extension(offer::TRANSPORT_CC_ID, &self.transport_sequence.to_be_bytes());
        header.extension(offer::MID_ID, stream.mid.as_bytes());
        if let Some(rid) = stream.rid {
            header.extension(offer::REPAIRED_RID_ID, rid.as_bytes());
        }
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let header_len = header.finish();
        out[0] |= 0x20;
        out[header_len + 223] = 224;
        let len = self.sealer.seal_rtp(&mut out, header_len, header_len + 224, index).expect("sealed");
        out.truncate(len);
        self.outbox.push(out);
    }

    /// Sends a packet without payload on a media SSRC, where a frame has just ended.
    pub fn send_media_padding(&mut self, video_stream: usize) {
        let at = self.streams.iter().position(|stream| stream.video).expect("a video stream") + video_stream;
        let timestamp = self.streams[at].history.back().map_or(0, |sent| sent.timestamp);
        self.send_media(at, timestamp, false, Vec::new(), None, Time::ZERO);
    }

    /// Sends a compound of RTCP that a test wrote, sealed.
    ///
    /// # Panics
    ///
    /// If it is longer than a datagram.
    pub fn send_compound(&mut self, compound: &[u8]) {
        let mut out = [0; 1_400];
        out[..compound.len()].copy_from_slice(compound);
        let len = self.sealer.seal_rtcp(&mut out, compound.len()).expect("a client's RTCP can be sealed");
        self.outbox.push(out[..len].to_vec());
    }

    /// As libwebrtc's `TransportSequenceNumberFeedbackGenenerator` has it (its spelling).
    fn transport_feedback_interval(&self) -> Duration {
        let Some(uplink) = &self.uplink else { return self.config.transport_feedback };
        let share_bps = uplink.estimate_bps() as f64 * FEEDBACK_SHARE;
        let interval = Duration::from_secs_f64(FEEDBACK_BYTES * 8.0 / share_bps.max(1.0));
        interval.clamp(self.config.transport_feedback, FEEDBACK_INTERVAL_MAX)
    }

    fn send_rtcp(&mut self, write: impl FnOnce(&mut RtcpWriter<'_>)) {
        let mut out = [0; 1_400];
        let mut writer = RtcpWriter::new(&mut out);
        write(&mut writer);
        let len = writer.len();
        if len == 0 {
            return;
        }
        let len = self.sealer.seal_rtcp(&mut out, len).expect("a client's RTCP can be sealed");
        self.outbox.push(out[..len].to_vec());
    }

    fn send_reports(&mut self, now: Time) {
        let ntp = self.wall_clock.ntp(now);
        let reports: Vec<_> = self
            .streams
            .iter()
            .filter(|stream| stream.sent_packets > 0 && self.config.sender_reports)
            .map(|stream| {
                let rate = if stream.video { 90 } else { 48 };
                let rtp = stream.timestamp_base.wrapping_add((now.as_micros() * rate / 1_000) as u32);
                (stream.ssrc, SenderInfo { ntp, rtp, packets: stream.sent_packets, bytes: 0 })
            })
            .collect();
        let received = self.received.iter().filter(|_| !self.mute_feedback);
        let blocks: Vec<ReportBlock> = received
            .filter_map(|(ssrc, stream)| {
                let (middle, at) = stream.last_sender_report.unwrap_or((0, now));
                Some(ReportBlock {
                    ssrc: *ssrc,
                    highest_sequence: stream.highest? as u32,
                    last_sender_report: middle,
                    delay_since_last_sender_report: (now.micros_since(at) * 65_536 / 1_000_000) as u32,
                    ..ReportBlock::default()
                })
            })
            .collect();
        let own = self.streams.first().map_or(77, |stream| stream.ssrc);
        self.send_rtcp(|writer| {
            for (ssrc, info) in &reports {
                let _ = writer.sender_report(*ssrc, info, &[]);
            }
            let _ = writer.receiver_report(own, &blocks);
        });
    }

    // Receiving

    /// Takes a datagram of the SFU.
    pub fn handle(&mut self, datagram: &[u8], now: Time) {
        self.heard_at = Some(now);
        match classify(datagram) {
            Some(DatagramKind::Stun) => self.handle_stun(datagram, now),
            Some(DatagramKind::Rtp) if self.connected => self.handle_rtp(datagram, now),
            Some(DatagramKind::Rtcp) if self.connected => self.handle_rtcp(datagram, now),
            _ => {}
        }
    }

    fn handle_stun(&mut self, datagram: &[u8], now: Time) {
        let Ok(Message::Response(response)) = stun::parse(datagram) else { return };
        let Some(answer) = self.answers.last() else { return };
        if response.success {
            self.checked_at = Some(now);
        }
        if response.success && response.verify(&IntegrityKey::new(&answer.pwd)).is_ok() && !self.ice_connected
        {
            self.ice_connected = true;
            // Nominate at once.
            self.next_check_at = now + Duration::from_millis(5);
        }
    }

    fn handle_rtp(&mut self, datagram: &[u8], now: Time) {
        self.media_at = Some(now);
        let header = RtpHeader::parse(datagram).expect("the checker has seen it");
        let mut bytes = datagram.to_vec();
        // A duplicate of the network's making fails here, and is dropped as a browser does.
        let Ok(opened) = self.opener.open_rtp(&mut bytes, &header) else { return };
        let packet = &bytes[..opened.len];
        if let Some((_, value)) = header.extensions(packet).find(|(id, _)| Some(*id) == self.ids.transport_cc)
        {
            self.recorder.record(u16::from_be_bytes([value[0], value[1]]), now);
        }
        self.note_arrival(&header, packet, now);
        let payload = header.payload(packet).expect("the checker has seen it");
        let payload = &packet[payload];
        let Some(line) = self
            .lines
            .iter()
            .find(|line| line.ssrc == header.ssrc || line.rtx_ssrc == Some(header.ssrc))
            .cloned()
        else {
            return;
        };
        let media = |payload: &[u8], rtx: bool| {
            if payload.is_empty() {
                return None;
            }
            if !rtx && line.red_payload_type == Some(header.payload_type) {
                return Some(Media::Voice(Red::read(payload, offer::OPUS).expect("the checker has seen it")));
            }
            let codec = line.codec_of(header.payload_type, rtx).expect("the checker has seen it");
            let content = coding::read(payload, codec, None, &mut None).expect("the checker has seen it");
            let tag = content.tag;
            Some(match codec {
                CodecName::Opus => Media::Voice(Red { primary: tag, redundant: Vec::new() }),
                _ => Media::Picture { tag, codec, marker: header.marker },
            })
        };
        let stream = self
            .received
            .entry(line.ssrc)
            .or_insert_with(|| RxStream::playing_within(self.config.playout_delay_max));
        if line.ssrc == header.ssrc {
            stream.packet(opened.index, media(payload, false), Packet::Plain, now);
        } else if let (Some((sequence, rest)), Some(highest)) =
            (payload.split_first_chunk::<2>(), stream.highest)
        {
            let delta = u16::from_be_bytes(*sequence).wrapping_sub(highest as u16).cast_signed();
            let index = highest.wrapping_add_signed(i64::from(delta));
            stream.packet(index, media(rest, true), Packet::Rtx, now);
        }
    }

    fn handle_rtcp(&mut self, datagram: &[u8], now: Time) {
        let mut bytes = datagram.to_vec();
        let Ok(len) = self.opener.open_rtcp(&mut bytes) else { return };
        let mut lost = Vec::new();
        for packet in packets(&bytes[..len]) {
            match packet.expect("the checker has seen it") {
                RtcpPacket::Nack { media_ssrc, lost: list, .. } => {
                    lost.extend(list.map(|seq| (media_ssrc, seq)))
                }
                RtcpPacket::Pli { media_ssrc, .. } => {
                    self.keyframe_requests += 1;
                    for stream in self.streams.iter_mut().filter(|stream| stream.ssrc == media_ssrc) {
                        stream.keyframe_due = true;
                    }
                }
                RtcpPacket::TransportFeedback(view) => {
                    self.transport_feedback += 1;
                    self.transport_arrivals += view.received().count() as u64;
                    if let Some(uplink) = &mut self.uplink {
                        uplink.feedback(&view, now);
                    }
                    assert!(
                        self.streams.iter().any(|stream| stream.ssrc == view.media_ssrc),
                        "transport-wide feedback on an SSRC this client does not send is ignored by browsers"
                    );
                }
                RtcpPacket::SenderReport { ssrc, info, .. } => {
                    self.received
                        .entry(ssrc)
                        .or_insert_with(|| RxStream::playing_within(self.config.playout_delay_max))
                        .last_sender_report = Some((info.ntp.middle(), now));
                }
                RtcpPacket::ReceiverReport { reports, .. } => {
                    self.reports.extend(reports.map(|block| (block.ssrc, block)));
                }
                _ => {}
            }
        }
        for (ssrc, sequence) in lost {
            self.resend(ssrc, sequence, now);
        }
    }

    fn resend(&mut self, ssrc: u32, sequence: u16, now: Time) {
        let Some(at) = self.streams.iter().position(|stream| stream.ssrc == ssrc) else { return };
        let stream = &mut self.streams[at];
        let Some(rtx_ssrc) = stream.rtx_ssrc else { return };
        let found = stream.history.iter().rev().find(|sent| sent.index as u16 == sequence).cloned();
        let Some(sent) = found else { return };
        let index = stream.rtx_index;
        stream.rtx_index += 1;
        let payload = [&sequence.to_be_bytes()[..], &sent.payload].concat();
        self.retransmitted += 1;
        let (timestamp, marker, dependency) = (sent.timestamp, sent.marker, sent.dependency.as_deref());
        let format = offer::rtx_payload_type(sent.codec);
        self.send_rtp(at, format, rtx_ssrc, index, timestamp, marker, &payload, dependency, true, now);
    }

    /// Of a picture's packet, or of one that only takes room, it is told when it left.
    fn note_arrival(&mut self, header: &RtpHeader, packet: &[u8], now: Time) {
        let Some(estimate) = &mut self.estimate else { return };
        let value = header.extensions(packet).find(|(id, _)| Some(*id) == self.ids.abs_send_time);
        if let Some((_, &[a, b, c])) = value {
            let is_full = estimate.arrived(u32::from_be_bytes([0, a, b, c]), packet.len(), now);
            let is_due = self.remb_told.is_none_or(|(_, at)| now.since(at) >= ESTIMATE_INTERVAL);
            if is_due || is_full {
                self.remb_bps = estimate.told_bps(now);
            }
        }
    }

    fn tell_estimate(&mut self, own: u32, now: Time) {
        let Some(bps) = self.remb_bps else { return };
        let due = self.remb_told.is_none_or(|(told, at)| told != bps || now.since(at) >= REMB_INTERVAL);
        if due {
            self.remb_told = Some((bps, now));
            let ssrcs: Vec<u32> = self.lines.iter().filter(|l| l.video).map(|line| line.ssrc).collect();
            self.send_rtcp(|writer| _ = writer.remb(own, bps, &ssrcs));
        }
    }

    fn receiver_feedback(&mut self, now: Time) {
        let own = self.streams.first().map_or(77, |stream| stream.ssrc);
        if self.mute_feedback {
            self.recorder = TwccRecorder::new();
            return;
        }
        self.tell_estimate(own, now);
        let (retry, patience) = (self.config.nack_retry, self.config.keyframe_patience);
        let mut nacks = Vec::new();
        let mut plis = Vec::new();
        for line in self.lines.iter().filter(|line| line.video) {
            let Some(stream) = self.received.get_mut(&line.ssrc) else { continue };
            let lost = if self.nack_storm { stream.everything() } else { stream.nacks(retry, now) };
            if !lost.is_empty() {
                nacks.push((line.ssrc, lost));
            }
            if stream.needs_keyframe(patience, now) {
                plis.push(line.ssrc);
            }
        }
        for (ssrc, lost) in nacks {
            self.send_rtcp(|writer| _ = writer.nack(own, ssrc, &lost));
        }
        for ssrc in plis {
            self.send_rtcp(|writer| _ = writer.pli(own, ssrc));
        }
        if now < self.next_transport_feedback_at {
            return;
        }
        self.next_transport_feedback_at = now + self.transport_feedback_interval();
        let media_ssrc = self.lines.first().map_or(0, |line| line.ssrc);
        let mut recorder = std::mem::take(&mut self.recorder);
        while recorder.has_pending() {
            self.send_rtcp(|writer| {
                let _ = recorder.write_feedback(writer, own, media_ssrc);
            });
        }
        self.recorder = recorder;
    }
}

impl ClientConfig {
    /// The audio level of a packet (RFC 6464 section 3).
    fn level_at(&self, now: Time) -> u8 {
        let said = self.levels.iter().rev().find(|(from, _)| *from <= now);
        let level = said.map_or(LEVEL_SPEAKING, |(_, level)| *level);
        if level < LEVEL_QUIET { VOICE_ACTIVITY | level } else { level }
    }
}

/// How much of an encoding's rate a way carries beside a voice and the encodings below: those are sent whole or not at all, the
/// lowest as poor as it has to be.
fn share_of(carries_bps: u64, rates_bps: &[u32; 3], encoding: usize) -> f64 {
    let left =
        carries_bps as f64 - VOICE_BPS - rates_bps[..encoding].iter().copied().map(f64::from).sum::<f64>();
    let share = (left / f64::from(rates_bps[encoding])).min(1.0);
    match encoding {
        0 if carries_bps > PICTURE_BPS_MIN => share.max(SHARE_MIN),
        0 => 0.0,
        _ => f64::from(u8::from(share >= 1.0)),
    }
}

/// How large a frame is, against the mean of those that are no keyframes.
fn frame_size(rng: Option<&mut StdRng>, video: bool, keyframe: bool, temporal: Temporal) -> f64 {
    match (rng, video) {
        (_, false) => 1.0,
        (Some(rng), _) if keyframe => rng.random_range(KEYFRAME_SIZES),
        (None, _) if keyframe => KEYFRAME_SIZE,
        (rng, _) => temporal.size() * rng.map_or(1.0, |rng| rng.random_range(FRAME_SIZES)),
    }
}
