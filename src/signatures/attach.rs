//! Stores a bundle as a referrer of its subject, as cosign 3 does.
//!
//! Source: cosign, `pkg/oci/remote/write.go`.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::unsigned::MissingSignature;
use super::{SignatureError, legacy_attach};
use crate::context::Context;
use crate::domain::{
    BUNDLE_TYPE, Descriptor, Digest, EMPTY_CONFIG, EMPTY_CONFIG_TYPE, MediaType, PREDICATE_TYPE,
    Reference, Repository, SIGN_PREDICATE, SignatureFormat,
};
use crate::outcome::SignatureLocation;
use crate::referrers::{ListError, NewEntries, PendingSettle, push_referrer};
use crate::registry::{RegistryError, Stored};
use crate::sigstore::{LegacySignature, Signature};

/// The remaining work for a signature that is stored.
pub(crate) enum RemainingWork<'a> {
    /// Its entry has to be listed.
    List(Box<NewEntries<'a>>),
    /// Its list has the entry, and other writers of the list may not have finished.
    Settle(PendingSettle<'a, SignatureError>),
}

impl<'a> RemainingWork<'a> {
    /// Lists the signature. Returns the work that remains then.
    pub(crate) async fn list(self) -> Result<PendingSettle<'a, SignatureError>, SignatureError> {
        match self {
            Self::List(new) => new.add().await,
            Self::Settle(pending_settle) => Ok(pending_settle),
        }
    }
}

/// Stores signatures in one repository.
pub(crate) struct Attacher<'a> {
    context: &'a Context,
    repository: &'a Repository,
    /// Set once the empty config is stored.
    empty: OnceCell<()>,
}

impl<'a> Attacher<'a> {
    pub(crate) fn new(context: &'a Context, repository: &'a Repository) -> Self {
        Self {
            context,
            repository,
            empty: OnceCell::new(),
        }
    }

    /// Uploads the empty config that every signature's manifest points to, unless that was done.
    async fn empty(&self) -> Result<(), RegistryError> {
        let upload = async || {
            let stored = self
                .context
                .registry
                .put_blob(self.repository, EMPTY_CONFIG);
            stored.await.map(drop)
        };
        self.empty.get_or_try_init(upload).await.copied()
    }

    /// Adds `signature` to the tag with the legacy signatures of `subject`. Returns its location, and the remaining work.
    pub(crate) async fn attach_legacy(
        &self,
        subject: &'a Descriptor,
        signature: &LegacySignature,
        missing: &MissingSignature,
    ) -> Result<(SignatureLocation, RemainingWork<'a>), SignatureError> {
        let (context, repository) = (self.context, self.repository);
        let seen = missing.legacy.clone();
        let age = missing.age;
        let attached =
            legacy_attach::attach(context, repository, &subject.digest, signature, seen, age);
        let (location, pending_settle) = attached.await?;
        Ok((location, RemainingWork::Settle(pending_settle)))
    }

    /// Stores a bundle as a referrer of `subject`. Returns its location, and the remaining work.
    pub(crate) async fn attach(
        &self,
        subject: &'a Descriptor,
        signature: &Signature,
        missing: &MissingSignature,
    ) -> Result<(SignatureLocation, RemainingWork<'a>), SignatureError> {
        let (context, repository) = (self.context, self.repository);
        let bytes = self.upload_parts(subject, signature).await?;
        let push = self.push_manifest(&signature.bundle, bytes);
        let (seen, age) = (missing.referrers.clone(), missing.age);
        let pushed = push_referrer(context, repository, &subject.digest, seen, age, push);
        let (entry, new) = pushed.await?;
        let location = SignatureLocation {
            format: SignatureFormat::Bundle,
            manifest: entry.digest,
            signature: None,
        };
        Ok((location, RemainingWork::List(Box::new(new))))
    }

    /// Uploads the blobs of the bundle's manifest. Returns the manifest.
    async fn upload_parts(
        &self,
        subject: &Descriptor,
        signature: &Signature,
    ) -> Result<Vec<u8>, SignatureError> {
        let (bundle, signed_at) = (&signature.bundle, &signature.verified.signed_at);
        let blob = self.context.registry.put_blob(self.repository, bundle);
        let (blob, ()) = tokio::try_join!(blob, self.empty())?;
        let manifest = signature_manifest(subject, &blob, bundle.len(), signed_at);
        Ok(manifest.map_err(ListError::Unwritable)?)
    }

    /// Pushes the manifest of a bundle. Returns its entry in a list of referrers.
    async fn push_manifest(
        &self,
        bundle: &[u8],
        bytes: Vec<u8>,
    ) -> Result<(Descriptor, Stored), SignatureError> {
        let (registry, repository) = (&self.context.registry, self.repository);
        let digest = Digest::of(&bytes);
        let reference = Reference::Digest(digest.clone());
        // SPEC: the parts first. Debian's registry sometimes loses one while others upload the same empty config.
        let copy = async || {
            tokio::try_join!(
                registry.put_blob(repository, bundle),
                registry.put_blob(repository, EMPTY_CONFIG)
            )
            .map(drop)
            .map_err(SignatureError::from)
        };
        let media_type = MediaType::OciManifest;
        let stored = self
            .context
            .store(repository, &reference, &media_type, &bytes, copy);
        let stored = stored.await?;
        let mut entry = Descriptor::new(media_type, bytes.len() as u64, digest);
        entry.artifact_type = Some(BUNDLE_TYPE.to_owned());
        entry.annotations = signature_annotations().into_iter().collect();
        Ok((entry, stored))
    }
}

/// Builds the manifest of a bundle. The same bundle has the same manifest in every repository, however often it is
/// stored.
fn signature_manifest(
    subject: &Descriptor,
    bundle: &Digest,
    size: usize,
    signed_at: &str,
) -> serde_json::Result<Vec<u8>> {
    let mut annotations: serde_json::Map<String, Value> = signature_annotations()
        .into_iter()
        .map(|(key, value)| (key, Value::String(value)))
        .collect();
    annotations.insert(
        "org.opencontainers.image.created".to_owned(),
        Value::String(signed_at.to_owned()),
    );
    let subject = Descriptor::new(
        subject.media_type.clone(),
        subject.size,
        subject.digest.clone(),
    );
    serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest.as_str(),
        "artifactType": BUNDLE_TYPE,
        "config": {"mediaType": EMPTY_CONFIG_TYPE, "digest": Digest::of(EMPTY_CONFIG), "size": EMPTY_CONFIG.len()},
        "layers": [{"mediaType": BUNDLE_TYPE, "digest": bundle, "size": size}],
        "subject": subject,
        "annotations": annotations,
    }))
}

fn signature_annotations() -> [(String, String); 2] {
    [
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        (PREDICATE_TYPE, SIGN_PREDICATE),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
}
