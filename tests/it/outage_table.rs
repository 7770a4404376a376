//! Table of failures that `on-signing-failure: warn` allows: every status and every fault, of every service that a signature
//! needs. An outage is a warning. A refusal, or a response that makes no sense, is an error.

use std::net::TcpListener;

use sandbox::{Fault, Options, Referrers, Registry, ServerCertificate, Transport};
use serde_json::{Value, json};

use crate::support::{Action, Outcome, REPOSITORY, World};

/// Every status that these servers are known to send, and some that none should send.
const STATUSES: [u16; 31] = [
    301, 307, 400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 418, 422, 425, 429,
    431, 451, 499, 500, 501, 502, 503, 504, 507, 511, 520, 599,
];

/// A service that a signature needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Oidc,
    Fulcio,
    Rekor,
    Timestamps,
    /// The push of the signature.
    Registry,
}

const SERVICES: [Service; 5] = [
    Service::Oidc,
    Service::Fulcio,
    Service::Rekor,
    Service::Timestamps,
    Service::Registry,
];

/// Says if the run may go on unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    Yes,
    No,
    /// The input itself is refused.
    Never,
}

impl Passes {
    fn of_status(service: Service, status: u16) -> Self {
        match (service, status) {
            // A log that shares its work between clients reports the cancellation of one to all.
            (Service::Registry, 499) => Self::No,
            (_, 408 | 429 | 499 | 500..=599) => Self::Yes,
            _ => Self::No,
        }
    }
}

/// Returns a world whose index already exists, so that only the signature can fail.
fn world() -> World {
    let world = World::with(Options::new().referrers(Referrers::Api));
    world.sigstore().offer_timestamps();
    world.create().input("tags", "v0").succeed();
    world
}

fn lenient(world: &World, tag: &str) -> Action {
    world
        .seal()
        .input("tags", format!("v0\n{tag}"))
        .input("on-signing-failure", "warn")
        .input("max-attempts", "2")
        .input("retry-delay", "1ms")
        .input("retry-max-delay", "1ms")
}

fn play(world: &World, action: &Action, tag: &str, wanted: Passes, what: &str) -> Outcome {
    let outcome = action.run();
    let (code, signed, is_tagged) = match wanted {
        Passes::Yes => (0, Some("false"), true),
        Passes::No => (1, None, false),
        Passes::Never => (2, None, false),
    };
    assert_eq!(outcome.code, code, "{what}\n{}", outcome.log);
    assert_eq!(
        outcome.outputs.get("signed").map(String::as_str),
        signed,
        "{what}"
    );
    assert_eq!(world.tag(tag).is_some(), is_tagged, "{what}");
    assert_eq!(
        outcome.log.contains("remains unsigned"),
        wanted == Passes::Yes,
        "{what}"
    );
    outcome
}

/// Plays `misdeed` at each request to `service`.
fn fault(world: &World, service: Service, misdeed: impl Fn(sandbox::Trigger) -> Fault) {
    let on = |method, path| misdeed(Fault::on(method, path).times(u32::MAX));
    match service {
        Service::Oidc => world.sigstore().fault(on("*", "/gh/token")),
        Service::Fulcio => world.sigstore().fault(on("*", "/api/v2/signingCert")),
        Service::Rekor => world.sigstore().fault(on("*", "/api/v1/log/entries")),
        Service::Timestamps => world.sigstore().fault(on("*", "/api/v1/timestamp")),
        Service::Registry => world.registry().fault(on("PUT", "*/manifests/sha256:*")),
    }
}

fn each_status(service: Service) {
    let world = world();
    for status in STATUSES {
        world.sigstore().clear_faults();
        world.registry().clear_faults();
        fault(&world, service, |at| at.answer(status, &[], "no"));
        let tag = format!("t{status}");
        let what = format!("{service:?} answers {status}");
        play(
            &world,
            &lenient(&world, &tag),
            &tag,
            Passes::of_status(service, status),
            &what,
        );
    }
}

#[test]
fn each_status_of_the_token_endpoint() {
    each_status(Service::Oidc);
}

#[test]
fn each_status_of_fulcio() {
    each_status(Service::Fulcio);
}

#[test]
fn each_status_of_the_log() {
    each_status(Service::Rekor);
}

#[test]
fn each_status_of_the_timestamp_authority() {
    each_status(Service::Timestamps);
}

#[test]
fn each_status_of_the_registry_that_is_to_store_the_signature() {
    each_status(Service::Registry);
}

#[test]
fn each_fault_of_a_connection() {
    let world = world();
    for service in SERVICES {
        for (name, misdeed, wanted) in [
            (
                "reset",
                (|at| at.reset()) as fn(sandbox::Trigger) -> Fault,
                Passes::Yes,
            ),
            (
                "nonsense",
                |at| at.answer(200, &[], "<html>Welcome to the hotel</html>"),
                Passes::No,
            ),
        ] {
            // A registry need not send a body after it has accepted a manifest.
            if service == Service::Registry && name == "nonsense" {
                continue;
            }
            world.sigstore().clear_faults();
            world.registry().clear_faults();
            fault(&world, service, misdeed);
            let (tag, what) = (
                format!("{name}-{service:?}"),
                format!("{service:?}: {name}"),
            );
            play(&world, &lenient(&world, &tag), &tag, wanted, &what);
        }
    }
}

/// Returns `action` with `service` at another address.
fn moved(world: &World, action: Action, service: Service, address: &str) -> Action {
    let mut config: Value = serde_json::from_str(&world.sigstore().signing_config()).unwrap();
    let url = |old: &Value| {
        let path = old["url"]
            .as_str()
            .unwrap()
            .strip_prefix(&world.sigstore().url());
        json!(format!("{address}{}", path.unwrap()))
    };
    let list = match service {
        Service::Oidc => {
            return action.env(
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                format!("{address}/gh/token?api-version=2.0"),
            );
        }
        Service::Fulcio => "caUrls",
        Service::Rekor => "rekorTlogUrls",
        Service::Timestamps => "tsaUrls",
        Service::Registry => panic!("it has no address of its own"),
    };
    config[list][0]["url"] = url(&config[list][0]);
    action.input("signing-config", config.to_string())
}

#[test]
fn each_fault_before_there_is_a_connection() {
    let world = world();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let hangs_up = TcpListener::bind("127.0.0.1:0").unwrap();
    let broken_off = format!("https://{}", hangs_up.local_addr().unwrap());
    // This thread ends with the tests.
    std::thread::spawn(move || hangs_up.incoming().for_each(drop));
    let unknown = Transport::HTTP1.showing(ServerCertificate::ByUnknownAuthority);
    let tls = Registry::start(Options::new().transport(unknown));
    let untrusted = format!("https://localhost:{}", tls.socket().port());
    for service in SERVICES
        .into_iter()
        .filter(|service| *service != Service::Registry)
    {
        // The addresses of the others are in the input `signing-config`.
        let plain = if service == Service::Oidc {
            Passes::No
        } else {
            Passes::Never
        };
        for (name, address, wanted) in [
            ("refused", refused.as_str(), Passes::Yes),
            ("no-such-name", "https://sigstore.invalid", Passes::Yes),
            ("handshake-breaks-off", &broken_off, Passes::Yes),
            ("untrusted-certificate", &untrusted, Passes::No),
            ("no-https", "http://sigstore.invalid", plain),
        ] {
            let (tag, what) = (
                format!("{name}-{service:?}"),
                format!("{service:?}: {name}"),
            );
            let action = moved(&world, lenient(&world, &tag), service, address);
            play(&world, &action, &tag, wanted, &what);
        }
    }
}

#[test]
fn full_list_is_not_an_outage() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let made = world.create().input("tags", "v0").succeed();
    let list = made.output("digest").replace(':', "-");
    let padding = (4 << 20) - 300;
    let full = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [],
        "annotations": {"x": "x".repeat(padding)},
    });
    let media_type = "application/vnd.oci.image.index.v1+json";
    let bytes = full.to_string();
    assert!(bytes.len() <= 4 << 20);
    let held = world
        .registry()
        .push_raw(REPOSITORY, Some(&list), media_type, bytes.as_bytes());
    // The list is full whatever the registry answers: some registries answer 500.
    let answers = Fault::on("PUT", "*/manifests/sha256-*").times(u32::MAX);
    world.registry().fault(answers.status(500));
    let outcome = play(
        &world,
        &lenient(&world, "full"),
        "full",
        Passes::No,
        "full list",
    );
    outcome.says(&[&list, "is full", "hint: delete unneeded entries manually"]);
    assert_eq!(world.registry().tags(REPOSITORY).get(&list), Some(&held));
}

/// Returns a job for a pull request from the repository `head` to `octo-org/app`, without a token.
fn pull_request(world: &World, tag: &str, event: &str, head: &Value) -> Action {
    let payload = json!({"pull_request": {"head": {"repo": head}, "base": {"repo": {"full_name": "octo-org/app"}}}});
    let action = lenient(world, tag).without_token();
    let action = action.file("event.json", payload.to_string());
    let path = action.workspace().join("event.json");
    action
        .env("GITHUB_EVENT_NAME", event)
        .env("GITHUB_EVENT_PATH", path.to_str().unwrap())
}

#[test]
fn missing_token_is_excused_only_for_forks_and_dependabot() {
    let world = world();
    let fork = json!({"full_name": "stranger/app"});
    let own = json!({"full_name": "Octo-Org/app"});
    for (tag, event, head, wanted) in [
        (
            "fork",
            "pull_request",
            &fork,
            Some("a pull request from a fork (`stranger/app`) gets no token"),
        ),
        (
            "deleted",
            "pull_request",
            &Value::Null,
            Some("a pull request from a fork gets no token"),
        ),
        (
            "review",
            "pull_request_review",
            &fork,
            Some("a pull request from a fork"),
        ),
        ("own", "pull_request", &own, None),
        // The event `pull_request_target` runs with the rights of the base repository.
        ("target", "pull_request_target", &fork, None),
        ("push", "push", &fork, None),
    ] {
        let passes = if wanted.is_some() {
            Passes::Yes
        } else {
            Passes::No
        };
        let action = pull_request(&world, tag, event, head);
        let outcome = play(&world, &action, tag, passes, tag);
        outcome.says(&[wanted.unwrap_or("hint: give the job `permissions: id-token: write`")]);
    }
    let dependabot = |tag| {
        lenient(&world, tag)
            .without_token()
            .env("GITHUB_ACTOR", "dependabot[bot]")
    };
    let outcome = play(&world, &dependabot("bot"), "bot", Passes::Yes, "Dependabot");
    outcome.says(&["a run started by Dependabot gets no token"]);
    let user = dependabot("user").env("GITHUB_ACTOR", "dependabot");
    play(&world, &user, "user", Passes::No, "a user of that name");
    // A missing or invalid payload excuses nothing.
    for (tag, payload) in [
        ("none", ""),
        ("odd", "[]"),
        ("nameless", r#"{"pull_request":{"head":{},"base":{}}}"#),
    ] {
        let action = pull_request(&world, tag, "pull_request", &fork);
        let action = action.file("event.json", payload);
        play(&world, &action, tag, Passes::No, tag);
    }
    // With `fail` nothing is excused.
    let action =
        pull_request(&world, "strict", "pull_request", &fork).input("on-signing-failure", "fail");
    play(&world, &action, "strict", Passes::No, "fail");
}
