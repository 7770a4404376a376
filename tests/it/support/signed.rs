//! An image with a signature and one without, and the refusal of a signature.

use super::{Action, World};

/// Returns a world in which `v1` is sealed, and its digest.
pub(crate) fn sealed() -> (World, String) {
    let world = World::new();
    let digest = world.seal().succeed().output("digest").to_owned();
    (world, digest)
}

/// Returns a world in which `v1` exists without a signature.
pub(crate) fn unsigned() -> (World, String) {
    let world = World::new();
    let digest = world.create().succeed().output("digest").to_owned();
    (world, digest)
}

/// Asserts that the first attempt was refused, and that nothing was retried.
pub(crate) fn refused_at_once(action: &Action, says: &[&str]) {
    let outcome = action.end_with(3);
    outcome.says(says);
    assert!(!outcome.log.contains("retry in"), "{}", outcome.log);
    assert!(!outcome.outputs.contains_key("verified"));
}
