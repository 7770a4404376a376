//! Problems that a run cannot avoid. A run trusts a registry that denies that content exists, and nobody can delete content of
//! unknown location. Each excuse covers as few cells as it can. Every other problem counts as a failure.

use super::Played;
use super::axes::{Command, Server};
use super::checks::{Broken, Problem};
use super::faults::{GridFault, Span};
use super::kinds::Kind;

/// A problem that is excused, and the reason.
struct Excuse {
    why: &'static str,
    holds: fn(&Played, &Problem) -> bool,
}

/// The answers that mean absence, as listed in `classify.rs` of the registry.
pub(super) const DENIALS: [GridFault; 3] = [
    GridFault::Denial,
    GridFault::NoSuchPage,
    GridFault::ContentType,
];

const EXCUSES: [Excuse; 9] = [
    Excuse {
        why: "the gate is told that there is no signature, and refuses; the next run is let see it",
        holds: |played, problem| {
            problem.broken == Broken::Refused
                && !problem.is_left
                && matches!(played.command, Command::Verify | Command::Publish)
                && DENIALS.contains(&played.cell.fault)
        },
    },
    Excuse {
        why: "a cleanup is told that a tag is gone, and has nothing to take back; the next one is let see it",
        holds: |played, problem| {
            problem.broken == Broken::Tags
                && !problem.is_left
                && played.command == Command::Cleanup
                && played.cell.fault == GridFault::Denial
        },
    },
    Excuse {
        why: "a run that has no record is told that there is no signature, and makes one: there are two from then on",
        holds: |played, problem| {
            problem.broken == Broken::Signatures
                && played.command == Command::SealElsewhere
                && (DENIALS.contains(&played.cell.fault) || played.kind == Kind::LateList)
        },
    },
    Excuse {
        why: "a publish is told that the source has a signature no more, says so, and publishes what there is; the next one brings it",
        holds: |played, problem| {
            lacks_signatures_once(played, problem)
                && played.cell.server == Server::Source
                && DENIALS.contains(&played.cell.fault)
        },
    },
    Excuse {
        why: "a publish is told that the tag for others' signatures holds no list, says so, and leaves them out; the next one brings them",
        holds: |played, problem| {
            // A signature by the required identity is never left out.
            lacks_signatures_once(played, problem)
                && played.cell.server == Server::Registry
                && played.cell.fault == GridFault::ContentType
                && played.hit.contains("/manifests/LIST-")
        },
    },
    Excuse {
        why: "a publish to where the image is not is told that neither is a list of its signatures, and begins one: what others had in theirs is listed no more",
        holds: |played, problem| {
            // If the image exists, the list is requested twice.
            let of_list = played.hit.starts_with("GET ") && played.hit.contains("/manifests/LIST-");
            // A late list is absent without a fault, which denies the image alone.
            let of_image =
                played.kind == Kind::LateList && played.hit.ends_with("/manifests/INDEX");
            problem.broken == Broken::Bystander
                && (of_list || of_image)
                && played.command == Command::Publish
                && played.cell.server == Server::Registry
                && DENIALS.contains(&played.cell.fault)
        },
    },
    Excuse {
        why: "a registry that answers nothing right any more takes no upload back either",
        holds: |played, problem| {
            problem.broken == Broken::OpenUpload
                && played.cell.server == Server::Registry
                && played.cell.span == Span::Stays
        },
    },
    Excuse {
        why: "a process that was killed takes no upload back, and where an upload is whose place was never told nobody knows",
        holds: |played, problem| {
            let begins = played.hit.starts_with("POST ") && played.hit.contains("/blobs/uploads/");
            // A cut response without a body is empty. `Late` and `Terminate` send no response while the run waits for it.
            let unheard = [
                GridFault::LostResponse,
                GridFault::CutBody,
                GridFault::Late,
                GridFault::Terminate,
                GridFault::HangUp,
                GridFault::HangUpLate,
                GridFault::CancelledLate,
                GridFault::CalmLate,
                GridFault::GoAwayWithoutAnswer,
                GridFault::GoAwayWithCalm,
                GridFault::LongHeaders,
            ];
            let is_unheard = unheard.contains(&played.cell.fault);
            problem.broken == Broken::OpenUpload
                && (played.cell.fault == GridFault::Kill || (begins && is_unheard))
        },
    },
    Excuse {
        why: "without a referrers API nobody can find a bundle that is not in the fallback tag yet: it is signed again, and the first stays unlisted",
        holds: |played, problem| {
            problem.broken == Broken::Unlisted && !played.kind.has_referrers_api()
        },
    },
];

/// Reports whether a publish left signatures out, and the next one did not.
fn lacks_signatures_once(played: &Played, problem: &Problem) -> bool {
    // A tag that was unsigned once stays in the list of unsigned tags.
    let passes = problem.broken == Broken::UnsignedTag
        || (problem.broken == Broken::Signatures && !problem.is_left);
    passes && played.command == Command::Publish
}

/// Moves the excused problems to the excuses.
pub(super) fn excuse(played: &mut Played) {
    let mut problems = std::mem::take(&mut played.problems);
    let mut excuses = Vec::new();
    problems.retain(|problem| {
        let found = EXCUSES.iter().find(|one| (one.holds)(played, problem));
        excuses.extend(found.map(|one| one.why));
        found.is_none()
    });
    played.problems = problems;
    played.excuses = excuses;
}
