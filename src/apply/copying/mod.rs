//! Copies images between repositories and out of folders, with their referrers and digest tags.

pub(super) mod bundles;
pub(super) mod carry;
pub(super) mod origin;
pub(super) mod referrer_copier;
pub(super) mod shape;
pub(super) mod source;
pub(super) mod vetting;
