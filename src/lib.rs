//! manifest-seal makes a multi-arch image index from per-platform digests, signs it keylessly with Sigstore, verifies it,
//! and ends in the same digest, one signature and the same tags however often it is run.
//!
//! The whole of it is one line, which [`run`] spells out:
//!
//! ```text
//! inputs  ->  plan  ->  apply (registry, signing)  ->  report
//! strings     decisions    effects                     words
//! ```
//!
//! One rule stands above all of it: **only what is vouched for is signed, tagged, published or restored.** An input, this
//! run's own work, a signature that meets the policy, or a record whose digest is known from outside vouches for a digest;
//! everything else that a registry, a record or another job says is observed, and decides no more than what is skipped,
//! refused or reported. [`plan::Vouched`] is that rule as a type.
//!
//! Each room has one job and says at its door what it refuses to know:
//!
//! - [`domain`]: the words of the trade. No input or output.
//! - [`inputs`]: strings in, proof out; every error of a run is reported together.
//! - [`plan`]: decisions as data. What is the same, what is a conflict, what is written.
//! - [`layout`]: images on disk.
//! - [`http`] and [`registry`]: the OCI distribution protocol, in which absence is an answer and ignorance is an error.
//! - [`signing`]: Sigstore. It never meets a registry.
//! - [`record`]: what a run did, on disk, for the next step and the next run.
//! - [`apply`]: walks a request through registry and signing; the one place where anything is changed.
//! - [`report`]: outputs and summary, as pure text.
//! - [`actions`]: the runner, or whatever stands in for it.
//! - [`failure`]: an exit code, a title and a cure for everything that can go wrong.
//!
//! The library exists for the program's own tests and promises nothing to anybody else.

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
#[cfg(test)]
mod fuzz;
mod hints;
pub mod http;
pub mod inputs;
pub mod layout;
pub mod plan;
pub mod record;
pub mod registry;
pub mod report;
mod run;
pub mod signing;

pub use run::{fail, run};
