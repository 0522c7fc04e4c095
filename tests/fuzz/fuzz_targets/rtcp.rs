//! Compound RTCP packets: every list is run to its end, and the two ways to read transport feedback agree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::Time;
use vestibule_media_core::rtcp::{ReportBlock, RtcpPacket, RtcpWriter, packets};
use vestibule_media_core::twcc::{TwccRecorder, TwccView};

fuzz_target!(|compound: &[u8]| {
    let mut failed = false;
    for packet in packets(compound) {
        assert!(!failed, "iteration goes on after an error");
        failed = packet.is_err();
        match packet {
            Ok(RtcpPacket::SenderReport { ssrc, info, reports }) => {
                let blocks: Vec<_> = reports.collect();
                let mut out = [0; 1_024];
                let mut writer = RtcpWriter::new(&mut out);
                writer.sender_report(ssrc, &info, &blocks).expect("31 blocks fit");
                let len = writer.len();
                same_report(&out[..len], &blocks);
            }
            Ok(RtcpPacket::ReceiverReport { reports, .. }) => _ = reports.count(),
            Ok(RtcpPacket::Bye { ssrcs }) => assert!(ssrcs.count() <= 31),
            Ok(RtcpPacket::Nack { lost, .. }) => assert!(lost.count() <= compound.len() / 4 * 17),
            Ok(RtcpPacket::TransportFeedback(view)) => transport_feedback(&view),
            Ok(RtcpPacket::Fir { entries, .. }) => _ = entries.count(),
            Ok(RtcpPacket::Remb { ssrcs, .. }) => assert!(ssrcs.count() <= 255),
            Ok(RtcpPacket::SourceDescription | RtcpPacket::Pli { .. } | RtcpPacket::Other { .. })
            | Err(_) => {}
        }
    }
});

fn same_report(written: &[u8], blocks: &[ReportBlock]) {
    let Some(Ok(RtcpPacket::SenderReport { reports, .. })) = packets(written).next() else {
        panic!("what was written cannot be read")
    };
    assert!(reports.eq(blocks.iter().copied()));
}

fn transport_feedback(view: &TwccView<'_>) {
    assert_eq!(view.statuses().count(), usize::from(view.status_count));
    let received = view.statuses().filter_map(|(sequence, arrival)| Some((sequence, arrival?)));
    assert!(received.eq(view.received()));
    record(view);
}

/// Takes the message as what arrived here: whatever its order and times, the feedback about it is sound.
fn record(view: &TwccView<'_>) {
    let mut recorder = TwccRecorder::new();
    for (sequence, micros) in view.received() {
        recorder.record(sequence, Time::from_micros(1_000_000_000_000_u64.saturating_add_signed(micros)));
    }
    let mut out = [0; 1_500];
    while recorder.has_pending() {
        let mut writer = RtcpWriter::new(&mut out);
        assert_eq!(recorder.write_feedback(&mut writer, 1, 2), Ok(true));
        let len = writer.len();
        assert!(len <= 1_200);
        let Some(Ok(RtcpPacket::TransportFeedback(written))) = packets(&out[..len]).next() else {
            panic!("what was written cannot be read")
        };
        assert!(written.received().count() > 0);
    }
}
