//! The command `publish`: the image to copy, its sources, and the tags to write.

use std::path::{Path, PathBuf};

use super::fields::Fields;
use super::grammar::{self, Separator};
use super::parts::{both_tags, depth, destinations, policy};
use super::repositories::Repositories;
use super::values::{Depth, Named, PolicyInputs};
use crate::domain::{FullTag, ImageReference, ReferenceError, Repository, Tag};

/// The command `publish`.
#[derive(Debug)]
pub struct Publish {
    /// The sources of the image, tried in this order. Never empty.
    pub sources: Vec<Named<PublishSource>>,
    /// The destinations: every repository of a tag, else `image`. Never empty.
    pub destinations: Vec<Repository>,
    /// Tags that must never move.
    pub tags: Vec<FullTag>,
    /// Tags that may move.
    pub moving_tags: Vec<FullTag>,
    /// The depth and the policy of verification, if given.
    pub gate: Option<(Depth, PolicyInputs)>,
    /// The referrers to copy with the image.
    pub referrers: ReferrerSelection,
}

/// The input `referrers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferrerSelection {
    /// All referrers of the image.
    All,
    /// Only verified referrers.
    Verified,
}

/// A source of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishSource {
    /// An image. A repository without a tag or digest only supplies content that the other sources lack.
    Image(ImageReference),
    /// A folder in the OCI layout.
    Layout {
        /// The folder as given.
        name: String,
        /// Its path.
        path: PathBuf,
        /// The tag of the image in the folder.
        tag: Option<Tag>,
    },
    /// The record of the run that made it.
    Record {
        /// The record as given.
        name: String,
        /// Its path.
        path: PathBuf,
    },
}

/// Reads the inputs of `publish`. Returns `None` if an error leaves no request.
pub(super) fn publish(fields: &mut Fields<'_>) -> Option<Publish> {
    let mut repositories = Repositories::of_image(fields);
    let (tags, moving_tags) = both_tags(fields, &mut repositories);
    let sources = publish_sources(fields);
    let depth = depth(fields);
    let policy = policy(fields);
    let is_gated = policy.identity.is_some();
    // Other policy inputs without an identity verify nothing, which cannot be intended.
    if !is_gated && (policy.says_anything() || depth == Depth::Children) {
        fields.refuse(
            "certificate-identity",
            "the identity of the signer is required; give it or `certificate-identity-regexp`",
        );
    }
    let words = [
        ("all", ReferrerSelection::All),
        ("verified", ReferrerSelection::Verified),
    ];
    let referrers = fields.word("referrers", &words, ReferrerSelection::All);
    if referrers == ReferrerSelection::Verified && !is_gated {
        fields.refuse(
            "referrers",
            "`verified` requires the identity of the signer; give `certificate-identity` or `certificate-identity-regexp`",
        );
    }
    let home = repositories.home(fields)?;
    Some(Publish {
        referrers,
        sources: sources.into_iter().map(Named).collect(),
        destinations: destinations(&tags, &moving_tags, &home),
        tags,
        moving_tags,
        gate: is_gated.then_some((depth, policy)),
    })
}

fn publish_sources(fields: &mut Fields<'_>) -> Vec<PublishSource> {
    let mut publish_sources = Vec::new();
    let list = grammar::list(fields.text("source").unwrap_or_default(), Separator::Comma);
    for text in list {
        match publish_source(text, fields) {
            Ok(publish_source) => publish_sources.push(publish_source),
            Err(problem) => fields.refuse("source", problem),
        }
    }
    let names_image = |publish_source: &PublishSource| {
        !matches!(
            publish_source,
            PublishSource::Image(ImageReference {
                reference: None,
                ..
            })
        )
    };
    if !publish_sources.iter().any(names_image) && !fields.is_refused("source") {
        fields.refuse(
            "source",
            "no image is named: give a reference with its tag or digest, a record, or `oci:FOLDER`",
        );
    }
    publish_sources
}

fn publish_source(text: &str, fields: &Fields<'_>) -> Result<PublishSource, String> {
    if let Some(place) = text.strip_prefix("oci:") {
        let (folder, tag) = match place.rsplit_once(':') {
            Some((folder, tag)) => {
                let tag: Tag = tag
                    .parse()
                    .map_err(|error: ReferenceError| error.to_string())?;
                (folder, Some(tag))
            }
            None => (place, None),
        };
        if folder.is_empty() {
            return Err(format!(
                "`{text}` names no folder (`oci:FOLDER` or `oci:FOLDER:TAG`)"
            ));
        }
        return Ok(PublishSource::Layout {
            name: folder.to_owned(),
            path: fields.path(folder),
            tag,
        });
    }
    // A reference with a tag or digest contains `:` or `@`, so this is the path of a record.
    let is_json = Path::new(text)
        .extension()
        .is_some_and(|ending| ending == "json");
    if is_json && !text.contains([':', '@']) {
        return Ok(PublishSource::Record {
            name: text.to_owned(),
            path: fields.path(text),
        });
    }
    let image = text
        .parse()
        .map_err(|error: ReferenceError| error.to_string())?;
    Ok(PublishSource::Image(image))
}
