//! The signatures that `publish` has verified before it copies. They spare a second look at what the run stores itself.

use std::collections::BTreeMap;

use crate::context::ReadContext;
use crate::domain::{Digest, Repository, SignatureFormat};
use crate::outcome::{Outcome, SignatureLocation, Subject};
use crate::signatures::lookup::{FoundSignature, is_listed};
use crate::sigstore::Verified;

/// A signature that counts.
#[derive(Debug, Clone)]
pub(super) struct KnownSignature {
    pub(super) signer: Verified,
    pub(super) location: SignatureLocation,
}

impl KnownSignature {
    pub(super) fn of(found: &FoundSignature) -> Self {
        Self {
            signer: found.content.signer().clone(),
            location: found.location.clone(),
        }
    }
}

/// Signatures that count, by the place that has them.
#[derive(Debug, Default)]
pub(super) struct KnownSignatures {
    at_source: BTreeMap<Digest, KnownSignature>,
    at_destinations: BTreeMap<Subject, KnownSignature>,
}

impl KnownSignatures {
    /// Notes a signature that a source has.
    pub(super) fn note_at_source(&mut self, subject: &Digest, signature: KnownSignature) {
        self.at_source.insert(subject.clone(), signature);
    }

    /// Notes a signature that a destination has.
    pub(super) fn note_at(
        &mut self,
        repository: Repository,
        subject: &Digest,
        signature: KnownSignature,
    ) {
        let subject = Subject {
            repository,
            digest: subject.clone(),
        };
        self.at_destinations.insert(subject, signature);
    }

    /// Returns the signature of a subject that needs no verification again: the repository had it, or it lists what this
    /// run has stored there.
    pub(super) async fn signature_of(
        &self,
        context: &ReadContext,
        subject: &Subject,
        outcome: &Outcome,
    ) -> Option<&KnownSignature> {
        if let Some(known) = self.at_destinations.get(subject) {
            return Some(known);
        }
        let known = self.at_source.get(&subject.digest)?;
        let SignatureLocation {
            format, manifest, ..
        } = &known.location;
        // The manifest of an older signature changes with each of them.
        let is_stored =
            *format == SignatureFormat::Bundle && outcome.has_copied(&subject.repository, manifest);
        let is_known = is_stored && is_listed(context, subject, manifest).await;
        is_known.then_some(known)
    }
}
