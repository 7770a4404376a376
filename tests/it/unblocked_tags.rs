//! Content by somebody with push permission and without signing rights. It is under a moving tag, attached to its index, or in
//! lists of signatures. None of it stops a run, freezes a tag, or takes more memory than the stated limit.

use sandbox::{Fault, Options, Referrers};
use serde_json::{Value, json};

use crate::support::hostile_runs::PEAK_MAX_MIB;
use crate::support::{
    Action, INDEX, MANIFEST, Pipeline, REPOSITORY, TARGET, World, attach, child, index_of, push,
    push_image, statement_bundle,
};

const VERSION: &str = "org.opencontainers.image.version";
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Returns a run that makes version 1.0.0 and moves `latest` to it.
fn release(world: &World) -> Action {
    world
        .seal()
        .input("tags", "1.0.0")
        .input("moving-tags", "latest")
}

/// Pushes somebody else's index under `latest`, with the version `version` in its annotations.
fn put_newest(world: &World, version: &str) -> String {
    let mut index = index_of(&[child(world, &world.amd64.digest, "amd64")]);
    index["annotations"] = json!({VERSION: version});
    push(world, Some("latest"), &index.to_string())
}

/// Returns entries of a list, none of which exists.
fn entries(count: usize, annotations: &Value) -> Vec<Value> {
    let entry = |number| {
        json!({
            "mediaType": MANIFEST,
            "digest": format!("sha256:{number:064x}"),
            "size": 7,
            "annotations": annotations,
        })
    };
    (0..count).map(entry).collect()
}

fn attestations(count: usize) -> Vec<Value> {
    entries(count, &json!({PREDICATE: PROVENANCE}))
}

fn list_tag(digest: &str) -> String {
    digest.replace(':', "-")
}

/// Makes the API list `count` referrers of `digest`.
fn list_by_api(registry: &sandbox::Registry, digest: &str, count: usize) {
    let body = index_of(&attestations(count)).to_string();
    let on = Fault::on("GET", &format!("*/referrers/{digest}*")).times(u32::MAX);
    registry.fault(on.answer(200, &[("content-type", INDEX)], &body));
}

fn moves(world: &World, action: &Action) {
    let outcome = action.succeed();
    outcome.says(&["::warning::", "has no signature by this workflow"]);
    let made = outcome.output("digest");
    assert_eq!(world.tag("latest").as_deref(), Some(made));
}

#[test]
fn too_long_list_of_referrers_does_not_block_a_moving_tag() {
    // The API lists one referrer, the referrers tag the others.
    let world = World::new();
    let theirs = put_newest(&world, "999.0.0");
    let list = index_of(&attestations(10_000)).to_string();
    push(&world, Some(&list_tag(&theirs)), &list);
    attach(
        &world,
        &theirs,
        &statement_bundle(&world, &theirs, PROVENANCE),
    );
    moves(&world, &release(&world));
    // The API lists all referrers.
    let world = World::new();
    let theirs = put_newest(&world, "999.0.0");
    list_by_api(world.registry(), &theirs, 10_001);
    moves(&world, &release(&world));
    // Only the referrers tag lists referrers.
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let theirs = put_newest(&world, "999.0.0");
    let list = index_of(&attestations(10_001)).to_string();
    push(&world, Some(&list_tag(&theirs)), &list);
    moves(&world, &release(&world));
    // A list at the destination of `publish`.
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let mut theirs = index_of(&[]);
    theirs["annotations"] = json!({VERSION: "999.0.0"});
    let theirs = theirs.to_string();
    let target = &pipeline.target;
    let theirs = target.push_raw(TARGET, Some("latest"), INDEX, theirs.as_bytes());
    list_by_api(target, &theirs, 10_001);
    let publish = pipeline.checked(&pipeline.world.at(&index));
    publish.input("tags", pipeline.there("1.0.0")).succeed();
    assert_eq!(target.tags(TARGET).remove("latest"), Some(index));
}

#[test]
fn unread_list_is_unknown_beside_a_too_long_one() {
    for unread in ["", ".sig"] {
        let world = World::new();
        let theirs = put_newest(&world, "999.0.0");
        list_by_api(world.registry(), &theirs, 10_001);
        let path = format!("*/manifests/{}{unread}", list_tag(&theirs));
        let fault = Fault::on("GET", &path).times(u32::MAX).status(503);
        world.registry().fault(fault);
        let outcome = release(&world).input("max-attempts", "1").run();
        assert_eq!(outcome.code, 1, "{unread:?}\n{}", outcome.log);
        assert_eq!(world.tag("latest"), Some(theirs), "{unread:?}");
        assert_eq!(world.sigstore().entries(), 0, "{unread:?}");
    }
}

#[test]
fn dangling_entries_cost_few_requests() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let theirs = put_newest(&world, "999.0.0");
    let list = index_of(&entries(10_000, &json!({}))).to_string();
    push(&world, Some(&list_tag(&theirs)), &list);
    world.registry().clear_requests();
    moves(&world, &release(&world));
    let requests = world.registry().requests();
    let is_dead = |path: &str| path.contains("/manifests/sha256:00000000");
    let dead = requests.iter().filter(|request| is_dead(&request.path));
    assert!((1..=100).contains(&dead.count()));
}

#[test]
fn own_signature_is_found_among_many_other_referrers() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let newer = release(&world).input("tags", "9.0.0");
    let newer = newer.input("annotations", format!("{VERSION}=9.0.0"));
    let newer = newer.succeed().output("digest").to_owned();
    let list = list_tag(&newer);
    let mut index = world.manifest(&list);
    let listed = index["manifests"].as_array_mut().unwrap();
    let own = std::mem::replace(listed, entries(150, &json!({})));
    assert_eq!(own.len(), 1);
    listed.extend(own);
    push(&world, Some(&list), &index.to_string());
    release(&world).succeed().says(&["left unchanged"]);
    assert_eq!(world.tag("latest"), Some(newer));
}

/// Pushes an image for linux/amd64 whose label states the version `version`.
fn labelled_image(world: &World, version: &str, filler: &str) -> String {
    let labels = json!({VERSION: version});
    push_image(
        world,
        &format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"Labels":{labels}{filler}}}}}"#
        ),
    )
}

#[test]
fn signed_image_of_one_platform_does_not_block_a_moving_tag() {
    let world = World::new();
    let image = labelled_image(&world, "7.0.0", "");
    let seal = world.seal().input("digests", &image);
    let seal = seal.input("tags", "7.0.0").input("recursive", "true");
    seal.succeed();
    world.registry().tag(REPOSITORY, "latest", &image);
    let outcome = release(&world).succeed();
    outcome.says(&["::warning::", "is not an index", &image]);
    let made = outcome.output("digest");
    assert_eq!(world.tag("latest").as_deref(), Some(made));
}

#[test]
fn moving_tag_with_a_newer_version_is_a_warning_with_a_cure() {
    let world = World::new();
    let version = |version: &str| {
        let annotation = format!("{VERSION}={version}");
        release(&world)
            .input("tags", version)
            .input("annotations", annotation)
    };
    let candidate = version("2.0.0-rc.1").succeed().output("digest").to_owned();
    let outcome = version("1.9.1").succeed();
    assert_eq!(world.tag("latest").as_deref(), Some(candidate.as_str()));
    let mut lines = outcome.log.lines();
    let warning =
        lines.find(|line| line.starts_with("::warning::") && line.contains("left unchanged"));
    let warning = warning.unwrap_or_else(|| panic!("no warning\n{}", outcome.log));
    for word in [
        &candidate,
        "2.0.0-rc.1",
        "1.9.1",
        "manually",
        "higher version",
    ] {
        assert!(warning.contains(word), "{word}: {warning}");
    }
    // The suggested cure works.
    version("2.0.0").succeed();
    assert_ne!(world.tag("latest"), Some(candidate));
}

#[test]
fn own_index_of_another_version_is_a_conflict() {
    let world = World::new();
    let version = |version: &str| {
        let annotation = format!("{VERSION}={version}");
        world
            .seal()
            .input("tags", version)
            .input("annotations", annotation)
    };
    let older = version("1.0.0").succeed().output("digest").to_owned();
    world.registry().tag(REPOSITORY, "2.0.0", &older);
    let newer = version("2.0.0").input("moving-tags", "latest");
    newer.end_with(3).says(&[&older, VERSION, "1.0.0"]);
    assert_eq!(world.tag("latest"), None);
    // A run that requests no version annotation still adopts our index.
    let other = newer.input("annotations", "a=b").succeed();
    assert_eq!(other.output("digest"), older);
}

#[test]
fn long_version_is_shortened() {
    let world = World::new();
    let endless = format!("999.0.0-{}", "a".repeat(3_900_000));
    for command in ["seal", "create"] {
        put_newest(&world, &endless);
        let outcome = release(&world).input("command", command).succeed();
        outcome.says(&["999.0.0-aaaa"]);
        let said = outcome.everything().len();
        assert!(said < 100_000, "{command}: {said} bytes");
    }
}

/// Returns two million numbers: little more than four megabytes as text, and many times that in memory.
fn zeros() -> String {
    format!("[{}0]", "0,".repeat(2_000_000))
}

/// Adds a long field to a JSON object.
fn padded(document: &Value) -> String {
    let text = document.to_string();
    format!("{},\"x\":{}}}", text.strip_suffix('}').unwrap(), zeros())
}

/// Runs `action`, and asserts that its memory stays below [`PEAK_MAX_MIB`].
fn bounded(what: &str, action: &Action, code: i32) {
    let (outcome, spent) = action.begin().end_watched();
    assert_eq!(outcome.code, code, "{what}\n{}", outcome.log);
    eprintln!("{what}: {:.1} MiB", spent.peak_mib);
    assert!(spent.peak_mib > 1.0, "{what}: it was not watched");
    assert!(spent.peak_mib <= PEAK_MAX_MIB, "{what}: {spent:?}");
}

#[test]
fn long_configs_under_moving_tags_take_little_memory() {
    // The limit is exceeded by one config that is kept as JSON values.
    const IMAGES: usize = 4;
    let many = format!(r#","x":{}"#, zeros());
    let endless = format!("7.0.0-{}", "a".repeat(4_000_000));
    for (command, version, filler) in [
        ("create", "7.0.0", many.as_str()),
        ("create", &endless, ""),
        ("seal", "7.0.0", &many),
    ] {
        let world = World::new();
        let images: Vec<Value> = (0..IMAGES)
            .map(|number| {
                let filler = format!("{filler},\"n\":{number}");
                let image = labelled_image(&world, version, &filler);
                let mut entry = child(&world, &image, "arm");
                entry["platform"]["variant"] = format!("v{number}").into();
                entry
            })
            .collect();
        let theirs = push(&world, Some("latest"), &index_of(&images).to_string());
        let moving = ["latest", "next", "edge"];
        for tag in moving {
            world.registry().tag(REPOSITORY, tag, &theirs);
        }
        world.registry().clear_requests();
        let action = release(&world).input("command", command);
        let action = action.input("moving-tags", moving.join("\n"));
        bounded(command, &action, 0);
        let requests = world.registry().requests();
        let images = images.iter().filter_map(|image| image["digest"].as_str());
        let is_read = |digest: &&str| requests.iter().any(|one| one.path.ends_with(digest));
        let read = images.filter(is_read).count();
        // A run that signs reads no config of an unsigned index. An overlong version does not count as a version.
        let wanted = match (command, version) {
            ("seal", _) => 0,
            (_, "7.0.0") => IMAGES,
            _ => 1,
        };
        assert_eq!(read, wanted, "{command}");
    }
}

#[test]
fn long_index_under_a_fixed_tag_takes_little_memory() {
    let world = World::new();
    let right = index_of(&[
        child(&world, &world.amd64.digest, "amd64"),
        child(&world, &world.arm64.digest, "arm64"),
    ]);
    push(&world, Some("v1"), &padded(&right));
    bounded("seal", &world.seal(), 3);
    let skip = world.preflight().input("on-existing-tag", "skip");
    let digests = [&world.amd64.digest, &world.arm64.digest].map(String::as_str);
    bounded("preflight", &skip.input("digests", digests.join("\n")), 3);
}

#[test]
fn long_list_that_a_signature_is_added_to_takes_little_memory() {
    for format in ["bundle", "legacy"] {
        let world = World::with(Options::new().referrers(Referrers::TagSchema));
        let registry = world.registry();
        let dry = world.seal().input("dry-run", "true").succeed();
        let list = list_tag(dry.output("digest"));
        if format == "bundle" {
            push(&world, Some(&list), &padded(&index_of(&[])));
        } else {
            let config = padded(&json!({"rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}}));
            let digest = registry.push_blob(REPOSITORY, config.as_bytes());
            let layer = registry.push_blob(REPOSITORY, b"x");
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len()},
                "layers": [{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": layer, "size": 1}],
            });
            let manifest = manifest.to_string();
            let tag = format!("{list}.sig");
            registry.push_raw(REPOSITORY, Some(&tag), MANIFEST, manifest.as_bytes());
        }
        let seal = world.seal().input("signature-format", format);
        bounded(format, &seal, 0);
    }
}
