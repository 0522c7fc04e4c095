//! What is decided about a virtual session: who may enter, when it starts, how it ends.
//!
//! One sentence of contract: `decide` looks at a state, a command and a [`Context`] and answers with events or a
//! [`Rejection`]; `apply` folds an event into the state; nothing else changes it. No I/O, no clock, no randomness:
//! time, random bytes and connectivity are arguments, so the same arguments give the same answer.
//!
//! No name of a person, no clinical text and no token is ever in an event; display names are the business of the store.

#![forbid(unsafe_code)]

mod actor;
mod command;
mod consent;
mod event;
mod id;
mod kind;
mod policy;
mod presence;
mod published;
mod rejection;
mod session;
mod state;
mod time;
mod token;

pub use actor::Actor;
pub use command::{Command, Context, DenyReason, Invitation, Schedule};
pub use consent::{ConsentRecord, ConsentType};
pub use event::Event;
pub use id::{
    BackendRoom, ConsentVersion, EventId, IdError, ParticipantId, PatientId, ProviderRef, SessionId, StaffId,
    TenantId, TextError,
};
pub use kind::{Communication, ParticipantRole, UnknownWord, VideoBackend};
pub use policy::{PARTICIPANTS_LIMIT, PolicyError, PolicyValues, SessionPolicy};
pub use presence::{Connection, Presence};
pub use published::{
    Published, PublishedData, PublishedDetail, PublishedParticipant, PublishedType, published,
};
pub use rejection::{Rejection, ScheduleFault};
pub use session::{
    CONSENT_RECORDS_MAX, EndReason, InvariantError, JoinWindow, PARTICIPANT_RECORDS_MAX, Participant,
    SessionStatus, Standing, StoredSession, VirtualSession,
};
pub use state::ParticipantState;
pub use token::{JoinToken, TokenClaims, TokenError, TokenKey, TokenKeys, TokenKeysError, admit_token};
