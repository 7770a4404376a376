//! The result of a preflight.

use crate::inputs::OnExistingTag;
use crate::plan::{FoundTag, TagImage, Verdict};

/// The result of a preflight.
#[derive(Debug)]
pub struct PreflightOutcome {
    /// Every tag, in the order of the inputs.
    pub found: Vec<FoundTag>,
    /// The policy for tags that exist.
    pub policy: OnExistingTag,
    /// The known origin of the tags' content; empty if it was not requested.
    pub images: Vec<TagImage>,
    /// The verdict, or `None` until everything was read.
    pub verdict: Option<Verdict>,
}
