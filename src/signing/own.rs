//! Who this run is, for what verifies its own signatures and makes none.

use super::error::SigningError;
use super::retry::Persistence;
use super::token::{Caller, TokenSource, Tokens};
use crate::domain::{Events, Patience};
use crate::http::Client;

/// The identity of this run, by its token, without the services to sign with.
#[derive(Debug)]
pub struct OwnIdentity(Tokens);

impl OwnIdentity {
    /// Asks nobody yet.
    #[must_use]
    pub fn new(http: Client, source: TokenSource, patience: Patience, events: &Events) -> Self {
        let persistence = Persistence::of_signing(patience, events);
        Self(Tokens::new(source, http, persistence, events.clone()))
    }

    /// Who this run is, by its token.
    pub async fn caller(&self) -> Result<Caller, SigningError> {
        Ok(self.0.fresh().await?.caller)
    }
}
