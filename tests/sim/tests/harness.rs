//! The harness itself: what the checker lets pass and what it does not, where the server leaves frames out or sends
//! redundancy; and clients that do as they are told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use vestibule_media_core::api::{AudioProfile, PeerId, SourceKind};
use vestibule_media_core::rtp::HeaderWriter;
use vestibule_media_core::sdp::{CodecName, Rid};
use vestibule_media_core::srtp::{SrtpRole, SrtpSealer, session};
use vestibule_media_core::time::Time;
use vestibule_media_core::vp8::{CANONICAL_DESCRIPTOR_LEN, CanonicalDescriptor, write_canonical};
use vestibule_sim::checker::CheckedLine;
use vestibule_sim::client::{Client, ClientConfig, Signal};
use vestibule_sim::offer::{MID_ID, OPUS, TRANSPORT_CC_ID, VP8, VP8_RTX};
use vestibule_sim::synthetic::{Scalability, TAG_BYTES, Tag, Temporal, vp8_frame_start};
use vestibule_sim::world::WALL_CLOCK;
use vestibule_sim::{EgressChecker, World};

const VIDEO_SSRC: u32 = 77;
const AUDIO_SSRC: u32 = 78;
const RED: u8 = 63;
const FRAME_MS: u64 = 33;
const VOICE_MS: u64 = 20;

/// A server that sends whatever a test says, and the checker of it.
struct Server {
    checker: EgressChecker,
    sealer: SrtpSealer,
    transport: u16,
    index: u64,
    picture_id: u16,
    tl0: u8,
}

impl Server {
    fn new() -> Self {
        let client = Client::new(PeerId(1), ClientConfig::default(), WALL_CLOCK);
        let (sealer, _) = session(&client.keys, SrtpRole::Server).expect("usable keys");
        let mut checker = EgressChecker::new("a test".to_owned(), &client.keys, client.extension_ids());
        checker.set_lines(vec![line("1", true), line("0", false)]);
        Self { checker, sealer, transport: 0, index: 100, picture_id: 10, tl0: 20 }
    }

    /// Sends frame `frame` of an encoding with three temporal layers, numbered as the next one.
    fn frame(&mut self, frame: u32) {
        let temporal = Temporal::at(3, frame);
        self.picture_id += 1;
        self.tl0 += u8::from(temporal.id() == 0);
        let descriptor = CanonicalDescriptor {
            start_of_partition: true,
            picture_id: self.picture_id,
            tl0_picture_index: self.tl0,
            temporal_id: temporal.id(),
            layer_sync: temporal.is_layer_sync(),
            ..CanonicalDescriptor::default()
        };
        let mut payload = vec![0; CANONICAL_DESCRIPTOR_LEN];
        assert!(write_canonical(&mut payload, &descriptor));
        payload.extend_from_slice(&vp8_frame_start(frame == 0, 0));
        let captured_ms = 1_000 + u64::from(frame) * FRAME_MS;
        let tag = tag(frame, captured_ms);
        Tag { keyframe: frame == 0, temporal, ..tag }.write(&mut payload, TAG_BYTES);
        self.send(VP8, VIDEO_SSRC, "1", true, captured_ms * 90, &payload);
    }

    /// Sends a voice's frame with earlier ones, each said to be so many samples before it.
    fn voice(&mut self, frame: u32, redundant: &[(u32, u32)]) {
        let captured_ms = |frame: u32| 1_000 + u64::from(frame) * VOICE_MS;
        let mut payload = Vec::new();
        for (_, offset) in redundant {
            payload.push(0x80 | OPUS);
            payload.extend_from_slice(&(offset << 10 | TAG_BYTES as u32).to_be_bytes()[1..]);
        }
        payload.push(OPUS);
        for frame in redundant.iter().map(|(frame, _)| *frame).chain([frame]) {
            Tag { duration_ms: VOICE_MS as u8, ..tag(frame, captured_ms(frame)) }
                .write(&mut payload, TAG_BYTES);
        }
        self.send(RED, AUDIO_SSRC, "0", false, captured_ms(frame) * 48, &payload);
    }

    fn send(&mut self, payload_type: u8, ssrc: u32, mid: &str, marker: bool, timestamp: u64, payload: &[u8]) {
        let mut out = vec![0; payload.len() + 128];
        let mut header = HeaderWriter::new(
            &mut out,
            payload_type,
            marker,
            self.index as u16,
            timestamp as u32,
            ssrc,
            false,
        );
        header.extension(TRANSPORT_CC_ID, &self.transport.to_be_bytes());
        header.extension(MID_ID, mid.as_bytes());
        let header_len = header.finish();
        let end = header_len + payload.len();
        out[header_len..end].copy_from_slice(payload);
        let len = self.sealer.seal_rtp(&mut out, header_len, end, self.index).expect("sealed");
        self.transport += 1;
        self.index += 1;
        self.checker.check(&out[..len], Time::ZERO);
    }
}

fn line(mid: &str, video: bool) -> CheckedLine {
    CheckedLine {
        mid: mid.to_owned(),
        video,
        ssrc: if video { VIDEO_SSRC } else { AUDIO_SSRC },
        rtx_ssrc: None,
        formats: vec![if video {
            (CodecName::Vp8, VP8, Some(VP8_RTX))
        } else {
            (CodecName::Opus, OPUS, None)
        }],
        red_payload_type: (!video).then_some(RED),
    }
}

fn tag(frame: u32, captured_ms: u64) -> Tag {
    Tag {
        peer: 2,
        ssrc: 3,
        frame,
        part: 0,
        parts: 1,
        keyframe: false,
        encoding: 0,
        captured_at: Time::from_millis(captured_ms),
        temporal: Temporal::NONE,
        duration_ms: 0,
        spatial: 0,
        scalability: Scalability::L1,
        spatial_most: 1,
        tl0: 0,
    }
}

/// What the checker says of it, if anything.
fn refused(server: impl FnOnce(&mut Server)) -> Option<String> {
    let refusal = catch_unwind(AssertUnwindSafe(|| server(&mut Server::new()))).err()?;
    Some(refusal.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[test]
fn higher_temporal_layers_may_be_left_out_whole() {
    // All; without the highest; the base alone; the highest again from where it refers to the base alone.
    let frames = (0..8).chain([8, 10, 12, 14, 16, 20, 24, 25, 26, 27]).collect::<Vec<u32>>();
    assert_eq!(refused(|server| frames.iter().for_each(|frame| server.frame(*frame))), None);
}

#[test]
fn a_frame_without_what_it_refers_to_is_refused() {
    for frames in [&[0, 3][..], &[0, 1, 3], &[0, 1, 2, 3, 6], &[0, 2, 8]] {
        let said = refused(|server| frames.iter().for_each(|frame| server.frame(*frame)));
        assert!(
            said.as_ref().is_some_and(|said| said.contains("to which it refers")),
            "{frames:?}: {said:?}"
        );
    }
}

#[test]
fn numbers_that_tell_of_what_was_left_out_are_refused() {
    let pictures = refused(|server| {
        server.frame(0);
        server.picture_id += 1;
        server.frame(2);
    });
    assert!(pictures.is_some_and(|said| said.contains("picture id")));
    let base_frames = refused(|server| {
        server.frame(0);
        server.tl0 += 1;
        server.frame(2);
    });
    assert!(base_frames.is_some_and(|said| said.contains("TL0PICIDX")));
}

#[test]
fn redundancy_is_read_and_wrong_redundancy_refused() {
    assert_eq!(
        refused(|server| {
            server.voice(5, &[]);
            server.voice(6, &[(5, 960)]);
            server.voice(7, &[(5, 1_920), (6, 960)]);
            assert_eq!(server.checker.redundant_blocks, 3);
        }),
        None
    );
    assert!(refused(|server| server.voice(6, &[(5, 1_920)])).is_some_and(|said| said.contains("offset")));
    assert!(
        refused(|server| server.voice(6, &[(5, 960), (4, 1_920)])).is_some_and(|said| said.contains("order"))
    );
}

#[test]
fn a_client_stops_what_is_not_wanted_and_begins_again_with_a_keyframe() {
    let mut world = World::new(1);
    for _ in 0..2 {
        world.join(ClientConfig { temporal_layers: 3, obeys: true, ..ClientConfig::default() });
    }
    world.seat(0, 0, Some(1));
    // By then the server has said what it does not want.
    world.run(Duration::from_secs(5));
    let rids = |names: &[&str]| names.iter().map(|rid| Rid::new(rid).expect("a rid")).collect();
    let said_at = world.now;
    let signal = |world: &mut World, signal| {
        let now = world.now;
        world.members[1].client.signalled(&signal, now, now);
    };
    signal(&mut world, Signal::Encodings(SourceKind::Camera, rids(&["q"])));
    world.run(Duration::from_secs(2));
    let shown = world.shown(0, 0).1;
    assert_eq!((shown.shows, shown.freezes), (Some((2, 0)), 1), "{shown:?}");
    signal(&mut world, Signal::Encodings(SourceKind::Camera, rids(&["q", "h", "f"])));
    signal(&mut world, Signal::Audio(AudioProfile::Thrifty));
    let before = world.shown(0, 0).0.packets;
    world.run(Duration::from_secs(3));
    let (audio, video) = world.shown(0, 0);
    assert_eq!(video.shows, Some((2, 2)), "since {said_at:?}: {video:?}");
    assert!((45..=55).contains(&(audio.packets - before)), "{audio:?}");
    let obedience = &world.members[1].client.obedience;
    // Whoever is shown the highest encoding leaves the one between to the server's word, before and after.
    assert_eq!((obedience.paused.len(), obedience.resumed.len(), obedience.voice.len()), (3, 2, 1));
    assert!(obedience.resumed.iter().all(|took| *took <= Duration::from_millis(34)), "{obedience:?}");
    assert_eq!(audio.heard.frames().concealed, 0, "{audio:?}");
}
