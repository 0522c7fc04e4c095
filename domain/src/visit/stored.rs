//! What a state from outside must fulfil to become a visit.

use super::{Revision, StoredVisit, VISIT_REVISIONS_MAX, VisitStatus};
use crate::actor::Actor;

/// The invariant a stored visit breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VisitInvariantError {
    /// Version 0 is before it was made.
    #[error("the version is 0")]
    NoVersion,
    /// A draft beside revisions, or neither, or one of another status.
    #[error("status, draft and revisions do not fit")]
    Draft,
    /// Revisions that are not numbered from 1, do not supersede the one before, or repeat it; or too many.
    #[error("the revisions are not a chain")]
    Revisions,
    /// A draft or a revision with too many images, or one twice.
    #[error("a content is invalid")]
    Content,
    /// A reviewer without the time or the other way round, or of another status.
    #[error("status and review do not fit")]
    Review,
    /// An answer without its time or the other way round, of another status, or of somebody who is not staff.
    #[error("status and response do not fit")]
    Response,
    /// Closed without its time, or the other way round.
    #[error("status and time of closing do not fit")]
    Closed,
    /// An Encounter of a visit that is not answered.
    #[error("there is an encounter of a visit that is not answered")]
    EncounterBeforeAnswer,
}

pub(super) fn check(row: &StoredVisit) -> Result<(), VisitInvariantError> {
    if row.version == 0 {
        return Err(VisitInvariantError::NoVersion);
    }
    check_contents(row)?;
    let read = matches!(row.status, VisitStatus::UnderReview | VisitStatus::Responded | VisitStatus::Closed);
    if row.reviewer.is_some() != read || row.review_started_at.is_some() != read {
        return Err(VisitInvariantError::Review);
    }
    let answered = row.status.is_answered();
    let by_staff = row.response.as_ref().is_none_or(|response| matches!(response.actor, Actor::Staff(_)));
    let answer_time = row.response.as_ref().map(|response| response.at);
    if row.response.is_some() != answered || !by_staff || row.responded_at != answer_time {
        return Err(VisitInvariantError::Response);
    }
    if row.closed_at.is_some() != (row.status == VisitStatus::Closed) {
        return Err(VisitInvariantError::Closed);
    }
    if row.encounter.is_some() && !answered {
        return Err(VisitInvariantError::EncounterBeforeAnswer);
    }
    Ok(())
}

fn check_contents(row: &StoredVisit) -> Result<(), VisitInvariantError> {
    let draft = row.status == VisitStatus::Draft;
    if row.draft.is_some() != draft || row.revisions.is_empty() != draft {
        return Err(VisitInvariantError::Draft);
    }
    if row.submitted_at != row.revisions.first().map(|revision| revision.submitted_at) {
        return Err(VisitInvariantError::Draft);
    }
    if row.revisions.len() > VISIT_REVISIONS_MAX || !is_chain(&row.revisions) {
        return Err(VisitInvariantError::Revisions);
    }
    let mut contents = row.draft.iter().chain(row.revisions.iter().map(|revision| &revision.content));
    if contents.any(|content| content.check().is_err()) { Err(VisitInvariantError::Content) } else { Ok(()) }
}

fn is_chain(revisions: &[Revision]) -> bool {
    let mut last: Option<&Revision> = None;
    for revision in revisions {
        let before = last.map(|last| last.number);
        let repeats = last.is_some_and(|last| last.content == revision.content);
        if revision.number != before.unwrap_or(0) + 1 || revision.supersedes != before || repeats {
            return false;
        }
        last = Some(revision);
    }
    true
}
