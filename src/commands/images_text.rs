//! The images of a tag, as part of a message.

use crate::domain::Digest;

/// The maximum number of a tag's images in a message. Others wrote the tag, and it may list many.
const IMAGES_SHOWN: usize = 40;

/// Lists images by platform.
pub(super) fn images_text(images: &[(String, Digest)]) -> String {
    let mut shown: Vec<String> = images
        .iter()
        .take(IMAGES_SHOWN)
        .map(|(platform, digest)| format!("{platform} `{digest}`"))
        .collect();
    if images.len() > shown.len() {
        shown.push(format!("and {} more", images.len() - shown.len()));
    }
    if shown.is_empty() {
        "no platforms".to_owned()
    } else {
        shown.join(", ")
    }
}
