//! The commands `seal` and `create`: look at everything, decide, then index, signatures and tags, in this order.

use std::future::Future;

use futures_util::future::join_all;

use super::copying::carry::{Brought, Care, Carrier};
use super::copying::source::Source;
use super::receipt::Receipt;
use super::signatures::recorded::recorded;
use super::signatures::signer::{Authority, Unsettled, check_settled, settle};
use super::signatures::unsigned::{Expectation, ToSign, Unsigned};
use super::survey::{Destination, SealPlan, survey};
use super::tags::write_tags;
use super::{ApplyError, Context, Ledger};
use crate::domain::{Digest, Reference};
use crate::inputs::{Depth, Mode, Order, Seal, Signing};

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
    let look = survey(context, seal, receipt);
    let (plan, authority) = match &seal.signing {
        Some(_) => {
            tokio::try_join!(look, authority).map(|(plan, authority)| (plan, Some(authority)))?
        }
        None => (look.await?, None),
    };
    let signing = match (&seal.signing, &authority) {
        (Some(signing), Some(authority)) => {
            let subjects = subjects(&plan, signing.depth, ledger);
            let unsigned = authority.find_unsigned(context, subjects, signing, receipt);
            Some((authority, signing, unsigned.await?))
        }
        _ => None,
    };
    if context.mode == Mode::DryRun {
        return Ok(());
    }
    ledger.save(receipt)?;
    let walk = Walk {
        context,
        seal,
        plan: &plan,
        ledger,
        signing,
    };
    walk.push(receipt).await?;
    let lost = match seal.order {
        Order::SignThenTag => {
            let unsettled = walk.sign(receipt).await?;
            // Every signature is listed now. That it stays so is seen to while the tags are written.
            let tagging = write_tags(context, ledger, &plan.target, receipt);
            let (tagged, lost) = tokio::join!(tagging, settle(unsettled));
            tagged?;
            lost
        }
        Order::TagThenSign => {
            write_tags(context, ledger, &plan.target, receipt).await?;
            settle(walk.sign(receipt).await?).await
        }
    };
    if let Some(signing) = &seal.signing {
        check_settled(context, lost, signing.on_failure, receipt)?;
    }
    receipt.verified = receipt.signing && receipt.unsigned.is_empty();
    ledger.save(receipt)
}

/// Everything that must have a signature, in each repository.
fn subjects(plan: &SealPlan, depth: Depth, ledger: &Ledger) -> Vec<ToSign> {
    let mut subjects: Vec<ToSign> = Vec::new();
    for destination in &plan.destinations {
        let image = destination.repository.to_string();
        let is_tagged = |subject: &Digest| {
            let earlier = ledger.earlier();
            earlier.is_some_and(|record| record.is_tagged(&image, subject))
        };
        // What no tag held yet is most likely unsigned.
        let expectation = |subject: &Digest| match destination.push_index {
            true => Expectation::Unsigned,
            false if is_tagged(subject) => Expectation::Tagged,
            false => Expectation::Signed,
        };
        for index in destination.indexes(&plan.target) {
            let mut signed = vec![index.descriptor()];
            if depth == Depth::Children {
                signed.extend(plan.members(index).cloned());
            }
            for subject in signed {
                let subject = ToSign {
                    recorded: recorded(ledger.earlier(), &destination.repository, &subject.digest),
                    repository: destination.repository.clone(),
                    expectation: expectation(&subject.digest),
                    subject,
                };
                if !subjects.iter().any(|known| known.is_as(&subject)) {
                    subjects.push(subject);
                }
            }
        }
    }
    subjects
}

/// What every step needs that changes something. A step is done everywhere before the next is begun, so that a registry
/// that fails keeps the tags of all from being written.
struct Walk<'a> {
    context: &'a Context,
    seal: &'a Seal,
    plan: &'a SealPlan,
    ledger: &'a Ledger,
    signing: Option<(&'a Authority, &'a Signing, Vec<Unsigned>)>,
}

impl Walk<'_> {
    /// Brings the index and all that is in it to every repository that lacks them.
    async fn push(&self, receipt: &mut Receipt) -> Result<(), ApplyError> {
        if self.plan.destinations.iter().any(|place| place.push_index) {
            self.context.events.phase("Push the index");
        }
        let prepare = async {
            if let Some((authority, _, unsigned)) = &self.signing {
                authority.prepare(unsigned).await;
            }
        };
        let pushes = self
            .plan
            .destinations
            .iter()
            .map(|place| self.push_to(place));
        let (results, ()) = tokio::join!(join_all(pushes), prepare);
        let mut failure = None;
        for (destination, result) in self.plan.destinations.iter().zip(results) {
            match result {
                Ok(brought) => receipt.note_pushed(&destination.repository, &brought),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Returns what was brought besides the index.
    async fn push_to(&self, destination: &Destination) -> Result<Brought, ApplyError> {
        let (context, plan) = (self.context, self.plan);
        let repository = &destination.repository;
        let sources = Source::repositories(self.seal.sources_for(repository));
        let carrier = Carrier::new(context, &sources, repository, Care::Trusting);
        let indexes = destination.indexes(&plan.target);
        let members = indexes.flat_map(|index| plan.members(index));
        // What was seen here needs no second look.
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
        if destination.push_index {
            let target = &plan.target;
            let reference = Reference::Digest(target.digest().clone());
            context.store_index(repository, &reference, target).await?;
            context
                .events
                .note(format!("`{}` is in `{repository}`", target.digest()));
        }
        Ok(brought)
    }

    async fn sign(&self, receipt: &mut Receipt) -> Result<Vec<Unsettled<'_>>, ApplyError> {
        let Some((authority, signing, unsigned)) = &self.signing else {
            return Ok(Vec::new());
        };
        let on_failure = signing.on_failure;
        authority
            .sign_all(self.context, unsigned, on_failure, receipt, self.ledger)
            .await
    }
}
