//! What others are told, each of the thirteen types as reviewed JSON: identifiers, codes and times, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use vestibule_domain::{
    Actor, AsyncVisit, Command, ConfigField, Published, PublishedData, PublishedType, TenantConfig,
    VirtualSession, published, published_config, published_visit,
};

use crate::configs::Clinic;
use crate::visits::{Desk, content};
use crate::world::{World, encounter, minute, observer, patient, provider, recording, staff};

/// One of each type; the amendment of an asynchronous visit too, which has the same type as what it amends.
fn examples() -> Vec<(String, Published)> {
    let mut all = Vec::new();
    let mut world = World::active();
    world.comes(observer());
    world.must(provider(), Command::Remove { participant: observer() });
    world.at(minute(70)).must(patient(), Command::InitiateFallback { participant: patient() });
    world.at(minute(80)).must(provider(), Command::End);
    world.at(minute(81)).ask(&Actor::System, Command::IngestRecording { recording: recording(1) }).unwrap();
    world.at(minute(82)).ask(&Actor::System, Command::RecordEncounter { encounter: encounter(1) }).unwrap();
    all.extend(told(&world));

    let mut world = World::new();
    world.ask(&staff(), Command::Cancel).unwrap();
    all.extend(told(&world));
    let mut world = World::active();
    world.at(minute(70)).loses(patient());
    world.at(minute(71)).tick();
    all.extend(told(&world));

    let clinic = Clinic::with_everything_changed();
    let mut config = TenantConfig::from_created(&clinic.commits[0][0]).unwrap();
    for commit in &clinic.commits {
        config.commit(commit);
        all.extend(commit.iter().filter_map(|event| published_config(&config, event)));
    }
    let desk = Desk::amended();
    let mut visit = AsyncVisit::from_created(&desk.commits[0][0]).unwrap();
    for commit in &desk.commits {
        visit.commit(commit);
        all.extend(commit.iter().filter_map(|event| published_visit(&visit, event)));
    }

    let mut names = BTreeSet::new();
    let mut named = Vec::new();
    for published in all {
        let mut name = published.event_type.as_str().to_owned();
        if serde_json::to_value(&published.data).unwrap().get("supersedes").is_some() {
            name += "-amendment";
        }
        if names.insert(name.clone()) {
            named.push((name, published));
        }
    }
    named
}

/// What is told of `world`, each event with the state right after its command.
fn told(world: &World) -> Vec<Published> {
    let mut session = VirtualSession::from_created(&world.commits[0][0]).unwrap();
    let mut all = Vec::new();
    for commit in &world.commits {
        session.commit(commit);
        all.extend(commit.iter().filter_map(|event| published(&session, event)));
    }
    all
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: PublishedType,
    subject: String,
    data: &'a PublishedData,
}

#[test]
fn each_type_is_told_as_reviewed() {
    for (name, published) in examples() {
        let shown =
            Shown { r#type: published.event_type, subject: published.subject(), data: &published.data };
        let json = serde_json::to_string_pretty(&shown).unwrap();
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, json);
        });
    }
}

#[test]
fn there_are_thirteen_types_and_each_is_reviewed() {
    assert_eq!(PublishedType::ALL.len(), 13);
    let told: BTreeSet<_> = examples().into_iter().map(|(_, published)| published.event_type).collect();
    assert_eq!(told, PublishedType::ALL.iter().copied().collect());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/domain/snapshots");
    for event_type in PublishedType::ALL {
        assert!(folder.join(format!("{event_type}.snap")).exists(), "{event_type}");
    }
}

#[test]
fn a_type_reads_as_it_is_written() {
    for event_type in PublishedType::ALL {
        assert_eq!(event_type.as_str().parse(), Ok(*event_type));
        let json = serde_json::to_value(event_type).unwrap();
        assert_eq!(json, Value::from(event_type.as_str()));
        assert_eq!(serde_json::from_value::<PublishedType>(json).unwrap(), *event_type);
    }
    assert!("virtual_care.session.created.v2".parse::<PublishedType>().is_err());
}

#[test]
fn each_says_whose_it_is_and_which_version() {
    for (name, published) in examples() {
        let data = serde_json::to_value(&published.data).unwrap();
        assert_eq!(data["tenantId"], published.tenant().to_string(), "{name}");
        let ids =
            [("sessionVersion", "sessionId"), ("visitVersion", "visitId"), ("configVersion", "tenantId")];
        let of: Vec<_> = ids.iter().filter(|(version, _)| data.get(version).is_some()).collect();
        assert_eq!(of.len(), 1, "{name}");
        assert!(data[of[0].0].as_u64().unwrap() > 0, "{name}");
        assert_eq!(data[of[0].1], published.subject(), "{name}");
    }
}

#[test]
fn no_room_no_address_no_writing_and_nobody_of_the_staff_is_told() {
    let digest = content(1).text.to_string();
    for (name, published) in examples() {
        let json = serde_json::to_string(&published.data).unwrap();
        for secret in ["room-1", "desk-7", "https://", &digest, "secret\":"] {
            assert!(!json.contains(secret), "{name}: {secret}");
        }
    }
}

#[test]
fn a_change_of_configuration_is_told_by_the_names_of_its_fields() {
    let examples = examples();
    let is_config = |published: &Published| published.event_type == PublishedType::ConfigUpdated;
    let changed = examples.iter().find(|(_, published)| is_config(published)).unwrap();
    let data = serde_json::to_value(&changed.1.data).unwrap();
    let names: Vec<_> =
        data["changedFields"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let all: Vec<_> = ConfigField::ALL.iter().map(|field| field.as_str()).collect();
    assert_eq!(names, all);
}
