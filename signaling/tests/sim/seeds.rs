//! What is fuzzed of this crate, over the seeds of the fuzz targets and what is near them: a sanitizer's build is not needed
//! to notice what a target once found.

use std::fs;
use std::path::Path;

use crate::trace::Rng;

#[path = "../../../tests/fuzz/bodies/frame.rs"]
mod frame;
#[path = "../../../tests/fuzz/bodies/session.rs"]
mod session;

/// Inputs that are made of each seed.
const NEAR_EACH: u64 = 500;

#[test]
fn the_seeds_of_frames_and_what_is_near_them() {
    over("frame", frame::run);
}

#[test]
fn the_seeds_of_sessions_and_what_is_near_them() {
    over("session", session::run);
}

fn over(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds").join(target);
    let files = fs::read_dir(folder).expect("the seeds are there");
    let mut seeds: Vec<Vec<u8>> =
        files.map(|file| fs::read(file.expect("a file").path()).expect("readable")).collect();
    seeds.sort();
    assert!(!seeds.is_empty());
    for (seed, number) in seeds.iter().zip(1..) {
        run(seed);
        for nth in 0..NEAR_EACH {
            run(&near(seed, &seeds, Rng::new(number << 32 | nth)));
        }
    }
}

/// A seed with some bytes changed, cut or doubled, or with another one behind it.
fn near(seed: &[u8], seeds: &[Vec<u8>], mut rng: Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.below(6) {
        let at = rng.below(bytes.len() + 1);
        match rng.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte(&mut rng)),
            2 => bytes.extend_from_within(at..),
            3 => bytes.extend_from_slice(&seeds[rng.below(seeds.len())]),
            _ => {
                if let Some(changed) = bytes.get_mut(at) {
                    *changed = byte(&mut rng);
                }
            }
        }
        bytes.truncate(4_096);
    }
    bytes
}

fn byte(rng: &mut Rng) -> u8 {
    rng.next().to_le_bytes()[0]
}
