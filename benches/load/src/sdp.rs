//! Session descriptions as a participant needs them (RFC 8866, RFC 8829): writes offers and answers, reads what servers
//! write.
//!
//! It shares no code with the server's own reader and writer, and it reads the dialects of other servers, too: what it
//! does not know it skips.

mod read;
mod write;

use std::net::SocketAddr;

use vestibule_media_core::rtp::ExtensionIds;
use vestibule_media_core::sdp::{Fingerprint, IceParameters};

use crate::client::{Kind, ReceivedCodec, Receives, RemoteTransport};

pub(crate) use read::candidate;
pub use write::{AUDIO_PAYLOAD_TYPE, EXTENSION_IDS, VIDEO_PAYLOAD_TYPE, VIDEO_RTX_PAYLOAD_TYPE, answer};

/// An offer in the making. The mid of a line is its index.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Our credentials.
    pub ice: IceParameters,
    /// Our certificate.
    pub fingerprint: Fingerprint,
    /// Our host candidate, written into the offer; a server that is ICE-lite can do without.
    pub candidate: Option<SocketAddr>,
    /// The DTLS role that is offered. `Active` for servers that would else make us the DTLS server.
    pub setup: Setup,
    /// `sess-version` of `o=`; goes up with each offer of one transport.
    pub version: u64,
    /// The m-lines in order.
    pub lines: Vec<OfferLine>,
}

/// One m-line of an [`Offer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferLine {
    /// Sends one stream; its SSRC and that of its retransmissions are told.
    Send {
        /// Opus or VP8.
        kind: Kind,
        /// The SSRC.
        ssrc: u32,
        /// The SSRC of retransmissions; video only.
        rtx: Option<u32>,
    },
    /// Sends VP8 in several encodings, lowest first; as in browsers their SSRCs are not told.
    Simulcast {
        /// Their names.
        rids: Vec<String>,
    },
    /// Might send, and does not: a camera that is off, a screen that is not shared.
    Idle {
        /// Opus or VP8.
        kind: Kind,
    },
    /// Receives.
    Receive {
        /// Opus or VP8.
        kind: Kind,
    },
}

/// A DTLS role (RFC 8842).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Either; only in offers.
    ActPass,
    /// DTLS client.
    Active,
    /// DTLS server.
    Passive,
}

/// What an m-line wants to do with media, as its writer sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// `sendrecv`, and what is meant when nothing is said.
    #[default]
    SendRecv,
    /// `sendonly`.
    SendOnly,
    /// `recvonly`.
    RecvOnly,
    /// `inactive`.
    Inactive,
}

impl Direction {
    /// Whether the writer of the description sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer of the description receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// A server's offer or answer.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its credentials.
    pub ice: IceParameters,
    /// Whether it only answers checks, so that we nominate in any case.
    pub ice_lite: bool,
    /// The SHA-256 of its certificate.
    pub fingerprint: Fingerprint,
    /// The DTLS role it takes.
    pub setup: Setup,
    /// Its candidates over UDP, by address; names that would have to be resolved are left out.
    pub candidates: Vec<SocketAddr>,
    /// Its m-lines in order.
    pub lines: Vec<MediaLine>,
}

/// One m-line of a [`Description`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaLine {
    /// Its mid; empty if there is none.
    pub mid: String,
    /// What it carries; `None` is neither audio nor video.
    pub kind: Option<Kind>,
    /// Port 0: the line is of no use.
    pub rejected: bool,
    /// What its writer does with it.
    pub direction: Direction,
    /// Its payload types in order of preference, with what the rtpmap says of them.
    pub codecs: Vec<Codec>,
    /// Ids and URIs of its header extensions.
    pub extensions: Vec<(u8, String)>,
    /// The SSRCs its writer announces, in order, those of RTX among them.
    pub ssrcs: Vec<u32>,
    /// Media SSRC and RTX SSRC of each `ssrc-group:FID`.
    pub pairs: Vec<(u32, u32)>,
    /// `msid`: stream and track; servers name publishers in it.
    pub msid: Option<(String, String)>,
    /// The rids of `simulcast:recv`, as the writer of the description wants them.
    pub receives_rids: Vec<String>,
    /// The `m=` line without its port, for an answer.
    media: String,
    proto: String,
    formats: String,
}

/// One payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// The payload type.
    pub payload_type: u8,
    /// As written: `opus`, `VP8`, `rtx`.
    pub name: String,
    /// The RTP clock in Hz.
    pub clock_rate: u32,
    /// For `rtx`: what it retransmits.
    pub apt: Option<u8>,
    /// Whether generic NACK was negotiated.
    pub nack: bool,
    /// Whether transport-wide feedback was negotiated.
    pub transport_cc: bool,
}

/// What one of our streams is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The payload type of the codec.
    pub payload_type: u8,
    /// The payload type of its retransmissions.
    pub rtx_payload_type: Option<u8>,
    /// The header extensions.
    pub extensions: ExtensionIds,
}

/// Why a description is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// No `a=ice-ufrag` or `a=ice-pwd`.
    #[error("the description has no ICE credentials")]
    NoCredentials,
    /// No SHA-256 `a=fingerprint`, or one that is malformed.
    #[error("the description has no SHA-256 fingerprint")]
    NoFingerprint,
    /// A line that is neither `<type>=<value>` nor readable otherwise.
    #[error("line {0} of the description is malformed")]
    Malformed(usize),
}

impl Description {
    /// Reads an offer or an answer of a server. With BUNDLE there is one transport: its first credentials count.
    ///
    /// # Errors
    /// See [`SdpError`].
    pub fn parse(sdp: &str) -> Result<Self, SdpError> {
        read::parse(sdp)
    }

    /// The m-line with this mid.
    #[must_use]
    pub fn line(&self, mid: &str) -> Option<&MediaLine> {
        self.lines.iter().find(|line| line.mid == mid)
    }

    /// Whom to connect to.
    #[must_use]
    pub fn remote(&self) -> RemoteTransport {
        RemoteTransport {
            ice: self.ice.clone(),
            candidates: self.candidates.clone(),
            fingerprint: self.fingerprint,
        }
    }

    /// What may arrive from the writer of this description.
    #[must_use]
    pub fn receives(&self) -> Receives {
        let mut receives = Receives::default();
        for line in self.lines.iter().filter(|line| !line.rejected && line.direction.sends()) {
            let Some(kind) = line.kind else { continue };
            let codecs = line.media_codecs(kind).map(|codec| ReceivedCodec {
                kind,
                payload_type: codec.payload_type,
                rtx: line.rtx_of(codec.payload_type),
                nack: codec.nack,
            });
            receives.merge(&Receives {
                codecs: codecs.collect(),
                extensions: line.extension_ids(),
                pairs: line.pairs.clone(),
            });
        }
        receives
    }
}

impl MediaLine {
    /// What a stream of `kind` on this line is sent with; `None` if the line was rejected or has no codec of ours.
    #[must_use]
    pub fn negotiated(&self, kind: Kind) -> Option<Negotiated> {
        let codec = self.media_codecs(kind).next().filter(|_| !self.rejected)?;
        Some(Negotiated {
            payload_type: codec.payload_type,
            rtx_payload_type: self.rtx_of(codec.payload_type),
            extensions: self.extension_ids(),
        })
    }

    /// The ids of the header extensions known here.
    #[must_use]
    pub fn extension_ids(&self) -> ExtensionIds {
        let mut ids = ExtensionIds::default();
        for (id, uri) in &self.extensions {
            ids.set(uri, *id);
        }
        ids
    }

    fn media_codecs(&self, kind: Kind) -> impl Iterator<Item = &Codec> {
        let name = codec_name(kind);
        self.codecs.iter().filter(move |codec| codec.name.eq_ignore_ascii_case(name))
    }

    fn rtx_of(&self, payload_type: u8) -> Option<u8> {
        let rtx = self.codecs.iter().find(|codec| codec.apt == Some(payload_type))?;
        rtx.name.eq_ignore_ascii_case("rtx").then_some(rtx.payload_type)
    }
}

/// The one codec spoken of each kind.
const fn codec_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Audio => "opus",
        Kind::Video => "VP8",
    }
}

#[cfg(test)]
mod tests;
