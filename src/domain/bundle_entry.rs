//! The words with which Sigstore clients mark a bundle in a registry.
//!
//! Source: cosign, `pkg/oci/remote/write.go` and `pkg/oci/remote/signatures.go`.

/// The media type of the bundles that are written.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The prefix of the media type of a bundle of any version.
const BUNDLE_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// The annotation that names the predicate type of a bundle.
pub const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// The predicate type that makes a statement a signature and not an attestation.
pub const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Reports whether this is the type of a bundle.
#[must_use]
pub fn is_bundle_type(artifact_type: &str) -> bool {
    artifact_type.starts_with(BUNDLE_TYPE_PREFIX)
}

/// Returns the predicate type, if it says that the bundle is no signature.
#[must_use]
pub fn other_predicate(predicate: Option<&str>) -> Option<&str> {
    predicate.filter(|predicate| *predicate != SIGN_PREDICATE)
}
