//! Signatures in registries: finds and verifies them, makes the missing ones, stores them in either format, and waits
//! until they are stable.

pub(super) mod attach;
pub(super) mod candidates;
mod edits;
pub(super) mod legacy;
pub(super) mod legacy_manifest;
pub(super) mod lookup;
mod outages;
mod plain;
pub(super) mod recorded;
pub(super) mod refused;
pub(super) mod seen_list;
pub(super) mod settle;
pub(super) mod signer;
mod step;
pub(super) mod unsigned;
