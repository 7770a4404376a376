//! Signatures in registries: finds and verifies them, makes the missing ones, stores them in either format, and waits
//! until they are stable.

mod attach;
pub(crate) mod candidates;
mod error;
pub(crate) mod legacy;
pub(crate) mod legacy_attach;
pub(crate) mod legacy_layer;
pub(crate) mod legacy_manifest;
pub(crate) mod lookup;
mod one_at_first;
mod outages;
pub(crate) mod recorded;
pub(crate) mod refused;
pub(crate) mod signable;
pub(crate) mod signer;
mod signing_context;
mod step;
mod storable_signature;
pub(crate) mod unsigned;
mod verifying_context;

pub use error::SignatureError;
pub use signing_context::SigningContext;
pub use verifying_context::{GITHUB_ISSUER, VerifyingContext};
