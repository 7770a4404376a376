//! Extends the index under a referrers tag. Everything that other writers put there stays byte for byte.
//!
//! Source: OCI distribution specification, "Referrers Tag Schema".

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ListError;
use super::edits::{Edits, is_list, present};
use crate::domain::{
    Descriptor, Digest, FullTag, Manifest, ManifestKind, MediaType, PREDICATE_TYPE, SIGN_PREDICATE,
    is_bundle_type, other_predicate,
};
use crate::outcome::Subject;

/// The part of an index that is edited.
#[derive(Deserialize)]
struct Index<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    manifests: Option<&'a RawValue>,
}

/// The part of an entry that identifies it.
#[derive(Deserialize)]
struct ListedEntry {
    digest: Digest,
}

pub(super) fn lists_exactly(index: &Manifest, wanted: &[Descriptor]) -> bool {
    let is_wanted = |entry: &Descriptor| wanted.iter().any(|known| known.digest == entry.digest);
    missing(index, wanted).is_empty() && entries(index).iter().all(is_wanted)
}

/// Returns the entries of `new` that the index under a referrers tag does not list, or lists in a way that hides them.
fn missing<'a>(index: &Manifest, new: &'a [Descriptor]) -> Vec<&'a Descriptor> {
    let listed = entries(index);
    let is_listed = |entry: &&Descriptor| {
        let mut alike = listed.iter().filter(|known| known.digest == entry.digest);
        alike.any(|known| !hides_signature(known, entry))
    };
    new.iter().filter(|entry| !is_listed(entry)).collect()
}

/// Reports whether an entry states that its referrer is a signature.
pub(super) fn is_signature(entry: &Descriptor) -> bool {
    stated_predicate(entry) == Some(SIGN_PREDICATE)
}

fn stated_predicate(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(PREDICATE_TYPE).map(String::as_str)
}

/// Reports whether no verifier opens the signature `wanted` because of what its entry `listed` says.
///
/// SECURITY: anyone with push access can list the digest of a signature before it is there, with any other words.
fn hides_signature(listed: &Descriptor, wanted: &Descriptor) -> bool {
    let is_bundle = |entry: &Descriptor| entry.artifact_type.as_deref().is_some_and(is_bundle_type);
    is_signature(wanted)
        && (listed.media_type != wanted.media_type
            || listed.size != wanted.size
            || other_predicate(stated_predicate(listed)).is_some()
            || (is_bundle(wanted) && !is_bundle(listed)))
}

/// Appends `new` to the index under the referrers tag, or returns `None` if all of it is there. An entry that hides one
/// of them is replaced. Other content of other writers stays as they wrote it.
pub(crate) fn merge(
    current: Option<&Manifest>,
    of: &Subject,
    new: &[Descriptor],
) -> Result<Option<Vec<u8>>, ListError> {
    let empty = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
        MediaType::OciIndex.as_str()
    );
    let (document, new) = match current {
        None => (empty.as_bytes(), new.iter().collect()),
        Some(manifest) => {
            let missing = missing(manifest, new);
            if missing.is_empty() {
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
                    why: "does not point to an OCI index".into(),
                });
            }
            (manifest.bytes(), missing)
        }
    };
    let merged = with_entries(document, &new).map_err(ListError::Unwritable)?;
    Ok(Some(merged.into_bytes()))
}

fn with_entries(document: &[u8], new: &[&Descriptor]) -> Result<String, serde_json::Error> {
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

/// Returns the index without the entries for `dead`, or `None` if it has none of them. Everything else stays byte for
/// byte.
pub(super) fn without_entries(
    list: &[u8],
    dead: &BTreeSet<Digest>,
) -> Result<Option<Vec<u8>>, serde_json::Error> {
    if dead.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(list).map_err(serde::de::Error::custom)?;
    let Index { manifests } = serde_json::from_str(text)?;
    let Some(manifests) = manifests.filter(|list| is_list(list)) else {
        return Ok(None);
    };
    let listed: Vec<&RawValue> = serde_json::from_str(manifests.get())?;
    let is_dead = |raw: &&RawValue| {
        serde_json::from_str(raw.get()).is_ok_and(|ListedEntry { digest }| dead.contains(&digest))
    };
    let kept: Vec<&str> = listed
        .iter()
        .filter(|raw| !is_dead(raw))
        .map(|raw| raw.get())
        .collect();
    if kept.len() == listed.len() {
        return Ok(None);
    }
    let mut edits = Edits::of(text);
    edits.replace(manifests, format!("[{}]", kept.join(",")));
    Ok(Some(edits.done().into_bytes()))
}

/// Returns the entries of the index under a referrers tag.
pub(super) fn entries(manifest: &Manifest) -> &[Descriptor] {
    match manifest.kind() {
        ManifestKind::Index { manifests, .. } => manifests,
        ManifestKind::Image { .. } => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BUNDLE_TYPE;

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
        ours.annotations
            .insert(PREDICATE_TYPE.to_owned(), SIGN_PREDICATE.to_owned());
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
            .insert(PREDICATE_TYPE.to_owned(), attestation);
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
    fn dead_entries_are_removed_and_the_rest_stays_byte_for_byte() {
        let text = |entries: &[&Descriptor]| {
            let entries: Vec<String> = entries
                .iter()
                .map(|entry| serde_json::to_string(entry).unwrap())
                .collect();
            format!(
                r#"{{"x":[1.50],"manifests":[{}] , "y":null}}"#,
                entries.join(",")
            )
        };
        let (a, b, c) = (entry("a"), entry("b"), entry("c"));
        let dead = |entries: &[&Descriptor]| -> BTreeSet<Digest> {
            entries.iter().map(|entry| entry.digest.clone()).collect()
        };
        for (gone, left) in [
            (vec![&b], Some(vec![&a, &c])),
            (vec![&a, &c], Some(vec![&b])),
            (vec![&a, &b, &c], Some(vec![])),
            (vec![], None),
        ] {
            let list = index(&text(&[&a, &b, &c]));
            let bytes = without_entries(list.bytes(), &dead(&gone)).unwrap();
            assert_eq!(bytes, left.map(|left| text(&left).into_bytes()));
        }
    }

    #[test]
    fn a_tag_that_is_no_list_is_left_alone() {
        let image = br#"{"config":{"mediaType":"a","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}"#;
        let image = Manifest::parse(image.to_vec(), MediaType::OciManifest).unwrap();
        let error = merge(Some(&image), &subject(), &[entry("ours")]).unwrap_err();
        assert!(matches!(error, ListError::Occupied { .. }), "{error}");
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
