//! manifest-seal
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test may fail by panicking"
    )
)]

pub mod actions;
pub mod apply;
pub mod domain;
pub mod failure;
pub mod http;
pub mod inputs;
pub mod plan;
pub mod record;
pub mod registry;
pub mod signing;
