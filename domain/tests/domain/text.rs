//! A visit that goes on as text: who says so, and how long those without contact hold it.

use jiff::SignedDuration;
use vestibule_domain::{Actor, Command, EndReason, Event, InvariantError, StoredSession, VirtualSession};

use crate::world::{World, id, minute, observer, patient, policy, provider, second_provider, staff};

fn initiate(participant: vestibule_domain::ParticipantId) -> Command {
    Command::InitiateFallback { participant }
}

fn end(participant: vestibule_domain::ParticipantId) -> Command {
    Command::EndFallback { participant }
}

#[test]
fn the_first_on_text_is_an_event_and_the_second_none() {
    let mut world = World::active();
    world.at(minute(70));
    let events = world.must(patient(), initiate(patient()));
    assert_eq!(events, [Event::FallbackInitiated { participant: patient(), at: minute(70) }]);
    assert_eq!(world.session.fallback_since(), Some(minute(70)));

    world.at(minute(71));
    assert_eq!(world.ask(&Actor::System, initiate(provider())), Ok(vec![]));
    assert_eq!(world.ask(&Actor::System, initiate(patient())), Ok(vec![]));
    assert_eq!(world.session.fallback_since(), Some(minute(70)), "since the first");

    world.at(minute(72));
    let events = world.must(patient(), end(patient()));
    assert_eq!(events, [Event::FallbackEnded { participant: patient(), at: minute(72) }]);
    assert_eq!(world.session.fallback_since(), None);
    assert_eq!(world.ask(&staff(), end(patient())), Ok(vec![]), "so already");
}

#[test]
fn they_themselves_hosts_and_the_system_say_so() {
    for actor in [Actor::Participant(patient()), Actor::Participant(provider()), staff(), Actor::System] {
        let mut world = World::active();
        assert_eq!(world.ask(&actor, initiate(patient())).unwrap().len(), 1, "{actor:?}");
        assert_eq!(world.ask(&actor, end(patient())).unwrap().len(), 1, "{actor:?}");
    }
    for actor in [Actor::Participant(observer()), Actor::Timer] {
        let mut world = World::active();
        assert_eq!(world.refused_to(&actor, initiate(patient())), "not_permitted");
        assert_eq!(world.refused_to(&actor, end(patient())), "not_permitted");
    }
}

#[test]
fn only_who_is_in_an_active_visit_goes_on_as_text() {
    assert_eq!(World::new().refused_to(&staff(), initiate(patient())), "not_active");
    let mut world = World::active();
    for command in [initiate, end] {
        assert_eq!(world.refused_to(&staff(), command(id(40))), "no_such_participant");
        assert_eq!(world.refused_to(&staff(), command(observer())), "not_admitted", "never came");
    }
    world.comes(observer());
    assert_eq!(world.refused(observer(), initiate(observer())), "not_admitted", "waits");
    world.must(provider(), Command::Admit { participant: observer() });
    world.leaves(observer());
    assert_eq!(world.refused(observer(), initiate(observer())), "not_admitted", "left");
    world.must(provider(), Command::Remove { participant: observer() });
    assert_eq!(world.refused(observer(), initiate(observer())), "removed");
    world.must(provider(), Command::End);
    assert_eq!(world.refused(patient(), initiate(patient())), "session_over");
}

#[test]
fn a_visit_that_ended_as_text_still_says_so() {
    let mut world = World::active();
    world.at(minute(70)).must(patient(), initiate(patient()));
    world.must(provider(), Command::End);
    assert_eq!(world.session.fallback_since(), Some(minute(70)));
    let row = StoredSession { fallback_since: Some(minute(1)), ..World::new().session.to_stored() };
    assert_eq!(VirtualSession::from_stored(row), Err(InvariantError::FallbackBeforeStart));
}

#[test]
fn who_composes_offline_holds_the_visit_for_the_text_grace() {
    for gone in [patient(), provider()] {
        let mut world = World::active();
        world.at(minute(70)).goes_offline(gone);
        assert_eq!(world.deadline(), Some(minute(100)));
        world.at(minute(100) - SignedDuration::from_millis(1));
        assert_eq!(world.tick(), []);
        world.at(minute(100)).tick();
        assert_eq!(world.session.end_reason(), Some(EndReason::ReconnectExpired), "as of one who is lost");
    }
    let mut world = World::under(|policy| policy.text_grace_minutes = 240).begun();
    world.at(minute(70)).goes_offline(patient());
    assert_eq!(world.deadline(), Some(minute(310)));
    world.at(minute(309)).resumes(patient());
    assert_eq!(world.deadline(), None);
}

#[test]
fn the_first_side_to_run_out_decides() {
    let mut world = World::active();
    world.at(minute(70)).goes_offline(patient());
    world.at(minute(80)).loses(provider());
    assert_eq!(world.deadline(), Some(minute(81)), "lost is not offline");
    world.goes_offline(provider());
    assert_eq!(world.deadline(), Some(minute(100)));
    world.leaves(provider());
    assert_eq!(world.deadline(), Some(minute(100)));
    world.at(minute(100)).tick();
    assert_eq!(world.session.end_reason(), Some(EndReason::EveryoneLeft), "the other side left on purpose");
}

#[test]
fn of_two_providers_the_one_with_more_time_counts() {
    let mut world = World::active();
    world.comes(second_provider());
    world.at(minute(70)).goes_offline(provider());
    assert_eq!(world.deadline(), None, "the second is there");
    world.at(minute(75)).loses(second_provider());
    // The side is empty since the second went, and from then the one offline has the whole text grace only if they went
    // by then: they went before, so theirs runs from when they went.
    assert_eq!(world.deadline(), Some(minute(100)));
    world.at(minute(100)).tick();
    assert_eq!(world.session.end_reason(), Some(EndReason::ReconnectExpired));
}

#[test]
fn before_a_visit_began_offline_is_as_lost() {
    let mut world = World::under(|policy| policy.text_grace_minutes = 240);
    world.at(minute(60)).consent().comes(patient()).comes(provider());
    world.at(minute(62)).leaves(provider());
    world.goes_offline(patient());
    assert_eq!(world.deadline(), Some(minute(92)), "abandoned");
    let admit = Command::Admit { participant: patient() };
    world.comes(provider());
    assert_eq!(world.refused(provider(), admit), "not_connected");
}

#[test]
fn the_text_grace_has_bounds_and_a_default() {
    assert_eq!(policy(|_| {}).text_grace_minutes, 30);
    for (minutes, fits) in [(0, false), (1, true), (240, true), (241, false)] {
        let values = vestibule_domain::PolicyValues {
            text_grace_minutes: minutes,
            ..vestibule_domain::PolicyValues::default()
        };
        let checked = vestibule_domain::SessionPolicy::new(values);
        assert_eq!(checked.is_ok(), fits, "{minutes}");
        assert!(checked.err().is_none_or(|error| error.field == "text_grace_minutes"));
    }
}
