//! The event that started the run, if it decides which rights the job has.
//!
//! Source: GitHub's documentation, "Events that trigger workflows" (pull requests from forked repositories) and
//! "Automating Dependabot with GitHub Actions": those runs get a read-only token and no OIDC token.

use std::path::Path;

use serde::Deserialize;

use super::Environment;
use super::environment::read_bounded;
use crate::domain::TokenAbsence;

/// The events that run with a fork's rights. `pull_request_target` runs with those of the base repository.
const OF_FORKS: [&str; 3] = [
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
];
const DEPENDABOT: &str = "dependabot[bot]";

#[derive(Deserialize)]
struct WebhookEvent {
    pull_request: PullRequest,
}

#[derive(Deserialize)]
struct PullRequest {
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Side {
    /// Null if the fork has been deleted.
    repo: Option<WebhookRepository>,
}

#[derive(Deserialize)]
struct WebhookRepository {
    full_name: String,
}

impl Environment {
    /// Returns the reason why the job has no OIDC token. An event that cannot be read gives no excuse.
    #[must_use]
    pub fn token_absence(&self) -> TokenAbsence {
        if self.variable("GITHUB_ACTOR") == Some(DEPENDABOT) {
            return TokenAbsence::Dependabot;
        }
        self.fork().unwrap_or_default()
    }

    /// Returns the fork that the pull request of this run comes from.
    fn fork(&self) -> Option<TokenAbsence> {
        let event = self.variable("GITHUB_EVENT_NAME")?;
        if !OF_FORKS.contains(&event) {
            return None;
        }
        let payload = read_bounded(Path::new(self.variable("GITHUB_EVENT_PATH")?)).ok()?;
        let WebhookEvent { pull_request } = serde_json::from_slice(&payload).ok()?;
        let base = pull_request.base.repo?.full_name;
        let head = pull_request.head.repo.map(|head| head.full_name);
        let is_own = head
            .as_ref()
            .is_some_and(|head| head.eq_ignore_ascii_case(&base));
        (!is_own).then_some(TokenAbsence::Fork(head))
    }
}
