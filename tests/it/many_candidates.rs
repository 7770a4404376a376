//! Many referrers beside a signature: they cost few requests, and however many there are, they hide no signature.

use sandbox::{Options, Referrers};
use serde_json::{Value, json};

use crate::support::{
    Action, REPOSITORY, SIGN, World, attach, bundle_manifest, bundle_of, descriptor, index_of,
    push, sealed, store,
};

const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
const CREATED: &str = "org.opencontainers.image.created";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

fn cost(world: &World, action: &Action) -> usize {
    world.registry().clear_requests();
    action.succeed();
    world.registry().requests().len()
}

fn once(action: Action) -> Action {
    action.input("max-attempts", "1")
}

/// Stores `count` useless bundles that state to be signatures from the year `year`. Returns their entries.
fn useless(world: &World, digest: &str, count: usize, year: u16) -> Vec<Value> {
    let store_one = |number: usize| {
        let mut manifest = bundle_manifest(world, digest, b"{}");
        let created = format!(
            "{year}-01-01T00:{:02}:{:02}Z",
            number / 60 % 60,
            number % 60
        );
        manifest["annotations"] =
            json!({PREDICATE: SIGN, CREATED: created, "number": number.to_string()});
        store(world, &manifest)
    };
    (0..count).map(store_one).collect()
}

fn list_tag(digest: &str) -> String {
    digest.replace(':', "-")
}

fn list(world: &World, digest: &str, entries: &[Value]) {
    push(
        world,
        Some(&list_tag(digest)),
        &index_of(entries).to_string(),
    );
}

#[test]
fn newest_signature_of_a_hundred_costs_few_requests() {
    let (world, digest) = sealed();
    useless(&world, &digest, 99, 2020);
    let costs = costs_of_a_rerun(&world);
    assert!(costs.0 <= 8 && costs.1 <= 12, "{costs:?}");
    // Without dates, the last entry of the list is the newest.
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let digest = world.seal().succeed().output("digest").to_owned();
    let ours = world.manifest(&list_tag(&digest))["manifests"][0].clone();
    let mut entries = useless(&world, &digest, 99, 2020);
    entries.push(ours);
    for entry in &mut entries {
        entry.as_object_mut().unwrap().remove("annotations");
    }
    list(&world, &digest, &entries);
    let costs = costs_of_a_rerun(&world);
    assert!(costs.0 <= 9 && costs.1 <= 13, "{costs:?}");
}

/// Returns the requests of `verify`, and of a rerun of `seal`.
fn costs_of_a_rerun(world: &World) -> (usize, usize) {
    let costs = (cost(world, &world.verify("v1")), cost(world, &world.seal()));
    let (verify, seal) = costs;
    eprintln!("{verify} requests of verify, {seal} of seal");
    costs
}

#[test]
fn last_legacy_signature_of_a_hundred_costs_few_requests() {
    let world = World::new();
    let seal = world.seal().input("signature-format", "legacy");
    let digest = seal.succeed().output("digest").to_owned();
    let tag = format!("{}.sig", list_tag(&digest));
    let mut signatures = world.manifest(&tag);
    let layers = signatures["layers"].as_array_mut().unwrap();
    for number in 0..99 {
        let payload = number.to_string();
        let mut layer = layers[0].clone();
        layer["digest"] = json!(world.registry().push_blob(REPOSITORY, payload.as_bytes()));
        layer["size"] = json!(payload.len());
        layers.insert(0, layer);
    }
    let bytes = signatures.to_string();
    let registry = world.registry();
    registry.push_raw(
        REPOSITORY,
        Some(&tag),
        crate::support::MANIFEST,
        bytes.as_bytes(),
    );
    let count = cost(&world, &world.verify("v1"));
    eprintln!("{count} requests");
    assert!(count <= 8, "{count}");
    assert_eq!(seal.succeed().output("sign-skipped"), "true");
}

#[test]
fn attestations_beside_a_signature_cost_no_request() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        let digest = world.seal().succeed().output("digest").to_owned();
        let mut entries: Vec<Value> = (0..100)
            .map(|number: usize| {
                let mut manifest = bundle_manifest(&world, &digest, number.to_string().as_bytes());
                manifest["annotations"] = json!({PREDICATE: PROVENANCE});
                store(&world, &manifest)
            })
            .collect();
        if kind == Referrers::TagSchema {
            entries.push(world.manifest(&list_tag(&digest))["manifests"][0].clone());
            list(&world, &digest, &entries);
        }
        let count = cost(&world, &world.verify("v1"));
        eprintln!("{count} requests");
        assert!(count <= 6, "{kind:?}: {count}");
    }
}

/// Plays a stranger who lists our signature as something else. The stranger can change the entry and not the signature.
#[test]
fn untrue_entry_hides_no_signature() {
    let as_provenance = |entry: &mut Value| {
        entry["annotations"] = json!({PREDICATE: PROVENANCE});
    };
    let as_index = |entry: &mut Value| {
        entry["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
    };
    let as_artifact = |entry: &mut Value| entry["mediaType"] = json!("text/plain");
    let changes: [&dyn Fn(&mut Value); 3] = [&as_provenance, &as_index, &as_artifact];
    for change in changes {
        for format in ["bundle", "both"] {
            let world = World::with(Options::new().referrers(Referrers::TagSchema));
            let seal = world.seal().input("signature-format", format);
            let seal = seal.input("moving-tags", "latest");
            let seal = seal.input("annotations", "org.opencontainers.image.version=2.0.0");
            let digest = seal.succeed().output("digest").to_owned();
            let made = world.sigstore().entries();
            let mut entry = world.manifest(&list_tag(&digest))["manifests"][0].clone();
            change(&mut entry);
            list(&world, &digest, &[entry]);
            once(world.verify("v1")).succeed();
            let again = seal.elsewhere().succeed();
            assert_eq!(again.output("sign-skipped"), "true", "{format}");
            // An older version does not replace a signed newer one.
            let older = world.seal().elsewhere().input("tags", "1.0.0");
            let older = older.input("moving-tags", "latest");
            let older = older.input("annotations", "org.opencontainers.image.version=1.0.0");
            older.succeed().says(&["left unchanged"]);
            assert_eq!(world.tag("latest"), Some(digest), "{format}");
            // Only the older version was signed.
            let added = world.sigstore().entries() - made;
            assert_eq!(added, 1, "{format}");
        }
    }
}

/// Two thousand referrers state to be newer signatures than ours.
#[test]
fn thousands_of_referrers_hide_no_signature() {
    for (kind, page) in [(Referrers::Api, 700), (Referrers::TagSchema, 1000)] {
        let world = World::with(Options::new().referrers(kind).page_size(page));
        let digest = world.seal().succeed().output("digest").to_owned();
        let ours = world.listed(&digest);
        let mut entries = vec![descriptor(&world, &ours[0])];
        entries.extend(useless(&world, &digest, 2000, 2999));
        if kind == Referrers::TagSchema {
            list(&world, &digest, &entries);
        }
        let count = cost(&world, &once(world.verify("v1")));
        eprintln!("{count} requests");
        assert!((4000..=4020).contains(&count), "{kind:?}: {count}");
        assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
        assert_eq!(world.sigstore().entries(), 1);
    }
}

/// Copies of one bundle are as good as one.
#[test]
fn hundred_signatures_are_not_all_read() {
    let (world, digest) = sealed();
    let bundle = bundle_of(&world, &digest);
    for number in 0..100 {
        let padded = format!("{}{}", String::from_utf8_lossy(&bundle), " ".repeat(number));
        attach(&world, &digest, padded.as_bytes());
    }
    let count = cost(&world, &world.verify("v1"));
    assert!(count <= 8, "{count}");
}
