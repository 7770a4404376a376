//! Words of others in every place that they reach us from: none of them acts in the log or in the summary.

use std::time::Duration;

use sandbox::{Deletes, Fault, Options};
use serde_json::{Value, json};

use crate::attack::{INDEX, MANIFEST, child, descriptor, index_of, push};
use crate::hostile::attacks;
use crate::siege::{Siege, hasty};
use crate::support::{REPOSITORY, World, cleanup};
use crate::verify::{sealed, unsigned};

/// The attack without what no header can hold.
fn as_header(attack: &str) -> String {
    attack
        .replace(|letter: char| letter.is_control(), " ")
        .trim()
        .to_owned()
}

#[test]
fn hostile_strings_in_an_index() {
    let mut siege = Siege::new("Strings: in an index that a tag holds");
    let world = World::new();
    for attack in &attacks() {
        let amd64 = child(&world, &world.amd64.digest, "amd64");
        let edited = |name: &str, value: Value| {
            let mut child = child(&world, &world.arm64.digest, "arm64");
            child[name] = value;
            index_of(&[amd64.clone(), child])
        };
        let mut annotated = index_of(std::slice::from_ref(&amd64));
        annotated["annotations"] = json!({attack: attack});
        let mut typed = index_of(std::slice::from_ref(&amd64));
        typed["mediaType"] = json!(attack);
        let platform = |name: &str| {
            edited(
                "platform",
                json!({"os": "linux", "architecture": "arm64", name: attack}),
            )
        };
        for (what, index, code) in [
            ("annotations", annotated, 3),
            ("its own media type", typed, 1),
            (
                "annotations of a child",
                edited("annotations", json!({attack: attack})),
                3,
            ),
            (
                "media type of a child",
                edited("mediaType", json!(attack)),
                3,
            ),
            (
                "artifact type of a child",
                edited("artifactType", json!(attack)),
                3,
            ),
            ("addresses of a child", edited("urls", json!([attack])), 3),
            ("digest of a child", edited("digest", json!(attack)), 1),
            ("architecture", platform("architecture"), 3),
            ("system", platform("os"), 3),
            ("variant", platform("variant"), 3),
            ("version of the system", platform("os.version"), 3),
            (
                "features of the system",
                edited(
                    "platform",
                    json!({"os": "linux", "architecture": "arm64", "os.features": [attack]}),
                ),
                3,
            ),
        ] {
            push(&world, Some("v1"), &index.to_string());
            // It differs in something that is no part of what the image is.
            let create = hasty(world.create());
            let outcome = create.run();
            let is_same = matches!(
                what,
                "annotations of a child" | "artifact type of a child" | "annotations"
            );
            siege.play(
                &format!("{what}: {attack}"),
                &create,
                if is_same { outcome.code } else { code },
            );
            let preflight = hasty(world.create())
                .input("command", "preflight")
                .input("on-existing-tag", "warn");
            let outcome = preflight.run();
            siege.play(
                &format!("preflight, {what}: {attack}"),
                &preflight,
                outcome.code,
            );
        }
    }
    siege.end();
}

#[test]
fn hostile_strings_in_headers() {
    let mut siege = Siege::new("Strings: in headers");
    for attack in &attacks() {
        let value = as_header(attack);
        let world = World::new();
        world.create().succeed();
        for header in [
            "docker-content-digest",
            "content-type",
            "oci-subject",
            "link",
            "retry-after",
            "www-authenticate",
        ] {
            world.registry().clear_faults();
            for (method, path) in [
                ("*", "*/manifests/*"),
                ("GET", "*/referrers/*"),
                ("*", "*/blobs/*"),
            ] {
                let on = Fault::on(method, path).times(u32::MAX);
                world.registry().fault(on.set_header(header, &value));
            }
            let seal = hasty(world.seal()).input("tags", "v1\nv2");
            let outcome = seal.run();
            siege.play(&format!("{header}: {value}"), &seal, outcome.code);
        }
        world.registry().clear_faults();
        let on = Fault::on("GET", "*/blobs/*").times(u32::MAX);
        world
            .registry()
            .fault(on.answer(307, &[("location", &value)], ""));
        siege.play(
            &format!("location: {value}"),
            &hasty(world.create()).input("tags", "v3"),
            1,
        );
        world.registry().clear_faults();
        let on = Fault::on("POST", "*/blobs/uploads/*").times(u32::MAX);
        world
            .registry()
            .fault(on.answer(202, &[("location", &value)], ""));
        let seal = hasty(world.seal())
            .input("annotations", "a=b")
            .input("tags", "v4");
        siege.play(&format!("location of an upload: {value}"), &seal, 1);
    }
    siege.end();
}

#[test]
fn hostile_strings_in_lists_of_tags() {
    let mut siege = Siege::new("Strings: in lists of tags");
    for attack in &attacks() {
        let world = World::with(Options::new().deletes(Deletes::Digests));
        let create = world.create();
        create.succeed();
        let list = json!({"name": attack, "tags": ["v1", attack]}).to_string();
        let on = Fault::on("GET", "*/tags/list*").times(u32::MAX);
        world
            .registry()
            .fault(on.answer(200, &[("content-type", "application/json")], &list));
        // What is listed and is no tag may hold the digest too, so that nothing is deleted.
        siege.play(&format!("cleanup: {attack}"), &cleanup(&create), 0);
        assert!(world.tag("v1").is_some());
        let preflight = world
            .create()
            .input("command", "preflight")
            .input("on-existing-tag", "warn");
        siege.play(&format!("preflight: {attack}"), &preflight, 0);
    }
    siege.end();
}

#[test]
fn hostile_strings_in_signatures() {
    let mut siege = Siege::new("Strings: in signatures");
    for attack in &attacks() {
        let (world, digest) = unsigned();
        let workflow = format!("octo-org/octo-app/{}", as_header(attack));
        // Whoever may sign may call a workflow, or a branch, so; no certificate is made out to such a name.
        world.as_workflow(&workflow, &as_header(attack), || {
            siege.play(
                &format!("sign, identity: {attack}"),
                &world.sign(&digest),
                1,
            );
        });
        let bundle = json!({"mediaType": attack, attack: attack}).to_string();
        crate::support::attach(&world, &digest, bundle.as_bytes());
        let verify = world.verify("v1").input("max-attempts", "1");
        siege.play(&format!("verify, bundle: {attack}"), &verify, 3);
        let payload = json!({"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": attack, "predicate": {}});
        let (signed_world, digest) = sealed();
        let mut bundle: Value =
            serde_json::from_slice(&crate::support::bundle_of(&signed_world, &digest)).unwrap();
        let encoded = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            payload.to_string(),
        );
        bundle["dsseEnvelope"]["payload"] = json!(encoded);
        for listed in signed_world.listed(&digest) {
            signed_world.registry().delete_manifest(REPOSITORY, &listed);
        }
        crate::support::attach(&signed_world, &digest, bundle.to_string().as_bytes());
        siege.play(
            &format!("verify, predicate: {attack}"),
            &signed_world.verify("v1"),
            3,
        );
    }
    siege.end();
}

#[test]
fn hostile_strings_in_files() {
    let mut siege = Siege::new("Strings: in files of the workspace");
    let world = World::new();
    for attack in &attacks() {
        let seal = world.seal().elsewhere();
        seal.input("tags", "v1").clone().succeed();
        let seal = world.seal();
        seal.succeed();
        let mut record = seal.record();
        record["images"][0]["signatures"][0]["identity"] = json!(attack);
        record["images"][0]["signatures"][0]["issuer"] = json!(attack);
        record["images"][0]["platforms"][0]["platform"] = json!(attack);
        for (what, record) in [
            ("record, identity and platform", record.clone()),
            ("record, image", edited(&record, "image", attack)),
            ("record, media type", edited(&record, "media_type", attack)),
            ("record, schema", json!({"schema": attack})),
        ] {
            let text = record.to_string();
            for action in [
                cleanup(&seal.elsewhere()),
                world.sign("v1").input("image", ""),
                world.seal(),
                world.verify("v1"),
            ] {
                let action = action
                    .file("manifest-seal.json", &text)
                    .input("dry-run", "");
                let outcome = action.run();
                assert!((0..=3).contains(&outcome.code), "{}", outcome.log);
                siege.play(&format!("{what}: {attack}"), &action, outcome.code);
            }
        }
        let config = json!({"auths": {attack: {"auth": attack}, "ghcr.io": {"auth": attack}}, "credsStore": attack, "credHelpers": {world.registry().address(): attack}});
        let folder = world
            .create()
            .elsewhere()
            .file("docker/config.json", config.to_string());
        let folder = folder.env("DOCKER_CONFIG", "docker");
        siege.play(&format!("docker config: {attack}"), &folder, 2);
        let mut index = index_of(&[descriptor(&world, &world.amd64.digest)]);
        index["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": attack});
        let layout = world
            .create()
            .input("command", "publish")
            .input("digests", "")
            .input("tags", format!("{}:copied", world.image()))
            .input("source", "oci:layout:missing")
            .file("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("layout/index.json", index.to_string());
        let outcome = layout.run();
        assert!((1..=2).contains(&outcome.code), "{}", outcome.log);
        siege.play(&format!("layout: {attack}"), &layout, outcome.code);
        world.registry().delete_tag(REPOSITORY, "v1");
    }
    siege.end();
}

fn edited(record: &Value, name: &str, value: &str) -> Value {
    let mut record = record.clone();
    record["images"][0][name] = json!(value);
    record
}

#[test]
fn hostile_files_of_the_workspace() {
    let mut siege = Siege::new("Files of the workspace");
    let world = World::new();
    world.create().succeed();
    let huge = format!("{{\"schema\":1,\"images\":[{}", " ".repeat(20 << 20));
    let link = |target: &str| {
        let action = world.create().elsewhere();
        std::os::unix::fs::symlink(target, action.workspace().join("manifest-seal.json")).unwrap();
        action
    };
    for (what, action) in [
        ("the record never ends", link("/dev/zero")),
        ("the record is a folder", link("/proc")),
        ("the record is another file", link("/etc/passwd")),
        ("the record is itself", link("manifest-seal.json")),
        (
            "the record has 20 MB",
            world.create().elsewhere().file("manifest-seal.json", &huge),
        ),
        (
            "the record is nested",
            world
                .create()
                .elsewhere()
                .file("manifest-seal.json", "[".repeat(100_000)),
        ),
    ] {
        siege.play(&format!("create: {what}"), &action, 1);
        siege.play(&format!("cleanup: {what}"), &cleanup(&action), 1);
        let passwords = std::fs::read_to_string("/etc/passwd").unwrap();
        assert!(
            passwords.contains("root"),
            "nothing is written through a link"
        );
    }
    let layout = |index: &str| {
        world
            .create()
            .elsewhere()
            .input("command", "publish")
            .input("digests", "")
            .input("tags", format!("{}:copied", world.image()))
            .input("source", "oci:layout")
            .input("timeout", "20s")
            .file("layout/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("layout/index.json", index)
    };
    let lost: Vec<Value> = (0..10_000)
        .map(|number| json!({"mediaType": MANIFEST, "digest": format!("sha256:{number:064x}"), "size": 7}))
        .collect();
    let linked = layout("{}");
    std::fs::remove_file(linked.workspace().join("layout/index.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", linked.workspace().join("layout/index.json"))
        .unwrap();
    let blobs = layout(&index_of(&[descriptor(&world, &world.amd64.digest)]).to_string());
    std::fs::create_dir_all(blobs.workspace().join("layout/blobs/sha256")).unwrap();
    let hex = world.amd64.digest.strip_prefix("sha256:").unwrap();
    std::os::unix::fs::symlink(
        "/etc/passwd",
        blobs.workspace().join("layout/blobs/sha256").join(hex),
    )
    .unwrap();
    for (what, action) in [
        (
            "an index of 20 MB",
            layout(&format!("{{\"manifests\":[{}", " ".repeat(20 << 20))),
        ),
        (
            "an index of 10 000 images that are not there",
            layout(&index_of(&lost).to_string()),
        ),
        ("a nested index", layout(&"[".repeat(100_000))),
        ("an index that is another file", linked),
        ("a blob that is another file", blobs),
        (
            "a type of another world",
            layout(&json!({"mediaType": INDEX.replace("oci", "x"), "manifests": []}).to_string()),
        ),
    ] {
        siege.play(&format!("publish from a layout: {what}"), &action, 1);
        assert_eq!(world.tag("copied"), None);
    }
    let config = world.create().elsewhere().env("DOCKER_CONFIG", "docker");
    for (what, text) in [
        ("nested", "{\"auths\":".repeat(50_000)),
        ("5 MB", " ".repeat(5 << 20)),
        ("no text", "\u{0}\u{1}".to_owned()),
    ] {
        let action = config.elsewhere().file("docker/config.json", text);
        let code = if what == "5 MB" { 1 } else { 2 };
        siege.play(&format!("docker config: {what}"), &action, code);
    }
    let late = Duration::from_secs(1);
    world
        .registry()
        .fault(Fault::on("GET", "*/manifests/*").times(3).delay(late));
    siege.play("nothing: a slow registry", &world.create(), 0);
    siege.end();
}
