//! Decisions as data: from what is wanted and what was seen to steps that can be printed, tested and walked.
//!
//! Everything here is a pure function. It knows the rules (what is the same, what is a conflict, what is written, what
//! is signed) and refuses to know how anything is fetched or pushed.

mod assemble;
mod cleanup;
mod preflight;
mod published;
mod tags;

#[cfg(test)]
mod tests;

pub use assemble::{
    AssembleError, Assembly, Attestation, Child, Leaf, PlatformMap, Resolved, Wanted, assemble,
};
pub use cleanup::{CleanupStep, LeaveReason, Shown, TakeBack, decide_cleanup, unnamed_tags};
pub use preflight::{FoundTag, Held, Look, TagAnswer, Verdict, decide_preflight, find_tags};
pub use published::{contents_of, decide_published};
pub use tags::{
    Conflict, Equivalent, Newer, SeenTag, TagKind, TagStep, TagSteps, decide_tags, images_of,
};
