//! A hostile registry: none of its content is accepted, and refusing it takes little memory and time. The measurements are
//! written to the folder that `PROOF` names.

use sandbox::{Fault, Options};
use serde_json::{Value, json};

use crate::support::hostile_runs::{HostileRuns, hasty};
use crate::support::{
    INDEX, MANIFEST, REPOSITORY, World, child, descriptor, index_of, push, sealed,
};

type Misdeed = fn(sandbox::Trigger) -> Fault;

#[test]
fn hostile_bodies_of_a_registry() {
    let mut runs = HostileRuns::new("A registry: bodies");
    let misdeeds: [(&str, Misdeed); 7] = [
        ("other bytes", |at| at.wrong_digest()),
        ("half of the body", |at| at.cut_body()),
        ("a body without end", |at| at.endless_body()),
        ("a body that stands still", |at| at.stalled_body()),
        ("nested arrays, 60 000 deep", |at| {
            at.answer(200, &[("content-type", INDEX)], &"[".repeat(60_000))
        }),
        ("nested objects, 10 000 deep", |at| {
            at.answer(
                200,
                &[("content-type", INDEX)],
                &"{\"manifests\":".repeat(10_000),
            )
        }),
        ("an error of 50 MB", |at| {
            at.answer(403, &[], &"x".repeat(50 << 20))
        }),
    ];
    for (what, misdeed) in misdeeds {
        for path in ["manifests", "blobs", "referrers"] {
            let (world, _) = sealed();
            let on = Fault::on("GET", &format!("*/{path}/*")).times(u32::MAX);
            world.registry().fault(misdeed(on));
            // A list is not compared with a digest: its entries are.
            let is_list_of_others = path == "referrers" && what == "other bytes";
            // Content longer than any signature is not a signature.
            let is_too_long = path == "blobs" && what == "a body without end";
            let code = match () {
                () if is_list_of_others => 0,
                () if is_too_long => 3,
                () => 1,
            };
            // A body that stands still is read until the timeout.
            let is_still = what == "a body that stands still";
            let timeout = if is_still { "2s" } else { "8s" };
            let verify = hasty(world.verify("v1")).input("timeout", timeout);
            runs.play(&format!("verify: {what} (`{path}`)"), &verify, code);
            if path != "referrers" {
                let create = hasty(world.create())
                    .input("tags", "v2")
                    .input("timeout", timeout);
                runs.play(&format!("create: {what} (`{path}`)"), &create, 1);
                assert_eq!(world.tag("v2"), None);
            }
        }
    }
    runs.end();
}

#[test]
fn hostile_compression_of_a_registry() {
    let mut runs = HostileRuns::new("A registry: compression");
    for encoding in ["gzip", "br", "zstd", "deflate, gzip"] {
        let (world, _) = sealed();
        for path in ["manifests", "blobs", "referrers"] {
            let on = Fault::on("GET", &format!("*/{path}/*")).times(u32::MAX);
            world
                .registry()
                .fault(on.set_header("content-encoding", encoding));
        }
        // Content is never decompressed: the bytes as received have the digest.
        runs.play(
            &format!("verify: `content-encoding: {encoding}`"),
            &world.verify("v1"),
            0,
        );
    }
    runs.end();
}

#[test]
fn hostile_trees_of_a_registry() {
    let mut runs = HostileRuns::new("A registry: trees of manifests");
    let world = World::new();
    let chain = |depth: usize, width: usize| {
        let mut inner = descriptor(&world, &world.amd64.digest);
        for _ in 0..depth {
            let digest = push(&world, None, &index_of(&vec![inner; width]).to_string());
            inner = descriptor(&world, &digest);
        }
        inner["digest"].as_str().unwrap().to_owned()
    };
    let many = |count: usize, media_type: &str| {
        let children: Vec<Value> = (0..count)
            .map(|number| {
                json!({
                    "mediaType": media_type,
                    "digest": format!("sha256:{number:064x}"),
                    "size": 7,
                    "platform": {"os": "linux", "architecture": format!("a{number}")},
                })
            })
            .collect();
        push(&world, None, &index_of(&children).to_string())
    };
    let trees = [
        ("indexes in indexes, 200 deep", chain(200, 1)),
        ("each names the next 1000 times, 3 deep", chain(3, 1000)),
        ("10 000 images that are not there", many(10_000, MANIFEST)),
        ("10 000 indexes that are not there", many(10_000, INDEX)),
        (
            "nested in JSON, 100 000 deep",
            push(&world, None, &"[".repeat(100_000)),
        ),
        ("images of 4 MB, 24 of them", large_images(&world, 24)),
    ];
    for (what, digest) in &trees {
        let create = hasty(world.create())
            .input("tags", "v9")
            .input("digests", digest);
        let is_large = what.starts_with("images of 4 MB");
        let code = match *what {
            // It is a single image, however often it is named.
            "each names the next 1000 times, 3 deep" => 0,
            // All of them state the same platform.
            _ if is_large => 2,
            _ => 1,
        };
        runs.play(&format!("create: {what}"), &create, code);
        if is_large {
            continue;
        }
        let verify = hasty(world.verify(digest))
            .input("recursive", "true")
            .input("max-attempts", "1");
        let code_of_verify = if code == 1 { 1 } else { 3 };
        runs.play(
            &format!("verify, recursive: {what}"),
            &verify,
            code_of_verify,
        );
        let sign = hasty(world.sign(digest)).input("recursive", "true");
        if code == 1 {
            runs.play(&format!("sign, recursive: {what}"), &sign, 1);
            assert_eq!(world.sigstore().entries(), 0, "{what}");
        }
        world.registry().delete_tag(REPOSITORY, "v9");
    }
    runs.end();
}

/// Pushes an index of images whose manifests have the maximum length.
fn large_images(world: &World, count: usize) -> String {
    let image = |number: usize| {
        let mut manifest = world.manifest(&world.amd64.digest);
        manifest["annotations"] =
            json!({"n": number.to_string(), "x": "x".repeat((4 << 20) - 2000)});
        let bytes = manifest.to_string();
        let digest = world
            .registry()
            .push_raw(REPOSITORY, None, MANIFEST, bytes.as_bytes());
        child(world, &digest, &format!("a{number}"))
    };
    let children: Vec<Value> = (0..count).map(image).collect();
    push(world, None, &index_of(&children).to_string())
}

#[test]
fn hostile_lists_of_referrers() {
    let mut runs = HostileRuns::new("A registry: lists of referrers");
    let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let entry = |digest: String, size: usize| json!({"mediaType": MANIFEST, "artifactType": bundle, "digest": digest, "size": size});
    let world = World::with(Options::new().referrers(sandbox::Referrers::TagSchema));
    let digest = world.create().succeed().output("digest").to_owned();
    let tag = digest.replace(':', "-");
    let lost: Vec<Value> = (0..10_000)
        .map(|number| entry(format!("sha256:{number:064x}"), 7))
        .collect();
    push(&world, Some(&tag), &index_of(&lost).to_string());
    let verify = hasty(world.verify("v1"));
    runs.play("verify: 10 000 signatures that are not there", &verify, 3);
    // Each bundle has the maximum length.
    let large: Vec<Value> = (0..20)
        .map(|number| {
            let layer = format!("{number}{}", " ".repeat((1 << 20) - 10));
            let blob = world.registry().push_blob(REPOSITORY, layer.as_bytes());
            let config = world.registry().push_blob(REPOSITORY, b"{}");
            let manifest = json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": bundle,
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
                "layers": [{"mediaType": bundle, "digest": blob, "size": layer.len()}],
                "subject": descriptor(&world, &digest),
                "annotations": {"x": "x".repeat(3 << 20)},
            });
            let bytes = manifest.to_string();
            let pushed = world.registry().push_raw(REPOSITORY, None, MANIFEST, bytes.as_bytes());
            entry(pushed, bytes.len())
        })
        .collect();
    push(&world, Some(&tag), &index_of(&large).to_string());
    runs.play("verify: 20 signatures of 4 MB", &verify, 3);
    runs.end();
}
