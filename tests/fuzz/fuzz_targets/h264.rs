//! H264 payloads and format parameters: reading never panics, and what is answered is taken again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::h264::{negotiate, parse};

fuzz_target!(|payload: &[u8]| {
    if let Ok(packet) = parse(payload) {
        assert!(packet.height.is_none() || packet.has_sps);
    }
    let Ok(fmtp) = std::str::from_utf8(payload) else { return };
    if let Some(answer) = negotiate(fmtp) {
        assert_eq!(negotiate(&answer).as_deref(), Some(answer.as_str()));
    }
});
