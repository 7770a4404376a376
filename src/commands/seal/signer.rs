//! The means to sign of `seal`, with the required identity.

use std::future::Future;

use super::SealPlan;
use crate::commands::CommandError;
use crate::commands::versions::VersionProof;
use crate::context::{Context, RecordWriter};
use crate::domain::{Digest, Manifest, Repository};
use crate::inputs::{Depth, Seal, Signing};
use crate::outcome::Outcome;
use crate::plan::{BINDING, Vouched, VouchedOrObserved};
use crate::signatures::SigningContext;
use crate::signatures::recorded::recorded;
use crate::signatures::unsigned::{
    Expectation, RequiredPolicy, SignatureQuery, ToSign, Unsigned, check_policy,
};

/// The means to sign, and the required identity.
pub(super) struct SealSigner<'a> {
    pub(super) inputs: &'a Signing,
    pub(super) signing_context: SigningContext,
    policy: RequiredPolicy,
}

/// Prepares to sign, if the run signs.
pub(super) async fn signer(
    seal: &Seal,
    signing_context: impl Future<Output = Result<SigningContext, CommandError>>,
) -> Result<Option<SealSigner<'_>>, CommandError> {
    let Some(inputs) = &seal.signing else {
        return Ok(None);
    };
    let signing_context = signing_context.await?;
    // The required identity may be in the token alone.
    let policy = signing_context.signing_policy(&inputs.policy).await;
    Ok(Some(SealSigner {
        inputs,
        signing_context,
        policy,
    }))
}

impl SealSigner<'_> {
    /// Fails if the policy cannot be determined or met, unless the inputs excuse it.
    pub(super) fn check_policy(self) -> Result<Self, CommandError> {
        let policy = check_policy(self.policy, self.inputs.on_failure)?;
        Ok(Self { policy, ..self })
    }

    /// Checks the certificate against the policy, before anything is copied.
    pub(super) async fn check_certificate_early(&self) -> Result<(), CommandError> {
        let policy = self.policy.as_ref();
        Ok(self.signing_context.check_certificate_early(policy).await?)
    }

    /// Starts to request a certificate, so that the wait overlaps with other work.
    pub(super) fn prefetch_certificate(&self) {
        self.signing_context.prefetch_certificate();
    }

    /// Returns the proof that a newer version under a moving tag needs.
    pub(super) fn version_proof(&self) -> VersionProof<'_> {
        match &self.policy {
            Ok(policy) => VersionProof::signer(&self.signing_context, policy),
            Err(_) => VersionProof::without_token(&self.signing_context, &self.inputs.policy),
        }
    }

    /// Returns the indexes among `unvouched` that have a signature that meets the policy. The signature is looked up in the
    /// repository whose tag points to the index.
    ///
    /// SECURITY: a signature vouches for a digest under any tag. Anyone with push access can put an older image of this
    /// workflow under the tag of another version, or another of its images under this image's tag. If this run's
    /// annotations state a version or a name, only an index that states the same is accepted.
    pub(super) async fn vouch<'m>(
        &self,
        context: &Context,
        seal: &Seal,
        unvouched: impl Iterator<Item = (&'m Repository, &'m Manifest)>,
    ) -> Result<Vec<Vouched<Manifest>>, CommandError> {
        let mut vouched = Vec::new();
        let is_other = |index: &Manifest| {
            let mut binding = BINDING
                .iter()
                .filter_map(|name| seal.annotations.get_key_value(*name));
            binding.any(|(name, stated)| index.annotation(name) != Some(stated))
        };
        for (repository, index) in unvouched.filter(|(_, index)| !is_other(index)) {
            let policy = self.policy.as_ref();
            let verified =
                self.signing_context
                    .signature_of(context, policy, repository, index.digest());
            let index = verified
                .await?
                .and_then(|verified| Vouched::signed(index.clone(), &verified));
            vouched.extend(index);
        }
        Ok(vouched)
    }

    /// Finds the missing signatures.
    pub(super) async fn find_unsigned(
        &self,
        context: &Context,
        plan: &SealPlan,
        record_writer: &RecordWriter,
        outcome: &mut Outcome,
    ) -> Result<Vec<Unsigned>, CommandError> {
        let (inputs, policy) = (self.inputs, self.policy.as_ref());
        let subjects = subjects(plan, inputs.depth, record_writer);
        let unsigned = self
            .signing_context
            .find_unsigned(context, subjects, inputs, policy, outcome);
        Ok(unsigned.await?)
    }
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
