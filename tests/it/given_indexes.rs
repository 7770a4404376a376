//! Indexes that were given: what they state is kept, named in a warning, or refused with the command that takes them as they
//! are.

use sandbox::Kind;
use serde_json::{Value, json};

use crate::support::{
    Action, MANIFEST, Pipeline, REPOSITORY, TARGET, World, child, descriptor, index_of, push,
    push_image,
};

const AS_IT_IS: &str = "`sign` and `publish` take this index as it is";

/// Returns a run that makes an index of what `given` lists, under `v1`.
fn create(world: &World, given: &str) -> Action {
    world.create().input("digests", given)
}

/// Returns the platforms that the index under `v1` lists.
fn platforms(world: &World) -> Vec<Value> {
    let index = world.manifest("v1");
    let entries = index["manifests"].as_array().unwrap().iter();
    entries.map(|entry| entry["platform"].clone()).collect()
}

#[test]
fn platform_that_only_the_index_states_is_kept() {
    let world = World::new();
    let windows = |seed: &str| {
        push_image(
            &world,
            &json!({"os": "windows", "architecture": "amd64", "created": seed}).to_string(),
        )
    };
    let versions = ["10.0.17763.6893", "10.0.20348.3207"];
    let entries: Vec<Value> = versions
        .iter()
        .map(|version| {
            let mut entry = child(&world, &windows(version), "amd64");
            entry["platform"] =
                json!({"architecture": "amd64", "os": "windows", "os.version": version});
            entry
        })
        .collect();
    let given = push(&world, None, &index_of(&entries).to_string());
    let create = create(&world, &given);
    // One name is enough for all versions, and each may be named as BuildKit names it.
    for named in [
        "windows/amd64",
        "windows(10.0.17763.6893)/amd64,windows(10.0.20348.3207)/amd64",
    ] {
        create.clone().input("platforms", named).succeed();
    }
    let wanted: Vec<&Value> = entries.iter().map(|entry| &entry["platform"]).collect();
    assert_eq!(platforms(&world).iter().collect::<Vec<_>>(), wanted);
    let other = create.input("platforms", "windows(10.0.17763.6893)/amd64");
    other
        .end_with(2)
        .says(&["`windows/amd64 (10.0.20348.3207)` is not named"]);
}

#[test]
fn every_entry_of_a_given_index_is_kept_and_its_tag_is_no_conflict() {
    for architectures in [vec!["amd64", "arm64"], vec!["amd64", ""], vec![""]] {
        let world = World::new();
        let entries = architectures
            .iter()
            .map(|architecture| match *architecture {
                "" => descriptor(&world, &world.amd64.digest),
                other => child(&world, &world.amd64.digest, other),
            });
        let given = push(
            &world,
            Some("given"),
            &index_of(&entries.collect::<Vec<_>>()).to_string(),
        );
        let create = create(&world, &given);
        create.succeed();
        assert_eq!(
            platforms(&world).len(),
            architectures.len(),
            "{architectures:?}"
        );
        assert_eq!(create.succeed().output("result"), "unchanged");
        let adopted = create.input("tags", "given").succeed();
        assert_eq!(
            (adopted.output("result"), adopted.output("digest")),
            ("unchanged", given.as_str())
        );
    }
}

#[test]
fn platform_that_the_config_denies_is_refused_with_both() {
    let world = World::new();
    let given = push(
        &world,
        None,
        &index_of(&[child(&world, &world.amd64.digest, "s390x")]).to_string(),
    );
    let refused = create(&world, &given).end_with(2);
    refused.says(&[&world.amd64.digest, "`linux/s390x`", "`linux/amd64`"]);
    assert_eq!(world.writes(), [""; 0]);
}

/// An index with the gzip and the zstd form of one image, and one with an artifact beside an image.
#[test]
fn index_that_is_more_than_its_images_is_refused_and_taken_as_it_is() {
    for is_artifact in [false, true] {
        let pipeline = Pipeline::new();
        let world = &pipeline.world;
        let registry = world.registry();
        let second = if is_artifact {
            let config = registry.push_blob(REPOSITORY, b"{}");
            let artifact = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": "application/vnd.amazon.soci.index.v2+json",
                "config": {"mediaType": "application/vnd.amazon.soci.index.v2+json", "digest": config, "size": 2},
                "layers": [],
            });
            registry.push_raw(REPOSITORY, None, MANIFEST, artifact.to_string().as_bytes())
        } else {
            let other = registry.push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 7);
            other.digest
        };
        let mut entry = child(world, &second, "amd64");
        entry["annotations"] = json!({"io.github.containers.compression.zstd": "true"});
        let index = index_of(&[child(world, &world.amd64.digest, "amd64"), entry]).to_string();
        let given = push(world, None, &index);
        let refused = create(world, &given).end_with(2);
        refused.says(&[&given, AS_IT_IS]);
        assert!(!refused.log.contains("earlier build"), "{}", refused.log);
        world.sign(&given).input("recursive", "true").succeed();
        pipeline.checked(&world.at(&given)).succeed();
        let (_, published) = pipeline.target.manifest(TARGET, "v1").unwrap();
        assert_eq!(published, index.as_bytes());
    }
    // Two digests from different inputs stay an error of the inputs.
    let world = World::new();
    let other = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 7);
    let both = format!("{}\n{}", world.amd64.digest, other.digest);
    create(&world, &both).end_with(2).says(&["earlier build"]);
}

#[test]
fn statements_of_a_given_index_that_are_left_out_are_a_warning() {
    let world = World::new();
    let mut entry = child(&world, &world.amd64.digest, "amd64");
    let plain = push(&world, None, &index_of(&[entry.clone()]).to_string());
    let text = "states what an index of its images does not have";
    let created = create(&world, &plain).succeed();
    assert!(!created.log.contains(text), "{}", created.log);
    entry["annotations"] = json!({"org.example.entry": "x"});
    entry["urls"] = json!(["https://example.com/x"]);
    let mut index = index_of(&[entry]);
    index["annotations"] = json!({"org.example.index": "y"});
    let given = push(&world, None, &index.to_string());
    let created = create(&world, &given).succeed();
    let warning = format!("::warning::the index `{given}` {text}");
    created.says(&[
        &warning,
        "its annotation `org.example.index`",
        &format!(
            "the annotation `org.example.entry` of `{}`",
            world.amd64.digest
        ),
        &format!("`urls` of `{}`", world.amd64.digest),
    ]);
    assert!(!world.manifest("v1").to_string().contains("org.example"));
}

/// The reusable workflow hands one list of platforms to the builds and to `seal`. Each has a name of the list, what `BuildKit`
/// writes into the config for it, and the variant there.
#[test]
fn names_of_platforms_that_a_build_takes_name_what_it_writes() {
    for (number, (named, architecture, variant)) in [
        ("linux/amd64", "amd64", ""),
        ("linux/amd64/v1", "amd64", ""),
        ("linux/amd64/v2", "amd64", "v2"),
        ("linux/x86_64", "amd64", ""),
        ("linux/x86-64", "amd64", ""),
        ("Linux/AMD64", "amd64", ""),
        ("linux/aarch64", "arm64", ""),
        ("linux/arm64/v8", "arm64", ""),
        ("linux/arm64/8", "arm64", ""),
        ("linux/arm", "arm", "v7"),
        ("linux/arm/7", "arm", "v7"),
        ("linux/armhf", "arm", "v7"),
        ("linux/armel", "arm", "v6"),
        ("linux/arm/v6", "arm", "v6"),
        ("linux/arm/v5", "arm", "v5"),
        ("linux/i386", "386", ""),
        ("linux/ppc64le", "ppc64le", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let world = World::new();
        let mut config = json!({"os": "linux", "architecture": architecture, "created": number});
        if !variant.is_empty() {
            config["variant"] = json!(variant);
        }
        let image = push_image(&world, &config.to_string());
        let create = create(&world, &image).input("platforms", named);
        create.succeed();
        let other = create.input("platforms", "linux/mips64le").end_with(2);
        other.says(&["`linux/mips64le` is missing"]);
    }
}
