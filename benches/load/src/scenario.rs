//! What is played: a scenario becomes a plan of rooms, who is in them, and what each of them sends. Pure.

use std::time::Duration;

use crate::client::PerKind;

/// What is to be tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scenario {
    /// Rooms of a provider and a patient: the load a clinic makes.
    Visits {
        /// How many.
        rooms: u32,
    },
    /// Rooms in which everybody sends to everybody.
    Rooms {
        /// How many.
        rooms: u32,
        /// How many people in each.
        size: u32,
    },
    /// One who sends audio and video, and many who only receive.
    OneToMany {
        /// How many receive.
        receivers: u32,
    },
    /// One who sends audio alone, and many who only receive.
    Audio {
        /// How many receive.
        receivers: u32,
    },
    /// Calls that run, and beside them patients who come and go.
    Churn {
        /// Visits that run all the time.
        calls: u32,
        /// Patients who come in each second, and as many who leave.
        joins_per_second: f64,
        /// How long each of them stays.
        stay: Duration,
        /// How long all of it goes on.
        duration: Duration,
    },
    /// Visits in which nobody sends anything: what it costs to have people connected.
    Idle {
        /// How many.
        rooms: u32,
    },
    /// All signaling sockets are cut at once.
    ReconnectStorm {
        /// Visits that run.
        rooms: u32,
    },
    /// Patients wait with warm transports, and are let in one after another.
    WaitingRoom {
        /// How many.
        patients: u32,
    },
    /// More and more visits, until something gives.
    Staircase {
        /// Visits that are added at each step.
        step: u32,
        /// Where it ends in any case.
        rooms_max: u32,
    },
    /// Visits for a long time.
    Soak {
        /// How many.
        rooms: u32,
        /// How long.
        duration: Duration,
    },
}

/// What somebody is in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Lets the others in. The first in each room.
    Provider,
    /// Waits until they are let in.
    Patient,
    /// Comes in with the provider.
    Interpreter,
    /// Comes in with the provider, and only receives.
    Observer,
}

/// When somebody comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// At the beginning, and stays.
    Stays,
    /// Comes and goes.
    ComesAndGoes,
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Unique in the run.
    pub number: u32,
    /// The number of their room.
    pub room: u32,
    /// What they are there.
    pub role: Role,
    /// Sends audio.
    pub audio: bool,
    /// Sends video.
    pub video: bool,
    /// How many others they are to hear all the time they are in.
    pub hears: u32,
    /// How many others they are to see all the time they are in.
    pub sees: u32,
    /// When they come.
    pub presence: Presence,
}

impl Person {
    /// From how many others something is to come.
    #[must_use]
    pub const fn expected(&self) -> PerKind<u32> {
        PerKind { audio: self.hears, video: self.sees }
    }

    /// How many others they need a place for: one who is heard is one who is seen.
    #[must_use]
    pub fn seats(&self) -> u32 {
        self.hears.max(self.sees).max(1)
    }
}

/// People who meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Unique in the run.
    pub number: u32,
    /// Who, the provider first.
    pub people: Vec<Person>,
}

/// The rooms of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All of them.
    pub rooms: Vec<Room>,
}

impl Plan {
    /// How many people there are.
    #[must_use]
    pub fn people(&self) -> usize {
        self.rooms.iter().map(|room| room.people.len()).sum()
    }

    /// Those who come at the beginning.
    pub fn staying(&self) -> impl Iterator<Item = &Person> {
        self.rooms.iter().flat_map(|room| &room.people).filter(|person| person.presence == Presence::Stays)
    }

    /// The most people in one room.
    #[must_use]
    pub fn size_max(&self) -> usize {
        self.rooms.iter().map(|room| room.people.len()).max().unwrap_or(0)
    }

    /// Whether somebody has this role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.rooms.iter().flat_map(|room| &room.people).any(|person| person.role == role)
    }
}

impl Scenario {
    /// Its name, as on the command line.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Visits { .. } => "visits",
            Self::Rooms { .. } => "rooms",
            Self::OneToMany { .. } => "one-to-many",
            Self::Audio { .. } => "audio",
            Self::Churn { .. } => "churn",
            Self::Idle { .. } => "idle",
            Self::ReconnectStorm { .. } => "reconnect-storm",
            Self::WaitingRoom { .. } => "waiting-room",
            Self::Staircase { .. } => "staircase",
            Self::Soak { .. } => "soak",
        }
    }

    /// What it is, for a heading.
    #[must_use]
    pub fn title(&self) -> String {
        match *self {
            Self::Visits { rooms } => format!("{rooms} visits of two"),
            Self::Rooms { rooms, size } => format!("{rooms} rooms of {size}"),
            Self::OneToMany { receivers } => {
                format!("one who sends audio and video, {receivers} who receive")
            }
            Self::Audio { receivers } => format!("one who sends audio, {receivers} who receive"),
            Self::Churn { calls, joins_per_second, duration, .. } => format!(
                "{calls} visits, and {joins_per_second} joins and leaves a second beside them for {} s",
                duration.as_secs()
            ),
            Self::Idle { rooms } => format!("{rooms} visits in which nobody sends anything"),
            Self::ReconnectStorm { rooms } => {
                format!("{rooms} visits whose signaling sockets are cut at once")
            }
            Self::WaitingRoom { patients } => {
                format!("{patients} patients who wait and are let in one by one")
            }
            Self::Staircase { step, rooms_max } => format!("{step} visits more each step, up to {rooms_max}"),
            Self::Soak { rooms, duration } => format!("{rooms} visits for {} s", duration.as_secs()),
        }
    }

    /// Who is in which room. `video` is false where nobody is to send any.
    #[must_use]
    pub fn plan(&self, video: bool) -> Plan {
        let mut builder = Builder { rooms: Vec::new(), people: 0 };
        let all = Sends { audio: true, video };
        match *self {
            Self::Visits { rooms }
            | Self::ReconnectStorm { rooms }
            | Self::Soak { rooms, .. }
            | Self::WaitingRoom { patients: rooms }
            | Self::Staircase { rooms_max: rooms, .. } => builder.visits(rooms, all, Presence::Stays),
            Self::Idle { rooms } => builder.visits(rooms, Sends::NOTHING, Presence::Stays),
            Self::Rooms { rooms, size } => builder.rooms(rooms, size, all),
            Self::OneToMany { receivers } => builder.audience(receivers, all),
            Self::Audio { receivers } => builder.audience(receivers, Sends { video: false, ..all }),
            Self::Churn { calls, joins_per_second, stay, .. } => {
                builder.visits(calls, all, Presence::Stays);
                builder.visits(guests_at_once(joins_per_second, stay), all, Presence::ComesAndGoes);
            }
        }
        Plan { rooms: builder.rooms }
    }
}

/// How many rooms it takes so that each is free again when its turn comes: for the time of a stay, and as long for
/// coming and going.
fn guests_at_once(joins_per_second: f64, stay: Duration) -> u32 {
    let seats = joins_per_second * (stay.as_secs_f64() * 2.0).max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by the command line"
    )]
    let seats = seats.ceil() as u32;
    seats.max(1)
}

struct Builder {
    rooms: Vec<Room>,
    people: u32,
}

impl Builder {
    fn visits(&mut self, rooms: u32, sends: Sends, patient: Presence) {
        for _ in 0..rooms {
            self.room(&[(Role::Provider, sends, Presence::Stays), (Role::Patient, sends, patient)]);
        }
    }

    fn rooms(&mut self, rooms: u32, size: u32, sends: Sends) {
        let people: Vec<_> = (0..size)
            .map(|place| match place {
                0 => (Role::Provider, sends, Presence::Stays),
                1 => (Role::Patient, sends, Presence::Stays),
                _ => (Role::Interpreter, sends, Presence::Stays),
            })
            .collect();
        for _ in 0..rooms {
            self.room(&people);
        }
    }

    fn audience(&mut self, receivers: u32, sends: Sends) {
        let mut people = vec![(Role::Provider, sends, Presence::Stays)];
        people.extend((0..receivers).map(|_| (Role::Observer, Sends::NOTHING, Presence::Stays)));
        self.room(&people);
    }

    fn room(&mut self, people: &[(Role, Sends, Presence)]) {
        let number = u32::try_from(self.rooms.len()).unwrap_or(u32::MAX);
        // Of who comes and goes nobody can say when something is to come.
        let count = |of: fn(&Sends) -> bool| {
            let stay = people.iter().filter(|(_, _, presence)| *presence == Presence::Stays);
            u32::try_from(stay.filter(|(_, sends, _)| of(sends)).count()).unwrap_or(u32::MAX)
        };
        let (audio, video) = (count(|sends| sends.audio), count(|sends| sends.video));
        let people = people.iter().map(|&(role, sends, presence)| {
            self.people += 1;
            let stays = presence == Presence::Stays;
            Person {
                number: self.people - 1,
                room: number,
                role,
                audio: sends.audio,
                video: sends.video,
                hears: audio - u32::from(sends.audio && stays),
                sees: video - u32::from(sends.video && stays),
                presence,
            }
        });
        let people = people.collect();
        self.rooms.push(Room { number, people });
    }
}

#[derive(Clone, Copy)]
struct Sends {
    audio: bool,
    video: bool,
}

impl Sends {
    const NOTHING: Self = Self { audio: false, video: false };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_a_provider_and_a_patient_who_see_each_other() {
        let plan = Scenario::Visits { rooms: 3 }.plan(true);
        assert_eq!((plan.rooms.len(), plan.people(), plan.size_max()), (3, 6, 2));
        for room in &plan.rooms {
            let roles: Vec<_> = room.people.iter().map(|person| person.role).collect();
            assert_eq!(roles, [Role::Provider, Role::Patient]);
            for person in &room.people {
                assert!(person.audio && person.video);
                assert_eq!((person.hears, person.sees, person.seats(), person.room), (1, 1, 1, room.number));
            }
        }
    }

    #[test]
    fn in_a_room_of_four_everybody_receives_from_three() {
        let plan = Scenario::Rooms { rooms: 10, size: 4 }.plan(true);
        assert_eq!((plan.rooms.len(), plan.people()), (10, 40));
        assert!(plan.staying().all(|person| (person.hears, person.sees, person.seats()) == (3, 3, 3)));
        assert!(plan.has(Role::Interpreter) && !plan.has(Role::Observer));
    }

    #[test]
    fn an_audience_only_receives() {
        let plan = Scenario::OneToMany { receivers: 50 }.plan(true);
        assert_eq!((plan.rooms.len(), plan.people()), (1, 51));
        let [provider, observers @ ..] = &plan.rooms[0].people[..] else { panic!("somebody is in") };
        assert_eq!(
            (provider.role, provider.audio, provider.video, provider.hears),
            (Role::Provider, true, true, 0)
        );
        assert!(observers.iter().all(|one| !one.audio && !one.video && one.hears == 1 && one.sees == 1));
        let audio = Scenario::Audio { receivers: 100 }.plan(true);
        assert!(audio.staying().all(|one| !one.video && one.sees == 0));
    }

    #[test]
    fn in_idle_visits_people_are_connected_and_nothing_is_expected() {
        let plan = Scenario::Idle { rooms: 2 }.plan(true);
        assert_eq!((plan.people(), plan.size_max()), (4, 2));
        assert!(plan.staying().all(|one| !one.audio && !one.video && one.hears + one.sees == 0));
        assert!(plan.staying().all(|one| one.seats() == 1));
    }

    #[test]
    fn without_video_nobody_sees_anybody() {
        let plan = Scenario::Rooms { rooms: 1, size: 3 }.plan(false);
        assert!(plan.staying().all(|one| one.audio && !one.video && one.hears == 2 && one.sees == 0));
    }

    #[test]
    fn who_comes_and_goes_has_rooms_enough() {
        let (calls, duration) = (20, Duration::from_secs(300));
        let churn = Scenario::Churn { calls, joins_per_second: 50.0, stay: Duration::from_secs(2), duration };
        let plan = churn.plan(true);
        let guests =
            plan.rooms.iter().flat_map(|room| &room.people).filter(|one| one.presence != Presence::Stays);
        let guests: Vec<_> = guests.collect();
        assert_eq!(guests.len(), 200);
        assert!(
            guests.iter().all(|guest| guest.role == Role::Patient && (guest.hears, guest.sees) == (1, 1))
        );
        assert_eq!(plan.staying().count(), 2 * 20 + 200);
        let waiting: Vec<_> = plan.staying().skip(2 * 20).collect();
        let nothing = |one: &&Person| (one.hears, one.sees, one.seats()) == (0, 0, 1);
        assert!(waiting.iter().all(nothing), "a provider nobody has come to yet misses nothing");
    }

    #[test]
    fn numbers_are_unique_in_the_run() {
        let plan = Scenario::Rooms { rooms: 7, size: 5 }.plan(true);
        let people = plan.rooms.iter().flat_map(|room| &room.people);
        let mut numbers: Vec<_> = people.map(|one| one.number).collect();
        numbers.dedup();
        assert_eq!(numbers, (0..35).collect::<Vec<_>>());
    }
}
