//! The floor as a contestant: a child process that only seals and sends, to receivers of the plane that measures the
//! servers. Nobody joins and nobody answers; what is counted is counted as of any server.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ChildStdin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use vestibule_media_core::srtp::SrtpProfile;

use crate::cast::Cast;
use crate::client::{MediaPlane, TransportId};
use crate::clock;
use crate::floor::{self, FloorReceiver, FloorSpec, FloorStream};
use crate::scenario::{Person, Room};
use crate::server::{Admission, Participant, Server, ServerError};

/// It is ended by its parent; this is for a parent that is gone.
const DURATION_MAX: Duration = Duration::from_secs(3_600);

/// A child process that waits for what it is to send.
pub(super) struct Floor {
    plane: MediaPlane,
    cast: Cast,
    profile: SrtpProfile,
    ip: Ipv4Addr,
    /// Until it was told.
    stdin: Mutex<Option<ChildStdin>>,
    receivers: Mutex<Vec<TransportId>>,
}

impl Floor {
    pub(super) fn new(
        plane: MediaPlane,
        cast: Cast,
        profile: SrtpProfile,
        ip: Ipv4Addr,
        stdin: ChildStdin,
    ) -> Self {
        Self { plane, cast, profile, ip, stdin: Mutex::new(Some(stdin)), receivers: Mutex::default() }
    }

    fn spec(&self, rooms: &[Room], receivers: Vec<FloorReceiver>) -> FloorSpec {
        let mut streams = Vec::new();
        let mut place = 0;
        for room in rooms {
            let listening: Vec<(&Person, u32)> =
                room.people.iter().filter(|person| receives(person)).zip(place..).collect();
            place += u32::try_from(listening.len()).unwrap_or(u32::MAX);
            for sender in &room.people {
                let others = listening.iter().filter(|(person, _)| person.number != sender.number);
                let to: Vec<u32> = others.map(|&(_, place)| place).collect();
                // Of several encodings a server shows one: the highest.
                let models = [
                    sender.audio.then_some(self.cast.audio),
                    self.cast.video.last().copied().filter(|_| sender.video),
                ];
                for model in models.into_iter().flatten() {
                    streams.push(FloorStream { source: self.cast.next_source(), model, to: to.clone() });
                }
            }
        }
        FloorSpec {
            bind: IpAddr::V4(self.ip),
            profile: self.profile.dtls_id(),
            duration: DURATION_MAX,
            receivers,
            streams,
        }
    }
}

const fn receives(person: &Person) -> bool {
    person.hears > 0 || person.sees > 0
}

fn broken(why: impl std::fmt::Display) -> ServerError {
    ServerError::Environment(format!("the floor: {why}"))
}

#[async_trait]
impl Server for Floor {
    fn name(&self) -> String {
        "floor: seal and send".to_owned()
    }

    fn url(&self) -> String {
        self.ip.to_string()
    }

    async fn prepare(&self, rooms: &[Room], made: &(dyn Fn() + Sync)) -> Result<(), ServerError> {
        let people = rooms.iter().flat_map(|room| &room.people).filter(|person| receives(person));
        let expected: Vec<_> = people.map(Person::expected).collect();
        let opened = floor::receivers(&self.plane, self.profile, &expected).map_err(broken)?;
        let (ids, receivers): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        *self.receivers.lock().unwrap_or_else(PoisonError::into_inner) = ids;
        let spec = serde_json::to_vec(&self.spec(rooms, receivers)).map_err(broken)?;
        let stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut stdin = stdin.ok_or_else(|| broken("it was told already what to send"))?;
        // Its end, when the pipe is dropped, is what the child waits for.
        stdin.write_all(&spec).map_err(broken)?;
        rooms.iter().for_each(|_| made());
        Ok(())
    }

    async fn join(&self, _: &Person, _: Admission) -> Result<Box<dyn Participant>, ServerError> {
        Ok(Box::new(Receiver { started: clock::now() }))
    }

    async fn end(&self, _: &[Room]) -> Result<(), ServerError> {
        for id in self.receivers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.plane.close(id);
        }
        Ok(())
    }
}

/// Somebody who was there from the beginning.
struct Receiver {
    started: Instant,
}

#[async_trait]
impl Participant for Receiver {
    fn connected_after(&self) -> Duration {
        Duration::ZERO
    }

    fn started(&self) -> Instant {
        self.started
    }

    async fn first_packet(&self) -> Result<Instant, ServerError> {
        Ok(self.started)
    }

    fn failure(&self) -> Option<String> {
        None
    }

    async fn admit(&self) -> Result<(), ServerError> {
        Err(broken("nobody waits"))
    }

    fn cut(&self) -> Result<(), ServerError> {
        Err(broken("it has no signaling"))
    }

    async fn resume(&self) -> Result<(), ServerError> {
        self.cut()
    }

    async fn leave(&self) {}
}
