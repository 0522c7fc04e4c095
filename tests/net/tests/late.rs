//! What is held, for how long, and in which order it goes on.

use vestibule_testnet::{Held, LateStreams};

fn rtp(ssrc: u32) -> Vec<u8> {
    [&[0x90, 0x80 | 96, 0, 1, 0, 0, 0, 2][..], &ssrc.to_be_bytes()].concat()
}

fn rtcp(packet_type: u8, ssrc: u32) -> Vec<u8> {
    [&[0x81, packet_type, 0, 1][..], &ssrc.to_be_bytes()].concat()
}

#[test]
fn rtp_and_rtcp_are_told_apart_and_belong_to_who_sends_them() {
    let late = LateStreams::from_text("150 7 9").unwrap_or_default();
    for datagram in [rtp(7), rtp(9), rtcp(200, 7), rtcp(205, 9)] {
        assert_eq!(late.late_us(&datagram), 150_000, "{datagram:?}");
    }
    // DTLS and STUN have other first bytes; what is cut off says nothing.
    let dtls = [&[22, 254, 253, 0, 0, 0, 0, 0][..], &7_u32.to_be_bytes()].concat();
    for datagram in [rtp(8), rtcp(200, 8), dtls, rtp(7)[..11].to_vec(), rtcp(200, 7)[..7].to_vec(), vec![]] {
        assert_eq!(late.late_us(&datagram), 0, "{datagram:?}");
    }
}

#[test]
fn without_streams_nothing_is_late() {
    for text in ["", "150", "0 7"] {
        let late = LateStreams::from_text(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(late.late_us(&rtp(7)), 0, "{text}");
    }
}

#[test]
fn what_is_held_goes_on_in_order_and_not_before_its_time() {
    let mut held = Held::default();
    assert_eq!(held.next_at(), None);
    assert!(held.hold(200, vec![1]));
    // The rule was changed, and asks for less: who came first still goes first.
    assert!(held.hold(150, vec![2]));
    assert_eq!(held.poll(199), None);
    assert_eq!(held.next_at(), Some(200));
    assert_eq!(held.poll(200), Some(vec![1]));
    assert_eq!(held.poll(200), Some(vec![2]));
    assert_eq!(held.poll(1_000), None);
}
