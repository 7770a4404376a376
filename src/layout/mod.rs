//! Images on disk: a folder in the OCI image layout, as written by skopeo, regctl, crane, `BuildKit` and cosign. It is
//! read and never written. The folder comes from outside: reads are bounded, digests are checked, and links out are
//! refused.
//!
//! Source: OCI image specification, `image-layout.md`.

mod document;
mod error;
mod folder;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::domain::{
    Algorithm, Descriptor, Digest, DigestTag, Manifest, ManifestError, ManifestKind, MediaType,
};
use document::{media_type, referrer};
use error::first_of;
use folder::{Folder, place};

pub use error::LayoutError;

/// The largest manifest that registries accept.
const MANIFEST_MAX_BYTES: u64 = 4 << 20;
const MARKER_MAX_BYTES: u64 = 4096;
/// The annotation with the name of an image in the folder.
const NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with cosign's kind of a saved entry: an image, or content that belongs to one.
const KIND: &str = "kind";
/// The kinds that belong to an image, with the suffixes of their digest tags in a registry.
const KINDS_BESIDE: [(&str, &str); 2] = [
    ("dev.cosignproject.cosign/sigs", "sig"),
    ("dev.cosignproject.cosign/atts", "att"),
];

/// A folder in the OCI image layout.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: Folder,
    entries: Vec<Descriptor>,
    referrers: BTreeMap<Digest, Vec<Descriptor>>,
}

/// The file `oci-layout`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens the folder `path` and reads its index. Messages call it `name`.
    pub fn open(path: &Path, name: &str) -> Result<Self, LayoutError> {
        let is_none = |why: &str| LayoutError::NoLayout {
            folder: name.to_owned(),
            why: why.to_owned(),
        };
        let folder = Folder::open(path, name)?;
        let marker = folder.read("oci-layout", MARKER_MAX_BYTES)?;
        let marker = marker.ok_or_else(|| is_none("it has no file `oci-layout`"))?;
        let marker: Marker = serde_json::from_slice(&marker)
            .map_err(|_| is_none("its file `oci-layout` names no version"))?;
        if marker.image_layout_version.split('.').next() != Some("1") {
            return Err(is_none("it is of another version than 1"));
        }
        let index = folder.read("index.json", MANIFEST_MAX_BYTES)?;
        let index = index.ok_or_else(|| is_none("it has no file `index.json`"))?;
        let index = Manifest::parse(index, MediaType::OciIndex);
        let index = index.map_err(|source| malformed(&folder, "index.json", source))?;
        Ok(Self {
            entries: index.children().to_vec(),
            referrers: referrers(&folder)?,
            folder,
        })
    }

    /// Returns the folder's name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.folder.name
    }

    /// Returns the image with the name `tag`; without `tag`, the only image, or the only one with a name. `oras` lists the
    /// parts of an index without names beside it.
    pub fn image(&self, tag: Option<&str>) -> Result<&Descriptor, LayoutError> {
        if let Some(tag) = tag {
            return self.named(tag).ok_or_else(|| LayoutError::NoImage {
                folder: self.folder.name.clone(),
                tag: tag.to_owned(),
                images: self.names(),
            });
        }
        let mut images: Vec<&Descriptor> = self.images().collect();
        if images.len() > 1 {
            images.retain(|image| !self.is_referrer(image));
        }
        let with_name = images.iter().copied().filter(|image| has_name(image));
        let with_name: Vec<&Descriptor> = with_name.collect();
        let only = only_image(&images).or_else(|| only_image(&with_name));
        only.ok_or_else(|| LayoutError::ManyImages {
            folder: self.folder.name.clone(),
            images: self.names(),
        })
    }

    /// Returns the error that names the images of `index` that the folder lacks, if `digest` is one of them or part of one
    /// (`parent`). `None` if the folder does not contain the index.
    #[must_use]
    pub fn incomplete(
        &self,
        index: &Manifest,
        digest: &Digest,
        parent: Option<&Digest>,
    ) -> Option<LayoutError> {
        self.blob(index.digest()).ok()??;
        let lacked = |child| Some((child, self.lacked_part(child)?));
        let missing: Vec<(&Descriptor, Digest)> =
            index.children().iter().filter_map(lacked).collect();
        let is_it = |child: &Descriptor| child.digest == *digest || Some(&child.digest) == parent;
        missing.iter().find(|(child, _)| is_it(child))?;
        let (attestations, images): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|(child, _)| child.attests().is_some());
        let named = if images.is_empty() {
            attestations
        } else {
            images
        };
        let texts = named
            .into_iter()
            .map(|(child, lacked)| missing_text(child, &lacked));
        Some(LayoutError::Incomplete {
            folder: self.folder.name.clone(),
            index: index.digest().clone(),
            missing: first_of(texts),
        })
    }

    /// Returns the digest of a child of an index if the folder lacks it, or that of its first config or layer that the
    /// folder lacks.
    fn lacked_part(&self, child: &Descriptor) -> Option<Digest> {
        let is_lacked = |digest: &Digest| matches!(self.blob(digest), Ok(None));
        if is_lacked(&child.digest) {
            return Some(child.digest.clone());
        }
        let manifest = self.manifest(&child.digest).ok()??;
        let ManifestKind::Image { config, layers, .. } = manifest.kind() else {
            return None;
        };
        let mut parts = iter::once(&**config).chain(layers);
        let lacked = parts.find(|part| !part.is_foreign() && is_lacked(&part.digest));
        lacked.map(|part| part.digest.clone())
    }

    /// Returns the entries that are images and belong to no other image.
    fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.entries.iter().filter(|entry| {
            let kind = entry.annotations.get(KIND).map(String::as_str);
            let name = entry.annotations.get(NAME).map(String::as_str);
            let belongs = KINDS_BESIDE.iter().any(|(own, _)| kind == Some(own))
                || name.is_some_and(names_digest);
            (entry.media_type.is_index() || entry.media_type.is_image()) && !belongs
        })
    }

    fn is_referrer(&self, entry: &Descriptor) -> bool {
        let mut referrers = self.referrers.values().flatten();
        referrers.any(|referrer| referrer.digest == entry.digest)
    }

    /// Returns the referrers of `subject`, even if the index does not list them: cosign 3 saves bundles without listing them.
    #[must_use]
    pub fn referrers(&self, subject: &Digest) -> &[Descriptor] {
        self.referrers.get(subject).map_or(&[], Vec::as_slice)
    }

    /// Returns the entry with the name `name`: a tag alone, or a full reference that ends in it.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Descriptor> {
        let is_named = |entry: &&Descriptor| {
            let own = entry.annotations.get(NAME).map(String::as_str);
            own.is_some_and(|own| {
                own == name
                    || own
                        .strip_suffix(name)
                        .is_some_and(|before| before.ends_with(':') && before.contains('/'))
            })
        };
        self.entries.iter().find(is_named)
    }

    /// Returns the manifest that a registry would have under the digest tag `tag`. `cosign save` does not record the
    /// subject of the signatures that it saves beside its one image.
    #[must_use]
    pub fn digest_tag(&self, tag: &DigestTag<'_>) -> Option<&Descriptor> {
        self.named(tag.tag.as_str()).or_else(|| {
            let (kind, _) = KINDS_BESIDE.iter().find(|(_, own)| *own == tag.suffix)?;
            let is_kind =
                |entry: &&Descriptor| entry.annotations.get(KIND).is_some_and(|own| own == kind);
            let is_only = self.images().all(|image| image.digest == *tag.subject);
            self.entries.iter().find(is_kind).filter(|_| is_only)
        })
    }

    /// Reads the manifest `digest`; `None` if the folder does not contain it.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, LayoutError> {
        let place = place(digest);
        let Some(bytes) = self.folder.read(&place, MANIFEST_MAX_BYTES)? else {
            return Ok(None);
        };
        let computed = digest.algorithm().digest(&bytes);
        if computed != *digest {
            let path = self.folder.shown(&place);
            return Err(LayoutError::OtherContent { path, computed });
        }
        let media_type = media_type(&bytes);
        let manifest = Manifest::parse_as(bytes, media_type, digest.algorithm());
        manifest
            .map(Some)
            .map_err(|source| malformed(&self.folder, &place, source))
    }

    /// Returns the file of the blob `digest`; `None` if the folder does not contain it.
    pub fn blob(&self, digest: &Digest) -> Result<Option<PathBuf>, LayoutError> {
        self.folder.file(&place(digest))
    }

    /// Reads the blob `digest`, of at most `limit` bytes; `None` if the folder does not contain it.
    pub fn content(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        let place = place(digest);
        let Some(bytes) = self.folder.read(&place, limit)? else {
            return Ok(None);
        };
        let computed = digest.algorithm().digest(&bytes);
        if computed == *digest {
            Ok(Some(bytes))
        } else {
            let path = self.folder.shown(&place);
            Err(LayoutError::OtherContent { path, computed })
        }
    }

    fn names(&self) -> Vec<String> {
        let name = |entry: &Descriptor| {
            let name = entry.annotations.get(NAME).cloned();
            name.unwrap_or_else(|| entry.digest.to_string())
        };
        self.images().map(name).collect()
    }
}

/// Returns the image of these entries, if all are of one. One image may have several names.
fn only_image<'a>(entries: &[&'a Descriptor]) -> Option<&'a Descriptor> {
    let first = *entries.first()?;
    let is_only = entries.iter().all(|entry| entry.digest == first.digest);
    is_only.then_some(first)
}

fn has_name(entry: &Descriptor) -> bool {
    let name = entry.annotations.get(NAME);
    name.is_some_and(|name| !name.is_empty())
}

/// Names a child of an index, and its part that is missing.
fn missing_text(child: &Descriptor, lacked: &Digest) -> String {
    let part = if child.digest == *lacked {
        String::new()
    } else {
        format!(" without `{lacked}`")
    };
    let digest = &child.digest;
    match &child.platform {
        Some(platform) if !platform.is_unknown() => format!("{platform} (`{digest}`{part})"),
        Some(_) | None => format!("`{digest}`{part}"),
    }
}

/// True if `name` is that of a referrers tag or a digest tag.
fn names_digest(name: &str) -> bool {
    let (algorithm, _) = name.split_once('-').unwrap_or_default();
    Algorithm::ALL.iter().any(|one| one.name() == algorithm)
}

/// Collects the referrers of each subject. Reads every file that can be a manifest. Digests are checked when a file is used.
fn referrers(folder: &Folder) -> Result<BTreeMap<Digest, Vec<Descriptor>>, LayoutError> {
    let mut found: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
    for digest in folder.digests()? {
        let document = folder.document(&place(&digest), MANIFEST_MAX_BYTES)?;
        if let Some((subject, entry)) = document.and_then(|bytes| referrer(&bytes, digest)) {
            found.entry(subject).or_default().push(entry);
        }
    }
    Ok(found)
}

fn malformed(folder: &Folder, place: &str, source: ManifestError) -> LayoutError {
    LayoutError::Malformed {
        path: folder.shown(place),
        source,
    }
}
