//! Folding events into the state. No rule is here: what was decided is done.

use jiff::Timestamp;

use super::{AsyncVisit, NewVisit, Revision, StoredVisit, VisitEvent, VisitStatus};

impl AsyncVisit {
    /// The visit that [`VisitEvent::Created`] made, at version 0: [`Self::commit`] counts the command that made it.
    /// `None` of any other event.
    #[must_use]
    pub fn from_created(event: &VisitEvent) -> Option<Self> {
        let VisitEvent::Created { visit, at } = event else { return None };
        Some(Self { row: created(visit, *at) })
    }

    /// Folds one event, and leaves the version.
    ///
    /// # Panics
    /// On the making of another visit.
    pub fn apply(&mut self, event: &VisitEvent) {
        match event {
            // What it brings is there since `from_created`; it still counts as part of the first command.
            VisitEvent::Created { visit, .. } => assert_eq!(visit.id, self.row.id, "another visit's event"),
            VisitEvent::DraftSaved { content, .. } => self.row.draft = Some(content.clone()),
            VisitEvent::Submitted { revision } => self.submitted(revision),
            VisitEvent::Amended { revision } => self.row.revisions.push(revision.clone()),
            VisitEvent::ReviewStarted { reviewer, at } => {
                self.row.status = VisitStatus::UnderReview;
                self.row.reviewer = Some(reviewer.clone());
                self.row.review_started_at = Some(*at);
            }
            VisitEvent::Responded { response } => {
                self.row.status = VisitStatus::Responded;
                self.row.responded_at = Some(response.at);
                self.row.response = Some(response.clone());
            }
            VisitEvent::Closed { at } => {
                self.row.status = VisitStatus::Closed;
                self.row.closed_at = Some(*at);
            }
            VisitEvent::EncounterRecorded { encounter, .. } => self.row.encounter = Some(encounter.clone()),
        }
    }

    fn submitted(&mut self, revision: &Revision) {
        self.row.status = VisitStatus::Submitted;
        self.row.draft = None;
        self.row.submitted_at = Some(revision.submitted_at);
        self.row.revisions.push(revision.clone());
    }
}

fn created(visit: &NewVisit, at: Timestamp) -> StoredVisit {
    StoredVisit {
        id: visit.id,
        tenant: visit.tenant,
        patient_id: visit.patient_id.clone(),
        provider_ref: visit.provider_ref.clone(),
        session: visit.session,
        status: VisitStatus::Draft,
        draft: Some(visit.content.clone()),
        revisions: Vec::new(),
        response: None,
        encounter: None,
        created_at: at,
        submitted_at: None,
        review_started_at: None,
        reviewer: None,
        responded_at: None,
        closed_at: None,
        version: 0,
    }
}
