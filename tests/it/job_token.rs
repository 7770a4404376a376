//! The job's `github-token`: a secret of the GitHub server that runs the job, sent to that server's registries alone. Also the
//! job's OIDC token: the audience that it is requested for.

use sandbox::{Authorization, Options, Transport};

use crate::support::hosted::PASSWORD;
use crate::support::{Action, REPOSITORY, World};

const USER: &str = "x-access-token";

/// Returns the options of a registry that is used as a proxy: one for plain HTTP.
fn proxy() -> Options {
    Options::new()
        .transport(Transport::PLAIN)
        .basic(USER, PASSWORD)
}

/// Returns a run of `create` at `host`, which the sandbox stands in for, in a job on `server`.
fn create_at(world: &World, host: &str, server: &str) -> Action {
    world
        .create()
        .input("image", format!("{host}/{REPOSITORY}"))
        .input("insecure-registries", host)
        .input("github-token", PASSWORD)
        .env("GITHUB_SERVER_URL", server)
        .env(
            "HTTP_PROXY",
            format!("http://{}", world.registry().address()),
        )
}

#[test]
fn job_token_goes_to_the_registries_of_its_own_server() {
    for (host, server) in [
        ("ghcr.io", "https://github.com"),
        ("ghcr.io", ""),
        ("containers.ghe.example", "https://ghe.example"),
        ("docker.ghe.example", "https://ghe.example"),
        ("ghe.example", "https://ghe.example"),
        ("containers.octo.ghe.com", "https://octo.ghe.com"),
    ] {
        let world = World::with(proxy());
        let outcome = create_at(&world, host, server).succeed();
        outcome.says(&[&format!("::add-mask::{PASSWORD}")]);
    }
}

#[test]
fn job_token_goes_to_no_other_host() {
    for (host, server) in [
        ("ghcr.io", "https://ghe.example"),
        ("ghcr.io", "https://octo.ghe.com"),
        ("ghcr.io", "nonsense"),
        ("containers.ghe.example", "https://github.com"),
        ("containers.ghe.example.evil.test", "https://ghe.example"),
        ("containers.other.ghe.com", "https://octo.ghe.com"),
        ("quay.io", "https://github.com"),
    ] {
        let world = World::with(proxy());
        let outcome = create_at(&world, host, server).end_with(1);
        outcome.says(&["no credentials were given for it"]);
        let sent = world.registry().requests();
        assert!(!sent.is_empty(), "{host} {server}");
        let kept = |request: &sandbox::Request| request.authorization == Authorization::None;
        assert!(sent.iter().all(kept), "{host} {server}: {sent:?}");
    }
}

#[test]
fn token_is_requested_for_the_given_audience() {
    let world = World::new();
    let fulcio = |audience: &str| world.sigstore().set_audience(audience);
    fulcio("fulcio.example/a?b=c&d");
    let outcome = world.seal().end_with(1);
    outcome.says(&["hint: Fulcio does not accept this token", "`oidc-audience`"]);
    let private = |action: Action| action.input("oidc-audience", "fulcio.example/a?b=c&d");
    let sealed = private(world.seal()).succeed();
    assert_eq!(sealed.output("signed"), "true");
    let look = private(world.preflight()).input("on-existing-tag", "skip");
    assert_eq!(look.succeed().output("proceed"), "false");
    let asked = world.sigstore().requests();
    let asked: Vec<&str> = asked
        .iter()
        .filter(|request| request.path.starts_with("/gh/token"))
        .filter_map(|request| {
            request
                .path
                .split_once("audience=")
                .map(|(_, audience)| audience)
        })
        .collect();
    assert!(
        asked.contains(&"sigstore") && asked.contains(&"fulcio.example%2Fa%3Fb%3Dc%26d"),
        "{asked:?}"
    );
}
