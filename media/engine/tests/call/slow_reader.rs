//! A peer by TCP that reads nothing for a while, as one whose line has all but died: the picture gives way to the voice.

use std::ops::Range;
use std::sync::mpsc::Receiver;

use vestibule_media_core::rtp::{HeaderWriter, RtpHeader};
use vestibule_media_core::vp8::{self, CanonicalDescriptor};
use vestibule_media_core::{Command, Event, PeerId, SeatId};
use vestibule_media_engine::Engine;
use vestibule_sim::offer::{ClientLine, VP8};

use crate::client::Client;
use crate::{MICROPHONE_SSRC, ROOM, microphone_packet, start};

const CAMERA_SSRC: u32 = 2_001;
/// Packets of a frame, and bytes of each. A frame comes each tick: what the kernel holds of them is full within a second or two.
const FRAME_PACKETS: u8 = 4;
const PAYLOAD_BYTES: usize = 1_000;
/// Ticks that are long enough for anything.
const TICKS_MAX: u32 = 2_000;
/// Ticks before it stops to read.
const READS_TICKS: u32 = 50;
/// Ticks for which it reads nothing while its connection takes no more: longer than a picture may wait, and shorter than
/// until who does not read is let go.
const STALLS_TICKS: u32 = 80;
/// Packets of a picture that show that it goes on.
const GOES_ON_PACKETS: usize = 40;
/// What a listener who tells of it says that it receives.
const REMB_BPS: u64 = 5_000_000;

/// One packet that was received: in which tick it was sent.
#[derive(Clone, Copy, Debug)]
enum Heard {
    Voice { tick: u32 },
    Picture { tick: u32, sequence: u16, begins_keyframe: bool },
}

impl Heard {
    fn voice(&self) -> Option<u32> {
        if let Self::Voice { tick } = *self { Some(tick) } else { None }
    }

    fn picture(&self) -> Option<u32> {
        if let Self::Picture { tick, .. } = *self { Some(tick) } else { None }
    }
}

struct Talk {
    engine: Engine,
    _events: Receiver<Event>,
    speaker: Client,
    listener: Client,
    tells_what_arrives: bool,
    tick: u32,
    is_keyframe_due: bool,
    heard: Vec<Heard>,
}

impl Talk {
    /// Somebody who sends a voice and a picture by UDP, and somebody who is shown them by TCP.
    fn begin(tells_what_arrives: bool) -> Self {
        let (engine, events) = start();
        let offer = Client::offer()
            .with(ClientLine::Microphone { ssrc: MICROPHONE_SSRC })
            .with(ClientLine::Screen { ssrc: CAMERA_SSRC, rtx: CAMERA_SSRC + 1 });
        let speaker = Client::join(&engine, &events, ROOM, PeerId(1), offer, false);
        let mut offer = Client::offer().with_seats(1);
        (offer.transport_cc, offer.remb) = (false, tells_what_arrives);
        let listener = Client::join(&engine, &events, ROOM, PeerId(2), offer, true);
        let seat = Command::SetSeat { peer: listener.peer, seat: SeatId(0), occupant: Some(speaker.peer) };
        engine.send(ROOM, seat).unwrap();
        let (tick, is_keyframe_due, heard) = (0, true, Vec::new());
        Self { engine, _events: events, speaker, listener, tells_what_arrives, tick, is_keyframe_due, heard }
    }

    /// One tick more of voice and picture, with a keyframe where one was asked for.
    fn speak(&mut self) {
        self.tick += 1;
        self.speaker.send_rtp(&microphone_packet(self.tick as u16, &self.tick.to_be_bytes()));
        let is_keyframe = std::mem::take(&mut self.is_keyframe_due);
        for part in 0..FRAME_PACKETS {
            self.speaker.send_rtp(&camera_packet(self.tick, part, is_keyframe));
        }
        self.is_keyframe_due |= self.speaker.is_asked_for_keyframe();
        if self.tells_what_arrives {
            let ssrc = self.listener.answer.media("1").ssrc.unwrap();
            self.listener.send_rtcp(|writer| writer.remb(1, REMB_BPS, &[ssrc]).unwrap());
        }
    }

    /// Speaks, and the listener reads all that came.
    fn speak_and_read(&mut self) {
        self.speak();
        while let Some((header, payload)) = self.listener.receive_rtp() {
            self.heard.extend(self.read(&header, &payload));
        }
    }

    /// Retransmissions and what only takes room is nothing.
    fn read(&self, header: &RtpHeader, payload: &[u8]) -> Option<Heard> {
        let ssrc_of = |mid| self.listener.answer.media(mid).ssrc.unwrap();
        let tick_at = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        if header.ssrc == ssrc_of("0") {
            return Some(Heard::Voice { tick: tick_at(0) });
        }
        if header.ssrc != ssrc_of("1") || payload.is_empty() {
            return None;
        }
        let descriptor = vp8::parse(payload).unwrap();
        Some(Heard::Picture {
            tick: tick_at(payload.len() - 4),
            sequence: header.sequence,
            begins_keyframe: vp8::is_keyframe(payload, &descriptor),
        })
    }

    /// Speaks to nobody who reads until the connection takes no more, and for a while after that; the ticks of that while.
    fn stall(&mut self) -> Range<u32> {
        while self.engine.counters()[0].core.paths_full == 0 {
            assert!(self.tick < TICKS_MAX, "the connection takes everything");
            self.speak();
        }
        let full_at = self.tick + 1;
        for _ in 0..STALLS_TICKS {
            self.speak();
        }
        full_at..self.tick + 1
    }
}

fn camera_packet(tick: u32, part: u8, is_keyframe: bool) -> Vec<u8> {
    let mut payload = vec![0x5a; PAYLOAD_BYTES];
    let descriptor = CanonicalDescriptor {
        start_of_partition: part == 0,
        picture_id: tick as u16 & 0x7fff,
        tl0_picture_index: tick as u8,
        ..CanonicalDescriptor::default()
    };
    vp8::write_canonical(&mut payload, &descriptor);
    let frame = &mut payload[vp8::CANONICAL_DESCRIPTOR_LEN..];
    // RFC 7741 section 4.3: the P bit of the frame's first byte is clear on a keyframe.
    frame[0] = u8::from(!is_keyframe);
    frame[3..10].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01]);
    payload[PAYLOAD_BYTES - 4..].copy_from_slice(&tick.to_be_bytes());

    let mut packet = vec![0; 64];
    let sequence = (tick as u16).wrapping_mul(u16::from(FRAME_PACKETS)) + u16::from(part);
    let is_last = part + 1 == FRAME_PACKETS;
    let len =
        HeaderWriter::new(&mut packet, VP8, is_last, sequence, tick * 3_000, CAMERA_SSRC, false).finish();
    packet.truncate(len);
    packet.extend_from_slice(&payload);
    packet
}

#[test]
fn to_who_stops_reading_the_picture_waits_for_a_keyframe_and_every_voice_comes_before_it() {
    for tells_what_arrives in [false, true] {
        let mut talk = Talk::begin(tells_what_arrives);
        while talk.tick < READS_TICKS || !talk.heard.iter().any(|heard| heard.picture().is_some()) {
            assert!(talk.tick < TICKS_MAX, "nothing is shown");
            talk.speak_and_read();
        }
        let stalled = talk.stall();
        let pictures_after = |heard: &[Heard]| {
            heard.iter().filter(|one| one.picture().is_some_and(|tick| tick >= stalled.end)).count()
        };
        while pictures_after(&talk.heard) < GOES_ON_PACKETS {
            assert!(talk.tick < TICKS_MAX, "the picture does not go on");
            talk.speak_and_read();
        }

        let heard = &talk.heard;
        let voices: Vec<_> = heard.iter().filter_map(Heard::voice).collect();
        let spoken: Vec<_> = (voices[0]..=voices[voices.len() - 1]).collect();
        assert_eq!(voices, spoken, "a voice is lost");
        assert!(
            !heard.iter().filter_map(Heard::picture).any(|tick| stalled.contains(&tick)),
            "pictures of a time long gone are sent after it"
        );
        let again =
            heard.iter().position(|one| one.picture().is_some_and(|tick| tick >= stalled.end)).unwrap();
        let (before, after) = heard.split_at(again);
        assert!(
            before.iter().any(|one| one.voice() == Some(stalled.end - 1)),
            "a picture came before a voice"
        );
        assert!(
            matches!(after[0], Heard::Picture { begins_keyframe: true, .. }),
            "it goes on with {:?}, which nobody can decode",
            after[0]
        );
        let sequences: Vec<_> = after
            .iter()
            .filter_map(|one| if let Heard::Picture { sequence, .. } = one { Some(*sequence) } else { None })
            .collect();
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{sequences:?}");

        let counters = talk.engine.counters()[0];
        assert_eq!((counters.tcp.closed_slow, counters.tcp.dropped_buffer_full), (0, 0));
        talk.engine.shutdown().unwrap();
    }
}
