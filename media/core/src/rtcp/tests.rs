use proptest::collection::vec;
use proptest::prelude::any;
use proptest::sample::subsequence;
use proptest::strategy::Strategy;
use rtc_rtcp::goodbye::Goodbye;
use rtc_rtcp::packet::Packet as Reference;
use rtc_rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::{SdesType, SourceDescription};
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};

use super::*;
use crate::testing::check;

fn all(compound: &[u8]) -> Vec<RtcpPacket<'_>> {
    packets(compound).collect::<Result<_, _>>().unwrap()
}

fn written(write: impl FnOnce(&mut RtcpWriter<'_>) -> Result<(), RtcpFull>) -> Vec<u8> {
    let mut out = [0xee; 2_048];
    let mut writer = RtcpWriter::new(&mut out);
    write(&mut writer).unwrap();
    let len = writer.len();
    assert!(out[len..].iter().all(|byte| *byte == 0xee), "nothing behind the packet is touched");
    out[..len].to_vec()
}

fn reference(compound: &[u8]) -> Vec<Box<dyn Reference>> {
    rtc_rtcp::packet::unmarshal(&mut &compound[..]).unwrap()
}

fn only<T: Clone + 'static>(compound: &[u8]) -> T {
    let packets = reference(compound);
    assert_eq!(packets.len(), 1);
    packets[0].as_any().downcast_ref::<T>().unwrap().clone()
}

fn sample_compound() -> Vec<u8> {
    written(|writer| {
        let info = SenderInfo { ntp: NtpTime(0x0102_0304_0506_0708), rtp: 9, packets: 10, bytes: 11 };
        let block = ReportBlock { ssrc: 5, cumulative_lost: -2, ..ReportBlock::default() };
        writer.sender_report(1, &info, &[block, block])?;
        writer.cname(1, "cname")?;
        writer.nack(1, 2, &[7, 8, 30])?;
        writer.pli(1, 2)?;
        writer.fir(1, 2, 3)?;
        writer.remb(1, 1_000_000, &[2])?;
        writer.bye(1)
    })
}

#[test]
fn a_compound_comes_back_in_order() {
    let compound = sample_compound();
    let kinds: Vec<_> = all(&compound)
        .iter()
        .map(|packet| match packet {
            RtcpPacket::SenderReport { reports, .. } => format!("SR {}", reports.clone().count()),
            RtcpPacket::SourceDescription => "SDES".to_owned(),
            RtcpPacket::Nack { lost, .. } => format!("NACK {:?}", lost.clone().collect::<Vec<_>>()),
            RtcpPacket::Pli { sender_ssrc, media_ssrc } => format!("PLI {sender_ssrc} {media_ssrc}"),
            RtcpPacket::Fir { entries, .. } => format!("FIR {:?}", entries.clone().collect::<Vec<_>>()),
            RtcpPacket::Remb { bitrate_bps, .. } => format!("REMB {bitrate_bps}"),
            RtcpPacket::Bye { ssrcs } => format!("BYE {:?}", ssrcs.clone().collect::<Vec<_>>()),
            other => format!("{other:?}"),
        })
        .collect();
    let expected = ["SR 2", "SDES", "NACK [7, 8, 30]", "PLI 1 2", "FIR [(2, 3)]", "REMB 1000000", "BYE [1]"];
    assert_eq!(kinds, expected);
}

#[test]
fn every_truncation_of_a_compound_is_an_error_or_ends_at_a_packet() {
    let compound = sample_compound();
    let mut ends = vec![0];
    while let Some(words) = crate::bytes::u16_at(&compound, ends[ends.len() - 1] + 2) {
        ends.push(ends[ends.len() - 1] + (usize::from(words) + 1) * 4);
    }
    for len in 0..compound.len() {
        let failed = packets(&compound[..len]).any(|packet| packet.is_err());
        assert_eq!(failed, !ends.contains(&len), "{len} bytes");
    }
}

#[test]
fn every_packet_that_lies_about_its_length_is_refused() {
    // Whole words are missing inside a packet whose length field agrees with what is left.
    let compound = sample_compound();
    let mut rest = &compound[..];
    while let Some(words) = crate::bytes::u16_at(rest, 2) {
        let (packet, after) = rest.split_at((usize::from(words) + 1) * 4);
        for kept in 0..words {
            let mut short = packet[..(usize::from(kept) + 1) * 4].to_vec();
            short[2..4].copy_from_slice(&kept.to_be_bytes());
            match packets(&short).next().unwrap() {
                // These lists are as long as the packet says.
                Ok(RtcpPacket::SourceDescription | RtcpPacket::Nack { .. } | RtcpPacket::Fir { .. }) => {}
                Ok(RtcpPacket::Other { packet_type: PAYLOAD_SPECIFIC_FEEDBACK }) if kept == 2 => {}
                other => assert_eq!(other.err(), Some(RtcpError::Truncated), "{kept} of {packet:02x?}"),
            }
        }
        rest = after;
    }
}

#[test]
fn iteration_ends_after_the_first_error() {
    let mut compound = sample_compound();
    let end = compound.len();
    compound.extend([0x40, 200, 0, 0]);
    compound.extend(sample_compound());
    let outcomes: Vec<_> = packets(&compound).map(|packet| packet.err()).collect();
    assert_eq!(outcomes.iter().flatten().collect::<Vec<_>>(), [&RtcpError::Version]);
    assert_eq!(outcomes.len(), packets(&compound[..end]).count() + 1);
}

#[test]
fn padding_is_taken_off_and_checked() {
    // A receiver report with one word of padding.
    let mut packet = [0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
    assert!(matches!(all(&packet)[..], [RtcpPacket::ReceiverReport { ssrc: 1, .. }]));
    for (wrong, error) in [(0, RtcpError::Padding), (9, RtcpError::Padding), (8, RtcpError::Truncated)] {
        packet[11] = wrong;
        assert_eq!(packets(&packet).next().unwrap().err(), Some(error), "{wrong}");
    }
    assert_eq!(packets(&[0xa0, 201, 0, 0]).next().unwrap().err(), Some(RtcpError::Padding));
}

#[test]
fn unknown_types_and_formats_are_passed_over() {
    let compound = [
        0x80, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e', // APP
        0x80, 207, 0, 1, 0, 0, 0, 1, // XR
        0x8b, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, // RFC 8888
        0x8f, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, b'O', b'T', b'H', b'R', // an application's own
    ];
    let types: Vec<_> = all(&compound)
        .iter()
        .map(|packet| match packet {
            RtcpPacket::Other { packet_type } => *packet_type,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(types, [204, 207, 205, 206]);
}

#[test]
fn remb_that_overflows_is_saturated() {
    let remb = |exponent: u8, mantissa: u32| {
        let mut packet = vec![0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B'];
        packet.extend(((u32::from(exponent) << 18) | mantissa).to_be_bytes());
        match all(&packet)[..] {
            [RtcpPacket::Remb { bitrate_bps, .. }] => bitrate_bps,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(remb(0, 0x3_ffff), 0x3_ffff);
    assert_eq!(remb(46, 0x3_ffff), 0x3_ffff << 46);
    assert_eq!(remb(47, 0x3_ffff), u64::MAX);
    assert_eq!(remb(63, 1), 1 << 63);
    assert_eq!(remb(63, 2), u64::MAX);
    assert_eq!(remb(63, 0), 0);
}

#[test]
fn remb_with_more_sources_than_bytes_is_refused() {
    let packet = [0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 2, 0, 0, 9, 0, 0, 0, 1];
    assert_eq!(packets(&packet).next().unwrap().err(), Some(RtcpError::Truncated));
}

#[test]
fn a_full_writer_keeps_what_it_has() {
    type Write = fn(&mut RtcpWriter<'_>) -> Result<(), RtcpFull>;
    let writes: [Write; 9] = [
        |writer| writer.sender_report(1, &SenderInfo::default(), &[ReportBlock::default(); 40]),
        |writer| writer.receiver_report(1, &[ReportBlock::default(); 33]),
        |writer| writer.receiver_report(1, &[]),
        |writer| writer.cname(1, "someone"),
        |writer| writer.nack(1, 2, &[1, 100, 200]),
        |writer| writer.pli(1, 2),
        |writer| writer.fir(1, 2, 3),
        |writer| writer.remb(1, 5, &[1, 2, 3]),
        |writer| writer.bye(1),
    ];
    for write in writes {
        let len = written(write).len();
        for room in 0..len {
            let mut out = vec![0xee; room + 8];
            let mut writer = RtcpWriter::new(&mut out);
            writer.bye(7).unwrap();
            assert_eq!(write(&mut writer), Err(RtcpFull), "{room} of {len} bytes");
            assert_eq!(writer.len(), 8);
            assert!(out[8..].iter().all(|byte| *byte == 0xee), "{room} of {len} bytes");
        }
        let mut out = vec![0; len];
        assert_eq!(write(&mut RtcpWriter::new(&mut out)), Ok(()));
    }
}

#[test]
fn reports_above_31_go_on_in_further_packets() {
    let blocks: Vec<_> = (0..70).map(|ssrc| ReportBlock { ssrc, ..ReportBlock::default() }).collect();
    let compound = written(|writer| writer.sender_report(1, &SenderInfo::default(), &blocks));
    let mut told = vec![];
    let mut kinds = vec![];
    for packet in all(&compound) {
        match packet {
            RtcpPacket::SenderReport { reports, .. } => {
                kinds.push("SR");
                told.extend(reports);
            }
            RtcpPacket::ReceiverReport { reports, .. } => {
                kinds.push("RR");
                told.extend(reports);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((kinds, told), (vec!["SR", "RR", "RR"], blocks));
}

#[test]
fn cumulative_loss_is_clamped_to_24_bits() {
    for (lost, told) in [(0x80_0000, 0x7f_ffff), (-0x80_0001, -0x80_0000), (-1, -1), (i32::MIN, -0x80_0000)] {
        let block = ReportBlock { cumulative_lost: lost, fraction_lost: 0xff, ..ReportBlock::default() };
        let compound = written(|writer| writer.receiver_report(1, &[block]));
        let [RtcpPacket::ReceiverReport { reports, .. }] = &all(&compound)[..] else { panic!() };
        let block = reports.clone().next().unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (told, 0xff));
    }
}

#[test]
fn a_cname_above_255_bytes_is_cut_at_a_character() {
    let name = "é".repeat(200);
    let compound = written(|writer| writer.cname(1, &name));
    let told: SourceDescription = only(&compound);
    assert_eq!(told.chunks[0].items[0].text, "é".repeat(127).as_bytes());
}

#[test]
fn nacks_go_over_the_wrap_in_one_entry() {
    let compound = written(|writer| writer.nack(1, 2, &[65_530, 65_535, 0, 10, 11]));
    assert_eq!(compound.len(), 12 + 2 * 4);
    let [RtcpPacket::Nack { lost, .. }] = &all(&compound)[..] else { panic!() };
    assert_eq!(lost.clone().collect::<Vec<_>>(), [65_530, 65_535, 0, 10, 11]);
}

#[test]
fn an_empty_nack_writes_nothing() {
    assert_eq!(written(|writer| writer.nack(1, 2, &[])), []);
}

fn report_block() -> impl Strategy<Value = ReportBlock> {
    (any::<[u32; 5]>(), any::<u8>(), 0..0x80_0000).prop_map(|(words, fraction_lost, cumulative_lost)| {
        ReportBlock {
            ssrc: words[0],
            fraction_lost,
            cumulative_lost,
            highest_sequence: words[1],
            jitter: words[2],
            last_sender_report: words[3],
            delay_since_last_sender_report: words[4],
        }
    })
}

fn theirs(block: &ReportBlock) -> ReceptionReport {
    ReceptionReport {
        ssrc: block.ssrc,
        fraction_lost: block.fraction_lost,
        total_lost: block.cumulative_lost.cast_unsigned(),
        last_sequence_number: block.highest_sequence,
        jitter: block.jitter,
        last_sender_report: block.last_sender_report,
        delay: block.delay_since_last_sender_report,
    }
}

#[test]
fn reports_agree_with_rtc_rtcp_both_ways() {
    let blocks = vec(report_block(), 0..=31);
    check((any::<[u32; 4]>(), any::<u64>(), blocks), |([ssrc, rtp, packets, bytes], ntp, blocks)| {
        let info = SenderInfo { ntp: NtpTime(ntp), rtp, packets, bytes };
        let compound = written(|writer| writer.sender_report(ssrc, &info, &blocks));
        let expected = SenderReport {
            ssrc,
            ntp_time: ntp,
            rtp_time: rtp,
            packet_count: packets,
            octet_count: bytes,
            reports: blocks.iter().map(theirs).collect(),
            ..SenderReport::default()
        };
        assert_eq!(only::<SenderReport>(&compound), expected);
        let packet = rtc_rtcp::packet::marshal(&[Box::new(expected)]).unwrap();
        assert_eq!(packet, compound);
        let [RtcpPacket::SenderReport { ssrc: told, info: told_info, reports }] = &all(&packet)[..] else {
            panic!()
        };
        assert_eq!((*told, *told_info), (ssrc, info));
        assert_eq!(reports.clone().collect::<Vec<_>>(), blocks);

        let compound = written(|writer| writer.receiver_report(ssrc, &blocks));
        let expected = ReceiverReport {
            ssrc,
            reports: blocks.iter().map(theirs).collect(),
            ..ReceiverReport::default()
        };
        assert_eq!(only::<ReceiverReport>(&compound), expected);
        let [RtcpPacket::ReceiverReport { ssrc: told, reports }] = &all(&compound)[..] else { panic!() };
        assert_eq!(*told, ssrc);
        assert_eq!(reports.clone().collect::<Vec<_>>(), blocks);
    });
}

#[test]
fn nacks_agree_with_rtc_rtcp_both_ways() {
    let lost = subsequence((0..400_u16).collect::<Vec<_>>(), 1..100);
    check((any::<[u32; 2]>(), any::<u16>(), lost), |([sender, media], base, lost)| {
        let lost: Vec<_> = lost.into_iter().map(|offset| base.wrapping_add(offset)).collect();
        let compound = written(|writer| writer.nack(sender, media, &lost));
        let theirs: TransportLayerNack = only(&compound);
        assert_eq!((theirs.sender_ssrc, theirs.media_ssrc), (sender, media));
        assert_eq!(theirs.nacks.iter().flat_map(NackPair::packet_list).collect::<Vec<_>>(), lost);
        let packet = rtc_rtcp::packet::marshal(&[Box::new(theirs)]).unwrap();
        let [RtcpPacket::Nack { sender_ssrc, media_ssrc, lost: told }] = &all(&packet)[..] else { panic!() };
        assert_eq!((*sender_ssrc, *media_ssrc), (sender, media));
        assert_eq!(told.clone().collect::<Vec<_>>(), lost);
    });
}

#[test]
fn unsorted_and_repeated_nacks_lose_nothing() {
    check(vec(any::<u16>(), 1..100), |lost| {
        let compound = written(|writer| writer.nack(1, 2, &lost));
        let [RtcpPacket::Nack { lost: told, .. }] = &all(&compound)[..] else { panic!() };
        let sorted = |mut numbers: Vec<u16>| {
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        assert_eq!(sorted(told.clone().collect()), sorted(lost));
    });
}

#[test]
fn payload_feedback_agrees_with_rtc_rtcp_both_ways() {
    let rates = (0_u32..18, 0_u64..0x4_0000).prop_map(|(shift, mantissa)| mantissa << shift);
    let entries = vec((any::<u32>(), any::<u8>()), 1..10);
    check((any::<[u32; 2]>(), any::<u8>(), rates, vec(any::<u32>(), 0..10), entries), |case| {
        let ([sender_ssrc, media_ssrc], sequence, bitrate_bps, ssrcs, entries) = case;
        let pli = PictureLossIndication { sender_ssrc, media_ssrc };
        assert_eq!(
            only::<PictureLossIndication>(&written(|writer| writer.pli(sender_ssrc, media_ssrc))),
            pli
        );

        let fir: FullIntraRequest = only(&written(|writer| writer.fir(sender_ssrc, media_ssrc, sequence)));
        assert_eq!((fir.sender_ssrc, fir.media_ssrc), (sender_ssrc, 0));
        assert_eq!(fir.fir, [FirEntry { ssrc: media_ssrc, sequence_number: sequence }]);

        let remb: ReceiverEstimatedMaximumBitrate =
            only(&written(|writer| writer.remb(sender_ssrc, bitrate_bps, &ssrcs)));
        assert_eq!((remb.sender_ssrc, remb.bitrate, &remb.ssrcs), (sender_ssrc, bitrate_bps as f32, &ssrcs));

        let fir = FullIntraRequest {
            sender_ssrc,
            media_ssrc,
            fir: entries.iter().map(|&(ssrc, sequence_number)| FirEntry { ssrc, sequence_number }).collect(),
        };
        let packet = rtc_rtcp::packet::marshal(&[Box::new(pli), Box::new(fir), Box::new(remb)]).unwrap();
        let [
            RtcpPacket::Pli { .. },
            RtcpPacket::Fir { sender_ssrc: fir_sender, entries: told },
            RtcpPacket::Remb { bitrate_bps: told_bitrate, ssrcs: told_ssrcs, .. },
        ] = &all(&packet)[..]
        else {
            panic!()
        };
        assert_eq!((*fir_sender, *told_bitrate), (sender_ssrc, bitrate_bps));
        assert_eq!(told.clone().collect::<Vec<_>>(), entries);
        assert_eq!(told_ssrcs.clone().collect::<Vec<_>>(), ssrcs);
    });
}

#[test]
fn remb_rounds_down_to_18_bits() {
    check(any::<u64>(), |bitrate| {
        let compound = written(|writer| writer.remb(1, bitrate, &[]));
        let [RtcpPacket::Remb { bitrate_bps, .. }] = all(&compound)[..] else { panic!() };
        assert!(
            bitrate_bps <= bitrate && bitrate - bitrate_bps <= bitrate >> 17,
            "{bitrate} told as {bitrate_bps}"
        );
    });
}

#[test]
fn names_and_goodbyes_agree_with_rtc_rtcp() {
    check((any::<u32>(), "[a-zA-Z0-9@.]{0,60}", vec(any::<u32>(), 0..=31)), |(ssrc, name, sources)| {
        let told: SourceDescription = only(&written(|writer| writer.cname(ssrc, &name)));
        assert_eq!((told.chunks.len(), told.chunks[0].source, told.chunks[0].items.len()), (1, ssrc, 1));
        assert_eq!(told.chunks[0].items[0].sdes_type, SdesType::SdesCname);
        assert_eq!(told.chunks[0].items[0].text, name.as_bytes());

        assert_eq!(only::<Goodbye>(&written(|writer| writer.bye(ssrc))).sources, [ssrc]);
        let goodbye = Goodbye { sources: sources.clone(), reason: name.into_bytes().into() };
        let packet = rtc_rtcp::packet::marshal(&[Box::new(goodbye)]).unwrap();
        let [RtcpPacket::Bye { ssrcs }] = &all(&packet)[..] else { panic!() };
        assert_eq!(ssrcs.clone().collect::<Vec<_>>(), sources);
    });
}

#[test]
fn arbitrary_packets_never_panic() {
    let packet = (0_u8..32, 198_u8..210, any::<bool>(), vec(any::<u8>(), 0..60));
    check(vec(packet, 0..6), |described| {
        let mut compound = vec![];
        for (count, packet_type, padding, mut body) in described {
            body.resize(body.len().next_multiple_of(4), 0);
            compound.extend([0x80 | (u8::from(padding) << 5) | count, packet_type]);
            compound.extend((body.len() as u16 / 4).to_be_bytes());
            compound.extend(body);
        }
        _ = packets(&compound).map(|packet| consume(packet.ok())).sum::<usize>();
    });
}

#[test]
fn arbitrary_bytes_never_panic() {
    check(vec(any::<u8>(), 0..200), |bytes| {
        _ = packets(&bytes).map(|packet| consume(packet.ok())).sum::<usize>()
    });
}

/// Runs every iterator to its end.
fn consume(packet: Option<RtcpPacket<'_>>) -> usize {
    match packet {
        Some(RtcpPacket::SenderReport { reports, .. } | RtcpPacket::ReceiverReport { reports, .. }) => {
            reports.count()
        }
        Some(RtcpPacket::Bye { ssrcs }) => ssrcs.count(),
        Some(RtcpPacket::Nack { lost, .. }) => lost.count(),
        Some(RtcpPacket::TransportFeedback(view)) => view.statuses().count() + view.received().count(),
        Some(RtcpPacket::Fir { entries, .. }) => entries.count(),
        Some(RtcpPacket::Remb { ssrcs, .. }) => ssrcs.count(),
        Some(RtcpPacket::SourceDescription | RtcpPacket::Pli { .. } | RtcpPacket::Other { .. }) | None => 0,
    }
}
