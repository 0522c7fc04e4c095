//! The rules: which events a command leads to, or why none.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    AsyncVisit, NewVisit, Response, Revision, VISIT_IMAGES_MAX, VISIT_REVISIONS_MAX, VisitCommand,
    VisitContent, VisitContext, VisitEvent, VisitStatus,
};
use crate::actor::Actor;
use crate::digest::ContentDigest;
use crate::id::{EncounterId, StaffId};
use crate::time::whole_millisecond;

/// Why a command was not carried out. The state is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VisitRejection {
    /// Who asks may not.
    #[error("this is not theirs to ask")]
    NotPermitted,
    /// It was submitted, with another content: from then on there are amendments only.
    #[error("the visit was submitted, and is not edited any more")]
    NotDraft,
    /// It is still being written.
    #[error("the visit is not submitted")]
    NotSubmitted,
    /// Somebody else reads it.
    #[error("somebody else reviews the visit")]
    UnderReview,
    /// There is an answer, and it stays as it was given, as does what it answers.
    #[error("the visit is answered")]
    AlreadyAnswered,
    /// There is no answer yet.
    #[error("the visit is not answered")]
    NotAnswered,
    /// Another Encounter is on file.
    #[error("another encounter is on file")]
    EncounterExists,
    /// The content is none.
    #[error("invalid content: {0}")]
    InvalidContent(#[from] ContentFault),
    /// A list of the visit is as long as it may get.
    #[error("the visit holds {max} {what}, and no more fit")]
    LimitReached {
        /// What there are too many of.
        what: &'static str,
        /// How many fit.
        max: usize,
    },
}

impl VisitRejection {
    /// The stable code, which becomes the problem's `type` in the API.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotPermitted => "not_permitted",
            Self::NotDraft => "not_draft",
            Self::NotSubmitted => "not_submitted",
            Self::UnderReview => "under_review",
            Self::AlreadyAnswered => "already_answered",
            Self::NotAnswered => "not_answered",
            Self::EncounterExists => "encounter_exists",
            Self::InvalidContent(_) => "invalid_content",
            Self::LimitReached { .. } => "limit_reached",
        }
    }
}

/// What is wrong with a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentFault {
    /// More images than fit.
    #[error("more than {max} images")]
    TooManyImages {
        /// How many fit.
        max: usize,
    },
    /// The same image twice.
    #[error("an image is there twice")]
    ImageTwice,
}

impl VisitContent {
    /// Checks how many images there are, and that none is there twice.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), ContentFault> {
        if self.images.len() > VISIT_IMAGES_MAX {
            return Err(ContentFault::TooManyImages { max: VISIT_IMAGES_MAX });
        }
        let different: BTreeSet<_> = self.images.iter().collect();
        if different.len() < self.images.len() { Err(ContentFault::ImageTwice) } else { Ok(()) }
    }
}

type Decision = Result<Vec<VisitEvent>, VisitRejection>;

impl AsyncVisit {
    /// Makes a visit, a draft at version 1. For authors.
    ///
    /// That no other visit has its identifier is for the store to see; one that has, with the same content, is the same.
    ///
    /// # Errors
    /// A content that is none.
    pub fn create(
        command: NewVisit,
        ctx: &VisitContext<'_>,
    ) -> Result<(Self, Vec<VisitEvent>), VisitRejection> {
        if !is_author(ctx.actor) {
            return Err(VisitRejection::NotPermitted);
        }
        command.content.check()?;
        let event = VisitEvent::Created { visit: Box::new(command), at: whole_millisecond(ctx.now) };
        let mut visit = Self::from_created(&event).expect("the event is Created");
        let events = vec![event];
        visit.commit(&events);
        Ok((visit, events))
    }

    /// What `command` leads to: the events to fold and to keep, in order. None if what is asked for is so already.
    ///
    /// # Errors
    /// Why not. The state is not touched either way.
    pub fn decide(
        &self,
        command: &VisitCommand,
        ctx: &VisitContext<'_>,
    ) -> Result<Vec<VisitEvent>, VisitRejection> {
        let at = whole_millisecond(ctx.now);
        match command {
            VisitCommand::SaveDraft { content } => {
                author(ctx)?;
                self.save_draft(content, at)
            }
            VisitCommand::Submit => {
                author(ctx)?;
                self.submit(ctx.actor, at)
            }
            VisitCommand::Amend { content } => {
                author(ctx)?;
                self.amend(content, ctx.actor, at)
            }
            VisitCommand::StartReview => self.start_review(reviewer(ctx)?, at),
            VisitCommand::Respond { text } => self.respond(*text, reviewer(ctx)?, at),
            VisitCommand::Close => {
                reviewer(ctx)?;
                self.close(at)
            }
            VisitCommand::RecordEncounter { encounter } => {
                if *ctx.actor != Actor::System {
                    return Err(VisitRejection::NotPermitted);
                }
                self.record_encounter(encounter, at)
            }
        }
    }

    fn save_draft(&self, content: &VisitContent, at: Timestamp) -> Decision {
        let Some(draft) = self.draft() else {
            // Any of the revisions, not the last alone: what was sent again late was amended perhaps meanwhile.
            let submitted = self.revisions().iter().any(|revision| revision.content == *content);
            return if submitted { Ok(Vec::new()) } else { Err(VisitRejection::NotDraft) };
        };
        content.check()?;
        if draft == content {
            return Ok(Vec::new());
        }
        Ok(vec![VisitEvent::DraftSaved { content: content.clone(), at }])
    }

    fn submit(&self, actor: &Actor, at: Timestamp) -> Decision {
        let Some(draft) = self.draft() else { return Ok(Vec::new()) };
        let revision = Revision {
            number: 1,
            supersedes: None,
            content: draft.clone(),
            submitted_at: at,
            actor: actor.clone(),
        };
        Ok(vec![VisitEvent::Submitted { revision }])
    }

    fn amend(&self, content: &VisitContent, actor: &Actor, at: Timestamp) -> Decision {
        let last = self.current().ok_or(VisitRejection::NotSubmitted)?;
        if last.content == *content {
            return Ok(Vec::new());
        }
        if self.status().is_answered() {
            return Err(VisitRejection::AlreadyAnswered);
        }
        content.check()?;
        if self.revisions().len() >= VISIT_REVISIONS_MAX {
            return Err(VisitRejection::LimitReached { what: "revisions", max: VISIT_REVISIONS_MAX });
        }
        let revision = Revision {
            number: last.number + 1,
            supersedes: Some(last.number),
            content: content.clone(),
            submitted_at: at,
            actor: actor.clone(),
        };
        Ok(vec![VisitEvent::Amended { revision }])
    }

    fn start_review(&self, staff: &StaffId, at: Timestamp) -> Decision {
        match self.status() {
            VisitStatus::Draft => Err(VisitRejection::NotSubmitted),
            VisitStatus::Submitted => Ok(vec![VisitEvent::ReviewStarted { reviewer: staff.clone(), at }]),
            VisitStatus::UnderReview if self.reviewer() == Some(staff) => Ok(Vec::new()),
            VisitStatus::UnderReview => Err(VisitRejection::UnderReview),
            VisitStatus::Responded | VisitStatus::Closed => Err(VisitRejection::AlreadyAnswered),
        }
    }

    /// Whoever of the staff: a colleague may answer what another began to read.
    fn respond(&self, text: ContentDigest, staff: &StaffId, at: Timestamp) -> Decision {
        let response = Response { text, at, actor: Actor::Staff(staff.clone()) };
        match self.status() {
            VisitStatus::Draft => Err(VisitRejection::NotSubmitted),
            VisitStatus::Submitted => Ok(vec![
                VisitEvent::ReviewStarted { reviewer: staff.clone(), at },
                VisitEvent::Responded { response },
            ]),
            VisitStatus::UnderReview => Ok(vec![VisitEvent::Responded { response }]),
            VisitStatus::Responded | VisitStatus::Closed => {
                let same = self.response().is_some_and(|given| given.text == text);
                if same { Ok(Vec::new()) } else { Err(VisitRejection::AlreadyAnswered) }
            }
        }
    }

    fn close(&self, at: Timestamp) -> Decision {
        match self.status() {
            VisitStatus::Responded => Ok(vec![VisitEvent::Closed { at }]),
            VisitStatus::Closed => Ok(Vec::new()),
            VisitStatus::Draft | VisitStatus::Submitted | VisitStatus::UnderReview => {
                Err(VisitRejection::NotAnswered)
            }
        }
    }

    fn record_encounter(&self, encounter: &EncounterId, at: Timestamp) -> Decision {
        if !self.status().is_answered() {
            return Err(VisitRejection::NotAnswered);
        }
        match self.encounter() {
            Some(known) if known == encounter => Ok(Vec::new()),
            Some(_) => Err(VisitRejection::EncounterExists),
            None => Ok(vec![VisitEvent::EncounterRecorded { encounter: encounter.clone(), at }]),
        }
    }
}

fn is_author(actor: &Actor) -> bool {
    matches!(actor, Actor::Participant(_) | Actor::Staff(_) | Actor::System)
}

fn author(ctx: &VisitContext<'_>) -> Result<(), VisitRejection> {
    if is_author(ctx.actor) { Ok(()) } else { Err(VisitRejection::NotPermitted) }
}

fn reviewer<'a>(ctx: &VisitContext<'a>) -> Result<&'a StaffId, VisitRejection> {
    match ctx.actor {
        Actor::Staff(staff) => Ok(staff),
        Actor::Participant(_) | Actor::System | Actor::Timer => Err(VisitRejection::NotPermitted),
    }
}
