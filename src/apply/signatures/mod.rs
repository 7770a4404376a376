//! Signatures where a bundle meets a registry: whose counts, which is there, which is missing; making those, storing them
//! in either format, and seeing to it that they stay.

pub(super) mod attach;
pub(super) mod candidates;
mod edits;
pub(super) mod legacy;
pub(super) mod legacy_manifest;
pub(super) mod lookup;
mod outages;
pub(super) mod recorded;
pub(super) mod refused;
pub(super) mod seen_list;
pub(super) mod settle;
pub(super) mod signer;
mod step;
pub(super) mod unsigned;
