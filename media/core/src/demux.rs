//! Which protocol a datagram on the shared port belongs to (RFC 7983, RFC 5761). It looks at two bytes and nothing else.

/// The protocols that share one UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatagramKind {
    /// A STUN message (RFC 8489).
    Stun,
    /// One or more DTLS records (RFC 6347).
    Dtls,
    /// An SRTP packet (RFC 3711).
    Rtp,
    /// An SRTCP packet (RFC 3711).
    Rtcp,
}

/// Sorts `datagram` by its first byte (RFC 7983 section 7), and RTP from RTCP by its second (RFC 5761 section 4).
///
/// `None` is what this server does not speak: ZRTP, TURN channels, QUIC, and what is too short to tell.
#[inline]
#[must_use]
pub fn classify(datagram: &[u8]) -> Option<DatagramKind> {
    match *datagram {
        [128..=191, 192..=223, ..] => Some(DatagramKind::Rtcp),
        [128..=191, _, ..] => Some(DatagramKind::Rtp),
        [0..=3, ..] => Some(DatagramKind::Stun),
        [20..=63, ..] => Some(DatagramKind::Dtls),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_is_sorted_as_rfc_7983_says() {
        for first in 0..=u8::MAX {
            let expected = match first {
                0..=3 => Some(DatagramKind::Stun),
                20..=63 => Some(DatagramKind::Dtls),
                128..=191 => Some(DatagramKind::Rtp),
                _ => None,
            };
            assert_eq!(classify(&[first, 96, 0, 0]), expected, "first byte {first}");
        }
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_packet_type() {
        for second in 0..=u8::MAX {
            let expected = if (192..=223).contains(&second) { DatagramKind::Rtcp } else { DatagramKind::Rtp };
            assert_eq!(classify(&[0x80, second]), Some(expected), "second byte {second}");
        }
    }

    #[test]
    fn what_is_too_short_to_tell_is_nothing() {
        assert_eq!(classify(&[]), None);
        assert_eq!(classify(&[0x80]), None);
    }
}
