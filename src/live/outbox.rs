//! What waits to be sent on one socket, bounded in messages and in bytes. Who lets it grow over that does not read, and is
//! closed: when they come back, the session has all of it still.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use vestibule_signaling::LOG_MESSAGES_MAX;
use vestibule_signaling::wire::{ErrorCode, Numbered, ServerMessage};

/// Messages that wait at once, beside what somebody is told on coming. Fewer than the session keeps for who comes back.
const MESSAGES_MAX: usize = LOG_MESSAGES_MAX / 2;
/// And their bytes. One that is longer goes alone.
const BYTES_MAX: usize = 256 * 1024;
/// What somebody is told on coming: a word of welcome, and all they missed.
const GREETING_MAX: usize = LOG_MESSAGES_MAX + 32;

/// One message, as it goes over the wire.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) text: String,
    /// It says that a ticket or a secret was wrong.
    pub(crate) refuses_credentials: bool,
}

impl Outgoing {
    pub(crate) fn new(seq: u64, message: &ServerMessage) -> Self {
        let text = serde_json::to_string(&Numbered { seq, message });
        let code = if let ServerMessage::Error { code, .. } = message { Some(*code) } else { None };
        Self {
            text: text.expect("messages have string keys and nothing that fails"),
            refuses_credentials: matches!(code, Some(ErrorCode::TicketInvalid | ErrorCode::ResumeInvalid)),
        }
    }
}

/// A session's end.
#[derive(Debug)]
pub(super) struct Sender {
    messages: mpsc::Sender<Outgoing>,
    waiting_bytes: Arc<AtomicUsize>,
    /// While somebody is told what they are told on coming, which is bounded by itself.
    greeting: bool,
    messages_max: usize,
    bytes_max: usize,
}

/// A socket's end.
#[derive(Debug)]
pub(crate) struct Outbox {
    messages: mpsc::Receiver<Outgoing>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// More waits than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overfull;

pub(super) fn outbox() -> (Sender, Outbox) {
    let (sender, receiver) = mpsc::channel(GREETING_MAX + MESSAGES_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let sender = Sender {
        messages: sender,
        waiting_bytes: Arc::clone(&waiting_bytes),
        greeting: true,
        messages_max: MESSAGES_MAX,
        bytes_max: BYTES_MAX,
    };
    (sender, Outbox { messages: receiver, waiting_bytes })
}

impl Sender {
    /// Of a socket that is gone nothing is said: its own task does.
    pub(super) fn send(&self, seq: u64, message: &ServerMessage) -> Result<(), Overfull> {
        let outgoing = Outgoing::new(seq, message);
        let (waiting, waiting_bytes) = self.waiting();
        let too_long = waiting > 0 && waiting_bytes + outgoing.text.len() > self.bytes_max;
        if !self.greeting && (waiting >= self.messages_max || too_long) {
            return Err(Overfull);
        }
        self.waiting_bytes.fetch_add(outgoing.text.len(), Ordering::Relaxed);
        match self.messages.try_send(outgoing) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Overfull),
        }
    }

    /// They were told what there is to tell on coming: what comes from now on is counted beside it.
    pub(super) fn greeted(&mut self) {
        if std::mem::take(&mut self.greeting) {
            let (waiting, waiting_bytes) = self.waiting();
            self.messages_max += waiting;
            self.bytes_max += waiting_bytes;
        }
    }

    fn waiting(&self) -> (usize, usize) {
        let messages = self.messages.max_capacity() - self.messages.capacity();
        (messages, self.waiting_bytes.load(Ordering::Relaxed))
    }
}

impl Outbox {
    pub(crate) async fn recv(&mut self) -> Option<Outgoing> {
        let outgoing = self.messages.recv().await?;
        Some(self.taken(outgoing))
    }

    /// What waits already.
    pub(crate) fn try_recv(&mut self) -> Option<Outgoing> {
        let outgoing = self.messages.try_recv().ok()?;
        Some(self.taken(outgoing))
    }

    fn taken(&self, outgoing: Outgoing) -> Outgoing {
        self.waiting_bytes.fetch_sub(outgoing.text.len(), Ordering::Relaxed);
        outgoing
    }

    /// Nothing more gets in; what is in can still be had.
    pub(crate) fn close(&mut self) {
        self.messages.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: String, code: ErrorCode) -> ServerMessage {
        ServerMessage::Error { code, message, retryable: false, reply_to: None }
    }

    fn of_bytes(bytes: usize) -> ServerMessage {
        error("x".repeat(bytes), ErrorCode::Refused)
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_messages() {
        let (mut sender, mut outbox) = outbox();
        sender.greeted();
        for seq in 1..=MESSAGES_MAX as u64 {
            assert_eq!(sender.send(seq, &ServerMessage::Superseded {}), Ok(()));
        }
        assert_eq!(sender.send(9, &ServerMessage::Superseded {}), Err(Overfull));
        assert_eq!(outbox.recv().await.unwrap().text, r#"{"seq":1,"type":"superseded"}"#);
        assert_eq!(sender.send(9, &ServerMessage::Superseded {}), Ok(()), "what is sent makes room");
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_and_one_message_is_never_too_long() {
        let (mut sender, mut outbox) = outbox();
        sender.greeted();
        assert_eq!(sender.send(1, &of_bytes(2 * BYTES_MAX)), Ok(()));
        assert_eq!(sender.send(2, &of_bytes(1)), Err(Overfull));
        outbox.recv().await.unwrap();
        for seq in 2..5 {
            assert_eq!(sender.send(seq, &of_bytes(BYTES_MAX / 4)), Ok(()));
        }
        assert_eq!(sender.send(5, &of_bytes(BYTES_MAX / 4)), Err(Overfull));
    }

    #[tokio::test]
    async fn who_comes_back_is_told_all_they_missed_at_once() {
        let (mut sender, _outbox) = outbox();
        for seq in 0..=LOG_MESSAGES_MAX as u64 {
            assert_eq!(sender.send(seq, &of_bytes(2_000)), Ok(()));
        }
        sender.greeted();
        assert_eq!(sender.send(999, &of_bytes(2_000)), Ok(()), "and what happens next");
        let fits = (0..MESSAGES_MAX).filter(|_| sender.send(999, &of_bytes(1)).is_ok()).count();
        assert_eq!(fits, MESSAGES_MAX - 1);
    }

    #[tokio::test]
    async fn it_is_told_what_refuses_somebody_at_the_door() {
        for (code, refuses) in [
            (ErrorCode::TicketInvalid, true),
            (ErrorCode::ResumeInvalid, true),
            (ErrorCode::StoreUnavailable, false),
            (ErrorCode::Malformed, false),
        ] {
            assert_eq!(
                Outgoing::new(0, &error(String::new(), code)).refuses_credentials,
                refuses,
                "{code:?}"
            );
        }
        assert!(!Outgoing::new(0, &ServerMessage::Removed {}).refuses_credentials);
    }
}
