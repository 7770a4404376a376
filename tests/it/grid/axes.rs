//! The axes of the grid: what is run, on which kind of registry, and whom it talks to.

use sandbox::{Deletes, Options, Referrers, Transport};

use crate::support::hosted::PASSWORD;

/// The user at registries that ask for one.
pub(super) const USER: &str = "octocat";

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    SealBundle,
    SealLegacy,
    SealBoth,
    SealRecursive,
    /// The log's word, and a timestamp beside it.
    SealTimestamp,
    /// The bundle with Rekor v2 and a timestamp, the legacy signature with Rekor v1 and another.
    SealRekor2,
    /// What was sealed before, with the record of that.
    SealAgain,
    /// The same on a machine that has no record.
    SealElsewhere,
    Verify,
    Publish,
    Cleanup,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Open, with the referrers API.
    Api,
    /// As distribution 2 is: no referrers API, no blob with the POST, only digests can be deleted.
    FallbackTag,
    /// With the referrers API, and a token for each request.
    Bearer,
    /// The same by TLS and HTTP/2, as hosted registries are.
    Http2,
}

/// A server that the command talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Server {
    /// The registry that is changed.
    Registry,
    /// The one that `publish` reads.
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

/// How many signatures are to be added.
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

    /// Whether it is there for what Sigstore is asked for. Which services make a signature is nothing to a registry: it is asked
    /// for the same as without them, so that one kind of registry will do, and no faults are played there again.
    pub(super) fn is_of_sigstore(self) -> bool {
        matches!(self, Self::SealTimestamp | Self::SealRekor2)
    }

    /// Whether faults are played at `server`.
    pub(super) fn is_played_at(self, server: Server) -> bool {
        server == Server::Sigstore || !self.is_of_sigstore()
    }

    /// The kinds of registry that it is played on.
    pub(super) fn kinds(self) -> &'static [Kind] {
        if self.is_of_sigstore() {
            &[Kind::Api, Kind::Http2]
        } else {
            &Kind::ALL
        }
    }

    pub(super) fn is_recursive(self) -> bool {
        matches!(self, Self::SealRecursive | Self::Verify | Self::Publish)
    }

    /// How many signatures a run adds to each thing that it signs.
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

    /// Whether somebody else has signed the index as well: then lists are grown, not begun.
    pub(super) fn has_company(self) -> bool {
        !matches!(
            self,
            Self::SealBoth | Self::SealRekor2 | Self::SealRecursive
        )
    }
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Api, Self::FallbackTag, Self::Bearer, Self::Http2];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Api => "referrers API",
            Self::FallbackTag => "fallback tag",
            Self::Bearer => "bearer",
            Self::Http2 => "bearer, HTTP/2",
        }
    }

    pub(super) fn options(self) -> Options {
        match self {
            Self::Api => Options::new(),
            Self::FallbackTag => Options::new()
                .referrers(Referrers::TagSchema)
                .takes_whole(false)
                .deletes(Deletes::Digests),
            Self::Bearer => Options::new().bearer(USER, PASSWORD),
            Self::Http2 => Options::new()
                .bearer(USER, PASSWORD)
                .transport(Transport::HTTP2),
        }
    }
}
