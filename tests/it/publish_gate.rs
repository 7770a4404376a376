//! Signature checks of `publish`: at the source, before a byte is written, and at the destination. Also the copying of
//! referrers that others attached.

use sandbox::{Fault, Options, Referrers};
use serde_json::{Value, json};

use crate::support::{
    Action, MANIFEST, Pipeline, REPOSITORY, TARGET, attach, bundle_manifest, descriptor, is_there,
    said, sbom, statement_bundle,
};

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Returns `action` with one attempt: there is nothing to wait for.
fn once(action: Action) -> Action {
    action.input("max-attempts", "1")
}

#[test]
fn gate_is_checked_at_the_source_before_a_byte_is_written() {
    let pipeline = Pipeline::new();
    let world = &pipeline.world;
    let (_, index) = pipeline.create();
    let publish = once(pipeline.checked(&world.at(&index)));
    // The index is unsigned; then one child is unsigned; then that child is signed by another workflow.
    publish.end_with(3).says(&["has no signature"]);
    world.sign(&index).succeed();
    world.sign(&world.amd64.digest).succeed();
    publish
        .end_with(3)
        .says(&[&format!("@{}", world.arm64.digest)]);
    world.as_workflow(
        "octo-org/octo-app/.github/workflows/other.yml@refs/heads/main",
        "octo-org/octo-app",
        || {
            world.sign(&world.arm64.digest).succeed();
        },
    );
    publish.end_with(3).says(&["it is by `"]);
    // A registry that denies the request gives no answer.
    let on = Fault::on("GET", "*/referrers/*").times(u32::MAX);
    world.registry().fault(on.status(403));
    publish.end_with(1);
    world.registry().clear_faults();
    let dry = publish.clone().input("dry-run", "true");
    dry.end_with(3);
    assert_eq!(pipeline.writes_there(), [""; 0]);
    world.sign(&world.arm64.digest).succeed();
    let published = publish.succeed();
    assert_eq!(published.output("verified"), "true");
    published.says(&["is signed at the source by"]);
}

/// The destination must list the signatures and serve all of them, whether the run stores them or not.
#[test]
fn signatures_are_visible_at_the_destination_before_the_tags_are_written() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let publish = once(pipeline.checked(&pipeline.world.at(&index))).input("moving-tags", "");
    let signature = &pipeline.world.listed(&index)[0];
    // Without moving tags, only signature checks read a blob there.
    let blobs = || Fault::on("GET", "/v2/prod/app/blobs/*").times(u32::MAX);
    let manifest = Fault::on("GET", &format!("/v2/prod/app/manifests/{signature}"));
    let manifest = manifest.times(u32::MAX);
    let forgotten = Fault::on("PUT", "/v2/prod/app/manifests/sha256-*").times(u32::MAX);
    let unknown = manifest.registry_error(404, "MANIFEST_UNKNOWN", "unknown");
    for (fault, code, text) in [
        (blobs().status(403), 1, "could not read blob"),
        (
            blobs().registry_error(404, "BLOB_UNKNOWN", "unknown"),
            3,
            "has no signature",
        ),
        (unknown, 3, "has no signature"),
        (forgotten.status(201), 3, "has no signature"),
    ] {
        pipeline.target.fault(fault);
        // A first copy, and another of what is there.
        for _ in 0..2 {
            let refused = publish.end_with(code);
            refused.says(&["is signed at the source by", text]);
            assert!(is_there(&pipeline, &index));
            assert_eq!(pipeline.target.tags(TARGET).get("v1"), None);
        }
        pipeline.target.clear_faults();
        for digest in pipeline.target.manifests(TARGET) {
            pipeline.target.delete_manifest(TARGET, &digest);
        }
        for tag in pipeline.target.tags(TARGET).keys() {
            pipeline.target.delete_tag(TARGET, tag);
        }
    }
    assert_eq!(publish.succeed().output("verified"), "true");
}

/// No destination is asked for a signature that the source has, so one that does not answer holds back no other.
#[test]
fn signatures_of_a_source_need_no_answer_of_a_destination() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let publish = pipeline.checked(&pipeline.world.at(&index));
    pipeline.target.clear_requests();
    publish.clone().input("dry-run", "true").succeed();
    let asked = pipeline.target.requests().into_iter();
    let mut asked = asked.map(|request| request.path);
    assert!(!asked.any(|path| path.contains("/referrers/") || path.contains("/manifests/sha256-")));
}

#[test]
fn published_referrers_are_listed_as_verified_or_not() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let world = &pipeline.world;
    let attested = statement_bundle(world, &index, PROVENANCE);
    let other_workflow = "octo-org/octo-app/.github/workflows/attest.yml@refs/heads/main";
    let by_other = world.as_workflow(other_workflow, "octo-org/octo-app", || {
        attach(
            world,
            &index,
            &statement_bundle(world, &index, "https://spdx.dev/Document"),
        )
    });
    let ours = attach(world, &index, &attested);
    let foreign = world.as_workflow(
        "evil/fork/.github/workflows/release.yml@refs/heads/main",
        "evil/fork",
        || {
            attach(
                world,
                &index,
                &statement_bundle(world, &index, "https://evil.test/v1"),
            )
        },
    );
    let of_another = attach(
        world,
        &index,
        &statement_bundle(world, &world.amd64.digest, "https://example.test/v1"),
    );
    let plain = sbom(&pipeline, &index);
    let source = world.at(&index);
    let repository = "certificate-github-workflow-repository";
    for named in ["", "octo-org/octo-app"] {
        let publish = pipeline.checked(&source).input(repository, named);
        let published = publish.succeed();
        for (digest, is_verified, kind, why) in [
            (&ours, true, PROVENANCE, ""),
            (&by_other, true, "https://spdx.dev/Document", ""),
            (&foreign, false, "", "evil/fork"),
            (&of_another, false, "", "it signs"),
            (
                &plain,
                false,
                "application/spdx+json",
                "not a Sigstore bundle",
            ),
        ] {
            let said = said(&published, digest);
            assert_eq!(said["verified"], is_verified, "{said}");
            assert_eq!(
                (&said["carried"], &said["subject"]),
                (&json!(true), &json!(index)),
                "{said}"
            );
            if !kind.is_empty() {
                assert_eq!(said["type"], kind, "{said}");
            }
            assert!(said.to_string().contains(why), "{said}");
            let verdict = if is_verified {
                "verified, by `"
            } else {
                "not verified: "
            };
            let line = published
                .log
                .lines()
                .find(|line| line.starts_with(&format!("`{digest}`")));
            assert!(line.unwrap().contains(verdict), "{line:?}");
            assert!(
                published.summary.contains(&digest["sha256:".len()..][..12]),
                "{}",
                published.summary
            );
            assert!(is_there(&pipeline, digest));
        }
        assert!(
            published.summary.contains("**not&nbsp;verified**"),
            "{}",
            published.summary
        );
    }
}

#[test]
fn unverified_referrers_are_not_published_with_referrers_verified() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let pipeline = Pipeline {
            target: sandbox::Registry::start(Options::new().referrers(kind)),
            ..Pipeline::new()
        };
        let (_, index) = pipeline.build();
        let world = &pipeline.world;
        let ours = attach(world, &index, &statement_bundle(world, &index, PROVENANCE));
        let plain = sbom(&pipeline, &index);
        let broken = attach(world, &index, b"{}");
        let att = format!("{}.att", index.replace(':', "-"));
        let beside = bundle_manifest(world, &index, b"whatever").to_string();
        world
            .registry()
            .push_raw(REPOSITORY, Some(&att), MANIFEST, beside.as_bytes());
        let publish = pipeline
            .checked(&world.at(&index))
            .input("referrers", "verified");
        let published = publish.succeed();
        assert_eq!(published.output("verified"), "true");
        let left = [plain.as_str(), &broken, &att];
        for name in left {
            assert_eq!(said(&published, name)["carried"], false);
            let warned = published
                .log
                .lines()
                .filter(|line| line.starts_with("::warning::`") && line.contains(name));
            let warned: Vec<&str> = warned.collect();
            assert_eq!(warned.len(), 1, "{name}\n{}", published.log);
            let kind = said(&published, name)["type"].as_str().unwrap().to_owned();
            assert!(
                warned[0].contains(&kind) && warned[0].contains("not copied"),
                "{warned:?}"
            );
        }
        assert!(!is_there(&pipeline, &plain) && !is_there(&pipeline, &broken));
        assert!(!pipeline.target.tags(TARGET).contains_key(&att));
        assert!(is_there(&pipeline, &ours));
        assert_eq!(publish.succeed().output("result"), "unchanged");
    }
    let pipeline = Pipeline::new();
    let refused = pipeline
        .publish("ghcr.io/o/r:v1")
        .input("referrers", "verified");
    refused
        .end_with(2)
        .says(&["requires the identity of the signer"]);
    let refused = pipeline
        .publish("ghcr.io/o/r:v1")
        .input("referrers", "some");
    refused.end_with(2).says(&["`referrers`"]);
}

/// Anybody can add a layer to the list of signatures: the other layers are verified nevertheless.
#[test]
fn verified_signatures_of_a_shared_list_are_carried_without_the_others() {
    let pipeline = Pipeline::new();
    let world = &pipeline.world;
    let (_, index) = pipeline.create();
    let sign = |of: &str| world.sign(of).input("signature-format", "legacy");
    sign(&index).succeed();
    world.as_workflow(
        "evil/fork/.github/workflows/x.yml@refs/heads/main",
        "evil/fork",
        || {
            sign(&index).succeed();
        },
    );
    let tag = format!("{}.sig", index.replace(':', "-"));
    assert_eq!(world.manifest(&tag)["layers"].as_array().unwrap().len(), 2);
    let publish = pipeline
        .checked(&world.at(&index))
        .input("recursive", "false");
    let publish = publish.input("referrers", "verified");
    let published = publish.succeed();
    assert_eq!(published.output("verified"), "true");
    published.says(&["is copied with its 1 verified signatures alone: "]);
    let layers = |tag: &str| {
        let (_, bytes) = pipeline.target.manifest(TARGET, tag).unwrap();
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
        let config = pipeline.target.blob(TARGET, &config).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        let count = manifest["layers"].as_array().unwrap().len();
        assert_eq!(
            config["rootfs"]["diff_ids"].as_array().unwrap().len(),
            count
        );
        count
    };
    assert_eq!(layers(&tag), 1);
    assert_eq!(publish.succeed().output("result"), "unchanged");
    // With `referrers: all` their signatures are copied too, and reported.
    let all = publish.input("referrers", "all").succeed();
    assert_eq!(said(&all, &tag)["verified"], false);
    assert_eq!(layers(&tag), 2);
}

#[test]
fn invalid_referrer_does_not_prevent_publishing() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let world = &pipeline.world;
    let registry = world.registry();
    let push = |change: &dyn Fn(&mut Value)| {
        let mut manifest = bundle_manifest(world, &index, b"x");
        change(&mut manifest);
        registry.push_raw(REPOSITORY, None, MANIFEST, manifest.to_string().as_bytes())
    };
    let lost = format!("sha256:{:064x}", 7);
    let bad = [
        push(&|it| it["layers"] = json!("none")),
        push(&|it| it["layers"][0]["size"] = json!(5)),
        push(&|it| it["layers"][0]["digest"] = json!(lost)),
    ];
    for identity in [true, false] {
        let source = world.at(&index);
        let publish = if identity {
            pipeline.checked(&source)
        } else {
            pipeline.publish(&source)
        };
        let published = publish.succeed();
        for digest in &bad {
            assert!(!is_there(&pipeline, digest), "{digest}");
            published.says(&[&format!(
                "`{digest}` is listed as a referrer of `{index}` and is not copied: "
            )]);
            assert_eq!(said(&published, digest)["carried"], false);
        }
        assert_eq!(pipeline.target.tags(TARGET)["v1"], index);
    }
}

#[test]
fn without_an_identity_it_is_said_that_nothing_was_verified() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let published = pipeline.publish(&pipeline.world.at(&index)).succeed();
    assert_eq!(published.output("verified"), "false");
    published.says(&[
        "nothing is verified, because no identity is given",
        ", nothing was verified",
    ]);
    assert!(
        published.summary.contains("Nothing was verified"),
        "{}",
        published.summary
    );
    let all = published.json("referrers");
    assert_eq!(all.as_array().unwrap().len(), 3);
    for one in all.as_array().unwrap() {
        assert_eq!(
            (&one["verified"], &one["carried"]),
            (&json!(false), &json!(true))
        );
    }
    let checked = pipeline.checked(&pipeline.world.at(&index)).succeed();
    assert!(
        !checked
            .everything()
            .to_lowercase()
            .contains("nothing was verified")
    );
}

#[test]
fn run_that_restored_lists_says_so() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let publish = pipeline.checked(&pipeline.world.at(&index));
    publish.succeed();
    let list = index.replace(':', "-");
    pipeline.target.delete_tag(TARGET, &list);
    pipeline.target.clear_requests();
    let restored = publish.succeed();
    assert_eq!(pipeline.writes_there().len(), 1);
    assert!(
        !restored.log.contains("already has all content"),
        "{}",
        restored.log
    );
    restored.says(&["1 lists of referrers were written", &list]);
    assert!(restored.summary.contains(&list), "{}", restored.summary);
    let unchanged = publish.succeed();
    unchanged.says(&["already has all content", "verified, by `", "; was there"]);
    assert!(!unchanged.log.contains("; copied"), "{}", unchanged.log);
}

#[test]
fn refused_copy_is_not_told_as_complete() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let publish = once(pipeline.checked(&pipeline.world.at(&index)));
    for status in [403, 503] {
        let on = Fault::on("*", "/v2/prod/app/*").times(u32::MAX);
        pipeline.target.fault(on.status(status));
        let refused = publish.end_with(1);
        pipeline.target.clear_faults();
        for untrue in ["already has all content", "; copied", "; was there"] {
            assert!(!refused.log.contains(untrue), "{}", refused.log);
        }
    }
}

#[test]
fn source_that_is_named_by_its_tag_is_a_warning_that_names_the_digest() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let world = &pipeline.world;
    world.registry().tag(REPOSITORY, "built", &index);
    let by_tag = world.at("built");
    let spare = world.registry().repository("octo-org/spare");
    for source in [by_tag.clone(), format!("{by_tag}\n{spare}")] {
        world.registry().clear_requests();
        let published = pipeline.publish(&source).succeed();
        let warning = format!("::warning::`{by_tag}` was resolved to");
        published.says(&[
            &format!("`{by_tag}` was resolved to `{index}`"),
            &warning,
            &world.at(&index),
        ]);
        let asked = world.registry().requests().into_iter();
        let asked = asked.filter(|request| request.path.ends_with("/manifests/built"));
        assert_eq!(asked.count(), 1);
    }
    let by_digest = pipeline.publish(&world.at(&index)).succeed();
    assert!(
        !by_digest.log.contains("a tag can move"),
        "{}",
        by_digest.log
    );
}

/// Returns `action` with a folder in the OCI layout. It contains the image `index` of `pipeline`, and the content that `extra`
/// names.
fn folder(pipeline: &Pipeline, action: Action, index: &str, extra: &[String]) -> Action {
    let world = &pipeline.world;
    let registry = world.registry();
    let mut action = action.file("images/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let place = |digest: &str| format!("images/blobs/sha256/{}", &digest["sha256:".len()..]);
    let mut manifests = vec![
        index.to_owned(),
        world.amd64.digest.clone(),
        world.arm64.digest.clone(),
    ];
    manifests.extend(extra.to_vec());
    for digest in &manifests {
        let (_, bytes) = registry.manifest(REPOSITORY, digest).unwrap();
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        for blob in layers.iter().chain([&manifest["config"]]) {
            if let Some(blob) = blob["digest"].as_str() {
                action = action.file(&place(blob), registry.blob(REPOSITORY, blob).unwrap());
            }
        }
        action = action.file(&place(digest), bytes);
    }
    let entry = descriptor(world, index);
    let list = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    action.file("images/index.json", list)
}

#[test]
fn only_named_image_of_a_folder_is_the_source() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.create();
    let world = &pipeline.world;
    // `oras cp --to-oci-layout` lists the parts of an index too, without names.
    let mut named = descriptor(world, &index);
    named["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    let parts = [&world.amd64.digest, &world.arm64.digest].map(|part| descriptor(world, part));
    let list = json!({"schemaVersion": 2, "manifests": [parts[0], named, parts[1]]});
    let publish = folder(&pipeline, pipeline.publish("oci:images"), &index, &[]);
    let publish = publish.file("images/index.json", list.to_string());
    assert_eq!(publish.succeed().output("digest"), index);
}

#[test]
fn missing_platforms_of_a_folder_are_named_at_once() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.create();
    let arm64 = &pipeline.world.arm64.digest;
    let publish = folder(&pipeline, pipeline.publish("oci:images"), &index, &[]);
    let lost = format!("images/blobs/sha256/{}", &arm64["sha256:".len()..]);
    std::fs::remove_file(publish.workspace().join(lost)).unwrap();
    let failed = publish.end_with(1);
    failed.says(&[
        &format!("`images` lacks images of the index `{index}`: linux/arm64/v8 (`{arm64}`)"),
        "docker pull --platform",
    ]);
    failed.does_not_say(&["it is not visible yet"]);
    assert!(!pipeline.target.tags(TARGET).contains_key("v1"));
}

#[test]
fn archive_is_refused_with_the_command_that_unpacks_it() {
    let pipeline = Pipeline::new();
    for source in ["oci:image.tar", "oci:image.tar:v1"] {
        let publish = pipeline.publish(source).file("image.tar", "ustar");
        let refused = publish.end_with(2);
        refused.says(&[
            "`image.tar` is a file",
            "an archive must be unpacked: ",
            "tar -xf",
        ]);
    }
    assert_eq!(pipeline.writes_there(), [""; 0]);
}

#[test]
fn signatures_in_a_folder_are_checked_before_a_byte_is_written() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.create();
    let publish = || pipeline.checked("oci:images").input("recursive", "false");
    // The folder contains no signature: the run reports that, and checks the destination, which has none either.
    let none = once(folder(&pipeline, publish(), &index, &[])).end_with(3);
    none.says(&[
        "`images` contains no signature of",
        "at the destination, before the tags are written",
    ]);
    assert!(!pipeline.target.tags(TARGET).contains_key("v1"));
    let fresh = Pipeline::new();
    let (world, publish) = (&fresh.world, || {
        fresh.checked("oci:images").input("recursive", "false")
    });
    let (_, index) = fresh.create();
    let theirs = world.as_workflow(
        "evil/fork/.github/workflows/x.yml@refs/heads/main",
        "evil/fork",
        || {
            world.sign(&index).succeed();
            world.listed(&index)
        },
    );
    let wrong = folder(&fresh, publish(), &index, &theirs).end_with(3);
    wrong.says(&["it is by `"]);
    assert_eq!(fresh.writes_there(), [""; 0]);
    world.sign(&index).succeed();
    let both = world.listed(&index);
    assert_eq!(both.len(), 2);
    let published = folder(&fresh, publish(), &index, &both).succeed();
    published.says(&["is signed at the source by"]);
    assert_eq!(published.output("verified"), "true");
    let verdicts: Vec<bool> = both
        .iter()
        .map(|one| said(&published, one)["verified"] == true)
        .collect();
    assert_eq!(
        verdicts.iter().filter(|is_verified| **is_verified).count(),
        1
    );
}
