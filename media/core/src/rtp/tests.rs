use proptest::collection::vec;
use proptest::prelude::any;
use proptest::strategy::Strategy;
use rtc_rtp::Header as Reference;
use rtc_rtp::header::Extension;
use rtc_shared::marshal::{Marshal, Unmarshal};

use super::*;
use crate::testing::check;

fn elements(profile: u16, block: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    packet.extend(profile.to_be_bytes());
    packet.extend((block.len() as u16 / 4).to_be_bytes());
    packet.extend(block);
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.header_len, packet.len());
    header.extensions(&packet).map(|(id, value)| (id, value.to_vec())).collect()
}

#[test]
fn a_plain_header_is_read() {
    let packet = [0x80, 0xe0 | 0x60, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8, 0xff];
    let header = RtpHeader::parse(&packet).unwrap();
    assert!(header.marker && !header.has_padding);
    assert_eq!((header.payload_type, header.sequence), (96, 0x1234));
    assert_eq!((header.timestamp, header.ssrc), (0x0102_0304, 0x0506_0708));
    assert_eq!((header.header_len, header.extension), (12, None));
    assert_eq!(header.payload(&packet), Ok(12..13));
    assert_eq!(header.extensions(&packet).count(), 0);
}

#[test]
fn rfc_8285_one_byte_example_is_read() {
    // RFC 8285 section 4.2: three elements with padding between them.
    let block = [0x10, 0xaa, 0x21, 0xbb, 0xcc, 0, 0, 0x33, 1, 2, 3, 4];
    assert_eq!(elements(0xbede, &block), [(1, vec![0xaa]), (2, vec![0xbb, 0xcc]), (3, vec![1, 2, 3, 4])]);
}

#[test]
fn rfc_8285_two_byte_example_is_read() {
    // RFC 8285 section 4.3: an empty element, a short one, padding, a longer one; the low profile bits are free.
    let block = [1, 0, 2, 1, 0xbb, 0, 3, 4, 1, 2, 3, 4];
    for profile in [0x1000, 0x100f] {
        assert_eq!(elements(profile, &block), [(1, vec![]), (2, vec![0xbb]), (3, vec![1, 2, 3, 4])]);
    }
}

#[test]
fn reserved_one_byte_ids_end_the_block() {
    assert_eq!(elements(0xbede, &[0x10, 7, 0xf0, 9, 0x20, 8, 0, 0]), [(1, vec![7])]);
    assert_eq!(elements(0xbede, &[0x10, 7, 0x01, 9, 9, 0x20, 8, 0]), [(1, vec![7])]);
}

#[test]
fn elements_that_reach_over_the_block_end_it() {
    assert_eq!(elements(0xbede, &[0x10, 7, 0x22, 1]), [(1, vec![7])]);
    assert_eq!(elements(0x1000, &[1, 1, 7, 2]), [(1, vec![7])]);
    assert_eq!(elements(0x1000, &[1, 0, 2, 1]), [(1, vec![])]);
}

#[test]
fn other_profiles_have_no_elements() {
    for profile in [0, 0xbedd, 0x1010, 0x0fff, 0xffff] {
        assert_eq!(elements(profile, &[0x10, 7, 0, 0]), []);
    }
}

#[test]
fn padding_is_taken_off() {
    let mut packet = vec![0xa0, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 0, 2];
    let header = RtpHeader::parse(&packet).unwrap();
    assert!(header.has_padding);
    assert_eq!(header.payload(&packet), Ok(12..15));
    packet[16] = 5;
    assert_eq!(header.payload(&packet), Ok(12..12), "padding only");
    for wrong in [0, 6, 255] {
        packet[16] = wrong;
        assert_eq!(header.payload(&packet), Err(RtpError::Padding), "{wrong}");
    }
    assert_eq!(header.payload(&packet[..12]), Err(RtpError::Padding));
    assert_eq!(header.payload(&packet[..11]), Err(RtpError::Truncated));
}

#[test]
fn every_truncation_of_a_header_is_refused() {
    let mut packet = [0; 64];
    let mut writer = HeaderWriter::new(&mut packet, 96, false, 1, 2, 3, false);
    writer.extension(1, b"0").unwrap();
    writer.extension(2, &[1, 2]).unwrap();
    let len = writer.finish();
    packet[0] |= 2;
    packet.copy_within(12..len, 20);
    let len = len + 8;
    for cut in 0..len {
        assert_eq!(RtpHeader::parse(&packet[..cut]), Err(RtpError::Truncated), "{cut} bytes");
    }
    assert_eq!(RtpHeader::parse(&packet[..len]).unwrap().header_len, len);
}

#[test]
fn other_versions_are_refused() {
    for first in [0x00, 0x40, 0xc0] {
        let mut packet = [0; 12];
        packet[0] = first;
        assert_eq!(RtpHeader::parse(&packet), Err(RtpError::Version));
    }
}

#[test]
fn known_uris_get_their_ids() {
    let mut ids = ExtensionIds::default();
    let known = [
        uri::MID,
        uri::RID,
        uri::REPAIRED_RID,
        uri::TRANSPORT_CC,
        uri::ABS_SEND_TIME,
        uri::AUDIO_LEVEL,
        uri::VIDEO_ORIENTATION,
        uri::PLAYOUT_DELAY,
        uri::DEPENDENCY,
    ];
    for (id, uri) in (1..).zip(known) {
        assert!(ids.set(uri, id), "{uri}");
    }
    assert!(!ids.set("urn:ietf:params:rtp-hdrext:toffset", 9));
    let expected = ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        transport_cc: Some(4),
        abs_send_time: Some(5),
        audio_level: Some(6),
        video_orientation: Some(7),
        playout_delay: Some(8),
        dependency: Some(9),
    };
    assert_eq!(ids, expected);
}

#[test]
fn the_writer_tells_where_values_are() {
    let mut out = [0xee; 64];
    let mut writer = HeaderWriter::new(&mut out, 111, true, 7, 8, 9, false);
    let level = writer.extension(3, &[0x55]).unwrap();
    let sequence = writer.extension(5, &[0, 0]).unwrap();
    let len = writer.finish();
    assert_eq!(len, 24);
    out[sequence..sequence + 2].copy_from_slice(&0xabcd_u16.to_be_bytes());
    let header = RtpHeader::parse(&out).unwrap();
    assert_eq!(header.extensions(&out).collect::<Vec<_>>(), [(3, &[0x55][..]), (5, &[0xab, 0xcd][..])]);
    assert_eq!(out[level], 0x55);
    assert_eq!(out[21..24], [0; 3], "padding is zero");
    assert_eq!(out[24..], [0xee; 40], "nothing behind the header is touched");
}

#[test]
fn the_writer_adds_no_block_without_elements() {
    for two_byte in [false, true] {
        let mut out = [0; 12];
        let writer = HeaderWriter::new(&mut out, 96, false, 1, 2, 3, two_byte);
        assert_eq!(writer.finish(), 12);
        assert_eq!(RtpHeader::parse(&out).unwrap().extension, None);
    }
}

#[test]
fn the_writer_refuses_what_its_form_cannot_carry() {
    let mut out = [0; 1024];
    let mut writer = HeaderWriter::new(&mut out, 96, false, 1, 2, 3, false);
    for (id, len) in [(0, 1), (15, 1), (1, 0), (1, 17)] {
        assert_eq!(writer.extension(id, &[0; 32][..len]), None, "id {id}, {len} bytes");
    }
    assert_eq!(writer.finish(), 12);
    let mut writer = HeaderWriter::new(&mut out, 96, false, 1, 2, 3, true);
    assert_eq!(writer.extension(0, &[1]), None);
    assert_eq!(writer.extension(1, &[0; 256]), None);
    assert_eq!(writer.extension(15, &[]), Some(18));
    assert_eq!(writer.extension(255, &[0; 255]), Some(20));
    assert_eq!(writer.finish(), 276);
}

#[test]
fn the_writer_stays_inside_any_buffer() {
    for room in 0..64 {
        let mut out = vec![0; room];
        let mut writer = HeaderWriter::new(&mut out, 96, false, 1, 2, 3, false);
        let written =
            [writer.extension(1, b"mid0"), writer.extension(2, &[1, 2]), writer.extension(3, &[9; 16])];
        let len = writer.finish();
        if room < 12 {
            assert_eq!((len, written), (0, [None; 3]), "{room} bytes");
            continue;
        }
        let header = RtpHeader::parse(&out).unwrap();
        assert_eq!(header.header_len, len, "{room} bytes");
        assert_eq!(header.extensions(&out).count(), written.iter().flatten().count(), "{room} bytes");
    }
}

#[derive(Clone, Debug)]
struct Fields {
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

fn fields() -> impl Strategy<Value = Fields> {
    (any::<bool>(), 0_u8..128, any::<u16>(), any::<u32>(), any::<u32>()).prop_map(
        |(marker, payload_type, sequence, timestamp, ssrc)| Fields {
            marker,
            payload_type,
            sequence,
            timestamp,
            ssrc,
        },
    )
}

fn one_byte_elements() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    vec((1_u8..=14, vec(any::<u8>(), 1..=16)), 0..6)
}

fn two_byte_elements() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    vec((1_u8..=255, vec(any::<u8>(), 0..=40)), 0..6)
}

fn agree(packet: &[u8], reference: &Reference) {
    let header = RtpHeader::parse(packet).unwrap();
    assert_eq!(header.marker, reference.marker);
    assert_eq!(header.payload_type, reference.payload_type);
    assert_eq!(header.sequence, reference.sequence_number);
    assert_eq!(header.timestamp, reference.timestamp);
    assert_eq!(header.ssrc, reference.ssrc);
    assert_eq!(header.has_padding, reference.padding);
    let ours: Vec<_> = header.extensions(packet).map(|(id, value)| (id, value.to_vec())).collect();
    let theirs: Vec<_> =
        reference.extensions.iter().map(|element| (element.id, element.payload.to_vec())).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn what_the_writer_writes_is_what_rtc_rtp_reads() {
    let elements = (any::<bool>(), one_byte_elements(), two_byte_elements());
    check((fields(), elements), |(fields, (two_byte, short, long))| {
        let elements = if two_byte { long } else { short };
        let mut out = [0; 512];
        let Fields { marker, payload_type, sequence, timestamp, ssrc } = fields;
        let mut writer =
            HeaderWriter::new(&mut out, payload_type, marker, sequence, timestamp, ssrc, two_byte);
        let offsets: Vec<_> =
            elements.iter().map(|(id, value)| writer.extension(*id, value).unwrap()).collect();
        let len = writer.finish();
        for ((_, value), offset) in elements.iter().zip(offsets) {
            assert_eq!(out[offset..offset + value.len()], value[..]);
        }
        let reference = Reference::unmarshal(&mut &out[..len]).unwrap();
        assert_eq!((reference.version, reference.extension), (2, !elements.is_empty()));
        assert_eq!((reference.marker, reference.payload_type), (marker, payload_type));
        assert_eq!(
            (reference.sequence_number, reference.timestamp, reference.ssrc),
            (sequence, timestamp, ssrc)
        );
        assert_eq!(reference.extensions.len(), elements.len());
        agree(&out[..len], &reference);
    });
}

#[test]
fn what_rtc_rtp_writes_is_read() {
    let csrc = vec(any::<u32>(), 0..=15);
    let elements = (any::<bool>(), one_byte_elements(), two_byte_elements());
    check((fields(), csrc, any::<bool>(), elements), |(fields, csrc, padding, (two_byte, short, long))| {
        let elements = if two_byte { long } else { short };
        let reference = Reference {
            version: 2,
            padding,
            extension: !elements.is_empty(),
            marker: fields.marker,
            payload_type: fields.payload_type,
            sequence_number: fields.sequence,
            timestamp: fields.timestamp,
            ssrc: fields.ssrc,
            csrc,
            extension_profile: if two_byte { 0x1000 } else { 0xbede },
            extensions: elements
                .into_iter()
                .map(|(id, value)| Extension { id, payload: value.into() })
                .collect(),
            extensions_padding: 0,
        };
        let packet = reference.marshal().unwrap();
        assert_eq!(RtpHeader::parse(&packet).unwrap().header_len, packet.len());
        agree(&packet, &reference);
    });
}

#[test]
fn arbitrary_bytes_never_panic() {
    check((0x80_u8..=0xbf, vec(any::<u8>(), 0..120)), |(first, mut packet)| {
        _ = RtpHeader::parse(&packet).is_ok();
        packet.insert(0, first);
        if let Ok(header) = RtpHeader::parse(&packet) {
            assert!(header.header_len <= packet.len());
            let total: usize = header.extensions(&packet).map(|(_, value)| value.len()).sum();
            assert!(total <= header.extension.map_or(0, |block| block.len));
            if let Ok(payload) = header.payload(&packet) {
                assert!(payload.start == header.header_len && payload.end <= packet.len());
            }
            // A header is no promise about another packet.
            _ = header.payload(&packet[..packet.len() / 2]).is_ok();
            _ = header.extensions(&packet[..packet.len() / 2]).count();
        }
    });
}

#[test]
fn an_rtx_payload_starts_with_the_original_sequence_number() {
    assert_eq!(rtx_original_sequence(&[0x12, 0x34, 9]), Some(0x1234));
    assert_eq!(rtx_original_sequence(&[0x12]), None);
}
