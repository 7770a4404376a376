//! The errors of `preflight`.

use std::fmt::Write as _;

use super::images_text::images_text;
use crate::domain::{Digest, FullTag, TokenAbsence, chain_text};
use crate::plan::{FoundTag, PreflightState, TagContents};
use crate::registry::RegistryError;

/// A tag whose content nothing vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnvouchedImages {
    /// The tag.
    pub tag: FullTag,
    /// Its content.
    pub contents: TagContents,
    /// The reasons why the signatures of the content were refused.
    pub refused: Vec<String>,
}

/// An obstacle to a build, or the reason why it is not known if there is one.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The content of tags cannot be read.
    #[error("{}", unknown_text(.0))]
    Unknown(Vec<(FullTag, RegistryError)>),
    /// Tags exist that must be absent.
    #[error("{}", held_text(.0, "exists already and points to"))]
    Taken(Vec<FoundTag>),
    /// Tags point to different images.
    #[error("{}{}", held_text(.found, "points to"), wanted_text(.wanted.as_deref()))]
    Differ {
        /// Every tag.
        found: Vec<FoundTag>,
        /// The expected images, if the inputs state them.
        wanted: Option<Vec<(String, Digest)>>,
    },
    /// Nothing vouches for the content of tags.
    #[error("{}", unvouched_text(.found, .wanted))]
    Unvouched {
        /// These tags.
        found: Vec<UnvouchedImages>,
        /// The required signer.
        wanted: String,
    },
    /// The required signer is not known.
    #[error(
        "`on-existing-tag: skip` requires that this workflow signed the images under the tags, and no OIDC token identifies this run: {0}"
    )]
    NoIdentity(TokenAbsence),
}

/// Returns the cause without the request: the message already names the tag.
pub(super) fn why(error: &RegistryError) -> String {
    chain_text(error.kind())
}

fn unknown_text(unknown: &[(FullTag, RegistryError)]) -> String {
    let mut text = "the content of these tags is unknown:".to_owned();
    let mut causes: Vec<(String, Vec<String>)> = Vec::new();
    for (tag, error) in unknown {
        let (tag, cause) = (format!("`{tag}`"), why(error));
        match causes.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, tags)) => tags.push(tag),
            None => causes.push((cause, vec![tag])),
        }
    }
    for (cause, tags) in causes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n- {}: {cause}", tags.join(", "));
    }
    text
}

fn held_text(found: &[FoundTag], verb: &str) -> String {
    let lines = found.iter().filter_map(|FoundTag { tag, state }| {
        let contents = state.contents()?;
        let why = if let PreflightState::Different(_, Some(why)) = state {
            format!(" ({why})")
        } else {
            String::new()
        };
        let images = images_text(&contents.images);
        Some(format!(
            "the tag `{tag}` {verb} `{}`{why} with {images}",
            contents.digest
        ))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn unvouched_text(found: &[UnvouchedImages], wanted: &str) -> String {
    let line = |UnvouchedImages {
                    tag,
                    contents,
                    refused,
                }: &UnvouchedImages| {
        let images = images_text(&contents.images);
        let mut reasons = String::new();
        for reason in refused {
            // Writing to a string cannot fail.
            let _ = write!(reasons, "\n- {reason}");
        }
        let found = if refused.is_empty() { "" } else { "; found:" };
        format!(
            "the tag `{tag}` points to `{}` with {images}, which is neither in `digests` nor signed by {wanted}{found}{reasons}",
            contents.digest
        )
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn wanted_text(wanted: Option<&[(String, Digest)]>) -> String {
    wanted.map_or(String::new(), |wanted| {
        format!("\nexpected: {}", images_text(wanted))
    })
}
