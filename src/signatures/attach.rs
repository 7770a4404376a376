//! Stores a bundle as a referrer of its subject, as cosign 3 does, and keeps the entries of others.
//!
//! Source: cosign, `pkg/oci/remote/write.go`; OCI distribution specification, "Referrers Tag Schema".

use std::future::Future;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::candidates::{PREDICATE, is_bundle_type, other_statement};
use super::edits::{Edits, is_list, present};
use super::lookup::{Api, entries, referrers_tag};
use super::seen_list::SeenList;
use super::settle::{Change, ListSnapshot, PendingSettle, SharedTagWriter};
use super::{ListError, SignatureError, legacy_attach};
use crate::context::Context;
use crate::domain::{
    Descriptor, Digest, EMPTY_CONFIG, FullTag, Manifest, ManifestKind, MediaType, Reference,
    Repository, SignatureFormat,
};
use crate::outcome::{SignatureLocation, Subject};
use crate::registry::{Referrer, Referrers, RegistryError, Stored};
use crate::sigstore::{LegacySignature, SIGN_PREDICATE, Signature};

const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

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

    /// Adds `signature` to the tag with the legacy signatures of `subject`. Returns its location, and the remaining
    /// work until its entry is stable.
    pub(crate) async fn attach_legacy(
        &self,
        subject: &'a Descriptor,
        signature: &LegacySignature,
        seen: Option<SeenList>,
    ) -> Result<(SignatureLocation, PendingSettle<'a>), SignatureError> {
        let (context, repository) = (self.context, self.repository);
        legacy_attach::attach(context, repository, &subject.digest, signature, seen).await
    }

    /// Stores a bundle as a referrer of `subject`. Returns its location once the registry lists it, and the remaining
    /// work until its entry is stable.
    pub(crate) async fn attach(
        &self,
        subject: &'a Descriptor,
        signature: &Signature,
        api: Api,
        seen: Option<SeenList>,
    ) -> Result<(SignatureLocation, PendingSettle<'a>), SignatureError> {
        let (context, repository) = (self.context, self.repository);
        let shared = referrers_tag(context, repository, &subject.digest).seen(seen);
        let shared = SharedTagWriter::new(context, shared);
        // If the bundle will be listed under the referrers tag, that tag is read in the meantime.
        let look = async {
            Ok(match api {
                Api::Listed => None,
                Api::ReferrersTag => Some(shared.look().await?),
            })
        };
        let (mut entry, answer, look) = self.store_bundle(subject, signature, look).await?;
        let place = SignatureLocation {
            format: SignatureFormat::Bundle,
            manifest: entry.digest.clone(),
            signature: None,
        };
        let promised = api == Api::Listed && answer.subject.as_ref() == Some(&subject.digest);
        if promised && self.is_listed(&subject.digest, &entry.digest).await? {
            return Ok((place, None));
        }
        entry.artifact_type = Some(BUNDLE_TYPE.to_owned());
        entry.annotations = signature_annotations().into_iter().collect();
        Ok((place, list(shared, look, vec![entry], None).await?))
    }

    /// Stores the parts of the bundle's manifest and then the manifest. Runs `look` in the meantime.
    async fn store_bundle<T>(
        &self,
        subject: &Descriptor,
        signature: &Signature,
        look: impl Future<Output = Result<T, SignatureError>>,
    ) -> Result<(Descriptor, Stored, T), SignatureError> {
        let (context, repository) = (self.context, self.repository);
        let (bundle, signed_at) = (&signature.bundle, &signature.verified.signed_at);
        let registry = &context.registry;
        let blob = registry.put_blob(repository, bundle);
        let (blob, ()) = tokio::try_join!(blob, self.empty())?;
        let bytes = signature_manifest(subject, &blob, bundle.len(), signed_at)
            .map_err(ListError::Unwritable)?;
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
        let stored = context.store(repository, &reference, &media_type, &bytes, copy);
        let (stored, look) = tokio::try_join!(stored, look)?;
        let manifest = Descriptor::new(media_type.clone(), bytes.len() as u64, digest);
        Ok((manifest, stored, look))
    }

    async fn is_listed(&self, subject: &Digest, digest: &Digest) -> Result<bool, RegistryError> {
        let registry = &self.context.registry;
        let listed = registry.referrers::<Referrer>(self.repository, subject);
        // An entry that no verifier opens is as good as none.
        let is_it = |entry: &Referrer| entry.digest == *digest && entry.may_be_signature();
        Ok(match listed.await? {
            Referrers::Listed(all) => all.listed.iter().any(is_it),
            Referrers::NoApi => false,
        })
    }
}

/// Adds `new` to the index under a referrers tag, which `look` may have read before. If there is none and `original`
/// lists exactly these entries, `original` is written. Returns the remaining work until the entries are stable.
pub(crate) async fn list(
    list: SharedTagWriter<'_>,
    look: Option<ListSnapshot>,
    new: Vec<Descriptor>,
    original: Option<Manifest>,
) -> Result<PendingSettle<'_>, SignatureError> {
    let of = list.subject();
    let add = async move |current: Option<&Manifest>| {
        let merged = match &original {
            Some(original) if current.is_none() && lists_just(original, &new) => {
                Some(original.bytes().to_vec())
            }
            Some(_) | None => merge(current, &of, &new)?,
        };
        Ok(merged.map(|bytes| Change {
            media_type: MediaType::OciIndex,
            bytes,
            parts: Vec::new(),
        }))
    };
    let (_, settling) = match look {
        Some(look) => list.begin_at(look, add).await?,
        None => list.begin(add).await?,
    };
    Ok(settling)
}

fn lists_just(index: &Manifest, wanted: &[Descriptor]) -> bool {
    let is_wanted = |entry: &Descriptor| wanted.iter().any(|known| known.digest == entry.digest);
    lacking(index, wanted).is_empty() && entries(index).iter().all(is_wanted)
}

/// Returns the entries of `new` that the index under a referrers tag does not list, or lists in a way that hides them.
fn lacking<'a>(index: &Manifest, new: &'a [Descriptor]) -> Vec<&'a Descriptor> {
    let listed = entries(index);
    let is_listed = |entry: &&Descriptor| {
        let mut alike = listed.iter().filter(|known| known.digest == entry.digest);
        alike.any(|known| !hides(known, entry))
    };
    new.iter().filter(|entry| !is_listed(entry)).collect()
}

/// Reports whether no verifier opens the signature `wanted` because of what its entry `listed` says.
///
/// SECURITY: anyone with push access can list the digest of a signature before it is there, with any other words.
fn hides(listed: &Descriptor, wanted: &Descriptor) -> bool {
    let stated = |entry: &'_ Descriptor| entry.annotations.get(PREDICATE).cloned();
    let is_signature = stated(wanted).as_deref() == Some(SIGN_PREDICATE);
    let is_bundle = |entry: &Descriptor| entry.artifact_type.as_deref().is_some_and(is_bundle_type);
    is_signature
        && (listed.media_type != wanted.media_type
            || listed.size != wanted.size
            || other_statement(stated(listed).as_deref()).is_some()
            || (is_bundle(wanted) && !is_bundle(listed)))
}

/// Appends `new` to the index under the referrers tag, or returns `None` if all of it is there. An entry that hides one
/// of them is replaced. Other content of other writers stays as they wrote it.
pub(crate) fn merge(
    current: Option<&Manifest>,
    of: &Subject,
    new: &[Descriptor],
) -> Result<Option<Vec<u8>>, SignatureError> {
    let empty = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
        MediaType::OciIndex.as_str()
    );
    let (document, new) = match current {
        None => (empty.as_bytes(), new.iter().collect()),
        Some(manifest) => {
            let lacking = lacking(manifest, new);
            if lacking.is_empty() {
                return Ok(None);
            }
            let is_index = matches!(manifest.kind(), ManifestKind::Index { .. });
            if !is_index || *manifest.media_type() != MediaType::OciIndex {
                return Err(ListError::Occupied {
                    tag: FullTag {
                        repository: of.repository.clone(),
                        tag: of.digest.referrers_tag(),
                    },
                    subject: of.digest.clone(),
                    why: "holds no OCI index".into(),
                }
                .into());
            }
            (manifest.bytes(), lacking)
        }
    };
    let merged = with_entries(document, &new).map_err(ListError::Unwritable)?;
    Ok(Some(merged.into_bytes()))
}

fn with_entries(document: &[u8], new: &[&Descriptor]) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    struct Index<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        manifests: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct ListedEntry {
        digest: Digest,
    }
    let text = std::str::from_utf8(document).map_err(serde::de::Error::custom)?;
    let Index { manifests } = serde_json::from_str(text)?;
    let mut edits = Edits::of(text);
    let listed: Vec<&RawValue> = match manifests.filter(|list| is_list(list)) {
        Some(list) => serde_json::from_str(list.get())?,
        None => Vec::new(),
    };
    let mut appended = Vec::new();
    for entry in new {
        let is_it = |raw: &&&RawValue| {
            serde_json::from_str(raw.get())
                .is_ok_and(|ListedEntry { digest }| digest == entry.digest)
        };
        let written = serde_json::to_string(entry)?;
        match listed.iter().find(is_it) {
            Some(hiding) => edits.replace(hiding, written),
            None => appended.push(written),
        }
    }
    if !appended.is_empty() {
        edits.append(manifests, "manifests", &appended);
    }
    Ok(edits.done())
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
        "config": {"mediaType": EMPTY_TYPE, "digest": Digest::of(EMPTY_CONFIG), "size": EMPTY_CONFIG.len()},
        "layers": [{"mediaType": BUNDLE_TYPE, "digest": bundle, "size": size}],
        "subject": subject,
        "annotations": annotations,
    }))
}

fn signature_annotations() -> [(String, String); 2] {
    [
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        (PREDICATE, SIGN_PREDICATE),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            repository: "ghcr.io/o/r".parse().unwrap(),
            digest: Digest::of(b"subject"),
        }
    }

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
        let subject = subject();
        let merged = merge(Some(&index(&theirs)), &subject, &[entry("ours")])
            .unwrap()
            .unwrap();
        let merged = String::from_utf8(merged).unwrap();
        let ours = serde_json::to_string(&entry("ours")).unwrap();
        assert_eq!(
            merged,
            theirs.replace("\"x\":null}]", &format!("\"x\":null}},{ours}]"))
        );
        assert!(
            merge(Some(&index(&merged)), &subject, &[entry("ours")])
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn entry_that_hides_a_signature_is_replaced() {
        let mut ours = entry("ours");
        ours.artifact_type = Some(BUNDLE_TYPE.to_owned());
        ours.annotations = signature_annotations().into_iter().collect();
        let list = |entries: &[&Descriptor]| {
            let entries: Vec<String> = entries
                .iter()
                .map(|entry| serde_json::to_string(entry).unwrap())
                .collect();
            format!(r#"{{"x":[1.50],"manifests":[{}]}}"#, entries.join(" , "))
        };
        let (other, subject) = (entry("other"), subject());
        let mut hiding = vec![ours.clone(); 4];
        let attestation = "https://slsa.dev/provenance/v1".to_owned();
        hiding[0]
            .annotations
            .insert(PREDICATE.to_owned(), attestation);
        hiding[1].artifact_type = Some("application/spdx+json".to_owned());
        hiding[2].media_type = MediaType::from("text/plain");
        hiding[3].size += 1;
        for hiding in hiding {
            let current = index(&list(&[&other, &hiding]));
            let merged = merge(Some(&current), &subject, std::slice::from_ref(&ours));
            let merged = String::from_utf8(merged.unwrap().unwrap()).unwrap();
            assert_eq!(merged, list(&[&other, &ours]));
            let again = merge(Some(&index(&merged)), &subject, std::slice::from_ref(&ours));
            assert!(again.unwrap().is_none());
            // Of several entries with one digest, one that shows the signature is enough.
            let both = index(&list(&[&hiding, &ours]));
            let merged = merge(Some(&both), &subject, std::slice::from_ref(&ours));
            assert!(merged.unwrap().is_none());
        }
    }

    #[test]
    fn a_tag_that_is_no_list_is_left_alone() {
        let image = br#"{"config":{"mediaType":"a","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}"#;
        let image = Manifest::parse(image.to_vec(), MediaType::OciManifest).unwrap();
        let error = merge(Some(&image), &subject(), &[entry("ours")]).unwrap_err();
        assert!(
            matches!(error, SignatureError::List(ListError::Occupied { .. })),
            "{error}"
        );
    }

    #[test]
    fn an_empty_list_of_go_is_a_list() {
        for text in [r#"{"manifests":null}"#, "{}"] {
            let merged = merge(Some(&index(text)), &subject(), &[entry("ours")])
                .unwrap()
                .unwrap();
            assert!(
                entries(&index(&String::from_utf8(merged).unwrap())).len() == 1,
                "{text}"
            );
        }
    }
}
