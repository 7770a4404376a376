//! Finds the input or the signature of our own that vouches for the content of tags before a build. Nothing else
//! vouches for it, and a failed lookup is an error.

use std::future::Future;

use futures_util::{StreamExt as _, stream};

use super::{CommandError, verify};
use crate::context::{Context, REQUESTS_PARALLEL};
use crate::domain::{Digest, Policy, Repository, SignatureFormat};
use crate::inputs::PolicyInputs;
use crate::outcome::Subject;
use crate::plan::{TagImage, Vouched, is_vouched_for};
use crate::signatures::lookup::{Lookup, Search, look_up};
use crate::signatures::{SignatureError, VerifyingContext};

/// Finds an input or a signature that vouches for each of `images`, and returns the required signer. Signatures are
/// looked up only for images that no input vouches for. If there is no such image, neither a token nor a trust root is
/// requested.
pub(super) async fn find_signatures(
    context: &Context,
    inputs: &PolicyInputs,
    images: &mut [TagImage],
    verifying_context: impl Future<Output = Result<VerifyingContext, CommandError>>,
) -> Result<String, CommandError> {
    let is_open = |image: &TagImage| image.vouched.is_none();
    if !images.iter().any(is_open) {
        return Ok(String::new());
    }
    let verifying_context = verifying_context.await?;
    let policy = policy_from_inputs(&verifying_context, inputs).await?;
    let open = images.iter_mut().filter(|image| is_open(image));
    let reads = open.map(|image| async {
        let (repository, digest) = (image.repository.clone(), image.manifest.digest().clone());
        let found = look_up_image(context, &verifying_context, &policy, &repository, &digest).await;
        (image, found)
    });
    let lookups: Vec<_> = stream::iter(reads)
        .buffered(REQUESTS_PARALLEL)
        .collect()
        .await;
    let mut errors = Vec::new();
    for (image, found) in lookups {
        match found {
            Ok(Lookup {
                verified, refused, ..
            }) => {
                let subject = Subject {
                    repository: image.repository.clone(),
                    digest: image.manifest.digest().clone(),
                };
                if let Some(warning) = refused.warning(&subject) {
                    context.events.warn(warning);
                }
                if let Some(held) = verified.first() {
                    let signer = held.content.signer();
                    image.vouched = Vouched::signed(image.manifest.clone(), signer);
                    image.signer = Some(signer.identity.clone());
                }
                // An attestation is no signature, and does not name the signer.
                if refused.has_signature() {
                    image.refused = refused.reasons();
                }
            }
            Err(error) => errors.push((image.manifest.digest().clone(), error)),
        }
    }
    // An image that one repository confirms is vouched for, whatever error another returns.
    errors.retain(|(digest, _)| !is_vouched_for(digest, images));
    match errors.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(verify::wanted_text(&policy)),
    }
}

async fn look_up_image(
    context: &Context,
    verifying_context: &VerifyingContext,
    policy: &Policy,
    repository: &Repository,
    digest: &Digest,
) -> Result<Lookup, CommandError> {
    let verifier = verifying_context.verifier(policy);
    let search = Search::First(SignatureFormat::Bundle);
    Ok(look_up(context, repository, digest, &verifier, search).await?)
}

/// Determines the required identity: that of the inputs, completed with this run's own. A given identity needs no
/// token: the issuer is then GitHub's, as for `verify`, and the source repository is this run's.
async fn policy_from_inputs(
    verifying_context: &VerifyingContext,
    inputs: &PolicyInputs,
) -> Result<Policy, CommandError> {
    match verifying_context.policy(inputs).await {
        Err(SignatureError::NoToken(_)) if inputs.identity.is_some() => {
            Ok(verifying_context.of_this_repository(verify::policy_from_inputs(inputs)?))
        }
        known => Ok(known?),
    }
}
