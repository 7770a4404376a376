//! Lists of signatures: the referrers API, the referrers tag, and the entries of others there.

use std::collections::BTreeSet;

use sandbox::{Fault, Kind, Options, Referrers, Registry};

use crate::support::{
    Action, Pipeline, REPOSITORY, Running, TARGET, World, attach, is_there, listed, sbom,
    statement_bundle,
};

#[test]
fn registry_that_answers_referrers_and_lists_nothing_gets_the_fallback_tag() {
    let world = World::new();
    let empty = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":null}"#;
    let oci = [("content-type", "application/vnd.oci.image.index.v1+json")];
    world.registry().fault(
        Fault::on("GET", "*/referrers/*")
            .times(u32::MAX)
            .answer(200, &oci, empty),
    );
    let outcome = world.seal().succeed();
    let tag = outcome.output("digest").replace(':', "-");
    assert!(world.registry().manifest(REPOSITORY, &tag).is_some());
    assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
    assert_eq!(
        (
            world.listed(outcome.output("digest")).len(),
            world.sigstore().entries()
        ),
        (1, 1)
    );
    world.verify("v1").succeed();
}

/// Plays a registry that stores several referrers at once and loses the entry of one.
#[test]
fn referrer_that_a_registry_lost_is_stored_again() {
    let world = World::new();
    let empty = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let oci = [("content-type", "application/vnd.oci.image.index.v1+json")];
    // Before the signature is stored, and once afterwards.
    let before_it_is_listed = Fault::on("GET", "*/referrers/*").times(2);
    let empty = before_it_is_listed.answer(200, &oci, empty);
    world.registry().fault(empty);
    let outcome = world.seal().succeed();
    let digest = outcome.output("digest");
    let tag = digest.replace(':', "-");
    assert_eq!(world.registry().manifest(REPOSITORY, &tag), None);
    assert_eq!(world.listed(digest).len(), 1);
    let requests = world.registry().requests();
    let puts = requests
        .iter()
        .filter(|request| request.method == "PUT" && request.path.contains("/manifests/sha256:"));
    // The index, and the signature twice.
    assert_eq!(puts.count(), 3);
}

/// The record's information about a list only determines the first location to read.
#[test]
fn lost_list_is_written_again() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let seal = world.seal();
    let digest = seal.succeed().output("digest").to_owned();
    let list = digest.replace(':', "-");
    world.registry().delete_tag(REPOSITORY, &list);
    // The signature that the record names still exists: it is listed again.
    assert_eq!(seal.succeed().output("sign-skipped"), "true");
    assert_eq!(
        (world.listed(&digest).len(), world.sigstore().entries()),
        (1, 1)
    );
    world.registry().delete_tag(REPOSITORY, &list);
    assert_eq!(world.seal().succeed().output("sign-skipped"), "false");
    assert_eq!(
        (world.listed(&digest).len(), world.sigstore().entries()),
        (1, 2)
    );
    // A registry that has gained the referrers API lists the signatures itself, and has no referrers tag.
    let now = World::new();
    let record = seal
        .record()
        .to_string()
        .replace(&world.image(), &now.image());
    let moved = now.seal().file("manifest-seal.json", &record);
    now.seal().succeed();
    assert_eq!(moved.succeed().output("sign-skipped"), "true");
    now.verify("v1").succeed();
}

#[test]
fn entries_of_others_stay_byte_for_byte() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let digest = world.create().succeed().output("digest").to_owned();
    let theirs = attach(
        &world,
        &digest,
        &statement_bundle(&world, &digest, "https://example.test/other"),
    );
    let other = world
        .registry()
        .push_image(REPOSITORY, "linux/riscv64", Kind::Oci)
        .digest;
    let list = format!(
        "{{\n \"schemaVersion\": 2, \"x\": {{\"b\": 1, \"a\": null}},\n \"manifests\": [{{\"size\":7,\"digest\":\"{theirs}\",\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"artifactType\":\"wrong\"}}, {{\"digest\":\"{other}\",\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"size\":1}}],\n \"mediaType\": \"application/vnd.oci.image.index.v1+json\"}}"
    );
    let tag = digest.replace(':', "-");
    world.registry().push_raw(
        REPOSITORY,
        Some(&tag),
        "application/vnd.oci.image.index.v1+json",
        list.as_bytes(),
    );
    let outcome = world.seal().succeed();
    assert_eq!(outcome.output("sign-skipped"), "false");
    let (before, after) = (
        serde_json::from_str::<serde_json::Value>(&list).unwrap(),
        world.manifest(&tag),
    );
    let mut expected = before;
    let ours = after["manifests"][2].clone();
    expected["manifests"].as_array_mut().unwrap().push(ours);
    // The comparison includes the order of fields: `preserve_order` is on.
    assert_eq!(after.to_string(), expected.to_string());
    assert_eq!(world.listed(&digest).len(), 3);
}

/// Some registries do not answer for a repository that does not exist yet. That is no answer about their API, so no list is
/// written under a tag.
#[test]
fn new_repository_of_a_registry_that_keeps_the_lists_gets_no_list_under_a_tag() {
    let fresh = || Registry::start(Options::new().lists_in_new(false));
    let pipeline = Pipeline {
        target: fresh(),
        ..Pipeline::new()
    };
    let (_, index) = pipeline.build();
    // The first answer is from before anything was stored.
    let early = Fault::on("GET", "/v2/prod/app/referrers/*");
    let early = early.registry_error(404, "NAME_UNKNOWN", "unknown");
    pipeline.target.fault(early);
    let publish = pipeline.publish(&pipeline.world.at(&index));
    publish.succeed();
    let tags = |registry: &Registry| registry.tags(TARGET).into_keys().collect::<Vec<_>>();
    assert_eq!(tags(&pipeline.target), ["latest", "v1"]);
    assert_eq!(listed(&pipeline.target, TARGET, &index).len(), 1);
    assert_eq!(publish.succeed().output("result"), "unchanged");
    let (world, elsewhere) = (World::new(), fresh());
    let seal = world
        .seal()
        .input("image", elsewhere.repository(TARGET))
        .input("digests", world.at(&world.amd64.digest));
    let sealed = seal.succeed();
    assert_eq!(tags(&elsewhere), ["v1"]);
    let listed = listed(&elsewhere, TARGET, sealed.output("digest"));
    assert_eq!(listed.len(), 1);
    assert_eq!(seal.succeed().output("result"), "unchanged");
}

/// A source that lacks one image may have the referrers of another.
#[test]
fn source_that_lacks_one_subject_is_asked_for_the_referrers_of_others() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let (world, registry) = (&pipeline.world, pipeline.world.registry());
    // Its own referrers are read after those of the images.
    let signature = &world.listed(&world.amd64.digest)[0];
    let sbom = sbom(&pipeline, signature);
    let spare = registry.repository("octo-org/spare");
    Action::new("publish")
        .input("source", world.at(&world.amd64.digest))
        .input("tags", format!("{spare}:v1"))
        .succeed();
    registry.delete_manifest(REPOSITORY, &sbom);
    let absent = Fault::on("GET", "/v2/octo-org/spare/referrers/*");
    registry.fault(absent.times(2).status(400));
    let source = format!("{}\n{spare}", world.at(&index));
    pipeline.publish(&source).succeed();
    assert!(is_there(&pipeline, &sbom));
}

const WRITERS: usize = 8;

#[test]
fn concurrent_signers_lose_no_signature() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        let digest = world.create().succeed().output("digest").to_owned();
        // Each signer is another workflow, so each must sign, with an identity token of its own.
        let begun: Vec<(Action, Running)> = (0..WRITERS)
            .map(|number| {
                let workflow =
                    format!("octo-org/octo-app/.github/workflows/w{number}.yml@refs/heads/main");
                world.as_workflow(&workflow, "octo-org/octo-app", || {
                    let token = world.sigstore().identity_token();
                    let action = world
                        .sign("v1")
                        .without_token()
                        .input("identity-token", token);
                    (action.clone(), action.begin())
                })
            })
            .collect();
        let mut reported = BTreeSet::new();
        for (_, running) in begun {
            let outcome = running.end();
            assert_eq!(outcome.code, 0, "{}", outcome.log);
            assert_eq!(outcome.output("sign-skipped"), "false");
            let signature = outcome.json("signatures")[0]["manifest"].clone();
            reported.insert(signature.as_str().unwrap().to_owned());
        }
        let listed: BTreeSet<String> = world.listed(&digest).into_iter().collect();
        assert_eq!(
            (listed, world.sigstore().entries()),
            (reported, WRITERS),
            "{kind:?}"
        );
    }
}

#[test]
fn concurrent_seals_of_one_index_all_succeed() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        let begun: Vec<(Action, Running)> = (0..WRITERS)
            .map(|_| {
                let action = world.seal();
                (action.clone(), action.begin())
            })
            .collect();
        let digests: BTreeSet<String> = begun
            .into_iter()
            .map(|(_, running)| {
                let outcome = running.end();
                assert_eq!(outcome.code, 0, "{}", outcome.log);
                outcome.output("digest").to_owned()
            })
            .collect();
        assert_eq!(
            digests.into_iter().collect::<Vec<_>>(),
            [world.tag("v1").unwrap()]
        );
        // Several may have signed before their signatures were visible to each other. From now on nothing more is signed.
        let entries = world.sigstore().entries();
        assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
        assert_eq!(world.sigstore().entries(), entries);
    }
}
