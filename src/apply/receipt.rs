//! What a run found and did, kept up to date while it happens, so that a run which fails half-way still tells.

use std::collections::BTreeMap;
use std::fmt;

use super::copying::carry::Brought;
use super::{ApplyError, CleanupReceipt, Context, PreflightReceipt};
use crate::domain::{Digest, FullTag, MediaType, Repository, SignatureFormat};
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
    /// What is published with it, where a record holds several images.
    pub others: Vec<IndexReceipt>,
    /// Every tag, in the order of the inputs.
    pub tags: Vec<TagReceipt>,
    /// Tags that hold something else.
    pub conflicts: Vec<Conflict>,
    /// Whether signing was asked for.
    pub signing: bool,
    /// Signatures that were found or made.
    pub signatures: Vec<SignatureReceipt>,
    /// What was to be signed and is not, with the reason, where the inputs let the run go on.
    pub unsigned: Vec<(Subject, String)>,
    /// What refers to the images that were published, by digest or tag.
    pub referrers: Vec<ReferrerReceipt>,
    /// Images that verification accepted, or that were signed by `sign`.
    pub subjects: Vec<Subject>,
    /// Whether every digest that matters has a verified signature.
    pub verified: bool,
    /// Whether this was only a plan.
    pub planned: bool,
    /// What a look before a build found.
    pub preflight: Option<PreflightReceipt>,
    /// What was found and taken back after a failure.
    pub cleanup: Option<CleanupReceipt>,
}

/// Something that was signed or verified by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Where it is.
    pub repository: Repository,
    /// What it is.
    pub digest: Digest,
}

/// Something that refers to an image that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferrerReceipt {
    /// What it refers to.
    pub subject: Digest,
    /// Its digest, or the tag that holds it.
    pub name: String,
    /// What it says it is.
    pub kind: String,
    /// Who made it, or why it is not verified.
    pub verdict: Result<String, String>,
    /// Whether it was carried along.
    pub is_carried: bool,
}

/// An index, and where it is.
#[derive(Debug, Clone)]
pub struct IndexReceipt {
    /// Every repository that it goes to; never empty.
    pub places: Vec<PlaceReceipt>,
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
    /// Whether it was only found under tags: nothing vouches for it. Nothing is signed or published on the word of a record
    /// that says so.
    pub observed: bool,
}

/// A repository that an index goes to.
#[derive(Debug, Clone)]
pub struct PlaceReceipt {
    /// Which.
    pub repository: Repository,
    /// Whether it has the index.
    pub state: PlaceState,
    /// Whether it was seen to lack the index right before this run pushed it.
    pub created: bool,
    /// Manifests that it lacked and that were copied there.
    pub brought: Vec<Digest>,
    /// Configs and layers that it lacked though it had the index, and that were copied there.
    pub blobs: Vec<Digest>,
    /// Tags that list what refers to something, and that were written.
    pub lists: Vec<String>,
}

/// Whether a repository has the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceState {
    /// It had it before this run.
    WasThere,
    /// It does not have it yet, as far as is known: what no tag holds is not asked for.
    Lacking,
    /// This run pushed it.
    Pushed,
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
    /// Whether it is listed under the fallback tag, and not by the registry itself.
    pub is_tagged: bool,
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
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a signature comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Found,
    /// Another repository had it, and this run stored it here too.
    Copied,
    /// This run made it.
    Made,
}

impl Place {
    /// What a signature is known by: its own digest where it shares a manifest, else the manifest's.
    #[must_use]
    pub fn id(&self) -> &Digest {
        self.signature.as_ref().unwrap_or(&self.manifest)
    }
}

impl TagReceipt {
    /// A step that is still to be taken, if there is anything to do.
    pub(super) fn new(step: TagStep) -> Self {
        let state = if step.writes() {
            TagState::Intended
        } else {
            TagState::Kept
        };
        Self { step, state }
    }
}

impl PlaceReceipt {
    /// As far as is known before anything is done.
    pub(super) fn new(repository: &Repository) -> Self {
        Self {
            repository: repository.clone(),
            state: PlaceState::Lacking,
            created: false,
            brought: Vec::new(),
            blobs: Vec::new(),
            lists: Vec::new(),
        }
    }
}

impl Receipt {
    /// Whether any tag was written, or would be.
    #[must_use]
    pub fn writes_tags(&self) -> bool {
        self.tags.iter().any(|tag| tag.step.writes())
    }

    /// Whether this run signed anything.
    #[must_use]
    pub fn signed_anything(&self) -> bool {
        let mut origins = self.signatures.iter().map(|signature| signature.origin);
        origins.any(|origin| origin == Origin::Made)
    }

    /// Notes that a repository lacks an index that is about to be pushed there. Returns whether that was not noted before.
    pub(super) fn note_creation(&mut self, repository: &Repository, digest: &Digest) -> bool {
        let indexes = self.indexes_mut().filter(|index| index.digest == *digest);
        let places = indexes.flat_map(|index| &mut index.places);
        let mut is_new = false;
        for place in places.filter(|place| place.repository == *repository) {
            is_new |= !place.created;
            place.created = true;
        }
        is_new
    }

    /// Notes that a repository has the index now, and what of its parts it lacked before.
    pub(super) fn note_pushed(&mut self, repository: &Repository, brought: &Brought) {
        self.note_brought(repository, brought);
        for place in self.places_of(repository) {
            if place.state == PlaceState::Lacking {
                place.state = PlaceState::Pushed;
            }
        }
    }

    /// Notes that a repository has the images now, and what of them it lacked before.
    pub(super) fn note_published(&mut self, repository: &Repository, brought: &Brought) {
        for index in self.indexes_mut() {
            let state = if brought.manifests.contains(&index.digest) {
                PlaceState::Pushed
            } else {
                PlaceState::WasThere
            };
            let places = index.places.iter_mut();
            places
                .filter(|place| place.repository == *repository)
                .for_each(|place| place.state = state);
        }
        self.note_brought(repository, brought);
    }

    /// Every index or image that goes somewhere.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = &IndexReceipt> {
        self.index.iter().chain(&self.others)
    }

    /// The same, to be changed.
    pub(super) fn indexes_mut(&mut self) -> impl Iterator<Item = &mut IndexReceipt> {
        self.index.iter_mut().chain(&mut self.others)
    }

    /// Notes what a repository lacked of the index and has now.
    pub(super) fn note_brought(&mut self, repository: &Repository, brought: &Brought) {
        for place in self.places_of(repository) {
            place.brought = brought.manifests.iter().cloned().collect();
            place.lists = brought.lists.iter().cloned().collect();
            // Of an image that is new they go without saying.
            if place.state == PlaceState::WasThere {
                place.blobs = brought.blobs.iter().cloned().collect();
            }
        }
    }

    fn places_of(&mut self, repository: &Repository) -> impl Iterator<Item = &mut PlaceReceipt> {
        let places = self.index.iter_mut().flat_map(|index| &mut index.places);
        places.filter(move |place| place.repository == *repository)
    }

    /// Notes that something else is done with a tag than was thought before. Returns whether it is something else.
    pub(super) fn revise(&mut self, step: &TagStep) -> bool {
        let mut tags = self.tags.iter_mut();
        let known = tags.find(|known| known.step.tag == step.tag && known.step != *step);
        let Some(known) = known else {
            return false;
        };
        *known = TagReceipt::new(step.clone());
        true
    }

    /// Notes that a tag was written.
    pub(super) fn mark_written(&mut self, tag: &FullTag) {
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
        let (subject, format) = (&signature.subject, signature.place.format);
        let text = match signature.origin {
            Origin::Made => format!(
                "signed `{subject}` as `{}` ({format}){place}",
                signer.identity
            ),
            Origin::Found => format!(
                "`{subject}` is signed already by `{}` ({format})",
                signer.identity
            ),
            Origin::Copied => format!(
                "the signature of `{subject}` by `{}` ({format}) is stored there too",
                signer.identity
            ),
        };
        context.events.note(text);
        self.signatures.push(signature);
    }

    /// Notes that something stays unsigned because of `error`, which the inputs let pass.
    pub(super) fn go_on_unsigned(
        &mut self,
        context: &Context,
        subjects: impl Iterator<Item = Subject>,
        error: &ApplyError,
    ) {
        let reason = crate::failure::chain_text(error);
        for subject in subjects {
            context
                .events
                .warn(format!("`{subject}` stays unsigned: {reason}"));
            self.unsigned.push((subject, reason.clone()));
        }
    }

    /// What the record says of this run, repository by repository, once the index is known.
    #[must_use]
    pub(super) fn records(&self) -> Vec<ImageRecord> {
        let places = self
            .indexes()
            .flat_map(|index| index.places.iter().map(move |place| (index, place)));
        places
            .map(|(index, place)| self.record_of(index, place))
            .collect()
    }

    fn record_of(&self, index: &IndexReceipt, place: &PlaceReceipt) -> ImageRecord {
        let repository = &place.repository;
        let platform = |(platform, child): (&_, &Child)| PlatformRecord {
            platform: ToString::to_string(platform),
            digest: child.digest.clone(),
        };
        let tag = |tag: &TagReceipt| TagRecord {
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
        // What none of several names, since it is deeper in one, is told with the first.
        let is_told = |digest: &Digest| self.others.iter().any(|other| other.names(digest));
        let signatures = signatures.filter(|signature| {
            let digest = &signature.subject.digest;
            index.names(digest) || is_first && !is_told(digest)
        });
        ImageRecord {
            image: repository.to_string(),
            digest: index.digest.clone(),
            media_type: index.media_type.clone(),
            observed: index.observed,
            created: place.created,
            platforms: index.platforms.iter().map(platform).collect(),
            attestations: index.attestations.clone(),
            tags: tags.map(tag).collect(),
            signatures: signatures.map(SignatureReceipt::record).collect(),
        }
    }
}

impl IndexReceipt {
    /// Whether this is the index's digest, or that of something that it lists.
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

impl SignatureReceipt {
    /// What the record says of this signature.
    #[must_use]
    pub(super) fn record(&self) -> SignatureRecord {
        SignatureRecord {
            subject: self.subject.digest.clone(),
            format: self.place.format.as_str().to_owned(),
            manifest: Some(self.place.manifest.clone()),
            signature: self.place.signature.clone(),
            tagged: self.place.is_tagged,
            identity: self.signer.identity.clone(),
            issuer: self.signer.issuer.clone(),
            log_index: self.signer.log_index,
            made: self.origin == Origin::Made,
        }
    }
}
