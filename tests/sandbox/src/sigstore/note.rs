//! Signed notes: a log's statement of its tree.

use super::keys::Key;
use super::merkle::{self, Hash};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Returns the checkpoint of the tree over `leaves`, for the log `name` and its tree `origin`.
pub(crate) fn checkpoint(key: &Key, name: &str, origin: &str, leaves: &[Hash]) -> String {
    let root = STANDARD.encode(merkle::root(leaves));
    let note = format!("{origin}\n{}\n{root}\n", leaves.len());
    let hint = &key.id()[..4];
    let signature = STANDARD.encode([hint, &key.sign(note.as_bytes())].concat());
    format!("{note}\n\u{2014} {name} {signature}\n")
}
