//! The state table: each way a visit goes, and what is said of it outside.

use jiff::SignedDuration;
use vestibule_domain::{
    Actor, Command, Connection, DenyReason, EndReason, Event, PolicyValues, Presence, Schedule,
    SessionStatus, Standing, VirtualSession, published,
};

use crate::world::{
    World, create, id, interpreter, minute, morning, observer, patient, provider, schedule, second_provider,
    staff,
};

fn said(session: &VirtualSession, events: &[Event]) -> Vec<&'static str> {
    events
        .iter()
        .filter_map(|event| published(session, event))
        .map(|published| published.event_type.as_str())
        .collect()
}

fn ends(world: &World, status: SessionStatus, reason: EndReason) {
    assert_eq!((world.session.status(), world.session.end_reason()), (status, Some(reason)));
    assert_eq!(world.session.ended_at(), Some(world.now));
    assert_eq!(world.deadline(), None);
}

fn seconds_on(world: &World, count: i64) -> jiff::Timestamp {
    world.now + SignedDuration::from_secs(count)
}

#[test]
fn a_visit_from_its_making_to_its_end() {
    let mut world = World::new();
    assert_eq!(world.session.version(), 1);
    assert_eq!(world.session.status(), SessionStatus::Scheduled);
    assert_eq!(said(&world.session, &world.commits[0]), ["virtual_care.session.created.v1"]);

    world.at(minute(55)).consent();
    let events = world.must(patient(), Command::Join { participant: patient() });
    world.resumes(patient());
    assert_eq!(said(&world.session, &events), ["virtual_care.session.participant.joined.v1"]);
    assert_eq!(world.session.status(), SessionStatus::Waiting);
    assert_eq!(world.record(patient()).standing, Standing::Waiting);

    world.at(minute(60)).comes(provider());
    assert_eq!(world.session.provider_first_joined_at(), Some(minute(60)));
    assert_eq!(world.session.status(), SessionStatus::Waiting, "the provider alone does not start it");

    let events = world.must(provider(), Command::Admit { participant: patient() });
    let expected = ["virtual_care.session.participant.admitted.v1", "virtual_care.session.started.v1"];
    assert_eq!(said(&world.session, &events), expected);
    assert_eq!(world.session.status(), SessionStatus::Active);
    assert_eq!(world.session.started_at(), Some(minute(60)));
    assert_eq!(world.deadline(), None, "nothing runs while both are there");

    world.at(minute(80));
    let events = world.must(provider(), Command::End);
    assert_eq!(said(&world.session, &events), ["virtual_care.session.ended.v1"]);
    ends(&world, SessionStatus::Ended, EndReason::ProviderEnded);
}

#[test]
fn the_visit_starts_once() {
    let mut world = World::active();
    world.at(minute(62));
    world.must(provider(), Command::SendBack { participant: patient() });
    assert_eq!(world.session.status(), SessionStatus::Active, "sent back, the session stays active");
    let events = world.must(provider(), Command::Admit { participant: patient() });
    assert_eq!(events, [Event::Admitted { participant: patient(), at: minute(62) }]);
    assert_eq!(world.session.started_at(), Some(minute(61)));
}

#[test]
fn cancelled_before_it_began_and_never_after() {
    let mut world = World::new();
    world.ask(&staff(), Command::Cancel).unwrap();
    ends(&world, SessionStatus::Cancelled, EndReason::Cancelled);

    let mut world = World::new();
    world.comes(observer());
    let events = world.ask(&staff(), Command::Cancel).unwrap();
    assert_eq!(said(&world.session, &events), ["virtual_care.session.cancelled.v1"]);
    ends(&world, SessionStatus::Cancelled, EndReason::Cancelled);

    assert_eq!(World::active().refused(provider(), Command::Cancel), "session_active");
    assert_eq!(World::new().refused_to(&staff(), Command::End), "not_active");
}

#[test]
fn a_patient_never_seen_is_a_no_show() {
    let mut world = World::new();
    assert_eq!(world.deadline(), Some(minute(75)));
    world.at(minute(60)).comes(provider());
    world.at(minute(75) - SignedDuration::from_millis(1));
    assert_eq!(world.tick(), []);
    world.at(minute(75));
    let events = world.tick();
    assert_eq!(said(&world.session, &events), ["virtual_care.session.cancelled.v1"]);
    ends(&world, SessionStatus::Cancelled, EndReason::NoShowPatient);
}

#[test]
fn a_provider_never_seen_is_a_no_show() {
    let mut world = World::new();
    world.at(minute(58)).consent().comes(patient());
    world.at(minute(75)).tick();
    ends(&world, SessionStatus::Cancelled, EndReason::NoShowProvider);
}

#[test]
fn with_neither_seen_the_patient_did_not_come() {
    let mut world = World::new();
    world.at(minute(58)).comes(interpreter());
    world.at(minute(75)).tick();
    ends(&world, SessionStatus::Cancelled, EndReason::NoShowPatient);
}

#[test]
fn an_unscheduled_visit_counts_from_its_making() {
    let mut world = World::of(Schedule { scheduled_start: None, scheduled_end: None, ..schedule() });
    assert_eq!(world.deadline(), Some(minute(15)));
    world.at(minute(15)).tick();
    ends(&world, SessionStatus::Cancelled, EndReason::NoShowPatient);
}

#[test]
fn rescheduling_moves_the_no_show() {
    let mut world = World::new();
    let command = Command::Reschedule { start: Some(minute(600)), end: None };
    world.ask(&staff(), command.clone()).unwrap();
    assert_eq!(world.ask(&staff(), command), Ok(vec![]), "so already");
    assert_eq!(world.deadline(), Some(minute(615)));
    world.at(minute(75));
    assert_eq!(world.tick(), []);
    let command = Command::Reschedule { start: None, end: None };
    assert_eq!(World::active().refused_to(&staff(), command), "session_active");
}

#[test]
fn abandoned_when_both_were_seen_and_neither_stays() {
    let mut world = World::new();
    world.at(minute(60)).consent().comes(patient()).comes(provider()).comes(observer());
    assert_eq!(world.deadline(), None, "both are there");
    world.at(minute(62)).leaves(provider());
    assert_eq!(world.deadline(), None, "the patient is there");
    world.at(minute(65)).loses(patient());
    assert_eq!(world.deadline(), Some(minute(95)), "the observer holds nothing up");
    world.at(minute(94)).resumes(patient());
    assert_eq!(world.deadline(), None);
    world.at(minute(94)).loses(patient());
    world.at(minute(124)).tick();
    ends(&world, SessionStatus::Cancelled, EndReason::Abandoned);
}

#[test]
fn a_visit_put_off_is_not_abandoned_before_its_time() {
    let mut world = World::new();
    world.at(minute(50)).consent().comes(patient()).comes(provider());
    world.ask(&staff(), Command::Reschedule { start: Some(minute(600)), end: None }).unwrap();
    world.leaves(patient());
    world.leaves(provider());
    assert_eq!(world.deadline(), Some(minute(630)));
}

#[test]
fn everybody_leaving_on_purpose_ends_it() {
    for order in [[patient(), provider()], [provider(), patient()]] {
        let mut world = World::active();
        world.comes(observer());
        assert_eq!(world.leaves(order[0]).len(), 1);
        assert_eq!(world.session.status(), SessionStatus::Active);
        let events = world.leaves(order[1]);
        assert_eq!(events.len(), 2);
        assert_eq!(said(&world.session, &events), ["virtual_care.session.ended.v1"]);
        ends(&world, SessionStatus::Ended, EndReason::EveryoneLeft);
    }
}

#[test]
fn a_provider_left_over_keeps_it_alive() {
    let mut world = World::active();
    world.comes(second_provider());
    world.leaves(patient());
    world.leaves(provider());
    assert_eq!(world.session.status(), SessionStatus::Active);
    assert_eq!(world.deadline(), None);
    world.leaves(second_provider());
    ends(&world, SessionStatus::Ended, EndReason::EveryoneLeft);
}

#[test]
fn every_provider_left_and_the_patient_stayed() {
    let mut world = World::active();
    world.at(minute(70)).leaves(provider());
    assert_eq!(world.deadline(), Some(minute(100)));
    world.at(minute(100)).tick();
    ends(&world, SessionStatus::Ended, EndReason::ProviderLeft);
}

#[test]
fn a_provider_who_comes_back_in_time_stops_the_clock() {
    let mut world = World::active();
    world.at(minute(70)).leaves(provider());
    world.at(minute(99)).comes(provider());
    assert_eq!(world.deadline(), None);
    assert_eq!(world.record(patient()).standing, Standing::Admitted);
}

#[test]
fn a_side_lost_for_the_grace_fails_it() {
    for lost in [patient(), provider()] {
        let mut world = World::active();
        world.at(minute(70)).loses(lost);
        assert_eq!(world.deadline(), Some(seconds_on(&world, 60)));
        world.at(seconds_on(&world, 59));
        assert_eq!(world.tick(), []);
        world.at(seconds_on(&world, 1));
        let events = world.tick();
        assert_eq!(said(&world.session, &events), ["virtual_care.session.failed.v1"]);
        ends(&world, SessionStatus::Failed, EndReason::ReconnectExpired);
    }
}

#[test]
fn a_side_that_comes_back_within_the_grace_goes_on() {
    let mut world = World::active();
    world.at(minute(70)).loses(patient());
    world.at(seconds_on(&world, 59)).resumes(patient());
    assert_eq!(world.deadline(), None);
}

#[test]
fn one_of_two_providers_lost_is_no_loss() {
    let mut world = World::active();
    world.comes(second_provider());
    world.at(minute(70)).loses(provider());
    assert_eq!(world.deadline(), None);
    world.at(minute(75)).leaves(second_provider());
    assert_eq!(world.deadline(), Some(seconds_on(&world, 60)), "the grace starts when the last one went");
    world.at(seconds_on(&world, 60)).tick();
    ends(&world, SessionStatus::Failed, EndReason::ReconnectExpired);
}

#[test]
fn both_sides_lost_fail_it_when_the_first_runs_out() {
    let mut world = World::active();
    world.at(minute(70)).loses(patient());
    world.at(seconds_on(&world, 30)).loses(provider());
    assert_eq!(world.deadline(), Some(minute(71)));
    world.at(minute(71)).tick();
    ends(&world, SessionStatus::Failed, EndReason::ReconnectExpired);
}

#[test]
fn lost_after_the_other_side_left_is_an_end_not_a_failure() {
    for (left, lost) in [(patient(), provider()), (provider(), patient())] {
        let mut world = World::active();
        world.at(minute(70)).leaves(left);
        world.at(minute(71)).loses(lost);
        assert_eq!(world.deadline(), Some(minute(72)));
        world.at(minute(72)).tick();
        ends(&world, SessionStatus::Ended, EndReason::EveryoneLeft);
    }
}

#[test]
fn a_backend_lost_for_the_grace_fails_it() {
    let mut world = World::active();
    world.at(minute(70));
    world.presence.set_backend_lost(Some(minute(70)));
    assert_eq!(world.deadline(), Some(minute(71)));
    world.at(minute(71)).tick();
    ends(&world, SessionStatus::Failed, EndReason::BackendLost);
}

#[test]
fn a_backend_that_is_back_fails_nothing() {
    let mut world = World::active();
    world.presence.set_backend_lost(Some(minute(70)));
    world.presence.set_backend_lost(None);
    assert_eq!(world.deadline(), None);
}

#[test]
fn who_waits_and_lost_the_line_cannot_be_let_in_before_they_are_back() {
    let mut world = World::new();
    world.at(minute(60)).consent().comes(patient()).comes(provider()).loses(patient());
    assert_eq!(world.refused(provider(), Command::Admit { participant: patient() }), "not_connected");
    world.comes(patient());
    world.must(provider(), Command::Admit { participant: patient() });
    assert_eq!(world.session.status(), SessionStatus::Active);
}

#[test]
fn denied_with_a_reason_and_free_to_knock_again() {
    let mut world = World::new();
    world.at(minute(60)).consent().comes(patient()).comes(provider());
    let deny = Command::Deny { participant: patient(), reason: DenyReason::NotNow };
    world.must(provider(), deny.clone());
    assert_eq!(world.record(patient()).standing, Standing::Invited);
    assert_eq!(world.record(patient()).denied, Some(DenyReason::NotNow));
    assert_eq!(world.ask(&staff(), deny), Ok(vec![]), "so already");
    assert_eq!(world.refused(provider(), Command::Admit { participant: patient() }), "not_waiting");

    let events = world.must(patient(), Command::Join { participant: patient() });
    let [Event::Joined { standing, new_device, .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!((standing, new_device), (Standing::Waiting, false));
    world.must(provider(), Command::Admit { participant: patient() });
    assert_eq!(world.record(patient()).denied, None);
}

#[test]
fn who_was_denied_and_knocks_again_is_not_let_in_by_a_provider_who_merely_comes() {
    let all = |policy: &mut PolicyValues| {
        policy.admit_interpreters_with_provider = true;
        policy.admit_observers_with_provider = true;
        policy.auto_admit_on_provider_join = true;
    };
    for who in [interpreter(), observer(), patient()] {
        let mut world = World::under(all);
        world.at(minute(60)).consent().comes(who);
        world.ask(&staff(), Command::Deny { participant: who, reason: DenyReason::WrongVisit }).unwrap();
        world.comes(who).comes(provider());
        assert_eq!(world.record(who).standing, Standing::Waiting, "{who:?}");
        world.must(provider(), Command::Admit { participant: who });
    }
}

#[test]
fn a_visit_whose_patient_was_removed_ends_with_its_provider() {
    let mut world = World::active();
    world.must(provider(), Command::Remove { participant: patient() });
    assert_eq!(world.session.status(), SessionStatus::Active, "another patient may be invited");
    world.leaves(provider());
    ends(&world, SessionStatus::Ended, EndReason::EveryoneLeft);
}

#[test]
fn the_provider_who_joins_lets_the_patient_in_where_the_clinic_wants_it() {
    let mut world = World::under(|policy| policy.auto_admit_on_provider_join = true);
    world.at(minute(60)).consent().comes(patient());
    let events = world.must(provider(), Command::Join { participant: provider() });
    assert_eq!(events.len(), 3, "joined, admitted, started: {events:?}");
    assert_eq!(world.session.status(), SessionStatus::Active);

    // One who knocks anew is not let in by a provider who comes anew.
    world.resumes(provider());
    world.must(provider(), Command::SendBack { participant: patient() });
    world.leaves(provider());
    world.comes(patient()).comes(provider());
    assert_eq!(world.record(patient()).standing, Standing::Waiting);
}

#[test]
fn a_patient_who_is_not_there_is_not_let_in_by_a_provider_who_joins() {
    let mut world = World::under(|policy| policy.auto_admit_on_provider_join = true);
    world.at(minute(60)).consent().comes(patient()).loses(patient());
    world.comes(provider());
    assert_eq!(world.session.status(), SessionStatus::Waiting);
}

#[test]
fn interpreters_and_observers_wait_unless_the_clinic_lets_them_in_with_the_provider() {
    let mut world = World::new();
    world.comes(provider()).comes(interpreter()).comes(observer());
    for who in [interpreter(), observer()] {
        assert_eq!(world.record(who).standing, Standing::Waiting);
        world.must(provider(), Command::Admit { participant: who });
        assert_eq!(world.session.status(), SessionStatus::Waiting, "only the patient starts it");
    }

    type Choice = fn(&mut PolicyValues);
    let choices: [(_, _, Choice); 2] = [
        (interpreter(), observer(), |policy| policy.admit_interpreters_with_provider = true),
        (observer(), interpreter(), |policy| policy.admit_observers_with_provider = true),
    ];
    for (chosen, other, choice) in choices {
        let mut world = World::under(choice);
        world.comes(chosen).comes(other);
        assert_eq!(world.record(chosen).standing, Standing::Waiting, "no provider is there");
        world.comes(provider());
        assert_eq!(world.record(chosen).standing, Standing::Admitted);
        assert_eq!(world.record(other).standing, Standing::Waiting, "each role by itself");
        world.must(provider(), Command::SendBack { participant: chosen });
        world.leaves(provider());
        world.comes(chosen).comes(provider());
        assert_eq!(world.record(chosen).standing, Standing::Waiting, "sent back means sent back");

        let mut world = World::under(choice);
        world.comes(provider()).comes(chosen).comes(other);
        assert_eq!(world.record(chosen).standing, Standing::Admitted);
        assert_eq!(world.record(other).standing, Standing::Waiting);
    }
}

#[test]
fn who_may_ask_for_what() {
    let who = [patient(), interpreter(), observer()];
    let commands = || {
        [
            Command::Admit { participant: patient() },
            Command::Deny { participant: patient(), reason: DenyReason::Other },
            Command::SendBack { participant: patient() },
            Command::Remove { participant: patient() },
            Command::Invite { participant: id(40), role: vestibule_domain::ParticipantRole::Observer },
            Command::SetRecording { enabled: true },
            Command::Reschedule { start: None, end: None },
            Command::End,
            Command::Cancel,
            Command::Tick,
            Command::Leave { participant: provider() },
            Command::Join { participant: provider() },
        ]
    };
    for who in who {
        for command in commands() {
            assert_eq!(World::active().refused(who, command.clone()), "not_permitted", "{command:?}");
        }
    }
    // A provider who is not in, or not any more, is nobody's host.
    assert_eq!(World::active().refused(second_provider(), Command::End), "not_permitted");
    let mut world = World::active();
    world.comes(second_provider());
    world.leaves(second_provider());
    assert_eq!(world.refused(second_provider(), Command::End), "not_permitted");
    assert_eq!(World::active().refused_to(&Actor::Timer, Command::End), "not_permitted");
    assert_eq!(World::active().refused_to(&staff(), Command::Tick), "not_permitted");
    assert_eq!(
        World::active().refused_to(&staff(), Command::Join { participant: patient() }),
        "not_permitted"
    );
    assert_eq!(
        World::active().refused(provider(), Command::SendBack { participant: provider() }),
        "not_permitted"
    );
}

#[test]
fn strangers_are_named_as_such() {
    let stranger = id(99);
    let mut world = World::active();
    assert_eq!(world.refused(provider(), Command::Admit { participant: stranger }), "no_such_participant");
    assert_eq!(world.refused(stranger, Command::Join { participant: stranger }), "no_such_participant");
    assert_eq!(world.refused(interpreter(), Command::Leave { participant: interpreter() }), "not_joined");
}

#[test]
fn asking_for_what_is_so_already_changes_nothing() {
    let mut world = World::active();
    world.leaves(provider());
    let so_already = [
        Command::Admit { participant: patient() },
        Command::Leave { participant: provider() },
        Command::SetRecording { enabled: false },
        Command::Invite { participant: patient(), role: vestibule_domain::ParticipantRole::Patient },
    ];
    for command in so_already {
        assert_eq!(world.ask(&staff(), command.clone()), Ok(vec![]), "{command:?}");
    }
    world.ask(&staff(), Command::Remove { participant: observer() }).unwrap();
    assert_eq!(world.ask(&staff(), Command::Remove { participant: observer() }), Ok(vec![]));
}

#[test]
fn times_that_make_no_sense_are_refused() {
    let wrong = [
        (None, Some(minute(60))),
        (Some(minute(60)), Some(minute(60))),
        (Some(minute(60)), Some(minute(60 + 24 * 60 + 1))),
        (Some(minute(-15)), None),
        (Some(minute(3 * 366 * 24 * 60)), None),
        (Some(jiff::Timestamp::MAX), None),
        (Some(jiff::Timestamp::MIN), None),
    ];
    for (scheduled_start, scheduled_end) in wrong {
        let refused = create(Schedule { scheduled_start, scheduled_end, ..schedule() }).unwrap_err();
        assert_eq!(refused.code(), "invalid_schedule", "{scheduled_start:?} {scheduled_end:?}");
        let command = Command::Reschedule { start: scheduled_start, end: scheduled_end };
        assert_eq!(World::new().refused_to(&staff(), command), "invalid_schedule");
    }
    assert!(
        create(Schedule { scheduled_start: Some(minute(-14)), scheduled_end: None, ..schedule() }).is_ok()
    );
}

#[test]
fn a_server_that_starts_again_gives_everybody_the_whole_grace() {
    let mut world = World::active();
    world.comes(observer());
    world.must(observer(), Command::Leave { participant: observer() });
    world.at(minute(80));
    world.presence = Presence::after_restart(&world.session, world.now);
    assert_eq!(world.presence.get(patient()), Connection::Lost { since: minute(80) });
    assert_eq!(world.presence.get(observer()), Connection::Absent);
    assert_eq!(world.deadline(), Some(minute(81)));
}

#[test]
fn a_server_that_starts_again_waits_as_long_as_text_does_for_a_visit_in_writing() {
    let mut world = World::active();
    world.must(patient(), Command::InitiateFallback { participant: patient() });
    world.at(minute(80));
    world.presence = Presence::after_restart(&world.session, world.now);
    assert_eq!(world.presence.get(patient()), Connection::Offline { since: minute(80) });
    assert_eq!(world.deadline(), Some(minute(110)));
}

#[test]
fn what_a_session_keeps_is_no_finer_than_a_millisecond() {
    let mut world = World::new();
    world.at(morning() + SignedDuration::from_nanos(1_234_567)).comes(observer());
    let joined_at = world.record(observer()).first_joined_at;
    assert_eq!(joined_at, Some(morning() + SignedDuration::from_millis(1)));
}
