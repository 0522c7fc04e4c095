//! What a state from outside must fulfil to become a session.

use std::collections::BTreeSet;

use super::{CONSENT_RECORDS_MAX, RECORDINGS_MAX, SessionStatus, Standing, StoredSession, records_max};
use crate::consent::{ConsentType, on_file};
use crate::kind::ParticipantRole;

/// The invariant a stored session breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvariantError {
    /// Version 0 is before it was made.
    #[error("the version is 0")]
    NoVersion,
    /// An end without a start, or not after it.
    #[error("the end of the schedule does not fit its start")]
    Schedule,
    /// A final status without its time and reason, or these without it, or a reason of another status.
    #[error("status, reason and time of the end do not fit")]
    End,
    /// Active without a start, or a start without having been active.
    #[error("status and start do not fit")]
    Start,
    /// Two participants of one identifier.
    #[error("two participants share an identifier")]
    TwiceTheSame,
    /// Two patients who are not removed.
    #[error("more than one patient")]
    TwoPatients,
    /// More participants, records or consents than may be.
    #[error("more entries than a session holds")]
    TooMany,
    /// In, or waiting, and never joined.
    #[error("a participant is inside who never joined")]
    InsideUnjoined,
    /// An epoch no number of removals leads to.
    #[error("a participant's epoch is out of range")]
    Epoch,
    /// Recorded without a consent.
    #[error("recording is enabled without consent or against the policy")]
    RecordingWithoutConsent,
    /// On text before the session began.
    #[error("there is a fallback and no start")]
    FallbackBeforeStart,
    /// A recording of a session that never began, or one filed twice.
    #[error("a recording of a session that never began, or filed twice")]
    Recordings,
    /// An Encounter of a session that is not over.
    #[error("there is an encounter of a session that is not over")]
    EncounterBeforeEnd,
}

/// An epoch grows by one a removal or revocation; this many there cannot have been, and the next one must still fit.
const EPOCH_MAX: u32 = u32::MAX / 2;

pub(super) fn check(row: &StoredSession) -> Result<(), InvariantError> {
    if row.version == 0 {
        return Err(InvariantError::NoVersion);
    }
    check_times(row)?;
    check_participants(row)?;
    if row.consents.len() > CONSENT_RECORDS_MAX {
        return Err(InvariantError::TooMany);
    }
    let may_record = row.policy.recording_allowed && on_file(&row.consents, ConsentType::Recording);
    if row.recording_enabled && !may_record {
        return Err(InvariantError::RecordingWithoutConsent);
    }
    check_filed(row)
}

fn check_times(row: &StoredSession) -> Result<(), InvariantError> {
    match (row.scheduled_start, row.scheduled_end) {
        (None, Some(_)) => return Err(InvariantError::Schedule),
        (Some(start), Some(end)) if end <= start => return Err(InvariantError::Schedule),
        _ => {}
    }
    let end_fits = match (row.end_reason, row.ended_at) {
        (Some(reason), Some(_)) => reason.status() == row.status,
        (None, None) => !row.status.is_final(),
        _ => false,
    };
    if !end_fits {
        return Err(InvariantError::End);
    }
    let start_fits = match row.status {
        SessionStatus::Scheduled | SessionStatus::Waiting | SessionStatus::Cancelled => {
            row.started_at.is_none()
        }
        SessionStatus::Active | SessionStatus::Ended | SessionStatus::Failed => row.started_at.is_some(),
    };
    if start_fits { Ok(()) } else { Err(InvariantError::Start) }
}

// Whether these came after the start is not compared: a clock that was set back between the two is no damage.
fn check_filed(row: &StoredSession) -> Result<(), InvariantError> {
    if row.fallback_since.is_some() && row.started_at.is_none() {
        return Err(InvariantError::FallbackBeforeStart);
    }
    if row.recordings.len() > RECORDINGS_MAX {
        return Err(InvariantError::TooMany);
    }
    let different: BTreeSet<_> = row.recordings.iter().collect();
    if different.len() < row.recordings.len() || (row.started_at.is_none() && !different.is_empty()) {
        return Err(InvariantError::Recordings);
    }
    if row.encounter.is_some() && !row.status.is_final() {
        return Err(InvariantError::EncounterBeforeEnd);
    }
    Ok(())
}

fn check_participants(row: &StoredSession) -> Result<(), InvariantError> {
    if row.participants.len() > records_max(&row.policy) {
        return Err(InvariantError::TooMany);
    }
    let mut ids = BTreeSet::new();
    let (mut present, mut patients) = (0_usize, 0_usize);
    for participant in &row.participants {
        if !ids.insert(participant.id) {
            return Err(InvariantError::TwiceTheSame);
        }
        if participant.epoch > EPOCH_MAX {
            return Err(InvariantError::Epoch);
        }
        let inside = matches!(participant.standing, Standing::Waiting | Standing::Admitted);
        if inside && (participant.joined_at.is_none() || row.status == SessionStatus::Scheduled) {
            return Err(InvariantError::InsideUnjoined);
        }
        if participant.standing != Standing::Removed {
            present += 1;
            patients += usize::from(participant.role == ParticipantRole::Patient);
        }
    }
    if patients > 1 {
        return Err(InvariantError::TwoPatients);
    }
    if present > usize::from(row.policy.max_participants) { Err(InvariantError::TooMany) } else { Ok(()) }
}
