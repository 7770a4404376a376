//! What vouches for what tags hold before a build. A registry's word says what is there, and never where it comes from.

use super::assemble::{Assembly, Resolved};
use super::differences::differences;
use super::preflight::{FoundTag, Verdict};
use super::version::{VERSION, shown};
use super::vouched::{Vouched, Voucher};
use crate::domain::{Digest, Manifest, Repository};

/// The annotation that states which of a workflow's images an index is.
pub const NAME: &str = "io.github.manifest-seal.name";
/// The annotations that bind an index to what its tags stand for. Others may change with each run, as the time of a build.
pub const BINDING: [&str; 2] = [VERSION, NAME];

/// An index that tags of a repository hold, and what is known of where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldImage {
    /// Where.
    pub repository: Repository,
    /// What.
    pub manifest: Manifest,
    /// The same, where something vouches for it.
    pub vouched: Option<Vouched<Manifest>>,
    /// The identity whose signature does, where it is one.
    pub signer: Option<String>,
    /// What the signatures there were refused for.
    pub refused: Vec<String>,
}

impl HeldImage {
    /// Takes back that a signature vouches for it, where it does not state `wanted` in this annotation.
    ///
    /// SECURITY: a signature vouches for a digest under any tag. Whoever may push can put an older image of this workflow's
    /// under the tag of a version that was never built, or another of its images under this one's tag. Its annotations are
    /// signed with it.
    pub fn hold_to(&mut self, annotation: &str, wanted: &str) {
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
        let reason = format!(
            "it is signed by `{signer}`, and the {what} that it states (`{annotation}`) is {stated}"
        );
        self.vouched = None;
        self.refused = vec![reason];
    }
}

/// `held`, where the inputs vouch for it: one of them is that digest, or together they make an index with the same entries
/// and annotations. The same platforms are not enough: another index may bring attestations of its own.
#[must_use]
pub fn vouched_by_inputs(
    held: &Manifest,
    made: &Assembly,
    inputs: &[Resolved],
) -> Option<Vouched<Manifest>> {
    let mut given = inputs.iter();
    let named = given.find_map(|input| input.input.manifest(held.clone()));
    let is_made = || differences(held, made, inputs).is_empty();
    named.or_else(|| is_made().then(|| Vouched::made(held.clone())))
}

/// Decides where the rest can be completed from, once every tag that exists holds something that can be completed: the first
/// place of a digest that is vouched for there. Nothing is taken from anywhere as long as one tag holds something that
/// nothing vouches for: `seal` would sign it, and copy it to the other registries.
#[must_use]
pub fn decide_skip(found: &[FoundTag], images: &[HeldImage]) -> Verdict {
    let held = || {
        found
            .iter()
            .filter_map(|found| Some((&found.tag, &found.answer.held()?.digest)))
    };
    if held().any(|(_, digest)| !is_vouched_for(digest, images)) {
        return Verdict::Unvouched;
    }
    let is_here = |image: &HeldImage, tag: &&FoundTag| {
        let digest = tag.answer.held().map(|held| &held.digest);
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

/// Whether anything vouches for `digest`. It is the same content wherever it is.
#[must_use]
pub fn is_vouched_for(digest: &Digest, images: &[HeldImage]) -> bool {
    let mut images = images.iter();
    images.any(|image| image.manifest.digest() == digest && image.vouched.is_some())
}
