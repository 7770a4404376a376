//! Tests that referrers and digest tags are copied with an image, and that nothing existing is lost.

use sandbox::{Fault, Kind, Referrers};

use super::pushed::{document, list, listed, publish, push_beside, push_referrer, registry};
use super::*;
use crate::copy::CopyError;
use crate::referrers::ListError;

/// The kinds of referrer lists at the source and at the destination.
const KEEPERS: [(Referrers, Referrers); 4] = [
    (Referrers::Api, Referrers::Api),
    (Referrers::Api, Referrers::TagSchema),
    (Referrers::TagSchema, Referrers::Api),
    (Referrers::TagSchema, Referrers::TagSchema),
];

/// Returns the source and the destination of a copy between two registries.
fn between(source: &Sandbox, destination: &Sandbox) -> ([Source; 1], Repository) {
    let from = repository(source, "o/from");
    ([from.into()], repository(destination, "o/to"))
}

#[tokio::test]
async fn what_refers_to_any_part_comes_along_and_is_listed() {
    for (keeper, other) in KEEPERS {
        let (source, destination) = (registry(keeper), registry(other));
        let child = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
        let index = push_index(&source, "o/from", &[&child]);
        let push =
            |subject: &Digest, content| push_referrer(&source, "o/from", subject, content, keeper);
        let of_index = push(&index, "signature");
        let of_child = push(&child, "attestation");
        let of_referrer = push(&of_index, "countersignature");
        let (from, to) = (
            repository(&source, "o/from"),
            repository(&destination, "o/to"),
        );
        publish(&[from.into()], &to, &index).await.unwrap();
        for (subject, referrer) in [
            (&index, &of_index),
            (&child, &of_child),
            (&of_index, &of_referrer),
        ] {
            let text = referrer.to_string();
            let original = source.manifest("o/from", &text);
            assert_eq!(
                destination.manifest("o/to", &text),
                original,
                "{keeper:?} {other:?}"
            );
            let wanted = if other == Referrers::Api {
                vec![]
            } else {
                vec![referrer.clone()]
            };
            assert_eq!(
                listed(&destination, "o/to", subject),
                wanted,
                "{keeper:?} {other:?}"
            );
        }
    }
}

#[tokio::test]
async fn list_of_the_source_is_taken_as_it_is_where_there_is_none() {
    let keeper = Referrers::TagSchema;
    let (source, destination) = (registry(keeper), registry(keeper));
    let image = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
    push_referrer(&source, "o/from", &image, "one", keeper);
    push_referrer(&source, "o/from", &image, "two", keeper);
    let (from, to) = (
        repository(&source, "o/from"),
        repository(&destination, "o/to"),
    );
    publish(&[from.into()], &to, &image).await.unwrap();
    let tag = image.referrers_tag().to_string();
    assert_eq!(
        destination.manifest("o/to", &tag),
        source.manifest("o/from", &tag)
    );
}

#[tokio::test]
async fn lists_of_both_sides_are_merged() {
    let keeper = Referrers::TagSchema;
    let (source, destination) = (registry(keeper), registry(keeper));
    let name = "o/same";
    let image = digest(&source.push_image(name, "linux/amd64", Kind::Oci).digest);
    destination.push_image(name, "linux/amd64", Kind::Oci);
    let both = push_referrer(&source, name, &image, "both", keeper);
    push_referrer(&destination, name, &image, "both", keeper);
    let ours = push_referrer(&source, name, &image, "ours", keeper);
    let theirs = push_referrer(&destination, name, &image, "theirs", keeper);
    let (from, to) = (repository(&source, name), repository(&destination, name));
    publish(&[from.into()], &to, &image).await.unwrap();
    assert_eq!(listed(&destination, name, &image), [both, theirs, ours]);
}

#[tokio::test]
async fn what_is_listed_and_lost_is_left_out() {
    let keeper = Referrers::TagSchema;
    let (source, destination) = (registry(keeper), registry(keeper));
    let image = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
    let not_at_source =
        json!({"mediaType": OCI_MANIFEST, "digest": Digest::of(b"lost"), "size": 1});
    list(&source, "o/from", &image, not_at_source);
    let kept = push_referrer(&source, "o/from", &image, "kept", keeper);
    let (from, to) = (
        repository(&source, "o/from"),
        repository(&destination, "o/to"),
    );
    publish(&[from.into()], &to, &image).await.unwrap();
    assert_eq!(listed(&destination, "o/to", &image), [kept]);
}

#[tokio::test]
async fn what_cosign_keeps_under_tags_comes_along() {
    let (source, destination) = (sandbox(), sandbox());
    let image = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
    let suffixes = ["sig", "att", "sbom"];
    for suffix in suffixes {
        push_beside(&source, "o/from", &image, suffix, &[suffix]);
    }
    let (from, to) = (
        repository(&source, "o/from"),
        repository(&destination, "o/to"),
    );
    publish(&[from.into()], &to, &image).await.unwrap();
    assert_eq!(destination.tags("o/to"), source.tags("o/from"));
    for suffix in suffixes {
        let tag = image.digest_tag(suffix).unwrap().to_string();
        assert_eq!(
            destination.manifest("o/to", &tag),
            source.manifest("o/from", &tag)
        );
        assert!(
            destination
                .blob("o/to", &Digest::of(suffix.as_bytes()).to_string())
                .is_some()
        );
    }
}

/// Signatures of a lost subject stay, since nothing ties a tag to it. Parts of them may have been lost before.
#[tokio::test]
async fn what_is_kept_beside_a_lost_subject_is_healed_with_it() {
    let (source, destination) = (sandbox(), sandbox());
    let image = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
    push_beside(&source, "o/from", &image, "sig", &["ours"]);
    let (from, to) = between(&source, &destination);
    publish(&from, &to, &image).await.unwrap();
    let layer = Digest::of(b"ours").to_string();
    destination.delete_manifest("o/to", &image.to_string());
    destination.delete_blob("o/to", &layer);
    publish(&from, &to, &image).await.unwrap();
    assert!(destination.blob("o/to", &layer).is_some());
}

#[tokio::test]
async fn signatures_of_both_sides_are_merged_and_stay_so() {
    let (source, destination) = (sandbox(), sandbox());
    let name = "o/same";
    let image = digest(&source.push_image(name, "linux/amd64", Kind::Oci).digest);
    destination.push_image(name, "linux/amd64", Kind::Oci);
    push_beside(&source, name, &image, "sig", &["both", "ours"]);
    push_beside(&destination, name, &image, "sig", &["theirs", "both"]);
    let kept = push_beside(&destination, name, &image, "sbom", &["their list"]);
    push_beside(&source, name, &image, "sbom", &["our list"]);
    let (from, to) = (repository(&source, name), repository(&destination, name));
    let from = [from.into()];
    publish(&from, &to, &image).await.unwrap();
    let tag = image.digest_tag("sig").unwrap().to_string();
    let merge_layers = document(&destination, name, &tag);
    let layers = merge_layers["layers"].as_array().unwrap().iter();
    let contents: Vec<&str> = layers
        .map(|layer| layer["annotations"]["a"].as_str().unwrap())
        .collect();
    assert_eq!(contents, ["theirs", "both", "ours"]);
    let config = destination
        .blob(name, merge_layers["config"]["digest"].as_str().unwrap())
        .unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let wanted = contents
        .iter()
        .map(|content| Digest::of(content.as_bytes()));
    let wanted: Vec<Digest> = wanted.collect();
    assert_eq!(config["rootfs"]["diff_ids"], json!(wanted));
    assert!(
        destination
            .blob(name, &Digest::of(b"ours").to_string())
            .is_some()
    );
    let sbom = image.digest_tag("sbom").unwrap().to_string();
    assert_eq!(destination.tags(name)[&sbom], kept.to_string());

    destination.clear_requests();
    publish(&from, &to, &image).await.unwrap();
    let asked = lines(&destination);
    assert!(
        asked
            .iter()
            .all(|line| line.starts_with("HEAD") || line.starts_with("GET")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn tag_of_signatures_that_holds_something_else_is_left_alone() {
    let (source, destination) = (sandbox(), sandbox());
    let image = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
    push_beside(&source, "o/from", &image, "sig", &["ours"]);
    let other = destination
        .push_image("o/to", "linux/arm64", Kind::Oci)
        .digest;
    let tag = image.legacy_tag().unwrap().to_string();
    destination.tag("o/to", &tag, &other);
    let (from, to) = (
        repository(&source, "o/from"),
        repository(&destination, "o/to"),
    );
    let error = publish(&[from.into()], &to, &image).await.unwrap_err();
    assert!(
        matches!(error, CopyError::List(ListError::Occupied { .. })),
        "{error}"
    );
    assert_eq!(destination.tags("o/to")[&tag], other);
}

#[tokio::test]
async fn healthy_destination_is_only_looked_at() {
    for (keeper, other) in KEEPERS {
        let (source, destination) = (registry(keeper), registry(other));
        let image = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
        push_referrer(&source, "o/from", &image, "one", keeper);
        push_beside(&source, "o/from", &image, "sig", &["ours"]);
        let (from, to) = between(&source, &destination);
        publish(&from, &to, &image).await.unwrap();
        destination.clear_requests();
        publish(&from, &to, &image).await.unwrap();
        let asked = lines(&destination);
        assert!(
            asked.iter().all(|line| {
                let lists = [image.referrers_tag(), image.digest_tag("sig").unwrap().tag];
                let is_list = line.contains("/referrers/")
                    || lists.iter().any(|list| line.ends_with(list.as_str()));
                line.starts_with("HEAD ") || line.starts_with("GET ") && is_list
            }),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn lists_that_cannot_be_read_are_not_empty() {
    for (path, fault) in [("*/referrers/*", 403), ("*/manifests/sha256-*", 403)] {
        let keeper = Referrers::TagSchema;
        let (source, destination) = (registry(keeper), registry(keeper));
        let image = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
        push_referrer(&source, "o/from", &image, "one", keeper);
        source.fault(Fault::on("GET", path).times(u32::MAX).status(fault));
        let (from, to) = (
            repository(&source, "o/from"),
            repository(&destination, "o/to"),
        );
        let error = publish(&[from.into()], &to, &image).await.unwrap_err();
        assert!(matches!(error, CopyError::Registry(_)), "{error}");
    }
}

#[tokio::test]
async fn list_of_tags_saves_questions_and_none_is_skipped_without_it() {
    for complete in [true, false] {
        let (source, destination) = (sandbox(), sandbox());
        let image = digest(&source.push_image("o/from", "linux/amd64", Kind::Oci).digest);
        push_beside(&source, "o/from", &image, "sig", &["ours"]);
        if !complete {
            source.fault(Fault::on("GET", "*/tags/list").status(404));
        }
        let (from, to) = (
            repository(&source, "o/from"),
            repository(&destination, "o/to"),
        );
        publish(&[from.into()], &to, &image).await.unwrap();
        assert_eq!(destination.tags("o/to"), source.tags("o/from"));
        let asked = lines(&source);
        let asked = asked
            .iter()
            .filter(|line| line.contains("/manifests/sha256-"))
            .count();
        assert_eq!(asked, if complete { 1 } else { 8 });
    }
}
