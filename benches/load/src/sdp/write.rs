//! Writes offers and answers as a browser would, with the codecs spoken here and no others.

use std::fmt::Write;
use std::net::SocketAddr;

use vestibule_media_core::rtp::{ExtensionIds, uri};
use vestibule_media_core::sdp::{Fingerprint, IceParameters};

use super::{Description, Direction, MediaLine, Offer, OfferLine, Setup, codec_name};
use crate::client::Kind;

/// Opus in our offers.
pub const AUDIO_PAYLOAD_TYPE: u8 = 111;
/// VP8 in our offers.
pub const VIDEO_PAYLOAD_TYPE: u8 = 96;
/// Retransmitted VP8 in our offers.
pub const VIDEO_RTX_PAYLOAD_TYPE: u8 = 97;
/// Header extensions in our offers.
pub const EXTENSION_IDS: ExtensionIds = ExtensionIds {
    audio_level: Some(1),
    transport_cc: Some(3),
    abs_send_time: None,
    mid: Some(4),
    playout_delay: Some(5),
    rid: Some(10),
    repaired_rid: Some(11),
    video_orientation: Some(13),
    dependency: None,
};

/// Extensions by kind of m-line: with BUNDLE one id means the same on all.
const fn extensions(kind: Kind) -> &'static [(Option<u8>, &'static str)] {
    const IDS: ExtensionIds = EXTENSION_IDS;
    match kind {
        Kind::Audio => {
            &[(IDS.audio_level, uri::AUDIO_LEVEL), (IDS.transport_cc, uri::TRANSPORT_CC), (IDS.mid, uri::MID)]
        }
        Kind::Video => &[
            (IDS.video_orientation, uri::VIDEO_ORIENTATION),
            (IDS.playout_delay, uri::PLAYOUT_DELAY),
            (IDS.rid, uri::RID),
            (IDS.repaired_rid, uri::REPAIRED_RID),
            (IDS.transport_cc, uri::TRANSPORT_CC),
            (IDS.mid, uri::MID),
        ],
    }
}

impl OfferLine {
    const fn kind(&self) -> Kind {
        match self {
            Self::Send { kind, .. } | Self::Idle { kind } | Self::Receive { kind } => *kind,
            Self::Simulcast { .. } => Kind::Video,
        }
    }
}

impl Setup {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

impl Offer {
    /// The offer as text.
    #[must_use]
    pub fn to_sdp(&self) -> String {
        let mut out = Lines::new(self.version, (0..self.lines.len()).map(|mid| mid.to_string()));
        for (mid, line) in self.lines.iter().enumerate() {
            let kind = line.kind();
            match kind {
                Kind::Audio => out.line(format_args!("m=audio 9 UDP/TLS/RTP/SAVPF 111")),
                Kind::Video => out.line(format_args!("m=video 9 UDP/TLS/RTP/SAVPF 96 97")),
            }
            out.transport(&self.ice, &self.fingerprint, self.setup, self.candidate.filter(|_| mid == 0));
            out.line(format_args!("a=mid:{mid}"));
            for (id, uri) in extensions(kind) {
                if let Some(id) = id {
                    out.line(format_args!("a=extmap:{id} {uri}"));
                }
            }
            if matches!(line, OfferLine::Receive { .. }) {
                out.line(format_args!("a=recvonly"));
            } else {
                out.line(format_args!("a=sendonly"));
                out.line(format_args!("a=msid:load track-{mid}"));
            }
            out.line(format_args!("a=rtcp-mux"));
            out.line(format_args!("a=rtcp-rsize"));
            out.text.push_str(match kind {
                Kind::Audio => AUDIO_FORMATS,
                Kind::Video => VIDEO_FORMATS,
            });
            out.streams(line);
        }
        out.text
    }
}

const AUDIO_FORMATS: &str = "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
    a=fmtp:111 minptime=10;useinbandfec=1\r\n";

const VIDEO_FORMATS: &str = "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\n\
    a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";

/// Answers a server's offer as somebody who takes everything it sends and sends nothing: DTLS client, one transport.
///
/// An m-line that is neither Opus nor VP8 is rejected, but for data channels: those are accepted, for servers that open
/// nothing without, and what comes on them is not read.
#[must_use]
pub fn answer(
    offer: &Description,
    ice: &IceParameters,
    fingerprint: &Fingerprint,
    candidate: SocketAddr,
) -> String {
    let accepted = |line: &MediaLine| match line.kind {
        Some(kind) => line.negotiated(kind).is_some(),
        None => !line.rejected && line.media == "application",
    };
    let mids = offer.lines.iter().filter(|line| accepted(line)).map(|line| line.mid.clone());
    let mut out = Lines::new(2, mids);
    let mut candidate = Some(candidate);
    for line in &offer.lines {
        if !accepted(line) {
            out.line(format_args!("m={} 0 {} {}", line.media, line.proto, line.formats));
            out.line(format_args!("c=IN IP4 0.0.0.0"));
            out.line(format_args!("a=mid:{}", line.mid));
            out.line(format_args!("a=inactive"));
            continue;
        }
        out.accept(line, |out| out.transport(ice, fingerprint, Setup::Active, candidate.take()));
    }
    out.text
}

/// SDP lines with their endings.
struct Lines {
    text: String,
}

impl Lines {
    fn new(version: u64, mids: impl Iterator<Item = String>) -> Self {
        let mids: Vec<String> = mids.collect();
        let mut lines = Self { text: String::with_capacity(4_096) };
        lines.line(format_args!("v=0"));
        lines.line(format_args!("o=- 5324812084610368984 {version} IN IP4 127.0.0.1"));
        lines.line(format_args!("s=-"));
        lines.line(format_args!("t=0 0"));
        lines.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
        lines.line(format_args!("a=extmap-allow-mixed"));
        lines.line(format_args!("a=msid-semantic: WMS"));
        lines
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{line}\r\n");
    }

    fn transport(
        &mut self,
        ice: &IceParameters,
        fingerprint: &Fingerprint,
        setup: Setup,
        candidate: Option<SocketAddr>,
    ) {
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        if let Some(address) = candidate {
            // RFC 8445 section 5.1.2.1: host, the only address, RTP and RTCP together.
            let (ip, port) = (address.ip(), address.port());
            self.line(format_args!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host"));
            self.line(format_args!("a=end-of-candidates"));
        }
        self.line(format_args!("a=ice-ufrag:{}", ice.ufrag));
        self.line(format_args!("a=ice-pwd:{}", ice.pwd));
        let octets: Vec<String> = fingerprint.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
        self.line(format_args!("a=fingerprint:sha-256 {}", octets.join(":")));
        self.line(format_args!("a=setup:{}", setup.as_str()));
    }

    fn streams(&mut self, line: &OfferLine) {
        match line {
            OfferLine::Send { ssrc, rtx, .. } => {
                if let Some(rtx) = rtx {
                    self.line(format_args!("a=ssrc-group:FID {ssrc} {rtx}"));
                }
                for ssrc in [Some(ssrc), rtx.as_ref()].into_iter().flatten() {
                    self.line(format_args!("a=ssrc:{ssrc} cname:load"));
                }
            }
            OfferLine::Simulcast { rids } => {
                for rid in rids {
                    self.line(format_args!("a=rid:{rid} send"));
                }
                self.line(format_args!("a=simulcast:send {}", rids.join(";")));
            }
            OfferLine::Idle { .. } | OfferLine::Receive { .. } => {}
        }
    }

    fn accept(&mut self, line: &MediaLine, transport: impl FnOnce(&mut Self)) {
        let Some(kind) = line.kind else {
            self.line(format_args!("m={} 9 {} {}", line.media, line.proto, line.formats));
            transport(self);
            self.line(format_args!("a=mid:{}", line.mid));
            self.line(format_args!("a=sctp-port:5000"));
            return;
        };
        let Some(negotiated) = line.negotiated(kind) else { return };
        let (codec, rtx) = (negotiated.payload_type, negotiated.rtx_payload_type);
        let rtx_format = rtx.map(|rtx| format!(" {rtx}")).unwrap_or_default();
        self.line(format_args!("m={} 9 {} {codec}{rtx_format}", line.media, line.proto));
        transport(self);
        self.line(format_args!("a=mid:{}", line.mid));
        for (id, uri) in &line.extensions {
            if ExtensionIds::default().set(uri, *id) {
                self.line(format_args!("a=extmap:{id} {uri}"));
            }
        }
        let direction = match line.direction {
            Direction::SendRecv | Direction::SendOnly => "recvonly",
            Direction::RecvOnly | Direction::Inactive => "inactive",
        };
        self.line(format_args!("a={direction}"));
        self.line(format_args!("a=rtcp-mux"));
        self.line(format_args!("a=rtcp-rsize"));
        let name = codec_name(kind);
        let nack = line.codecs.iter().any(|found| found.payload_type == codec && found.nack);
        let transport_cc = line.codecs.iter().any(|found| found.payload_type == codec && found.transport_cc);
        match kind {
            Kind::Audio => self.line(format_args!("a=rtpmap:{codec} {name}/48000/2")),
            Kind::Video => self.line(format_args!("a=rtpmap:{codec} {name}/90000")),
        }
        if transport_cc {
            self.line(format_args!("a=rtcp-fb:{codec} transport-cc"));
        }
        if kind == Kind::Video {
            self.line(format_args!("a=rtcp-fb:{codec} ccm fir"));
            self.line(format_args!("a=rtcp-fb:{codec} nack pli"));
        }
        if nack {
            self.line(format_args!("a=rtcp-fb:{codec} nack"));
        }
        if let Some(rtx) = rtx {
            self.line(format_args!("a=rtpmap:{rtx} rtx/90000"));
            self.line(format_args!("a=fmtp:{rtx} apt={codec}"));
        }
    }
}
