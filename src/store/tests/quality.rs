//! How connections were, step by step.

use vestibule_signaling::wire::{QualityCode, QualityLevel, QualityReason};
use vestibule_signaling::{Quality, QualityStep};

use super::*;
use crate::store::{KeptStep, Page, StepKey};

stories! {
    steps_are_kept_once_and_read_in_order,
    a_visit_that_goes_on_for_ever_keeps_its_last_day,
    steps_of_no_session_are_not_kept,
}

fn step(seconds: i64, who: ParticipantId, level: QualityLevel) -> KeptStep {
    let reason = QualityReason { code: QualityCode::DownlinkRate, value: u32::MAX };
    let reason = (level != QualityLevel::Good).then_some(reason);
    let quality = Quality { level, reason };
    let measured = QualityStep {
        quality,
        downlink_loss: Some(1.0),
        uplink_bps: u64::MAX,
        video_height: Some(0),
        ..QualityStep::default()
    };
    KeptStep::of(at(seconds), who, &measured)
}

async fn all(store: &Store, session: SessionId, after: Option<StepKey>, limit: u32) -> Vec<KeptStep> {
    store.steps(session, None, Page { after, limit }).await.unwrap()
}

async fn steps_are_kept_once_and_read_in_order(place: Place) {
    let visit = Visit::new(&place).await;
    let (store, session) = (&visit.store, visit.session.id());
    let (provider, observer) = (provider(), observer());
    let steps = [
        step(10, provider, QualityLevel::Good),
        step(10, observer, QualityLevel::Bad),
        step(20, provider, QualityLevel::Fair),
    ];
    store.keep_steps(session, &steps[..2]).await.unwrap();
    store.keep_steps(session, &steps).await.unwrap();
    let mut sorted = steps.to_vec();
    sorted.sort_by_key(|step| (step.at, step.participant.to_string()));
    assert_eq!(all(store, session, None, 9).await, sorted);
    let page = all(store, session, None, 2).await;
    assert_eq!(all(store, session, Some(page[1].key()), 2).await, sorted[2..]);
    let text = page[1].key().to_string();
    assert_eq!(text.parse::<StepKey>().unwrap(), page[1].key());
    let theirs = store.steps(session, Some(observer), Page { after: None, limit: 9 }).await.unwrap();
    assert_eq!(theirs, [steps[1]]);
    assert_eq!(store.last_steps(session, 2).await.unwrap(), sorted[1..]);
    let other = Visit::made(store.clone(), 8).await;
    assert_eq!(all(store, other.session.id(), None, 9).await, []);
}

async fn a_visit_that_goes_on_for_ever_keeps_its_last_day(place: Place) {
    let visit = Visit::new(&place).await;
    let (store, session) = (&visit.store, visit.session.id());
    let day = 24 * 3_600;
    store.keep_steps(session, &[step(10, provider(), QualityLevel::Good)]).await.unwrap();
    store.keep_steps(session, &[step(10 + day, provider(), QualityLevel::Good)]).await.unwrap();
    assert_eq!(all(store, session, None, 9).await.len(), 2);
    // And more than fit in one statement.
    let many: Vec<_> = (1..=1_500).map(|n| step(10 + day + n, provider(), QualityLevel::Poor)).collect();
    store.keep_steps(session, &many).await.unwrap();
    assert_eq!(all(store, session, None, 9_999).await.len(), 1_501);
}

async fn steps_of_no_session_are_not_kept(place: Place) {
    let visit = Visit::new(&place).await;
    let nobody = SessionId::new(at(0), [99; 10]);
    let refused =
        visit.store.keep_steps(nobody, &[step(10, provider(), QualityLevel::Good)]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { what: "the session" }), "{refused:?}");
}
