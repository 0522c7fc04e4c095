use std::time::Duration;

use super::*;
use crate::client::{Kind, SourceId};

/// Payload bytes per kind of frame over `span` of virtual time.
struct Played {
    bytes: usize,
    frames: Vec<Frame>,
}

fn play(model: Model, source: u32, span: Duration, keyframe_at: impl Fn(usize) -> bool) -> Played {
    let library = MediaLibrary::default();
    let mut generator = Generator::new(&model, SourceId(source), 0, &library).unwrap();
    let (mut micros, mut played) = (0, Played { bytes: 0, frames: Vec::new() });
    let mut out = [0; PAYLOAD_BYTES_MAX];
    while micros < span.as_micros() {
        let frame = generator.next(keyframe_at(played.frames.len()), &library);
        micros += u128::from(frame.micros_to_next);
        played.bytes +=
            (0..frame.parts).map(|part| frame.write_part(part, &library, &mut out)).sum::<usize>();
        played.frames.push(frame);
    }
    played
}

#[test]
fn synthetic_video_keeps_its_rate() {
    let span = Duration::from_secs(60);
    for (source, model) in (0..).zip(Vp8Model::SIMULCAST) {
        let played = play(Model::Vp8(model), source, span, |frame| frame % 300 == 0);
        let rate = played.bytes as f64 * 8.0 / span.as_secs_f64();
        let asked = f64::from(model.rate_bps);
        assert!((rate / asked - 1.0).abs() < 0.05, "{rate} bit/s where {asked} were asked for");
        assert_eq!(played.frames.len(), 1_801);
    }
}

#[test]
fn synthetic_frames_scatter_and_keyframes_are_large() {
    let model = Vp8Model::SIMULCAST[2];
    let played = play(Model::Vp8(model), 1, Duration::from_secs(60), |frame| frame % 300 == 0);
    let bytes = |frame: &Frame| f64::from(frame.parts) * f64::from(frame.part_bytes);
    let mean = f64::from(model.rate_bps) / 8.0 / 30.0;
    let (keyframes, others): (Vec<Frame>, Vec<Frame>) =
        played.frames.iter().partition(|frame| frame.keyframe);
    let average = |frames: &[Frame]| frames.iter().map(bytes).sum::<f64>() / frames.len() as f64;
    assert!((5.0..12.0).contains(&(average(&keyframes) / mean)), "keyframes of {}", average(&keyframes));
    let deviation = others.iter().map(|frame| (bytes(frame) - mean).powi(2)).sum::<f64>();
    let deviation = (deviation / others.len() as f64).sqrt() / mean;
    assert!((0.15..0.6).contains(&deviation), "sizes deviate by {deviation} of their mean");
}

#[test]
fn a_stream_is_the_same_in_every_run_and_another_for_every_source() {
    let once = |source| play(Model::Vp8(Vp8Model::SIMULCAST[1]), source, Duration::from_secs(2), |_| false);
    assert_eq!(once(7).frames, once(7).frames);
    assert_ne!(once(7).frames, once(8).frames);
}

#[test]
fn another_seed_makes_other_media() {
    let sizes = |seed| {
        let library = MediaLibrary::seeded(seed);
        let model = Model::Vp8(Vp8Model::SIMULCAST[2]);
        let mut generator = Generator::new(&model, SourceId(3), 0, &library).unwrap();
        (0..60)
            .map(|_| generator.next(false, &library))
            .map(|frame| (frame.parts, frame.part_bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(1), sizes(1));
    assert_ne!(sizes(1), sizes(2));
}

#[test]
fn a_keyframe_begins_as_servers_look_for_it() {
    let library = MediaLibrary::default();
    let model = Model::Vp8(Vp8Model::SIMULCAST[2]);
    let mut generator = Generator::new(&model, SourceId(3), 2, &library).unwrap();
    let mut out = [0; PAYLOAD_BYTES_MAX];
    let mut parse = |keyframe| {
        let frame = generator.next(keyframe, &library);
        let len = frame.write_part(0, &library, &mut out);
        let descriptor = vestibule_media_core::vp8::parse(&out[..len]).unwrap();
        let size = vestibule_media_core::vp8::keyframe_size(&out[..len], &descriptor);
        (descriptor, size)
    };
    let (first, size) = parse(true);
    assert_eq!(size, Some((1_280, 720)));
    assert!(first.start_of_partition);
    let (second, size) = parse(false);
    assert_eq!(size, None);
    let id = |descriptor: &vestibule_media_core::vp8::Vp8Descriptor| descriptor.picture_id.unwrap().value;
    assert_eq!(id(&second), (id(&first) + 1) & 0x7fff);
    let temporal = [second.temporal, parse(false).0.temporal, parse(false).0.temporal];
    assert_eq!(temporal, [Some((2, true)), Some((1, true)), Some((2, true))]);
    let base = parse(false).0;
    assert_eq!(base.temporal, Some((0, false)));
    assert_eq!(base.tl0_picture_index, Some(first.tl0_picture_index.unwrap().wrapping_add(1)));
}

#[test]
fn speech_pauses_with_dtx_and_does_not_without() {
    let span = Duration::from_secs(600);
    let constant = play(Model::Opus(OpusModel { dtx: false }), 1, span, |_| false);
    assert_eq!(constant.frames.len(), 30_000);
    assert!(constant.frames.iter().all(|frame| !frame.dtx && (60..=120).contains(&frame.part_bytes)));
    let with_pauses = play(Model::Opus(OpusModel { dtx: true }), 1, span, |_| false);
    let speech = with_pauses.frames.iter().filter(|frame| !frame.dtx).count();
    assert!((9_000..21_000).contains(&speech), "{speech} of 30,000 frames are speech");
    let noise: Vec<&Frame> = with_pauses.frames.iter().filter(|frame| frame.dtx).collect();
    assert!(noise.iter().all(|frame| frame.micros_to_next <= 400_000 && frame.level == 127));
    assert!(noise.iter().any(|frame| frame.micros_to_next == 400_000));
    let spurts = with_pauses.frames.iter().filter(|frame| frame.after_pause).count();
    assert!(spurts > 50, "{spurts} spurts in ten minutes");
}

fn ivf(frames: &[(u64, &[u8])]) -> Vec<u8> {
    let mut file = b"DKIF\0\0\x20\0VP80".to_vec();
    file.extend([64, 0, 48, 0]);
    file.extend(30_u32.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend((frames.len() as u32).to_le_bytes());
    file.extend([0; 4]);
    for (time, data) in frames {
        file.extend((data.len() as u32).to_le_bytes());
        file.extend(time.to_le_bytes());
        file.extend(*data);
    }
    file
}

fn page(kind: u8, sequence: u32, packets: &[&[u8]]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(kind);
    page.extend([0; 8]);
    page.extend(99_u32.to_le_bytes());
    page.extend(sequence.to_le_bytes());
    page.extend([0; 4]);
    let lacing: Vec<u8> = packets
        .iter()
        .flat_map(|packet| {
            let full = vec![255; packet.len() / 255];
            full.into_iter().chain([(packet.len() % 255) as u8])
        })
        .collect();
    page.push(lacing.len() as u8);
    page.extend(lacing);
    page.extend(packets.concat());
    let crc = ogg::checksum(&page);
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    page
}

fn opus_file() -> Vec<u8> {
    let speech = [&[0x78][..], &[1; 299]].concat();
    [
        page(2, 0, &[b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0"]),
        page(0, 1, &[b"OpusTags\0\0\0\0\0\0\0\0"]),
        page(4, 2, &[&speech, &[0x79, 2, 2]]),
    ]
    .concat()
}

#[test]
fn a_recorded_video_is_played_over_and_over_and_goes_to_a_keyframe_when_asked() {
    let large = [&[0x10, 0, 0][..], &[7; 2_997]].concat();
    let file = ivf(&[(0, &large), (1, &[0x11, 1, 1]), (2, &[0x11, 2, 2]), (4, &[0x10, 3, 3])]);
    let mut library = MediaLibrary::default();
    let id = library.add(&file).unwrap();
    assert_eq!(library.kind(id), Some(Kind::Video));
    let mut generator = Generator::new(&Model::Recording(id), SourceId(1), 0, &library).unwrap();
    let first = generator.next(true, &library);
    assert_eq!((first.keyframe, first.parts, first.micros_to_next), (true, 3, 33_333));
    let mut out = [0; PAYLOAD_BYTES_MAX];
    let mut whole = Vec::new();
    for part in 0..first.parts {
        let len = first.write_part(part, &library, &mut out);
        whole.extend_from_slice(&out[vp8::DESCRIPTOR_BYTES..len - STAMP_BYTES]);
    }
    assert_eq!(whole, large);
    assert!(!generator.next(false, &library).keyframe);
    let asked = generator.next(true, &library);
    assert!(asked.keyframe && asked.parts == 1);
    assert_eq!(generator.next(false, &library).parts, 3, "from the start");
}

#[test]
fn recorded_audio_keeps_its_durations() {
    let mut library = MediaLibrary::default();
    let id = library.add(&opus_file()).unwrap();
    let mut generator = Generator::new(&Model::Recording(id), SourceId(0), 0, &library).unwrap();
    assert_eq!(generator.kind(), Kind::Audio);
    let frames = [generator.next(false, &library), generator.next(false, &library)];
    assert_eq!(frames.map(|frame| frame.micros_to_next), [20_000, 40_000]);
    assert_eq!(usize::from(frames[0].part_bytes), 300 + STAMP_BYTES);
}

#[test]
fn a_packet_over_two_pages_is_put_together() {
    let packet = [&[0x78][..], &[5; 599]].concat();
    let mut first = page(0, 2, &[&packet[..510]]);
    // Without the last lacing value the packet goes on.
    first[26] = 2;
    first.remove(PAGE_HEADER + 2);
    let crc = ogg::checksum(&first);
    first[22..26].copy_from_slice(&crc.to_le_bytes());
    let head = &opus_file()[..page(2, 0, &[b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0"]).len()];
    let tags = page(0, 1, &[b"OpusTags\0\0\0\0\0\0\0\0"]);
    let file = [head, &tags, &first, &page(1, 3, &[&packet[510..]])].concat();
    let mut library = MediaLibrary::default();
    let id = library.add(&file).unwrap();
    assert_eq!(library.frame(id, 0), packet);
}

const PAGE_HEADER: usize = 27;

#[test]
fn every_truncation_of_a_recording_is_refused_or_a_shorter_one() {
    let video = ivf(&[(0, &[0x10, 0, 0, 1]), (1, &[0x11, 0, 0, 1])]);
    for file in [&video, &opus_file()] {
        for len in 0..file.len() {
            // Some cuts fall between two frames or pages; what is left there is a recording, or has no frame.
            let _ = MediaLibrary::default().add(&file[..len]);
        }
        assert!(MediaLibrary::default().add(file).is_ok());
    }
    assert!(matches!(MediaLibrary::default().add(&video[..40]), Err(MediaError::Truncated(_))));
}

#[test]
fn malformed_recordings_are_told_apart() {
    let refused = |file: &[u8]| MediaLibrary::default().add(file).unwrap_err();
    assert!(matches!(refused(b"RIFF"), MediaError::UnknownFormat));
    assert!(matches!(refused(b"DKIF"), MediaError::Truncated(4)));
    let good = ivf(&[(0, &[0x10, 0, 0])]);
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    assert!(matches!(refused(&with(8, b"AV01")), MediaError::WrongCodec("VP8")));
    assert!(matches!(refused(&with(4, &[1])), MediaError::Malformed { at: 4, .. }));
    assert!(matches!(refused(&with(16, &[0; 4])), MediaError::Malformed { at: 16, .. }));
    assert!(matches!(refused(&with(32, &[0xff; 4])), MediaError::Malformed { at: 32, .. }));
    assert!(matches!(refused(&good[..32]), MediaError::NoFrames));
    assert!(matches!(refused(&ivf(&[(0, &[0x11, 0, 0])])), MediaError::NoFrames));

    let good = opus_file();
    let mut damaged = good.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(matches!(refused(&damaged), MediaError::Checksum(_)));
    assert!(matches!(refused(&page(2, 0, &[b"\x01vorbis"])), MediaError::WrongCodec("Opus")));
    assert!(matches!(refused(&page(1, 0, &[b"OpusHead"])), MediaError::Malformed { .. }));
}

#[test]
fn a_stamp_is_the_tail_whatever_stands_before_it() {
    let stamp = Stamp {
        source: SourceId(77),
        encoding: 2,
        keyframe: true,
        dtx: false,
        part: 3,
        counter: u64::MAX - 1,
        sent_at_ns: 1_800_000_000_123_456_789,
    };
    let mut payload = [9; 100];
    assert!(stamp.write(&mut payload));
    assert_eq!(payload[..72], [9; 72]);
    // A server that writes another payload descriptor makes the head longer or shorter.
    for cut in 0..72 {
        assert_eq!(Stamp::read(&payload[cut..]), Some(stamp));
    }
    let longer = [&[1; 40][..], &payload].concat();
    assert_eq!(Stamp::read(&longer), Some(stamp));
    assert_eq!(Stamp::read(&payload[73..]), None);
    assert_eq!(Stamp::read(&payload[..99]), None);
    assert!(!stamp.write(&mut [0; STAMP_BYTES - 1]));
}
