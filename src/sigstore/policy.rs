//! Compares what a certificate states, or will state, with the policy.

use super::refusal::{ObservedSigner, VerificationError};
use super::token::WorkflowIdentity;
use crate::domain::{GithubClaims, Matcher, Policy};

/// Checks that a certificate for `workflow_identity` will meet `policy`. A subject that the token does not determine is assumed to
/// meet it: [`check_certificate`](super::Keyless::check_certificate) reads it from the certificate.
pub fn check_identity(
    policy: &Policy,
    workflow_identity: &WorkflowIdentity,
) -> Result<(), VerificationError> {
    match &workflow_identity.subject {
        Some(subject) => compare(
            policy,
            subject,
            &workflow_identity.issuer,
            &workflow_identity.github,
        ),
        None if policy.issuer.matches(&workflow_identity.issuer) => Ok(()),
        None => Err(mismatch(policy, None, &workflow_identity.issuer)),
    }
}

/// Checks that a certificate with this subject, issuer and claims meets `policy`.
pub(super) fn compare(
    policy: &Policy,
    identity: &str,
    issuer: &str,
    found: &GithubClaims,
) -> Result<(), VerificationError> {
    if !policy.identity.matches(identity) || !policy.issuer.matches(issuer) {
        return Err(mismatch(policy, Some(identity), issuer));
    }
    let wanted = &policy.github;
    for (claim, wanted, found) in [
        ("repository", &wanted.repository, &found.repository),
        ("ref", &wanted.reference, &found.reference),
        ("sha", &wanted.sha, &found.sha),
        ("name", &wanted.name, &found.name),
        ("trigger", &wanted.trigger, &found.trigger),
    ] {
        if let Some(wanted) = wanted
            && found.as_ref() != Some(wanted)
        {
            return Err(VerificationError::GithubClaimMismatch {
                signer: signer(identity, issuer),
                claim,
                wanted: wanted.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(())
}

/// Describes a signer that is not the required one. The identity is `None` if it is not known yet.
fn mismatch(policy: &Policy, identity: Option<&str>, issuer: &str) -> VerificationError {
    let met = [
        identity.is_none_or(|identity| policy.identity.matches(identity)),
        policy.issuer.matches(issuer),
    ];
    let inputs = [
        input(
            &policy.identity,
            ["certificate-identity", "certificate-identity-regexp"],
        ),
        input(
            &policy.issuer,
            ["certificate-oidc-issuer", "certificate-oidc-issuer-regexp"],
        ),
    ];
    let unmet = inputs.into_iter().zip(met).filter(|(_, is_met)| !is_met);
    VerificationError::IdentityMismatch {
        found: signer(identity.unwrap_or("unknown"), issuer),
        wanted: wanted_text(&policy.identity, &policy.issuer),
        unmet: unmet.map(|(input, _)| input).collect(),
    }
}

/// Selects the input that gives a text or a pattern.
fn input(matcher: &Matcher, [exact, pattern]: [&'static str; 2]) -> &'static str {
    match matcher {
        Matcher::Exact(_) => exact,
        Matcher::Pattern(_) => pattern,
    }
}

pub(super) fn wanted_text(identity: &Matcher, issuer: &Matcher) -> String {
    format!("{identity} (issuer {issuer})")
}

fn signer(identity: &str, issuer: &str) -> ObservedSigner {
    ObservedSigner {
        identity: identity.to_owned(),
        issuer: issuer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://issuer.example";

    fn policy(github: GithubClaims) -> Policy {
        Policy {
            identity: Matcher::Exact("us".to_owned()),
            issuer: Matcher::Exact(ISSUER.to_owned()),
            github,
        }
    }

    /// Makes claims of which this one has the value `text`.
    fn claims(name: &str, text: Option<&str>) -> GithubClaims {
        let mut claims = GithubClaims::default();
        let claim = match name {
            "repository" => &mut claims.repository,
            "ref" => &mut claims.reference,
            "sha" => &mut claims.sha,
            "name" => &mut claims.name,
            _ => &mut claims.trigger,
        };
        *claim = text.map(str::to_owned);
        claims
    }

    #[test]
    fn claim_that_is_asked_for_must_be_there_and_be_it() {
        for name in ["repository", "ref", "sha", "name", "trigger"] {
            let policy = policy(claims(name, Some("x")));
            let found = |text: Option<&str>| compare(&policy, "us", ISSUER, &claims(name, text));
            assert!(found(Some("x")).is_ok(), "{name}");
            for other in [Some("y"), None] {
                let refused = found(other).unwrap_err();
                assert!(
                    matches!(&refused, VerificationError::GithubClaimMismatch { claim, found, .. } if *claim == name && found.as_deref() == other),
                    "{name}: {refused}"
                );
            }
        }
    }

    #[test]
    fn caller_meets_a_policy_by_all_that_its_token_tells() {
        let held = |subject: Option<&str>, issuer: &str, repository: &str| {
            let workflow_identity = WorkflowIdentity {
                issuer: issuer.to_owned(),
                subject: subject.map(str::to_owned),
                github: claims("repository", Some(repository)),
            };
            check_identity(
                &policy(claims("repository", Some("o/r"))),
                &workflow_identity,
            )
        };
        assert!(held(Some("us"), ISSUER, "o/r").is_ok());
        for (subject, issuer, repository) in [
            ("them", ISSUER, "o/r"),
            ("us", "https://other.example", "o/r"),
            ("us", ISSUER, "o/fork"),
        ] {
            assert!(held(Some(subject), issuer, repository).is_err());
        }
        // Only the certificate states its subject: until then only the issuer can be wrong.
        assert!(held(None, ISSUER, "o/r").is_ok());
        assert!(held(None, "https://other.example", "o/r").is_err());
    }
}
