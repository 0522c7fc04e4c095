//! VP8's temporal layers left out while packets are lost and overtake each other: what leaves the slot, number by number, and
//! what a decoder takes of it. The scenarios are those of Jitsi Videobridge's tests of its VP8 projection.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::{any, prop};
use slotmap::SlotMap;
use vestibule_sim::offer::{ClientLine, ClientOffer, TEST_FINGERPRINT};

use super::*;
use crate::api::{AudioProfile, SourceKind};
use crate::counters::Counters;
use crate::downlink::Downlink;
use crate::egress::TxSlab;
use crate::keys::PeerKey;
use crate::rtp::RtpHeader;
use crate::sdp::{Offer, OfferedMedia};
use crate::source::{Acceptance, Incoming};
use crate::srtp::{KeyingMaterial, SrtpOpener, SrtpProfile, SrtpRole, session};
use crate::testing::check;
use crate::vp8;

/// Close below the end of the sequence numbers, as are the picture ids of theirs.
const FIRST_INDEX: u64 = 65_450;
const FIRST_PICTURE: u32 = 32_700;
/// A packet of a picture: the pictures' temporal layers are 0 2 1 2, from a keyframe on.
type Part = (u32, u8);

const fn temporal(picture: u32) -> u8 {
    match picture % 4 {
        0 => 0,
        2 => 1,
        _ => 2,
    }
}

/// It refers to the base layer alone.
const fn is_sync(picture: u32) -> bool {
    matches!(picture % 4, 1 | 2)
}

/// A packet as it left.
#[derive(Clone, Copy, Debug)]
struct Out {
    part: Option<Part>,
    marker: bool,
    timestamp: u32,
    picture: u16,
    tl0: u8,
}

/// A source of one VP8 encoding, and a slot that shows it.
struct Stage {
    /// Packets of each picture.
    parts: u8,
    sources: SlotMap<SourceKey, Source>,
    key: SourceKey,
    slot: Slot,
    slab: TxSlab,
    tx: Downlink,
    counters: Counters,
    opener: SrtpOpener,
    /// By number.
    sent: BTreeMap<u64, Out>,
}

impl Stage {
    fn new(parts: u8, limit: u8) -> Self {
        Self::of(CodecName::Vp8, parts, limit)
    }

    fn of(codec: CodecName, parts: u8, limit: u8) -> Self {
        let media = media();
        let mut sources = SlotMap::with_key();
        let key = sources.insert(Source {
            owner: PeerKey::default(),
            kind: SourceKind::Camera,
            media: MediaKind::Video,
            mid: media.mid,
            clock_rate: 90_000,
            formats: Formats::of(&media),
            codec,
            nack: true,
            pli: true,
            encodings: vec![Encoding::new(MediaKind::Video, codec, None)],
            subscribers: Vec::new(),
            wanted: 1,
            wanted_at: None,
            profile: AudioProfile::default(),
            pressed: None,
            red_payload_type: None,
            began_at: None,
            flowing: true,
            last_packet_at: Time::ZERO,
        });
        let mut slot = Slot::new(SlotParameters {
            media: MediaKind::Video,
            mid: media.mid,
            ssrc: 7,
            formats: Formats::of(&media),
            clock_rate: 90_000,
            rtx_ssrc: None,
            red: None,
            first_sequence: 0x7fd0,
            first_rtx_sequence: 1,
            first_timestamp: 0x00fe_7ff0,
        });
        slot.bind(Some(key), false, Time::ZERO);
        slot.go_for(Layer::default(), limit, false);
        let exported = vec![7; SrtpProfile::AeadAes128Gcm.exporter_len()];
        let keys = KeyingMaterial::from_exporter(SrtpProfile::AeadAes128Gcm, &exported).unwrap();
        let (sealer, _) = session(&keys, SrtpRole::Server).unwrap();
        let (_, opener) = session(&keys, SrtpRole::Client).unwrap();
        let tx = Downlink { sealer: Some(sealer), ..Downlink::new() };
        let (slab, counters, sent) = (TxSlab::new(), Counters::default(), BTreeMap::new());
        Self { parts, sources, key, slot, slab, tx, counters, opener, sent }
    }

    fn limit(&mut self, limit: u8) {
        self.slot.go_for(Layer::default(), limit, false);
    }

    /// All packets of these pictures come, in order.
    fn pictures(&mut self, pictures: impl IntoIterator<Item = u32>) {
        for picture in pictures {
            (0..self.parts).for_each(|part| _ = self.comes((picture, part)));
        }
    }

    /// A packet comes. Gives how many leave.
    fn comes(&mut self, (picture, part): Part) -> usize {
        self.gives((picture, part), &payload(picture, part))
    }

    /// The same, with this payload.
    fn gives(&mut self, part: Part, payload: &[u8]) -> usize {
        if self.takes(part, payload) { self.offers(part) } else { 0 }
    }

    /// A packet comes, and the slot is not offered it yet. False if it is of no use.
    fn takes(&mut self, (picture, part): Part, payload: &[u8]) -> bool {
        let now = Time::from_millis(u64::from(picture) * 33);
        let incoming = Incoming {
            index: self.index_of((picture, part)),
            timestamp: picture * 3_000,
            marker: part + 1 == self.parts,
            payload,
            codec: self.sources[self.key].codec,
            dependency: None,
            audio_level: None,
            video_orientation: None,
            playout_delay: None,
            recovered: false,
        };
        let source = &mut self.sources[self.key];
        let accepted = source.encodings[0].accept(MediaKind::Video, 90_000, &incoming, now);
        matches!(accepted, Acceptance::Accepted { .. })
    }

    /// The slot is offered a packet that came. Gives how many leave.
    fn offers(&mut self, part: Part) -> usize {
        let now = Time::from_millis(u64::from(part.0) * 33);
        let index = self.index_of(part);
        let Self { slab, tx, counters, .. } = self;
        let mut egress = Egress { slab, tx, counters, now, came_at: now };
        self.slot.on_packet(self.key, &self.sources[self.key], 0, index, &mut egress);
        self.leaves()
    }

    fn index_of(&self, (picture, part): Part) -> u64 {
        FIRST_INDEX + u64::from(picture) * u64::from(self.parts) + u64::from(part)
    }

    /// Takes what has left, under numbers none of which is used twice.
    fn leaves(&mut self) -> usize {
        let to = crate::TransportAddress::Udp(([192, 0, 2, 1], 5).into());
        self.slab.depart(&mut self.tx.queue, to);
        let datagrams: Vec<_> = self
            .slab
            .drain()
            .flat_map(|transmit| transmit.packets().map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect();
        self.slab.reset();
        let count = datagrams.len();
        let is_vp8 = self.sources[self.key].codec == CodecName::Vp8;
        for mut bytes in datagrams {
            let header = RtpHeader::parse(&bytes).unwrap();
            let opened = self.opener.open_rtp(&mut bytes, &header).unwrap();
            let payload = if is_vp8 { &bytes[header.header_len..opened.len] } else { &[] };
            let out = Out::read(&header, payload);
            assert!(self.sent.insert(opened.index, out).is_none(), "number {} used twice", opened.index);
        }
        count
    }

    /// Numbers under which nothing left, between the first and the last.
    fn gaps(&self) -> Vec<u64> {
        let (Some(first), Some(last)) = (self.sent.keys().next(), self.sent.keys().last()) else {
            return Vec::new();
        };
        (*first..=*last).filter(|number| !self.sent.contains_key(number)).collect()
    }

    /// The number under which a packet left.
    fn number_of(&self, part: Part) -> Option<u64> {
        self.sent.iter().find(|(_, out)| out.part == Some(part)).map(|(number, _)| *number)
    }

    /// Pictures of which something left.
    fn shown(&self) -> Vec<u32> {
        let pictures: BTreeSet<u32> = self.sent.values().filter_map(|out| Some(out.part?.0)).collect();
        pictures.into_iter().collect()
    }

    fn empty(&self) -> usize {
        self.sent.values().filter(|out| out.part.is_none()).count()
    }

    /// What a decoder takes, which knows nothing but what it is sent: pictures without a gap in their numbers, after what they
    /// refer to (RFC 7741 section 4.2, as libwebrtc finds references by it).
    fn decoded(&self) -> Vec<u32> {
        let mut taken: Vec<(u32, Out)> = Vec::new();
        let mut begun: Option<(u64, Out)> = None;
        for (number, out) in &self.sent {
            let Some((picture, part)) = out.part else { continue };
            if part == 0 {
                begun = Some((*number, *out));
            }
            let Some((first, start)) = begun else { continue };
            let is_whole = *number == first + u64::from(part) && start.picture == out.picture;
            if is_whole && out.marker && self.refers_to_taken(picture, out, &taken) {
                taken.push((picture, *out));
            }
        }
        taken.into_iter().map(|(picture, _)| picture).collect()
    }

    fn refers_to_taken(&self, picture: u32, out: &Out, taken: &[(u32, Out)]) -> bool {
        let base = |tl0: u8| taken.iter().rev().find(|(at, known)| temporal(*at) == 0 && known.tl0 == tl0);
        match temporal(picture) {
            _ if picture == 0 => true,
            0 => base(out.tl0.wrapping_sub(1)).is_some(),
            _ if is_sync(picture) => base(out.tl0).is_some(),
            // It may refer to any picture since the one of the base layer.
            _ => base(out.tl0).is_some_and(|(_, base)| {
                let since = (out.picture.wrapping_sub(base.picture) & 0x7fff) as usize;
                taken.iter().rev().take(since).all(|(_, known)| known.tl0 == out.tl0) && taken.len() >= since
            }),
        }
    }

    /// Holds whatever came and in whatever order: numbers, timestamps and picture ids are in the order of the pictures.
    fn assert_in_order(&self) {
        let sent: Vec<_> = self.sent.values().filter_map(|out| Some((out.part?, out))).collect();
        for pair in sent.windows(2) {
            let ((a, before), (b, after)) = (pair[0], pair[1]);
            assert!(a < b, "{b:?} after {a:?}");
            let pictures = after.picture.wrapping_sub(before.picture) & 0x7fff;
            let advance = after.timestamp.wrapping_sub(before.timestamp);
            assert_eq!(advance, (b.0 - a.0) * 3_000, "{a:?} then {b:?}");
            assert!(u32::from(pictures) <= b.0 - a.0 && (pictures > 0) == (b.0 > a.0), "{a:?} then {b:?}");
            let base_frames = after.tl0.wrapping_sub(before.tl0);
            assert_eq!(base_frames, (b.0 / 4 - a.0 / 4) as u8, "{a:?} then {b:?}");
        }
    }

    /// The same, and of what came in order nothing is missing: each number is followed by the next, and each picture's.
    fn assert_unbroken(&self) {
        self.assert_in_order();
        assert_eq!((self.gaps(), self.empty()), (Vec::new(), 0));
        let sent: Vec<_> = self.sent.values().collect();
        for pair in sent.windows(2) {
            let is_next = u16::from(pair[0].marker);
            assert_eq!(pair[1].picture.wrapping_sub(pair[0].picture) & 0x7fff, is_next, "{pair:?}");
        }
    }
}

impl Out {
    fn read(header: &RtpHeader, payload: &[u8]) -> Self {
        let out = Self { part: None, marker: header.marker, timestamp: header.timestamp, picture: 0, tl0: 0 };
        let Ok(descriptor) = vp8::parse(payload) else { return out };
        let tag = payload.last_chunk::<5>().unwrap();
        let picture = u32::from_be_bytes([tag[0], tag[1], tag[2], tag[3]]);
        assert_eq!(descriptor.temporal, Some((temporal(picture), is_sync(picture))));
        let id = descriptor.picture_id.unwrap().value;
        Self { part: Some((picture, tag[4])), picture: id, tl0: descriptor.tl0_picture_index.unwrap(), ..out }
    }
}

fn media() -> OfferedMedia {
    let offer = ClientOffer::new("user", "passwordOfTheUserWhoOffers", TEST_FINGERPRINT);
    let offer = offer.with(ClientLine::Screen { ssrc: 1, rtx: 2 }).to_sdp();
    Offer::parse(&offer).unwrap().media.remove(0)
}

fn payload(picture: u32, part: u8) -> Vec<u8> {
    let [high, low] = (((FIRST_PICTURE + picture) & 0x7fff) as u16).to_be_bytes();
    let start = if part == 0 { 0x10 } else { 0 };
    let layer = temporal(picture) << 6 | if is_sync(picture) { 0x20 } else { 0 };
    let mut payload = vec![0x80 | start, 0xe0, 0x80 | high, low, (picture / 4) as u8, layer];
    payload.push(u8::from(picture > 0));
    payload.extend_from_slice(&picture.to_be_bytes());
    payload.push(part);
    payload
}

/// Pictures of these layers.
fn up_to(limit: u8, pictures: impl IntoIterator<Item = u32>) -> Vec<u32> {
    pictures.into_iter().filter(|picture| temporal(*picture) <= limit).collect()
}

#[test]
fn in_order_each_number_follows_the_last_whatever_layers_are_left_out() {
    for parts in [1, 3, 200] {
        for limit in [0, 1, 2] {
            let mut stage = Stage::new(parts, limit);
            stage.pictures(0..200);
            stage.assert_unbroken();
            assert_eq!(stage.shown(), up_to(limit, 0..200));
            assert_eq!(stage.decoded(), stage.shown());
        }
    }
}

#[test]
fn layers_that_come_and_go_leave_no_gap_and_each_picture_sent_is_decoded() {
    let mut stage = Stage::new(3, 0);
    let mut limit = 0;
    let mut packets = 0;
    for picture in 0..2_000 {
        for part in 0..3 {
            _ = stage.comes((picture, part));
            packets += 1;
            // Prime, so that it is in no step with the pattern.
            if packets % 97 == 0 {
                limit = (limit + 2) % 3;
                stage.limit(limit);
            }
        }
    }
    stage.assert_unbroken();
    assert_eq!(stage.decoded(), stage.shown());
    assert!(stage.shown().len() > up_to(0, 0..2_000).len() * 5 / 4, "higher layers were sent too");
    assert!(stage.shown().len() < 2_000);
}

#[test]
fn a_picture_that_was_begun_is_sent_to_its_end_and_one_left_out_is_so() {
    let mut stage = Stage::new(3, 2);
    stage.pictures(0..5);
    assert_eq!(stage.comes((5, 0)), 1);
    stage.limit(0);
    assert_eq!((stage.comes((5, 1)), stage.comes((5, 2))), (1, 1), "begun");
    assert_eq!(stage.comes((6, 0)), 0);
    stage.limit(2);
    assert_eq!((stage.comes((6, 1)), stage.comes((6, 2))), (0, 0), "left out");
    stage.pictures(7..12);
    stage.assert_unbroken();
    assert_eq!(stage.decoded(), [0, 1, 2, 3, 4, 5, 8, 10]);
}

#[test]
fn what_was_lost_of_a_picture_that_is_sent_stays_a_gap_though_the_next_are_left_out() {
    let mut stage = Stage::new(3, 0);
    stage.pictures(0..4);
    _ = (stage.comes((4, 0)), stage.comes((4, 1)));
    stage.pictures(5..9);
    let before = stage.number_of((4, 1)).unwrap();
    assert_eq!(
        stage.number_of((8, 0)),
        Some(before + 2),
        "one number is kept for what is missing, and no more"
    );
    assert_eq!(stage.gaps(), [before + 1]);
    assert_eq!(stage.decoded(), [0], "the next of the layer needs it");
    // It comes late after all, and goes where it belongs.
    assert_eq!(stage.comes((4, 2)), 1);
    assert_eq!(stage.number_of((4, 2)), Some(before + 1));
    stage.assert_unbroken();
    assert_eq!(stage.decoded(), [0, 4, 8]);
}

#[test]
fn late_packets_of_a_picture_that_was_left_out_are_dropped() {
    let mut stage = Stage::new(3, 0);
    stage.pictures(0..5);
    _ = (stage.comes((5, 0)), stage.comes((5, 2)));
    stage.pictures(6..9);
    assert_eq!(stage.comes((5, 1)), 0, "it has no number any more");
    stage.pictures(9..13);
    stage.assert_unbroken();
    assert_eq!(stage.decoded(), [0, 4, 8, 12]);
}

#[test]
fn for_what_may_be_of_a_picture_that_is_sent_numbers_are_kept_and_filled_when_it_is_not() {
    let mut stage = Stage::new(3, 0);
    stage.pictures(0..5);
    // Nothing comes of one picture, of which nobody knows whose layer it is, and then one that is sent.
    stage.pictures([6, 7, 8]);
    let before = stage.number_of((4, 2)).unwrap();
    assert_eq!(stage.gaps(), [before + 1, before + 2, before + 3]);
    assert_eq!(stage.decoded(), [0, 4, 8], "its gap is no matter to the layer that is sent");
    // They come: empty, so that nobody asks for them, or counts them as lost.
    assert_eq!([0, 1, 2].map(|part| stage.comes((5, part))), [1, 1, 1]);
    assert_eq!((stage.gaps(), stage.empty()), (Vec::new(), 3));
    stage.pictures(9..13);
    stage.assert_in_order();
    assert_eq!(stage.decoded(), [0, 4, 8, 12]);
}

#[test]
fn what_is_lost_between_layers_that_are_left_out_is_the_only_loss_that_is_told() {
    let mut stage = Stage::new(3, 0);
    let lost: [Part; 3] = [(12, 1), (21, 0), (30, 2)];
    for (picture, part) in (0..60).flat_map(|picture| (0..3).map(move |part| (picture, part))) {
        if !lost.contains(&(picture, part)) {
            _ = stage.comes((picture, part));
        }
    }
    // One of a picture that is sent, and two at the ends of others, of which nobody can know that.
    assert_eq!(stage.gaps().len(), 3);
    assert_eq!(stage.shown(), up_to(0, 0..60));
    stage.assert_in_order();
}

#[test]
fn what_is_lost_before_the_layer_changes_is_sent_as_it_would_have_been_in_time() {
    let mut stage = Stage::new(1, 2);
    stage.pictures([0, 1, 3]);
    stage.limit(0);
    stage.pictures([4, 5, 6, 8]);
    // One that the line carried then: the one after it needs it, and was sent.
    assert_eq!(stage.comes((2, 0)), 1);
    assert_eq!((stage.gaps(), stage.empty()), (vec![stage.number_of((8, 0)).unwrap() - 1], 0));
    stage.limit(2);
    stage.pictures([9, 10]);
    // One that was not to be sent when its time was, whatever is sent now.
    assert_eq!(stage.comes((7, 0)), 1);
    assert_eq!(stage.empty(), 1);
    stage.assert_in_order();
    assert_eq!(stage.decoded(), [0, 1, 2, 3, 4, 8, 10]);
}

#[test]
fn what_overtakes_the_keyframe_a_stream_is_entered_at_is_sent_behind_it() {
    for overtaking in [3, 40] {
        let mut stage = Stage::new(1, 2);
        stage.slot.out.numbers.picture_id = 5;
        // Before anything else, so that the keyframe is none that is too old.
        stage.sources[stage.key].encodings[0].highest = Some(FIRST_INDEX - 1);
        for picture in 1..=overtaking {
            assert_eq!(stage.comes((picture, 0)), 0, "a stream begins with a keyframe");
        }
        assert_eq!(stage.comes((0, 0)), overtaking as usize + 1);
        stage.assert_unbroken();
        assert_eq!(stage.decoded(), (0..=overtaking).collect::<Vec<_>>());
    }
}

#[test]
fn an_outage_is_a_gap_as_long_as_what_was_lost_and_the_stream_goes_on_behind_it() {
    for limit in [0, 2] {
        let mut stage = Stage::new(1, limit);
        stage.pictures(0..20);
        let before = *stage.sent.keys().last().unwrap();
        let counted = stage.sent[&before];
        stage.pictures(220..240);
        let first = *stage.sent.keys().find(|number| **number > before).unwrap();
        assert_eq!(first - before, 201);
        let after = stage.sent[&first];
        assert_eq!(after.part, Some((220, 0)));
        assert!(after.picture.wrapping_sub(counted.picture) & 0x7fff > 200);
        stage.assert_in_order();
        // What was lost so long ago has no place any more.
        assert_eq!(stage.gaps().len() as u64, first - before - 1);
    }
}

#[test]
fn pictures_that_are_counted_from_the_start_again_are_thinned_as_before() {
    let mut stage = Stage::new(1, 2);
    stage.pictures(0..400);
    let again = |stage: &mut Stage, pictures: std::ops::Range<u32>| -> usize {
        pictures.map(|picture| stage.gives((400 + picture, 0), &payload(picture, 0))).sum()
    };
    assert_eq!(again(&mut stage, 0..8), 8);
    stage.limit(0);
    assert_eq!(again(&mut stage, 8..40), 8, "each fourth is of the lowest layer");
}

/// However packets overtake each other within 64 of them, no number is used twice, none is out of order, and what is to be sent
/// is, in no more numbers than the publisher's.
#[test]
fn in_any_order_what_is_sent_keeps_its_order_and_nothing_of_a_lower_layer_is_missing() {
    for parts in [1_u8, 3] {
        for limit in [0, 1, 2] {
            check(vec(any::<prop::sample::Index>(), 300), |order| {
                let mut stage = Stage::new(parts, limit);
                stage.pictures([0]);
                let mut due = (1..200).flat_map(|picture| (0..parts).map(move |part| (picture, part)));
                let mut waiting: Vec<Part> = due.by_ref().take(64).collect();
                for at in order.iter() {
                    if waiting.is_empty() {
                        break;
                    }
                    let part = waiting.swap_remove(at.index(waiting.len()));
                    _ = stage.comes(part);
                    waiting.extend(due.next());
                }
                waiting.sort_unstable();
                for part in std::mem::take(&mut waiting).into_iter().chain(due) {
                    _ = stage.comes(part);
                }
                stage.assert_in_order();
                let (first, last) = (*stage.sent.keys().next().unwrap(), *stage.sent.keys().last().unwrap());
                assert!(last - first <= 200 * u64::from(parts));
                assert_eq!(stage.shown(), up_to(limit, 0..200));
                assert_eq!(stage.gaps(), Vec::<u64>::new());
                assert_eq!(stage.decoded(), stage.shown());
            });
        }
    }
}

/// Units of H264: a parameter set of a sequence, of pictures, a slice that refers to no other picture and one that does.
const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0x8c];
const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
const IDR: &[u8] = &[0x65, 0x88, 0x80];
const SLICE: &[u8] = &[0x41, 0x9a, 0x00];

#[test]
fn h264_is_entered_at_parameter_sets_with_an_idr_slice_behind_them_and_at_none_else() {
    let mut stage = Stage::of(CodecName::H264, 3, 0);
    let before_another = [SPS, PPS, SLICE].map(|unit| unit.to_vec());
    for (part, unit) in (0..).zip(before_another) {
        assert_eq!(stage.gives((1, part), &unit), 0, "nobody can decode it");
    }
    let left = [SPS, PPS, IDR].map(|unit| unit.to_vec());
    let left: Vec<usize> = (0..).zip(left).map(|(part, unit)| stage.gives((2, part), &unit)).collect();
    assert_eq!(left, [0, 0, 3], "from the first of them on");
    assert_eq!(stage.gives((3, 0), SLICE), 1);
}

#[test]
fn h264_parameter_sets_that_are_overtaken_by_their_picture_are_where_it_is_entered() {
    let mut stage = Stage::of(CodecName::H264, 3, 0);
    stage.sources[stage.key].encodings[0].highest = Some(FIRST_INDEX - 1);
    assert_eq!(stage.gives((0, 2), IDR), 0);
    assert_eq!(stage.gives((0, 0), SPS), 2);
    assert_eq!(stage.gaps().len(), 1, "a number is kept for what lies between");
    assert_eq!(stage.gives((0, 1), PPS), 1, "and is asked for, though it is older than the keyframe's start");
    assert_eq!(stage.gaps().len(), 0);
}

#[test]
fn h264_that_waited_for_the_pacer_is_entered_at_its_own_parameter_sets_though_others_came_since() {
    let mut stage = Stage::of(CodecName::H264, 3, 0);
    for (part, unit) in (0..).zip([SPS, PPS, IDR]) {
        assert!(stage.takes((1, part), unit));
    }
    assert!(stage.takes((2, 0), SPS));
    let left: Vec<usize> = (0..3).map(|part| stage.offers((1, part))).collect();
    assert_eq!(left, [0, 0, 3]);
}

#[test]
fn h264_whose_parameter_sets_do_not_come_again_cannot_be_entered_later() {
    let mut stage = Stage::of(CodecName::H264, 1, 0);
    assert_eq!(stage.gives((4, 0), IDR), 0, "nothing is kept of those that came with another picture");
    let request = stage.sources[stage.key].encodings[0].keyframe.as_mut().unwrap();
    request.want();
    assert!(request.take_due(Time::from_millis(200)));
    assert_eq!(stage.gives((5, 0), IDR), 0);
    let request = stage.sources[stage.key].encodings[0].keyframe.as_ref().unwrap();
    assert!(request.due_at().is_some(), "the keyframe that was asked for has not come");
}
