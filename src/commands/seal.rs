//! Runs the commands `seal` and `create`: reads children and tags, makes a plan, then writes the index, the signatures
//! and the tags.

use std::future::Future;

use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::CommandError;
use super::inspect::{Destination, FullInspection, Inspection, SealPlan, inspect};
use super::tags::write_tags;
use super::versions::{VersionProof, Versions};
use crate::context::{Context, RecordWriter};
use crate::copy::copier::{Copier, DestinationCheck};
use crate::copy::source::Source;
use crate::domain::{Digest, Manifest, Reference, Repository};
use crate::inputs::{Depth, Mode, Order, Seal, Signing};
use crate::outcome::{CopiedContent, Outcome};
use crate::plan::{BINDING, KeepRule, NAME, Vouched, VouchedOrObserved, version_made};
use crate::signatures::SigningContext;
use crate::signatures::recorded::recorded;
use crate::signatures::signer::{UnsettledSignature, check_settled, settle};
use crate::signatures::unsigned::{
    Expectation, RequiredPolicy, SignatureQuery, ToSign, Unsigned, check_policy,
};

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
    let (inspection, signer) = read(context, seal, signing_context, outcome).await?;
    if let Some(signer) = &signer
        && context.mode == Mode::Apply
        && inspection.will_need_new_signature()
    {
        let SealSigner {
            signing_context,
            policy,
            ..
        } = signer;
        signing_context
            .check_certificate_early(policy.as_ref())
            .await?;
    }
    // Probing a denied repository copies the children there, so the policy is checked before.
    let full_inspection = inspection.probe_denied_repositories(context, seal).await?;
    let vouched = match &signer {
        Some(signer) => {
            Some(vouch(context, seal, signer, full_inspection.lacking_vouchers()).await?)
        }
        None => None,
    };
    let keep_rule = vouched
        .as_deref()
        .map_or(KeepRule::Images, KeepRule::Vouched);
    let versions = versions(context, seal, &full_inspection, signer.as_ref());
    let plan = full_inspection
        .make_plan(context, seal, keep_rule, &versions, outcome)
        .await?;
    if let Some(signer) = &signer
        && context.mode == Mode::Apply
        && plan.is_new()
    {
        signer.signing_context.prefetch_certificate();
    }
    let steps = find_missing(
        context,
        seal,
        &plan,
        signer.as_ref(),
        record_writer,
        outcome,
    );
    let Some(steps) = steps.await? else {
        return Ok(());
    };
    let unstable = match seal.order {
        Order::SignThenTag => {
            steps.push(outcome).await?;
            let unsettled = steps.sign(outcome).await?;
            // Every signature is listed now. While the tags are written, the lists are watched until they are stable.
            let tagging = tag(context, record_writer, &plan, &versions, outcome);
            let (tagged, unstable) = tokio::join!(tagging, settle(unsettled));
            tagged?;
            unstable
        }
        Order::TagThenSign => {
            steps.push(outcome).await?;
            tag(context, record_writer, &plan, &versions, outcome).await?;
            let unsettled = steps.sign(outcome).await?;
            settle(unsettled).await
        }
    };
    if let Some(signing) = &seal.signing {
        check_settled(context, unstable, signing.on_failure, outcome)?;
    }
    outcome.verified = outcome.signing && outcome.unsigned.is_empty();
    Ok(record_writer.save(outcome)?)
}

/// The means to sign, and the required identity.
struct SealSigner<'a> {
    inputs: &'a Signing,
    signing_context: SigningContext,
    policy: RequiredPolicy,
}

/// Reads children and tags, and prepares to sign in the meantime.
async fn read<'a>(
    context: &Context,
    seal: &'a Seal,
    signing_context: impl Future<Output = Result<SigningContext, CommandError>>,
    outcome: &mut Outcome,
) -> Result<(Inspection, Option<SealSigner<'a>>), CommandError> {
    let signer = async {
        let Some(inputs) = &seal.signing else {
            return Ok(None);
        };
        let signing_context = signing_context.await?;
        // The required identity may be in the token alone.
        let policy = signing_context.policy(&inputs.policy).await;
        Ok(Some(SealSigner {
            inputs,
            signing_context,
            policy,
        }))
    };
    let inspection = inspect(context, seal, outcome);
    let (inspection, signer) = tokio::try_join!(inspection, signer)?;
    let signer = signer.map(|signer| {
        let policy = check_policy(signer.policy, signer.inputs.on_failure)?;
        Ok::<_, CommandError>(SealSigner { policy, ..signer })
    });
    Ok((inspection, signer.transpose()?))
}

/// Returns the indexes among `unvouched` that have a signature that meets the policy. The signature is looked up in the
/// repository whose tag points to the index.
///
/// SECURITY: a signature vouches for a digest under any tag. Anyone with push access can put an older image of this
/// workflow under the tag of another version, or another of its images under this image's tag. If this run's
/// annotations state a version or a name, only an index that states the same is accepted.
async fn vouch(
    context: &Context,
    seal: &Seal,
    signer: &SealSigner<'_>,
    unvouched: impl Iterator<Item = (&Repository, &Manifest)>,
) -> Result<Vec<Vouched<Manifest>>, CommandError> {
    let mut vouched = Vec::new();
    let is_other = |index: &Manifest| {
        let mut binding = BINDING
            .iter()
            .filter_map(|name| seal.annotations.get_key_value(*name));
        binding.any(|(name, stated)| index.annotation(name) != Some(stated))
    };
    for (repository, index) in unvouched.filter(|(_, index)| !is_other(index)) {
        let policy = signer.policy.as_ref();
        let verified =
            signer
                .signing_context
                .signature_of(context, policy, repository, index.digest());
        let index = verified
            .await?
            .and_then(|verified| Vouched::signed(index.clone(), &verified));
        vouched.extend(index);
    }
    Ok(vouched)
}

/// Returns the version for the moving tags, and the signer that a newer version must have.
fn versions<'a>(
    context: &'a Context,
    seal: &Seal,
    full_inspection: &FullInspection,
    signer: Option<&'a SealSigner<'_>>,
) -> Versions<'a> {
    let Inspection {
        inputs, assembly, ..
    } = &full_inspection.inspection;
    let required_proof = signer.map(|signer| match &signer.policy {
        Ok(policy) => VersionProof::signer(&signer.signing_context, policy),
        Err(_) => VersionProof::without_token(&signer.signing_context, &signer.inputs.policy),
    });
    Versions {
        context,
        wanted: version_made(&assembly.manifest, inputs, &seal.tags),
        name: assembly.manifest.annotation(NAME).map(str::to_owned),
        is_index: true,
        required_proof: required_proof.unwrap_or(VersionProof::NotRequired),
        lock: Mutex::default(),
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
async fn find_missing<'a>(
    context: &'a Context,
    seal: &'a Seal,
    plan: &'a SealPlan,
    signer: Option<&'a SealSigner<'_>>,
    record_writer: &'a RecordWriter,
    outcome: &mut Outcome,
) -> Result<Option<SealSteps<'a>>, CommandError> {
    let unsigned = async {
        Ok::<_, CommandError>(match signer {
            Some(signer) => {
                let (inputs, policy) = (signer.inputs, signer.policy.as_ref());
                let subjects = subjects(plan, inputs.depth, record_writer);
                let unsigned = signer
                    .signing_context
                    .find_unsigned(context, subjects, inputs, policy, outcome);
                Some((&signer.signing_context, inputs, unsigned.await?))
            }
            None => None,
        })
    };
    let without_index = async { Ok(without_index(context, plan).await) };
    let (signing, without_index) = tokio::try_join!(unsigned, without_index)?;
    if context.mode == Mode::DryRun {
        return Ok(None);
    }
    for repository in without_index {
        outcome.note_creation(repository, plan.target.manifest().digest());
    }
    // The record names an index before it is created: a cleanup may delete it.
    record_writer.save(outcome)?;
    Ok(Some(SealSteps {
        context,
        seal,
        plan,
        record_writer,
        signing,
    }))
}

/// Returns the repositories that get the index and report it as absent. A repository that gives no answer is not among
/// them.
async fn without_index<'a>(context: &Context, plan: &'a SealPlan) -> Vec<&'a Repository> {
    if context.mode == Mode::DryRun {
        return Vec::new();
    }
    let reference = Reference::Digest(plan.target.manifest().digest().clone());
    let without_index = plan
        .destinations
        .iter()
        .filter(|destination| destination.push_index);
    let reads = without_index.map(|Destination { repository, .. }| {
        let held = context.registry.manifest_digest(repository, &reference);
        async move { matches!(held.await, Ok(None)).then_some(repository) }
    });
    join_all(reads).await.into_iter().flatten().collect()
}

/// Returns every digest that must have a signature, in each repository.
fn subjects(plan: &SealPlan, depth: Depth, record_writer: &RecordWriter) -> Vec<ToSign> {
    let mut subjects: Vec<ToSign> = Vec::new();
    for destination in &plan.destinations {
        let indexes = destination.indexes(&plan.target);
        for index in indexes.filter_map(VouchedOrObserved::vouched) {
            let mut signed = vec![index.described()];
            if depth == Depth::Children {
                signed.extend(plan.vouched_members(index));
            }
            for subject in signed {
                // An index that no tag points to yet is most likely unsigned.
                let query = if destination.push_index {
                    query(
                        &destination.repository,
                        &subject.digest,
                        Expectation::Unsigned,
                        record_writer,
                    )
                } else {
                    query(
                        &destination.repository,
                        &subject.digest,
                        Expectation::Signed,
                        record_writer,
                    )
                };
                if !subjects.iter().any(|known| known.query.is_same(&query)) {
                    subjects.push(ToSign { query, subject });
                }
            }
        }
    }
    subjects
}

fn query(
    repository: &Repository,
    digest: &Digest,
    expectation: Expectation,
    record_writer: &RecordWriter,
) -> SignatureQuery {
    SignatureQuery {
        recorded: recorded(record_writer.earlier(), repository, digest),
        repository: repository.clone(),
        digest: digest.clone(),
        expectation,
    }
}

/// The values for every step that changes something. Each step is done everywhere before the next begins. So a failing
/// registry prevents the tags of all registries.
struct SealSteps<'a> {
    context: &'a Context,
    seal: &'a Seal,
    plan: &'a SealPlan,
    record_writer: &'a RecordWriter,
    signing: Option<(&'a SigningContext, &'a Signing, Vec<Unsigned>)>,
}

impl SealSteps<'_> {
    /// Copies the index, and everything in it, to every repository that lacks them.
    async fn push(&self, outcome: &mut Outcome) -> Result<(), CommandError> {
        if self
            .plan
            .destinations
            .iter()
            .any(|destination| destination.push_index)
        {
            self.context.events.step("Push the index");
        }
        if let Some((signing_context, _, unsigned)) = &self.signing {
            signing_context.prefetch_for(unsigned);
        }
        let pushes = self
            .plan
            .destinations
            .iter()
            .map(|destination| self.push_to(destination));
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
        let to_copy = parts.filter(|child| plan.locations.get(&child.digest) != Some(repository));
        copier.copy_all(to_copy).await?;
        let mut arrived = copier.copied();
        arrived.add(&destination.copied);
        if !arrived.manifests.is_empty() {
            context.events.info(format!(
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
                .info(format!("pushed `{repository}@{}`", target.digest()));
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
