//! The commands `seal` and `create`: read everything, decide, then write index, signatures and tags, in this order.

use std::future::Future;

use futures_util::future::join_all;
use tokio::sync::{Mutex, oneshot};

use super::copying::carry::{Brought, Care, Carrier};
use super::copying::source::Source;
use super::receipt::Receipt;
use super::signatures::recorded::recorded;
use super::signatures::signer::{Authority, Unsettled, check_settled, settle};
use super::signatures::unsigned::{Expectation, Glance, Sought, ToSign, Unsigned};
use super::survey::{Destination, Inspection, Known, SealPlan, inspect};
use super::tags::{LastLook, Sight, are_new, fixed_to_write, look_last, write_tags};
use super::versions::{Believed, Versions};
use super::{ApplyError, Context, Ledger};
use crate::domain::{Digest, Manifest, Reference, Repository, TagContent};
use crate::inputs::{Depth, Mode, Order, Seal, Signing};
use crate::plan::{Sameness, SeenTag, Standing, TagKind, VERSION, Vouched, version_made};

/// Makes, signs and tags an index. `authority` supplies what signing needs; it is awaited only if there is signing to
/// do.
pub(super) async fn seal(
    context: &Context,
    seal: &Seal,
    authority: impl Future<Output = Result<Authority, ApplyError>>,
    ledger: &Ledger,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    receipt.signing = seal.signing.is_some();
    receipt.planned = context.mode == Mode::DryRun;
    let (tell, told) = oneshot::channel();
    let on_sights = |sights: &[Sight]| {
        // Without signing there is no receiver.
        let _ = tell.send((are_new(sights), held(sights, ledger)));
    };
    let signer = async {
        match &seal.signing {
            Some(signing) => {
                let signer = first_look(context, signing, authority, told);
                signer.await.map(Some)
            }
            None => Ok(None),
        }
    };
    let inspection = inspect(context, seal, on_sights, receipt);
    let (inspection, signer) = tokio::try_join!(inspection, signer)?;
    // Runs only after the policy is known, which this run may not be able to meet: this step may copy the children.
    let known = inspection.know(context, seal).await?;
    let (authority, glance) = signer.unzip();
    let vouched = match (&authority, &glance) {
        (Some(authority), Some(glance)) => {
            let lacking = known.lacking_vouchers();
            Some(vouch(context, seal, authority, glance, lacking).await?)
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
        authority.as_ref().zip(glance.as_ref()),
    );
    let plan = known
        .decide(context, seal, sameness, &versions, receipt)
        .await?;
    if context.mode == Mode::Apply && plan.is_new() {
        authority.iter().for_each(Authority::prepare);
    }
    let signer = authority.as_ref().zip(glance);
    let Some(walk) = look(context, seal, &plan, signer, ledger, receipt).await? else {
        return Ok(());
    };
    let lost = match seal.order {
        Order::SignThenTag => {
            // The last read of the tags before they are written, done while the signatures are listed.
            let look = look_last(context, fixed_to_write(receipt));
            let (unsettled, look) = walk.push_and_sign(receipt, look).await?;
            // Every signature is listed now. While the tags are written, the lists are watched until they are stable.
            let tagging = tag(context, ledger, &plan, look, &versions, receipt);
            let (tagged, lost) = tokio::join!(tagging, settle(unsettled));
            tagged?;
            lost
        }
        Order::TagThenSign => {
            walk.push(receipt).await?;
            let look = look_last(context, fixed_to_write(receipt)).await;
            tag(context, ledger, &plan, look, &versions, receipt).await?;
            let (unsettled, ()) = walk.sign(receipt, async {}).await?;
            settle(unsettled).await
        }
    };
    if let Some(signing) = &seal.signing {
        check_settled(context, lost, signing.on_failure, receipt)?;
    }
    receipt.verified = receipt.signing && receipt.unsigned.is_empty();
    ledger.save(receipt)
}

/// Prepares signing. Looks up the signatures that the content of the tags most likely requires, while the rest is read.
async fn first_look(
    context: &Context,
    signing: &Signing,
    authority: impl Future<Output = Result<Authority, ApplyError>>,
    told: oneshot::Receiver<(bool, Vec<Sought>)>,
) -> Result<(Authority, Glance), ApplyError> {
    let authority = authority.await?;
    // The required identity may be in the token alone.
    let (policy, told) = tokio::join!(authority.policy(&signing.policy), told);
    let (is_new, held) = told.unwrap_or_default();
    if context.mode == Mode::Apply && is_new {
        authority.expect();
    }
    let glance = authority.glance(context, policy, &held, signing).await;
    Ok((authority, glance))
}

/// Returns the indexes among `lacking` with a signature that meets the policy, in the repository whose tag points to
/// them.
///
/// SECURITY: a signature vouches for a digest under any tag. Anyone with push access can put an older image of this
/// workflow under the tag of another version. If this run's annotations state the version, an index of another version
/// is not accepted.
async fn vouch(
    context: &Context,
    seal: &Seal,
    authority: &Authority,
    glance: &Glance,
    lacking: impl Iterator<Item = (&Repository, &Manifest)>,
) -> Result<Vec<Vouched<Manifest>>, ApplyError> {
    let mut signed = Vec::new();
    let version = seal.annotations.get(VERSION).map(String::as_str);
    let is_other = |index: &Manifest| version.is_some() && index.annotation(VERSION) != version;
    for (repository, index) in lacking.filter(|(_, index)| !is_other(index)) {
        let verified = authority.signature_of(context, glance, repository, index.digest());
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
    signer: Option<(&'a Authority, &Glance)>,
) -> Versions<'a> {
    let Inspection {
        inputs, assembly, ..
    } = &known.inspection;
    let believed = signer.and_then(|(authority, glance)| {
        let policy = glance.policy().ok()?.at_any_ref();
        Some(Believed::Signer(authority, Box::new(policy)))
    });
    Versions {
        context,
        wanted: version_made(&assembly.manifest, inputs, &seal.tags),
        is_index: true,
        believed: believed.unwrap_or(Believed::Anybody),
        turn: Mutex::default(),
    }
}

/// Writes the tags of `plan`. If nothing vouches for the index, there are no tags to write.
async fn tag(
    context: &Context,
    ledger: &Ledger,
    plan: &SealPlan,
    look: LastLook,
    versions: &Versions<'_>,
    receipt: &mut Receipt,
) -> Result<(), ApplyError> {
    match plan.target.vouched() {
        Some(target) => write_tags(context, ledger, target, look, versions, receipt).await,
        None => Ok(()),
    }
}

/// Finds the missing signatures, and the repositories that lack the index. Returns no walk if nothing may be changed.
async fn look<'a>(
    context: &'a Context,
    seal: &'a Seal,
    plan: &'a SealPlan,
    signer: Option<(&'a Authority, Glance)>,
    ledger: &'a Ledger,
    receipt: &mut Receipt,
) -> Result<Option<Walk<'a>>, ApplyError> {
    let unsigned = async {
        Ok::<_, ApplyError>(match (&seal.signing, signer) {
            (Some(signing), Some((authority, glance))) => {
                let subjects = subjects(plan, signing.depth, ledger);
                let unsigned = authority.find_unsigned(context, subjects, signing, glance, receipt);
                Some((authority, signing, unsigned.await?))
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
        receipt.note_creation(repository, plan.target.manifest().digest());
    }
    // The record names an index before it is created: a cleanup may delete it.
    ledger.save(receipt)?;
    Ok(Some(Walk {
        context,
        seal,
        plan,
        ledger,
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
fn subjects(plan: &SealPlan, depth: Depth, ledger: &Ledger) -> Vec<ToSign> {
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
                        ledger,
                    )
                } else {
                    tagged(&destination.repository, &subject.digest, ledger)
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
fn held(sights: &[Sight], ledger: &Ledger) -> Vec<Sought> {
    let mut held: Vec<Sought> = Vec::new();
    for sight in sights {
        if let Sight::Seen(SeenTag {
            tag,
            kind: TagKind::Fixed,
            holds: Some(TagContent::Manifest(manifest)),
        }) = sight
        {
            let sought = tagged(&tag.repository, manifest.digest(), ledger);
            if !held.iter().any(|known| known.is_as(&sought)) {
                held.push(sought);
            }
        }
    }
    held
}

/// Returns the lookup for content that a tag already has. Such content is most likely signed, in the place that the
/// record names.
fn tagged(repository: &Repository, digest: &Digest, ledger: &Ledger) -> Sought {
    let earlier = ledger.earlier();
    let is_tagged = earlier.is_some_and(|record| record.is_tagged(&repository.to_string(), digest));
    let expectation = if is_tagged {
        Expectation::Tagged
    } else {
        Expectation::Signed
    };
    sought(repository, digest, expectation, ledger)
}

fn sought(
    repository: &Repository,
    digest: &Digest,
    expectation: Expectation,
    ledger: &Ledger,
) -> Sought {
    Sought {
        recorded: recorded(ledger.earlier(), repository, digest),
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
    ledger: &'a Ledger,
    signing: Option<(&'a Authority, &'a Signing, Vec<Unsigned>)>,
}

impl Walk<'_> {
    /// Copies the index, and everything in it, to every repository that lacks them.
    async fn push(&self, receipt: &mut Receipt) -> Result<(), ApplyError> {
        if self.plan.destinations.iter().any(|place| place.push_index) {
            self.context.events.phase("Push the index");
        }
        if let Some((authority, _, unsigned)) = &self.signing {
            authority.prepare_for(unsigned);
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
                Ok(brought) => receipt.note_pushed(&destination.repository, &brought),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Pushes the index to one repository. Returns the content that was copied besides the index.
    async fn push_to(&self, destination: &Destination) -> Result<Brought, ApplyError> {
        let (context, plan) = (self.context, self.plan);
        let repository = &destination.repository;
        let sources = Source::repositories(self.seal.sources_for(repository));
        let carrier = Carrier::new(context, &sources, repository, Care::Trusting);
        let indexes = destination.indexes(&plan.target);
        let members = indexes.flat_map(|index| plan.members(index.manifest()));
        // Children that were found in this repository are not checked again.
        let elsewhere = members.filter(|child| plan.places.get(&child.digest) != Some(repository));
        carrier.bring_all(elsewhere).await?;
        let mut brought = carrier.brought();
        brought.add(&destination.brought);
        if !brought.manifests.is_empty() {
            context.events.note(format!(
                "{} manifests and {} blobs were copied to `{repository}`",
                brought.manifests.len(),
                brought.blobs.len()
            ));
        }
        if let (true, Some(target)) = (destination.push_index, plan.target.vouched()) {
            let reference = Reference::Digest(target.digest().clone());
            context.store_index(repository, &reference, target).await?;
            context
                .events
                .note(format!("`{}` is in `{repository}`", target.digest()));
        }
        Ok(brought)
    }

    /// Pushes the index and signs all subjects. Runs `last` as late as it can overlap with other work.
    async fn push_and_sign<T>(
        &self,
        receipt: &mut Receipt,
        last: impl Future<Output = T>,
    ) -> Result<(Vec<Unsettled<'_>>, T), ApplyError> {
        if self.signing.is_some() {
            self.push(receipt).await?;
            return self.sign(receipt, last).await;
        }
        let (pushed, last) = tokio::join!(self.push(receipt), last);
        pushed.map(|()| (Vec::new(), last))
    }

    /// Signs all subjects, and runs `last` while the signatures are listed.
    async fn sign<T>(
        &self,
        receipt: &mut Receipt,
        last: impl Future<Output = T>,
    ) -> Result<(Vec<Unsettled<'_>>, T), ApplyError> {
        let Some((authority, signing, unsigned)) = &self.signing else {
            return Ok((Vec::new(), last.await));
        };
        let (context, on_failure) = (self.context, signing.on_failure);
        authority
            .sign_all(context, unsigned, on_failure, receipt, self.ledger, last)
            .await
    }
}
