//! The vocabulary of the domain: digests, references, manifests, platforms, secrets, and the events of a run. No input
//! or output happens here; every type is proof that its grammar was checked once.

mod attestation;
mod bundle_entry;
mod digest;
mod error_chain;
mod events;
mod full_tag;
mod loopback;
mod manifest;
mod media_type;
mod object;
mod platform;
mod policy;
mod reference;
mod retry_policy;
mod secret;
mod signature;
mod source_repository;
mod tag_content;
mod token_absence;
mod trace;
mod visible;

pub use bundle_entry::{
    BUNDLE_TYPE, PREDICATE_TYPE, SIGN_PREDICATE, is_bundle_type, other_predicate,
};
pub use digest::{Algorithm, Digest, DigestError, Digester};
pub use error_chain::chain_text;
pub use events::{Event, Events};
pub use full_tag::FullTag;
pub use loopback::{is_loopback, may_be_loopback};
pub use manifest::{
    Descriptor, EMPTY_CONFIG, EMPTY_CONFIG_TYPE, IMAGE_CONFIG_TYPE, ImageConfig, Manifest,
    ManifestError, ManifestKind, has_lost_texts, version_label,
};
pub use media_type::MediaType;
pub(crate) use object::StrictObject;
pub use platform::{ContradictedPlatform, Platform, PlatformError};
pub use policy::{GithubClaims, Matcher, PatternError, Policy};
pub use reference::{DigestTag, Host, ImageReference, Reference, ReferenceError, Repository, Tag};
pub use retry_policy::RetryPolicy;
pub use secret::Secret;
pub use signature::SignatureFormat;
pub use source_repository::SourceRepository;
pub use tag_content::{TagContent, Unusable};
pub use token_absence::TokenAbsence;
pub use trace::{LimitTrace, RequestTrace};
pub use visible::visible;
