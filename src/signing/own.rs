//! The identity of this run, for commands that verify its own signatures and make none.

use super::error::SigningError;
use super::retry::Persistence;
use super::token::{Caller, TokenSource, Tokens};
use crate::domain::{Events, Patience};
use crate::http::Client;

/// The identity of this run from its token, without the services to sign with.
#[derive(Debug)]
pub struct OwnIdentity(Tokens);

impl OwnIdentity {
    /// Prepares the identity; sends no request yet.
    #[must_use]
    pub fn new(http: Client, source: TokenSource, patience: Patience, events: &Events) -> Self {
        let persistence = Persistence::of_signing(patience, events);
        Self(Tokens::new(source, http, persistence, events.clone()))
    }

    /// Returns the identity of this run from its token.
    pub async fn caller(&self) -> Result<Caller, SigningError> {
        Ok(self.0.fresh().await?.caller)
    }
}
