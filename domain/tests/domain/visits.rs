//! The asynchronous visit: written offline, submitted once however often it is sent, answered, and never edited.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use vestibule_domain::{
    Actor, AsyncVisit, AsyncVisitId, ContentDigest, NewVisit, PatientId, ProviderRef, SessionId, StaffId,
    StoredVisit, TenantId, VISIT_IMAGES_MAX, VISIT_REVISIONS_MAX, VisitCommand, VisitContent, VisitContext,
    VisitEvent, VisitInvariantError, VisitRejection, VisitStatus, published_visit,
};

use crate::world::{encounter, minute, morning, patient, staff};

/// One visit and who writes and answers it. Each command that is carried out is checked against what always holds.
pub(crate) struct Desk {
    pub(crate) visit: AsyncVisit,
    pub(crate) commits: Vec<Vec<VisitEvent>>,
    now: Timestamp,
}

fn digest(number: u8) -> ContentDigest {
    ContentDigest::of(&[number])
}

pub(crate) fn content(number: u8) -> VisitContent {
    VisitContent { text: digest(number), images: vec![digest(100), digest(number)] }
}

fn author() -> Actor {
    Actor::Participant(patient())
}

fn colleague() -> Actor {
    Actor::Staff(StaffId::parse("desk-8").unwrap())
}

fn new_visit() -> NewVisit {
    NewVisit {
        id: AsyncVisitId::new(morning(), [3; 10]),
        tenant: TenantId::new(morning(), [9; 10]),
        patient_id: PatientId::parse("mrn-1").unwrap(),
        provider_ref: ProviderRef::parse("Practitioner/12").unwrap(),
        session: Some(SessionId::new(morning(), [7; 10])),
        content: content(1),
    }
}

fn create(visit: NewVisit, actor: &Actor) -> Result<(AsyncVisit, Vec<VisitEvent>), VisitRejection> {
    AsyncVisit::create(visit, &VisitContext { now: morning(), actor })
}

impl Desk {
    fn draft() -> Self {
        let (visit, events) = create(new_visit(), &author()).unwrap();
        let desk = Self { visit, commits: vec![events], now: morning() };
        desk.check();
        desk
    }

    fn submitted() -> Self {
        Self::draft().then(10, &author(), VisitCommand::Submit)
    }

    fn under_review() -> Self {
        Self::submitted().then(20, &staff(), VisitCommand::StartReview)
    }

    fn responded() -> Self {
        Self::under_review().then(30, &staff(), VisitCommand::Respond { text: digest(50) })
    }

    fn closed() -> Self {
        Self::responded().then(40, &staff(), VisitCommand::Close)
    }

    pub(crate) fn amended() -> Self {
        Self::submitted().then(12, &author(), VisitCommand::Amend { content: content(2) })
    }

    fn then(mut self, minutes: i64, actor: &Actor, command: VisitCommand) -> Self {
        self.now = minute(minutes);
        assert_ne!(self.ask(actor, command.clone()).unwrap(), [], "{command:?} changed nothing");
        self
    }

    fn ask(&mut self, actor: &Actor, command: VisitCommand) -> Result<Vec<VisitEvent>, VisitRejection> {
        let before = self.visit.clone();
        let events = self.visit.decide(&command, &VisitContext { now: self.now, actor })?;
        self.visit.commit(&events);
        if events.is_empty() {
            assert_eq!(self.visit, before, "no event, no change");
        } else {
            assert_eq!(self.visit.version(), before.version() + 1, "one version a command");
            self.commits.push(events.clone());
        }
        let kept = &self.visit.revisions()[..before.revisions().len()];
        assert_eq!(kept, before.revisions(), "what was submitted never changes");
        assert!(before.response().is_none() || before.response() == self.visit.response());
        self.check();
        Ok(events)
    }

    fn check(&self) {
        let text = serde_json::to_string(&self.visit.to_stored()).unwrap();
        let read: StoredVisit = serde_json::from_str(&text).unwrap();
        assert_eq!(AsyncVisit::from_stored(read).as_ref(), Ok(&self.visit), "the store gives it back");

        let text = serde_json::to_string(&self.commits).unwrap();
        let commits: Vec<Vec<VisitEvent>> = serde_json::from_str(&text).unwrap();
        let mut replayed = AsyncVisit::from_created(&commits[0][0]).unwrap();
        commits.iter().for_each(|commit| replayed.commit(commit));
        assert_eq!(replayed, self.visit, "the events give it back");
    }

    fn refused(&mut self, actor: &Actor, command: VisitCommand) -> &'static str {
        self.ask(actor, command).expect_err("refused").code()
    }
}

fn all_states() -> [fn() -> Desk; 5] {
    [Desk::draft, Desk::submitted, Desk::under_review, Desk::responded, Desk::closed]
}

#[test]
fn a_visit_from_its_writing_to_its_end() {
    let desk =
        Desk::closed().then(50, &Actor::System, VisitCommand::RecordEncounter { encounter: encounter(1) });
    let row = desk.visit.to_stored();
    assert_eq!(desk.visit.status(), VisitStatus::Closed);
    assert_eq!(row.draft, None);
    assert_eq!(row.created_at, morning());
    assert_eq!(row.submitted_at, Some(minute(10)));
    assert_eq!(
        (row.review_started_at, row.reviewer.as_ref().map(StaffId::as_str)),
        (Some(minute(20)), Some("desk-7"))
    );
    assert_eq!(row.responded_at, Some(minute(30)));
    assert_eq!(row.response.unwrap().actor, staff());
    assert_eq!(row.closed_at, Some(minute(40)));
    assert_eq!(row.encounter, Some(encounter(1)));
    assert_eq!(row.version, 6);
    let names: Vec<_> = desk.commits.concat().iter().map(VisitEvent::type_name).collect();
    let expected = ["created", "submitted", "review_started", "responded", "closed", "encounter_recorded"];
    assert_eq!(names, expected);
    for event in desk.commits.concat() {
        assert_eq!(serde_json::to_value(&event).unwrap()["type"], event.type_name());
    }
}

#[test]
fn a_draft_is_written_anew_until_it_is_submitted() {
    let mut desk = Desk::draft();
    let save = |number| VisitCommand::SaveDraft { content: content(number) };
    assert_eq!(desk.ask(&author(), save(1)), Ok(vec![]), "so already");
    desk.ask(&author(), save(2)).unwrap();
    assert_eq!(desk.visit.draft(), Some(&content(2)));
    desk.ask(&author(), VisitCommand::Submit).unwrap();
    assert_eq!(desk.visit.current().unwrap().content, content(2));
    assert_eq!(desk.refused(&author(), save(3)), "not_draft");
}

#[test]
fn submitting_twice_is_one_visit() {
    for state in &all_states()[1..] {
        let mut desk = state();
        assert_eq!(desk.ask(&author(), VisitCommand::Submit), Ok(vec![]));
        let same = VisitCommand::SaveDraft { content: content(1) };
        assert_eq!(desk.ask(&author(), same), Ok(vec![]), "a device that was offline sends all of it again");
        assert_eq!(desk.visit.revisions().len(), 1);
    }
    let mut desk = Desk::amended();
    let first = VisitCommand::SaveDraft { content: content(1) };
    assert_eq!(desk.ask(&author(), first), Ok(vec![]), "also once it was amended");
    assert_eq!(desk.visit.current().unwrap().content, content(2));
}

#[test]
fn an_amendment_supersedes_the_last_and_both_are_readable() {
    for state in [Desk::submitted, Desk::under_review] {
        let mut desk = state();
        let status = desk.visit.status();
        let amend = |number| VisitCommand::Amend { content: content(number) };
        assert_eq!(desk.ask(&author(), amend(1)), Ok(vec![]), "the same content as the last");
        desk.ask(&author(), amend(2)).unwrap();
        let events = desk.ask(&colleague(), amend(1)).unwrap();
        assert!(published_visit(&desk.visit, &events[0]).is_some());
        let chain: Vec<_> = desk
            .visit
            .revisions()
            .iter()
            .map(|revision| (revision.number, revision.supersedes, revision.content.clone()))
            .collect();
        assert_eq!(chain, [(1, None, content(1)), (2, Some(1), content(2)), (3, Some(2), content(1))]);
        assert_eq!(desk.visit.revisions()[2].actor, colleague());
        assert_eq!(desk.visit.status(), status);
    }
    let amend = VisitCommand::Amend { content: content(2) };
    assert_eq!(Desk::draft().refused(&author(), amend.clone()), "not_submitted");
    assert_eq!(Desk::responded().refused(&author(), amend.clone()), "already_answered");
    assert_eq!(Desk::closed().refused(&author(), amend), "already_answered");
}

#[test]
fn amending_has_an_end() {
    let mut desk = Desk::submitted();
    for number in 2..=u8::try_from(VISIT_REVISIONS_MAX).unwrap() {
        desk.ask(&author(), VisitCommand::Amend { content: content(number) }).unwrap();
    }
    assert_eq!(desk.visit.revisions().len(), VISIT_REVISIONS_MAX);
    assert_eq!(desk.refused(&author(), VisitCommand::Amend { content: content(99) }), "limit_reached");
}

#[test]
fn an_answer_begins_the_review_nobody_began() {
    let mut desk = Desk::submitted();
    let respond = |number| VisitCommand::Respond { text: digest(number) };
    let events = desk.ask(&staff(), respond(50)).unwrap();
    assert!(
        matches!(events[..], [VisitEvent::ReviewStarted { .. }, VisitEvent::Responded { .. }]),
        "{events:?}"
    );
    assert_eq!(desk.ask(&staff(), respond(50)), Ok(vec![]), "the same answer again");
    assert_eq!(desk.refused(&staff(), respond(51)), "already_answered");
    assert_eq!(Desk::draft().refused(&staff(), respond(50)), "not_submitted");

    let desk = Desk::under_review().then(30, &colleague(), respond(50));
    assert_eq!(desk.visit.response().unwrap().actor, colleague(), "a colleague answers");
    assert_eq!(desk.visit.reviewer().map(StaffId::as_str), Some("desk-7"));
}

#[test]
fn one_of_the_staff_reviews() {
    let mut desk = Desk::under_review();
    assert_eq!(desk.ask(&staff(), VisitCommand::StartReview), Ok(vec![]), "so already");
    assert_eq!(desk.refused(&colleague(), VisitCommand::StartReview), "under_review");
    assert_eq!(Desk::draft().refused(&staff(), VisitCommand::StartReview), "not_submitted");
    assert_eq!(Desk::closed().refused(&staff(), VisitCommand::StartReview), "already_answered");
}

#[test]
fn only_what_is_answered_is_closed_and_has_an_encounter() {
    let record = |number| VisitCommand::RecordEncounter { encounter: encounter(number) };
    for state in [Desk::draft, Desk::submitted, Desk::under_review] {
        assert_eq!(state().refused(&staff(), VisitCommand::Close), "not_answered");
        assert_eq!(state().refused(&Actor::System, record(1)), "not_answered");
        let row = StoredVisit { encounter: Some(encounter(1)), ..state().visit.to_stored() };
        assert_eq!(AsyncVisit::from_stored(row), Err(VisitInvariantError::EncounterBeforeAnswer));
    }
    assert_eq!(Desk::closed().ask(&staff(), VisitCommand::Close), Ok(vec![]), "so already");
    for state in [Desk::responded, Desk::closed] {
        let mut desk = state();
        desk.ask(&Actor::System, record(1)).unwrap();
        assert_eq!(desk.ask(&Actor::System, record(1)), Ok(vec![]));
        assert_eq!(desk.refused(&Actor::System, record(2)), "encounter_exists");
    }
}

#[test]
fn authors_write_staff_answers_and_the_system_files() {
    let writes = [
        VisitCommand::SaveDraft { content: content(2) },
        VisitCommand::Submit,
        VisitCommand::Amend { content: content(2) },
    ];
    let answers =
        [VisitCommand::StartReview, VisitCommand::Respond { text: digest(50) }, VisitCommand::Close];
    let files = [VisitCommand::RecordEncounter { encounter: encounter(1) }];
    let may = |actor: &Actor, command: &VisitCommand| {
        all_states().iter().any(|state| state().ask(actor, command.clone()).is_ok())
    };
    let permitted = |actor: &Actor| {
        let all = |commands: &[VisitCommand]| commands.iter().all(|command| may(actor, command));
        let none = |commands: &[VisitCommand]| {
            commands.iter().all(|command| {
                all_states()
                    .iter()
                    .all(|state| state().ask(actor, command.clone()) == Err(VisitRejection::NotPermitted))
            })
        };
        [&writes[..], &answers[..], &files[..]].map(|commands| {
            assert_ne!(all(commands), none(commands), "{actor:?} may all of {commands:?} or nothing");
            all(commands)
        })
    };
    assert_eq!(permitted(&author()), [true, false, false]);
    assert_eq!(permitted(&staff()), [true, true, false]);
    assert_eq!(permitted(&Actor::System), [true, false, true]);
    assert_eq!(permitted(&Actor::Timer), [false, false, false]);
    assert_eq!(create(new_visit(), &Actor::Timer).unwrap_err().code(), "not_permitted");
}

#[test]
fn every_command_in_every_state() {
    let commands = [
        ("SaveDraft", author(), VisitCommand::SaveDraft { content: content(2) }),
        ("Submit", author(), VisitCommand::Submit),
        ("Amend", author(), VisitCommand::Amend { content: content(2) }),
        ("StartReview", staff(), VisitCommand::StartReview),
        ("Respond", staff(), VisitCommand::Respond { text: digest(51) }),
        ("Close", staff(), VisitCommand::Close),
        ("RecordEncounter", Actor::System, VisitCommand::RecordEncounter { encounter: encounter(1) }),
    ];
    let table: Vec<_> = commands
        .map(|(name, actor, command)| {
            let cells = all_states().map(|state| {
                let mut desk = state();
                match desk.ask(&actor, command.clone()) {
                    Ok(events) if events.is_empty() => "-",
                    Ok(_) => desk.visit.status().as_str(),
                    Err(rejection) => rejection.code(),
                }
            });
            (name, cells)
        })
        .into();
    let answered = "already_answered";
    let expected = [
        ("SaveDraft", ["draft", "not_draft", "not_draft", "not_draft", "not_draft"]),
        ("Submit", ["submitted", "-", "-", "-", "-"]),
        ("Amend", ["not_submitted", "submitted", "under_review", answered, answered]),
        ("StartReview", ["not_submitted", "under_review", "-", answered, answered]),
        ("Respond", ["not_submitted", "responded", "responded", answered, answered]),
        ("Close", ["not_answered", "not_answered", "not_answered", "closed", "-"]),
        ("RecordEncounter", ["not_answered", "not_answered", "not_answered", "responded", "closed"]),
    ];
    assert_eq!(table, expected);
}

#[test]
fn ten_images_and_none_twice() {
    let with = |images: Vec<ContentDigest>| VisitContent { text: digest(1), images };
    let many = u8::try_from(VISIT_IMAGES_MAX).unwrap();
    let fits = with((0..many).map(digest).collect());
    for wrong in [with((0..=many).map(digest).collect()), with(vec![digest(1), digest(1)])] {
        let created = create(NewVisit { content: wrong.clone(), ..new_visit() }, &author());
        assert_eq!(created.unwrap_err().code(), "invalid_content");
        let save = VisitCommand::SaveDraft { content: wrong.clone() };
        assert_eq!(Desk::draft().refused(&author(), save), "invalid_content");
        let amend = VisitCommand::Amend { content: wrong.clone() };
        assert_eq!(Desk::submitted().refused(&author(), amend), "invalid_content");
        let row = StoredVisit { draft: Some(wrong), ..Desk::draft().visit.to_stored() };
        assert_eq!(AsyncVisit::from_stored(row), Err(VisitInvariantError::Content));
    }
    assert!(create(NewVisit { content: fits, ..new_visit() }, &author()).is_ok());
}

#[test]
fn a_damaged_row_is_no_visit() {
    let breaks = |state: fn() -> Desk, change: fn(&mut StoredVisit)| {
        let mut row = state().visit.to_stored();
        change(&mut row);
        AsyncVisit::from_stored(row).unwrap_err()
    };
    use VisitInvariantError as Broken;
    assert_eq!(breaks(Desk::draft, |row| row.version = 0), Broken::NoVersion);
    assert_eq!(breaks(Desk::draft, |row| row.draft = None), Broken::Draft);
    assert_eq!(breaks(Desk::submitted, |row| row.draft = Some(content(1))), Broken::Draft);
    assert_eq!(breaks(Desk::submitted, |row| row.revisions.clear()), Broken::Draft);
    assert_eq!(breaks(Desk::submitted, |row| row.submitted_at = None), Broken::Draft);
    assert_eq!(breaks(Desk::amended, |row| row.revisions[1].number = 3), Broken::Revisions);
    assert_eq!(breaks(Desk::amended, |row| row.revisions[1].supersedes = None), Broken::Revisions);
    assert_eq!(breaks(Desk::amended, |row| row.revisions[1].content = content(1)), Broken::Revisions);
    assert_eq!(breaks(Desk::under_review, |row| row.reviewer = None), Broken::Review);
    assert_eq!(breaks(Desk::submitted, |row| row.review_started_at = Some(minute(1))), Broken::Review);
    assert_eq!(breaks(Desk::responded, |row| row.response = None), Broken::Response);
    assert_eq!(breaks(Desk::responded, |row| row.responded_at = None), Broken::Response);
    let by_nobody = |row: &mut StoredVisit| row.response.as_mut().unwrap().actor = Actor::System;
    assert_eq!(breaks(Desk::responded, by_nobody), Broken::Response);
    assert_eq!(breaks(Desk::closed, |row| row.closed_at = None), Broken::Closed);
}

#[test]
fn a_digest_is_of_its_content_and_reads_as_it_is_written() {
    let of = ContentDigest::of(b"abc");
    let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(of.to_string(), text, "the example of FIPS 180-4");
    assert_eq!(text.parse(), Ok(of));
    assert_eq!(ContentDigest::from_bytes(*of.as_bytes()), of);
    assert_eq!(serde_json::to_value(of).unwrap(), json!(text));
    assert_eq!(serde_json::from_value::<ContentDigest>(json!(text)).unwrap(), of);
    assert_eq!(format!("{of:?}"), "ContentDigest(ba7816bf…)");
    let short = &text[1..];
    for wrong in ["", short, &text.to_uppercase(), &text.replace('b', "g"), &format!("é{}", &text[2..])] {
        assert!(wrong.parse::<ContentDigest>().is_err(), "{wrong}");
    }
}

#[test]
fn what_a_visit_keeps_is_no_finer_than_a_millisecond() {
    let mut desk = Desk::draft();
    desk.now = minute(1) + SignedDuration::from_nanos(1_234_567);
    desk.ask(&author(), VisitCommand::Submit).unwrap();
    assert_eq!(desk.visit.submitted_at(), Some(minute(1) + SignedDuration::from_millis(1)));
}

fn anything() -> impl Strategy<Value = VisitCommand> {
    // Few contents, so that the same one comes again; one of them is none, having an image twice.
    let any_content = || {
        (1_u8..5).prop_map(|number| match number {
            4 => VisitContent { text: digest(4), images: vec![digest(1), digest(1)] },
            number => content(number),
        })
    };
    prop_oneof![
        4 => any_content().prop_map(|content| VisitCommand::SaveDraft { content }),
        4 => Just(VisitCommand::Submit),
        4 => any_content().prop_map(|content| VisitCommand::Amend { content }),
        2 => Just(VisitCommand::StartReview),
        1 => (50_u8..52).prop_map(|number| VisitCommand::Respond { text: digest(number) }),
        2 => Just(VisitCommand::Close),
        2 => (1_u8..3).prop_map(|number| VisitCommand::RecordEncounter { encounter: encounter(number) }),
    ]
}

fn anybody() -> impl Strategy<Value = Actor> {
    prop_oneof![
        4 => Just(author()),
        4 => Just(staff()),
        1 => Just(colleague()),
        3 => Just(Actor::System),
        1 => Just(Actor::Timer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_visit_what_always_holds_does(
        steps in proptest::collection::vec((anybody(), anything(), 0_i64..9), 0..60),
    ) {
        let mut desk = Desk::draft();
        for (actor, command, minutes) in steps {
            desk.now += SignedDuration::from_mins(minutes);
            let before = desk.visit.status();
            // `Desk::ask` checks versions, the stored form, the fold, and that what was submitted stays.
            let _ = desk.ask(&actor, command);
            prop_assert!(desk.visit.status() >= before, "never back");
        }
    }
}
