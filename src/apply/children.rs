//! Reads the children that were given, down to the platforms in their image configs.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{ApplyError, Context};
use crate::domain::{
    Descriptor, Digest, ImageConfig, Manifest, ManifestKind, Reference, Repository,
};
use crate::inputs::Given;
use crate::plan::{Attestation, Leaf, Resolved};

/// Requests that are under way at once.
pub(super) const PARALLEL: usize = 16;
const CONFIG_MAX_BYTES: u64 = 4 << 20;
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
    };
    let inputs = digests.iter().map(|given| resolve(context, given, sources));
    let mut inputs = stream::iter(inputs).buffered(PARALLEL);
    while let Some((resolved, repository)) = inputs.try_next().await? {
        let leaves = resolved.leaves.iter().map(|leaf| &leaf.descriptor);
        let attestations = resolved.attestations.iter();
        let found = leaves.chain(attestations.map(|attestation| &attestation.descriptor));
        let found = found.map(|child| &child.digest).chain([&resolved.input]);
        for digest in found {
            let places = &mut resolution.places;
            places
                .entry(digest.clone())
                .or_insert_with(|| repository.clone());
        }
        resolution.inputs.push(resolved);
    }
    Ok(resolution)
}

/// Reads one digest, down to its leaves, where it is.
async fn resolve(
    context: &Context,
    given: &Given,
    sources: &[Repository],
) -> Result<(Resolved, Repository), ApplyError> {
    let own = resolve_in(context, &given.repository, &given.digest).await;
    let lost = matches!(&own, Err(ApplyError::MissingChild { image }) if **image == given.repository.at(&given.digest));
    let others = sources.iter().filter(|other| **other != given.repository);
    if lost {
        for other in others {
            let reference = Reference::Digest(given.digest.clone());
            let found = context.registry.manifest_digest(other, &reference).await?;
            if found.is_some() {
                let resolved = resolve_in(context, other, &given.digest).await?;
                return Ok((resolved, other.clone()));
            }
        }
    }
    Ok((own?, given.repository.clone()))
}

async fn resolve_in(
    context: &Context,
    repository: &Repository,
    input: &Digest,
) -> Result<Resolved, ApplyError> {
    let mut resolved = Resolved {
        input: input.clone(),
        leaves: Vec::new(),
        attestations: Vec::new(),
    };
    let mut seen = BTreeSet::from([input.clone()]);
    let mut level = vec![input.clone()];
    for _ in 0..DEPTH_MAX {
        let reads = level.iter().map(|digest| read(context, repository, digest));
        let mut reads = stream::iter(reads).buffered(PARALLEL);
        let mut next = Vec::new();
        while let Some(read) = reads.try_next().await? {
            match read {
                Read::Image(leaf) => resolved.leaves.push(*leaf),
                Read::Index {
                    attestations,
                    others,
                } => {
                    resolved.attestations.extend(attestations);
                    // What is listed again has been read: a few indexes could list each other without end.
                    next.extend(
                        others
                            .into_iter()
                            .filter(|child| seen.insert(child.clone())),
                    );
                }
            }
            // The input itself is no child.
            let count = seen.len() - 1 + resolved.attestations.len();
            if count > TOTAL_MAX {
                return Err(ApplyError::OddIndex {
                    digest: input.clone(),
                    children: count,
                });
            }
        }
        drop(reads);
        if next.is_empty() {
            resolved.attestations =
                check_attestations(context, repository, resolved.attestations).await?;
            return Ok(resolved);
        }
        level = next;
    }
    Err(ApplyError::TooDeep {
        digest: input.clone(),
        limit: DEPTH_MAX,
    })
}

/// What is behind one digest.
enum Read {
    Image(Box<Leaf>),
    Index {
        attestations: Vec<Attestation>,
        others: Vec<Digest>,
    },
}

async fn read(
    context: &Context,
    repository: &Repository,
    digest: &Digest,
) -> Result<Read, ApplyError> {
    let manifest = context.manifest_present(repository, digest).await?;
    let ManifestKind::Index { manifests, .. } = manifest.kind() else {
        let leaf = leaf(context, repository, manifest).await?;
        return Ok(Read::Image(Box::new(leaf)));
    };
    if manifests.is_empty() {
        return Err(ApplyError::OddIndex {
            digest: digest.clone(),
            children: 0,
        });
    }
    let (attestations, others) = set_aside(digest, manifests)?;
    let others = others.into_iter().map(|child| child.digest).collect();
    Ok(Read::Index {
        attestations,
        others,
    })
}

/// Parts an index's attestations from its other children, which must all be manifests.
fn set_aside(
    index: &Digest,
    manifests: &[Descriptor],
) -> Result<(Vec<Attestation>, Vec<Descriptor>), ApplyError> {
    let (attesting, others): (Vec<_>, Vec<_>) = manifests
        .iter()
        .partition(|child| child.attests().is_some());
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
            index: index.clone(),
            digest: child.digest.clone(),
        })?;
        attestations.push(Attestation {
            descriptor: child.clone(),
            of,
        });
    }
    Ok((attestations, others.into_iter().cloned().collect()))
}

async fn leaf(
    context: &Context,
    repository: &Repository,
    image: Manifest,
) -> Result<Leaf, ApplyError> {
    let ManifestKind::Image { config, .. } = image.kind() else {
        return Err(ApplyError::NotAnImage {
            digest: image.digest().clone(),
            is: image.media_type().to_string(),
        });
    };
    // What it says goes on, not its bytes, while the config is waited for.
    let (config, descriptor) = (config.clone(), image.descriptor());
    drop(image);
    let missing = || ApplyError::MissingConfig {
        image: descriptor.digest.clone(),
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
    let read: ImageConfig = serde_json::from_slice(&blob).map_err(unusable)?;
    if !read.platform.is_usable() {
        let why = "its `os` and `architecture`, or what qualifies them, are no words for what an image runs on";
        return Err(unusable(serde::de::Error::custom(why)));
    }
    Ok(Leaf {
        descriptor,
        platform: read.platform,
    })
}

/// An index with a dangling child must not pass for a whole one, so that attestations are asked for too; what they are and
/// how long is the registry's to say.
async fn check_attestations(
    context: &Context,
    repository: &Repository,
    attestations: Vec<Attestation>,
) -> Result<Vec<Attestation>, ApplyError> {
    let checks = attestations.into_iter().map(|attestation| async move {
        let digest = &attestation.descriptor.digest;
        let manifest = context.manifest_present(repository, digest).await?;
        Ok(Attestation {
            descriptor: manifest.descriptor(),
            of: attestation.of,
        })
    });
    stream::iter(checks).buffered(PARALLEL).try_collect().await
}
