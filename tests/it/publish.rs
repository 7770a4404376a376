//! The command `publish`: an image and its referrers are copied unchanged, lost content is restored, tags are written last.

use serde_json::json;

use crate::support::{Pipeline, REPOSITORY, TARGET};

#[test]
fn publish_copies_all_bytes_unchanged_and_verifies_them() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let published = pipeline.checked(&pipeline.world.at(&index)).succeed();
    assert_eq!(published.outputs["digest"], index);
    assert_eq!(published.outputs["result"], "created");
    assert_eq!(published.outputs["verified"], "true");
    let mut built = pipeline.world.registry().manifests(REPOSITORY);
    built.sort();
    assert_eq!(
        pipeline.manifests_there(),
        built,
        "no other digest was made"
    );
    for tag in ["v1", "latest"] {
        assert_eq!(pipeline.target.tags(TARGET)[tag], index);
    }
    let verified = pipeline
        .world
        .verify("v1")
        .input("image", pipeline.there("v1"));
    verified.input("recursive", "true").succeed();
}

#[test]
fn record_of_a_pipeline_is_a_source() {
    let pipeline = Pipeline::new();
    let (create, index) = pipeline.build();
    let record = create.record().to_string();
    let published = pipeline.checked("built.json").handed("built.json", record);
    assert_eq!(published.succeed().outputs["digest"], index);
    assert_eq!(published.record()["images"][0]["tags"][0]["tag"], "v1");
}

#[test]
fn rerun_changes_nothing() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let publish = pipeline.checked(&pipeline.world.at(&index));
    publish.succeed();
    pipeline.target.clear_requests();
    let again = publish.succeed();
    assert_eq!(again.outputs["result"], "unchanged");
    assert_eq!(pipeline.writes_there(), [""; 0]);
}

#[test]
fn lost_content_is_restored_and_named() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let publish = pipeline.publish(&pipeline.world.at(&index));
    publish.succeed();
    let (amd64, arm64) = (&pipeline.world.amd64, &pipeline.world.arm64);
    pipeline.target.delete_manifest(TARGET, &arm64.digest);
    pipeline.target.delete_blob(TARGET, &amd64.layer);
    let healed = publish.succeed();
    assert_eq!(
        healed.outputs["result"], "unchanged",
        "the tags were right all the time"
    );
    assert!(pipeline.target.manifest(TARGET, &arm64.digest).is_some());
    assert!(pipeline.target.blob(TARGET, &amd64.layer).is_some());
    assert!(
        healed.log.contains("1 manifests and 1 blobs were copied"),
        "{}",
        healed.log
    );
    for digest in [&arm64.digest, &amd64.layer] {
        let hex = &digest["sha256:".len()..][..12];
        assert!(healed.summary.contains(hex), "{}", healed.summary);
    }
}

#[test]
fn image_signed_by_somebody_else_gets_no_tag() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let refused = pipeline
        .checked(&pipeline.world.at(&index))
        .input("certificate-identity", "https://example.com/somebody")
        .run();
    assert_eq!(refused.code, 3, "{}", refused.log);
    assert!(!pipeline.target.tags(TARGET).contains_key("v1"));
}

#[test]
fn tag_that_holds_something_else_is_a_conflict_before_anything_is_copied() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let other = pipeline
        .target
        .push_image(TARGET, "linux/amd64", sandbox::Kind::Oci);
    pipeline.target.tag(TARGET, "v1", &other.digest);
    pipeline.target.tag(TARGET, "latest", &other.digest);
    let conflict = pipeline.publish(&pipeline.world.at(&index)).run();
    assert_eq!(conflict.code, 3, "{}", conflict.log);
    assert_eq!(pipeline.writes_there(), [""; 0]);
    // The moving tag moves.
    let moved = pipeline
        .publish(&pipeline.world.at(&index))
        .input("tags", "");
    moved.succeed();
    assert_eq!(pipeline.target.tags(TARGET)["latest"], index);
}

#[test]
fn dry_run_copies_nothing() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let planned = pipeline
        .publish(&pipeline.world.at(&index))
        .input("dry-run", "true");
    let planned = planned.succeed();
    assert_eq!(planned.outputs["result"], "planned");
    assert_eq!(planned.outputs["digest"], index);
    assert_eq!(pipeline.writes_there(), [""; 0]);
}

#[test]
fn dry_run_tells_each_tag_what_is_copied_and_what_refers_to_it() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let other = pipeline
        .target
        .push_image(TARGET, "linux/amd64", sandbox::Kind::Oci)
        .digest;
    pipeline.target.tag(TARGET, "latest", &other);
    let publish = pipeline.checked(&pipeline.world.at(&index));
    let dry = publish.clone().input("dry-run", "true");
    let planned = dry.succeed();
    planned.says(&[
        &format!("tag `{}`: to be written\n", pipeline.there("v1")),
        &format!(
            "tag `{}`: to be written; it points to `{other}`",
            pipeline.there("latest")
        ),
        &format!(
            "`{}`: to be copied with all its parts",
            pipeline.there(&index)
        ),
    ]);
    // The signature of the index and of both children.
    let amd64 = &pipeline.world.amd64.digest;
    let signatures = pipeline.world.listed(&index).into_iter();
    let all: Vec<String> = signatures.chain(pipeline.world.listed(amd64)).collect();
    for signature in &all {
        planned.says(&[&format!("`{signature}` (")]);
    }
    planned.says(&["verified, by `", "; to be copied"]);
    assert_eq!(planned.json("referrers").as_array().unwrap().len(), 3);
    assert!(
        planned.summary.contains("Part&nbsp;of&nbsp;the&nbsp;copy"),
        "{}",
        planned.summary
    );
    assert_eq!(pipeline.writes_there(), [""; 0]);
    publish.succeed();
    pipeline.target.clear_requests();
    let planned = dry.succeed();
    planned.says(&[
        &format!("tag `{}`: left unchanged", pipeline.there("v1")),
        &format!("tag `{}`: left unchanged", pipeline.there("latest")),
        &format!("`{}`: exists", pipeline.there(&index)),
    ]);
    assert_eq!(pipeline.writes_there(), [""; 0]);
}

#[test]
fn next_source_is_used_if_the_first_lacks_the_image() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let absent = pipeline.world.registry().repository("octo-org/absent");
    let sources = format!("{absent}@{index}\n{}", pipeline.world.at(&index));
    pipeline.publish(&sources).succeed();
    assert_eq!(pipeline.target.tags(TARGET)["v1"], index);
    let nowhere = pipeline
        .publish(&format!("{absent}@{index}\n{absent}:v1"))
        .run();
    assert_eq!(nowhere.code, 1, "{}", nowhere.log);
    assert!(
        nowhere.log.contains("no `source` has the image"),
        "{}",
        nowhere.log
    );
}

/// Garbage collection deleted the image where it was built. A source that names only a repository has it, by its digest.
#[test]
fn lost_image_is_found_at_the_next_source() {
    let pipeline = Pipeline::new();
    let (create, index) = pipeline.build();
    let registry = pipeline.world.registry();
    let spare = registry.repository("octo-org/spare");
    let copied = pipeline.publish(&pipeline.world.at(&index));
    let copied = copied.input("tags", format!("{spare}:v1"));
    copied.input("moving-tags", "").succeed();
    registry.delete_manifest(REPOSITORY, &index);
    let record = create.record().to_string();
    for source in ["built.json", &pipeline.world.at(&index)] {
        let alone = pipeline.checked(source).handed("built.json", &record);
        pipeline.target.clear_requests();
        assert_eq!(alone.run().code, 1);
        assert_eq!(pipeline.writes_there(), [""; 0]);
        let both = alone.input("source", format!("{source}\n{spare}"));
        assert_eq!(both.succeed().outputs["digest"], index);
        assert!(pipeline.target.manifest(TARGET, &index).is_some());
        pipeline.target.delete_manifest(TARGET, &index);
    }
}

#[test]
fn unknown_kind_of_source_is_an_error() {
    let pipeline = Pipeline::new();
    for (source, words) in [
        ("", "no image is named"),
        ("oci:", "names no folder"),
        ("ghcr.io/o/r", "no image is named"),
        ("lost.json", "there is no record `lost.json`"),
    ] {
        let refused = pipeline.publish(source).run();
        assert_eq!(refused.code, 2, "{}", refused.log);
        assert!(refused.log.contains(words), "{}", refused.log);
    }
    let broken = pipeline.publish("oci:lost").run();
    assert_eq!(broken.code, 1, "{}", broken.log);
    assert!(
        broken.log.contains("could not read `lost`"),
        "{}",
        broken.log
    );
    assert_eq!(pipeline.writes_there(), [""; 0]);
}

#[test]
fn folder_is_a_source() {
    let pipeline = Pipeline::new();
    let config = br#"{"architecture":"amd64","os":"linux"}"#;
    let blob = |bytes: &[u8]| pipeline.world.registry().push_blob("scratch", bytes);
    let image = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob(config), "size": config.len()},
        "layers": [],
    });
    let image = image.to_string();
    let digest = blob(image.as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": image.len(),
        "annotations": {"org.opencontainers.image.ref.name": "v1"},
    }]});
    let place = |digest: &str| format!("images/blobs/sha256/{}", &digest["sha256:".len()..]);
    let publish = pipeline
        .publish("oci:images:v1")
        .file("images/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("images/index.json", index.to_string())
        .file(&place(&digest), &image)
        .file(&place(&blob(config)), config);
    assert_eq!(publish.succeed().outputs["digest"], digest);
    assert_eq!(pipeline.target.tags(TARGET)["v1"], digest);
}

/// Returns a record of two signed images, the second of one platform, and the digests of their indexes.
fn record_of_two(pipeline: &Pipeline) -> (String, [String; 2]) {
    let both = pipeline.world.create().input("tags", "");
    let first = both.succeed().outputs["digest"].clone();
    let one = both.input("digests", &pipeline.world.arm64.digest);
    let second = one.succeed().outputs["digest"].clone();
    let sign = pipeline.world.sign("v1").input("image", "");
    let signed = sign.handed("manifest-seal.json", one.record().to_string());
    signed.succeed();
    (signed.record().to_string(), [first, second])
}

#[test]
fn everything_in_a_record_is_published() {
    let pipeline = Pipeline::new();
    let (record, indexes) = record_of_two(&pipeline);
    let publish = pipeline
        .checked("built.json")
        .handed("built.json", &record)
        .input("image", pipeline.target.repository(TARGET))
        .input("moving-tags", "");
    // A tag can point to only one of them.
    let refused = publish.end_with(2);
    for index in &indexes {
        assert!(refused.log.contains(index.as_str()), "{}", refused.log);
    }
    assert_eq!(pipeline.writes_there(), [""; 0]);
    let publish = publish.input("tags", "");
    let published = publish.succeed();
    assert_eq!(published.outputs["result"], "created");
    let mut built = pipeline.world.registry().manifests(REPOSITORY);
    built.sort();
    assert_eq!(pipeline.manifests_there(), built, "all of it, and no more");
    let references = published.json("references").to_string();
    for index in &indexes {
        assert!(references.contains(&pipeline.there(index)), "{references}");
        assert!(published.summary.contains(index), "{}", published.summary);
        let verify = pipeline.world.verify("v1").input("recursive", "true");
        verify.input("image", pipeline.there(index)).succeed();
    }
    // The record that the run writes is such a record too, with each signature at its own image.
    let written = publish.record();
    let images = written["images"].as_array().unwrap();
    let signed: Vec<_> = images
        .iter()
        .map(|image| (&image["digest"], image["signatures"].as_array().unwrap()))
        .collect();
    assert_eq!(signed.len(), 2);
    assert_eq!((signed[0].1.len(), signed[1].1.len()), (3, 2), "{written}");
    assert_eq!(publish.succeed().outputs["result"], "unchanged");
    // Content that one of them lost is restored.
    pipeline.target.delete_manifest(TARGET, &indexes[1]);
    assert_eq!(publish.succeed().outputs["result"], "created");
    assert_eq!(pipeline.manifests_there(), built);
}

#[test]
fn tags_of_a_record_are_for_its_only_index() {
    let pipeline = Pipeline::new();
    let (create, index) = pipeline.build();
    let mut record = create.record();
    // An image that was signed by itself, and the same index in a second, empty repository.
    let lost = pipeline.world.registry().repository("octo-org/lost");
    let image = |image: &str, digest: &str| json!({"image": image, "digest": digest, "mediaType": record["images"][0]["mediaType"], "platforms": []});
    let (alone, twice) = (
        image(&pipeline.world.image(), &pipeline.world.amd64.digest),
        image(&lost, &index),
    );
    let images = record["images"].as_array_mut().unwrap();
    images.insert(0, alone);
    images.insert(1, twice);
    let publish = pipeline
        .checked("built.json")
        .handed("built.json", record.to_string());
    assert_eq!(publish.succeed().outputs["digest"], index);
    assert_eq!(pipeline.target.tags(TARGET)["v1"], index);
}

#[test]
fn conflict_of_the_same_images_in_other_bytes_names_both_digests() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let publish = pipeline.publish(&pipeline.world.at(&index));
    publish.clone().input("moving-tags", "").succeed();
    let (media_type, bytes) = pipeline.target.manifest(TARGET, &index).unwrap();
    let mut other: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    other["annotations"] = json!({"by": "them"});
    let other = other.to_string();
    let push = |tag| {
        pipeline
            .target
            .push_raw(TARGET, Some(tag), &media_type, other.as_bytes())
    };
    let theirs = push("v1");
    let conflict = publish.end_with(3);
    conflict.says(&[
        &format!("points to `{theirs}` (it has the same images as `{index}` but other bytes) with linux/amd64"),
        &format!("expected: `{index}` with linux/amd64"),
    ]);
    assert!(
        conflict.summary.contains(&format!(
            "it has the same images as `{index}` but other bytes"
        )),
        "{}",
        conflict.summary
    );
    // Two single images have no images in common.
    let (one, other) = (&pipeline.world.amd64.digest, &pipeline.world.arm64.digest);
    let one = pipeline
        .publish(&pipeline.world.at(one))
        .input("tags", pipeline.there("v2"));
    one.succeed();
    let other = pipeline
        .publish(&pipeline.world.at(other))
        .input("tags", pipeline.there("v2"));
    let conflict = other.end_with(3);
    conflict.says(&[&format!("expected: `{}`\n", pipeline.world.arm64.digest)]);
    conflict.does_not_say(&["the same images"]);
}
