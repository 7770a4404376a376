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

/// An image manifest as the registry serves it, with the platform from its config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Media type, digest and size.
    pub descriptor: Vouched<Descriptor>,
    /// The platform from the image config, never from an index.
    pub platform: Platform,
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
    /// The platforms are not those that `platforms` names.
    #[error("the children are not for the platforms named in `platforms`: {}", platforms_text(.missing, .unexpected))]
    Platforms {
        /// The named platforms without a child: a lost build job.
        missing: Vec<Platform>,
        /// The platforms of children that are not named.
        unexpected: Vec<Platform>,
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

/// Assembles the index. The same children give the same bytes, in any order and with any repetition.
pub fn assemble(resolved: &[Resolved], wanted: &Wanted<'_>) -> Result<Assembly, AssembleError> {
    let leaves = leaves(resolved);
    let platforms = platform_map(&leaves)?;
    check_platforms(&platforms, wanted.platforms)?;
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
        children,
        named_type,
    })
}

/// Returns every image once, in the order of the index: by the spelling of the platform, and by digest.
fn leaves(resolved: &[Resolved]) -> Vec<&Leaf> {
    let mut leaves: Vec<&Leaf> = resolved.iter().flat_map(|input| &input.leaves).collect();
    leaves.sort_by(|one, other| place(one).cmp(&place(other)));
    leaves.dedup_by(|one, other| place(one) == place(other));
    leaves
}

fn place(leaf: &Leaf) -> impl Ord {
    (leaf.platform.spelling(), &leaf.descriptor.digest)
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
    for leaf in leaves {
        manifests.push(Descriptor {
            platform: Some(leaf.platform.clone()),
            ..bare(&leaf.descriptor)
        });
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

fn platform_map(leaves: &[&Leaf]) -> Result<PlatformMap, AssembleError> {
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
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !found.keys().any(|platform| name.is_name_of(platform)))
        .cloned()
        .collect();
    let unexpected: Vec<_> = found
        .keys()
        .filter(|platform| !named.iter().any(|name| name.is_name_of(platform)))
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
