//! manifest-seal makes a multi-arch image index from per-platform digests, signs it keylessly with Sigstore and verifies
//! it. Every rerun ends in the same digest, one signature and the same tags.
//!
//! A run is one line, which [`run`] spells out:
//!
//! ```text
//! inputs  ->  plan  ->  commands (registry, sigstore)  ->  report
//! strings     decisions    effects                        words
//! ```
//!
//! One rule applies everywhere: **only vouched content is signed, tagged, published or restored.** Four things vouch for
//! a digest: an input, this run's own work, a signature that meets the policy, or a record whose digest is known from
//! outside of it. Other content that a registry, a record or another job names is only observed. It is skipped, refused
//! or reported. The type [`plan::Vouched`] enforces this rule.
//!
//! The table "Words" of `.github/CONTRIBUTING.md` explains the terms of the code.
//!
//! Each room has one job and states at its top what it must not depend on:
//!
//! - [`domain`]: the terms of the field. No input or output.
//! - [`inputs`]: strings in, types out; all errors of a run are reported together.
//! - [`plan`]: decisions as data: equal content, conflicts, pending writes.
//! - [`layout`]: images on disk.
//! - [`http`] and [`registry`]: the OCI distribution protocol. "Absent" is an answer there, "unknown" is an error.
//! - [`sigstore`]: keys, certificates, logs, timestamps and verification. It never calls a registry.
//! - [`record`]: a run's actions, on disk, for the next step and the next run.
//! - [`outcome`]: what a run found and changed, as data.
//! - [`context`]: the parts that all steps of a run share, and its record's reader and writer.
//! - [`referrers`]: lists what refers to an image, and adds to it, with or without the referrers API.
//! - [`signatures`]: finds, verifies, makes and stores signatures in registries.
//! - [`copy`]: copies images with everything that refers to them.
//! - [`commands`]: runs a request, one file for each command.
//! - [`report`]: outputs and summary, as pure text.
//! - [`actions`]: the runner, or a terminal in its place.
//! - [`failure`]: an exit code, a title and a hint for every failure.
//!
//! The library exists for the program's own tests and has no stable API.

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
pub mod commands;
pub mod context;
pub mod copy;
pub mod domain;
pub mod failure;
mod hints;
pub mod http;
pub mod inputs;
pub mod layout;
pub mod outcome;
pub mod plan;
#[cfg(test)]
mod properties;
pub mod record;
pub mod referrers;
mod refusal_hints;
pub mod registry;
pub mod report;
mod run;
pub mod signatures;
pub mod sigstore;

pub use run::{fail, run};
