//! Conditions that must be met in the end, whatever failed before. They are checked in the registry itself, and by our own
//! `verify`.

use std::collections::BTreeSet;
use std::{fmt, fs};

use super::axes::Command;
use super::faults::{Cell, GridFault, Span};
use super::setup::{RECORD, Setup, is_write};
use crate::support::legacy::legacy_tag;
use crate::support::{Action, Outcome, cleanup, manifest};

/// A condition that is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Broken {
    /// The run ended with a wrong exit code.
    Ending,
    /// The run refused content, although nothing is wrong with it.
    Refused,
    /// The error does not name the work that failed.
    Unnamed,
    Digest,
    Tags,
    /// Too few signatures, too many, or one in a format that was not requested.
    Signatures,
    /// A signature that is not listed.
    Unlisted,
    /// A signature without a timestamp, although the services offered one.
    Untimed,
    /// Content of others was lost.
    Bystander,
    Lost,
    OpenUpload,
    /// A tag pointed to the index before everything was signed.
    UnsignedTag,
    /// Our own `verify` refuses the result.
    Gate,
    /// A cleanup after the run does not restore the earlier tags.
    NotRestored,
}

/// A failed condition, with the observed state.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) broken: Broken,
    /// True if the problem remains after the next run.
    pub(super) is_left: bool,
    seen: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.is_left { "left" } else { "claimed" };
        write!(to, "{}, {when}: {}", self.broken.name(), self.seen)
    }
}

impl Broken {
    fn name(self) -> &'static str {
        match self {
            Self::Ending => "the run ended with a wrong exit code",
            Self::Refused => "the run refused correct content",
            Self::Unnamed => "the error names no step",
            Self::Digest => "another digest",
            Self::Tags => "other tags",
            Self::Signatures => "too few or too many signatures",
            Self::Unlisted => "a signature that is not listed",
            Self::Untimed => "a signature without its timestamp",
            Self::Bystander => "content of others was lost",
            Self::Lost => "manifests are missing",
            Self::OpenUpload => "open uploads",
            Self::UnsignedTag => "a tag of an unsigned index",
            Self::Gate => "`verify` refuses the result",
            Self::NotRestored => "a cleanup does not restore the earlier tags",
        }
    }

    fn by(self, seen: impl Into<String>) -> Problem {
        let seen = seen.into();
        Problem {
            broken: self,
            is_left: false,
            seen,
        }
    }
}

/// Returns the problems in the registry. `is_over`: the command has finished its work.
pub(super) fn registry(setup: &Setup, is_over: bool) -> Vec<Problem> {
    let (registry, repository) = setup.registry();
    let wanted = &setup.wanted;
    let mut problems = taggings(setup);
    for (subject, (before, added)) in &wanted.signatures {
        let now = registry.signatures(repository, subject);
        let lost = before.bundles.difference(&now.bundles).count()
            + before.legacy.difference(&now.legacy).count();
        if lost > 0 {
            problems.push(Broken::Bystander.by(format!("{subject}: {before:?} became {now:?}")));
        }
        if !is_over {
            continue;
        }
        let new =
            |now: &BTreeSet<String>, before: &BTreeSet<String>| now.difference(before).count();
        let new = (
            new(&now.bundles, &before.bundles),
            new(&now.legacy, &before.legacy),
        );
        if new != (added.bundles, added.legacy) {
            let text = format!("{subject}: {new:?} came, bundles and older ones");
            problems.push(Broken::Signatures.by(text));
        }
        let untimed = untimed(setup, subject, &now.bundles);
        if setup.command.is_of_sigstore() && !untimed.is_empty() {
            problems.push(Broken::Untimed.by(format!("{subject}: {untimed:?}")));
        }
        if now.unlisted != before.unlisted {
            problems.push(Broken::Unlisted.by(format!("{subject}: {:?}", now.unlisted)));
        }
    }
    let mut tags = registry.tags(repository);
    tags.retain(|tag, _| !tag.starts_with("sha256-"));
    if is_over {
        if tags != wanted.tags {
            problems.push(Broken::Tags.by(format!("{tags:?}")));
        }
        let held: BTreeSet<String> = registry.manifests(repository).into_iter().collect();
        let lost: Vec<_> = wanted.manifests.difference(&held).collect();
        if !lost.is_empty() {
            problems.push(Broken::Lost.by(format!("{lost:?}")));
        }
        if registry.open_uploads() > 0 {
            problems.push(Broken::OpenUpload.by(registry.open_uploads().to_string()));
        }
    }
    problems
}

/// Returns the signatures of `subject` without a timestamp.
fn untimed(setup: &Setup, subject: &str, bundles: &BTreeSet<String>) -> Vec<String> {
    let (registry, repository) = setup.registry();
    let is_timed = |digest: &&String| {
        let layer = &manifest(registry, repository, digest)["layers"][0]["digest"];
        let bundle = registry.blob(repository, layer.as_str().unwrap()).unwrap();
        String::from_utf8_lossy(&bundle).contains("\"signedTimestamp\"")
    };
    let mut untimed: Vec<String> = bundles
        .iter()
        .filter(|each| !is_timed(each))
        .cloned()
        .collect();
    let tag = legacy_tag(subject);
    if registry.tags(repository).contains_key(&tag) {
        let list = manifest(registry, repository, &tag);
        let layers = list["layers"].as_array().unwrap().iter();
        let layers = layers.map(ToString::to_string);
        untimed.extend(layers.filter(|layer| !layer.contains("cosign/rfc3161timestamp")));
    }
    untimed
}

/// Returns the tags that pointed to the index before it, and everything else to be signed, had its signatures.
fn taggings(setup: &Setup) -> Vec<Problem> {
    let wanted = &setup.wanted;
    let taggings = setup.registry().0.taggings().into_iter();
    let of_index = taggings.filter(|tagging| tagging.digest == wanted.digest);
    let is_unsigned = |tagging: &sandbox::Tagging| {
        wanted.signatures.iter().any(|(subject, (before, added))| {
            let there = &tagging.signatures[subject];
            there.bundles.difference(&before.bundles).count() < added.bundles
                || there.legacy.difference(&before.legacy).count() < added.legacy
        })
    };
    of_index
        .filter(is_unsigned)
        .map(|tagging| Broken::UnsignedTag.by(tagging.tag))
        .collect()
}

/// Checks the end of a run with a fault: success, or an error that names the work that failed.
pub(super) fn ending(cell: Cell, outcome: &Outcome) -> Vec<Problem> {
    let ends = if cell.fault == GridFault::Kill {
        [-1, 0]
    } else {
        [0, 1]
    };
    if outcome.code == 3 {
        return vec![Broken::Refused.by(&outcome.log)];
    }
    let is_harmless = cell.fault.is_harmless() && cell.span == Span::Once && outcome.code != 0;
    if is_harmless || !ends.contains(&outcome.code) {
        return vec![Broken::Ending.by(format!("exit code {}\n{}", outcome.code, outcome.log))];
    }
    if outcome.code != 1 || said(outcome).is_some_and(|error| names_a_step(&error)) {
        return Vec::new();
    }
    vec![Broken::Unnamed.by(&outcome.log)]
}

/// Returns the error of a run.
pub(super) fn said(outcome: &Outcome) -> Option<String> {
    let line = outcome
        .log
        .lines()
        .find(|line| line.starts_with("::error"))?;
    line.split_once("::error")?
        .1
        .split_once("::")
        .map(|(_, text)| text.to_owned())
}

fn names_a_step(error: &str) -> bool {
    let words = [
        "could not ",
        "was not found",
        "was written but ",
        "the config of the image",
        "pointed to a list a moment ago",
        "before each attempt to write it",
        ", in the step `",
    ];
    words.iter().any(|words| error.contains(words))
}

/// Reports whether a run claims to have finished all its work. An unfinished cleanup succeeds as well, and reports the
/// remaining work.
pub(super) fn is_over(setup: &Setup, outcome: &Outcome) -> bool {
    let remains = || outcome.json("remaining") != serde_json::json!([]);
    outcome.code == 0 && !(setup.command == Command::Cleanup && remains())
}

/// Cleans up twice with the record that the run left, which must contain every change of the run. The first cleanup restores
/// the earlier tags and reports no remaining work. The second changes nothing. Then restores the state before the cleanup, for
/// the next run.
pub(super) fn cleaned_up(setup: &Setup, action: &Action) -> Vec<Problem> {
    let (registry, repository) = setup.registry();
    let left = registry.snapshot();
    let mut cleanup = cleanup(&action.elsewhere());
    let record = fs::read(action.workspace().join(RECORD)).ok();
    if let Some(record) = &record {
        cleanup = cleanup.handed(RECORD, record);
    }
    let mut problems = Vec::new();
    for time in ["once", "twice"] {
        registry.clear_requests();
        let outcome = cleanup.run();
        let mut tags = registry.tags(repository);
        tags.retain(|tag, _| !tag.starts_with("sha256-"));
        // Without a record the cleanup reports every tag.
        let remains = record.is_some() && outcome.json("remaining") != serde_json::json!([]);
        let writes = registry.requests();
        let is_write = |request: &&sandbox::Request| is_write(&request.method);
        let writes = time == "twice" && writes.iter().any(|request| is_write(&request));
        if outcome.code != 0 || tags != setup.wanted.earlier || remains || writes {
            let text = format!("cleaned up {time}: {tags:?}\n{}", outcome.log);
            problems.push(Broken::NotRestored.by(text));
        }
    }
    registry.restore(&left);
    problems
}

/// Runs the command again without faults, and `verify` after it.
pub(super) fn again(setup: &Setup, action: &Action) -> Vec<Problem> {
    let mut problems = rerun(setup, action);
    for problem in &mut problems {
        problem.is_left = true;
    }
    problems
}

fn rerun(setup: &Setup, action: &Action) -> Vec<Problem> {
    let outcome = action.run();
    if !is_over(setup, &outcome) {
        return vec![Broken::Ending.by(format!("again: {}\n{}", outcome.code, outcome.log))];
    }
    let mut problems = registry(setup, true);
    if setup.command == Command::Cleanup {
        return problems;
    }
    if setup.command != Command::Verify && outcome.outputs["digest"] != setup.wanted.digest {
        problems.push(Broken::Digest.by(&outcome.outputs["digest"]));
    }
    let gate = setup.verify().run();
    if gate.code != 0 {
        problems.push(Broken::Gate.by(gate.log));
    }
    problems
}
