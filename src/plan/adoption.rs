//! Decides whether an index under a tag is adopted: `digests` names it alone, so no index of it is made.

use super::assemble::{Assembly, Resolved};
use super::vouched::Vouched;
use crate::domain::{Manifest, ManifestKind};

/// Returns `existing` as vouched content if it is adopted: the inputs name its digest and no other, and it has every
/// annotation that they state.
///
/// SECURITY: a digest in the inputs vouches for a part of the index that this run makes. Anyone with push access can
/// put that part under the run's tags. It must not pass there for the index with its annotations.
pub(super) fn adopted(
    existing: &Manifest,
    assembly: &Assembly,
    resolved: &[Resolved],
) -> Option<Vouched<Manifest>> {
    let named = resolved.first()?;
    let is_alone = resolved.iter().all(|one| *one.input == *named.input);
    let is_annotated = || {
        let mut wanted = annotations(&assembly.manifest);
        wanted.all(|(name, value)| existing.annotation(name) == Some(value))
    };
    let adopted = named.input.manifest(existing.clone())?;
    (is_alone && is_annotated()).then_some(adopted)
}

/// Returns a message if the inputs name `existing`, and it is not adopted.
pub(super) fn unadopted(existing: &Manifest, resolved: &[Resolved]) -> Option<String> {
    let is_named = resolved.iter().any(|one| *one.input == *existing.digest());
    is_named.then(|| {
        "`digests` names it as a part of the index that this run makes; it is that index only if it is the only entry of `digests` and has all of `annotations`".to_owned()
    })
}

fn annotations(index: &Manifest) -> impl Iterator<Item = (&str, &str)> {
    let annotations = match index.kind() {
        ManifestKind::Index { annotations, .. } | ManifestKind::Image { annotations, .. } => {
            annotations
        }
    };
    let annotations = annotations.iter();
    annotations.map(|(name, value)| (name.as_str(), value.as_str()))
}
