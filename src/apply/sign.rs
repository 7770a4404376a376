//! The command `sign`: signs an existing image, or every digest of a vouched record.

use std::future::Future;

use super::receipt::Receipt;
use super::signatures::recorded::recorded as recorded_places;
use super::signatures::signer::{Authority, check_settled, settle};
use super::signatures::unsigned::{Expectation, Glance, Sought, ToSign};
use super::subjects::{named, recorded};
use super::{ApplyError, Context, Ledger};
use crate::domain::{Descriptor, Repository};
use crate::inputs::{Mode, Sign, Subjects};
use crate::plan::Vouched;

/// Signs every subject that lacks a signature.
pub(super) async fn sign(
    context: &Context,
    sign: &Sign,
    authority: impl Future<Output = Result<Authority, ApplyError>>,
    ledger: &Ledger,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    receipt.signing = true;
    receipt.planned = context.mode == Mode::DryRun;
    context.events.phase("Look at what is to be signed");
    let targets = targets(context, sign, ledger);
    let (targets, authority) = tokio::try_join!(targets, authority)?;
    let mut subjects = Vec::new();
    for (repository, found) in targets {
        subjects.extend(found.into_iter().map(|subject| ToSign {
            sought: Sought {
                recorded: recorded_places(ledger.earlier(), &repository, &subject.digest),
                repository: repository.clone(),
                digest: subject.digest.clone(),
                expectation: Expectation::Unsigned,
            },
            subject,
        }));
    }
    receipt.subjects = subjects.iter().map(|one| one.sought.name()).collect();
    let glance = Glance::none(authority.policy(&sign.signing.policy).await);
    let unsigned = authority
        .find_unsigned(context, subjects, &sign.signing, glance, receipt)
        .await?;
    if context.mode == Mode::DryRun {
        return Ok(());
    }
    // If the record cannot be written, nothing is signed.
    ledger.save(receipt)?;
    let on_failure = sign.signing.on_failure;
    let (unsettled, ()) = authority
        .sign_all(context, &unsigned, on_failure, receipt, ledger, async {})
        .await?;
    check_settled(context, settle(unsettled).await, on_failure, receipt)?;
    receipt.verified = receipt.unsigned.is_empty();
    ledger.save(receipt)
}

/// Returns the subjects to sign, for each repository.
async fn targets(
    context: &Context,
    sign: &Sign,
    ledger: &Ledger,
) -> Result<Vec<(Repository, Vec<Vouched<Descriptor>>)>, ApplyError> {
    let depth = sign.signing.depth;
    match &sign.what {
        Subjects::Image(image) => Ok(vec![named(context, image, depth).await?]),
        Subjects::Record(only) => {
            let images = ledger.images();
            let images = images.ok_or_else(|| ApplyError::NoRecord(ledger.name().to_owned()))?;
            recorded(context, &images?, only.as_ref(), depth, ledger.name()).await
        }
    }
}
