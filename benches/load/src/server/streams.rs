//! The streams somebody sends: what an offer says of them, and what an answer makes of them. The same at every server.

use crate::cast::Cast;
use crate::client::{Kind, Rtx, SendStream, SourceId};
use crate::media::Model;
use crate::scenario::Person;
use crate::sdp::{Description, Direction, Offer, OfferLine, Setup};
use crate::transports::Transport;

use super::ServerError;

/// What rids stand for, from low to high.
const RIDS: [&str; 3] = ["l", "m", "h"];
/// SSRCs of a source: its encodings, then their retransmissions.
const SSRCS_PER_SOURCE: u32 = 8;

/// A stream that is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    source: SourceId,
    kind: Kind,
    encoding: u8,
    model: Model,
    rid: Option<&'static str>,
}

impl Planned {
    /// What it carries.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Unique in the run, and never zero.
    fn ssrc(&self) -> u32 {
        (self.source.0 + 1) * SSRCS_PER_SOURCE + u32::from(self.encoding)
    }

    fn rtx_ssrc(&self) -> Option<u32> {
        (self.kind == Kind::Video).then(|| self.ssrc() + SSRCS_PER_SOURCE / 2)
    }
}

/// What somebody's microphone sends; nothing if it is off.
pub(super) fn microphone(person: &Person, cast: &Cast) -> Vec<Planned> {
    if !person.audio {
        return Vec::new();
    }
    vec![Planned { source: cast.next_source(), kind: Kind::Audio, encoding: 0, model: cast.audio, rid: None }]
}

/// What somebody's camera sends: its encodings, lowest first; nothing if it is off.
pub(super) fn camera(person: &Person, cast: &Cast) -> Vec<Planned> {
    if !person.video {
        return Vec::new();
    }
    let (source, is_simulcast) = (cast.next_source(), cast.video.len() > 1);
    let encodings = cast.video.iter().zip(0..).map(|(&model, encoding)| Planned {
        source,
        kind: Kind::Video,
        encoding,
        model,
        rid: is_simulcast.then(|| RIDS[usize::from(encoding) % RIDS.len()]),
    });
    encodings.collect()
}

/// The m-line of the streams of a microphone or a camera; `None` of none.
pub(super) fn line(streams: &[Planned]) -> Option<OfferLine> {
    let first = streams.first()?;
    Some(if first.rid.is_none() {
        OfferLine::Send { kind: first.kind, ssrc: first.ssrc(), rtx: first.rtx_ssrc() }
    } else {
        OfferLine::Simulcast {
            rids: streams.iter().filter_map(|stream| stream.rid).map(str::to_owned).collect(),
        }
    })
}

/// The offer of a connection on which `sources` are sent and nothing is received; the mid of each is its index. We are the
/// DTLS client: Janus else takes that part.
pub(super) fn publication(transport: &Transport, sources: &[Vec<Planned>]) -> Offer {
    Offer {
        ice: transport.local.ice.clone(),
        fingerprint: transport.plane().fingerprint(),
        candidate: Some(transport.local.address),
        setup: Setup::Active,
        version: 1,
        lines: sources.iter().filter_map(|source| line(source)).collect(),
    }
}

/// The streams of the m-line `mid`, with what was agreed on for it.
///
/// # Errors
///
/// The server does not take them.
pub(super) fn agreed(
    streams: &[Planned],
    mid: &str,
    answer: &Description,
) -> Result<Vec<SendStream>, ServerError> {
    let line = answer.line(mid).filter(|line| line.direction != Direction::Inactive);
    let refused = || ServerError::Protocol(format!("an answer: it does not take m-line {mid}"));
    let agreed = |stream: &Planned| {
        let agreed = line.and_then(|line| line.negotiated(stream.kind)).ok_or_else(refused)?;
        let rtx = stream.rtx_ssrc().zip(agreed.rtx_payload_type);
        Ok(SendStream {
            source: stream.source,
            kind: stream.kind,
            encoding: stream.encoding,
            model: stream.model,
            ssrc: stream.ssrc(),
            rtx: rtx.map(|(ssrc, payload_type)| Rtx { ssrc, payload_type }),
            payload_type: agreed.payload_type,
            mid: mid.to_owned(),
            rid: stream.rid.map(str::to_owned),
            extensions: agreed.extensions,
        })
    };
    streams.iter().map(agreed).collect()
}
