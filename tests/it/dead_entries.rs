//! Lists of referrers with entries whose manifests are gone, and lists that become visible late.

use sandbox::{Fault, Options, Referrers};
use serde_json::json;

use crate::support::{Action, MANIFEST, REPOSITORY, World, descriptor, index_of, push};

/// A signed index at a registry without the referrers API, whose list has an entry without its manifest.
struct Lost {
    world: World,
    index: String,
    /// The referrer that is gone.
    gone: String,
}

impl Lost {
    /// `predicate` is the predicate type that the entry states.
    fn new(options: Options, predicate: &str) -> Self {
        let world = World::with(options.referrers(Referrers::TagSchema));
        let index = world.create().succeed().output("digest").to_owned();
        let referrer = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "config": descriptor_of_blob(&world, b"{}"),
            "layers": [],
            "subject": descriptor(&world, &index),
        });
        let registry = world.registry();
        let gone = registry.push_raw(REPOSITORY, None, MANIFEST, referrer.to_string().as_bytes());
        let mut entry = descriptor(&world, &gone);
        entry["artifactType"] = json!("application/vnd.dev.sigstore.bundle.v0.3+json");
        entry["annotations"] = json!({"dev.sigstore.bundle.predicateType": predicate});
        let kept = descriptor(&world, &world.amd64.digest);
        let list = index_of(&[kept, entry]).to_string();
        let tag = index.replace(':', "-");
        push(&world, Some(&tag), &list);
        registry.delete_manifest(REPOSITORY, &gone);
        registry.clear_requests();
        Self { world, index, gone }
    }

    fn listed(&self) -> Vec<String> {
        self.world.listed(&self.index)
    }

    fn list_tag(&self) -> String {
        self.index.replace(':', "-")
    }
}

fn descriptor_of_blob(world: &World, bytes: &[u8]) -> serde_json::Value {
    let digest = world.registry().push_blob(REPOSITORY, bytes);
    json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": bytes.len()})
}

const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

#[test]
fn dead_entry_is_removed_where_the_registry_refuses_the_list() {
    for predicate in [SIGNATURE, PROVENANCE] {
        let lost = Lost::new(Options::new(), predicate);
        let signed = lost.world.sign(&lost.index).succeed();
        signed.says(&[&format!(
            "lists `{}`, which does not exist any more",
            lost.gone
        )]);
        let listed = lost.listed();
        assert_eq!(listed.len(), 2, "{predicate}: {listed:?}");
        assert_eq!(listed[0], lost.world.amd64.digest);
        assert_eq!(lost.world.certificates(), 1);
        lost.world.verify(&lost.index).succeed();
        lost.world.registry().clear_requests();
        let again = lost.world.sign(&lost.index).succeed();
        assert_eq!(again.output("sign-skipped"), "true");
        assert_eq!(lost.world.writes(), [""; 0]);
    }
}

#[test]
fn dead_entry_stays_where_the_registry_accepts_the_list() {
    for predicate in [SIGNATURE, PROVENANCE] {
        let lost = Lost::new(Options::new().checks_children(false), predicate);
        let signed = lost.world.sign(&lost.index).succeed();
        signed.does_not_say(&["is removed"]);
        let listed = lost.listed();
        assert_eq!(listed.len(), 3, "{predicate}");
        assert_eq!(listed[1], lost.gone);
    }
}

#[test]
fn entry_that_cannot_be_read_or_is_there_again_is_never_removed() {
    for predicate in [SIGNATURE, PROVENANCE] {
        for status in [401, 403, 429, 500, 503] {
            let lost = Lost::new(Options::new(), predicate);
            let read = Fault::on("GET", &format!("*/manifests/{}", lost.gone));
            lost.world
                .registry()
                .fault(read.times(u32::MAX).status(status));
            let failed = lost.world.sign(&lost.index).end_with(1);
            failed.does_not_say(&["is removed"]);
            assert!(lost.listed().contains(&lost.gone), "{predicate} {status}");
            // Entries are read before the certificate is requested, whatever they state.
            assert_eq!(lost.world.certificates(), 0, "{predicate} {status}");
        }
    }
}

#[test]
fn list_that_stays_refused_costs_no_certificate() {
    let lost = Lost::new(Options::new(), SIGNATURE);
    let put = Fault::on("PUT", &format!("*/manifests/{}", lost.list_tag())).times(u32::MAX);
    let refused = put.registry_error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown");
    lost.world.registry().fault(refused);
    lost.world.sign(&lost.index).end_with(1);
    assert_eq!(lost.world.certificates(), 0);
    assert!(lost.listed().contains(&lost.gone));
}

#[test]
fn list_that_appears_late_is_extended() {
    for format in ["bundle", "legacy"] {
        let world = World::with(Options::new().referrers(Referrers::TagSchema));
        let index = world.create().succeed().output("digest").to_owned();
        let by = |name: &str| -> Action {
            let workflow =
                format!("octo-org/octo-app/.github/workflows/{name}.yml@refs/heads/main");
            world.as_workflow(&workflow, "octo-org/octo-app", || {
                let token = world.sigstore().identity_token();
                let sign = world.sign("v1").without_token();
                sign.input("identity-token", token)
                    .input("signature-format", format)
            })
        };
        by("other").succeed();
        let suffix = if format == "legacy" { ".sig" } else { "" };
        let tag = format!("{}{suffix}", index.replace(':', "-"));
        // The list of the other signer is hidden from the lookup and from two reads before the write.
        let read = Fault::on("*", &format!("*/manifests/{tag}")).times(3);
        let hidden = read.registry_error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        let registry = world.registry();
        registry.fault(hidden);
        by("ours").input("propagation", "2s").succeed();
        let held = match format {
            "legacy" => crate::support::legacy::signatures(&world, &index).len(),
            _ => world.listed(&index).len(),
        };
        assert_eq!(held, 2, "{format}");
    }
}
