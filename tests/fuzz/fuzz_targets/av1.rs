//! AV1 aggregation headers: reading never panics, and a sequence begins with a whole element.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::av1::parse;

fuzz_target!(|payload: &[u8]| {
    if let Ok(packet) = parse(payload) {
        assert!(payload.len() > 1 && packet.elements <= 3);
        assert!(!(packet.starts_sequence && packet.continues));
    }
});
