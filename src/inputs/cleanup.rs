//! What the command `cleanup` takes: the tags that may be taken back at all, whatever the record says.

use super::Request;
use super::fields::Fields;
use super::repositories::Repositories;
use super::requests::both_tags;
use crate::domain::FullTag;

/// The command `cleanup`.
#[derive(Debug)]
pub struct Cleanup {
    /// Tags that never change what they hold: each is deleted if the run made it, or stays.
    pub tags: Vec<FullTag>,
    /// Tags that may move: each goes back to what it held.
    pub moving_tags: Vec<FullTag>,
}

/// `None` where an error was kept that leaves nothing to go on with.
pub(super) fn cleanup(fields: &mut Fields<'_>) -> Option<Request> {
    let mut repositories = Repositories::of_image(fields);
    let (tags, moving_tags) = both_tags(fields, &mut repositories);
    let inputs = ["image", "tags", "moving-tags"];
    let is_refused = inputs.iter().any(|input| fields.is_refused(input));
    if tags.is_empty() && moving_tags.is_empty() && !is_refused {
        fields.refuse(
            "tags",
            "`cleanup` must be told which tags may be taken back; give the `tags` and `moving-tags` of the run that wrote them",
        );
    }
    repositories.home(fields)?;
    Some(Request::Cleanup(Cleanup { tags, moving_tags }))
}
