//! What a run found and did, kept up to date while it happens, so that a run which fails half-way still tells.

use std::collections::BTreeMap;

use super::{ApplyError, Context};
use crate::domain::{Digest, MediaType, Repository, SignatureFormat, Tag};
use crate::plan::{Child, Conflict, PlatformMap, TagKind, TagStep};
use crate::record::{ImageRecord, PlatformRecord, SignatureRecord, TagRecord, TagState};
use crate::signing::Verified;

/// What became of a run: what it did, and what stopped it, where something did. The one never hides the other.
#[derive(Debug)]
pub struct Outcome {
    /// What it found and did.
    pub receipt: Receipt,
    /// What stopped it.
    pub failure: Option<ApplyError>,
}

/// What a run found and did.
#[derive(Debug, Default)]
pub struct Receipt {
    /// The index, once it is known.
    pub index: Option<IndexReceipt>,
    /// Every tag, in the order of the inputs.
    pub tags: Vec<TagReceipt>,
    /// Tags that hold something else.
    pub conflicts: Vec<Conflict>,
    /// Whether signing was asked for.
    pub signing: bool,
    /// Signatures that were found or made.
    pub signatures: Vec<SignatureReceipt>,
    /// What was to be signed and is not, with the reason, where the inputs let the run go on.
    pub unsigned: Vec<(Digest, String)>,
    /// Images that verification accepted, or that were signed by `sign`.
    pub subjects: Vec<Subject>,
    /// Whether every digest that matters has a verified signature.
    pub verified: bool,
    /// Whether this was only a plan.
    pub planned: bool,
}

/// Something that was signed or verified by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Where it is.
    pub repository: Repository,
    /// What it is.
    pub digest: Digest,
}

/// An index in a repository.
#[derive(Debug, Clone)]
pub struct IndexReceipt {
    /// Where.
    pub repository: Repository,
    /// Its digest.
    pub digest: Digest,
    /// Its kind.
    pub media_type: MediaType,
    /// What runs where.
    pub platforms: PlatformMap,
    /// Every digest in it that is not in `platforms`.
    pub attestations: Vec<Digest>,
    /// Every digest in it, by the input that it came from.
    pub children: BTreeMap<Digest, Vec<Digest>>,
    /// Whether the registry had it before.
    pub was_there: bool,
}

/// A tag's step, and how far it got.
#[derive(Debug, Clone)]
pub struct TagReceipt {
    /// What was to be done.
    pub step: TagStep,
    /// How far it got.
    pub state: TagState,
}

/// Where a signature is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// How.
    pub format: SignatureFormat,
    /// The manifest that holds it.
    pub manifest: Digest,
    /// What tells it from the others in that manifest, which changes with each: the digest of the signature as it is
    /// written there. Only legacy signatures share a manifest.
    pub signature: Option<Digest>,
}

/// A signature that was found or made.
#[derive(Debug, Clone)]
pub struct SignatureReceipt {
    /// What is signed.
    pub subject: Subject,
    /// Who signed, and where the log has it.
    pub signer: Verified,
    /// Where it is stored.
    pub place: Place,
    /// Whether this run made it.
    pub made: bool,
}

impl Place {
    /// What a signature is known by: its own digest where it shares a manifest, else the manifest's.
    #[must_use]
    pub fn id(&self) -> &Digest {
        self.signature.as_ref().unwrap_or(&self.manifest)
    }
}

impl Receipt {
    /// Whether any tag was written, or would be.
    #[must_use]
    pub fn writes_tags(&self) -> bool {
        self.tags.iter().any(|tag| tag.step.writes())
    }

    /// Notes that a tag was written.
    pub(super) fn mark_written(&mut self, tag: &Tag) {
        for known in self.tags.iter_mut().filter(|known| known.step.tag == *tag) {
            known.state = TagState::Written;
        }
    }

    /// Notes that something was signed.
    pub(super) fn note_signature(&mut self, context: &Context, signature: SignatureReceipt) {
        let signer = &signature.signer;
        let place = signer
            .log_index
            .map_or(String::new(), |index| format!(", log index {index}"));
        context.events.note(format!(
            "signed `{}` as `{}` ({}){place}",
            signature.subject.digest, signer.identity, signature.place.format
        ));
        self.signatures.push(signature);
    }

    /// Notes that digests stay unsigned because of `error`, which the inputs let pass.
    pub(super) fn go_on_unsigned<'a>(
        &mut self,
        context: &Context,
        digests: impl Iterator<Item = &'a Digest>,
        error: &ApplyError,
    ) {
        let reason = crate::failure::chain_text(error);
        for digest in digests {
            context
                .events
                .warn(format!("`{digest}` stays unsigned: {reason}"));
            self.unsigned.push((digest.clone(), reason.clone()));
        }
    }

    /// What the record says of this run, once the index is known.
    #[must_use]
    pub(super) fn record(&self) -> Option<ImageRecord> {
        let index = self.index.as_ref()?;
        let platform = |(platform, child): (&_, &Child)| PlatformRecord {
            platform: ToString::to_string(platform),
            digest: child.digest.clone(),
        };
        let tag = |tag: &TagReceipt| TagRecord {
            tag: tag.step.tag.to_string(),
            moving: tag.step.kind == TagKind::Moving,
            before: tag.step.before.clone(),
            after: tag.step.after.clone(),
            state: tag.state,
        };
        Some(ImageRecord {
            image: index.repository.to_string(),
            digest: index.digest.clone(),
            media_type: index.media_type.clone(),
            platforms: index.platforms.iter().map(platform).collect(),
            attestations: index.attestations.clone(),
            tags: self.tags.iter().map(tag).collect(),
            signatures: self
                .signatures
                .iter()
                .map(SignatureReceipt::record)
                .collect(),
        })
    }
}

impl SignatureReceipt {
    /// What the record says of this signature.
    #[must_use]
    pub(super) fn record(&self) -> SignatureRecord {
        SignatureRecord {
            subject: self.subject.digest.clone(),
            format: self.place.format.as_str().to_owned(),
            manifest: Some(self.place.manifest.clone()),
            signature: self.place.signature.clone(),
            identity: self.signer.identity.clone(),
            issuer: self.signer.issuer.clone(),
            log_index: self.signer.log_index,
            made: self.made,
        }
    }
}
