//! What `seal` and `create` have to know before anything is written: the children, the tags, and what follows from them.

use std::collections::BTreeSet;

use super::children::{check_present, resolve_all};
use super::receipt::{IndexReceipt, Receipt, TagReceipt};
use super::tags::see_tags;
use super::unsigned::Unsigned;
use super::{ApplyError, Context};
use crate::domain::{Digest, Manifest, Reference};
use crate::inputs::Seal;
use crate::plan::{Assembly, TagStep, TagSteps, Wanted, assemble, decide_tags, images_of};
use crate::record::TagState;

/// What is to be done, once everything is known.
pub(super) struct SealPlan {
    /// The index that absent and moving tags get.
    pub target: Manifest,
    /// Other indexes with the same images, which tags hold and keep.
    pub equivalents: Vec<Manifest>,
    /// Whether the registry lacks the target.
    pub push_index: bool,
    /// What lacks a signature; empty until signatures were looked for.
    pub unsigned: Vec<Unsigned>,
}

/// Reads children and tags, and decides. Nothing is written before all of it is known.
pub(super) async fn survey(
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
    let TagSteps {
        target,
        steps,
        equivalents,
    } = match decide_tags(&assembly, &resolved, &seen) {
        Ok(steps) => steps,
        Err(conflicts) => {
            receipt.index = Some(index_receipt(seal, &assembly, &assembly.manifest, false));
            receipt.conflicts.clone_from(&conflicts);
            let wanted = images_of(&assembly.manifest);
            return Err(ApplyError::Conflict { conflicts, wanted });
        }
    };
    let found = std::iter::once(&target).chain(&equivalents);
    check_strangers(context, seal, &assembly, found).await?;
    let under_a_tag = steps
        .iter()
        .any(|step| step.before.as_ref() == Some(target.digest()));
    // With tags to look at, asking for the digest as well would cost a request and change nothing: a push is repeatable.
    let was_there = under_a_tag || (steps.is_empty() && is_there(context, seal, &target).await?);
    tell(context, &steps, &target, &equivalents);
    receipt.index = Some(index_receipt(seal, &assembly, &target, was_there));
    receipt.tags = steps.into_iter().map(tag_receipt).collect();
    Ok(SealPlan {
        target,
        equivalents,
        push_index: !was_there,
        unsigned: Vec::new(),
    })
}

fn tell(context: &Context, steps: &[TagStep], target: &Manifest, equivalents: &[Manifest]) {
    for step in steps {
        let word = if step.writes() {
            "to be written"
        } else {
            "left alone"
        };
        context.events.note(format!("tag `{}`: {word}", step.tag));
    }
    for equivalent in equivalents {
        context.events.warn(format!(
            "a tag holds `{}`, which has the same images as `{}` in other bytes; both stay, and both are signed if anything is",
            equivalent.digest(),
            target.digest()
        ));
    }
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
    let strangers: BTreeSet<&Digest> = indexes
        .flat_map(Manifest::children)
        .map(|child| &child.digest)
        .filter(|digest| !known.contains(digest))
        .collect();
    check_present(context, &seal.repository, strangers.into_iter()).await
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
    let others = target.children().iter().map(|child| &child.digest);
    let attestations = others.filter(|digest| !images.contains(digest));
    IndexReceipt {
        repository: seal.repository.clone(),
        digest: target.digest().clone(),
        media_type: target.media_type().clone(),
        platforms: assembly.platforms.clone(),
        attestations: attestations.cloned().collect(),
        children: assembly.children.clone(),
        was_there,
    }
}

fn tag_receipt(step: TagStep) -> TagReceipt {
    let state = if step.writes() {
        TagState::Intended
    } else {
        TagState::Kept
    };
    TagReceipt { step, state }
}
