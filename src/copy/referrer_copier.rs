//! Copies the referrers of an image, and the digest tags that belong to it. Existing content at the destination stays:
//! lists are merged, never replaced.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures_util::future::{LocalBoxFuture, try_join_all};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::OnceCell;

use super::CopyError;
use super::copier::{Copier, FoundManifest, Node};
use super::list_write::ListWrite;
use super::referrer_filter::{ListedReferrer, ReferrerFilter};
use super::source::{KnownSource, Source, first_manifest};
use crate::context::{Context, DEPTH_MAX, REQUESTS_PARALLEL};
use crate::domain::{Descriptor, Digest, DigestTag, Manifest, Repository};
use crate::outcome::Subject;
use crate::referrers::{HeldLists, ListError, ReferrerLists, SubjectAge, Writers};
use crate::registry::REFERRERS_MAX;

/// The suffixes of the digest tags that cosign writes, or wrote in earlier versions.
const DIGEST_TAG_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// Copies the referrers and digest tags of images, together with the images. Lists and digest tags are written afterwards.
pub(crate) struct ReferrerCopier<'a, 'c> {
    pub(super) context: &'a Context,
    pub(super) from: Vec<&'c KnownSource>,
    pub(super) to: &'a Repository,
    pub(super) copier: &'c Copier<'c>,
    pub(super) filter: &'c ReferrerFilter<'c>,
    lists: ReferrerLists<'a>,
    pub(super) writers: Writers,
    /// The manifests whose referrers are copied or being copied.
    visited: RefCell<BTreeSet<Digest>>,
    to_write: RefCell<Vec<ListWrite<'a>>>,
}

/// The referrers of one digest, as the sources list them.
#[derive(Default)]
pub(super) struct ListedReferrers<'a> {
    /// Each entry, with the sources that list it.
    entries: BTreeMap<Digest, (Descriptor, Vec<&'a Source>)>,
    /// The index under the referrers tag of the first source that has one.
    original: Option<Manifest>,
}

impl<'a, 'c> ReferrerCopier<'a, 'c> {
    /// Creates a copier with the same sources and destination as `copier`.
    pub(crate) fn new(
        context: &'a Context,
        from: Vec<&'c KnownSource>,
        to: &'a Repository,
        copier: &'c Copier<'c>,
        filter: &'c ReferrerFilter<'c>,
        writers: Writers,
    ) -> Self {
        Self {
            context,
            from,
            to,
            copier,
            filter,
            lists: ReferrerLists::new(context, to, writers),
            writers,
            visited: RefCell::default(),
            to_write: RefCell::default(),
        }
    }

    /// Copies what refers to an image, to anything in it, or to one of these referrers. Each manifest's referrers are
    /// looked up as soon as its digest is known, while the image is copied. Returns the lists and digest tags that are to
    /// be written when everything is there.
    pub(crate) async fn copy(
        &self,
        images: impl Iterator<Item = &Digest>,
    ) -> Result<Vec<ListWrite<'a>>, CopyError> {
        let image = |digest| Node {
            digest,
            parent: None,
        };
        let each = images.map(|digest| self.copy_around(image(digest), None, 0));
        try_join_all(each).await?;
        Ok(self.to_write.take())
    }

    /// Copies what refers to a manifest, to anything in it, or to one of these referrers. `listed` are its referrers, if
    /// they were read before.
    fn copy_around<'b>(
        &'b self,
        node: Node<'b>,
        listed: Option<ListedReferrers<'c>>,
        depth: usize,
    ) -> LocalBoxFuture<'b, Result<(), CopyError>> {
        Box::pin(async move {
            if !self.visited.borrow_mut().insert(node.digest.clone()) {
                return Ok(());
            }
            // Referrers that an image needs refer to it or to its children. Anyone with push access can continue the
            // chain without end.
            if depth > DEPTH_MAX {
                let first = node.digest;
                let text = format!(
                    "referrers are copied to a depth of {DEPTH_MAX}: referrers of `{first}` and of others at that depth are not copied"
                );
                self.filter.warn_once(self.context, text);
                return Ok(());
            }
            let referrers = self.copy_referrers(node, listed, depth);
            let tags = self.copy_digest_tags(node, depth);
            let inside = self.copy_inside(node, depth);
            tokio::try_join!(referrers, tags, inside).map(drop)
        })
    }

    /// Copies what refers to the children of an index.
    async fn copy_inside(&self, node: Node<'_>, depth: usize) -> Result<(), CopyError> {
        let found = self.copier.found(node).await?;
        let parent = Some(node.digest);
        let children = found.children.iter();
        let each = children.map(|digest| self.copy_around(Node { digest, parent }, None, depth));
        all_of(each.collect()).await
    }

    /// Copies what refers to a referrer, or to the content of a digest tag, that was copied.
    pub(super) async fn copy_around_referrer(
        &self,
        referrer: &Digest,
        listed: Option<ListedReferrers<'c>>,
        depth: usize,
    ) -> Result<(), CopyError> {
        let node = Node {
            digest: referrer,
            parent: None,
        };
        self.copy_around(node, listed, depth + 1).await
    }

    /// Notes a list or digest tag that is to be written when everything is there.
    pub(super) fn note_write(&self, write: ListWrite<'a>) {
        self.to_write.borrow_mut().push(write);
    }

    /// Checks the referrers and digest tags of `images` and of their children, and copies nothing. Follows referrers of
    /// referrers that would be copied.
    pub(crate) async fn plan(
        &self,
        images: impl Iterator<Item = &Manifest>,
    ) -> Result<(), CopyError> {
        let members = images.flat_map(|image| {
            let children = image.children().iter().map(|child| &child.digest);
            std::iter::once(image.digest()).chain(children)
        });
        let (mut done, mut subjects) = (BTreeSet::new(), BTreeSet::new());
        subjects.extend(members.cloned());
        for _ in 0..=DEPTH_MAX {
            let each = subjects.iter().map(|subject| self.plan_all(subject));
            let found: Vec<Vec<Digest>> = stream::iter(each.collect::<Vec<_>>())
                .buffer_unordered(REQUESTS_PARALLEL)
                .try_collect()
                .await?;
            done.append(&mut subjects);
            subjects.extend(found.into_iter().flatten());
            subjects.retain(|subject| !done.contains(subject));
        }
        Ok(())
    }

    /// Checks what belongs to `subject`. Returns the referrers that would be copied.
    async fn plan_all(&self, subject: &Digest) -> Result<Vec<Digest>, CopyError> {
        for source in &self.from {
            for tag in digest_tags(subject) {
                self.read_digest_tag(source, &tag).await?;
            }
        }
        let listed = self.listed(subject).await?;
        if listed.entries.is_empty() {
            return Ok(Vec::new());
        }
        let described = self.described(subject).await?;
        let mut accepted = Vec::new();
        for (entry, from) in listed.entries.values() {
            let referrer = ListedReferrer {
                subject,
                described: described.as_ref(),
                entry,
            };
            let read = async || first_manifest(self.context, from, &entry.digest).await;
            let entry = self
                .filter
                .accept_referrer(self.context, from, &referrer, read);
            accepted.extend(entry.await?.map(|entry| entry.digest));
        }
        Ok(accepted)
    }

    /// Returns the descriptor of a manifest that the first source with it has.
    async fn described(&self, digest: &Digest) -> Result<Option<Descriptor>, CopyError> {
        let from: Vec<&Source> = self.from.iter().map(|from| &from.source).collect();
        let found = first_manifest(self.context, &from, digest).await?;
        Ok(found.map(|manifest| manifest.descriptor()))
    }

    async fn copy_referrers(
        &self,
        node: Node<'_>,
        listed: Option<ListedReferrers<'c>>,
        depth: usize,
    ) -> Result<(), CopyError> {
        let subject = node.digest;
        let listed = async {
            match listed {
                Some(listed) => Ok(listed),
                None => self.listed(subject).await,
            }
        };
        let (listed, found) = tokio::try_join!(listed, self.copier.found(node))?;
        if listed.entries.is_empty() {
            return Ok(());
        }
        // The lists of the destination, which are read once a referrer is accepted.
        let held = OnceCell::new();
        let entries = listed.entries.values();
        let each = entries.map(|(entry, from)| async {
            let Some(accepted) = self.accept_referrer(node, &found, entry, from).await? else {
                return Ok(None);
            };
            let copied = self.copy_referrer(node, accepted, from, depth);
            let read = held.get_or_try_init(|| self.read_lists(node));
            let (copied, _) = tokio::try_join!(copied, read)?;
            Ok::<_, CopyError>(copied)
        });
        let each = stream::iter(each.collect::<Vec<_>>())
            .buffered(REQUESTS_PARALLEL)
            .try_collect::<Vec<_>>();
        let early = async { Ok(self.lists.ask_early(subject).await?) };
        let (copied, _) = tokio::try_join!(each, early)?;
        let copied: Vec<Descriptor> = copied.into_iter().flatten().collect();
        let Some(held) = held.into_inner().filter(|_| !copied.is_empty()) else {
            return Ok(());
        };
        let is_ours = |entry: &Descriptor| {
            let name = entry.digest.to_string();
            self.filter.may_be_ours(subject, &name)
        };
        let is_required = copied.iter().any(is_ours);
        // SECURITY: the writer of a list controls its entries and all its other fields.
        let original = listed.original.filter(|_| self.filter.copies_all());
        let is_promised = |entry: &Digest| self.copier.is_promised(entry, subject);
        if let Some(new) = held.missing(copied, original, is_promised) {
            self.note_write(ListWrite::referrers(new, is_required));
        }
        Ok(())
    }

    /// Reads the lists of a subject at the destination. If this run stores the subject, that is done first.
    async fn read_lists(&self, node: Node<'_>) -> Result<HeldLists<'a>, CopyError> {
        if !self.copier.is_there(node.digest).await? {
            self.copier.copy_node(node).await?;
        }
        Ok(self.lists.read(node.digest, self.age(node.digest)).await?)
    }

    /// Returns the entry of a referrer, or `None` if it is not copied.
    async fn accept_referrer(
        &self,
        node: Node<'_>,
        found: &FoundManifest,
        entry: &Descriptor,
        from: &[&Source],
    ) -> Result<Option<Descriptor>, CopyError> {
        let referrer = ListedReferrer {
            subject: node.digest,
            described: Some(&found.descriptor),
            entry,
        };
        let read = async || self.copier.read_listed(from, &entry.digest).await;
        let accepted = self
            .filter
            .accept_referrer(self.context, from, &referrer, read);
        accepted.await
    }

    /// Copies one referrer, and what refers to it. Returns its entry, or `None` if it is left out.
    async fn copy_referrer(
        &self,
        node: Node<'_>,
        entry: Descriptor,
        from: &[&Source],
        depth: usize,
    ) -> Result<Option<Descriptor>, CopyError> {
        let (subject, digest) = (node.digest, &entry.digest);
        let copy = self.copier.copy_listed(from, node, digest);
        // The next list is read meanwhile. It does not count if this referrer is left out.
        let (left_out, listed) = tokio::join!(copy, self.listed(digest));
        if let Some(why) = left_out? {
            self.filter.mark_not_copied(subject, &digest.to_string());
            self.context.events.warn(format!(
                "`{digest}` is listed as a referrer of `{subject}` and is not copied: {why}"
            ));
            return Ok(None);
        }
        self.copy_around_referrer(digest, Some(listed?), depth)
            .await?;
        Ok(Some(entry))
    }

    /// Returns the age of a subject at the destination.
    pub(super) fn age(&self, subject: &Digest) -> SubjectAge {
        if self.copier.has_copied(subject) {
            SubjectAge::New
        } else {
            SubjectAge::Unknown(None)
        }
    }

    async fn listed(&self, subject: &Digest) -> Result<ListedReferrers<'c>, CopyError> {
        let mut listed = ListedReferrers::default();
        let reads = self.from.iter().map(|from| async move {
            let found = from.referrers(self.context, subject).await;
            found.map(|found| (&from.source, found))
        });
        for (source, found) in try_join_all(reads).await? {
            if let Some(unusable) = &found.unusable {
                self.filter
                    .warn_of_unusable_list(self.context, subject, unusable);
            }
            let broken = found.entries.broken;
            if broken > 0 {
                self.context.events.warn(format!(
                    "{broken} entries in the list of referrers of `{subject}` cannot be read and are not copied"
                ));
            }
            for entry in found.entries.listed {
                let is_manifest = entry.media_type.is_index() || entry.media_type.is_image();
                if is_manifest {
                    let known = listed.entries.entry(entry.digest.clone());
                    let (_, sources) = known.or_insert((entry, Vec::new()));
                    if !sources.iter().any(|known| std::ptr::eq(*known, source)) {
                        sources.push(source);
                    }
                } else {
                    let (digest, is) = (&entry.digest, &entry.media_type);
                    let odd = format!(
                        "`{digest}`, a referrer of `{subject}`, is a `{is}`, which registries do not accept; it is not copied"
                    );
                    self.context.events.warn(odd);
                }
            }
            listed.original = listed.original.or(found.original);
        }
        let count = listed.entries.len();
        if count > REFERRERS_MAX {
            let subject = Subject {
                repository: self.to.clone(),
                digest: subject.clone(),
            };
            return Err(ListError::TooMany {
                subject: Box::new(subject),
                count,
            }
            .into());
        }
        Ok(listed)
    }
}

/// Returns the digest tags that can belong to `subject`.
pub(super) fn digest_tags(subject: &Digest) -> impl Iterator<Item = DigestTag<'_>> {
    let tags = DIGEST_TAG_SUFFIXES.into_iter();
    tags.filter_map(|suffix| subject.digest_tag(suffix))
}

/// Runs these concurrently, up to a limit.
async fn all_of(each: Vec<impl Future<Output = Result<(), CopyError>>>) -> Result<(), CopyError> {
    stream::iter(each)
        .buffer_unordered(REQUESTS_PARALLEL)
        .try_collect()
        .await
}
