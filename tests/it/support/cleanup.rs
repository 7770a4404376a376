//! Runs to clean up, and the tags that a cleanup leaves.

use std::collections::BTreeMap;

use sandbox::Kind;
use serde_json::{Value, json};

use super::{Action, Outcome, REPOSITORY, World};

/// Makes another index, of one image, under the moving tags `moving`. Returns its digest.
pub(crate) fn earlier(world: &World, moving: &str) -> String {
    let other = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 3);
    let made = world
        .create()
        .input("digests", &other.digest)
        .input("tags", "")
        .input("moving-tags", moving);
    made.elsewhere().succeed().output("digest").to_owned()
}

/// Returns a run of `seal` for two fixed and two moving tags.
pub(crate) fn sealing(world: &World) -> Action {
    world
        .seal()
        .input("tags", "v1\nv1.0")
        .input("moving-tags", "latest\nedge")
}

/// Asserts that a cleanup left no tag.
pub(crate) fn nothing_remains(outcome: &Outcome) {
    assert_eq!(outcome.json("remaining"), json!([]), "{}", outcome.log);
}

/// Returns the entries of the output `remaining`, by tag.
pub(crate) fn remaining(outcome: &Outcome) -> BTreeMap<String, Value> {
    let list = outcome.json("remaining");
    let entries = list.as_array().unwrap().iter();
    let entry = |entry: &Value| {
        let tag = entry["tag"].as_str().unwrap();
        let tag = tag.rsplit_once(':').unwrap().1;
        (tag.to_owned(), entry.clone())
    };
    entries.map(entry).collect()
}

/// Returns `action` outside GitHub Actions: on a laptop, or in another CI system.
pub(crate) fn outside(action: Action) -> Action {
    [
        "GITHUB_ACTIONS",
        "GITHUB_RUN_ID",
        "GITHUB_RUN_ATTEMPT",
        "GITHUB_REPOSITORY",
        "GITHUB_OUTPUT",
        "GITHUB_ENV",
    ]
    .into_iter()
    .fold(action, |action, name| action.env(name, ""))
}
