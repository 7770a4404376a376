//! The version of the image under a moving tag: where it is read from, and the meaning of unreadable content.

use sandbox::{Fault, Options, Referrers};
use serde_json::{Value, json};

use crate::support::{
    Action, INDEX, MANIFEST, Outcome, Pipeline, REPOSITORY, TARGET, World, child, descriptor,
    index_of, labelled, push,
};

const VERSION: &str = "org.opencontainers.image.version";

/// Pushes an image for linux/amd64 whose config states version 9.0.0. Returns its digest and that of the config.
fn newer_image(world: &World) -> (String, String) {
    let image = labelled(world, "theirs", Some("9.0.0"));
    let (_, bytes) = world.registry().manifest(REPOSITORY, &image).unwrap();
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    (image, config)
}

/// Returns an index that states version 9.0.0.
fn newer_index(world: &World) -> Value {
    let mut index = index_of(&[child(world, &world.amd64.digest, "amd64")]);
    index["annotations"] = json!({VERSION: "9.0.0"});
    index
}

/// Returns a run of `command` that makes version 1.0.0 and moves `latest` to it.
fn release(world: &World, command: &str) -> Action {
    world
        .seal()
        .input("command", command)
        .input("tags", "1.0.0")
        .input("moving-tags", "latest")
}

/// Asserts that `latest` stays at `theirs`: nothing is signed, so the unsigned version counts.
fn stays(world: &World, theirs: &str) -> Outcome {
    let outcome = release(world, "create").succeed();
    outcome.says(&["::warning::", "left unchanged: it points to version 9.0.0"]);
    assert_eq!(world.tag("latest").as_deref(), Some(theirs));
    outcome
}

fn moves(world: &World, command: &str) -> Outcome {
    let outcome = release(world, command).succeed();
    assert_eq!(
        world.tag("latest").as_deref(),
        Some(outcome.output("digest"))
    );
    outcome
}

/// Counts the reads of `digests`.
fn reads(world: &World, digests: &[&str]) -> usize {
    let requests = world.registry().requests();
    let is_read = |path: &str| digests.iter().any(|digest| path.ends_with(digest));
    let reads = requests.iter().filter(|request| is_read(&request.path));
    reads.count()
}

#[test]
fn version_is_that_of_the_images_whatever_attests_them() {
    let world = World::new();
    let (image, _) = newer_image(&world);
    let mut attestation = descriptor(&world, &world.arm64.digest);
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image,
    });
    let index = index_of(&[child(&world, &image, "amd64"), attestation]);
    let theirs = push(&world, Some("latest"), &index.to_string());
    stays(&world, &theirs);
    // A single image states its own version.
    let world = World::new();
    let (image, _) = newer_image(&world);
    world.registry().tag(REPOSITORY, "latest", &image);
    stays(&world, &image);
}

#[test]
fn version_of_an_index_that_states_none_or_holds_too_much_is_unknown() {
    let world = World::new();
    let (image, config) = newer_image(&world);
    let images: Vec<Value> = (0..=100)
        .map(|number| {
            let mut image = child(&world, &image, "arm");
            image["platform"]["variant"] = format!("v{number}").into();
            image
        })
        .collect();
    push(&world, Some("latest"), &index_of(&images).to_string());
    moves(&world, "create");
    assert_eq!(reads(&world, &[&image, &config]), 0);
    let world = World::new();
    let other = child(&world, &world.arm64.digest, "arm64");
    let image = child(&world, &newer_image(&world).0, "amd64");
    push(
        &world,
        Some("latest"),
        &index_of(&[image, other]).to_string(),
    );
    moves(&world, "create");
}

#[test]
fn labels_are_read_where_they_decide_something() {
    // Labels are not read if an annotation states the version.
    let world = World::new();
    let (image, config) = newer_image(&world);
    let mut index = index_of(&[child(&world, &image, "amd64")]);
    index["annotations"] = json!({VERSION: "9.0.0"});
    let theirs = push(&world, Some("latest"), &index.to_string());
    stays(&world, &theirs);
    assert_eq!(reads(&world, &[&image, &config]), 0);
    // Labels are not read if the version of the new image is unknown.
    let index = index_of(&[child(&world, &image, "amd64")]);
    push(&world, Some("latest"), &index.to_string());
    let outcome = release(&world, "create").input("tags", "main").succeed();
    assert_eq!(
        world.tag("latest").as_deref(),
        Some(outcome.output("digest"))
    );
    assert_eq!(reads(&world, &[&image, &config]), 0);
}

#[test]
fn version_under_a_tag_that_never_moves_is_none_of_ours() {
    let world = World::new();
    let mut index = index_of(&[
        child(&world, &world.amd64.digest, "amd64"),
        child(&world, &world.arm64.digest, "arm64"),
    ]);
    index["annotations"] = json!({VERSION: "9.0.0"});
    push(&world, Some("v1"), &index.to_string());
    let outcome = release(&world, "create").input("tags", "v1\n1.0.0");
    outcome.succeed().does_not_say(&["points to version 9.0.0"]);
}

#[test]
fn tag_with_the_wanted_content_is_not_compared() {
    let world = World::new();
    let (image, config) = newer_image(&world);
    let action = release(&world, "create").input("digests", &image);
    action.succeed();
    world.registry().clear_requests();
    assert_eq!(action.succeed().output("result"), "unchanged");
    // The only read is for the index that the run makes.
    assert_eq!(reads(&world, &[&config]), 1);
}

#[test]
fn version_or_signature_that_cannot_be_read_is_no_old_version() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        for (states_by_label, what) in [
            (true, "manifest"),
            (true, "config"),
            (false, "list"),
            (false, "signature tag"),
        ] {
            let world = World::with(Options::new().referrers(kind));
            let (image, config) = newer_image(&world);
            // If the index is signed, labels count and are read.
            let theirs = if states_by_label {
                let seal = world.seal().input("digests", &image);
                let sealed = seal.input("tags", "9.0.0").succeed();
                sealed.output("digest").to_owned()
            } else {
                push(&world, None, &newer_index(&world).to_string())
            };
            world.registry().tag(REPOSITORY, "latest", &theirs);
            let before = (world.tags(), world.sigstore().entries());
            let list = theirs.replace(':', "-");
            let path = match what {
                "manifest" => format!("*/manifests/{image}"),
                "config" => format!("*/blobs/{config}"),
                "list" if kind == Referrers::Api => format!("*/referrers/{theirs}*"),
                "list" => format!("*/manifests/{list}"),
                _ => format!("*/manifests/{list}.sig"),
            };
            let fault = Fault::on("GET", &path).times(u32::MAX).status(503);
            world.registry().fault(fault);
            let action = release(&world, "seal").input("max-attempts", "1");
            action.end_with(1).says(&["503"]);
            let after = (world.tags(), world.sigstore().entries());
            assert_eq!(after, before, "{kind:?} {what}");
            world.registry().clear_faults();
            if states_by_label {
                action.succeed().says(&["left unchanged"]);
                assert_eq!(world.tag("latest"), Some(theirs), "{kind:?} {what}");
            } else {
                moves(&world, "seal");
            }
        }
    }
}

#[test]
fn holder_whose_parts_are_no_manifests_freezes_no_tag() {
    // An image with an invalid manifest.
    let world = World::new();
    let image = world
        .registry()
        .push_raw(REPOSITORY, None, MANIFEST, b"[\"no manifest\"]");
    let index = index_of(&[child(&world, &image, "amd64")]);
    push(&world, Some("latest"), &index.to_string());
    moves(&world, "seal");
    // A list of signatures with invalid content.
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let theirs = push(&world, Some("latest"), &newer_index(&world).to_string());
    let put_no_list = |digest: &str| {
        let list = digest.replace(':', "-");
        let registry = world.registry();
        registry.push_raw(REPOSITORY, Some(&list), INDEX, b"[\"no list\"]");
    };
    put_no_list(&theirs);
    let outcome = moves(&world, "seal");
    outcome.says(&["has no signature by this workflow"]);
    // The signatures of the new index are then unknown.
    put_no_list(outcome.output("digest"));
    let outcome = release(&world, "seal").end_with(1);
    outcome.says(&["it is not a usable list", "delete it manually"]);
}

/// Pushes an index that states version 99.0.0 under `latest` at the destination.
fn push_newest(pipeline: &Pipeline) -> String {
    let mut index = index_of(&[]);
    index["annotations"] = json!({VERSION: "99.0.0"});
    let index = index.to_string();
    pipeline
        .target
        .push_raw(TARGET, Some("latest"), INDEX, index.as_bytes())
}

/// Asserts that log and summary state why `latest` was left alone.
fn stayed(outcome: &Outcome, why: &str) {
    outcome.says(&["latest`: left unchanged: it points to version"]);
    assert!(outcome.summary.contains(why), "{}", outcome.summary);
}

fn latest(pipeline: &Pipeline) -> Option<String> {
    pipeline.target.tags(TARGET).remove("latest")
}

#[test]
fn version_where_images_are_published_counts_if_it_is_signed_or_nobody_asks() {
    let pipeline = Pipeline::new();
    let theirs = push_newest(&pipeline);
    let (_, index) = pipeline.build();
    let source = pipeline.world.at(&index);
    let unchecked = pipeline.publish(&source);
    let unchecked = unchecked.input("tags", pipeline.there("1.0.0")).succeed();
    unchecked.says(&["::warning::", "is not verified"]);
    stayed(
        &unchecked,
        "points to `99.0.0`, which is newer than `1.0.0`",
    );
    assert_eq!(latest(&pipeline), Some(theirs));
    let checked = pipeline.checked(&source);
    let checked = checked.input("tags", pipeline.there("1.0.0")).succeed();
    checked.says(&["states version 99.0.0 and has no signature by this workflow"]);
    assert_eq!(latest(&pipeline), Some(index));
}

#[test]
fn version_that_another_ref_of_the_workflow_published_counts() {
    let pipeline = Pipeline::new();
    let world = &pipeline.world;
    let on_ref = |name: &str| {
        let workflow = format!("octo-org/octo-app/.github/workflows/release.yml@{name}");
        world.sigstore().set_claim("job_workflow_ref", workflow);
        world.sigstore().set_claim("ref", name);
    };
    let release = |version: &str| {
        on_ref(&format!("refs/tags/{version}"));
        let create = world.create().input("tags", "");
        let annotation = format!("{VERSION}={version}");
        let made = create.input("annotations", annotation).succeed();
        let index = made.output("digest").to_owned();
        world.sign(&index).input("recursive", "true").succeed();
        let publish = pipeline.checked(&world.at(&index));
        let publish = publish.input("tags", pipeline.there(version));
        (index, publish.succeed())
    };
    let (newest, _) = release("2.0.0");
    let (_, older) = release("1.0.0");
    stayed(&older, "points to `2.0.0`, which is newer than `1.0.0`");
    assert_eq!(latest(&pipeline), Some(newest));
}

#[test]
fn version_that_is_published_may_be_that_of_its_images() {
    let pipeline = Pipeline::new();
    let theirs = push_newest(&pipeline);
    let (image, config) = newer_image(&pipeline.world);
    let create = pipeline.world.create().input("tags", "");
    let made = create.input("digests", &image).succeed();
    let source = pipeline.world.at(made.output("digest"));
    let publish = pipeline.publish(&source);
    let publish = publish.input("tags", pipeline.there("main"));
    let reads = || {
        let requests = pipeline.target.requests();
        let is_read = |request: &&sandbox::Request| {
            request.method == "GET" && request.path.ends_with(&config)
        };
        requests.iter().filter(is_read).count()
    };
    // If no tag moves, the version decides nothing.
    publish.clone().input("moving-tags", "").succeed();
    assert_eq!(reads(), 0);
    let outcome = publish.succeed();
    stayed(&outcome, "points to `99.0.0`, which is newer than `9.0.0`");
    assert_eq!(latest(&pipeline), Some(theirs));
    assert_eq!(reads(), 1);
}
