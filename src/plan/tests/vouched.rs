//! The content that each voucher vouches for: what it names, and nothing else.

use super::*;
use crate::domain::Reference;
use crate::inputs::{Given, Named, PublishSource};
use crate::record::{
    ImageRecord, Loaded, PlatformRecord, Record, TagRecord, TagState, VouchedRecord,
};
use crate::sigstore::Verified;

fn children() -> Vec<Resolved> {
    let image = leaf("linux/amd64", 1, MediaType::OciManifest);
    vec![resolved(image, true)]
}

fn manifest(seed: u8) -> Manifest {
    let text = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"n":"{seed}"}}}}"#);
    Manifest::parse(text.into_bytes(), MediaType::OciIndex).unwrap()
}

/// Makes an index of these digests.
fn index_of(entries: &[(&MediaType, &Digest)]) -> Manifest {
    let entry = |(media_type, digest): &(&MediaType, &Digest)| serde_json::json!({"mediaType": media_type, "digest": digest, "size": 1});
    let entries: Vec<_> = entries.iter().map(entry).collect();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries});
    Manifest::parse(index.to_string().into_bytes(), MediaType::OciIndex).unwrap()
}

fn named(reference: &str) -> Named<ImageReference> {
    Named::invented(format!("ghcr.io/o/r{reference}").parse().unwrap())
}

#[test]
fn input_vouches_for_the_digest_that_it_names_and_a_tag_for_what_it_holds() {
    let (is_it, other) = (manifest(1), manifest(2));
    let by_digest = named(&format!("@{}", is_it.digest()));
    for (image, held, vouches) in [
        (by_digest.clone(), &is_it, true),
        (by_digest, &other, false),
        (named(":v1"), &other, true),
        (named(""), &is_it, false),
    ] {
        let vouched = Vouched::named(held.clone(), &image);
        assert_eq!(vouched.is_some(), vouches, "{image:?}");
        let source = Named::invented(PublishSource::Image(ImageReference::clone(&image)));
        let vouched = Vouched::at_source(held.clone(), &source);
        assert_eq!(vouched.is_some(), vouches, "{image:?}");
    }
    let name = "x".to_owned();
    let (path, tag) = ("x".into(), None);
    let layout = Named::invented(PublishSource::Layout { name, path, tag });
    assert!(Vouched::at_source(is_it.clone(), &layout).is_some());
    // A record has images of its own.
    let (name, path) = ("x".to_owned(), "x".into());
    let record = Named::invented(PublishSource::Record { name, path });
    assert!(Vouched::at_source(is_it.clone(), &record).is_none());
}

#[test]
fn part_vouches_for_its_digest_and_a_tag_for_the_digest_that_it_is_resolved_to() {
    let (is_it, other) = (manifest(1), manifest(2));
    let part = |reference| Given::invented("ghcr.io/o/r".parse().unwrap(), reference);
    let by_digest = part(Reference::Digest(is_it.digest().clone()));
    let by_tag = part(Reference::Tag("v1".parse().unwrap()));
    let given = |part| Vouched::given(part).map(Vouched::into_content);
    assert_eq!(given(&by_digest).as_ref(), Some(is_it.digest()));
    assert_eq!(given(&by_tag), None);
    let resolved = |held, part| Vouched::resolved(held, part).map(Vouched::into_content);
    assert_eq!(resolved(&is_it, &by_digest).as_ref(), Some(is_it.digest()));
    assert_eq!(resolved(&other, &by_digest), None);
    assert_eq!(resolved(&other, &by_tag).as_ref(), Some(other.digest()));
}

#[test]
fn digest_or_signature_vouches_for_no_other_manifest() {
    let (is_it, other) = (manifest(1), manifest(2));
    let digest = Vouched::invented(is_it.digest().clone());
    assert!(digest.manifest(is_it.clone()).is_some());
    assert!(digest.manifest(other.clone()).is_none());
    let verified = Verified::invented(is_it.digest(), "us");
    assert!(Vouched::signed(is_it, &verified).is_some());
    assert!(Vouched::signed(other, &verified).is_none());
}

#[test]
fn record_vouches_for_what_it_has_and_for_what_a_tag_held_under_that_tag() {
    let [index, image, attestation, before, other] = [1, 2, 3, 4, 5].map(manifest);
    let digest = |manifest: &Manifest| manifest.digest().clone();
    let record = VouchedRecord::of(Record {
        images: vec![ImageRecord {
            image: "ghcr.io/o/r".to_owned(),
            digest: digest(&index),
            media_type: MediaType::OciIndex,
            observed: false,
            created: false,
            platforms: vec![PlatformRecord {
                platform: "linux/amd64".to_owned(),
                digest: digest(&image),
            }],
            attestations: vec![digest(&attestation)],
            tags: vec![TagRecord {
                tag: "latest".to_owned(),
                moving: true,
                before: Some(digest(&before)),
                after: digest(&index),
                state: TagState::Written,
            }],
            signatures: Vec::new(),
        }],
        ..Record::default()
    });
    let current = TagDigest::Present(digest(&index));
    let step = decide_cleanup(&record, &full("latest"), TagKind::Moving, &current);
    let CleanupStep::Rollback(back) = step else {
        panic!("{step:?}");
    };
    let images = Loaded::Vouched(record).images().unwrap().unwrap();
    for (manifest, has, restores) in [
        (index, true, false),
        (image, true, false),
        (attestation, true, false),
        (before, false, true),
        (other, false, false),
    ] {
        let recorded = Vouched::recorded(manifest.digest(), &images);
        assert_eq!(recorded.is_some(), has);
        assert_eq!(Vouched::restored(manifest, &back).is_some(), restores);
    }
}

#[test]
fn everything_in_an_index_is_vouched_for_once_and_nothing_else_is() {
    let leaf = |seed: u8| Digest::of(&[seed]);
    let (index, image) = (&MediaType::OciIndex, &MediaType::OciManifest);
    let inner = index_of(&[(image, &leaf(1)), (image, &leaf(2))]);
    let elsewhere = index_of(&[(image, &leaf(9))]);
    let outer = index_of(&[
        (image, &leaf(1)),
        (index, inner.digest()),
        (image, &leaf(3)),
        (image, &leaf(3)),
    ]);
    let vouched = Vouched::made(outer.clone());
    let digests = |nested: &[Manifest]| {
        let all = vouched.everything(nested);
        assert!(all.iter().all(|one| one.by() == Voucher::Made));
        let mut all: Vec<Digest> = all.iter().map(|one| one.digest.clone()).collect();
        assert_eq!(&all.remove(0), outer.digest());
        all.sort();
        all
    };
    let sorted = |mut all: Vec<Digest>| {
        all.sort();
        all
    };
    let own = vec![leaf(1), inner.digest().clone(), leaf(3)];
    assert_eq!(digests(&[]), sorted(own.clone()));
    assert_eq!(
        digests(std::slice::from_ref(&elsewhere)),
        sorted(own.clone())
    );
    let deep = [own, vec![leaf(2)]].concat();
    assert_eq!(digests(&[inner, elsewhere]), sorted(deep));
}

#[test]
fn signature_of_one_index_lets_no_other_stay() {
    let children = children();
    let assembly = assembled(&children);
    let [signed, other] = ["us", "them"].map(|by| {
        edited(&assembly.manifest, |index| {
            index["annotations"]["by"] = by.into();
        })
    });
    let verified = Verified::invented(signed.digest(), "us");
    let vouched = [Vouched::signed(signed.clone(), &verified).unwrap()];
    let decide = |seen: &[SeenTag]| {
        let keep_rule = KeepRule::Vouched(&vouched);
        decide_tags(&assembly, &children, seen, keep_rule, &BTreeMap::new())
    };
    let ours = fixed("v1", Some(signed.clone()));
    let decided = decide(&[ours.clone(), fixed("v2", None)]).unwrap();
    assert_eq!(decided.target.manifest().digest(), signed.digest());
    let theirs = fixed("v2", Some(other.clone()));
    let conflicts = decide(&[ours, theirs]).unwrap_err();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(&conflicts[0].digest, other.digest());
}

#[test]
fn every_conflict_is_named_and_signatures_are_looked_for_where_they_decide() {
    let children = children();
    let assembly = assembled(&children);
    let annotated = annotated(&assembly.manifest);
    let others = [resolved(
        leaf("linux/amd64", 2, MediaType::OciManifest),
        false,
    )];
    let images = assembled(&others).manifest.into_content();
    let same = rewritten(&assembly.manifest);
    let seen = [
        fixed("same", Some(same)),
        fixed("annotated", Some(annotated.clone())),
        fixed("images", Some(images)),
        fixed("absent", None),
        moving("moving", Some(annotated.clone())),
    ];
    let conflicts = decide_signed(&assembly, &children, &seen).unwrap_err();
    let names: Vec<String> = conflicts
        .iter()
        .map(|one| one.tag.tag.to_string())
        .collect();
    assert_eq!(names, ["annotated", "images"]);
    let lacking: Vec<_> = lacking_vouchers(&assembly, &children, &seen).collect();
    assert_eq!(lacking, [(&seen[1].tag.repository, &annotated)]);
    let mut adopted = children.clone();
    adopted[0].input = Vouched::invented(annotated.digest().clone());
    assert_eq!(lacking_vouchers(&assembly, &adopted, &seen).count(), 0);
}
