//! `publish` does not believe a list of referrers. An entry counts only if its manifest names the subject of the list, and its
//! parts come only from the sources that list it. Somebody with push permission to a source could otherwise publish any manifest
//! of which they know the digest.

use sandbox::{Kind, Options, Referrers, Registry};
use serde_json::{Value, json};

use crate::support::{
    INDEX, MANIFEST, Outcome, Pipeline, REPOSITORY, TARGET, World, descriptor, index_of, listed,
    push, said, sbom, target,
};

const LAYER: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SPARE: &str = "spare/app";

fn pipeline() -> Pipeline {
    Pipeline {
        world: World::with(Options::new().referrers(Referrers::TagSchema)),
        target: target(Referrers::Api),
    }
}

/// Adds `digest` to the list of referrers of `subject`.
fn list(world: &World, subject: &str, digest: &str) {
    let tag = subject.replace(':', "-");
    let mut list = world.manifest(&tag);
    let entries = list["manifests"].as_array_mut().unwrap();
    entries.push(descriptor(world, digest));
    push(world, Some(&tag), &list.to_string());
}

/// Asserts that one warning names `digest` and contains `why`, and that it is not carried.
fn is_left_behind(published: &Outcome, digest: &str, why: &str) {
    let warned = published.log.lines();
    let warned: Vec<&str> = warned
        .filter(|line| line.starts_with("::warning::`") && line.contains(digest))
        .collect();
    assert_eq!(warned.len(), 1, "{}", published.log);
    assert!(
        warned[0].contains(why) && warned[0].contains("not copied"),
        "{why}: {warned:?}"
    );
    assert_eq!(said(published, digest)["carried"], false);
}

#[test]
fn listed_image_is_not_published() {
    for referrers in ["all", "verified"] {
        let pipeline = pipeline();
        let (_, index) = pipeline.build();
        let world = &pipeline.world;
        let private =
            world
                .registry()
                .push_image_seeded(REPOSITORY, "linux/s390x", Kind::Oci, 4242);
        list(world, &index, &private.digest);
        let publish = pipeline.checked(&world.at(&index));
        let published = publish.input("referrers", referrers).succeed();
        is_left_behind(&published, &private.digest, "refers to nothing");
        assert_eq!(pipeline.target.manifest(TARGET, &private.digest), None);
    }
}

#[test]
fn referrer_is_published_only_with_its_subject() {
    for identity in [true, false] {
        let pipeline = pipeline();
        let world = &pipeline.world;
        let (_, first) = pipeline.build();
        pipeline.checked(&world.at(&first)).succeed();
        let next = world.create().elsewhere().input("tags", "");
        let next = next.input("digests", &world.amd64.digest);
        let next = next.succeed().output("digest").to_owned();
        world.sign(&next).elsewhere().succeed();
        let theirs = sbom(&pipeline, &first);
        list(world, &next, &theirs);
        let publish = if identity {
            pipeline.checked(&world.at(&next))
        } else {
            pipeline.publish(&world.at(&next))
        };
        let publish = publish
            .input("tags", pipeline.there("v2"))
            .input("recursive", if identity { "false" } else { "" });
        let published = publish.elsewhere().succeed();
        is_left_behind(&published, &theirs, &format!("refers to `{first}`"));
        assert_eq!(said(&published, &theirs)["subject"], *next);
        assert_eq!(pipeline.target.manifest(TARGET, &theirs), None);
        assert!(!listed(&pipeline.target, TARGET, &first).contains(&theirs));
    }
}

/// Returns an artifact in the spare repository that refers to `index`, and whose layer is `layer`, of which only the digest and
/// the size are known there.
fn naming(
    pipeline: &Pipeline,
    spare: &Registry,
    index: &str,
    media_type: &str,
    layer: &str,
) -> Value {
    let size = pipeline.world.registry().blob(REPOSITORY, layer).unwrap();
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": spare.push_blob(SPARE, b"{}"),
            "size": 2,
        },
        "layers": [{"mediaType": media_type, "digest": layer, "size": size.len()}],
        "subject": descriptor(&pipeline.world, index),
    })
}

#[test]
fn spare_source_names_no_content_of_another() {
    for place in ["list", "list of an image", ".att", ".sig"] {
        for identity in [true, false] {
            let pipeline = Pipeline::new();
            let (_, index) = pipeline.build();
            let world = &pipeline.world;
            let registry = world.registry();
            let private = registry.push_image_seeded(REPOSITORY, "linux/s390x", Kind::Oci, 4242);
            let spare = Registry::start(Options::new().referrers(Referrers::TagSchema));
            let tag = index.replace(':', "-");
            let media_type = if place == ".sig" {
                LAYER
            } else {
                "application/y"
            };
            let theirs = naming(&pipeline, &spare, &index, media_type, &private.layer);
            let theirs = theirs.to_string();
            match place {
                "list of an image" => {
                    let list = index_of(&[descriptor(world, &private.digest)]).to_string();
                    spare.push_raw(SPARE, Some(&tag), INDEX, list.as_bytes());
                }
                "list" => {
                    let digest = spare.push_raw(SPARE, None, MANIFEST, theirs.as_bytes());
                    let entry =
                        json!({"mediaType": MANIFEST, "digest": digest, "size": theirs.len()});
                    let list = index_of(&[entry]).to_string();
                    spare.push_raw(SPARE, Some(&tag), INDEX, list.as_bytes());
                }
                suffix => {
                    let tag = format!("{tag}{suffix}");
                    spare.push_raw(SPARE, Some(&tag), MANIFEST, theirs.as_bytes());
                }
            }
            let sources = format!("{}\n{}", world.at(&index), spare.repository(SPARE));
            let publish = if identity {
                pipeline.checked(&sources)
            } else {
                pipeline.publish(&sources)
            };
            let outcome = publish.input("max-attempts", "1").run();
            // Without an identity a signature that cannot be copied ends the run.
            let code = i32::from(!identity && place == ".sig");
            assert_eq!(outcome.code, code, "{place} {identity}\n{}", outcome.log);
            assert_eq!(pipeline.target.manifest(TARGET, &private.digest), None);
            assert_eq!(pipeline.target.blob(TARGET, &private.layer), None);
        }
    }
}
