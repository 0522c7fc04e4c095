//! The egress checker: reads every packet the SFU sends to one subscriber, before the network touches it, and panics at
//! the first wrong one.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::coding::{self, Content};
use crate::offer::ABS_SEND_TIME_ID;
use crate::red::Red;
use crate::synthetic::Tag;
use vestibule_media_core::demux::{DatagramKind, classify};
use vestibule_media_core::dependency::Structure;
use vestibule_media_core::rtcp::{RtcpPacket, packets};
use vestibule_media_core::rtp::{ExtensionIds, RtpHeader};
use vestibule_media_core::sdp::CodecName;
use vestibule_media_core::srtp::{KeyingMaterial, SrtpOpener, SrtpRole, session};
use vestibule_media_core::time::{NtpTime, Time};

/// What is known of an m-line the SFU sends on.
#[derive(Clone, Debug)]
pub struct CheckedLine {
    /// Its mid.
    pub mid: String,
    /// Video, else audio.
    pub video: bool,
    /// The SSRC of the answer.
    pub ssrc: u32,
    /// The RTX SSRC of the answer.
    pub rtx_ssrc: Option<u32>,
    /// The codecs of the answer, with their payload types and those of their retransmissions.
    pub formats: Vec<(CodecName, u8, Option<u8>)>,
    /// The payload type of redundant audio (RFC 2198), where the answer has one.
    pub red_payload_type: Option<u8>,
}

impl CheckedLine {
    /// The codec of a payload type, or of a payload type of retransmissions.
    #[must_use]
    pub fn codec_of(&self, payload_type: u8, rtx: bool) -> Option<CodecName> {
        let is_it = |(_, own, own_rtx): &&(CodecName, u8, Option<u8>)| {
            if rtx { *own_rtx == Some(payload_type) } else { *own == payload_type }
        };
        self.formats.iter().find(is_it).map(|(codec, ..)| *codec)
    }
}

/// Checks what one subscriber is sent.
pub struct EgressChecker {
    name: String,
    opener: SrtpOpener,
    ids: ExtensionIds,
    lines: Vec<CheckedLine>,
    streams: HashMap<u32, Stream>,
    rtx_next: HashMap<u32, u64>,
    transport_next: Option<u16>,
    was_audio: bool,
    /// Packets checked, for tests that must not pass by silence.
    pub packets: u64,
    /// Retransmissions checked, probes among them.
    pub retransmissions: u64,
    /// Those of them that held only padding.
    pub padding: u64,
    /// Earlier frames of voices that went along with later ones (RFC 2198).
    pub redundant_blocks: u64,
    /// Frames cut off by a switch, kept apart from the next by a gap.
    pub cut_frames: u64,
    /// Packets that carried their mid.
    pub packets_with_mid: u64,
    /// Sender reports seen, by SSRC.
    pub sender_reports: HashMap<u32, Vec<SeenReport>>,
    /// How far media time may be from capture time over a switch: as far as a queue on the publisher's line delays everything
    /// the SFU knows of it.
    pub capture_tolerance: Duration,
}

/// Unless it is said otherwise.
const CAPTURE_TOLERANCE: Duration = Duration::from_millis(400);

/// A sender report as it left.
#[derive(Clone, Copy, Debug)]
pub struct SeenReport {
    /// When it left.
    pub at: Time,
    /// Its NTP time.
    pub ntp: u64,
    /// Its RTP time.
    pub rtp: u32,
}

/// One outgoing SSRC.
#[derive(Default)]
struct Stream {
    sent: BTreeMap<u64, Sent>,
    highest: Option<u64>,
    first_of_capture: Option<(u32, Time)>,
    structure: Option<Box<Structure>>,
}

/// A packet that was sent, as far as later ones are measured against it.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    timestamp: u32,
    marker: bool,
    /// `None` for a packet without payload.
    content: Option<Content>,
}

impl EgressChecker {
    /// A checker of what the holder of `keys` is sent. `name` is told with a failure.
    ///
    /// # Panics
    ///
    /// If the keys are of no use.
    #[must_use]
    pub fn new(name: String, keys: &KeyingMaterial, ids: ExtensionIds) -> Self {
        let (_, opener) = session(keys, SrtpRole::Client).expect("usable keys");
        Self {
            name,
            opener,
            ids,
            lines: Vec::new(),
            streams: HashMap::new(),
            rtx_next: HashMap::new(),
            transport_next: None,
            was_audio: false,
            packets: 0,
            retransmissions: 0,
            padding: 0,
            redundant_blocks: 0,
            cut_frames: 0,
            packets_with_mid: 0,
            capture_tolerance: CAPTURE_TOLERANCE,
            sender_reports: HashMap::new(),
        }
    }

    /// The m-lines of the newest answer.
    pub fn set_lines(&mut self, lines: Vec<CheckedLine>) {
        self.lines = lines;
    }

    /// Takes a datagram as it leaves.
    ///
    /// # Panics
    ///
    /// At the first rule broken.
    pub fn check(&mut self, datagram: &[u8], now: Time) {
        self.was_audio = false;
        match classify(datagram) {
            Some(DatagramKind::Rtp) => self.check_rtp(datagram, now),
            Some(DatagramKind::Rtcp) => self.check_rtcp(datagram, now),
            Some(DatagramKind::Stun | DatagramKind::Dtls) => {}
            None => self.fail("a datagram of no protocol"),
        }
    }

    /// Whether the last datagram held a voice.
    #[must_use]
    pub const fn was_audio(&self) -> bool {
        self.was_audio
    }

    /// What the newest sender report of this m-line says of the moment a newest packet was captured: NTP time less
    /// virtual time, in µs. Two m-lines of one publisher must agree.
    #[must_use]
    pub fn capture_offset_us(&self, mid: &str) -> Option<i64> {
        let line = self.lines.iter().find(|line| line.mid == mid)?;
        let report = self.sender_reports.get(&line.ssrc)?.last()?;
        let (timestamp, captured_at) = self.streams.get(&line.ssrc)?.first_of_capture?;
        let rate = if line.video { 90_000 } else { 48_000 };
        let since_report = i64::from(timestamp.wrapping_sub(report.rtp).cast_signed()) * 1_000_000 / rate;
        let ntp_us = NtpTime(report.ntp).micros_since(crate::world::WALL_CLOCK);
        Some(ntp_us + since_report - captured_at.as_micros().cast_signed())
    }

    fn fail(&self, what: &str) -> ! {
        panic!("egress to {}: {what}", self.name)
    }

    fn check_rtcp(&mut self, datagram: &[u8], now: Time) {
        let mut bytes = datagram.to_vec();
        let Ok(len) = self.opener.open_rtcp(&mut bytes) else { self.fail("RTCP that does not authenticate") };
        for packet in packets(&bytes[..len]) {
            match packet {
                Ok(RtcpPacket::SenderReport { ssrc, info, .. }) => {
                    if !self.lines.iter().any(|line| line.ssrc == ssrc) {
                        self.fail("a sender report of an SSRC that is no m-line's");
                    }
                    let seen = SeenReport { at: now, ntp: info.ntp.0, rtp: info.rtp };
                    self.sender_reports.entry(ssrc).or_default().push(seen);
                }
                Ok(_) => {}
                Err(error) => self.fail(&format!("malformed RTCP: {error}")),
            }
        }
    }

    fn check_rtp(&mut self, datagram: &[u8], now: Time) {
        self.packets += 1;
        let Ok(header) = RtpHeader::parse(datagram) else { self.fail("malformed RTP") };
        let mut bytes = datagram.to_vec();
        // The checker sees every packet in the order of sending, so nothing may be a replay or out of its rollover.
        let opened = match self.opener.open_rtp(&mut bytes, &header) {
            Ok(opened) => opened,
            Err(error) => self.fail(&format!("SSRC {} sequence {}: {error}", header.ssrc, header.sequence)),
        };
        let packet = &bytes[..opened.len];
        self.check_transport_sequence(packet, &header);
        let Ok(payload) = header.payload(packet) else { self.fail("malformed padding") };
        let payload = &packet[payload];
        let Some(line) = self
            .lines
            .iter()
            .find(|line| line.ssrc == header.ssrc || line.rtx_ssrc == Some(header.ssrc))
            .cloned()
        else {
            self.fail(&format!("SSRC {} is no m-line's", header.ssrc));
        };
        self.was_audio = !line.video;
        self.check_send_time(packet, &header, line.video, now);
        let id = self.ids.dependency;
        let dependency = header.extensions(packet).find(|(at, _)| Some(*at) == id).map(|(_, value)| value);
        self.check_mid(packet, &header, &line);
        if line.ssrc == header.ssrc {
            self.check_media(&header, opened.index, payload, dependency, &line);
        } else {
            self.check_retransmission(&header, opened.index, payload, dependency, &line);
        }
    }

    fn check_transport_sequence(&mut self, packet: &[u8], header: &RtpHeader) {
        let Some(id) = self.ids.transport_cc else { return };
        let value = header.extensions(packet).find(|(found, _)| *found == id).map(|(_, value)| value);
        let Some(&[high, low]) = value.and_then(|value| value.first_chunk::<2>()) else {
            self.fail("no transport-wide sequence number");
        };
        let sequence = u16::from_be_bytes([high, low]);
        if self.transport_next.is_some_and(|next| next != sequence) {
            self.fail(&format!("transport-wide sequence {sequence} where {:?} was due", self.transport_next));
        }
        self.transport_next = Some(sequence.wrapping_add(1));
    }

    /// Of pictures it is said when they left, to who estimates their line by it; to nobody else.
    fn check_send_time(&mut self, packet: &[u8], header: &RtpHeader, video: bool, now: Time) {
        let told = header.extensions(packet).find(|(id, _)| *id == ABS_SEND_TIME_ID).map(|(_, value)| value);
        let [_, due @ ..] = now.abs_send_time().to_be_bytes();
        let due = self.ids.abs_send_time.filter(|_| video).map(|_| &due[..]);
        if told != due {
            self.fail(&format!("it is said to have left at {told:?}, and not {due:?}"));
        }
    }

    fn check_mid(&mut self, packet: &[u8], header: &RtpHeader, line: &CheckedLine) {
        let mid = header.extensions(packet).find(|(id, _)| Some(*id) == self.ids.mid).map(|(_, value)| value);
        self.packets_with_mid += u64::from(mid.is_some());
        if mid.is_some_and(|mid| mid != line.mid.as_bytes()) {
            self.fail("a wrong mid");
        }
        let first = self.streams.get(&header.ssrc).is_none_or(|stream| stream.sent.is_empty())
            && !self.rtx_next.contains_key(&header.ssrc);
        if first && mid.is_none() {
            self.fail("no mid on the first packet of an SSRC");
        }
    }

    fn check_media(
        &mut self,
        header: &RtpHeader,
        index: u64,
        payload: &[u8],
        dependency: Option<&[u8]>,
        line: &CheckedLine,
    ) {
        let red = line.red_payload_type == Some(header.payload_type);
        let codec = line.codec_of(header.payload_type, false);
        let content = match codec {
            _ if red => self.redundant(payload, line),
            Some(codec) => self.content(payload, codec, dependency, line),
            None => self.fail("a wrong payload type"),
        };
        let sent = Sent { timestamp: header.timestamp, marker: header.marker, content };
        self.check_frame(&sent, line);
        let stream = self.streams.entry(header.ssrc).or_default();
        let highest = stream.highest;
        if stream.sent.contains_key(&index) {
            self.fail("a sequence number used twice");
        }
        match highest {
            None => {
                if line.video
                    && !sent.content.as_ref().is_some_and(|content| {
                        content.tag.keyframe && content.tag.part == 0 && content.tag.spatial == 0
                    })
                {
                    self.fail("a video stream that begins with no keyframe");
                }
            }
            Some(highest) if index > highest => {
                if index - highest > 1_000 {
                    self.fail("a jump in sequence numbers");
                }
                let (before, after) = (stream.sent[&highest].clone(), sent.clone());
                if let (Some(a), Some(b)) = (&before.content, &after.content) {
                    let cut = line.video && a.tag.ssrc != b.tag.ssrc && a.tag.part + 1 != a.tag.parts;
                    self.cut_frames += u64::from(cut);
                }
                self.check_step(&before, &after, index - highest, line);
            }
            Some(_) => {
                // Reordered: between its neighbours by content as well as by number.
                let before = stream.sent.range(..index).next_back().map(|(at, sent)| (*at, sent.clone()));
                let after = stream.sent.range(index + 1..).next().map(|(at, sent)| (*at, sent.clone()));
                if let Some((at, before)) = before {
                    self.check_step(&before, &sent, index - at, line);
                }
                if let Some((at, after)) = after {
                    self.check_step(&sent, &after, at - index, line);
                }
            }
        }
        if let Some(content) = sent.content.as_ref().filter(|_| line.video) {
            self.check_references(header.ssrc, index, content);
        }
        let stream = self.streams.entry(header.ssrc).or_default();
        if let Some(content) = &sent.content {
            stream.first_of_capture = Some((sent.timestamp, content.tag.captured_at));
        }
        stream.sent.insert(index, sent);
        stream.highest = Some(highest.map_or(index, |highest| highest.max(index)));
        while stream.sent.len() > 4_000 {
            stream.sent.pop_first();
        }
    }

    fn content(
        &mut self,
        payload: &[u8],
        codec: CodecName,
        dependency: Option<&[u8]>,
        line: &CheckedLine,
    ) -> Option<Content> {
        if payload.is_empty() {
            return None;
        }
        let structure = &mut self.streams.entry(line.ssrc).or_default().structure;
        match coding::read(payload, codec, dependency, structure) {
            Ok(content) => Some(content),
            Err(what) => self.fail(&what),
        }
    }

    fn redundant(&mut self, payload: &[u8], line: &CheckedLine) -> Option<Content> {
        let payload_type = line.formats.first().map_or(0, |(_, payload_type, _)| *payload_type);
        match Red::read(payload, payload_type) {
            Ok(red) => {
                self.redundant_blocks += red.redundant.len() as u64;
                Some(Content { tag: red.primary, codec: CodecName::Opus, picture: None, tl0: None })
            }
            Err(what) => self.fail(what),
        }
    }

    fn check_frame(&self, sent: &Sent, line: &CheckedLine) {
        let Some(content) = &sent.content else { return };
        let is_last = content.tag.part + 1 == content.tag.parts;
        // Of a picture in layers which frame is the last depends on what follows.
        let is_open = is_last && content.tag.scalability.layers > 1;
        if line.video && sent.marker != is_last && !is_open {
            self.fail("a marker that is not on the last packet of its frame");
        }
    }

    /// The rules between two packets next to each other in the stream, `step` sequence numbers apart.
    fn check_step(&self, before: &Sent, after: &Sent, step: u64, line: &CheckedLine) {
        let (Some(a), Some(b)) = (&before.content, &after.content) else { return };
        let same_source = is_of_one_source(a, b);
        let say = || format!("\n  before {before:?}\n  after  {after:?}\n  step {step}");
        if same_source && a.tag.frame == b.tag.frame && a.tag.spatial == b.tag.spatial {
            if (before.timestamp, a.picture, a.tl0) != (after.timestamp, b.picture, b.tl0) {
                self.fail(&format!("one frame with two timestamps or picture ids{}", say()));
            }
            if u64::from(b.tag.part) != u64::from(a.tag.part) + step {
                self.fail(&format!("parts of a frame out of step with the sequence numbers{}", say()));
            }
            return;
        }
        if same_source && a.tag.frame == b.tag.frame {
            return self.check_layers(before, after, step, &say);
        }
        if line.video && step == 1 && !before.marker {
            self.fail(&format!("a picture that ends without a marker{}", say()));
        }
        let advance = after.timestamp.wrapping_sub(before.timestamp).cast_signed();
        if advance <= 0 {
            self.fail(&format!("a timestamp that does not advance from frame to frame{}", say()));
        }
        if same_source && b.tag.frame < a.tag.frame {
            self.fail(&format!("an older frame after a newer one{}", say()));
        }
        if line.video && step == 1 && (a.tag.part + 1 != a.tag.parts || b.tag.part != 0) {
            self.fail(&format!("a cut frame joined with the next one{}", say()));
        }
        if line.video && !same_source && !(b.tag.keyframe && (b.tag.part == 0 || step > 1)) {
            self.fail(&format!("another layer or source that begins with no keyframe{}", say()));
        }
        // Media time must not run away from capture time, over any switch.
        let rate = if line.video { 90 } else { 48 };
        let captured_ms = (b.tag.captured_at.as_micros().cast_signed()
            - a.tag.captured_at.as_micros().cast_signed())
            / 1_000;
        let ahead_ms = i64::from(advance) / rate - captured_ms;
        if ahead_ms.unsigned_abs() > self.capture_tolerance.as_millis() as u64 {
            self.fail(&format!("a timestamp {} ms ahead of capture time{}", ahead_ms, say()));
        }
        if line.video {
            self.check_numbers(a, b, step, &say);
        }
    }

    /// From one layer of a picture to the next.
    fn check_layers(&self, before: &Sent, after: &Sent, step: u64, say: &dyn Fn() -> String) {
        let (Some(a), Some(b)) = (&before.content, &after.content) else { return };
        if before.timestamp != after.timestamp || b.tag.spatial < a.tag.spatial || before.marker {
            self.fail(&format!("layers of a picture out of order, or a marker between them{}", say()));
        }
        if step == 1 && (a.tag.part + 1 != a.tag.parts || b.tag.part != 0) {
            self.fail(&format!("a cut layer joined with the next one{}", say()));
        }
        let apart = a.picture.zip(b.picture).map_or(0, |(from, to)| to.wrapping_sub(from));
        let expected = match b.codec {
            CodecName::Av1 if a.picture.is_some() => u16::from(b.tag.spatial - a.tag.spatial),
            _ => 0,
        };
        if apart != expected || a.tl0 != b.tl0 {
            self.fail(&format!("layers of a picture with numbers {apart} apart{}", say()));
        }
    }

    /// The numbers of AV1 frames, and of VP9's pictures, from one to the next that was sent: those of the publisher, who
    /// refers by them, or at a keyframe that enters a stream the next.
    fn check_published_numbers(&self, a: &Content, b: &Content, step: u64, say: &dyn Fn() -> String) {
        let (Some(from), Some(to)) = (a.picture, b.picture) else { return };
        let (mask, published) = match b.codec {
            CodecName::Av1 => {
                let number = |tag: &Tag| tag.frame * u32::from(tag.spatial_most) + u32::from(tag.spatial);
                (0xffff, number(&b.tag).wrapping_sub(number(&a.tag)))
            }
            _ => (0x7fff, b.tag.frame.wrapping_sub(a.tag.frame)),
        };
        let found = u32::from(to.wrapping_sub(from) & mask);
        let same_source = is_of_one_source(a, b);
        let enters = b.tag.keyframe && b.tag.part == 0 && b.tag.spatial == 0;
        let is_next = found == 1 && enters && step <= 2;
        let is_published = same_source && found == published & u32::from(mask);
        if (same_source || step == 1) && a.codec == b.codec && !is_next && !is_published {
            self.fail(&format!("number {from} then {to}{}", say()));
        }
        if is_published
            && let Some((from, to)) = a.tl0.zip(b.tl0)
            && to.wrapping_sub(from) != b.tag.tl0.wrapping_sub(a.tag.tl0)
            && !(enters && to.wrapping_sub(from) == 1)
        {
            self.fail(&format!("TL0PICIDX {from} then {to}{}", say()));
        }
    }

    /// Picture ids and TL0PICIDX of VP8 from one frame to the next that was sent.
    fn check_numbers(&self, a: &Content, b: &Content, step: u64, say: &dyn Fn() -> String) {
        if coding::is_layered(b.codec) {
            return self.check_published_numbers(a, b, step, say);
        }
        let (Some(from), Some(to)) = (a.picture, b.picture) else { return };
        let (Some(from_base), Some(to_base)) = (a.tl0, b.tl0) else { return };
        let pictures = u32::from(to.wrapping_sub(from) & 0x7fff);
        let base_frames = u32::from(to_base.wrapping_sub(from_base));
        let same_source = is_of_one_source(a, b);
        // A keyframe may begin a new stretch of the same source: what it follows is what was sent, not what was published.
        let entered = step <= 2 && b.tag.keyframe && b.tag.part == 0;
        let published = if same_source { b.tag.frame - a.tag.frame } else { 1 };
        if same_source && b.tag.temporal.layers > 1 {
            // Frames of higher layers may be left out; what is sent is numbered as if they had never been.
            let follows = step == 1;
            let due = u32::from(b.tag.temporal.id() == 0);
            if pictures == 0 || pictures > published || (follows && pictures != 1) {
                self.fail(&format!("picture id {from} then {to}{}", say()));
            }
            if base_frames > published || (follows && base_frames != due) {
                self.fail(&format!("TL0PICIDX {from_base} then {to_base}{}", say()));
            }
            return;
        }
        let judged = same_source || step == 1;
        let expected = |found| if same_source && !(entered && found == 1) { published } else { 1 };
        if judged && pictures != expected(pictures) & 0x7fff {
            self.fail(&format!("picture id {from} then {to}{}", say()));
        }
        if judged && base_frames != expected(base_frames) & 0xff {
            self.fail(&format!("TL0PICIDX {from_base} then {to_base}{}", say()));
        }
    }

    /// A frame may only be sent if what it refers to was. What got lost before the server leaves a gap in the sequence
    /// numbers; beyond one nothing is judged.
    fn check_references(&self, ssrc: u32, index: u64, content: &Content) {
        let tag = content.tag;
        if tag.part != 0 {
            return;
        }
        let Some(stream) = self.streams.get(&ssrc) else { return };
        for (back, spatial) in tag.references() {
            let Some(wanted) = tag.frame.checked_sub(back) else {
                self.fail(&format!("a frame that refers to none there is: {tag:?}"));
            };
            let mut at = index;
            for (before, sent) in stream.sent.range(..index).rev() {
                if before + 1 != at {
                    break;
                }
                at = *before;
                let Some(found) = &sent.content else { continue };
                let is_it = found.tag.frame == wanted && found.tag.spatial == spatial;
                if !is_of_one_source(found, content) || is_it {
                    break;
                }
                if found.tag.frame < wanted {
                    self.fail(&format!(
                        "a frame without frame {wanted}, to which it refers\n  {:?}\n  {tag:?}",
                        found.tag
                    ));
                }
            }
        }
    }

    fn check_retransmission(
        &mut self,
        header: &RtpHeader,
        index: u64,
        payload: &[u8],
        dependency: Option<&[u8]>,
        line: &CheckedLine,
    ) {
        self.retransmissions += 1;
        let Some(codec) = line.codec_of(header.payload_type, true) else {
            self.fail("a wrong RTX payload type");
        };
        if self.rtx_next.get(&header.ssrc).is_some_and(|next| *next != index) {
            self.fail("a gap in the RTX stream");
        }
        self.rtx_next.insert(header.ssrc, index + 1);
        if payload.is_empty() {
            // Padding alone: part of a probe.
            self.padding += 1;
            return;
        }
        let Some((sequence, rest)) = payload.split_first_chunk::<2>() else {
            self.fail("RTX without an original sequence number");
        };
        let sequence = u16::from_be_bytes(*sequence);
        let content = self.content(rest, codec, dependency, line);
        let again = Sent { timestamp: header.timestamp, marker: header.marker, content };
        let original = self.streams.get(&line.ssrc).and_then(|stream| {
            stream.sent.iter().rev().find(|(at, _)| **at as u16 == sequence).map(|(_, sent)| sent)
        });
        // A packet that reached the SFU late is first seen here.
        if let Some(original) = original
            && *original != again
        {
            self.fail(&format!("a retransmission unlike its original\n  {original:?}\n  {again:?}"));
        }
    }
}

/// Whether both are of one stream of one publisher: another codec makes another of it.
fn is_of_one_source(a: &Content, b: &Content) -> bool {
    (a.tag.ssrc, a.tag.peer, a.codec) == (b.tag.ssrc, b.tag.peer, b.codec)
}
