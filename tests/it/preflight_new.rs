//! The check before the first build: many registries deny access to a repository without a first push.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sandbox::{Fault, Options, Service};
use serde_json::json;

use crate::support::hosted::{Hosted, kept_secret};
use crate::support::{Action, POLICIES, REPOSITORY, World, states, told};

/// Returns a run of `preflight` for a repository without a first push, at a registry that denies access to it.
fn new_at(hosted: &Hosted) -> Action {
    let new = format!("{}/octo-org/new", hosted.service.hosts()[0]);
    let action = Action::new("preflight").input("tags", "v1\nv1.0");
    hosted.logged_in(action).input("image", new)
}

fn hiding(service: Service) -> Hosted {
    Hosted::with(service, Options::new().hides_new(true))
}

#[test]
fn preflight_reports_a_new_repository_and_passes() {
    for service in Service::ALL {
        let hosted = hiding(service);
        if service == Service::Ecr {
            // ECR takes its password with each request: no token states the granted permissions.
            new_at(&hosted).end_with(1);
            continue;
        }
        for policy in POLICIES {
            let outcome = new_at(&hosted).input("on-existing-tag", policy).succeed();
            assert_eq!(states(&outcome), ["unknown-new"; 2], "{service:?}");
            assert_eq!(outcome.output("proceed"), "true");
            outcome.says(&["::warning::tag", "unknown-new"]);
            kept_secret(&outcome);
        }
        if service == Service::Quay {
            insta::assert_snapshot!(told(&hosted.world, &new_at(&hosted).succeed()));
        }
        // The token with push permission makes the difference, and a dry run requests none.
        hosted.registry().clear_requests();
        let dry = new_at(&hosted).input("dry-run", "true").end_with(1);
        assert_eq!(states(&dry), ["unknown"; 2], "{service:?}");
        assert_eq!(push_tokens(&hosted), 0, "{service:?}");
        hosted.kept_to_itself();
    }
}

/// Counts the requests for tokens with push permission.
fn push_tokens(hosted: &Hosted) -> usize {
    let requests = hosted.registry().requests();
    let asked = requests
        .iter()
        .filter(|request| request.path.contains("push"));
    asked.count()
}

#[test]
fn token_to_push_is_asked_for_only_after_a_denial() {
    for service in Service::ALL {
        let hosted = Hosted::new(service);
        let outcome = new_at(&hosted).succeed();
        assert_eq!(states(&outcome), ["absent"; 2], "{service:?}");
        assert_eq!(push_tokens(&hosted), 0, "{service:?}");
    }
}

#[test]
fn token_server_that_refuses_readers_is_asked_for_a_token_to_push() {
    for (hides, state) in [(true, "unknown-new"), (false, "absent")] {
        let hosted = Hosted::with(Service::Ghcr, Options::new().hides_new(hides));
        let to_read = Fault::on("GET", "/token?*%3Apull").times(u32::MAX);
        hosted
            .registry()
            .fault(to_read.registry_error(403, "DENIED", "denied"));
        let outcome = new_at(&hosted).succeed();
        assert_eq!(states(&outcome), [state; 2]);
        let refused = hosted.registry().requests();
        assert!(refused.iter().any(|request| request.faulty));
    }
}

#[test]
fn new_repository_in_one_registry_does_not_hide_what_the_other_holds() {
    let (hosted, elsewhere) = (hiding(Service::Ghcr), World::new());
    let digest = elsewhere.create().succeed().output("digest").to_owned();
    let tags = format!("ghcr.io/octo-org/new:v1\n{}", elsewhere.at("v1"));
    let outcome = new_at(&hosted)
        .input("tags", tags)
        .input("on-existing-tag", "skip")
        .input("sign", "false")
        .env("NO_PROXY", "127.0.0.1")
        .succeed();
    assert_eq!(states(&outcome), ["unknown-new", "present"]);
    assert_eq!(outcome.output("source"), elsewhere.at(&digest));
}

#[test]
fn denied_existing_repository_is_not_new() {
    let shows = |path: &str| Options::new().denies(path, "denied");
    let named = "permission_denied: read_package";
    let cases = [
        // The registry returns another tag of the repository, or the list of its tags; or its error states that the repository
        // exists.
        (shows("*/manifests/v1"), ["unknown", "absent"]),
        (shows("*/manifests/*"), ["unknown", "unknown"]),
        (Options::new().denies("*", named), ["unknown", "unknown"]),
        // The registry answers everything with the same denial, as it does for a new repository.
        (shows("*"), ["unknown-new", "unknown-new"]),
    ];
    for (options, wanted) in cases {
        let hosted = Hosted::with(Service::Ghcr, options.clone());
        let there = format!("ghcr.io/{REPOSITORY}");
        let outcome = new_at(&hosted).input("image", there).run();
        assert_eq!(states(&outcome), wanted, "{options:?}\n{}", outcome.log);
        assert_eq!(outcome.code, i32::from(wanted[0] == "unknown"));
    }
}

#[test]
fn tag_that_is_visible_with_push_permission_is_found() {
    // The token server denies tokens for reading, so the first check ends there. The second check finds one tag, and a denial
    // for the other.
    let options = Options::new()
        .denies("*/manifests/v1.0", "denied")
        .denies("*/tags/list", "denied");
    let hosted = Hosted::with(Service::Ghcr, options);
    let index = hosted.logged_in(hosted.world.create());
    let digest = index.succeed().output("digest").to_owned();
    let to_read = Fault::on("GET", "/token?*%3Apull").times(u32::MAX);
    hosted.registry().fault(to_read.status(403));
    let outcome = new_at(&hosted)
        .input("image", format!("ghcr.io/{REPOSITORY}"))
        .end_with(1);
    assert_eq!(states(&outcome), ["present", "unknown"]);
    outcome.says(&[&digest]);
}

#[test]
fn preflight_without_push_permission_cannot_detect_a_new_repository() {
    let hosted = hiding(Service::Ghcr);
    let to_push = Fault::on("GET", "/token?*push*").times(u32::MAX);
    hosted.registry().fault(to_push.status(403));
    let outcome = new_at(&hosted).end_with(1);
    assert_eq!(states(&outcome), ["unknown"; 2]);
}

#[test]
fn token_with_less_scope_proves_no_new_repository() {
    for (actions, code) in [(json!(["pull"]), 1), (json!(["pull", "push"]), 0)] {
        let hosted = hiding(Service::DockerHub);
        let claims =
            json!({"access": [{"type": "repository", "name": "octo-org/new", "actions": actions}]});
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let answer = json!({"token": token, "expires_in": 300}).to_string();
        let tokens = Fault::on("GET", "/token*").times(u32::MAX);
        hosted.registry().fault(tokens.answer(
            200,
            &[("content-type", "application/json")],
            &answer,
        ));
        // The sandbox does not accept that token, and hides its content behind a 403 nevertheless.
        let all = Fault::on("GET", "/v2/*").times(u32::MAX);
        let scheme = hosted.registry().transport().scheme();
        let challenge = format!(
            "Bearer realm=\"{scheme}://auth.docker.io/token\",service=\"registry.docker.io\""
        );
        hosted.registry().fault(Fault::on("GET", "/v2/*").answer(
            401,
            &[("www-authenticate", challenge.as_str())],
            "",
        ));
        hosted
            .registry()
            .fault(all.registry_error(403, "DENIED", "denied"));
        let outcome = new_at(&hosted).input("tags", "v1").end_with(code);
        let state = if code == 0 { "unknown-new" } else { "unknown" };
        assert_eq!(states(&outcome), [state]);
    }
}

#[test]
fn anonymous_client_is_told_to_log_in() {
    for service in Service::ALL {
        let hosted = hiding(service);
        let new = format!("{}/octo-org/new", service.hosts()[0]);
        let action = Action::new("preflight").input("tags", "v1");
        let outcome = hosted.anonymous(action).input("image", new).end_with(1);
        outcome.says(&["hint: no credentials were given"]);
        assert_eq!(states(&outcome), ["unknown"], "{service:?}");
    }
}
