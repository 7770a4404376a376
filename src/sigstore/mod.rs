//! Sigstore: signs a digest keylessly, and verifies signatures of a digest. This room gets certificates, log entries
//! and timestamps, and validates bundles. It uses no registry, inputs or Actions: signatures are bytes and annotations.
//!
//! This room sends its own requests, with limits on responses and with retries. A step that is retried reuses the
//! results of earlier steps. Formats and cryptography come from the `sigstore-*` crates.

mod endpoint;
mod error;
mod identity;
mod keyless;
mod legacy;
mod log;
mod own;
mod payload;
mod pem;
mod policy;
mod protojson;
mod refusal;
mod retry;
mod service_client;
mod services;
mod signed;
mod signing_certificate;
mod source_policy;
mod statement;
mod timestamp;
mod token;
mod trust;
mod tuf;
mod unsigned_content;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

pub use error::{SigstoreError, SigstoreErrorKind, TrustError};
pub use keyless::{Keyless, Signature};
pub use legacy::{LegacySignature, SIGNATURE_ANNOTATION, verify_legacy};
pub use own::OwnIdentity;
pub use policy::check_identity;
pub use refusal::{ObservedSigner, VerificationError};
pub use source_policy::{
    SourcePolicy, check_nothing_extra_in_bundle, check_nothing_extra_in_legacy,
    verify_legacy_origin, verify_statement,
};
pub use token::{TokenSource, WorkflowIdentity};
pub use trust::{Purpose, Trust, TrustSource};
pub use verify::{Authentic, Verified, verify};
