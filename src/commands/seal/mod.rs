//! The commands `seal` and `create`, as their steps: `inspect` reads and plans, `write` pushes, signs and tags.

mod inspect;
mod signer;
mod write;

use std::future::Future;

use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::CommandError;
use super::versions::{VersionProof, Versions};
use crate::context::{Context, RecordWriter};
use crate::domain::{Reference, Repository};
use crate::inputs::{Mode, Order, Seal};
use crate::outcome::Outcome;
use crate::plan::{KeepRule, NAME, version_made};
use crate::signatures::SigningContext;
use crate::signatures::signer::{ListedSignatures, check_settled, settle};
use inspect::{Destination, FullInspection, Inspection, SealPlan, inspect};
use signer::{SealSigner, signer};
use write::SealSteps;

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
    // Read children and tags, and prepare to sign in the meantime.
    let (inspection, signer) = {
        let inspection = inspect(context, seal, outcome);
        tokio::try_join!(inspection, signer(seal, signing_context))?
    };
    inspection.check_signable(seal)?;
    let signer = signer.map(SealSigner::check_policy).transpose()?;
    let signer = signer.as_ref();
    // Read what registries deny as long as they have no content. This copies the children there, so the certificate is
    // checked before.
    if let Some(signer) = signer
        && context.mode == Mode::Apply
        && inspection.will_need_new_signature()
    {
        signer.check_certificate_early().await?;
    }
    let inspection = inspection.probe_denied_repositories(context, seal).await?;
    // Decide which index is made or kept, and which tags are written.
    let vouched = match signer {
        Some(signer) => Some(
            signer
                .vouch(context, seal, inspection.lacking_vouchers())
                .await?,
        ),
        None => None,
    };
    let keep_rule = vouched
        .as_deref()
        .map_or(KeepRule::Images, KeepRule::Vouched);
    let versions = versions(context, seal, &inspection, signer);
    let plan = inspection
        .make_plan(context, seal, keep_rule, &versions, outcome)
        .await?;
    // Find what is missing. A certificate that is certainly needed is requested in the meantime.
    if let Some(signer) = signer
        && context.mode == Mode::Apply
        && plan.is_new()
    {
        signer.prefetch_certificate();
    }
    let unsigned = async {
        match signer {
            Some(signer) => {
                signer
                    .find_unsigned(context, &plan, record_writer, outcome)
                    .await
            }
            None => Ok(Vec::new()),
        }
    };
    let without_index = async { Ok(without_index(context, &plan).await) };
    let (mut unsigned, without_index) = tokio::try_join!(unsigned, without_index)?;
    if context.mode == Mode::DryRun {
        return Ok(());
    }
    // The record names an index before it is created: a cleanup may delete it.
    for repository in without_index {
        let digest = plan.target.manifest().digest();
        outcome.note_creation(repository, digest);
        for one in &mut unsigned {
            one.note_new(repository, digest);
        }
    }
    record_writer.save(outcome)?;
    // Push, sign and tag. Each step is done everywhere before the next begins.
    let steps = SealSteps {
        context,
        seal,
        plan: &plan,
        versions: &versions,
        record_writer,
        signer,
        unsigned: &unsigned,
    };
    steps.push(outcome).await?;
    let unstable = match seal.order {
        Order::SignThenTag => {
            let lists = steps.sign(outcome).await?;
            // Every signature is stored now. The last write before the tags and the last read of the tags are concurrent.
            let (listed, check) = tokio::join!(lists.finish(), steps.read_tags(outcome));
            let ListedSignatures { unsettled, lost } = listed;
            steps.check_listed(lost, outcome)?;
            // While the tags are written, the lists are watched until they are stable.
            let (tagged, unstable) = tokio::join!(steps.tag(check?, outcome), settle(unsettled));
            tagged?;
            unstable
        }
        Order::TagThenSign => {
            let check = steps.read_tags(outcome).await?;
            steps.tag(check, outcome).await?;
            let listed = steps.sign(outcome).await?.finish().await;
            steps.check_listed(listed.lost, outcome)?;
            settle(listed.unsettled).await
        }
    };
    if let Some(signing) = &seal.signing {
        check_settled(context, unstable, signing.on_failure, outcome)?;
    }
    outcome.verified = outcome.signing && outcome.unsigned.is_empty();
    Ok(record_writer.save(outcome)?)
}

/// Returns the version for the moving tags, and the signer that a newer version must have.
fn versions<'a>(
    context: &'a Context,
    seal: &Seal,
    inspection: &FullInspection,
    signer: Option<&'a SealSigner<'_>>,
) -> Versions<'a> {
    let Inspection {
        inputs, assembly, ..
    } = &inspection.inspection;
    let required_proof = signer.map(SealSigner::version_proof);
    Versions {
        context,
        wanted: version_made(&assembly.manifest, inputs, &seal.tags),
        name: assembly.manifest.annotation(NAME).map(str::to_owned),
        is_index: true,
        required_proof: required_proof.unwrap_or(VersionProof::NotRequired),
        lock: Mutex::default(),
    }
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
