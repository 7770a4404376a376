//! The program from outside: promises through the real binary, and the rules that the tree keeps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod boundaries;
mod contract;
