//! Reads everything that `seal` and `create` need before they write: the children and the tags. Then decides the
//! changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::commands::children::{Resolution, resolve_all};
use crate::commands::present::check_present;
use crate::commands::tags::{TagLookup, look_up_tags, report_step};
use crate::commands::versions::Versions;
use crate::commands::{CommandError, new_repository};
use crate::context::{Context, ImageError, REQUESTS_PARALLEL};
use crate::domain::{Descriptor, Digest, Manifest, Reference, Repository};
use crate::inputs::{Depth, Seal};
use crate::outcome::{
    CopiedContent, DestinationOutcome, DestinationState, IndexOutcome, Outcome, TagOutcome,
};
use crate::plan::{
    Assembly, Conflict, EquivalentIndex, KeepRule, Resolved, SeenTag, TagKind, TagStep, TagSteps,
    Vouched, VouchedOrObserved, Wanted, assemble, decide_tags, lacking_vouchers,
};
use crate::signatures::signable::check_signable;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

/// The children and the tags as they were read. Nothing was written for that.
pub(super) struct Inspection {
    pub(super) inputs: Vec<Resolved>,
    pub(super) assembly: Assembly,
    locations: BTreeMap<Digest, Repository>,
    inside: BTreeMap<Digest, Vec<Vouched<Descriptor>>>,
    lookups: Vec<TagLookup>,
}

/// An [`Inspection`] with the content of every tag.
pub(super) struct FullInspection {
    pub(super) inspection: Inspection,
    pub(super) seen: Vec<SeenTag>,
    copied: BTreeMap<Repository, CopiedContent>,
}

/// The planned changes, once everything is known.
pub(super) struct SealPlan {
    /// The index for absent and moving tags, everywhere.
    pub target: VouchedOrObserved,
    /// The repositories that get it, and their state.
    pub destinations: Vec<Destination>,
    /// A repository that has each child.
    pub locations: BTreeMap<Digest, Repository>,
    /// The index of the given children.
    made: Vouched<Manifest>,
    /// All manifests inside each given digest.
    inside: BTreeMap<Digest, Vec<Vouched<Descriptor>>>,
}

impl SealPlan {
    /// Reports whether no repository has the target yet.
    pub(super) fn is_new(&self) -> bool {
        let mut destinations = self.destinations.iter();
        destinations.all(|destination| destination.push_index)
    }

    /// Returns all manifests in an index that is vouched for: its bytes name them.
    pub(super) fn vouched_members<'a>(
        &'a self,
        index: &'a Vouched<Manifest>,
    ) -> impl Iterator<Item = Vouched<Descriptor>> {
        index.members().flat_map(|child| {
            let inside = self.inside.get(&child.digest).cloned();
            std::iter::once(child).chain(inside.into_iter().flatten())
        })
    }

    /// Returns the manifests in an index that may be copied to its place. Of an index that nothing vouches for, these
    /// are the children that were given to this run.
    pub(super) fn vouched_parts<'a>(
        &'a self,
        index: &'a VouchedOrObserved,
    ) -> impl Iterator<Item = Vouched<Descriptor>> {
        let lists = |index: &Manifest, child: &Descriptor| {
            let mut children = index.children().iter();
            children.any(|listed| listed.digest == child.digest)
        };
        let (vouched, observed) = match index {
            VouchedOrObserved::Vouched(index) => (index, None),
            VouchedOrObserved::Observed(index) => (&self.made, Some(index)),
        };
        self.vouched_members(vouched)
            .filter(move |child| observed.is_none_or(|index| lists(index, child)))
    }
}

/// A repository that the index goes to.
pub(super) struct Destination {
    /// The repository.
    pub repository: Repository,
    /// True if it lacks the target.
    pub push_index: bool,
    /// Other indexes with the same images, which stay under its tags.
    pub equivalents: Vec<VouchedOrObserved>,
    /// The content that had to be copied before the tags could be read.
    pub copied: CopiedContent,
}

impl Destination {
    /// Returns every index that the run leaves under a tag here.
    pub(super) fn indexes<'a>(
        &'a self,
        target: &'a VouchedOrObserved,
    ) -> impl Iterator<Item = &'a VouchedOrObserved> {
        std::iter::once(target).chain(&self.equivalents)
    }
}

/// Reads children and tags, and assembles the index of the children.
pub(super) async fn inspect(
    context: &Context,
    seal: &Seal,
    outcome: &mut Outcome,
) -> Result<Inspection, CommandError> {
    context.events.step("Inspect children and tags");
    let resolution = resolve_all(context, &seal.digests, &seal.sources);
    let lookups = look_up_tags(context, &seal.tags, &seal.moving_tags);
    let (resolution, lookups) = tokio::try_join!(resolution, lookups)?;
    let Resolution {
        inputs,
        locations,
        left_out,
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
            .info(format!("{platform} `{}`", child.digest));
    }
    // Fixed tags never change, so a conflict in the tags that were read cannot go away. Report it before anything is copied.
    let seen = new_repository::seen(&lookups);
    let decided = decide_tags(
        &assembly,
        &inputs,
        &seen,
        KeepRule::Images,
        &BTreeMap::new(),
    );
    let decided = decided.map_err(|conflicts| conflict(seal, &assembly, conflicts, outcome))?;
    // A given index that the tags have stays as it is.
    if decided.target.manifest().digest() == assembly.manifest.digest() {
        for text in left_out {
            context.events.warn(text);
        }
    }
    Ok(Inspection {
        inputs,
        assembly,
        locations,
        inside,
        lookups,
    })
}

impl Inspection {
    /// Checks that every child can be signed, if the children are signed.
    pub(super) fn check_signable(&self, seal: &Seal) -> Result<(), CommandError> {
        let signing = seal.signing.as_ref();
        if signing.is_some_and(|signing| signing.depth == Depth::Children) {
            for child in self.inside.values().flatten() {
                check_signable(&child.digest)?;
            }
        }
        Ok(())
    }

    /// Reports whether the children are copied to a registry that denies its tags, and no other tag has an image. A
    /// signature has to be made then.
    pub(super) fn will_need_new_signature(&self) -> bool {
        let is_denied = |lookup: &TagLookup| matches!(lookup, TagLookup::Denied { .. });
        let is_held = |lookup: &TagLookup| matches!(lookup, TagLookup::Seen(SeenTag { kind: TagKind::Fixed, existing, .. }) if existing.is_some());
        self.lookups.iter().any(is_denied) && !self.lookups.iter().any(is_held)
    }

    /// Reads the tags that registries would not report. That may copy the children there.
    pub(super) async fn probe_denied_repositories(
        mut self,
        context: &Context,
        seal: &Seal,
    ) -> Result<FullInspection, CommandError> {
        let lookups = std::mem::take(&mut self.lookups);
        let known = new_repository::probe_denied_repositories(
            context,
            seal,
            lookups,
            &self.assembly.manifest,
            &self.locations,
        );
        let (seen, copied) = known.await?;
        Ok(FullInspection {
            inspection: self,
            seen,
            copied,
        })
    }
}

impl FullInspection {
    /// Returns the indexes under fixed tags that only a signature can vouch for.
    pub(super) fn lacking_vouchers(&self) -> impl Iterator<Item = (&Repository, &Manifest)> {
        let Inspection {
            inputs, assembly, ..
        } = &self.inspection;
        lacking_vouchers(assembly, inputs, &self.seen)
    }

    /// Decides the step for every tag and every repository.
    pub(super) async fn make_plan(
        self,
        context: &Context,
        seal: &Seal,
        keep_rule: KeepRule<'_>,
        versions: &Versions<'_>,
        outcome: &mut Outcome,
    ) -> Result<SealPlan, CommandError> {
        let Self {
            inspection,
            seen,
            copied,
        } = self;
        let Inspection {
            inputs,
            assembly,
            mut locations,
            inside,
            ..
        } = inspection;
        let newer = versions
            .newer_tags(&seen, assembly.manifest.digest())
            .await?;
        let decided = decide_tags(&assembly, &inputs, &seen, keep_rule, &newer);
        let TagSteps {
            target,
            steps,
            equivalents,
        } = decided.map_err(|conflicts| conflict(seal, &assembly, conflicts, outcome))?;
        find_foreign(context, seal, &target, &seen, &equivalents, &mut locations).await?;
        let mut destinations = destinations(context, seal, &target, &steps, &equivalents).await?;
        for destination in &mut destinations {
            let copied = copied.get(&destination.repository);
            destination.copied = copied.cloned().unwrap_or_default();
        }
        report_plan(context, &steps, &target, &equivalents);
        warn_observed(context, &steps, &target, &assembly.manifest);
        let mut index = assembly_outcome(&assembly, target.manifest(), &seal.destinations);
        index.observed = target.vouched().is_none();
        for (outcome_destination, destination) in index.destinations.iter_mut().zip(&destinations) {
            if !destination.push_index {
                outcome_destination.state = DestinationState::WasThere;
            }
        }
        outcome.index = Some(index);
        outcome.tags = steps.into_iter().map(TagOutcome::new).collect();
        Ok(SealPlan {
            target,
            destinations,
            locations,
            made: assembly.manifest,
            inside,
        })
    }
}

fn conflict(
    seal: &Seal,
    assembly: &Assembly,
    conflicts: Vec<Conflict>,
    outcome: &mut Outcome,
) -> CommandError {
    let index = assembly_outcome(assembly, &assembly.manifest, &seal.destinations);
    outcome.index = Some(index);
    outcome.conflicts.clone_from(&conflicts);
    CommandError::conflict(conflicts, &assembly.manifest)
}

async fn destinations(
    context: &Context,
    seal: &Seal,
    target: &VouchedOrObserved,
    steps: &[TagStep],
    equivalents: &[EquivalentIndex],
) -> Result<Vec<Destination>, CommandError> {
    let is_vouched = target.vouched().is_some();
    let target = target.manifest();
    let reads = seal.destinations.iter().map(|repository| async move {
        let here = || {
            steps
                .iter()
                .filter(|step| step.tag.repository == *repository)
        };
        let is_current = here().any(|step| step.before.as_ref() == Some(target.digest()));
        // If a tag gets it, a request for the digest would change nothing: a push can be repeated.
        let is_tagged = here().any(|step| step.after == *target.digest());
        let was_there = is_current
            || !is_vouched
            || (!is_tagged && is_there(context, repository, target).await?);
        let here = equivalents
            .iter()
            .filter(|found| found.repository == *repository);
        Ok(Destination {
            repository: repository.clone(),
            push_index: !was_there,
            equivalents: here.map(|found| found.index.clone()).collect(),
            copied: CopiedContent::default(),
        })
    });
    try_join_all(reads).await
}

fn report_plan(
    context: &Context,
    steps: &[TagStep],
    target: &VouchedOrObserved,
    equivalents: &[EquivalentIndex],
) {
    for step in steps {
        report_step(context, step);
    }
    for EquivalentIndex { repository, index } in equivalents {
        let what = match index {
            VouchedOrObserved::Vouched(_) => "both are kept, and both are signed if this run signs",
            VouchedOrObserved::Observed(_) => {
                "it is kept, but no other tag is moved to it, because it is not verified"
            }
        };
        context.events.warn(format!(
            "a tag points to `{}`, which has the same images as `{}` but other bytes; {what}",
            repository.at(index.manifest().digest()),
            target.manifest().digest()
        ));
    }
}

/// Warns that every tag holds an index that nothing vouches for, and that the outputs name it.
fn warn_observed(
    context: &Context,
    steps: &[TagStep],
    target: &VouchedOrObserved,
    made: &Manifest,
) {
    if let (VouchedOrObserved::Observed(index), Some(step)) = (target, steps.first()) {
        context.events.warn(format!(
            "a tag points to `{}`, which has the same images as `{}`, the index that this run would make, but other bytes; it is kept, although it is not verified. The outputs `digest` and `reference` name it: check it before you sign, publish or deploy it",
            step.tag.repository.at(index.digest()),
            made.digest()
        ));
    }
}

/// Finds the children of indexes under tags that were not given to this run, such as attestations of another tool. Those
/// of a vouched index must be there too. Those of an index that nothing vouches for are named in a warning.
async fn find_foreign(
    context: &Context,
    seal: &Seal,
    target: &VouchedOrObserved,
    seen: &[SeenTag],
    equivalents: &[EquivalentIndex],
    locations: &mut BTreeMap<Digest, Repository>,
) -> Result<(), CommandError> {
    let held = |tag: &&SeenTag| {
        let existing = tag.existing.as_ref();
        existing.is_some_and(|existing| existing.digest() == target.manifest().digest())
    };
    let targets = seen
        .iter()
        .find(held)
        .map(|tag| (&tag.tag.repository, target));
    let others = equivalents
        .iter()
        .map(|found| (&found.repository, &found.index));
    let (mut foreign, mut observed) = (BTreeSet::new(), BTreeSet::new());
    for (repository, index) in targets.into_iter().chain(others) {
        let children = index.manifest().children().iter();
        let unknown = children.filter(|child| !locations.contains_key(&child.digest));
        for child in unknown {
            let (repository, child) = (repository.clone(), child.digest.clone());
            match index {
                VouchedOrObserved::Vouched(_) => foreign.insert((repository, child)),
                VouchedOrObserved::Observed(index) => {
                    observed.insert((repository, child, index.digest().clone()))
                }
            };
        }
    }
    let reads = foreign.into_iter().map(|(repository, digest)| async move {
        let location = find_foreign_child(context, seal, repository, &digest).await?;
        Ok::<_, CommandError>((digest, location))
    });
    let found: Vec<_> = stream::iter(reads)
        .buffered(REQUESTS_PARALLEL)
        .try_collect()
        .await?;
    locations.extend(found);
    let warnings = observed
        .iter()
        .map(|(repository, child, index)| warning_of_observed(context, repository, child, index));
    let mut warnings = stream::iter(warnings).buffered(REQUESTS_PARALLEL);
    while let Some(warning) = warnings.try_next().await? {
        context.events.warn(warning);
    }
    Ok(())
}

/// Returns the warning about a child of an index that nothing vouches for.
///
/// SECURITY: such a child is not requested from another repository. Anyone with push access can name any digest in an
/// index.
async fn warning_of_observed(
    context: &Context,
    repository: &Repository,
    child: &Digest,
    index: &Digest,
) -> Result<String, CommandError> {
    let reference = Reference::Digest(child.clone());
    let found = context.registry.manifest_digest(repository, &reference);
    let missing = match found.await? {
        Some(_) => String::new(),
        None => format!("; it is missing in `{repository}` and is not copied there"),
    };
    Ok(format!(
        "`{child}`, a child of `{index}` under a tag, is not in the inputs of this run and is not verified{missing}"
    ))
}

/// Returns the repository of such a child: that of the index, or another one, from which it is then copied back.
async fn find_foreign_child(
    context: &Context,
    seal: &Seal,
    repository: Repository,
    digest: &Digest,
) -> Result<Repository, CommandError> {
    let own = check_present(context, &repository, digest).await;
    if matches!(
        own,
        Err(CommandError::Image(ImageError::MissingChild { .. }))
    ) {
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
) -> Result<bool, CommandError> {
    let reference = Reference::Digest(target.digest().clone());
    let found = context.registry.manifest_digest(repository, &reference);
    Ok(found.await?.is_some())
}

fn assembly_outcome(
    assembly: &Assembly,
    target: &Manifest,
    destinations: &[Repository],
) -> IndexOutcome {
    let images: BTreeSet<&Digest> = assembly
        .platforms
        .values()
        .map(|child| &child.digest)
        .collect();
    let others = target.children().iter().map(|child| &child.digest);
    let attestations = others.filter(|digest| !images.contains(digest));
    IndexOutcome {
        destinations: destinations.iter().map(DestinationOutcome::new).collect(),
        digest: target.digest().clone(),
        media_type: target.media_type().clone(),
        platforms: assembly.platforms.clone(),
        attestations: attestations.cloned().collect(),
        children: assembly.children.clone(),
        observed: false,
    }
}
