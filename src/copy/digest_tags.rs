//! Copies the content of cosign's digest tags, `….sig`, `….att` and `….sbom`.

use futures_util::future::try_join_all;

use super::CopyError;
use super::copier::Node;
use super::list_write::{DigestTagWrite, ListWrite};
use super::referrer_copier::{ReferrerCopier, digest_tags};
use super::referrer_filter::DigestTagCopy;
use super::source::{KnownSource, Source};
use crate::domain::{Digest, DigestTag, TagContent, chain_text};
use crate::referrers::{SeenList, SharedTag, SharedTagWriter};

/// The suffix of a tag with one document. Clients could not read two.
const SINGLE: &str = "sbom";

/// The content of a digest tag that is copied, and the sources whose tag has it.
#[derive(Clone, Copy)]
struct SourcedCopy<'b> {
    copy: &'b DigestTagCopy,
    from: &'b [&'b Source],
}

impl<'c> ReferrerCopier<'_, 'c> {
    /// Copies the content of the digest tags of a manifest.
    pub(super) async fn copy_digest_tags(
        &self,
        node: Node<'_>,
        depth: usize,
    ) -> Result<(), CopyError> {
        let each = digest_tags(node.digest)
            .map(|tag| async move { self.copy_digest_tag(node, &tag, depth).await });
        try_join_all(each).await.map(drop)
    }

    async fn copy_digest_tag(
        &self,
        node: Node<'_>,
        tag: &DigestTag<'_>,
        depth: usize,
    ) -> Result<(), CopyError> {
        for source in &self.from {
            if let Some((digest, copy)) = self.read_digest_tag(source, tag).await? {
                let from = self.sources_with_tag(&digest, tag).await?;
                let sourced = SourcedCopy {
                    copy: &copy,
                    from: &from,
                };
                self.copy_tag_or_verified_part(node, tag, sourced, depth)
                    .await?;
            }
        }
        Ok(())
    }

    /// Reads one digest tag of cosign at a source. Returns the digest of its content, and the part that is to be copied.
    pub(super) async fn read_digest_tag(
        &self,
        source: &KnownSource,
        tag: &DigestTag<'_>,
    ) -> Result<Option<(Digest, DigestTagCopy)>, CopyError> {
        let (context, filter) = (self.context, self.filter);
        let KnownSource { source, tags, .. } = source;
        // Content that is not copied need not be read.
        if tag.suffix != "sig" && !filter.copies_all() {
            let there = source.digest_tag_digest(context, tag, tags);
            if there.await?.is_some() {
                filter.note_unread(context, tag);
            }
            return Ok(None);
        }
        match source.digest_tag(context, tag, tags).await? {
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
    ) -> Result<Vec<&'c Source>, CopyError> {
        if let [only] = &self.from[..] {
            return Ok(vec![&only.source]);
        }
        let mut alike = Vec::new();
        for KnownSource { source, tags, .. } in self.from.iter().copied() {
            let found = source.digest_tag_digest(self.context, tag, tags);
            if found.await?.as_ref() == Some(digest) {
                alike.push(source);
            }
        }
        Ok(alike)
    }

    /// Copies the content of a tag. If it cannot be copied as a whole, copies its verified signatures.
    async fn copy_tag_or_verified_part(
        &self,
        node: Node<'_>,
        tag: &DigestTag<'_>,
        sourced: SourcedCopy<'_>,
        depth: usize,
    ) -> Result<(), CopyError> {
        let SourcedCopy { copy, from } = sourced;
        let error = match self.copy_tag(node, tag, sourced, depth).await {
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
                self.copy_tag(node, tag, SourcedCopy { copy, from }, depth)
                    .await
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

    /// Copies what the tag of the destination lacks, and notes that the tag is to be written.
    async fn copy_tag(
        &self,
        node: Node<'_>,
        tag: &DigestTag<'_>,
        sourced: SourcedCopy<'_>,
        depth: usize,
    ) -> Result<(), CopyError> {
        let original = &sourced.copy.manifest;
        let is_single = tag.suffix == SINGLE;
        let shared = SharedTag::of_digest_tag(self.context, self.to, tag);
        let list = SharedTagWriter::new(self.context, shared).writers(self.writers);
        self.copier.note_read(original);
        let snapshot = async {
            if !self.copier.is_there(node.digest).await? {
                self.copier.copy_node(node).await?;
            }
            Ok::<_, CopyError>(list.read_snapshot_of(self.age(node.digest)).await?)
        };
        let layers = async {
            if !is_single {
                let subject = tag.subject;
                self.copier
                    .copy_layers(sourced.from, subject, original)
                    .await?;
            }
            Ok(())
        };
        let (snapshot, ()) = tokio::try_join!(snapshot, layers)?;
        let held = snapshot.list().map(SeenList::digest);
        let has_it = held == Some(original.digest());
        if held.is_some() && !has_it && is_single {
            let text = format!(
                "the tag `{}` in `{}` points to other content and is left unchanged",
                list.tag, self.to
            );
            self.context.events.warn(text);
            return Ok(());
        }
        if has_it {
            self.copier.note_existing(original.digest());
        }
        if has_it || snapshot.is_empty() {
            self.copy_content(tag, sourced, depth).await?;
        }
        if !has_it {
            let write = DigestTagWrite {
                context: self.context,
                list,
                original: original.clone(),
                snapshot,
                is_single,
            };
            self.note_write(ListWrite::digest_tag(write, sourced.copy.is_ours));
        }
        Ok(())
    }

    /// Copies all content of a tag, but does not write the tag.
    async fn copy_content(
        &self,
        tag: &DigestTag<'_>,
        SourcedCopy { copy, from }: SourcedCopy<'_>,
        depth: usize,
    ) -> Result<(), CopyError> {
        let digest = copy.manifest.digest();
        match &copy.config {
            None => {
                self.copier.copy_from(from, digest).await?;
                self.copy_around_referrer(digest, None, depth).await
            }
            // This run built the config, so no source has it.
            Some(config) => {
                let subject = tag.subject;
                self.copier
                    .copy_layers(from, subject, &copy.manifest)
                    .await?;
                let registry = &self.context.registry;
                if !registry.has_blob(self.to, &Digest::of(config)).await? {
                    registry.put_blob(self.to, config).await?;
                }
                Ok(())
            }
        }
    }
}
