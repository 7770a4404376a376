//! The reason and the hint that a user reads after a registry has refused a request.

use sandbox::{Fault, Trigger};

use crate::support::{Outcome, World};

/// The pattern of a push by digest.
const BY_DIGEST: &str = "*/manifests/sha256:*";

/// Returns the failed run of `create` at a registry that always answers `method pattern` with this fault.
fn refused(method: &str, pattern: &str, fault: impl FnOnce(Trigger) -> Fault) -> Outcome {
    let world = World::new();
    let trigger = Fault::on(method, pattern).times(u32::MAX);
    world.registry().fault(fault(trigger));
    let outcome = world.create().input("max-attempts", "2").end_with(1);
    assert_eq!(world.tag("v1"), None, "{}", outcome.log);
    outcome
}

/// Returns the answer of a registry in JSON.
fn json(trigger: Trigger, status: u16, body: &str) -> Fault {
    trigger.answer(status, &[("content-type", "application/json")], body)
}

#[test]
fn detail_of_an_error_is_shown_after_code_and_message() {
    for (detail, wanted) in [
        (
            r#""subject not found""#,
            "(MANIFEST_INVALID: manifest invalid: subject not found)",
        ),
        (
            r#"[{"message": "first"}, {"Reason": "second"}]"#,
            "(MANIFEST_INVALID: manifest invalid: first, second)",
        ),
        (
            r#"{"Name": "octo-org/app"}"#,
            "(MANIFEST_INVALID: manifest invalid)",
        ),
    ] {
        let body = format!(
            r#"{{"errors": [{{"code": "MANIFEST_INVALID", "message": "manifest invalid", "detail": {detail}}}]}}"#
        );
        let outcome = refused("PUT", BY_DIGEST, |at| json(at, 400, &body));
        outcome.says(&[&format!("answered 400 Bad Request {wanted}")]);
        let reason = wanted.replace('_', "\\_");
        assert!(outcome.summary.contains(&reason), "{}", outcome.summary);
    }
}
