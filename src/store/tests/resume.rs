//! What devices come back with is kept as hashes, with the change that made it good or alone.

use vestibule_domain::{Actor, Command};
use vestibule_signaling::{ResumeKey, ResumeKeys};

use super::*;

stories! {
    secrets_are_kept_with_the_change_that_makes_them_good,
    secrets_alone_change_nothing_of_the_session,
    secrets_that_cannot_be_kept_are_not,
}

pub(super) fn keys(current: u8, previous: Option<u8>) -> ResumeKeys {
    ResumeKeys { current: ResumeKey([current; 32]), previous: previous.map(|byte| ResumeKey([byte; 32])) }
}

impl Visit {
    /// Somebody comes, and with the same change their secret becomes good.
    async fn comes_with(&mut self, who: ParticipantId, keys: ResumeKeys) -> Result<(), StoreError> {
        let (actor, command) = (Actor::Participant(who), Command::Join { participant: who });
        let (after, events) = self.decide(&actor, &command);
        let commit = Commit {
            before_version: self.session.version(),
            after: &after,
            events: &events,
            actor: &actor,
            now: self.now,
            next_deadline: after.next_deadline(&self.presence),
            profiles: &[],
            resume: &[(who, keys)],
            hands_on: false,
            beside: &Beside::default(),
        };
        self.store.commit(commit).await?;
        self.session = after;
        Ok(())
    }

    pub(super) async fn renews(&self, who: ParticipantId, keys: ResumeKeys) -> Result<(), StoreError> {
        let commit = Commit {
            before_version: self.session.version(),
            after: &self.session,
            events: &[],
            actor: &Actor::Participant(who),
            now: self.now,
            next_deadline: None,
            profiles: &[],
            resume: &[(who, keys)],
            hands_on: false,
            beside: &Beside::default(),
        };
        self.store.commit(commit).await
    }

    async fn good(&self) -> Vec<(ParticipantId, ResumeKeys)> {
        self.store.resume_keys(self.session.id()).await.unwrap().into_iter().collect()
    }
}

async fn secrets_are_kept_with_the_change_that_makes_them_good(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.now = at(3_600);
    let other = Visit::made(visit.store.clone(), 8).await;
    visit.comes_with(provider(), keys(1, None)).await.unwrap();
    visit.comes_with(observer(), keys(2, None)).await.unwrap();
    let both = [(provider(), keys(1, None)), (observer(), keys(2, None))];
    assert_eq!(visit.good().await, both);
    assert_eq!(other.good().await, [], "another session has others");

    // What was decided on a version that is past is not written, nor is the secret.
    let mut late = Visit {
        store: visit.store.clone(),
        session: visit.store.load_session(other.session.id()).await.unwrap().unwrap().session,
        presence: Presence::new(),
        now: at(3_600),
    };
    late.comes_with(provider(), keys(3, None)).await.unwrap();
    late.session = other.session.clone();
    let refused = late.comes_with(observer(), keys(4, None)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }), "{refused:?}");
    assert_eq!(late.good().await, [(provider(), keys(3, None))]);

    visit.store.close().await;
    visit.store = open(&place).await;
    assert_eq!(visit.good().await, both, "and after the server was started again");
}

async fn secrets_alone_change_nothing_of_the_session(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.now = at(3_600);
    visit.comes_with(provider(), keys(1, None)).await.unwrap();
    let before = (place.count("event").await, place.count("outbox").await);
    let due = visit.store.due_sessions(at(99_999), 10).await.unwrap();
    visit.renews(provider(), keys(2, Some(1))).await.unwrap();
    assert_eq!(visit.good().await, [(provider(), keys(2, Some(1)))]);
    visit.check().await;
    assert_eq!((place.count("event").await, place.count("outbox").await), before);
    assert_eq!(visit.store.due_sessions(at(99_999), 10).await.unwrap(), due, "it is due when it was");

    // Somebody else changed the session meanwhile: that is nothing to a secret.
    let command = Command::Invite { participant: participant(20), role: ParticipantRole::Observer };
    visit.try_commit(&staff(), &command).await.unwrap();
    visit.renews(provider(), keys(3, Some(2))).await.unwrap();
    assert_eq!(visit.good().await, [(provider(), keys(3, Some(2)))]);
}

async fn secrets_that_cannot_be_kept_are_not(place: Place) {
    let mut visit = Visit::new(&place).await;
    visit.now = at(3_600);
    visit.comes_with(provider(), keys(1, None)).await.unwrap();
    let refused = visit.renews(participant(99), keys(2, None)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { what: "the participant" }), "{refused:?}");
    place.break_inserts("resume_key").await;
    let refused = visit.comes_with(observer(), keys(2, None)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    assert_eq!(visit.good().await, [(provider(), keys(1, None))]);
    visit.check().await;
}
