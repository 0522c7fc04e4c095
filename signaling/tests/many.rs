//! Many people in one session: a provider, and observers who come in with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use vestibule_domain::{
    Actor, Communication, Context, Invitation, ParticipantId, ParticipantRole, PolicyValues, Presence,
    Schedule, SessionId, SessionPolicy, TenantId, VideoBackend, VirtualSession,
};
use vestibule_signaling::wire::{
    ClientMessage, Frame, MESSAGE_BYTES_MAX, Numbered, RequestId, ServerMessage,
};
use vestibule_signaling::{
    ConnectionId, Entry, FreshSecret, Input, LiveSession, Loaded, Output, Profile, ResumeKey,
};

const PEOPLE: usize = 400;

struct Crowd {
    live: LiveSession,
    now: Timestamp,
    people: Vec<ParticipantId>,
}

/// What one input led to: to which socket, and what.
type Said = Vec<(usize, Arc<ServerMessage>)>;

impl Crowd {
    fn new() -> Self {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let people: Vec<ParticipantId> = (0..PEOPLE)
            .map(|number| {
                let mut random = [0; 10];
                random[..8].copy_from_slice(&number.to_be_bytes());
                ParticipantId::new(now, random)
            })
            .collect();
        let role = |index| if index == 0 { ParticipantRole::Provider } else { ParticipantRole::Observer };
        let invited = people.iter().enumerate();
        let policy = PolicyValues {
            max_participants: u16::try_from(PEOPLE).unwrap(),
            admit_observers_with_provider: true,
            ..PolicyValues::default()
        };
        let schedule = Schedule {
            id: SessionId::new(now, [201; 10]),
            tenant: TenantId::new(now, [202; 10]),
            patient_id: "p-1".parse().unwrap(),
            provider_ref: "desk".parse().unwrap(),
            scheduled_start: Some(now),
            scheduled_end: None,
            communication: Communication::Speech,
            backend: VideoBackend::Embedded,
            room: "room".parse().unwrap(),
            policy: SessionPolicy::new(policy).unwrap(),
            participants: invited
                .map(|(index, &participant)| Invitation { participant, role: role(index) })
                .collect(),
        };
        let (actor, presence) = (Actor::System, Presence::new());
        let context = Context { now, actor: &actor, presence: &presence };
        let (session, _) = VirtualSession::create(schedule, &context).unwrap();
        let profile = |number: usize| Profile { display_name: format!("Somebody with the number {number}") };
        let profiles: BTreeMap<_, _> =
            (0..).map(profile).zip(&people).map(|(name, &id)| (id, name)).collect();
        Self { live: LiveSession::new(now, Loaded { session, profiles }, 7, 1), now, people }
    }

    fn input(&mut self, input: Input) -> Said {
        self.live.handle(self.now, input);
        let mut said = Vec::new();
        while let Some(output) = self.live.poll_output() {
            match output {
                Output::Send { connection, message, .. } => {
                    said.push((usize::try_from(connection.0).unwrap(), message));
                }
                Output::Commit(_) => self.live.committed(self.now, Ok(())),
                _ => {}
            }
        }
        said
    }

    /// Somebody comes, on the socket of their number.
    fn comes(&mut self, number: usize) -> Said {
        let key = ResumeKey([u8::try_from(number % 256).unwrap(); 32]);
        self.input(Input::Hello {
            connection: ConnectionId(number as u64),
            participant: self.people[number],
            entry: Entry::Ticket { epoch: 0, vouched: false },
            fresh: FreshSecret { key, secret: "s".repeat(86) },
            request: Some(RequestId(1)),
        })
    }
}

fn about(said: &Said, whom: ParticipantId) -> Vec<&Arc<ServerMessage>> {
    let about = |message: &ServerMessage| matches!(message, ServerMessage::Participant { participant_id, .. } if *participant_id == whom);
    said.iter().map(|(_, message)| message).filter(|message| about(message)).collect()
}

#[test]
fn who_comes_to_many_is_told_to_each_of_them_once_and_in_the_same_words() {
    let mut crowd = Crowd::new();
    for number in 0..PEOPLE {
        let said = crowd.comes(number);
        let told = about(&said, crowd.people[number]);
        assert_eq!(told.len(), number, "each of the others, once");
        let different: BTreeSet<_> = told.iter().map(|message| Arc::as_ptr(message)).collect();
        assert!(different.len() <= 2, "kept once for the provider, and once for all others");
        let seats =
            said.iter().filter(|(_, message)| matches!(**message, ServerMessage::Seats { .. })).count();
        let rest = said.len() - told.len() - seats;
        // The welcome; and each of the others hears that the session has another version.
        assert_eq!(rest, 1 + number);
    }
}

#[test]
fn a_welcome_to_many_fits_in_a_message_and_asks_for_no_more_seats_than_an_offer_has() {
    let mut crowd = Crowd::new();
    let said = (0..PEOPLE).map(|number| crowd.comes(number)).last().unwrap();
    let (_, welcome) = said.iter().find(|(to, _)| *to == PEOPLE - 1).unwrap();
    let ServerMessage::Welcome { participants, seats, .. } = &**welcome else { panic!("{welcome:?}") };
    assert_eq!(participants.len(), PEOPLE - 1);
    assert!(seats.people <= 48);
    let text = serde_json::to_string(&Numbered { seq: 0, message: welcome }).unwrap();
    assert!(text.len() <= MESSAGE_BYTES_MAX, "{} bytes", text.len());
}

#[test]
fn who_leaves_many_is_gone_for_each_of_them() {
    let mut crowd = Crowd::new();
    (0..PEOPLE).for_each(|number| drop(crowd.comes(number)));
    let frame = Frame { id: Some(RequestId(2)), message: ClientMessage::Leave {} };
    let said = crowd.input(Input::Frame { connection: ConnectionId(9), frame: Ok(frame) });
    let told = about(&said, crowd.people[9]);
    assert_eq!(told.len(), PEOPLE - 1);
    assert!(matches!(**told[0], ServerMessage::Participant { participant: None, .. }));
    let silence = crowd.input(Input::Frame {
        connection: ConnectionId(8),
        frame: Ok(Frame { id: Some(RequestId(2)), message: ClientMessage::Ping { last_seq: Some(1) } }),
    });
    assert_eq!(silence.len(), 1, "what changes nothing is told to nobody else");
}
