//! Registry tokens whose text also occurs in outputs of the run: the runner drops every job output that contains a masked text.

use sandbox::Fault;
use serde_json::json;

use crate::support::World;

const WORKFLOW: &str = "octo-org/octo-app/.github/workflows/release.yml";

/// Returns the texts that the log masks.
fn masks(log: &str) -> Vec<&str> {
    log.lines()
        .filter_map(|line| line.strip_prefix("::add-mask::"))
        .collect()
}

/// Seals with a registry that requests a token once, and a token server that answers `token`. Asserts that no output contains a
/// masked text.
fn is_harmless(token: impl Fn(&World, &str) -> String, is_masked: bool) {
    let plain = World::new();
    let digest = plain.create().succeed().output("digest").to_owned();
    let world = World::new();
    let registry = world.registry();
    let token = token(&world, &digest);
    let realm = format!("Bearer realm=\"{}/token\",service=\"x\"", registry.url());
    let challenge = [("www-authenticate", &*realm)];
    let denied = Fault::on("GET", "*/manifests/v1").times(1);
    registry.fault(denied.answer(401, &challenge, ""));
    let given = Fault::on("GET", "/token").times(u32::MAX);
    registry.fault(given.answer(200, &[], &json!({"token": token}).to_string()));
    let seal = world
        .seal()
        .env("GITHUB_WORKFLOW_REF", format!("{WORKFLOW}@refs/heads/main"));
    let outcome = seal.succeed();
    assert_eq!(outcome.output("digest"), digest);
    let masks = masks(&outcome.log);
    assert_eq!(masks.contains(&&*token), is_masked, "{token}: {masks:?}");
    for (name, value) in &outcome.outputs {
        let hidden = masks.iter().find(|mask| value.contains(**mask));
        assert_eq!(hidden, None, "{token}: output `{name}`");
    }
}

#[test]
fn token_that_is_a_public_text_hides_no_output() {
    is_harmless(|_, digest| digest.to_owned(), false);
    is_harmless(
        |_, digest| digest.split(':').nth(1).unwrap().to_owned(),
        false,
    );
    is_harmless(|_, digest| digest[10..30].to_owned(), false);
    is_harmless(|world, _| world.at("v1"), false);
    is_harmless(
        |world, _| world.image().split(':').nth(1).unwrap().to_owned(),
        false,
    );
    is_harmless(|_, _| "octo-org/octo-app".to_owned(), false);
    is_harmless(|_, _| "//github.com/octo-org/octo-app".to_owned(), false);
    is_harmless(|world, _| world.sigstore().identity(), false);
    is_harmless(|_, _| WORKFLOW.to_owned(), false);
    is_harmless(|_, _| format!("//github.com/{WORKFLOW}"), false);
    is_harmless(|_, _| "--certificate-oidc-issuer".to_owned(), false);
    // Other steps and jobs may use such a text.
    is_harmless(|_, _| "record-0123456789abcdef".to_owned(), false);
    is_harmless(|_, _| "refs/tags/v1.2.3-20260131".to_owned(), false);
    // A text that only the token server uses is masked.
    is_harmless(|_, _| "of-Nobody/but~the+1server=".to_owned(), true);
}
