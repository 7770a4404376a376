//! Reads the given children, down to the platforms in their image configs.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::CommandError;
use super::present::manifest_present;
use super::read_once::ReadOnce;
use super::subjects::{TagUse, find_image};
use crate::context::{Context, DEPTH_MAX, ImageError, REQUESTS_PARALLEL, TOTAL_MAX};
use crate::domain::{
    Descriptor, Digest, ImageConfig, ImageReference, Manifest, ManifestKind, MediaType, Platform,
    Reference, Repository,
};
use crate::inputs::Given;
use crate::plan::{Attestation, Resolved, StatedImage, Vouched, listed};

/// The maximum length of an image config.
pub(super) const IMAGE_CONFIG_MAX_BYTES: u64 = 4 << 20;
/// The most statements of an index that a warning names.
const LEFT_OUT_SHOWN: usize = 8;

/// The given children, and the repository of every manifest that was read for them.
pub(super) struct Resolution {
    /// The resolved children, in the order of the inputs.
    pub inputs: Vec<Resolved>,
    /// The repository in which each manifest was found.
    pub locations: BTreeMap<Digest, Repository>,
    /// Warnings about what the given indexes state and an index of their images does not.
    pub left_out: BTreeSet<String>,
    /// All manifests inside each given digest at any depth, including the digest itself.
    pub inside: BTreeMap<Digest, Vec<Vouched<Descriptor>>>,
}

/// Resolves every digest and tag at its registry. Children that other jobs just pushed may not be visible yet. So an absent one
/// is requested again, as the retry policy says, and then in the other repositories in `sources`.
pub(super) async fn resolve_all(
    context: &Context,
    digests: &[Given],
    sources: &[Repository],
) -> Result<Resolution, CommandError> {
    let mut resolution = Resolution {
        inputs: Vec::new(),
        locations: BTreeMap::new(),
        left_out: BTreeSet::new(),
        inside: BTreeMap::new(),
    };
    let reader = ChildReader {
        context,
        sources,
        children: ReadOnce::default(),
        attestations: ReadOnce::default(),
    };
    let named = digests.iter().map(|given| named_digest(context, given));
    let named = stream::iter(named).buffered(REQUESTS_PARALLEL);
    let named: Vec<SoughtChild> = named.try_collect().await?;
    let inputs = named.iter().map(|input| reader.resolve(input));
    let mut inputs = stream::iter(inputs).buffered(REQUESTS_PARALLEL);
    while let Some((resolved, found, left_out)) = inputs.try_next().await? {
        resolution.left_out.extend(left_out);
        let mut inside = Vec::new();
        for (descriptor, repository) in found {
            let locations = &mut resolution.locations;
            locations
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

/// A manifest that was read, and its repository.
type LocatedManifest = (Vouched<Descriptor>, Repository);

/// Returns the digest that an input names. A tag is resolved once: all later reads are by the digest that it has now.
async fn named_digest(context: &Context, given: &Given) -> Result<SoughtChild, CommandError> {
    let repository = given.repository().clone();
    if let Some(digest) = Vouched::given(given) {
        return Ok((digest, repository));
    }
    let image = ImageReference {
        repository: repository.clone(),
        reference: Some(given.reference().clone()),
    };
    let manifest = find_image(context, &image, TagUse::Approves).await?;
    let missing = || ImageError::MissingImage(Box::new(image));
    let digest = Vouched::resolved(&manifest, given).ok_or_else(missing)?;
    Ok((digest, repository))
}

/// A digest to read, and its most likely repository: that of the manifest that lists it. An input names the digest, or
/// an index that contains it.
type SoughtChild = (Vouched<Digest>, Repository);

/// Reads children. Each is read once, also if several of the given indexes list it.
struct ChildReader<'a> {
    context: &'a Context,
    /// Other repositories that may have a child.
    sources: &'a [Repository],
    children: ReadOnce<SoughtChild, (ChildRead, Repository)>,
    attestations: ReadOnce<SoughtChild, (Vouched<Descriptor>, MediaType, Repository)>,
}

impl ChildReader<'_> {
    /// Reads one digest down to its leaves. Also returns every manifest found on the way, with its repository, and the
    /// warnings.
    async fn resolve(
        &self,
        (input, repository): &SoughtChild,
    ) -> Result<(Resolved, Vec<LocatedManifest>, Vec<String>), CommandError> {
        let mut resolved = Resolved {
            input: input.clone(),
            leaves: Vec::new(),
            attestations: Vec::new(),
        };
        let (mut found, mut attesting, mut images) = (Vec::new(), Vec::new(), Vec::new());
        let mut all_left_out = Vec::new();
        // The platforms under which indexes list each child.
        let mut claims: BTreeMap<Digest, BTreeSet<Option<Platform>>> = BTreeMap::new();
        let mut seen = BTreeSet::from([input.clone()]);
        let mut level = vec![(input.clone(), repository.clone())];
        for _ in 0..DEPTH_MAX {
            let reads = level.iter().map(async |wanted| {
                let read = self.read(wanted).await;
                read.map_err(|error| error.listed_by(&wanted.0, input))
            });
            let mut reads = stream::iter(reads).buffered(REQUESTS_PARALLEL);
            let mut next = Vec::new();
            while let Some((read, location)) = reads.try_next().await? {
                match read {
                    ChildRead::Image(image) => {
                        found.push((image.descriptor.clone(), location));
                        images.push(image);
                    }
                    ChildRead::Index {
                        index,
                        attestations,
                        others,
                        left_out,
                    } => {
                        all_left_out.extend(left_out);
                        attesting
                            .extend(attestations.into_iter().map(|one| (one, location.clone())));
                        for (child, platform) in others {
                            let claims = claims.entry(Digest::clone(&child)).or_default();
                            claims.insert(platform);
                            // Skips children that were listed before: a few indexes could list each other without end.
                            if seen.insert(child.clone()) {
                                next.push((child, location.clone()));
                            }
                        }
                        found.push((*index, location));
                    }
                }
                // The input itself does not count as a child.
                let count = seen.len() - 1 + attesting.len();
                if count > TOTAL_MAX {
                    return Err(ImageError::OddIndex {
                        digest: Digest::clone(input),
                        children: count,
                    }
                    .into());
                }
            }
            drop(reads);
            if next.is_empty() {
                let checked = self.check_attestations(attesting).await?;
                for (attestation, location) in checked {
                    found.push((attestation.descriptor.clone(), location));
                    resolved.attestations.push(attestation);
                }
                for image in images {
                    let claims = claims.get(&image.descriptor.digest);
                    let leaves = listed(&image, claims.unwrap_or(&BTreeSet::new()));
                    let leaves = leaves.map_err(ImageError::ContradictedPlatform);
                    resolved.leaves.extend(leaves?);
                }
                return Ok((resolved, found, all_left_out));
            }
            level = next;
        }
        Err(ImageError::TooDeep {
            digest: Digest::clone(input),
            limit: DEPTH_MAX,
        }
        .into())
    }

    /// Reads a manifest, and returns the repository that has it. Garbage collection may have deleted it from one repository
    /// and left it in another.
    async fn find(
        &self,
        (digest, likely): &SoughtChild,
    ) -> Result<(Vouched<Manifest>, Repository), CommandError> {
        let (mut found, mut location) =
            (manifest_present(self.context, likely, digest).await, likely);
        if matches!(
            found,
            Err(CommandError::Image(ImageError::MissingChild { .. }))
        ) {
            let reference = Reference::Digest(Digest::clone(digest));
            for other in self.sources.iter().filter(|other| *other != likely) {
                if let Some(manifest) = self.context.registry.manifest(other, &reference).await? {
                    (found, location) = (Ok(manifest), other);
                    break;
                }
            }
        }
        // The registry client returns only content that matches the requested digest.
        let missing = || ImageError::MissingChild {
            image: Box::new(likely.at(digest)),
        };
        let found = digest.manifest(found?).ok_or_else(missing)?;
        Ok((found, location.clone()))
    }

    /// Reads a child, unless that was done before.
    async fn read(&self, wanted: &SoughtChild) -> Result<(ChildRead, Repository), CommandError> {
        self.children.get(wanted, self.read_child(wanted)).await
    }

    async fn read_child(
        &self,
        wanted: &SoughtChild,
    ) -> Result<(ChildRead, Repository), CommandError> {
        let (manifest, location) = self.find(wanted).await?;
        let ManifestKind::Index { manifests, .. } = manifest.kind() else {
            let image = self.image(&location, manifest).await?;
            return Ok((ChildRead::Image(Box::new(image)), location));
        };
        if manifests.is_empty() {
            return Err(ImageError::OddIndex {
                digest: manifest.digest().clone(),
                children: 0,
            }
            .into());
        }
        let (attestations, others) = split_attestations(&manifest)?;
        let others = others.iter();
        let others = others.map(|child| (child.target(), child.platform.clone()));
        let index = ChildRead::Index {
            index: Box::new(manifest.described()),
            left_out: left_out(&manifest),
            attestations,
            others: others.collect(),
        };
        Ok((index, location))
    }

    async fn image(
        &self,
        repository: &Repository,
        image: Vouched<Manifest>,
    ) -> Result<StatedImage, CommandError> {
        let ManifestKind::Image { config, .. } = image.kind() else {
            return Err(ImageError::NotAnImage {
                digest: image.digest().clone(),
                index: None,
                is: image.media_type().to_string(),
            }
            .into());
        };
        // Only the descriptor is kept while the config is fetched, not the bytes.
        let (config, descriptor) = (config.clone(), image.described());
        drop(image);
        let missing = || ImageError::MissingConfig {
            image: Box::new(repository.at(&descriptor.digest)),
            config: config.digest.clone(),
        };
        let blob = self
            .context
            .registry
            .blob(repository, &config.digest, IMAGE_CONFIG_MAX_BYTES)
            .await?
            .ok_or_else(missing)?;
        let unusable = |source| ImageError::NoPlatform {
            image: descriptor.digest.clone(),
            index: None,
            config: config.media_type.to_string(),
            source,
        };
        let read = ImageConfig::parse(&blob).map_err(unusable)?;
        let problems = read.platform.problems();
        if !problems.is_empty() {
            let why = problems.join(", ");
            return Err(unusable(serde::de::Error::custom(why)).into());
        }
        Ok(StatedImage {
            version: read.version,
            config_type: config.media_type,
            descriptor,
            platform: read.platform,
        })
    }

    /// Requests every attestation, because an index with a dangling child must not pass as complete. Media types and sizes
    /// come from the registry, not from the index.
    async fn check_attestations(
        &self,
        attesting: Vec<(Attesting, Repository)>,
    ) -> Result<Vec<(Attestation, Repository)>, CommandError> {
        let checks = attesting
            .into_iter()
            .map(|((descriptor, of), likely)| async move {
                let wanted = (descriptor.target(), likely);
                let read = async {
                    let (manifest, location) = self.find(&wanted).await?;
                    let config_type = config_type(&manifest);
                    Ok::<_, CommandError>((manifest.described(), config_type, location))
                };
                let (descriptor, config_type, location) =
                    self.attestations.get(&wanted, read).await?;
                let attestation = Attestation {
                    descriptor,
                    of,
                    config_type,
                };
                Ok((attestation, location))
            });
        stream::iter(checks)
            .buffered(REQUESTS_PARALLEL)
            .try_collect()
            .await
    }
}

/// The manifest behind one digest.
#[derive(Clone)]
enum ChildRead {
    Image(Box<StatedImage>),
    Index {
        index: Box<Vouched<Descriptor>>,
        attestations: Vec<Attesting>,
        /// Its other children, each with the platform under which it is listed.
        others: Vec<(Vouched<Digest>, Option<Platform>)>,
        /// A warning that names what it states and an index of this program does not.
        left_out: Option<String>,
    },
}

/// An attestation that an index lists, and the image that it attests.
type Attesting = (Vouched<Descriptor>, Digest);

/// Separates an index's attestations from its other children, which must all be manifests.
fn split_attestations(
    index: &Vouched<Manifest>,
) -> Result<(Vec<Attesting>, Vec<Vouched<Descriptor>>), CommandError> {
    let (attesting, others): (Vec<_>, Vec<_>) =
        index.members().partition(|child| child.attests().is_some());
    let strange = others
        .iter()
        .find(|child| !child.media_type.is_index() && !child.media_type.is_image());
    if let Some(child) = strange {
        return Err(ImageError::NotAnImage {
            digest: child.digest.clone(),
            index: Some(index.digest().clone()),
            is: child.media_type.to_string(),
        }
        .into());
    }
    let mut attestations = Vec::new();
    for child in attesting {
        let of = child
            .attests()
            .filter(|of| others.iter().any(|other| other.digest == *of));
        let of = of.ok_or_else(|| ImageError::LostAttestation {
            index: index.digest().clone(),
            digest: child.digest.clone(),
        })?;
        attestations.push((child, of));
    }
    Ok((attestations, others))
}

/// Returns a warning that names what an index states beside its images and attestations. An index that this program makes
/// of it does not state that.
fn left_out(index: &Manifest) -> Option<String> {
    let ManifestKind::Index {
        manifests,
        subject,
        annotations,
    } = index.kind()
    else {
        return None;
    };
    let mut found: Vec<String> = Vec::new();
    found.extend(subject.iter().map(|_| "its subject".to_owned()));
    found.extend(
        annotations
            .keys()
            .map(|name| format!("its annotation `{name}`")),
    );
    for child in manifests {
        let digest = &child.digest;
        let names = child
            .annotations
            .keys()
            .filter(|_| child.attests().is_none());
        found.extend(names.map(|name| format!("the annotation `{name}` of `{digest}`")));
        let fields = [
            ("urls", !child.urls.is_empty()),
            ("data", child.data.is_some()),
        ];
        let fields = fields.into_iter().filter(|(_, is_there)| *is_there);
        found.extend(fields.map(|(name, _)| format!("`{name}` of `{digest}`")));
    }
    let more = found.len().saturating_sub(LEFT_OUT_SHOWN);
    found.truncate(LEFT_OUT_SHOWN);
    found.extend((more > 0).then(|| format!("and {more} more")));
    let digest = index.digest();
    (!found.is_empty()).then(|| {
        format!(
            "the index `{digest}` states what an index of its images does not have: {}",
            found.join(", ")
        )
    })
}

/// The media type of an image's config; empty for an index.
fn config_type(manifest: &Manifest) -> MediaType {
    match manifest.kind() {
        ManifestKind::Image { config, .. } => config.media_type.clone(),
        ManifestKind::Index { .. } => MediaType::from(""),
    }
}
