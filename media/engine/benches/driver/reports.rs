//! What subscribers tell of what arrives: each of them a message of transport-wide feedback on all that was sent, at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use vestibule_media_core::Time;
use vestibule_media_core::twcc::TwccRecorder;
use vestibule_sim::offer::TRANSPORT_CC_ID;

use super::client::Client;

/// Milliseconds between two messages of one subscriber.
pub(crate) const REPORT_MS: u64 = 100;
/// How long a packet travels: all as long.
const TRAVEL: Duration = Duration::from_millis(10);
/// First bytes of the extension block of one-byte headers (RFC 8285 section 4.2), and where it is.
const ONE_BYTE_HEADERS: [u8; 2] = [0xbe, 0xde];
const EXTENSIONS_AT: usize = 12;
/// RTP and RTCP on one port (RFC 5761 section 4): RTCP has these second bytes.
const RTCP: std::ops::RangeInclusive<u8> = 192..=223;

/// The subscribers, in the order of their clients.
#[derive(Default)]
pub(crate) struct Reports {
    who: HashMap<SocketAddr, usize>,
    subscribers: Vec<(TwccRecorder, u16)>,
    /// Up to which transport-wide number each address was sent, and when.
    sent: Vec<(SocketAddr, u16, Time)>,
}

impl Reports {
    /// One subscriber more.
    pub(crate) fn add(&mut self, client: &Client) {
        self.who.insert(client.address, self.subscribers.len());
        self.subscribers.push((TwccRecorder::new(), 0));
    }

    /// Packets leave for an address, and this is the last of them. It is all that is done where the server is measured.
    #[inline]
    pub(crate) fn note(&mut self, to: SocketAddr, last: &[u8], now: Time) {
        if let Some(sequence) = transport_sequence(last) {
            self.sent.push((to, sequence, now));
        }
    }

    /// What has arrived since the last messages; `is_lost` says what has not.
    pub(crate) fn arrive(&mut self, mut is_lost: impl FnMut() -> bool) {
        for (to, sequence, at) in self.sent.drain(..) {
            let Some(&who) = self.who.get(&to) else { continue };
            let (recorder, next) = &mut self.subscribers[who];
            while *next != sequence.wrapping_add(1) {
                if !is_lost() {
                    recorder.record(*next, at + TRAVEL);
                }
                *next = next.wrapping_add(1);
            }
        }
    }

    /// Everybody's messages on what has arrived since the last ones, sealed.
    pub(crate) fn tell(&mut self, clients: &mut [Client]) -> Vec<(SocketAddr, Vec<u8>)> {
        self.arrive(|| false);
        let mut messages = Vec::new();
        for (who, client) in clients.iter_mut().enumerate() {
            while let Some(message) = self.message(who, client) {
                messages.push((client.address, message));
            }
        }
        messages
    }

    /// One message of one subscriber, if there is anything to tell.
    pub(crate) fn message(&mut self, who: usize, client: &mut Client) -> Option<Vec<u8>> {
        let (recorder, _) = &mut self.subscribers[who];
        recorder
            .has_pending()
            .then(|| client.rtcp(|writer| assert!(recorder.write_feedback(writer, 1, 2).unwrap())))
    }

    /// What a subscriber has to tell.
    pub(crate) fn recorder(&mut self, who: usize) -> &mut TwccRecorder {
        &mut self.subscribers[who].0
    }
}

/// The transport-wide number of a packet of RTP as the server writes it: the first of its extensions.
pub(crate) fn transport_sequence(packet: &[u8]) -> Option<u16> {
    let is_rtp = packet.first()? >> 6 == 2 && !RTCP.contains(packet.get(1)?);
    let block = packet.get(EXTENSIONS_AT..EXTENSIONS_AT + 7)?;
    let is_it = is_rtp && block.starts_with(&ONE_BYTE_HEADERS) && block[4] == TRANSPORT_CC_ID << 4 | 1;
    is_it.then(|| u16::from_be_bytes([block[5], block[6]]))
}
