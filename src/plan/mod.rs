//! Decisions as data: from inputs and findings to steps that can be printed, tested and executed.
//!
//! Everything here is a pure function. This room contains the rules for what is equal, what is a conflict, what is
//! written and what is signed. It contains nothing about how anything is fetched or pushed.

mod adoption;
mod assemble;
mod cleanup;
mod differences;
mod image_comparison;
mod listed;
mod preflight;
mod published;
mod repeated;
mod tag_kind;
mod tags;
mod version;
mod vouched;
mod vouching;

#[cfg(test)]
mod tests;

pub use assemble::{
    AssembleError, Assembly, Attestation, Child, IndexImage, IndexImages, Leaf, PlatformMap,
    Resolved, Wanted, assemble,
};
pub use cleanup::{
    CleanupStep, LeaveReason, Rollback, TagDigest, decide_cleanup, leave_for_user, plan_cleanup,
    unnamed_tags,
};
pub use image_comparison::images_of;
pub use listed::{StatedImage, listed};
pub use preflight::{
    FoundTag, PreflightState, TagContents, TagResponse, Verdict, decide_preflight, find_tags,
};
pub use published::{contents_of, decide_published};
#[cfg(test)]
pub(crate) use repeated::repeated_name;
pub use tag_kind::TagKind;
pub use tags::{
    Conflict, Difference, EquivalentIndex, KeepRule, Newer, SeenTag, TagStep, TagSteps,
    decide_tags, lacking_vouchers,
};
pub use version::{VERSION, newer, version_made, version_stated};
pub use vouched::{Vouched, VouchedOrObserved, Voucher};
pub use vouching::{BINDING, NAME, TagImage, decide_skip, is_vouched_for, vouched_by_inputs};
