//! Copies the referrers of an image, and the digest tags that belong to it. Existing content at the destination stays:
//! lists are merged, never replaced.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::CopyError;
use super::copier::Copier;
use super::referrer_filter::{DigestTagCopy, ListedReferrer, ReferrerFilter};
use super::source::Source;
use crate::context::{Context, DEPTH_MAX, REQUESTS_PARALLEL};
use crate::domain::{
    Descriptor, Digest, DigestTag, Manifest, ManifestKind, Repository, TagContent, chain_text,
};
use crate::outcome::Subject;
use crate::referrers::{
    Change, KnownTags, ListError, ReferrerLists, SeenList, SharedTag, SharedTagWriter, SubjectAge,
};
use crate::registry::REFERRERS_MAX;
use crate::signatures::legacy_attach::read_config;
use crate::signatures::legacy_manifest::merge;

/// The suffixes of the digest tags that cosign writes, or wrote in earlier versions.
const DIGEST_TAG_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// Copies the referrers and digest tags of all manifests that a [`Copier`] has visited.
pub(crate) struct ReferrerCopier<'a> {
    context: &'a Context,
    from: &'a [Source],
    to: &'a Repository,
    copier: &'a Copier<'a>,
    filter: &'a ReferrerFilter<'a>,
    lists: ReferrerLists<'a>,
}

/// The referrers of one digest, as the sources list them.
#[derive(Default)]
struct ListedReferrers<'a> {
    /// Each entry, with the sources that list it.
    entries: BTreeMap<Digest, (Descriptor, Vec<&'a Source>)>,
    /// The index under the referrers tag of the first source that has one.
    original: Option<Manifest>,
}

/// The content of a digest tag that is copied, and the sources whose tag has it.
#[derive(Clone, Copy)]
struct SourcedCopy<'b> {
    copy: &'b DigestTagCopy,
    from: &'b [&'b Source],
}

impl<'a> ReferrerCopier<'a> {
    /// Creates a copier with the same sources and destination as `copier`.
    pub(crate) fn new(
        context: &'a Context,
        from: &'a [Source],
        to: &'a Repository,
        copier: &'a Copier<'a>,
        filter: &'a ReferrerFilter<'a>,
    ) -> Self {
        Self {
            context,
            from,
            to,
            copier,
            filter,
            lists: ReferrerLists::new(context, to),
        }
    }

    /// Copies the referrers and digest tags of all manifests that the copier has visited. Repeats this for the copied
    /// manifests.
    pub(crate) async fn copy(&self) -> Result<(), CopyError> {
        let known = self.list_known_tags().await;
        let mut done = BTreeSet::new();
        for depth in 0.. {
            let mut subjects = self.copier.seen();
            subjects.retain(|subject| done.insert(subject.clone()));
            let Some(first) = subjects.first() else {
                break;
            };
            // Referrers that an image needs refer to it or to its children. Anyone with push access can continue the
            // chain without end.
            if depth > DEPTH_MAX {
                let count = subjects.len();
                let text = format!(
                    "referrers are copied to a depth of {DEPTH_MAX}: referrers of `{first}` ({count} manifests at that depth) are not copied"
                );
                self.filter.warn_once(self.context, text);
                break;
            }
            let each = subjects
                .iter()
                .map(|subject| self.copy_all(subject, &known));
            stream::iter(each.collect::<Vec<_>>())
                .buffer_unordered(REQUESTS_PARALLEL)
                .try_collect::<()>()
                .await?;
        }
        Ok(())
    }

    /// Checks the referrers and digest tags of `images` and of their children, and copies nothing. Follows referrers of
    /// referrers that would be copied.
    pub(crate) async fn plan(
        &self,
        images: impl Iterator<Item = &Manifest>,
    ) -> Result<(), CopyError> {
        let known = self.list_known_tags().await;
        let members = images.flat_map(|image| {
            let children = image.children().iter().map(|child| &child.digest);
            std::iter::once(image.digest()).chain(children)
        });
        let (mut done, mut subjects) = (BTreeSet::new(), BTreeSet::new());
        subjects.extend(members.cloned());
        for _ in 0..=DEPTH_MAX {
            let each = subjects
                .iter()
                .map(|subject| self.plan_all(subject, &known));
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
    async fn plan_all(
        &self,
        subject: &Digest,
        known: &[KnownTags],
    ) -> Result<Vec<Digest>, CopyError> {
        for (source, known) in self.from.iter().zip(known) {
            for tag in digest_tags(subject) {
                self.read_digest_tag(source, known, &tag).await?;
            }
        }
        let listed = self.listed(subject, known).await?;
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
            let entry = self.filter.accept_referrer(self.context, from, &referrer);
            accepted.extend(entry.await?.map(|entry| entry.digest));
        }
        Ok(accepted)
    }

    /// Returns the descriptor of a manifest that the first source with it has.
    async fn described(&self, digest: &Digest) -> Result<Option<Descriptor>, CopyError> {
        for source in self.from {
            if let Some(manifest) = source.manifest(self.context, digest).await? {
                return Ok(Some(manifest.descriptor()));
            }
        }
        Ok(None)
    }

    async fn list_known_tags(&self) -> Vec<KnownTags> {
        stream::iter(self.from.iter().map(|from| from.list_tags(self.context)))
            .buffered(REQUESTS_PARALLEL)
            .collect()
            .await
    }

    async fn copy_all(&self, subject: &Digest, known: &[KnownTags]) -> Result<(), CopyError> {
        let referrers = self.copy_referrers(subject, known);
        let tagged = async {
            let each = digest_tags(subject)
                .map(|tag| async move { self.copy_digest_tag(&tag, known).await });
            futures_util::future::try_join_all(each).await.map(drop)
        };
        tokio::try_join!(referrers, tagged).map(drop)
    }

    async fn copy_referrers(&self, subject: &Digest, known: &[KnownTags]) -> Result<(), CopyError> {
        let listed = self.listed(subject, known).await?;
        let described = self.copier.described(subject);
        let copied = listed.entries.values().map(|(entry, from)| async {
            let context = self.context;
            let referrer = ListedReferrer {
                subject,
                described: described.as_ref(),
                entry,
            };
            let Some(accepted) = self
                .filter
                .accept_referrer(context, from, &referrer)
                .await?
            else {
                return Ok(None);
            };
            let left_out = self.copier.copy_listed(from, &entry.digest).await?;
            if let Some(why) = &left_out {
                let digest = &entry.digest;
                self.filter.mark_not_copied(subject, &digest.to_string());
                context.events.warn(format!(
                    "`{digest}` is listed as a referrer of `{subject}` and is not copied: {why}"
                ));
            }
            Ok::<_, CopyError>(left_out.is_none().then_some(accepted))
        });
        let copied: Vec<Option<Descriptor>> = stream::iter(copied.collect::<Vec<_>>())
            .buffered(REQUESTS_PARALLEL)
            .try_collect()
            .await?;
        let copied: Vec<Descriptor> = copied.into_iter().flatten().collect();
        if copied.is_empty() {
            return Ok(());
        }
        let is_required = copied.iter().any(|entry| {
            let name = entry.digest.to_string();
            self.filter.may_be_ours(subject, &name)
        });
        // SECURITY: the writer of a list controls its entries and all its other fields.
        let original = listed.original.filter(|_| self.filter.copies_all());
        let add = self.lists.add(subject, self.age(subject), copied, original);
        match add.await {
            Err::<_, CopyError>(error) if error.is_about_list() && !is_required => {
                self.warn_of_full_list(&error);
            }
            written => {
                if let Some(tag) = written? {
                    self.copier.note_list(&tag);
                }
            }
        }
        Ok(())
    }

    /// Returns the age of a subject at the destination.
    fn age(&self, subject: &Digest) -> SubjectAge {
        if self.copier.has_copied(subject) {
            SubjectAge::New
        } else {
            SubjectAge::Unknown(None)
        }
    }

    /// Warns about a list at the destination that accepts no more entries. The run goes on only because nothing vouches
    /// for the content that is left out.
    fn warn_of_full_list(&self, error: &CopyError) {
        let why = chain_text(error);
        let text = format!(
            "its entries at the source are not copied, and none of them is verified: {why}"
        );
        self.filter.warn_once(self.context, text);
    }

    async fn listed(
        &self,
        subject: &Digest,
        known: &[KnownTags],
    ) -> Result<ListedReferrers<'a>, CopyError> {
        let mut listed = ListedReferrers::default();
        for (source, known) in self.from.iter().zip(known) {
            let found = source.referrers(self.context, subject, known).await?;
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

    /// Copies the content of one digest tag of cosign.
    async fn copy_digest_tag(
        &self,
        tag: &DigestTag<'_>,
        all_known: &[KnownTags],
    ) -> Result<(), CopyError> {
        for (source, known) in self.from.iter().zip(all_known) {
            if let Some((digest, copy)) = self.read_digest_tag(source, known, tag).await? {
                let from = self.sources_with_tag(&digest, tag, all_known);
                let sourced = SourcedCopy {
                    copy: &copy,
                    from: &from.await?,
                };
                self.copy_tag_or_verified_part(tag, sourced).await?;
            }
        }
        Ok(())
    }

    /// Reads one digest tag of cosign at a source. Returns the digest of its content, and the part that is to be copied.
    async fn read_digest_tag(
        &self,
        source: &Source,
        known: &KnownTags,
        tag: &DigestTag<'_>,
    ) -> Result<Option<(Digest, DigestTagCopy)>, CopyError> {
        let (context, filter) = (self.context, self.filter);
        // Content that is not copied need not be read.
        if tag.suffix != "sig" && !filter.copies_all() {
            let there = source.digest_tag_digest(context, tag, known);
            if there.await?.is_some() {
                filter.note_unread(context, tag);
            }
            return Ok(None);
        }
        match source.digest_tag(context, tag, known).await? {
            Some(TagContent::Manifest(original)) => {
                let digest = original.digest().clone();
                let copy = filter.filter_digest_tag(context, source, tag, original);
                Ok(copy.await?.map(|copy| (digest, copy)))
            }
            Some(TagContent::Unusable(unusable)) => {
                filter.note_unusable(context, tag, &unusable);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Returns the sources whose digest tag has this content.
    ///
    /// SECURITY: the writer of a tag can name parts of which they know only the digest. Other sources do not provide
    /// them.
    async fn sources_with_tag(
        &self,
        digest: &Digest,
        tag: &DigestTag<'_>,
        known: &[KnownTags],
    ) -> Result<Vec<&'a Source>, CopyError> {
        if let [only] = self.from {
            return Ok(vec![only]);
        }
        let mut alike = Vec::new();
        for (source, known) in self.from.iter().zip(known) {
            let found = source.digest_tag_digest(self.context, tag, known);
            if found.await?.as_ref() == Some(digest) {
                alike.push(source);
            }
        }
        Ok(alike)
    }

    /// Copies a tag. If it cannot be copied as a whole, copies its verified signatures.
    async fn copy_tag_or_verified_part(
        &self,
        tag: &DigestTag<'_>,
        sourced: SourcedCopy<'_>,
    ) -> Result<(), CopyError> {
        let SourcedCopy { copy, from } = sourced;
        let error = match self.copy_tag(tag, SourcedCopy { copy, from }).await {
            Err(error) if error.is_about_list() && !copy.is_ours => {
                self.warn_of_full_list(&error);
                return Ok(());
            }
            Err(error) if error.is_about_content() => error,
            copied => return copied,
        };
        let why = chain_text(&error);
        let digest = copy.manifest.digest();
        let text = format!("the tag `{tag}` points to `{digest}`, which cannot be copied");
        match &copy.verified {
            Some(verified) => {
                let text = format!("{text}; only its verified signatures are copied: {why}");
                self.filter.warn_once(self.context, text);
                let copy = verified.as_ref();
                self.copy_tag(tag, SourcedCopy { copy, from }).await
            }
            None if copy.is_ours => Err(error),
            None => {
                self.filter.mark_not_copied(tag.subject, tag.tag.as_str());
                let text = format!("{text} and is skipped: {why}");
                self.filter.warn_once(self.context, text);
                Ok(())
            }
        }
    }

    async fn copy_tag(
        &self,
        tag: &DigestTag<'_>,
        sourced: SourcedCopy<'_>,
    ) -> Result<(), CopyError> {
        let shared = SharedTag::of_digest_tag(self.context, self.to, tag);
        let shared = SharedTagWriter::new(self.context, shared);
        let original = &sourced.copy.manifest;
        self.copier.note_read(original);
        let snapshot = shared.read_snapshot_of(self.age(tag.subject)).await?;
        let held = snapshot.list().map(SeenList::digest);
        // The destination's tag already points to the same manifest.
        if held == Some(original.digest()) {
            self.copier.note_existing(original.digest());
            return self.copy_content(sourced).await;
        }
        let add = async |current: Option<&Manifest>| match current {
            None => {
                self.copy_content(sourced).await?;
                Ok(Some(Change {
                    media_type: original.media_type().clone(),
                    bytes: original.bytes().to_vec(),
                    parts: Vec::new(),
                }))
            }
            Some(current) if current.digest() == original.digest() => {
                self.copier.note_existing(current.digest());
                self.copy_content(sourced).await?;
                Ok(None)
            }
            Some(_) if tag.suffix == "sbom" => {
                // The tag contains one document. Clients could not read two.
                let text = format!(
                    "the tag `{}` in `{}` points to other content and is left unchanged",
                    shared.tag, self.to
                );
                self.context.events.warn(text);
                Ok(None)
            }
            Some(current) => {
                self.merge_layers(tag.subject, &shared, current, sourced)
                    .await
            }
        };
        if shared
            .update_and_wait(snapshot.for_long_merge(), add)
            .await?
        {
            self.copier.note_list(&shared.tag);
        }
        Ok(())
    }

    /// Copies all content of a tag that is kept, but does not write the tag.
    async fn copy_content(
        &self,
        SourcedCopy { copy, from }: SourcedCopy<'_>,
    ) -> Result<(), CopyError> {
        match &copy.config {
            None => self.copier.copy_from(from, copy.manifest.digest()).await,
            // This run built the config, so no source has it.
            Some(config) => {
                self.copier.copy_layers(from, &copy.manifest).await?;
                let registry = &self.context.registry;
                if !registry.has_blob(self.to, &Digest::of(config)).await? {
                    registry.put_blob(self.to, config).await?;
                }
                Ok(())
            }
        }
    }

    /// Appends the layers that the destination's manifest lacks.
    async fn merge_layers(
        &self,
        subject: &Digest,
        shared: &SharedTag<'_>,
        current: &Manifest,
        SourcedCopy { copy, from }: SourcedCopy<'_>,
    ) -> Result<Option<Change>, CopyError> {
        let original = &copy.manifest;
        if !is_alike(current, original) {
            return Err(ListError::Occupied {
                tag: shared.full_tag(),
                subject: subject.clone(),
                why: "points to other content than at the source".into(),
            }
            .into());
        }
        self.copier.copy_layers(from, original).await?;
        let config = read_config(self.context, self.to, current).await?;
        Ok(merge(current, config, original)?)
    }
}

/// Returns the digest tags that can belong to `subject`.
fn digest_tags(subject: &Digest) -> impl Iterator<Item = DigestTag<'_>> {
    let tags = DIGEST_TAG_SUFFIXES.into_iter();
    tags.filter_map(|suffix| subject.digest_tag(suffix))
}

/// Reports whether both manifests are lists of the same kind: images that share a layer type.
fn is_alike(one: &Manifest, other: &Manifest) -> bool {
    match (one.kind(), other.kind()) {
        (ManifestKind::Image { layers: one, .. }, ManifestKind::Image { layers: other, .. }) => {
            one.iter().any(|layer| {
                other
                    .iter()
                    .any(|other| other.media_type == layer.media_type)
            })
        }
        (ManifestKind::Index { .. } | ManifestKind::Image { .. }, _) => false,
    }
}
