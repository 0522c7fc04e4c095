//! Redundant payloads (RFC 2198): reading never panics, and every byte is in a header or in one block.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::red::{BLOCKS_MAX, parse};

fuzz_target!(|payload: &[u8]| {
    let Some((blocks, count)) = parse(payload) else { return };
    assert!((1..=BLOCKS_MAX).contains(&count));
    let blocks = &blocks[..count];
    let held: usize = blocks.iter().map(|block| block.payload.len()).sum();
    assert_eq!(4 * (count - 1) + 1 + held, payload.len());
    assert!(blocks.iter().all(|block| block.payload_type < 128 && block.offset < 1 << 14));
    assert_eq!(blocks[count - 1].offset, 0, "the last is the packet's own");
});
