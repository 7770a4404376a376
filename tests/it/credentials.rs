//! Credentials from each source, token requests, and secrets that never appear in the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox::{Authorization, Fault, Options, Registry};
use serde_json::json;

use crate::support::credentials::{PASSWORD, USER, auths, bearer, kept_secret};
use crate::support::{Action, REPOSITORY, World};

/// Returns `action` with `config` as Docker's configuration file.
fn with_docker_config(action: Action, config: &serde_json::Value) -> Action {
    let action = action.file("docker/config.json", config.to_string());
    let folder = action.workspace().join("docker");
    action.env("DOCKER_CONFIG", folder.to_str().unwrap())
}

fn encoded() -> String {
    STANDARD.encode(format!("{USER}:{PASSWORD}"))
}

#[test]
fn registry_auths_authenticate() {
    for world in [bearer(), World::with(Options::new().basic(USER, PASSWORD))] {
        let host = world.registry().address();
        for scope in [
            host.clone(),
            format!("{host}/octo-org"),
            format!("http://{host}/"),
        ] {
            let outcome = world
                .seal()
                .input("registry-auths", auths(&scope, PASSWORD))
                .succeed();
            kept_secret(&outcome, PASSWORD);
        }
        let outcome = world
            .seal()
            .input("registry-auths", auths(&host, "wrong-one"))
            .end_with(1);
        outcome.says(&["401", "hint: the credentials came from `registry-auths`"]);
        kept_secret(&outcome, "wrong-one");
        let outcome = world.seal().end_with(1);
        outcome.says(&["hint: no credentials were given for it"]);
        // Credentials for another path of the registry are not used.
        let elsewhere = auths(&format!("{host}/octo"), PASSWORD);
        world
            .seal()
            .input("registry-auths", elsewhere)
            .end_with(1)
            .says(&["no credentials were given"]);
    }
}

#[test]
fn given_credentials_are_not_said_to_be_missing() {
    for (fault, said) in [
        ("403", "403 Forbidden"),
        // Without a challenge.
        ("401", "401 Unauthorized"),
    ] {
        let world = World::new();
        let host = world.registry().address();
        let push = Fault::on("PUT", "*/manifests/*").times(u32::MAX);
        world.registry().fault(push.status(fault.parse().unwrap()));
        let seal = world
            .create()
            .input("registry-auths", auths(&host, PASSWORD));
        let refused = seal.end_with(1);
        let not_sent = format!(
            "hint: the credentials from `registry-auths` were not sent, because `{host}` asked for none"
        );
        refused.says(&[said, &not_sent]);
        refused.does_not_say(&["no credentials were given"]);
    }
}

#[test]
fn docker_config_authenticates() {
    for world in [bearer(), World::with(Options::new().basic(USER, PASSWORD))] {
        let host = world.registry().address();
        let auth = json!({"auth": encoded()});
        let wrong = json!({"auth": STANDARD.encode("a:b")});
        let (broad, narrow) = (host.clone(), format!("{host}/octo-org"));
        for config in [
            json!({"auths": {(broad.clone()): auth}}),
            json!({"auths": {(narrow.clone()): auth, (broad.clone()): wrong}}),
            json!({"auths": {(broad.clone()): {"username": USER, "password": PASSWORD}}, "credsStore": "desktop"}),
        ] {
            let outcome = with_docker_config(world.create(), &config).succeed();
            kept_secret(&outcome, PASSWORD);
        }
        let config = json!({"auths": {(narrow): wrong, (broad): auth}});
        with_docker_config(world.create(), &config)
            .end_with(1)
            .says(&["hint: the credentials came from docker config"]);
        // `registry-auths` has precedence.
        let both = with_docker_config(world.create(), &config);
        both.input("registry-auths", auths(&host, PASSWORD))
            .succeed();
    }
}

#[test]
fn docker_config_in_the_home_is_found() {
    let world = bearer();
    let action = world.create();
    std::fs::create_dir(action.home().join(".docker")).unwrap();
    let config = json!({"auths": {(world.registry().address()): {"auth": encoded()}}});
    std::fs::write(
        action.home().join(".docker/config.json"),
        config.to_string(),
    )
    .unwrap();
    action.succeed();
}

#[test]
fn identity_token_is_exchanged_for_tokens() {
    let world = bearer();
    let config =
        json!({"auths": {(world.registry().address()): {"auth": "", "identitytoken": PASSWORD}}});
    let outcome = with_docker_config(world.create(), &config).succeed();
    kept_secret(&outcome, PASSWORD);
    let requests = world.registry().requests();
    assert!(
        requests
            .iter()
            .any(|request| request.method == "POST" && request.path.starts_with("/token"))
    );
}

#[test]
fn credential_helper_is_an_error_with_a_cure() {
    let world = bearer();
    let host = world.registry().address();
    for config in [
        json!({"auths": {(host.clone()): {}}, "credsStore": "desktop"}),
        json!({"credHelpers": {(host): "desktop"}}),
        // `docker login` would also list the host under `auths`. Without that entry, the helper is still the only source of
        // credentials.
        json!({"credsStore": "desktop"}),
    ] {
        let outcome = with_docker_config(world.create(), &config).end_with(1);
        outcome.says(&["docker-credential-desktop", "hint: ", "registry-auths"]);
    }
}

#[test]
fn unreadable_credentials_are_an_error_that_shows_none() {
    let world = bearer();
    let host = world.registry().address();
    let action = world
        .create()
        .file("docker/config.json", format!("{{\"auths\": {PASSWORD}"));
    let folder = action.workspace().join("docker");
    let outcome = action
        .env("DOCKER_CONFIG", folder.to_str().unwrap())
        .end_with(2);
    assert!(!outcome.everything().contains("hunter2"), "{}", outcome.log);
    let outcome = with_docker_config(
        world.create(),
        &json!({"auths": {(host): {"auth": STANDARD.encode("hunter2")}}}),
    )
    .end_with(2);
    assert!(!outcome.everything().contains("hunter2"), "{}", outcome.log);
    let outcome = world
        .create()
        .input(
            "registry-auths",
            format!("- registry: a\n  passwort: {PASSWORD}"),
        )
        .end_with(2);
    outcome.says(&["input `registry-auths`"]);
    assert!(!outcome.everything().contains("hunter2"), "{}", outcome.log);
    assert_eq!(world.registry().requests(), []);
}

#[test]
fn github_token_is_sent_to_ghcr_only() {
    for world in [
        bearer(),
        World::with(Options::new().basic(USER, PASSWORD)),
        World::new(),
    ] {
        let outcome = world
            .create()
            .input("github-token", "ghs_not-for-you")
            .run();
        kept_secret(&outcome, "ghs_not-for-you");
        let sent = world.registry().requests();
        assert!(
            sent.iter()
                .all(|request| request.authorization == Authorization::None),
            "{sent:?}"
        );
    }
}

#[test]
fn password_is_sent_only_after_a_challenge() {
    let world = World::new();
    let outcome = world
        .create()
        .input(
            "registry-auths",
            auths(&world.registry().address(), PASSWORD),
        )
        .succeed();
    assert_eq!(outcome.output("result"), "created");
    let requests = world.registry().requests();
    assert!(
        requests
            .iter()
            .all(|request| request.authorization == Authorization::None)
    );
}

#[test]
fn redirect_to_another_host_gets_no_credentials() {
    let world = World::with(Options::new().basic(USER, PASSWORD));
    let storage = Registry::start(Options::new());
    let config = world
        .registry()
        .blob(REPOSITORY, &world.amd64.config)
        .unwrap();
    storage.push_blob(REPOSITORY, &config);
    let path = format!("/v2/{REPOSITORY}/blobs/{}", world.amd64.config);
    let place = format!("{}{path}", storage.url());
    world
        .registry()
        .fault(Fault::on("GET", &path).times(u32::MAX).redirect_to(&place));
    let action = world.create().input(
        "registry-auths",
        auths(&world.registry().address(), PASSWORD),
    );
    action.succeed();
    let asked = storage.requests();
    assert!(
        !asked.is_empty()
            && asked
                .iter()
                .all(|request| request.authorization == Authorization::None),
        "{asked:?}"
    );
}
