//! What is decided about a virtual session: who may enter, when it starts, how it ends; about an asynchronous visit; and
//! about the configuration of a tenant.
//!
//! One sentence of contract: `decide` looks at a state, a command and a [`Context`] and answers with events or a
//! [`Rejection`]; `apply` folds an event into the state; nothing else changes it. No I/O, no clock, no randomness:
//! time, random bytes and connectivity are arguments, so the same arguments give the same answer.
//!
//! No name of a person, no clinical text and no token is ever in an event; display names are the business of the store.

#![forbid(unsafe_code)]

mod actor;
mod command;
mod config;
mod consent;
mod digest;
mod event;
mod id;
mod kind;
mod policy;
mod presence;
mod published;
mod rejection;
mod session;
mod state;
mod tier;
mod time;
mod token;
mod visit;

pub use actor::Actor;
pub use command::{Command, Context, DenyReason, Invitation, Schedule};
pub use config::{
    ColorError, ConfigCommand, ConfigContext, ConfigEvent, ConfigFault, ConfigField, ConfigInvariantError,
    ConfigRejection, ConfigValues, CssColor, HttpsUrl, Retention, SecretChange, SecretChanges, SecretMark,
    StoredConfig, TenantConfig, UrlError, WEBHOOKS_MAX, WebhookEndpoint,
};
pub use consent::{ConsentRecord, ConsentType};
pub use digest::{ContentDigest, DigestError};
pub use event::Event;
pub use id::{
    AsyncVisitId, BackendRoom, ConsentVersion, EncounterId, EventId, IdError, ParticipantId, PatientId,
    ProviderRef, RecordingRef, SessionId, StaffId, TenantId, TextError, WebhookId,
};
pub use kind::{BandwidthProfile, Communication, ParticipantRole, UnknownWord, VideoBackend};
pub use policy::{
    PARTICIPANTS_LEAST, PARTICIPANTS_MAX, PARTICIPANTS_USUAL, PolicyError, PolicyValues, SessionPolicy,
};
pub use presence::{Connection, Presence};
pub use published::{
    Published, PublishedAggregate, PublishedData, PublishedDetail, PublishedParticipant, PublishedType,
    published, published_config, published_visit,
};
pub use rejection::{Rejection, ScheduleFault};
pub use session::{
    CONSENT_RECORDS_MAX, EndReason, InvariantError, JoinWindow, Participant, RECORDINGS_MAX,
    REMOVED_RECORDS_MAX, SessionStatus, Standing, StoredSession, VirtualSession,
};
pub use state::ParticipantState;
pub use tier::{
    FallbackThresholds, Ladder, LineLook, LineTest, Step, ThresholdFault, ThresholdValues, Tier, TierReason,
};
pub use token::{JoinToken, TokenClaims, TokenError, TokenKey, TokenKeys, TokenKeysError, admit_token};
pub use visit::{
    AsyncVisit, ContentFault, NewVisit, Response, Revision, StoredVisit, VISIT_IMAGES_MAX,
    VISIT_REVISIONS_MAX, VisitCommand, VisitContent, VisitContext, VisitEvent, VisitInvariantError,
    VisitRejection, VisitStatus,
};
