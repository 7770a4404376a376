//! The command `sign`: signs an image that is there, or every digest of a record.

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::children::{DEPTH_MAX, PARALLEL, TOTAL_MAX};
use super::receipt::{Receipt, Subject};
use super::seal::children_of;
use super::signer::Authority;
use super::{ApplyError, Context, Ledger};
use crate::domain::{Descriptor, Digest, ImageReference, Manifest, Reference, Repository};
use crate::inputs::{Depth, Mode, Sign, Subjects};
use crate::record::Record;

/// Signs what lacks a signature.
pub(super) async fn sign(
    context: &Context,
    sign: &Sign,
    authority: impl Future<Output = Result<Authority, ApplyError>>,
    ledger: &Ledger,
    record_name: &str,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    receipt.signing = true;
    receipt.planned = context.mode == Mode::DryRun;
    context.events.phase("Look at what is to be signed");
    let targets = async {
        match &sign.what {
            Subjects::Image(image) => named(context, image, sign.signing.depth)
                .await
                .map(|named| vec![named]),
            Subjects::Record(only) => {
                let record = ledger
                    .earlier()
                    .ok_or_else(|| ApplyError::NoRecord(record_name.to_owned()))?;
                recorded(
                    context,
                    record,
                    only.as_ref(),
                    sign.signing.depth,
                    record_name,
                )
                .await
            }
        }
    };
    let (targets, authority) = tokio::try_join!(targets, authority)?;
    let mut work = Vec::new();
    for (repository, subjects) in targets {
        for subject in &subjects {
            receipt.subjects.push(Subject {
                repository: repository.clone(),
                digest: subject.digest.clone(),
            });
        }
        let unsigned = authority
            .find_unsigned(context, &repository, subjects, &sign.signing, receipt)
            .await?;
        work.push((repository, unsigned));
    }
    if context.mode == Mode::DryRun {
        return Ok(());
    }
    // Where no record can be kept, nothing is begun.
    ledger.save(receipt)?;
    for (repository, unsigned) in work {
        authority
            .sign_all(
                context,
                &repository,
                &unsigned,
                sign.signing.on_failure,
                receipt,
                ledger,
            )
            .await?;
    }
    receipt.verified = receipt.unsigned.is_empty();
    ledger.save(receipt)
}

/// The image that was named, resolved at the registry, and its children where they are wanted.
async fn named(
    context: &Context,
    image: &ImageReference,
    depth: Depth,
) -> Result<(Repository, Vec<Descriptor>), ApplyError> {
    let manifest = resolve(context, image).await?;
    let listed = with_children(context, &image.repository, &manifest, depth).await?;
    let children = listed.into_iter().skip(1).map(|child| child.digest);
    let mut subjects = vec![manifest.descriptor()];
    subjects.extend(held(context, &image.repository, children).await?);
    Ok((image.repository.clone(), subjects))
}

/// What the registry has under these digests. Nothing is signed that it does not hold, nor as what an index or a record
/// says it is.
async fn held(
    context: &Context,
    repository: &Repository,
    digests: impl Iterator<Item = Digest>,
) -> Result<Vec<Descriptor>, ApplyError> {
    let looks = digests.map(|digest| async move {
        let manifest = context.manifest_present(repository, &digest).await?;
        Ok(manifest.descriptor())
    });
    stream::iter(looks).buffered(PARALLEL).try_collect().await
}

/// The manifest of an image, by tag or digest. A tag is resolved once, and what it meant is said.
pub(super) async fn resolve(
    context: &Context,
    image: &ImageReference,
) -> Result<Manifest, ApplyError> {
    let missing = || ApplyError::MissingImage(Box::new(image.clone()));
    let reference = image.reference.as_ref().ok_or_else(missing)?;
    let look = || context.registry.manifest(&image.repository, reference);
    let manifest = context
        .until_present(&image.to_string(), look)
        .await?
        .ok_or_else(missing)?;
    if matches!(reference, Reference::Tag(_)) {
        context
            .events
            .note(format!("`{image}` is `{}`", manifest.digest()));
    }
    Ok(manifest)
}

/// The manifest itself and, where they are wanted, all that is in it.
pub(super) async fn with_children(
    context: &Context,
    repository: &Repository,
    manifest: &Manifest,
    depth: Depth,
) -> Result<Vec<Descriptor>, ApplyError> {
    let mut all = vec![manifest.descriptor()];
    if depth == Depth::Itself {
        return Ok(all);
    }
    let mut seen = BTreeSet::from([manifest.digest().clone()]);
    let mut level = vec![manifest.clone()];
    for _ in 0..DEPTH_MAX {
        let mut new: Vec<Descriptor> = level.iter().flat_map(children_of).collect();
        // One digest may be listed for several platforms.
        new.retain(|child| seen.insert(child.digest.clone()));
        let count = seen.len() - 1;
        if count > TOTAL_MAX {
            return Err(ApplyError::OddIndex {
                digest: manifest.digest().clone(),
                children: count,
            });
        }
        let nested = new.iter().filter(|child| child.media_type.is_index());
        let nested = nested.map(|child| context.manifest_present(repository, &child.digest));
        level = stream::iter(nested)
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        all.extend(new);
        if level.is_empty() {
            return Ok(all);
        }
    }
    Err(ApplyError::TooDeep {
        digest: manifest.digest().clone(),
        limit: DEPTH_MAX,
    })
}

/// Every image and index of the record, as the registry shows them: nothing is signed that the registry does not hold.
async fn recorded(
    context: &Context,
    record: &Record,
    only: Option<&Repository>,
    depth: Depth,
    record_name: &str,
) -> Result<Vec<(Repository, Vec<Descriptor>)>, ApplyError> {
    let mut targets = Vec::new();
    let mut seen = BTreeSet::new();
    for image in &record.images {
        let repository: Repository = image
            .image
            .parse()
            .map_err(|_| ApplyError::OddRecord(image.image.clone()))?;
        if only.is_some_and(|only| *only != repository) {
            continue;
        }
        let mut digests: Vec<&Digest> = vec![&image.digest];
        digests.extend(image.platforms.iter().map(|platform| &platform.digest));
        if depth == Depth::Children {
            digests.extend(&image.attestations);
        }
        // Two indexes of one record may share children.
        digests.retain(|digest| seen.insert((image.image.as_str(), *digest)));
        let subjects = held(context, &repository, digests.into_iter().cloned()).await?;
        targets.push((repository, subjects));
    }
    if targets.is_empty() {
        let of = only.map_or(String::new(), |only| format!(" in `{only}`"));
        return Err(ApplyError::EmptyRecord(record_name.to_owned(), of));
    }
    Ok(targets)
}
