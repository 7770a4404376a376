//! The commands `seal` and `create`: look at everything, decide, then index, signatures and tags, in this order.

use std::future::Future;

use futures_util::{StreamExt as _, stream};

use super::children::{PARALLEL, check_present};
use super::receipt::Receipt;
use super::signer::Authority;
use super::survey::{SealPlan, survey};
use super::tags::{refuse_newcomers, wait_for_tags, write_tag};
use super::unsigned::{Expectation, Unsigned};
use super::{ApplyError, Context, Ledger};
use crate::domain::{Descriptor, Reference, Tag};
use crate::inputs::{Depth, Mode, Order, Seal, Signing};
use crate::plan::{TagKind, TagStep};

/// Makes, signs and tags an index. `authority` is what signing needs; it is awaited only if there is signing to do.
pub(super) async fn seal(
    context: &Context,
    seal: &Seal,
    authority: impl Future<Output = Result<Authority, ApplyError>>,
    ledger: &Ledger,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    receipt.signing = seal.signing.is_some();
    receipt.planned = context.mode == Mode::DryRun;
    let look = survey(context, seal, receipt);
    let (mut plan, authority) = match &seal.signing {
        Some(_) => {
            tokio::try_join!(look, authority).map(|(plan, authority)| (plan, Some(authority)))?
        }
        None => (look.await?, None),
    };
    if let (Some(signing), Some(authority)) = (&seal.signing, &authority) {
        plan.unsigned = find_signatures(context, seal, signing, authority, &plan, receipt).await?;
    }
    if context.mode == Mode::DryRun {
        return Ok(());
    }
    ledger.save(receipt)?;
    push_index(context, seal, &plan, authority.as_ref()).await?;
    match seal.order {
        Order::SignThenTag => {
            sign(context, seal, &plan, authority.as_ref(), ledger, receipt).await?;
            tag(context, seal, &plan, ledger, receipt).await?;
        }
        Order::TagThenSign => {
            tag(context, seal, &plan, ledger, receipt).await?;
            sign(context, seal, &plan, authority.as_ref(), ledger, receipt).await?;
        }
    }
    receipt.verified = receipt.signing && receipt.unsigned.is_empty();
    ledger.save(receipt)
}

/// Looks for the signatures of everything that must have one, and returns what lacks it.
async fn find_signatures(
    context: &Context,
    seal: &Seal,
    signing: &Signing,
    authority: &Authority,
    plan: &SealPlan,
    receipt: &mut Receipt,
) -> Result<Vec<Unsigned>, ApplyError> {
    let mut subjects: Vec<Descriptor> = Vec::new();
    for index in std::iter::once(&plan.target).chain(&plan.equivalents) {
        let children = match signing.depth {
            Depth::Itself => &[],
            Depth::Children => index.children(),
        };
        for subject in std::iter::once(index.descriptor()).chain(children.iter().cloned()) {
            if !subjects.iter().any(|known| known.digest == subject.digest) {
                subjects.push(subject);
            }
        }
    }
    // What no tag held yet is most likely unsigned.
    let expectation = if plan.push_index {
        Expectation::Unsigned
    } else {
        Expectation::Signed
    };
    authority
        .find_unsigned(
            context,
            &seal.repository,
            subjects,
            signing,
            expectation,
            receipt,
        )
        .await
}

async fn push_index(
    context: &Context,
    seal: &Seal,
    plan: &SealPlan,
    authority: Option<&Authority>,
) -> Result<(), ApplyError> {
    if plan.push_index {
        context.events.phase("Push the index");
    }
    let prepare = async {
        if let Some(authority) = authority.filter(|_| !plan.unsigned.is_empty()) {
            authority.prepare().await;
        }
    };
    let push = async {
        if plan.push_index {
            let target = &plan.target;
            let reference = Reference::Digest(target.digest().clone());
            context
                .store_index(&seal.repository, &reference, target)
                .await?;
            context
                .events
                .note(format!("`{}` is in `{}`", target.digest(), seal.repository));
        }
        Ok::<_, ApplyError>(())
    };
    tokio::join!(push, prepare).0
}

async fn sign(
    context: &Context,
    seal: &Seal,
    plan: &SealPlan,
    authority: Option<&Authority>,
    ledger: &Ledger,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    let (Some(signing), Some(authority)) = (&seal.signing, authority) else {
        return Ok(());
    };
    authority
        .sign_all(
            context,
            &seal.repository,
            &plan.unsigned,
            signing.on_failure,
            receipt,
            ledger,
        )
        .await
}

/// Writes the tags that need it and waits until the registry shows them and every child: first the fixed ones, and only
/// when these are seen the moving ones.
async fn tag(
    context: &Context,
    seal: &Seal,
    plan: &SealPlan,
    ledger: &Ledger,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    let repository = &seal.repository;
    let to_write = |kind| {
        let steps = receipt.tags.iter().map(|tag| &tag.step);
        steps
            .filter(|step| step.kind == kind && step.writes())
            .cloned()
            .collect::<Vec<TagStep>>()
    };
    let (fixed, moving) = (to_write(TagKind::Fixed), to_write(TagKind::Moving));
    if fixed.is_empty() && moving.is_empty() {
        return Ok(());
    }
    context.events.phase("Write tags");
    if let Err(error) = refuse_newcomers(context, repository, &fixed, &plan.target).await {
        if let ApplyError::Conflict { conflicts, .. } = &error {
            receipt.conflicts.clone_from(conflicts);
        }
        return Err(error);
    }
    for steps in [fixed, moving].iter().filter(|steps| !steps.is_empty()) {
        write_tags(context, seal, plan, steps, ledger, receipt).await?;
        let tags: Vec<Tag> = steps.iter().map(|step| step.tag.clone()).collect();
        let children = plan.target.children().iter().map(|child| &child.digest);
        tokio::try_join!(
            wait_for_tags(context, repository, &tags, plan.target.digest()),
            check_present(context, repository, children),
        )?;
    }
    Ok(())
}

/// Writes tags at once. What is under way when one fails is written to its end, and noted, before that is an error.
async fn write_tags(
    context: &Context,
    seal: &Seal,
    plan: &SealPlan,
    steps: &[TagStep],
    ledger: &Ledger,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    let writes = steps.iter().map(|step| async move {
        let written = write_tag(context, &seal.repository, &step.tag, &plan.target).await;
        (step, written)
    });
    let mut writes = stream::iter(writes).buffer_unordered(PARALLEL);
    let mut failure = None;
    while let Some((step, written)) = writes.next().await {
        match written {
            Ok(()) => {
                receipt.mark_written(&step.tag);
                ledger.save(receipt)?;
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(()), Err)
}
