//! Copying images between repositories, and out of folders: where from, in which order, and what belongs to them.

pub(super) mod belongings;
pub(super) mod bundles;
pub(super) mod carry;
pub(super) mod origin;
pub(super) mod shape;
pub(super) mod source;
pub(super) mod vetting;
