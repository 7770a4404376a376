//! The placeholder: an empty index that takes the place of a tag's content before the tag is deleted, at registries that
//! delete only digests.
//!
//! It is the same everywhere, so a run recognizes it by its digest. A tag that points to it is being deleted and counts
//! as absent. To write it under a tag takes the right to push, with which the tag could also be made useless.

use crate::domain::{Digest, MediaType};

/// The bytes of the placeholder.
///
/// NOTE: they never change. The tags of a deletion that was cut short are recognized by their digest.
pub(super) const PLACEHOLDER: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"org.opencontainers.image.description":"A tag that points to this empty index is being deleted by manifest-seal."}}"#;
/// The media type of the placeholder.
pub(super) const PLACEHOLDER_TYPE: MediaType = MediaType::OciIndex;

/// Returns the digest of the placeholder.
pub(super) fn placeholder_digest() -> Digest {
    Digest::of(PLACEHOLDER)
}

/// True for the digest of the placeholder: a tag that points to it is being deleted.
#[must_use]
pub fn is_placeholder(digest: &Digest) -> bool {
    *digest == placeholder_digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Manifest, ManifestKind};

    #[test]
    fn placeholder_is_an_empty_index_with_the_digest_of_every_version() {
        let index = Manifest::parse(PLACEHOLDER.to_vec(), PLACEHOLDER_TYPE).unwrap();
        let is_empty =
            matches!(index.kind(), ManifestKind::Index { manifests, .. } if manifests.is_empty());
        assert!(is_empty, "{index:?}");
        assert_eq!(*index.digest(), placeholder_digest());
        let wanted = "sha256:3b29b8aab745b147e4cc6ab66b0ab173cac64e8559cf2f5875f0c3ddf653ff4a";
        assert_eq!(placeholder_digest().to_string(), wanted);
    }
}
