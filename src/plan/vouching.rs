//! The rules for what vouches for the content of tags before a build. A registry's response proves what is there, and
//! never its origin.

use super::adoption::adopted;
use super::assemble::{Assembly, Resolved};
use super::differences::differences;
use super::preflight::{FoundTag, Verdict};
use super::version::{VERSION, shown};
use super::vouched::{Vouched, Voucher};
use crate::domain::{Digest, Manifest, Repository};

/// The annotation that states which of a workflow's images an index is.
pub const NAME: &str = "io.github.manifest-seal.name";
/// The annotations that bind an index to the meaning of its tags. Others may change with each run, such as the time of
/// a build.
pub const BINDING: [&str; 2] = [VERSION, NAME];

/// An index under tags of a repository, and the evidence of its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagImage {
    /// The repository.
    pub repository: Repository,
    /// The index.
    pub manifest: Manifest,
    /// The index as vouched content, if something vouches for it.
    pub vouched: Option<Vouched<Manifest>>,
    /// The identity of the signature that vouches for it, if a signature does.
    pub signer: Option<String>,
    /// The reasons why its signatures were refused.
    pub refused: Vec<String>,
}

impl TagImage {
    /// Drops a signature as voucher if the index does not state `wanted` in this annotation.
    ///
    /// SECURITY: a signature vouches for a digest under any tag. An older image of this workflow can be pushed under
    /// the tag of a version that was never built. Another image of this workflow can be pushed under this image's tag.
    /// The annotations of an index are signed with it.
    pub fn require_annotation(&mut self, annotation: &str, wanted: &str) {
        let stated = self.manifest.annotation(annotation);
        let is_signed = self.vouched.as_ref().map(Vouched::by) == Some(Voucher::Signature);
        if !is_signed || stated == Some(wanted) {
            return;
        }
        let stated = stated.map_or("none".to_owned(), |stated| format!("`{}`", shown(stated)));
        let signer = self.signer.take().unwrap_or_default();
        let what = if annotation == VERSION {
            "version"
        } else {
            "name"
        };
        let reason =
            format!("it is signed by `{signer}`, but its {what} (`{annotation}`) is {stated}");
        self.vouched = None;
        self.refused = vec![reason];
    }
}

/// Returns `contents` as vouched content if the inputs vouch for it. They name its digest alone, or together they make an
/// index with equal entries and annotations. Equal platforms are not enough: another index may contain attestations of
/// its own.
#[must_use]
pub fn vouched_by_inputs(
    existing: &Manifest,
    made: &Assembly,
    inputs: &[Resolved],
) -> Option<Vouched<Manifest>> {
    let is_made = || differences(existing, made, inputs).is_empty();
    adopted(existing, made, inputs).or_else(|| is_made().then(|| Vouched::made(existing.clone())))
}

/// Selects the tag from which the others can be completed, once every existing tag contains something that can be
/// completed. It is the first tag whose digest is vouched for in its repository. Nothing is selected while one tag
/// contains something that nothing vouches for. Otherwise `seal` would sign that, and copy it to the other registries.
#[must_use]
pub fn decide_skip(found: &[FoundTag], images: &[TagImage]) -> Verdict {
    let existing = || {
        found
            .iter()
            .filter_map(|found| Some((&found.tag, &found.state.contents()?.digest)))
    };
    if existing().any(|(_, digest)| !is_vouched_for(digest, images)) {
        return Verdict::Unvouched;
    }
    let is_here = |image: &TagImage, tag: &&FoundTag| {
        let digest = tag.state.contents().map(|existing| &existing.digest);
        image.vouched.is_some()
            && image.repository == tag.tag.repository
            && Some(image.manifest.digest()) == digest
    };
    let first = found.iter().find_map(|tag| {
        let image = images.iter().find(|image| is_here(image, &tag))?;
        Some(Verdict::Skip(
            tag.tag.clone(),
            image.manifest.digest().clone(),
        ))
    });
    first.unwrap_or(Verdict::Unvouched)
}

/// True if anything vouches for `digest`. The content is equal in every repository.
#[must_use]
pub fn is_vouched_for(digest: &Digest, images: &[TagImage]) -> bool {
    let mut images = images.iter();
    images.any(|image| image.manifest.digest() == digest && image.vouched.is_some())
}
