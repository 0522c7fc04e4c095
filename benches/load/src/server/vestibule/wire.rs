//! Messages of `vestibule.v1` (docs/protocol.md), as far as a participant needs them who makes load.

use serde::{Deserialize, Serialize};

/// The subprotocol of the socket.
pub(super) const SUBPROTOCOL: &str = "vestibule.v1";
/// Where the socket is opened.
pub(super) const SIGNAL: &str = "/v1/signal";

/// From the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Say {
    /// The first message of a socket: with a ticket, or to go on.
    Hello {
        #[serde(skip_serializing_if = "Option::is_none")]
        ticket: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        resume: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        incarnation: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_seq: Option<u64>,
    },
    /// A description.
    Offer { sdp: String, negotiation: u64 },
    /// What is sent is meant to be heard and seen.
    Publish { kind: &'static str, muted: bool },
    /// Lets somebody in.
    Admit { participant_id: String, device: String },
    /// Everything up to this number arrived.
    Ping { last_seq: u64 },
    /// The visit is over.
    End,
    /// Out of it, for good.
    Leave,
}

impl Say {
    /// Its `type`.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Offer { .. } => "offer",
            Self::Publish { .. } => "publish",
            Self::Admit { .. } => "admit",
            Self::Ping { .. } => "ping",
            Self::End => "end",
            Self::Leave => "leave",
        }
    }
}

/// A message of the client, and the number its reply names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Request {
    #[serde(flatten)]
    pub(super) say: Say,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
}

/// From the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Heard {
    /// The `hello` is accepted, and an incarnation begins.
    Welcome { you: You, new_device: bool, seats: SeatCounts, resume: Option<String>, incarnation: String },
    /// The `hello` is accepted, and the incarnation goes on.
    Resumed { resume: Option<String>, heard: u64 },
    /// Somebody waits.
    Knock { participant: You, device: String },
    /// They wait no more.
    KnockOver { participant_id: String },
    /// In: media flows from now on.
    Admitted {},
    /// Not let in.
    Denied {},
    /// The answer to an offer.
    Answer { sdp: String, reply_to: Option<u64> },
    /// How many seats should have been offered.
    Seats { people: u32 },
    /// The same participant came in elsewhere.
    Superseded {},
    /// Taken out.
    Removed {},
    /// The session is over.
    Ended { reason: String },
    /// The media transport is lost.
    Disconnected { reason: String },
    /// A request was carried out.
    Done { reply_to: Option<u64> },
    /// It was not.
    Error { code: String, message: String, reply_to: Option<u64> },
    /// What makes no difference to load.
    #[serde(other)]
    Other,
}

/// A participant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct You {
    pub(super) id: String,
    pub(super) state: String,
}

impl You {
    /// Let in, whether media is connected already or not.
    pub(super) fn is_in(&self) -> bool {
        matches!(self.state.as_str(), "admitted" | "active")
    }
}

/// How many seats to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct SeatCounts {
    pub(super) people: u32,
    pub(super) screens: u32,
}

/// A message of the server, and its number in this incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Told {
    #[serde(flatten)]
    pub(super) heard: Heard,
    pub(super) seq: Option<u64>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(say: Say, id: Option<u64>) -> Value {
        serde_json::to_value(Request { say, id }).unwrap()
    }

    fn told(message: Value) -> Told {
        serde_json::from_value(message).unwrap()
    }

    #[test]
    fn a_client_says_what_the_protocol_has() {
        let first = Say::Hello { ticket: Some("t".into()), resume: None, incarnation: None, last_seq: None };
        assert_eq!(said(first, None), json!({"type": "hello", "ticket": "t"}));
        let again = Say::Hello {
            ticket: None,
            resume: Some("s".into()),
            incarnation: Some("i".into()),
            last_seq: Some(7),
        };
        assert_eq!(
            said(again, None),
            json!({"type": "hello", "resume": "s", "incarnation": "i", "lastSeq": 7})
        );
        let offer = Say::Offer { sdp: "v=0".into(), negotiation: 1 };
        assert_eq!(said(offer, Some(1)), json!({"type": "offer", "sdp": "v=0", "negotiation": 1, "id": 1}));
        let admit = Say::Admit { participant_id: "p".into(), device: "d".into() };
        assert_eq!(
            said(admit, Some(2)),
            json!({"type": "admit", "participantId": "p", "device": "d", "id": 2})
        );
        assert_eq!(said(Say::Ping { last_seq: 3 }, Some(4)), json!({"type": "ping", "lastSeq": 3, "id": 4}));
        assert_eq!(said(Say::Publish { kind: "camera", muted: false }, Some(5))["muted"], json!(false));
        assert_eq!(said(Say::Leave, Some(6)), json!({"type": "leave", "id": 6}));
    }

    #[test]
    fn a_server_is_understood_and_what_is_new_is_passed_over() {
        let welcome = told(
            json!({"type": "welcome", "seq": 0, "you": {"id": "p", "role": "patient", "name": "A", "state": "waiting",
            "media": {}, "tier": "video", "lostUntil": null}, "newDevice": false, "session": {}, "participants": [],
            "seats": {"people": 1, "screens": 1}, "chat": [], "policy": {}, "resume": "s", "incarnation": "i", "replyTo": null}),
        );
        let Heard::Welcome { you, seats, resume, .. } = welcome.heard else { panic!("it is one") };
        assert_eq!(
            (you.is_in(), seats.people, resume.as_deref(), welcome.seq),
            (false, 1, Some("s"), Some(0))
        );
        let knock = told(
            json!({"type": "knock", "seq": 5, "participant": {"id": "p", "state": "waiting"}, "newDevice": false, "device": "d"}),
        );
        assert!(matches!(knock.heard, Heard::Knock { .. }));
        let admitted = told(json!({"type": "admitted", "seq": 6, "participants": [], "chat": []}));
        assert_eq!(admitted.heard, Heard::Admitted {});
        let error = told(
            json!({"type": "error", "seq": 7, "code": "busy", "message": "m", "retryable": true, "replyTo": 3}),
        );
        assert_eq!(error.heard, Heard::Error { code: "busy".into(), message: "m".into(), reply_to: Some(3) });
        let later = told(json!({"type": "greetings", "seq": 8, "to": ["all"]}));
        assert_eq!(later, Told { heard: Heard::Other, seq: Some(8) });
    }
}
