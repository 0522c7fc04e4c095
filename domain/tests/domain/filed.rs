//! What is filed about a session: its recordings and its Encounter, also when it is over; and tokens made void.

use vestibule_domain::{
    Actor, Command, EncounterId, Event, InvariantError, ParticipantRole, PublishedType, RECORDINGS_MAX,
    RecordingRef, Standing, StoredSession, VirtualSession, published,
};

use crate::world::{World, encounter, minute, observer, patient, provider, recording, staff};

fn ingest(number: u8) -> Command {
    Command::IngestRecording { recording: recording(number) }
}

fn record(number: u8) -> Command {
    Command::RecordEncounter { encounter: encounter(number) }
}

fn ended() -> World {
    let mut world = World::active();
    world.at(minute(80)).must(provider(), Command::End);
    world
}

fn cancelled() -> World {
    let mut world = World::new();
    world.ask(&staff(), Command::Cancel).unwrap();
    world
}

fn failed() -> World {
    let mut world = World::active();
    world.at(minute(70)).loses(patient());
    world.at(minute(71)).tick();
    world
}

#[test]
fn a_recording_is_filed_once_during_a_visit_or_after_it() {
    for mut world in [World::active(), ended(), failed()] {
        let events = world.ask(&Actor::System, ingest(1)).unwrap();
        assert_eq!(events, [Event::RecordingIngested { recording: recording(1), at: world.now }]);
        assert_eq!(world.ask(&Actor::System, ingest(1)), Ok(vec![]), "the same again");
        world.ask(&Actor::System, ingest(2)).unwrap();
        assert_eq!(world.session.recordings(), [recording(1), recording(2)]);
    }
}

#[test]
fn what_never_began_has_no_recording() {
    for mut world in [World::new(), cancelled()] {
        assert_eq!(world.refused_to(&Actor::System, ingest(1)), "not_active");
        let row = StoredSession { recordings: vec![recording(1)], ..world.session.to_stored() };
        assert_eq!(VirtualSession::from_stored(row), Err(InvariantError::Recordings));
    }
}

#[test]
fn recordings_have_an_end() {
    let mut world = ended();
    for number in 0..RECORDINGS_MAX {
        world.ask(&Actor::System, ingest(u8::try_from(number).unwrap())).unwrap();
    }
    assert_eq!(world.refused_to(&Actor::System, ingest(200)), "limit_reached");
    assert_eq!(world.ask(&Actor::System, ingest(0)), Ok(vec![]));
    let mut row = world.session.to_stored();
    row.recordings.push(recording(200));
    assert_eq!(VirtualSession::from_stored(row.clone()), Err(InvariantError::TooMany));
    row.recordings = vec![recording(1), recording(1)];
    assert_eq!(VirtualSession::from_stored(row), Err(InvariantError::Recordings));
}

#[test]
fn an_encounter_is_filed_once_of_a_session_that_is_over() {
    for mut world in [ended(), cancelled(), failed()] {
        let events = world.ask(&Actor::System, record(1)).unwrap();
        assert_eq!(events, [Event::EncounterRecorded { encounter: encounter(1), at: world.now }]);
        assert_eq!(world.ask(&Actor::System, record(1)), Ok(vec![]), "the same again");
        assert_eq!(world.refused_to(&Actor::System, record(2)), "encounter_exists");
        assert_eq!(world.session.encounter(), Some(&encounter(1)));
    }
    for mut world in [World::new(), World::active()] {
        assert_eq!(world.refused_to(&Actor::System, record(1)), "session_not_over");
        let row = StoredSession { encounter: Some(encounter(1)), ..world.session.to_stored() };
        assert_eq!(VirtualSession::from_stored(row), Err(InvariantError::EncounterBeforeEnd));
    }
}

#[test]
fn only_an_ended_session_is_charged_for() {
    let charged = |mut world: World| {
        let events = world.ask(&Actor::System, record(1)).unwrap();
        published(&world.session, &events[0]).map(|published| published.event_type)
    };
    assert_eq!(charged(ended()), Some(PublishedType::SessionChargeable));
    assert_eq!(charged(cancelled()), None);
    assert_eq!(charged(failed()), None);
}

#[test]
fn the_system_alone_files() {
    let mut world = ended();
    for actor in [staff(), Actor::Timer, Actor::Participant(provider()), Actor::Participant(patient())] {
        assert_eq!(world.refused_to(&actor, ingest(1)), "not_permitted");
        assert_eq!(world.refused_to(&actor, record(1)), "not_permitted");
    }
}

#[test]
fn invariant_5_what_is_filed_after_the_end_changes_nothing_of_the_visit() {
    for mut world in [ended(), failed()] {
        let before = world.session.to_stored();
        world.at(minute(500)).ask(&Actor::System, ingest(1)).unwrap();
        world.at(minute(501)).ask(&Actor::System, record(1)).unwrap();
        let filed = StoredSession {
            recordings: vec![recording(1)],
            encounter: Some(encounter(1)),
            version: before.version + 2,
            ..before
        };
        assert_eq!(
            world.session.to_stored(),
            filed,
            "its versions grow by one each, and nothing else changes"
        );
    }
}

#[test]
fn tokens_sent_to_the_wrong_address_are_void_and_nobody_goes() {
    let mut world = World::active();
    let revoke = |participant| Command::RevokeTokens { participant };
    for (who, epoch) in [(patient(), 1), (patient(), 2), (observer(), 1)] {
        let before = world.record(who).clone();
        let events = world.must(provider(), revoke(who));
        assert_eq!(events, [Event::TokensRevoked { participant: who, epoch }]);
        assert_eq!(world.record(who).epoch, epoch);
        assert_eq!(world.record(who).standing, before.standing);
        assert_eq!(published(&world.session, &events[0]), None);
    }
    assert_eq!(world.refused(patient(), revoke(patient())), "not_permitted");
    world.must(provider(), Command::Remove { participant: patient() });
    assert_eq!(world.record(patient()).epoch, 3, "a removal counts on");
    assert_eq!(world.refused(provider(), revoke(patient())), "removed");
    world.must(provider(), Command::Invite { participant: patient(), role: ParticipantRole::Patient });
    world.must(provider(), revoke(patient()));
    assert_eq!(world.record(patient()).standing, Standing::Invited);
}

#[test]
fn a_session_stored_before_anything_was_filed_still_loads() {
    let session = ended().session;
    let mut row = serde_json::to_value(session.to_stored()).unwrap();
    for field in ["fallback_since", "recordings", "encounter"] {
        row.as_object_mut().unwrap().remove(field).unwrap();
    }
    let read = serde_json::from_value(row).unwrap();
    assert_eq!(VirtualSession::from_stored(read), Ok(session));
}

#[test]
fn references_of_others_are_short_and_may_be_shown() {
    assert!(EncounterId::parse("x".repeat(129)).is_err());
    assert!(RecordingRef::parse("x".repeat(256)).is_ok());
    assert!(RecordingRef::parse("x".repeat(257)).is_err());
    assert_eq!(
        format!("{:?} {:?}", encounter(1), recording(2)),
        r#"EncounterId("enc-1") RecordingRef("recordings/2")"#
    );
}
