//! Reads the children that were given, down to the platforms in their image configs.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{ApplyError, Context};
use crate::domain::{
    Descriptor, Digest, ImageConfig, Manifest, ManifestKind, MediaType, Reference, Repository,
};
use crate::inputs::Given;
use crate::plan::{Attestation, Leaf, Resolved, Vouched};

/// Requests that are under way at once.
pub(super) const PARALLEL: usize = 16;
/// No image config is longer.
pub(super) const CONFIG_MAX_BYTES: u64 = 4 << 20;
/// Indexes within indexes, at most.
pub(super) const DEPTH_MAX: usize = 4;
/// What is in one index, at most.
pub(super) const TOTAL_MAX: usize = 1000;

/// The children that were given, and where all that was read of them is.
pub(super) struct Resolution {
    /// In the order of the inputs.
    pub inputs: Vec<Resolved>,
    /// The repository in which each manifest was seen.
    pub places: BTreeMap<Digest, Repository>,
    /// All that is in each digest that was given, at whatever depth, itself included.
    pub inside: BTreeMap<Digest, Vec<Vouched<Descriptor>>>,
}

/// Resolves every digest at its registry. Children that other jobs just pushed may lag: what is not there yet is asked
/// for again, as the retry policy says. What is not there then may be in another of `sources`.
pub(super) async fn resolve_all(
    context: &Context,
    digests: &[Given],
    sources: &[Repository],
) -> Result<Resolution, ApplyError> {
    let mut resolution = Resolution {
        inputs: Vec::new(),
        places: BTreeMap::new(),
        inside: BTreeMap::new(),
    };
    let inputs = digests.iter().map(|given| resolve(context, given, sources));
    let mut inputs = stream::iter(inputs).buffered(PARALLEL);
    while let Some((resolved, found)) = inputs.try_next().await? {
        let mut inside = Vec::new();
        for (descriptor, repository) in found {
            let places = &mut resolution.places;
            places
                .entry(descriptor.digest.clone())
                .or_insert(repository);
            inside.push(descriptor);
        }
        let input = Digest::clone(&resolved.input);
        resolution.inside.insert(input, inside);
        resolution.inputs.push(resolved);
    }
    Ok(resolution)
}

/// Something that is to be read, and where it most likely is: where what lists it was. An input names it, or names an index
/// that leads to it.
type Sought = (Vouched<Digest>, Repository);

/// Reads one digest, down to its leaves. Returns also all that was found on the way, and where.
async fn resolve(
    context: &Context,
    given: &Given,
    sources: &[Repository],
) -> Result<(Resolved, Vec<(Vouched<Descriptor>, Repository)>), ApplyError> {
    let input = Vouched::given(given);
    let mut resolved = Resolved {
        input: input.clone(),
        leaves: Vec::new(),
        attestations: Vec::new(),
    };
    let mut found = Vec::new();
    let mut attesting = Vec::new();
    let mut seen = BTreeSet::from([input.clone()]);
    let mut level = vec![(input.clone(), given.repository().clone())];
    for _ in 0..DEPTH_MAX {
        let reads = level.iter().map(|sought| read(context, sought, sources));
        let mut reads = stream::iter(reads).buffered(PARALLEL);
        let mut next = Vec::new();
        while let Some((read, place)) = reads.try_next().await? {
            match read {
                Read::Image(leaf) => {
                    found.push((leaf.descriptor.clone(), place));
                    resolved.leaves.push(*leaf);
                }
                Read::Index {
                    index,
                    attestations,
                    others,
                } => {
                    attesting.extend(attestations.into_iter().map(|one| (one, place.clone())));
                    // What is listed again has been read: a few indexes could list each other without end.
                    let new = others
                        .into_iter()
                        .filter(|child| seen.insert(child.clone()));
                    next.extend(new.map(|child| (child, place.clone())));
                    found.push((*index, place));
                }
            }
            // The input itself is no child.
            let count = seen.len() - 1 + attesting.len();
            if count > TOTAL_MAX {
                return Err(ApplyError::OddIndex {
                    digest: input.into_content(),
                    children: count,
                });
            }
        }
        drop(reads);
        if next.is_empty() {
            let checked = check_attestations(context, attesting, sources).await?;
            for (attestation, place) in checked {
                found.push((attestation.descriptor.clone(), place));
                resolved.attestations.push(attestation);
            }
            return Ok((resolved, found));
        }
        level = next;
    }
    Err(ApplyError::TooDeep {
        digest: input.into_content(),
        limit: DEPTH_MAX,
    })
}

/// A manifest, and where it is. Garbage collection may have taken it from the one place and left it in another.
async fn find(
    context: &Context,
    (digest, likely): &Sought,
    sources: &[Repository],
) -> Result<(Vouched<Manifest>, Repository), ApplyError> {
    let (mut found, mut place) = (context.manifest_present(likely, digest).await, likely);
    if matches!(found, Err(ApplyError::MissingChild { .. })) {
        let reference = Reference::Digest(Digest::clone(digest));
        for other in sources.iter().filter(|other| *other != likely) {
            if let Some(manifest) = context.registry.manifest(other, &reference).await? {
                (found, place) = (Ok(manifest), other);
                break;
            }
        }
    }
    // The registry client gives out no other content than what was asked for.
    let missing = || ApplyError::MissingChild {
        image: Box::new(likely.at(digest)),
    };
    let found = digest.manifest(found?).ok_or_else(missing)?;
    Ok((found, place.clone()))
}

/// What is behind one digest.
enum Read {
    Image(Box<Leaf>),
    Index {
        index: Box<Vouched<Descriptor>>,
        attestations: Vec<Attesting>,
        others: Vec<Vouched<Digest>>,
    },
}

async fn read(
    context: &Context,
    sought: &Sought,
    sources: &[Repository],
) -> Result<(Read, Repository), ApplyError> {
    let (manifest, place) = find(context, sought, sources).await?;
    let ManifestKind::Index { manifests, .. } = manifest.kind() else {
        let leaf = leaf(context, &place, manifest).await?;
        return Ok((Read::Image(Box::new(leaf)), place));
    };
    if manifests.is_empty() {
        return Err(ApplyError::OddIndex {
            digest: manifest.digest().clone(),
            children: 0,
        });
    }
    let (attestations, others) = set_aside(&manifest)?;
    let index = Read::Index {
        index: Box::new(manifest.described()),
        attestations,
        others: others.iter().map(Vouched::target).collect(),
    };
    Ok((index, place))
}

/// An attestation that an index lists, and the image that it attests.
type Attesting = (Vouched<Descriptor>, Digest);

/// Parts an index's attestations from its other children, which must all be manifests.
fn set_aside(
    index: &Vouched<Manifest>,
) -> Result<(Vec<Attesting>, Vec<Vouched<Descriptor>>), ApplyError> {
    let (attesting, others): (Vec<_>, Vec<_>) =
        index.members().partition(|child| child.attests().is_some());
    let strange = others
        .iter()
        .find(|child| !child.media_type.is_index() && !child.media_type.is_image());
    if let Some(child) = strange {
        return Err(ApplyError::NotAnImage {
            digest: child.digest.clone(),
            is: child.media_type.to_string(),
        });
    }
    let mut attestations = Vec::new();
    for child in attesting {
        let of = child
            .attests()
            .filter(|of| others.iter().any(|other| other.digest == *of));
        let of = of.ok_or_else(|| ApplyError::LostAttestation {
            index: index.digest().clone(),
            digest: child.digest.clone(),
        })?;
        attestations.push((child, of));
    }
    Ok((attestations, others))
}

async fn leaf(
    context: &Context,
    repository: &Repository,
    image: Vouched<Manifest>,
) -> Result<Leaf, ApplyError> {
    let ManifestKind::Image { config, .. } = image.kind() else {
        return Err(ApplyError::NotAnImage {
            digest: image.digest().clone(),
            is: image.media_type().to_string(),
        });
    };
    // What it says goes on, not its bytes, while the config is waited for.
    let (config, descriptor) = (config.clone(), image.described());
    drop(image);
    let missing = || ApplyError::MissingConfig {
        image: Box::new(repository.at(&descriptor.digest)),
        config: config.digest.clone(),
    };
    let blob = context
        .registry
        .blob(repository, &config.digest, CONFIG_MAX_BYTES)
        .await?
        .ok_or_else(missing)?;
    let unusable = |source| ApplyError::NoPlatform {
        image: descriptor.digest.clone(),
        config: config.media_type.to_string(),
        source,
    };
    let read = ImageConfig::parse(&blob).map_err(unusable)?;
    if !read.platform.is_usable() {
        let why = "its `os` and `architecture`, or what qualifies them, are no words for what an image runs on";
        return Err(unusable(serde::de::Error::custom(why)));
    }
    Ok(Leaf {
        version: read.version,
        config_type: config.media_type,
        descriptor,
        platform: read.platform,
    })
}

/// An index with a dangling child must not pass for a whole one, so that attestations are asked for too; what they are and
/// how long is the registry's to say.
async fn check_attestations(
    context: &Context,
    attesting: Vec<(Attesting, Repository)>,
    sources: &[Repository],
) -> Result<Vec<(Attestation, Repository)>, ApplyError> {
    let checks = attesting
        .into_iter()
        .map(|((descriptor, of), likely)| async move {
            let sought = (descriptor.target(), likely);
            let (manifest, place) = find(context, &sought, sources).await?;
            let attestation = Attestation {
                descriptor: manifest.described(),
                of,
                config_type: config_type(&manifest),
            };
            Ok((attestation, place))
        });
    stream::iter(checks).buffered(PARALLEL).try_collect().await
}

/// The media type of an image's config; of an index there is none.
fn config_type(manifest: &Manifest) -> MediaType {
    match manifest.kind() {
        ManifestKind::Image { config, .. } => config.media_type.clone(),
        ManifestKind::Index { .. } => MediaType::from(""),
    }
}
