//! What a client says on the signaling socket.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use vestibule_domain::{BandwidthProfile, ConsentType, ConsentVersion, ContentDigest, ParticipantId};

/// The number a client gives a request, for the reply to name. JavaScript's integers end at 2^53 − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(transparent)]
pub struct RequestId(pub u64);

impl RequestId {
    const MAX: u64 = (1 << 53) - 1;
}

/// One text frame of a client: a message, and the number of the request where it has one.
#[derive(Debug)]
pub struct Frame {
    /// The reply names it.
    pub id: Option<RequestId>,
    /// What is said.
    pub message: ClientMessage,
}

/// Why a frame was not understood. The request is known where at least its number was.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct FrameError {
    /// The number of the request.
    pub id: Option<RequestId>,
    why: String,
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// No JSON object, an `id` that is none, a `type` that is not known, or fields that do not belong to it.
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        let anonymous = |why: String| FrameError { id: None, why };
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| anonymous(error.to_string()))?;
        let id = match object.remove("id") {
            None => None,
            Some(id) => {
                let number = id.as_u64().filter(|&number| number <= RequestId::MAX);
                let number =
                    number.ok_or_else(|| anonymous("`id` is no integer from 0 to 2^53 - 1".into()))?;
                Some(RequestId(number))
            }
        };
        let message = serde_json::from_value(object.into())
            .map_err(|error| FrameError { id, why: error.to_string() })?;
        Ok(Self { id, message })
    }
}

/// What a client may say.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ClientMessage {
    /// The first message: with a ticket, or with a resume secret and what was heard last.
    Hello {
        /// From `POST /v1/join/ticket`.
        #[serde(default)]
        #[cfg_attr(test, ts(optional))]
        ticket: Option<String>,
        /// The secret of the last `welcome` or `resumed`.
        #[serde(default)]
        #[cfg_attr(test, ts(optional))]
        resume: Option<String>,
        /// That of the last `welcome`; left out by who kept nothing but the secret.
        #[serde(default)]
        #[cfg_attr(test, ts(optional))]
        incarnation: Option<String>,
        /// The number of the last message that was received in that incarnation.
        #[serde(default)]
        #[cfg_attr(test, ts(optional, type = "number"))]
        last_seq: Option<u64>,
    },
    /// An SDP offer.
    Offer {
        /// The description.
        sdp: String,
        /// The client's number of this negotiation; the answer repeats it.
        negotiation: u32,
    },
    /// New ICE credentials (RFC 8839), without SDP.
    Restart {
        /// The client's `ice-ufrag`.
        ufrag: String,
        /// The client's `ice-pwd`.
        pwd: String,
    },
    /// Who is to be shown where, how large, and who first where the line does not carry all.
    Subscribe {
        /// All are granted, or none.
        slots: Vec<SlotWish>,
    },
    /// Whether what is sent is meant to be seen or heard.
    Publish {
        /// What is sent.
        kind: PublishKind,
        /// Not meant to be.
        muted: bool,
    },
    /// Lets somebody who waits in.
    Admit {
        /// Who.
        #[cfg_attr(test, ts(type = "string"))]
        participant_id: ParticipantId,
        /// On which device, as their `knock` said. Left out it means who waits, and never another device of who is in.
        #[serde(default)]
        #[cfg_attr(test, ts(optional))]
        device: Option<String>,
    },
    /// Does not let somebody who waits in now.
    Deny {
        /// Who.
        #[cfg_attr(test, ts(type = "string"))]
        participant_id: ParticipantId,
        /// Why; `other` when left out.
        #[serde(default = "unsaid")]
        #[cfg_attr(test, ts(type = "DenyReason"))]
        reason: DenyReason,
        /// As with `admit`.
        #[serde(default)]
        #[cfg_attr(test, ts(optional))]
        device: Option<String>,
    },
    /// Has somebody wait again who was let in.
    SendBack {
        /// Who.
        #[cfg_attr(test, ts(type = "string"))]
        participant_id: ParticipantId,
    },
    /// Takes somebody out, with every link and token they have.
    Remove {
        /// Who.
        #[cfg_attr(test, ts(type = "string"))]
        participant_id: ParticipantId,
    },
    /// The patient gives or withdraws a consent.
    Consent {
        /// Which.
        #[cfg_attr(test, ts(type = "ConsentType"))]
        consent_type: ConsentType,
        /// The version of the text they read.
        #[cfg_attr(test, ts(type = "string"))]
        version: ConsentVersion,
        /// False to withdraw.
        granted: bool,
    },
    /// What the person wants of their line at the most. What it was thought not to carry is tried anew.
    Tier {
        /// That.
        #[cfg_attr(test, ts(type = "BandwidthProfile"))]
        want: BandwidthProfile,
    },
    /// What the device thinks that the way from it carries. Worth saying while it is little.
    Line {
        /// In kilobits per second.
        uplink_kbps: u32,
    },
    /// A line for everybody who is in.
    Chat {
        /// The client's id of the line; it comes back with it. A second one of the same id is not said again.
        client_id: String,
        /// What is said; may be left out beside an image.
        #[serde(default)]
        #[cfg_attr(test, ts(optional, as = "Option<String>"))]
        text: String,
        /// The digest of an image that was sent by `POST /v1/thread/images`.
        #[serde(default)]
        #[cfg_attr(test, ts(optional, type = "string"))]
        attachment: Option<ContentDigest>,
    },
    /// Asks for the lines that were said after one.
    Thread {
        /// Its position; 0 for all.
        #[cfg_attr(test, ts(type = "number"))]
        after: u64,
    },
    /// The person writes: if the line to them is lost now, they are away by design.
    Composing {
        /// Whether it is so.
        on: bool,
    },
    /// Ends the session for everybody.
    End {},
    /// Leaves on purpose.
    Leave {},
    /// Asks what the server counts.
    Stats {},
    /// Asks how somebody's connection was so far.
    Timeline {
        /// Whose.
        #[cfg_attr(test, ts(type = "string"))]
        participant_id: ParticipantId,
        /// Only the stretches that end after it; left out, all that are kept.
        #[serde(default)]
        #[cfg_attr(test, ts(optional, type = "string"))]
        since: Option<Timestamp>,
    },
    /// Asks for a sign of life.
    Ping {
        /// Everything up to this number was received, and need not be kept any longer.
        #[serde(default)]
        #[cfg_attr(test, ts(optional, type = "number"))]
        last_seq: Option<u64>,
    },
}

const fn unsaid() -> DenyReason {
    DenyReason::Other
}

/// What a `hello` shows.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A ticket.
    Ticket(String),
    /// A resume secret.
    Resume {
        /// It.
        secret: String,
        /// Of the messages that were heard.
        incarnation: Option<String>,
        /// The last of them.
        last_seq: u64,
    },
}

impl ClientMessage {
    /// What it shows, if it is a `hello`. `None` of a `hello` with neither or both.
    #[must_use]
    pub fn credentials(self) -> Option<Credentials> {
        match self {
            Self::Hello { ticket: Some(ticket), resume: None, incarnation: None, last_seq: None } => {
                Some(Credentials::Ticket(ticket))
            }
            Self::Hello { ticket: None, resume: Some(secret), incarnation, last_seq } => {
                Some(Credentials::Resume { secret, incarnation, last_seq: last_seq.unwrap_or(0) })
            }
            _ => None,
        }
    }
}

/// What is wanted of one seat; what is left out stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlotWish {
    /// The server's number of the seat.
    pub seat: u16,
    /// Who is to sit in it; `null` empties it.
    #[serde(default, deserialize_with = "present")]
    #[cfg_attr(test, ts(optional, type = "string | null"))]
    pub participant: Option<Option<ParticipantId>>,
    /// No picture higher than this is to be sent, in pixels. Ask for half as much again as it is shown at: of encodings that
    /// halve, the one below is half as sharp. `null`: as high as there is; 0: none.
    #[serde(default, deserialize_with = "present")]
    #[cfg_attr(test, ts(optional, type = "number | null"))]
    pub max_height: Option<Option<u16>>,
    /// Who goes first where the line does not carry everything: the higher.
    #[serde(default)]
    #[cfg_attr(test, ts(optional))]
    pub priority: Option<u8>,
}

/// Tells `null` from a field that is not there.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What a client publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub enum PublishKind {
    /// The microphone.
    Audio,
    /// The camera.
    Camera,
    /// A shared screen.
    Screen,
}

pub use vestibule_domain::DenyReason;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_wish_tells_null_from_absent() {
        let wish = |json: &str| serde_json::from_str::<SlotWish>(json).unwrap();
        let id = "01981234-5678-7abc-8def-0123456789ab";
        assert_eq!(wish(r#"{"seat":0}"#).participant, None);
        assert_eq!(wish(r#"{"seat":0,"participant":null}"#).participant, Some(None));
        let somebody = wish(&format!(r#"{{"seat":0,"participant":"{id}"}}"#)).participant;
        assert_eq!(somebody, Some(Some(id.parse().unwrap())));
        assert_eq!((wish(r#"{"seat":0}"#).max_height, wish(r#"{"seat":0}"#).priority), (None, None));
        assert_eq!(wish(r#"{"seat":0,"maxHeight":null}"#).max_height, Some(None));
        let both = wish(r#"{"seat":0,"maxHeight":65535,"priority":255}"#);
        assert_eq!((both.max_height, both.priority), (Some(Some(u16::MAX)), Some(u8::MAX)));
    }

    #[test]
    fn a_hello_shows_a_ticket_or_a_secret_and_not_both() {
        let shown = |json| Frame::parse(json).unwrap().message.credentials();
        assert!(
            matches!(shown(r#"{"type":"hello","ticket":"t"}"#), Some(Credentials::Ticket(ticket)) if ticket == "t")
        );
        let resumed = shown(r#"{"type":"hello","resume":"s","incarnation":"a","lastSeq":7}"#);
        assert!(
            matches!(resumed, Some(Credentials::Resume { secret, incarnation: Some(_), last_seq: 7 }) if secret == "s")
        );
        let reloaded = shown(r#"{"type":"hello","resume":"s"}"#);
        assert!(matches!(reloaded, Some(Credentials::Resume { incarnation: None, last_seq: 0, .. })));
        for json in [
            r#"{"type":"hello"}"#,
            r#"{"type":"hello","ticket":"t","resume":"s"}"#,
            r#"{"type":"hello","ticket":"t","lastSeq":1}"#,
            r#"{"type":"ping"}"#,
        ] {
            assert!(shown(json).is_none(), "{json}");
        }
    }

    #[test]
    fn a_frame_carries_its_number_beside_the_message() {
        let frame = Frame::parse(r#"{"type":"ping","id":7}"#).unwrap();
        assert_eq!(frame.id, Some(RequestId(7)));
        assert!(matches!(frame.message, ClientMessage::Ping { last_seq: None }));
        assert_eq!(Frame::parse(r#"{"type":"leave"}"#).unwrap().id, None);
        let error = Frame::parse(r#"{"type":"conquer","id":9007199254740991}"#).unwrap_err();
        assert_eq!(error.id, Some(RequestId(RequestId::MAX)), "an error names the request it is about");
    }

    #[test]
    fn unknown_types_fields_and_values_are_refused() {
        for json in [
            "",
            "null",
            "{}",
            "[]",
            r#"{"type":"admit"}"#,
            r#"{"type":"admit","participantId":"7"}"#,
            r#"{"type":"admit","participantId":"01981234-5678-4abc-8def-0123456789ab"}"#,
            r#"{"type":"leave","because":1}"#,
            r#"{"type":"leave","id":-1}"#,
            r#"{"type":"leave","id":9007199254740992}"#,
            r#"{"type":"leave","id":"1"}"#,
            r#"{"type":"leave"} {}"#,
            r#"{"type":"hello","ticket":7}"#,
            r#"{"type":"hello","resume":"s","lastSeq":-1}"#,
            r#"{"type":"consent","consentType":"telehealth","version":"","granted":true}"#,
            r#"{"type":"tier","want":"hologram"}"#,
            r#"{"type":"offer","sdp":"v=0"}"#,
            r#"{"type":"offer","sdp":"v=0","negotiation":-1}"#,
            r#"{"type":"subscribe","slots":[{"seat":65536}]}"#,
            r#"{"type":"subscribe","slots":[{"seat":1,"participant":7}]}"#,
            r#"{"type":"subscribe","slots":[{"seat":1,"maxHeight":65536}]}"#,
            r#"{"type":"subscribe","slots":[{"seat":1,"maxHeight":90.5}]}"#,
            r#"{"type":"subscribe","slots":[{"seat":1,"priority":256}]}"#,
            r#"{"type":"subscribe","slots":[{"seat":1,"priority":null,"layer":"q"}]}"#,
            r#"{"type":"timeline"}"#,
            r#"{"type":"timeline","participantId":"01981234-5678-7abc-8def-0123456789ab","since":1800000000}"#,
            r#"{"type":"timeline","participantId":"01981234-5678-7abc-8def-0123456789ab","since":"yesterday"}"#,
            r#"{"type":"publish","kind":"hologram","muted":false}"#,
            r#"{"type":"deny","participantId":"01981234-5678-7abc-8def-0123456789ab","reason":"rude"}"#,
        ] {
            assert!(Frame::parse(json).is_err(), "{json}");
        }
    }
}
