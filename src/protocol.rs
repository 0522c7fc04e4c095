//! The signaling messages of the test page: JSON text frames tagged with `type`, shaped after the protocol of the
//! product. Plain data; who may say what when is decided in `rooms`.

use serde::{Deserialize, Deserializer, Serialize};

/// What a client may say.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum ClientMessage {
    /// The SDP offer; answered by `answer` or an `error`.
    Offer { sdp: String, negotiation: u32 },
    /// New ICE credentials; answered by `restarted` or an `error`.
    Restart { ufrag: String, pwd: String },
    /// Who is to be shown where, and in which encoding.
    Subscribe { seats: Vec<SeatWish> },
    /// Asks for `stats`.
    Stats {},
    /// Says goodbye.
    Leave {},
}

impl ClientMessage {
    /// The `type` of the message, which an error names.
    pub(crate) const fn request(&self) -> Request {
        match self {
            Self::Offer { .. } => Request::Offer,
            Self::Restart { .. } => Request::Restart,
            Self::Subscribe { .. } => Request::Subscribe,
            Self::Stats {} => Request::Stats,
            Self::Leave {} => Request::Leave,
        }
    }
}

/// The `type` of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    Offer,
    Restart,
    Subscribe,
    Stats,
    Leave,
}

/// What is wanted of one seat; what is left out stays as it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SeatWish {
    pub(crate) seat: u16,
    /// `null` empties the seat.
    #[serde(default, deserialize_with = "present")]
    pub(crate) participant: Option<Option<u64>>,
    /// A rid.
    #[serde(default)]
    pub(crate) layer: Option<String>,
}

/// Tells `null` from a field that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum ServerMessage {
    Welcome {
        you: u64,
        participants: Vec<Participant>,
    },
    Answer {
        sdp: String,
        negotiation: u32,
        seats: Vec<SeatMids>,
    },
    Restarted {
        ufrag: String,
        pwd: String,
    },
    Participants {
        participants: Vec<Participant>,
    },
    Seats {
        seats: Vec<SeatTaken>,
    },
    Stats {
        stats: serde_json::Value,
    },
    Error {
        code: ErrorCode,
        message: String,
        reply_to: Option<Request>,
    },
    /// The media transport is gone for good; the socket is closed after it.
    Disconnected {
        message: String,
    },
}

/// Somebody in the room, in the order of joining.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Participant {
    pub(crate) id: u64,
    pub(crate) name: String,
    /// What is being received from them.
    pub(crate) sources: Vec<Source>,
}

/// What somebody publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Source {
    Microphone,
    Camera,
    Screen,
}

/// The m-lines of a seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SeatMids {
    pub(crate) seat: u16,
    /// `null` for a screen seat.
    pub(crate) audio: Option<String>,
    pub(crate) video: Option<String>,
}

/// Who sits in a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SeatTaken {
    pub(crate) seat: u16,
    pub(crate) participant: Option<u64>,
}

/// What went wrong, in a form programs can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorCode {
    /// The message was no JSON, of no known type, or carried a wrong value.
    Malformed,
    /// The offer cannot be answered.
    OfferRejected,
    /// An ICE restart brought no path.
    RestartFailed,
    /// No such seat, participant or encoding, or not now.
    Refused,
    /// The server has more to do than it can; try again.
    Busy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_wish_tells_null_from_absent() {
        let wish = |json| serde_json::from_str::<SeatWish>(json).unwrap();
        assert_eq!(wish(r#"{"seat":0}"#).participant, None);
        assert_eq!(wish(r#"{"seat":0,"participant":null}"#).participant, Some(None));
        assert_eq!(wish(r#"{"seat":0,"participant":7}"#).participant, Some(Some(7)));
    }

    #[test]
    fn unknown_types_fields_and_values_are_refused() {
        for json in [
            "",
            "null",
            "{}",
            "[]",
            r#"{"type":"admit"}"#,
            r#"{"type":"leave","because":1}"#,
            r#"{"type":"offer","sdp":"v=0"}"#,
            r#"{"type":"offer","sdp":"v=0","negotiation":-1}"#,
            r#"{"type":"subscribe","seats":[{"seat":65536}]}"#,
            r#"{"type":"subscribe","seats":[{"seat":1,"participant":"7"}]}"#,
        ] {
            assert!(serde_json::from_str::<ClientMessage>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn messages_have_the_shape_the_page_reads() {
        let message = ServerMessage::Error {
            code: ErrorCode::OfferRejected,
            message: "no".into(),
            reply_to: Some(Request::Offer),
        };
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r#"{"type":"error","code":"offer_rejected","message":"no","replyTo":"offer"}"#,
        );
    }
}
