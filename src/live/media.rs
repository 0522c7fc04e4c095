//! The engine behind the live sessions: translates what they ask of media and what media reports.

use std::sync::Arc;

use serde_json::Value;
use vestibule_media_core::sdp::{IceParameters, Offer, Rid};
use vestibule_media_core::{
    Command, DisconnectReason, Event, Layer, MediaGate, PeerId as EnginePeer, RoomId as EngineRoom,
    SeatId as EngineSeat, SourceKind as EngineSource,
};
use vestibule_media_engine::EventSink;
use vestibule_signaling::{MediaCommand, MediaEvent, PeerId, SeatId, SeatInfo, SourceKind};

use super::Rooms;
use crate::stats;

/// Hands the engine's events to the sessions they are about.
#[derive(Clone, Default)]
pub(crate) struct EngineEvents(Arc<Rooms>);

impl EngineEvents {
    pub(crate) fn rooms(&self) -> Arc<Rooms> {
        Arc::clone(&self.0)
    }
}

impl EventSink for EngineEvents {
    fn event(&self, event: Event) {
        super::hand_over(&self.0, event);
    }
}

/// The engine's command for a session's, or what to tell the session instead.
pub(super) fn command(room: u32, command: MediaCommand) -> Result<Command, Option<MediaEvent>> {
    let room = EngineRoom(u64::from(room));
    Ok(match command {
        MediaCommand::CreateRoom => Command::CreateRoom { room },
        MediaCommand::CloseRoom => Command::CloseRoom { room },
        MediaCommand::AddPeer(peer) => Command::AddPeer { room, peer: engine_peer(peer) },
        MediaCommand::RemovePeer(peer) => Command::RemovePeer { peer: engine_peer(peer) },
        MediaCommand::OpenGate(peer) => {
            Command::SetMediaGate { peer: engine_peer(peer), gate: MediaGate::Open }
        }
        MediaCommand::CloseGate(peer) => {
            Command::SetMediaGate { peer: engine_peer(peer), gate: MediaGate::Closed }
        }
        // Read here, before it is queued: a hostile one costs its own session the milliseconds, not the shard.
        MediaCommand::Offer { peer, negotiation, sdp } => match Offer::parse(&sdp) {
            Ok(offer) => Command::Offer { peer: engine_peer(peer), negotiation, offer: Box::new(offer) },
            Err(error) => {
                return Err(Some(MediaEvent::OfferRejected { peer, negotiation, why: error.to_string() }));
            }
        },
        MediaCommand::RestartIce { peer, ufrag, pwd } => match IceParameters::new(ufrag, pwd) {
            Ok(remote) => Command::RestartIce { peer: engine_peer(peer), remote },
            Err(error) => return Err(Some(MediaEvent::RestartRejected { peer, why: error.to_string() })),
        },
        MediaCommand::SetSeat { peer, seat, occupant } => Command::SetSeat {
            peer: engine_peer(peer),
            seat: EngineSeat(seat.0),
            occupant: occupant.map(engine_peer),
        },
        MediaCommand::SelectLayer { peer, seat, rid } => match Rid::new(rid) {
            Some(rid) => Command::SelectLayer {
                peer: engine_peer(peer),
                seat: EngineSeat(seat.0),
                layer: Layer::Rid(rid),
            },
            // The session has looked at it before.
            None => return Err(None),
        },
        MediaCommand::Stats(peer) => Command::Stats { peer: engine_peer(peer) },
    })
}

/// The session's event for the engine's, and the number of the room it is about.
pub(super) fn translate(event: Event) -> Option<(u32, MediaEvent)> {
    let about = |peer: EnginePeer, event| Some((room_of(peer), event));
    match event {
        Event::Answer { peer, negotiation, sdp, seats } => {
            let seats = seats
                .into_iter()
                .map(|info| SeatInfo {
                    seat: SeatId(info.seat.0),
                    audio: info.audio.map(|mid| mid.to_string()),
                    video: info.video.map(|mid| mid.to_string()),
                })
                .collect();
            about(peer, MediaEvent::Answer { peer: PeerId(peer.0), negotiation, sdp, seats })
        }
        Event::OfferRejected { peer, negotiation, error } => about(
            peer,
            MediaEvent::OfferRejected { peer: PeerId(peer.0), negotiation, why: error.to_string() },
        ),
        Event::Restarted { peer, local } => {
            about(peer, MediaEvent::Restarted { peer: PeerId(peer.0), ufrag: local.ufrag, pwd: local.pwd })
        }
        Event::RestartFailed { peer } => about(peer, MediaEvent::RestartFailed { peer: PeerId(peer.0) }),
        Event::PathChanged { peer } => {
            tracing::info!(peer = peer.0, "path changed");
            None
        }
        Event::Connected { peer, profile } => {
            tracing::info!(peer = peer.0, ?profile, "connected");
            about(peer, MediaEvent::Connected { peer: PeerId(peer.0) })
        }
        Event::Quiet { peer } => about(peer, MediaEvent::Quiet { peer: PeerId(peer.0) }),
        Event::Heard { peer } => about(peer, MediaEvent::Heard { peer: PeerId(peer.0) }),
        Event::Disconnected { peer, reason } => {
            tracing::info!(peer = peer.0, ?reason, "disconnected");
            let why = in_plain_words(reason).into();
            about(peer, MediaEvent::Disconnected { peer: PeerId(peer.0), why })
        }
        Event::SourceStarted { peer, kind } => source(peer, kind, true),
        Event::SourceStopped { peer, kind } => source(peer, kind, false),
        Event::Stats { peer, stats } => {
            let stats: Value = stats::to_json(&stats);
            about(peer, MediaEvent::Stats { peer: PeerId(peer.0), stats })
        }
        Event::Refused { peer, error } => {
            tracing::warn!(peer = peer.map(|peer| peer.0), %error, "the SFU refused a command");
            let peer = peer?;
            about(peer, MediaEvent::Refused { peer: PeerId(peer.0), why: error.to_string() })
        }
    }
}

fn source(peer: EnginePeer, kind: EngineSource, flowing: bool) -> Option<(u32, MediaEvent)> {
    let kind = match kind {
        EngineSource::Microphone => SourceKind::Microphone,
        EngineSource::Camera => SourceKind::Camera,
        EngineSource::Screen => SourceKind::Screen,
    };
    Some((room_of(peer), MediaEvent::Source { peer: PeerId(peer.0), kind, flowing }))
}

const fn engine_peer(peer: PeerId) -> EnginePeer {
    EnginePeer(peer.0)
}

/// A session's peers carry its room's number in the upper half.
const fn room_of(peer: EnginePeer) -> u32 {
    (peer.0 >> 32) as u32
}

const fn in_plain_words(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::ConsentExpired => "nothing was heard from you for half a minute",
        DisconnectReason::ConnectTimeout => "your browser and the server found no way to each other",
        DisconnectReason::DtlsFailed => "the encrypted connection could not be made",
        DisconnectReason::DtlsClosed => "your browser closed the connection",
        DisconnectReason::FingerprintMismatch | DisconnectReason::SrtpKeys => {
            "the encrypted connection is not the one that was agreed on"
        }
    }
}
