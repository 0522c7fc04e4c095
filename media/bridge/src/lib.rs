//! The SFU behind live sessions: translates what they ask of media, and what media reports. It does nothing by itself: the
//! server puts an engine behind it, a simulation the SFU alone.
#![forbid(unsafe_code)]

mod stats;

use std::time::Duration;

use serde_json::Value;
use vestibule_media_core::quality::{
    LineLook as EngineLook, Quality as EngineQuality, QualityLevel as EngineLevel,
    QualityReason as EngineReason, QualityStep as EngineStep,
};
use vestibule_media_core::sdp::{CodecName, IceParameters, Offer};
use vestibule_media_core::{
    AudioProfile as EngineAudio, Command, DisconnectReason, Event, MediaGate, PeerId as EnginePeer,
    RoomId as EngineRoom, SeatId as EngineSeat, SeatWish as EngineWish, SourceKind as EngineSource, bounds,
};
use vestibule_signaling::wire::{QualityCode, QualityLevel, QualityReason, VideoCodec};
use vestibule_signaling::{
    AudioProfile, LineSeen, MediaCommand, MediaEvent, PeerId, QUIET_AFTER, Quality, QualityStep, STEP,
    SeatId, SeatInfo, SeatWish, SourceKind, kbps,
};

const _: () = assert!(STEP.as_nanos() == bounds::QUALITY_STEP.as_nanos());
const _: () = assert!(QUIET_AFTER.as_nanos() == bounds::QUIET_AFTER.as_nanos());

/// The engine's command for a session's, or what to tell the session instead.
///
/// # Errors
///
/// What the session is told in place of it: what a client wrote cannot be read.
pub fn command(room: u32, command: MediaCommand) -> Result<Command, MediaEvent> {
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
                return Err(MediaEvent::OfferRejected { peer, negotiation, why: error.to_string() });
            }
        },
        MediaCommand::RestartIce { peer, ufrag, pwd } => match IceParameters::new(ufrag, pwd) {
            Ok(remote) => Command::RestartIce { peer: engine_peer(peer), remote },
            Err(error) => return Err(MediaEvent::RestartRejected { peer, why: error.to_string() }),
        },
        MediaCommand::SetSeat { peer, seat, occupant } => Command::SetSeat {
            peer: engine_peer(peer),
            seat: EngineSeat(seat.0),
            occupant: occupant.map(engine_peer),
        },
        MediaCommand::SetSeatWish { peer, seat, wish: SeatWish { max_height, priority } } => {
            Command::SetSeatWish {
                peer: engine_peer(peer),
                seat: EngineSeat(seat.0),
                wish: EngineWish { max_height, priority },
            }
        }
        MediaCommand::SeekRate { peer, bps } => Command::SeekRate { peer: engine_peer(peer), bps },
        MediaCommand::NoteUplink { peer, bps } => Command::NoteUplink { peer: engine_peer(peer), bps },
        MediaCommand::TestLine { peer, bps } => Command::TestLine { peer: engine_peer(peer), bps },
        MediaCommand::Stats(peer) => Command::Stats { peer: engine_peer(peer) },
    })
}

/// The session's event for the engine's, and the number of the room it is about. None where it is about no room, or nothing a
/// session is told.
#[must_use]
pub fn translate(event: Event) -> Option<(u32, MediaEvent)> {
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
        Event::PathChanged { .. } => None,
        Event::Connected { peer, .. } => about(peer, MediaEvent::Connected { peer: PeerId(peer.0) }),
        Event::Quiet { peer } => about(peer, MediaEvent::Quiet { peer: PeerId(peer.0) }),
        Event::Heard { peer } => about(peer, MediaEvent::Heard { peer: PeerId(peer.0) }),
        Event::Disconnected { peer, reason } => {
            let why = in_plain_words(reason).into();
            about(peer, MediaEvent::Disconnected { peer: PeerId(peer.0), why })
        }
        Event::SourceStarted { peer, kind } => source(peer, kind, true),
        Event::SourceStopped { peer, kind } => source(peer, kind, false),
        Event::EncodingsWanted { peer, kind, rids } => {
            let rids = rids.iter().map(ToString::to_string).collect();
            about(peer, MediaEvent::EncodingsWanted { peer: PeerId(peer.0), kind: source_kind(kind), rids })
        }
        Event::CodecWanted { peer, kind, codec } => {
            let codec = video_codec(codec)?;
            about(peer, MediaEvent::CodecWanted { peer: PeerId(peer.0), kind: source_kind(kind), codec })
        }
        Event::AudioWanted { peer, profile } => {
            let profile = match profile {
                EngineAudio::Full => AudioProfile::Full,
                EngineAudio::Thrifty => AudioProfile::Thrifty,
                EngineAudio::Least => AudioProfile::Least,
            };
            about(peer, MediaEvent::AudioWanted { peer: PeerId(peer.0), profile })
        }
        Event::Speaker { room, speaker } => {
            let room = u32::try_from(room.0).ok()?;
            Some((room, MediaEvent::Speaker(speaker.map(|peer| PeerId(peer.0)))))
        }
        Event::Quality { peer, quality: found } => {
            about(peer, MediaEvent::Quality { peer: PeerId(peer.0), quality: quality(found) })
        }
        Event::QualityStep { peer, step: found } => {
            about(peer, MediaEvent::Measured { peer: PeerId(peer.0), step: Box::new(step(&found)) })
        }
        Event::Line { peer, look } => {
            let EngineLook { downlink_bps, downlink_loss, uplink_loss, rtt, camera_bps, uplink_bps } = look;
            let seen = LineSeen { downlink_bps, downlink_loss, uplink_loss, rtt, camera_bps, uplink_bps };
            about(peer, MediaEvent::Line { peer: PeerId(peer.0), seen })
        }
        Event::LineTested { peer, lost } => {
            about(peer, MediaEvent::LineTested { peer: PeerId(peer.0), lost })
        }
        Event::Stats { peer, stats } => {
            let stats: Value = stats::to_json(&stats);
            about(peer, MediaEvent::Stats { peer: PeerId(peer.0), stats })
        }
        Event::Refused { peer, error } => {
            let peer = peer?;
            about(peer, MediaEvent::Refused { peer: PeerId(peer.0), why: error.to_string() })
        }
    }
}

fn source(peer: EnginePeer, kind: EngineSource, flowing: bool) -> Option<(u32, MediaEvent)> {
    Some((room_of(peer), MediaEvent::Source { peer: PeerId(peer.0), kind: source_kind(kind), flowing }))
}

const fn video_codec(codec: CodecName) -> Option<VideoCodec> {
    match codec {
        CodecName::Opus => None,
        CodecName::Vp8 => Some(VideoCodec::Vp8),
        CodecName::Vp9 => Some(VideoCodec::Vp9),
        CodecName::H264 => Some(VideoCodec::H264),
        CodecName::Av1 => Some(VideoCodec::Av1),
    }
}

const fn source_kind(kind: EngineSource) -> SourceKind {
    match kind {
        EngineSource::Microphone => SourceKind::Microphone,
        EngineSource::Camera => SourceKind::Camera,
        EngineSource::Screen => SourceKind::Screen,
    }
}

fn quality(EngineQuality { level, reason }: EngineQuality) -> Quality {
    let level = match level {
        EngineLevel::Good => QualityLevel::Good,
        EngineLevel::Fair => QualityLevel::Fair,
        EngineLevel::Poor => QualityLevel::Poor,
        EngineLevel::Bad => QualityLevel::Bad,
    };
    let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    let reason = reason.map(|reason| {
        let (code, value) = match reason {
            EngineReason::UplinkLoss(share) => (QualityCode::UplinkLoss, percent(share)),
            EngineReason::DownlinkLoss(share) => (QualityCode::DownlinkLoss, percent(share)),
            EngineReason::RoundTrip(time) => (QualityCode::RoundTrip, milliseconds(time)),
            EngineReason::UplinkJitter(time) => (QualityCode::UplinkJitter, milliseconds(time)),
            EngineReason::DownlinkRate(bps) => (QualityCode::DownlinkRate, kbps(bps)),
            EngineReason::UplinkRate(bps) => (QualityCode::UplinkRate, kbps(bps)),
            EngineReason::Silence => (QualityCode::Silence, 0),
        };
        QualityReason { code, value }
    });
    Quality { level, reason }
}

/// A share as people read it: what is there at all is one percent.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 100")]
fn percent(share: f32) -> u32 {
    (share.clamp(0.0, 1.0) * 100.0).round().max(f32::from(share > 0.0)) as u32
}

fn step(step: &EngineStep) -> QualityStep {
    let EngineStep {
        quality: worst,
        uplink_loss,
        downlink_loss,
        uplink_jitter,
        rtt,
        uplink_bps,
        downlink_bps,
        downlink_estimate_bps,
        video_height,
    } = *step;
    QualityStep {
        quality: quality(worst),
        uplink_loss,
        downlink_loss,
        uplink_jitter,
        rtt,
        uplink_bps,
        downlink_bps,
        downlink_estimate_bps,
        video_height,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: EnginePeer = EnginePeer(7 << 32 | 3);

    #[test]
    fn quality_is_told_in_whole_numbers_that_people_read() {
        let told = |reason| {
            let found = EngineQuality { level: EngineLevel::Poor, reason: Some(reason) };
            let Some((7, MediaEvent::Quality { quality, .. })) =
                translate(Event::Quality { peer: PEER, quality: found })
            else {
                panic!("not told")
            };
            quality.reason.map(|reason| (reason.code.as_str(), reason.value))
        };
        for (reason, word, value) in [
            (EngineReason::UplinkLoss(0.084), "uplink_loss", 8),
            (EngineReason::UplinkLoss(0.001), "uplink_loss", 1),
            (EngineReason::DownlinkLoss(f32::NAN), "downlink_loss", 0),
            (EngineReason::DownlinkLoss(7.0), "downlink_loss", 100),
            (EngineReason::RoundTrip(Duration::from_millis(420)), "round_trip", 420),
            (EngineReason::UplinkJitter(Duration::MAX), "uplink_jitter", u32::MAX),
            (EngineReason::DownlinkRate(180_999), "downlink_rate", 180),
            (EngineReason::UplinkRate(u64::MAX), "uplink_rate", u32::MAX),
            (EngineReason::Silence, "silence", 0),
        ] {
            assert_eq!(told(reason), Some((word, value)), "{reason:?}");
        }
    }

    #[test]
    fn who_speaks_is_told_to_their_room() {
        let event = Event::Speaker { room: EngineRoom(7), speaker: Some(PEER) };
        let Some((7, MediaEvent::Speaker(Some(PeerId(peer))))) = translate(event) else { panic!("not told") };
        assert_eq!(peer, PEER.0);
    }
}
