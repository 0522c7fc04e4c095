//! The AV1 aggregation header (AV1 RTP specification 1.0, section 4.4). Layers are told by the dependency descriptor beside
//! it ([`crate::dependency`]); nothing of a payload is rewritten.

/// Why a payload is not AV1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Av1Error {
    /// The payload ends before its elements do.
    #[error("AV1 payload is cut off")]
    Truncated,
    /// A new sequence cannot begin with the rest of an element (section 4.4).
    #[error("AV1 payload begins a sequence with the rest of an element")]
    BeginsInTheMiddle,
    /// A size of more bytes than 32 bits take.
    #[error("AV1 element size is too large")]
    Size,
}

/// What an aggregation header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Av1Packet {
    /// Z: the first element goes on from the packet before.
    pub continues: bool,
    /// Y: the last element goes on in the next packet.
    pub is_continued: bool,
    /// N: the first packet of a coded video sequence, which needs nothing before it.
    pub starts_sequence: bool,
    /// W: how many elements there are, where that is said; 0 where each has its size.
    pub elements: u8,
}

/// Reads the aggregation header at the start of an RTP payload, and follows the sizes of the elements behind it.
///
/// # Errors
/// What is wrong with it; the payload may be empty.
#[inline]
pub fn parse(payload: &[u8]) -> Result<Av1Packet, Av1Error> {
    let (&header, elements) = payload.split_first().ok_or(Av1Error::Truncated)?;
    let found = Av1Packet {
        continues: header & 0x80 != 0,
        is_continued: header & 0x40 != 0,
        starts_sequence: header & 0x08 != 0,
        elements: header >> 4 & 0x03,
    };
    if found.starts_sequence && found.continues {
        return Err(Av1Error::BeginsInTheMiddle);
    }
    check_elements(elements, found.elements)?;
    Ok(found)
}

/// All elements have a size before them but the last of a number that is told.
fn check_elements(mut rest: &[u8], told: u8) -> Result<(), Av1Error> {
    let mut seen = 0_u8;
    while !rest.is_empty() {
        // More than are ever told.
        seen = seen.saturating_add(1);
        if told != 0 && seen == told {
            return Ok(());
        }
        let (size, after) = leb128(rest)?;
        rest = after.get(size..).ok_or(Av1Error::Truncated)?;
    }
    if seen < told.max(1) { Err(Av1Error::Truncated) } else { Ok(()) }
}

/// leb128() of the AV1 bitstream specification, section 4.10.5.
fn leb128(bytes: &[u8]) -> Result<(usize, &[u8]), Av1Error> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().enumerate().take(8) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| Av1Error::Size)?;
            return Ok((value as usize, &bytes[at + 1..]));
        }
    }
    Err(if bytes.len() < 8 { Av1Error::Truncated } else { Av1Error::Size })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::any;

    use super::*;
    use crate::testing::check;

    #[test]
    fn the_first_packet_of_a_sequence_is_known() {
        let found = parse(&[0x28, 0x02, 0x0a, 0x00, 0x30, 0x01]).unwrap();
        assert!(found.starts_sequence && !found.continues && !found.is_continued);
        assert_eq!(found.elements, 2);
        assert!(!parse(&[0x10, 0x30]).unwrap().starts_sequence);
        let middle = parse(&[0xd0, 0x30]).unwrap();
        assert!(middle.continues && middle.is_continued);
        assert_eq!(parse(&[0x98, 0x0a]), Err(Av1Error::BeginsInTheMiddle));
    }

    #[test]
    fn elements_keep_to_their_sizes() {
        assert!(parse(&[0x00, 0x01, 0xff, 0x02, 0xff, 0xff]).is_ok());
        assert_eq!(parse(&[0x00, 0x01, 0xff, 0x03, 0xff, 0xff]), Err(Av1Error::Truncated));
        assert_eq!(parse(&[0x30, 0x01, 0xff]), Err(Av1Error::Truncated), "two of three");
        assert_eq!(parse(&[0x00, 0x80]), Err(Av1Error::Truncated));
        assert_eq!(parse(&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(Av1Error::Size));
        assert_eq!(parse(&[]), Err(Av1Error::Truncated));
        assert_eq!(parse(&[0x10]), Err(Av1Error::Truncated));
    }

    #[test]
    fn more_elements_than_fit_into_a_byte_are_followed_to_the_end() {
        let mut payload = vec![0x00; 300];
        assert!(parse(&payload).is_ok(), "299 empty ones");
        payload.push(0x01);
        assert_eq!(parse(&payload), Err(Av1Error::Truncated));
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        check(vec(any::<u8>(), 0..64), |payload| _ = parse(&payload));
    }
}
