//! Session descriptions: the client's offer, read; the server's answer, written.
//!
//! The browser always offers and the server always answers (RFC 8829). An offer is text from a stranger: it is bounded
//! first, parsed second, and everything an answer mirrors from it has been checked. Nothing here knows of rooms, peers
//! or packets; what is parsed is plain data.

mod answer;
mod offer;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

use crate::address::TransportAddress;
use crate::bounds::STREAM_ID_BYTES_MAX;
use crate::h264;
use crate::rtp::ExtensionIds;

pub use answer::write_answer;

/// What a client offered, reduced to what this server acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The client's ICE credentials, the same for all m-lines.
    pub ice: IceParameters,
    /// SHA-256 of the client's certificate, the same for all m-lines.
    pub fingerprint: Fingerprint,
    /// The client's DTLS role; the server is passive in either case.
    pub setup: Setup,
    /// The header extensions known to both, over all m-lines that are not rejected.
    pub extensions: ExtensionIds,
    /// Whether one- and two-byte header extensions may be mixed in every stream (RFC 8285 section 4.1.2).
    pub extmap_allow_mixed: bool,
    /// Whether the client takes the dependency descriptor with what it is sent.
    pub receives_dependency: bool,
    /// The m-lines, in the order of the offer; rejected ones stand among them.
    pub media: Vec<OfferedMedia>,
    /// Where in `media` the BUNDLE group's accepted members are, in the group's order; the first is the tag (RFC 8843).
    bundle: Vec<usize>,
    /// Whether `a=extmap-allow-mixed` stood at session level, so that the answer says it there.
    allow_mixed_at_session: bool,
}

impl Offer {
    /// Reads an offer: bounded, all of it bundled on one transport, `rtcp-mux`, DTLS-SRTP.
    ///
    /// # Errors
    ///
    /// What is wrong and where; the text of the offer is not repeated in errors, since it holds addresses and secrets.
    pub fn parse(sdp: &str) -> Result<Self, SdpError> {
        offer::parse(sdp)
    }

    /// What of this offer the next one is held against.
    #[must_use]
    pub fn terms(&self) -> Terms {
        let media = self.media.iter().map(|media| MediaTerms {
            mid: media.mid,
            kind: media.kind,
            codecs: media.codecs.iter().map(Codec::identity).collect(),
        });
        Terms {
            ice: self.ice.clone(),
            fingerprint: self.fingerprint,
            extensions: self.extensions,
            media: media.collect(),
        }
    }

    /// Whether this offer may follow one of these terms on the same transport: the same m-lines in the same places, new
    /// ones only behind them, the same certificate, no payload type or extension id with a new meaning. ICE credentials
    /// may differ: that is a restart (RFC 8839 section 4.4.1.1.1).
    ///
    /// # Errors
    ///
    /// The first difference found.
    pub fn extends(&self, previous: &Terms) -> Result<(), SdpError> {
        offer::extends(self, previous)
    }

    /// Whether this offer restarts the ICE of the one before.
    #[must_use]
    pub fn restarts_ice(&self, previous: &Terms) -> bool {
        self.ice != previous.ice
    }
}

/// What of an offer is kept as long as its transport: a small part of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The client's ICE credentials.
    pub ice: IceParameters,
    /// SHA-256 of the client's certificate.
    pub fingerprint: Fingerprint,
    extensions: ExtensionIds,
    media: Box<[MediaTerms]>,
}

/// What may not change of an m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MediaTerms {
    mid: Mid,
    kind: Option<MediaKind>,
    codecs: Box<[CodecIdentity]>,
}

/// A codec, its payload type, and that of its retransmissions.
type CodecIdentity = (CodecName, u8, Option<u8>);

/// One m-line of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedMedia {
    /// Its identification (RFC 5888), unique in the offer.
    pub mid: Mid,
    /// What it carries; `None` is neither audio nor video, and always rejected.
    pub kind: Option<MediaKind>,
    /// What the client wants to do with it.
    pub direction: Direction,
    /// The offered codecs that this server forwards, each once, in the order of the offer. None: the m-line is rejected (no
    /// common codec, not audio or video, or offered with port 0).
    pub codecs: Vec<Codec>,
    /// Simulcast encodings the client will send, in the order of its `a=simulcast`; empty without simulcast (RFC 8853).
    pub rids: Vec<Rid>,
    /// SSRCs the client announced; browsers leave them out for simulcast, or list them beside the rids.
    pub ssrcs: Vec<OfferedSsrc>,
    /// The header extensions known to both on this m-line.
    pub extensions: ExtensionIds,
    /// Whether the client takes reduced-size RTCP here (RFC 5506).
    pub rtcp_rsize: bool,
    /// The `m=` line as the answer mirrors it when it rejects.
    line: MediaLine,
    /// The known extensions as they were offered.
    extmaps: Vec<Extmap>,
    /// What follows the direction of each rid's `a=rid` line, beside `rids`.
    rid_restrictions: Vec<String>,
    /// Whether `a=extmap-allow-mixed` holds here.
    allow_mixed: bool,
}

impl OfferedMedia {
    /// Whether the answer rejects this m-line with port 0.
    #[must_use]
    pub const fn is_rejected(&self) -> bool {
        self.codecs.is_empty()
    }

    /// The codec of this name, if it is offered.
    #[must_use]
    pub fn codec(&self, name: CodecName) -> Option<&Codec> {
        self.codecs.iter().find(|codec| codec.name == name)
    }
}

/// The parts of an `m=` line that a rejection mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MediaLine {
    media: String,
    protocol: String,
    first_format: String,
}

/// One `a=extmap` of a known extension (RFC 8285 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extmap {
    id: u8,
    /// The direction of the extension itself, where the offer limits it.
    direction: Option<Direction>,
    uri: String,
}

/// An SSRC announced by `a=ssrc`, with its retransmission stream by `a=ssrc-group:FID` (RFC 5576).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedSsrc {
    /// The media stream.
    pub ssrc: u32,
    /// Its retransmission stream (RFC 4588).
    pub rtx: Option<u32>,
}

/// What an m-line carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
}

/// The direction of an m-line, as the one who wrote the description sees it (RFC 8866 section 6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The writer sends.
    SendOnly,
    /// The writer receives.
    RecvOnly,
    /// The writer does both, which is also what silence means.
    #[default]
    SendRecv,
    /// The writer does neither.
    Inactive,
}

impl Direction {
    /// The direction of one who `sends` and `receives`.
    #[must_use]
    pub const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the writer sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendOnly | Self::SendRecv)
    }

    /// Whether the writer receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::RecvOnly | Self::SendRecv)
    }

    /// The same line as the other end sees it.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// The attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::SendRecv => "sendrecv",
            Self::Inactive => "inactive",
        }
    }

    fn from_token(token: &str) -> Option<Self> {
        [Self::SendOnly, Self::RecvOnly, Self::SendRecv, Self::Inactive]
            .into_iter()
            .find(|direction| direction.as_str() == token)
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The DTLS role the client offers (RFC 8842 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Either role; the answer makes the client active.
    ActPass,
    /// The client is active.
    Active,
}

/// The codecs this server forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CodecName {
    /// Opus (RFC 7587).
    Opus,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628), profile 0.
    Vp9,
    /// H264 (RFC 6184), constrained baseline in packetization mode 1.
    H264,
    /// AV1 (AV1 RTP specification 1.0), profile 0.
    Av1,
}

impl CodecName {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Opus, Self::Vp8, Self::Vp9, Self::H264, Self::Av1];

    /// The kind of m-line this codec belongs on.
    #[must_use]
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => MediaKind::Video,
        }
    }

    /// Ticks of the RTP timestamp per second.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self.kind() {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        }
    }

    /// Encoding name, clock rate and channels as `a=rtpmap` gives them.
    #[must_use]
    pub const fn rtpmap(self) -> &'static str {
        match self {
            // RFC 7587 section 7: always 48000/2, whatever is sent.
            Self::Opus => "opus/48000/2",
            Self::Vp8 => "VP8/90000",
            Self::Vp9 => "VP9/90000",
            Self::H264 => "H264/90000",
            Self::Av1 => "AV1/90000",
        }
    }

    /// Its name as `a=rtpmap` gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.rtpmap().split('/').next().unwrap_or_default()
    }

    /// What is answered to a format with these parameters; `None` where it is one this server does not take: another profile,
    /// another packetization. What describes only what the client itself can decode is not repeated.
    fn answer_to(self, fmtp: &str) -> Option<String> {
        match self {
            Self::Opus => Some(mirrored(fmtp, &["minptime", "useinbandfec", "usedtx"])),
            Self::Vp8 => Some(String::new()),
            Self::Vp9 => {
                matches!(parameter(fmtp, "profile-id"), None | Some("0")).then(|| "profile-id=0".to_owned())
            }
            Self::H264 => h264::negotiate(fmtp),
            Self::Av1 => matches!(parameter(fmtp, "profile"), None | Some("0"))
                .then(|| mirrored(fmtp, &["level-idx", "profile", "tier"])),
        }
    }

    fn from_rtpmap(kind: MediaKind, rtpmap: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.kind() == kind && codec.rtpmap().eq_ignore_ascii_case(rtpmap))
    }
}

/// The value of one of a format's parameters.
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    let mut parameters = fmtp.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    parameters.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

/// The offered parameters of these names.
fn mirrored(fmtp: &str, names: &[&str]) -> String {
    let is_named = |parameter: &&str| names.contains(&parameter.split('=').next().unwrap_or_default().trim());
    fmtp.split(';').map(str::trim).filter(is_named).collect::<Vec<_>>().join(";")
}

/// A codec of an m-line, with the feedback the client offers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Which codec.
    pub name: CodecName,
    /// Its RTP payload type.
    pub payload_type: u8,
    /// The payload type of its retransmissions (RFC 4588).
    pub rtx: Option<u8>,
    /// Ticks of the RTP timestamp per second.
    pub clock_rate: u32,
    /// Generic NACK (RFC 4585 section 6.2.1).
    pub nack: bool,
    /// Picture loss indication (RFC 4585 section 6.3.1).
    pub pli: bool,
    /// Full intra request (RFC 5104 section 4.3.1).
    pub fir: bool,
    /// Transport-wide congestion control feedback.
    pub transport_cc: bool,
    /// The receiver tells its own estimate (draft-alvestrand-rmcat-remb-03).
    pub remb: bool,
    /// Payload type of redundant audio (RFC 2198) whose blocks are all of this codec.
    pub red: Option<u8>,
    /// The offered format parameters, verbatim; empty if none.
    pub fmtp: String,
    /// The format parameters of the answer.
    pub answer: String,
}

impl Codec {
    const fn identity(&self) -> CodecIdentity {
        (self.name, self.payload_type, self.rtx)
    }
}

/// The credentials of one ICE generation of one agent (RFC 8839 section 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceParameters {
    /// The username fragment, 4 to 256 ice-chars.
    pub ufrag: String,
    /// The password, 22 to 256 ice-chars.
    pub pwd: String,
}

impl IceParameters {
    /// Credentials that keep to the grammar of RFC 8839.
    ///
    /// # Errors
    ///
    /// [`SdpError::IceCredential`] names the part that does not.
    pub fn new(ufrag: impl Into<String>, pwd: impl Into<String>) -> Result<Self, SdpError> {
        let (ufrag, pwd) = (ufrag.into(), pwd.into());
        if !is_ice_string(&ufrag, 4) {
            return Err(SdpError::IceCredential { attribute: "ice-ufrag" });
        }
        if !is_ice_string(&pwd, 22) {
            return Err(SdpError::IceCredential { attribute: "ice-pwd" });
        }
        Ok(Self { ufrag, pwd })
    }
}

/// `<min>*256ice-char`, where ice-char is a letter, a digit, `+` or `/`.
fn is_ice_string(text: &str, bytes_min: usize) -> bool {
    (bytes_min..=256).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

impl fmt::Debug for IceParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceParameters").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// The SHA-256 of a certificate (RFC 8122 section 5); other hashes are not used.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// A fingerprint from the hash itself.
    #[must_use]
    pub const fn from_sha256(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(hash)
    }

    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = SdpError;

    /// Reads `AA:BB:…`, 32 octets of two hexadecimal digits; small letters are taken too.
    fn from_str(text: &str) -> Result<Self, SdpError> {
        let mut hash = [0; 32];
        let mut octets = text.split(':');
        for byte in &mut hash {
            *byte = octets.next().and_then(hex_octet).ok_or(SdpError::Fingerprint)?;
        }
        if octets.next().is_some() { Err(SdpError::Fingerprint) } else { Ok(Self(hash)) }
    }
}

fn hex_octet(text: &str) -> Option<u8> {
    // The digits are looked at because `from_str_radix` would also take a sign.
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u8::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The text of a MID or RID, kept in place: it is compared for packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct StreamId {
    bytes: [u8; STREAM_ID_BYTES_MAX],
    len: u8,
}

impl StreamId {
    fn new(text: &[u8], allowed: fn(u8) -> bool) -> Option<Self> {
        let fits = (1..=STREAM_ID_BYTES_MAX).contains(&text.len());
        if !fits || !text.iter().all(|&byte| allowed(byte)) {
            return None;
        }
        let mut bytes = [0; STREAM_ID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { bytes, len: text.len() as u8 })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn as_str(&self) -> &str {
        // Only ASCII gets past `allowed`.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

macro_rules! stream_id {
    ($(#[$doc:meta])* $name:ident, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(StreamId);

        impl $name {
            /// The id, if it keeps to its grammar and to [`STREAM_ID_BYTES_MAX`]. Takes what a header extension
            /// carries as well as what an attribute says.
            #[must_use]
            pub fn new(text: impl AsRef<[u8]>) -> Option<Self> {
                StreamId::new(text.as_ref(), $allowed).map(Self)
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// As a header extension carries it.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    };
}

stream_id!(
    /// The identification of an m-line (RFC 5888, RFC 8843), a token.
    Mid,
    is_token_char
);
stream_id!(
    /// The identification of a simulcast encoding (RFC 8851 section 10).
    Rid,
    is_rid_char
);

/// `token-char` of RFC 8866 section 9.
const fn is_token_char(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'~')
}

/// `rid-id` of RFC 8851 section 10.
const fn is_rid_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// What the answer says about one offered m-line; the default neither sends nor receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerMedia {
    /// The stream the server sends there, if the client receives.
    pub send: Option<SendStream>,
    /// Whether the server takes what the client sends there.
    pub receive: bool,
    /// The codec that stands first: the one the client is to send (RFC 3264 section 7). Else the order is the offer's.
    pub preferred: Option<CodecName>,
}

/// A stream the server sends on an m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendStream {
    /// The SSRC of the media.
    pub ssrc: u32,
    /// The SSRC of its retransmissions; left out where no RTX was negotiated.
    pub rtx: Option<u32>,
    /// The stream in `a=msid`: what shares it is played in step (RFC 8830).
    pub stream_id: String,
    /// The track in `a=msid`.
    pub track_id: String,
    /// The canonical name of the source (RFC 3550 section 6.5.1).
    pub cname: String,
}

/// An address the server can be reached at: a host candidate for component 1. Over TCP the server waits for the client to
/// connect (RFC 6544, passive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// As the client reaches it; behind a 1:1 NAT the public one.
    pub address: TransportAddress,
}

impl From<TransportAddress> for Candidate {
    fn from(address: TransportAddress) -> Self {
        Self { address }
    }
}

/// What an answer says besides what it mirrors. All texts are the server's own and hold no line break.
#[derive(Clone, Copy, Debug)]
pub struct AnswerContext<'a> {
    /// `sess-id` of `o=`, the same in all answers of one transport; below 2^63 (RFC 8829 section 5.2.1).
    pub session_id: u64,
    /// `sess-version` of `o=`, one higher with each answer.
    pub version: u64,
    /// The server's ICE credentials.
    pub ice: &'a IceParameters,
    /// The server's certificate.
    pub fingerprint: &'a Fingerprint,
    /// Where the server is reached, best first.
    pub candidates: &'a [Candidate],
    /// One for each m-line of the offer, in its order.
    pub media: &'a [AnswerMedia],
}

/// The part of an offer an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The lines before the first m-line.
    Session,
    /// The m-line with this index, counted from 0.
    Media(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => f.write_str("session level"),
            Self::Media(index) => write!(f, "m-line {index}"),
        }
    }
}

/// Why an offer is refused. Lines count from 1, m-lines from 0; nothing of the offer is repeated but short ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields of a variant are what its message names")]
pub enum SdpError {
    /// More bytes than [`OFFER_BYTES_MAX`](crate::bounds::OFFER_BYTES_MAX).
    #[error("the offer has {bytes} bytes, more than {max}")]
    TooLong { bytes: usize, max: usize },
    /// More lines than [`OFFER_LINES_MAX`](crate::bounds::OFFER_LINES_MAX).
    #[error("the offer has more than {max} lines")]
    TooManyLines { max: usize },
    /// A line longer than [`OFFER_LINE_BYTES_MAX`](crate::bounds::OFFER_LINE_BYTES_MAX).
    #[error("line {line} has {bytes} bytes, more than {max}")]
    LineTooLong { line: usize, bytes: usize, max: usize },
    /// More m-lines than [`MEDIA_LINES_MAX`](crate::bounds::MEDIA_LINES_MAX).
    #[error("the offer has more than {max} m-lines")]
    TooManyMedia { max: usize },
    /// A NUL, a carriage return alone, a tab or another control character.
    #[error("line {line} holds a control character")]
    ControlCharacter { line: usize },
    /// A line that is not `<letter>=<value>` (RFC 8866 section 5).
    #[error("line {line} is not of the form <type>=<value>")]
    NotALine { line: usize },
    /// A line every offer has is not there.
    #[error("there is no {kind}= line")]
    MissingLine { kind: char },
    /// A line that stands where its type may not, or whose value does not keep to its grammar (RFC 8866 section 9).
    #[error("line {line} ({kind}=) is malformed or out of place")]
    Syntax { line: usize, kind: char },

    /// An attribute that has to be there is not.
    #[error("{place}: a={attribute} is missing")]
    Missing { place: Place, attribute: &'static str },
    /// An attribute that may stand once stands twice.
    #[error("{place}: a={attribute} is repeated")]
    Repeated { place: Place, attribute: &'static str },
    /// An attribute whose value does not keep to its grammar or range.
    #[error("{place}: a={attribute} is malformed")]
    Malformed { place: Place, attribute: &'static str },

    /// An audio or video m-line that is not `UDP/TLS/RTP/SAVPF` (RFC 8829 section 5.1.2).
    #[error("{place}: the protocol is not UDP/TLS/RTP/SAVPF")]
    Protocol { place: Place },
    /// Two m-lines of one name.
    #[error("{place}: mid {mid} is taken by an earlier m-line")]
    DuplicateMid { place: Place, mid: Mid },
    /// `a=group:BUNDLE` names an m-line that is not there, or names one twice.
    #[error("a=group:BUNDLE names an m-line that does not exist, or one twice")]
    BundleMember,
    /// An m-line that would need a transport of its own.
    #[error("{place}: mid {mid} is not in the BUNDLE group")]
    NotBundled { place: Place, mid: Mid },
    /// An m-line in BUNDLE that differs from the others in what belongs to the transport (RFC 8843 section 7.1.3).
    #[error("{place}: a={attribute} differs from the rest of the BUNDLE group")]
    TransportMismatch { place: Place, attribute: &'static str },
    /// A DTLS role other than `actpass` or `active`.
    #[error("{place}: a=setup is neither actpass nor active")]
    Setup { place: Place },
    /// Both ends ICE-lite: nobody would check.
    #[error("{place}: the client is ice-lite, and so is the server")]
    IceLite { place: Place },
    /// A username fragment or password outside the grammar of RFC 8839.
    #[error("{attribute} is malformed")]
    IceCredential { attribute: &'static str },
    /// A text that is not a SHA-256 fingerprint.
    #[error("the fingerprint is not 32 octets of hexadecimal digits")]
    Fingerprint,

    /// A payload type that could be taken for RTCP (RFC 5761 section 4).
    #[error("{place}: payload type {payload_type} cannot be used with rtcp-mux")]
    ReservedPayloadType { place: Place, payload_type: u8 },
    /// A payload type with two meanings in one BUNDLE (RFC 8843 section 9.1).
    #[error("{place}: payload type {payload_type} means something else on an earlier m-line")]
    PayloadTypeConflict { place: Place, payload_type: u8 },
    /// A header extension with two ids, or an id with two extensions, in one BUNDLE (RFC 8859).
    #[error("{place}: header extension id {id} conflicts with an earlier mapping")]
    ExtensionConflict { place: Place, id: u8 },
    /// `a=simulcast` names an encoding without its `a=rid … send`.
    #[error("{place}: a=simulcast names {rid}, which no a=rid declares for sending")]
    UnknownRid { place: Place, rid: Rid },
    /// More simulcast encodings than [`ENCODINGS_MAX`](crate::bounds::ENCODINGS_MAX).
    #[error("{place}: more than {max} simulcast encodings")]
    TooManyEncodings { place: Place, max: usize },
    /// More announced SSRCs than [`SSRCS_PER_PEER_MAX`](crate::bounds::SSRCS_PER_PEER_MAX).
    #[error("{place}: more than {max} SSRCs announced so far")]
    TooManySsrcs { place: Place, max: usize },
    /// An SSRC of two m-lines, or of two roles.
    #[error("{place}: SSRC {ssrc} is announced twice")]
    DuplicateSsrc { place: Place, ssrc: u32 },
    /// Every m-line would be rejected.
    #[error("no m-line has a codec this server forwards")]
    NothingToServe,

    /// A new offer with fewer m-lines than the one before.
    #[error("the offer has {now} m-lines where the one before had {before}")]
    MediaRemoved { before: usize, now: usize },
    /// A new offer that puts another m-line in an old one's place.
    #[error("{place}: mid {now} stands where {before} stood")]
    MidChanged { place: Place, before: Mid, now: Mid },
    /// A new offer that changes what an m-line carries.
    #[error("{place}: the kind of media changed")]
    KindChanged { place: Place },
    /// A new offer that gives an m-line another codec or payload type.
    #[error("{place}: the codec or its payload type changed")]
    CodecChanged { place: Place },
    /// A new offer that gives a header extension another id.
    #[error("the ids of header extensions changed")]
    ExtensionsChanged,
    /// A new offer with another certificate.
    #[error("the certificate fingerprint changed")]
    FingerprintChanged,
}
