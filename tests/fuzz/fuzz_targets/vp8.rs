//! VP8 payload descriptors: reading never panics, and the canonical form keeps what it can say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::vp8::{
    CANONICAL_DESCRIPTOR_LEN, CanonicalDescriptor, is_keyframe, keyframe_size, parse, write_canonical,
};

fuzz_target!(|payload: &[u8]| {
    let Ok(descriptor) = parse(payload) else { return };
    assert!(descriptor.len <= payload.len());
    if keyframe_size(payload, &descriptor).is_some() {
        assert!(is_keyframe(payload, &descriptor));
    }
    let (temporal_id, layer_sync) = descriptor.temporal.unwrap_or_default();
    let canonical = CanonicalDescriptor {
        non_reference: descriptor.non_reference,
        start_of_partition: descriptor.start_of_partition,
        partition_index: descriptor.partition_index,
        picture_id: descriptor.picture_id.map_or(0, |id| id.value),
        tl0_picture_index: descriptor.tl0_picture_index.unwrap_or(0),
        temporal_id,
        layer_sync,
    };
    let mut out = [0; CANONICAL_DESCRIPTOR_LEN];
    assert!(write_canonical(&mut out, &canonical));
    let again = parse(&out).expect("what was written can be read");
    assert_eq!(again.len, CANONICAL_DESCRIPTOR_LEN);
    assert_eq!(again.start_of_partition, descriptor.start_of_partition);
    assert_eq!(again.partition_index, descriptor.partition_index);
    assert_eq!(again.non_reference, descriptor.non_reference);
    assert_eq!(again.picture_id.map(|id| id.value), Some(canonical.picture_id));
    assert_eq!(again.temporal, Some((temporal_id, layer_sync)));
    assert_eq!(again.key_index, None);
});
