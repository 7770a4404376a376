//! The signatures that `publish` has verified before it copies. A bundle is the same wherever it is, so it need not be verified
//! again where the run has copied it, but be there.

use std::collections::BTreeMap;

use crate::context::ReadContext;
use crate::domain::{Digest, Reference};
use crate::outcome::{SignatureLocation, Subject};
use crate::signatures::candidates::SIGNATURE_MAX_BYTES;
use crate::signatures::lookup::{FoundSignature, SignatureContent, is_listed};
use crate::sigstore::Verified;

/// A signature that counts.
#[derive(Debug, Clone)]
pub(super) struct KnownSignature {
    pub(super) signer: Verified,
    pub(super) location: SignatureLocation,
    /// The digest of the bundle. Legacy signatures have none, and share a manifest that changes with each of them.
    bundle: Option<Digest>,
}

/// Signatures that count, by the digest of the image.
#[derive(Debug, Default)]
pub(super) struct KnownSignatures(BTreeMap<Digest, KnownSignature>);

impl KnownSignature {
    pub(super) fn of(found: &FoundSignature) -> Self {
        let bundle = match &found.content {
            SignatureContent::Bundle(signature) => Some(Digest::of(&signature.bundle)),
            SignatureContent::Legacy(_) => None,
        };
        Self {
            signer: found.content.signer().clone(),
            location: found.location.clone(),
            bundle,
        }
    }
}

impl KnownSignatures {
    /// Notes a signature of an image.
    pub(super) fn note(&mut self, image: Digest, signature: KnownSignature) {
        self.0.insert(image, signature);
    }

    /// Returns the known signature of an image, if its repository lists it and serves all of it. `None` is not an answer:
    /// only a lookup can report why, or find another signature.
    pub(super) async fn signature_of(
        &self,
        context: &ReadContext,
        subject: &Subject,
    ) -> Option<&KnownSignature> {
        let known = self.0.get(&subject.digest)?;
        let (bundle, manifest) = (known.bundle.as_ref()?, &known.location.manifest);
        let (registry, repository) = (&context.registry, &subject.repository);
        let reference = Reference::Digest(manifest.clone());
        let (is_listed, manifest, bundle) = tokio::join!(
            is_listed(context, subject, manifest),
            registry.manifest(repository, &reference),
            registry.blob(repository, bundle, SIGNATURE_MAX_BYTES),
        );
        let is_there = is_listed && matches!((manifest, bundle), (Ok(Some(_)), Ok(Some(_))));
        is_there.then_some(known)
    }
}
