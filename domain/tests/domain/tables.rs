//! Two tables, whole: what each command does to a session of each status, and to a participant of each standing.
//!
//! A cell has the status or standing after it, with an exclamation mark if something happened, or the code of the refusal.

use vestibule_domain::{
    Actor, Command, ConsentType, DenyReason, ParticipantId, ParticipantRole, SessionStatus, Standing,
};

use crate::world::{World, encounter, id, minute, observer, patient, provider, recording, staff, version};

type Made = fn() -> World;

fn ended() -> World {
    let mut world = World::active();
    world.must(provider(), Command::End);
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

fn waiting() -> World {
    let mut world = World::new();
    world.at(minute(60)).consent().comes(patient()).comes(provider());
    world
}

/// Who may ask for `command`, so that the tables are about states alone.
fn entitled(command: &Command) -> Actor {
    match command {
        Command::Join { participant } => Actor::Participant(*participant),
        Command::IngestRecording { .. } | Command::RecordEncounter { .. } | Command::Tick => Actor::System,
        _ => staff(),
    }
}

fn about(who: ParticipantId, role: ParticipantRole) -> Vec<(&'static str, Command)> {
    vec![
        ("Invite", Command::Invite { participant: who, role }),
        ("Join", Command::Join { participant: who }),
        ("Admit", Command::Admit { participant: who }),
        ("Deny", Command::Deny { participant: who, reason: DenyReason::Other }),
        ("SendBack", Command::SendBack { participant: who }),
        ("Remove", Command::Remove { participant: who }),
        ("ReplaceDevice", Command::ReplaceDevice { participant: who }),
        ("RefuseDevice", Command::RefuseDevice { participant: who, reason: DenyReason::Other }),
        ("Leave", Command::Leave { participant: who }),
        ("RevokeTokens", Command::RevokeTokens { participant: who }),
        ("InitiateFallback", Command::InitiateFallback { participant: who }),
        ("EndFallback", Command::EndFallback { participant: who }),
    ]
}

fn of_the_session() -> Vec<(&'static str, Command)> {
    let consent = Command::CaptureConsent {
        consent_type: ConsentType::Telehealth,
        granted: true,
        version: version("2026-02"),
    };
    vec![
        ("Invite (new)", Command::Invite { participant: id(40), role: ParticipantRole::Observer }),
        ("CaptureConsent", consent),
        ("SetRecording off", Command::SetRecording { enabled: false }),
        ("SetRecording on", Command::SetRecording { enabled: true }),
        ("End", Command::End),
        ("Cancel", Command::Cancel),
        ("Reschedule", Command::Reschedule { start: Some(minute(600)), end: None }),
        ("IngestRecording", Command::IngestRecording { recording: recording(1) }),
        ("RecordEncounter", Command::RecordEncounter { encounter: encounter(1) }),
        ("Tick", Command::Tick),
    ]
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> String {
    let line = cells.fold(format!("{name:<17}"), |line, cell| format!("{line} {cell:<21}"));
    format!("{}\n", line.trim_end())
}

fn cell(mut world: World, command: Command, after: impl Fn(&World) -> String) -> String {
    match world.ask(&entitled(&command), command) {
        Ok(events) => format!("{}{}", after(&world), if events.is_empty() { "" } else { "!" }),
        Err(rejection) => rejection.code().to_owned(),
    }
}

#[test]
fn every_command_in_every_status() {
    let worlds: [Made; 6] = [World::new, waiting, World::active, ended, cancelled, failed];
    let names = SessionStatus::ALL.iter().map(|status| status.to_string());
    let mut table = row("", names);
    for (index, world) in worlds.iter().enumerate() {
        assert_eq!(world().session.status(), SessionStatus::ALL[index]);
    }
    for (name, command) in of_the_session().into_iter().chain(about(patient(), ParticipantRole::Patient)) {
        let after = |world: &World| world.session.status().to_string();
        table += &row(name, worlds.iter().map(|world| cell(world(), command.clone(), after)));
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("table_of_statuses", table);
    });
}

#[test]
fn every_command_on_every_standing() {
    // An observer in an active visit: nobody whose coming and going moves the session.
    let at: [(&str, Made); 6] = [
        ("invited", World::active),
        ("waiting", || observed(|_| {})),
        ("admitted", || observed(admit)),
        ("waiting, left", || observed(|world| drop(world.leaves(observer())))),
        ("admitted, left", || {
            observed(|world| {
                admit(world);
                world.leaves(observer());
            })
        }),
        ("removed", || {
            observed(|world| drop(world.must(provider(), Command::Remove { participant: observer() })))
        }),
    ];
    let mut table = row("", at.iter().map(|(name, _)| (*name).to_owned()));
    for (name, command) in about(observer(), ParticipantRole::Observer) {
        let after = |world: &World| {
            let record = world.record(observer());
            let came = matches!(record.standing, Standing::Waiting | Standing::Admitted);
            format!("{}{}", record.standing, if came && !record.inside() { ", left" } else { "" })
        };
        table += &row(name, at.iter().map(|(_, world)| cell(world(), command.clone(), after)));
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("table_of_standings", table);
    });
}

fn observed(then: impl FnOnce(&mut World)) -> World {
    let mut world = World::active();
    world.comes(observer());
    then(&mut world);
    world
}

fn admit(world: &mut World) {
    world.must(provider(), Command::Admit { participant: observer() });
}
