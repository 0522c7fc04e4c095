//! A live session under any inputs; what is tried also runs over the seeds in the signaling crate's tests.
#![no_main]

#[path = "../bodies/session.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|data: &[u8]| session::run(data));
