//! Unknown is not absent: unless a registry clearly answers yes or no, nothing is written and nothing is reported as done.

use std::collections::BTreeSet;
use std::time::Duration;

use sandbox::{Fault, Options, Referrers, Request, Trigger};

use crate::support::{Action, REPOSITORY, World};

/// A fault that a server plays.
type Misdeed = fn(Trigger) -> Fault;

/// Answers that leave the state unknown.
const UNKNOWN: [(&str, Misdeed); 14] = [
    ("401", |at| at.status(401)),
    ("403", |at| at.registry_error(403, "DENIED", "denied")),
    ("404 of a proxy", |at| {
        at.answer(404, &[("content-type", "text/html")], "<h1>Not Found</h1>")
    }),
    ("404 for Accept", |at| {
        at.registry_error(
            404,
            "MANIFEST_UNKNOWN",
            "OCI index found, but accept header does not support OCI indexes",
        )
    }),
    ("429", |at| at.throttle(0)),
    ("500", |at| at.status(500)),
    ("503", |at| at.registry_error(503, "UNAVAILABLE", "later")),
    ("302", |at| at.answer(302, &[("location", "/login")], "")),
    ("garbage", |at| {
        at.answer(
            200,
            &[("content-type", "application/vnd.oci.image.index.v1+json")],
            "<html>",
        )
    }),
    ("content type", |at| at.wrong_content_type("text/html")),
    ("other bytes", |at| at.wrong_digest()),
    ("cut body", |at| at.cut_body()),
    ("endless body", |at| at.endless_body()),
    ("reset", |at| at.reset()),
];

/// Answers to a request for referrers that mean the API does not exist. The source is the specification, or the practice of
/// services.
const NO_API: [&str; 4] = ["404 of a proxy", "404 for Accept", "302", "content type"];

/// Reports whether the fault does no harm to the read. A list of referrers has no digest to compare. HEAD has no body, and 404
/// is an answer there. A body that says "not there" counts under any header. A config is checked by its digest.
fn is_an_answer(read: &Read, fault: &str) -> bool {
    let is_list = read.path.starts_with("referrers/");
    let is_config = read.path.starts_with("blobs/");
    let harmless_to_absence = ["content type", "other bytes", "endless body"];
    let harmless_to_head = ["content type", "cut body", "endless body"];
    (is_list && (NO_API.contains(&fault) || fault == "other bytes"))
        || (is_config && fault == "content type")
        || (read.is_absent && harmless_to_absence.contains(&fault))
        || (read.method == "HEAD"
            && (harmless_to_head.contains(&fault) || fault.starts_with("404")))
}

/// A read that a run makes before its first write.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Read {
    method: String,
    path: String,
    is_absent: bool,
}

fn reads_before_the_first_write(world: &World) -> BTreeSet<Read> {
    let requests = world.registry().requests();
    let is_read = |request: &&Request| matches!(request.method.as_str(), "GET" | "HEAD");
    let reads = requests.iter().take_while(is_read).map(|request| Read {
        method: request.method.clone(),
        path: request.path.replace(&format!("/v2/{REPOSITORY}/"), ""),
        is_absent: request.status == Some(404),
    });
    reads.collect()
}

/// Reports whether `path` belongs to a listed candidate. Somebody with push permission can list content that is longer than any
/// signature, or that has another type. It is no signature, and hides no other. Nobody can push other bytes under the same
/// digest.
fn is_candidate(world: &World, path: &str) -> bool {
    let mut known = vec![world.amd64.config.clone(), world.arm64.config.clone()];
    known.extend([world.amd64.digest.clone(), world.arm64.digest.clone()]);
    known.extend(world.tags().into_values());
    path.contains("/sha256:") && !known.iter().any(|digest| path.ends_with(digest.as_str()))
}

/// Reports whether `path` is a location of signatures that contains none of this world's.
fn lists_no_signature(world: &World, path: &str) -> bool {
    let Some(signed) = world.tag("signed") else {
        return false;
    };
    let fallback = signed.replace(':', "-");
    let is_tagged = world.registry().tags(REPOSITORY).contains_key(&fallback);
    let (listed, empty) = (
        format!("referrers/{signed}"),
        format!("manifests/{fallback}"),
    );
    let others = if is_tagged { listed } else { empty.clone() };
    path.starts_with(&others) || *path == format!("{empty}.sig")
}

/// Plays every fault on every read of `action`, one at a time, except for the reads in `played`. The reads that were played are
/// added to it.
fn nothing_passes(world: &World, action: &Action, played: &mut BTreeSet<Read>) {
    world.registry().clear_requests();
    action.elsewhere().input("dry-run", "true").succeed();
    let reads = reads_before_the_first_write(world);
    assert!(reads.len() >= 6, "{reads:?}");
    let tags = world.tags();
    let (mut stopped, mut elsewhere) = (0, 0);
    for read in reads.difference(played) {
        for (name, fault) in UNKNOWN {
            if is_an_answer(read, name) {
                continue;
            }
            let path = &read.path;
            if is_candidate(world, path) && ["endless body", "content type"].contains(&name) {
                continue;
            }
            // A HEAD with an unclear answer is retried as a GET.
            let method = if read.method == "HEAD" { "*" } else { "GET" };
            let trigger = Fault::on(method, &format!("*/{path}")).times(u32::MAX);
            world.registry().fault(fault(trigger));
            world.registry().clear_requests();
            let outcome = action.run();
            world.registry().clear_faults();
            let said = format!("{name} on {read:?}\n{}", outcome.log);
            if outcome.code == 0 {
                // If one location does not answer, a verified signature at another is sufficient. A verified signature counts,
                // whatever the content type of its list.
                let is_read = name == "content type" && path.contains("/sha256-");
                assert!(is_read || lists_no_signature(world, path), "{said}");
                outcome.says(&["is signed already by"]);
                assert_eq!(world.writes(), ["PUT manifests/absent"], "{said}");
                assert_eq!(world.tag("absent"), world.tag("signed"), "{said}");
                world.registry().delete_tag(REPOSITORY, "absent");
                elsewhere += 1;
                continue;
            }
            assert_eq!(outcome.code, 1, "{said}");
            let thing = path.rsplit('/').next().unwrap();
            assert!(
                outcome
                    .log
                    .lines()
                    .any(|line| line.starts_with("::error") && line.contains(thing)),
                "{said}"
            );
            assert_eq!(world.writes(), [""; 0], "{said}");
            assert!(!outcome.outputs.contains_key("result"), "{said}");
            stopped += 1;
        }
    }
    assert_eq!(world.tags(), tags);
    assert_eq!(
        world.sigstore().entries(),
        usize::from(tags.contains_key("signed"))
    );
    eprintln!(
        "{stopped} faults on {} reads stopped the run, {elsewhere} did not matter",
        reads.len()
    );
    played.extend(reads);
}

/// Returns `action` with two attempts, so that temporary faults are retried once.
fn patient(action: Action) -> Action {
    action
        .input("max-attempts", "2")
        .input("retry-delay", "1ms")
}

#[test]
fn create_writes_nothing_after_an_unknown_answer() {
    let world = World::new();
    let build = world
        .registry()
        .push_index_with_provenance("octo-org/app", "linux/s390x");
    let digests = format!(
        "{}\n{}\n{}",
        world.amd64.digest, world.arm64.digest, build.digest
    );
    let action = patient(world.create()).input("digests", digests);
    action.input("tags", "present").succeed();
    let action = patient(world.create()).input(
        "digests",
        format!("{}\n{}", world.amd64.digest, build.digest),
    );
    nothing_passes(
        &world,
        &action
            .input("tags", "absent")
            .input("moving-tags", "moving"),
        &mut BTreeSet::new(),
    );
}

#[test]
fn seal_writes_nothing_after_an_unknown_answer() {
    // Reads that both kinds of registry get are played once.
    let mut played = BTreeSet::new();
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        let action = patient(world.seal()).input("tags", "absent");
        nothing_passes(&world, &action, &mut played);
    }
}

#[test]
fn seal_of_a_signed_image_writes_nothing_after_an_unknown_answer() {
    // Reads that both kinds of registry get are played once.
    let mut played = BTreeSet::new();
    for kind in [Referrers::Api, Referrers::TagSchema] {
        let world = World::with(Options::new().referrers(kind));
        world.seal().input("tags", "signed").succeed();
        nothing_passes(
            &world,
            &patient(world.seal()).input("tags", "signed\nabsent"),
            &mut played,
        );
    }
}

#[test]
fn missing_response_ends_the_run_at_its_timeout() {
    let world = World::new();
    let late = Duration::from_secs(20);
    world
        .registry()
        .fault(Fault::on("GET", "*/manifests/v1").delay(late));
    let outcome = world.create().input("timeout", "300ms").end_with(1);
    outcome.says(&["the run exceeded `timeout`", "hint: run it again"]);
    assert_eq!(world.writes(), [""; 0]);
}

#[test]
fn temporary_fault_is_retried_and_reported() {
    let world = World::new();
    for fault in [
        Fault::on("GET", "*/manifests/v1").throttle(0),
        Fault::on("GET", "*/blobs/*").reset(),
        Fault::on("PUT", "*/manifests/sha256:*").status(502),
        Fault::on("PUT", "*/manifests/v1").reset(),
    ] {
        world.registry().fault(fault);
    }
    let outcome = world.create().succeed();
    outcome.says(&["429", "502", "retry in"]);
    assert!(
        outcome.summary.contains("Retries (4)"),
        "{}",
        outcome.summary
    );
}

#[test]
fn unreachable_registry_is_not_absence() {
    let world = World::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let action = patient(world.create()).input("image", format!("{free}/octo-org/app"));
    action.end_with(1).says(&[&free.to_string()]);
}
