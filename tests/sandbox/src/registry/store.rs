//! The content of the registry. Plain state without HTTP; lag is here because it changes the result of reads.

use super::digest::Algorithm;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// All repositories and open uploads.
#[derive(Clone, Default)]
pub(crate) struct Store {
    repositories: HashMap<String, Repository>,
    uploads: HashMap<String, Upload>,
    uploads_begun: u64,
    expired: BTreeSet<(String, String)>,
    /// Every digest ever pushed, in order; its position is its number.
    numbers: Vec<String>,
    /// The tags that lists return instead of the current ones, and the number of these lists.
    kept: (u32, HashMap<String, Tags>),
    pub(crate) lag: u32,
}

/// Tags and their digests.
type Tags = BTreeMap<String, String>;

#[derive(Clone, Default)]
struct Repository {
    blobs: HashMap<String, Bytes>,
    manifests: HashMap<String, Manifest>,
    /// Digests in the order of their pushes, for lists.
    order: Vec<String>,
    tags: BTreeMap<String, Tag>,
}

/// A manifest as it was pushed.
#[derive(Clone)]
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
    hidden_for: u32,
}

#[derive(Clone)]
struct Tag {
    digest: String,
    hidden_for: u32,
    /// The digest that reads return while the new one is hidden.
    before: Option<String>,
}

/// An open blob upload.
#[derive(Clone, Default)]
pub(crate) struct Upload {
    pub(crate) repository: String,
    pub(crate) bytes: Vec<u8>,
    /// True if a part was sent that is too short for any but the last part.
    pub(crate) has_last: bool,
}

impl Store {
    /// True if anything was ever pushed there.
    pub(crate) fn knows(&self, repository: &str) -> bool {
        self.repositories.contains_key(repository)
    }

    /// True if the tag existed and was deleted.
    pub(crate) fn has_expired(&self, repository: &str, tag: &str) -> bool {
        self.expired
            .contains(&(repository.to_owned(), tag.to_owned()))
    }

    pub(crate) fn put_blob(
        &mut self,
        repository: &str,
        algorithm: Algorithm,
        bytes: &[u8],
    ) -> String {
        let digest = algorithm.digest(bytes);
        self.repository(repository)
            .blobs
            .insert(digest.clone(), Bytes::copy_from_slice(bytes));
        digest
    }

    pub(crate) fn blob(&self, repository: &str, digest: &str) -> Option<&Bytes> {
        self.repositories.get(repository)?.blobs.get(digest)
    }

    pub(crate) fn forget_blob(&mut self, repository: &str, digest: &str) -> bool {
        self.repository(repository).blobs.remove(digest).is_some()
    }

    /// Copies a blob from one repository to another.
    pub(crate) fn mount(&mut self, repository: &str, digest: &str, from: &str) -> bool {
        let Some(bytes) = self.blob(from, digest).cloned() else {
            return false;
        };
        self.repository(repository)
            .blobs
            .insert(digest.to_owned(), bytes);
        true
    }

    pub(crate) fn put_manifest(
        &mut self,
        repository: &str,
        algorithm: Algorithm,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let digest = algorithm.digest(bytes);
        let lag = self.lag;
        if !self.numbers.contains(&digest) {
            self.numbers.push(digest.clone());
        }
        let place = self.repository(repository);
        if !place.manifests.contains_key(&digest) {
            place.order.push(digest.clone());
            let manifest = Manifest {
                digest: digest.clone(),
                media_type: media_type.to_owned(),
                bytes: Bytes::copy_from_slice(bytes),
                hidden_for: lag,
            };
            place.manifests.insert(digest.clone(), manifest);
        }
        digest
    }

    pub(crate) fn set_tag(&mut self, repository: &str, tag: &str, digest: &str) {
        let lag = self.lag;
        let tags = &mut self.repository(repository).tags;
        let before = tags.get(tag).map(|tag| tag.digest.clone());
        if before.as_deref() != Some(digest) {
            let new = Tag {
                digest: digest.to_owned(),
                hidden_for: lag,
                before,
            };
            tags.insert(tag.to_owned(), new);
        }
    }

    pub(crate) fn tags(&self, repository: &str) -> BTreeMap<String, String> {
        let Some(place) = self.repositories.get(repository) else {
            return BTreeMap::new();
        };
        let pair = |(name, tag): (&String, &Tag)| (name.clone(), tag.digest.clone());
        place.tags.iter().map(pair).collect()
    }

    /// Makes the next `lists` lists return the present tags.
    pub(crate) fn keep_lists(&mut self, lists: u32) {
        let all = self.repositories.keys();
        let tags = all.map(|name| (name.clone(), self.tags(name))).collect();
        self.kept = (lists, tags);
    }

    /// Returns the tags in a list, which may lag.
    pub(crate) fn listed_tags(&mut self, repository: &str) -> BTreeMap<String, String> {
        let (left, tags) = &mut self.kept;
        if *left == 0 {
            return self.tags(repository);
        }
        *left -= 1;
        tags.get(repository).cloned().unwrap_or_default()
    }

    /// Returns the number of a pushed digest.
    pub(crate) fn number_of(&self, digest: &str) -> usize {
        let position = self.numbers.iter().position(|known| known == digest);
        position.map_or(0, |position| position + 1)
    }

    /// Returns the manifest of a tag or digest, without lag.
    pub(crate) fn manifest(&self, repository: &str, reference: &str) -> Option<&Manifest> {
        let place = self.repositories.get(repository)?;
        let digest = place
            .tags
            .get(reference)
            .map_or(reference, |tag| tag.digest.as_str());
        place.manifests.get(digest)
    }

    /// Returns the manifest that a client reads. Each read of new content reduces its lag by one.
    pub(crate) fn read_manifest(&mut self, repository: &str, reference: &str) -> Option<Manifest> {
        let place = self.repositories.get_mut(repository)?;
        if let Some(tag) = place.tags.get_mut(reference) {
            if tag.hidden_for > 0 {
                tag.hidden_for -= 1;
                return place.manifests.get(tag.before.as_ref()?).cloned();
            }
            return place.manifests.get(&tag.digest).cloned();
        }
        let manifest = place.manifests.get_mut(reference)?;
        if manifest.hidden_for > 0 {
            manifest.hidden_for -= 1;
            return None;
        }
        Some(manifest.clone())
    }

    pub(crate) fn manifest_digests(&self, repository: &str) -> Vec<String> {
        self.manifests(repository)
            .map(|manifest| manifest.digest.clone())
            .collect()
    }

    /// Returns all manifests of a repository, oldest first.
    pub(crate) fn manifests(&self, repository: &str) -> impl Iterator<Item = &Manifest> {
        let place = self.repositories.get(repository);
        place.into_iter().flat_map(|place| {
            place
                .order
                .iter()
                .filter_map(|digest| place.manifests.get(digest))
        })
    }

    pub(crate) fn forget_manifest(&mut self, repository: &str, digest: &str) -> bool {
        let place = self.repository(repository);
        place.order.retain(|known| known != digest);
        place.manifests.remove(digest).is_some()
    }

    /// Deletes a manifest and its tags: a client's deletion by digest.
    pub(crate) fn delete_with_tags(&mut self, repository: &str, digest: &str) -> bool {
        let place = self.repository(repository);
        place.tags.retain(|_, tag| tag.digest != digest);
        self.forget_manifest(repository, digest)
    }

    pub(crate) fn delete_tag(&mut self, repository: &str, tag: &str) -> bool {
        let gone = self.repository(repository).tags.remove(tag).is_some();
        if gone {
            self.expired.insert((repository.to_owned(), tag.to_owned()));
        }
        gone
    }

    /// Opens an upload; returns its id.
    pub(crate) fn begin_upload(&mut self, repository: &str) -> String {
        self.repository(repository);
        self.uploads_begun += 1;
        let id = format!("upload-{}", self.uploads_begun);
        let upload = Upload {
            repository: repository.to_owned(),
            ..Upload::default()
        };
        self.uploads.insert(id.clone(), upload);
        id
    }

    pub(crate) fn upload(&mut self, repository: &str, id: &str) -> Option<&mut Upload> {
        let upload = self.uploads.get_mut(id)?;
        (upload.repository == repository).then_some(upload)
    }

    pub(crate) fn open_uploads(&self) -> usize {
        self.uploads.len()
    }

    pub(crate) fn end_upload(&mut self, id: &str) {
        self.uploads.remove(id);
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }
}
