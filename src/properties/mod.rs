//! Properties of every parser of outside text, for valid documents that are damaged in their bytes and in their JSON. A
//! parser must end soon and must not panic, and accepted input keeps the promise of its property.
//!
//! Every run makes the same documents; `PROPTEST_CASES` sets their number. A file that reads outside text and has no
//! property fails a test. Properties of parsers that are private to a room are in that room's tests.

mod damage;
mod every_parser;
mod public;

use std::time::{Duration, Instant};

use proptest::prelude::{Just, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

use damage::damaged;

/// The time limit for one document, for an unoptimized parser on a busy machine.
const SLOWEST: Duration = Duration::from_secs(10);

/// Defines the tests of parsers, `name in "file" { check }`, and lists the files in `FILES`.
macro_rules! properties {
    ($($name:ident in $file:literal $check:block)*) => {
        pub(crate) const FILES: &[&str] = &[$($file),*];
        $(#[test]
        fn $name() $check)*
    };
}
pub(crate) use properties;

/// Checks a parser of text. `accepts` reports whether a document was accepted. It panics if an accepted one breaks a rule.
pub(crate) fn of_text(seeds: &[&str], accepts: impl Fn(&str) -> bool) {
    of_bytes(seeds, |bytes| accepts(&String::from_utf8_lossy(bytes)));
}

/// Checks a parser of bytes, as `of_text` does. Every seed is valid and must be accepted.
pub(crate) fn of_bytes(seeds: &[impl AsRef<[u8]>], accepts: impl Fn(&[u8]) -> bool) {
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_ref().to_vec()).collect();
    for seed in &seeds {
        let shown = String::from_utf8_lossy(seed);
        assert!(accepts(seed), "what is right is not accepted: {shown}");
    }
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let documents = prop_oneof![20 => damaged(seeds), 1 => Just(damage::JsonDocument(Vec::new()))];
    let checked = TestRunner::new_with_rng(config, rng).run(&documents, |document| {
        let began = Instant::now();
        let _ = accepts(&document.0);
        let took = began.elapsed();
        (took < SLOWEST)
            .then_some(())
            .ok_or_else(|| TestCaseError::fail(format!("takes {took:?}")))
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}
