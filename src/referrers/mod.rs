//! The referrers of an image in a repository: lists them, adds entries, and waits until these are stable. A registry with
//! the referrers API keeps the list itself; for any other, clients keep an index under the referrers tag `sha256-…`.
//! Callers never see which. Digest tags such as `sha256-….sig` have many writers too, and are written in the same way.
//!
//! This room knows no signatures: it does not read what an entry points to.

mod dead_entries;
mod edits;
mod error;
mod index;
mod push;
mod read;
mod repair;
mod seen_list;
mod settle;
mod shared_tag;

pub(crate) use edits::{Edits, is_list, present};
pub use error::ListError;
#[cfg(test)]
pub(crate) use index::merge;
pub(crate) use push::{HeldLists, NewEntries, ReferrerLists, push_referrer};
pub(crate) use read::{
    AllReferrers, KnownTags, ListKeeper, ReadOrder, ReferrerList, ReferrerReader, SeenReferrers,
    all_referrers,
};
pub(crate) use repair::remove_dead_entries;
pub(crate) use seen_list::SeenList;
pub(crate) use settle::{Change, PendingSettle, SharedTagWriter, SubjectAge, TagSnapshot, Writers};
pub(crate) use shared_tag::SharedTag;
