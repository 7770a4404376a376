//! The protocol of 2026 and the options for it, from a client's view.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod algorithms;
mod children;
mod conditions;
mod gitlab;
mod redirects;
#[path = "../support/mod.rs"]
mod support;
mod tag_parameter;
