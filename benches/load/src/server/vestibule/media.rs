//! A participant's offers and what their answers mean (docs/protocol.md, section 4).

use crate::cast::Cast;
use crate::client::{Connect, Kind, MediaPlane, TransportId};
use crate::scenario::Person;
use crate::sdp::{Description, Offer, OfferLine, Setup};
use crate::server::ServerError;
use crate::server::streams::{self, Planned};
use crate::transports::Transport;

use super::wire::SeatCounts;

/// The negotiations of one transport, one after another.
pub(super) struct Negotiation {
    plane: MediaPlane,
    transport: TransportId,
    offer: Offer,
    negotiation: u64,
    /// Of the first two m-lines, microphone and camera; the third is for a screen.
    sources: [Vec<Planned>; 2],
    /// Seats that are wanted; nobody offers more than there will be people.
    seats: u32,
    is_connected: bool,
}

impl Negotiation {
    pub(super) fn new(transport: &Transport, person: &Person, cast: &Cast) -> Self {
        let sources = [streams::microphone(person, cast), streams::camera(person, cast)];
        let lines = [(&sources[0], Kind::Audio), (&sources[1], Kind::Video), (&Vec::new(), Kind::Video)];
        let line = |(source, kind): (&Vec<_>, _)| streams::line(source).unwrap_or(OfferLine::Idle { kind });
        let offer = Offer {
            ice: transport.local.ice.clone(),
            fingerprint: transport.plane().fingerprint(),
            candidate: None,
            setup: Setup::ActPass,
            version: 1,
            lines: lines.map(line).into(),
        };
        Self {
            plane: transport.plane().clone(),
            transport: transport.local.id,
            offer,
            negotiation: 0,
            sources,
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
        let mut sends = Vec::new();
        for (mid, source) in self.sources.iter().enumerate() {
            sends.extend(streams::agreed(source, &mid.to_string(), &answer)?);
        }
        let connect = Connect { remote: answer.remote(), controlling: true, sends, receives };
        self.plane.connect(self.transport, connect);
        self.is_connected = true;
        Ok(true)
    }

    /// What of the three kinds of publishing is meant to be heard and seen.
    pub(super) fn publishes(&self) -> [Option<&'static str>; 2] {
        let [microphone, camera] = &self.sources;
        [(microphone, "audio"), (camera, "camera")].map(|(source, kind)| (!source.is_empty()).then_some(kind))
    }

    /// Media flows from now on.
    pub(super) fn set_sending(&self) {
        self.plane.set_sending(self.transport, true);
    }
}
