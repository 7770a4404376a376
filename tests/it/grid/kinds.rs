//! The kinds of registry in the grid: those of today, and the features of the specification of 2026.

use sandbox::{
    Conditions, Deletes, ManifestReads, Options, Referrers, Request, TagParameter, Transport,
};

use super::axes::Command;
use crate::support::hosted::PASSWORD;

/// The user at registries that require one.
pub(super) const USER: &str = "octocat";

/// A kind of registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Without authentication, with the referrers API.
    Api,
    /// Like distribution 2: no referrers API, no blob with the POST, only digests can be deleted.
    FallbackTag,
    /// With the referrers API, and a token for each request.
    Bearer,
    /// Like `Bearer`, by TLS and HTTP/2, as hosted registries are.
    Http2,
    /// Writes several tags in one request, and names them.
    TagsTogether,
    /// Names the tags of such a request, and writes none.
    TagsNamed,
    /// Writes the tags of such a request, and names none.
    TagsUnnamed,
    /// Writes and names only the first tag of such a request.
    TagsFirst,
    /// Without the referrers API, honours conditions on writes: 412.
    Conditions,
    /// Like `Conditions`, but answers 400.
    ConditionsAsInvalid,
    /// Without the referrers API, refuses each write with a condition.
    ConditionsBroken,
    /// Without the referrers API, requires tokens, and redirects reads of manifests to another host.
    Redirected,
    /// Without the referrers API, with a list whose last entry has no manifest. Accepts an index without its children.
    Unchecked,
    /// Like `Unchecked`, but refuses such an index.
    DeadEntry,
    /// Without the referrers API. A list of signatures is absent in its first reads.
    LateList,
}

impl Kind {
    pub(super) const BASIC: [Self; 4] = [Self::Api, Self::FallbackTag, Self::Bearer, Self::Http2];

    /// The features of the specification of 2026, and registries that announce a feature and fail at it.
    pub(super) const OF_2026: [Self; 11] = [
        Self::TagsTogether,
        Self::TagsNamed,
        Self::TagsUnnamed,
        Self::TagsFirst,
        Self::Conditions,
        Self::ConditionsAsInvalid,
        Self::ConditionsBroken,
        Self::Redirected,
        Self::Unchecked,
        Self::DeadEntry,
        Self::LateList,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Api => "referrers API",
            Self::FallbackTag => "fallback tag",
            Self::Bearer => "bearer",
            Self::Http2 => "bearer, HTTP/2",
            Self::TagsTogether => "`?tag=`",
            Self::TagsNamed => "`?tag=`, named and not written",
            Self::TagsUnnamed => "`?tag=`, written and not named",
            Self::TagsFirst => "`?tag=`, only the first",
            Self::Conditions => "conditions",
            Self::ConditionsAsInvalid => "conditions, 400",
            Self::ConditionsBroken => "conditions, always refused",
            Self::Redirected => "redirected manifests",
            Self::Unchecked => "dead entry, accepted",
            Self::DeadEntry => "dead entry",
            Self::LateList => "late list",
        }
    }

    pub(super) fn options(self) -> Options {
        let without_api = || Options::new().referrers(Referrers::TagSchema);
        match self {
            Self::Api => Options::new(),
            Self::FallbackTag => without_api().takes_whole(false).deletes(Deletes::Digests),
            Self::Bearer => Options::new().bearer(USER, PASSWORD),
            Self::Http2 => Options::new()
                .bearer(USER, PASSWORD)
                .transport(Transport::HTTP2),
            Self::TagsTogether => Options::new().tag_parameter(TagParameter::Honoured),
            Self::TagsNamed => Options::new().tag_parameter(TagParameter::Boastful),
            Self::TagsUnnamed => Options::new().tag_parameter(TagParameter::Silent),
            Self::TagsFirst => Options::new().tag_parameter(TagParameter::First),
            Self::Conditions => without_api().conditions(Conditions::Honoured),
            Self::ConditionsAsInvalid => without_api().conditions(Conditions::AsInvalid),
            Self::ConditionsBroken => without_api().conditions(Conditions::Broken),
            Self::Redirected => without_api()
                .bearer(USER, PASSWORD)
                .redirects_manifests(ManifestReads::OtherHost),
            Self::Unchecked => without_api().checks_children(false),
            Self::DeadEntry | Self::LateList => without_api(),
        }
    }

    pub(super) fn has_referrers_api(self) -> bool {
        match self {
            Self::Api
            | Self::Bearer
            | Self::Http2
            | Self::TagsTogether
            | Self::TagsNamed
            | Self::TagsUnnamed
            | Self::TagsFirst => true,
            Self::FallbackTag
            | Self::Conditions
            | Self::ConditionsAsInvalid
            | Self::ConditionsBroken
            | Self::Redirected
            | Self::Unchecked
            | Self::DeadEntry
            | Self::LateList => false,
        }
    }

    pub(super) fn requires_credentials(self) -> bool {
        matches!(self, Self::Bearer | Self::Http2 | Self::Redirected)
    }

    /// True if the commands write two fixed and two moving tags: one alone needs no query.
    pub(super) fn has_many_tags(self) -> bool {
        matches!(
            self,
            Self::TagsTogether | Self::TagsNamed | Self::TagsUnnamed | Self::TagsFirst
        )
    }

    pub(super) fn has_dead_entry(self) -> bool {
        matches!(self, Self::Unchecked | Self::DeadEntry)
    }

    /// True if a run of `command` sends other requests than on [`Kind::BASIC`], or gets other answers.
    pub(super) fn matters_to(self, command: Command) -> bool {
        match self {
            Self::Api | Self::FallbackTag | Self::Bearer | Self::Http2 => true,
            Self::TagsTogether | Self::TagsNamed | Self::TagsUnnamed | Self::TagsFirst => {
                matches!(
                    command,
                    Command::SealBundle | Command::SealBoth | Command::Publish
                )
            }
            Self::Conditions | Self::ConditionsAsInvalid | Self::ConditionsBroken => matches!(
                command,
                Command::SealBoth | Command::SealLegacy | Command::Publish | Command::Cleanup
            ),
            Self::Redirected => matches!(
                command,
                Command::SealBundle | Command::SealElsewhere | Command::Verify | Command::Publish
            ),
            Self::Unchecked | Self::DeadEntry => matches!(
                command,
                Command::SealBundle | Command::SealRecursive | Command::Publish
            ),
            Self::LateList => matches!(
                command,
                Command::SealBundle
                    | Command::SealRecursive
                    | Command::SealElsewhere
                    | Command::Publish
            ),
        }
    }

    /// True if the request is sent or answered in another way than on [`Kind::BASIC`].
    pub(super) fn is_particular(self, request: &Request) -> bool {
        let is_write = request.method == "PUT" && request.path.contains("/manifests/");
        let is_of_list = request.path.contains("/manifests/sha256-");
        match self {
            Self::Api | Self::FallbackTag | Self::Bearer | Self::Http2 => false,
            Self::TagsTogether | Self::TagsNamed | Self::TagsUnnamed | Self::TagsFirst => {
                is_write && request.path.contains("?tag=")
            }
            Self::Conditions | Self::ConditionsAsInvalid | Self::ConditionsBroken => {
                is_write && !request.path.contains("/manifests/sha256:")
            }
            Self::Redirected => request.path.starts_with("/storage/"),
            Self::Unchecked | Self::DeadEntry | Self::LateList => is_of_list,
        }
    }
}
