//! What may happen in a run, and lists of it: made from a seed, and made shorter while they still fail.
//!
//! A run is a pure function of its setup and its steps. Every step stands for itself: without any of the others it still
//! means something, or does nothing. That is what lets a failure be cut down by leaving steps out.

use std::fmt;

/// Who takes part. Two providers, because half of the rules are about the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Person {
    Doctor,
    Patient,
    Interpreter,
    Observer,
    Colleague,
}

impl Person {
    pub(crate) const ALL: [Self; 5] =
        [Self::Doctor, Self::Patient, Self::Interpreter, Self::Observer, Self::Colleague];

    pub(crate) const fn is_provider(self) -> bool {
        matches!(self, Self::Doctor | Self::Colleague)
    }
}

/// One of the two devices of a person: a tab of a browser, with what it keeps over a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tab(pub(crate) Person, pub(crate) u8);

/// What is asked for about somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Admit,
    Deny,
    SendBack,
    Remove,
}

/// What one who is in asks for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Offer,
    Restart,
    Subscribe(Person),
    Publish(bool),
    Stats,
    Ping,
    Consent(bool),
    RecordingConsent(bool),
    Tier(u8),
    Wish(u8),
    Timeline(Person),
}

/// What the network does to a transport, and what the engine makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Up,
    Lost,
    Quiet,
    Heard,
    Camera(bool),
    Screen(bool),
    RestartFailed,
    Speaks,
    Quality(u8),
    Measured,
    Wanted(u8),
    Thrifty(bool),
}

/// What the clinic's system asks for over HTTP, or another process writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    About(Act, Person),
    Invite(Person),
    RevokeTokens(Person),
    Leave(Person),
    Record(bool),
    Telehealth(bool),
    RecordingConsent(bool),
    End,
    Cancel,
    Postpone,
}

/// What no client of ours would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nonsense {
    NoJson,
    UnknownType,
    SecondHello,
    LongLine,
    Stranger,
    FutureAck,
    OldId,
    WrongSeat,
}

/// What a thief tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theft {
    /// A secret that nobody was ever given.
    Guess,
    /// The oldest secret of somebody that is known.
    OldSecret(Person),
    /// A secret that was good once, and the incarnation and number of somebody else.
    OldSecretWithStory(Person),
    /// A ticket that was used.
    UsedTicket(Person),
    /// A ticket that was given, and not used for long.
    KeptTicket(Person),
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Opens the link and presses *join*; `vouched`: signed in as staff.
    Join {
        tab: Tab,
        vouched: bool,
    },
    /// The link once more, on the device that is not in.
    SecondDevice {
        person: Person,
        vouched: bool,
    },
    /// Comes back with what it kept.
    Retry(Tab),
    /// The socket is lost, and with it the last so many of what was on its way to the server.
    Drop {
        tab: Tab,
        lost: u8,
    },
    /// The server gives the socket up; the client hears of it later.
    GiveUp(Tab),
    /// The page is loaded anew: all is gone but the secret.
    Reload(Tab),
    /// The last request is sent twice.
    SayTwice(Tab),
    /// Two sockets say the same `hello`.
    HelloTwice(Tab),
    /// One way of the network stands still until the next [`Transition::Settle`] or [`Transition::Thaw`].
    Delay(u8),
    Thaw,
    Do {
        by: Tab,
        act: Act,
        whom: Person,
    },
    End(Tab),
    Leave(Tab),
    Chat(Tab),
    /// The same line again, as who did not hear the answer.
    ChatAgain(Tab),
    Ask(Tab, Ask),
    Nonsense(Tab, Nonsense),
    Theft(Theft),
    Line(Tab, Line),
    /// The engine's queue is full for the next request.
    EngineBusy,
    Api {
        order: Order,
        stale: bool,
    },
    /// Another process writes, and the live session hears of it only by a conflict.
    Rival(Order),
    StoreDown,
    StoreUp,
    /// The server is killed, and starts again.
    RestartServer,
    /// Time passes, and timers run.
    Wait(u16),
    /// The wall clock is set.
    ClockJump(i16),
    /// Everything is delivered, everybody comes back who can, the store works: then all must agree.
    Settle,
}

/// A transition, and what the network does after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) what: Transition,
    /// Seeds the order in which what is on its way arrives; 0: all of it, oldest first.
    pub(crate) network: u32,
}

impl fmt::Debug for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.network == 0 {
            write!(formatter, "{:?}", self.what)
        } else {
            write!(formatter, "{:?}  (network {:#x})", self.what, self.network)
        }
    }
}

/// The tenant's rules of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) auto_admit: bool,
    pub(crate) interpreters_with_provider: bool,
    pub(crate) observers_with_provider: bool,
    pub(crate) scheduled: bool,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "  {:?}", self.setup)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(formatter, "  {number:3} {step:?}")?;
        }
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a length");
        usize::try_from(self.next() % bound).expect("below a length")
    }

    /// In so many of 100 cases.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Steps of one run, beside those of how it begins.
const STEPS_MIN: usize = 40;
const STEPS_SPREAD: usize = 120;

impl Trace {
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let setup = Setup {
            auto_admit: rng.percent(20),
            interpreters_with_provider: rng.percent(20),
            observers_with_provider: rng.percent(20),
            scheduled: rng.percent(50),
        };
        let mut steps = Vec::new();
        if rng.percent(75) {
            steps.extend(visit(&mut rng));
        }
        let count = STEPS_MIN + rng.below(STEPS_SPREAD);
        let weights = Weights::of(&mut rng);
        for _ in 0..count {
            let what = weights.transition(&mut rng);
            steps.push(Step { what, network: network(&mut rng) });
        }
        Self { setup, steps }
    }
}

fn network(rng: &mut Rng) -> u32 {
    if rng.percent(40) { 0 } else { u32::try_from(rng.next() >> 32).expect("32 bits") | 1 }
}

/// Most of what is worth trying needs a visit that has begun.
fn visit(rng: &mut Rng) -> Vec<Step> {
    use Transition::{Ask as Asks, Do, Join};
    let mut steps = Vec::new();
    let mut step = |what| steps.push(Step { what, network: 0 });
    for person in [Person::Doctor, Person::Patient, Person::Interpreter, Person::Observer, Person::Colleague]
    {
        if person > Person::Patient && rng.percent(50) {
            continue;
        }
        let tab = Tab(person, 0);
        step(Join { tab, vouched: false });
        step(Asks(tab, Ask::Offer));
        step(Transition::Line(tab, Line::Up));
        if !person.is_provider() && rng.percent(85) {
            step(Do { by: Tab(Person::Doctor, 0), act: Act::Admit, whom: person });
        }
    }
    steps
}

/// Some runs are about one thing, others about another.
struct Weights {
    kinds: Vec<(usize, Kind)>,
    sum: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Come,
    SecondDevice,
    Retry,
    Drop,
    Reload,
    Twice,
    Delay,
    Act,
    End,
    Leave,
    Chat,
    Ask,
    Nonsense,
    Theft,
    Line,
    Api,
    Rival,
    Store,
    Restart,
    Time,
    Settle,
}

impl Weights {
    fn of(rng: &mut Rng) -> Self {
        let mut kinds = vec![
            (10, Kind::Come),
            (6, Kind::SecondDevice),
            (16, Kind::Retry),
            (10, Kind::Drop),
            (5, Kind::Reload),
            (5, Kind::Twice),
            (4, Kind::Delay),
            (14, Kind::Act),
            (1, Kind::End),
            (2, Kind::Leave),
            (12, Kind::Chat),
            (10, Kind::Ask),
            (3, Kind::Nonsense),
            (3, Kind::Theft),
            (8, Kind::Line),
            (4, Kind::Api),
            (2, Kind::Rival),
            (4, Kind::Store),
            (3, Kind::Restart),
            (8, Kind::Time),
            (4, Kind::Settle),
        ];
        for (weight, _) in &mut kinds {
            *weight *= rng.pick(&[0, 1, 2, 2, 2, 4]);
        }
        // Whatever a run is about, somebody comes, and somebody comes back.
        kinds.extend([(4, Kind::Come), (4, Kind::Retry), (4, Kind::Act)]);
        let sum = kinds.iter().map(|(weight, _)| weight).sum();
        Self { kinds, sum }
    }

    fn transition(&self, rng: &mut Rng) -> Transition {
        let mut at = rng.below(self.sum);
        for &(weight, kind) in &self.kinds {
            if at < weight {
                return one(kind, rng);
            }
            at -= weight;
        }
        Transition::Settle
    }
}

fn person(rng: &mut Rng) -> Person {
    use Person::{Colleague, Doctor, Interpreter, Observer, Patient};
    rng.pick(&[Doctor, Doctor, Patient, Patient, Patient, Interpreter, Observer, Colleague])
}

fn tab(rng: &mut Rng) -> Tab {
    Tab(person(rng), rng.pick(&[0, 0, 0, 1]))
}

fn host(rng: &mut Rng) -> Tab {
    let person = rng.pick(&[
        Person::Doctor,
        Person::Doctor,
        Person::Doctor,
        Person::Doctor,
        Person::Colleague,
        Person::Colleague,
        Person::Patient,
        Person::Observer,
    ]);
    Tab(person, rng.pick(&[0, 0, 0, 1]))
}

fn act(rng: &mut Rng) -> Act {
    use Act::{Admit, Deny, Remove, SendBack};
    rng.pick(&[Admit, Admit, Admit, Admit, Admit, Deny, SendBack, SendBack, Remove])
}

fn one(kind: Kind, rng: &mut Rng) -> Transition {
    match kind {
        Kind::Come => Transition::Join { tab: tab(rng), vouched: rng.percent(20) },
        Kind::SecondDevice => Transition::SecondDevice { person: person(rng), vouched: rng.percent(30) },
        Kind::Retry => Transition::Retry(tab(rng)),
        Kind::Drop if rng.percent(30) => Transition::GiveUp(tab(rng)),
        Kind::Drop => Transition::Drop { tab: tab(rng), lost: rng.pick(&[0, 0, 1, 9]) },
        Kind::Reload => Transition::Reload(tab(rng)),
        Kind::Twice if rng.percent(50) => Transition::HelloTwice(tab(rng)),
        Kind::Twice => Transition::SayTwice(tab(rng)),
        Kind::Delay if rng.percent(30) => Transition::Thaw,
        Kind::Delay => Transition::Delay(u8::try_from(rng.below(16)).expect("below 16")),
        Kind::Act => Transition::Do { by: host(rng), act: act(rng), whom: person(rng) },
        Kind::End => Transition::End(host(rng)),
        Kind::Leave => Transition::Leave(tab(rng)),
        Kind::Chat if rng.percent(20) => Transition::ChatAgain(tab(rng)),
        Kind::Chat => Transition::Chat(tab(rng)),
        Kind::Ask => Transition::Ask(tab(rng), ask(rng)),
        Kind::Nonsense => Transition::Nonsense(tab(rng), nonsense(rng)),
        Kind::Theft => Transition::Theft(theft(rng)),
        Kind::Line if rng.percent(5) => Transition::EngineBusy,
        Kind::Line => Transition::Line(tab(rng), line(rng)),
        Kind::Api => Transition::Api { order: order(rng), stale: rng.percent(20) },
        Kind::Rival => Transition::Rival(order(rng)),
        Kind::Store if rng.percent(60) => Transition::StoreUp,
        Kind::Store => Transition::StoreDown,
        Kind::Restart => Transition::RestartServer,
        Kind::Time if rng.percent(15) => Transition::ClockJump(rng.pick(&[-30, -5, -1, 61, 300, 1_800])),
        Kind::Time => Transition::Wait(rng.pick(&[1, 1, 2, 5, 8, 30, 59, 61, 900, 1_801])),
        Kind::Settle => Transition::Settle,
    }
}

fn ask(rng: &mut Rng) -> Ask {
    match rng.below(17) {
        0..4 => Ask::Offer,
        4 => Ask::Restart,
        5 | 6 => Ask::Subscribe(person(rng)),
        7 => Ask::Publish(rng.percent(50)),
        8 => Ask::Stats,
        9..11 => Ask::Ping,
        11 => Ask::Consent(rng.percent(70)),
        12 => Ask::RecordingConsent(rng.percent(70)),
        13 => Ask::Tier(u8::try_from(rng.below(3)).expect("below 3")),
        14 => Ask::Wish(u8::try_from(rng.below(4)).expect("below 4")),
        _ => Ask::Timeline(person(rng)),
    }
}

fn nonsense(rng: &mut Rng) -> Nonsense {
    use Nonsense::{FutureAck, LongLine, NoJson, OldId, SecondHello, Stranger, UnknownType, WrongSeat};
    rng.pick(&[NoJson, UnknownType, SecondHello, LongLine, Stranger, FutureAck, OldId, WrongSeat])
}

fn theft(rng: &mut Rng) -> Theft {
    let person = person(rng);
    match rng.below(6) {
        0 => Theft::Guess,
        1 | 2 => Theft::OldSecret(person),
        3 => Theft::OldSecretWithStory(person),
        4 => Theft::UsedTicket(person),
        _ => Theft::KeptTicket(person),
    }
}

fn line(rng: &mut Rng) -> Line {
    match rng.below(18) {
        0..4 => Line::Up,
        4 => Line::Lost,
        5 | 6 => Line::Quiet,
        7 => Line::Heard,
        8 | 9 => Line::Camera(rng.percent(70)),
        10 => Line::Screen(rng.percent(60)),
        11 => Line::RestartFailed,
        12 => Line::Speaks,
        13 | 14 => Line::Quality(u8::try_from(rng.below(4)).expect("below 4")),
        15 => Line::Measured,
        16 => Line::Wanted(u8::try_from(rng.below(4)).expect("below 4")),
        _ => Line::Thrifty(rng.percent(60)),
    }
}

fn order(rng: &mut Rng) -> Order {
    let whom = person(rng);
    match rng.below(20) {
        0..7 => Order::About(act(rng), whom),
        7..11 => Order::Invite(whom),
        11 => Order::RevokeTokens(whom),
        12 => Order::Leave(whom),
        13 => Order::Record(rng.percent(70)),
        14 => Order::RecordingConsent(rng.percent(80)),
        15 => Order::Telehealth(rng.percent(80)),
        16 => Order::End,
        17 => Order::Cancel,
        _ => Order::Postpone,
    }
}

/// Leaves steps out, and makes the network kind, while `fails` says that it still does. `runs_max` bounds the work.
pub(crate) fn shrink(trace: &Trace, runs_max: usize, mut fails: impl FnMut(&Trace) -> bool) -> Trace {
    let mut best = trace.clone();
    let mut runs = 0;
    let mut try_it = |candidate: &Trace| {
        runs += 1;
        (runs <= runs_max).then(|| fails(candidate))
    };
    let mut chunk = best.steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut shorter = false;
        while at < best.steps.len() {
            let mut candidate = best.clone();
            candidate.steps.drain(at..(at + chunk).min(best.steps.len()));
            match try_it(&candidate) {
                Some(true) => (best, shorter) = (candidate, true),
                Some(false) => at += chunk,
                None => return best,
            }
        }
        if chunk > 1 {
            chunk = chunk.div_ceil(2);
        } else if !shorter {
            break;
        }
    }
    for at in 0..best.steps.len() {
        let mut candidate = best.clone();
        if std::mem::take(&mut candidate.steps[at].network) == 0 {
            continue;
        }
        match try_it(&candidate) {
            Some(true) => best = candidate,
            Some(false) => {}
            None => return best,
        }
    }
    best
}
