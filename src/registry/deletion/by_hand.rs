//! What a person does to delete a tag where this program cannot, to be pasted or clicked, for each registry.

use crate::domain::FullTag;

/// The steps that delete `tag` by hand.
#[must_use]
pub fn steps_by_hand(tag: &FullTag) -> String {
    // SECURITY: between single quotes for a shell; the grammar of names has none.
    format!("`regctl tag delete '{tag}'`")
}
