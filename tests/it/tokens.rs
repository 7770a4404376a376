//! Registry tokens: requested once, kept for their lifetime, and masked like every secret that a run receives.

use std::time::Duration;

use sandbox::{Authorization, Fault, Options};

use crate::support::credentials::{PASSWORD, USER, auths, bearer, kept_secret};
use crate::support::{World, until};

#[test]
fn one_token_serves_many_requests_at_once() {
    let world = bearer();
    let host = world.registry().address();
    let tags: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
    let action = world
        .seal()
        .input("registry-auths", auths(&host, PASSWORD))
        .input("tags", tags.join(","));
    let outcome = action.input("recursive", "true").succeed();
    assert_eq!(world.registry().token_requests(), 1);
    for token in outcome
        .log
        .lines()
        .filter_map(|line| line.strip_prefix("::add-mask::Sandbox-token-number-"))
    {
        kept_secret(&outcome, &format!("Sandbox-token-number-{token}"));
    }
    outcome.says(&["::add-mask::Sandbox-token-number-1"]);
}

#[test]
fn token_that_ends_or_is_revoked_is_asked_for_again() {
    let options = Options::new().bearer(USER, PASSWORD);
    let short = World::with(options.token_lifetime(Duration::from_secs(1)));
    let host = short.registry().address();
    let late = Duration::from_millis(700);
    short
        .registry()
        .fault(Fault::on("PUT", "*/manifests/sha256:*").delay(late));
    short
        .create()
        .input("registry-auths", auths(&host, PASSWORD))
        .succeed();
    assert_eq!(short.registry().token_requests(), 2);
    let requests = short.registry().requests();
    let mut refused = requests
        .iter()
        .filter(|request| request.status == Some(401));
    // Only requests without a token are refused.
    assert!(
        refused.all(|request| request.authorization == Authorization::None),
        "{requests:?}"
    );

    let world = bearer();
    let host = world.registry().address();
    let action = world
        .create()
        .input("registry-auths", auths(&host, PASSWORD));
    // All issued tokens are revoked while the response to the push of the index is delayed.
    world
        .registry()
        .fault(Fault::on("PUT", "*/manifests/sha256:*").delay(Duration::from_millis(300)));
    let running = action.begin();
    until("the index", || {
        world.writes().iter().any(|write| write.starts_with("PUT"))
    });
    world.registry().revoke_tokens();
    let outcome = running.end();
    assert_eq!(outcome.code, 0, "{}", outcome.log);
    assert_eq!(world.registry().token_requests(), 2);
}

#[test]
fn secrets_of_signing_are_kept() {
    let world = World::new();
    let token = world.sigstore().identity_token();
    let outcome = world
        .seal()
        .without_token()
        .input("identity-token", &token)
        .input("dry-run", "true")
        .succeed();
    kept_secret(&outcome, &token);
    let request_token = world.sigstore().github_env()[1].1.clone();
    world.sigstore().fault(
        Fault::on("POST", "/api/v2/signingCert")
            .times(u32::MAX)
            .status(403),
    );
    let outcome = world.seal().end_with(1);
    assert!(
        !outcome.everything().contains(&request_token),
        "{}",
        outcome.log
    );
    let minted: Vec<&str> = outcome
        .log
        .lines()
        .filter_map(|line| line.strip_prefix("::add-mask::eyJ"))
        .collect();
    assert!(!minted.is_empty(), "{}", outcome.log);
    for rest in minted {
        kept_secret(&outcome, &format!("eyJ{rest}"));
    }
}

#[test]
fn token_server_cannot_blank_what_the_run_hands_over() {
    // The runner drops a job output that contains a masked text, and every digest contains this one.
    for token in ["sha256", "octo-org", "linux/amd64"] {
        let world = World::with(Options::new().bearer(USER, PASSWORD));
        let host = world.registry().address();
        let body = format!(r#"{{"token":"{token}","refresh_token":"{token}"}}"#);
        let answer = Fault::on("GET", "/token").times(u32::MAX);
        world.registry().fault(answer.answer(200, &[], &body));
        let outcome = world
            .create()
            .input("registry-auths", auths(&host, PASSWORD))
            .end_with(1);
        let masks = outcome.log.lines();
        let mut masks = masks.filter_map(|line| line.strip_prefix("::add-mask::"));
        assert!(masks.all(|mask| mask == PASSWORD), "{}", outcome.log);
    }
}

#[test]
fn password_that_was_given_is_masked_however_short_it_is() {
    let world = World::with(Options::new().basic(USER, "s3cret"));
    let host = world.registry().address();
    let action = world.create();
    let outcome = action
        .input("registry-auths", auths(&host, "s3cret"))
        .succeed();
    kept_secret(&outcome, "s3cret");
}
