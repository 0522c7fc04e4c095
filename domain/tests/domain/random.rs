//! Random lives: any commands by anybody, any presence, any time. A failure prints the seed and the shortest life.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use vestibule_domain::{
    Actor, Command, Connection, ConsentType, DenyReason, ParticipantId, ParticipantRole, Presence, Rejection,
    Schedule, Standing, StoredSession,
};

use crate::world::{World, encounter, id, minute, recording, schedule, staff, version};

#[derive(Clone, Debug)]
enum Step {
    Ask { by: By, command: Command },
    Presence { who: ParticipantId, to: Seen },
    Backend { lost: bool },
    Wait { seconds: i64 },
}

#[derive(Clone, Copy, Debug)]
enum By {
    Themselves,
    Somebody(ParticipantId),
    Staff,
    System,
    Timer,
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Absent,
    Connected,
    Lost,
    Offline,
}

fn anybody() -> impl Strategy<Value = ParticipantId> {
    // Five are invited from the start; the others are strangers until somebody invites them.
    (1_u8..=8).prop_map(id)
}

fn role() -> impl Strategy<Value = ParticipantRole> {
    prop_oneof![
        Just(ParticipantRole::Provider),
        Just(ParticipantRole::Patient),
        Just(ParticipantRole::Interpreter),
        Just(ParticipantRole::Observer),
    ]
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    proptest::option::of((0_i64..600).prop_map(minute))
}

fn command() -> impl Strategy<Value = Command> {
    let consent = prop_oneof![Just(ConsentType::Telehealth), Just(ConsentType::Recording)];
    let consent = (consent, proptest::bool::weighted(0.8)).prop_map(|(consent_type, granted)| {
        Command::CaptureConsent { consent_type, granted, version: version("1") }
    });
    prop_oneof![
        2 => (anybody(), role()).prop_map(|(participant, role)| Command::Invite { participant, role }),
        4 => consent,
        8 => anybody().prop_map(|participant| Command::Join { participant }),
        6 => anybody().prop_map(|participant| Command::Admit { participant }),
        1 => anybody().prop_map(|participant| Command::Deny { participant, reason: DenyReason::Other }),
        1 => anybody().prop_map(|participant| Command::SendBack { participant }),
        1 => anybody().prop_map(|participant| Command::Remove { participant }),
        1 => anybody().prop_map(|participant| Command::ReplaceDevice { participant }),
        1 => anybody().prop_map(|participant| Command::RefuseDevice { participant, reason: DenyReason::Other }),
        3 => anybody().prop_map(|participant| Command::Leave { participant }),
        1 => anybody().prop_map(|participant| Command::RevokeTokens { participant }),
        3 => anybody().prop_map(|participant| Command::InitiateFallback { participant }),
        2 => anybody().prop_map(|participant| Command::EndFallback { participant }),
        2 => (0_u8..3).prop_map(|number| Command::IngestRecording { recording: recording(number) }),
        2 => (0_u8..2).prop_map(|number| Command::RecordEncounter { encounter: encounter(number) }),
        1 => any::<bool>().prop_map(|enabled| Command::SetRecording { enabled }),
        1 => (time(), time()).prop_map(|(start, end)| Command::Reschedule { start, end }),
        4 => Just(Command::Tick),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let by = prop_oneof![
        6 => Just(By::Themselves),
        2 => anybody().prop_map(By::Somebody),
        6 => Just(By::Staff),
        2 => Just(By::System),
        2 => Just(By::Timer),
    ];
    let seen = prop_oneof![
        1 => Just(Seen::Absent),
        6 => Just(Seen::Connected),
        2 => Just(Seen::Lost),
        2 => Just(Seen::Offline),
    ];
    // The last commands end it for most; they are rare, or lives would be short.
    let ending = prop_oneof![Just(Command::End), Just(Command::Cancel)];
    prop_oneof![
        30 => (by.clone(), command()).prop_map(|(by, command)| Step::Ask { by, command }),
        1 => (by, ending).prop_map(|(by, command)| Step::Ask { by, command }),
        15 => (anybody(), seen).prop_map(|(who, to)| Step::Presence { who, to }),
        1 => any::<bool>().prop_map(|lost| Step::Backend { lost }),
        8 => (0_i64..300).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// A session that was just made, or one with the patient and a provider in it: by chance alone few get that far.
#[derive(Clone, Debug)]
struct Start {
    auto_admit: bool,
    interpreters: bool,
    observers: bool,
    recording: bool,
    small: bool,
    scheduled: bool,
    begun: bool,
}

fn start() -> impl Strategy<Value = Start> {
    let options = any::<(bool, bool, bool, bool, bool, bool)>();
    (options, proptest::bool::weighted(0.6)).prop_map(
        |((auto_admit, interpreters, observers, recording, small, scheduled), begun)| Start {
            auto_admit,
            interpreters,
            observers,
            recording,
            small,
            scheduled,
            begun,
        },
    )
}

impl Start {
    fn world(&self) -> World {
        let policy = crate::world::policy(|policy| {
            policy.auto_admit_on_provider_join = self.auto_admit;
            policy.admit_interpreters_with_provider = self.interpreters;
            policy.admit_observers_with_provider = self.observers;
            policy.recording_allowed = self.recording;
            policy.max_participants = if self.small { 5 } else { 20 };
        });
        let made = Schedule { policy, ..schedule() };
        let world = if self.scheduled {
            World::of(made)
        } else {
            World::of(Schedule { scheduled_start: None, scheduled_end: None, ..made })
        };
        // Under automatic admission the helper's own Admit has nothing left to do.
        if self.begun && !self.auto_admit { world.begun() } else { world }
    }
}

fn actor(by: By, command: &Command) -> Actor {
    let subject = match command {
        Command::Invite { participant, .. }
        | Command::Join { participant }
        | Command::Admit { participant }
        | Command::Deny { participant, .. }
        | Command::SendBack { participant }
        | Command::Remove { participant }
        | Command::ReplaceDevice { participant }
        | Command::RefuseDevice { participant, .. }
        | Command::Leave { participant }
        | Command::RevokeTokens { participant }
        | Command::InitiateFallback { participant }
        | Command::EndFallback { participant } => *participant,
        _ => id(2),
    };
    match by {
        By::Themselves => Actor::Participant(subject),
        By::Somebody(who) => Actor::Participant(who),
        By::Staff => staff(),
        By::System => Actor::System,
        By::Timer => Actor::Timer,
    }
}

fn live(world: &mut World, step: Step) {
    match step {
        Step::Ask { by, command } => {
            let actor = actor(by, &command);
            let before = world.session.to_stored();
            let filed = matches!(command, Command::IngestRecording { .. } | Command::RecordEncounter { .. });
            // `World::ask` checks versions, the stored form and the fold.
            let answer = world.ask(&actor, command);
            if before.status.is_final() {
                // Asked for again is what is so already; all else comes too late.
                let refused = |rejection: Rejection| rejection.code() == "session_over";
                assert!(filed || answer.map_or_else(refused, |events| events.is_empty()));
                assert_eq!(but_for_what_is_filed(world.session.to_stored()), but_for_what_is_filed(before));
            }
        }
        Step::Presence { who, to } => {
            let connection = match to {
                Seen::Absent => Connection::Absent,
                Seen::Connected => Connection::Connected,
                Seen::Lost => Connection::Lost { since: world.now },
                Seen::Offline => Connection::Offline { since: world.now },
            };
            world.presence.set(who, connection);
        }
        Step::Backend { lost } => world.presence.set_backend_lost(lost.then_some(world.now)),
        Step::Wait { seconds } => {
            let now = world.now + SignedDuration::from_secs(seconds);
            world.at(now);
        }
    }
}

/// What never changes once a session is over.
fn but_for_what_is_filed(row: StoredSession) -> StoredSession {
    StoredSession { recordings: Vec::new(), encounter: None, version: 0, ..row }
}

fn check(world: &World) {
    let present =
        || world.session.participants().iter().filter(|record| record.standing != Standing::Removed);
    assert!(present().filter(|record| record.role == ParticipantRole::Patient).count() <= 1);
    assert!(present().count() <= usize::from(world.session.policy().max_participants));
    assert!(!world.session.recording_enabled() || world.session.has_consent(ConsentType::Recording));
    let started = world.session.started_at().is_some();
    assert!(started || (world.session.fallback_since().is_none() && world.session.recordings().is_empty()));
    assert!(world.session.status().is_final() || world.session.encounter().is_none());
    assert!(!started || world.session.provider_first_joined_at().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_always_holds_does(
        start in start(),
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut world = start.world();
        for step in steps {
            live(&mut world, step);
            check(&world);
        }
    }

    #[test]
    fn left_alone_every_session_reaches_a_final_state(
        start in start(),
        steps in proptest::collection::vec(step(), 0..60),
        known in any::<bool>(),
    ) {
        let mut world = start.world();
        for step in steps {
            live(&mut world, step);
        }
        // Either the server saw them go, or it has just started and knows nothing of anybody.
        world.presence = if known { Presence::after_restart(&world.session, world.now) } else { Presence::new() };
        for _ in 0..3 {
            let Some(deadline) = world.deadline() else { break };
            let now = deadline.max(world.now);
            world.at(now).tick();
        }
        prop_assert!(world.session.status().is_final(), "{:?}", world.session.status());
    }

    #[test]
    fn no_text_of_a_stranger_upsets_the_token_parser(text in "\\PC{0,200}") {
        let keys = vestibule_domain::TokenKeys::new(vestibule_domain::TokenKey::new(1, [5; 32]), None).unwrap();
        prop_assert!(keys.verify(&text).is_err());
    }
}
