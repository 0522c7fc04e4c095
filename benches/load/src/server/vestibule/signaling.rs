//! What a participant says and hears, without a socket: numbers, requests that wait for their reply, who knocks.

use std::collections::{BTreeMap, VecDeque};

use super::wire::{Heard, Request, Say, SeatCounts, Told};
use crate::server::{Admission, ServerError};

/// A participant's side of the protocol, over all its sockets.
#[derive(Debug)]
pub(super) struct Signaling {
    admission: Admission,
    /// What a fresh socket begins with.
    credentials: Credentials,
    last_seq: u64,
    last_id: u64,
    /// Requests that were said and not replied to.
    pending: BTreeMap<u64, Say>,
    knocking: VecDeque<(String, String)>,
    people_offered: u32,
}

#[derive(Clone, Debug)]
enum Credentials {
    Ticket(String),
    Secret { secret: String, incarnation: String },
}

/// What follows from a message.
#[derive(Debug)]
pub(super) enum Effect {
    /// To be sent.
    Send(String),
    /// These seats are to be offered: the first offer, or a larger one.
    Offer(SeatCounts),
    /// An answer came.
    Answered(String),
    /// In: media flows from now on.
    LetIn,
    /// Back on a fresh socket.
    Resumed,
    /// A request was carried out, or not.
    Replied { id: u64, result: Result<(), ServerError> },
    /// It is over, with the socket.
    Over(ServerError),
}

impl Signaling {
    pub(super) fn new(ticket: String, admission: Admission) -> Self {
        Self {
            admission,
            credentials: Credentials::Ticket(ticket),
            last_seq: 0,
            last_id: 0,
            pending: BTreeMap::new(),
            knocking: VecDeque::new(),
            people_offered: 0,
        }
    }

    /// The first message of a socket.
    pub(super) fn hello(&self) -> String {
        let (ticket, resume, incarnation, last_seq) = match self.credentials.clone() {
            Credentials::Ticket(ticket) => (Some(ticket), None, None, None),
            Credentials::Secret { secret, incarnation } => {
                (None, Some(secret), Some(incarnation), Some(self.last_seq))
            }
        };
        frame(&Request { say: Say::Hello { ticket, resume, incarnation, last_seq }, id: None })
    }

    /// A request: its number, and what is to be sent.
    pub(super) fn ask(&mut self, say: Say) -> (u64, String) {
        self.last_id += 1;
        let request = Request { say, id: Some(self.last_id) };
        let text = frame(&request);
        self.pending.insert(self.last_id, request.say);
        (self.last_id, text)
    }

    /// What keeps the server from keeping what arrived.
    pub(super) fn ping(&mut self) -> String {
        let last_seq = self.last_seq;
        self.ask(Say::Ping { last_seq }).1
    }

    /// Lets in who waits longest; nothing if nobody does.
    pub(super) fn admit(&mut self) -> Option<(u64, String)> {
        let (participant_id, device) = self.knocking.pop_front()?;
        Some(self.ask(Say::Admit { participant_id, device }))
    }

    /// What follows from a frame of the server.
    pub(super) fn hear(&mut self, text: &str) -> Vec<Effect> {
        let told: Told = match serde_json::from_str(text) {
            Ok(told) => told,
            Err(error) => return vec![Effect::Over(ServerError::Protocol(error.to_string()))],
        };
        // An error before there is an incarnation has no number, and `resumed` repeats the last one.
        let resumes = matches!(told.heard, Heard::Welcome { .. } | Heard::Resumed { .. });
        if let Some(seq) = told.seq.filter(|_| !resumes) {
            let is_first = matches!(self.credentials, Credentials::Ticket(_));
            if !is_first && seq != self.last_seq + 1 {
                let why = format!("message {seq} came after {}", self.last_seq);
                return vec![Effect::Over(ServerError::Protocol(why))];
            }
            self.last_seq = seq;
        }
        self.follow(told.heard)
    }

    fn follow(&mut self, heard: Heard) -> Vec<Effect> {
        match heard {
            Heard::Welcome { you, new_device, seats, resume, incarnation } => {
                self.begin(you.is_in() && !new_device, seats, resume, incarnation)
            }
            Heard::Resumed { resume, heard } => self.go_on(resume, heard),
            Heard::Knock { participant, device } => {
                self.knocking.push_back((participant.id, device));
                let admitted = (self.admission == Admission::AtOnce).then(|| self.admit()).flatten();
                admitted.map(|(_, text)| Effect::Send(text)).into_iter().collect()
            }
            Heard::KnockOver { participant_id } => {
                self.knocking.retain(|(participant, _)| *participant != participant_id);
                Vec::new()
            }
            Heard::Admitted {} => vec![Effect::LetIn],
            Heard::Answer { sdp, reply_to } => {
                let mut effects = vec![Effect::Answered(sdp)];
                effects.extend(self.replied(reply_to, Ok(())));
                effects
            }
            Heard::Seats { people } => self.more_seats(people),
            Heard::Done { reply_to } => self.replied(reply_to, Ok(())).into_iter().collect(),
            Heard::Error { code, message, reply_to } => self.refused(&code, &message, reply_to),
            Heard::Disconnected { reason } => {
                vec![over(&format!("the server lost the media transport: {reason}"))]
            }
            Heard::Denied {} => vec![over("not let in")],
            Heard::Superseded {} => vec![over("another device took the place")],
            Heard::Removed {} => vec![over("taken out")],
            Heard::Ended { reason } => vec![over(&format!("the session is over: {reason}"))],
            Heard::Other => Vec::new(),
        }
    }

    fn begin(
        &mut self,
        is_in: bool,
        seats: SeatCounts,
        resume: Option<String>,
        incarnation: String,
    ) -> Vec<Effect> {
        if matches!(self.credentials, Credentials::Secret { .. }) {
            return vec![over("the server began anew instead of going on")];
        }
        let Some(secret) = resume else {
            return vec![Effect::Over(ServerError::Protocol("a welcome without a resume secret".to_owned()))];
        };
        self.credentials = Credentials::Secret { secret, incarnation };
        self.last_seq = 0;
        self.people_offered = seats.people;
        let mut effects = vec![Effect::Offer(seats)];
        if is_in {
            effects.push(Effect::LetIn);
        }
        effects
    }

    fn go_on(&mut self, resume: Option<String>, heard: u64) -> Vec<Effect> {
        if let (Credentials::Secret { secret, .. }, Some(next)) = (&mut self.credentials, resume) {
            *secret = next;
        }
        let unheard = self.pending.range(heard + 1..);
        let again =
            unheard.map(|(&id, say)| Effect::Send(frame(&Request { say: say.clone(), id: Some(id) })));
        std::iter::once(Effect::Resumed).chain(again).collect()
    }

    /// There are more people than there are seats.
    fn more_seats(&mut self, people: u32) -> Vec<Effect> {
        if people <= self.people_offered {
            return Vec::new();
        }
        self.people_offered = people;
        vec![Effect::Offer(SeatCounts { people, screens: 1 })]
    }

    fn refused(&mut self, code: &str, message: &str, reply_to: Option<u64>) -> Vec<Effect> {
        let asked = reply_to.and_then(|id| self.pending.get(&id));
        let what = asked.map_or("hello", Say::name).to_owned();
        let error = ServerError::Refused { what, code: format!("{message} ({code})") };
        // Without an answer there is no media; the rest is for who asked.
        let is_fatal = matches!(asked, None | Some(Say::Offer { .. }));
        let mut effects: Vec<_> = self.replied(reply_to, Err(error.clone())).into_iter().collect();
        if is_fatal {
            effects.push(Effect::Over(error));
        }
        effects
    }

    fn replied(&mut self, reply_to: Option<u64>, result: Result<(), ServerError>) -> Option<Effect> {
        let id = reply_to?;
        self.pending.remove(&id)?;
        Some(Effect::Replied { id, result })
    }
}

fn over(why: &str) -> Effect {
    Effect::Over(ServerError::Closed(why.to_owned()))
}

fn frame(request: &Request) -> String {
    // Nothing in it can fail: strings, numbers, and maps with strings as their keys.
    serde_json::to_string(request).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn welcomed(admission: Admission) -> (Signaling, Vec<Effect>) {
        let mut signaling = Signaling::new("t".to_owned(), admission);
        let effects = hear(
            &mut signaling,
            json!({"type": "welcome", "seq": 0, "you": {"id": "me", "state": "admitted"},
            "newDevice": false, "seats": {"people": 1, "screens": 1}, "resume": "s1", "incarnation": "i"}),
        );
        (signaling, effects)
    }

    fn hear(signaling: &mut Signaling, message: Value) -> Vec<Effect> {
        signaling.hear(&message.to_string())
    }

    fn knock(seq: u64, who: &str) -> Value {
        json!({"type": "knock", "seq": seq, "participant": {"id": who, "state": "waiting"}, "newDevice": false, "device": "d"})
    }

    fn sent(effect: &Effect) -> Value {
        let Effect::Send(text) = effect else { panic!("{effect:?} is sent") };
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_welcome_leads_to_an_offer_of_its_seats() {
        let (signaling, effects) = welcomed(Admission::AtOnce);
        assert!(matches!(effects[..], [Effect::Offer(SeatCounts { people: 1, .. }), Effect::LetIn]));
        let hello: Value = serde_json::from_str(&signaling.hello()).unwrap();
        assert_eq!(hello, json!({"type": "hello", "resume": "s1", "incarnation": "i", "lastSeq": 0}));
    }

    #[test]
    fn who_knocks_is_let_in_at_once_or_by_hand() {
        let (mut provider, _) = welcomed(Admission::AtOnce);
        let effects = hear(&mut provider, knock(1, "p"));
        assert_eq!(sent(&effects[0]), json!({"type": "admit", "participantId": "p", "device": "d", "id": 1}));

        let (mut provider, _) = welcomed(Admission::ByHand);
        for (seq, who) in [(1, "p"), (2, "q")] {
            assert!(hear(&mut provider, knock(seq, who)).is_empty());
        }
        hear(&mut provider, json!({"type": "knockOver", "seq": 3, "participantId": "p"}));
        let (id, text) = provider.admit().unwrap();
        assert!(text.contains(r#""participantId":"q""#));
        assert!(provider.admit().is_none());
        let effects = hear(&mut provider, json!({"type": "done", "seq": 4, "replyTo": id}));
        assert!(matches!(effects[..], [Effect::Replied { id: 1, result: Ok(()) }]));
    }

    #[test]
    fn what_was_not_heard_is_said_again() {
        let (mut signaling, _) = welcomed(Admission::AtOnce);
        let (first, _) = signaling.ask(Say::Publish { kind: "audio", muted: false });
        let (second, text) = signaling.ask(Say::End);
        hear(&mut signaling, json!({"type": "seats", "seq": 1, "seats": [], "people": 1}));
        let hello: Value = serde_json::from_str(&signaling.hello()).unwrap();
        assert_eq!(hello["lastSeq"], 1);
        let effects = hear(
            &mut signaling,
            json!({"type": "resumed", "seq": 1, "resume": "s2", "heard": first, "replyTo": null}),
        );
        let [Effect::Resumed, Effect::Send(again)] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(again, &text);
        let effects = hear(&mut signaling, json!({"type": "done", "seq": 2, "replyTo": second}));
        assert_eq!(effects.len(), 1);
        assert!(signaling.hello().contains(r#""resume":"s2""#));
    }

    #[test]
    fn a_gap_in_the_numbers_is_noticed() {
        let (mut signaling, _) = welcomed(Admission::AtOnce);
        let effects = hear(&mut signaling, knock(2, "p"));
        assert!(matches!(effects[..], [Effect::Over(ServerError::Protocol(_))]));
    }

    #[test]
    fn more_people_take_more_seats() {
        let (mut signaling, _) = welcomed(Admission::AtOnce);
        let effects = hear(&mut signaling, json!({"type": "seats", "seq": 1, "seats": [], "people": 2}));
        assert!(matches!(effects[..], [Effect::Offer(SeatCounts { people: 2, .. })]));
        assert!(
            hear(&mut signaling, json!({"type": "seats", "seq": 2, "seats": [], "people": 2})).is_empty()
        );
    }

    #[test]
    fn a_ticket_that_is_refused_ends_it() {
        let mut signaling = Signaling::new("t".to_owned(), Admission::AtOnce);
        let refused = json!({"type": "error", "seq": 0, "code": "ticket_invalid", "message": "m", "retryable": false, "replyTo": null});
        let effects = hear(&mut signaling, refused);
        let [Effect::Over(error)] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!(error.to_string(), "hello: m (ticket_invalid)");
    }
}
