//! The commands `seal` and `create`: look at everything, decide, then index, signatures and tags, in this order.

use std::collections::BTreeSet;
use std::future::Future;

use futures_util::{StreamExt as _, stream};

use super::children::{PARALLEL, check_present, resolve_all};
use super::receipt::{IndexReceipt, Receipt, TagReceipt};
use super::signer::{Authority, Unsigned};
use super::tags::{refuse_newcomers, see_tags, wait_for_tags, write_tag};
use super::{ApplyError, Context, Ledger};
use crate::domain::{Descriptor, Digest, Manifest, ManifestKind, Reference, Tag};
use crate::inputs::{Depth, Mode, Order, Seal, Signing};
use crate::plan::{Assembly, TagKind, TagStep, TagSteps, Wanted, assemble, decide_tags, images_of};
use crate::record::TagState;

/// What is to be done, once everything is known.
struct SealPlan {
    target: Manifest,
    equivalents: Vec<Manifest>,
    push_index: bool,
    unsigned: Vec<Unsigned>,
}

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
    let look = look(context, seal, receipt);
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

/// Reads children and tags, and decides. Nothing is written before all of it is known.
async fn look(
    context: &Context,
    seal: &Seal,
    receipt: &mut Receipt,
) -> Result<SealPlan, ApplyError> {
    context.events.phase("Look at children and tags");
    let repository = &seal.repository;
    let (resolved, seen) = tokio::try_join!(
        resolve_all(context, repository, &seal.digests),
        see_tags(context, repository, &seal.tags, &seal.moving_tags),
    )?;
    let wanted = Wanted {
        platforms: seal.platforms.as_ref(),
        annotations: &seal.annotations,
        media_type: seal.media_type,
    };
    let assembly = assemble(&resolved, &wanted)?;
    for (platform, child) in &assembly.platforms {
        context
            .events
            .note(format!("{platform} `{}`", child.digest));
    }
    let decided = decide_tags(&assembly, &resolved, &seen).map_err(|conflicts| {
        receipt.conflicts.clone_from(&conflicts);
        ApplyError::Conflict {
            conflicts,
            wanted: images_of(&assembly.manifest),
        }
    });
    let TagSteps {
        target,
        steps,
        equivalents,
    } = match decided {
        Ok(steps) => steps,
        Err(conflict) => {
            receipt.index = Some(index_receipt(seal, &assembly, &assembly.manifest, false));
            return Err(conflict);
        }
    };
    check_strangers(
        context,
        seal,
        &assembly,
        std::iter::once(&target).chain(&equivalents),
    )
    .await?;
    let under_a_tag = steps
        .iter()
        .any(|step| step.before.as_ref() == Some(target.digest()));
    // With tags to look at, asking for the digest as well would cost a request and change nothing: a push is repeatable.
    let was_there = under_a_tag || (steps.is_empty() && is_there(context, seal, &target).await?);
    for step in &steps {
        let word = if step.writes() {
            "to be written"
        } else {
            "left alone"
        };
        context.events.note(format!("tag `{}`: {word}", step.tag));
    }
    for equivalent in &equivalents {
        context.events.warn(format!(
            "a tag holds `{}`, which has the same images as `{}` in other bytes; both stay, and both are signed if anything is",
            equivalent.digest(),
            target.digest()
        ));
    }
    receipt.index = Some(index_receipt(seal, &assembly, &target, was_there));
    receipt.tags = steps
        .into_iter()
        .map(|step| TagReceipt {
            state: if step.writes() {
                TagState::Intended
            } else {
                TagState::Kept
            },
            step,
        })
        .collect();
    Ok(SealPlan {
        target,
        equivalents,
        push_index: !was_there,
        unsigned: Vec::new(),
    })
}

/// Children of indexes found under tags that are none of ours (attestations that another tool added) must be there too.
async fn check_strangers(
    context: &Context,
    seal: &Seal,
    assembly: &Assembly,
    indexes: impl Iterator<Item = &Manifest>,
) -> Result<(), ApplyError> {
    let known: BTreeSet<&Digest> = assembly
        .children
        .iter()
        .flat_map(|(input, members)| members.iter().chain([input]))
        .collect();
    let strangers: BTreeSet<Digest> = indexes
        .flat_map(children_of)
        .map(|child| child.digest)
        .filter(|digest| !known.contains(digest))
        .collect();
    check_present(context, &seal.repository, strangers.iter()).await
}

async fn is_there(context: &Context, seal: &Seal, target: &Manifest) -> Result<bool, ApplyError> {
    let reference = Reference::Digest(target.digest().clone());
    Ok(context
        .registry
        .manifest_digest(&seal.repository, &reference)
        .await?
        .is_some())
}

fn index_receipt(
    seal: &Seal,
    assembly: &Assembly,
    target: &Manifest,
    was_there: bool,
) -> IndexReceipt {
    let images: BTreeSet<&Digest> = assembly
        .platforms
        .values()
        .map(|child| &child.digest)
        .collect();
    let attestations = children_of(target)
        .into_iter()
        .map(|child| child.digest)
        .filter(|digest| !images.contains(digest))
        .collect();
    IndexReceipt {
        repository: seal.repository.clone(),
        digest: target.digest().clone(),
        media_type: target.media_type().clone(),
        platforms: assembly.platforms.clone(),
        attestations,
        children: assembly.children.clone(),
        was_there,
    }
}

/// The children of an index, as it describes them.
pub(super) fn children_of(manifest: &Manifest) -> Vec<Descriptor> {
    match manifest.kind() {
        ManifestKind::Index { manifests, .. } => manifests.clone(),
        ManifestKind::Image { .. } => Vec::new(),
    }
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
        let children = if signing.depth == Depth::Children {
            children_of(index)
        } else {
            Vec::new()
        };
        for subject in std::iter::once(index.descriptor()).chain(children) {
            if !subjects.iter().any(|known| known.digest == subject.digest) {
                subjects.push(subject);
            }
        }
    }
    authority
        .find_unsigned(context, &seal.repository, subjects, signing, receipt)
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
    let children: Vec<Digest> = children_of(&plan.target)
        .into_iter()
        .map(|child| child.digest)
        .collect();
    for steps in [fixed, moving].iter().filter(|steps| !steps.is_empty()) {
        let writes = steps.iter().map(|step| async move {
            (
                step,
                write_tag(context, repository, &step.tag, &plan.target).await,
            )
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
        if let Some(error) = failure {
            return Err(error);
        }
        let tags: Vec<Tag> = steps.iter().map(|step| step.tag.clone()).collect();
        tokio::try_join!(
            wait_for_tags(context, repository, &tags, plan.target.digest()),
            check_present(context, repository, children.iter()),
        )?;
    }
    Ok(())
}
