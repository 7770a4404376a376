//! The step's outputs: a fixed set of names, each with a plain text or JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Report, ResultWord};
use crate::domain::{Digest, FullTag};
use crate::inputs::Command;
use crate::outcome::{
    IndexOutcome, Outcome, ReferrerOutcome, SignatureOutcome, SignatureSource, Subject,
};

/// One output of the action.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Its name, in kebab case.
    pub name: &'static str,
    /// Its meaning, in one sentence.
    pub meaning: &'static str,
}

macro_rules! outputs {
    ($($name:literal: $meaning:literal;)*) => {
        /// Every output, in the order of the README's table.
        pub const OUTPUTS: &[Output] = &[$(Output { name: $name, meaning: $meaning }),*];
    };
}

outputs! {
    "digest": "The digest of the index, or of what was signed or verified.";
    "image": "The repository; of several the first.";
    "reference": "`image@digest`.";
    "references": "JSON list: the image by each tag, and by its digest in each repository; also the other images of a published record.";
    "tags": "JSON list of the tags.";
    "platforms": "JSON object: platform to digest.";
    "children": "JSON object: each digest that was given, to the digests in the index that came from it.";
    "result": "`created`, `unchanged`, `completed` (some tags existed, the others were written), `planned` or `skipped` (`preflight`).";
    "manifest-create-skipped": "`true` when no tag was written.";
    "signed": "`true` when everything that was to be signed has a signature.";
    "sign-skipped": "`true` when all of it was signed already.";
    "verified": "`true` when every signature was verified in this run.";
    "signatures": "JSON list: subject, format, identity, issuer, log index, manifest, and whether this run made it.";
    "identity": "The signer: the certificate identity of the signature of `digest` that this run made, found or verified.";
    "proceed": "`preflight`: `true` when the build should continue.";
    "states": "`preflight`, JSON object: full tag to its `state` (`absent`, `present`, `same`, `different`, `unknown`, `unknown-new`) and `digest`.";
    "source": "`preflight` with `skip`: the image that is already published, `registry/repository@digest`; pass it as `digests` to a `seal` that completes it.";
    "referrers": "`publish`, JSON list: every referrer of the published images, with `subject`, `referrer` (its digest, or its tag), `type`, `verified`, `by` (the signer) or `why` it is not verified, and `carried`: whether it is part of the copy.";
    "remaining": "`cleanup`, JSON list: each tag that could not be reverted or, if the record is not trusted, each tag that exists, with `registry`, `digest`, `before`, `why`, and the manual `steps`.";
    "record": "Path of the record, relative to the workspace.";
    "record-digest": "SHA-256 of the record, for the `record-digest` of a later job. It is also set after a failure.";
    "verify-command": "A `cosign verify` command to paste.";
}

impl Report<'_> {
    /// Returns the outputs. After a failure only the record: a digest that may not be published is no output.
    #[must_use]
    pub fn outputs(&self) -> Vec<(&'static str, String)> {
        if let Some(preflight) = &self.outcome.preflight {
            return self.preflight_outputs(preflight);
        }
        if let Some(cleanup) = &self.outcome.cleanup {
            return self.cleanup_outputs(cleanup);
        }
        let record = ("record", self.record.to_owned());
        if self.failure.is_some() {
            return vec![record];
        }
        let outcome = self.outcome;
        let mut outputs = Vec::new();
        if let Some(subject) = self.main_subject() {
            outputs.push(("digest", subject.digest.to_string()));
            outputs.push(("image", subject.repository.to_string()));
            outputs.push(("reference", subject.to_string()));
            outputs.push(("references", json!(self.references(&subject)).to_string()));
        }
        if let Some(index) = &outcome.index {
            outputs.extend(index_outputs(outcome, index));
        }
        let signed = outcome.signing && !outcome.planned && outcome.unsigned.is_empty();
        let made = outcome.signed_anything();
        if !matches!(self.command, Command::Verify | Command::Publish) {
            outputs.push(("signed", signed.to_string()));
            outputs.push(("sign-skipped", (signed && !made).to_string()));
        }
        outputs.push(("verified", outcome.verified.to_string()));
        if self.command == Command::Publish {
            let referrers: Vec<Value> = outcome.referrers.iter().map(referrer_json).collect();
            outputs.push(("referrers", json!(referrers).to_string()));
        }
        let signatures: Vec<Value> = outcome.signatures.iter().map(signature_json).collect();
        outputs.push(("signatures", json!(signatures).to_string()));
        let signature = self.main_signature();
        outputs.extend(signature.map(|found| ("identity", found.signer.identity.clone())));
        outputs.extend(
            self.verify_command()
                .map(|command| ("verify-command", command)),
        );
        outputs.push(record);
        outputs
    }

    /// The main subject by every tag, and by its digest in every repository.
    fn references(&self, main: &Subject) -> Vec<String> {
        let tags = given_tags(self.outcome).map(ToString::to_string);
        let destinations = self
            .destinations()
            .iter()
            .map(|destination| &destination.repository);
        let others = destinations.filter(|repository| **repository != main.repository);
        let digests = std::iter::once(&main.repository).chain(others);
        let with_main = digests.map(|repository| repository.at(&main.digest));
        let others = self.outcome.others.iter();
        let others = others.flat_map(|other| {
            let destinations = other.destinations.iter();
            destinations.map(|destination| destination.repository.at(&other.digest))
        });
        let digests = with_main.chain(others);
        tags.chain(digests.map(|image| image.to_string())).collect()
    }

    /// The main subject of the run: the index, or the first signed or verified image.
    pub(super) fn main_subject(&self) -> Option<Subject> {
        let outcome = self.outcome;
        let index = outcome.index.as_ref();
        let index = index.and_then(|index| {
            Some(Subject {
                repository: index.destinations.first()?.repository.clone(),
                digest: index.digest.clone(),
            })
        });
        index.or_else(|| outcome.subjects.first().cloned())
    }

    /// The signature of the main subject.
    fn main_signature(&self) -> Option<&SignatureOutcome> {
        let subject = self.main_subject()?;
        let mut signatures = self.outcome.signatures.iter();
        signatures.find(|signature| signature.subject == subject)
    }

    /// Returns a command that verifies the signature of the main subject elsewhere, with every value quoted for a shell.
    pub(super) fn verify_command(&self) -> Option<String> {
        let signature = self.main_signature()?;
        let (subject, signer) = (&signature.subject, &signature.signer);
        let mut words = vec!["cosign verify".to_owned()];
        let mut flag = |name: &str, value: &str| words.push(format!("--{name} {}", quoted(value)));
        flag("certificate-identity", &signer.identity);
        flag("certificate-oidc-issuer", &signer.issuer);
        if let Some(repository) = &signer.github.repository {
            flag("certificate-github-workflow-repository", repository);
        }
        if let Some(reference) = &signer.github.reference {
            flag("certificate-github-workflow-ref", reference);
        }
        words.push(quoted(&subject.to_string()));
        Some(words.join(" \\\n  "))
    }
}

/// The tags that point to the image, without those that have a newer version.
fn given_tags(outcome: &Outcome) -> impl Iterator<Item = &FullTag> {
    let tags = outcome.tags.iter().map(|tag| &tag.step);
    let given = tags.filter(|step| step.newer.is_none());
    given.map(|step| &step.tag)
}

fn index_outputs(outcome: &Outcome, index: &IndexOutcome) -> [(&'static str, String); 5] {
    let mut tags: Vec<&str> = Vec::new();
    for tag in given_tags(outcome).map(|tag| tag.tag.as_str()) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let platforms: BTreeMap<String, &Digest> = index
        .platforms
        .iter()
        .map(|(platform, child)| (platform.to_string(), &child.digest))
        .collect();
    let children: BTreeMap<String, &Vec<Digest>> = index
        .children
        .iter()
        .map(|(input, children)| (input.to_string(), children))
        .collect();
    let skipped = !outcome.planned && !outcome.writes_tags();
    [
        ("tags", json!(tags).to_string()),
        ("platforms", json!(platforms).to_string()),
        ("children", json!(children).to_string()),
        ("result", ResultWord::of(outcome).as_str().to_owned()),
        ("manifest-create-skipped", skipped.to_string()),
    ]
}

fn referrer_json(referrer: &ReferrerOutcome) -> Value {
    let mut json = json!({
        "subject": referrer.subject,
        "referrer": referrer.name,
        "type": referrer.kind,
        "verified": referrer.verdict.is_ok(),
        "carried": referrer.is_copied,
    });
    let (name, text) = match &referrer.verdict {
        Ok(by) => ("by", by),
        Err(why) => ("why", why),
    };
    json[name] = json!(text);
    json
}

fn signature_json(signature: &SignatureOutcome) -> Value {
    json!({
        "subject": signature.subject.digest,
        "image": signature.subject.repository.to_string(),
        "format": signature.location.format.as_str(),
        "identity": signature.signer.identity,
        "issuer": signature.signer.issuer,
        "log-index": signature.signer.log_index,
        "manifest": signature.location.manifest,
        "made": signature.source == SignatureSource::Made,
    })
}

/// Quotes any text for a POSIX shell, in single quotes. Control characters, which could hide something, are dropped.
fn quoted(text: &str) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_climbs_out_of_the_quotes() {
        assert_eq!(
            quoted("a'; rm -rf / #\n$(x)`y`"),
            r"'a'\''; rm -rf / #$(x)`y`'"
        );
    }
}
