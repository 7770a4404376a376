//! The command `sign`: signs an existing image, or every digest of a vouched record.

use std::future::Future;

use super::CommandError;
use super::subjects::{named, recorded};
use crate::context::{Context, RecordWriter};
use crate::domain::{Descriptor, Repository};
use crate::inputs::{Mode, Sign, Subjects};
use crate::outcome::Outcome;
use crate::plan::Vouched;
use crate::record::SelectionError;
use crate::signatures::SigningContext;
use crate::signatures::recorded::recorded as recorded_locations;
use crate::signatures::signer::{ListedSignatures, check_settled, settle};
use crate::signatures::unsigned::{Expectation, SignatureQuery, ToSign, check_policy};

/// Signs every subject that lacks a signature.
pub(super) async fn sign(
    context: &Context,
    sign: &Sign,
    signing_context: impl Future<Output = Result<SigningContext, CommandError>>,
    record_writer: &RecordWriter,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    outcome.signing = true;
    outcome.planned = context.mode == Mode::DryRun;
    context.events.step("Read the images to sign");
    let targets = targets(context, sign, record_writer);
    let (targets, signing_context) = tokio::try_join!(targets, signing_context)?;
    let mut subjects = Vec::new();
    for (repository, found) in targets {
        subjects.extend(found.into_iter().map(|subject| ToSign {
            query: SignatureQuery {
                recorded: recorded_locations(record_writer.earlier(), &repository, &subject.digest),
                repository: repository.clone(),
                digest: subject.digest.clone(),
                expectation: Expectation::Unsigned,
            },
            subject,
        }));
    }
    outcome.subjects = subjects.iter().map(|one| one.query.name()).collect();
    let policy = signing_context.signing_policy(&sign.signing.policy).await;
    let policy = check_policy(policy, sign.signing.on_failure)?;
    let unsigned = signing_context
        .find_unsigned(context, subjects, &sign.signing, policy.as_ref(), outcome)
        .await?;
    if context.mode == Mode::DryRun {
        return Ok(());
    }
    // If the record cannot be written, nothing is signed.
    record_writer.save(outcome)?;
    let on_failure = sign.signing.on_failure;
    let lists = signing_context
        .sign_all(context, &unsigned, on_failure, outcome, record_writer)
        .await?;
    let ListedSignatures {
        unsettled,
        mut lost,
    } = lists.finish().await;
    lost.append(&mut settle(unsettled).await);
    check_settled(context, lost, on_failure, outcome)?;
    outcome.verified = outcome.unsigned.is_empty();
    Ok(record_writer.save(outcome)?)
}

/// Returns the subjects to sign, for each repository.
async fn targets(
    context: &Context,
    sign: &Sign,
    record_writer: &RecordWriter,
) -> Result<Vec<(Repository, Vec<Vouched<Descriptor>>)>, CommandError> {
    let depth = sign.signing.depth;
    match &sign.what {
        Subjects::Image(image) => Ok(vec![named(context, image, depth).await?]),
        Subjects::Record(only) => {
            let images = record_writer.images();
            let images =
                images.ok_or_else(|| SelectionError::NoRecord(record_writer.name().to_owned()))?;
            recorded(
                context,
                &images?,
                only.as_ref(),
                depth,
                record_writer.name(),
            )
            .await
        }
    }
}
