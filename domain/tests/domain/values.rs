//! Values that exist are valid, and what is written for others reads as agreed.

use jiff::Timestamp;
use serde_json::json;
use vestibule_domain::{
    Actor, Connection, Event, IdError, ParticipantState, PatientId, PolicyValues, SessionId, SessionPolicy,
    TextError, published,
};

use crate::world::{World, minute, morning, patient, provider};

#[test]
fn identifiers_are_uuids_of_version_7_and_sort_by_time() {
    let (early, late) = (SessionId::new(morning(), [255; 10]), SessionId::new(minute(1), [0; 10]));
    assert!(early < late);
    assert_eq!(early.as_uuid().get_version_num(), 7);
    assert_eq!(early.to_string().parse(), Ok(early));
    assert_eq!(serde_json::to_value(early).unwrap(), json!(early.to_string()));
    let version_4 = "6f0e1a2b-3c4d-4e5f-8a9b-0c1d2e3f4a5b";
    assert_eq!(version_4.parse::<SessionId>(), Err(IdError::NotVersion7));
    assert!(serde_json::from_value::<SessionId>(json!(version_4)).is_err());
    let braced = format!("{{{early}}}");
    for text in ["", "x", &braced, &early.as_uuid().simple().to_string()] {
        assert_eq!(text.parse::<SessionId>(), Err(IdError::NotUuid), "{text}");
    }
    let _ = SessionId::new(Timestamp::MIN, [0; 10]);
}

#[test]
fn identifiers_of_others_are_short_visible_ascii() {
    assert!(PatientId::parse("x".repeat(128)).is_ok());
    assert_eq!(PatientId::parse("x".repeat(129)), Err(TextError::TooLong { bytes_max: 128 }));
    for text in ["a b", "é", "a\n", "\u{7f}"] {
        assert_eq!(PatientId::parse(text), Err(TextError::NotVisibleAscii));
    }
    assert!(serde_json::from_value::<PatientId>(json!("")).is_err());
    assert_eq!(format!("{:?}", PatientId::parse("mrn-1").unwrap()), "PatientId(…)");
}

#[test]
fn a_policy_out_of_bounds_names_the_field() {
    let values = PolicyValues { no_show_minutes: 0, ..PolicyValues::default() };
    let error = SessionPolicy::new(values.clone()).unwrap_err();
    assert_eq!(error.to_string(), "no_show_minutes is 0, and must be 1 to 240");
    assert!(serde_json::from_value::<SessionPolicy>(serde_json::to_value(values).unwrap()).is_err());
    let old_row: SessionPolicy = serde_json::from_value(json!({ "abandon_minutes": 7 })).unwrap();
    assert_eq!((old_row.abandon_minutes, old_row.no_show_minutes), (7, 15));
}

#[test]
fn the_state_people_see() {
    let mut world = World::active();
    let state = |world: &World, media| {
        ParticipantState::of(world.record(patient()), world.presence.get(patient()), media)
    };
    assert_eq!(state(&world, false), ParticipantState::Admitted);
    assert_eq!(state(&world, true), ParticipantState::Active);
    world.presence.set(patient(), Connection::Lost { since: minute(62) });
    assert_eq!(state(&world, false), ParticipantState::Lost);
    world.leaves(patient());
    assert_eq!(state(&world, false), ParticipantState::Left);
    world.comes(patient());
    assert_eq!(state(&world, true), ParticipantState::Waiting, "no media before they are let in");
    world.must(provider(), vestibule_domain::Command::Remove { participant: patient() });
    assert_eq!(state(&world, true), ParticipantState::Removed);
}

#[test]
fn stored_events_keep_their_form() {
    let text = json!({
        "type": "joined", "participant": patient(), "standing": "waiting", "new_device": false, "at": minute(60),
    });
    let event: Event = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), text);
    for event in World::active().commits.concat() {
        assert_eq!(serde_json::to_value(&event).unwrap()["type"], event.type_name());
    }
    let actor = serde_json::to_value(Actor::Participant(patient())).unwrap();
    assert_eq!(actor, json!({ "kind": "participant", "id": patient() }));
    assert_eq!(serde_json::to_value(Actor::Timer).unwrap(), json!({ "kind": "timer" }));
}

#[test]
fn published_data_is_camel_case_and_of_ids_and_codes() {
    let world = World::active();
    let all: Vec<_> = world.commits.concat();
    let data = |type_name: &str| {
        let event = all.iter().find(|event| event.type_name() == type_name).unwrap();
        serde_json::to_value(published(&world.session, event).unwrap().data).unwrap()
    };
    let common = json!({
        "sessionId": world.session.id(), "tenantId": world.session.tenant(), "sessionVersion": world.session.version(),
    });
    let with = |more: serde_json::Value| {
        let mut all = common.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        serde_json::Value::Object(all)
    };
    assert_eq!(data("admitted"), with(json!({ "participantId": patient(), "role": "patient" })));
    assert_eq!(data("started"), with(json!({ "startedAt": minute(61) })));
    let joined = json!({
        "participantId": patient(), "role": "patient", "standing": "waiting", "newDevice": false,
    });
    assert_eq!(data("joined"), with(joined));
    let created = data("created");
    assert_eq!(created["patientId"], "mrn-1");
    assert_eq!(created["videoBackend"], "embedded");
    assert_eq!(created["participants"][0], json!({ "participantId": provider(), "role": "provider" }));
    assert!(created.get("room").is_none(), "who knows the room's name might enter it on some backends");
}
