//! Asynchronous visits, threads, and what goes by its age.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Actor, AsyncVisit, AsyncVisitId, ConfigCommand, ConfigContext, ContentDigest, NewVisit,
    PARTICIPANTS_USUAL, PatientId, ProviderRef, Retention, SessionId, TenantId, VisitCommand, VisitContent,
    VisitContext, VisitEvent, VisitStatus,
};
use vestibule_signaling::QualityStep;

use super::place::Place;
use super::resume::keys;
use super::threads::{keep, line};
use super::{Visit, at, insert, open, provider, staff, tenant};
use crate::blobs::{BlobPath, Blobs, Holder};
use crate::data_dir::DataDir;
use crate::images::{MediaType, Size};
use crate::seal::{Seal, Sealed};
use crate::store::{
    AddedImage, AuditEntry, AuditFilter, Beside, ConfigCommit, IdempotencyRecord, KeptStep, Kind, Page, Part,
    SealedLine, Store, StoreError, Tenant, VisitCommit, VisitFilter, VisitImage,
};
use crate::testing::TempDir;

stories! {
    a_written_visit_is_given_back_after_each_step,
    of_two_writers_of_a_visit_the_second_hears_of_the_first,
    a_visit_that_cannot_be_written_whole_is_not_there,
    what_a_visit_is_taken_for_or_lacks_is_said,
    others_are_told_of_a_submission_without_what_it_says,
    a_revision_cannot_be_edited,
    visits_are_filtered_and_read_page_by_page,
    a_visit_takes_so_many_images_and_while_it_is_open,
    what_is_under_an_older_key_is_found_and_replaced_once,
    a_session_goes_by_its_age_with_all_that_belongs_to_it,
    what_nobody_was_told_yet_does_not_go,
    contents_go_before_visits_and_drafts_as_a_whole,
    what_was_submitted_and_left_loses_its_contents,
    a_new_image_is_in_the_audit_once,
    events_go_by_the_audits_time_when_nothing_more_can_happen,
    what_fails_for_one_keeps_none_of_the_others,
    a_visit_goes_when_both_times_are_over,
    lines_of_the_audit_and_answers_go_by_their_age,
    the_job_goes_by_each_tenants_configuration,
    the_job_seals_all_of_it_anew,
}

pub(super) fn id(number: u8) -> AsyncVisitId {
    AsyncVisitId::new(at(number.into()), [number; 10])
}

fn digest(text: &str) -> ContentDigest {
    ContentDigest::of(text.as_bytes())
}

fn content(text: &str, images: &[ContentDigest]) -> VisitContent {
    VisitContent { text: digest(text), images: images.to_vec() }
}

pub(super) fn sealed(key_id: u32, text: &str) -> Sealed {
    Sealed { key_id, bytes: text.as_bytes().to_vec() }
}

pub(super) fn image(number: u8) -> VisitImage {
    VisitImage {
        digest: digest(&format!("image {number}")),
        media_type: MediaType::Webp,
        bytes: 70_000,
        size: Size { width: 640, height: 480 },
        key_id: 1,
        uploaded_at: at(number.into()),
        uploaded_by: staff(),
    }
}

fn new_visit(number: u8, tenant: TenantId) -> NewVisit {
    NewVisit {
        id: id(number),
        tenant,
        patient_id: PatientId::parse(format!("mrn-{}", number % 2)).unwrap(),
        provider_ref: ProviderRef::parse(format!("dr-{}", number % 3)).unwrap(),
        session: Some(SessionId::new(at(0), [3; 10])),
        content: content("first", &[]),
    }
}

/// A visit in a store, and what it is in memory.
struct Written {
    store: Store,
    visit: AsyncVisit,
    now: Timestamp,
}

impl Written {
    async fn new(place: &Place) -> Self {
        let store = open(place).await;
        insert(&store, &tenant()).await.unwrap();
        Self::made(&store, 1).await
    }

    async fn made(store: &Store, number: u8) -> Self {
        let now = at(number.into());
        let (visit, events) =
            AsyncVisit::create(new_visit(number, tenant().id), &VisitContext { now, actor: &staff() })
                .unwrap();
        let parts = [(Part::Salt, sealed(1, "salt")), (Part::Draft, sealed(1, "first"))];
        let written = Self { store: store.clone(), visit, now };
        written.keep(0, &events, &parts, &[]).await.unwrap();
        written.check().await;
        written
    }

    async fn keep(
        &self,
        before_version: u64,
        events: &[VisitEvent],
        parts: &[(Part, Sealed)],
        parts_gone: &[Part],
    ) -> Result<(), StoreError> {
        let commit = VisitCommit {
            before_version,
            after: &self.visit,
            events,
            actor: &staff(),
            now: self.now,
            parts,
            parts_gone,
            images_gone: &[],
            beside: &Beside::default(),
        };
        self.store.commit_visit(commit).await
    }

    async fn does(&mut self, actor: &Actor, command: VisitCommand, parts: &[(Part, &str)], gone: &[Part]) {
        let events = self.visit.decide(&command, &VisitContext { now: self.now, actor }).unwrap();
        let before = self.visit.version();
        self.visit.commit(&events);
        let parts: Vec<_> = parts.iter().map(|(part, text)| (*part, sealed(1, text))).collect();
        self.keep(before, &events, &parts, gone).await.unwrap();
        self.check().await;
    }

    async fn submits(&mut self) {
        self.does(&staff(), VisitCommand::Submit, &[(Part::Revision(1), "first")], &[Part::Draft]).await;
    }

    async fn is_answered(&mut self) {
        let respond = VisitCommand::Respond { text: digest("answer") };
        self.does(&staff(), respond, &[(Part::Response, "answer")], &[]).await;
    }

    /// What the store gives back is what is in memory.
    async fn check(&self) {
        let loaded = self.store.load_visit(self.visit.id()).await.unwrap().unwrap();
        assert_eq!(loaded.visit, self.visit);
    }

    async fn parts(&self) -> Vec<(Part, String)> {
        let parts = self.store.load_visit(self.visit.id()).await.unwrap().unwrap().parts;
        parts.into_iter().map(|(part, sealed)| (part, String::from_utf8(sealed.bytes).unwrap())).collect()
    }
}

async fn a_written_visit_is_given_back_after_each_step(place: Place) {
    let mut written = Written::new(&place).await;
    written.store.add_visit_image(id(1), &image(5), 10, &Beside::default()).await.unwrap();
    let saved = VisitCommand::SaveDraft { content: content("second", &[image(5).digest]) };
    written.does(&staff(), saved, &[(Part::Draft, "second")], &[]).await;
    assert_eq!(written.parts().await, [(Part::Salt, "salt".into()), (Part::Draft, "second".into())]);
    written.now = at(50);
    written.does(&staff(), VisitCommand::Submit, &[(Part::Revision(1), "second")], &[Part::Draft]).await;
    for number in 2..=11 {
        let amend = VisitCommand::Amend { content: content(&format!("amended {number}"), &[]) };
        written.does(&staff(), amend, &[(Part::Revision(number), "amended")], &[]).await;
    }
    written.does(&staff(), VisitCommand::StartReview, &[], &[]).await;
    written.is_answered().await;
    written.does(&staff(), VisitCommand::Close, &[], &[]).await;
    let encounter = VisitCommand::RecordEncounter { encounter: "enc-1".parse().unwrap() };
    written.does(&Actor::System, encounter, &[], &[]).await;
    let parts: Vec<_> = written.parts().await.into_iter().map(|(part, _)| part).collect();
    assert_eq!((parts[0], parts[11], parts[12]), (Part::Salt, Part::Revision(11), Part::Response));
    assert_eq!(parts.len(), 13);
    let images = written.store.load_visit(id(1)).await.unwrap().unwrap().images;
    assert_eq!(images, [image(5)]);

    written.store.close().await;
    written.store = open(&place).await;
    written.check().await;
    let rows = place
        .texts("SELECT payload FROM event WHERE aggregate = 'async_visit' ORDER BY version, ordinal")
        .await;
    let events: Vec<VisitEvent> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    let mut replayed = AsyncVisit::from_created(&events[0]).unwrap();
    events.iter().for_each(|event| replayed.commit(std::slice::from_ref(event)));
    assert_eq!(replayed, written.visit, "the events give the visit again");
    assert!(written.store.load_visit(id(9)).await.unwrap().is_none());
}

async fn of_two_writers_of_a_visit_the_second_hears_of_the_first(place: Place) {
    let mut written = Written::new(&place).await;
    let mut second = Written { store: written.store.clone(), visit: written.visit.clone(), now: at(9) };
    written.submits().await;
    let save = VisitCommand::SaveDraft { content: content("other", &[]) };
    let events = second.visit.decide(&save, &VisitContext { now: at(9), actor: &staff() }).unwrap();
    second.visit.commit(&events);
    let refused = second.keep(1, &events, &[(Part::Draft, sealed(1, "other"))], &[]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { current_version: 2 }), "{refused:?}");
    written.check().await;
    assert!(written.parts().await.iter().all(|(part, _)| *part != Part::Draft), "nothing was written");
}

async fn a_visit_that_cannot_be_written_whole_is_not_there(place: Place) {
    let store = open(&place).await;
    insert(&store, &tenant()).await.unwrap();
    for table in ["async_visit_part", "event"] {
        place.break_inserts(table).await;
        let context = VisitContext { now: at(1), actor: &staff() };
        let (visit, events) = AsyncVisit::create(new_visit(1, tenant().id), &context).unwrap();
        let written = Written { store: store.clone(), visit, now: at(1) };
        written.keep(0, &events, &[(Part::Draft, sealed(1, "first"))], &[]).await.unwrap_err();
        assert_eq!(place.count("async_visit").await, 0, "{table}");
        place.mend_inserts(table).await;
        if matches!(place, Place::Postgres(_)) {
            place.execute("DROP FUNCTION break()").await.unwrap();
        }
    }
    Written::made(&store, 1).await;
}

async fn what_a_visit_is_taken_for_or_lacks_is_said(place: Place) {
    let written = Written::new(&place).await;
    let context = VisitContext { now: at(1), actor: &staff() };
    let (visit, events) = AsyncVisit::create(new_visit(1, tenant().id), &context).unwrap();
    let again = Written { store: written.store.clone(), visit, now: at(1) };
    let refused = again.keep(0, &events, &[], &[]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { .. }), "{refused:?}");
    let nobody = TenantId::new(at(0), [77; 10]);
    let (visit, events) = AsyncVisit::create(new_visit(2, nobody), &context).unwrap();
    let orphan = Written { store: written.store.clone(), visit, now: at(1) };
    let refused = orphan.keep(0, &events, &[], &[]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { .. }), "{refused:?}");
    let mut gone = Written { store: written.store.clone(), visit: orphan.visit.clone(), now: at(1) };
    let events = gone.visit.decide(&VisitCommand::Submit, &context).unwrap();
    gone.visit.commit(&events);
    let refused = gone.keep(1, &events, &[], &[]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { .. }), "{refused:?}");
}

async fn others_are_told_of_a_submission_without_what_it_says(place: Place) {
    let mut written = Written::new(&place).await;
    assert_eq!(place.count("outbox WHERE aggregate = 'async_visit'").await, 0);
    written.submits().await;
    written.store.sequence(100).await.unwrap();
    let feed = written.store.feed(tenant().id, 0, &[], 10).await.unwrap();
    let [event] = &feed[..] else { panic!("{feed:?}") };
    assert_eq!(event.event_type, "virtual_care.async_visit.submitted.v1");
    let event: serde_json::Value = serde_json::from_str(&event.payload).unwrap();
    assert_eq!(event["subject"], id(1).to_string());
    assert_eq!((&event["data"]["revision"], &event["data"]["visitVersion"]), (&1.into(), &2.into()));
    assert!(!event.to_string().contains(&digest("first").to_string()), "not even a digest");
}

async fn a_revision_cannot_be_edited(place: Place) {
    let mut written = Written::new(&place).await;
    written.submits().await;
    place.execute("UPDATE async_visit_revision SET number = 2").await.unwrap_err();
    written.check().await;
}

async fn visits_are_filtered_and_read_page_by_page(place: Place) {
    let store = open(&place).await;
    insert(&store, &tenant()).await.unwrap();
    for number in 1..=9 {
        let mut written = Written::made(&store, number).await;
        if number % 2 == 0 {
            written.submits().await;
        }
    }
    let found = async |filter: VisitFilter, after: Option<u8>, limit: u32| {
        let page = Page { after: after.map(id), limit };
        let found = store.list_visits(tenant().id, &filter, page).await.unwrap();
        (1..=9)
            .rev()
            .filter(|number| found.iter().any(|visit| visit.id() == id(*number)))
            .collect::<Vec<u8>>()
    };
    assert_eq!(found(VisitFilter::default(), None, 4).await, [9, 8, 7, 6]);
    assert_eq!(found(VisitFilter::default(), Some(6), 100).await, [5, 4, 3, 2, 1]);
    let submitted = VisitFilter { status: Some(VisitStatus::Submitted), ..VisitFilter::default() };
    assert_eq!(found(submitted, None, 100).await, [8, 6, 4, 2]);
    let patient = PatientId::parse("mrn-1").unwrap();
    let provider = ProviderRef::parse("dr-0").unwrap();
    let of_patient = VisitFilter { patient: Some(patient.clone()), ..VisitFilter::default() };
    assert_eq!(found(of_patient, Some(9), 2).await, [7, 5]);
    let both = VisitFilter { patient: Some(patient), provider: Some(provider), ..VisitFilter::default() };
    assert_eq!(found(both, None, 100).await, [9, 3]);
    let page = Page { after: None, limit: 10 };
    let nobody = TenantId::new(at(0), [77; 10]);
    assert_eq!(store.list_visits(nobody, &VisitFilter::default(), page).await.unwrap(), []);
}

async fn a_visit_takes_so_many_images_and_while_it_is_open(place: Place) {
    let mut written = Written::new(&place).await;
    let store = written.store.clone();
    for number in [1, 2, 3, 3, 1] {
        assert_eq!(
            store.add_visit_image(id(1), &image(number), 3, &Beside::default()).await.unwrap(),
            AddedImage::Added
        );
    }
    assert_eq!(
        store.add_visit_image(id(1), &image(4), 3, &Beside::default()).await.unwrap(),
        AddedImage::Full
    );
    assert_eq!(
        store.add_visit_image(id(9), &image(4), 3, &Beside::default()).await.unwrap(),
        AddedImage::NotOpen
    );
    let asked = [(id(1), image(1).digest), (id(1), image(4).digest), (id(2), image(1).digest)];
    let asked = asked.map(|(visit, digest)| (Holder::Visit(visit), digest));
    assert_eq!(store.images_named(&asked).await.unwrap(), [asked[0]]);
    assert_eq!(store.images_named(&[]).await.unwrap(), []);
    written.submits().await;
    assert_eq!(
        store.add_visit_image(id(1), &image(4), 4, &Beside::default()).await.unwrap(),
        AddedImage::Added
    );
    written.is_answered().await;
    assert_eq!(
        store.add_visit_image(id(1), &image(5), 9, &Beside::default()).await.unwrap(),
        AddedImage::NotOpen
    );
    let images = store.load_visit(id(1)).await.unwrap().unwrap().images;
    assert_eq!(images, [image(1), image(2), image(3), image(4)], "by age");

    let many = Arc::new(Written::made(&store, 2).await);
    let adds = (10..20).map(|number| {
        let many = Arc::clone(&many);
        async move { many.store.add_visit_image(id(2), &image(number), 4, &Beside::default()).await.unwrap() }
    });
    let added = futures_util::future::join_all(adds).await;
    assert_eq!(added.iter().filter(|added| **added == AddedImage::Added).count(), 4, "also of many at once");
}

async fn what_is_under_an_older_key_is_found_and_replaced_once(place: Place) {
    let visit = Visit::new(&place).await;
    let (store, session) = (visit.store.clone(), visit.session.id());
    keep(&store, session, &[line(1, 1, "a"), line(2, 2, "b")]).await;
    Written::made(&store, 1).await;
    store.add_visit_image(id(1), &image(1), 9, &Beside::default()).await.unwrap();
    let counts = store.sealed_not_under(2).await.unwrap();
    assert_eq!((counts.thread_lines, counts.visit_texts, counts.images, counts.total()), (1, 2, 1, 4));

    let lines = store.lines_not_under(2, 10).await.unwrap();
    assert_eq!(lines, [(session, line(1, 1, "a"))]);
    store.reseal_line(session, &line(1, 1, "stale"), &sealed(2, "lost")).await.unwrap();
    assert_eq!(
        store.lines_not_under(2, 10).await.unwrap().len(),
        1,
        "what changed meanwhile is not written over"
    );
    store.reseal_line(session, &lines[0].1, &sealed(2, "anew")).await.unwrap();
    assert_eq!(store.last_lines(session, 9).await.unwrap(), [line(1, 2, "anew"), line(2, 2, "b")]);

    for part in store.visit_parts_not_under(2, 1).await.unwrap() {
        store.reseal_visit_part(&part, &sealed(2, "anew")).await.unwrap();
        store.reseal_visit_part(&part, &sealed(3, "late")).await.unwrap();
    }
    assert_eq!(store.visit_parts_not_under(2, 9).await.unwrap().len(), 1);
    assert_eq!(store.visit_images_not_under(2, 9).await.unwrap(), [(tenant().id, id(1), image(1).digest)]);
    store.visit_image_is_under(id(1), image(1).digest, 2).await.unwrap();
    assert_eq!(store.sealed_not_under(2).await.unwrap().total(), 1);
}

/// What is there of sessions and of what belongs to them.
async fn rows_of_sessions(place: &Place) -> Vec<usize> {
    let mut counts = Vec::new();
    for table in [
        "virtual_session",
        "participant",
        "participant_profile",
        "consent",
        "thread_line",
        "quality_step",
        "resume_key",
        "outbox WHERE aggregate = 'session'",
    ] {
        counts.push(place.count(table).await);
    }
    counts
}

async fn a_session_goes_by_its_age_with_all_that_belongs_to_it(place: Place) {
    let mut over = Visit::new(&place).await;
    let store = over.store.clone();
    let another = Visit::made(store.clone(), 8).await;
    for visit in [&over, &another] {
        visit.renews(provider(), keys(1, None)).await.unwrap();
    }
    store.sequence(100).await.unwrap();
    let of_another = rows_of_sessions(&place).await;
    over.lives().await;
    keep(&store, over.session.id(), &[line(1, 1, "a")]).await;
    let measured = KeptStep::of(at(3_700), provider(), &QualityStep::default());
    store.keep_steps(over.session.id(), &[measured]).await.unwrap();
    store.sequence(100).await.unwrap();

    let purge =
        async |before| store.purge(tenant().id, Kind::Sessions, (before, at(9_999)), 100).await.unwrap();
    assert_eq!(purge(at(3_960)).await.count, 0, "it ended just then");
    let nobody = TenantId::new(at(0), [77; 10]);
    assert_eq!(store.purge(nobody, Kind::Sessions, (at(9_999), at(9_999)), 100).await.unwrap().count, 0);
    let events = place.count("event").await;
    assert_eq!(purge(at(3_961)).await.count, 1);
    assert_eq!(place.count("event").await, events, "what the audit says of it has a time of its own");
    assert_eq!(purge(at(9_999)).await.count, 0, "one that is not over stays, however old");
    assert!(store.load_session(over.session.id()).await.unwrap().is_none());
    let left = rows_of_sessions(&place).await;
    assert_eq!(left, of_another.iter().map(|count| count / 2).collect::<Vec<_>>());
}

async fn what_nobody_was_told_yet_does_not_go(place: Place) {
    let mut over = Visit::new(&place).await;
    over.lives().await;
    let mut visit = Written::made(&over.store, 1).await;
    visit.submits().await;
    visit.is_answered().await;
    let store = over.store.clone();
    for kind in [Kind::Sessions, Kind::VisitContents, Kind::Visits] {
        assert_eq!(
            store.purge(tenant().id, kind, (at(9_999), at(9_999)), 100).await.unwrap().count,
            0,
            "{kind:?}"
        );
    }
    visit.check().await;
    over.check().await;
    store.sequence(100).await.unwrap();
    for kind in [Kind::Sessions, Kind::VisitContents, Kind::Visits] {
        assert_eq!(
            store.purge(tenant().id, kind, (at(9_999), at(9_999)), 100).await.unwrap().count,
            1,
            "{kind:?}"
        );
    }
    assert_eq!(place.count("outbox").await + place.count("async_visit").await, 0);
}

async fn contents_go_before_visits_and_drafts_as_a_whole(place: Place) {
    let mut answered = Written::new(&place).await;
    let store = answered.store.clone();
    store.add_visit_image(id(1), &image(1), 9, &Beside::default()).await.unwrap();
    answered.submits().await;
    answered.now = at(100);
    answered.is_answered().await;
    let mut open = Written::made(&store, 2).await;
    open.now = at(150);
    open.submits().await;
    let draft = Written::made(&store, 3).await;
    store.add_visit_image(id(3), &image(3), 9, &Beside::default()).await.unwrap();
    store.sequence(100).await.unwrap();
    let purge = async |kind, before| store.purge(tenant().id, kind, (before, at(500)), 100).await.unwrap();

    assert_eq!(purge(Kind::VisitContents, at(100)).await.count, 0);
    let purged = purge(Kind::VisitContents, at(101)).await;
    assert_eq!((purged.count, purged.images), (1, vec![(Holder::Visit(id(1)), image(1).digest)]));
    assert_eq!(purge(Kind::VisitContents, at(101)).await.count, 0, "once");
    let loaded = store.load_visit(id(1)).await.unwrap().unwrap();
    assert_eq!(loaded.visit, answered.visit, "who, when and how it ended stays");
    assert_eq!((loaded.parts.len(), loaded.images.len()), (0, 0));
    assert_eq!(loaded.content_purged_at, Some(at(500)));

    assert_eq!(purge(Kind::Drafts, at(3)).await.count, 0);
    let purged = purge(Kind::Drafts, at(4)).await;
    assert_eq!((purged.count, purged.images), (1, vec![(Holder::Visit(id(3)), image(3).digest)]));
    assert!(store.load_visit(draft.visit.id()).await.unwrap().is_none());
    Written::made(&store, 3).await;

    let of_answered = format!("event WHERE aggregate_id = '{}'", id(1));
    let events = place.count(&of_answered).await;
    assert_eq!(purge(Kind::Visits, at(101)).await.count, 1);
    assert!(store.load_visit(id(1)).await.unwrap().is_none());
    assert_eq!(purge(Kind::Visits, at(9_999)).await.count, 0);
    open.check().await;
    assert_eq!(place.count(&of_answered).await, events, "what the audit says of it stays");
}

async fn what_was_submitted_and_left_loses_its_contents(place: Place) {
    let mut left = Written::new(&place).await;
    let store = left.store.clone();
    store.add_visit_image(id(1), &image(1), 9, &Beside::default()).await.unwrap();
    left.now = at(100);
    left.submits().await;
    left.now = at(200);
    let amend = VisitCommand::Amend { content: content("amended", &[]) };
    left.does(&staff(), amend, &[(Part::Revision(2), "amended")], &[]).await;
    left.does(&staff(), VisitCommand::StartReview, &[], &[]).await;
    store.sequence(100).await.unwrap();
    let purge = async |kind, before| store.purge(tenant().id, kind, (before, at(500)), 100).await.unwrap();
    assert_eq!(purge(Kind::VisitContents, at(200)).await.count, 0, "it was amended just then");
    let purged = purge(Kind::VisitContents, at(201)).await;
    assert_eq!((purged.count, purged.images), (1, vec![(Holder::Visit(id(1)), image(1).digest)]));
    assert_eq!(purge(Kind::VisitContents, at(201)).await.count, 0, "once");
    assert_eq!(left.parts().await, []);
    left.check().await;
    // An answer after that goes, too.
    left.now = at(300);
    left.is_answered().await;
    store.sequence(100).await.unwrap();
    assert_eq!(purge(Kind::VisitContents, at(301)).await.count, 1);
    assert_eq!(left.parts().await, []);
}

async fn a_new_image_is_in_the_audit_once(place: Place) {
    let written = Written::new(&place).await;
    let entry = AuditEntry {
        tenant: tenant().id,
        at: at(5),
        actor: staff(),
        action: "async_visit.image_added".into(),
        subject_kind: "async_visit",
        subject: id(1).to_string(),
        session: None,
    };
    let beside = Beside { audit: vec![entry], ..Beside::default() };
    for number in [1, 1, 2] {
        written.store.add_visit_image(id(1), &image(number), 1, &beside).await.unwrap();
    }
    assert_eq!(place.texts("SELECT subject FROM audit").await, [id(1).to_string()]);
}

async fn events_go_by_the_audits_time_when_nothing_more_can_happen(place: Place) {
    let mut over = Visit::new(&place).await;
    let store = over.store.clone();
    Visit::made(store.clone(), 8).await;
    let open = place.count("event").await;
    over.lives().await;
    let mut answered = Written::made(&store, 1).await;
    answered.submits().await;
    answered.is_answered().await;
    Written::made(&store, 2).await;
    Written::made(&store, 3).await;
    keeps(&store, tenant().id, Retention::default()).await;
    let purge = async |before| {
        let mut count = 0;
        loop {
            match store.purge(tenant().id, Kind::Audit, (before, at(9_999)), 3).await.unwrap().count {
                0 => return count,
                more => count += more,
            }
        }
    };
    store.sequence(100).await.unwrap();
    assert_eq!(purge(at(0)).await, 0);
    let gone = store.purge(tenant().id, Kind::Drafts, (at(3), at(9_999)), 100).await.unwrap().count;
    assert_eq!(gone, 1);
    assert!(purge(at(9_999)).await > 0);
    let left = place.texts("SELECT aggregate FROM event ORDER BY id").await;
    let of = |kind: &str| left.iter().filter(|aggregate| *aggregate == kind).count();
    let session = place.count(&format!("event WHERE aggregate_id = '{}'", over.session.id())).await;
    assert_eq!(session, 0, "it is over");
    assert!(of("session") > 0 && of("session") < open, "the other goes on");
    assert_eq!(
        (of("async_visit"), of("config")),
        (1, 1),
        "the draft that is there, and the version in force"
    );
}

async fn what_fails_for_one_keeps_none_of_the_others(place: Place) {
    let folder = TempDir::new();
    let data = DataDir::open(folder.path()).unwrap();
    let mut over = Visit::new(&place).await;
    let store = over.store.clone();
    over.lives().await;
    keep(&store, over.session.id(), &[line(1, 1, "a")]).await;
    store.sequence(100).await.unwrap();
    place.break_inserts("audit").await;
    let blobs = Blobs::local(&data, data.master_keys().unwrap());
    crate::retention::purge_all(&store, &blobs, after_days(3_650)).await.unwrap_err();
    assert_eq!(place.count("thread_line").await, 0);
    assert!(store.load_session(over.session.id()).await.unwrap().is_none(), "the kind after the first one");
}

async fn a_visit_goes_when_both_times_are_over(place: Place) {
    let folder = TempDir::new();
    let data = DataDir::open(folder.path()).unwrap();
    let mut answered = Written::new(&place).await;
    answered.submits().await;
    answered.is_answered().await;
    let store = answered.store.clone();
    let retention = Retention { session_days: 10, content_days: 30, audit_days: 60, recording_days: 1 };
    keeps(&store, tenant().id, retention).await;
    store.sequence(100).await.unwrap();
    let blobs = Blobs::local(&data, data.master_keys().unwrap());
    let purge = async |days| crate::retention::purge_all(&store, &blobs, after_days(days)).await.unwrap();
    assert_eq!(purge(29).await, 0);
    answered.check().await;
    assert_eq!(purge(30).await, 2, "content and visit");
    assert!(store.load_visit(id(1)).await.unwrap().is_none());
}

async fn lines_of_the_audit_and_answers_go_by_their_age(place: Place) {
    let store = open(&place).await;
    insert(&store, &tenant()).await.unwrap();
    for number in 0..5 {
        let entry = AuditEntry {
            tenant: tenant().id,
            at: at(number),
            actor: staff(),
            action: "token.issued".into(),
            subject_kind: "participant",
            subject: number.to_string(),
            session: None,
        };
        let record = IdempotencyRecord {
            tenant: tenant().id,
            caller: "key:1".into(),
            key: number.to_string(),
            request_hash: vec![1],
            status: 201,
            sealed_answer: vec![2],
            created_at: at(number),
        };
        let beside = Beside { audit: vec![entry], idempotency: Some(record), ..Beside::default() };
        store.note(beside).await.unwrap();
    }
    let purge =
        async |kind, limit| store.purge(tenant().id, kind, (at(3), at(500)), limit).await.unwrap().count;
    for kind in [Kind::Audit, Kind::Answers] {
        assert_eq!((purge(kind, 2).await, purge(kind, 2).await, purge(kind, 2).await), (2, 1, 0), "{kind:?}");
    }
    let left = place.texts("SELECT subject FROM audit ORDER BY subject").await;
    assert_eq!(left, ["3", "4"]);
    assert!(store.remembered(tenant().id, "key:1", "3").await.unwrap().is_some());
    assert!(store.remembered(tenant().id, "key:1", "2").await.unwrap().is_none());
}

async fn keeps(store: &Store, tenant: TenantId, retention: Retention) {
    let mut config = store.config(tenant).await.unwrap().unwrap();
    let mut values = config.values().clone();
    values.retention = retention;
    let context = ConfigContext {
        now: at(1),
        actor: &staff(),
        participants_limit: PARTICIPANTS_USUAL,
        logo_hosts: &[],
    };
    let secrets = vestibule_domain::SecretChanges::default();
    let command = ConfigCommand::Update { values: Box::new(values), secrets };
    let events = config.decide(&command, &context).unwrap();
    let before_version = config.version();
    config.commit(&events);
    let beside = Beside::default();
    let commit = ConfigCommit {
        before_version,
        after: &config,
        events: &events,
        actor: &staff(),
        now: at(1),
        beside: &beside,
    };
    store.commit_config(commit).await.unwrap();
}

fn after_days(days: i64) -> Timestamp {
    at(3_961).checked_add(SignedDuration::from_hours(24 * days)).unwrap()
}

async fn the_job_goes_by_each_tenants_configuration(place: Place) {
    let folder = TempDir::new();
    let data = DataDir::open(folder.path()).unwrap();
    let mut over = Visit::new(&place).await;
    let store = over.store.clone();
    let other = Tenant { id: TenantId::new(at(0), [8; 10]), name: "Another".into(), created_at: at(0) };
    insert(&store, &other).await.unwrap();
    keeps(
        &store,
        tenant().id,
        Retention { session_days: 30, content_days: 10, audit_days: 60, recording_days: 1 },
    )
    .await;
    over.lives().await;
    keep(&store, over.session.id(), &[line(1, 1, "a"), line(2, 1, "b")]).await;
    store.sequence(100).await.unwrap();
    let blobs = Blobs::local(&data, data.master_keys().unwrap());
    let purge = async |days| crate::retention::purge_all(&store, &blobs, after_days(days)).await.unwrap();

    assert_eq!(purge(9).await, 0);
    assert_eq!(purge(10).await, 2, "what was written");
    assert_eq!(purge(29).await, 0);
    assert_eq!(purge(30).await, 1, "the session");
    assert!(store.load_session(over.session.id()).await.unwrap().is_none());
    assert_eq!(purge(31).await, 0);

    let page = Page { after: None, limit: 100 };
    let rows = store.audit(tenant().id, &AuditFilter::default(), page).await.unwrap();
    let lines: Vec<_> = rows
        .iter()
        .filter(|row| row.action == "retention.purged")
        .map(|row| (row.subject_kind.as_str(), row.subject.as_str(), &row.actor))
        .collect();
    assert_eq!(lines, [("thread_line", "2", &Actor::Timer), ("session", "1", &Actor::Timer)]);
    assert_eq!(purge(59).await, 0);
    let events = place.count("event WHERE aggregate = 'session'").await;
    assert!(events > 0, "what the audit says of the session");
    assert_eq!(purge(60).await, events as u64 + 1, "that, and the configuration before this one");
    assert_eq!(purge(71).await, 1, "the line of the tenth day");
}

async fn the_job_seals_all_of_it_anew(place: Place) {
    let folder = TempDir::new();
    let data = DataDir::open(folder.path()).unwrap();
    let visit = Visit::new(&place).await;
    let (store, session) = (visit.store.clone(), visit.session.id());
    let old = data.master_keys().unwrap();
    let lines: Vec<_> = (1..=250)
        .map(|position| {
            let sealed = old.seal(&SealedLine::purpose(session, position), b"said");
            SealedLine { sealed, ..line(position, 1, "") }
        })
        .collect();
    keep(&store, session, &lines).await;
    let context = VisitContext { now: at(1), actor: &staff() };
    let (asynchronous, events) = AsyncVisit::create(new_visit(1, tenant().id), &context).unwrap();
    let parts = [(Part::Draft, old.seal(&Part::Draft.purpose(id(1)), b"written"))];
    let written = Written { store: store.clone(), visit: asynchronous, now: at(1) };
    written.keep(0, &events, &parts, &[]).await.unwrap();
    let path = BlobPath { tenant: tenant().id, holder: Holder::Visit(id(1)), digest: image(1).digest };
    let blobs = Blobs::local(&data, old);
    blobs.put(path, b"pixels".to_vec(), &blobs.naming().await).await.unwrap();
    store.add_visit_image(id(1), &image(1), 9, &Beside::default()).await.unwrap();

    let current = data.add_master_key().unwrap();
    let seal = data.master_keys().unwrap();
    let blobs = Blobs::local(&data, seal.clone());
    assert_eq!(store.sealed_not_under(current).await.unwrap().total(), 252);
    assert_eq!(crate::reseal::reseal_all(&store, &blobs, &seal).await.unwrap(), 252);
    assert_eq!(store.sealed_not_under(current).await.unwrap().total(), 0);
    // The older key alone is taken away.
    let file = std::fs::read_to_string(data.master_keys_file()).unwrap();
    let newest = Seal::parse(file.lines().last().unwrap()).unwrap();
    for line in store.last_lines(session, 300).await.unwrap() {
        let opened = newest.open(&SealedLine::purpose(session, line.position), &line.sealed.bytes).unwrap();
        assert_eq!(opened.as_slice(), b"said");
    }
    let blobs = Blobs::local(&data, newest);
    assert_eq!(blobs.get(path).await.unwrap().unwrap().as_slice(), b"pixels");
    assert_eq!(crate::reseal::reseal_all(&store, &blobs, &seal).await.unwrap(), 0);
}
