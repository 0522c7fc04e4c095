//! Each invariant of a session, and who tries to break it. Their numbers are those of the domain's contract.

use vestibule_domain::{
    Actor, BackendRoom, Command, ConsentType, DenyReason, EndReason, Event, InvariantError, Invitation,
    PARTICIPANTS_USUAL, ParticipantRole, PatientId, PolicyValues, REMOVED_RECORDS_MAX, Rejection, Schedule,
    SessionPolicy, SessionStatus, Standing, StoredSession, VirtualSession,
};

use crate::world::{
    World, create, id, minute, observer, patient, policy, provider, schedule, staff, version,
};

fn join(world: &mut World, who: vestibule_domain::ParticipantId) -> Result<Vec<Event>, Rejection> {
    world.ask(&Actor::Participant(who), Command::Join { participant: who })
}

fn without(field: &str) -> Result<StoredSession, serde_json::Error> {
    let mut row = serde_json::to_value(World::active().session.to_stored()).unwrap();
    row.as_object_mut().unwrap().remove(field).unwrap();
    serde_json::from_value(row)
}

#[test]
fn invariant_1_there_is_no_session_without_a_room() {
    assert!(BackendRoom::parse("").is_err());
    assert!(without("room").is_err());
}

#[test]
fn invariant_2_there_is_no_session_without_a_patient_id() {
    assert!(PatientId::parse("").is_err());
    assert!(PatientId::parse(" ").is_err());
    assert!(without("patient_id").is_err());
}

#[test]
fn invariant_3_nothing_is_recorded_without_consent() {
    let on = Command::SetRecording { enabled: true };
    let mut world = World::active();
    assert_eq!(world.refused(provider(), on.clone()), "recording_not_allowed");

    let mut world = World::under(|policy| policy.recording_allowed = true).begun();
    assert_eq!(world.refused(provider(), on.clone()), "consent_missing", "telehealth is not recording");
    world.consents_to(ConsentType::Recording);
    assert_eq!(world.must(provider(), on.clone()), [Event::RecordingEnabled]);
    assert!(world.session.recording_enabled());

    let events = world.withdraws(ConsentType::Recording);
    assert!(matches!(events[..], [Event::ConsentCaptured { .. }, Event::RecordingDisabled]), "{events:?}");
    assert!(!world.session.recording_enabled());
    assert_eq!(world.session.consents().len(), 3, "a withdrawal is a record of its own");
    assert_eq!(world.refused(provider(), on), "consent_missing");

    let row = StoredSession { recording_enabled: true, ..world.session.to_stored() };
    assert_eq!(VirtualSession::from_stored(row), Err(InvariantError::RecordingWithoutConsent));
}

#[test]
fn invariant_3_a_withdrawal_is_never_turned_away() {
    let mut world = World::under(|policy| policy.recording_allowed = true).begun();
    world.consents_to(ConsentType::Recording);
    world.must(provider(), Command::SetRecording { enabled: true });
    let grant = |number: usize, consent_type| Command::CaptureConsent {
        consent_type,
        granted: true,
        version: version(&format!("{number}")),
    };
    let refused = (0..200).find_map(|number| {
        world.ask(&Actor::Participant(patient()), grant(number, ConsentType::Recording)).err()
    });
    assert_eq!(refused.map(|rejection| rejection.code()), Some("limit_reached"));
    world.withdraws(ConsentType::Recording);
    world.withdraws(ConsentType::Telehealth);
    assert!(!world.session.recording_enabled());
}

#[test]
fn invariant_4_the_version_grows_by_one_a_command() {
    // `World` asserts it of each command; here that presence is none, and that many events are one command.
    let mut world = World::new();
    world.at(minute(60)).consent();
    let before = world.session.version();
    let events = world.must(patient(), Command::Join { participant: patient() });
    assert_eq!(events.len(), 2);
    assert_eq!(world.session.version(), before + 1);
    world.resumes(patient()).loses(patient()).resumes(patient());
    assert_eq!(world.session.version(), before + 1);
}

#[test]
fn invariant_5_final_states_are_final() {
    let mut finals = [World::active(), World::new(), World::active()];
    finals[0].must(provider(), Command::End);
    finals[1].ask(&staff(), Command::Cancel).unwrap();
    finals[2].at(minute(70)).loses(patient()).at(minute(71)).tick();
    let reasons = finals.each_ref().map(|world| world.session.end_reason().unwrap());
    assert_eq!(reasons, [EndReason::ProviderEnded, EndReason::Cancelled, EndReason::ReconnectExpired]);

    let commands = [
        Command::Invite { participant: id(40), role: ParticipantRole::Observer },
        Command::CaptureConsent {
            consent_type: ConsentType::Telehealth,
            granted: false,
            version: version("1"),
        },
        Command::Join { participant: patient() },
        Command::Admit { participant: patient() },
        Command::Deny { participant: patient(), reason: vestibule_domain::DenyReason::Other },
        Command::SendBack { participant: patient() },
        Command::Remove { participant: patient() },
        Command::Leave { participant: patient() },
        Command::SetRecording { enabled: false },
        Command::End,
        Command::Cancel,
        Command::Reschedule { start: None, end: None },
        Command::Tick,
    ];
    for mut world in finals {
        world.at(minute(10_000));
        for command in &commands {
            for actor in [Actor::System, Actor::Timer, staff(), Actor::Participant(patient())] {
                let before = world.session.clone();
                match world.ask(&actor, command.clone()) {
                    Err(rejection) => assert_eq!(rejection.code(), "session_over"),
                    // Asked for again, by who lost the answer.
                    Ok(events) => {
                        assert!(events.is_empty() && matches!(command, Command::End | Command::Cancel));
                    }
                }
                assert_eq!(world.session, before);
            }
        }
    }
}

#[test]
fn invariant_6_one_patient_at_a_time() {
    let another = Command::Invite { participant: id(40), role: ParticipantRole::Patient };
    let mut world = World::active();
    assert_eq!(world.refused(provider(), another.clone()), "patient_exists");
    let changed = Command::Invite { participant: observer(), role: ParticipantRole::Patient };
    assert_eq!(world.refused(provider(), changed), "participant_exists");

    world.must(provider(), Command::Remove { participant: patient() });
    world.must(provider(), another);
    let back = Command::Invite { participant: patient(), role: ParticipantRole::Patient };
    assert_eq!(world.refused(provider(), back), "patient_exists", "nor by taking the first one back");

    let mut twice = schedule();
    twice.participants.push(Invitation { participant: id(41), role: ParticipantRole::Patient });
    assert_eq!(create(twice).unwrap_err().code(), "patient_exists");
    let mut row = world.session.to_stored();
    for record in &mut row.participants {
        record.standing = Standing::Invited;
    }
    assert_eq!(VirtualSession::from_stored(row), Err(InvariantError::TwoPatients));
}

#[test]
fn invariant_7_no_patient_is_let_in_without_a_provider() {
    let admit = Command::Admit { participant: patient() };
    let mut world = World::new();
    world.at(minute(60)).consent().comes(patient());
    assert_eq!(world.refused_to(&staff(), admit.clone()), "provider_absent", "none came");
    world.comes(provider()).loses(provider());
    assert_eq!(world.refused_to(&staff(), admit.clone()), "provider_absent", "lost");
    assert_eq!(world.refused(provider(), admit.clone()), "provider_absent", "not even to themselves");
    world.leaves(provider());
    world.resumes(provider());
    assert_eq!(world.refused_to(&staff(), admit.clone()), "provider_absent", "left, whatever presence says");
    world.comes(provider());
    world.ask(&staff(), Command::Remove { participant: provider() }).unwrap();
    assert_eq!(world.refused_to(&staff(), admit), "provider_absent", "removed, whatever presence says");
    assert_eq!(world.session.status(), SessionStatus::Waiting);
}

#[test]
fn invariant_8_who_was_removed_stays_out_until_invited_again() {
    let mut world = World::active();
    world.must(provider(), Command::Remove { participant: patient() });
    assert_eq!(world.record(patient()).epoch, 1);
    assert_eq!(join(&mut world, patient()).unwrap_err().code(), "removed");
    assert_eq!(world.refused(provider(), Command::Admit { participant: patient() }), "removed");

    world.must(provider(), Command::Invite { participant: patient(), role: ParticipantRole::Patient });
    assert_eq!(world.record(patient()).standing, Standing::Invited);
    assert_eq!(world.record(patient()).epoch, 1, "old tokens stay void: see the tests of tokens");
    let events = join(&mut world, patient()).unwrap();
    assert!(matches!(events[..], [Event::Joined { standing: Standing::Waiting, new_device: false, .. }]));
}

#[test]
fn invariant_9_no_patient_joins_without_telehealth_consent() {
    let mut world = World::under(|policy| policy.recording_allowed = true);
    world.at(minute(60));
    assert_eq!(world.session.consents_needed(patient()), [ConsentType::Telehealth]);
    assert_eq!(world.session.consents_needed(observer()), []);
    assert_eq!(join(&mut world, patient()).unwrap_err().code(), "consent_missing");
    world.consents_to(ConsentType::Recording);
    assert_eq!(
        join(&mut world, patient()).unwrap_err().code(),
        "consent_missing",
        "recording is not telehealth"
    );

    let consent = Command::CaptureConsent {
        consent_type: ConsentType::Telehealth,
        granted: true,
        version: version("1"),
    };
    world.comes(provider());
    assert_eq!(
        world.refused(provider(), consent.clone()),
        "not_permitted",
        "nobody consents for the patient"
    );
    assert_eq!(world.refused(observer(), consent.clone()), "not_permitted");
    assert_eq!(world.refused_to(&Actor::System, consent.clone()), "not_permitted");
    world.ask(&staff(), consent).unwrap();
    let record = world.session.consents().last().unwrap();
    assert_eq!(
        (&record.captured_by, record.captured_at),
        (&staff(), minute(60)),
        "an attestation names its actor"
    );

    world.comes(patient());
    world.withdraws(ConsentType::Telehealth);
    assert_eq!(join(&mut world, patient()).unwrap_err().code(), "consent_missing", "withdrawn");
    assert_eq!(world.refused(provider(), Command::Admit { participant: patient() }), "consent_missing");
}

#[test]
fn invariant_9_a_provider_who_joins_lets_nobody_in_whose_consent_is_withdrawn() {
    let mut world = World::under(|policy| policy.auto_admit_on_provider_join = true);
    world.at(minute(60)).consent().comes(patient());
    world.withdraws(ConsentType::Telehealth);
    world.comes(provider());
    assert_eq!(world.record(patient()).standing, Standing::Waiting);
}

#[test]
fn invariant_10_never_more_than_the_tenant_allows() {
    let mut world = World::under(|policy| policy.max_participants = 5);
    let invite = |number| Command::Invite { participant: id(number), role: ParticipantRole::Observer };
    assert_eq!(world.refused_to(&staff(), invite(40)), "session_full");
    world.ask(&staff(), Command::Remove { participant: observer() }).unwrap();
    world.ask(&staff(), invite(40)).unwrap();
    let back = Command::Invite { participant: observer(), role: ParticipantRole::Observer };
    assert_eq!(world.refused_to(&staff(), back), "session_full", "nor by taking back who was removed");

    let four = policy(|policy| policy.max_participants = 4);
    assert_eq!(create(Schedule { policy: four, ..schedule() }).unwrap_err().code(), "session_full");
    for (many, fits) in [(1, false), (2, true), (1_000, true), (1_001, false)] {
        let checked = SessionPolicy::new(PolicyValues { max_participants: many, ..PolicyValues::default() });
        assert_eq!(checked.is_ok(), fits, "{many}");
        assert!(checked.err().is_none_or(|error| error.field == "max_participants"));
    }
}

#[test]
fn invariant_10_removing_and_inviting_for_ever_has_an_end_too() {
    for max_participants in [6, 20, 30] {
        let mut world = World::under(|policy| policy.max_participants = max_participants);
        let refused = (10..=255).find_map(|number| {
            let invited = world
                .ask(&staff(), Command::Invite { participant: id(number), role: ParticipantRole::Observer });
            invited.and_then(|_| world.ask(&staff(), Command::Remove { participant: id(number) })).err()
        });
        assert_eq!(refused.map(|rejection| rejection.code()), Some("limit_reached"));
        let records = world.session.participants().len();
        let most = max_participants.max(PARTICIPANTS_USUAL);
        assert_eq!(
            records,
            usize::from(most) + REMOVED_RECORDS_MAX,
            "what was stored under the usual policy is readable"
        );
    }
}

#[test]
fn invariant_11_a_running_visit_keeps_the_rules_it_was_made_under() {
    let mut tenant = policy(|policy| policy.abandon_minutes = 30);
    let mut world = World::of(Schedule { policy: tenant.clone(), ..schedule() }).begun();
    let made_under = tenant.clone();
    let mut values = tenant.into_values();
    values.abandon_minutes = 1;
    values.max_participants = 2;
    tenant = SessionPolicy::new(values).unwrap();
    assert_ne!(tenant, made_under);

    world.at(minute(70)).leaves(provider());
    assert_eq!(world.deadline(), Some(minute(100)));
    let invite = Command::Invite { participant: id(40), role: ParticipantRole::Observer };
    assert!(world.ask(&staff(), invite).is_ok());
    assert_eq!(*world.session.policy(), made_under);
}

#[test]
fn invariant_7_without_a_provider_nobody_else_is_let_in_either() {
    let mut world = World::new();
    world.at(minute(60)).comes(observer());
    let admit = Command::Admit { participant: observer() };
    assert_eq!(world.refused_to(&staff(), admit.clone()), "provider_absent");
    world.comes(provider()).loses(provider());
    assert_eq!(world.refused_to(&staff(), admit.clone()), "provider_absent");
    world.resumes(provider());
    world.ask(&staff(), admit).unwrap();
}

#[test]
fn invariant_12_a_second_device_knocks_like_the_first() {
    // From the waiting room.
    let mut world = World::new();
    world.at(minute(60)).consent().comes(patient()).comes(provider());
    let events = join(&mut world, patient()).unwrap();
    assert!(matches!(events[..], [Event::Joined { standing: Standing::Waiting, new_device: true, .. }]));

    // From inside the bare link does nothing, also while the connection is lost: the device that is in stays in.
    world.must(provider(), Command::Admit { participant: patient() });
    assert_eq!(join(&mut world, patient()).unwrap_err(), Rejection::AlreadyIn);
    world.loses(patient());
    assert_eq!(join(&mut world, patient()).unwrap_err(), Rejection::AlreadyIn);
    assert_eq!(world.record(patient()).standing, Standing::Admitted);

    // Once they left they knock.
    world.resumes(patient()).leaves(patient());
    let events = join(&mut world, patient()).unwrap();
    assert!(matches!(events[..], [Event::Joined { standing: Standing::Waiting, new_device: true, .. }]));
}

#[test]
fn invariant_12_another_device_takes_over_when_somebody_says_so_who_may() {
    let mut world = World::active();
    world.comes(observer());
    world.must(provider(), Command::Admit { participant: observer() });
    for who in [patient(), observer()] {
        let replace = Command::ReplaceDevice { participant: who };
        let refuse = Command::RefuseDevice { participant: who, reason: DenyReason::Other };
        assert_eq!(world.refused(who, replace.clone()), "not_permitted", "nobody lets themselves in");
        assert_eq!(world.refused(who, refuse.clone()), "not_permitted");
        let at = world.now;
        assert_eq!(world.must(provider(), replace), [Event::DeviceReplaced { participant: who, at }]);
        assert_eq!(world.record(who).joined_at, Some(at));
        let events = world.must(provider(), refuse);
        assert_eq!(events, [Event::DeviceRefused { participant: who, reason: DenyReason::Other, at }]);
        assert_eq!(world.record(who).standing, Standing::Admitted);
    }
}

#[test]
fn invariant_12_a_providers_seat_is_theirs_and_the_staffs_to_give() {
    let mut world = World::active();
    let second = id(41);
    world.ask(&staff(), Command::Invite { participant: second, role: ParticipantRole::Provider }).unwrap();
    world.comes(second);
    assert_eq!(join(&mut world, provider()).unwrap_err(), Rejection::AlreadyIn);
    let replace = Command::ReplaceDevice { participant: provider() };
    assert_eq!(world.refused(second, replace.clone()), "not_permitted", "another provider is not asked");
    world.must(provider(), replace.clone());
    world.ask(&staff(), replace).unwrap();
}
