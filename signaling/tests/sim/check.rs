//! What must be so, looked at after everything that happens. It knows the rules (docs/protocol.md, the domain's
//! invariants), and nothing of how the machine keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{
    Actor, EndReason, Event, ParticipantId, ParticipantRole, SessionStatus, Standing, VirtualSession,
};
use vestibule_signaling::wire::{ErrorCode, ServerMessage};
use vestibule_signaling::{Commit, LOG_MESSAGES_MAX, Load, PeerId, ResumeKey, ThreadLine};

use crate::engine::Engine;
use crate::trace::{Person, Tab};

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Which: what a shorter trace must break, too.
    pub(crate) check: &'static str,
    pub(crate) what: String,
}

pub(crate) type Checked = Result<(), Fault>;

pub(crate) fn fault<T>(check: &'static str, what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { check, what: what.into() })
}

fn ensure(condition: bool, check: &'static str, what: impl FnOnce() -> String) -> Checked {
    if condition { Ok(()) } else { fault(check, what()) }
}

/// One page of one device: a reload makes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageId(pub(crate) Tab, pub(crate) u32);

/// A socket that the server holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) page: PageId,
    /// Once it was greeted: which incarnation of which device it carries.
    pub(crate) incarnation: Option<String>,
}

/// A device the server knows, by its incarnation.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) page: PageId,
    pub(crate) newcomer: bool,
    pub(crate) peer: PeerId,
    told: BTreeMap<u64, Arc<ServerMessage>>,
}

/// The secrets of somebody that are good.
#[derive(Clone, Copy, Debug)]
struct Keys {
    current: ResumeKey,
    previous: Option<ResumeKey>,
}

/// What is being handled.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    Hello { socket: u64, person: Person, shown: Shown },
    Frame { socket: u64, id: Option<u64> },
    Other,
}

/// What a `hello` shows.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    Ticket { epoch: u32, vouched: bool },
    Secret { key: ResumeKey, incarnation: Option<String> },
}

/// What must come of a `hello`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Entry,
    /// Or the advice to try again: nothing can be written.
    EntryOrLater,
    Refusal,
    Either,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    Nothing,
    Entry,
    Refusal { later: bool },
}

#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) ids: BTreeMap<Person, ParticipantId>,
    pub(crate) sockets: BTreeMap<u64, Held>,
    pub(crate) members: BTreeMap<String, Member>,
    keys: BTreeMap<Person, Keys>,
    /// Of newcomers, which only this life of the server knows.
    newcomer_keys: Vec<(Person, ResumeKey)>,
    /// The newest socket that was greeted, of each person.
    newest: BTreeMap<Person, u64>,
    /// Since when nothing is heard of somebody, on the server's clock.
    lost_since: BTreeMap<Person, Timestamp>,
    /// What was said, and is kept.
    lines: Vec<ThreadLine>,
    /// Requests that led to a change.
    changed: BTreeSet<(String, u64)>,
    cause: Cause,
    due: Due,
    came: Came,
    /// Who was in when what is handled came.
    inside_before: BTreeSet<Person>,
    last_peer: Option<PeerId>,
    /// Something is taken from somebody that is not written yet: their media counts no more.
    cut: bool,
    /// Another process wrote, and the live session does not know it.
    pub(crate) rival: bool,
}

impl Check {
    pub(crate) fn new(ids: BTreeMap<Person, ParticipantId>) -> Self {
        Self {
            ids,
            sockets: BTreeMap::new(),
            members: BTreeMap::new(),
            keys: BTreeMap::new(),
            newcomer_keys: Vec::new(),
            newest: BTreeMap::new(),
            lost_since: BTreeMap::new(),
            lines: Vec::new(),
            changed: BTreeSet::new(),
            cause: Cause::Other,
            due: Due::Either,
            came: Came::Nothing,
            inside_before: BTreeSet::new(),
            last_peer: None,
            cut: false,
            rival: false,
        }
    }

    pub(crate) fn person(&self, id: ParticipantId) -> Option<Person> {
        self.ids.iter().find(|(_, known)| **known == id).map(|(&person, _)| person)
    }

    /// Whose secret it is, of a newcomer.
    pub(crate) fn newcomer_of(&self, key: &ResumeKey) -> Option<Person> {
        self.newcomer_keys.iter().find(|(_, known)| known == key).map(|(person, _)| *person)
    }

    /// Whether a secret may be good for anything.
    pub(crate) fn may_let_in(&self, key: &ResumeKey) -> bool {
        let holds = |keys: &Keys| keys.current == *key || keys.previous == Some(*key);
        self.keys.values().any(holds) || self.newcomer_of(key).is_some()
    }

    /// Who must be let in by a secret.
    pub(crate) fn must_let_in(&self, key: &ResumeKey, session: &VirtualSession) -> Option<Person> {
        let holds = |keys: &Keys| keys.current == *key || keys.previous == Some(*key);
        let person = self.keys.iter().find(|(_, keys)| holds(keys)).map(|(&person, _)| person)?;
        let record = session.participant(self.ids[&person])?;
        (record.inside() && !session.status().is_final()).then_some(person)
    }

    /// The device of somebody that waits or is in, or their newcomer, as the server knows it.
    pub(crate) fn member(&self, person: Person, newcomer: bool) -> Option<&Member> {
        self.members.values().find(|member| member.page.0.0 == person && member.newcomer == newcomer)
    }

    /// The device on a socket.
    pub(crate) fn member_on(&self, socket: Option<u64>) -> Option<&Member> {
        self.member_of(self.sockets.get(&socket?)?)
    }

    pub(crate) fn first_is_connected(&self, person: Person) -> bool {
        self.is_connected(person, false)
    }

    pub(crate) fn newcomer_is_connected(&self, person: Person) -> bool {
        self.is_connected(person, true)
    }

    fn is_connected(&self, person: Person, newcomer: bool) -> bool {
        let of = |held: &Held| self.member_of(held).map(|member| (member.page.0.0, member.newcomer));
        self.sockets.values().any(|held| of(held) == Some((person, newcomer)))
    }

    /// The server was killed: it knows nobody's device any more, and whoever was there is lost from now on.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        self.sockets.clear();
        self.members.clear();
        self.newcomer_keys.clear();
        self.newest.clear();
        self.lost_since = Person::ALL.into_iter().map(|person| (person, now)).collect();
        self.rival = false;
    }
}

// --- before and after an input -----------------------------------------------------------------------------------

impl Check {
    pub(crate) fn begin(&mut self, cause: Cause, session: &VirtualSession, store_is_down: bool) {
        self.inside_before = self.inside(session);
        self.came = Came::Nothing;
        self.due = match &cause {
            Cause::Hello { socket, person, shown } => {
                self.due(*socket, *person, shown, session, store_is_down)
            }
            _ => Due::Either,
        };
        self.cause = cause;
    }

    pub(crate) fn end(
        &mut self,
        now: Timestamp,
        session: &VirtualSession,
        engine: &Engine,
        load: Load,
    ) -> Checked {
        let cause = std::mem::replace(&mut self.cause, Cause::Other);
        self.hello_came_to_what_it_must(&cause, session)?;
        self.first_device_is_undisturbed(&cause, engine)?;
        self.gates(session, engine)?;
        self.bounds(load)?;
        self.cut = load.retries > 0;
        self.note_contact(now, session, engine);
        Ok(())
    }

    fn due(&self, socket: u64, person: Person, shown: &Shown, session: &VirtualSession, down: bool) -> Due {
        let record = session.participant(self.ids[&person]);
        let is_over = session.status().is_final();
        match shown {
            Shown::Ticket { epoch, .. } => {
                let good = record
                    .is_some_and(|record| record.epoch == *epoch && record.standing != Standing::Removed)
                    && !is_over;
                let consents = session.consents_needed(self.ids[&person]).is_empty();
                let seated =
                    record.is_some_and(|record| record.standing == Standing::Admitted && record.inside());
                let stale = self.newest.get(&person).is_some_and(|&newest| newest > socket);
                match (good, consents) {
                    (false, _) => Due::Refusal,
                    // Who is in already was asked before, and is so still.
                    (true, false) if seated => Due::Either,
                    (true, false) => Due::Refusal,
                    // By the end of what was written elsewhere it may be otherwise.
                    (true, true) if self.rival => Due::Either,
                    (true, true) if down || stale => Due::EntryOrLater,
                    (true, true) => Due::Entry,
                }
            }
            Shown::Secret { key, .. } => {
                let inside = record.is_some_and(vestibule_domain::Participant::inside);
                let good = self
                    .keys
                    .get(&person)
                    .is_some_and(|keys| keys.current == *key || keys.previous == Some(*key));
                // A page that opened another socket since means that one.
                let stale = self.newest.get(&person).is_some_and(|&newest| newest > socket);
                let newcomer = self.newcomer_keys.contains(&(person, *key));
                match () {
                    () if newcomer => Due::Either,
                    () if !good || !inside || is_over => Due::Refusal,
                    () if stale => Due::EntryOrLater,
                    () => Due::Entry,
                }
            }
        }
    }

    fn hello_came_to_what_it_must(&self, cause: &Cause, session: &VirtualSession) -> Checked {
        let Cause::Hello { person, shown, socket } = cause else { return Ok(()) };
        let fits = match self.due {
            Due::Entry => self.came == Came::Entry,
            Due::EntryOrLater => matches!(self.came, Came::Entry | Came::Refusal { later: true }),
            Due::Refusal => matches!(self.came, Came::Refusal { .. }),
            Due::Either => true,
        };
        let check = if self.due == Due::Refusal { "void credentials" } else { "holder" };
        ensure(fits, check, || {
            let record = session.participant(self.ids[person]);
            format!(
                "{:?} was due to socket {socket} with {shown:?}, {:?} came; {record:?}",
                self.due, self.came
            )
        })
    }

    /// A newcomer that only knocks changes nothing for the device that is in.
    fn first_device_is_undisturbed(&self, cause: &Cause, engine: &Engine) -> Checked {
        let Cause::Hello { person, shown: Shown::Ticket { vouched, .. }, .. } = cause else { return Ok(()) };
        let replaces_at_once = *vouched && person.is_provider();
        if replaces_at_once || !self.inside_before.contains(person) {
            return Ok(());
        }
        let first = self.members.values().find(|member| member.page.0.0 == *person && !member.newcomer);
        let Some(first) = first else { return Ok(()) };
        ensure(engine.peers.contains_key(&first.peer), "first device", || {
            format!("the transport of {:?} is gone by a knock", first.page)
        })
    }

    /// Media passes only for those who are in, by one device each, and from and to such.
    fn gates(&self, session: &VirtualSession, engine: &Engine) -> Checked {
        let inside = self.inside(session);
        let mut open = BTreeSet::new();
        for (id, peer) in &engine.peers {
            let member = self.members.values().find(|member| member.peer == *id);
            if peer.gate_is_open {
                let Tab(person, _) = peer.tab;
                ensure(inside.contains(&person), "gates", || format!("open for {person:?}, who is out"))?;
                ensure(open.insert(person), "gates", || format!("two are open for {person:?}"))?;
                ensure(member.is_some_and(|member| !member.newcomer), "gates", || {
                    format!("open for a newcomer, or nobody's: {:?}", peer.tab)
                })?;
            }
            for (seat, occupant) in &peer.seats {
                let other = engine.peers.get(occupant);
                // Between a removal and what follows of it, gates are closed and seats still taken.
                let sound = other.is_some_and(|other| other.tab.0 != peer.tab.0);
                ensure(sound, "seats", || format!("{occupant:?} in {seat:?} of {:?}", peer.tab))?;
            }
        }
        Ok(())
    }

    fn bounds(&self, load: Load) -> Checked {
        let people = self.ids.len();
        let bounded = load.members <= 2 * people
            && load.messages <= load.members * LOG_MESSAGES_MAX
            && load.requests <= load.members * 32
            && load.retries <= 64;
        ensure(bounded, "bounds", || format!("{load:?}"))
    }

    /// Who is in: what was committed last.
    pub(crate) fn inside(&self, session: &VirtualSession) -> BTreeSet<Person> {
        let of = |record: &vestibule_domain::Participant| {
            (record.standing == Standing::Admitted && record.inside())
                .then(|| self.person(record.id))
                .flatten()
        };
        session.participants().iter().filter_map(of).collect()
    }

    /// Whether anything is heard of somebody who waits or is in: of any device of theirs, but for newcomers of a provider,
    /// who let nobody in.
    pub(crate) fn has_contact(&self, person: Person, session: &VirtualSession, engine: &Engine) -> bool {
        self.first_has_contact(person, session, engine)
            || self.newcomer_is_connected(person) && !person.is_provider()
    }

    /// Whether anything is heard of the device that waits or is in.
    pub(crate) fn first_has_contact(
        &self,
        person: Person,
        session: &VirtualSession,
        engine: &Engine,
    ) -> bool {
        let media = |member: &Member| {
            engine.peers.get(&member.peer).is_some_and(|peer| peer.connected && !peer.quiet)
        };
        self.first_is_connected(person)
            || !self.cut
                && self.inside(session).contains(&person)
                && self.member(person, false).is_some_and(media)
    }

    fn note_contact(&mut self, now: Timestamp, session: &VirtualSession, engine: &Engine) {
        for person in Person::ALL {
            if self.has_contact(person, session, engine) {
                self.lost_since.remove(&person);
            } else {
                self.lost_since.entry(person).or_insert(now);
            }
        }
    }
}

// --- what is sent ------------------------------------------------------------------------------------------------

impl Check {
    pub(crate) fn added(&mut self, peer: PeerId) {
        self.last_peer = Some(peer);
    }

    /// A transport was lost, and the device has another peer.
    pub(crate) fn renewed(&mut self, old: PeerId, fresh: PeerId) {
        for member in self.members.values_mut().filter(|member| member.peer == old) {
            member.peer = fresh;
        }
    }

    /// Whose peer it is that is added now.
    pub(crate) fn who_gets_a_peer(&self, lost: Option<PeerId>, engine: &Engine) -> Option<Tab> {
        match (&self.cause, lost) {
            (Cause::Hello { socket, .. }, _) => self.sockets.get(socket).map(|held| held.page.0),
            (_, Some(peer)) => engine.peers.get(&peer).map(|peer| peer.tab),
            _ => None,
        }
    }

    pub(crate) fn sent(
        &mut self,
        socket: u64,
        seq: u64,
        message: &Arc<ServerMessage>,
        session: &VirtualSession,
        key_of: impl Fn(&str) -> ResumeKey,
    ) -> Checked {
        let Some(held) = self.sockets.get(&socket).cloned() else {
            return fault("closed sockets", format!("{message:?} on {socket}"));
        };
        let person = held.page.0.0;
        let is_answer = matches!(&self.cause, Cause::Hello { socket: asking, .. } if *asking == socket);
        if held.incarnation.is_none() {
            ensure(is_answer, "greeting", || format!("{message:?} before any hello"))?;
            return self.greeted(socket, held.page, seq, message, key_of);
        }
        self.numbered(&held, seq, message)?;
        if let ServerMessage::Admitted { .. } = **message {
            self.admitted(&held);
        }
        // What is sent again was theirs to read when it was said; their page checks the order.
        if is_answer {
            return Ok(());
        }
        let newcomer = self.member_of(&held).is_some_and(|member| member.newcomer);
        let may =
            !newcomer && (self.inside_before.contains(&person) || self.inside(session).contains(&person));
        ensure(may || tells_nothing(message, self.ids[&person]), "outside", || {
            format!("{message:?} to {:?}, who is out (newcomer: {newcomer})", held.page)
        })?;
        if let ServerMessage::Quality { participant_id, .. } = **message {
            let theirs = participant_id == self.ids[&person] || person.is_provider();
            ensure(theirs, "outside", || format!("{message:?} to {person:?}"))?;
        }
        if let ServerMessage::Superseded {} = **message {
            self.superseded(socket, &held)?;
        }
        Ok(())
    }

    fn greeted(
        &mut self,
        socket: u64,
        page: PageId,
        seq: u64,
        message: &Arc<ServerMessage>,
        key_of: impl Fn(&str) -> ResumeKey,
    ) -> Checked {
        let Cause::Hello { person, shown, .. } = self.cause.clone() else { return Ok(()) };
        let (incarnation, secret, newcomer) = match &**message {
            ServerMessage::Welcome { incarnation, resume, new_device, .. } => {
                let Some(peer) = self.last_peer else { return fault("greeting", "no peer for it") };
                let fresh = Member { page, newcomer: *new_device, peer, told: BTreeMap::new() };
                let known = self.members.insert(incarnation.clone(), fresh);
                ensure(known.is_none(), "incarnations", || format!("{incarnation} twice"))?;
                (incarnation.clone(), resume, *new_device)
            }
            ServerMessage::Resumed { resume, .. } => {
                let Shown::Secret { incarnation: Some(incarnation), .. } = &shown else {
                    return fault("greeting", "resumed, and no incarnation was named");
                };
                let known = self.members.get(incarnation).map(|member| (member.page.0.0, member.newcomer));
                let Some((owner, newcomer)) = known else {
                    return fault("incarnations", format!("{incarnation} of another life was resumed"));
                };
                ensure(owner == person, "incarnations", || format!("{person:?} resumed that of {owner:?}"))?;
                (incarnation.clone(), resume, newcomer)
            }
            ServerMessage::Error { code, retryable, .. } => {
                self.came = Came::Refusal { later: *retryable };
                let sound = *code != ErrorCode::Malformed;
                return ensure(sound, "greeting", || format!("{message:?}"));
            }
            ServerMessage::Ended { .. } | ServerMessage::Removed {} | ServerMessage::Denied { .. } => {
                self.came = Came::Refusal { later: false };
                return Ok(());
            }
            _ => return fault("greeting", format!("{message:?} ({seq}) before a welcome")),
        };
        self.came = Came::Entry;
        for other in self.sockets.values_mut() {
            if other.incarnation.as_ref() == Some(&incarnation) {
                other.incarnation = None;
            }
        }
        if let Some(held) = self.sockets.get_mut(&socket) {
            held.incarnation = Some(incarnation);
        }
        self.handed_out(person, &shown, newcomer, secret.as_deref().map(key_of));
        let newest = self.newest.entry(person).or_default();
        *newest = socket.max(*newest);
        Ok(())
    }

    /// A secret was given: it is good, and the one it was got by until it is used.
    fn handed_out(&mut self, person: Person, shown: &Shown, newcomer: bool, fresh: Option<ResumeKey>) {
        let Some(current) = fresh else { return };
        if newcomer {
            self.newcomer_keys.push((person, current));
            return;
        }
        let previous = match shown {
            Shown::Ticket { .. } => None,
            Shown::Secret { key, .. } => Some(*key),
        };
        self.keys.insert(person, Keys { current, previous });
    }

    fn numbered(&mut self, held: &Held, seq: u64, message: &Arc<ServerMessage>) -> Checked {
        let Some(member) = held.incarnation.as_ref().and_then(|name| self.members.get_mut(name)) else {
            return Ok(());
        };
        let first = member.told.entry(seq).or_insert_with(|| Arc::clone(message));
        ensure(Arc::ptr_eq(first, message) || first == message, "numbers", || {
            format!("{seq} was {first:?}, and is {message:?}")
        })
    }

    fn member_of(&self, held: &Held) -> Option<&Member> {
        self.members.get(held.incarnation.as_ref()?)
    }

    fn admitted(&mut self, held: &Held) {
        let Some(name) = held.incarnation.clone() else { return };
        let person = held.page.0.0;
        if let Some(member) = self.members.get_mut(&name)
            && std::mem::take(&mut member.newcomer)
        {
            // The newcomer's latest secret is the person's now.
            if let Some(&(_, current)) = self.newcomer_keys.iter().rev().find(|(of, _)| *of == person) {
                self.keys.insert(person, Keys { current, previous: None });
            }
            self.newcomer_keys.retain(|(of, _)| *of != person);
        }
    }

    /// Only another device, or another page of the same, takes a device's place; and only with a reason.
    fn superseded(&self, old: u64, held: &Held) -> Checked {
        let person = held.page.0.0;
        let by_hello = match &self.cause {
            Cause::Hello { person: who, socket, shown } if *who == person => {
                let seated = self.inside_before.contains(&person);
                let vouched = matches!(shown, Shown::Ticket { vouched: true, .. }) && person.is_provider();
                let newcomer = self.member_of(held).is_some_and(|member| member.newcomer);
                let may = match shown {
                    Shown::Ticket { .. } => newcomer || vouched || !seated,
                    // A page that opened another socket has given up the one before.
                    Shown::Secret { .. } => *socket > old,
                };
                Some(may)
            }
            _ => None,
        };
        ensure(by_hello != Some(false), "first device", || {
            format!("{:?} is superseded by {:?}", held.page, self.cause)
        })
    }

    /// A socket is closed by the server, or was lost.
    pub(crate) fn closed(&mut self, socket: u64) {
        self.sockets.remove(&socket);
    }
}

/// What whoever waits may read.
fn tells_nothing(message: &ServerMessage, me: ParticipantId) -> bool {
    match message {
        ServerMessage::Welcome { you, participants, chat, .. } => {
            you.id == me && participants.is_empty() && chat.is_empty()
        }
        ServerMessage::Participant { .. }
        | ServerMessage::Chat { .. }
        | ServerMessage::Admitted { .. }
        | ServerMessage::Knock { .. }
        | ServerMessage::KnockOver { .. }
        | ServerMessage::Speaker { .. }
        | ServerMessage::Timeline { .. }
        | ServerMessage::Recording { .. } => false,
        ServerMessage::Quality { participant_id, .. } => *participant_id == me,
        ServerMessage::Seats { seats, .. } => seats.iter().all(|seat| seat.participant.is_none()),
        _ => true,
    }
}

// --- what is written ---------------------------------------------------------------------------------------------

impl Check {
    /// A change that was written: may it be?
    pub(crate) fn written(&mut self, before: &VirtualSession, commit: &Commit, engine: &Engine) -> Checked {
        if commit.events.is_empty() {
            return ensure(self.rival || commit.after == *before, "versions", || {
                "no event, and another state".into()
            });
        }
        let row = commit.after.to_stored();
        if let Err(error) = VirtualSession::from_stored(row) {
            return fault("invariants", error.to_string());
        }
        let mut folded = before.clone();
        folded.commit(&commit.events);
        ensure(folded == commit.after && commit.after.version() == before.version() + 1, "versions", || {
            format!("{:?} do not lead to what was written", commit.events)
        })?;
        ensure(!before.status().is_final(), "final", || format!("{:?} after the end", commit.events))?;
        self.by_whom_it_may(commit)?;
        for event in &commit.events {
            self.event(before, commit, event, engine)?;
        }
        for event in &commit.events {
            self.note(event);
        }
        Ok(())
    }

    /// What takes from somebody is done before it is written: their media passes no more. But for what time alone decides,
    /// which who comes back in time goes on without having noticed.
    pub(crate) fn taken_before_it_is_written(&self, commit: &Commit, engine: &Engine) -> Checked {
        if commit.actor == Actor::Timer {
            return Ok(());
        }
        for event in &commit.events {
            let taken = |person: Person| match event {
                Event::Denied { participant, .. }
                | Event::SentBack { participant }
                | Event::Removed { participant, .. }
                | Event::Left { participant, .. } => self.ids[&person] == *participant,
                Event::Ended { .. } | Event::Cancelled { .. } | Event::Failed { .. } => true,
                _ => false,
            };
            let open = engine.peers.values().find(|peer| peer.gate_is_open && taken(peer.tab.0));
            ensure(open.is_none(), "cut first", || {
                format!("{event:?} is to be written, and open is {open:?}")
            })?;
        }
        Ok(())
    }

    /// What somebody else wrote: known from the next conflict on.
    pub(crate) fn written_by_a_rival(&mut self, events: &[Event]) {
        self.rival |= !events.is_empty();
    }

    /// The live session was told what is in the store.
    pub(crate) fn told_of_rivals(&mut self, session: &VirtualSession) {
        self.rival = false;
        for person in Person::ALL {
            let inside =
                session.participant(self.ids[&person]).is_some_and(vestibule_domain::Participant::inside);
            if !inside {
                self.forget(person);
            }
        }
    }

    fn by_whom_it_may(&mut self, commit: &Commit) -> Checked {
        let Cause::Frame { socket, id } = self.cause else { return Ok(()) };
        // That somebody goes on in writing, or nobody any more, is put on record whenever there is time for it.
        let writing =
            |event: &Event| matches!(event, Event::FallbackInitiated { .. } | Event::FallbackEnded { .. });
        if commit.events.iter().all(writing) {
            return Ok(());
        }
        let Some(held) = self.sockets.get(&socket) else {
            // Somebody whom another process took out meanwhile: their word on consent counts from anywhere.
            let consent =
                |event: &Event| matches!(event, Event::ConsentCaptured { .. } | Event::RecordingDisabled);
            return ensure(commit.events.iter().all(consent), "closed sockets", || {
                format!("socket {socket} has changed something: {:?}", commit.events)
            });
        };
        let member = self.member_of(held);
        ensure(member.is_some_and(|member| !member.newcomer), "newcomers", || {
            format!("{:?} by one who only knocks", commit.events)
        })?;
        let by_another = commit.actor != Actor::Participant(self.ids[&held.page.0.0]);
        ensure(!by_another, "actors", || format!("{:?} on a socket of {:?}", commit.actor, held.page))?;
        if let (Some(id), Some(incarnation)) = (id, held.incarnation.clone()) {
            let first = self.changed.insert((incarnation, id));
            ensure(first, "exactly once", || format!("request {id} has changed something twice"))?;
        }
        Ok(())
    }

    fn event(&self, before: &VirtualSession, commit: &Commit, event: &Event, engine: &Engine) -> Checked {
        let record = event.participant().and_then(|id| before.participant(id));
        let person = event.participant().and_then(|id| self.person(id));
        let rule = |condition: bool, what: &str| {
            ensure(condition, "rules", || format!("{what}: {event:?} by {:?}", commit.actor))
        };
        let host = self.is_host(before, &commit.actor);
        let joined = |id: ParticipantId| {
            commit
                .events
                .iter()
                .any(|event| matches!(event, Event::Joined { participant, .. } if *participant == id))
        };
        match event {
            Event::Joined { participant, standing, .. } => {
                let by = matches!(&self.cause, Cause::Hello { person: who, shown: Shown::Ticket { .. }, .. } if Some(*who) == person);
                rule(by, "nobody said hello")?;
                let record = record.expect("of a participant");
                rule(!(record.standing == Standing::Admitted && record.inside()), "they are in already")?;
                rule(record.standing != Standing::Removed, "they were removed")?;
                rule(before.consents_needed(*participant).is_empty(), "without consent")?;
                let straight = record.role == ParticipantRole::Provider
                    || before.policy().comes_with_provider(record.role);
                rule(straight || *standing == Standing::Waiting, "nobody let them in")?;
            }
            Event::Admitted { participant, .. } => {
                let record = record.expect("of a participant");
                rule(record.standing == Standing::Waiting && record.inside(), "they did not wait")?;
                let person = person.expect("one of ours");
                rule(self.has_contact(person, before, engine), "they are not connected")?;
                let joining = matches!(commit.actor, Actor::Participant(id) if joined(id));
                rule(host || joining, "this is not theirs to ask")?;
                if record.role == ParticipantRole::Patient {
                    let provider = Person::ALL.into_iter().any(|other| {
                        other.is_provider()
                            && self.inside_before.contains(&other)
                            && self.has_contact(other, before, engine)
                    });
                    rule(provider || joining, "no provider is connected")?;
                    rule(before.consents_needed(*participant).is_empty(), "without consent")?;
                }
            }
            Event::Denied { .. } => {
                rule(
                    host && record.is_some_and(|record| record.standing == Standing::Waiting),
                    "they did not wait",
                )?;
            }
            Event::SentBack { .. } => {
                rule(
                    host && record.is_some_and(|record| record.standing == Standing::Admitted),
                    "they were not in",
                )?;
                rule(!person.is_some_and(Person::is_provider), "a provider has no waiting room")?;
            }
            Event::Removed { .. } | Event::Reinstated { .. } | Event::TokensRevoked { .. } => {
                rule(host, "this is not theirs to ask")?;
            }
            Event::DeviceReplaced { participant, .. } => {
                let person = person.expect("one of ours");
                rule(self.inside(before).contains(&person), "they are not in")?;
                let newcomer =
                    self.members.values().any(|member| member.page.0.0 == person && member.newcomer);
                let vouched = matches!(&self.cause, Cause::Hello { person: who, shown: Shown::Ticket { vouched: true, .. }, .. } if *who == person);
                rule(newcomer || vouched, "no other device is there")?;
                let own = commit.actor == Actor::Participant(*participant);
                let staff = matches!(commit.actor, Actor::Staff(_) | Actor::System);
                rule(if person.is_provider() { own || staff } else { host }, "this is not theirs to say")?;
            }
            Event::Left { participant, .. } => {
                let own = commit.actor == Actor::Participant(*participant);
                rule(own || matches!(commit.actor, Actor::Staff(_) | Actor::System), "not theirs to say")?;
            }
            Event::RecordingEnabled => {
                rule(
                    host && before.has_consent(vestibule_domain::ConsentType::Recording),
                    "without consent",
                )?;
            }
            Event::Ended { reason, .. } | Event::Cancelled { reason, .. } | Event::Failed { reason, .. } => {
                self.end_has_its_reason(before, commit, *reason)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn is_host(&self, before: &VirtualSession, actor: &Actor) -> bool {
        match actor {
            Actor::Staff(_) | Actor::System => true,
            Actor::Participant(id) => {
                let person = self.person(*id);
                person.is_some_and(|person| person.is_provider() && self.inside(before).contains(&person))
            }
            Actor::Timer => false,
        }
    }

    fn end_has_its_reason(&self, before: &VirtualSession, commit: &Commit, reason: EndReason) -> Checked {
        let rule = |condition: bool, what: &str| {
            ensure(condition, "ends", || {
                format!(
                    "{what}: {reason:?} at {} by {:?}; lost {:?}",
                    commit.at, commit.actor, self.lost_since
                )
            })
        };
        match reason {
            EndReason::ProviderEnded | EndReason::Cancelled => {
                rule(self.is_host(before, &commit.actor), "this is not theirs to ask")
            }
            EndReason::ReconnectExpired => {
                rule(before.status() == SessionStatus::Active, "it never began")?;
                let patient = self.side_is_lost(&[Person::Patient], before, commit.at);
                let providers = self.side_is_lost(&[Person::Doctor, Person::Colleague], before, commit.at);
                rule(patient || providers, "nobody was lost for so long")
            }
            _ => Ok(()),
        }
    }

    /// Whether nobody of a side was heard of for the whole grace.
    fn side_is_lost(&self, side: &[Person], session: &VirtualSession, now: Timestamp) -> bool {
        let grace = SignedDuration::from_secs(session.policy().grace_reconnect_seconds.into());
        let mut somebody = false;
        for person in side {
            let record = session.participant(self.ids[person]);
            if !record.is_some_and(vestibule_domain::Participant::inside) {
                continue;
            }
            somebody = true;
            let since = self.lost_since.get(person).copied();
            // The state knows whole milliseconds.
            if !since.is_some_and(|since| since.checked_add(grace).is_ok_and(|until| until <= now)) {
                return false;
            }
        }
        somebody
    }

    fn note(&mut self, event: &Event) {
        let Some(person) = event.participant().and_then(|id| self.person(id)) else { return };
        match event {
            Event::Denied { .. } | Event::Removed { .. } | Event::Left { .. } | Event::Reinstated { .. } => {
                self.forget(person);
            }
            _ => {}
        }
    }

    fn forget(&mut self, person: Person) {
        self.keys.remove(&person);
        self.newcomer_keys.retain(|(of, _)| *of != person);
    }

    /// A line was said.
    pub(crate) fn said(&mut self, line: &ThreadLine, session: &VirtualSession, cut: bool) -> Checked {
        let again =
            self.lines.iter().any(|known| known.from == line.from && known.client_id == line.client_id);
        ensure(!again, "chat", || format!("{} of {} is said twice", line.client_id, line.from))?;
        let audience: BTreeSet<_> = line.audience.iter().filter_map(|&id| self.person(id)).collect();
        let inside = self.inside(session);
        ensure(audience.is_subset(&inside), "chat", || format!("for {audience:?}, and in are {inside:?}"))?;
        ensure(cut || audience == inside, "chat", || format!("not for all who are in: {audience:?}"))?;
        let member = match self.cause {
            Cause::Frame { socket, .. } => self.sockets.get(&socket).and_then(|held| self.member_of(held)),
            _ => None,
        };
        let by = member.is_some_and(|member| self.ids[&member.page.0.0] == line.from && !member.newcomer);
        ensure(by, "chat", || format!("{line:?} was not said by who is said to"))?;
        self.lines.push(line.clone());
        Ok(())
    }

    /// The lines somebody may read.
    pub(crate) fn lines_for(&self, reader: ParticipantId) -> Vec<(ParticipantId, String)> {
        let theirs = self.lines.iter().filter(|line| line.audience.contains(&reader));
        theirs.map(|line| (line.from, line.client_id.clone())).collect()
    }
}
