//! The client's half of the negotiation, for tests: writes offers as Chromium does, reads the server's answers.
//!
//! It shares no code with the server's parser and writer, so that both are checked by something else than themselves.
#![expect(missing_docs, reason = "the fields are those of the SDP lines they stand for")]

use std::fmt::Write;
use std::net::SocketAddr;

use vestibule_media_core::TransportAddress;
use vestibule_media_core::rtp::uri;
use vestibule_media_core::sdp::CodecName;

/// Payload type of Opus in these offers.
pub const OPUS: u8 = 111;
/// Payload type of redundant audio (RFC 2198) in these offers.
pub const RED: u8 = 63;
/// Payload type of VP8 in these offers.
pub const VP8: u8 = 96;
/// Payload type of VP8's retransmissions in these offers.
pub const VP8_RTX: u8 = 97;

/// Header extension id of the audio level.
pub const AUDIO_LEVEL_ID: u8 = 1;
/// Id of when a packet left.
pub const ABS_SEND_TIME_ID: u8 = 2;
/// Header extension id of the transport-wide sequence number.
pub const TRANSPORT_CC_ID: u8 = 3;
/// Header extension id of the MID.
pub const MID_ID: u8 = 4;
/// Header extension id of the dependency descriptor.
pub const DEPENDENCY_ID: u8 = 12;
/// Header extension id of the playout delay.
pub const PLAYOUT_DELAY_ID: u8 = 5;
/// Header extension id of the RID.
pub const RID_ID: u8 = 10;
/// Header extension id of the repaired RID.
pub const REPAIRED_RID_ID: u8 = 11;
/// Header extension id of the video orientation.
pub const VIDEO_ORIENTATION_ID: u8 = 13;

/// Simulcast encodings of [`ClientLine::Camera`] in [`ClientOffer::publisher`], lowest first.
pub const RIDS: [&str; 3] = ["q", "h", "f"];

/// A fingerprint no certificate has.
pub const TEST_FINGERPRINT: &str = "1D:51:F9:79:E3:AD:B7:B7:8B:D6:C4:2C:44:5E:15:01:\
     AC:C2:F8:98:7A:02:5A:BF:3E:68:64:70:DE:74:EF:9E";

/// One m-line of a client.
#[derive(Clone, Debug)]
pub enum ClientLine {
    /// Sendonly Opus.
    Microphone { ssrc: u32 },
    /// Sendonly VP8 in simulcast; as in Chromium there are no SSRC lines.
    Camera { rids: Vec<&'static str> },
    /// Sendonly VP8 in one encoding.
    Screen { ssrc: u32, rtx: u32 },
    /// Recvonly Opus.
    AudioSeat,
    /// Recvonly VP8.
    VideoSeat,
    /// A data channel.
    DataChannel,
}

/// An offer in the making. The mid of a line is its index.
#[derive(Clone, Debug)]
pub struct ClientOffer {
    pub ufrag: String,
    pub pwd: String,
    /// `AA:BB:…`, SHA-256.
    pub fingerprint: String,
    /// `sess-version` of `o=`.
    pub version: u64,
    pub lines: Vec<ClientLine>,
    /// Whether audio lines offer redundant audio (RFC 2198), as Chromium's do.
    pub red: bool,
    /// The codecs of video lines, in their order.
    pub codecs: Vec<CodecName>,
    /// Whether the dependency descriptor is taken with what is received.
    pub receives_dependency: bool,
    /// Whether lines offer transport-wide feedback, and its header extension, as Chromium's do.
    pub transport_cc: bool,
    /// Whether video lines offer the receiver's own estimate (`goog-remb`), as Chromium's do.
    pub remb: bool,
}

/// A publisher of all three kinds with `seats` seats: an offer as the page makes it.
pub fn test_offer(ufrag: &str, pwd: &str, fingerprint: &str, seats: usize) -> String {
    ClientOffer::publisher(ufrag, pwd, fingerprint).with_seats(seats).to_sdp()
}

impl ClientOffer {
    /// An offer without m-lines.
    pub fn new(ufrag: &str, pwd: &str, fingerprint: &str) -> Self {
        let (ufrag, pwd, fingerprint) = (ufrag.to_owned(), pwd.to_owned(), fingerprint.to_owned());
        Self {
            ufrag,
            pwd,
            fingerprint,
            version: 2,
            lines: Vec::new(),
            red: true,
            codecs: VIDEO_CODECS.to_vec(),
            receives_dependency: true,
            transport_cc: true,
            remb: true,
        }
    }

    /// Microphone (mid 0), camera in three encodings (mid 1), screen (mid 2).
    pub fn publisher(ufrag: &str, pwd: &str, fingerprint: &str) -> Self {
        Self::new(ufrag, pwd, fingerprint)
            .with(ClientLine::Microphone { ssrc: 1_001 })
            .with(ClientLine::Camera { rids: RIDS.to_vec() })
            .with(ClientLine::Screen { ssrc: 3_001, rtx: 3_002 })
    }

    /// One more m-line.
    pub fn with(mut self, line: ClientLine) -> Self {
        self.lines.push(line);
        self
    }

    /// `seats` more seats, each an audio and a video m-line.
    pub fn with_seats(mut self, seats: usize) -> Self {
        for _ in 0..seats {
            self.lines.extend([ClientLine::AudioSeat, ClientLine::VideoSeat]);
        }
        self
    }

    /// The offer as text.
    pub fn to_sdp(&self) -> String {
        let mids: Vec<String> = (0..self.lines.len()).map(|mid| mid.to_string()).collect();
        let mut sdp = format!(
            "v=0\r\no=- 5324812084610368984 {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n\
             a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n",
            self.version,
            mids.join(" ")
        );
        for (mid, line) in self.lines.iter().enumerate() {
            self.write_line(&mut sdp, mid, line).expect("writing to a String");
        }
        sdp
    }

    fn write_line(&self, sdp: &mut String, mid: usize, line: &ClientLine) -> std::fmt::Result {
        let audio = if self.red {
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0"
        } else {
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 0"
        };
        let formats = |codec: &CodecName| format!(" {} {}", payload_type(*codec), rtx_payload_type(*codec));
        let formats: String = self.codecs.iter().map(formats).collect();
        let video = format!("m=video 9 UDP/TLS/RTP/SAVPF{formats}");
        let (head, is_audio, direction) = match line {
            ClientLine::Microphone { .. } => (audio, true, "sendonly"),
            ClientLine::AudioSeat => (audio, true, "recvonly"),
            ClientLine::Camera { .. } | ClientLine::Screen { .. } => (&video[..], false, "sendonly"),
            ClientLine::VideoSeat => (&video[..], false, "recvonly"),
            ClientLine::DataChannel => ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", false, ""),
        };
        write!(sdp, "{head}\r\nc=IN IP4 0.0.0.0\r\n")?;
        if !direction.is_empty() {
            write!(sdp, "a=rtcp:9 IN IP4 0.0.0.0\r\n")?;
        }
        write!(sdp, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\n", self.ufrag, self.pwd)?;
        write!(sdp, "a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\n", self.fingerprint)?;
        if direction.is_empty() {
            return write!(sdp, "a=sctp-port:5000\r\na=max-message-size:262144\r\n");
        }
        self.write_extensions(sdp, is_audio)?;
        write!(sdp, "a={direction}\r\n")?;
        if direction == "sendonly" {
            write!(sdp, "a=msid:- track-{mid}\r\n")?;
        }
        write!(sdp, "a=rtcp-mux\r\na=rtcp-rsize\r\n")?;
        if is_audio {
            self.write_formats(sdp, AUDIO_FORMATS);
        } else {
            self.codecs.iter().for_each(|codec| self.write_formats(sdp, &video_format(*codec)));
        }
        if is_audio && self.red {
            sdp.push_str(RED_FORMAT);
        }
        match line {
            ClientLine::Microphone { ssrc } => write!(sdp, "a=ssrc:{ssrc} cname:client\r\n"),
            ClientLine::Screen { ssrc, rtx } => write!(
                sdp,
                "a=ssrc-group:FID {ssrc} {rtx}\r\na=ssrc:{ssrc} cname:client\r\na=ssrc:{rtx} cname:client\r\n"
            ),
            ClientLine::Camera { rids } => {
                for rid in rids {
                    write!(sdp, "a=rid:{rid} send\r\n")?;
                }
                write!(sdp, "a=simulcast:send {}\r\n", rids.join(";"))
            }
            ClientLine::AudioSeat | ClientLine::VideoSeat | ClientLine::DataChannel => Ok(()),
        }
    }

    fn write_extensions(&self, sdp: &mut String, is_audio: bool) -> std::fmt::Result {
        let video = [
            (VIDEO_ORIENTATION_ID, "urn:3gpp:video-orientation"),
            (PLAYOUT_DELAY_ID, "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"),
            (RID_ID, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
            (REPAIRED_RID_ID, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"),
        ];
        let audio = [(AUDIO_LEVEL_ID, "urn:ietf:params:rtp-hdrext:ssrc-audio-level")];
        let both = [
            (ABS_SEND_TIME_ID, uri::ABS_SEND_TIME),
            (TRANSPORT_CC_ID, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
            (MID_ID, "urn:ietf:params:rtp-hdrext:sdes:mid"),
        ];
        let own = if is_audio { &audio[..] } else { &video[..] };
        if !is_audio {
            let direction = if self.receives_dependency { "" } else { "/sendonly" };
            write!(sdp, "a=extmap:{DEPENDENCY_ID}{direction} {}\r\n", uri::DEPENDENCY)?;
        }
        let offered = |(id, _): &&(u8, &str)| *id != TRANSPORT_CC_ID || self.transport_cc;
        for (id, uri) in own.iter().chain(&both).filter(offered) {
            write!(sdp, "a=extmap:{id} {uri}\r\n")?;
        }
        Ok(())
    }

    fn write_formats(&self, sdp: &mut String, formats: &str) {
        for line in formats.split_inclusive("\r\n") {
            let is_offered = (self.transport_cc || !line.ends_with("transport-cc\r\n"))
                && (self.remb || !line.ends_with("goog-remb\r\n"));
            if is_offered {
                sdp.push_str(line);
            }
        }
    }
}

const AUDIO_FORMATS: &str = "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
    a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:0 PCMU/8000\r\n";

const RED_FORMAT: &str = "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n";

/// The video codecs a client offers, in its order.
pub const VIDEO_CODECS: [CodecName; 4] = [CodecName::Vp8, CodecName::Vp9, CodecName::H264, CodecName::Av1];

/// The payload type of a codec, as Chromium has them.
#[must_use]
pub const fn payload_type(codec: CodecName) -> u8 {
    match codec {
        CodecName::Opus => OPUS,
        CodecName::Vp8 => VP8,
        CodecName::Vp9 => 98,
        CodecName::H264 => 108,
        CodecName::Av1 => 45,
    }
}

/// That of its retransmissions.
#[must_use]
pub const fn rtx_payload_type(codec: CodecName) -> u8 {
    payload_type(codec) + 1
}

fn video_format(codec: CodecName) -> String {
    let (own, rtx) = (payload_type(codec), rtx_payload_type(codec));
    let mut lines = format!("a=rtpmap:{own} {}\r\n", codec.rtpmap());
    for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
        lines.push_str(&format!("a=rtcp-fb:{own} {feedback}\r\n"));
    }
    let parameters = match codec {
        CodecName::Vp9 => Some("profile-id=0"),
        CodecName::H264 => Some("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        CodecName::Av1 => Some("level-idx=5;profile=0;tier=0"),
        CodecName::Opus | CodecName::Vp8 => None,
    };
    if let Some(parameters) = parameters {
        lines.push_str(&format!("a=fmtp:{own} {parameters}\r\n"));
    }
    lines.push_str(&format!("a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={own}\r\n"));
    lines
}

/// The server's answer, as far as a test client needs it. Reading panics on what no answer may look like.
#[derive(Clone, Debug, Default)]
pub struct ClientAnswer {
    pub ufrag: String,
    pub pwd: String,
    /// `AA:BB:…`, SHA-256.
    pub fingerprint: String,
    pub setup: String,
    pub is_ice_lite: bool,
    /// Mids of the BUNDLE group, in its order.
    pub bundle: Vec<String>,
    pub candidates: Vec<TransportAddress>,
    pub media: Vec<AnsweredMedia>,
}

/// One m-line of an answer.
#[derive(Clone, Debug, Default)]
pub struct AnsweredMedia {
    pub mid: String,
    /// `audio`, `video`, `application`.
    pub kind: String,
    /// Port 0.
    pub is_rejected: bool,
    /// The server's: `sendonly`, `recvonly`, `sendrecv`, `inactive`.
    pub direction: String,
    /// The formats of the `m=` line, if they are payload types.
    pub payload_types: Vec<u8>,
    /// Payload type and `name/rate`.
    pub rtpmaps: Vec<(u8, String)>,
    /// Payload type and parameters.
    pub fmtps: Vec<(u8, String)>,
    /// Payload type and feedback.
    pub feedback: Vec<(u8, String)>,
    /// Id and URI; a direction stays with the id's text.
    pub extensions: Vec<(String, String)>,
    /// Stream and track.
    pub msid: Option<(String, String)>,
    /// What the server sends with.
    pub ssrc: Option<u32>,
    /// What the server sends retransmissions with.
    pub rtx_ssrc: Option<u32>,
    pub cname: Option<String>,
    /// Of `a=simulcast:recv`.
    pub rids: Vec<String>,
}

impl AnsweredMedia {
    /// The payload type of the codec whose rtpmap starts with `name`.
    pub fn payload_type(&self, name: &str) -> Option<u8> {
        self.rtpmaps
            .iter()
            .find(|(_, rtpmap)| rtpmap.starts_with(name))
            .map(|(payload_type, _)| *payload_type)
    }

    /// The id of the extension `uri`.
    pub fn extension_id(&self, uri: &str) -> Option<u8> {
        let (id, _) = self.extensions.iter().find(|(_, known)| known == uri)?;
        Some(id.split('/').next()?.parse().expect("extension id"))
    }
}

impl ClientAnswer {
    /// Reads an answer.
    pub fn parse(sdp: &str) -> Self {
        assert!(sdp.ends_with("\r\n"), "the last line is cut");
        let mut answer = Self::default();
        for line in sdp.split_terminator("\r\n") {
            let (kind, value) = line.split_once('=').expect("<type>=<value>");
            match kind {
                "m" => answer.media.push(AnsweredMedia::of_line(value)),
                "a" => answer.read_attribute(value),
                _ => assert!(matches!(kind, "v" | "o" | "s" | "t" | "c"), "unexpected line {line}"),
            }
        }
        answer
    }

    /// The m-line with this mid.
    pub fn media(&self, mid: &str) -> &AnsweredMedia {
        self.media.iter().find(|media| media.mid == mid).unwrap_or_else(|| panic!("no m-line {mid}"))
    }

    fn read_attribute(&mut self, attribute: &str) {
        let (key, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let same = |text: &mut String, value: &str| {
            assert!(text.is_empty() || text == value, "{key} differs between m-lines");
            value.clone_into(text);
        };
        match key {
            "ice-lite" => self.is_ice_lite = true,
            "group" => {
                let mids = value.strip_prefix("BUNDLE ").expect("BUNDLE");
                self.bundle = mids.split(' ').map(str::to_owned).collect();
            }
            "ice-ufrag" => same(&mut self.ufrag, value),
            "ice-pwd" => same(&mut self.pwd, value),
            "fingerprint" => same(&mut self.fingerprint, value.strip_prefix("sha-256 ").expect("sha-256")),
            "setup" => same(&mut self.setup, value),
            "candidate" => self.candidates.push(read_candidate(value)),
            _ => {
                if let Some(media) = self.media.last_mut() {
                    media.read_attribute(key, value);
                }
            }
        }
    }
}

fn read_candidate(value: &str) -> TransportAddress {
    let words: Vec<&str> = value.split(' ').collect();
    let [_, "1", transport, _, ip, port, "typ", "host", ref kind @ ..] = words[..] else {
        panic!("candidate {value}")
    };
    let address = SocketAddr::new(ip.parse().expect("address"), port.parse().expect("port"));
    match (transport, kind) {
        ("udp", []) => TransportAddress::Udp(address),
        ("tcp", ["tcptype", "passive"]) => TransportAddress::Tcp(address),
        _ => panic!("candidate {value}"),
    }
}

impl AnsweredMedia {
    fn of_line(value: &str) -> Self {
        let mut words = value.split(' ');
        let kind = words.next().expect("media").to_owned();
        let is_rejected = words.next().expect("port") == "0";
        let payload_types = words.skip(1).filter_map(|format| format.parse().ok()).collect();
        Self { kind, is_rejected, payload_types, ..Self::default() }
    }

    fn read_attribute(&mut self, key: &str, value: &str) {
        let numbered = || {
            let (payload_type, rest) = value.split_once(' ').expect("payload type");
            (payload_type.parse().expect("payload type"), rest.to_owned())
        };
        match key {
            "mid" => value.clone_into(&mut self.mid),
            "sendonly" | "recvonly" | "sendrecv" | "inactive" => key.clone_into(&mut self.direction),
            "rtpmap" => self.rtpmaps.push(numbered()),
            "fmtp" => self.fmtps.push(numbered()),
            "rtcp-fb" => self.feedback.push(numbered()),
            "extmap" => {
                let (id, uri) = value.split_once(' ').expect("extmap");
                self.extensions.push((id.to_owned(), uri.to_owned()));
            }
            "msid" => {
                let (stream, track) = value.split_once(' ').expect("msid");
                self.msid = Some((stream.to_owned(), track.to_owned()));
            }
            "ssrc-group" => {
                let pair: Vec<u32> = value
                    .strip_prefix("FID ")
                    .expect("FID")
                    .split(' ')
                    .map(|ssrc| ssrc.parse().expect("ssrc"))
                    .collect();
                (self.ssrc, self.rtx_ssrc) = (Some(pair[0]), Some(pair[1]));
            }
            "ssrc" => {
                let (ssrc, cname) = value.split_once(" cname:").expect("cname");
                self.ssrc = self.ssrc.or(ssrc.parse().ok());
                self.cname = Some(cname.to_owned());
            }
            "simulcast" => {
                let rids = value.strip_prefix("recv ").expect("recv");
                self.rids = rids.split(';').map(str::to_owned).collect();
            }
            _ => {}
        }
    }
}
