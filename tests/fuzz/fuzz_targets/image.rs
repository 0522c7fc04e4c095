//! Images that patients send: taking one apart never panics, and what was stripped stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../src/images/mod.rs"]
mod images;

fuzz_target!(|file: &[u8]| {
    if let Ok(image) = images::Image::take(file) {
        let again = images::Image::take(&image.bytes).expect("what was written can be read");
        assert_eq!(again, image);
    }
});
