//! Dependency descriptors, several in a row: each may bring the structure the next ones are read by.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::dependency::{
    DECODE_TARGETS_MAX, Indication, LAYERS_MAX, has_structure, parse, parse_without_structure,
    write_frame_number,
};

fuzz_target!(|input: &[u8]| {
    let mut structure = None;
    let mut rest = input;
    while let Some((&len, after)) = rest.split_first() {
        let (bytes, after) = after.split_at(after.len().min(len.into()));
        rest = after;
        let before = structure.clone();
        let Ok(read) = parse(bytes, &mut structure) else {
            assert_eq!(structure, before, "what cannot be read changes nothing");
            continue;
        };
        assert!(has_structure(bytes) || structure == before);
        assert!(read.spatial < LAYERS_MAX && read.temporal < LAYERS_MAX);
        assert_eq!(read.indications.of(DECODE_TARGETS_MAX as u8), Indication::NotPresent);
        let least = parse_without_structure(bytes).expect("it has the mandatory fields");
        assert_eq!((least.start, least.end, least.frame_number), (read.start, read.end, read.frame_number));
        let known = structure.as_ref().expect("it was read by one");
        for (spatial, temporal) in [(0, 0), (1, 1), (3, 3)] {
            if let Some(target) = known.target_within(spatial, temporal) {
                let (s, t) = known.layers_of(target);
                assert!(target < known.targets() && s <= spatial && t <= temporal);
            }
        }
        let mut written = bytes.to_vec();
        write_frame_number(&mut written, read.frame_number.wrapping_add(1));
        let again = parse(&written, &mut structure).expect("nothing else has changed");
        assert_eq!(again.frame_number, read.frame_number.wrapping_add(1));
    }
});
