//! Hostile manifests by somebody with push permission: each is refused, and reading them terminates.

use sandbox::{Kind, Options, Referrers};
use serde_json::{Value, json};

use crate::support::{INDEX, MANIFEST, REPOSITORY, World, child, descriptor, index_of, push};

/// The index of the world's images, as another tool writes it.
fn whole(world: &World) -> Value {
    index_of(&[
        child(world, &world.amd64.digest, "amd64"),
        child(world, &world.arm64.digest, "arm64"),
    ])
}

/// Pushes another build for linux/amd64 by somebody else, and returns its descriptor.
fn foreign(world: &World) -> Value {
    let image = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 666);
    child(world, &image.digest, "amd64")
}

/// Asserts that `create` does not accept `index` under the tag as an index of the world's images. It reports a conflict, or
/// that the content cannot be determined.
fn is_not_the_same(world: &World, index: &str) {
    push(world, Some("v1"), index);
    let outcome = world.create().run();
    assert!(
        matches!(outcome.code, 1 | 3),
        "{}: {index}\n{}",
        outcome.code,
        outcome.log
    );
}

#[test]
fn foreign_image_does_not_hide_before_a_nested_index() {
    let world = World::new();
    let amd64 = child(&world, &world.amd64.digest, "amd64");
    let inner = push(&world, None, &index_of(&[amd64]).to_string());
    let nested = descriptor(&world, &inner);
    let foreign = foreign(&world);
    let arm64 = child(&world, &world.arm64.digest, "arm64");
    let digests = format!("{inner},{}", world.arm64.digest);
    let create = world.create().input("digests", digests);
    let whole = index_of(&[nested.clone(), arm64.clone()]);
    push(&world, Some("v1"), &whole.to_string());
    create.succeed();
    for children in [
        [foreign.clone(), nested.clone(), arm64.clone()],
        [nested, foreign, arm64],
    ] {
        push(&world, Some("v1"), &index_of(&children).to_string());
        create.end_with(3);
    }
}

#[test]
fn index_that_others_read_otherwise_is_not_the_same() {
    let world = World::new();
    let same = whole(&world).to_string();
    push(&world, Some("v1"), &same);
    world.create().succeed();
    let foreign = foreign(&world);
    // Go's JSON decoder matches field names in any case and takes the last of several.
    for name in ["Manifests", "MANIFESTS", "manife\u{17f}ts"] {
        let added = format!(",\"{name}\":[{foreign}]}}");
        let index = same.strip_suffix('}').unwrap().to_owned() + &added;
        is_not_the_same(&world, &index);
    }
    for (name, value) in [
        ("Digest", foreign["digest"].clone()),
        ("Urls", json!(["https://evil.test"])),
        ("Data", json!("e30=")),
        ("Platform", json!({"os": "linux", "architecture": "s390x"})),
    ] {
        let mut index = whole(&world);
        index["manifests"][0][name] = value;
        is_not_the_same(&world, &index.to_string());
    }
    let mut index = whole(&world);
    index["manifests"][0]["platform"]["Architecture"] = json!("s390x");
    is_not_the_same(&world, &index.to_string());
}

#[test]
fn index_that_nobody_else_can_read_is_not_the_same() {
    let world = World::new();
    let children = whole(&world)["manifests"].clone();
    let fields = json!([INDEX, children, null, [], null, null, {}]);
    is_not_the_same(&world, &fields.to_string());
    let mut index = whole(&world);
    let (digest, size) = (world.amd64.digest.as_str(), world.amd64.size);
    index["manifests"][0] = json!([
        MANIFEST, digest, size, {"os": "linux", "architecture": "amd64"}, {}, null, [], null
    ]);
    is_not_the_same(&world, &index.to_string());
}

#[test]
fn index_that_is_an_image_as_well_is_not_the_same() {
    let world = World::new();
    for (name, value) in [
        ("layers", json!([])),
        ("config", descriptor(&world, &world.amd64.digest)),
    ] {
        let mut index = whole(&world);
        index.as_object_mut().unwrap().remove("mediaType");
        push(&world, Some("v1"), &index.to_string());
        world.create().succeed();
        index[name] = value;
        is_not_the_same(&world, &index.to_string());
    }
}

#[test]
fn index_that_lies_about_sizes_is_not_the_same() {
    let world = World::new();
    let mut index = whole(&world);
    index["manifests"][1]["size"] = json!(7);
    is_not_the_same(&world, &index.to_string());
}

#[test]
fn size_of_an_attestation_is_what_the_registry_has() {
    let world = World::new();
    let build = world
        .registry()
        .push_index_with_provenance(REPOSITORY, "linux/amd64");
    let mut lying = world.manifest(&build.digest);
    let entries = lying["manifests"].as_array_mut().unwrap();
    let entry = entries
        .iter_mut()
        .find(|entry| entry["digest"] == *build.attestation)
        .unwrap();
    entry["size"] = json!(7);
    let lying = push(&world, None, &lying.to_string());
    let create = world.create().input("tags", "");
    let honest = create.clone().input("digests", &build.digest).succeed();
    let made = create.input("digests", lying).succeed();
    assert_eq!(made.output("digest"), honest.output("digest"));
}

#[test]
fn fallback_tag_that_no_client_can_read_ends_in_an_error() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let created = world.create().succeed();
    let tag = created.output("digest").replace(':', "-");
    let fields = json!([INDEX, [], null, [], null, null, {}]).to_string();
    push(&world, Some(&tag), &fields);
    world.seal().end_with(1);
}

#[test]
fn indexes_that_name_each_other_a_thousand_times_end() {
    let world = World::new();
    let mut innermost = descriptor(&world, &world.amd64.digest);
    for _ in 0..3 {
        let many = vec![innermost.clone(); 1000];
        let digest = push(&world, None, &index_of(&many).to_string());
        innermost = descriptor(&world, &digest);
    }
    let digest = innermost["digest"].as_str().unwrap();
    for action in [
        world.create().input("digests", digest),
        world.sign(digest).input("recursive", "true"),
        world
            .verify(digest)
            .input("recursive", "true")
            .input("max-attempts", "1"),
    ] {
        world.registry().clear_requests();
        let outcome = action.input("timeout", "20s").run();
        let requests = world.registry().requests().len();
        assert!(requests < 5000, "{requests} requests");
        assert!(
            !outcome.log.contains("the run exceeded `timeout`"),
            "{}",
            outcome.log
        );
    }
}

#[test]
fn child_that_is_listed_twice_is_signed_once() {
    let world = World::new();
    let child = |variant| {
        let mut child = child(&world, &world.amd64.digest, "arm");
        child["platform"]["variant"] = json!(variant);
        child
    };
    let index = index_of(&[child("v6"), child("v7")]);
    push(&world, Some("v1"), &index.to_string());
    let outcome = world.sign("v1").input("recursive", "true").succeed();
    assert_eq!(world.listed(&world.amd64.digest).len(), 1);
    assert_eq!(world.sigstore().entries(), 2);
    assert_eq!(outcome.json("signatures").as_array().unwrap().len(), 2);
}

#[test]
fn child_of_two_indexes_is_signed_once() {
    let world = World::new();
    let create = world.create();
    create.succeed();
    let annotated = create.clone().input("annotations", "a=b");
    annotated.input("tags", "v2").succeed();
    let record = create.record().to_string();
    let sign = world.sign("v1").input("image", "");
    sign.handed("manifest-seal.json", record).succeed();
    assert_eq!(world.sigstore().entries(), 4);
    assert_eq!(world.listed(&world.amd64.digest).len(), 1);
}

#[test]
fn child_that_is_not_there_is_not_signed() {
    let world = World::new();
    push(&world, Some("v1"), &whole(&world).to_string());
    world
        .registry()
        .delete_manifest(REPOSITORY, &world.arm64.digest);
    let sign = world.sign("v1").input("recursive", "true");
    sign.end_with(1).says(&["was not found"]);
    assert_eq!(world.sigstore().entries(), 0);
}

#[test]
fn child_is_signed_as_what_the_registry_has() {
    let world = World::new();
    let mut index = whole(&world);
    index["manifests"][0]["size"] = json!(7);
    push(&world, Some("v1"), &index.to_string());
    world.sign("v1").input("recursive", "true").succeed();
    let signature = &world.listed(&world.amd64.digest)[0];
    let subject = world.manifest(signature)["subject"].clone();
    assert_eq!(subject, descriptor(&world, &world.amd64.digest));
}

/// Pushes an image whose config names this platform.
fn image_for(world: &World, platform: &Value) -> String {
    let registry = world.registry();
    let text = platform.to_string();
    let config = registry.push_blob(REPOSITORY, text.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config,
            "size": text.len(),
        },
        "layers": [],
    });
    registry.push_raw(REPOSITORY, None, MANIFEST, manifest.to_string().as_bytes())
}

#[test]
fn platform_that_is_none_is_refused() {
    let world = World::new();
    for platform in [
        json!({"os": "", "architecture": ""}),
        json!({"os": "linux", "architecture": ""}),
        json!({"os": "linux", "architecture": "amd64\n::error::x"}),
        json!({"os": "linux", "architecture": "amd64/v8"}),
        json!({"os": "linux", "architecture": "amd64", "variant": "x".repeat(1 << 20)}),
        json!({"os": "`|`", "architecture": "amd64"}),
        json!({"os": "linux", "architecture": "amd64", "os.version": "1 (x)"}),
        json!({"os": "linux", "architecture": "amd64", "os.features": ["a, b"]}),
        json!({"os": "unknown", "architecture": "unknown"}),
    ] {
        let digest = image_for(&world, &platform);
        let outcome = world.create().input("digests", digest).end_with(2);
        assert!(outcome.everything().len() < 10_000);
    }
}

#[test]
fn conflict_with_ten_thousand_images_is_told_in_few_words() {
    let world = World::new();
    let name = "x".repeat(200);
    let image = |number: usize| {
        json!({
            "mediaType": MANIFEST,
            "digest": format!("sha256:{number:064x}"),
            "size": 1,
            "platform": {"os": name, "architecture": number.to_string()},
        })
    };
    let images: Vec<Value> = (0..10_000).map(image).collect();
    push(&world, Some("v1"), &index_of(&images).to_string());
    let outcome = world.create().end_with(3);
    assert!(outcome.everything().len() < 10_000);
    push(&world, Some("v1"), &index_of(&images[..1000]).to_string());
    let outcome = world.create().end_with(3);
    assert!(outcome.everything().len() < 20_000);
}

#[test]
fn endless_text_that_cannot_be_read_is_told_in_few_words() {
    let world = World::new();
    let mut index = whole(&world);
    index["manifests"][0]["size"] = json!("x".repeat(1 << 20));
    push(&world, Some("v1"), &index.to_string());
    let outcome = world.create().end_with(3);
    assert!(outcome.everything().len() < 10_000);
}

#[test]
fn endless_media_type_is_told_in_few_words() {
    let world = World::new();
    let mut index = whole(&world);
    index["manifests"][0]["mediaType"] = json!("x".repeat(1 << 20));
    let digest = push(&world, None, &index.to_string());
    let outcome = world.create().input("digests", digest).end_with(2);
    assert!(outcome.everything().len() < 10_000);
}

#[test]
fn nothing_is_signed_where_no_record_can_be_kept() {
    let world = World::new();
    let sign = world
        .sign(&world.amd64.digest)
        .input("record", "void/record.json");
    std::os::unix::fs::symlink("/proc", sign.workspace().join("void")).unwrap();
    sign.end_with(1).says(&["could not write the record"]);
    assert_eq!(world.sigstore().entries(), 0);
}

#[test]
fn referrer_that_is_no_manifest_is_no_signature_and_in_nobodys_way() {
    let world = World::new();
    let digest = world.create().succeed().output("digest").to_owned();
    let subject = descriptor(&world, &digest);
    let config = descriptor(&world, &world.amd64.digest);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": "none",
        "subject": subject,
    });
    let bytes = manifest.to_string();
    world
        .registry()
        .push_raw(REPOSITORY, None, MANIFEST, bytes.as_bytes());
    world.verify("v1").input("max-attempts", "1").end_with(3);
    world.seal().succeed();
    world.verify("v1").succeed();
}
