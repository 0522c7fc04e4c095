//! Conversations on bad lines: what the line is like, who is there, and what is measured of it each 100 ms.
//!
//! A scenario says nothing of how the SFU does it: it looks at what arrives, at the line, and at what the SFU tells of
//! itself.

mod figures;
mod list;

use std::time::Duration;

use vestibule_media_core::PeerStats;
use vestibule_media_core::sdp::CodecName;
use vestibule_media_core::time::Time;
use vestibule_testnet::{LinkConfig, LinkStats};

pub use figures::{Aim, Figures, Verdict};
pub use list::{Form, all};

use crate::client::{ClientConfig, Obedience};
use crate::cross::{CrossKind, CrossTraffic};
use crate::playout::Heard;
use crate::world::{Carried, World};

/// How often everything is looked at.
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// How long the others have been there when the one who is watched joins.
const JOINS_AFTER: Duration = Duration::from_secs(2);
/// Without a new picture for so long, none is shown.
const PICTURE_GONE: Duration = Duration::from_secs(1);

/// Somebody in a scenario.
#[derive(Clone, Debug)]
pub struct Participant {
    /// What they do.
    pub client: ClientConfig,
    /// Their line towards the SFU.
    pub up: LinkConfig,
    /// Their line from the SFU.
    pub down: LinkConfig,
    /// From which size on their own browser never sends, as its estimate of the way up does not allow for them.
    pub withheld_from: Option<u8>,
}

/// A conversation on a bad line.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What a table calls it.
    pub name: String,
    /// Who is there. The last joins two seconds after the others and is the one who is watched.
    pub participants: Vec<Participant>,
    /// Who sees whom in which seat.
    pub seats: Vec<(usize, u16, usize)>,
    /// What becomes of the line from the SFU to the one who is watched, and when after their joining.
    pub changes: Vec<(Duration, LinkConfig)>,
    /// Other traffic on that line, from when to when after their joining.
    pub cross: Option<(CrossKind, Duration, Duration)>,
    /// How long it takes from their joining.
    pub length: Duration,
    /// From when on the line counts as steady.
    pub steady_from: Duration,
    /// What is to be reached.
    pub aims: Vec<Aim>,
    /// Under which name it is drawn, if it is.
    pub plot: Option<&'static str>,
    /// What pictures are coded with.
    pub codec: CodecName,
}

/// One look at somebody.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Since the one who is watched joined.
    pub at: Duration,
    /// What the SFU tells.
    pub stats: PeerStats,
    /// What the line from the SFU carries, in bits per second on the wire.
    pub capacity_bps: Option<u64>,
    /// How long what waits for the line waits.
    pub queue: Duration,
    /// What became of all datagrams on the line.
    pub link: LinkStats,
    /// What the SFU sent and what of it arrived.
    pub carried: Carried,
    /// Height of the picture in the first seat, in pixels; zero where there is none.
    pub height: u16,
    /// Frames decoded in the first seat.
    pub frames: u64,
    /// Freezes so far, and how long they took, of the seat that froze longest.
    pub freezes: (u32, Duration),
    /// Times the height has changed, of each seat.
    pub heights: Vec<usize>,
    /// What was heard in the first seat.
    pub heard: Heard,
}

/// What was seen of one run.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Of each participant, the one who is watched last.
    pub samples: Vec<Vec<Sample>>,
    /// How quickly publishers did as they were told.
    pub obedience: Vec<Obedience>,
}

impl Seen {
    /// Looks at the one who is watched.
    #[must_use]
    pub fn watched(&self) -> &[Sample] {
        self.samples.last().map_or(&[], Vec::as_slice)
    }
}

impl Scenario {
    /// Plays it. Same seed, same run.
    ///
    /// # Panics
    ///
    /// At the first packet of the SFU that is wrong.
    #[must_use]
    pub fn run(&self, seed: u64) -> Seen {
        let mut world = World::preferring(seed, self.codec);
        let last = self.participants.len() - 1;
        for participant in &self.participants[..last] {
            join(&mut world, participant, seed);
        }
        self.seat(&mut world, |who, whom| who < last && whom < last);
        world.run(JOINS_AFTER);
        join(&mut world, &self.participants[last], seed);
        self.seat(&mut world, |who, whom| who == last || whom == last);
        let began_at = world.now;
        if let Some((kind, from, until)) = self.cross {
            let return_delay = Duration::from_micros(self.participants[last].up.delay_us);
            let cross = CrossTraffic::new(kind, began_at + from, began_at + until, return_delay);
            world.members[last].cross = Some(cross);
        }
        let mut seen = Seen { samples: vec![Vec::new(); last + 1], obedience: Vec::new() };
        let mut changes = self.changes.iter().peekable();
        while world.now.since(began_at) < self.length {
            while let Some((_, line)) = changes.next_if(|(at, _)| *at <= world.now.since(began_at)) {
                world.members[last].down.set_config(world.now.as_micros(), *line);
            }
            world.run(SAMPLE_INTERVAL);
            for (who, samples) in seen.samples.iter_mut().enumerate() {
                samples.push(look(&mut world, who, began_at));
            }
        }
        seen.obedience = world.members.iter().map(|member| member.client.obedience.clone()).collect();
        seen
    }

    fn seat(&self, world: &mut World, of: impl Fn(usize, usize) -> bool) {
        for &(who, seat, whom) in self.seats.iter().filter(|(who, _, whom)| of(*who, *whom)) {
            world.seat(who, seat, Some(whom));
        }
    }
}

fn join(world: &mut World, participant: &Participant, seed: u64) {
    let client = ClientConfig { sizes_seed: Some(seed), ..participant.client.clone() };
    let who = world.join_over(client, participant.up, participant.down);
    world.members[who].client.withheld_from = participant.withheld_from;
}

fn look(world: &mut World, who: usize, began_at: Time) -> Sample {
    let stats = world.stats(who);
    let seats: Vec<_> = (0..world.members[who].seats.len()).map(|seat| world.shown(who, seat)).collect();
    let (audio, video) = &seats[0];
    let freezes =
        seats.iter().map(|(_, video)| (video.freezes, video.frozen)).max_by_key(|(_, frozen)| *frozen);
    let now = world.now;
    let member = &world.members[who];
    let shown = video.last_decoded_at.is_some_and(|at| now.since(at) < PICTURE_GONE);
    let height = video.heights.last().map_or(0, |(_, height)| *height);
    Sample {
        at: now.since(began_at),
        stats,
        capacity_bps: member.down.config().rate_bps.map(std::num::NonZeroU64::get),
        queue: Duration::from_micros(member.down.queue_delay_us(now.as_micros())),
        link: member.down.stats(),
        carried: member.carried,
        height: if shown { height } else { 0 },
        frames: video.frames_decoded,
        freezes: freezes.unwrap_or_default(),
        heights: seats.iter().map(|(_, video)| video.heights.len()).collect(),
        heard: audio.heard,
    }
}
