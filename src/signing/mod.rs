//! Sigstore: signs a digest keylessly and says who signed one. It knows how to get a certificate, a log entry and a
//! timestamp, and what makes a bundle hold. It knows nothing of registries, inputs or Actions: signatures are bytes and annotations.
//!
//! Each service is asked by this room's own requests, with bounded answers and retries of their own, so that a step that
//! is tried again reuses what the steps before it gave. Formats and cryptography are the `sigstore-*` crates'.

mod error;
mod exchange;
mod identity;
mod keyless;
mod legacy;
mod log;
mod own;
mod payload;
mod pem;
mod policy;
mod provenance;
mod refusal;
mod retry;
mod services;
mod session;
mod signed;
mod statement;
mod surplus;
mod timestamp;
mod token;
mod trust;
mod tuf;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

pub use error::{Fault, SigningError, TrustError};
pub use keyless::{Keyless, Signature};
pub use legacy::{LegacySignature, verify_legacy};
pub use own::OwnIdentity;
pub use policy::check_caller;
pub use provenance::{Provenance, verify_legacy_origin, verify_statement};
pub use refusal::{Refusal, Signer};
pub use statement::SIGN_PREDICATE;
pub use token::{Caller, TokenSource};
pub use trust::{Purpose, Trust, TrustSource};
pub use verify::{Authentic, Verified, verify};
