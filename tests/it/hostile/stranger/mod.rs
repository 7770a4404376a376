//! Table of the actions of somebody without our signing rights, and of their effects. None of their content is signed, tagged,
//! restored, copied elsewhere or deleted.

mod content;
mod signatures;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox::{Kind, Options, Proof, Referrers, Registry};
use serde_json::{Value, json};

use crate::support::{
    Action, INDEX, MIRROR, Outcome, REPOSITORY, Two, World, attach, child, cleanup, index_of, push,
    statement_bundle,
};

const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const OTHER_WORKFLOW: &str =
    "octo-org/octo-app/.github/workflows/pull-request.yml@refs/pull/1/merge";

/// A repository in one of the registries of an attack.
type Place<'a> = (&'a Registry, &'static str);

/// The state of the world before a run, and the digests of the stranger's content.
struct Before<'a> {
    sigstore: &'a World,
    places: Vec<Place<'a>>,
    tags: Vec<BTreeMap<String, String>>,
    theirs: BTreeSet<String>,
    signed: usize,
    there: usize,
}

/// The effects of a run, counted over all repositories.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    signed: usize,
    tagged: usize,
    copied: usize,
    deleted: usize,
}

impl<'a> Before<'a> {
    fn of(sigstore: &'a World, places: Vec<Place<'a>>, theirs: &[&str]) -> Self {
        let mut before = Self {
            sigstore,
            tags: places
                .iter()
                .map(|(registry, name)| registry.tags(name))
                .collect(),
            theirs: theirs.iter().map(|digest| (*digest).to_owned()).collect(),
            places,
            signed: 0,
            there: 0,
        };
        (before.signed, before.there) = (before.signed(), before.there());
        before
    }

    /// Counts this workflow's signatures of the stranger's content. The certificates of other workflows contain its name too.
    fn signed(&self) -> usize {
        let places = self.places.iter();
        let of = |(registry, name): &Place<'_>| -> usize {
            let theirs = self.theirs.iter();
            theirs
                .map(|digest| ours(self.sigstore, registry, name, digest))
                .sum()
        };
        places.map(of).sum()
    }

    /// Counts the stranger's manifests and blobs in all repositories.
    fn there(&self) -> usize {
        let places = self.places.iter();
        let of = |(registry, name): &Place<'_>| {
            let has = |digest: &&String| {
                registry.manifest(name, digest).is_some() || registry.blob(name, digest).is_some()
            };
            self.theirs.iter().filter(has).count()
        };
        places.map(of).sum()
    }

    /// Counts the effects on the stranger's content, and the deleted tags.
    fn compare(&self) -> Done {
        let mut done = Done::default();
        for ((registry, name), before) in self.places.iter().zip(&self.tags) {
            let after = registry.tags(name);
            done.deleted += before
                .keys()
                .filter(|tag| !after.contains_key(*tag))
                .count();
            let moved = after
                .iter()
                .filter(|(tag, digest)| before.get(*tag) != Some(*digest));
            done.tagged += moved
                .filter(|(_, digest)| self.theirs.contains(*digest))
                .count();
        }
        done.signed = self.signed() - self.signed;
        done.copied = self.there() - self.there;
        done
    }
}

/// Counts the signatures of `digest` that this workflow made.
fn ours(world: &World, registry: &Registry, name: &str, digest: &str) -> usize {
    let found = registry.signatures(name, digest);
    let identity = world.sigstore().identity();
    let manifests = found.bundles.iter().chain(&found.unlisted);
    let is_ours = |manifest: &&String| {
        let Some((_, manifest)) = registry.manifest(name, manifest) else {
            return false;
        };
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap_or_default();
        let bundle = registry.blob(name, layer).unwrap_or_default();
        let bundle: Value = serde_json::from_slice(&bundle).unwrap_or_default();
        // The certificate contains the subject as plain text.
        let certificate = &bundle["verificationMaterial"]["certificate"]["rawBytes"];
        let certificate = certificate.as_str().unwrap_or_default();
        let der = STANDARD.decode(certificate);
        let der = der.unwrap_or_default();
        der.windows(identity.len())
            .any(|part| part == identity.as_bytes())
    };
    manifests.filter(is_ours).count()
}

/// Pushes another image for linux/amd64, built by somebody else.
fn foreign(registry: &Registry, name: &str) -> String {
    registry
        .push_image_seeded(name, "linux/amd64", Kind::Oci, 666)
        .digest
}

fn right(world: &World) -> Value {
    index_of(&[
        child(world, &world.amd64.digest, "amd64"),
        child(world, &world.arm64.digest, "arm64"),
    ])
}

fn record(image: &str, digest: &str, tag: &str, before: Option<&str>) -> String {
    json!({"schema": 1,
        "run": {"id": 1, "attempt": 1, "repository": "octo-org/octo-app"},
        "images": [{"image": image, "digest": digest, "mediaType": INDEX, "platforms": [],
            "tags": [{"tag": tag, "moving": before.is_some(), "before": before, "after": digest, "state": "written"}]}],
    })
    .to_string()
}

/// The table of all attacks, and its failures.
struct Table {
    proof: Proof,
    attacks: usize,
    wrong: Vec<String>,
}

impl Table {
    fn play(
        &mut self,
        who: &str,
        what: &str,
        before: &Before<'_>,
        runs: &[(&Action, i32)],
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (action, code) in runs {
            let outcome = action.run();
            let done = before.compare();
            let word = match outcome.code {
                0 => "passed over",
                1 => "unknown",
                2 => "refused as input",
                3 => "refused",
                _ => "odd",
            };
            self.attacks += 1;
            self.proof.row(&[
                &who,
                &what,
                &word,
                &done.signed,
                &done.tagged,
                &done.copied,
                &done.deleted,
            ]);
            if outcome.code != *code || done != Done::default() {
                self.wrong.push(format!(
                    "{who}: {what}: ended with {}, not {code}; {done:?}\n{}",
                    outcome.code, outcome.log
                ));
            }
            outcomes.push(outcome);
        }
        outcomes
    }
}

#[test]
fn what_somebody_without_signing_rights_can_change() {
    let columns = [
        "who",
        "what",
        "outcome",
        "signed #",
        "tagged or restored #",
        "copied elsewhere #",
        "deleted #",
    ];
    let mut table = Table {
        proof: Proof::new(
            "strangers",
            "What somebody without signing rights can change",
            &columns,
        ),
        attacks: 0,
        wrong: Vec::new(),
    };
    who_pushes_indexes(&mut table);
    who_pushes_to_the_weaker_registry(&mut table);
    who_pushes_signatures(&mut table);
    who_runs_another_job(&mut table);
    signatures::who_calls_the_same_reusable_workflow(&mut table);
    signatures::who_changes_our_signatures(&mut table);
    content::who_pushes_our_own_indexes(&mut table);
    content::who_pushes_to_one_of_two_registries(&mut table);
    content::who_lists_referrers(&mut table);
    let Table {
        proof,
        attacks,
        wrong,
    } = table;
    proof.end(&format!(
        "{attacks} runs; {} in which something of theirs was signed, tagged, put back, copied elsewhere or deleted, or that ended otherwise than they must.",
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Makes an index for a world with this image of the stranger.
type MakeIndex = fn(&World, &str) -> Value;

fn who_pushes_indexes(table: &mut Table) {
    let who = "pushes to the registry";
    let indexes: [(&str, MakeIndex); 5] = [
        ("other images under the tag", |world, theirs| {
            index_of(&[child(world, theirs, "amd64")])
        }),
        ("the right images and an annotation", |world, _| {
            let mut index = right(world);
            index["annotations"] = json!({"by": "them"});
            index
        }),
        (
            "the right images and an attestation of their own",
            |world, theirs| {
                let mut index = right(world);
                let mut entry = child(world, theirs, "unknown");
                entry["platform"]["os"] = "unknown".into();
                entry["annotations"] = json!({
                    "vnd.docker.reference.type": "attestation-manifest",
                    "vnd.docker.reference.digest": world.amd64.digest,
                });
                index["manifests"].as_array_mut().unwrap().push(entry);
                index
            },
        ),
        ("the right images and another artifact type", |world, _| {
            let mut index = right(world);
            index["artifactType"] = "application/vnd.them".into();
            index
        }),
        (
            "the right images that refer to something",
            |world, theirs| {
                let mut index = right(world);
                index["subject"] = crate::support::descriptor(world, theirs);
                index
            },
        ),
    ];
    for (what, index) in indexes {
        let world = World::new();
        let image = foreign(world.registry(), REPOSITORY);
        let index = index(&world, &image).to_string();
        let theirs = push(&world, Some("v1"), &index);
        let places = vec![(world.registry(), REPOSITORY)];
        let before = Before::of(&world, places, &[&theirs, &image]);
        let skip = world
            .seal()
            .input("command", "preflight")
            .input("digests", "")
            .input("on-existing-tag", "skip");
        let deep = world.seal().input("recursive", "true");
        let moving = world.seal().input("moving-tags", "latest");
        // If nothing is signed, an index with the same images stays, and no other tag is set to it.
        let unsigned = world.create().input("tags", "v1\nv2");
        let code = if index.contains(&world.amd64.digest) {
            0
        } else {
            3
        };
        let runs = [
            (&world.seal(), 3),
            (&deep, 3),
            (&moving, 3),
            (&skip, 3),
            (&unsigned, code),
        ];
        for outcome in table.play(who, what, &before, &runs) {
            assert_ne!(
                outcome.outputs.get("proceed").map(String::as_str),
                Some("true")
            );
        }
    }
    let world = World::new();
    let image = foreign(world.registry(), REPOSITORY);
    let mut index = index_of(&[child(&world, &image, "amd64")]);
    index["annotations"] = json!({"org.opencontainers.image.version": "999999.0.0"});
    let theirs = push(&world, Some("latest"), &index.to_string());
    let before = Before::of(
        &world,
        vec![(world.registry(), REPOSITORY)],
        &[&theirs, &image],
    );
    let release = world
        .seal()
        .input("tags", "1.0.0")
        .input("moving-tags", "latest");
    table.play(
        who,
        "a version of 999999.0.0 under a moving tag",
        &before,
        &[(&release, 0)],
    );
    assert_ne!(world.tag("latest"), Some(theirs));
}

fn who_pushes_to_the_weaker_registry(table: &mut Table) {
    let who = "pushes to one of two registries";
    let two = Two::with(Options::new(), Options::new().referrers(Referrers::Api));
    let mut index: Value = serde_json::from_slice(&two.push_theirs("scratch").1).unwrap();
    index["annotations"] = json!({"by": "them"});
    let theirs = two
        .other
        .push_raw(MIRROR, Some("v1"), INDEX, index.to_string().as_bytes());
    let places = vec![(two.world.registry(), REPOSITORY), (&two.other, MIRROR)];
    let before = Before::of(&two.world, places, &[&theirs]);
    let unsigned = two.seal().input("command", "create");
    table.play(
        who,
        "the right images and an annotation",
        &before,
        &[(&two.seal(), 3), (&unsigned, 0)],
    );
    assert_ne!(two.world.tag("v1"), Some(theirs));
}

fn who_pushes_signatures(table: &mut Table) {
    let who = "pushes to the registry";
    let world = World::new();
    let image = foreign(world.registry(), REPOSITORY);
    let index = index_of(&[child(&world, &image, "amd64")]).to_string();
    let theirs = push(&world, Some("v1"), &index);
    // A signature by the stranger, and one of our own for another digest.
    world.as_workflow(OTHER_WORKFLOW, "octo-org/fork", || {
        let bundle = statement_bundle(&world, &theirs, SIGN);
        attach(&world, &theirs, &bundle);
    });
    let bundle = statement_bundle(&world, &world.arm64.digest, SIGN);
    let of_another = attach(&world, &world.arm64.digest, &bundle);
    let places = || vec![(world.registry(), REPOSITORY)];
    let before = Before::of(&world, places(), &[&theirs, &image]);
    let skip = world
        .seal()
        .input("command", "preflight")
        .input("digests", "")
        .input("on-existing-tag", "skip");
    table.play(
        who,
        "an image with a signature by another workflow",
        &before,
        &[(&world.seal(), 3), (&skip, 3), (&world.verify("v1"), 3)],
    );
    assert!(world.registry().manifest(REPOSITORY, &of_another).is_some());
}

fn who_runs_another_job(table: &mut Table) {
    let who = "writes the record's artifact";
    let world = World::new();
    let image = foreign(world.registry(), REPOSITORY);
    let released = world.create().input("tags", "v1.0.0").succeed();
    let released = released.output("digest").to_owned();
    world.registry().tag(REPOSITORY, "latest", &released);
    let run = |action: Action, text: String| {
        action
            .elsewhere()
            .file("manifest-seal.json", text)
            .env("GITHUB_RUN_ID", "1")
            .env("GITHUB_RUN_ATTEMPT", "1")
            .env("GITHUB_REPOSITORY", "octo-org/octo-app")
    };
    let before = || Before::of(&world, vec![(world.registry(), REPOSITORY)], &[&image]);
    let sign = run(
        world.sign("v1").input("image", ""),
        record(&world.image(), &image, "v1", None),
    );
    table.play(who, "their image, to be signed", &before(), &[(&sign, 2)]);
    let publish = run(
        world
            .create()
            .input("command", "publish")
            .input("digests", "")
            .input("source", "manifest-seal.json")
            .input("tags", "v2"),
        record(&world.image(), &image, "v2", None),
    );
    table.play(
        who,
        "their image, to be published",
        &before(),
        &[(&publish, 2)],
    );
    let delete = run(
        cleanup(&world.create().input("tags", "v1.0.0")),
        record(&world.image(), &released, "v1.0.0", None),
    );
    table.play(who, "a release, to be deleted", &before(), &[(&delete, 0)]);
    let restore = run(
        cleanup(
            &world
                .create()
                .input("tags", "")
                .input("moving-tags", "latest"),
        ),
        record(&world.image(), &released, "latest", Some(&image)),
    );
    table.play(
        who,
        "`latest`, to be put back to their image",
        &before(),
        &[(&restore, 0)],
    );
    assert_eq!(world.tag("v1.0.0"), Some(released.clone()));
    assert_eq!(world.tag("latest"), Some(released));
}
