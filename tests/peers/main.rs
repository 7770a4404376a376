//! Tests of the same promises against software of others: five registries, Fulcio, Rekor v1 and v2, a timestamp
//! authority, cosign, crane, regctl, buildx. `tests/peers/run` starts all of it and runs this. Nothing works here without
//! it, so the target is left out of a plain `cargo test`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on ends where it stands, and counts are printed for the reader"
)]

mod alone;
mod benchmark;
mod cleanup;
mod concurrency;
mod conformance;
mod container;
mod convergence;
mod copies;
mod features;
mod foreign;
mod http2;
mod interoperability;
mod legacy;
mod publish;
mod runner;
mod sandboxed;
mod several;
mod support;
mod tampering;
