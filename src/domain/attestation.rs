//! The `BuildKit` annotations that mark a child of an index as an attestation of another child.
//!
//! Source: `BuildKit`, "Attestation storage".

use std::collections::BTreeMap;

use super::{Descriptor, Digest, Platform};

const TYPE_KEY: &str = "vnd.docker.reference.type";
const TYPE: &str = "attestation-manifest";
const DIGEST_KEY: &str = "vnd.docker.reference.digest";

impl Descriptor {
    /// Returns the digest that this child of an index attests, if it is an attestation. Its platform must be unknown
    /// and both annotations must be present. The caller still has to check that the digest is a platform child of the
    /// same index.
    #[must_use]
    pub fn attests(&self) -> Option<Digest> {
        let unknown = self.platform.as_ref().is_some_and(Platform::is_unknown);
        let marked = self
            .annotations
            .get(TYPE_KEY)
            .is_some_and(|text| text == TYPE);
        let named = self.annotations.get(DIGEST_KEY)?.parse().ok()?;
        (unknown && marked).then_some(named)
    }

    /// Returns this descriptor as the child of an index that attests `of`.
    #[must_use]
    pub fn attesting(self, of: &Digest) -> Self {
        Self {
            platform: Some(Platform::new("unknown", "unknown", None)),
            annotations: BTreeMap::from([
                (DIGEST_KEY.to_owned(), of.to_string()),
                (TYPE_KEY.to_owned(), TYPE.to_owned()),
            ]),
            ..self
        }
    }
}
