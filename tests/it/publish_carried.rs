//! `publish` with `referrers: verified`: the destination receives nothing without a verified signature. Somebody with push
//! permission at the source can write another manifest around a valid bundle. They can also change a list's text, or add layers
//! beside signatures.

use sandbox::{Options, Referrers, Registry};
use serde_json::{Value, json};

use crate::support::{
    Action, INDEX, MANIFEST, Outcome, Pipeline, REPOSITORY, TARGET, World, attach, bundle_manifest,
    descriptor, is_there, manifest, said, sbom, statement_bundle, store, target,
};

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const MALLORY: &str = "by mallory";

/// Returns a run that copies verified referrers only, and requires no signatures of the platforms.
fn verified(pipeline: &Pipeline, index: &str) -> Action {
    let publish = pipeline.checked(&pipeline.world.at(index));
    publish
        .input("recursive", "false")
        .input("referrers", "verified")
}

/// Asserts that `name` is not copied, with one warning that names its type and contains `why`.
fn is_left_behind(published: &Outcome, name: &str, why: &str) {
    let said = said(published, name);
    assert_eq!(
        (&said["verified"], &said["carried"]),
        (&json!(false), &json!(false)),
        "{said}"
    );
    let warned = published.log.lines();
    let warned: Vec<&str> = warned
        .filter(|line| line.starts_with("::warning::`") && line.contains(name))
        .collect();
    assert_eq!(warned.len(), 1, "{name}\n{}", published.log);
    let kind = said["type"].as_str().unwrap();
    assert!(
        warned[0].contains(kind) && warned[0].contains(why) && warned[0].contains("not copied"),
        "{why}: {warned:?}"
    );
}

/// Returns all manifests and blobs at the destination, as text.
fn everything_there(pipeline: &Pipeline) -> String {
    let registry = &pipeline.target;
    let mut text = String::new();
    for digest in registry.manifests(TARGET) {
        let (_, bytes) = registry.manifest(TARGET, &digest).unwrap();
        text += std::str::from_utf8(&bytes).unwrap();
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        for blob in layers.iter().chain([&manifest["config"]]) {
            let blob = blob["digest"].as_str();
            let blob = blob.and_then(|digest| registry.blob(TARGET, digest));
            text += &String::from_utf8_lossy(&blob.unwrap_or_default());
        }
    }
    text
}

fn push(world: &World, manifest: &str) -> String {
    let registry = world.registry();
    registry.push_raw(REPOSITORY, None, MANIFEST, manifest.as_bytes())
}

/// Returns `document` with `value` at `place`, which may be a new field.
fn with(document: &Value, place: &str, value: Value) -> Value {
    let mut document = document.clone();
    let (inside, name) = place.rsplit_once('/').unwrap();
    document.pointer_mut(inside).unwrap()[name] = value;
    document
}

/// Returns the manifest of `bundle`, as several tools write it. The last form is for registries that accept no newer one.
fn as_tools_write_it(world: &World, subject: &str, bundle: &[u8]) -> [Value; 4] {
    let plain = bundle_manifest(world, subject, bundle);
    let mut actions = plain.clone();
    actions["annotations"] = json!({
        "org.opencontainers.image.created": "2026-11-29T21:40:11.123Z",
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": PROVENANCE,
    });
    let mut cosign = actions.clone();
    cosign["annotations"]["org.opencontainers.image.created"] = json!("2026-11-29T21:40:11Z");
    cosign["config"]["artifactType"] = json!(BUNDLE);
    let layer = cosign["layers"][0]["digest"].as_str().unwrap().to_owned();
    let title = format!("{}.sigstore.json", layer.replace(':', "-"));
    cosign["layers"][0]["annotations"] = json!({"org.opencontainers.image.title": title});
    let mut older = actions.clone();
    older["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
    for name in ["subject", "artifactType"] {
        older.as_object_mut().unwrap().remove(name);
    }
    [plain, actions, cosign, older]
}

/// Lists `entries` as referrers of `subject`, under the referrers tag.
fn list(world: &World, subject: &str, entries: &[Value]) {
    let list = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": entries,
        "annotations": {"org.example.note": MALLORY},
    });
    let tag = subject.replace(':', "-");
    let list = list.to_string();
    world
        .registry()
        .push_raw(REPOSITORY, Some(&tag), INDEX, list.as_bytes());
}

#[test]
fn bundles_of_all_tools_are_published() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let pipeline = Pipeline {
            world: World::with(Options::new().referrers(Referrers::TagSchema)),
            target: target(kind),
        };
        let (_, index) = pipeline.build();
        let world = &pipeline.world;
        let ours = world.listed(&index);
        let bundle = statement_bundle(world, &index, PROVENANCE);
        let manifests = as_tools_write_it(world, &index, &bundle);
        let mut entries: Vec<Value> = manifests.iter().map(|one| store(world, one)).collect();
        // The fields of a list's entries are chosen by the list's writer.
        for entry in &mut entries {
            entry["annotations"] = json!({"org.example.note": MALLORY});
            entry["artifactType"] = json!("application/vnd.mallory");
        }
        entries.extend(ours.iter().map(|one| descriptor(world, one)));
        list(world, &index, &entries);
        let publish = verified(&pipeline, &index);
        let published = publish.succeed();
        for entry in &entries {
            let digest = entry["digest"].as_str().unwrap();
            let said = said(&published, digest);
            assert_eq!(
                (&said["verified"], &said["carried"]),
                (&json!(true), &json!(true)),
                "{said}"
            );
            assert!(is_there(&pipeline, digest), "{entry}");
        }
        let there = everything_there(&pipeline);
        assert!(!there.contains("mallory"), "{there}");
        if kind == Referrers::TagSchema {
            let listed = manifest(&pipeline.target, TARGET, &index.replace(':', "-"));
            let listed = listed["manifests"].as_array().unwrap().clone();
            assert_eq!(listed.len(), entries.len());
            for (entry, manifest) in entries.iter().zip(&manifests) {
                let is_it = |one: &&Value| one["digest"] == entry["digest"];
                let found = listed.iter().find(is_it).unwrap();
                assert_eq!(found["artifactType"], BUNDLE);
                assert_eq!(found["annotations"], manifest["annotations"]);
                assert_eq!(found["size"], entry["size"]);
            }
        }
        assert_eq!(publish.succeed().output("result"), "unchanged");
        let verify = world.verify("v1").input("image", pipeline.there(&index));
        verify.succeed();
    }
}

#[test]
fn manifest_that_holds_more_than_its_bundle_is_left_behind() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let world = &pipeline.world;
    let bundle = statement_bundle(world, &index, PROVENANCE);
    let [_, plain, ..] = as_tools_write_it(world, &index, &bundle);
    let foreign = world.registry().push_blob(REPOSITORY, MALLORY.as_bytes());
    let note = json!({"org.example.note": MALLORY});
    let created = "/annotations/org.opencontainers.image.created";
    let of_other = json!({"mediaType": EMPTY, "digest": foreign, "size": MALLORY.len()});
    let changes = [
        ("remark", "/remark", json!(MALLORY)),
        ("remark", "/remark", json!({"empty": []})),
        ("bytes", "/remark", json!(MALLORY.repeat(2000))),
        ("annotations.org.example.note", "/annotations", note.clone()),
        ("created", created, json!(MALLORY)),
        (
            "created",
            created,
            json!(format!("2026-11-29T21:40:11Z[{MALLORY}]")),
        ),
        (
            "content",
            "/annotations/dev.sigstore.bundle.content",
            json!(MALLORY),
        ),
        (
            "predicateType",
            "/annotations/dev.sigstore.bundle.predicateType",
            json!(MALLORY),
        ),
        ("artifactType", "/artifactType", json!(MALLORY)),
        (
            "config.mediaType",
            "/config/mediaType",
            json!("application/vnd.mallory"),
        ),
        ("config.digest", "/config", of_other),
        ("config.annotations", "/config/annotations", note.clone()),
        ("config.data", "/config/data", json!("bWFsbG9yeQ==")),
        (
            "layers.annotations.org.example.note",
            "/layers/0/annotations",
            note.clone(),
        ),
        (
            "layers.urls",
            "/layers/0/urls",
            json!(["https://mallory.test"]),
        ),
        (
            "layers.mediaType",
            "/layers/0/mediaType",
            json!(format!("{BUNDLE}.mallory")),
        ),
        ("subject.annotations", "/subject/annotations", note),
        ("subject.size", "/subject/size", json!(999_999_999)),
        ("subject.mediaType", "/subject/mediaType", json!(MANIFEST)),
    ];
    let mut pushed: Vec<(String, &str)> = Vec::new();
    for (why, place, value) in changes {
        pushed.push((push(world, &with(&plain, place, value).to_string()), why));
    }
    // Some parsers take the first of two equal names, others the last.
    let content = "\"dev.sigstore.bundle.content\":";
    let twice = plain.to_string();
    let twice = twice.replace(content, &format!("{content}\"{MALLORY}\",{content}"));
    pushed.push((push(world, &twice), "a repeated name"));
    let mut two = plain.clone();
    let layers = two["layers"].as_array_mut().unwrap();
    layers.push(json!({"mediaType": BUNDLE, "digest": foreign, "size": MALLORY.len()}));
    pushed.push((push(world, &two.to_string()), "it is not a Sigstore bundle"));
    let genuine = push(world, &plain.to_string());
    let publish = verified(&pipeline, &index);
    let published = publish.succeed();
    for (digest, why) in &pushed {
        is_left_behind(&published, digest, why);
        assert!(!is_there(&pipeline, digest), "{why}");
    }
    assert!(is_there(&pipeline, &genuine));
    assert!(!everything_there(&pipeline).contains("mallory"));
    // With `referrers: all` they are copied, and reported.
    let all = publish.input("referrers", "all").succeed();
    for (digest, why) in &pushed {
        let said = said(&all, digest);
        assert_eq!(
            (&said["verified"], &said["carried"]),
            (&json!(false), &json!(true)),
            "{why}"
        );
    }
}

/// A manifest with another subject would be a referrer of that subject at the destination.
#[test]
fn bundle_under_another_subject_is_left_behind() {
    let pipeline = Pipeline {
        world: World::with(Options::new().referrers(Referrers::TagSchema)),
        target: target(Referrers::Api),
    };
    let (_, index) = pipeline.build();
    let world = &pipeline.world;
    let bundle = statement_bundle(world, &index, PROVENANCE);
    let mut manifest = bundle_manifest(world, &index, &bundle);
    manifest["subject"] = descriptor(world, &world.amd64.digest);
    let mut entries: Vec<Value> = world
        .listed(&index)
        .iter()
        .map(|one| descriptor(world, one))
        .collect();
    entries.push(store(world, &manifest));
    list(world, &index, &entries);
    let published = verified(&pipeline, &index).succeed();
    let digest = entries.last().unwrap()["digest"].as_str().unwrap();
    is_left_behind(&published, digest, "its manifest refers to");
}

/// Cosign does not read a bundle with unknown fields, and ignores a hint about the key.
#[test]
fn bundle_with_something_beside_its_signature_is_left_behind() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let world = &pipeline.world;
    let bundle = statement_bundle(world, &index, PROVENANCE);
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    let pushed = [
        ("remark", "/remark", json!(MALLORY)),
        (
            "note",
            "/verificationMaterial/tlogEntries/0/note",
            json!(MALLORY),
        ),
        (MALLORY, "/dsseEnvelope/by mallory", json!(null)),
        ("keyid", "/dsseEnvelope/signatures/0/keyid", json!(MALLORY)),
    ]
    .map(|(why, place, value)| {
        let bundle = with(&bundle, place, value).to_string();
        (attach(world, &index, bundle.as_bytes()), why)
    });
    let published = verified(&pipeline, &index).succeed();
    for (digest, why) in &pushed {
        is_left_behind(
            &published,
            digest,
            &match *why {
                "keyid" => format!("it contains `{why}`, which is not signed"),
                _ => format!("it contains `{why}`, which a Sigstore bundle does not have"),
            },
        );
    }
    assert!(!everything_there(&pipeline).contains("mallory"));
}

/// Referrers of a signature must meet the same requirements.
#[test]
fn referrers_of_referrers_are_verified_too() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let world = &pipeline.world;
    let signature = world.listed(&index).remove(0);
    let theirs = sbom(&pipeline, &signature);
    let ours = attach(
        world,
        &signature,
        &statement_bundle(world, &signature, PROVENANCE),
    );
    let bundle = statement_bundle(world, &signature, "https://spdx.dev/Document");
    let mut forged = bundle_manifest(world, &signature, &bundle);
    forged["annotations"] = json!({"org.example.note": MALLORY});
    let forged = push(world, &forged.to_string());
    let of_theirs = sbom(&pipeline, &theirs);
    let published = verified(&pipeline, &index).succeed();
    is_left_behind(&published, &theirs, "it is not a Sigstore bundle");
    is_left_behind(&published, &forged, "org.example.note");
    assert!(is_there(&pipeline, &signature) && is_there(&pipeline, &ours));
    for digest in [&theirs, &forged, &of_theirs] {
        assert!(!is_there(&pipeline, digest));
    }
}

/// Returns the digest tag that lists the older signatures of `digest`.
fn tag(digest: &str) -> String {
    format!("{}.sig", digest.replace(':', "-"))
}

/// Pushes an index with one signature in the older format. Returns its digest.
fn signed_as_before(pipeline: &Pipeline) -> String {
    let (_, index) = pipeline.create();
    let sign = pipeline.world.sign(&index);
    sign.input("signature-format", "legacy").succeed();
    index
}

fn push_list(world: &World, index: &str, list: &Value) -> String {
    let list = list.to_string();
    world
        .registry()
        .push_raw(REPOSITORY, Some(&tag(index)), MANIFEST, list.as_bytes())
}

#[test]
fn list_of_signatures_is_published_without_other_content() {
    let pipeline = Pipeline::new();
    let index = signed_as_before(&pipeline);
    let world = &pipeline.world;
    let genuine = world.registry().tags(REPOSITORY)[&tag(&index)].clone();
    let list = world.manifest(&tag(&index));
    let foreign = world.registry().push_blob(REPOSITORY, MALLORY.as_bytes());
    let of_other =
        json!({"mediaType": list["config"]["mediaType"], "digest": foreign, "size": MALLORY.len()});
    for (place, value) in [
        ("/annotations", json!({"org.example.note": MALLORY})),
        ("/remark", json!(MALLORY)),
        ("/artifactType", json!("application/vnd.mallory")),
        ("/subject", descriptor(world, &world.amd64.digest)),
        ("/config", of_other),
        ("/layers/0/urls", json!(["https://mallory.test"])),
    ] {
        let forged = push_list(world, &index, &with(&list, place, value));
        let there = Pipeline {
            world: World::new(),
            target: target(Referrers::Api),
        };
        let publish = verified(&pipeline, &index)
            .elsewhere()
            .input("tags", format!("{}:v1", there.target.repository(TARGET)))
            .input("moving-tags", "");
        let published = publish.succeed();
        published.says(&["is copied with its 1 verified signatures alone: "]);
        // The destination receives exactly the list as it was when the image was signed.
        assert_eq!(there.target.tags(TARGET)[&tag(&index)], genuine);
        assert!(!is_there(&there, &forged));
        assert!(!everything_there(&there).contains("mallory"));
        assert!(there.target.blob(TARGET, &foreign).is_none());
        let again = publish.succeed();
        assert_eq!(again.output("result"), "unchanged");
        // The config of the list exists nowhere else.
        let config = manifest(&there.target, TARGET, &genuine)["config"]["digest"].clone();
        there.target.delete_blob(TARGET, config.as_str().unwrap());
        publish.succeed();
        assert!(
            there
                .target
                .blob(TARGET, config.as_str().unwrap())
                .is_some()
        );
        let all = publish.input("referrers", "all").succeed();
        assert_eq!(said(&all, &tag(&index))["verified"], false);
    }
}

#[test]
fn signature_with_something_in_its_annotations_is_left_behind() {
    let pipeline = Pipeline::new();
    let index = signed_as_before(&pipeline);
    let world = &pipeline.world;
    let genuine = world.registry().tags(REPOSITORY)[&tag(&index)].clone();
    let list = world.manifest(&tag(&index));
    let root =
        world.manifest(&tag(&index))["layers"][0]["annotations"]["dev.sigstore.cosign/certificate"]
            .clone();
    let mut forged = list.clone();
    for (name, change) in [
        (
            "org.example.note",
            &(|_: &str| MALLORY.to_owned()) as &dyn Fn(&str) -> String,
        ),
        ("dev.sigstore.cosign/certificate", &|it| {
            format!("{it}{MALLORY}")
        }),
        ("dev.sigstore.cosign/chain", &|it| {
            format!("{MALLORY}\n{it}")
        }),
        // A valid certificate, by an authority that is not trusted.
        ("dev.sigstore.cosign/chain", &|it| {
            format!("{it}\n{}", root.as_str().unwrap())
        }),
        ("dev.sigstore.cosign/bundle", &|it| {
            it.replacen('{', &format!("{{\"note\":\"{MALLORY}\","), 1)
        }),
    ] {
        let mut layer = list["layers"][0].clone();
        let before = layer["annotations"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        layer["annotations"][name] = json!(change(&before));
        forged["layers"].as_array_mut().unwrap().push(layer);
    }
    push_list(world, &index, &forged);
    let published = verified(&pipeline, &index).succeed();
    published.says(&[
        "1 verified signatures alone",
        "it contains `org.example.note`, which is not signed",
    ]);
    assert_eq!(pipeline.target.tags(TARGET)[&tag(&index)], genuine);
    // Each of them alone is not copied either.
    for number in 1..forged["layers"].as_array().unwrap().len() {
        let mut one = list.clone();
        one["layers"] = json!([list["layers"][0], forged["layers"][number]]);
        push_list(world, &index, &one);
        let target = Registry::start(Options::new());
        let publish = verified(&pipeline, &index)
            .input("tags", format!("{}:v1", target.repository(TARGET)))
            .input("moving-tags", "");
        publish.succeed();
        assert_eq!(target.tags(TARGET)[&tag(&index)], genuine, "{number}");
    }
}

/// Several sources may each have a list: a verified list at one proves nothing about another.
#[test]
fn each_list_of_signatures_is_verified_for_itself() {
    let pipeline = Pipeline::new();
    let index = signed_as_before(&pipeline);
    let world = &pipeline.world;
    let genuine = world.registry().tags(REPOSITORY)[&tag(&index)].clone();
    let mut list = world.manifest(&tag(&index));
    let layer = &mut list["layers"][0];
    layer["annotations"]["dev.cosignproject.cosign/signature"] = json!("bWFsbG9yeQ==");
    let (registry, spare) = (world.registry(), "octo-org/spare");
    for blob in [&list["config"], &list["layers"][0]] {
        let blob = registry
            .blob(REPOSITORY, blob["digest"].as_str().unwrap())
            .unwrap();
        registry.push_blob(spare, &blob);
    }
    let list = list.to_string();
    registry.push_raw(spare, Some(&tag(&index)), MANIFEST, list.as_bytes());
    let spare = registry.repository(spare);
    for source in [
        format!("{}\n{spare}", world.at(&index)),
        format!("{spare}\n{}", world.at(&index)),
    ] {
        let target = Registry::start(Options::new());
        let publish = verified(&pipeline, &index)
            .input("source", source)
            .input("tags", format!("{}:v1", target.repository(TARGET)))
            .input("moving-tags", "");
        let published = publish.succeed();
        assert_eq!(target.tags(TARGET)[&tag(&index)], genuine);
        assert_eq!(said(&published, &tag(&index))["carried"], true);
        let left = published
            .log
            .lines()
            .filter(|line| line.contains("not copied"));
        assert_eq!(left.count(), 1, "{}", published.log);
    }
}
