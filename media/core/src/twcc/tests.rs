use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::{Just, any, prop_oneof};
use proptest::strategy::Strategy;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
    SymbolTypeTcc, TransportLayerCc,
};

use super::*;
use crate::bounds::{RTCP_BYTES_MAX, TWCC_ARRIVALS, TWCC_STATUSES_PER_FEEDBACK_MAX};
use crate::rtcp::{RtcpError, RtcpFull, RtcpPacket, RtcpWriter, packets};
use crate::testing::check;
use crate::time::Time;

fn view(packet: &[u8]) -> TwccView<'_> {
    let mut packets = packets(packet);
    let Some(Ok(RtcpPacket::TransportFeedback(view))) = packets.next() else { panic!("{packet:02x?}") };
    assert!(packets.next().is_none());
    view
}

fn error(packet: &[u8]) -> Option<RtcpError> {
    packets(packet).next().and_then(Result::err)
}

/// A feedback message with base 10, reference time 1, padded to a word.
fn message(status_count: u16, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10];
    packet.extend(status_count.to_be_bytes());
    packet.extend([0, 0, 1, 7]);
    packet.extend(chunks.iter().flat_map(|chunk| chunk.to_be_bytes()));
    packet.extend(deltas);
    packet.resize(packet.len().next_multiple_of(4), 0);
    let words = (packet.len() / 4 - 1) as u16;
    packet[2..4].copy_from_slice(&words.to_be_bytes());
    packet
}

/// One message of everything pending that fits.
fn feedback(recorder: &mut TwccRecorder) -> Vec<u8> {
    let mut out = [0xee; RTCP_BYTES_MAX + 100];
    let mut writer = RtcpWriter::new(&mut out);
    assert_eq!(recorder.write_feedback(&mut writer, 1, 2), Ok(true));
    let len = writer.len();
    assert!(out[len..].iter().all(|byte| *byte == 0xee), "nothing behind the message is touched");
    out[..len].to_vec()
}

fn statuses(packet: &[u8]) -> Vec<(u16, bool)> {
    view(packet).statuses().map(|(sequence, arrival)| (sequence, arrival.is_some())).collect()
}

#[test]
fn all_kinds_of_chunk_are_read() {
    // A run of two small deltas; one-bit symbols 1 0 1 …; two-bit symbols small, none, large, …
    let chunks = [0x2002, 0x8000 | 0b10_1000_0000_0000, 0xc000 | 0b01_0010_0000_0000];
    let packet = message(19, &chunks, &[4, 8, 12, 16, 20, 0xff, 0xfe]);
    let view = view(&packet);
    assert_eq!((view.sender_ssrc, view.media_ssrc), (1, 2));
    assert_eq!((view.base_sequence, view.status_count, view.reference_time_64ms), (10, 19, 1));
    assert_eq!(view.feedback_count, 7);
    let received: Vec<_> = view.received().collect();
    assert_eq!(received, [(10, 1_000), (11, 3_000), (12, 6_000), (14, 10_000), (26, 15_000), (28, 14_500)]);
    let mut expected: Vec<_> = (10..29).map(|sequence| (sequence, None)).collect();
    for (sequence, arrival) in received {
        expected[usize::from(sequence - 10)].1 = Some(arrival);
    }
    assert_eq!(view.statuses().collect::<Vec<_>>(), expected);
}

#[test]
fn filler_symbols_after_the_status_count_are_no_packets() {
    // Fourteen places, three statuses; the rest says 'received', and has no deltas.
    let packet = message(3, &[0xbfff], &[1, 1, 1]);
    assert_eq!(view(&packet).statuses().count(), 3);
    assert_eq!(view(&packet).received().count(), 3);
    let packet = message(2, &[0x3fff], &[1, 1]);
    assert_eq!(view(&packet).statuses().count(), 2);
    // A reserved symbol among the fillers is none of our business.
    let packet = message(1, &[0xc000 | 0b01_1111_1111_1111], &[1]);
    assert_eq!(view(&packet).received().collect::<Vec<_>>(), [(10, 250)]);
}

#[test]
fn the_reserved_symbol_is_malformed() {
    let malformed = Some(RtcpError::Malformed { packet_type: 205 });
    assert_eq!(error(&message(1, &[0x6001], &[0; 8])), malformed);
    assert_eq!(error(&message(2, &[0xc000 | 0b01_1100_0000_0000], &[0; 8])), malformed);
}

#[test]
fn missing_chunks_and_deltas_are_refused() {
    let truncated = Some(RtcpError::Truncated);
    assert_eq!(error(&message(15, &[0xbfff], &[])), truncated, "second chunk");
    assert_eq!(error(&message(2, &[0x2002], &[1])), None, "padding is as good as a delta");
    assert_eq!(error(&message(4, &[0x2004], &[])), truncated, "deltas");
    assert_eq!(error(&message(65_535, &[0x5fff; 8], &[0; 200])), truncated, "many deltas");
    let whole = message(19, &[0x2002, 0xa800, 0xd200], &[4, 8, 12, 16, 20, 0xff, 0xfe]);
    for words in 1..whole.len() / 4 - 1 {
        let mut cut = whole[..words * 4 + 4].to_vec();
        cut[2..4].copy_from_slice(&(words as u16).to_be_bytes());
        assert_eq!(error(&cut), truncated, "{words} words");
    }
}

#[test]
fn runs_of_length_zero_end() {
    let packet = message(1, &[0x2000, 0, 0, 0x2001], &[9]);
    assert_eq!(view(&packet).statuses().collect::<Vec<_>>(), [(10, Some(2_250))]);
    assert_eq!(error(&message(1, &[0; 20], &[])), Some(RtcpError::Truncated));
}

#[test]
fn a_hostile_count_costs_the_received_iterator_nothing() {
    let packet =
        message(u16::MAX, &[0x1fff, 0x1fff, 0x1fff, 0x1fff, 0x1fff, 0x1fff, 0x1fff, 0x1fff, 0x2007], &[1; 7]);
    let received: Vec<_> = view(&packet).received().map(|(sequence, _)| sequence).collect();
    assert_eq!(received, (65_528_u32 + 10..65_535 + 10).map(|sequence| sequence as u16).collect::<Vec<_>>());
    assert_eq!(view(&packet).statuses().count(), 65_535);
}

#[test]
fn negative_reference_times_are_read() {
    let mut packet = message(1, &[0x2001], &[0]);
    packet[16..19].copy_from_slice(&[0xff, 0xff, 0xfe]);
    assert_eq!(view(&packet).reference_time_64ms, -2);
}

#[test]
fn nothing_recorded_is_nothing_to_tell() {
    let mut recorder = TwccRecorder::new();
    assert!(!recorder.has_pending());
    let mut out = [0; 100];
    let mut writer = RtcpWriter::new(&mut out);
    assert_eq!(recorder.write_feedback(&mut writer, 1, 2), Ok(false));
    assert!(writer.is_empty());
}

#[test]
fn lost_packets_are_told_between_and_across_messages() {
    let mut recorder = TwccRecorder::new();
    recorder.record(100, Time::from_millis(1_000));
    recorder.record(102, Time::from_millis(1_001));
    let first = feedback(&mut recorder);
    assert_eq!(statuses(&first), [(100, true), (101, false), (102, true)]);
    recorder.record(105, Time::from_millis(1_002));
    let second = feedback(&mut recorder);
    assert_eq!(statuses(&second), [(103, false), (104, false), (105, true)]);
    assert_eq!((view(&first).feedback_count, view(&second).feedback_count), (0, 1));
    assert!(!recorder.has_pending());
}

#[test]
fn late_packets_get_messages_that_repeat_nothing() {
    let mut recorder = TwccRecorder::new();
    for sequence in [10, 11, 14, 17] {
        recorder.record(sequence, Time::from_millis(5));
    }
    feedback(&mut recorder);
    for sequence in [15, 12, 14, 18, 9] {
        recorder.record(sequence, Time::from_millis(6));
    }
    assert_eq!(statuses(&feedback(&mut recorder)), [(9, true)]);
    assert_eq!(statuses(&feedback(&mut recorder)), [(12, true)]);
    assert_eq!(statuses(&feedback(&mut recorder)), [(15, true)]);
    assert_eq!(statuses(&feedback(&mut recorder)), [(18, true)]);
    assert!(!recorder.has_pending());
}

#[test]
fn sequence_numbers_go_over_the_wrap() {
    let mut recorder = TwccRecorder::new();
    for sequence in [65_534, 65_535, 1, 0] {
        recorder.record(sequence, Time::from_millis(5));
    }
    let packet = feedback(&mut recorder);
    assert_eq!(statuses(&packet), [(65_534, true), (65_535, true), (0, true), (1, true)]);
}

#[test]
fn the_reference_time_wraps_with_its_24_bits() {
    const WRAP_MICROS: u64 = 64_000 << 24;
    let mut recorder = TwccRecorder::new();
    let times = [WRAP_MICROS - 1_000, WRAP_MICROS - 250, WRAP_MICROS, WRAP_MICROS + 500];
    for (sequence, micros) in (1..).zip(times) {
        recorder.record(sequence, Time::from_micros(micros));
    }
    let packet = feedback(&mut recorder);
    assert_eq!(view(&packet).reference_time_64ms, -1);
    let received: Vec<_> = view(&packet).received().map(|(_, micros)| micros).collect();
    assert_eq!(received, [63_000, 63_750, 64_000, 64_500]);
    recorder.record(5, Time::from_micros(WRAP_MICROS + 64_000));
    assert_eq!(view(&feedback(&mut recorder)).reference_time_64ms, 1);
}

#[test]
fn deltas_out_of_range_start_a_new_message() {
    const DELTA_MAX_MICROS: u64 = i16::MAX as u64 * 250;
    let mut recorder = TwccRecorder::new();
    recorder.record(1, Time::ZERO);
    recorder.record(2, Time::from_micros(DELTA_MAX_MICROS));
    recorder.record(3, Time::from_micros(2 * DELTA_MAX_MICROS + 250));
    // The packet before arrives far too late: its delta is below the range.
    recorder.record(5, Time::from_micros(2 * DELTA_MAX_MICROS + 250));
    recorder.record(4, Time::from_micros(4 * DELTA_MAX_MICROS));
    assert_eq!(statuses(&feedback(&mut recorder)), [(1, true), (2, true)]);
    assert_eq!(statuses(&feedback(&mut recorder)), [(3, true)]);
    assert_eq!(statuses(&feedback(&mut recorder)), [(4, true)]);
    assert_eq!(statuses(&feedback(&mut recorder)), [(5, true)]);
    assert!(!recorder.has_pending());
}

#[test]
fn a_jump_over_the_ring_starts_anew() {
    for jump in [TWCC_ARRIVALS as u16, 0x7fff, 0x8000, 0x9000, 0_u16.wrapping_sub(TWCC_ARRIVALS as u16)] {
        let mut recorder = TwccRecorder::new();
        recorder.record(7, Time::ZERO);
        let landed = 7_u16.wrapping_add(jump);
        recorder.record(landed, Time::ZERO);
        assert_eq!(statuses(&feedback(&mut recorder)), [(landed, true)], "jump of {jump}");
        assert!(!recorder.has_pending());
    }
}

#[test]
fn a_hostile_gap_inside_the_ring_makes_one_short_message() {
    let mut recorder = TwccRecorder::new();
    recorder.record(7, Time::ZERO);
    recorder.record(7 + TWCC_ARRIVALS as u16 - 1, Time::ZERO);
    assert_eq!(statuses(&feedback(&mut recorder)), [(7, true)]);
    let packet = feedback(&mut recorder);
    assert_eq!(view(&packet).status_count, TWCC_STATUSES_PER_FEEDBACK_MAX);
    assert_eq!(packet.len(), 28);
    assert_eq!(view(&packet).received().count(), 1);
    assert!(!recorder.has_pending());
}

#[test]
fn without_room_nothing_is_lost() {
    let mut recorder = TwccRecorder::new();
    recorder.record(1, Time::ZERO);
    let mut out = [0; 64];
    for room in (0..20).chain([20, 21]) {
        let mut writer = RtcpWriter::new(&mut out[..room]);
        assert_eq!(recorder.write_feedback(&mut writer, 1, 2), Err(RtcpFull), "{room} bytes");
        assert!(recorder.has_pending() && writer.is_empty());
    }
    let packet = feedback(&mut recorder);
    assert_eq!((statuses(&packet), view(&packet).feedback_count), (vec![(1, true)], 0));
}

#[derive(Clone, Debug)]
enum Step {
    Advance { sequences: u16, micros: u64 },
    Late { back: u16, micros: u64 },
    Repeat,
    Feedback { room: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let micros = || prop_oneof![10 => 0_u64..3_000, 3 => 0_u64..70_000, 1 => 7_000_000_u64..9_000_000];
    let forward = prop_oneof![20 => Just(1_u16), 4 => 2_u16..20, 1 => 20_u16..4_000];
    let back = prop_oneof![8 => 1_u16..30, 1 => 30_u16..4_090];
    prop_oneof![
        20 => (forward, micros()).prop_map(|(sequences, micros)| Step::Advance { sequences, micros }),
        4 => (back, micros()).prop_map(|(back, micros)| Step::Late { back, micros }),
        1 => Just(Step::Repeat),
        1 => prop_oneof![Just(2_000), 20_usize..300].prop_map(|room| Step::Feedback { room }),
    ]
}

/// What should have been told, in sequence numbers that do not wrap.
struct Model {
    recorder: TwccRecorder,
    arrival_ticks: BTreeMap<i64, u32>,
    told: BTreeSet<i64>,
    covered: BTreeSet<i64>,
    newest: i64,
    now: u64,
    messages: u8,
}

impl Model {
    fn record(&mut self, sequence: i64) {
        self.recorder.record(sequence as u16, Time::from_micros(self.now));
        self.arrival_ticks.entry(sequence).or_insert((self.now / 250) as u32);
        self.newest = self.newest.max(sequence);
    }

    fn oldest_untold(&self) -> Option<i64> {
        self.arrival_ticks.keys().find(|sequence| !self.told.contains(sequence)).copied()
    }

    fn write(&mut self, room: usize) {
        let mut out = vec![0; room];
        while self.recorder.has_pending() {
            let mut writer = RtcpWriter::new(&mut out);
            match self.recorder.write_feedback(&mut writer, 1, 2) {
                Ok(wrote) => assert!(wrote),
                Err(RtcpFull) => return assert!(room < 40, "{room} bytes must be enough"),
            }
            let len = writer.len();
            self.read(&out[..len]);
        }
        assert_eq!(self.oldest_untold(), None, "something was forgotten");
    }

    fn read(&mut self, packet: &[u8]) {
        assert!(packet.len() <= RTCP_BYTES_MAX && packet.len().is_multiple_of(4));
        let view = view(packet);
        assert_eq!(view.feedback_count, self.messages);
        self.messages = self.messages.wrapping_add(1);
        assert!((1..=TWCC_STATUSES_PER_FEEDBACK_MAX).contains(&view.status_count));
        let reference_ticks = view.reference_time_64ms.cast_unsigned() << 8;
        let back = (self.newest as u16).wrapping_sub(view.base_sequence);
        for (offset, (sequence, arrival)) in (0..).zip(view.statuses()) {
            let unwrapped = self.newest - i64::from(back) + offset;
            assert_eq!(unwrapped as u16, sequence);
            self.covered.insert(unwrapped);
            match arrival {
                Some(micros) => {
                    let ticks = reference_ticks.wrapping_add((micros / 250) as u32);
                    assert_eq!(self.arrival_ticks.get(&unwrapped), Some(&ticks), "arrival of {unwrapped}");
                    assert!(self.told.insert(unwrapped), "{unwrapped} was told twice");
                }
                None => assert!(!self.arrival_ticks.contains_key(&unwrapped), "{unwrapped} arrived"),
            }
        }
        let received: Vec<_> = view.received().collect();
        let at_once = view.received().fold(Vec::new(), |mut all, one| {
            all.push(one);
            all
        });
        assert!(
            view.statuses().filter_map(|(sequence, micros)| Some((sequence, micros?))).eq(received.clone())
        );
        assert_eq!(at_once, received);
        assert!(
            view.statuses().last().is_some_and(|(_, arrival)| arrival.is_some()),
            "no lost packets at the end"
        );
        compare_with_rtc_rtcp(packet);
    }
}

#[test]
fn every_recorded_packet_is_told_exactly_once() {
    const WRAP_MICROS: u64 = 64_000 << 24;
    let start = prop_oneof![Just(0), 0_u64..1 << 40, WRAP_MICROS - 1_000_000..WRAP_MICROS];
    check((any::<u16>(), start, vec(step(), 1..400)), |(first, start, steps)| {
        let newest = i64::from(first) + (1 << 32);
        let mut model = Model {
            recorder: TwccRecorder::new(),
            arrival_ticks: BTreeMap::new(),
            told: BTreeSet::new(),
            covered: BTreeSet::new(),
            newest,
            now: start,
            messages: 0,
        };
        model.record(newest);
        let mut widest_gap = 0;
        for step in steps {
            match step {
                Step::Advance { sequences, micros } => {
                    model.now += micros;
                    let next = model.newest + i64::from(sequences);
                    // What the ring cannot hold is lost, and that is another test.
                    if model.oldest_untold().is_some_and(|oldest| next - oldest >= TWCC_ARRIVALS as i64) {
                        model.write(2_000);
                    }
                    widest_gap = widest_gap.max(sequences);
                    model.record(next);
                }
                Step::Late { back, micros } => {
                    model.now += micros;
                    model.record(model.newest - i64::from(back));
                }
                Step::Repeat => model.record(model.newest),
                Step::Feedback { room } => model.write(room),
            }
        }
        model.write(2_000);
        if widest_gap < TWCC_STATUSES_PER_FEEDBACK_MAX {
            let all = newest..=model.newest;
            assert!(
                all.clone().all(|sequence| model.covered.contains(&sequence)),
                "a lost packet was not told"
            );
        }
    });
}

#[test]
fn arbitrary_sequences_never_panic_and_stay_in_bounds() {
    check(vec((any::<u16>(), 0_u64..20_000_000, any::<bool>()), 1..200), |packets| {
        let mut recorder = TwccRecorder::new();
        let mut now = 0;
        for (sequence, micros, flush) in packets {
            now += micros;
            recorder.record(sequence, Time::from_micros(now));
            while flush && recorder.has_pending() {
                let packet = feedback(&mut recorder);
                assert!(packet.len() <= RTCP_BYTES_MAX);
                assert!(view(&packet).received().count() > 0);
            }
        }
    });
}

#[test]
fn a_full_ring_is_told_in_messages_that_fit() {
    let mut recorder = TwccRecorder::new();
    // Deltas that alternate between small and large, so that no chunk is a run and most deltas take two bytes.
    for sequence in 0..TWCC_ARRIVALS as u16 {
        recorder.record(sequence, Time::from_micros(u64::from(sequence) * 100_000));
    }
    let mut told = 0;
    while recorder.has_pending() {
        let packet = feedback(&mut recorder);
        assert!(packet.len() <= RTCP_BYTES_MAX);
        if recorder.has_pending() {
            assert!(packet.len() > RTCP_BYTES_MAX - 16, "{} bytes: room is wasted", packet.len());
        }
        told += view(&packet).received().count();
    }
    assert_eq!(told, TWCC_ARRIVALS);
}

/// What rtc-rtcp reads in `packet` is what we read.
fn compare_with_rtc_rtcp(packet: &[u8]) {
    let packets = rtc_rtcp::packet::unmarshal(&mut &packet[..]).unwrap();
    let theirs = packets[0].as_any().downcast_ref::<TransportLayerCc>().unwrap();
    let view = view(packet);
    assert_eq!((theirs.sender_ssrc, theirs.media_ssrc), (view.sender_ssrc, view.media_ssrc));
    assert_eq!(theirs.base_sequence_number, view.base_sequence);
    assert_eq!(theirs.packet_status_count, view.status_count);
    assert_eq!(theirs.reference_time, view.reference_time_64ms.cast_unsigned() & 0xff_ffff);
    assert_eq!(theirs.fb_pkt_count, view.feedback_count);
    assert!(view.statuses().eq(expand(theirs)));
}

/// The statuses of a message by the plainest way there is.
fn expand(message: &TransportLayerCc) -> Vec<(u16, Option<i64>)> {
    let symbols = message.packet_chunks.iter().flat_map(|chunk| match chunk {
        PacketStatusChunk::RunLengthChunk(run) => vec![run.packet_status_symbol; run.run_length.into()],
        PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.clone(),
    });
    let mut deltas = message.recv_deltas.iter();
    let mut arrival = 0;
    let mut sequence = message.base_sequence_number;
    let mut statuses = vec![];
    for symbol in symbols.take(message.packet_status_count.into()) {
        let received = symbol != SymbolTypeTcc::PacketNotReceived;
        if received {
            arrival += deltas.next().unwrap().delta;
        }
        statuses.push((sequence, received.then_some(arrival)));
        sequence = sequence.wrapping_add(1);
    }
    statuses
}

fn symbol_of(bits: u8) -> SymbolTypeTcc {
    match bits {
        0 => SymbolTypeTcc::PacketNotReceived,
        1 => SymbolTypeTcc::PacketReceivedSmallDelta,
        _ => SymbolTypeTcc::PacketReceivedLargeDelta,
    }
}

/// Chunks whose last has at least seven symbols, so that up to six can be fillers.
fn chunks() -> impl Strategy<Value = Vec<PacketStatusChunk>> {
    let run = (0_u8..3, 0_u16..60).prop_map(|(symbol, run_length)| {
        PacketStatusChunk::RunLengthChunk(RunLengthChunk {
            type_tcc: StatusChunkTypeTcc::RunLengthChunk,
            packet_status_symbol: symbol_of(symbol),
            run_length,
        })
    });
    let vector = |symbol_size, symbols: u8, places: usize| {
        vec(0..symbols, places).prop_map(move |symbols| {
            PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                symbol_size,
                symbol_list: symbols.into_iter().map(symbol_of).collect(),
            })
        })
    };
    let one_bit = || vector(SymbolSizeTypeTcc::OneBit, 2, 14);
    let two_bit = || vector(SymbolSizeTypeTcc::TwoBit, 3, 7);
    let last = prop_oneof![one_bit(), two_bit()];
    (vec(prop_oneof![run, one_bit(), two_bit()], 0..9), last).prop_map(|(mut chunks, last)| {
        chunks.push(last);
        chunks
    })
}

#[test]
fn what_rtc_rtcp_writes_is_read() {
    let deltas = vec((any::<u8>(), any::<i16>()), 600);
    check((any::<u16>(), any::<u32>(), chunks(), deltas, 0_usize..7), |case| {
        let (base, reference, packet_chunks, mut pool, fewer) = case;
        let symbols: Vec<_> = packet_chunks
            .iter()
            .flat_map(|chunk| match chunk {
                PacketStatusChunk::RunLengthChunk(run) => {
                    vec![run.packet_status_symbol; run.run_length.into()]
                }
                PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.clone(),
            })
            .collect();
        let count = symbols.len() - fewer;
        let recv_deltas = symbols[..count]
            .iter()
            .filter(|symbol| **symbol != SymbolTypeTcc::PacketNotReceived)
            .map(|&type_tcc_packet| {
                let (small, large) = pool.pop().unwrap();
                let is_small = type_tcc_packet == SymbolTypeTcc::PacketReceivedSmallDelta;
                let ticks = if is_small { i64::from(small) } else { i64::from(large) };
                RecvDelta { type_tcc_packet, delta: ticks * 250 }
            })
            .collect();
        let theirs = TransportLayerCc {
            sender_ssrc: 1,
            media_ssrc: 2,
            base_sequence_number: base,
            packet_status_count: count as u16,
            reference_time: reference & 0xff_ffff,
            fb_pkt_count: 3,
            packet_chunks,
            recv_deltas,
        };
        let expected = expand(&theirs);
        let packet = rtc_rtcp::packet::marshal(&[Box::new(theirs)]).unwrap();
        assert!(view(&packet).statuses().eq(expected.iter().copied()));
        let received = expected.iter().filter_map(|&(sequence, arrival)| Some((sequence, arrival?)));
        assert!(view(&packet).received().eq(received));
    });
}
