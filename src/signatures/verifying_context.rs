//! The required identity, and the means to verify.

use std::sync::Arc;

use super::SignatureError;
use super::candidates::Candidate;
use crate::domain::{Digest, Matcher, Policy, SourceRepository, TokenAbsence};
use crate::inputs::PolicyInputs;
use crate::sigstore::{
    OwnIdentity, Trust, VerificationError, Verified, WorkflowIdentity, verify, verify_legacy,
};

/// The issuer of GitHub's tokens, which `verify` expects by default.
pub const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// The trust root and the identity of this run, for verifying. It cannot sign.
pub struct VerifyingContext {
    /// The trust root.
    pub trust: Arc<Trust>,
    /// The identity of this run, if it signs nothing and a token is available.
    pub identity: Option<OwnIdentity>,
    /// The reason why no token is available, if that is so.
    pub token_absence: TokenAbsence,
    /// The repository of this run, if GitHub runs it.
    pub source_repository: Option<SourceRepository>,
}

impl VerifyingContext {
    pub(super) fn no_token(&self) -> SignatureError {
        SignatureError::NoToken(self.token_absence.clone())
    }

    /// Determines the required identity: that of the inputs, completed with this run's own. Without a token, the inputs
    /// must state the identity and the issuer. The source repository is known without a token, too.
    pub(crate) async fn policy(&self, inputs: &PolicyInputs) -> Result<Policy, SignatureError> {
        if let Some(identity) = &self.identity {
            return own_policy(inputs, &identity.workflow_identity().await?);
        }
        let (Some(identity), Some(issuer)) = (&inputs.identity, &inputs.issuer) else {
            return Err(self.no_token());
        };
        Ok(self.of_this_repository(Policy {
            identity: identity.clone(),
            issuer: issuer.clone(),
            github: inputs.github.clone(),
        }))
    }

    /// Adds the repository of this run to a policy that was completed without a token and names none.
    ///
    /// SECURITY: a reusable workflow has the same identity for all its callers. The repository distinguishes them.
    pub(crate) fn of_this_repository(&self, mut policy: Policy) -> Policy {
        if policy.github.repository.is_none() {
            let own = self.source_repository.as_ref();
            policy.github.repository = own.and_then(|own| own.name_for(&policy.issuer));
        }
        policy
    }

    /// Returns a policy for signatures by this repository, for a run whose own identity is not known. `None` if the
    /// repository is not known either.
    pub(crate) fn policy_of_repository(&self, inputs: &PolicyInputs) -> Option<Policy> {
        let own = self.source_repository.as_ref();
        let any = || Matcher::pattern(".*").ok();
        let issuer = inputs.issuer.clone();
        let policy = self.of_this_repository(Policy {
            identity: inputs.identity.clone().or_else(any)?,
            issuer: issuer.or_else(|| own.and_then(SourceRepository::issuer))?,
            github: inputs.github.clone(),
        });
        policy.github.repository.is_some().then_some(policy)
    }

    /// Returns a function that verifies candidates for signatures.
    pub(crate) fn verifier<'a>(
        &'a self,
        policy: &'a Policy,
    ) -> impl Fn(&Candidate<'_>, &Digest) -> Result<Verified, VerificationError> + Sync + 'a {
        |candidate, subject| match candidate {
            Candidate::Bundle(bundle) => verify(bundle, subject, &self.trust, policy),
            Candidate::Legacy(payload, annotations) => {
                verify_legacy(payload, annotations, subject, &self.trust, policy)
            }
        }
    }
}

/// Completes the policy of the inputs with this run's own identity, issuer, source repository and ref, exactly.
pub(crate) fn own_policy(
    inputs: &PolicyInputs,
    workflow_identity: &WorkflowIdentity,
) -> Result<Policy, SignatureError> {
    let (mut github, own) = (inputs.github.clone(), workflow_identity.source());
    // A reusable workflow has the same identity for all its callers. The repository distinguishes them, with or without
    // a given identity.
    github.repository = github.repository.or(own.repository);
    let identity = match (&inputs.identity, &workflow_identity.subject) {
        (Some(identity), _) => identity.clone(),
        (None, Some(subject)) => Matcher::Exact(subject.clone()),
        (None, None) => {
            return Err(SignatureError::NoPolicy(
                "the identity in a certificate for this issuer's token cannot be predicted; give `certificate-identity` or `certificate-identity-regexp`",
            ));
        }
    };
    // The ref in an identity is that of the reusable workflow, not of the run. A pattern lets other refs count.
    if matches!(&identity, Matcher::Exact(text) if Some(text) == workflow_identity.subject.as_ref())
    {
        github.reference = github.reference.or(own.reference);
    }
    let issuer = inputs
        .issuer
        .clone()
        .unwrap_or_else(|| Matcher::Exact(workflow_identity.issuer.clone()));
    Ok(Policy {
        identity,
        issuer,
        github,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::GithubClaims;

    #[test]
    fn own_policy_asks_for_what_the_token_says_where_the_inputs_leave_it_open() {
        let own = |text: &str| Some(text.to_owned());
        let workflow_identity = WorkflowIdentity {
            issuer: "https://issuer.example".to_owned(),
            subject: own("us"),
            github: GithubClaims {
                repository: own("o/r"),
                reference: own("refs/heads/main"),
                ..GithubClaims::default()
            },
        };
        let mut inputs = PolicyInputs {
            identity: None,
            issuer: None,
            github: GithubClaims::default(),
        };
        let policy = own_policy(&inputs, &workflow_identity).unwrap();
        assert!(policy.identity.matches("us") && !policy.identity.matches("them"));
        assert!(policy.issuer.matches(&workflow_identity.issuer));
        assert!(!policy.issuer.matches("https://other.example"));
        assert_eq!(policy.github, workflow_identity.source());
        // A given identity leaves the ref open, but not the repository.
        inputs.identity = Some(Matcher::Exact("them".to_owned()));
        let policy = own_policy(&inputs, &workflow_identity).unwrap();
        assert!(policy.identity.matches("them") && !policy.identity.matches("us"));
        assert!(policy.issuer.matches(&workflow_identity.issuer));
        assert_eq!(policy.github.repository, own("o/r"));
        assert_eq!(policy.github.reference, None);
        let given = GithubClaims {
            repository: own("o/other"),
            reference: own("refs/tags/v1"),
            ..GithubClaims::default()
        };
        inputs.github = given.clone();
        inputs.issuer = Some(Matcher::Exact("https://other.example".to_owned()));
        let policy = own_policy(&inputs, &workflow_identity).unwrap();
        assert_eq!(policy.github, given);
        assert!(policy.issuer.matches("https://other.example"));
        // Its own identity is the same whether it is given or not.
        let given = |identity: Matcher| PolicyInputs {
            identity: Some(identity),
            issuer: None,
            github: GithubClaims::default(),
        };
        let policy =
            own_policy(&given(Matcher::Exact("us".to_owned())), &workflow_identity).unwrap();
        assert_eq!(policy.github, workflow_identity.source());
        let policy =
            own_policy(&given(Matcher::pattern("us").unwrap()), &workflow_identity).unwrap();
        assert_eq!(policy.github.reference, None);
        // The identity in a certificate for a foreign token cannot be known.
        let foreign = WorkflowIdentity {
            subject: None,
            ..workflow_identity
        };
        assert!(own_policy(&inputs, &foreign).is_ok());
        inputs.identity = None;
        let unknown = own_policy(&inputs, &foreign);
        assert!(matches!(unknown, Err(SignatureError::NoPolicy(_))));
    }
}
