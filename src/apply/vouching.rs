//! What vouches for what the tags hold before a build: an input, or a signature of our own. Nobody else's word does, and a
//! signature that could not be looked for is an error.

use std::future::Future;

use futures_util::{StreamExt as _, stream};

use super::children::PARALLEL;
use super::signatures::lookup::{Lookup, Search, look_up};
use super::signatures::signer::Authority;
use super::{ApplyError, Context, Subject, verify};
use crate::domain::{Digest, Policy, Repository, SignatureFormat};
use crate::inputs::PolicyInputs;
use crate::plan::{HeldImage, Vouched, is_vouched_for};

/// What vouches for each of `images`, and by whom a signature had to be. Signatures are looked for only where no input
/// vouches; nobody is asked for a token, or for whom to trust, where there is no such place.
pub(super) async fn find_signatures(
    context: &Context,
    inputs: &PolicyInputs,
    images: &mut [HeldImage],
    authority: impl Future<Output = Result<Authority, ApplyError>>,
) -> Result<String, ApplyError> {
    let is_open = |image: &HeldImage| image.vouched.is_none();
    if !images.iter().any(is_open) {
        return Ok(String::new());
    }
    let authority = authority.await?;
    let policy = policy(&authority, inputs).await?;
    let open = images.iter_mut().filter(|image| is_open(image));
    let looks = open.map(|image| async {
        let (repository, digest) = (image.repository.clone(), image.manifest.digest().clone());
        let found = look(context, &authority, &policy, &repository, &digest).await;
        (image, found)
    });
    let looked: Vec<_> = stream::iter(looks).buffered(PARALLEL).collect().await;
    let mut faults = Vec::new();
    for (image, found) in looked {
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
                // An attestation is no signature, and says nothing of who signed.
                if refused.has_signature() {
                    image.refused = refused.reasons();
                }
            }
            Err(error) => faults.push((image.manifest.digest().clone(), error)),
        }
    }
    // What one place says yes to is known, whatever another one does not say.
    faults.retain(|(digest, _)| !is_vouched_for(digest, images));
    match faults.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(verify::wanted_text(&policy)),
    }
}

async fn look(
    context: &Context,
    authority: &Authority,
    policy: &Policy,
    repository: &Repository,
    digest: &Digest,
) -> Result<Lookup, ApplyError> {
    let judge = authority.judge(policy);
    let search = Search::First(SignatureFormat::Bundle);
    look_up(context, repository, digest, &judge, search).await
}

/// Whose signature counts: what the inputs say, and this run's own identity where they do not. Who gives an identity needs no
/// token: the issuer is GitHub's then, as for `verify`.
async fn policy(authority: &Authority, inputs: &PolicyInputs) -> Result<Policy, ApplyError> {
    match authority.policy(inputs).await {
        Err(ApplyError::NoToken(_)) if inputs.identity.is_some() => verify::policy(inputs),
        known => known,
    }
}
