//! What `seal` and `create` have to know before anything is written: the children, the tags, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};

use super::children::{PARALLEL, Resolution, resolve_all};
use super::copying::carry::Brought;
use super::receipt::{IndexReceipt, PlaceReceipt, PlaceState, Receipt, TagReceipt};
use super::tags::{Sight, see_tags, tell_step};
use super::{ApplyError, Context, unseen};
use crate::domain::{Descriptor, Digest, Manifest, Reference, Repository};
use crate::inputs::Seal;
use crate::plan::{
    Assembly, Equivalent, SeenTag, TagStep, TagSteps, Wanted, assemble, decide_tags, images_of,
};
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

/// What is to be done, once everything is known.
pub(super) struct SealPlan {
    /// The index that absent and moving tags get, everywhere.
    pub target: Manifest,
    /// Where it goes, and what is there.
    pub destinations: Vec<Destination>,
    /// A repository in which each child was seen.
    pub places: BTreeMap<Digest, Repository>,
    /// All that is in each digest that was given.
    inside: BTreeMap<Digest, Vec<Descriptor>>,
    /// What indexes under tags hold beside that. SECURITY: whoever may push a tag can add it, so that it is not ours to sign.
    strangers: BTreeSet<Digest>,
}

impl SealPlan {
    /// Whether no repository holds the target yet.
    pub(super) fn is_new(&self) -> bool {
        let mut destinations = self.destinations.iter();
        destinations.all(|destination| destination.push_index)
    }

    /// All that is in one of the run's indexes, at whatever depth: another tool may have nested an index that was given.
    pub(super) fn members<'a>(
        &'a self,
        index: &'a Manifest,
    ) -> impl Iterator<Item = &'a Descriptor> {
        let inside = |child: &Descriptor| self.inside.get(&child.digest).into_iter().flatten();
        let children = index.children().iter();
        children.flat_map(move |child| std::iter::once(child).chain(inside(child)))
    }

    /// The same without what others have put there.
    pub(super) fn own_members<'a>(
        &'a self,
        index: &'a Manifest,
    ) -> impl Iterator<Item = &'a Descriptor> {
        self.members(index)
            .filter(|child| !self.strangers.contains(&child.digest))
    }
}

/// A repository that the index goes to.
pub(super) struct Destination {
    /// Which.
    pub repository: Repository,
    /// Whether it lacks the target.
    pub push_index: bool,
    /// Other indexes with the same images, which its tags hold and keep.
    pub equivalents: Vec<Manifest>,
    /// What had to be brought before the tags could be seen.
    pub brought: Brought,
}

impl Destination {
    /// Every index that the run leaves under a tag here.
    pub(super) fn indexes<'a>(
        &'a self,
        target: &'a Manifest,
    ) -> impl Iterator<Item = &'a Manifest> {
        std::iter::once(target).chain(&self.equivalents)
    }
}

/// Reads children and tags, and decides. Nothing is written before all of it is known. What the tags were seen to hold is
/// told to `on_sights` at once.
pub(super) async fn survey(
    context: &Context,
    seal: &Seal,
    on_sights: impl FnOnce(&[Sight]),
    receipt: &mut Receipt,
) -> Result<SealPlan, ApplyError> {
    context.events.phase("Look at children and tags");
    let sights = async {
        let sights = see_tags(context, &seal.tags, &seal.moving_tags).await?;
        on_sights(&sights);
        Ok(sights)
    };
    let resolution = resolve_all(context, &seal.digests, &seal.sources);
    let (resolution, sights) = tokio::try_join!(resolution, sights)?;
    let Resolution {
        inputs,
        mut places,
        inside,
    } = resolution;
    let wanted = Wanted {
        platforms: seal.platforms.as_ref(),
        annotations: &seal.annotations,
        media_type: seal.media_type,
    };
    let assembly = assemble(&inputs, &wanted)?;
    for (platform, child) in &assembly.platforms {
        context
            .events
            .note(format!("{platform} `{}`", child.digest));
    }
    let mut decide = |seen: &[SeenTag]| {
        decide_tags(&assembly, &inputs, seen).map_err(|conflicts| {
            let index = index_receipt(&assembly, &assembly.manifest, &seal.destinations);
            receipt.index = Some(index);
            receipt.conflicts.clone_from(&conflicts);
            let wanted = images_of(&assembly.manifest);
            ApplyError::Conflict { conflicts, wanted }
        })
    };
    // A conflict that shows already is one whatever else comes to light.
    decide(&unseen::seen(&sights))?;
    let (seen, brought) = unseen::know(context, seal, sights, &assembly.manifest, &places).await?;
    let TagSteps {
        target,
        steps,
        equivalents,
    } = decide(&seen)?;
    let strangers =
        find_strangers(context, seal, &target, &seen, &equivalents, &mut places).await?;
    let mut destinations = destinations(context, seal, &target, &steps, &equivalents).await?;
    for destination in &mut destinations {
        let brought = brought.get(&destination.repository);
        destination.brought = brought.cloned().unwrap_or_default();
    }
    tell(context, &steps, &target, &equivalents);
    let mut index = index_receipt(&assembly, &target, &seal.destinations);
    for (place, destination) in index.places.iter_mut().zip(&destinations) {
        if !destination.push_index {
            place.state = PlaceState::WasThere;
        }
    }
    receipt.index = Some(index);
    receipt.tags = steps.into_iter().map(TagReceipt::new).collect();
    Ok(SealPlan {
        target,
        destinations,
        places,
        inside,
        strangers,
    })
}

async fn destinations(
    context: &Context,
    seal: &Seal,
    target: &Manifest,
    steps: &[TagStep],
    equivalents: &[Equivalent],
) -> Result<Vec<Destination>, ApplyError> {
    let looks = seal.destinations.iter().map(|repository| async move {
        let here = || {
            steps
                .iter()
                .filter(|step| step.tag.repository == *repository)
        };
        let holds = here().any(|step| step.before.as_ref() == Some(target.digest()));
        // Where a tag gets it, asking for the digest as well would cost a request and change nothing: a push is repeatable.
        let is_tagged = here().any(|step| step.after == *target.digest());
        let was_there = holds || (!is_tagged && is_there(context, repository, target).await?);
        let here = equivalents
            .iter()
            .filter(|found| found.repository == *repository);
        Ok(Destination {
            repository: repository.clone(),
            push_index: !was_there,
            equivalents: here.map(|found| found.manifest.clone()).collect(),
            brought: Brought::default(),
        })
    });
    try_join_all(looks).await
}

fn tell(context: &Context, steps: &[TagStep], target: &Manifest, equivalents: &[Equivalent]) {
    for step in steps {
        tell_step(context, step);
    }
    for Equivalent {
        repository,
        manifest,
    } in equivalents
    {
        context.events.warn(format!(
            "a tag holds `{}`, which has the same images as `{}` in other bytes; both stay, and both are signed if anything is",
            repository.at(manifest.digest()),
            target.digest()
        ));
    }
}

/// Children of indexes found under tags that are none of ours (attestations that another tool added) must be there too.
/// Returns which those are.
async fn find_strangers(
    context: &Context,
    seal: &Seal,
    target: &Manifest,
    seen: &[SeenTag],
    equivalents: &[Equivalent],
    places: &mut BTreeMap<Digest, Repository>,
) -> Result<BTreeSet<Digest>, ApplyError> {
    let held = |tag: &&SeenTag| {
        let holds = tag.holds.as_ref();
        holds.is_some_and(|manifest| manifest.digest() == target.digest())
    };
    let targets = seen
        .iter()
        .find(held)
        .map(|tag| (&tag.tag.repository, target));
    let others = equivalents
        .iter()
        .map(|found| (&found.repository, &found.manifest));
    let mut strangers = BTreeSet::new();
    for (repository, index) in targets.into_iter().chain(others) {
        let children = index.children().iter().map(|child| &child.digest);
        let unknown = children.filter(|digest| !places.contains_key(*digest));
        strangers.extend(unknown.map(|digest| (repository.clone(), digest.clone())));
    }
    let looks = strangers
        .into_iter()
        .map(|(repository, digest)| async move {
            let place = find_stranger(context, seal, repository, &digest).await?;
            Ok::<_, ApplyError>((digest, place))
        });
    let found: Vec<_> = stream::iter(looks).buffered(PARALLEL).try_collect().await?;
    let strangers: BTreeSet<Digest> = found.iter().map(|(digest, _)| digest.clone()).collect();
    places.extend(found);
    for stranger in &strangers {
        context.events.note(format!(
            "`{stranger}`, which an index under a tag holds beside its images, was not given to this run: it gets no signature of its own"
        ));
    }
    Ok(strangers)
}

/// Where such a child is: beside the index, or in another repository, from which it is brought back then.
async fn find_stranger(
    context: &Context,
    seal: &Seal,
    repository: Repository,
    digest: &Digest,
) -> Result<Repository, ApplyError> {
    let own = context.child_present(&repository, digest).await;
    if matches!(own, Err(ApplyError::MissingChild { .. })) {
        let reference = Reference::Digest(digest.clone());
        for other in seal.sources_for(&repository) {
            let found = context.registry.manifest_digest(&other, &reference).await?;
            if found.is_some() {
                return Ok(other);
            }
        }
    }
    own.map(|()| repository)
}

async fn is_there(
    context: &Context,
    repository: &Repository,
    target: &Manifest,
) -> Result<bool, ApplyError> {
    let reference = Reference::Digest(target.digest().clone());
    let found = context.registry.manifest_digest(repository, &reference);
    Ok(found.await?.is_some())
}

fn index_receipt(
    assembly: &Assembly,
    target: &Manifest,
    destinations: &[Repository],
) -> IndexReceipt {
    let images: BTreeSet<&Digest> = assembly
        .platforms
        .values()
        .map(|child| &child.digest)
        .collect();
    let others = target.children().iter().map(|child| &child.digest);
    let attestations = others.filter(|digest| !images.contains(digest));
    IndexReceipt {
        places: destinations.iter().map(PlaceReceipt::new).collect(),
        digest: target.digest().clone(),
        media_type: target.media_type().clone(),
        platforms: assembly.platforms.clone(),
        attestations: attestations.cloned().collect(),
        children: assembly.children.clone(),
    }
}
