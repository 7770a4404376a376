//! The steps of `seal` that change something: push, sign, tag.

use futures_util::future::join_all;

use super::inspect::{Destination, SealPlan};
use super::signer::SealSigner;
use crate::commands::CommandError;
use crate::commands::tags::{PreWriteCheck, tags_to_write, write_tags};
use crate::commands::versions::Versions;
use crate::context::{Context, RecordWriter};
use crate::copy::copier::{Copier, DestinationCheck};
use crate::copy::source::Source;
use crate::domain::Reference;
use crate::inputs::Seal;
use crate::outcome::{CopiedContent, Outcome, Subject};
use crate::plan::TagKind;
use crate::signatures::SignatureError;
use crate::signatures::signer::{SignatureLists, check_settled};
use crate::signatures::unsigned::Unsigned;

/// The values for every step that changes something. Each step is done everywhere before the next begins. So a failing
/// registry prevents the tags of all registries.
pub(super) struct SealSteps<'a> {
    pub(super) context: &'a Context,
    pub(super) seal: &'a Seal,
    pub(super) plan: &'a SealPlan,
    pub(super) versions: &'a Versions<'a>,
    pub(super) record_writer: &'a RecordWriter,
    pub(super) signer: Option<&'a SealSigner<'a>>,
    /// The missing signatures.
    pub(super) unsigned: &'a [Unsigned],
}

impl SealSteps<'_> {
    /// Copies the index, and everything in it, to every repository that lacks them.
    pub(super) async fn push(&self, outcome: &mut Outcome) -> Result<(), CommandError> {
        if self
            .plan
            .destinations
            .iter()
            .any(|destination| destination.push_index)
        {
            self.context.events.step("Push the index");
        }
        if let Some(signer) = self.signer {
            signer.signing_context.prefetch_for(self.unsigned);
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

    /// Signs all subjects. Returns the signatures with the lists that are still being written.
    pub(super) async fn sign(
        &self,
        outcome: &mut Outcome,
    ) -> Result<SignatureLists<'_>, CommandError> {
        let Some(signer) = self.signer else {
            return Ok(SignatureLists::default());
        };
        let (context, on_failure) = (self.context, signer.inputs.on_failure);
        let (unsigned, record_writer) = (self.unsigned, self.record_writer);
        let lists = signer
            .signing_context
            .sign_all(context, unsigned, on_failure, outcome, record_writer)
            .await;
        Ok(lists?)
    }

    /// Returns the error of a signature that could not be listed, unless the inputs excuse it.
    pub(super) fn check_listed(
        &self,
        lost: Vec<(Subject, SignatureError)>,
        outcome: &mut Outcome,
    ) -> Result<(), CommandError> {
        match self.signer {
            Some(signer) => {
                let on_failure = signer.inputs.on_failure;
                Ok(check_settled(self.context, lost, on_failure, outcome)?)
            }
            None => Ok(()),
        }
    }

    /// Reads the fixed tags that are about to be written, for the last time.
    pub(super) async fn read_tags(&self, outcome: &Outcome) -> Result<PreWriteCheck, CommandError> {
        let fixed = tags_to_write(outcome, TagKind::Fixed);
        let tags = fixed.iter().map(|step| &step.tag);
        Ok(PreWriteCheck::read(self.context, tags).await?)
    }

    /// Writes the tags. If nothing vouches for the index, there are no tags to write.
    pub(super) async fn tag(
        &self,
        check: PreWriteCheck,
        outcome: &mut Outcome,
    ) -> Result<(), CommandError> {
        let (context, record_writer) = (self.context, self.record_writer);
        match self.plan.target.vouched() {
            Some(target) => {
                write_tags(
                    context,
                    record_writer,
                    target,
                    self.versions,
                    check,
                    outcome,
                )
                .await
            }
            None => Ok(()),
        }
    }
}
