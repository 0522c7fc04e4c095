//! The asynchronous visit: text and images written offline, submitted when connected, answered later.
//!
//! What was written is health data and lies sealed in the store. Here are its digests only: enough to tell whether two
//! contents are one, and that nothing submitted ever changes. Deleting by the tenant's retention is the store's business;
//! there is no command for it.
//!
//! `decide` has the rules, `apply` the folding, `stored` what a state from outside must fulfil.

mod apply;
mod decide;
mod stored;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use decide::{ContentFault, VisitRejection};
pub use stored::VisitInvariantError;

use crate::actor::Actor;
use crate::digest::ContentDigest;
use crate::id::{AsyncVisitId, EncounterId, PatientId, ProviderRef, SessionId, StaffId, TenantId};
use crate::kind::as_str;

/// How many images one content of a visit may have.
pub const VISIT_IMAGES_MAX: usize = 10;
/// How many revisions a visit keeps: what was submitted, and its amendments.
pub const VISIT_REVISIONS_MAX: usize = 20;

/// Where a visit is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisitStatus {
    /// Being written.
    Draft,
    /// On the provider's desk.
    Submitted,
    /// Somebody of the staff reads it.
    UnderReview,
    /// Answered.
    Responded,
    /// Done.
    Closed,
}

as_str!(VisitStatus {
    Draft = "draft",
    Submitted = "submitted",
    UnderReview = "under_review",
    Responded = "responded",
    Closed = "closed",
});

impl VisitStatus {
    /// Whether there is an answer, which stays.
    #[must_use]
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Responded | Self::Closed)
    }
}

/// What the patient writes and shows: the digests of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitContent {
    /// Of the text.
    pub text: ContentDigest,
    /// Of the images, in their order. At most [`VISIT_IMAGES_MAX`], none twice.
    pub images: Vec<ContentDigest>,
}

/// A content as it was submitted. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// From 1, without gaps.
    pub number: u32,
    /// The one it stands in for: the one before, which stays readable.
    pub supersedes: Option<u32>,
    /// What.
    pub content: VisitContent,
    /// When.
    pub submitted_at: Timestamp,
    /// By whom.
    pub actor: Actor,
}

/// The answer. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The digest of its text.
    pub text: ContentDigest,
    /// When.
    pub at: Timestamp,
    /// By whom of the staff.
    pub actor: Actor,
}

/// Makes a visit, as a draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewVisit {
    /// Its identifier, made on the device.
    pub id: AsyncVisitId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Whom it is for.
    pub patient_id: PatientId,
    /// Whose desk it goes to.
    pub provider_ref: ProviderRef,
    /// The session it continues.
    pub session: Option<SessionId>,
    /// What is written so far.
    pub content: VisitContent,
}

/// What can be asked of a visit.
///
/// Authors are participants, staff and the system. That they may write in this visit is checked before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VisitCommand {
    /// Writes the draft anew. For authors. Of a content that was submitted already, nothing: a device that was offline
    /// sends all of it again.
    SaveDraft {
        /// What.
        content: VisitContent,
    },
    /// Puts the draft on the provider's desk. For authors. Of a visit that is there already, nothing.
    Submit,
    /// Submits another content in place of the last, which stays readable. For authors, until there is an answer.
    Amend {
        /// What.
        content: VisitContent,
    },
    /// Somebody begins to read it. For staff.
    StartReview,
    /// Answers it; of one that nobody read so far this is the reading too. For staff.
    Respond {
        /// The digest of the answer's text.
        text: ContentDigest,
    },
    /// Puts an answered visit away. For staff.
    Close,
    /// Files the Encounter that was made of an answered visit. For the system.
    RecordEncounter {
        /// Which.
        encounter: EncounterId,
    },
}

/// What a decision is made in view of, beside the state.
#[derive(Clone, Copy, Debug)]
pub struct VisitContext<'a> {
    /// The time it is.
    pub now: Timestamp,
    /// Who asks. That they are who they say is checked before.
    pub actor: &'a Actor,
}

/// One thing that happened to a visit. Identifiers, digests and times only.
///
/// Stored for good as JSON with its `type`: a variant or a field is added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum VisitEvent {
    /// It exists, as a draft.
    Created {
        /// All that was given. Boxed: it is larger than the others.
        visit: Box<NewVisit>,
        /// When.
        at: Timestamp,
    },
    /// The draft was written anew.
    DraftSaved {
        /// What.
        content: VisitContent,
        /// When.
        at: Timestamp,
    },
    /// The draft is on the provider's desk.
    Submitted {
        /// The first revision.
        revision: Revision,
    },
    /// Another content stands in for the last.
    Amended {
        /// The new one.
        revision: Revision,
    },
    /// Somebody reads it.
    ReviewStarted {
        /// Who.
        reviewer: StaffId,
        /// When.
        at: Timestamp,
    },
    /// It was answered.
    Responded {
        /// How.
        response: Response,
    },
    /// It was put away.
    Closed {
        /// When.
        at: Timestamp,
    },
    /// The Encounter was made.
    EncounterRecorded {
        /// Which.
        encounter: EncounterId,
        /// When it was filed here.
        at: Timestamp,
    },
}

impl VisitEvent {
    /// The `type` of its JSON.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::DraftSaved { .. } => "draft_saved",
            Self::Submitted { .. } => "submitted",
            Self::Amended { .. } => "amended",
            Self::ReviewStarted { .. } => "review_started",
            Self::Responded { .. } => "responded",
            Self::Closed { .. } => "closed",
            Self::EncounterRecorded { .. } => "encounter_recorded",
        }
    }
}

/// The state of a visit as plain data, for a store. Only [`AsyncVisit::from_stored`] makes a visit of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVisit {
    /// Its identifier.
    pub id: AsyncVisitId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Whom it is for.
    pub patient_id: PatientId,
    /// Whose desk it goes to.
    pub provider_ref: ProviderRef,
    /// The session it continues, if it continues one.
    pub session: Option<SessionId>,
    /// Where it is in its life.
    pub status: VisitStatus,
    /// What is written so far; absent once it was submitted.
    pub draft: Option<VisitContent>,
    /// What was submitted, in order.
    pub revisions: Vec<Revision>,
    /// The answer, once there is one.
    pub response: Option<Response>,
    /// The Encounter that was made of it, once it was.
    pub encounter: Option<EncounterId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was first submitted.
    pub submitted_at: Option<Timestamp>,
    /// When somebody began to read it.
    pub review_started_at: Option<Timestamp>,
    /// Who.
    pub reviewer: Option<StaffId>,
    /// When it was answered.
    pub responded_at: Option<Timestamp>,
    /// When it was put away.
    pub closed_at: Option<Timestamp>,
    /// How many commands were committed, its making being the first.
    pub version: u64,
}

/// An asynchronous visit. A value that exists fulfils the invariants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncVisit {
    row: StoredVisit,
}

/// Getters.
impl AsyncVisit {
    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> AsyncVisitId {
        self.row.id
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.row.tenant
    }

    /// Whom it is for.
    #[must_use]
    pub fn patient_id(&self) -> &PatientId {
        &self.row.patient_id
    }

    /// Whose desk it goes to.
    #[must_use]
    pub fn provider_ref(&self) -> &ProviderRef {
        &self.row.provider_ref
    }

    /// The session it continues, if it continues one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.row.session
    }

    /// Where it is in its life.
    #[must_use]
    pub fn status(&self) -> VisitStatus {
        self.row.status
    }

    /// What is written so far; absent once it was submitted.
    #[must_use]
    pub fn draft(&self) -> Option<&VisitContent> {
        self.row.draft.as_ref()
    }

    /// What was submitted, in order.
    #[must_use]
    pub fn revisions(&self) -> &[Revision] {
        &self.row.revisions
    }

    /// The revision that counts: the last.
    #[must_use]
    pub fn current(&self) -> Option<&Revision> {
        self.row.revisions.last()
    }

    /// The answer, once there is one.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.row.response.as_ref()
    }

    /// The Encounter that was made of it, once it was.
    #[must_use]
    pub fn encounter(&self) -> Option<&EncounterId> {
        self.row.encounter.as_ref()
    }

    /// When it was made.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.row.created_at
    }

    /// When it was first submitted.
    #[must_use]
    pub fn submitted_at(&self) -> Option<Timestamp> {
        self.row.submitted_at
    }

    /// When somebody began to read it.
    #[must_use]
    pub fn review_started_at(&self) -> Option<Timestamp> {
        self.row.review_started_at
    }

    /// Who began to read it.
    #[must_use]
    pub fn reviewer(&self) -> Option<&StaffId> {
        self.row.reviewer.as_ref()
    }

    /// When it was answered.
    #[must_use]
    pub fn responded_at(&self) -> Option<Timestamp> {
        self.row.responded_at
    }

    /// When it was put away.
    #[must_use]
    pub fn closed_at(&self) -> Option<Timestamp> {
        self.row.closed_at
    }

    /// How many commands were committed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.row.version
    }
}

/// Changes, and between a store and here.
impl AsyncVisit {
    /// Folds the events of one command: the version grows by one, or stays if nothing happened.
    pub fn commit(&mut self, events: &[VisitEvent]) {
        for event in events {
            self.apply(event);
        }
        if !events.is_empty() {
            self.row.version += 1;
        }
    }

    /// The visit a store kept.
    ///
    /// # Errors
    /// The first invariant the row breaks: it was not written by this crate, or damaged since.
    pub fn from_stored(row: StoredVisit) -> Result<Self, VisitInvariantError> {
        stored::check(&row)?;
        Ok(Self { row })
    }

    /// All of the state, for a store.
    #[must_use]
    pub fn to_stored(&self) -> StoredVisit {
        self.row.clone()
    }
}
