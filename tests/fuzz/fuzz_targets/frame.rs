//! A frame of a client; what is tried with it also runs over the seeds in the signaling crate's tests.
#![no_main]

#[path = "../bodies/frame.rs"]
mod frame;

libfuzzer_sys::fuzz_target!(|data: &[u8]| frame::run(data));
