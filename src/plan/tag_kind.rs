//! The two kinds of tags.

/// The kind of a tag: fixed or moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    /// A tag whose content never changes.
    Fixed,
    /// A tag that may be overwritten.
    Moving,
}
