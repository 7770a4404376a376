//! Signatures that a stranger made or changed.

use sandbox::{Kind, Options, Referrers};
use serde_json::{Value, json};

use super::{Before, Table, foreign};
use crate::support::{REPOSITORY, World, attach, bundle_of, descriptor, index_of, push};

const SHARED: &str = "manifest-seal/manifest-seal/.github/workflows/build-publish.yml@refs/tags/v0";

pub(super) fn who_calls_the_same_reusable_workflow(table: &mut Table) {
    let who =
        "calls the same reusable workflow from another repository, and pushes to the registry";
    let world = World::new();
    let image = foreign(world.registry(), REPOSITORY);
    let theirs = world.as_workflow(SHARED, "evil/repository", || {
        world.seal().input("digests", &image).succeed()
    });
    let theirs = theirs.output("digest").to_owned();
    world.sigstore().set_claim("job_workflow_ref", SHARED);
    let places = vec![(world.registry(), REPOSITORY)];
    let before = Before::of(&world, places, &[&theirs, &image]);
    let given = |action: crate::support::Action| {
        let identity = format!("https://github.com/{SHARED}");
        action
            .elsewhere()
            .input("certificate-identity", identity)
            .input("certificate-oidc-issuer", world.sigstore().issuer())
            .env("GITHUB_SERVER_URL", world.sigstore().url())
    };
    let skip = given(world.preflight().input("on-existing-tag", "skip"));
    let seal = given(world.seal().input("moving-tags", "latest"));
    let without_token = skip.elsewhere().without_token();
    let runs = [(&skip, 3), (&without_token, 3), (&seal, 3)];
    table.play(who, "an image, signed in their run", &before, &runs);
}

/// Returns the changed text of a bundle, or the changed list of referrers.
enum Changed {
    Bundle(String),
    List(String),
}

/// Changes the bundle of an index, or the list with the entry of this bundle.
type Change = fn(Value, Value) -> Changed;

pub(super) fn who_changes_our_signatures(table: &mut Table) {
    let who = "pushes to the registry";
    // The codes are those of `verify` and of a rerun.
    let changes: [(&str, Change, [i32; 2]); 3] = [
        (
            "our signature with a field that cosign does not read",
            |mut bundle, _| {
                bundle["note"] = json!("by mallory");
                Changed::Bundle(bundle.to_string())
            },
            [3, 0],
        ),
        (
            "our signature, listed as an attestation",
            |_, mut entry| {
                let attestation = "https://slsa.dev/provenance/v1";
                entry["annotations"] = json!({"dev.sigstore.bundle.predicateType": attestation});
                Changed::List(index_of(&[entry]).to_string())
            },
            [0, 0],
        ),
        (
            "a list that others read as empty",
            |_, entry| {
                let list = index_of(&[entry]).to_string();
                let list = list.strip_suffix('}').unwrap();
                Changed::List(format!("{list},\"Manifests\":[]}}"))
            },
            [3, 1],
        ),
    ];
    for (what, change, [found, code]) in changes {
        let world = World::with(Options::new().referrers(Referrers::TagSchema));
        let seal = world.seal();
        let digest = seal.succeed().output("digest").to_owned();
        let bundle = serde_json::from_slice(&bundle_of(&world, &digest)).unwrap();
        let entry = descriptor(&world, &world.listed(&digest)[0]);
        let list = match change(bundle, entry) {
            Changed::List(list) => list,
            Changed::Bundle(bundle) => {
                let theirs = attach(&world, &digest, bundle.as_bytes());
                index_of(&[descriptor(&world, &theirs)]).to_string()
            }
        };
        push(&world, Some(&digest.replace(':', "-")), &list);
        let before = Before::of(&world, vec![(world.registry(), REPOSITORY)], &[]);
        let verify = world.verify(&digest).input("max-attempts", "1");
        let again = seal.elsewhere();
        table.play(who, what, &before, &[(&verify, found), (&again, code)]);
        // The run signs anew, corrects the entry, or says that it cannot.
        let verified = world.verify(&digest).input("max-attempts", "1").run();
        assert_eq!(verified.code, if code == 0 { 0 } else { 3 }, "{what}");
    }
}

/// Pushes other images for both platforms, and returns their digests as lines.
pub(super) fn other_images(world: &World, seed: u64) -> String {
    let registry = world.registry();
    let push = |platform| registry.push_image_seeded(REPOSITORY, platform, Kind::Oci, seed);
    let digests = ["linux/amd64", "linux/arm64"].map(|platform| push(platform).digest);
    digests.join("\n")
}
