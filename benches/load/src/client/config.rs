//! What a transport is told: whom to connect to, what to send, what may come.

use std::net::SocketAddr;

use vestibule_media_core::rtp::ExtensionIds;
use vestibule_media_core::sdp::{Fingerprint, IceParameters};
use vestibule_media_core::srtp::{KeyingMaterial, SrtpRole};

use crate::media::Model;

/// One transport of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransportId {
    pub(super) slot: u32,
    /// Counts how often the slot was used, so that a late command meets nobody.
    pub(super) generation: u32,
}

/// One microphone, camera or screen, unique in a run. Its encodings have the same.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct SourceId(pub u32);

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// Opus.
    Audio,
    /// VP8.
    Video,
}

/// A transport's remote, and what flows.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Who is there.
    pub remote: RemoteTransport,
    /// Whether we nominate (RFC 8445 section 6.1.1): yes if we offered, or the remote is ICE-lite. A controlled
    /// transport only answers checks.
    pub controlling: bool,
    /// What is sent once [`super::MediaPlane::set_sending`] says so.
    pub sends: Vec<SendStream>,
    /// What may come.
    pub receives: Receives,
}

/// What a remote's description said of its transport.
#[derive(Clone, Debug)]
pub struct RemoteTransport {
    /// Its credentials.
    pub ice: IceParameters,
    /// Its candidates over UDP; may be empty for a controlled transport.
    pub candidates: Vec<SocketAddr>,
    /// The SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
}

/// A transport whose remote and keys are known beforehand.
#[derive(Clone, Debug)]
pub struct Keyed {
    /// Where its packets go. `None`: it only receives, from anybody, and its feedback goes nowhere.
    pub remote: Option<SocketAddr>,
    /// Both directions' keys.
    pub keys: KeyingMaterial,
    /// Which of them are ours.
    pub role: SrtpRole,
    /// As in [`Connect`].
    pub sends: Vec<SendStream>,
    /// As in [`Connect`].
    pub receives: Receives,
}

/// One RTP stream that is sent: an audio stream, or one encoding of a video.
#[derive(Clone, Debug)]
pub struct SendStream {
    /// Whose.
    pub source: SourceId,
    /// What it carries.
    pub kind: Kind,
    /// Which encoding of its source, lowest first.
    pub encoding: u8,
    /// What makes its frames.
    pub model: Model,
    /// Its SSRC.
    pub ssrc: u32,
    /// Its retransmissions, if they were negotiated.
    pub rtx: Option<Rtx>,
    /// The payload type of its codec.
    pub payload_type: u8,
    /// The m-line it belongs to, told in its first packets.
    pub mid: String,
    /// Its name among the encodings of a simulcast, told in its first packets.
    pub rid: Option<String>,
    /// The header extensions that were negotiated.
    pub extensions: ExtensionIds,
}

/// A retransmission stream (RFC 4588).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtx {
    /// Its SSRC.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
}

/// What may arrive on a transport. SSRCs are learnt from what does arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receives {
    /// The codecs.
    pub codecs: Vec<ReceivedCodec>,
    /// The header extensions that were negotiated.
    pub extensions: ExtensionIds,
    /// Media SSRC and RTX SSRC of each `ssrc-group:FID`.
    pub pairs: Vec<(u32, u32)>,
}

/// A codec that may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedCodec {
    /// What it carries.
    pub kind: Kind,
    /// Its payload type.
    pub payload_type: u8,
    /// The payload type of its retransmissions.
    pub rtx: Option<u8>,
    /// Whether the remote answers NACKs for it.
    pub nack: bool,
}

impl Receives {
    /// Adds what `more` has and this has not.
    pub fn merge(&mut self, more: &Self) {
        for codec in &more.codecs {
            if !self.codecs.iter().any(|known| known.payload_type == codec.payload_type) {
                self.codecs.push(*codec);
            }
        }
        for pair in &more.pairs {
            if !self.pairs.contains(pair) {
                self.pairs.push(*pair);
            }
        }
        let (ids, new) = (&mut self.extensions, more.extensions);
        ids.mid = ids.mid.or(new.mid);
        ids.rid = ids.rid.or(new.rid);
        ids.repaired_rid = ids.repaired_rid.or(new.repaired_rid);
        ids.transport_cc = ids.transport_cc.or(new.transport_cc);
        ids.audio_level = ids.audio_level.or(new.audio_level);
        ids.video_orientation = ids.video_orientation.or(new.video_orientation);
        ids.playout_delay = ids.playout_delay.or(new.playout_delay);
    }
}
