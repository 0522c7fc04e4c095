//! Threads of live sessions: each line once, images, and what is handed on.

use std::collections::BTreeSet;

use vestibule_domain::SessionId;

use super::place::Place;
use super::visits::{id, image, sealed};
use super::{Visit, at, open, participant, tenant};
use crate::blobs::Holder;
use crate::store::{Keeping, Kind, SealedLine, Store, StoreError, ThreadImage, VisitImage};

stories! {
    a_thread_is_kept_in_order_and_once,
    a_thread_is_bounded,
    images_of_a_thread_are_known_by_who_sent_them_and_go_with_its_lines,
    what_is_to_be_handed_on_is_so_until_it_is,
}

pub(super) fn line(position: u64, key_id: u32, text: &str) -> SealedLine {
    SealedLine {
        position,
        at: at(i64::try_from(position).unwrap()),
        author: participant(1),
        client_hash: Some(SealedLine::client_hash(&position.to_string())),
        image: None,
        late: false,
        audience: BTreeSet::from([participant(1), participant(2)]),
        sealed: sealed(key_id, text),
    }
}

async fn a_thread_is_kept_in_order_and_once(place: Place) {
    let visit = Visit::new(&place).await;
    let session = visit.session.id();
    keep(&visit.store, session, &[line(1, 1, "a"), line(2, 1, "b")]).await;
    // The answer was lost: it is sent again, for another place.
    let again = SealedLine { position: 3, ..line(2, 1, "another b") };
    assert_eq!(visit.store.keep_line(session, &again).await.unwrap(), Keeping::Before);
    let behind = SealedLine { position: 2, ..line(3, 1, "c") };
    assert_eq!(visit.store.keep_line(session, &behind).await.unwrap(), Keeping::Behind { last: 2 });
    keep(&visit.store, session, &[line(3, 1, "c")]).await;
    let expected = [line(1, 1, "a"), line(2, 1, "b"), line(3, 1, "c")];
    assert_eq!(visit.store.last_lines(session, 200).await.unwrap(), expected);
    assert_eq!(visit.store.last_lines(session, 2).await.unwrap(), expected[1..]);
    assert_eq!(visit.store.lines_after(session, 1, 1).await.unwrap(), expected[1..2]);
    assert_eq!(visit.store.lines_after(session, 3, 9).await.unwrap(), []);
    let nobody = SessionId::new(at(0), [99; 10]);
    assert_eq!(visit.store.last_lines(nobody, 2).await.unwrap(), []);
    let refused = visit.store.keep_line(nobody, &line(1, 1, "a")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { .. }), "{refused:?}");
    visit.store.close().await;
    let store = open(&place).await;
    assert_eq!(store.last_lines(session, 200).await.unwrap(), expected);
}

async fn a_thread_is_bounded(place: Place) {
    let visit = Visit::new(&place).await;
    let session = visit.session.id();
    keep(&visit.store, session, &[line(1, 1, "a")]).await;
    // As if all between had been said.
    place.execute("UPDATE thread_line SET position = 10000").await.unwrap();
    let refused = visit.store.keep_line(session, &line(10_001, 1, "c")).await.unwrap();
    assert_eq!(refused, Keeping::Full);
    assert_eq!(visit.store.keep_line(session, &line(1, 1, "a")).await.unwrap(), Keeping::Before);
}

/// An image of a thread, of the participant of that number.
fn thread_image(owner: u8) -> ThreadImage {
    let VisitImage { digest, media_type, bytes, size, key_id, uploaded_at, .. } = image(1);
    ThreadImage { digest, owner: participant(owner), media_type, bytes, size, key_id, uploaded_at }
}

async fn images_of_a_thread_are_known_by_who_sent_them_and_go_with_its_lines(place: Place) {
    let mut over = Visit::new(&place).await;
    let (store, session) = (over.store.clone(), over.session.id());
    for _ in 0..2 {
        assert!(store.add_thread_image(session, &thread_image(1), 1).await.unwrap(), "twice is one");
    }
    let another = ThreadImage { digest: image(2).digest, ..thread_image(1) };
    assert!(!store.add_thread_image(session, &another, 1).await.unwrap(), "no more fit");
    assert!(store.add_thread_image(session, &thread_image(2), 1).await.unwrap());
    let digest = thread_image(1).digest;
    let owners: BTreeSet<_> =
        store.thread_images(session, digest).await.unwrap().iter().map(|image| image.owner).collect();
    assert_eq!(owners, BTreeSet::from([participant(1), participant(2)]));
    assert!(store.audience_of_image(session, digest).await.unwrap().is_empty(), "no line shows it yet");
    keep(&store, session, &[SealedLine { image: Some(digest), ..line(1, 1, "a") }]).await;
    let audience = store.audience_of_image(session, digest).await.unwrap();
    assert_eq!(audience, BTreeSet::from([participant(1), participant(2)]));
    let held = (Holder::Session(session), digest);
    let of_a_visit = (Holder::Visit(id(1)), digest);
    assert_eq!(store.images_named(&[of_a_visit, held]).await.unwrap(), [held]);
    assert_eq!(store.thread_images_not_under(9, 9).await.unwrap(), [(tenant().id, session, digest)]);
    store.thread_image_is_under(session, digest, 9).await.unwrap();
    assert_eq!(store.thread_images_not_under(9, 9).await.unwrap(), []);

    over.lives().await;
    store.sequence(100).await.unwrap();
    let purged = store.purge(tenant().id, Kind::Threads, (at(9_999), at(9_999)), 100).await.unwrap();
    assert_eq!((purged.count, purged.images), (3, vec![held, held]));
    assert_eq!(store.images_named(&[held]).await.unwrap(), []);
}

async fn what_is_to_be_handed_on_is_so_until_it_is(place: Place) {
    let mut over = Visit::new(&place).await;
    let (store, session) = (over.store.clone(), over.session.id());
    keep(&store, session, &[line(1, 1, "a")]).await;
    assert_eq!(store.handovers_due(at(9_999), 9).await.unwrap(), []);
    over.lives().await;
    keep(&store, session, &[SealedLine { late: true, ..line(2, 1, "late") }]).await;
    let due = store.handovers_due(at(9_999), 9).await.unwrap();
    let [handover] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!((handover.session, handover.asked, handover.attempts), (session, 1, 0));
    store.handover_failed(handover, at(500)).await.unwrap();
    assert_eq!(store.handovers_due(at(499), 9).await.unwrap(), []);
    // Nothing is deleted before it is handed on.
    store.sequence(100).await.unwrap();
    let purge =
        async || store.purge(tenant().id, Kind::Threads, (at(9_999), at(9_999)), 100).await.unwrap().count;
    assert_eq!(purge().await, 0);
    store.lines_handed_on(session, &[1, 2], id(1)).await.unwrap();
    assert_eq!(store.lines_of_visits(session).await.unwrap(), [(1, id(1)), (2, id(1))]);
    keep(&store, session, &[SealedLine { late: true, ..line(3, 1, "later") }]).await;
    store.handover_done(handover).await.unwrap();
    let again = store.handovers_due(at(9_999), 9).await.unwrap();
    assert_eq!(again.len(), 1, "what was asked for meanwhile is done once more");
    store.handover_done(&again[0]).await.unwrap();
    assert_eq!(store.handovers_due(at(9_999), 9).await.unwrap(), []);
    assert_eq!(purge().await, 3);
}

/// Keeps lines, each in its place.
pub(super) async fn keep(store: &Store, session: SessionId, lines: &[SealedLine]) {
    for line in lines {
        assert_eq!(store.keep_line(session, line).await.unwrap(), Keeping::Kept);
    }
}
