//! The commands `seal` and `create`: read everything, decide, then write index, signatures and tags, in this order.

use std::future::Future;

use futures_util::future::join_all;
use tokio::sync::{Mutex, oneshot};

use super::CommandError;
use super::inspect::{Destination, Inspection, Known, SealPlan, inspect};
use super::tags::{TagLookup, all_absent, write_tags};
use super::versions::{Believed, Versions};
use crate::context::{Context, RecordWriter};
use crate::copy::carry::{Copier, DestinationCheck};
use crate::copy::source::Source;
use crate::domain::{Digest, Manifest, Reference, Repository, TagContent};
use crate::inputs::{Depth, Mode, Order, Seal, Signing};
use crate::outcome::{CopiedContent, Outcome};
use crate::plan::{BINDING, NAME, Sameness, SeenTag, Standing, TagKind, Vouched, version_made};
use crate::signatures::SigningContext;
use crate::signatures::recorded::recorded;
use crate::signatures::signer::{UnsettledSignature, check_settled, settle};
use crate::signatures::unsigned::{Expectation, Glance, Sought, ToSign, Unsigned};

/// Makes, signs and tags an index. `signing_context` supplies what signing needs; it is awaited only if there is signing to
/// do.
pub(super) async fn seal(
    context: &Context,
    seal: &Seal,
    signing_context: impl Future<Output = Result<SigningContext, CommandError>>,
    record_writer: &RecordWriter,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    outcome.signing = seal.signing.is_some();
    outcome.planned = context.mode == Mode::DryRun;
    let (tell, told) = oneshot::channel();
    let on_sights = |lookups: &[TagLookup]| {
        // Without signing there is no receiver.
        let _ = tell.send((all_absent(lookups), held(lookups, record_writer)));
    };
    let signer = async {
        match &seal.signing {
            Some(signing) => {
                let signer = first_look(context, signing, signing_context, told);
                signer.await.map(Some)
            }
            None => Ok(None),
        }
    };
    let inspection = inspect(context, seal, on_sights, outcome);
    let (inspection, signer) = tokio::try_join!(inspection, signer)?;
    let (signing_context, glance) = match (signer, &seal.signing) {
        (Some((signing_context, glance)), Some(signing)) => {
            let glance = glance.checked(signing.on_failure)?;
            if context.mode == Mode::Apply && inspection.copies_what_is_new() {
                signing_context.check_new(&glance).await?;
            }
            (Some(signing_context), Some(glance))
        }
        _ => (None, None),
    };
    // This step may copy the children, so it follows the check of the policy, which this run may not be able to meet.
    let known = inspection.know(context, seal).await?;
    let vouched = match (&signing_context, &glance) {
        (Some(signing_context), Some(glance)) => {
            let lacking = known.lacking_vouchers();
            Some(vouch(context, seal, signing_context, glance, lacking).await?)
        }
        _ => None,
    };
    let sameness = vouched
        .as_deref()
        .map_or(Sameness::Images, Sameness::Vouched);
    let versions = versions(
        context,
        seal,
        &known,
        signing_context.as_ref().zip(glance.as_ref()),
    );
    let plan = known
        .decide(context, seal, sameness, &versions, outcome)
        .await?;
    if context.mode == Mode::Apply && plan.is_new() {
        signing_context.iter().for_each(SigningContext::prepare);
    }
    let signer = signing_context.as_ref().zip(glance);
    let Some(walk) = look(context, seal, &plan, signer, record_writer, outcome).await? else {
        return Ok(());
    };
    let lost = match seal.order {
        Order::SignThenTag => {
            walk.push(outcome).await?;
            let unsettled = walk.sign(outcome).await?;
            // Every signature is listed now. While the tags are written, the lists are watched until they are stable.
            let tagging = tag(context, record_writer, &plan, &versions, outcome);
            let (tagged, lost) = tokio::join!(tagging, settle(unsettled));
            tagged?;
            lost
        }
        Order::TagThenSign => {
            walk.push(outcome).await?;
            tag(context, record_writer, &plan, &versions, outcome).await?;
            let unsettled = walk.sign(outcome).await?;
            settle(unsettled).await
        }
    };
    if let Some(signing) = &seal.signing {
        check_settled(context, lost, signing.on_failure, outcome)?;
    }
    outcome.verified = outcome.signing && outcome.unsigned.is_empty();
    Ok(record_writer.save(outcome)?)
}

/// Prepares signing. Looks up the signatures that the content of the tags most likely requires, while the rest is read.
async fn first_look(
    context: &Context,
    signing: &Signing,
    signing_context: impl Future<Output = Result<SigningContext, CommandError>>,
    told: oneshot::Receiver<(bool, Vec<Sought>)>,
) -> Result<(SigningContext, Glance), CommandError> {
    let signing_context = signing_context.await?;
    // The required identity may be in the token alone.
    let (policy, told) = tokio::join!(signing_context.policy(&signing.policy), told);
    let (is_new, held) = told.unwrap_or_default();
    if context.mode == Mode::Apply && is_new {
        signing_context.expect();
    }
    let glance = signing_context
        .glance(context, policy, &held, signing)
        .await;
    Ok((signing_context, glance))
}

/// Returns the indexes among `lacking` with a signature that meets the policy, in the repository whose tag points to
/// them.
///
/// SECURITY: a signature vouches for a digest under any tag. Anyone with push access can put an older image of this
/// workflow under the tag of another version, or another of its images under this one's. If this run's annotations
/// state the version or the name, an index that states another, or none, is not accepted.
async fn vouch(
    context: &Context,
    seal: &Seal,
    signing_context: &SigningContext,
    glance: &Glance,
    lacking: impl Iterator<Item = (&Repository, &Manifest)>,
) -> Result<Vec<Vouched<Manifest>>, CommandError> {
    let mut signed = Vec::new();
    let is_other = |index: &Manifest| {
        let mut binding = BINDING
            .iter()
            .filter_map(|name| seal.annotations.get_key_value(*name));
        binding.any(|(name, stated)| index.annotation(name) != Some(stated))
    };
    for (repository, index) in lacking.filter(|(_, index)| !is_other(index)) {
        let verified = signing_context.signature_of(context, glance, repository, index.digest());
        let vouched = verified
            .await?
            .and_then(|verified| Vouched::signed(index.clone(), &verified));
        signed.extend(vouched);
    }
    Ok(signed)
}

/// Returns the version for the moving tags, and the signer that a newer version must have.
fn versions<'a>(
    context: &'a Context,
    seal: &Seal,
    known: &Known,
    signer: Option<(&'a SigningContext, &Glance)>,
) -> Versions<'a> {
    let Inspection {
        inputs, assembly, ..
    } = &known.inspection;
    let believed = signer.zip(seal.signing.as_ref());
    let believed = believed.map(
        |((signing_context, glance), signing)| match glance.policy() {
            Ok(policy) => Believed::signer(signing_context, policy),
            Err(_) => Believed::without_token(signing_context, &signing.policy),
        },
    );
    Versions {
        context,
        wanted: version_made(&assembly.manifest, inputs, &seal.tags),
        name: assembly.manifest.annotation(NAME).map(str::to_owned),
        is_index: true,
        believed: believed.unwrap_or(Believed::Anybody),
        turn: Mutex::default(),
    }
}

/// Writes the tags of `plan`. If nothing vouches for the index, there are no tags to write.
async fn tag(
    context: &Context,
    record_writer: &RecordWriter,
    plan: &SealPlan,
    versions: &Versions<'_>,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    match plan.target.vouched() {
        Some(target) => write_tags(context, record_writer, target, versions, outcome).await,
        None => Ok(()),
    }
}

/// Finds the missing signatures, and the repositories that lack the index. Returns no walk if nothing may be changed.
async fn look<'a>(
    context: &'a Context,
    seal: &'a Seal,
    plan: &'a SealPlan,
    signer: Option<(&'a SigningContext, Glance)>,
    record_writer: &'a RecordWriter,
    outcome: &mut Outcome,
) -> Result<Option<Walk<'a>>, CommandError> {
    let unsigned = async {
        Ok::<_, CommandError>(match (&seal.signing, signer) {
            (Some(signing), Some((signing_context, glance))) => {
                let subjects = subjects(plan, signing.depth, record_writer);
                let unsigned =
                    signing_context.find_unsigned(context, subjects, signing, glance, outcome);
                Some((signing_context, signing, unsigned.await?))
            }
            _ => None,
        })
    };
    let lacking = async { Ok(lacking(context, plan).await) };
    let (signing, lacking) = tokio::try_join!(unsigned, lacking)?;
    if context.mode == Mode::DryRun {
        return Ok(None);
    }
    for repository in lacking {
        outcome.note_creation(repository, plan.target.manifest().digest());
    }
    // The record names an index before it is created: a cleanup may delete it.
    record_writer.save(outcome)?;
    Ok(Some(Walk {
        context,
        seal,
        plan,
        record_writer,
        signing,
    }))
}

/// Returns the repositories that get the index and report it as absent. A repository that gives no answer is not among
/// them.
async fn lacking<'a>(context: &Context, plan: &'a SealPlan) -> Vec<&'a Repository> {
    if context.mode == Mode::DryRun {
        return Vec::new();
    }
    let reference = Reference::Digest(plan.target.manifest().digest().clone());
    let lacking = plan.destinations.iter().filter(|place| place.push_index);
    let looks = lacking.map(|Destination { repository, .. }| {
        let held = context.registry.manifest_digest(repository, &reference);
        async move { matches!(held.await, Ok(None)).then_some(repository) }
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// Returns every digest that must have a signature, in each repository.
fn subjects(plan: &SealPlan, depth: Depth, record_writer: &RecordWriter) -> Vec<ToSign> {
    let mut subjects: Vec<ToSign> = Vec::new();
    for destination in &plan.destinations {
        let indexes = destination.indexes(&plan.target);
        for index in indexes.filter_map(Standing::vouched) {
            let mut signed = vec![index.described()];
            if depth == Depth::Children {
                signed.extend(plan.vouched_members(index));
            }
            for subject in signed {
                // An index that no tag points to yet is most likely unsigned.
                let sought = if destination.push_index {
                    sought(
                        &destination.repository,
                        &subject.digest,
                        Expectation::Unsigned,
                        record_writer,
                    )
                } else {
                    tagged(&destination.repository, &subject.digest, record_writer)
                };
                if !subjects.iter().any(|known| known.sought.is_as(&sought)) {
                    subjects.push(ToSign { sought, subject });
                }
            }
        }
    }
    subjects
}

/// Returns the content of the fixed tags.
fn held(lookups: &[TagLookup], record_writer: &RecordWriter) -> Vec<Sought> {
    let mut held: Vec<Sought> = Vec::new();
    for lookup in lookups {
        if let TagLookup::Seen(SeenTag {
            tag,
            kind: TagKind::Fixed,
            holds: Some(TagContent::Manifest(manifest)),
        }) = lookup
        {
            let sought = tagged(&tag.repository, manifest.digest(), record_writer);
            if !held.iter().any(|known| known.is_as(&sought)) {
                held.push(sought);
            }
        }
    }
    held
}

/// Returns the lookup for content that a tag already has. Such content is most likely signed, in the place that the
/// record names.
fn tagged(repository: &Repository, digest: &Digest, record_writer: &RecordWriter) -> Sought {
    let earlier = record_writer.earlier();
    let is_tagged = earlier.is_some_and(|record| record.is_tagged(&repository.to_string(), digest));
    let expectation = if is_tagged {
        Expectation::Tagged
    } else {
        Expectation::Signed
    };
    sought(repository, digest, expectation, record_writer)
}

fn sought(
    repository: &Repository,
    digest: &Digest,
    expectation: Expectation,
    record_writer: &RecordWriter,
) -> Sought {
    Sought {
        recorded: recorded(record_writer.earlier(), repository, digest),
        repository: repository.clone(),
        digest: digest.clone(),
        expectation,
    }
}

/// The values for every step that changes something. Each step is done everywhere before the next begins. So a failing
/// registry prevents the tags of all registries.
struct Walk<'a> {
    context: &'a Context,
    seal: &'a Seal,
    plan: &'a SealPlan,
    record_writer: &'a RecordWriter,
    signing: Option<(&'a SigningContext, &'a Signing, Vec<Unsigned>)>,
}

impl Walk<'_> {
    /// Copies the index, and everything in it, to every repository that lacks them.
    async fn push(&self, outcome: &mut Outcome) -> Result<(), CommandError> {
        if self.plan.destinations.iter().any(|place| place.push_index) {
            self.context.events.phase("Push the index");
        }
        if let Some((signing_context, _, unsigned)) = &self.signing {
            signing_context.prepare_for(unsigned);
        }
        let pushes = self
            .plan
            .destinations
            .iter()
            .map(|place| self.push_to(place));
        let results = join_all(pushes).await;
        let mut failure = None;
        for (destination, result) in self.plan.destinations.iter().zip(results) {
            match result {
                Ok(copied) => outcome.note_pushed(&destination.repository, &copied),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Pushes the index to one repository. Returns the content that was copied besides the index.
    async fn push_to(&self, destination: &Destination) -> Result<CopiedContent, CommandError> {
        let (context, plan) = (self.context, self.plan);
        let repository = &destination.repository;
        let sources = Source::repositories(self.seal.sources_for(repository));
        let copier = Copier::new(context, &sources, repository, DestinationCheck::RootOnly);
        let indexes = destination.indexes(&plan.target);
        let parts = indexes.flat_map(|index| plan.vouched_parts(index));
        // Children that were found in this repository are not checked again.
        let elsewhere = parts.filter(|child| plan.places.get(&child.digest) != Some(repository));
        copier.copy_all(elsewhere).await?;
        let mut arrived = copier.copied();
        arrived.add(&destination.copied);
        if !arrived.manifests.is_empty() {
            context.events.note(format!(
                "{} manifests and {} blobs were copied to `{repository}`",
                arrived.manifests.len(),
                arrived.blobs.len()
            ));
        }
        if let (true, Some(target)) = (destination.push_index, plan.target.vouched()) {
            let reference = Reference::Digest(target.digest().clone());
            context.store_index(repository, &reference, target).await?;
            context
                .events
                .note(format!("`{}` is in `{repository}`", target.digest()));
        }
        Ok(arrived)
    }

    /// Signs all subjects. Returns the signatures that are not yet known to be stable.
    async fn sign(
        &self,
        outcome: &mut Outcome,
    ) -> Result<Vec<UnsettledSignature<'_>>, CommandError> {
        let Some((signing_context, signing, unsigned)) = &self.signing else {
            return Ok(Vec::new());
        };
        let (context, on_failure) = (self.context, signing.on_failure);
        let signed = signing_context
            .sign_all(context, unsigned, on_failure, outcome, self.record_writer)
            .await;
        Ok(signed?)
    }
}
