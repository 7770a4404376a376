//! The findings and changes of a run, updated while it happens. A run that fails half-way still reports them.
//!
//! This room contains only data. It must not depend on requests or error types; errors are kept as text.

mod cleanup;
mod preflight;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::domain::{Digest, Events, FullTag, MediaType, Repository, SignatureFormat};
use crate::plan::{Child, Conflict, PlatformMap, TagKind, TagStep};
use crate::record::{ImageRecord, PlatformRecord, SignatureRecord, TagRecord, TagState};
use crate::sigstore::Verified;

pub use cleanup::{CleanupEnd, CleanupOutcome, CleanupTag};
pub use preflight::PreflightOutcome;

/// The findings and changes of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The index, once it is known.
    pub index: Option<IndexOutcome>,
    /// The other images that are published with it, if a record contains several.
    pub others: Vec<IndexOutcome>,
    /// Every tag, in the order of the inputs.
    pub tags: Vec<TagOutcome>,
    /// Tags that have other content.
    pub conflicts: Vec<Conflict>,
    /// True if signing was requested.
    pub signing: bool,
    /// Signatures that were found or made.
    pub signatures: Vec<SignatureOutcome>,
    /// Subjects that stay unsigned, with the reason, if the inputs let the run continue.
    pub unsigned: Vec<(Subject, String)>,
    /// The referrers and digest tags of the published images.
    pub referrers: Vec<ReferrerOutcome>,
    /// Images that verification accepted, or that were signed by `sign`.
    pub subjects: Vec<Subject>,
    /// True if every required digest has a verified signature.
    pub verified: bool,
    /// True if this was only a plan.
    pub planned: bool,
    /// The result of a preflight.
    pub preflight: Option<PreflightOutcome>,
    /// The result of a cleanup after a failure.
    pub cleanup: Option<CleanupOutcome>,
}

/// A manifest that was signed or verified by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Its repository.
    pub repository: Repository,
    /// Its digest.
    pub digest: Digest,
}

/// A referrer or digest tag of a published image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferrerOutcome {
    /// The digest that it refers to.
    pub subject: Digest,
    /// Its digest, or the tag that points to it.
    pub name: String,
    /// Its type, as it states.
    pub kind: String,
    /// Its signer, or the reason why it is not verified.
    pub verdict: Result<String, String>,
    /// True if it is part of the copy. The destinations may have had it before.
    pub is_copied: bool,
}

/// An index, and its repositories.
#[derive(Debug, Clone)]
pub struct IndexOutcome {
    /// Every repository that it goes to; never empty.
    pub destinations: Vec<DestinationOutcome>,
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// The image for each platform.
    pub platforms: PlatformMap,
    /// Every digest in it that is not in `platforms`.
    pub attestations: Vec<Digest>,
    /// Every digest in it, by the input that it came from.
    pub children: BTreeMap<Digest, Vec<Digest>>,
    /// True if it was only found under tags, so nothing vouches for it. A record with this flag does not permit to sign
    /// or publish anything.
    pub observed: bool,
}

/// A repository that an index goes to.
#[derive(Debug, Clone)]
pub struct DestinationOutcome {
    /// The repository.
    pub repository: Repository,
    /// The state of the index there.
    pub state: DestinationState,
    /// True if the repository lacked the index right before this run pushed it.
    pub created: bool,
    /// Manifests that it lacked and that were copied there.
    pub copied: Vec<Digest>,
    /// Configs and layers that it lacked although it had the index, and that were copied there.
    pub blobs: Vec<Digest>,
    /// Tags with lists of referrers that were written.
    pub lists: Vec<String>,
}

/// The state of an index in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationState {
    /// The repository had it before this run.
    WasThere,
    /// The repository does not have it yet, or it was not checked: the digest is requested only if a tag points to it.
    Lacking,
    /// This run pushed it.
    Pushed,
}

/// The step for a tag, and its progress.
#[derive(Debug, Clone)]
pub struct TagOutcome {
    /// The planned step.
    pub step: TagStep,
    /// Its progress.
    pub state: TagState,
}

/// The location of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLocation {
    /// Its format.
    pub format: SignatureFormat,
    /// The manifest that contains it.
    pub manifest: Digest,
    /// The digest of the signature as it is written there, which identifies it within that manifest. Only legacy
    /// signatures share a manifest, which changes with each of them.
    pub signature: Option<Digest>,
}

/// The content that the repository lacked and that was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CopiedContent {
    /// Images, indexes and artifacts.
    pub(crate) manifests: BTreeSet<Digest>,
    /// Configs, layers, and all other blobs that they point to.
    pub(crate) blobs: BTreeSet<Digest>,
    /// Tags with lists of referrers that were written.
    pub(crate) lists: BTreeSet<String>,
}

impl CopiedContent {
    /// Adds the content that another walk copied.
    pub(crate) fn add(&mut self, other: &Self) {
        self.manifests.extend(other.manifests.iter().cloned());
        self.blobs.extend(other.blobs.iter().cloned());
        self.lists.extend(other.lists.iter().cloned());
    }
}

/// A signature that was found or made.
#[derive(Debug, Clone)]
pub struct SignatureOutcome {
    /// The signed digest.
    pub subject: Subject,
    /// The signer, and the entry in the transparency log.
    pub signer: Verified,
    /// Its location.
    pub location: SignatureLocation,
    /// Its origin.
    pub source: SignatureSource,
}

/// The origin of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureSource {
    /// The signature existed before.
    Found,
    /// Another repository had it, and this run stored it here too.
    Copied,
    /// This run made it.
    Made,
}

impl SignatureLocation {
    /// Returns the digest that identifies a signature: its own if it shares a manifest, else that of the manifest.
    #[must_use]
    pub fn id(&self) -> &Digest {
        self.signature.as_ref().unwrap_or(&self.manifest)
    }
}

impl TagOutcome {
    /// Creates the outcome of a step: planned if there is something to write, else kept.
    pub(crate) fn new(step: TagStep) -> Self {
        let state = if step.writes() {
            TagState::Planned
        } else {
            TagState::Kept
        };
        Self { step, state }
    }
}

impl DestinationOutcome {
    /// Creates the outcome of a repository before anything is done.
    pub(crate) fn new(repository: &Repository) -> Self {
        Self {
            repository: repository.clone(),
            state: DestinationState::Lacking,
            created: false,
            copied: Vec::new(),
            blobs: Vec::new(),
            lists: Vec::new(),
        }
    }
}

impl Outcome {
    /// Reports whether any tag was written, or would be.
    #[must_use]
    pub fn writes_tags(&self) -> bool {
        self.tags.iter().any(|tag| tag.step.writes())
    }

    /// Reports whether this run signed anything.
    #[must_use]
    pub fn signed_anything(&self) -> bool {
        let mut sources = self.signatures.iter().map(|signature| signature.source);
        sources.any(|source| source == SignatureSource::Made)
    }

    /// Notes that a repository lacks an index that is about to be pushed there. Returns `true` if this was not noted
    /// before.
    pub(crate) fn note_creation(&mut self, repository: &Repository, digest: &Digest) -> bool {
        let indexes = self.indexes_mut().filter(|index| index.digest == *digest);
        let destinations = indexes.flat_map(|index| &mut index.destinations);
        let mut is_new = false;
        for destination in destinations.filter(|destination| destination.repository == *repository)
        {
            is_new |= !destination.created;
            destination.created = true;
        }
        is_new
    }

    /// Notes that a repository has the index now, and which of its parts were missing before.
    pub(crate) fn note_pushed(&mut self, repository: &Repository, copied: &CopiedContent) {
        self.note_copied(repository, copied);
        for destination in self.destinations_of(repository) {
            if destination.state == DestinationState::Lacking {
                destination.state = DestinationState::Pushed;
            }
        }
    }

    /// Notes that a repository has the images now, and which of their parts were missing before.
    pub(crate) fn note_published(&mut self, repository: &Repository, copied: &CopiedContent) {
        for index in self.indexes_mut() {
            let state = if copied.manifests.contains(&index.digest) {
                DestinationState::Pushed
            } else {
                DestinationState::WasThere
            };
            let destinations = index.destinations.iter_mut();
            destinations
                .filter(|destination| destination.repository == *repository)
                .for_each(|destination| destination.state = state);
        }
        self.note_copied(repository, copied);
    }

    /// Returns every index or image that goes to a repository.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = &IndexOutcome> {
        self.index.iter().chain(&self.others)
    }

    /// Returns every index or image that goes to a repository, for changes.
    pub(crate) fn indexes_mut(&mut self) -> impl Iterator<Item = &mut IndexOutcome> {
        self.index.iter_mut().chain(&mut self.others)
    }

    /// Notes the parts of the index that a repository lacked and has now.
    pub(crate) fn note_copied(&mut self, repository: &Repository, copied: &CopiedContent) {
        for destination in self.destinations_of(repository) {
            destination.copied = copied.manifests.iter().cloned().collect();
            destination.lists = copied.lists.iter().cloned().collect();
            // For a new image its blobs need no mention.
            if destination.state == DestinationState::WasThere {
                destination.blobs = copied.blobs.iter().cloned().collect();
            }
        }
    }

    fn destinations_of(
        &mut self,
        repository: &Repository,
    ) -> impl Iterator<Item = &mut DestinationOutcome> {
        let destinations = self
            .index
            .iter_mut()
            .flat_map(|index| &mut index.destinations);
        destinations.filter(move |destination| destination.repository == *repository)
    }

    /// Notes that the step for a tag has changed. Returns `true` if it is different.
    pub(crate) fn revise(&mut self, step: &TagStep) -> bool {
        let mut tags = self.tags.iter_mut();
        let known = tags.find(|known| known.step.tag == step.tag && known.step != *step);
        let Some(known) = known else {
            return false;
        };
        *known = TagOutcome::new(step.clone());
        true
    }

    /// Notes the progress of a tag.
    pub(crate) fn mark(&mut self, tag: &FullTag, state: TagState) {
        for known in self.tags.iter_mut().filter(|known| known.step.tag == *tag) {
            known.state = state;
        }
    }

    /// Notes and reports a signature.
    pub(crate) fn note_signature(&mut self, events: &Events, signature: SignatureOutcome) {
        let signer = &signature.signer;
        let log_entry = signer
            .log_index
            .map_or(String::new(), |index| format!(", log index {index}"));
        let (subject, format) = (&signature.subject, signature.location.format);
        let text = match signature.source {
            SignatureSource::Made => format!(
                "signed `{subject}` as `{}` ({format}){log_entry}",
                signer.identity
            ),
            SignatureSource::Found => format!(
                "`{subject}` is signed already by `{}` ({format})",
                signer.identity
            ),
            SignatureSource::Copied => format!(
                "the signature of `{subject}` by `{}` ({format}) is stored there too",
                signer.identity
            ),
        };
        events.info(text);
        self.signatures.push(signature);
    }

    /// Notes that subjects stay unsigned because of `error`, which the inputs excuse.
    pub(crate) fn continue_unsigned(
        &mut self,
        events: &Events,
        subjects: impl Iterator<Item = Subject>,
        reason: &str,
    ) {
        for subject in subjects {
            events.warn(format!("`{subject}` remains unsigned: {reason}"));
            self.unsigned.push((subject, reason.to_owned()));
        }
    }

    /// Returns the record entries of this run, one for each repository of an index, once the index is known.
    #[must_use]
    pub(crate) fn records(&self) -> Vec<ImageRecord> {
        let destinations = self.indexes().flat_map(|index| {
            index
                .destinations
                .iter()
                .map(move |destination| (index, destination))
        });
        destinations
            .map(|(index, destination)| self.record_of(index, destination))
            .collect()
    }

    fn record_of(&self, index: &IndexOutcome, destination: &DestinationOutcome) -> ImageRecord {
        let repository = &destination.repository;
        let platform = |(platform, child): (&_, &Child)| PlatformRecord {
            platform: ToString::to_string(platform),
            digest: child.digest.clone(),
        };
        let tag = |tag: &TagOutcome| TagRecord {
            tag: tag.step.tag.tag.to_string(),
            moving: tag.step.kind == TagKind::Moving,
            before: tag.step.before.clone(),
            after: tag.step.after.clone(),
            state: tag.state,
        };
        let is_first = self.index.as_ref().map(|first| &first.digest) == Some(&index.digest);
        let tags = self.tags.iter();
        let tags = tags.filter(|tag| is_first && tag.step.tag.repository == *repository);
        let signatures = self.signatures.iter();
        let signatures = signatures.filter(|signature| signature.subject.repository == *repository);
        // A subject that no index names, since it is nested deeper, goes into the entry of the first index.
        let is_named_by_other =
            |digest: &Digest| self.others.iter().any(|other| other.names(digest));
        let signatures = signatures.filter(|signature| {
            let digest = &signature.subject.digest;
            index.names(digest) || is_first && !is_named_by_other(digest)
        });
        ImageRecord {
            image: repository.to_string(),
            digest: index.digest.clone(),
            media_type: index.media_type.clone(),
            observed: index.observed,
            created: destination.created,
            platforms: index.platforms.iter().map(platform).collect(),
            attestations: index.attestations.clone(),
            tags: tags.map(tag).collect(),
            signatures: signatures.map(SignatureOutcome::record).collect(),
        }
    }
}

impl IndexOutcome {
    /// Reports whether `digest` is that of the index, or of something that it lists.
    fn names(&self, digest: &Digest) -> bool {
        let children = self.platforms.values().map(|child| &child.digest);
        let mut all = children.chain(&self.attestations).chain([&self.digest]);
        all.any(|known| known == digest)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.repository, self.digest)
    }
}

impl SignatureOutcome {
    /// Returns the record entry of this signature.
    #[must_use]
    pub(crate) fn record(&self) -> SignatureRecord {
        SignatureRecord {
            subject: self.subject.digest.clone(),
            format: self.location.format.as_str().to_owned(),
            manifest: Some(self.location.manifest.clone()),
            signature: self.location.signature.clone(),
            identity: self.signer.identity.clone(),
            issuer: self.signer.issuer.clone(),
            log_index: self.signer.log_index,
            made: self.source == SignatureSource::Made,
        }
    }
}
