//! The command `publish`: copies an image, or all images of a record, with all referrers and without changes. Tags are
//! written last. Existing content at a destination is not trusted: every part is checked, and missing parts are copied.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;

use futures_util::future::{join_all, try_join_all};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Mutex;

use super::children::PARALLEL;
use super::copying::belongings::Belongings;
use super::copying::carry::{Brought, Care, Carrier};
use super::copying::origin::{Found, find};
use super::copying::source::Source;
use super::copying::vetting::Vetting;
use super::receipt::{
    IndexReceipt, PlaceReceipt, PlaceState, Receipt, ReferrerReceipt, TagReceipt,
};
use super::signatures::signer::Authority;
use super::source_gate::SourceGate;
use super::tags::{Sight, fixed_to_write, look_last, see_tag, see_tags, tell_step, write_tags};
use super::unseen::seen;
use super::verify::{Gated, check, policy};
use super::versions::{Believed, Versions};
use super::{ApplyError, Context, Ledger};
use crate::domain::{Digest, FullTag, Manifest, ManifestKind, Reference, Repository, TagContent};
use crate::inputs::{Mode, Publish};
use crate::plan::{
    Newer, SeenTag, TagStep, Vouched, contents_of, decide_published, images_of, version_made,
};
use crate::signing::Provenance;

/// The maximum number of lists, and of referrers, that the log names.
const LISTS_SHOWN: usize = 5;
const REFERRERS_SHOWN: usize = 50;
const NOTHING_VERIFIED: &str = "nothing is verified: no identity is given (`certificate-identity`), so whatever is at the source is published";

/// Publishes an image. `authority` supplies what verification needs; it is awaited only if a signature is required.
pub(super) async fn publish(
    context: &Context,
    publish: &Publish,
    authority: impl Future<Output = Result<Authority, ApplyError>>,
    ledger: &Ledger,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    receipt.planned = context.mode == Mode::DryRun;
    context.events.phase("Look at the source and the tags");
    let (found, sights) = tokio::try_join!(
        find(context, &publish.sources, ledger),
        see_tags(context, &publish.tags, &publish.moving_tags),
    )?;
    let image = &found.image;
    let told = |image: &Vouched<Manifest>| index_receipt(image, &publish.destinations);
    receipt.index = Some(told(image));
    let others = found.images.iter();
    let others = others.filter(|other| other.digest() != image.digest());
    receipt.others = others.map(told).collect();
    if !sights.is_empty() {
        found.check_taggable()?;
    }
    note_steps(&seen(&sights), image, &BTreeMap::new(), receipt)?;
    let gate = if let Some((depth, inputs)) = &publish.gate {
        Some((*depth, inputs, policy(inputs)?, authority.await?))
    } else {
        context.events.note(NOTHING_VERIFIED.to_owned());
        None
    };
    let mut passed = None;
    if let Some((depth, _, policy, authority)) = &gate {
        context.events.phase("Check who has signed");
        let source = SourceGate {
            context,
            found: &found,
            destinations: &publish.destinations,
            authority,
            policy,
        };
        let signers = source.check(*depth).await?;
        passed = Some((authority, Provenance::of(policy, &signers)));
    }
    let believed = gate.as_ref().map(|(_, _, policy, authority)| {
        Believed::Signer(authority, Box::new(policy.at_any_ref()))
    });
    let mut versions = Versions {
        context,
        wanted: version_made(image, &[], &publish.tags),
        is_index: matches!(image.kind(), ManifestKind::Index { .. }),
        believed: believed.unwrap_or(Believed::Anybody),
        turn: Mutex::default(),
    };
    if context.mode == Mode::DryRun {
        let seen = seen(&sights);
        let newer = versions.newer_tags(&seen, image.digest()).await?;
        note_steps(&seen, image, &newer, receipt)?;
        tell_newer(context, receipt);
        return mark_present(context, receipt).await;
    }
    ledger.save(receipt)?;
    let vetting = Vetting::new(passed, publish.referrers);
    let walk = Walk {
        context,
        found: &found,
        sights: &sights,
        vetting: &vetting,
        ledger,
    };
    let brought = walk.bring_everywhere(&publish.destinations, receipt).await;
    receipt.referrers = vetting.into_receipts();
    tell_referrers(context, &receipt.referrers);
    brought?;
    // Some registries do not report the content of a repository that does not exist. It exists now.
    let known = try_join_all(sights.into_iter().map(|sight| know(context, sight))).await?;
    // The images are there now, so their labels can be read.
    if let (false, Some(repository)) =
        (publish.moving_tags.is_empty(), publish.destinations.first())
    {
        let stated = versions.version(repository, image).await?;
        versions.wanted = stated.or(versions.wanted);
    }
    let newer = versions.newer_tags(&known, image.digest()).await?;
    note_steps(&known, image, &newer, receipt)?;
    tell_newer(context, receipt);
    if let Some((depth, inputs, _, authority)) = &gate {
        let images = found.images.iter();
        for (repository, image) in publish
            .destinations
            .iter()
            .flat_map(|repository| images.clone().map(move |image| (repository, image)))
        {
            let gated = Gated {
                repository,
                image,
                depth: *depth,
                policy: inputs,
            };
            check(context, &gated, authority, ledger, receipt).await?;
        }
        receipt.verified = true;
    }
    ledger.save(receipt)?;
    let look = look_last(context, fixed_to_write(receipt)).await;
    write_tags(context, ledger, image, look, &versions, receipt).await?;
    ledger.save(receipt)
}

async fn know(context: &Context, sight: Sight) -> Result<SeenTag, ApplyError> {
    let (tag, kind) = match sight {
        Sight::Seen(seen) => return Ok(seen),
        Sight::Denied { tag, kind, .. } => (tag, kind),
    };
    match see_tag(context, &tag, kind).await? {
        Sight::Seen(seen) => Ok(seen),
        Sight::Denied { error, .. } => Err(ApplyError::Registry(error)),
    }
}

/// Decides the steps for the tags whose content is known.
fn note_steps(
    seen: &[SeenTag],
    image: &Manifest,
    newer: &BTreeMap<FullTag, Newer>,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    match decide_published(image, seen, newer) {
        Ok(steps) => {
            let steps: Vec<TagStep> = steps;
            receipt.tags = steps.into_iter().map(TagReceipt::new).collect();
            Ok(())
        }
        Err(conflicts) => {
            receipt.conflicts.clone_from(&conflicts);
            let wanted = match images_of(image) {
                wanted if wanted.is_empty() => {
                    vec![("the image".to_owned(), image.digest().clone())]
                }
                wanted => wanted,
            };
            Err(ApplyError::Conflict { conflicts, wanted })
        }
    }
}

/// Reports the moving tags that stay because they have a newer version.
fn tell_newer(context: &Context, receipt: &Receipt) {
    let steps = receipt.tags.iter().map(|tag| &tag.step);
    let newer = steps.filter(|step| step.newer.is_some());
    newer.for_each(|step| tell_step(context, step));
}

/// Notes the destinations that already have the images, for a run that copies nothing.
async fn mark_present(context: &Context, receipt: &mut Receipt) -> Result<(), ApplyError> {
    let places = receipt.indexes_mut().flat_map(|index| {
        let reference = Reference::Digest(index.digest.clone());
        let places = index.places.iter_mut();
        places.map(move |place| (place, reference.clone()))
    });
    let looks = places.map(|(place, reference)| async move {
        let held = context
            .registry
            .manifest_digest(&place.repository, &reference);
        match held.await {
            Ok(Some(_)) => place.state = PlaceState::WasThere,
            Ok(None) => (),
            // The copy will find out if this denial matters.
            Err(error) if error.is_denied() => (),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    });
    // Collected, since the compiler cannot follow the lifetimes of a stream of closures.
    stream::iter(looks.collect::<Vec<_>>())
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await
}

/// The values that the copies to all destinations share.
struct Walk<'a> {
    context: &'a Context,
    found: &'a Found,
    sights: &'a [Sight],
    vetting: &'a Vetting<'a>,
    ledger: &'a Ledger,
}

impl Walk<'_> {
    /// Copies the image to every destination. A failure at one destination does not stop the others.
    async fn bring_everywhere(
        &self,
        destinations: &[Repository],
        receipt: &mut Receipt,
    ) -> Result<(), ApplyError> {
        self.context.events.phase("Copy");
        let shared = RefCell::new(&mut *receipt);
        let each = destinations
            .iter()
            .map(|repository| self.bring(repository, &shared));
        let ended = join_all(each).await;
        let mut failure = None;
        for (repository, (brought, ended)) in destinations.iter().zip(ended) {
            tell(self.context, repository, &brought);
            match ended {
                Ok(()) => receipt.note_published(repository, &brought),
                Err(error) => {
                    receipt.note_brought(repository, &brought);
                    failure = failure.or(Some(error));
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn bring(
        &self,
        to: &Repository,
        receipt: &RefCell<&mut Receipt>,
    ) -> (Brought, Result<(), ApplyError>) {
        let (context, found) = (self.context, self.found);
        let is_other = |source: &&Source| !matches!(source, Source::Repository(repository) if repository == to);
        let from: Vec<Source> = found.sources.iter().filter(is_other).cloned().collect();
        // The record names a manifest before it is created: a cleanup may delete it.
        let on_creation = |digest: &Digest| {
            let mut receipt = receipt.borrow_mut();
            if receipt.note_creation(to, digest) {
                self.ledger.save(&receipt)?;
            }
            Ok(())
        };
        let carrier = Carrier::new(context, &from, to, Care::Healing).telling(&on_creation);
        held(self.sights, to).for_each(|held| carrier.note_there(held.digest()));
        found.images.iter().for_each(|image| carrier.know(image));
        let belongings = Belongings::new(context, &from, to, &carrier, self.vetting);
        let ended = async {
            let images = found.images.iter();
            try_join_all(images.map(|image| carrier.bring(image.digest()))).await?;
            belongings.bring().await
        };
        let ended = ended.await;
        (carrier.brought(), ended)
    }
}

/// Returns the manifests that the tags of `repository` point to. The repository has these.
fn held<'a>(sights: &'a [Sight], repository: &Repository) -> impl Iterator<Item = &'a Manifest> {
    sights.iter().filter_map(move |sight| match sight {
        Sight::Seen(seen) if seen.tag.repository == *repository => {
            seen.holds.as_ref().and_then(TagContent::manifest)
        }
        Sight::Seen(_) | Sight::Denied { .. } => None,
    })
}

fn tell(context: &Context, repository: &Repository, brought: &Brought) {
    let (manifests, blobs) = (brought.manifests.len(), brought.blobs.len());
    if manifests + blobs > 0 {
        let text = format!("{manifests} manifests and {blobs} blobs were copied to `{repository}`");
        context.events.note(text);
    } else if brought.lists.is_empty() {
        let text = format!("`{repository}` has all of it already");
        context.events.note(text);
    }
    if !brought.lists.is_empty() {
        let tags: Vec<&str> = brought.lists.iter().map(String::as_str).collect();
        let (count, shown) = (tags.len(), &tags[..tags.len().min(LISTS_SHOWN)]);
        let more = if count > LISTS_SHOWN { ", …" } else { "" };
        context.events.note(format!(
            "{count} lists of what refers to it were written in `{repository}`: `{}`{more}",
            shown.join("`, `")
        ));
    }
}

/// Reports for each referrer of the images whether it is verified.
fn tell_referrers(context: &Context, referrers: &[ReferrerReceipt]) {
    for referrer in referrers.iter().take(REFERRERS_SHOWN) {
        let ReferrerReceipt {
            subject,
            name,
            kind,
            verdict,
            is_carried,
        } = referrer;
        let verdict = match verdict {
            Ok(by) => format!("verified, by `{by}`"),
            Err(why) => format!("not verified: {why}"),
        };
        let left = if *is_carried { "" } else { "; left behind" };
        let text = format!("`{name}` ({kind}), which refers to `{subject}`: {verdict}{left}");
        context.events.note(text);
    }
    let more = referrers.len().saturating_sub(REFERRERS_SHOWN);
    if more > 0 {
        let text = format!("and {more} more that refer to it; the output `referrers` has all");
        context.events.note(text);
    }
}

fn index_receipt(image: &Manifest, destinations: &[Repository]) -> IndexReceipt {
    let (platforms, attestations) = contents_of(image);
    IndexReceipt {
        places: destinations.iter().map(PlaceReceipt::new).collect(),
        digest: image.digest().clone(),
        media_type: image.media_type().clone(),
        platforms,
        attestations,
        children: BTreeMap::new(),
        // Everything that the sources name is vouched for.
        observed: false,
    }
}
