//! Compares what a certificate says, or will say, with what was asked for.

use super::refusal::{Refusal, Signer};
use super::token::Caller;
use super::verify::Verified;
use crate::domain::{GithubClaims, Policy};

/// Whether `verified` is by whom it must be.
pub(super) fn check(policy: &Policy, verified: &Verified) -> Result<(), Refusal> {
    let Verified {
        identity,
        issuer,
        github,
        ..
    } = verified;
    compare(policy, identity, issuer, github)
}

/// Whether a certificate for `caller` will meet `policy`. A subject that the token does not tell is taken for one that
/// does: [`check_certificate`](super::Keyless::check_certificate) reads it from the certificate.
pub fn check_caller(policy: &Policy, caller: &Caller) -> Result<(), Refusal> {
    match &caller.subject {
        Some(subject) => compare(policy, subject, &caller.issuer, &caller.github),
        None if policy.issuer.matches(&caller.issuer) => Ok(()),
        None => Err(mismatch(policy, "unknown", &caller.issuer)),
    }
}

/// Whether a certificate with this subject, issuer and claims meets `policy`.
pub(super) fn compare(
    policy: &Policy,
    identity: &str,
    issuer: &str,
    found: &GithubClaims,
) -> Result<(), Refusal> {
    if !policy.identity.matches(identity) || !policy.issuer.matches(issuer) {
        return Err(mismatch(policy, identity, issuer));
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
            return Err(Refusal::GithubClaimMismatch {
                signer: signer(identity, issuer),
                claim,
                wanted: wanted.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(())
}

fn mismatch(policy: &Policy, identity: &str, issuer: &str) -> Refusal {
    Refusal::IdentityMismatch {
        found: signer(identity, issuer),
        wanted: signer(policy.identity.text(), policy.issuer.text()),
    }
}

fn signer(identity: &str, issuer: &str) -> Signer {
    Signer {
        identity: identity.to_owned(),
        issuer: issuer.to_owned(),
    }
}
