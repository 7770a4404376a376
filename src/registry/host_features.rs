//! Remembers what this run found out about each host, so that nothing is tried twice: its scheme, the ways of uploading
//! that it does not support, and the conditions on writes that it honours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::conditions::{Condition, ConditionKind, Conditions, Support};
use crate::domain::{Digest, Host, Reference, Repository};
use crate::http::Response;

/// The scheme of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// The features of all hosts.
#[derive(Debug, Default)]
pub(super) struct HostFeatures(Mutex<BTreeMap<Host, Features>>);

/// The reason why large blobs are sent to a host in chunks, or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Chunking {
    /// They are sent in one request. Nothing is known about chunks.
    #[default]
    Untried,
    /// The host accepts no large blob in one request.
    Required,
    /// A token of the host ended while a large blob was sent.
    ForTokens,
    /// The host accepts no chunks.
    Refused,
}

/// The features of one host. The default is a host without a request so far.
#[derive(Debug, Default)]
struct Features {
    /// The scheme, once it is certain.
    scheme: Option<Scheme>,
    /// True if the host accepts a blob in the POST, once that is known.
    takes_whole: Option<bool>,
    chunking: Chunking,
    /// Repositories that refuse mounts, each with the repository to mount from.
    refused_mounts: BTreeSet<(Repository, Repository)>,
    /// True if the host does not write several tags in one request.
    wants_single_tags: bool,
    /// The conditions on writes of tags.
    conditions: Conditions,
    /// Tags whose reads another host answered.
    answered_elsewhere: BTreeSet<(Repository, Reference)>,
}

impl HostFeatures {
    pub(super) fn scheme(&self, host: &Host) -> Option<Scheme> {
        self.read(host, |features| features.scheme)
    }

    pub(super) fn remember_scheme(&self, host: &Host, scheme: Scheme) {
        self.change(host, |features| features.scheme = Some(scheme));
    }

    /// True if the registry may accept a blob in the POST.
    pub(super) fn may_post_whole(&self, host: &Host) -> bool {
        self.read(host, |features| features.takes_whole) != Some(false)
    }

    /// True if the registry is known to accept a blob in the POST.
    pub(super) fn takes_whole(&self, host: &Host) -> bool {
        self.read(host, |features| features.takes_whole) == Some(true)
    }

    pub(super) fn remember_whole(&self, host: &Host, takes_whole: bool) {
        self.change(host, |features| features.takes_whole = Some(takes_whole));
    }

    pub(super) fn chunking(&self, host: &Host) -> Chunking {
        self.read(host, |features| features.chunking)
    }

    /// Remembers that large blobs are sent in chunks, or no longer. A host that refuses chunks gets no others.
    pub(super) fn remember_chunks(&self, host: &Host, chunking: Chunking) {
        self.change(host, |features| {
            if features.chunking != Chunking::Refused {
                features.chunking = chunking;
            }
        });
    }

    /// True if `repository` may mount blobs from `from`, a repository of the same host.
    pub(super) fn may_mount(&self, repository: &Repository, from: &Repository) -> bool {
        let pair = (repository.clone(), from.clone());
        !self.read(repository.host(), |features| {
            features.refused_mounts.contains(&pair)
        })
    }

    pub(super) fn remember_no_mount(&self, repository: &Repository, from: &Repository) {
        let pair = (repository.clone(), from.clone());
        self.change(repository.host(), |features| {
            features.refused_mounts.insert(pair);
        });
    }

    pub(super) fn may_write_tags_together(&self, host: &Host) -> bool {
        !self.read(host, |features| features.wants_single_tags)
    }

    pub(super) fn remember_single_tags(&self, host: &Host) {
        self.change(host, |features| features.wants_single_tags = true);
    }

    /// Keeps the `ETag` in the host's own response to a read of a tag.
    pub(super) fn observe_tag(
        &self,
        repository: &Repository,
        tag: &Reference,
        digest: &Digest,
        response: &Response,
    ) {
        self.change(repository.host(), |features| {
            features
                .conditions
                .observe(repository, tag, digest, response);
        });
    }

    pub(super) fn note_answered_elsewhere(&self, repository: &Repository, tag: &Reference) {
        let tag = (repository.clone(), tag.clone());
        self.change(repository.host(), |features| {
            features.answered_elsewhere.insert(tag);
        });
    }

    pub(super) fn is_answered_elsewhere(&self, repository: &Repository, tag: &Reference) -> bool {
        let tag = (repository.clone(), tag.clone());
        self.read(repository.host(), |features| {
            features.answered_elsewhere.contains(&tag)
        })
    }

    /// Returns the condition for a write of a tag that has the content `held`.
    pub(super) fn condition(
        &self,
        repository: &Repository,
        tag: &Reference,
        held: Option<&Digest>,
    ) -> Option<Condition> {
        self.read(repository.host(), |features| {
            features.conditions.for_write(repository, tag, held)
        })
    }

    pub(super) fn support(&self, host: &Host, kind: ConditionKind) -> Support {
        self.read(host, |features| features.conditions.support(kind))
    }

    /// Reports whether the host honours conditions of either kind.
    pub(super) fn honours_conditions(&self, host: &Host) -> bool {
        let kinds = [ConditionKind::Match, ConditionKind::NoneMatch];
        kinds
            .into_iter()
            .any(|kind| self.support(host, kind) == Support::Honoured)
    }

    pub(super) fn remember_support(&self, host: &Host, kind: ConditionKind, support: Support) {
        self.change(host, |features| {
            features.conditions.set_support(kind, support);
        });
    }

    fn read<T: Default>(&self, host: &Host, read: impl FnOnce(&Features) -> T) -> T {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(host).map(read).unwrap_or_default()
    }

    fn change(&self, host: &Host, change: impl FnOnce(&mut Features)) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(hosts.entry(host.clone()).or_default());
    }
}

impl Scheme {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_is_remembered_for_its_own_host_or_pair_alone() {
        let [own, from, other]: [Repository; 3] =
            ["a.example/o/r", "a.example/o/from", "b.example/o/r"]
                .map(|name| name.parse().unwrap());
        let features = HostFeatures::default();
        features.remember_scheme(own.host(), Scheme::Http);
        features.remember_whole(own.host(), false);
        features.remember_chunks(own.host(), Chunking::Required);
        features.remember_no_mount(&own, &from);

        assert_eq!(features.scheme(own.host()), Some(Scheme::Http));
        assert!(!features.may_post_whole(own.host()));
        assert_eq!(features.chunking(own.host()), Chunking::Required);
        assert!(!features.may_mount(&own, &from));
        assert!(features.may_mount(&from, &own));

        assert_eq!(features.scheme(other.host()), None);
        assert!(features.may_post_whole(other.host()));
        assert_eq!(features.chunking(other.host()), Chunking::Untried);
        assert!(features.may_mount(&other, &from));
    }
}
