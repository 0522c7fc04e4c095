//! The estimate of a line under whatever feedback a stranger sends, between packets that really leave: it does not panic
//! and keeps its bounds, and nothing that was not sent is taken for something that is on its way.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::Time;
use vestibule_media_core::congestion::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS, Estimator};
use vestibule_media_core::rtcp::{RtcpPacket, packets};

/// Transport-wide feedback (RTPFB, FMT 15), from and about nobody.
const HEADER: [u8; 2] = [0x80 | 15, 205];
const SSRCS: [u8; 8] = [0; 8];
const PACKET_BYTES: u16 = 1_200;

fuzz_target!(|data: &[u8]| {
    let mut estimator = Estimator::new();
    let (mut now, mut sequence, mut sent_bytes) = (Time::from_millis(1_000), 0_u16, 0_u64);
    let mut rest = data;
    // What is done, how often, and how long it takes; of feedback as many words as the second says.
    while let Some((&[what, count, millis], behind)) = rest.split_first_chunk::<3>() {
        rest = behind;
        now = now + Duration::from_millis(u64::from(millis));
        match what % 8 {
            0..4 => {
                let probe = estimator.probe_due(now).map_or(0, |probe| probe.number);
                for _ in 0..=count {
                    estimator.sent(sequence, PACKET_BYTES, probe, now);
                    sequence = sequence.wrapping_add(1);
                    sent_bytes += u64::from(PACKET_BYTES);
                }
            }
            4..7 => {
                let (body, behind) = rest.split_at(rest.len().min(usize::from(count) * 4) / 4 * 4);
                rest = behind;
                feedback(&mut estimator, body, now);
            }
            _ if count < 128 => estimator.path_changed(),
            _ => estimator.want(u64::from(count) * 1_000_000),
        }
        assert!((ESTIMATE_MIN_BPS..=ESTIMATE_MAX_BPS).contains(&estimator.estimate_bps()));
        assert!(estimator.proven_bps() <= estimator.estimate_bps());
        assert!((0.0..=1.0).contains(&estimator.loss_share()));
        assert!(estimator.in_flight_bytes() <= sent_bytes);
    }
});

fn feedback(estimator: &mut Estimator, body: &[u8], now: Time) {
    let words = u16::try_from(body.len() / 4 + 2).expect("short");
    let compound = [&HEADER[..], &words.to_be_bytes(), &SSRCS, body].concat();
    for packet in packets(&compound) {
        if let Ok(RtcpPacket::TransportFeedback(view)) = packet {
            estimator.feedback(&view, None, now);
        }
    }
}
