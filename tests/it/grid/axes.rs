//! The axes of the grid: the commands and the servers. The kinds of registry are in `kinds.rs`.

use super::kinds::Kind;

/// A command with its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    SealBundle,
    SealLegacy,
    SealBoth,
    SealRecursive,
    /// A log entry, and a timestamp in addition.
    SealTimestamp,
    /// The bundle with Rekor v2 and a timestamp, the legacy signature with Rekor v1 and another timestamp.
    SealRekor2,
    /// A second seal, with the record of the first.
    SealAgain,
    /// A second seal, on a machine without the record.
    SealElsewhere,
    Verify,
    Publish,
    Cleanup,
}

/// A server that receives requests of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    /// The registry that is changed.
    Registry,
    /// The registry that `publish` reads.
    Source,
    Sigstore,
}

impl Server {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Registry => "the registry",
            Self::Source => "the source",
            Self::Sigstore => "Sigstore",
        }
    }
}

/// The number of signatures to add.
#[derive(Clone, Copy, Default)]
pub(super) struct Added {
    pub(super) bundles: usize,
    pub(super) legacy: usize,
}

impl Command {
    pub(super) const ALL: [Self; 11] = [
        Self::SealBundle,
        Self::SealLegacy,
        Self::SealBoth,
        Self::SealRecursive,
        Self::SealTimestamp,
        Self::SealRekor2,
        Self::SealAgain,
        Self::SealElsewhere,
        Self::Verify,
        Self::Publish,
        Self::Cleanup,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SealBundle => "seal, bundle",
            Self::SealLegacy => "seal, legacy",
            Self::SealBoth => "seal, both",
            Self::SealRecursive => "seal, recursive",
            Self::SealTimestamp => "seal, bundle, with a timestamp",
            Self::SealRekor2 => "seal, both, Rekor v2",
            Self::SealAgain => "seal, again",
            Self::SealElsewhere => "seal, again without the record",
            Self::Verify => "verify",
            Self::Publish => "publish",
            Self::Cleanup => "cleanup",
        }
    }

    pub(super) fn format(self) -> &'static str {
        match self {
            Self::SealLegacy => "legacy",
            Self::SealBoth | Self::SealRekor2 | Self::SealAgain | Self::SealElsewhere => "both",
            Self::SealBundle
            | Self::SealRecursive
            | Self::SealTimestamp
            | Self::Verify
            | Self::Publish
            | Self::Cleanup => "bundle",
        }
    }

    /// True if the command exists for its requests to Sigstore. A registry receives the same requests, whichever services make
    /// a signature. Not every kind of registry is needed, and no faults are played there again.
    pub(super) fn is_of_sigstore(self) -> bool {
        matches!(self, Self::SealTimestamp | Self::SealRekor2)
    }

    /// True if faults are played at `server`.
    pub(super) fn is_played_at(self, server: Server) -> bool {
        server == Server::Sigstore || !self.is_of_sigstore()
    }

    /// Returns the kinds of registry that it is played on.
    pub(super) fn kinds(self) -> Vec<Kind> {
        if self.is_of_sigstore() {
            return vec![Kind::Api, Kind::Http2];
        }
        let later = Kind::OF_2026.into_iter();
        let later = later.filter(|kind| kind.matters_to(self));
        Kind::BASIC.into_iter().chain(later).collect()
    }

    pub(super) fn is_recursive(self) -> bool {
        matches!(self, Self::SealRecursive | Self::Verify | Self::Publish)
    }

    /// Returns the number of signatures that a run adds to each image that it signs.
    pub(super) fn adds(self) -> Added {
        let (bundles, legacy) = match self {
            Self::SealBundle | Self::SealRecursive | Self::SealTimestamp => (1, 0),
            Self::SealLegacy => (0, 1),
            Self::SealBoth | Self::SealRekor2 => (1, 1),
            Self::SealAgain
            | Self::SealElsewhere
            | Self::Verify
            | Self::Publish
            | Self::Cleanup => (0, 0),
        };
        Added { bundles, legacy }
    }

    /// True if somebody else has signed the index as well: lists are then extended, not created.
    pub(super) fn has_company(self) -> bool {
        !matches!(
            self,
            Self::SealBoth | Self::SealRekor2 | Self::SealRecursive
        )
    }
}
