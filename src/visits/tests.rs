//! Visits at their seam: a store and a disk that are real, a clock that is not.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use vestibule_domain::{
    BackendRoom, Communication, ConfigContext, ConfigValues, Context, Invitation, PARTICIPANTS_USUAL,
    ParticipantId, ParticipantRole, Presence, Schedule, TenantConfig, VideoBackend, VirtualSession,
};

use super::*;
use crate::data_dir::DataDir;
use crate::ids::Ids;
use crate::store::{AuditFilter, ConfigCommit, Kind, Location, Page, Tenant, VisitFilter};
use crate::testing::TempDir;

const TEXT: &str = "a rash on my left arm since Monday";
const OTHER_TEXT: &str = "the rash is on both arms by now";
const ANSWER: &str = "a cream, twice a day";

/// A server's worth of visits in a folder of its own.
struct Clinic {
    folder: TempDir,
    data: DataDir,
    store: Store,
    visits: Visits,
    now: Timestamp,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_300_800 + seconds).unwrap()
}

fn tenant(number: u8) -> TenantId {
    TenantId::new(at(0), [number; 10])
}

fn id(number: u8) -> AsyncVisitId {
    AsyncVisitId::new(at(0), [number; 10])
}

fn staff(name: &str) -> Actor {
    Actor::Staff(StaffId::parse(name).unwrap())
}

fn about() -> About {
    About { patient: "mrn-1".parse().unwrap(), provider: "dr-a".parse().unwrap(), session: None }
}

fn written(text: &str, images: &[ContentDigest]) -> Written {
    Written { text: text.to_owned(), images: images.to_vec() }
}

/// A picture of a size of its own.
fn picture(width: u8) -> Vec<u8> {
    let chunk = |name: &[u8; 4], body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let checksum = crc32fast::hash(&[name, body].concat()).to_be_bytes();
        [&length[..], name, body, &checksum].concat()
    };
    let header = [0, 0, 0, width, 0, 0, 0, 1, 8, 6, 0, 0, 0];
    let chunks =
        [chunk(b"IHDR", &header), chunk(b"tEXt", b"where\0here"), chunk(b"IDAT", b"x"), chunk(b"IEND", b"")];
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat()
}

async fn make_tenant(store: &Store, number: u8) {
    let context = ConfigContext {
        now: at(0),
        actor: &Actor::System,
        participants_limit: PARTICIPANTS_USUAL,
        logo_hosts: &[],
    };
    let (config, events) = TenantConfig::create(tenant(number), ConfigValues::default(), &context).unwrap();
    let commit = ConfigCommit {
        before_version: 0,
        after: &config,
        events: &events,
        actor: &Actor::System,
        now: at(0),
        beside: &Beside::default(),
    };
    let tenant = Tenant { id: tenant(number), name: format!("Clinic {number}"), created_at: at(0) };
    store.create_tenant(&tenant, commit).await.unwrap();
}

impl Clinic {
    async fn new() -> Self {
        let folder = TempDir::new();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let store = Store::open(&Location::File(data.database()), Ids::system()).await.unwrap();
        make_tenant(&store, 1).await;
        make_tenant(&store, 2).await;
        let visits = Self::visits(&data, &store);
        Self { folder, data, store, visits, now: at(10) }
    }

    fn visits(data: &DataDir, store: &Store) -> Visits {
        let seal = data.master_keys().unwrap();
        Visits::new(store.clone(), Blobs::local(data, seal.clone()), seal, Feed::new())
    }

    fn asked(&self) -> Asked {
        Asked {
            tenant: tenant(1),
            actor: staff("author"),
            now: self.now,
            expected: None,
            beside: Beside::default(),
        }
    }

    fn provider(&self) -> Asked {
        Asked { actor: staff("dr-a"), ..self.asked() }
    }

    async fn draft(&self, text: &str, images: &[ContentDigest]) -> Changed {
        self.visits.save_draft(&self.asked(), id(1), &about(), &written(text, images)).await.unwrap()
    }

    async fn image(&self, width: u8) -> ContentDigest {
        self.visits.add_image(&self.asked(), id(1), picture(width)).await.unwrap().digest
    }

    async fn read(&self) -> Opened {
        self.visits.read(tenant(1), id(1)).await.unwrap()
    }

    fn files(&self) -> usize {
        let mut count = 0;
        each_file(&self.data.blobs(), &mut |_| count += 1);
        count
    }

    /// Whether some file holds these bytes as they are.
    async fn is_on_disk(&self, what: &[u8]) -> bool {
        let mut found = false;
        each_file(self.folder.path(), &mut |file| {
            let bytes = fs::read(file).unwrap();
            found |= bytes.windows(what.len()).any(|window| window == what);
        });
        found
    }
}

fn each_file(folder: &Path, look: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() { each_file(&path, look) } else { look(&path) }
    }
}

#[tokio::test]
async fn a_visit_goes_from_the_patients_device_to_an_answer() {
    let mut clinic = Clinic::new().await;
    let made = clinic.draft("a rash", &[]).await;
    assert!(made.is_new && made.visit.version() == 1);
    let image = clinic.image(7).await;
    let saved = clinic.draft(TEXT, &[image]).await;
    assert!(!saved.is_new && saved.visit.version() == 2);
    assert_eq!(clinic.read().await.text(Part::Draft), Some(TEXT));

    clinic.now = at(20);
    let submitted = clinic.visits.submit(&clinic.asked(), id(1), None).await.unwrap().visit;
    assert_eq!((submitted.status(), submitted.version()), (VisitStatus::Submitted, 3));
    let opened = clinic.read().await;
    assert_eq!((opened.text(Part::Draft), opened.text(Part::Revision(1))), (None, Some(TEXT)));

    let amended =
        clinic.visits.amend(&clinic.asked(), id(1), &written(OTHER_TEXT, &[image])).await.unwrap().visit;
    assert_eq!(amended.current().unwrap().supersedes, Some(1));
    let reading = clinic.visits.start_review(&clinic.provider(), id(1)).await.unwrap().visit;
    assert_eq!(reading.status(), VisitStatus::UnderReview);
    clinic.visits.respond(&clinic.provider(), id(1), ANSWER).await.unwrap();
    let closed = clinic.visits.close(&clinic.provider(), id(1)).await.unwrap().visit;
    assert_eq!((closed.status(), closed.version()), (VisitStatus::Closed, 7));

    let opened = clinic.read().await;
    assert_eq!(opened.text(Part::Revision(1)), Some(TEXT), "both are readable");
    assert_eq!(opened.text(Part::Revision(2)), Some(OTHER_TEXT));
    assert_eq!(opened.text(Part::Response), Some(ANSWER));
    assert_eq!(opened.loaded.visit, closed);
    let (row, bytes) = clinic.visits.image(tenant(1), id(1), image).await.unwrap();
    assert_eq!((row.size.width, row.bytes), (7, bytes.len() as u64));
    assert_eq!(ContentDigest::of(&bytes), image, "it is called by what is kept");
    assert!(!bytes.windows(4).any(|window| window == b"tEXt"), "stripped");
}

#[tokio::test]
async fn nothing_that_was_written_is_on_the_disk_as_it_is_nor_can_it_be_tried_out() {
    let clinic = Clinic::new().await;
    clinic.draft(TEXT, &[]).await;
    let image = clinic.image(7).await;
    clinic.visits.submit(&clinic.asked(), id(1), Some((&about(), &written(TEXT, &[image])))).await.unwrap();
    clinic.visits.respond(&clinic.provider(), id(1), ANSWER).await.unwrap();
    clinic.store.close().await;
    for secret in [TEXT, ANSWER] {
        assert!(!clinic.is_on_disk(secret.as_bytes()).await, "{secret}");
        let digest = ContentDigest::of(secret.as_bytes()).to_string();
        assert!(
            !clinic.is_on_disk(digest.as_bytes()).await,
            "a digest without salt lets one try out {secret}"
        );
    }
    assert!(!clinic.is_on_disk(b"IHDR").await);
}

#[tokio::test]
async fn a_device_that_was_offline_needs_one_call_and_may_make_it_again() {
    let clinic = Clinic::new().await;
    let content = written(TEXT, &[]);
    let submit = || async { clinic.visits.submit(&clinic.asked(), id(1), Some((&about(), &content))).await };
    let first = submit().await.unwrap();
    assert!(first.is_new);
    assert_eq!((first.visit.status(), first.visit.version()), (VisitStatus::Submitted, 1));
    let again = submit().await.unwrap();
    assert!(!again.is_new);
    assert_eq!(again.visit, first.visit);
    // Its drafts come late.
    let late = clinic.draft(TEXT, &[]).await;
    assert_eq!(late.visit, first.visit);
    let other = clinic.visits.save_draft(&clinic.asked(), id(1), &about(), &written(OTHER_TEXT, &[])).await;
    assert!(matches!(other, Err(VisitError::Rejected(VisitRejection::NotDraft))));
    let without = clinic.visits.submit(&clinic.asked(), id(1), None).await.unwrap();
    assert_eq!(without.visit, first.visit);
    let page = Page { after: None, limit: 10 };
    let listed = clinic.store.list_visits(tenant(1), &VisitFilter::default(), page).await.unwrap();
    assert_eq!(listed, [first.visit]);
}

#[tokio::test]
async fn of_many_at_once_one_makes_the_visit() {
    let clinic = Clinic::new().await;
    let content = written(TEXT, &[]);
    let (asked, about) = (clinic.asked(), about());
    let submits = (0..8).map(|_| clinic.visits.submit(&asked, id(1), Some((&about, &content))));
    let done = futures_util::future::join_all(submits).await;
    let new = done.iter().filter(|changed| changed.as_ref().unwrap().is_new).count();
    assert_eq!(new, 1);
    assert_eq!(clinic.read().await.text(Part::Revision(1)), Some(TEXT), "the salt is the winner's");
    assert_eq!(clinic.read().await.loaded.visit.version(), 1);
}

#[tokio::test]
async fn another_tenants_visit_is_not_there() {
    let clinic = Clinic::new().await;
    clinic.draft(TEXT, &[]).await;
    let image = clinic.image(7).await;
    let theirs = Asked { tenant: tenant(2), ..clinic.asked() };
    let not_found = |error: VisitError| assert!(matches!(error, VisitError::NotFound), "{error:?}");
    let content = written(TEXT, &[]);
    not_found(clinic.visits.save_draft(&theirs, id(1), &about(), &content).await.unwrap_err());
    not_found(clinic.visits.submit(&theirs, id(1), Some((&about(), &content))).await.unwrap_err());
    not_found(clinic.visits.submit(&theirs, id(1), None).await.unwrap_err());
    not_found(clinic.visits.amend(&theirs, id(1), &content).await.unwrap_err());
    not_found(clinic.visits.respond(&theirs, id(1), ANSWER).await.unwrap_err());
    not_found(clinic.visits.add_image(&theirs, id(1), picture(7)).await.unwrap_err());
    not_found(clinic.visits.image(tenant(2), id(1), image).await.unwrap_err());
    not_found(clinic.visits.read(tenant(2), id(1)).await.err().unwrap());
    assert_eq!(clinic.read().await.loaded.visit.version(), 1);
}

#[tokio::test]
async fn a_change_on_another_version_changes_nothing() {
    let clinic = Clinic::new().await;
    clinic.draft(TEXT, &[]).await;
    let stale = Asked { expected: Some(7), ..clinic.asked() };
    let error =
        clinic.visits.save_draft(&stale, id(1), &about(), &written(OTHER_TEXT, &[])).await.unwrap_err();
    assert!(matches!(error, VisitError::VersionMismatch { current: 1 }));
    let error = clinic.visits.save_draft(&stale, id(2), &about(), &written(TEXT, &[])).await.unwrap_err();
    assert!(matches!(error, VisitError::NotFound), "who saw a version does not make a visit");
    let seen = Asked { expected: Some(1), ..clinic.asked() };
    clinic.visits.save_draft(&seen, id(1), &about(), &written(OTHER_TEXT, &[])).await.unwrap();
    assert_eq!(clinic.read().await.text(Part::Draft), Some(OTHER_TEXT));
}

#[tokio::test]
async fn what_is_no_content_is_refused() {
    let clinic = Clinic::new().await;
    let save = |content: Written| async move {
        let clinic = Clinic::new().await;
        clinic.visits.save_draft(&clinic.asked(), id(1), &about(), &content).await
    };
    save(written(&"ä".repeat(TEXT_CHARACTERS_MAX), &[])).await.unwrap();
    let long = save(written(&"x".repeat(TEXT_CHARACTERS_MAX + 1), &[])).await;
    assert!(matches!(long, Err(VisitError::TextTooLong)));
    let unknown = ContentDigest::of(b"nothing");
    let error = save(written(TEXT, &[unknown])).await.unwrap_err();
    assert!(matches!(error, VisitError::UnknownImage(image) if image == unknown));

    clinic.draft(" ", &[]).await;
    for submit in [None, Some((&about(), &written("\n", &[])))] {
        let error = clinic.visits.submit(&clinic.asked(), id(1), submit).await.unwrap_err();
        assert!(matches!(error, VisitError::Empty));
    }
    let image = clinic.image(7).await;
    let twice =
        clinic.visits.save_draft(&clinic.asked(), id(1), &about(), &written(TEXT, &[image, image])).await;
    assert!(matches!(twice, Err(VisitError::Rejected(VisitRejection::InvalidContent(_)))));
    let elsewhere = About { patient: "mrn-2".parse().unwrap(), ..about() };
    let error =
        clinic.visits.save_draft(&clinic.asked(), id(1), &elsewhere, &written(TEXT, &[])).await.unwrap_err();
    assert!(matches!(error, VisitError::Other));
    let session = SessionId::new(at(0), [5; 10]);
    let from_nowhere = About { session: Some(session), ..about() };
    let error = clinic
        .visits
        .save_draft(&clinic.asked(), id(2), &from_nowhere, &written(TEXT, &[]))
        .await
        .unwrap_err();
    assert!(matches!(error, VisitError::UnknownSession(unknown) if unknown == session));
}

#[tokio::test]
async fn a_visit_goes_on_from_a_session_of_the_same_patient_alone() {
    let clinic = Clinic::new().await;
    let (presence, session) = (Presence::new(), SessionId::new(at(0), [5; 10]));
    let schedule = Schedule {
        id: session,
        tenant: tenant(1),
        patient_id: about().patient,
        provider_ref: about().provider,
        scheduled_start: Some(at(3_600)),
        scheduled_end: None,
        communication: Communication::Sign,
        backend: VideoBackend::Embedded,
        room: BackendRoom::parse("room").unwrap(),
        policy: ConfigValues::default().policy,
        participants: [(1, ParticipantRole::Provider), (2, ParticipantRole::Patient)]
            .map(|(number, role)| Invitation { participant: ParticipantId::new(at(0), [number; 10]), role })
            .to_vec(),
    };
    let context = Context { now: at(0), actor: &Actor::System, presence: &presence };
    let (made, events) = VirtualSession::create(schedule, &context).unwrap();
    clinic.store.create_session(&made, &events, &[], &Actor::System, &Beside::default()).await.unwrap();
    let save = async |visit, patient: &str| {
        let about = About { patient: patient.parse().unwrap(), session: Some(session), ..about() };
        clinic.visits.save_draft(&clinic.asked(), id(visit), &about, &written(TEXT, &[])).await
    };
    let error = save(1, "mrn-2").await.unwrap_err();
    assert!(matches!(error, VisitError::UnknownSession(unknown) if unknown == session));
    save(1, "mrn-1").await.unwrap();
}

#[tokio::test]
async fn that_an_image_was_sent_is_in_the_audit() {
    let clinic = Clinic::new().await;
    clinic.draft(TEXT, &[]).await;
    clinic.image(7).await;
    clinic.image(7).await;
    let page = Page { after: None, limit: 100 };
    let rows = clinic.store.audit(tenant(1), &AuditFilter::default(), page).await.unwrap();
    let added: Vec<_> = rows.iter().filter(|row| row.action == "async_visit.image_added").collect();
    let [row] = &added[..] else { panic!("{added:?}") };
    assert_eq!((&row.subject, &row.actor), (&id(1).to_string(), &staff("author")));
}

#[tokio::test]
async fn a_place_is_taken_for_a_visit_that_takes_images() {
    let clinic = Clinic::new().await;
    let caller = StaffId::parse("author").unwrap();
    let absent = clinic.visits.room_for_upload(tenant(1), &caller, id(1)).await.unwrap_err();
    assert!(matches!(absent, VisitError::NotFound));
    clinic.draft(TEXT, &[]).await;
    clinic.visits.room_for_upload(tenant(1), &caller, id(1)).await.unwrap();
    let foreign = clinic.visits.room_for_upload(tenant(2), &caller, id(1)).await.unwrap_err();
    assert!(matches!(foreign, VisitError::NotFound));
}

#[tokio::test]
async fn an_answer_after_the_texts_went_has_a_salt_of_its_own() {
    let clinic = Clinic::new().await;
    clinic.visits.submit(&clinic.asked(), id(1), Some((&about(), &written(TEXT, &[])))).await.unwrap();
    clinic.store.sequence(100).await.unwrap();
    let times = (at(9_999), at(9_999));
    let purged = clinic.store.purge(tenant(1), Kind::VisitContents, times, 9).await.unwrap();
    assert_eq!(purged.count, 1);
    let answered = clinic.visits.respond(&clinic.provider(), id(1), ANSWER).await.unwrap().visit;
    assert_ne!(answered.response().unwrap().text, ContentDigest::of(ANSWER.as_bytes()));
    let again = clinic.visits.respond(&clinic.provider(), id(1), ANSWER).await.unwrap().visit;
    assert_eq!(again, answered, "twice is once");
    assert_eq!(clinic.read().await.text(Part::Response), Some(ANSWER));
}

#[tokio::test]
async fn images_are_taken_while_the_content_may_change() {
    let clinic = Clinic::new().await;
    let early = clinic.visits.add_image(&clinic.asked(), id(1), picture(1)).await.unwrap_err();
    assert!(matches!(early, VisitError::NotFound));
    clinic.draft(TEXT, &[]).await;
    let first = clinic.visits.add_image(&clinic.asked(), id(1), picture(1)).await.unwrap();
    let again = clinic.visits.add_image(&clinic.provider(), id(1), picture(1)).await.unwrap();
    assert_eq!(again, first, "the same image is the same answer");
    let other = clinic.visits.add_image(&clinic.asked(), id(1), b"GIF89a".to_vec()).await.unwrap_err();
    assert!(matches!(other, VisitError::Image(ImageError::UnknownKind)));
    for width in 2..=10 {
        clinic.image(width).await;
    }
    let full = clinic.visits.add_image(&clinic.asked(), id(1), picture(11)).await.unwrap_err();
    assert!(matches!(full, VisitError::Rejected(VisitRejection::LimitReached { max: 10, .. })));
    clinic.visits.add_image(&clinic.asked(), id(1), picture(10)).await.unwrap();

    // What was sent and not used goes with the submission; an amendment has room again.
    let content = written(TEXT, &[first.digest]);
    clinic.visits.submit(&clinic.asked(), id(1), Some((&about(), &content))).await.unwrap();
    assert_eq!(clinic.read().await.loaded.images, std::slice::from_ref(&first));
    assert_eq!(clinic.files(), 2, "the one that was refused is left for the sweep");
    let second = clinic.image(12).await;
    let amended = written(TEXT, &[second]);
    clinic.visits.amend(&clinic.asked(), id(1), &amended).await.unwrap();
    let digests: Vec<_> = clinic.read().await.loaded.images.iter().map(|image| image.digest).collect();
    assert!(digests.len() == 2 && digests.contains(&first.digest) && digests.contains(&second));
    clinic.visits.respond(&clinic.provider(), id(1), ANSWER).await.unwrap();
    let late = clinic.visits.add_image(&clinic.asked(), id(1), picture(13)).await.unwrap_err();
    assert!(matches!(late, VisitError::Rejected(VisitRejection::AlreadyAnswered)));
}

#[tokio::test]
async fn an_image_taken_out_of_a_draft_goes() {
    let clinic = Clinic::new().await;
    clinic.draft(TEXT, &[]).await;
    let (kept, gone, unnamed) = (clinic.image(1).await, clinic.image(2).await, clinic.image(3).await);
    clinic.draft(TEXT, &[kept, gone]).await;
    clinic.draft(TEXT, &[kept]).await;
    let mut left: Vec<_> = clinic.read().await.loaded.images.iter().map(|image| image.digest).collect();
    left.sort();
    let mut expected = vec![kept, unnamed];
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(clinic.files(), 2);
    assert!(matches!(clinic.visits.image(tenant(1), id(1), gone).await, Err(VisitError::NotFound)));
    clinic.image(2).await;
    clinic.draft(TEXT, &[kept, gone]).await;
}

#[tokio::test]
async fn after_a_rotation_all_of_a_visit_is_sealed_anew_and_reads_the_same() {
    let clinic = Clinic::new().await;
    clinic.draft(TEXT, &[]).await;
    let image = clinic.image(7).await;
    let bytes = clinic.visits.image(tenant(1), id(1), image).await.unwrap().1;
    let current = clinic.data.add_master_key().unwrap();
    let seal = clinic.data.master_keys().unwrap();
    let before = clinic.store.sealed_not_under(current).await.unwrap();
    assert_eq!((before.visit_texts, before.images, before.total()), (2, 1, 3));

    let blobs = Blobs::local(&clinic.data, seal.clone());
    assert_eq!(crate::reseal::reseal_all(&clinic.store, &blobs, &seal).await.unwrap(), 3);
    assert_eq!(clinic.store.sealed_not_under(current).await.unwrap().total(), 0);
    // The older key is taken away.
    let file = clinic.data.master_keys_file();
    let newest = fs::read_to_string(&file).unwrap().lines().last().unwrap().to_owned();
    fs::write(&file, newest).unwrap();
    let visits = Clinic::visits(&clinic.data, &clinic.store);
    assert_eq!(visits.read(tenant(1), id(1)).await.unwrap().text(Part::Draft), Some(TEXT));
    assert_eq!(visits.image(tenant(1), id(1), image).await.unwrap().1, bytes);
    let saved = visits.save_draft(&clinic.asked(), id(1), &about(), &written(TEXT, &[])).await.unwrap();
    assert_eq!(saved.visit.version(), 1, "the same text is still the same");
}

#[tokio::test]
async fn what_is_too_old_goes_with_its_images() {
    let clinic = Clinic::new().await;
    clinic.draft(TEXT, &[]).await;
    let image = clinic.image(7).await;
    let content = written(TEXT, &[image]);
    clinic.visits.submit(&clinic.asked(), id(1), Some((&about(), &content))).await.unwrap();
    clinic.visits.respond(&clinic.provider(), id(1), ANSWER).await.unwrap();
    clinic.visits.save_draft(&clinic.asked(), id(2), &about(), &written(TEXT, &[])).await.unwrap();
    let blobs = Blobs::local(&clinic.data, clinic.data.master_keys().unwrap());
    let days = |days: i64| clinic.now.checked_add(SignedDuration::from_hours(24 * days)).unwrap();
    let purge = |now| crate::retention::purge_all(&clinic.store, &blobs, now);
    assert_eq!(purge(days(3_650)).await.unwrap(), 0);
    purge(days(3_651)).await.unwrap();
    assert!(clinic.store.load_visit(id(2)).await.unwrap().is_none(), "the draft");
    assert_eq!(clinic.files(), 1, "of the other not all has its place in the feed");
    clinic.store.sequence(100).await.unwrap();
    assert_eq!(purge(days(3_651)).await.unwrap(), 2, "content, and then the visit");
    assert_eq!(clinic.files(), 0);
    for gone in [id(1), id(2)] {
        assert!(clinic.store.load_visit(gone).await.unwrap().is_none());
    }
}
