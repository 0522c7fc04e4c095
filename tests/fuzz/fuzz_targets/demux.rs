//! One datagram as it comes from the socket, through the reader it is sorted to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::demux::{DatagramKind, classify};
use vestibule_media_core::{rtcp, rtp::RtpHeader, stun};

fuzz_target!(|datagram: &[u8]| {
    match classify(datagram) {
        Some(DatagramKind::Stun) => _ = stun::parse(datagram).is_ok(),
        Some(DatagramKind::Rtp) => _ = RtpHeader::parse(datagram).is_ok(),
        Some(DatagramKind::Rtcp) => _ = rtcp::packets(datagram).count(),
        Some(DatagramKind::Dtls) | None => {}
    }
});
