//! The means to sign, with those to verify.

use std::ops::Deref;

use super::SignatureError;
use super::verifying_context::{VerifyingContext, own_policy};
use crate::domain::Policy;
use crate::inputs::PolicyInputs;
use crate::sigstore::{Keyless, check_identity};

/// The means to sign and to verify.
pub struct SigningContext {
    /// The means to verify.
    pub verifying: VerifyingContext,
    /// The means to sign, or `None` if no token is available or nothing is signed.
    pub keyless: Option<Keyless>,
}

impl Deref for SigningContext {
    type Target = VerifyingContext;

    fn deref(&self) -> &VerifyingContext {
        &self.verifying
    }
}

impl SigningContext {
    /// Returns the means to sign.
    pub(super) fn keyless(&self) -> Result<&Keyless, SignatureError> {
        self.keyless.as_ref().ok_or_else(|| self.no_token())
    }

    /// Determines the identity that a signature of this run must have.
    ///
    /// A policy that this run's own token does not meet is an error. Each rerun would sign once more, and no verifier
    /// would accept the result. Without a token nothing can be signed, and the inputs must state the whole policy.
    pub(crate) async fn signing_policy(
        &self,
        inputs: &PolicyInputs,
    ) -> Result<Policy, SignatureError> {
        let Some(keyless) = &self.keyless else {
            return self.verifying.policy(inputs).await;
        };
        let workflow_identity = keyless.workflow_identity().await?;
        let policy = own_policy(inputs, &workflow_identity)?;
        check_identity(&policy, &workflow_identity)
            .map_err(|refusal| SignatureError::UnmetPolicy(Box::new(refusal)))?;
        Ok(policy)
    }

    /// Starts to request a certificate, so that the wait overlaps with other work. A failure appears when it is used.
    pub(crate) fn prefetch_certificate(&self) {
        if let Some(keyless) = &self.keyless {
            keyless.prefetch_certificate();
        }
    }
}
