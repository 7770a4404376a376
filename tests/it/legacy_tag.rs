//! The tag `sha256-….sig`, which all signers share: its content stays, and unknown content stops the run. Content that is no
//! list of signatures stops only runs that must write one under the tag. Otherwise anybody with push permission could block all
//! signing forever.

use std::collections::BTreeSet;

use sandbox::{Fault, Kind};
use serde_json::{Value, json};

use crate::support::legacy::{legacy, legacy_tag, signatures};
use crate::support::{Action, MANIFEST, REPOSITORY, Running, World, sealed, unsigned};

const SIGNERS: usize = 8;
const LAYER: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

#[test]
fn first_legacy_signature_equals_one_of_cosign_2() {
    let world = World::new();
    let digest = legacy(world.seal()).succeed().output("digest").to_owned();
    let manifest = world.manifest(&legacy_tag(&digest));
    let payload = format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"{}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#,
        world.image()
    );
    let layer = &manifest["layers"][0];
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        String::from_utf8(world.registry().blob(REPOSITORY, digest).unwrap()).unwrap()
    };
    assert_eq!((blob(layer), &layer["mediaType"]), (payload, &json!(LAYER)));
    let config = format!(
        r#"{{"architecture":"","created":"0001-01-01T00:00:00Z","history":[{{"created":"0001-01-01T00:00:00Z"}}],"os":"","rootfs":{{"type":"layers","diff_ids":[{}]}},"config":{{}}}}"#,
        layer["digest"]
    );
    assert_eq!(blob(&manifest["config"]), config);
    let keys: Vec<&String> = layer["annotations"].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "dev.cosignproject.cosign/signature",
            "dev.sigstore.cosign/bundle",
            "dev.sigstore.cosign/certificate",
            "dev.sigstore.cosign/chain"
        ]
    );
}

#[test]
fn legacy_signatures_of_others_stay_in_place() {
    let (world, digest) = unsigned();
    let registry = world.registry();
    let blob = registry.push_blob(REPOSITORY, b"whatever");
    let config = registry.push_blob(REPOSITORY, br#"{"rootfs":{"diff_ids":["sha256:x"]}}"#);
    let theirs = format!(
        r#"{{"mediaType":"{MANIFEST}","schemaVersion":2,"x":null,"layers":[{{"digest":"{blob}","mediaType":"{LAYER}","size":8,"annotations":{{"z":"1","a":"2"}}}},{{"mediaType":"text/plain","digest":"{blob}","size":8}}],"config":{{"digest":"{config}","mediaType":"application/vnd.oci.image.config.v1+json","size":36}},"annotations":{{"b":"1","a":"2"}}}}"#
    );
    let tag = legacy_tag(&digest);
    registry.push_raw(REPOSITORY, Some(&tag), MANIFEST, theirs.as_bytes());
    legacy(world.seal()).succeed();
    let after = world.manifest(&tag);
    let mut expected: Value = serde_json::from_str(&theirs).unwrap();
    expected["config"]["digest"] = after["config"]["digest"].clone();
    expected["config"]["size"] = after["config"]["size"].clone();
    let ours = after["layers"][2].clone();
    expected["layers"].as_array_mut().unwrap().push(ours);
    // The comparison includes the order of fields: `preserve_order` is on.
    assert_eq!(after.to_string(), expected.to_string());
    let config = after["config"]["digest"].as_str().unwrap();
    let config: Value =
        serde_json::from_slice(&registry.blob(REPOSITORY, config).unwrap()).unwrap();
    let layer = &after["layers"][2]["digest"];
    assert_eq!(config["rootfs"]["diff_ids"], json!(["sha256:x", layer]));
    assert_eq!(
        legacy(world.seal()).succeed().output("sign-skipped"),
        "true"
    );
}

#[test]
fn tag_that_holds_no_signatures_is_never_overwritten() {
    let (world, digest) = unsigned();
    let tag = legacy_tag(&digest);
    let registry = world.registry();
    let image = registry.push_image(REPOSITORY, "linux/riscv64", Kind::Oci);
    for held in [&image.digest, &world.amd64.digest] {
        registry.tag(REPOSITORY, &tag, held);
        for format in ["legacy", "both"] {
            let action = world.seal().input("signature-format", format);
            action
                .input("on-signing-failure", "warn")
                .end_with(1)
                .says(&["points to content other than signatures"]);
        }
        assert_eq!(&registry.tags(REPOSITORY)[&tag], held);
        // The content was read, so it is certain that it has no signature.
        let verify = world.verify("v1").input("max-attempts", "1");
        verify.end_with(3).says(&[&tag, held]);
    }
    // An index is no list of signatures either.
    let (media_type, index) = registry.manifest(REPOSITORY, &digest).unwrap();
    let pretty: Value = serde_json::from_slice(&index).unwrap();
    let pretty = serde_json::to_vec_pretty(&pretty).unwrap();
    registry.push_raw(REPOSITORY, Some(&tag), &media_type, &pretty);
    legacy(world.seal()).end_with(1);
    assert_eq!(world.sigstore().entries(), 0);
    // A bundle is stored elsewhere.
    world.seal().succeed().says(&["::warning", &tag]);
    world.verify("v1").succeed();
}

#[test]
fn unread_signatures_are_not_absent() {
    for fault in [
        |on: sandbox::Trigger| on.status(500),
        |on: sandbox::Trigger| on.status(403),
        |on: sandbox::Trigger| on.throttle(0),
        |on: sandbox::Trigger| on.answer(200, &[("content-type", MANIFEST)], "garbage"),
        |on: sandbox::Trigger| on.reset(),
    ] {
        for format in ["bundle", "legacy", "both"] {
            let (world, _) = unsigned();
            let on = Fault::on("GET", "*.sig").times(u32::MAX);
            world.registry().fault(fault(on));
            let seal = world.seal().input("signature-format", format);
            seal.input("max-attempts", "2")
                .input("on-signing-failure", "warn")
                .end_with(1);
            // If no signature is expected, both locations are read concurrently.
            let sign = world.sign("v1").input("signature-format", format);
            sign.input("max-attempts", "2")
                .input("on-signing-failure", "warn")
                .end_with(1);
            let verify = world.verify("v1").input("max-attempts", "2");
            assert!(verify.run().code != 0);
            assert_eq!(world.sigstore().entries(), 0);
        }
    }
    // With a valid bundle the other location may stay unknown, unless both formats are requested.
    let (world, _) = sealed();
    let on = Fault::on("GET", "*.sig").times(u32::MAX);
    world.registry().fault(on.status(403));
    assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
    world.verify("v1").succeed();
    world.seal().input("signature-format", "both").end_with(1);
}

#[test]
fn absent_payload_is_awaited() {
    let world = World::new();
    let digest = legacy(world.seal()).succeed().output("digest").to_owned();
    let layer = world.manifest(&legacy_tag(&digest))["layers"][0]["digest"].clone();
    let layer = layer.as_str().unwrap();
    let payload = world.registry().blob(REPOSITORY, layer).unwrap();
    let path = format!("*/blobs/{layer}");
    let lag = Fault::on("GET", &path).times(2);
    let unknown = |on: sandbox::Trigger| on.registry_error(404, "BLOB_UNKNOWN", "not there");
    world.registry().fault(unknown(lag));
    let waited = legacy(world.seal()).succeed();
    assert_eq!(waited.output("sign-skipped"), "true");
    waited.says(&["a listed signature is not visible yet"]);
    // A signature without its payload does not count. A new one is made, and the push restores the payload of the old one.
    world.registry().delete_blob(REPOSITORY, layer);
    world.verify("v1").input("max-attempts", "2").end_with(3);
    let again = legacy(world.seal()).input("max-attempts", "2").succeed();
    assert_eq!(again.output("sign-skipped"), "false");
    assert_eq!(signatures(&world, &digest).len(), 2);
    assert_eq!(world.registry().blob(REPOSITORY, layer), Some(payload));
    world.verify("v1").succeed();
}

#[test]
fn eight_concurrent_legacy_signers_lose_no_signature() {
    let (world, digest) = unsigned();
    // Each signer is another workflow, so each must sign, with an identity token of its own.
    let begun: Vec<Running> = (0..SIGNERS)
        .map(|number| {
            let workflow =
                format!("octo-org/octo-app/.github/workflows/w{number}.yml@refs/heads/main");
            world.as_workflow(&workflow, "octo-org/octo-app", || {
                let token = world.sigstore().identity_token();
                let action: Action = legacy(world.sign("v1"));
                action
                    .without_token()
                    .input("identity-token", token)
                    .begin()
            })
        })
        .collect();
    for running in begun {
        let outcome = running.end();
        assert_eq!(outcome.code, 0, "{}", outcome.log);
        assert_eq!(outcome.output("sign-skipped"), "false");
    }
    let held: BTreeSet<String> = signatures(&world, &digest)
        .iter()
        .map(|annotations| annotations["dev.cosignproject.cosign/signature"].to_string())
        .collect();
    assert_eq!((held.len(), world.sigstore().entries()), (SIGNERS, SIGNERS));
    let manifest = world.manifest(&legacy_tag(&digest));
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config = world.registry().blob(REPOSITORY, config).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let layers = config["rootfs"]["diff_ids"].as_array().unwrap();
    assert_eq!(layers.len(), manifest["layers"].as_array().unwrap().len());
}
