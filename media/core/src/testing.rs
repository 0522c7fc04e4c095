//! Property tests that replay: the seed is fixed, and told when a property fails. It knows none of the properties.

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestRunner};

const SEED: u64 = 0x5eed_2026;

/// Runs `property` on many values of `strategy`; it fails by panicking.
///
/// `PROPTEST_RNG_SEED` takes another seed, `PROPTEST_CASES` more cases.
pub(crate) fn check<S>(strategy: S, property: impl Fn(S::Value))
where
    S: Strategy,
    S::Value: Debug,
{
    let mut config = Config { failure_persistence: None, ..Config::default() };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => SEED,
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        property(value);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("seed {seed}: {failure}");
    }
}
