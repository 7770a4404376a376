//! Copies images between repositories and out of folders, with their referrers and digest tags.

pub(super) mod belongings;
pub(super) mod bundles;
pub(super) mod carry;
pub(super) mod origin;
pub(super) mod shape;
pub(super) mod source;
pub(super) mod vetting;
