//! H264 payloads (RFC 6184, packetization mode 1: single NAL units, STAP-A, FU-A), and what is agreed on of a profile and
//! its level (section 8.1).
//!
//! Nothing of a payload is rewritten. What is looked for is where a stream can be entered, and how high its picture is.

/// What a packet means for who would enter the stream there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct H264Packet {
    /// It holds a sequence parameter set.
    pub has_sps: bool,
    /// It holds a picture parameter set.
    pub has_pps: bool,
    /// It holds the start of a slice that refers to no other picture (IDR).
    pub starts_idr: bool,
    /// Height of the picture in pixels, where a sequence parameter set tells it.
    pub height: Option<u16>,
}

/// Why a payload is not H264.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum H264Error {
    /// The payload ends before its headers do.
    #[error("H264 payload is cut off")]
    Truncated,
    /// A packet type of another packetization mode, or a reserved one.
    #[error("NAL unit type {0} is none of packetization mode 1")]
    UnknownType(u8),
    /// The forbidden bit is set: the sender calls it broken.
    #[error("the NAL unit is marked as broken")]
    Forbidden,
}

const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;

/// Reads what an RTP payload begins or holds.
///
/// # Errors
/// What is wrong with it; the payload may be empty.
#[inline]
pub fn parse(payload: &[u8]) -> Result<H264Packet, H264Error> {
    let (&header, rest) = payload.split_first().ok_or(H264Error::Truncated)?;
    if header & 0x80 != 0 {
        return Err(H264Error::Forbidden);
    }
    let mut found = H264Packet::default();
    match header & 0x1f {
        1..=23 => found.add(payload),
        STAP_A => {
            let mut rest = rest;
            while !rest.is_empty() {
                let (len, after) = rest.split_first_chunk::<2>().ok_or(H264Error::Truncated)?;
                let len = usize::from(u16::from_be_bytes(*len));
                let (unit, after) = after.split_at_checked(len).ok_or(H264Error::Truncated)?;
                found.add(unit);
                rest = after;
            }
        }
        FU_A => {
            let fu = rest.first().ok_or(H264Error::Truncated)?;
            if fu & FU_START != 0 {
                // A parameter set is smaller than a packet; one in pieces is a start all the same.
                found.note(fu & 0x1f);
            }
        }
        other => return Err(H264Error::UnknownType(other)),
    }
    Ok(found)
}

impl H264Packet {
    fn add(&mut self, unit: &[u8]) {
        let Some(&header) = unit.first() else { return };
        self.note(header & 0x1f);
        if header & 0x1f == SPS {
            self.height = sps_height(&unit[1..]);
        }
    }

    const fn note(&mut self, unit_type: u8) {
        match unit_type {
            IDR => self.starts_idr = true,
            SPS => self.has_sps = true,
            PPS => self.has_pps = true,
            _ => {}
        }
    }
}

/// Height of the picture, cropping heeded (H.264 section 7.3.2.1.1); `None` for what no browser sends.
fn sps_height(sps: &[u8]) -> Option<u16> {
    let mut bits = Bits { bytes: sps, at: 0, zeros: 0, byte: 0, left: 0 };
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.exp_golomb()?;
    let mut chroma_format = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128) {
        chroma_format = bits.exp_golomb()?;
        bits.exp_golomb()?;
        bits.exp_golomb()?;
        bits.take(1)?;
        if chroma_format == 3 || bits.take(1)? == 1 {
            return None;
        }
    }
    bits.exp_golomb()?;
    match bits.exp_golomb()? {
        0 => _ = bits.exp_golomb()?,
        1 => {
            bits.take(1)?;
            bits.exp_golomb()?;
            bits.exp_golomb()?;
            for _ in 0..bits.exp_golomb()?.min(255) {
                bits.exp_golomb()?;
            }
        }
        _ => {}
    }
    bits.exp_golomb()?;
    bits.take(1)?;
    bits.exp_golomb()?;
    let map_units = bits.exp_golomb()?.checked_add(1)?;
    let frames_only = bits.take(1)?;
    if frames_only == 0 {
        bits.take(1)?;
    }
    bits.take(1)?;
    let mut cropped = 0;
    if bits.take(1)? == 1 {
        bits.exp_golomb()?;
        bits.exp_golomb()?;
        let unit = if chroma_format == 1 { 2 } else { 1 } * (2 - frames_only);
        cropped = bits.exp_golomb()?.checked_add(bits.exp_golomb()?)?.checked_mul(unit)?;
    }
    let height = map_units.checked_mul(16 * (2 - frames_only))?.checked_sub(cropped)?;
    u16::try_from(height).ok()
}

/// Bits of a NAL unit, emulation prevention taken out (H.264 section 7.3.1).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    zeros: u8,
    byte: u8,
    left: u8,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            let mut byte = *self.bytes.get(self.at)?;
            if self.zeros >= 2 && byte == 3 {
                self.at += 1;
                self.zeros = 0;
                byte = *self.bytes.get(self.at)?;
            }
            self.zeros = if byte == 0 { self.zeros.saturating_add(1) } else { 0 };
            self.at += 1;
            (self.byte, self.left) = (byte, 8);
        }
        self.left -= 1;
        Some(u32::from(self.byte >> self.left & 1))
    }

    fn take(&mut self, bits: u8) -> Option<u32> {
        let mut value = 0;
        for _ in 0..bits {
            value = value << 1 | self.bit()?;
        }
        Some(value)
    }

    /// ue(v) and, for what is only skipped, se(v).
    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.take(zeros)?)
    }
}

/// The level this server takes of a publisher, where it may differ from what it offers: 3.1 is 720p at 30 a second.
const LEVEL_TAKEN: u8 = 31;
/// Level 1b of the constrained baseline profile is level 1.1 with constraint_set3.
const CONSTRAINT_SET3: u8 = 0x10;

/// `profile-level-id` of a format (RFC 6184 section 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProfileLevel {
    constraints: u8,
    level: u8,
}

impl ProfileLevel {
    /// Reads that of the constrained baseline profile; `None` for every other.
    fn constrained_baseline(text: &str) -> Option<Self> {
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let id = u32::from_str_radix(text, 16).ok()?;
        let [_, profile, constraints, level] = id.to_be_bytes();
        // RFC 6184 table 5: constraint_set1 makes the baseline profile a constrained one; main with set0, extended
        // with both, are the same.
        let is_constrained = match profile {
            0x42 => constraints & 0x4f == 0x40,
            0x4d => constraints & 0x8f == 0x80,
            0x58 => constraints & 0xcf == 0xc0,
            _ => false,
        };
        is_constrained.then_some(Self { constraints, level })
    }

    /// For comparison: 1b lies between 1 and 1.1.
    const fn rank(self) -> u16 {
        match (self.level, self.constraints & CONSTRAINT_SET3 != 0) {
            (11, true) => 105,
            (level, _) => level as u16 * 10,
        }
    }
}

/// What is answered to an offered H264 format: its parameters, or `None` where the format is none this server takes.
///
/// Constrained baseline in packetization mode 1. The level is what either side can: where they may differ
/// (`level-asymmetry-allowed`) the server names its own, else the lower of both.
#[must_use]
pub fn negotiate(fmtp: &str) -> Option<String> {
    let parameter = |name: &str| {
        let mut parameters = fmtp.split(';').filter_map(|parameter| parameter.trim().split_once('='));
        parameters.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if parameter("packetization-mode") != Some("1") {
        return None;
    }
    // Without one it is baseline, level 1 (RFC 6184 section 8.1), which is not constrained.
    let offered = ProfileLevel::constrained_baseline(parameter("profile-level-id")?)?;
    let is_asymmetric = parameter("level-asymmetry-allowed") == Some("1");
    let ours = ProfileLevel { constraints: 0xe0, level: LEVEL_TAKEN };
    let agreed = if is_asymmetric || ours.rank() < offered.rank() { ours } else { offered };
    let is_1b = agreed.level == 11 && agreed.constraints & CONSTRAINT_SET3 != 0;
    let constraints = 0xe0 | if is_1b { CONSTRAINT_SET3 } else { 0 };
    Some(format!(
        "level-asymmetry-allowed={};packetization-mode=1;profile-level-id=42{constraints:02x}{:02x}",
        u8::from(is_asymmetric),
        agreed.level
    ))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;

    use super::*;
    use crate::testing::check;

    /// Constrained baseline, 1280×720, as OpenH264 writes it.
    const SPS_720: [u8; 16] =
        [0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdd, 0x80, 0xf0, 0x88, 0x46, 0xa0, 0x00];

    #[test]
    fn a_parameter_set_tells_the_height() {
        let found = parse(&SPS_720).unwrap();
        assert!(found.has_sps && !found.starts_idr);
        assert_eq!(found.height, Some(720));
    }

    #[test]
    fn a_keyframe_is_found_behind_aud_and_sei_in_stap_a_and_at_the_start_of_an_fu_a() {
        let mut stap = vec![0x78];
        for unit in [&[0x09, 0xf0][..], &[0x06, 0x05, 0x01, 0x80], &SPS_720, &[0x68, 0xce, 0x3c, 0x80]] {
            stap.extend_from_slice(&(unit.len() as u16).to_be_bytes());
            stap.extend_from_slice(unit);
        }
        let found = parse(&stap).unwrap();
        assert!(found.has_sps && found.has_pps && !found.starts_idr);
        assert_eq!(found.height, Some(720));
        stap.extend_from_slice(&[0, 2, 0x65, 0x88]);
        assert!(parse(&stap).unwrap().starts_idr);
        assert!(parse(&[0x7c, 0x85, 0x88]).unwrap().starts_idr, "the first piece of an IDR slice");
        assert!(!parse(&[0x7c, 0x05, 0x88]).unwrap().starts_idr, "a later piece");
        assert!(!parse(&[0x7c, 0x81, 0x88]).unwrap().starts_idr, "a piece of another slice");
        assert!(parse(&[0x65, 0x88]).unwrap().starts_idr);
        for alone in [&[0x09, 0xf0][..], &[0x06, 0x05], &[0x41, 0x9a]] {
            assert_eq!(parse(alone), Ok(H264Packet::default()), "{alone:x?}");
        }
    }

    #[test]
    fn what_is_cut_or_of_another_mode_is_refused() {
        assert_eq!(parse(&[]), Err(H264Error::Truncated));
        assert_eq!(parse(&[0x7c]), Err(H264Error::Truncated));
        assert_eq!(parse(&[0x78, 0, 4, 0x67]), Err(H264Error::Truncated));
        assert_eq!(parse(&[0x78, 0]), Err(H264Error::Truncated));
        assert_eq!(parse(&[0x79, 0, 0]), Err(H264Error::UnknownType(25)));
        assert_eq!(parse(&[0x1d, 0, 0]), Err(H264Error::UnknownType(29)));
        assert_eq!(parse(&[0xe7, 0]), Err(H264Error::Forbidden));
    }

    #[test]
    fn the_level_is_negotiated_downward_unless_it_may_differ() {
        let answer = |fmtp| negotiate(fmtp).unwrap();
        let ours = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
        assert_eq!(answer("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"), ours);
        assert_eq!(answer("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e034"), ours);
        let lower = answer("packetization-mode=1;profile-level-id=42e00b");
        assert_eq!(lower, "level-asymmetry-allowed=0;packetization-mode=1;profile-level-id=42e00b");
        let higher = answer("packetization-mode=1; profile-level-id=42E034");
        assert_eq!(higher, "level-asymmetry-allowed=0;packetization-mode=1;profile-level-id=42e01f");
        let b = answer("packetization-mode=1;profile-level-id=42f00b");
        assert!(b.ends_with("42f00b"), "1b stays 1b: {b}");
    }

    #[test]
    fn only_constrained_baseline_in_packetization_mode_1_is_taken() {
        for profile in ["42e01f", "42c01f", "4d801f", "58c01f"] {
            let fmtp = format!("packetization-mode=1;profile-level-id={profile}");
            assert!(negotiate(&fmtp).is_some_and(|answer| answer.contains("42e01f")), "{profile}");
        }
        for profile in ["42001f", "4d001f", "64001f", "640c1f", "f4001f", "42e0", "42e01g", "+2e01f"] {
            assert_eq!(
                negotiate(&format!("packetization-mode=1;profile-level-id={profile}")),
                None,
                "{profile}"
            );
        }
        assert_eq!(negotiate("packetization-mode=0;profile-level-id=42e01f"), None);
        assert_eq!(negotiate("profile-level-id=42e01f"), None);
        assert_eq!(negotiate("packetization-mode=1"), None);
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        check(vec(any::<u8>(), 0..64), |mut payload| {
            _ = parse(&payload);
            if let Some(first) = payload.first_mut() {
                *first = 0x67;
            }
            _ = parse(&payload);
        });
    }
}
