//! The identity of this run, for commands that verify its own signatures and make none.

use super::error::SigstoreError;
use super::service_client::ServiceClient;
use super::token::{TokenSource, Tokens, WorkflowIdentity};
use crate::domain::{Events, RetryPolicy};
use crate::http::Client;

/// The identity of this run from its token, without the services to sign with.
#[derive(Debug)]
pub struct OwnIdentity(Tokens);

impl OwnIdentity {
    /// Prepares the identity; sends no request yet.
    #[must_use]
    pub fn new(
        http: Client,
        source: TokenSource,
        retry_policy: RetryPolicy,
        events: &Events,
    ) -> Self {
        let client = ServiceClient::new(http, retry_policy.for_signing(), events);
        Self(Tokens::new(source, client))
    }

    /// Returns the identity of this run from its token.
    pub async fn workflow_identity(&self) -> Result<WorkflowIdentity, SigstoreError> {
        Ok(self.0.fresh().await?.workflow_identity)
    }
}
