//! What goes over the wire (docs/protocol.md): plain data, tagged JSON. Who may say what when is decided in `live`.
//!
//! The web client's `wire.ts` is made from these types; a test fails when it is not what they say.

mod client;
mod door;
mod server;
mod thread;
#[cfg(test)]
mod typescript;

pub use client::{
    ClientMessage, Credentials, DenyReason, Frame, FrameError, PublishKind, RequestId, SlotWish,
};
pub use door::{
    Clinic, ConsentAnswer, ConsentForm, ConsentsReply, ConsentsRequest, IceServer, JoinReply, JoinRequest,
    Problem, SessionSummary, Ticket, Who,
};
pub use server::{
    Attachment, ChatLine, ErrorCode, MediaState, Numbered, Participant, ParticipantMedia, Policy,
    QualityCode, QualityLevel, QualityReason, SeatCounts, SeatMids, SeatTaken, ServerMessage, SessionState,
    Stretch, ThreadPage, TierChange, VideoCodec, VideoKind, VisitState,
};
pub use thread::{LineOutcome, LineState, LineWords, ThreadReply, ThreadRequest};

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "vestibule.v1";
/// Bytes of one message of a client.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Characters of one line of chat.
pub const CHAT_CHARACTERS_MAX: usize = 4_000;
/// Characters of the id a client gives a line of chat.
pub const CLIENT_ID_CHARACTERS_MAX: usize = 64;
