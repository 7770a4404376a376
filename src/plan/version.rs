//! Which version an index is, and which of two is the newer.

use std::collections::BTreeSet;

use semver::Version;

use super::assemble::Resolved;
use super::tags::Newer;
use crate::domain::{FullTag, Manifest};

/// The annotation, or label, that states a version. Source: OCI image specification, `annotations.md`.
pub const VERSION: &str = "org.opencontainers.image.version";

const SHOWN_MAX_CHARS: usize = 100;

/// The version of the index that a run makes of `resolved`: its annotation, else the label that all its images share, else
/// the one semantic version among the run's fixed tags.
#[must_use]
pub fn version_made(index: &Manifest, resolved: &[Resolved], tags: &[FullTag]) -> Option<String> {
    let images = resolved.iter().flat_map(|input| &input.leaves);
    let stated = version_held(index, images.map(|leaf| leaf.version.as_deref()));
    stated.or_else(|| {
        let tags = tags.iter().map(|tag| tag.tag.as_str());
        only(tags.filter(|tag| version(tag).is_some()))
    })
}

/// The version of an index that a tag holds: its annotation, else the label that all its images share.
pub fn version_held<'a>(
    index: &Manifest,
    labels: impl Iterator<Item = Option<&'a str>>,
) -> Option<String> {
    if let Some(stated) = index.annotation(VERSION) {
        return Some(stated.to_owned());
    }
    let labels: Option<BTreeSet<&str>> = labels.collect();
    only(labels?.into_iter())
}

/// Whether `held` is a newer version than `wanted`. What is no semantic version decides nothing.
#[must_use]
pub fn newer(held: &str, wanted: &str) -> Option<Newer> {
    let order = version(held)?.cmp_precedence(&version(wanted)?);
    order.is_gt().then(|| Newer {
        holds: shown(held),
        wanted: wanted.to_owned(),
    })
}

/// A version of somebody else's, for a message: they wrote it, to any length.
pub(super) fn shown(version: &str) -> String {
    let visible = version.chars().filter(|one| !one.is_control());
    let mut shown: String = visible.take(SHOWN_MAX_CHARS).collect();
    if shown.len() < version.len() {
        shown.push('…');
    }
    shown
}

/// A semantic version, as tags have it.
fn version(text: &str) -> Option<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

/// The text that all of `texts` are.
fn only<'a>(texts: impl Iterator<Item = &'a str>) -> Option<String> {
    let texts: BTreeSet<&str> = texts.collect();
    match texts.len() {
        1 => texts.first().map(|text| (*text).to_owned()),
        _ => None,
    }
}
