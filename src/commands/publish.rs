//! The command `publish`: copies an image, or all images of a record, with all referrers and without changes. Tags are
//! written last. Existing content at a destination is not trusted: every part is checked, and missing parts are copied.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use futures_util::future::{join_all, try_join_all};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Mutex;

use super::CommandError;
use super::known_signatures::KnownSignatures;
use super::new_repository::seen;
use super::publish_source::{FoundImages, find_images};
use super::source_gate::SourceGate;
use super::tags::{PreWriteCheck, TagLookup, look_up_tags, report_step, write_tags};
use super::verify::{SignatureGate, policy_from_inputs};
use super::versions::{VersionProof, Versions};
use crate::context::{Context, REQUESTS_PARALLEL, RecordWriter};
use crate::copy::CopyError;
use crate::copy::copier::{Copier, DestinationCheck};
use crate::copy::list_write::{ListWrite, settle_lists, write_lists};
use crate::copy::referrer_copier::ReferrerCopier;
use crate::copy::referrer_filter::ReferrerFilter;
use crate::copy::source::{KnownSource, Source};
use crate::domain::{
    Digest, FullTag, Manifest, ManifestKind, Reference, Repository, TagContent, chain_text,
};
use crate::inputs::{Mode, Publish};
use crate::outcome::{
    CopiedContent, DestinationOutcome, DestinationState, IndexOutcome, Outcome, ReferrerOutcome,
    TagOutcome,
};
use crate::plan::{
    NAME, Newer, SeenTag, TagKind, TagStep, Vouched, contents_of, decide_published, version_made,
};
use crate::referrers::{PendingSettle, Writers};
use crate::registry::{SharedReads, SharingDestination, has_no_tags};
use crate::signatures::VerifyingContext;

/// The maximum number of lists, and of referrers, that the log names.
const LISTS_SHOWN: usize = 5;
const REFERRERS_SHOWN: usize = 50;
const NOTHING_VERIFIED: &str = "nothing is verified, because no identity is given (`certificate-identity`): the content of the source is published as it is";

/// Publishes an image. `verifying` supplies what verification needs; it is awaited only if a signature is required.
pub(super) async fn publish(
    context: &Context,
    publish: &Publish,
    verifying: impl Future<Output = Result<VerifyingContext, CommandError>>,
    record_writer: &RecordWriter,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    outcome.planned = context.mode == Mode::DryRun;
    context.events.step("Read the source and the tags");
    let (found, lookups, unused) = tokio::try_join!(
        find_images(context, &publish.sources, record_writer),
        look_up_tags(context, &publish.tags, &publish.moving_tags),
        async { Ok(unused_repositories(context, &publish.destinations).await) },
    )?;
    let image = &found.image;
    let shown = |image: &Vouched<Manifest>| image_outcome(image, &publish.destinations);
    outcome.index = Some(shown(image));
    let others = found.images.iter();
    let others = others.filter(|other| other.digest() != image.digest());
    outcome.others = others.map(shown).collect();
    if !lookups.is_empty() {
        found.check_taggable()?;
    }
    let tagged = image.as_tagged();
    note_steps(&seen(&lookups), &tagged, &BTreeMap::new(), outcome)?;
    let gate = if let Some((depth, inputs)) = &publish.gate {
        Some((*depth, policy_from_inputs(inputs)?, verifying.await?))
    } else {
        context.events.info(NOTHING_VERIFIED.to_owned());
        None
    };
    let mut filter = ReferrerFilter::new(publish.referrers);
    let mut known_signatures = KnownSignatures::default();
    if let Some((depth, policy, verifying)) = &gate {
        let source = SourceGate {
            context,
            found: &found,
            destinations: &publish.destinations,
            verifying_context: verifying,
            policy,
            selection: publish.referrers,
        };
        let passed = source.check(*depth).await?;
        filter = filter.verifying(verifying, passed.policy, passed.bundles);
        known_signatures = passed.known;
    }
    let required_proof = gate
        .as_ref()
        .map(|(_, policy, verifying)| VersionProof::signer(verifying, policy));
    let mut versions = Versions {
        context,
        wanted: version_made(image, &[], &publish.tags),
        name: image.annotation(NAME).map(str::to_owned),
        is_index: matches!(image.kind(), ManifestKind::Index { .. }),
        required_proof: required_proof.unwrap_or(VersionProof::NotRequired),
        lock: Mutex::default(),
    };
    if context.mode == Mode::DryRun {
        let known = seen(&lookups);
        let newer = versions.newer_tags(&known, tagged.digest()).await?;
        note_steps(&known, &tagged, &newer, outcome)?;
        return plan(context, publish, &found, &lookups, filter, outcome).await;
    }
    record_writer.save(outcome)?;
    let steps = PublishSteps {
        context,
        found: &found,
        lookups: &lookups,
        filter: &filter,
        unused: &unused,
        record_writer,
    };
    let copied = steps
        .copy_everywhere(&publish.destinations, outcome)
        .await?;
    // Some registries do not report the content of a repository that does not exist. It exists now.
    let reads = lookups.into_iter();
    let known = try_join_all(reads.map(|lookup| lookup.read_if_denied(context))).await?;
    // The images are there now, so their labels can be read.
    if let (false, Some(repository)) =
        (publish.moving_tags.is_empty(), publish.destinations.first())
    {
        let stated = versions.version(repository, image).await?;
        versions.wanted = stated.or(versions.wanted);
    }
    let newer = versions.newer_tags(&known, tagged.digest()).await?;
    note_steps(&known, &tagged, &newer, outcome)?;
    report_steps(context, outcome);
    if let Some((depth, policy, verifying)) = &gate {
        let gate = SignatureGate {
            context,
            verifying_context: verifying,
            policy,
            record: record_writer,
            known: &known_signatures,
        };
        let images = found.at(&publish.destinations);
        gate.check(&images, *depth, outcome).await?;
        outcome.verified = true;
    }
    record_writer.save(outcome)?;
    // Every list is written. While the tags are written, the lists are watched until they are stable.
    let (check, lists) = (copied.check, settle_lists(copied.pending_settles));
    let tags = write_tags(context, record_writer, &tagged, &versions, check, outcome);
    let (tagged, settled) = tokio::join!(tags, lists);
    tagged?;
    settled?;
    Ok(record_writer.save(outcome)?)
}

/// Returns the repositories without any tag.
async fn unused_repositories(
    context: &Context,
    destinations: &[Repository],
) -> BTreeSet<Repository> {
    let reads = destinations.iter().map(|repository| async move {
        let is_unused = has_no_tags(&context.registry, repository).await;
        is_unused.then(|| repository.clone())
    });
    join_all(reads).await.into_iter().flatten().collect()
}

/// Decides the steps for the tags whose content is known.
fn note_steps(
    seen: &[SeenTag],
    image: &Manifest,
    newer: &BTreeMap<FullTag, Newer>,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    match decide_published(image, seen, newer) {
        Ok(steps) => {
            let steps: Vec<TagStep> = steps;
            outcome.tags = steps.into_iter().map(TagOutcome::new).collect();
            Ok(())
        }
        Err(conflicts) => {
            outcome.conflicts.clone_from(&conflicts);
            Err(CommandError::conflict(conflicts, image))
        }
    }
}

/// Reports the step of each tag.
fn report_steps(context: &Context, outcome: &Outcome) {
    let steps = outcome.tags.iter().map(|tag| &tag.step);
    steps.for_each(|step| report_step(context, step));
}

/// Reports what a run would copy and write, as far as this can be read.
async fn plan(
    context: &Context,
    publish: &Publish,
    found: &FoundImages,
    lookups: &[TagLookup],
    filter: ReferrerFilter<'_>,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    report_steps(context, outcome);
    for lookup in lookups {
        if let TagLookup::Denied { tag, error, .. } = lookup {
            let why = chain_text(error.kind());
            let text = format!(
                "tag `{tag}`: unknown: access is denied; some registries deny repositories that do not exist yet: {why}"
            );
            context.events.warn(text);
        }
    }
    mark_present(context, outcome).await?;
    for index in outcome.indexes() {
        for destination in &index.destinations {
            let image = destination.repository.at(&index.digest);
            context.events.info(match destination.state {
                DestinationState::WasThere => {
                    format!("`{image}`: exists; missing parts would be copied")
                }
                DestinationState::Lacking | DestinationState::Pushed => {
                    format!("`{image}`: to be copied with all its parts")
                }
            });
        }
    }
    if let Some(to) = publish.destinations.first() {
        let from = found.sources.iter();
        let sources = from.clone().map(|from| &from.source);
        let copier = Copier::new(context, sources, to, DestinationCheck::Deep);
        let writers = Writers::Several;
        let referrers = ReferrerCopier::new(context, from.collect(), to, &copier, &filter, writers);
        referrers
            .plan(found.images.iter().map(|image| &**image))
            .await?;
    }
    outcome.referrers = filter.outcomes();
    report_referrers(context, &outcome.referrers, |_| "to be copied");
    Ok(())
}

/// Notes the destinations that already have the images, for a run that copies nothing.
async fn mark_present(context: &Context, outcome: &mut Outcome) -> Result<(), CommandError> {
    let places = outcome.indexes_mut().flat_map(|index| {
        let reference = Reference::Digest(index.digest.clone());
        let places = index.destinations.iter_mut();
        places.map(move |destination| (destination, reference.clone()))
    });
    let reads = places.map(|(destination, reference)| async move {
        let held = context
            .registry
            .manifest_digest(&destination.repository, &reference);
        match held.await {
            Ok(Some(_)) => destination.state = DestinationState::WasThere,
            Ok(None) => (),
            // The copy will find out if this denial matters.
            Err(error) if error.is_denied() => (),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    });
    // Collected, since the compiler cannot follow the lifetimes of a stream of closures.
    stream::iter(reads.collect::<Vec<_>>())
        .buffer_unordered(REQUESTS_PARALLEL)
        .try_collect()
        .await
}

/// The values that the copies to all destinations share.
struct PublishSteps<'a, 's> {
    context: &'a Context,
    found: &'s FoundImages,
    lookups: &'s [TagLookup],
    filter: &'s ReferrerFilter<'s>,
    /// The repositories without any tag.
    unused: &'s BTreeSet<Repository>,
    record_writer: &'s RecordWriter,
}

/// The remaining work after the copies to all destinations.
struct CopiedEverywhere<'a> {
    /// The lists that were written, until they are stable.
    pending_settles: Vec<PendingSettle<'a, CopyError>>,
    check: PreWriteCheck,
}

/// The result of the copy to one destination, without its lists.
struct CopiedImages<'a> {
    lists: Vec<ListWrite<'a>>,
    check: PreWriteCheck,
}

impl<'a> PublishSteps<'a, '_> {
    /// Copies the image to every destination, then writes the lists of referrers. A failure at one destination does not
    /// stop the others.
    async fn copy_everywhere(
        &self,
        destinations: &'a [Repository],
        outcome: &mut Outcome,
    ) -> Result<CopiedEverywhere<'a>, CommandError> {
        self.context.events.step("Copy");
        let shared = RefCell::new(&mut *outcome);
        let reads = &SharedReads::among(destinations.len());
        let each = destinations
            .iter()
            .enumerate()
            .map(|(number, repository)| (repository, reads.destination(number)));
        let each = each.map(|(repository, sharing)| async {
            let (mut copied, ended) = self.copy(repository, sharing, &shared).await;
            let ended = match ended {
                Ok(CopiedImages { lists, check }) => {
                    let written = write_lists(self.context, self.filter, lists).await;
                    written.map(|written| {
                        let tags = written.tags.iter().map(ToString::to_string);
                        copied.lists.extend(tags);
                        (written.pending_settles, check)
                    })
                }
                Err(error) => Err(error),
            };
            (copied, ended)
        });
        let ended = join_all(each).await;
        let (mut pending_settles, mut check) = (Vec::new(), PreWriteCheck::default());
        let (mut failure, mut stored) = (None, BTreeSet::new());
        for (repository, (copied, ended)) in destinations.iter().zip(ended) {
            report_copied(self.context, repository, &copied, ended.is_ok());
            stored.extend(copied.manifests.iter().map(ToString::to_string));
            stored.extend(copied.lists.iter().cloned());
            match ended {
                Ok((pending, read)) => {
                    outcome.note_published(repository, &copied);
                    pending_settles.extend(pending);
                    check.append(read);
                }
                Err(error) => {
                    outcome.note_copied(repository, &copied);
                    failure = failure.or(Some(error.into()));
                }
            }
        }
        outcome.referrers = self.filter.outcomes();
        report_referrers(self.context, &outcome.referrers, |name| {
            match (stored.contains(name), &failure) {
                (true, _) => "copied",
                (false, None) => "was there",
                (false, Some(_)) => "to be copied",
            }
        });
        check.unused.clone_from(self.unused);
        let copied = CopiedEverywhere {
            pending_settles,
            check,
        };
        match failure {
            None => Ok(copied),
            Some(error) => Err(self.found.name_missing_images(error)),
        }
    }

    /// Copies the images and their referrers to one destination. Each starts when its digest is known.
    async fn copy(
        &self,
        to: &'a Repository,
        sharing: SharingDestination<'_>,
        outcome: &RefCell<&mut Outcome>,
    ) -> (CopiedContent, Result<CopiedImages<'a>, CopyError>) {
        let (context, found) = (self.context, self.found);
        let is_other = |from: &&KnownSource| !matches!(&from.source, Source::Repository(repository) if repository == to);
        let from = found.sources.iter().filter(is_other);
        let sources = from.clone().map(|from| &from.source);
        // The record names a manifest before it is created: a cleanup may delete it.
        let on_creation = |digest: &Digest| {
            let mut outcome = outcome.borrow_mut();
            if outcome.note_creation(to, digest) {
                self.record_writer.save(&outcome)?;
            }
            Ok(())
        };
        let copier = Copier::new(context, sources, to, DestinationCheck::Deep)
            .on_creation(&on_creation)
            .sharing(sharing);
        held(self.lookups, to).for_each(|held| copier.note_existing(held.digest()));
        found
            .images
            .iter()
            .for_each(|image| copier.note_read(image));
        let writers = if self.unused.contains(to) {
            Writers::Alone
        } else {
            Writers::Several
        };
        let from = from.collect();
        let referrer_copier = ReferrerCopier::new(context, from, to, &copier, self.filter, writers);
        let images = async {
            try_join_all(found.images.iter().map(|image| copier.copy(image))).await?;
            // The tags are read for the last time before they are written, while referrers are still being copied.
            let absent = absent_tags(self.lookups, to);
            Ok::<_, CopyError>(PreWriteCheck::read(context, absent).await?)
        };
        let referrers = referrer_copier.copy(found.images.iter().map(|image| image.digest()));
        let ended = tokio::try_join!(images, referrers);
        let ended = ended.map(|(check, lists)| CopiedImages { lists, check });
        (copier.copied(), ended)
    }
}

/// Returns the manifests that the tags of `repository` point to. The repository has these.
fn held<'a>(
    lookups: &'a [TagLookup],
    repository: &Repository,
) -> impl Iterator<Item = &'a Manifest> {
    lookups.iter().filter_map(move |lookup| match lookup {
        TagLookup::Seen(seen) if seen.tag.repository == *repository => {
            seen.existing.as_ref().and_then(TagContent::manifest)
        }
        TagLookup::Seen(_) | TagLookup::Denied { .. } => None,
    })
}

/// Returns the fixed tags of `repository` that did not exist.
fn absent_tags<'a>(
    lookups: &'a [TagLookup],
    repository: &Repository,
) -> impl Iterator<Item = &'a FullTag> {
    lookups.iter().filter_map(move |lookup| match lookup {
        TagLookup::Seen(seen) if seen.tag.repository == *repository => {
            (seen.kind == TagKind::Fixed && seen.existing.is_none()).then_some(&seen.tag)
        }
        TagLookup::Seen(_) | TagLookup::Denied { .. } => None,
    })
}

fn report_copied(
    context: &Context,
    repository: &Repository,
    copied: &CopiedContent,
    is_complete: bool,
) {
    let (manifests, blobs) = (copied.manifests.len(), copied.blobs.len());
    if manifests + blobs > 0 {
        let text = format!("{manifests} manifests and {blobs} blobs were copied to `{repository}`");
        context.events.info(text);
    } else if is_complete && copied.lists.is_empty() {
        let text = format!("`{repository}` already has all content");
        context.events.info(text);
    }
    if !copied.lists.is_empty() {
        let tags: Vec<&str> = copied.lists.iter().map(String::as_str).collect();
        let (count, shown) = (tags.len(), &tags[..tags.len().min(LISTS_SHOWN)]);
        let more = if count > LISTS_SHOWN { ", …" } else { "" };
        context.events.info(format!(
            "{count} lists of referrers were written in `{repository}`: `{}`{more}",
            shown.join("`, `")
        ));
    }
}

/// Reports for each referrer of the images whether it is verified, and the state of its copy.
fn report_referrers(
    context: &Context,
    referrers: &[ReferrerOutcome],
    state: impl Fn(&str) -> &'static str,
) {
    for referrer in referrers.iter().take(REFERRERS_SHOWN) {
        let ReferrerOutcome {
            subject,
            name,
            kind,
            verdict,
            is_copied,
        } = referrer;
        let verdict = match verdict {
            Ok(by) => format!("verified, by `{by}`"),
            Err(why) => format!("not verified: {why}"),
        };
        let copied = if *is_copied {
            state(name)
        } else {
            "not copied"
        };
        let text = format!("`{name}` ({kind}), a referrer of `{subject}`: {verdict}; {copied}");
        context.events.info(text);
    }
    let more = referrers.len().saturating_sub(REFERRERS_SHOWN);
    if more > 0 {
        let text = format!("and {more} more referrers; the output `referrers` lists all");
        context.events.info(text);
    }
}

fn image_outcome(image: &Manifest, destinations: &[Repository]) -> IndexOutcome {
    let (platforms, attestations) = contents_of(image);
    IndexOutcome {
        destinations: destinations.iter().map(DestinationOutcome::new).collect(),
        digest: image.digest().clone(),
        media_type: image.media_type().clone(),
        platforms,
        attestations,
        children: BTreeMap::new(),
        // Everything that the sources name is vouched for.
        observed: false,
    }
}
