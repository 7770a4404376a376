//! Outages of Sigstore: which requests are retried, and what `on-signing-failure: warn` allows.

use std::time::{Duration, Instant};

use sandbox::{Fault, Options, Referrers};

use crate::support::{Action, REPOSITORY, World, told};

const TOKEN: &str = "/gh/token";
const FULCIO: &str = "/api/v2/signingCert";
const REKOR: &str = "/api/v1/log/entries";

/// Returns a run with few attempts that may go on unsigned.
fn lenient(world: &World) -> Action {
    world
        .seal()
        .input("on-signing-failure", "warn")
        .input("max-attempts", "2")
        .input("retry-delay", "2ms")
}

/// Asserts that the run tags the image unsigned, and reports that.
fn went_on(world: &World, action: &Action, named: &str) {
    let outcome = action.succeed();
    outcome.says(&["::warning::", "remains unsigned", named]);
    assert_eq!(
        (outcome.output("signed"), outcome.output("verified")),
        ("false", "false"),
        "{named}"
    );
    assert_eq!(
        world.tag("v1").as_deref(),
        Some(outcome.output("digest")),
        "{named}"
    );
    assert!(
        outcome
            .summary
            .contains("Unsigned, because `on-signing-failure` is `warn`"),
        "{}",
        outcome.summary
    );
    // Without `on-signing-failure: warn` it is an error, and no other tag is written.
    let outcome = action
        .clone()
        .input("on-signing-failure", "fail")
        .input("tags", "v2")
        .end_with(1);
    outcome.says(&[named, "hint: "]);
    assert_eq!(world.tag("v2"), None, "{named}");
}

/// Ends the outage, and asserts that a rerun signs, once.
fn recovers(world: &World) {
    world.sigstore().clear_faults();
    world.registry().clear_faults();
    let outcome = world.seal().succeed();
    assert_eq!(
        (outcome.output("signed"), outcome.output("result")),
        ("true", "unchanged")
    );
    assert_eq!(world.listed(outcome.output("digest")).len(), 1);
}

#[test]
fn outage_of_sigstore_is_a_warning_if_allowed() {
    for (path, named) in [
        (TOKEN, "could not get an identity token"),
        (FULCIO, "could not get a signing certificate"),
        (
            REKOR,
            "could not record the signature in the transparency log",
        ),
    ] {
        for fault in [
            Fault::on("*", path).times(u32::MAX).status(503),
            Fault::on("*", path).times(u32::MAX).reset(),
        ] {
            let world = World::new();
            world.sigstore().fault(fault);
            went_on(&world, &lenient(&world), named);
            recovers(&world);
        }
    }
}

#[test]
fn missing_token_is_reported_with_a_cure() {
    let world = World::new();
    let action = lenient(&world).without_token();
    let outcome = action
        .clone()
        .input("on-signing-failure", "fail")
        .end_with(1);
    outcome.says(&[
        "no OIDC token identifies this run",
        "hint: give the job `permissions: id-token: write`",
    ]);
    assert_eq!(world.writes(), [""; 0]);
    // The workflow is wrong, which is no temporary failure.
    action.end_with(1).says(&["the job does not request one"]);
    assert_eq!(world.writes(), [""; 0]);
    let action = action.env("GITHUB_ACTOR", "dependabot[bot]");
    went_on(&world, &action, "no OIDC token identifies this run");
    insta::assert_snapshot!(told(&world, &action.succeed()));
    recovers(&world);
}

#[test]
fn unstored_signature_is_a_warning_if_allowed() {
    for (kind, path) in [
        (Referrers::Api, "*/manifests/sha256:*"),
        (Referrers::TagSchema, "*/manifests/sha256-*"),
        (Referrers::Api, "*/blobs/uploads/*"),
    ] {
        let world = World::with(Options::new().referrers(kind));
        // The index already exists, so only the signature can fail.
        world.create().input("tags", "v0").succeed();
        world
            .registry()
            .fault(Fault::on("*", path).times(u32::MAX).status(507));
        let action = lenient(&world).input("tags", "v0\nv1");
        if path.contains("sha256-") {
            // Reading the list fails as well, so it is unknown if there is a signature.
            action.end_with(1);
            world.registry().clear_faults();
            world
                .registry()
                .fault(Fault::on("PUT", path).times(u32::MAX).status(507));
        } else {
            world.registry().clear_faults();
            let method = if path.contains("blobs") {
                "POST"
            } else {
                "PUT"
            };
            world
                .registry()
                .fault(Fault::on(method, path).times(u32::MAX).status(507));
        }
        let outcome = action.succeed();
        outcome.says(&["::warning::", "could not store the signature of"]);
        assert_eq!(
            (outcome.output("signed"), outcome.output("result")),
            ("false", "completed")
        );
        recovers(&world);
    }
}

#[test]
fn warn_excuses_outages_only() {
    // A tag conflict.
    let world = World::new();
    world
        .create()
        .input("digests", &world.amd64.digest)
        .succeed();
    lenient(&world).end_with(3);
    // A missing child.
    let gone = format!("{},sha256:{}", world.amd64.digest, "0".repeat(64));
    lenient(&world)
        .input("digests", gone)
        .input("tags", "v2")
        .end_with(1);
    // An unknown state of tags or of signatures, even during an outage of Sigstore.
    for path in ["*/manifests/v3", "*/referrers/*"] {
        let world = World::new();
        world
            .sigstore()
            .fault(Fault::on("*", FULCIO).times(u32::MAX).status(503));
        world
            .registry()
            .fault(Fault::on("GET", path).times(u32::MAX).status(503));
        lenient(&world).input("tags", "v3").end_with(1);
        assert_eq!(world.writes(), [""; 0], "{path}");
    }
    // A trusted root that does not verify our own signature, and one that cannot be parsed.
    let (world, other) = (World::new(), World::new());
    lenient(&world)
        .input("trusted-root", other.sigstore().trusted_root())
        .end_with(1)
        .says(&["does not verify"]);
    lenient(&world).input("trusted-root", "{}").end_with(2);
    assert_eq!(world.tags(), std::collections::BTreeMap::new());
}

#[test]
fn warn_does_not_excuse_an_occupied_list_tag() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let plan = lenient(&world).input("dry-run", "true").succeed();
    let list = plan.output("digest").replace(':', "-");
    world.registry().tag(REPOSITORY, &list, &world.amd64.digest);
    let outcome = lenient(&world).end_with(1);
    outcome.says(&[&list, "it is left unchanged"]);
    assert_eq!(world.tag("v1"), None);
    let held = world.registry().tags(REPOSITORY);
    assert_eq!(held.get(&list), Some(&world.amd64.digest));
}

#[test]
fn list_tag_with_the_image_itself_is_never_overwritten() {
    for format in ["bundle", "legacy"] {
        let world = World::with(Options::new().referrers(Referrers::TagSchema));
        let made = world.create().succeed();
        let digest = made.output("digest");
        let end = if format == "legacy" { ".sig" } else { "" };
        let list = format!("{}{end}", digest.replace(':', "-"));
        world.registry().tag(REPOSITORY, &list, digest);
        let sign = lenient(&world).input("signature-format", format);
        sign.end_with(1).says(&[&list, "it is left unchanged"]);
        let held = world.registry().tags(REPOSITORY);
        assert_eq!(
            held.get(&list).map(String::as_str),
            Some(digest),
            "{format}"
        );
    }
}

#[test]
fn short_outage_of_the_log_is_retried() {
    let world = World::new();
    world
        .sigstore()
        .fault(Fault::on("POST", REKOR).times(2).status(503));
    world
        .sigstore()
        .fault(Fault::on("POST", FULCIO).times(2).reset());
    world.sigstore().fault(Fault::on("GET", TOKEN).status(500));
    let outcome = world.seal().succeed();
    outcome.says(&["retry in", "answered 503"]);
    assert_eq!(
        (outcome.output("signed"), world.sigstore().entries()),
        ("true", 1)
    );
    assert_eq!(world.listed(outcome.output("digest")).len(), 1);
}

#[test]
fn log_entry_with_a_lost_response_is_fetched_not_repeated() {
    let world = World::new();
    world
        .sigstore()
        .fault(Fault::on("POST", REKOR).lost_response());
    // The accepted entry is not visible at first.
    world.sigstore().fault(
        Fault::on("GET", "/api/v1/log/entries/*")
            .times(3)
            .status(404),
    );
    let outcome = world.seal().succeed();
    outcome.says(&["does not show the new entry yet"]);
    assert_eq!((world.sigstore().entries(), world.certificates()), (1, 1));
    assert_eq!(world.listed(outcome.output("digest")).len(), 1);
    assert_eq!(world.asked("GET", "/api/v1/log/entries/"), 4);
    assert_eq!(world.verify("v1").succeed().output("verified"), "true");
}

#[test]
fn expiring_certificate_signs_nothing() {
    let world = World::new();
    world
        .sigstore()
        .set_certificate_lifetime(Duration::from_secs(30));
    world
        .seal()
        .input("max-attempts", "1")
        .end_with(1)
        .says(&["expires within a minute"]);
    assert_eq!((world.sigstore().entries(), world.tag("v1")), (0, None));
}

#[test]
fn given_token_signs_and_an_expired_one_does_not() {
    let world = World::new();
    let action = world.seal().without_token();
    let outcome = action
        .clone()
        .input("identity-token", world.sigstore().identity_token())
        .succeed();
    assert_eq!(outcome.output("signed"), "true");
    let outcome = action
        .env("SIGSTORE_ID_TOKEN", world.sigstore().identity_token())
        .succeed();
    assert_eq!(outcome.output("sign-skipped"), "true");
    world.sigstore().set_token_lifetime(Duration::ZERO);
    let old = world
        .seal()
        .without_token()
        .input("identity-token", world.sigstore().identity_token());
    old.input("tags", "v2")
        .end_with(1)
        .says(&["the identity token expired at"]);
}

#[test]
fn conflict_is_reported_at_once_during_an_outage_of_sigstore() {
    let world = World::new();
    world.registry().tag(REPOSITORY, "v1", &world.amd64.digest);
    let hangs = Fault::on("*", "*").times(u32::MAX);
    world.sigstore().fault(hangs.delay(Duration::from_secs(25)));
    let began = Instant::now();
    world.seal().end_with(3).says(&["v1", "points to"]);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_is_stored_before_a_failure_is_listed() {
    for kind in [Referrers::Api, Referrers::TagSchema] {
        for taken in 0..3 {
            // The number of bundles stored beside a refusal depends on the machine. On any machine, all bundles before the
            // refusal are stored, and every stored bundle is listed.
            let listed = listed_beside_a_refusal(kind, taken);
            assert!(listed >= taken, "{kind:?}: {listed} of {taken}");
        }
    }
}

/// Signs three images at once; the registry refuses one bundle after `taken` others. Returns the number of listed bundles,
/// after checking that each stored bundle is listed.
fn listed_beside_a_refusal(kind: Referrers, taken: usize) -> usize {
    let world = World::with(Options::new().referrers(kind));
    let put = || Fault::on("PUT", "*/manifests/sha256:*");
    let digest = world.create().input("tags", "v0").succeed();
    let digest = digest.output("digest").to_owned();
    for _ in 0..taken {
        world.registry().fault(put().delay(Duration::ZERO));
    }
    world
        .registry()
        .fault(put().registry_error(403, "DENIED", "no more"));
    let seal = world.seal().input("tags", "v0").input("recursive", "true");
    seal.end_with(1);
    let signed = [&digest, &world.amd64.digest, &world.arm64.digest];
    let found = signed.map(|digest| world.registry().signatures(REPOSITORY, digest));
    let listed: usize = found.iter().map(|found| found.bundles.len()).sum();
    let unlisted: usize = found.iter().map(|found| found.unlisted.len()).sum();
    assert!(
        listed <= 2 && unlisted == 0,
        "{kind:?}: {listed}, {unlisted}"
    );
    listed
}
