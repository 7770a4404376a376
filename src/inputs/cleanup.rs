//! The inputs of the command `cleanup`: the only tags that may be reverted, whatever the record contains.

use super::fields::Fields;
use super::parts::both_tags;
use super::repositories::Repositories;
use crate::domain::FullTag;

/// The command `cleanup`.
#[derive(Debug)]
pub struct Cleanup {
    /// Tags that never move: each is deleted if the run created it, else it stays.
    pub tags: Vec<FullTag>,
    /// Tags that may move: each is reset to its previous digest.
    pub moving_tags: Vec<FullTag>,
}

/// Reads the inputs of `cleanup`. Returns `None` if an error leaves no request.
pub(super) fn cleanup(fields: &mut Fields<'_>) -> Option<Cleanup> {
    let mut repositories = Repositories::of_image(fields);
    let (tags, moving_tags) = both_tags(fields, &mut repositories);
    let inputs = ["image", "tags", "moving-tags"];
    let is_refused = inputs.iter().any(|input| fields.is_refused(input));
    if tags.is_empty() && moving_tags.is_empty() && !is_refused {
        fields.refuse(
            "tags",
            "`cleanup` requires the tags to revert; give the `tags` and `moving-tags` of the run that wrote them",
        );
    }
    repositories.home(fields)?;
    Some(Cleanup { tags, moving_tags })
}
