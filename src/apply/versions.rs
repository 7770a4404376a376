//! Which moving tags hold a newer version than the one that a run makes, and whose word counts for that.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::children::{CONFIG_MAX_BYTES, PARALLEL};
use super::signatures::lookup::{Search, look_up};
use super::signatures::signer::Authority;
use super::{ApplyError, Context};
use crate::domain::{
    Descriptor, Digest, FullTag, ImageConfig, Manifest, ManifestKind, Policy, Reference,
    Repository, SignatureFormat, TagContent,
};
use crate::plan::{Newer, SeenTag, TagKind, VERSION, newer, version_held};

/// The images of an index whose labels are read, at most. Of an index with more the version is not known.
const IMAGES_MAX: usize = 100;

/// Compares the versions that moving tags hold with the one that they are to get.
pub(super) struct Versions<'a> {
    pub(super) context: &'a Context,
    /// The version that they are to get, where it is known.
    pub(super) wanted: Option<String>,
    pub(super) believed: Believed<'a>,
}

/// The word that a newer version needs to stay under its tag.
pub(super) enum Believed<'a> {
    /// That of whoever may push: nothing is signed or verified here. It is said.
    Anybody,
    /// A signature that meets this policy.
    Signer(&'a Authority, Box<Policy>),
}

impl Versions<'_> {
    /// The moving tags among `seen` that hold a newer version, where that counts. What holds `wanted` already is none.
    pub(super) async fn newer_tags(
        &self,
        seen: &[SeenTag],
        wanted: &Digest,
    ) -> Result<BTreeMap<FullTag, Newer>, ApplyError> {
        let moving = seen.iter().filter(|tag| tag.kind == TagKind::Moving);
        let looks = moving.map(|tag| async move {
            let newer = match &tag.holds {
                Some(holds) if holds.digest() != wanted => self.newer(&tag.tag, holds).await?,
                Some(_) | None => None,
            };
            Ok::<_, ApplyError>(newer.map(|newer| (tag.tag.clone(), newer)))
        });
        Ok(try_join_all(looks).await?.into_iter().flatten().collect())
    }

    /// The newer version that `tag` holds, where that counts. SECURITY: who may push can write any version, and would
    /// freeze the tag for good; only a signature makes it count, where this run signs or verifies.
    pub(super) async fn newer(
        &self,
        tag: &FullTag,
        holds: &TagContent,
    ) -> Result<Option<Newer>, ApplyError> {
        let holds = match holds {
            TagContent::Manifest(manifest) => manifest,
            TagContent::Unusable(unusable) => {
                let (digest, why) = (holds.digest(), unusable.text());
                let text = format!("`{tag}` holds `{digest}`, and {why}: the tag moves");
                self.context.events.warn(text);
                return Ok(None);
            }
        };
        let Some(wanted) = &self.wanted else {
            return Ok(None);
        };
        let held = self.version(&tag.repository, holds).await?;
        let Some(newer) = held.and_then(|held| newer(&held, wanted)) else {
            return Ok(None);
        };
        let events = &self.context.events;
        match &self.believed {
            Believed::Anybody => {
                events.warn(format!(
                    "`{tag}` holds version {}, as whoever pushed it says: nothing is signed here, so nothing was verified",
                    newer.holds
                ));
                Ok(Some(newer))
            }
            Believed::Signer(authority, policy) => {
                let judge = authority.judge(policy);
                let search = Search::First(SignatureFormat::Bundle);
                let found = look_up(
                    self.context,
                    &tag.repository,
                    holds.digest(),
                    &judge,
                    search,
                );
                let is_signed = match found.await {
                    Ok(found) => !found.verified.is_empty(),
                    // SECURITY: what came and is no list of signatures holds none: whoever may push put it there.
                    Err(error) if error.is_about_content() => false,
                    Err(ApplyError::FallbackOccupied { .. }) => false,
                    Err(ApplyError::Registry(error)) if error.is_no_list() => false,
                    Err(error) => return Err(error),
                };
                if !is_signed {
                    events.warn(format!(
                        "`{tag}` holds `{}`, which calls itself version {} and has no signature by this workflow: it does not count, and the tag moves",
                        holds.digest(),
                        newer.holds
                    ));
                    return Ok(None);
                }
                Ok(Some(newer))
            }
        }
    }

    /// The version of an index: its annotation, else the label that all its images share. Of a single image it is the
    /// image's.
    pub(super) async fn version(
        &self,
        repository: &Repository,
        holds: &Manifest,
    ) -> Result<Option<String>, ApplyError> {
        let stated = version_held(holds, std::iter::empty());
        if stated.is_some() {
            return Ok(stated);
        }
        let labels = match holds.kind() {
            ManifestKind::Image { config, .. } => {
                vec![self.label(repository, config).await?]
            }
            ManifestKind::Index { manifests, .. } => {
                let images = manifests.iter().filter(|child| child.attests().is_none());
                let images: Vec<&Descriptor> = images.collect();
                if images.len() > IMAGES_MAX {
                    return Ok(None);
                }
                let labels = images
                    .into_iter()
                    .map(|child| self.image_label(repository, child));
                // Collected, since the compiler cannot follow the lifetimes of a stream of closures.
                stream::iter(labels.collect::<Vec<_>>())
                    .buffered(PARALLEL)
                    .try_collect()
                    .await?
            }
        };
        Ok(version_held(holds, labels.iter().map(Option::as_deref)))
    }

    async fn image_label(
        &self,
        repository: &Repository,
        child: &Descriptor,
    ) -> Result<Option<String>, ApplyError> {
        let reference = Reference::Digest(child.digest.clone());
        let registry = &self.context.registry;
        let image = match registry.manifest(repository, &reference).await {
            Err(error) if error.is_about_content() => None,
            read => read?,
        };
        match image.as_ref().map(Manifest::kind) {
            Some(ManifestKind::Image { config, .. }) => self.label(repository, config).await,
            Some(ManifestKind::Index { .. }) | None => Ok(None),
        }
    }

    /// The version that a config states. One that is gone, or cannot be read, states none.
    async fn label(
        &self,
        repository: &Repository,
        config: &Descriptor,
    ) -> Result<Option<String>, ApplyError> {
        let registry = &self.context.registry;
        let read = registry.blob(repository, &config.digest, CONFIG_MAX_BYTES);
        let blob = match read.await {
            // SECURITY: whoever may push can make it longer than any, and would freeze the tag.
            Err(error) if error.is_about_content() => None,
            read => read?,
        };
        let config: Option<ImageConfig> = blob.and_then(|blob| serde_json::from_slice(&blob).ok());
        Ok(config.and_then(|config| config.label(VERSION).map(str::to_owned)))
    }
}
