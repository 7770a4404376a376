//! Copies images between repositories and out of folders, with their referrers and digest tags. It tags nothing that a
//! user names: `commands` does.

pub(crate) mod bundle_manifest;
pub(crate) mod bundles;
pub(crate) mod copier;
mod digest_tags;
mod error;
pub(crate) mod list_write;
pub(crate) mod referrer_copier;
pub(crate) mod referrer_filter;
pub(crate) mod source;

#[cfg(test)]
pub(crate) mod tests;

pub use error::CopyError;
