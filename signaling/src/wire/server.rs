//! What the server says on the signaling socket.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vestibule_domain::{
    BandwidthProfile, Communication, ContentDigest, EndReason, ParticipantId, ParticipantRole,
    ParticipantState, SessionId, SessionStatus, TierReason,
};

use super::client::{DenyReason, RequestId};

/// A message with its number.
#[derive(Debug, Serialize)]
pub struct Numbered<'a> {
    /// From 1 in each incarnation, without gaps. Of `welcome` and `resumed`, and of what comes before either, the number
    /// of the last message before it.
    pub seq: u64,
    /// What is said.
    #[serde(flatten)]
    pub message: &'a ServerMessage,
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ServerMessage {
    /// The `hello` is accepted, and this is all there is to know: an incarnation begins.
    Welcome {
        /// Who is welcome.
        you: Participant,
        /// You are in already on another device, which goes on; this one is let in in its place, or not.
        new_device: bool,
        /// Where the session stands.
        session: SessionState,
        /// Those `you` may see, in join order, without `you`.
        participants: Vec<Participant>,
        /// How many seats to offer.
        seats: SeatCounts,
        /// What was said so far; empty for who waits.
        chat: Vec<ChatLine>,
        /// The rules that matter to a client.
        policy: Policy,
        /// The secret to come back with. `null`: the one before stays good.
        resume: Option<String>,
        /// Names the numbers of the messages from here on.
        incarnation: String,
        /// The `hello`.
        reply_to: Option<RequestId>,
    },
    /// The `hello` is accepted, and the incarnation goes on: what was missed follows.
    Resumed {
        /// The secret to come back with next time. `null`: the one before stays good.
        resume: Option<String>,
        /// The highest number of a request that was heard in this incarnation; 0 if none was.
        heard: RequestId,
        /// The `hello`.
        reply_to: Option<RequestId>,
    },
    /// You wait.
    Waiting {
        /// The patient's place in this provider's queue, from 1.
        position: Option<u32>,
        /// Whether a provider is connected.
        provider_present: bool,
        /// Whether somebody sees to the patients of this provider, here or elsewhere.
        desk_attended: bool,
    },
    /// Somebody waits. To providers.
    Knock {
        /// Who.
        participant: Participant,
        /// They came before, and this may be another device.
        new_device: bool,
        /// Names it: to be said with `admit` and `deny`, so that nobody else is let in than who knocked.
        device: String,
    },
    /// Somebody waits no more: they are in, were not let in, or are gone. To who heard of the knock.
    KnockOver {
        /// Who.
        #[cfg_attr(test, ts(type = "string"))]
        participant_id: ParticipantId,
    },
    /// You are in.
    Admitted {
        /// Those you may see now.
        participants: Vec<Participant>,
        /// What was said so far.
        chat: Vec<ChatLine>,
    },
    /// You are not let in now.
    Denied {
        /// Why.
        #[cfg_attr(test, ts(type = "DenyReason"))]
        reason: DenyReason,
    },
    /// The answer to an offer.
    Answer {
        /// The description.
        sdp: String,
        /// The offer's.
        negotiation: u32,
        /// All your seats.
        seats: Vec<SeatMids>,
        /// The offer.
        reply_to: Option<RequestId>,
    },
    /// The server's new ICE credentials.
    Restarted {
        /// The server's `ice-ufrag`.
        ufrag: String,
        /// The server's `ice-pwd`.
        pwd: String,
        /// The restart.
        reply_to: Option<RequestId>,
    },
    /// Who sits where.
    Seats {
        /// All your seats.
        seats: Vec<SeatTaken>,
        /// Seats for people you should have offered.
        people: u16,
    },
    /// Somebody is new or different.
    Participant {
        /// Who.
        #[cfg_attr(test, ts(type = "string"))]
        participant_id: ParticipantId,
        /// What they are now; `null` when they are out of your sight.
        participant: Option<Participant>,
    },
    /// The session is different.
    Session {
        /// Its status.
        #[cfg_attr(test, ts(type = "SessionStatus"))]
        status: SessionStatus,
        /// Its version.
        version: u64,
        /// When it became active.
        #[cfg_attr(test, ts(type = "string | null"))]
        started_at: Option<Timestamp>,
    },
    /// A line somebody said.
    Chat {
        /// The line.
        #[serde(flatten)]
        line: ChatLine,
    },
    /// What was said after a line, as far as you may read it.
    Thread {
        /// In order.
        #[serde(flatten)]
        page: ThreadPage,
        /// The request.
        reply_to: Option<RequestId>,
    },
    /// The session is recorded, or is not any more.
    Recording {
        /// Which.
        on: bool,
    },
    /// Your line is used for something else.
    Tier {
        /// For what.
        #[cfg_attr(test, ts(type = "BandwidthProfile"))]
        profile: BandwidthProfile,
        /// Why no more.
        #[cfg_attr(test, ts(type = "TierReason"))]
        reason: TierReason,
        /// Since when.
        #[cfg_attr(test, ts(type = "string"))]
        since: Timestamp,
    },
    /// Send this for the server alone to look at, or no more: `audio_only` your voice, `video` your lowest picture as well.
    Rehearse {
        /// What; `null`: no more.
        #[cfg_attr(test, ts(type = "BandwidthProfile | null"))]
        profile: Option<BandwidthProfile>,
    },
    /// Which encodings of what you send anybody is to be shown: the others need not be sent. Of a stream with spatial layers it
    /// says how many of those are: as many as rids. Of a fresh transport all are wanted until this says otherwise.
    Encodings {
        /// What you send.
        kind: VideoKind,
        /// Their rids, lowest first (RFC 8851).
        active: Vec<String>,
    },
    /// In which codec what you send is wanted from now on: one that everybody decodes. Of a fresh transport it is the one that
    /// stands first on its m-line in the answer, until this says otherwise.
    VideoCodec {
        /// What you send.
        kind: VideoKind,
        /// The codec.
        codec: VideoCodec,
    },
    /// How your voice is wanted; of a fresh transport as you like, until this says otherwise.
    AudioEncoding {
        /// Bits per second at the most; `null`: as you like.
        max_bitrate_bps: Option<u32>,
        /// Milliseconds of a packet; `null`: as you like.
        frame_ms: Option<u8>,
    },
    /// Somebody else speaks now. Who spoke last stays until then.
    Speaker {
        /// Who; `null` when they are not in any more.
        #[cfg_attr(test, ts(type = "string | null"))]
        participant_id: Option<ParticipantId>,
    },
    /// A connection is better or worse than it was, or for another reason; good until this says otherwise. Of your own, and
    /// to providers of everybody who is in.
    Quality {
        /// Whose.
        #[cfg_attr(test, ts(type = "string"))]
        participant_id: ParticipantId,
        /// How good it is.
        level: QualityLevel,
        /// Why it is no better; of every level but `good`.
        reason: Option<QualityReason>,
    },
    /// How somebody's connection was so far, as far as it is kept, oldest first.
    Timeline {
        /// Whose.
        #[cfg_attr(test, ts(type = "string"))]
        participant_id: ParticipantId,
        /// While media flowed.
        stretches: Vec<Stretch>,
        /// What their line was used for from when on, if that changed.
        tiers: Vec<TierChange>,
        /// The request.
        reply_to: Option<RequestId>,
    },
    /// The same participant came in elsewhere.
    Superseded {},
    /// You were taken out, and your link with you.
    Removed {},
    /// The session is over.
    Ended {
        /// Why.
        #[cfg_attr(test, ts(type = "EndReason"))]
        reason: EndReason,
    },
    /// Your media transport is lost.
    Disconnected {
        /// In words.
        reason: String,
    },
    /// What the server counts about your transport.
    Stats {
        /// Fields as in `getStats`.
        #[cfg_attr(test, ts(type = "unknown"))]
        stats: serde_json::Value,
        /// The request.
        reply_to: Option<RequestId>,
    },
    /// It is so.
    Done {
        /// The request.
        reply_to: Option<RequestId>,
    },
    /// Nothing was changed.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people who write programs.
        message: String,
        /// Whether the same may work a moment later.
        retryable: bool,
        /// The request.
        reply_to: Option<RequestId>,
    },
}

/// Somebody in the session, as one viewer may see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// Who.
    #[cfg_attr(test, ts(type = "string"))]
    pub id: ParticipantId,
    /// What they are here as.
    #[cfg_attr(test, ts(type = "ParticipantRole"))]
    pub role: ParticipantRole,
    /// How they are called.
    pub name: String,
    /// Where they are.
    #[cfg_attr(test, ts(type = "ParticipantState"))]
    pub state: ParticipantState,
    /// What they send.
    pub media: ParticipantMedia,
    /// What their line is used for.
    #[cfg_attr(test, ts(type = "BandwidthProfile"))]
    pub tier: BandwidthProfile,
    /// Why not for everything.
    #[cfg_attr(test, ts(type = "TierReason | null"))]
    pub tier_reason: Option<TierReason>,
    /// Until when they are waited for, while they are lost to a visit that has begun.
    #[cfg_attr(test, ts(type = "string | null"))]
    pub lost_until: Option<Timestamp>,
}

/// What of what somebody sends is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub enum VideoKind {
    /// The camera.
    Camera,
    /// A shared screen.
    Screen,
}

/// How pictures are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum VideoCodec {
    /// VP8.
    #[serde(rename = "VP8")]
    Vp8,
    /// VP9, profile 0.
    #[serde(rename = "VP9")]
    Vp9,
    /// H264, constrained baseline.
    H264,
    /// AV1, profile 0.
    #[serde(rename = "AV1")]
    Av1,
}

/// How good a connection is; the worse the higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum QualityLevel {
    /// Nobody notices the line.
    #[default]
    Good,
    /// Less than what was asked for, or now and then a flaw.
    Fair,
    /// A conversation with effort.
    Poor,
    /// Hardly a word gets through.
    Bad,
}

impl QualityLevel {
    /// All, best first.
    pub const ALL: [Self; 4] = [Self::Good, Self::Fair, Self::Poor, Self::Bad];

    /// As on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fair => "fair",
            Self::Poor => "poor",
            Self::Bad => "bad",
        }
    }
}

/// What makes a connection worse than good: the one thing that counts most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct QualityReason {
    /// What.
    pub code: QualityCode,
    /// How much, in the unit of the code.
    pub value: u32,
}

/// What a line lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum QualityCode {
    /// Percent of what they send is lost, before it is sent again.
    UplinkLoss,
    /// Percent of what is sent to them is lost, before it is sent again.
    DownlinkLoss,
    /// Milliseconds there and back.
    RoundTrip,
    /// Milliseconds by which what they send comes unevenly.
    UplinkJitter,
    /// Kilobits per second the way to them carries: less than what they want to see.
    DownlinkRate,
    /// Kilobits per second the way from them carries, as their device thinks: less than what others want to see of them.
    UplinkRate,
    /// Nothing is heard; the value is 0.
    Silence,
}

impl QualityCode {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::UplinkLoss,
        Self::DownlinkLoss,
        Self::RoundTrip,
        Self::UplinkJitter,
        Self::DownlinkRate,
        Self::UplinkRate,
        Self::Silence,
    ];

    /// As on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UplinkLoss => "uplink_loss",
            Self::DownlinkLoss => "downlink_loss",
            Self::RoundTrip => "round_trip",
            Self::UplinkJitter => "uplink_jitter",
            Self::DownlinkRate => "downlink_rate",
            Self::UplinkRate => "uplink_rate",
            Self::Silence => "silence",
        }
    }
}

/// A time over which somebody's connection stayed as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Stretch {
    /// From when.
    #[cfg_attr(test, ts(type = "string"))]
    pub from: Timestamp,
    /// Until when.
    #[cfg_attr(test, ts(type = "string"))]
    pub until: Timestamp,
    /// How good it was.
    pub level: QualityLevel,
    /// Why it was no better, with the worst value.
    pub reason: Option<QualityReason>,
}

/// A change of what somebody's line is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct TierChange {
    /// From when on.
    #[cfg_attr(test, ts(type = "string"))]
    pub since: Timestamp,
    /// For what.
    #[cfg_attr(test, ts(type = "BandwidthProfile"))]
    pub profile: BandwidthProfile,
    /// Why no more.
    #[cfg_attr(test, ts(type = "TierReason"))]
    pub reason: TierReason,
}

/// The rules of a session that matter to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// How long somebody lost is waited for.
    pub grace_reconnect_seconds: u16,
    /// How long somebody is waited for who goes on in writing.
    pub text_grace_minutes: u16,
    /// Whether anything may be recorded at all.
    pub recording_allowed: bool,
    /// How they talk.
    #[cfg_attr(test, ts(type = "Communication"))]
    pub communication: Communication,
    /// A line that carries less carries no voice, in kilobits per second.
    pub audio_min_kbps: u32,
    /// Nor does one that loses more.
    pub audio_loss_max_percent: u32,
    /// For how long that has to be so until a voice is given up.
    pub audio_hold_ms: u32,
}

/// What somebody sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ParticipantMedia {
    /// The microphone.
    pub audio: MediaState,
    /// The camera.
    pub camera: MediaState,
    /// A shared screen.
    pub screen: MediaState,
}

/// The state of one thing somebody sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum MediaState {
    /// Nothing arrives.
    #[default]
    Off,
    /// Not meant to be seen or heard.
    Muted,
    /// It arrives.
    Live,
}

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct SessionState {
    /// Which.
    #[cfg_attr(test, ts(type = "string"))]
    pub id: SessionId,
    /// Its status.
    #[cfg_attr(test, ts(type = "SessionStatus"))]
    pub status: SessionStatus,
    /// Its version.
    pub version: u64,
    /// When it became active.
    #[cfg_attr(test, ts(type = "string | null"))]
    pub started_at: Option<Timestamp>,
}

/// How many seats to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SeatCounts {
    /// For people.
    pub people: u16,
    /// For screens.
    pub screens: u16,
}

/// The m-lines of a seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SeatMids {
    /// The seat.
    pub seat: u16,
    /// `null` for a screen seat.
    pub audio: Option<String>,
    /// The mid of its video.
    pub video: Option<String>,
}

/// Who sits in a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SeatTaken {
    /// The seat.
    pub seat: u16,
    /// Nobody if `null`.
    #[cfg_attr(test, ts(type = "string | null"))]
    pub participant: Option<ParticipantId>,
}

/// Lines of a thread that follow one another, without those that are for others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct ThreadPage {
    /// In order.
    pub lines: Vec<ChatLine>,
    /// Up to this position nothing is missing: what to ask after next.
    pub up_to: u64,
    /// There is more after it already.
    pub more: bool,
}

/// What a `welcome` says of a visit, for who is in and on no socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct VisitState {
    /// Who asks.
    pub you: Participant,
    /// The session.
    pub session: SessionState,
    /// Those they may see, in join order, without themselves.
    pub participants: Vec<Participant>,
    /// Its rules.
    pub policy: Policy,
}

/// An image of a line. Its bytes are at `/v1/thread/images/{digest}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The SHA-256 of its bytes.
    #[cfg_attr(test, ts(type = "string"))]
    pub digest: ContentDigest,
    /// `image/jpeg`, `image/png` or `image/webp`.
    pub media_type: String,
    /// Pixels, before a turn that the image asks for.
    pub width: u32,
    /// Likewise.
    pub height: u32,
    /// How many.
    pub bytes: u64,
}

/// A line of chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct ChatLine {
    /// Its place in the thread of the session, from 1: the same for everybody, and for good.
    pub position: u64,
    /// Who said it.
    #[cfg_attr(test, ts(type = "string"))]
    pub from: ParticipantId,
    /// Under which name.
    pub name: String,
    /// The writer's own id of it.
    pub client_id: String,
    /// What was said; empty of an image alone.
    pub text: String,
    /// What was shown.
    pub attachment: Option<Attachment>,
    /// When the server heard it.
    #[cfg_attr(test, ts(type = "string"))]
    pub at: Timestamp,
}

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "&'static str")]
pub enum ErrorCode {
    /// No JSON of a known shape, or a value out of bounds.
    Malformed,
    /// Something else came before `hello`, or a second one after it.
    HelloExpected,
    /// Not a ticket of this server, used before, or older than a minute.
    TicketInvalid,
    /// No resume secret of this server, or one that is void: come by a ticket.
    ResumeInvalid,
    /// Only who is admitted may.
    NotAdmitted,
    /// The offer cannot be answered.
    OfferRejected,
    /// An ICE restart found no path.
    RestartFailed,
    /// No such seat or encoding, or not now.
    Refused,
    /// The server has more to do than it can.
    Busy,
    /// The store did not take it.
    StoreUnavailable,
    /// No image of that digest was sent by who writes the line.
    UnknownImage,
    /// The domain does not allow it.
    Rejected(&'static str),
}

impl ErrorCode {
    /// All but the domain's own.
    pub const OWN: [Self; 11] = [
        Self::Malformed,
        Self::HelloExpected,
        Self::TicketInvalid,
        Self::ResumeInvalid,
        Self::NotAdmitted,
        Self::OfferRejected,
        Self::RestartFailed,
        Self::Refused,
        Self::Busy,
        Self::StoreUnavailable,
        Self::UnknownImage,
    ];

    /// Whether a client that does as it should never gets it: not understood, out of order, or not theirs to ask.
    #[must_use]
    pub fn is_violation(self) -> bool {
        matches!(
            self,
            Self::Malformed | Self::HelloExpected | Self::NotAdmitted | Self::Rejected("not_permitted")
        )
    }

    /// Whether the same message may work a moment later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::StoreUnavailable)
    }
}

impl From<ErrorCode> for &'static str {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Malformed => "malformed",
            ErrorCode::HelloExpected => "hello_expected",
            ErrorCode::TicketInvalid => "ticket_invalid",
            ErrorCode::ResumeInvalid => "resume_invalid",
            ErrorCode::NotAdmitted => "not_admitted",
            ErrorCode::OfferRejected => "offer_rejected",
            ErrorCode::RestartFailed => "restart_failed",
            ErrorCode::Refused => "refused",
            ErrorCode::Busy => "busy",
            ErrorCode::StoreUnavailable => "store_unavailable",
            ErrorCode::UnknownImage => "unknown_image",
            ErrorCode::Rejected(code) => code,
        }
    }
}

#[cfg(test)]
impl ts_rs::TS for ErrorCode {
    type WithoutGenerics = Self;
    type OptionInnerType = Self;
    fn name(_: &ts_rs::Config) -> String {
        "string".into()
    }
    fn inline(_: &ts_rs::Config) -> String {
        "string".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_quality_are_those_of_the_wire() {
        for level in QualityLevel::ALL {
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
        for code in QualityCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn a_message_is_flat_and_tagged_and_numbered() {
        let message = ServerMessage::Error {
            code: ErrorCode::OfferRejected,
            message: "no".into(),
            retryable: false,
            reply_to: Some(RequestId(3)),
        };
        assert_eq!(
            serde_json::to_string(&Numbered { seq: 2, message: &message }).unwrap(),
            r#"{"seq":2,"type":"error","code":"offer_rejected","message":"no","retryable":false,"replyTo":3}"#,
        );
        let id = "01981234-5678-7abc-8def-0123456789ab".parse().unwrap();
        let line = ChatLine {
            position: 4,
            from: id,
            name: "Alex".into(),
            client_id: "c1".into(),
            text: "hello".into(),
            attachment: None,
            at: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(
            serde_json::to_value(ServerMessage::Chat { line }).unwrap(),
            serde_json::json!({"type": "chat", "position": 4, "from": id, "name": "Alex", "clientId": "c1",
                "text": "hello", "attachment": null, "at": "1970-01-01T00:00:00Z"}),
        );
    }
}
