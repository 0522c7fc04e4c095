//! What one device was told, numbered, and kept until it says that it was heard: a socket that is lost loses none of it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::wire::{ChatLine, RequestId, ServerMessage};

/// Messages kept for one device; of more, it gets a snapshot instead when it comes back.
pub const LOG_MESSAGES_MAX: usize = 256;
/// Bytes they have, about.
const LOG_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a message beside its texts, about.
const MESSAGE_BYTES: usize = 256;

/// The numbered messages of one incarnation.
#[derive(Debug)]
pub(crate) struct Log {
    kept: VecDeque<Arc<ServerMessage>>,
    bytes: usize,
    last_seq: u64,
    /// The highest number of a request that was heard.
    pub(crate) heard: RequestId,
}

impl Log {
    pub(crate) const fn new() -> Self {
        Self { kept: VecDeque::new(), bytes: 0, last_seq: 0, heard: RequestId(0) }
    }

    /// The number of the last message.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Gives a message its number, and keeps it.
    pub(crate) fn push(&mut self, message: impl Into<Arc<ServerMessage>>) -> (u64, Arc<ServerMessage>) {
        let message = message.into();
        self.last_seq += 1;
        self.bytes += bytes(&message);
        self.kept.push_back(Arc::clone(&message));
        while self.kept.len() > LOG_MESSAGES_MAX || self.bytes > LOG_BYTES_MAX {
            self.drop_first();
        }
        (self.last_seq, message)
    }

    /// Everything up to `seq` was heard.
    pub(crate) fn forget(&mut self, seq: u64) {
        while self.first_seq() <= seq.min(self.last_seq) {
            self.drop_first();
        }
    }

    /// Whether all that came after `seq` is still here, and `seq` was ever given.
    pub(crate) fn covers(&self, seq: u64) -> bool {
        (self.first_seq() - 1..=self.last_seq).contains(&seq)
    }

    /// All that came after `seq`.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = (u64, Arc<ServerMessage>)> {
        (self.first_seq()..)
            .zip(&self.kept)
            .filter(move |(number, _)| *number > seq)
            .map(|(n, m)| (n, m.clone()))
    }

    fn first_seq(&self) -> u64 {
        self.last_seq + 1 - self.kept.len() as u64
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.kept.pop_front() {
            self.bytes -= bytes(&first);
        }
    }
}

/// How much a message weighs, about: what is long in it is counted.
fn bytes(message: &ServerMessage) -> usize {
    let texts = match message {
        ServerMessage::Answer { sdp, .. } => sdp.len(),
        ServerMessage::Chat { line } => line.text.len(),
        ServerMessage::Welcome { chat, participants, .. }
        | ServerMessage::Admitted { chat, participants } => said(chat) + participants.len() * MESSAGE_BYTES,
        ServerMessage::Thread { page, .. } => said(&page.lines),
        ServerMessage::Stats { .. } => 16 * MESSAGE_BYTES,
        ServerMessage::Timeline { stretches, .. } => stretches.len() * MESSAGE_BYTES / 2,
        ServerMessage::Error { message, .. } => message.len(),
        _ => 0,
    };
    MESSAGE_BYTES + texts
}

fn said(lines: &[ChatLine]) -> usize {
    lines.iter().map(|line| line.text.len() + MESSAGE_BYTES).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(log: &mut Log, count: usize) {
        for _ in 0..count {
            log.push(ServerMessage::Superseded {});
        }
    }

    fn numbers(log: &Log, after: u64) -> Vec<u64> {
        log.after(after).map(|(seq, _)| seq).collect()
    }

    #[test]
    fn what_was_not_heard_is_there_in_order() {
        let mut log = Log::new();
        assert!(log.covers(0) && !log.covers(1));
        told(&mut log, 4);
        assert_eq!(numbers(&log, 0), [1, 2, 3, 4]);
        assert_eq!(numbers(&log, 3), [4]);
        assert_eq!(numbers(&log, 4), [0; 0]);
        log.forget(2);
        assert!(!log.covers(1) && log.covers(2) && log.covers(4) && !log.covers(5));
        assert_eq!(numbers(&log, 2), [3, 4]);
        log.forget(99);
        assert_eq!((log.len(), log.last_seq(), log.covers(4)), (0, 4, true));
        told(&mut log, 1);
        assert_eq!(numbers(&log, 4), [5]);
    }

    #[test]
    fn it_is_bounded_in_messages_and_bytes() {
        let mut log = Log::new();
        told(&mut log, LOG_MESSAGES_MAX + 10);
        assert_eq!(log.len(), LOG_MESSAGES_MAX);
        assert!(!log.covers(9) && log.covers(10));
        for negotiation in 0..20 {
            let sdp = "x".repeat(32 * 1024);
            log.push(ServerMessage::Answer { sdp, negotiation, seats: Vec::new(), reply_to: None });
        }
        assert!(log.bytes <= LOG_BYTES_MAX && log.len() < 10);
        log.forget(u64::MAX);
        assert_eq!(log.bytes, 0);
    }
}
