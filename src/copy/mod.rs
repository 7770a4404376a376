//! Copies images between repositories and out of folders, with their referrers and digest tags. It tags nothing that a
//! user names: `commands` does.

pub(crate) mod bundles;
pub(crate) mod copier;
mod error;
pub(crate) mod referrer_copier;
pub(crate) mod shape;
pub(crate) mod source;
pub(crate) mod vetting;

#[cfg(test)]
pub(crate) mod tests;

pub use error::CopyError;
