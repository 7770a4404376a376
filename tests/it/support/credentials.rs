//! A registry that requires a token, and its credentials.

use sandbox::Options;
use serde_json::json;

use super::{Outcome, World};

pub(crate) const USER: &str = "octocat";
pub(crate) const PASSWORD: &str = "hunter2:and more";

/// Returns a world whose registry requires a token.
pub(crate) fn bearer() -> World {
    World::with(Options::new().bearer(USER, PASSWORD))
}

/// Returns the input `registry-auths` for `registry`.
pub(crate) fn auths(registry: &str, password: &str) -> String {
    format!(
        "- registry: {registry}\n  username: {USER}\n  password: {}\n",
        json!(password)
    )
}

/// Asserts that the secret appears only in the line that masks it, and that this line comes first.
pub(crate) fn kept_secret(outcome: &Outcome, secret: &str) {
    let mask = format!("::add-mask::{secret}");
    let masked = outcome.log.find(&mask);
    let masked = masked.unwrap_or_else(|| panic!("it is not masked:\n{}", outcome.log));
    assert_eq!(
        outcome.log.find(secret),
        Some(masked + "::add-mask::".len()),
        "{}",
        outcome.log
    );
    let rest = outcome.everything().replace(&mask, "");
    assert!(!rest.contains(secret), "{rest}");
}
