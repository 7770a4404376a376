//! Finds moving tags that have a newer version than this run makes, and decides whether that version counts.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use super::CommandError;
use super::children::IMAGE_CONFIG_MAX_BYTES;
use crate::context::Context;
use crate::domain::{
    Descriptor, Digest, FullTag, Manifest, ManifestKind, Policy, Reference, Repository, TagContent,
    version_label,
};
use crate::inputs::PolicyInputs;
use crate::plan::{NAME, Newer, SeenTag, TagKind, newer, version_stated};
use crate::signatures::VerifyingContext;
use crate::signatures::lookup::is_signed_within_limit;

/// The maximum number of images of an index whose labels are read. The version of a larger index is not known.
const IMAGES_MAX: usize = 100;

/// Compares the versions of moving tags with the version that they are to get.
pub(super) struct Versions<'a> {
    pub(super) context: &'a Context,
    /// The version that they are to get, if it is known.
    pub(super) wanted: Option<String>,
    /// The name of the image that they are to get, if it states one.
    pub(super) name: Option<String>,
    /// True if they are to get an index.
    pub(super) is_index: bool,
    /// The proof that a newer version needs.
    pub(super) required_proof: VersionProof<'a>,
    /// A lock: the labels of one image at a time are read.
    pub(super) lock: Mutex<()>,
}

/// The proof that a newer version needs to stay under its tag.
pub(super) enum VersionProof<'a> {
    /// No proof, so anyone with push access counts: nothing is signed or verified here. A warning reports that.
    NotRequired,
    /// A signature that meets this policy.
    Signature {
        verifying_context: &'a VerifyingContext,
        policy: Box<Policy>,
        /// The required signer in words.
        by: String,
    },
    /// No proof suffices: something is to be signed, and it is not known whose signature counts.
    Unavailable,
}

impl<'a> VersionProof<'a> {
    /// Requires a signature that meets `policy` at any ref.
    pub(super) fn signer(verifying_context: &'a VerifyingContext, policy: &Policy) -> Self {
        let by = match policy.workflow() {
            Some(_) => "this workflow".to_owned(),
            // Other refs of the same workflow cannot be told from its identity.
            None => format!(
                "{} (signatures from other refs do not count)",
                policy.identity
            ),
        };
        Self::Signature {
            verifying_context,
            policy: Box::new(policy.at_any_ref()),
            by,
        }
    }

    /// Requires a signature by a workflow of this repository, which is known without a token.
    ///
    /// SECURITY: nothing is signed without a token. A release that is signed must not be replaced then by an older one,
    /// and what a stranger pushed must not freeze the tag.
    pub(super) fn without_token(
        verifying_context: &'a VerifyingContext,
        inputs: &PolicyInputs,
    ) -> Self {
        let Some(policy) = verifying_context.policy_of_repository(inputs) else {
            return Self::Unavailable;
        };
        let repository = policy.github.repository.clone().unwrap_or_default();
        Self::Signature {
            verifying_context,
            policy: Box::new(policy.at_any_ref()),
            by: format!("a workflow of `{repository}`"),
        }
    }
}

impl Versions<'_> {
    /// Returns the moving tags among `seen` with a newer version that counts. Tags that already point to `wanted` are
    /// left out.
    pub(super) async fn newer_tags(
        &self,
        seen: &[SeenTag],
        wanted: &Digest,
    ) -> Result<BTreeMap<FullTag, Newer>, CommandError> {
        let moving = seen.iter().filter(|tag| tag.kind == TagKind::Moving);
        let reads = moving.map(|tag| async move {
            let newer = match &tag.existing {
                Some(existing) if existing.digest() != wanted => {
                    self.newer(&tag.tag, existing).await?
                }
                Some(_) | None => None,
            };
            Ok::<_, CommandError>(newer.map(|newer| (tag.tag.clone(), newer)))
        });
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    /// Returns the newer version of `tag`, if it counts. SECURITY: anyone with push access can write any version, and
    /// would freeze the tag for ever. If this run signs or verifies, only a signature makes the version count.
    pub(super) async fn newer(
        &self,
        tag: &FullTag,
        existing: &TagContent,
    ) -> Result<Option<Newer>, CommandError> {
        let manifest = match existing {
            TagContent::Manifest(manifest) => manifest,
            TagContent::Unusable(unusable) => {
                let (digest, why) = (existing.digest(), unusable.text());
                let text = format!("`{tag}` points to `{digest}`, and {why}: the tag is moved");
                self.context.events.warn(text);
                return Ok(None);
            }
        };
        let Some(wanted) = &self.wanted else {
            return Ok(None);
        };
        // Content that states no version needs more requests. They are worth it only if its version would count.
        let stated = version_stated(manifest, std::iter::empty());
        if stated
            .as_ref()
            .is_some_and(|stated| newer(stated, wanted).is_none())
        {
            return Ok(None);
        }
        if let Some(why) = self.why_version_does_not_count(tag, manifest).await? {
            let claim = stated.and_then(|stated| newer(&stated, wanted));
            let claim = claim.map_or(String::new(), |newer| {
                format!("states version {} and ", newer.current)
            });
            let digest = manifest.digest();
            self.context.events.warn(format!(
                "`{tag}` points to `{digest}`, which {claim}{why}: its version is ignored, and the tag is moved"
            ));
            return Ok(None);
        }
        let held = self.version(&tag.repository, manifest).await?;
        let newer = held.and_then(|held| newer(&held, wanted));
        if let (VersionProof::NotRequired, Some(newer)) = (&self.required_proof, &newer) {
            self.context.events.warn(format!(
                "`{tag}` points to version {}, which is not verified, because this run signs nothing",
                newer.current
            ));
        }
        Ok(newer)
    }

    /// Returns the reason why the version of the tag's content does not count, if there is one. If nothing is verified,
    /// every version counts.
    async fn why_version_does_not_count(
        &self,
        tag: &FullTag,
        manifest: &Manifest,
    ) -> Result<Option<String>, CommandError> {
        let (verifying_context, policy, by) = match &self.required_proof {
            VersionProof::NotRequired => return Ok(None),
            VersionProof::Unavailable => {
                let why = "cannot be verified, because the required signer is unknown";
                return Ok(Some(why.to_owned()));
            }
            VersionProof::Signature {
                verifying_context,
                policy,
                by,
            } => (verifying_context, policy, by),
        };
        // Anyone with push access can put a part of a signed index there: with `recursive` each part is signed.
        if self.is_index && !matches!(manifest.kind(), ManifestKind::Index { .. }) {
            return Ok(Some(
                "is not an index, unlike the result of this run".to_owned(),
            ));
        }
        // Anyone with push access can put another image of this workflow there.
        if let Some(name) = &self.name
            && manifest.annotation(NAME) != Some(name)
        {
            return Ok(Some(format!("does not state the name `{name}` (`{NAME}`)")));
        }
        let verifier = verifying_context.verifier(policy);
        let repository = &tag.repository;
        let signed =
            is_signed_within_limit(self.context, repository, manifest.digest(), &verifier).await?;
        Ok((!signed)
            .then(|| format!("has no signature by {by}, or none among its first referrers")))
    }

    /// Returns the version of an index: its annotation, else the label that all its images share. For a single image it
    /// is that of the image.
    pub(super) async fn version(
        &self,
        repository: &Repository,
        manifest: &Manifest,
    ) -> Result<Option<String>, CommandError> {
        let stated = version_stated(manifest, std::iter::empty());
        if stated.is_some() {
            return Ok(stated);
        }
        // SECURITY: one at a time, across all tags: each may have the maximum length, since anyone with push access may
        // have written it.
        let _lock = self.lock.lock().await;
        match manifest.kind() {
            ManifestKind::Image { config, .. } => self.label(repository, config).await,
            ManifestKind::Index { manifests, .. } => self.shared_label(repository, manifests).await,
        }
    }

    /// Returns the label that all images of an index share, or `None` if one has no label, or another one.
    async fn shared_label(
        &self,
        repository: &Repository,
        manifests: &[Descriptor],
    ) -> Result<Option<String>, CommandError> {
        let images = manifests.iter().filter(|child| child.attests().is_none());
        if images.clone().count() > IMAGES_MAX {
            return Ok(None);
        }
        let mut shared: Option<String> = None;
        for child in images {
            let label = self.image_label(repository, child).await?;
            if label.is_none()
                || shared
                    .as_ref()
                    .is_some_and(|shared| Some(shared) != label.as_ref())
            {
                return Ok(None);
            }
            shared = label;
        }
        Ok(shared)
    }

    async fn image_label(
        &self,
        repository: &Repository,
        child: &Descriptor,
    ) -> Result<Option<String>, CommandError> {
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

    /// Returns the version that a config states. A config that is absent or cannot be read states none.
    async fn label(
        &self,
        repository: &Repository,
        config: &Descriptor,
    ) -> Result<Option<String>, CommandError> {
        let registry = &self.context.registry;
        let read = registry.blob(repository, &config.digest, IMAGE_CONFIG_MAX_BYTES);
        let blob = match read.await {
            // SECURITY: anyone with push access can make it too long, and would freeze the tag.
            Err(error) if error.is_about_content() => None,
            read => read?,
        };
        Ok(blob.and_then(|blob| version_label(&blob)))
    }
}
