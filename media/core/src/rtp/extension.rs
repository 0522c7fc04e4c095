//! Header extension elements (RFC 8285) and the ids one transport negotiated for them.

/// The extension URIs this server knows.
pub mod uri {
    /// Media identification (RFC 9143).
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// Encoding of a simulcast source (RFC 8852).
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// Encoding a retransmission belongs to (RFC 8852).
    pub const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub const TRANSPORT_CC: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    /// When a packet left (http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time).
    pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    /// Client-to-mixer audio level (RFC 6464).
    pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    /// Coordination of video orientation (3GPP TS 26.114).
    pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
    /// Bounds on the receiver's playout delay (libwebrtc).
    pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
    /// Dependency descriptor (AV1 RTP specification 1.0, appendix A).
    pub const DEPENDENCY: &str =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
}

/// Elements in one-byte form.
pub(super) const PROFILE_ONE_BYTE: u16 = 0xbede;
/// Elements in two-byte form; the low four bits are free for applications.
pub(super) const PROFILE_TWO_BYTE: u16 = 0x1000;

/// Which element id means what on one transport (with BUNDLE there is one mapping for all m-lines).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// [`uri::MID`].
    pub mid: Option<u8>,
    /// [`uri::RID`].
    pub rid: Option<u8>,
    /// [`uri::REPAIRED_RID`].
    pub repaired_rid: Option<u8>,
    /// [`uri::TRANSPORT_CC`].
    pub transport_cc: Option<u8>,
    /// [`uri::ABS_SEND_TIME`].
    pub abs_send_time: Option<u8>,
    /// [`uri::AUDIO_LEVEL`].
    pub audio_level: Option<u8>,
    /// [`uri::VIDEO_ORIENTATION`].
    pub video_orientation: Option<u8>,
    /// [`uri::PLAYOUT_DELAY`].
    pub playout_delay: Option<u8>,
    /// [`uri::DEPENDENCY`].
    pub dependency: Option<u8>,
}

impl ExtensionIds {
    /// Notes that `uri` has the element id `id`; false if the URI is none this server knows.
    pub fn set(&mut self, uri: &str, id: u8) -> bool {
        let field = match uri {
            uri::MID => &mut self.mid,
            uri::RID => &mut self.rid,
            uri::REPAIRED_RID => &mut self.repaired_rid,
            uri::TRANSPORT_CC => &mut self.transport_cc,
            uri::ABS_SEND_TIME => &mut self.abs_send_time,
            uri::AUDIO_LEVEL => &mut self.audio_level,
            uri::VIDEO_ORIENTATION => &mut self.video_orientation,
            uri::PLAYOUT_DELAY => &mut self.playout_delay,
            uri::DEPENDENCY => &mut self.dependency,
            _ => return false,
        };
        *field = Some(id);
        true
    }
}

/// The elements of one extension block: `(id, value)`. Ends at the end of the block or at the first malformed element.
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl<'a> Extensions<'a> {
    #[inline]
    pub(super) fn new(profile: u16, elements: &'a [u8]) -> Self {
        let two_byte = profile & 0xfff0 == PROFILE_TWO_BYTE;
        let known = two_byte || profile == PROFILE_ONE_BYTE;
        Self { rest: if known { elements } else { &[] }, two_byte }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, after) = self.rest.split_first()?;
            if first == 0 {
                // One byte of padding, in both forms.
                self.rest = after;
                continue;
            }
            let (id, len, values) = if self.two_byte {
                let (&len, values) = after.split_first()?;
                (first, usize::from(len), values)
            } else {
                // RFC 8285 section 4.2: id 15, and id 0 with a length, end the whole block.
                let id = first >> 4;
                if id == 0 || id == 15 {
                    self.rest = &[];
                    return None;
                }
                (id, usize::from(first & 0x0f) + 1, after)
            };
            let Some((value, rest)) = values.split_at_checked(len) else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            return Some((id, value));
        }
    }
}
