//! A run that published at a hosted registry, for a cleanup.

use std::collections::BTreeMap;

use sandbox::{Kind, Options, Service, Snapshot};
use serde_json::json;

use super::hosted::{Hosted, PASSWORD, auths, kept_secret};
use super::{Action, Outcome, REPOSITORY, cleanup};

/// Returns method and path of a service's deletion requests.
pub(crate) fn asked(service: Service) -> (&'static str, &'static str) {
    match service {
        Service::DockerHub => ("DELETE", "/v2/repositories/octo-org/app/tags/*"),
        Service::Ghcr => ("DELETE", "/orgs/octo-org/packages/container/app/versions/*"),
        Service::Ecr | Service::EcrPublic => ("POST", "/"),
        Service::Acr => ("DELETE", "/acr/v1/octo-org/app/_tags/*"),
        Service::Harbor => (
            "DELETE",
            "/api/v2.0/projects/octo-org/repositories/app/artifacts/*",
        ),
        Service::ArtifactRegistry | Service::Quay | Service::GitLab => {
            ("DELETE", "/v2/octo-org/app/manifests/*")
        }
    }
}

/// A run that published over existing tags, with a record for the cleanup.
pub(crate) struct Published {
    pub(crate) hosted: Hosted,
    pub(crate) before: BTreeMap<String, String>,
    pub(crate) digest: String,
    action: Action,
    start: Snapshot,
}

impl Published {
    pub(crate) fn new(service: Service) -> Self {
        Self::with(service, Options::new())
    }

    pub(crate) fn with(service: Service, options: Options) -> Self {
        let hosted = Hosted::with(service, options);
        let other = hosted
            .registry()
            .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 3);
        let earlier = hosted.world.create().input("digests", &other.digest);
        let earlier = earlier.input("tags", "v0").input("moving-tags", "latest");
        hosted.logged_in(earlier).succeed();
        let before = hosted.world.tags();
        let action = hosted.world.create().input("tags", "v1,v1.0");
        let action = hosted.logged_in(action.input("moving-tags", "latest,edge"));
        let digest = action.succeed().output("digest").to_owned();
        Self {
            start: hosted.registry().snapshot(),
            hosted,
            before,
            digest,
            action,
        }
    }

    /// Restores the state after the run, for another cleanup.
    pub(crate) fn begin_again(&self) {
        self.hosted.registry().restore(&self.start);
    }

    pub(crate) fn cleanup(&self) -> Action {
        cleanup(&self.action)
    }

    /// Returns a cleanup with credentials for Amazon's registries: the login there uses the endpoint of deletions.
    pub(crate) fn cleanup_logged_in(&self) -> Action {
        let [host, ..] = self.hosted.service.hosts();
        match self.hosted.service {
            Service::Ecr | Service::EcrPublic => self
                .cleanup()
                .input("registry-auths", auths(host, "AWS", PASSWORD)),
            Service::DockerHub
            | Service::Ghcr
            | Service::Acr
            | Service::ArtifactRegistry
            | Service::Quay
            | Service::Harbor
            | Service::GitLab => self.cleanup(),
        }
    }

    /// Cleans up, and asserts that the run succeeds, reveals no secret, and contacts no host of another service.
    pub(crate) fn clean(&self) -> Outcome {
        let outcome = self.cleanup_logged_in().succeed();
        kept_secret(&outcome);
        self.hosted.kept_to_itself();
        outcome
    }

    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        self.hosted.world.tags()
    }

    /// Asserts that the tags to delete still exist, each with a reason that contains each of `texts`. The tags to restore are
    /// restored.
    pub(crate) fn remains(&self, outcome: &Outcome, texts: &[&str]) {
        let mut wanted = self.before.clone();
        for tag in ["v1", "v1.0", "edge"] {
            wanted.insert(tag.to_owned(), self.digest.clone());
        }
        assert_eq!(self.tags(), wanted, "{}", outcome.log);
        let remaining = outcome.json("remaining");
        assert_eq!(remaining.as_array().unwrap().len(), 3, "{remaining}");
        for entry in remaining.as_array().unwrap() {
            let why = entry["why"].as_str().unwrap();
            for text in texts {
                assert!(why.contains(text), "{text}: {why}");
            }
            assert_eq!(entry["digest"], json!(self.digest));
            assert_ne!(entry["steps"], json!(""));
        }
        let warnings = outcome.log.lines();
        let warnings = warnings.filter(|line| line.starts_with("::warning"));
        assert_eq!(warnings.count(), 3, "{}", outcome.log);
    }
}
