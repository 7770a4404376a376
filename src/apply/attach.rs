//! Stores a bundle beside what it signs, as cosign 3 does, and loses nothing that others stored.
//!
//! Source: cosign, `pkg/oci/remote/write.go`; OCI distribution specification, "Referrers Tag Schema".

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::lookup::{Api, entries, fallback};
use super::receipt::Place;
use super::settle::{Change, Settling};
use super::{ApplyError, Context, legacy};
use crate::domain::{
    Descriptor, Digest, Manifest, ManifestKind, MediaType, Reference, Repository, SignatureFormat,
};
use crate::registry::{Referrers, RegistryError};
use crate::signing::{LegacySignature, Signature};

const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
const EMPTY: &[u8] = b"{}";

/// Stores signatures in one repository.
pub(super) struct Attacher<'a> {
    context: &'a Context,
    repository: &'a Repository,
    empty: OnceCell<Digest>,
}

impl<'a> Attacher<'a> {
    pub(super) fn new(context: &'a Context, repository: &'a Repository) -> Self {
        Self {
            context,
            repository,
            empty: OnceCell::new(),
        }
    }

    /// Uploads the empty config that every signature's manifest points to, once.
    async fn empty(&self) -> Result<&Digest, RegistryError> {
        self.empty
            .get_or_try_init(|| self.context.registry.put_blob(self.repository, EMPTY))
            .await
    }

    /// Adds `signature` to the tag that holds the legacy signatures of `subject`. Returns where it is, and what is left to do
    /// for it to stay there.
    pub(super) async fn attach_legacy(
        &self,
        subject: &'a Descriptor,
        signature: &LegacySignature,
    ) -> Result<(Place, Settling<'a>), ApplyError> {
        legacy::attach(self.context, self.repository, &subject.digest, signature).await
    }

    /// Stores a bundle as a referrer of `subject`. Returns where it is once the registry lists it, and what is left to do for
    /// it to stay there.
    pub(super) async fn attach(
        &self,
        subject: &'a Descriptor,
        signature: &Signature,
        api: Api,
    ) -> Result<(Place, Settling<'a>), ApplyError> {
        let (bundle, signed_at) = (&signature.bundle, &signature.verified.signed_at);
        let registry = &self.context.registry;
        let (blob, _) = tokio::try_join!(registry.put_blob(self.repository, bundle), self.empty())?;
        let manifest = signature_manifest(subject, &blob, bundle.len(), signed_at)
            .map_err(ApplyError::FallbackUnwritable)?;
        let digest = Digest::of(&manifest);
        let by_digest = Reference::Digest(digest.clone());
        // SPEC: the parts first. Debian's registry loses one now and then while others upload the same empty config.
        let bring = async || {
            tokio::try_join!(
                registry.put_blob(self.repository, bundle),
                registry.put_blob(self.repository, EMPTY)
            )
            .map(drop)
        };
        let stored = self
            .context
            .store(
                self.repository,
                &by_digest,
                &MediaType::OciManifest,
                &manifest,
                bring,
            )
            .await?;
        let promised = api == Api::Listed && stored.subject.as_ref() == Some(&subject.digest);
        let mut settling = None;
        if !(promised && self.is_listed(&subject.digest, &digest).await?) {
            let mut entry = Descriptor::new(
                MediaType::OciManifest,
                manifest.len() as u64,
                digest.clone(),
            );
            entry.artifact_type = Some(BUNDLE_TYPE.to_owned());
            entry.annotations = signature_annotations().into_iter().collect();
            settling = self.list(&subject.digest, entry).await?;
        }
        let place = Place {
            format: SignatureFormat::Bundle,
            manifest: digest,
            signature: None,
        };
        Ok((place, settling))
    }

    async fn is_listed(&self, subject: &Digest, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(
            match self
                .context
                .registry
                .referrers(self.repository, subject)
                .await?
            {
                Referrers::Listed(listed) => listed.iter().any(|entry| entry.digest == *digest),
                Referrers::NoApi => false,
            },
        )
    }

    /// Adds `entry` to the fallback index.
    async fn list(
        &self,
        subject: &'a Digest,
        entry: Descriptor,
    ) -> Result<Settling<'a>, ApplyError> {
        let list = fallback(self.context, self.repository, subject);
        let add = async move |current: Option<&Manifest>| {
            let merged = merge(current, subject, &entry)?;
            Ok(merged.map(|bytes| Change {
                media_type: MediaType::OciIndex,
                bytes,
                parts: Vec::new(),
            }))
        };
        let (_, settling) = list.begin(add).await?;
        Ok(settling)
    }
}

/// The fallback index with `entry` added at its end; `None` when it has it. What others wrote stays as they wrote it.
fn merge(
    current: Option<&Manifest>,
    subject: &Digest,
    entry: &Descriptor,
) -> Result<Option<Vec<u8>>, ApplyError> {
    let mut document = match current {
        None => {
            json!({"schemaVersion": 2, "mediaType": MediaType::OciIndex.as_str(), "manifests": []})
        }
        Some(manifest)
            if entries(manifest)
                .iter()
                .any(|known| known.digest == entry.digest) =>
        {
            return Ok(None);
        }
        Some(manifest) => match manifest.kind() {
            ManifestKind::Index { .. } if *manifest.media_type() == MediaType::OciIndex => {
                serde_json::from_slice(manifest.bytes()).map_err(ApplyError::FallbackUnwritable)?
            }
            ManifestKind::Index { .. } | ManifestKind::Image { .. } => {
                let tag = subject.fallback_tag();
                return Err(ApplyError::FallbackOccupied {
                    tag,
                    subject: subject.clone(),
                    why: "holds no OCI index",
                });
            }
        },
    };
    let entry = serde_json::to_value(entry).map_err(ApplyError::FallbackUnwritable)?;
    if !document["manifests"].is_array() {
        document["manifests"] = json!([]);
    }
    if let Some(manifests) = document["manifests"].as_array_mut() {
        manifests.push(entry);
    }
    serde_json::to_vec(&document)
        .map(Some)
        .map_err(ApplyError::FallbackUnwritable)
}

/// The manifest of a bundle. The same bundle has the same in every repository, and however often it is stored.
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
        "config": {"mediaType": EMPTY_TYPE, "digest": Digest::of(EMPTY), "size": EMPTY.len()},
        "layers": [{"mediaType": BUNDLE_TYPE, "digest": bundle, "size": size}],
        "subject": subject,
        "annotations": annotations,
    }))
}

fn signature_annotations() -> [(String, String); 2] {
    [
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        ("dev.sigstore.bundle.predicateType", SIGN_PREDICATE),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seed: &str) -> Descriptor {
        Descriptor::new(MediaType::OciManifest, 1, Digest::of(seed.as_bytes()))
    }

    fn index(text: &str) -> Manifest {
        Manifest::parse(text.as_bytes().to_vec(), MediaType::OciIndex).unwrap()
    }

    #[test]
    fn what_others_wrote_stays_as_they_wrote_it() {
        let theirs = format!(
            r#"{{"schemaVersion":2,"x-field":{{"b":1,"a":[2]}},"manifests":[{{"mediaType":"application/x","size":7,"digest":"{}","x":null}}],"annotations":{{"z":"1","a":"2"}}}}"#,
            Digest::of(b"theirs")
        );
        let subject = Digest::of(b"subject");
        let merged = merge(Some(&index(&theirs)), &subject, &entry("ours"))
            .unwrap()
            .unwrap();
        let merged = String::from_utf8(merged).unwrap();
        let ours = serde_json::to_string(&entry("ours")).unwrap();
        assert_eq!(
            merged,
            theirs.replace("\"x\":null}]", &format!("\"x\":null}},{ours}]"))
        );
        assert!(
            merge(Some(&index(&merged)), &subject, &entry("ours"))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_tag_that_is_no_list_is_left_alone() {
        let image = br#"{"config":{"mediaType":"a","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}"#;
        let image = Manifest::parse(image.to_vec(), MediaType::OciManifest).unwrap();
        let error = merge(Some(&image), &Digest::of(b"subject"), &entry("ours")).unwrap_err();
        assert!(
            matches!(error, ApplyError::FallbackOccupied { .. }),
            "{error}"
        );
    }

    #[test]
    fn an_empty_list_of_go_is_a_list() {
        for text in [r#"{"manifests":null}"#, "{}"] {
            let merged = merge(Some(&index(text)), &Digest::of(b"subject"), &entry("ours"))
                .unwrap()
                .unwrap();
            assert!(
                entries(&index(&String::from_utf8(merged).unwrap())).len() == 1,
                "{text}"
            );
        }
    }
}
