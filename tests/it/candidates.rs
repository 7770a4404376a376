//! Candidates that others list beside a signature. A bad candidate hides no other. A candidate that could not be read is never
//! reported as "not signed".

use sandbox::{Fault, Options, Referrers};
use serde_json::{Value, json};

use crate::support::{
    Action, INDEX, MANIFEST, Outcome, REPOSITORY, SIGN, World, attach, bundle_manifest, bundle_of,
    descriptor, index_of, push, sealed, statement_bundle, store, unsigned,
};

const PREDICATE: &str = "dev.sigstore.bundle.predicateType";

/// Returns every candidate that can be read and is no signature, by name.
fn bad_ones(world: &World, subject: &str) -> Vec<(&'static str, Value)> {
    let changed = |bundle: &[u8], change: &dyn Fn(&mut Value)| {
        let mut manifest = bundle_manifest(world, subject, bundle);
        change(&mut manifest);
        manifest
    };
    let long = vec![b' '; (1 << 20) + 1];
    vec![
        (
            "layer that is shorter than it says",
            changed(b"{}", &|it| it["layers"][0]["size"] = json!(5)),
        ),
        (
            "layer that says it is huge",
            changed(b"{}", &|it| it["layers"][0]["size"] = json!(1_u64 << 40)),
        ),
        ("layer that is too long", changed(&long, &|_| ())),
        (
            "layer that is too long and says it is short",
            changed(&long, &|it| it["layers"][0]["size"] = json!(7)),
        ),
        (
            "bundle of an unknown version",
            changed(
                br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v9.0+json"}"#,
                &|_| (),
            ),
        ),
        ("bundle that is no JSON", changed(b"[[[", &|_| ())),
        (
            "manifest that is none",
            changed(b"1", &|it| it["layers"] = json!("none")),
        ),
        (
            "manifest that calls itself an index",
            changed(b"2", &|it| it["mediaType"] = json!(INDEX)),
        ),
        (
            "manifest that is too long",
            changed(b"3", &|it| {
                it["annotations"] = json!({"x": "x".repeat(5 << 20)});
            }),
        ),
        (
            "manifest with a hundred thousand annotations",
            changed(b"4", &|it| {
                let all = (0..100_000).map(|number| (number.to_string(), json!("")));
                it["annotations"] = Value::Object(all.collect());
            }),
        ),
    ]
}

fn warnings(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.log.lines();
    lines
        .filter(|line| line.starts_with("::warning::") && line.contains("are ignored"))
        .collect()
}

fn once(action: Action) -> Action {
    action.input("max-attempts", "1")
}

#[test]
fn invalid_candidate_hides_no_signature_and_prevents_none() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        let digest = world.create().succeed().output("digest").to_owned();
        let tag = digest.replace(':', "-");
        for (what, manifest) in bad_ones(&world, &digest) {
            let entry = store(&world, &manifest);
            if kind == Referrers::TagSchema {
                let mut entry = entry;
                entry["annotations"] = json!({PREDICATE: SIGN});
                push(&world, Some(&tag), &index_of(&[entry]).to_string());
            }
            let refused = once(world.verify("v1")).end_with(3);
            assert!(!refused.outputs.contains_key("verified"), "{what}");
            let made = world.sigstore().entries();
            let signed = world.seal().succeed();
            assert_eq!(signed.output("sign-skipped"), "false", "{kind:?}: {what}");
            assert_eq!(world.sigstore().entries(), made + 1, "{what}");
            assert_eq!(warnings(&signed).len(), 1, "{what}\n{}", signed.log);
            // The image now has several candidates. The bad one becomes the last of an ordered list, which is read first.
            if kind == Referrers::TagSchema {
                let mut list = world.manifest(&tag);
                list["manifests"].as_array_mut().unwrap().reverse();
                push(&world, Some(&tag), &list.to_string());
            }
            let verified = world.verify("v1").succeed();
            assert_eq!(verified.output("verified"), "true");
            if kind == Referrers::TagSchema {
                assert_eq!(warnings(&verified).len(), 1, "{what}\n{}", verified.log);
            }
            assert_eq!(
                world.seal().succeed().output("sign-skipped"),
                "true",
                "{what}"
            );
            world.registry().delete_tag(REPOSITORY, &tag);
            for listed in world.listed(&digest) {
                world.registry().delete_manifest(REPOSITORY, &listed);
            }
        }
    }
}

#[test]
fn entry_that_names_no_digest_of_ours_hides_no_other() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let digest = world.seal().succeed().output("digest").to_owned();
    let tag = digest.replace(':', "-");
    let ours = world.manifest(&tag)["manifests"][0].clone();
    let sha384 =
        json!({"mediaType": MANIFEST, "digest": format!("sha384:{}", "0".repeat(96)), "size": 1});
    let odd =
        json!({"mediaType": 7, "digest": world.amd64.digest, "size": "x", "annotations": [1]});
    let hiding = {
        let mut entry = ours.clone();
        entry["annotations"][PREDICATE] = json!("https://slsa.dev/provenance/v1");
        entry
    };
    push(
        &world,
        Some(&tag),
        &index_of(&[sha384, odd, hiding, ours]).to_string(),
    );
    let verified = world.verify("v1").succeed();
    verified.says(&["that cannot be read"]);
    assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
    assert_eq!(world.sigstore().entries(), 1);
}

/// Lists a candidate first whose blob cannot be read.
fn first_is_unreadable(world: &World, digest: &str, fault: fn(sandbox::Trigger) -> Fault) {
    let tag = digest.replace(':', "-");
    let manifest = bundle_manifest(world, digest, b"who knows");
    let blob = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let mut entries = vec![store(world, &manifest)];
    if world.registry().tags(REPOSITORY).contains_key(&tag) {
        let known = world.manifest(&tag)["manifests"].clone();
        entries.extend(known.as_array().unwrap().clone());
    }
    push(world, Some(&tag), &index_of(&entries).to_string());
    let on = Fault::on("GET", &format!("*/blobs/{blob}")).times(u32::MAX);
    world.registry().fault(fault(on));
}

#[test]
fn unread_candidate_stops_the_run_unless_another_counts() {
    let faults: [fn(sandbox::Trigger) -> Fault; 4] = [
        |on| on.status(500),
        |on| on.status(403),
        |on| on.wrong_digest(),
        |on| on.cut_body(),
    ];
    for fault in faults {
        let world = World::with(Options::new().referrers(Referrers::TagSchema));
        let digest = world.create().succeed().output("digest").to_owned();
        first_is_unreadable(&world, &digest, fault);
        let twice = |action: Action| action.input("max-attempts", "2");
        twice(world.seal()).end_with(1);
        twice(world.sign("v1"))
            .input("on-signing-failure", "warn")
            .end_with(1);
        twice(world.verify("v1")).end_with(1);
        assert_eq!(world.sigstore().entries(), 0);
        // Another signature is valid, later in the list or in the other format.
        for format in ["bundle", "legacy"] {
            let world = World::with(Options::new().referrers(Referrers::TagSchema));
            let seal = world.seal().input("signature-format", format);
            let digest = seal.succeed().output("digest").to_owned();
            first_is_unreadable(&world, &digest, fault);
            twice(world.verify("v1")).succeed();
            let again = twice(seal).succeed();
            assert_eq!(again.output("sign-skipped"), "true", "{format}");
        }
    }
}

#[test]
fn cut_page_stops_the_run_unless_a_signature_was_found_before() {
    let world = World::with(Options::new().page_size(1));
    let digest = world.create().succeed().output("digest").to_owned();
    for number in 0..2 {
        attach(&world, &digest, format!("{number}").as_bytes());
    }
    let on = Fault::on("GET", "*/referrers/*?*start=1").times(u32::MAX);
    world.registry().fault(on.status(403));
    once(world.verify("v1")).end_with(1);
    world.seal().end_with(1);
    assert_eq!(world.sigstore().entries(), 0);
    // The signature is on the page before.
    let (world, digest) = sealed();
    let first = world.listed(&digest)[0].clone();
    let entry = descriptor(&world, &first);
    let next = format!("</v2/{REPOSITORY}/referrers/{digest}?start=1>; rel=\"next\"");
    let page = index_of(&[entry]).to_string();
    let headers = [("content-type", INDEX), ("link", next.as_str())];
    let on = Fault::on("GET", "*/referrers/*?*start=1").times(u32::MAX);
    world.registry().fault(on.status(403));
    let on = Fault::on("GET", "*/referrers/*").times(u32::MAX);
    world.registry().fault(on.answer(200, &headers, &page));
    world.registry().clear_requests();
    once(world.verify("v1")).succeed();
    assert_eq!(asked(&world, "start=1"), 1);
}

/// The manifest states a wrong length for its blob: other verifiers refuse it too.
#[test]
fn signature_of_another_length_than_its_manifest_says_does_not_count() {
    let (world, digest) = sealed();
    let bundle = bundle_of(&world, &digest);
    for listed in world.listed(&digest) {
        world.registry().delete_manifest(REPOSITORY, &listed);
    }
    let mut manifest = bundle_manifest(&world, &digest, &bundle);
    manifest["layers"][0]["size"] = json!(bundle.len() + 1);
    store(&world, &manifest);
    once(world.verify("v1")).end_with(3).says(&["as stated"]);
    attach(&world, &digest, &bundle);
    world.verify("v1").succeed();
}

fn asked(world: &World, part: &str) -> usize {
    let requests = world.registry().requests();
    let asked = requests.iter().filter(|one| one.path.contains(part));
    asked.count()
}

/// Only the manifest of an entry in a list of clients says what the entry is, so that manifest is read if nothing counts.
#[test]
fn attestations_are_passed_over() {
    const MANY: usize = 60;
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        let digest = world.create().succeed().output("digest").to_owned();
        let attested: Vec<Value> = (0..MANY)
            .map(|number| {
                let mut manifest = bundle_manifest(&world, &digest, number.to_string().as_bytes());
                manifest["annotations"] = json!({PREDICATE: "https://slsa.dev/provenance/v1"});
                store(&world, &manifest)
            })
            .collect();
        if kind == Referrers::TagSchema {
            let tag = digest.replace(':', "-");
            push(&world, Some(&tag), &index_of(&attested).to_string());
        }
        let read = |world: &World| {
            let digests = attested
                .iter()
                .map(|entry| entry["digest"].as_str().unwrap());
            digests.map(|digest| asked(world, digest)).sum::<usize>()
        };
        let read_if_unsigned = match kind {
            Referrers::Api => 0,
            Referrers::TagSchema => MANY,
        };
        world.registry().clear_requests();
        once(world.verify("v1")).end_with(3).says(&[&format!(
            "it is not a signature but a statement of type `https://slsa.dev/provenance/v1` ({MANY} of these)"
        )]);
        assert_eq!(read(&world), read_if_unsigned, "{kind:?}");
        assert_eq!(asked(&world, "/blobs/"), 0, "{kind:?}");
        world.seal().succeed();
        world.registry().clear_requests();
        world.verify("v1").succeed();
        assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
        assert_eq!(read(&world), 0, "{kind:?}");
    }
}

/// If the list omits the annotation of an entry, its manifest provides it: the blob is not read.
#[test]
fn attestation_is_recognized_by_its_manifest() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let digest = world.create().succeed().output("digest").to_owned();
    let mut manifest = bundle_manifest(&world, &digest, b"provenance");
    manifest["annotations"] = json!({PREDICATE: "https://slsa.dev/provenance/v1"});
    let mut entry = store(&world, &manifest);
    entry.as_object_mut().unwrap().remove("annotations");
    push(
        &world,
        Some(&digest.replace(':', "-")),
        &index_of(&[entry]).to_string(),
    );
    world.registry().clear_requests();
    once(world.verify("v1")).end_with(3).says(&["slsa.dev"]);
    assert_eq!(asked(&world, "/blobs/"), 0);
}

/// An annotation does not turn another statement into a signature.
#[test]
fn annotation_does_not_make_a_signature() {
    let (world, digest) = unsigned();
    let provenance = statement_bundle(&world, &digest, "https://slsa.dev/provenance/v1");
    let mut manifest = bundle_manifest(&world, &digest, &provenance);
    manifest["annotations"] = json!({PREDICATE: SIGN});
    store(&world, &manifest);
    once(world.verify("v1")).end_with(3);
    world.seal().succeed();
    let ours = bundle_of(&world, &digest);
    assert!(!ours.is_empty());
    world.verify("v1").succeed();
}

fn list_of(count: usize, last: &[Value]) -> Value {
    let entry = |number: usize| {
        json!({
            "mediaType": MANIFEST, "digest": format!("sha256:{number:064x}"), "size": 7,
            "annotations": {PREDICATE: "https://slsa.dev/provenance/v1"},
        })
    };
    let mut entries: Vec<Value> = (0..count).map(entry).collect();
    entries.extend(last.to_vec());
    index_of(&entries)
}

#[test]
fn last_ten_thousand_descriptors_of_a_list_are_read() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let digest = world.seal().succeed().output("digest").to_owned();
    let tag = digest.replace(':', "-");
    let ours = world.manifest(&tag)["manifests"][0].clone();
    let mut list = list_of(10_010, std::slice::from_ref(&ours));
    push(&world, Some(&tag), &list.to_string());
    world.verify("v1").succeed();
    assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
    // Without the last entries the answer is unknown, and never "unsigned".
    list["manifests"].as_array_mut().unwrap().rotate_right(1);
    push(&world, Some(&tag), &list.to_string());
    let unknown = [
        "10011 manifests or signatures refer to",
        "at most 10000 are read",
    ];
    once(world.verify("v1")).end_with(1).says(&unknown);
    world.seal().end_with(1).says(&unknown);
    assert_eq!(world.sigstore().entries(), 1);
}

/// A fault of the registry at a part of a signature.
type Misdeed = (&'static str, fn(sandbox::Trigger) -> Fault);

#[test]
fn too_long_or_mistyped_candidate_is_skipped_with_a_warning() {
    let faults: [Misdeed; 3] = [
        ("manifests", |on| on.endless_body()),
        ("manifests", |on| on.wrong_content_type("text/html")),
        ("blobs", |on| on.endless_body()),
    ];
    for kind in [Referrers::Api, Referrers::TagSchema] {
        for (part, fault) in faults {
            let world = World::with(Options::new().referrers(kind));
            let digest = world.seal().succeed().output("digest").to_owned();
            let held = world.listed(&digest)[0].clone();
            let layer = world.manifest(&held)["layers"][0]["digest"].clone();
            let held = match part {
                "blobs" => layer.as_str().unwrap(),
                _ => &held,
            };
            let on = Fault::on("GET", &format!("*/{part}/{held}")).times(u32::MAX);
            world.registry().fault(fault(on));
            world.verify("v1").end_with(3);
            let outcome = once(world.seal()).succeed();
            assert_eq!(outcome.output("sign-skipped"), "false", "{kind:?} {part}");
            assert!(!warnings(&outcome).is_empty(), "{}", outcome.log);
            world.registry().clear_faults();
            assert_eq!(world.listed(&digest).len(), 2, "{kind:?} {part}");
            assert_eq!(world.sigstore().entries(), 2, "{kind:?} {part}");
            world.verify("v1").succeed();
        }
    }
}
