//! A frame of a client: an error that can be told, or a message within its bounds.

use vestibule_signaling::wire::{ClientMessage, Frame, RequestId};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let number = match Frame::parse(text) {
        Err(error) => {
            // It names what was wrong, and may repeat a word of it: no more than was sent, and a list of what there is.
            assert!(error.to_string().len() < 2 * text.len() + 1_000);
            error.id
        }
        Ok(Frame { id, message }) => {
            check(&message, text.len());
            let is_hello = matches!(message, ClientMessage::Hello { .. });
            assert!(message.credentials().is_none() || is_hello);
            id
        }
    };
    assert!(number.is_none_or(|RequestId(number)| number < 1 << 53));
}

/// Nothing in a message is longer than what was sent.
fn check(message: &ClientMessage, sent: usize) {
    let long = match message {
        ClientMessage::Offer { sdp, .. } => sdp.len(),
        ClientMessage::Restart { ufrag, pwd } => ufrag.len() + pwd.len(),
        ClientMessage::Chat { client_id, text, .. } => client_id.len() + text.len(),
        ClientMessage::Subscribe { slots } => slots.len(),
        _ => 0,
    };
    assert!(long <= sent);
}
