//! What the program promises, held against the program itself: each test runs the binary as GitHub's runner does,
//! against a registry and a Sigstore on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail by panicking, and says what it counted"
)]

mod support;

mod attack;
mod boundaries;
mod budget;
mod contract;
mod create;
mod credentials;
mod faults;
mod forgeries;
mod hostile;
mod inputs;
mod outages;
mod record;
mod referrers;
mod report;
mod sign;
mod tags;
mod tokens;
mod verify;
