//! The door: whom a join token lets in, and when.

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Command, JoinToken, ParticipantRole, Schedule, TokenClaims, TokenError, TokenKey, TokenKeys, admit_token,
};

use crate::world::{World, id, minute, morning, patient, provider, schedule, staff};

fn keys() -> TokenKeys {
    TokenKeys::new(TokenKey::new(1, [5; 32]), None).unwrap()
}

fn issue(world: &World) -> JoinToken {
    keys().issue(&world.session, patient(), world.now).unwrap()
}

fn use_at(world: &World, token: &JoinToken, now: Timestamp) -> Result<(), TokenError> {
    let claims = keys().verify(&token.token)?;
    admit_token(&claims, &world.session, now)
}

fn unscheduled() -> World {
    World::of(Schedule { scheduled_start: None, scheduled_end: None, ..schedule() })
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);

#[test]
fn a_token_says_who_and_until_when() {
    let world = World::new();
    let token = issue(&world);
    assert!(token.token.len() < 160, "{}", token.token.len());
    assert_eq!((token.participant, token.expires_at), (patient(), minute(120)));
    let claims = keys().verify(&token.token).unwrap();
    let expected = TokenClaims {
        tenant: world.session.tenant(),
        session: world.session.id(),
        participant: patient(),
        epoch: 0,
        issued_at: morning(),
        hard_cap: minute(120),
    };
    assert_eq!(claims, expected);
}

#[test]
fn the_door_opens_and_closes_with_the_window() {
    let world = World::new();
    let token = issue(&world);
    // 15 minutes before 09:00 until 30 after 09:30, and half a minute for clocks that differ.
    let opens_at = minute(45);
    let too_early = Err(TokenError::NotOpen { opens_at });
    assert_eq!(use_at(&world, &token, opens_at - SECOND * 31), too_early);
    assert_eq!(use_at(&world, &token, opens_at - SECOND * 30), Ok(()));
    assert_eq!(use_at(&world, &token, minute(120) + SECOND * 29), Ok(()));
    assert_eq!(use_at(&world, &token, minute(120) + SECOND * 30), Err(TokenError::Expired));
}

#[test]
fn without_an_end_the_door_closes_four_hours_after_the_start() {
    let world = World::of(Schedule { scheduled_end: None, ..schedule() });
    assert_eq!(issue(&world).expires_at, minute(60 + 240));
}

#[test]
fn rescheduling_moves_the_door_for_tokens_already_out() {
    let mut world = World::new();
    let token = issue(&world);
    world.ask(&staff(), Command::Reschedule { start: Some(minute(80)), end: Some(minute(100)) }).unwrap();
    let opens_at = minute(65);
    assert_eq!(use_at(&world, &token, minute(50)), Err(TokenError::NotOpen { opens_at }));
    assert_eq!(use_at(&world, &token, minute(119)), Ok(()));
    assert_eq!(use_at(&world, &token, minute(121)), Err(TokenError::Expired), "the hard cap stays");

    world.ask(&staff(), Command::Reschedule { start: Some(minute(30)), end: Some(minute(40)) }).unwrap();
    assert_eq!(use_at(&world, &token, minute(71)), Err(TokenError::Expired), "the door closed at 70");
}

#[test]
fn no_token_outlives_a_day_after_opening() {
    let world = World::of(Schedule { scheduled_end: Some(minute(60 + 24 * 60)), ..schedule() });
    let token = issue(&world);
    assert_eq!(token.expires_at, minute(45 + 24 * 60));
    assert_eq!(use_at(&world, &token, minute(46 + 24 * 60)), Err(TokenError::Expired));
}

#[test]
fn an_unscheduled_token_lives_for_its_minutes_and_can_be_had_again() {
    let mut world = unscheduled();
    world.at(minute(3));
    let token = issue(&world);
    assert_eq!(token.expires_at, minute(18));
    assert_eq!(use_at(&world, &token, minute(3)), Ok(()));
    assert_eq!(use_at(&world, &token, minute(18) + SECOND * 30), Err(TokenError::Expired));
    world.at(minute(19));
    let fresh = issue(&world);
    assert_eq!(use_at(&world, &fresh, minute(20)), Ok(()));
}

#[test]
fn who_was_removed_comes_in_by_a_new_token_only() {
    let mut world = World::active();
    let old = issue(&world);
    world.must(provider(), Command::Remove { participant: patient() });
    assert_eq!(use_at(&world, &old, world.now), Err(TokenError::Revoked));
    assert_eq!(keys().issue(&world.session, patient(), world.now).unwrap_err().code(), "removed");

    world.must(provider(), Command::Invite { participant: patient(), role: ParticipantRole::Patient });
    assert_eq!(use_at(&world, &old, world.now), Err(TokenError::Revoked), "reinstated, and still void");
    let new = issue(&world);
    assert_eq!(use_at(&world, &new, world.now), Ok(()));
}

#[test]
fn a_final_session_lets_nobody_in() {
    let mut world = World::active();
    let token = issue(&world);
    world.must(provider(), Command::End);
    assert_eq!(use_at(&world, &token, world.now), Err(TokenError::SessionOver));
    assert_eq!(keys().issue(&world.session, patient(), world.now).unwrap_err().code(), "session_over");
}

#[test]
fn no_token_for_a_door_that_is_closed_for_good_or_for_a_stranger() {
    let mut world = World::active();
    assert_eq!(keys().issue(&world.session, id(99), world.now).unwrap_err().code(), "no_such_participant");
    world.at(minute(120));
    assert_eq!(keys().issue(&world.session, patient(), world.now).unwrap_err().code(), "join_window_closed");
}

#[test]
fn no_byte_of_a_token_can_be_changed() {
    let token = issue(&World::new()).token;
    for index in 0..token.len() {
        for other in ['A', 'B', '_', '=', ' ', 'é'] {
            let mut changed: Vec<char> = token.chars().collect();
            if changed[index] == other {
                continue;
            }
            changed[index] = other;
            let text: String = changed.into_iter().collect();
            assert_eq!(keys().verify(&text), Err(TokenError::Invalid), "{other} at {index}");
        }
    }
}

#[test]
fn nothing_shorter_longer_or_else_is_a_token() {
    let token = issue(&World::new()).token;
    for cut in 0..token.len() {
        assert_eq!(keys().verify(&token[..cut]), Err(TokenError::Invalid));
    }
    for text in [format!("{token}A"), format!("{token}AAAA"), format!("{token}="), "A".repeat(100_000)] {
        assert_eq!(keys().verify(&text), Err(TokenError::Invalid));
    }
}

#[test]
fn another_key_of_the_same_number_verifies_nothing() {
    let token = issue(&World::new()).token;
    let stranger = TokenKeys::new(TokenKey::new(1, [6; 32]), None).unwrap();
    assert_eq!(stranger.verify(&token), Err(TokenError::Invalid));
}

#[test]
fn the_key_before_still_verifies_and_the_one_before_that_does_not() {
    let token = issue(&World::new()).token;
    let key = |id, byte| TokenKey::new(id, [byte; 32]);
    let rotated = TokenKeys::new(key(2, 6), Some(key(1, 5))).unwrap();
    assert!(rotated.verify(&token).is_ok());
    let again = TokenKeys::new(key(3, 7), Some(key(2, 6))).unwrap();
    assert_eq!(again.verify(&token), Err(TokenError::Invalid));
    assert!(TokenKeys::new(key(2, 6), Some(key(2, 5))).is_err());
}

#[test]
fn a_token_of_another_session_tenant_or_nobody_is_invalid() {
    let world = World::new();
    let claims = keys().verify(&issue(&world).token).unwrap();
    let others = [
        TokenClaims { session: vestibule_domain::SessionId::new(morning(), [8; 10]), ..claims },
        TokenClaims { tenant: vestibule_domain::TenantId::new(morning(), [8; 10]), ..claims },
        TokenClaims { participant: id(99), ..claims },
    ];
    for claims in others {
        assert_eq!(admit_token(&claims, &world.session, minute(60)), Err(TokenError::Invalid));
    }
}

#[test]
fn each_error_has_its_code() {
    let errors = [
        (TokenError::Invalid, "join_token_invalid"),
        (TokenError::Expired, "join_token_expired"),
        (TokenError::Revoked, "join_token_revoked"),
        (TokenError::NotOpen { opens_at: morning() }, "join_window_not_open"),
    ];
    for (error, code) in errors {
        assert_eq!(error.code(), code);
    }
}

#[test]
fn neither_key_nor_token_is_in_debug_output() {
    let token = issue(&World::new());
    let text = format!("{:?} {:?}", token, keys());
    assert!(!text.contains(&token.token));
    assert!(!text.contains("5, 5"), "{text}");
}
