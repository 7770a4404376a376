//! The version of an index, and the order of two versions.

use std::collections::BTreeSet;

use semver::Version;

use super::assemble::Resolved;
use super::tags::Newer;
use crate::domain::{FullTag, Manifest};

/// The annotation, or label, that states a version. Source: OCI image specification, `annotations.md`.
pub const VERSION: &str = "org.opencontainers.image.version";

const SHOWN_MAX_CHARS: usize = 100;

/// The version of the index that a run makes of `resolved`. It is the annotation, else the label that all images share.
/// Else it is the one semantic version among the run's fixed tags.
#[must_use]
pub fn version_made(index: &Manifest, resolved: &[Resolved], tags: &[FullTag]) -> Option<String> {
    let images = resolved.iter().flat_map(|input| &input.leaves);
    let stated = version_stated(index, images.map(|leaf| leaf.version.as_deref()));
    stated.or_else(|| {
        let tags = tags.iter().map(|tag| tag.tag.as_str());
        only(tags.filter(|tag| version(tag).is_some()))
    })
}

/// The version of an index under a tag: its annotation, else the label that all its images share.
pub fn version_stated<'a>(
    index: &Manifest,
    labels: impl Iterator<Item = Option<&'a str>>,
) -> Option<String> {
    if let Some(stated) = index.annotation(VERSION) {
        return Some(stated.to_owned());
    }
    let labels: Option<BTreeSet<&str>> = labels.collect();
    only(labels?.into_iter())
}

/// Returns both versions if `contents` is newer than `wanted`. A text that is not a semantic version decides nothing.
#[must_use]
pub fn newer(held: &str, wanted: &str) -> Option<Newer> {
    let order = version(held)?.cmp_precedence(&version(wanted)?);
    order.is_gt().then(|| Newer {
        current: shown(held),
        wanted: wanted.to_owned(),
    })
}

/// Shortens a version that others wrote, for a message: it can have any length.
pub(super) fn shown(version: &str) -> String {
    let visible = version.chars().filter(|one| !one.is_control());
    let mut shown: String = visible.take(SHOWN_MAX_CHARS).collect();
    if shown.len() < version.len() {
        shown.push('…');
    }
    shown
}

/// Parses a semantic version in the spelling of tags, with or without `v`.
fn version(text: &str) -> Option<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

/// Returns the text that all of `texts` are equal to.
fn only<'a>(texts: impl Iterator<Item = &'a str>) -> Option<String> {
    let texts: BTreeSet<&str> = texts.collect();
    match texts.len() {
        1 => texts.first().map(|text| (*text).to_owned()),
        _ => None,
    }
}
