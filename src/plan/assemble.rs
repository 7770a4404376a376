//! The index as a function of its inputs: which children, in which order, in which bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::vouched::Vouched;
use crate::domain::{Descriptor, Digest, Manifest, ManifestError, MediaType, Platform};
use crate::inputs::IndexType;

/// What an index says runs where: the images by platform, attestations set aside.
pub type PlatformMap = BTreeMap<Platform, Child>;

/// The image that an index has for a platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Child {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
}

/// An image manifest as the registry shows it, with the platform that its config names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Media type, digest and size.
    pub descriptor: Vouched<Descriptor>,
    /// From the image config, never from what an index claims.
    pub platform: Platform,
    /// The media type of the image config.
    pub config_type: MediaType,
    /// The version that the image config's labels state.
    pub version: Option<String>,
}

/// An attestation manifest that stands beside an image in its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Media type, digest and size.
    pub descriptor: Vouched<Descriptor>,
    /// The image that it attests.
    pub of: Digest,
    /// The media type of its config.
    pub config_type: MediaType,
}

/// One of the digests that were given, flattened to what an index can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The digest that was given.
    pub input: Vouched<Digest>,
    /// The images under it.
    pub leaves: Vec<Leaf>,
    /// The attestations under it.
    pub attestations: Vec<Attestation>,
}

/// What the index is to be, beside its children.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The platforms that must be there, no more and no less.
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
    /// What runs where.
    pub platforms: PlatformMap,
    /// Every digest in it, by the input that it came from.
    pub children: BTreeMap<Digest, Vec<Digest>>,
    /// Its media type, where an input names it: then no index of another type is the same.
    pub named_type: Option<MediaType>,
}

/// Why the given children make no index. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// Two images for one platform.
    #[error("two children are for `{platform}`: `{first}` and `{second}`")]
    DuplicatePlatform {
        /// The platform.
        platform: Box<Platform>,
        /// The one with the lower digest.
        first: Digest,
        /// The other.
        second: Digest,
    },
    /// Not the platforms that `platforms` names.
    #[error("the children are not for the platforms named in `platforms`: {}", platforms_text(.missing, .unexpected))]
    Platforms {
        /// Named, but no child is for them: a lost build job.
        missing: Vec<Platform>,
        /// Not named, but a child is for them.
        unexpected: Vec<Platform>,
    },
    /// A Docker list was asked for, but a child is not Docker's.
    #[error("`media-type: docker` was asked for, but `{digest}` is a `{media_type}`")]
    NotDocker {
        /// The child.
        digest: Digest,
        /// What it is.
        media_type: MediaType,
    },
    /// The index could not be written down.
    #[error("could not write the index")]
    Unwritable(#[source] serde_json::Error),
    /// The index could not be read back.
    #[error("the index that was made cannot be read back")]
    Unreadable(#[source] ManifestError),
}

/// Fields in the order in which they are written. SPEC: `mediaType` is written always; some registries refuse without.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u8,
    media_type: &'a MediaType,
    manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl Child {
    /// What an index says of a child.
    pub(super) fn of(descriptor: &Descriptor) -> Self {
        Self {
            digest: descriptor.digest.clone(),
            media_type: descriptor.media_type.clone(),
        }
    }
}

/// Puts the index together. The same children give the same bytes, in whatever order and however often they came.
pub fn assemble(resolved: &[Resolved], wanted: &Wanted<'_>) -> Result<Assembly, AssembleError> {
    let leaves = leaves(resolved);
    let platforms = platform_map(leaves.values().copied())?;
    check_platforms(&platforms, wanted.platforms)?;
    let manifests = in_order(&leaves, resolved);
    let media_type = index_type(&manifests, wanted)?;
    let document = Document {
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
        children,
        named_type,
    })
}

/// Every image once, by platform and digest, which is the order of the index.
fn leaves(resolved: &[Resolved]) -> BTreeMap<(&Platform, &Digest), &Leaf> {
    let leaves = resolved.iter().flat_map(|input| &input.leaves);
    leaves
        .map(|leaf| ((&leaf.platform, &leaf.descriptor.digest), leaf))
        .collect()
}

/// The children of the index: each image, and right behind it what attests it, by digest.
fn in_order(
    leaves: &BTreeMap<(&Platform, &Digest), &Leaf>,
    resolved: &[Resolved],
) -> Vec<Descriptor> {
    let attestations: BTreeMap<(&Digest, &Digest), &Attestation> = resolved
        .iter()
        .flat_map(|input| &input.attestations)
        .map(|attestation| {
            let key = (&attestation.of, &attestation.descriptor.digest);
            (key, attestation)
        })
        .collect();
    let mut manifests = Vec::new();
    for leaf in leaves.values() {
        manifests.push(Descriptor {
            platform: Some(leaf.platform.clone()),
            ..bare(&leaf.descriptor)
        });
        let behind = attestations
            .values()
            .filter(|attestation| attestation.of == leaf.descriptor.digest);
        manifests.extend(
            behind.map(|attestation| bare(&attestation.descriptor).attesting(&attestation.of)),
        );
    }
    manifests
}

fn platform_map<'a>(leaves: impl Iterator<Item = &'a Leaf>) -> Result<PlatformMap, AssembleError> {
    let mut platforms = PlatformMap::new();
    for leaf in leaves {
        let child = Child::of(&leaf.descriptor);
        if let Some(first) = platforms.insert(leaf.platform.clone(), child) {
            return Err(AssembleError::DuplicatePlatform {
                platform: Box::new(leaf.platform.clone()),
                first: first.digest,
                second: leaf.descriptor.digest.clone(),
            });
        }
    }
    Ok(platforms)
}

fn check_platforms(
    found: &PlatformMap,
    named: Option<&BTreeSet<Platform>>,
) -> Result<(), AssembleError> {
    let Some(named) = named else { return Ok(()) };
    // A name such as `windows/amd64` stands for whichever build of Windows the image asks for.
    let fits = |name: &Platform, platform: &Platform| {
        name.os == platform.os
            && name.architecture == platform.architecture
            && name.variant == platform.variant
    };
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !found.keys().any(|platform| fits(name, platform)))
        .cloned()
        .collect();
    let unexpected: Vec<_> = found
        .keys()
        .filter(|platform| !named.iter().any(|name| fits(name, platform)))
        .cloned()
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
    let stranger = manifests
        .iter()
        .find(|child| child.media_type != MediaType::DockerManifest);
    match (wanted.media_type, stranger) {
        (IndexType::Docker, Some(child)) => Err(AssembleError::NotDocker {
            digest: child.digest.clone(),
            media_type: child.media_type.clone(),
        }),
        (IndexType::Docker, None) => Ok(MediaType::DockerList),
        (IndexType::Auto, None) if wanted.annotations.is_empty() => Ok(MediaType::DockerList),
        (IndexType::Auto | IndexType::Oci, _) => Ok(MediaType::OciIndex),
    }
}

/// A descriptor stripped of what some other index said about the same content, so that the bytes written here do not
/// depend on the way by which a child came.
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

fn platforms_text(missing: &[Platform], unexpected: &[Platform]) -> String {
    let names = |platforms: &[Platform]| {
        platforms
            .iter()
            .map(|platform| format!("`{platform}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (missing.is_empty(), unexpected.is_empty()) {
        (false, true) => format!("{} is missing", names(missing)),
        (true, false) => format!("{} is not named", names(unexpected)),
        _ => format!(
            "{} is missing, {} is not named",
            names(missing),
            names(unexpected)
        ),
    }
}
