//! The index as a function of its inputs: its children, their order, and its bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::vouched::Vouched;
use crate::domain::{Descriptor, Digest, Manifest, ManifestError, MediaType, Platform};
use crate::inputs::IndexType;

/// The images of an index by platform, without attestations.
pub type PlatformMap = BTreeMap<Platform, Child>;

/// The image of an index for one platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Child {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
}

/// The images of an index, with or without platforms. One image may be there for several platforms.
pub type IndexImages = BTreeSet<IndexImage>;

/// An image of an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexImage {
    /// Its platform, if the index lists it under one.
    pub platform: Option<Platform>,
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
}

/// An image manifest as the registry serves it, with the platform under which it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Media type, digest and size.
    pub descriptor: Vouched<Descriptor>,
    /// The platform, as [`listed`](super::listed) decides it.
    pub platform: Option<Platform>,
    /// The platform that the image config states.
    pub stated: Platform,
    /// The media type of the image config.
    pub config_type: MediaType,
    /// The version that the image config's labels state.
    pub version: Option<String>,
}

/// An attestation manifest beside an image in its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Media type, digest and size.
    pub descriptor: Vouched<Descriptor>,
    /// The image that it attests.
    pub of: Digest,
    /// The media type of its config.
    pub config_type: MediaType,
}

/// One of the digests that were given, flattened to the manifests that an index can contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The digest that was given.
    pub input: Vouched<Digest>,
    /// The images under it.
    pub leaves: Vec<Leaf>,
    /// The attestations under it.
    pub attestations: Vec<Attestation>,
}

/// The wanted properties of the index, apart from its children.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The platforms that must be present, no more and no less.
    pub platforms: Option<&'a BTreeSet<Platform>>,
    /// Its annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// Its kind.
    pub media_type: IndexType,
}

/// An index that is ready to be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// Its bytes and its digest.
    pub manifest: Vouched<Manifest>,
    /// The images by platform.
    pub platforms: PlatformMap,
    /// All images.
    pub images: IndexImages,
    /// Every digest in it, by the input that contains it.
    pub children: BTreeMap<Digest, Vec<Digest>>,
    /// Its media type, if an input names it. Then an index of another type is not equal.
    pub named_type: Option<MediaType>,
}

/// The reason why the given children make no index. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// Two images are for one platform.
    #[error("two children are for `{platform}`: `{first}` and `{second}`")]
    DuplicatePlatform {
        /// The platform.
        platform: Box<Platform>,
        /// The one with the lower digest.
        first: Digest,
        /// The other.
        second: Digest,
    },
    /// One of the given indexes lists two images for one platform.
    #[error("the index `{index}` lists two images for `{platform}`: `{first}` and `{second}`")]
    SeveralInIndex {
        /// The index.
        index: Digest,
        /// The platform.
        platform: Box<Platform>,
        /// The image with the lower digest.
        first: Digest,
        /// The other.
        second: Digest,
    },
    /// The platforms are not those that `platforms` names.
    #[error("the children are not for the platforms named in `platforms`: {}", platforms_text(.missing, .unexpected))]
    Platforms {
        /// The named platforms without a child: a lost build job.
        missing: Vec<Platform>,
        /// The platforms of children that are not named; `None` for children without a platform.
        unexpected: Vec<Option<Platform>>,
    },
    /// A Docker list was requested, but a child is not a Docker manifest.
    #[error("`media-type` is `docker`, but `{digest}` is a `{media_type}`")]
    NotDocker {
        /// The child.
        digest: Digest,
        /// Its media type.
        media_type: MediaType,
    },
    /// The index could not be serialised.
    #[error("could not write the index")]
    Unwritable(#[source] serde_json::Error),
    /// The index could not be read back.
    #[error("the index that was made cannot be read back")]
    Unreadable(#[source] ManifestError),
}

/// Fields in the order in which they are written. SPEC: `mediaType` is always written; some registries refuse an index
/// without it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexDocument<'a> {
    schema_version: u8,
    media_type: &'a MediaType,
    manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl Child {
    /// Makes the child for an entry of an index.
    pub(super) fn of(descriptor: &Descriptor) -> Self {
        Self {
            digest: descriptor.digest.clone(),
            media_type: descriptor.media_type.clone(),
        }
    }
}

impl IndexImage {
    /// Makes the image for an entry of an index that lists it under `platform`.
    pub(super) fn of(descriptor: &Descriptor, platform: Option<Platform>) -> Self {
        Self {
            platform,
            digest: descriptor.digest.clone(),
            media_type: descriptor.media_type.clone(),
        }
    }
}

impl Resolved {
    /// Returns its images.
    pub(super) fn images(&self) -> impl Iterator<Item = IndexImage> {
        let leaves = self.leaves.iter();
        leaves.map(|leaf| IndexImage::of(&leaf.descriptor, leaf.platform.clone()))
    }
}

/// Assembles the index. The same children give the same bytes, in any order and with any repetition.
pub fn assemble(resolved: &[Resolved], wanted: &Wanted<'_>) -> Result<Assembly, AssembleError> {
    let leaves = leaves(resolved);
    let platforms = platform_map(&leaves, resolved)?;
    let images: IndexImages = resolved.iter().flat_map(Resolved::images).collect();
    check_platforms(&images, wanted.platforms)?;
    let manifests = in_order(&leaves, resolved);
    let media_type = index_type(&manifests, wanted)?;
    let document = IndexDocument {
        schema_version: 2,
        media_type: &media_type,
        manifests,
        annotations: wanted.annotations,
    };
    let bytes = serde_json::to_vec(&document).map_err(AssembleError::Unwritable)?;
    let children = resolved
        .iter()
        .map(|input| (Digest::clone(&input.input), members(input)))
        .collect();
    let named_type = match wanted.media_type {
        IndexType::Auto => None,
        IndexType::Oci | IndexType::Docker => Some(media_type.clone()),
    };
    let manifest = Manifest::parse(bytes, media_type).map_err(AssembleError::Unreadable)?;
    Ok(Assembly {
        manifest: Vouched::made(manifest),
        platforms,
        images,
        children,
        named_type,
    })
}

/// Returns every image once for each of its platforms, in the order of the index: by the spelling of the platform, and by
/// digest.
fn leaves(resolved: &[Resolved]) -> Vec<&Leaf> {
    let mut leaves: Vec<&Leaf> = resolved.iter().flat_map(|input| &input.leaves).collect();
    leaves.sort_by(|one, other| place(one).cmp(&place(other)));
    let mut seen = BTreeSet::new();
    leaves.retain(|leaf| seen.insert((&leaf.platform, &leaf.descriptor.digest)));
    leaves
}

fn place(leaf: &Leaf) -> impl Ord {
    let spelling = leaf.platform.as_ref().map(Platform::spelling);
    (spelling, &leaf.descriptor.digest)
}

/// Returns the children of the index: each image, followed by its attestations in the order of their digests.
fn in_order(leaves: &[&Leaf], resolved: &[Resolved]) -> Vec<Descriptor> {
    let attestations: BTreeMap<(&Digest, &Digest), &Attestation> = resolved
        .iter()
        .flat_map(|input| &input.attestations)
        .map(|attestation| {
            let key = (&attestation.of, &attestation.descriptor.digest);
            (key, attestation)
        })
        .collect();
    let mut manifests = Vec::new();
    let mut attested = BTreeSet::new();
    for leaf in leaves {
        manifests.push(Descriptor {
            platform: leaf.platform.clone(),
            ..bare(&leaf.descriptor)
        });
        if !attested.insert(&leaf.descriptor.digest) {
            continue;
        }
        let its_attestations = attestations
            .values()
            .filter(|attestation| attestation.of == leaf.descriptor.digest);
        manifests.extend(
            its_attestations
                .map(|attestation| bare(&attestation.descriptor).attesting(&attestation.of)),
        );
    }
    manifests
}

/// Returns the images by platform. Two images for one platform are refused.
fn platform_map(leaves: &[&Leaf], resolved: &[Resolved]) -> Result<PlatformMap, AssembleError> {
    let mut platforms = PlatformMap::new();
    for leaf in leaves {
        let Some(platform) = &leaf.platform else {
            continue;
        };
        let (second, child) = (&leaf.descriptor.digest, Child::of(&leaf.descriptor));
        let Some(first) = platforms.insert(platform.clone(), child) else {
            continue;
        };
        let (first, second) = (first.digest, second.clone());
        let platform = Box::new(platform.clone());
        let lists_both = |input: &&Resolved| {
            let is_for = |digest: &Digest| {
                let mut leaves = input.leaves.iter();
                leaves.any(|leaf| {
                    leaf.descriptor.digest == *digest && leaf.platform.as_ref() == Some(&*platform)
                })
            };
            is_for(&first) && is_for(&second)
        };
        return Err(match resolved.iter().find(lists_both) {
            Some(index) => AssembleError::SeveralInIndex {
                index: Digest::clone(&index.input),
                platform,
                first,
                second,
            },
            None => AssembleError::DuplicatePlatform {
                platform,
                first,
                second,
            },
        });
    }
    Ok(platforms)
}

fn check_platforms(
    found: &IndexImages,
    named: Option<&BTreeSet<Platform>>,
) -> Result<(), AssembleError> {
    let Some(named) = named else { return Ok(()) };
    let is_found = |name: &&Platform| {
        let mut platforms = found.iter().filter_map(|image| image.platform.as_ref());
        platforms.any(|platform| name.is_name_of(platform))
    };
    let is_named = |platform: &Option<Platform>| {
        let platform = platform.as_ref();
        platform.is_some_and(|platform| named.iter().any(|name| name.is_name_of(platform)))
    };
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !is_found(name))
        .cloned()
        .collect();
    let unexpected: BTreeSet<_> = found.iter().map(|image| image.platform.clone()).collect();
    let unexpected: Vec<_> = unexpected
        .into_iter()
        .filter(|found| !is_named(found))
        .collect();
    if missing.is_empty() && unexpected.is_empty() {
        Ok(())
    } else {
        Err(AssembleError::Platforms {
            missing,
            unexpected,
        })
    }
}

fn index_type(manifests: &[Descriptor], wanted: &Wanted<'_>) -> Result<MediaType, AssembleError> {
    let first_non_docker = manifests
        .iter()
        .find(|child| child.media_type != MediaType::DockerManifest);
    match (wanted.media_type, first_non_docker) {
        (IndexType::Docker, Some(child)) => Err(AssembleError::NotDocker {
            digest: child.digest.clone(),
            media_type: child.media_type.clone(),
        }),
        (IndexType::Docker, None) => Ok(MediaType::DockerList),
        (IndexType::Auto, None) if wanted.annotations.is_empty() => Ok(MediaType::DockerList),
        (IndexType::Auto | IndexType::Oci, _) => Ok(MediaType::OciIndex),
    }
}

/// Reduces a descriptor to its required fields, without what another index states about the same content. The bytes of
/// the new index then do not depend on the source of a child.
fn bare(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(
        descriptor.media_type.clone(),
        descriptor.size,
        descriptor.digest.clone(),
    )
}

fn members(input: &Resolved) -> Vec<Digest> {
    let leaves = input.leaves.iter().map(|leaf| &leaf.descriptor.digest);
    let attestations = input
        .attestations
        .iter()
        .map(|attestation| &attestation.descriptor.digest);
    leaves
        .chain(attestations)
        .cloned()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn platforms_text(missing: &[Platform], unexpected: &[Option<Platform>]) -> String {
    let missing = missing.iter().map(|platform| format!("`{platform}`"));
    let unexpected = unexpected.iter().map(|platform| match platform {
        Some(platform) => format!("`{platform}`"),
        None => "an image without a platform".to_owned(),
    });
    let (missing, unexpected) = (missing.collect::<Vec<_>>(), unexpected.collect::<Vec<_>>());
    let lacking = format!("{} is missing", missing.join(", "));
    let extra = format!("{} is not named", unexpected.join(", "));
    match (missing.is_empty(), unexpected.is_empty()) {
        (false, true) => lacking,
        (true, false) => extra,
        _ => format!("{lacking}, {extra}"),
    }
}
