//! Candidates that do not count as signatures: the reasons in few words, for any number and content of candidates.

use std::collections::BTreeSet;

use crate::domain::{Digest, Tag, Unusable, chain_text};
use crate::outcome::{SignatureLocation, Subject};
use crate::sigstore::VerificationError;

/// The maximum number of different reasons in a report.
const REASONS_MAX: usize = 20;
const REASON_MAX_CHARS: usize = 500;
/// The maximum number of candidates that are remembered by digest.
const KNOWN_MAX: usize = 1000;
/// The maximum number of broken candidates that a warning names.
const NAMED_MAX: usize = 3;

/// The kind of a candidate that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RefusalKind {
    /// Another statement, such as an attestation.
    Statement,
    /// Content that cannot be read as a signature.
    Broken,
    /// A signature that is invalid, or by another signer.
    Signature,
}

/// One candidate that does not count.
#[derive(Debug, Clone)]
pub(crate) struct RefusedCandidate {
    /// The digest that identifies it.
    id: Digest,
    kind: RefusalKind,
    reason: String,
    /// The inputs that an authentic signature does not meet.
    unmet: Vec<&'static str>,
}

/// All candidates that do not count.
#[derive(Debug, Default)]
pub(crate) struct RefusalSummary {
    reasons: Vec<(String, usize)>,
    /// The inputs that authentic signatures do not meet.
    unmet: BTreeSet<&'static str>,
    /// The number of candidates that were refused for further reasons.
    more: usize,
    known: BTreeSet<Digest>,
    signatures: usize,
    broken: Vec<RefusedCandidate>,
    broken_count: usize,
}

impl RefusedCandidate {
    /// Creates an entry for a candidate that the verifier refused.
    pub(crate) fn from_error(location: &SignatureLocation, refusal: &VerificationError) -> Self {
        let kind = match refusal {
            VerificationError::NotASignature { .. } => RefusalKind::Statement,
            VerificationError::TooLarge { .. } | VerificationError::Unreadable { .. } => {
                RefusalKind::Broken
            }
            VerificationError::OtherSubject { .. }
            | VerificationError::IdentityMismatch { .. }
            | VerificationError::GithubClaimMismatch { .. }
            | VerificationError::UnsignedContent { .. }
            | VerificationError::Invalid { .. } => RefusalKind::Signature,
        };
        Self {
            unmet: refusal.unmet(),
            ..Self::new(location.id(), kind, &chain_text(refusal))
        }
    }

    /// Creates an entry for a candidate that was not read, since it states another predicate type itself.
    pub(crate) fn statement(id: &Digest, predicate: &str) -> Self {
        let predicate: String = predicate.chars().filter(|one| !one.is_control()).collect();
        let refusal = VerificationError::NotASignature {
            predicate: Some(predicate),
        };
        Self::new(id, RefusalKind::Statement, &chain_text(&refusal))
    }

    /// Creates an entry for a candidate that was read and cannot be a signature.
    pub(crate) fn broken(id: &Digest, why: &str) -> Self {
        Self::new(id, RefusalKind::Broken, why)
    }

    /// Creates an entry for content that is under the tag for a list of signatures, and is none.
    pub(crate) fn list(tag: &Tag, unusable: &Unusable) -> Self {
        let (digest, why) = (unusable.digest(), unusable.text());
        let reason =
            format!("the tag `{tag}` points to `{digest}`, which contains no signatures: {why}");
        Self::broken(digest, &reason)
    }

    /// Returns the reason.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    fn new(id: &Digest, kind: RefusalKind, reason: &str) -> Self {
        Self {
            id: id.clone(),
            kind,
            reason: reason.chars().take(REASON_MAX_CHARS).collect(),
            unmet: Vec::new(),
        }
    }
}

impl RefusalSummary {
    pub(super) fn add(&mut self, refused: RefusedCandidate) {
        let RefusedCandidate {
            id,
            kind,
            reason,
            unmet,
        } = &refused;
        self.unmet.extend(unmet);
        if self.known.len() < KNOWN_MAX {
            self.known.insert(id.clone());
        }
        self.add_reason(reason, 1);
        self.signatures += usize::from(*kind == RefusalKind::Signature);
        if *kind == RefusalKind::Broken {
            self.broken_count += 1;
            if self.broken.len() < NAMED_MAX {
                self.broken.push(refused);
            }
        }
    }

    /// Adds entries of a list that could not be read.
    pub(super) fn add_unreadable_entries(&mut self, count: usize) {
        self.broken_count += count;
    }

    /// Adds all of `other`.
    pub(crate) fn append(&mut self, other: Self) {
        for (reason, count) in other.reasons {
            self.add_reason(&reason, count);
        }
        self.unmet.extend(other.unmet);
        self.more += other.more;
        self.known.extend(other.known);
        self.signatures += other.signatures;
        self.broken.extend(other.broken);
        self.broken.truncate(NAMED_MAX);
        self.broken_count += other.broken_count;
    }

    fn add_reason(&mut self, reason: &str, count: usize) {
        let is_full = self.reasons.len() >= REASONS_MAX;
        match self.reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, known)) => *known += count,
            None if is_full => self.more += count,
            None => self.reasons.push((reason.to_owned(), count)),
        }
    }

    /// Reports whether any of them is a signature. Other statements and broken content do not mean that no valid
    /// signature will follow.
    pub(crate) fn has_signature(&self) -> bool {
        self.signatures > 0
    }

    /// Reports whether the candidate with this `id` is one of them.
    pub(crate) fn has(&self, id: &Digest) -> bool {
        self.known.contains(id)
    }

    /// Returns the inputs that authentic signatures do not meet.
    pub(crate) fn unmet(&self) -> BTreeSet<&'static str> {
        self.unmet.clone()
    }

    /// Returns every reason once.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let text = |(reason, count): &(String, usize)| match count {
            1 => reason.clone(),
            count => format!("{reason} ({count} of these)"),
        };
        let mut reasons: Vec<String> = self.reasons.iter().map(text).collect();
        if self.more > 0 {
            reasons.push(format!("and {} more", self.more));
        }
        reasons
    }

    /// Returns a warning, in one line, about the candidates that cannot be read.
    pub(crate) fn warning(&self, subject: &Subject) -> Option<String> {
        if self.broken_count == 0 {
            return None;
        }
        let named = self.broken.iter();
        let mut named: Vec<String> = named
            .map(|refused| format!("`{}`: {}", refused.id, one_line(&refused.reason)))
            .collect();
        let more = self.broken_count - named.len();
        if more > 0 {
            let others = if named.is_empty() { "" } else { " more" };
            named.push(format!("{more}{others} that cannot be read"));
        }
        Some(format!(
            "these referrers of `{subject}` cannot be signatures and are ignored: {}",
            named.join("; ")
        ))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Digest {
        Digest::of(number.to_string().as_bytes())
    }

    fn subject() -> Subject {
        Subject {
            repository: "ghcr.io/o/r".parse().unwrap(),
            digest: id(0),
        }
    }

    #[test]
    fn ten_thousand_are_told_in_few_words() {
        let mut all = RefusalSummary::default();
        for number in 0..10_000 {
            all.add(RefusedCandidate::statement(
                &id(number),
                "https://slsa.dev/provenance/v1",
            ));
            let odd = format!("{number}{}", "\n".repeat(5000));
            all.add(RefusedCandidate::broken(&id(number), &odd));
        }
        assert!(!all.has_signature());
        assert!(all.has(&id(7)));
        let reasons = all.reasons();
        assert_eq!(reasons.len(), REASONS_MAX + 1);
        assert!(reasons[0].ends_with("(10000 of these)"), "{}", reasons[0]);
        assert!(reasons.join("").len() < 20_000);
        let warning = all.warning(&subject()).unwrap();
        assert!(warning.contains("9997 more"), "{warning}");
        assert!(!warning.contains('\n') && warning.len() < 1000, "{warning}");
    }

    #[test]
    fn two_lists_are_one() {
        let mut one = RefusalSummary::default();
        let mut other = RefusalSummary::default();
        one.add(RefusedCandidate::statement(&id(1), "x"));
        other.add(RefusedCandidate::statement(&id(2), "x"));
        other.add(RefusedCandidate::broken(&id(3), "y"));
        other.add_unreadable_entries(1);
        one.append(other);
        assert!(one.has(&id(1)) && one.has(&id(2)));
        assert_eq!(one.reasons().len(), 2);
        let warning = one.warning(&subject()).unwrap();
        assert!(warning.contains("1 more that cannot be read"), "{warning}");
    }
}
