//! A participant's offers and what their answers mean (docs/protocol.md, section 4).

use crate::cast::Cast;
use crate::client::{Connect, Kind, MediaPlane, Rtx, SendStream, SourceId, TransportId};
use crate::scenario::Person;
use crate::sdp::{Description, Direction, Offer, OfferLine, Setup};
use crate::server::ServerError;
use crate::transports::Transport;

use super::wire::SeatCounts;

/// The m-lines for what is sent come first: microphone, camera, screen.
const MICROPHONE: usize = 0;
const CAMERA: usize = 1;
/// What rids stand for, from low to high.
const RIDS: [&str; 3] = ["l", "m", "h"];
/// SSRCs of a source: its encodings, then their retransmissions.
const SSRCS_PER_SOURCE: u32 = 8;

/// The negotiations of one transport, one after another.
pub(super) struct Negotiation {
    plane: MediaPlane,
    transport: TransportId,
    offer: Offer,
    negotiation: u64,
    streams: Vec<Planned>,
    /// Seats that are wanted; nobody offers more than there will be people.
    seats: u32,
    is_connected: bool,
}

/// A stream that is to be sent.
struct Planned {
    line: usize,
    source: SourceId,
    kind: Kind,
    encoding: u8,
    model: crate::media::Model,
    rid: Option<&'static str>,
}

impl Planned {
    /// Unique in the run, and never zero.
    fn ssrc(&self) -> u32 {
        (self.source.0 + 1) * SSRCS_PER_SOURCE + u32::from(self.encoding)
    }

    fn rtx_ssrc(&self) -> Option<u32> {
        (self.kind == Kind::Video).then(|| self.ssrc() + SSRCS_PER_SOURCE / 2)
    }
}

impl Negotiation {
    pub(super) fn new(transport: &Transport, person: &Person, cast: &Cast) -> Self {
        let streams = streams(person, cast);
        let offer = Offer {
            ice: transport.local.ice.clone(),
            fingerprint: transport.plane().fingerprint(),
            candidate: None,
            setup: Setup::ActPass,
            version: 1,
            lines: sending(&streams),
        };
        Self {
            plane: transport.plane().clone(),
            transport: transport.local.id,
            offer,
            negotiation: 0,
            streams,
            seats: person.seats(),
            is_connected: false,
        }
    }

    /// An offer with these seats, or what of them is of use, and its number; nothing if it would be the last one again.
    pub(super) fn offer(&mut self, seats: SeatCounts) -> Option<(String, u64)> {
        let lines = &mut self.offer.lines;
        let is_first = self.negotiation == 0;
        let lines_before = lines.len();
        let have = lines.iter().filter(|line| **line == OfferLine::Receive { kind: Kind::Audio }).count();
        for _ in have..usize::try_from(seats.people.min(self.seats)).unwrap_or(have) {
            lines.extend([Kind::Audio, Kind::Video].map(|kind| OfferLine::Receive { kind }));
        }
        for _ in 0..if is_first { seats.screens } else { 0 } {
            lines.push(OfferLine::Receive { kind: Kind::Video });
        }
        if !is_first && lines.len() == lines_before {
            return None;
        }
        self.negotiation += 1;
        self.offer.version = self.negotiation;
        Some((self.offer.to_sdp(), self.negotiation))
    }

    /// Follows an answer; true if it was the first.
    pub(super) fn answered(&mut self, sdp: &str) -> Result<bool, ServerError> {
        let wrong = |why: &dyn std::fmt::Display| ServerError::Protocol(format!("an answer: {why}"));
        let answer = Description::parse(sdp).map_err(|error| wrong(&error))?;
        if answer.setup != Setup::Passive {
            return Err(wrong(&"it does not leave the DTLS client's part to us"));
        }
        let receives = answer.receives();
        if self.is_connected {
            self.plane.extend(self.transport, receives);
            return Ok(false);
        }
        let sends = self.streams.iter().map(|stream| agreed(stream, &answer)).collect::<Result<_, _>>()?;
        let connect = Connect { remote: answer.remote(), controlling: true, sends, receives };
        self.plane.connect(self.transport, connect);
        self.is_connected = true;
        Ok(true)
    }

    /// What of the three kinds of publishing is meant to be heard and seen.
    pub(super) fn publishes(&self) -> [Option<&'static str>; 2] {
        let sends = |line| self.streams.iter().any(|stream| stream.line == line);
        [(MICROPHONE, "audio"), (CAMERA, "camera")].map(|(line, kind)| sends(line).then_some(kind))
    }

    /// Media flows from now on.
    pub(super) fn set_sending(&self) {
        self.plane.set_sending(self.transport, true);
    }
}

fn streams(person: &Person, cast: &Cast) -> Vec<Planned> {
    let mut streams = Vec::new();
    if person.audio {
        let source = cast.next_source();
        streams.push(Planned {
            line: MICROPHONE,
            source,
            kind: Kind::Audio,
            encoding: 0,
            model: cast.audio,
            rid: None,
        });
    }
    if person.video {
        let (source, is_simulcast) = (cast.next_source(), cast.video.len() > 1);
        streams.extend(cast.video.iter().zip(0..).map(|(&model, encoding)| Planned {
            line: CAMERA,
            source,
            kind: Kind::Video,
            encoding,
            model,
            rid: is_simulcast.then(|| RIDS[usize::from(encoding) % RIDS.len()]),
        }));
    }
    streams
}

/// The first three lines.
fn sending(streams: &[Planned]) -> Vec<OfferLine> {
    let on = |line| streams.iter().filter(move |stream| stream.line == line);
    let line = |line, kind| match on(line).next() {
        None => OfferLine::Idle { kind },
        Some(stream) if stream.rid.is_none() => {
            OfferLine::Send { kind, ssrc: stream.ssrc(), rtx: stream.rtx_ssrc() }
        }
        Some(_) => OfferLine::Simulcast {
            rids: on(line).filter_map(|stream| stream.rid).map(str::to_owned).collect(),
        },
    };
    vec![line(MICROPHONE, Kind::Audio), line(CAMERA, Kind::Video), OfferLine::Idle { kind: Kind::Video }]
}

/// A stream with what was agreed on for its m-line.
fn agreed(stream: &Planned, answer: &Description) -> Result<SendStream, ServerError> {
    let mid = stream.line.to_string();
    let line = answer.line(&mid).filter(|line| line.direction != Direction::Inactive);
    let agreed = line.and_then(|line| line.negotiated(stream.kind));
    let agreed =
        agreed.ok_or_else(|| ServerError::Protocol(format!("an answer: it does not take m-line {mid}")))?;
    let rtx = stream.rtx_ssrc().zip(agreed.rtx_payload_type);
    Ok(SendStream {
        source: stream.source,
        kind: stream.kind,
        encoding: stream.encoding,
        model: stream.model,
        ssrc: stream.ssrc(),
        rtx: rtx.map(|(ssrc, payload_type)| Rtx { ssrc, payload_type }),
        payload_type: agreed.payload_type,
        mid,
        rid: stream.rid.map(str::to_owned),
        extensions: agreed.extensions,
    })
}
