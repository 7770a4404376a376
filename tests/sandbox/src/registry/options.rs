//! The options of the registry.

use super::aws::Keys;
use super::conditions::Conditions;
use super::redirects::ManifestReads;
use super::services::{Habits, Service};
use super::tag_parameter::TagParameter;
use crate::transport::Transport;
use std::time::Duration;

/// The registry's support for referrers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// The API of distribution 1.1, and `OCI-Subject` on pushes.
    Api,
    /// None (404, text/plain): clients maintain the referrers tag.
    TagSchema,
}

/// The deletions that the registry's own protocol allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// Tags and digests, as specified.
    Tags,
    /// Only digests. A tag is refused like in distribution 2, which takes it for an invalid digest.
    Digests,
    /// Nothing: 405.
    Nothing,
}

/// The authentication of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// None.
    None,
    /// User and password with each request.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token with the right scope, in exchange for user and password. The password is also an identity token.
    Bearer {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
}

/// The settings of a registry. The default is an open one with the referrers API, without lag.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Options {
    pub(crate) transport: Transport,
    pub(crate) referrers: Referrers,
    pub(crate) auth: Auth,
    pub(crate) immutable_tags: bool,
    pub(crate) lag: u32,
    pub(crate) page_size: usize,
    pub(crate) token_lifetime: Duration,
    pub(crate) token_bytes: usize,
    pub(crate) anonymous_pull: bool,
    pub(crate) habits: Habits,
    pub(crate) aws: Option<Keys>,
    pub(crate) grants: Option<Vec<String>>,
    pub(crate) hides_new: bool,
    pub(crate) denied: Vec<(String, String)>,
    pub(crate) deletes: Deletes,
    pub(crate) service: Option<Service>,
    pub(crate) may_delete: bool,
    pub(crate) takes_whole: bool,
    pub(crate) upload_max: usize,
    pub(crate) part_min: usize,
    pub(crate) tag_parameter: TagParameter,
    pub(crate) conditions: Conditions,
    pub(crate) manifest_reads: ManifestReads,
    pub(crate) checks_children: bool,
    pub(crate) lists_in_new: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            referrers: Referrers::Api,
            auth: Auth::None,
            immutable_tags: false,
            lag: 0,
            page_size: 1000,
            token_lifetime: Duration::from_mins(5),
            token_bytes: usize::MAX,
            anonymous_pull: false,
            habits: Habits::default(),
            aws: None,
            grants: None,
            hides_new: false,
            denied: Vec::new(),
            deletes: Deletes::Tags,
            service: None,
            may_delete: true,
            takes_whole: true,
            upload_max: usize::MAX,
            part_min: 0,
            tag_parameter: TagParameter::Ignored,
            conditions: Conditions::Ignored,
            manifest_reads: ManifestReads::Direct,
            checks_children: true,
            lists_in_new: true,
        }
    }
}

impl Options {
    /// Creates the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the transport.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Sets the support for referrers: the API or the referrers tag.
    #[must_use]
    pub fn referrers(mut self, referrers: Referrers) -> Self {
        self.referrers = referrers;
        self
    }

    /// Sets the authentication.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Requires basic authentication.
    #[must_use]
    pub fn basic(self, user: &str, password: &str) -> Self {
        self.auth(Auth::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Requires bearer tokens.
    #[must_use]
    pub fn bearer(self, user: &str, password: &str) -> Self {
        self.auth(Auth::Bearer {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Imitates a hosted registry, for one user. Clients reach it by its own names, with this server as the proxy.
    #[must_use]
    pub fn like(mut self, service: Service, user: &str, password: &str) -> Self {
        self.habits = service.habits();
        self.referrers = service.referrers().unwrap_or(self.referrers);
        self.service = Some(service);
        self.deletes = service.deletes();
        match service {
            Service::Ecr => self.basic(user, password),
            Service::DockerHub
            | Service::Ghcr
            | Service::EcrPublic
            | Service::Acr
            | Service::ArtifactRegistry
            | Service::Quay
            | Service::Harbor
            | Service::GitLab => self.bearer(user, password),
        }
    }

    /// Adds AWS, which gives the login to the owner of these keys, or denies it unless they `may_log_in`.
    #[must_use]
    pub fn aws(
        mut self,
        id: &str,
        secret: &str,
        session_token: Option<&str>,
        may_log_in: bool,
    ) -> Self {
        self.aws = Some(Keys {
            id: id.to_owned(),
            secret: secret.to_owned(),
            session_token: session_token.map(str::to_owned),
            may_log_in,
        });
        self
    }

    /// Limits the user's actions (`pull`), with bearer tokens: tokens grant these actions and no more.
    #[must_use]
    pub fn grants(mut self, actions: &[&str]) -> Self {
        self.grants = Some(actions.iter().map(|&action| action.to_owned()).collect());
        self
    }

    /// Denies (403) a repository without any push, with any token.
    #[must_use]
    pub fn hides_new(mut self, hides: bool) -> Self {
        self.hides_new = hides;
        self
    }

    /// Denies (403) reads of paths that match `pattern`, with the text `message` and with any token. Unlike a fault it
    /// applies only to requests with a token, so that there is a challenge first.
    #[must_use]
    pub fn denies(mut self, pattern: &str, message: &str) -> Self {
        self.denied.push((pattern.to_owned(), message.to_owned()));
        self
    }

    /// Sets the allowed deletions.
    #[must_use]
    pub fn deletes(mut self, deletes: Deletes) -> Self {
        self.deletes = deletes;
        self
    }

    /// Sets whether the service's own API allows the user to delete.
    #[must_use]
    pub fn may_delete(mut self, may: bool) -> Self {
        self.may_delete = may;
        self
    }

    /// Sets whether a blob can be sent with the POST. If not, the POST begins an upload, like in distribution.
    #[must_use]
    pub fn takes_whole(mut self, takes: bool) -> Self {
        self.takes_whole = takes;
        self
    }

    /// Limits the length of each upload request: 413, as from a proxy with such a limit.
    #[must_use]
    pub fn upload_max(mut self, bytes: usize) -> Self {
        self.upload_max = bytes;
        self
    }

    /// Requires a minimum length for all upload parts but the last (`OCI-Chunk-Min-Length`): 416.
    #[must_use]
    pub fn part_min(mut self, bytes: usize) -> Self {
        self.part_min = bytes;
        self
    }

    /// Gives a token that may pull to clients without credentials, with bearer tokens.
    #[must_use]
    pub fn anonymous_pull(mut self, allowed: bool) -> Self {
        self.anonymous_pull = allowed;
        self
    }

    /// Sets the lifetime of tokens; `expires_in` states it in whole seconds.
    #[must_use]
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// Ends each token once more than this many bytes were sent with it, before the request with the last of them is
    /// answered: a line of constant speed, and a registry that looks at the token after the upload, as GitLab does.
    #[must_use]
    pub fn token_bytes(mut self, bytes: usize) -> Self {
        self.token_bytes = bytes;
        self
    }

    /// Makes tags immutable: another digest is refused (400 `TAG_INVALID`), the same digest is accepted.
    #[must_use]
    pub fn immutable_tags(mut self, immutable: bool) -> Self {
        self.immutable_tags = immutable;
        self
    }

    /// Hides each new manifest or tag from its first `reads` reads: 404, or the tag's previous digest.
    #[must_use]
    pub fn lag(mut self, reads: u32) -> Self {
        self.lag = reads;
        self
    }

    /// Limits the entries of a page of a tag list or a referrers answer.
    #[must_use]
    pub fn page_size(mut self, entries: usize) -> Self {
        self.page_size = entries.max(1);
        self
    }

    /// Sets the support for tags in the query of a push by digest.
    #[must_use]
    pub fn tag_parameter(mut self, support: TagParameter) -> Self {
        self.tag_parameter = support;
        self
    }

    /// Sets the support for conditions on pushes by tag.
    #[must_use]
    pub fn conditions(mut self, support: Conditions) -> Self {
        self.conditions = support;
        self
    }

    /// Sets whether reads of manifests are redirected (307), and to which host.
    #[must_use]
    pub fn redirects_manifests(mut self, reads: ManifestReads) -> Self {
        self.manifest_reads = reads;
        self
    }

    /// Sets whether the referrers API answers for a repository without any push. If not, it answers 404 `NAME_UNKNOWN` as
    /// CUE's library does.
    #[must_use]
    pub fn lists_in_new(mut self, lists: bool) -> Self {
        self.lists_in_new = lists;
        self
    }

    /// Sets whether an index with an absent child is refused (400 `MANIFEST_BLOB_UNKNOWN`). If not, it is accepted, like in
    /// zot. Config and layers of an image are always checked.
    #[must_use]
    pub fn checks_children(mut self, checks: bool) -> Self {
        self.checks_children = checks;
        self
    }
}
