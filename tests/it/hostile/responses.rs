//! Misleading responses of a registry: addresses, challenges, tokens, and indexes that resemble the right one.

use sandbox::{Fault, Kind, Options, Registry};
use serde_json::{Value, json};

use crate::support::hostile_runs::{HostileRuns, hasty};
use crate::support::{Action, REPOSITORY, World, child, descriptor, index_of, push};

/// Returns `action` at a registry with another name, for which `world` answers.
fn elsewhere(world: &World, action: Action) -> Action {
    hasty(action)
        .input("image", format!("registry.example/{REPOSITORY}"))
        .input("insecure-registries", "registry.example")
        .env(
            "HTTP_PROXY",
            format!("http://{}", world.registry().address()),
        )
}

#[test]
fn hostile_addresses_of_a_registry() {
    let mut runs = HostileRuns::new("A registry: addresses that it sends us to");
    let door = Registry::start(Options::new());
    let port = door.socket().port();
    for place in [
        format!("http://127.0.0.1:{port}/admin"),
        format!("http://localhost:{port}/admin"),
        format!("http://localhost.:{port}/admin"),
        format!("http://[::ffff:127.0.0.1]:{port}/admin"),
        format!("http://2130706433:{port}/admin"),
        format!("http://0x7f.1:{port}/admin"),
        format!("http://0.0.0.0:{port}/admin"),
        format!("https://127.0.0.1:{port}/admin"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://metadata.google.internal/computeMetadata/v1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("http://me:secret@127.0.0.1:{port}/"),
        "//[".to_owned(),
        "/v2/octo-org/app/blobs/again".to_owned(),
    ] {
        let world = World::new();
        let faults = [
            (
                "a blob",
                Fault::on("GET", "*/blobs/*")
                    .times(u32::MAX)
                    .redirect_to(&place),
            ),
            ("a token", {
                let challenge = format!("Bearer realm=\"{place}\",service=\"x\"");
                let on = Fault::on("*", "*/manifests/*").times(u32::MAX);
                on.answer(401, &[("www-authenticate", &challenge)], "")
            }),
        ];
        for (what, fault) in faults {
            world.registry().clear_faults();
            world.registry().fault(fault);
            let create = elsewhere(&world, world.create());
            runs.play(
                &format!("{what}: `{}`", place.replace(&port.to_string(), "PORT")),
                &create,
                1,
            );
        }
    }
    assert!(door.requests().is_empty(), "{:?}", door.requests());
    runs.end();
}

#[test]
fn hostile_tokens_and_challenges() {
    let mut runs = HostileRuns::new("A registry: challenges and tokens");
    let world = crate::support::credentials::bearer();
    let create = hasty(world.create().input(
        "registry-auths",
        crate::support::credentials::auths(
            &world.registry().address(),
            crate::support::credentials::PASSWORD,
        ),
    ));
    let token = |body: &str| {
        Fault::on("GET", "/token*")
            .times(u32::MAX)
            .answer(200, &[], body)
    };
    for (what, body) in [
        (
            "a token of 900 KB",
            json!({"token": "x".repeat(900 << 10)}).to_string(),
        ),
        (
            "a token of 2 MB",
            json!({"token": "x".repeat(2 << 20)}).to_string(),
        ),
        (
            "a token with a new line",
            json!({"token": "x\r\nauthorization: y"}).to_string(),
        ),
        ("a token that is a number", json!({"token": 7}).to_string()),
        ("a token that is nested", "{\"token\":".repeat(20_000)),
        ("no token", "{}".to_owned()),
        (
            "a token that lives for ever",
            json!({"token": "x", "expires_in": u64::MAX}).to_string(),
        ),
    ] {
        world.registry().clear_faults();
        world.registry().fault(token(&body));
        runs.play(what, &create, 1);
    }
    world.registry().clear_faults();
    world
        .registry()
        .fault(Fault::on("GET", "/token*").times(u32::MAX).endless_body());
    runs.play("a token without end", &create, 1);
    for (what, challenge) in [
        (
            "a challenge of 100 KB",
            format!("Bearer realm=\"http://{}\"", "x".repeat(100 << 10)),
        ),
        ("a challenge of 3000 challenges", "Basic, ".repeat(3000)),
        (
            "a quote that never ends",
            "Bearer realm=\"https://x".to_owned(),
        ),
        ("2000 scopes", {
            let scopes = "repository:a/b:pull ".repeat(2000);
            format!("Bearer realm=\"http://127.0.0.1:1/\",scope=\"{scopes}\"")
        }),
        (
            "no challenge that is known",
            "Negotiate oRkwF6A=, Digest x=y".to_owned(),
        ),
    ] {
        world.registry().clear_faults();
        let on = Fault::on("*", "*/manifests/*").times(u32::MAX);
        world
            .registry()
            .fault(on.answer(401, &[("www-authenticate", &challenge)], ""));
        runs.play(what, &create, 1);
    }
    runs.end();
}

#[test]
fn hostile_indexes_that_look_like_the_right_one() {
    let mut runs = HostileRuns::new("A registry: indexes that look like the right one");
    let world = World::new();
    let (amd64, arm64) = (
        child(&world, &world.amd64.digest, "amd64"),
        child(&world, &world.arm64.digest, "arm64"),
    );
    let foreign = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 666);
    let dressed = |platform: Value, kind: &str, of: &str| {
        let mut dressed = descriptor(&world, &foreign.digest);
        dressed["platform"] = platform;
        dressed["annotations"] = json!({
            "vnd.docker.reference.type": kind,
            "vnd.docker.reference.digest": of,
        });
        dressed
    };
    let (nothing, attests) = (
        json!({"os": "unknown", "architecture": "unknown"}),
        "attestation-manifest",
    );
    let nobody = format!("sha256:{:064x}", 7);
    let extra = |dressed: Value| index_of(&[amd64.clone(), arm64.clone(), dressed]);
    let swapped = index_of(&[
        child(&world, &world.amd64.digest, "arm64"),
        child(&world, &world.arm64.digest, "amd64"),
    ]);
    for (what, index, code) in [
        ("platforms are swapped", swapped, 3),
        (
            "an image for linux/amd64, dressed as an attestation",
            extra(dressed(
                json!({"os": "linux", "architecture": "amd64"}),
                attests,
                &world.amd64.digest,
            )),
            3,
        ),
        (
            "an attestation of nothing that is there",
            extra(dressed(nothing.clone(), attests, &nobody)),
            3,
        ),
        (
            "an attestation of itself",
            extra(dressed(nothing.clone(), attests, &foreign.digest)),
            3,
        ),
        (
            "what is no attestation, for no platform",
            extra(dressed(nothing.clone(), "image", &world.amd64.digest)),
            3,
        ),
        (
            "an attestation in capitals",
            extra(dressed(
                nothing.clone(),
                "Attestation-Manifest",
                &world.amd64.digest,
            )),
            3,
        ),
    ] {
        push(&world, Some("v1"), &index.to_string());
        runs.play(what, &world.seal(), code);
        assert_eq!(world.sigstore().entries(), 0, "{what}");
    }
    // With all annotations it resembles any builder's attestation. This run would not add it, so the index is not the same.
    let attestation = extra(dressed(nothing, attests, &world.amd64.digest));
    push(&world, Some("v1"), &attestation.to_string());
    runs.play("an attestation by somebody else", &world.seal(), 3);
    let recursive = world.seal().input("recursive", "true");
    runs.play("an attestation by somebody else, recursive", &recursive, 3);
    assert_eq!(world.sigstore().entries(), 0);
    assert!(
        world.listed(&foreign.digest).is_empty(),
        "a foreign image was signed"
    );
    runs.end();
}
