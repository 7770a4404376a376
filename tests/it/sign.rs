//! Signing: once, with this run's own identity, after the index and before the tags.

use sandbox::{Options, Referrers};

use crate::support::{REPOSITORY, SIGN, World, attach, statement_bundle, told};

const OTHER_WORKFLOW: &str = "octo-org/octo-app/.github/workflows/nightly.yml@refs/heads/main";
const USUAL_WORKFLOW: &str = "octo-org/octo-app/.github/workflows/release.yml@refs/heads/main";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Returns a world with the referrers API and one without.
fn both_kinds() -> [World; 2] {
    [Referrers::Api, Referrers::TagSchema].map(|kind| World::with(Options::new().referrers(kind)))
}

#[test]
fn seal_is_reported() {
    let world = World::new();
    let outcome = world.seal().succeed();
    insta::assert_snapshot!(told(&world, &outcome));
    assert_eq!(world.listed(outcome.output("digest")).len(), 1);
}

#[test]
fn index_then_signature_then_tag() {
    let [api, fallback] = both_kinds();
    api.seal().succeed();
    let writes = |world: &World| -> Vec<String> {
        let writes = world
            .writes()
            .into_iter()
            .filter(|write| write.starts_with("PUT manifests/"));
        let listed = world.listed(&world.tag("v1").unwrap());
        writes
            .map(|write| write.replace(&listed[0], "[SIGNATURE]"))
            .collect()
    };
    assert_eq!(
        writes(&api),
        [
            "PUT manifests/[INDEX v1]",
            "PUT manifests/[SIGNATURE]",
            "PUT manifests/v1"
        ]
    );
    fallback.seal().succeed();
    let list = fallback.tag("v1").unwrap().replace(':', "-");
    let expected = [
        "PUT manifests/[INDEX v1]",
        "PUT manifests/[SIGNATURE]",
        &format!("PUT manifests/{list}"),
        "PUT manifests/v1",
    ];
    assert_eq!(writes(&fallback), expected);
    let early = World::new();
    early.seal().input("tag-before-signing", "true").succeed();
    assert_eq!(
        writes(&early),
        [
            "PUT manifests/[INDEX v1]",
            "PUT manifests/v1",
            "PUT manifests/[SIGNATURE]"
        ]
    );
}

#[test]
fn rerun_finds_its_signature_and_makes_none() {
    for world in both_kinds() {
        let first = world.seal().succeed();
        world.registry().clear_requests();
        let again = world.seal().succeed();
        assert_eq!(world.writes(), [""; 0]);
        assert_eq!((world.certificates(), world.sigstore().entries()), (1, 1));
        assert_eq!(
            (again.output("signed"), again.output("sign-skipped")),
            ("true", "true")
        );
        assert_eq!(
            again.json("signatures")[0]["manifest"],
            first.json("signatures")[0]["manifest"]
        );
        assert_eq!(world.listed(first.output("digest")).len(), 1);
    }
}

#[test]
fn unsigned_is_said_where_nothing_is_to_be_signed() {
    let world = World::new();
    let outcome = world.seal().input("sign", "false").succeed();
    assert_eq!(
        (outcome.output("signed"), outcome.output("sign-skipped")),
        ("false", "false")
    );
    assert_eq!(world.sigstore().requests(), []);
}

#[test]
fn signatures_of_others_do_not_count_and_stay() {
    for (workflow, repository) in [
        (OTHER_WORKFLOW, "octo-org/octo-app"),
        (USUAL_WORKFLOW, "octo-org/caller"),
    ] {
        for world in both_kinds() {
            let theirs = world.as_workflow(workflow, repository, || world.seal().succeed());
            let digest = theirs.output("digest");
            let before = world.listed(digest);
            let ours = world.seal().succeed();
            assert_eq!(
                (ours.output("signed"), ours.output("sign-skipped")),
                ("true", "false")
            );
            let after = world.listed(digest);
            assert_eq!(
                (after.len(), after.first()),
                (2, before.first()),
                "{workflow} {repository}"
            );
            // The second signature does not make the first workflow sign again either.
            let again = world.as_workflow(workflow, repository, || world.seal().succeed());
            assert_eq!(again.output("sign-skipped"), "true");
        }
    }
}

#[test]
fn named_identity_decides_what_counts() {
    let world = World::new();
    world.as_workflow(OTHER_WORKFLOW, "octo-org/octo-app", || {
        world.seal().succeed()
    });
    let pattern = "https://github.com/octo-org/octo-app/.github/workflows/(nightly|release).yml@.*";
    let outcome = world
        .seal()
        .input("certificate-identity-regexp", pattern)
        .succeed();
    assert_eq!(outcome.output("sign-skipped"), "true");
    assert_eq!(world.sigstore().entries(), 1);
}

#[test]
fn attestation_of_ours_is_no_signature() {
    let world = World::new();
    let digest = world.create().succeed().output("digest").to_owned();
    attach(
        &world,
        &digest,
        &statement_bundle(&world, &digest, PROVENANCE),
    );
    let outcome = world.seal().succeed();
    assert_eq!(outcome.output("sign-skipped"), "false");
    assert_eq!(world.listed(&digest).len(), 2);
}

#[test]
fn signature_by_another_client_counts() {
    let world = World::new();
    let digest = world.create().succeed().output("digest").to_owned();
    attach(&world, &digest, &statement_bundle(&world, &digest, SIGN));
    assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
}

#[test]
fn recursive_signs_every_child_with_one_certificate() {
    for world in both_kinds() {
        let build = world
            .registry()
            .push_index_with_provenance(REPOSITORY, "linux/amd64");
        let digests = format!("{},{}", build.digest, world.arm64.digest);
        let action = world
            .seal()
            .input("digests", digests)
            .input("recursive", "true");
        let outcome = action.succeed();
        assert_eq!((world.certificates(), world.sigstore().entries()), (1, 4));
        let index = outcome.output("digest").to_owned();
        for digest in [
            &index,
            &build.image.digest,
            &build.attestation,
            &world.arm64.digest,
        ] {
            assert_eq!(world.listed(digest).len(), 1, "{digest}");
        }
        assert_eq!(outcome.json("signatures").as_array().unwrap().len(), 4);
        assert_eq!(action.succeed().output("sign-skipped"), "true");
        assert_eq!(world.sigstore().entries(), 4);
    }
}

#[test]
fn equivalent_indexes_are_both_signed() {
    let world = World::new();
    world.create().succeed();
    let pretty = serde_json::to_vec_pretty(&world.manifest("v1")).unwrap();
    let theirs = world.registry().push_raw(
        REPOSITORY,
        Some("v2"),
        "application/vnd.oci.image.index.v1+json",
        &pretty,
    );
    let outcome = world.seal().input("tags", "v1\nv2").succeed();
    assert_eq!(world.listed(outcome.output("digest")).len(), 1);
    assert_eq!(world.listed(&theirs).len(), 1);
}

#[test]
fn image_is_signed_by_its_tag_or_its_digest() {
    for world in both_kinds() {
        let digest = world.create().succeed().output("digest").to_owned();
        let outcome = world.sign("v1").succeed();
        outcome.says(&[&format!("`{}` was resolved to `{digest}`", world.at("v1"))]);
        assert_eq!(
            (outcome.output("digest"), outcome.output("sign-skipped")),
            (digest.as_str(), "false")
        );
        assert_eq!(world.sign(&digest).succeed().output("sign-skipped"), "true");
        assert_eq!(world.listed(&digest).len(), 1);
        // A platform image can be signed like an index.
        assert_eq!(
            world.sign(&world.arm64.digest).succeed().output("digest"),
            world.arm64.digest
        );
    }
}

#[test]
fn record_of_create_says_what_is_to_be_signed() {
    let world = World::new();
    let create = world.create().input("tags", "");
    let digest = create.succeed().output("digest").to_owned();
    let record = std::fs::read(create.workspace().join("manifest-seal.json")).unwrap();
    let sign = world
        .sign("v1")
        .input("image", "")
        .handed("out/record.json", record)
        .input("record", "out/record.json");
    let outcome = sign.succeed();
    assert_eq!(
        (outcome.output("digest"), outcome.output("record")),
        (digest.as_str(), "out/record.json")
    );
    for digest in [&digest, &world.amd64.digest, &world.arm64.digest] {
        assert_eq!(world.listed(digest).len(), 1, "{digest}");
    }
    assert_eq!((world.certificates(), world.sigstore().entries()), (1, 3));
    assert_eq!(sign.succeed().output("sign-skipped"), "true");
    assert_eq!(world.sigstore().entries(), 3);
}

#[test]
fn record_that_says_nothing_to_sign_is_an_input_error() {
    let world = World::new();
    let sign = world.sign("v1").input("image", "");
    sign.end_with(2)
        .says(&["there is no record `manifest-seal.json`", "hint: "]);
    let empty = sign
        .clone()
        .handed("manifest-seal.json", r#"{"schema":1,"images":[]}"#);
    empty.end_with(2).says(&["names nothing to sign"]);
    let create = world.create();
    create.succeed();
    let record = std::fs::read(create.workspace().join("manifest-seal.json")).unwrap();
    let elsewhere = world.registry().repository("octo-org/other");
    let other = sign
        .clone()
        .handed("manifest-seal.json", record)
        .input("image", elsewhere);
    other.end_with(2).says(&["names nothing to sign in"]);
    for text in ["{}", "[]", "{\"schema\":9,\"images\":[]}", "garbage"] {
        assert_ne!(
            sign.clone().file("manifest-seal.json", text).run().code,
            0,
            "{text}"
        );
    }
    assert_eq!(world.sigstore().entries(), 0);
}

#[test]
fn digest_that_the_registry_does_not_hold_is_never_signed() {
    let world = World::new();
    let create = world.create().input("tags", "");
    let digest = create.succeed().output("digest").to_owned();
    world.registry().delete_manifest(REPOSITORY, &digest);
    let record = std::fs::read(create.workspace().join("manifest-seal.json")).unwrap();
    let by_record = world
        .sign("v1")
        .input("image", "")
        .handed("manifest-seal.json", record);
    for action in [by_record, world.sign(&digest), world.sign("v1")] {
        action
            .input("on-signing-failure", "warn")
            .end_with(1)
            .says(&["was not found"]);
    }
    assert_eq!(world.sigstore().entries(), 0);
}
