//! What kind of registry it is.

use super::aws::Keys;
use super::services::{Habits, Service};
use crate::transport::Transport;
use std::time::Duration;

/// How the registry answers referrers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// With the API of distribution 1.1, and `OCI-Subject` on pushes.
    Api,
    /// Not at all (404, text/plain): clients keep the fallback tag.
    TagSchema,
}

/// What can be deleted by the registry's own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// Tags and digests, as the specification has it.
    Tags,
    /// Digests alone; a tag is refused as distribution 2 does, which takes it for a wrong digest.
    Digests,
    /// Nothing: 405.
    Nothing,
}

/// Who may use the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Everybody.
    None,
    /// Who sends user and password with each request.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// Who trades user and password for a token of the right scope. The password is also an identity token.
    Bearer {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
}

/// The settings of a registry; the default is an open one with the referrers API, without lag.
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
        }
    }
}

impl Options {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// How it is reached.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Referrers API or fallback tag.
    #[must_use]
    pub fn referrers(mut self, referrers: Referrers) -> Self {
        self.referrers = referrers;
        self
    }

    /// Who may use it.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Basic auth.
    #[must_use]
    pub fn basic(self, user: &str, password: &str) -> Self {
        self.auth(Auth::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Bearer tokens.
    #[must_use]
    pub fn bearer(self, user: &str, password: &str) -> Self {
        self.auth(Auth::Bearer {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// With the habits of a hosted registry, for one user. It is reached under its own names, with this as the proxy.
    #[must_use]
    pub fn like(mut self, service: Service, user: &str, password: &str) -> Self {
        self.habits = service.habits();
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
            | Service::Harbor => self.bearer(user, password),
        }
    }

    /// AWS is here too, and gives the login to the owner of these keys; or denies it, if they `may_log_in` not.
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

    /// With bearer tokens: what the user is allowed at most (`pull`); tokens are granted that and no more.
    #[must_use]
    pub fn grants(mut self, actions: &[&str]) -> Self {
        self.grants = Some(actions.iter().map(|&action| action.to_owned()).collect());
        self
    }

    /// A repository that nobody has pushed to is denied (403), with whichever token.
    #[must_use]
    pub fn hides_new(mut self, hides: bool) -> Self {
        self.hides_new = hides;
        self
    }

    /// Reads of paths like `pattern` are denied (403) in the words of `message`, with whichever token. Unlike a fault it
    /// leaves alone who has not shown a token yet, so that there is a challenge first.
    #[must_use]
    pub fn denies(mut self, pattern: &str, message: &str) -> Self {
        self.denied.push((pattern.to_owned(), message.to_owned()));
        self
    }

    /// What can be deleted.
    #[must_use]
    pub fn deletes(mut self, deletes: Deletes) -> Self {
        self.deletes = deletes;
        self
    }

    /// Whether the service's own API lets the user delete.
    #[must_use]
    pub fn may_delete(mut self, may: bool) -> Self {
        self.may_delete = may;
        self
    }

    /// Whether a blob can be sent with the POST; where not, one begins an upload, as with distribution.
    #[must_use]
    pub fn takes_whole(mut self, takes: bool) -> Self {
        self.takes_whole = takes;
        self
    }

    /// No request of an upload may be longer: 413, as from a proxy that has such a limit.
    #[must_use]
    pub fn upload_max(mut self, bytes: usize) -> Self {
        self.upload_max = bytes;
        self
    }

    /// No part of an upload but the last may be shorter (`OCI-Chunk-Min-Length`): 416.
    #[must_use]
    pub fn part_min(mut self, bytes: usize) -> Self {
        self.part_min = bytes;
        self
    }

    /// With bearer tokens: whoever asks without credentials gets a token that may pull.
    #[must_use]
    pub fn anonymous_pull(mut self, allowed: bool) -> Self {
        self.anonymous_pull = allowed;
        self
    }

    /// How long tokens live; `expires_in` says so in whole seconds.
    #[must_use]
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// A tag that holds something refuses other content (400 `TAG_INVALID`); the same content is fine.
    #[must_use]
    pub fn immutable_tags(mut self, immutable: bool) -> Self {
        self.immutable_tags = immutable;
        self
    }

    /// The first `reads` reads of each new manifest or tag do not show it: 404, or what the tag held before.
    #[must_use]
    pub fn lag(mut self, reads: u32) -> Self {
        self.lag = reads;
        self
    }

    /// The most entries that a tag list or a referrers answer holds before it goes on in another page.
    #[must_use]
    pub fn page_size(mut self, entries: usize) -> Self {
        self.page_size = entries.max(1);
        self
    }
}
