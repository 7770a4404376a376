//! Hostile text in every field that reaches the program: none of it has an effect in the log or in the summary.

use std::time::Duration;

use sandbox::{Deletes, Fault, Options};
use serde_json::{Value, json};

use crate::support::hostile_runs::{HostileRuns, as_header, attacks, hasty};
use crate::support::{
    INDEX, MANIFEST, REPOSITORY, World, child, cleanup, descriptor, index_of, push,
};

#[test]
fn hostile_strings_in_an_index() {
    let mut runs = HostileRuns::new("Strings: in an index that a tag holds");
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
            ("its own media type", typed, 3),
            // These fields do not change the identity of the image.
            (
                "annotations of a child",
                edited("annotations", json!({attack: attack})),
                0,
            ),
            (
                "media type of a child",
                edited("mediaType", json!(attack)),
                3,
            ),
            (
                "artifact type of a child",
                edited("artifactType", json!(attack)),
                0,
            ),
            ("addresses of a child", edited("urls", json!([attack])), 3),
            ("digest of a child", edited("digest", json!(attack)), 3),
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
            runs.play(&format!("{what}: {attack}"), &hasty(world.create()), code);
            let preflight = hasty(world.create())
                .input("command", "preflight")
                .input("on-existing-tag", "warn");
            // The content of the tag is reported as a warning.
            let attack = format!("preflight, {what}: {attack}");
            runs.play(&attack, &preflight, 0);
        }
    }
    runs.end();
}

#[test]
fn hostile_strings_in_headers() {
    let mut runs = HostileRuns::new("Strings: in headers");
    for attack in &attacks() {
        let value = as_header(attack);
        let world = World::new();
        world.create().succeed();
        for (header, code) in [
            ("docker-content-digest", 1),
            ("content-type", 1),
            ("oci-subject", 0),
            ("link", 0),
            ("retry-after", 0),
            ("www-authenticate", 0),
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
            runs.play(&format!("{header}: {value}"), &seal, code);
        }
        world.registry().clear_faults();
        let on = Fault::on("GET", "*/blobs/*").times(u32::MAX);
        world
            .registry()
            .fault(on.answer(307, &[("location", &value)], ""));
        runs.play(
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
        runs.play(&format!("location of an upload: {value}"), &seal, 1);
    }
    runs.end();
}

#[test]
fn hostile_strings_in_lists_of_tags() {
    let mut runs = HostileRuns::new("Strings: in lists of tags");
    for attack in &attacks() {
        let world = World::with(Options::new().deletes(Deletes::Digests));
        let create = world.create();
        create.succeed();
        let list = json!({"name": attack, "tags": ["v1", attack]}).to_string();
        let on = Fault::on("GET", "*/tags/list*").times(u32::MAX);
        world
            .registry()
            .fault(on.answer(200, &[("content-type", "application/json")], &list));
        // A listed name that is no tag may point to the same digest, so nothing is deleted.
        runs.play(&format!("cleanup: {attack}"), &cleanup(&create), 0);
        assert!(world.tag("v1").is_some());
        let preflight = world
            .create()
            .input("command", "preflight")
            .input("on-existing-tag", "warn");
        runs.play(&format!("preflight: {attack}"), &preflight, 0);
    }
    runs.end();
}

#[test]
fn hostile_strings_in_files() {
    let mut runs = HostileRuns::new("Strings: in files of the workspace");
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
        // The exit codes of `cleanup`, of `sign` from the record, of `seal` and of `verify`. A command that depends on the
        // record alone reports unusable entries as an error. The others rely on the registry.
        for (what, record, codes) in [
            ("identity and platform", record.clone(), [0; 4]),
            ("image", edited(&record, "image", attack), [0, 1, 0, 0]),
            ("media type", edited(&record, "media_type", attack), [0; 4]),
            ("schema", json!({"schema": attack}), [1; 4]),
        ] {
            let text = record.to_string();
            for ((command, action), code) in [
                ("cleanup", cleanup(&seal.elsewhere())),
                ("sign", world.sign("v1").input("image", "")),
                ("seal", world.seal()),
                ("verify", world.verify("v1")),
            ]
            .into_iter()
            .zip(codes)
            {
                let action = action.handed("manifest-seal.json", &text);
                runs.play(
                    &format!("{command}, record, {what}: {attack}"),
                    &action,
                    code,
                );
            }
        }
        let config = json!({"auths": {attack: {"auth": attack}, "ghcr.io": {"auth": attack}}, "credsStore": attack, "credHelpers": {world.registry().address(): attack}});
        let folder = world
            .create()
            .elsewhere()
            .file("docker/config.json", config.to_string());
        let folder = folder.env("DOCKER_CONFIG", "docker");
        runs.play(&format!("docker config: {attack}"), &folder, 2);
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
        runs.play(&format!("layout: {attack}"), &layout, 2);
        world.registry().delete_tag(REPOSITORY, "v1");
    }
    runs.end();
}

fn edited(record: &Value, name: &str, value: &str) -> Value {
    let mut record = record.clone();
    record["images"][0][name] = json!(value);
    record
}

#[test]
fn hostile_files_of_the_workspace() {
    let mut runs = HostileRuns::new("Files of the workspace");
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
        // A record that cannot be opened at all was not read.
        let code = i32::from(what == "the record is itself");
        runs.play(&format!("create: {what}"), &action, code);
        runs.play(&format!("cleanup: {what}"), &cleanup(&action), code);
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
        runs.play(&format!("publish from a layout: {what}"), &action, 1);
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
        runs.play(&format!("docker config: {what}"), &action, code);
    }
    let late = Duration::from_secs(1);
    world
        .registry()
        .fault(Fault::on("GET", "*/manifests/*").times(3).delay(late));
    runs.play("nothing: a slow registry", &world.create(), 0);
    runs.end();
}
