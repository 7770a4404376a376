//! Holds what a certificate says against what was asked for.

use super::refusal::{Refusal, Signer};
use super::verify::Verified;
use crate::domain::Policy;

/// Whether `verified` is by whom it must be.
pub(super) fn check(policy: &Policy, verified: &Verified) -> Result<(), Refusal> {
    let signer = || Signer {
        identity: verified.identity.clone(),
        issuer: verified.issuer.clone(),
    };
    if !policy.identity.matches(&verified.identity) || !policy.issuer.matches(&verified.issuer) {
        return Err(Refusal::IdentityMismatch {
            found: signer(),
            wanted: Signer {
                identity: policy.identity.text().to_owned(),
                issuer: policy.issuer.text().to_owned(),
            },
        });
    }
    let (wanted, found) = (&policy.github, &verified.github);
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
                signer: signer(),
                claim,
                wanted: wanted.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(())
}
