//! Says of everything that is carried beside an image whether it is verified: made by the issuer, and for the source
//! repository, that the image must be signed by.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::bundles::{Read, judge_layers, read_bundle};
use super::source::Source;
use crate::apply::receipt::ReferrerReceipt;
use crate::apply::signatures::candidates::{Candidate, Judged, PREDICATE};
use crate::apply::signatures::legacy_manifest::only;
use crate::apply::signatures::signer::Authority;
use crate::apply::{ApplyError, Context};
use crate::domain::{Descriptor, Digest, Manifest};
use crate::failure::chain_text;
use crate::inputs::Carried;
use crate::signing::{Provenance, Refusal, verify_legacy_origin, verify_statement};

const NO_IDENTITY: &str = "no identity is given, so nothing is verified";
const TYPE_MAX_CHARS: usize = 200;

/// Whose referrers count, and what has become of each so far: it is the same for every destination.
pub(in crate::apply) struct Vetting<'a> {
    authority: Option<(&'a Authority, Provenance)>,
    carried: Carried,
    found: RefCell<BTreeMap<(Digest, String), ReferrerReceipt>>,
}

impl<'a> Vetting<'a> {
    /// By `authority`, where it is known who must have signed.
    pub(in crate::apply) fn new(
        authority: Option<(&'a Authority, Provenance)>,
        carried: Carried,
    ) -> Self {
        Self {
            authority,
            carried,
            found: RefCell::default(),
        }
    }

    /// Everything that was come across.
    pub(in crate::apply) fn into_receipts(self) -> Vec<ReferrerReceipt> {
        self.found.into_inner().into_values().collect()
    }

    /// Notes that something which should have been carried cannot be.
    pub(super) fn leave_out(&self, subject: &Digest, name: &str) {
        let mut found = self.found.borrow_mut();
        if let Some(receipt) = found.get_mut(&(subject.clone(), name.to_owned())) {
            receipt.is_carried = false;
        }
    }

    /// Whether `entry`, which refers to `subject`, is carried.
    pub(super) async fn lets_pass(
        &self,
        context: &Context,
        from: &[Source],
        subject: &Digest,
        entry: &Descriptor,
    ) -> Result<bool, ApplyError> {
        let name = entry.digest.to_string();
        if let Some(known) = self.found.borrow().get(&(subject.clone(), name.clone())) {
            return Ok(known.is_carried);
        }
        let predicate = entry.annotations.get(PREDICATE);
        let listed = predicate.or(entry.artifact_type.as_ref()).cloned();
        let mut kind = listed.unwrap_or_else(|| "unknown type".to_owned());
        let verdict = match &self.authority {
            None => Err(NO_IDENTITY.to_owned()),
            Some((authority, provenance)) => {
                match read_first(context, from, &entry.digest).await? {
                    Read::Bundle(bundle) => {
                        let trust = &authority.trust;
                        match verify_statement(&bundle, subject, trust, provenance) {
                            Ok((by, predicate)) => {
                                kind = predicate;
                                Ok(by)
                            }
                            Err(refusal) => Err(chain_text(&refusal)),
                        }
                    }
                    Read::Other(other) => {
                        kind = other;
                        Err("it is no Sigstore bundle".to_owned())
                    }
                    Read::Statement(predicate) => {
                        kind = predicate;
                        Err("its bundle cannot be read".to_owned())
                    }
                    Read::Broken(why) => Err(why),
                    Read::Lost => Err("it is not there".to_owned()),
                }
            }
        };
        Ok(self.note(context, subject, name, &kind, verdict))
    }

    /// What is carried of `original`, which is under the tag of `subject` that ends in `suffix`: of a list of signatures,
    /// where only verified ones are, these.
    pub(super) async fn kept_of(
        &self,
        context: &Context,
        source: &Source,
        subject: &Digest,
        suffix: &'static str,
        original: Manifest,
    ) -> Result<Option<Manifest>, ApplyError> {
        let name = subject.tag_beside(suffix).to_string();
        let kind = format!("tag `.{suffix}` of cosign");
        let (verdict, verified) = match &self.authority {
            None => (Err(NO_IDENTITY.to_owned()), Vec::new()),
            Some(_) if suffix != "sig" => (
                Err("only bundles and signatures are verified".to_owned()),
                Vec::new(),
            ),
            Some((authority, provenance)) => {
                let judge = |candidate: &Candidate<'_>, subject: &Digest| match candidate {
                    Candidate::Legacy(payload, annotations) => {
                        let trust = &authority.trust;
                        verify_legacy_origin(payload, annotations, subject, trust, provenance)
                    }
                    Candidate::Bundle(_) => Err(Refusal::NotASignature { predicate: None }),
                };
                let judged = judge_layers(context, source, &original, subject, &judge).await?;
                verdict_of(&judged)
            }
        };
        let some = !verified.is_empty() && verified.len() < layers_of(&original);
        if self.carried == Carried::Verified && some {
            let kept = only(&original, &verified)?;
            let left = layers_of(&original) - verified.len();
            context.events.warn(format!(
                "{left} layers of the tag `{name}` ({kind}) are left behind: they are not verified"
            ));
            self.note(context, subject, name, &kind, Ok(first_signer(&verdict)));
            return Ok(Some(kept));
        }
        let is_carried = self.note(context, subject, name, &kind, verdict);
        Ok(is_carried.then_some(original))
    }

    fn note(
        &self,
        context: &Context,
        subject: &Digest,
        name: String,
        kind: &str,
        verdict: Result<String, String>,
    ) -> bool {
        let key = (subject.clone(), name.clone());
        if let Some(known) = self.found.borrow().get(&key) {
            return known.is_carried;
        }
        let kind: String = kind.chars().filter(|one| !one.is_control()).collect();
        let receipt = ReferrerReceipt {
            subject: subject.clone(),
            kind: kind.chars().take(TYPE_MAX_CHARS).collect(),
            is_carried: verdict.is_ok() || self.carried == Carried::All,
            name,
            verdict,
        };
        if let (false, Err(why)) = (receipt.is_carried, &receipt.verdict) {
            let (name, kind) = (&receipt.name, &receipt.kind);
            context.events.warn(format!(
                "`{name}` ({kind}), which refers to `{subject}`, is left behind, since it is not verified: {why}"
            ));
        }
        let is_carried = receipt.is_carried;
        self.found.borrow_mut().insert(key, receipt);
        is_carried
    }
}

/// What the first source has that has it.
async fn read_first(
    context: &Context,
    from: &[Source],
    digest: &Digest,
) -> Result<Read, ApplyError> {
    let (mut found, mut fault) = (Read::Lost, None);
    for source in from {
        match read_bundle(context, source, digest).await {
            Ok(Read::Lost) => (),
            Ok(read @ Read::Bundle(_)) => return Ok(read),
            Ok(read) => found = read,
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    match (found, fault) {
        (Read::Lost, Some(error)) => Err(error),
        (found, _) => Ok(found),
    }
}

/// The verdict on a list of signatures, and the places of those that are verified.
fn verdict_of(judged: &[Judged]) -> (Result<String, String>, Vec<usize>) {
    let mut verified = Vec::new();
    let (mut signer, mut why) = (None, None);
    for (number, one) in judged.iter().enumerate() {
        match one {
            Judged::Verified(held) => {
                verified.push(number);
                signer.get_or_insert_with(|| held.content.signer().identity.clone());
            }
            Judged::Refused(refused) => {
                why.get_or_insert_with(|| refused.reason().to_owned());
            }
            Judged::Dangling(_) | Judged::Unrelated => {
                why.get_or_insert_with(|| "it holds something else than signatures".to_owned());
            }
        }
    }
    let verdict = match (signer, why) {
        (Some(signer), None) => Ok(signer),
        (_, Some(why)) => Err(why),
        (None, None) => Err("it holds no signature".to_owned()),
    };
    (verdict, verified)
}

fn first_signer(verdict: &Result<String, String>) -> String {
    verdict.clone().unwrap_or_default()
}

fn layers_of(manifest: &Manifest) -> usize {
    match manifest.kind() {
        crate::domain::ManifestKind::Image { layers, .. } => layers.len(),
        crate::domain::ManifestKind::Index { .. } => 0,
    }
}
