//! A signature that cosign refuses to read is no signature, whatever it would prove. Somebody with push permission can change a
//! bundle so that it still holds for a tolerant reader. It must not count as ours: each later run would skip signing, and nobody
//! else could verify the image.

use sandbox::{Options, Referrers};
use serde_json::{Value, json};

use crate::support::{
    Action, MANIFEST, Pipeline, REPOSITORY, TARGET, World, attach, bundle_of, descriptor, index_of,
    listed, push, statement_bundle, target,
};

fn world() -> World {
    World::with(Options::new().referrers(Referrers::TagSchema))
}

/// Returns changed texts of a bundle that cosign does not read, with the reason for each.
fn changed(bundle: &[u8]) -> Vec<(String, &'static str)> {
    let bundle: Value = serde_json::from_slice(bundle).unwrap();
    let with = |place: &str, name: &str, value: Value| {
        let mut changed = bundle.clone();
        changed.pointer_mut(place).unwrap()[name] = value;
        changed.to_string()
    };
    let text = bundle.to_string();
    let media_type = bundle["mediaType"].to_string();
    let not_there = "contains `note`, which a Sigstore bundle does not have";
    vec![
        (with("", "note", json!("by mallory")), not_there),
        (with("/dsseEnvelope", "note", Value::Null), not_there),
        (
            with(
                "/verificationMaterial",
                "timestampVerificationData",
                json!([]),
            ),
            "`timestampVerificationData` does not have the type",
        ),
        (
            format!("{{\"mediaType\":{media_type},{}", &text[1..]),
            "contains `mediaType` twice",
        ),
    ]
}

/// Puts `bundle` in the place of all signatures of `subject`.
fn replace(world: &World, subject: &str, bundle: &str) {
    let theirs = attach(world, subject, bundle.as_bytes());
    let list = index_of(&[descriptor(world, &theirs)]).to_string();
    push(world, Some(&subject.replace(':', "-")), &list);
}

/// Asserts that `verify` refuses what is there for this reason, and that the run of `action` signs anew.
fn is_signed_anew(world: &World, subject: &str, action: &Action, why: &str) {
    let gate = world.verify(subject).input("max-attempts", "1").end_with(3);
    assert!(gate.log.contains(why), "{why}\n{}", gate.log);
    let again = action.elsewhere().succeed();
    let mut lines = again.log.lines();
    let warned = lines.any(|line| line.starts_with("::warning::") && line.contains(why));
    assert!(warned, "{why}\n{}", again.log);
    let said = ["sign-skipped", "verified"].map(|name| again.output(name).to_owned());
    assert_eq!(said, ["false", "true"], "{}", again.log);
    world.verify(subject).succeed();
}

#[test]
fn bundle_that_cosign_does_not_read_is_replaced() {
    for number in 0..4 {
        let world = world();
        let seal = world.seal();
        let digest = seal.succeed().output("digest").to_owned();
        let (bundle, why) = changed(&bundle_of(&world, &digest)).swap_remove(number);
        replace(&world, &digest, &bundle);
        is_signed_anew(&world, &digest, &seal, why);
    }
}

#[test]
fn legacy_signature_that_cosign_does_not_read_is_replaced() {
    for (name, value, why) in [
        (
            "dev.sigstore.cosign/chain",
            "by mallory",
            "content other than certificates",
        ),
        (
            "dev.sigstore.cosign/bundle",
            "\"payload\":{},",
            "contains `payload`",
        ),
    ] {
        let world = World::new();
        let seal = world.seal().input("signature-format", "legacy");
        let digest = seal.succeed().output("digest").to_owned();
        let tag = format!("{}.sig", digest.replace(':', "-"));
        let mut list = world.manifest(&tag);
        let annotation = &mut list["layers"][0]["annotations"][name];
        *annotation = match name {
            "dev.sigstore.cosign/chain" => json!(value),
            _ => json!(format!("{{{value}{}", &annotation.as_str().unwrap()[1..])),
        };
        let list = list.to_string();
        let registry = world.registry();
        registry.push_raw(REPOSITORY, Some(&tag), MANIFEST, list.as_bytes());
        is_signed_anew(&world, &digest, &seal, why);
    }
}

/// The gate at the source says what the destination will say.
#[test]
fn image_whose_signature_cosign_does_not_read_is_not_published() {
    for referrers in ["verified", "all"] {
        let pipeline = Pipeline {
            world: world(),
            target: target(Referrers::Api),
        };
        let (_, index) = pipeline.create();
        let world = &pipeline.world;
        world.sign(&index).succeed();
        let (bundle, _) = changed(&bundle_of(world, &index)).swap_remove(0);
        replace(world, &index, &bundle);
        let publish = pipeline.checked(&world.at(&index));
        let publish = publish
            .input("recursive", "false")
            .input("referrers", referrers);
        publish.input("max-attempts", "1").end_with(3);
        assert_eq!(pipeline.writes_there(), [""; 0]);
        let again = world.sign(&index).elsewhere().succeed();
        assert_eq!(again.output("sign-skipped"), "false");
    }
}

/// A signature with a hint about the key is valid, but `referrers: verified` does not carry it: anybody could have added the
/// hint. The gate at the source says so before a byte is written.
#[test]
fn image_whose_signature_is_not_carried_is_not_published() {
    let pipeline = Pipeline {
        world: world(),
        target: target(Referrers::Api),
    };
    let (_, index) = pipeline.create();
    let world = &pipeline.world;
    world.sign(&index).succeed();
    let mut bundle: Value = serde_json::from_slice(&bundle_of(world, &index)).unwrap();
    bundle["dsseEnvelope"]["signatures"][0]["keyid"] = json!("by mallory");
    replace(world, &index, &bundle.to_string());
    let publish = pipeline.checked(&world.at(&index));
    let publish = publish
        .input("recursive", "false")
        .input("max-attempts", "1");
    let verified = publish.clone().input("referrers", "verified").end_with(3);
    verified.says(&["keyid"]);
    assert_eq!(pipeline.writes_there(), [""; 0]);
    publish.succeed();
    // The destination has a signature that counts there, so nothing is missing.
    publish.elsewhere().input("referrers", "verified").succeed();
}

/// Returns an entry that calls the signature an attestation.
fn called_an_attestation(world: &World, signature: &str) -> Value {
    let mut entry = descriptor(world, signature);
    let attestation = "https://slsa.dev/provenance/v1";
    entry["annotations"] = json!({"dev.sigstore.bundle.predicateType": attestation});
    entry
}

#[test]
fn entry_that_calls_our_signature_an_attestation_is_put_right() {
    for place in ["same workspace", "elsewhere"] {
        let world = world();
        let seal = world.seal();
        let digest = seal.succeed().output("digest").to_owned();
        let ours = world.listed(&digest).remove(0);
        let list = index_of(&[called_an_attestation(&world, &ours)]).to_string();
        push(&world, Some(&digest.replace(':', "-")), &list);
        // Other verifiers may read no such entry.
        world.verify(&digest).input("max-attempts", "1").succeed();
        let again = match place {
            "elsewhere" => seal.elsewhere().succeed(),
            _ => seal.succeed(),
        };
        again.says(&["as something else: the entry is replaced"]);
        assert_eq!(again.output("verified"), "true");
        assert_eq!(world.listed(&digest), [ours]);
        let tag = digest.replace(':', "-");
        let entry = world.manifest(&tag)["manifests"][0].clone();
        let stated = &entry["annotations"]["dev.sigstore.bundle.predicateType"];
        assert_eq!(stated, crate::support::SIGN);
        assert_eq!(world.sigstore().entries(), 1);
    }
}

#[test]
fn prepared_entry_at_the_destination_is_put_right() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.create();
    let world = &pipeline.world;
    world.sign(&index).succeed();
    let ours = world.listed(&index).remove(0);
    let list = index_of(&[called_an_attestation(world, &ours)]).to_string();
    let tag = index.replace(':', "-");
    let media_type = crate::support::INDEX;
    pipeline
        .target
        .push_raw(TARGET, Some(&tag), media_type, list.as_bytes());
    let publish = pipeline.checked(&world.at(&index));
    publish.input("recursive", "false").succeed();
    assert_eq!(listed(&pipeline.target, TARGET, &index), [ours]);
}

#[test]
fn list_with_names_in_another_case_is_no_list() {
    for extra in ["\"Manifests\":[]", "\"manifest\u{17f}\":[]"] {
        let world = world();
        let seal = world.seal();
        let digest = seal.succeed().output("digest").to_owned();
        let tag = digest.replace(':', "-");
        let list = world.manifest(&tag).to_string();
        let list = format!("{},{extra}}}", list.strip_suffix('}').unwrap());
        push(&world, Some(&tag), &list);
        let gate = world.verify(&digest).input("max-attempts", "1").end_with(3);
        assert!(gate.log.contains("resembles `manifests`"), "{}", gate.log);
        let again = seal.elsewhere().run();
        assert_ne!(again.code, 0, "{}", again.log);
        assert!(again.log.contains(&tag), "{}", again.log);
        let there = world.registry().manifest(REPOSITORY, &tag).unwrap().1;
        assert_eq!(String::from_utf8(there).unwrap(), list);
    }
}

/// Somebody's words before or behind the verified ones are not carried as verified.
#[test]
fn doubled_names_are_not_carried_as_verified() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.create();
    let world = &pipeline.world;
    world
        .sign(&index)
        .input("signature-format", "both")
        .succeed();
    let bundle = statement_bundle(world, &index, "https://slsa.dev/provenance/v1");
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    let text = bundle.to_string();
    let envelope = bundle["dsseEnvelope"].to_string();
    let changed = [
        format!("{{\"keyid\":\"by mallory\",\"keyid\":\"\",{}", &text[1..]),
        format!("{{\"checkpoint\":\"\",{}", &text[1..]),
        format!(
            "{{\"dsseEnvelope\":{envelope},\"dsseEnvelope\":\"by mallory\",{}",
            &text[1..]
        ),
    ];
    let theirs = changed.map(|text| attach(world, &index, text.as_bytes()));
    let tag = format!("{}.sig", index.replace(':', "-"));
    let mut list = world.manifest(&tag);
    let mut layer = list["layers"][0].clone();
    let promise = &mut layer["annotations"]["dev.sigstore.cosign/bundle"];
    let promised = promise.as_str().unwrap().to_owned();
    *promise = json!(format!(
        "{{\"keyid\":\"by mallory\",\"keyid\":\"\",{}",
        &promised[1..]
    ));
    list["layers"].as_array_mut().unwrap().insert(0, layer);
    let list = list.to_string();
    world
        .registry()
        .push_raw(REPOSITORY, Some(&tag), MANIFEST, list.as_bytes());
    let publish = pipeline
        .checked(&world.at(&index))
        .input("recursive", "false");
    let published = publish.input("referrers", "verified").succeed();
    for theirs in theirs {
        let said = crate::support::said(&published, &theirs);
        assert_eq!(
            (&said["verified"], &said["carried"]),
            (&json!(false), &json!(false))
        );
    }
    let registry = &pipeline.target;
    for digest in registry.manifests(TARGET) {
        let (_, bytes) = registry.manifest(TARGET, &digest).unwrap();
        assert!(!String::from_utf8(bytes).unwrap().contains("mallory"));
    }
}
