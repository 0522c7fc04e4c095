//! VP9 payload descriptors: reading never panics, and the numbers end where the whole does or before.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::vp9::{SPATIAL_LAYERS_MAX, parse};

fuzz_target!(|payload: &[u8]| {
    let Ok(descriptor) = parse(payload) else { return };
    assert!(descriptor.numbers_len <= descriptor.len && descriptor.len <= payload.len());
    assert!(descriptor.spatial_id() < 8 && descriptor.temporal_id() < 8 && descriptor.spatial_layers <= 8);
    assert!(descriptor.picture_id.is_none_or(|(id, wide)| id < if wide { 0x8000 } else { 0x80 }));
    if descriptor.spatial_layers == 0 {
        assert_eq!(descriptor.heights, [0; SPATIAL_LAYERS_MAX]);
    }
    // What is cut inside the descriptor is never taken for a whole one.
    assert!(parse(&payload[..descriptor.len - 1]).is_err());
    assert_eq!(parse(&payload[..descriptor.len]), Ok(descriptor));
});
