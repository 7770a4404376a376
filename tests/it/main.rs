//! The program from outside: promises through the real binary, run as GitHub's runner runs it, against a registry and
//! a Sigstore on loopback; and the rules that the tree keeps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail by panicking, and says what it counted"
)]

mod support;

mod aws;
mod boundaries;
mod contract;
mod create;
mod faults;
mod outages;
mod services;
mod sign;
mod tags;
mod trace;
mod verify;
