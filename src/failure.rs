//! The only error type that `main` handles: an exit code, a title and a hint for every case.

use std::collections::BTreeSet;

use crate::actions::{ArgumentError, EnvironmentError};
use crate::commands::{
    CommandError, Interruption, Limit, PreflightError, Refused as VerifyRefused, TagError,
};
use crate::context::ImageError;
use crate::domain::{ImageReference, TokenAbsence, chain_text};
use crate::hints::{hints, registry_hint, transport_hint};
use crate::http::{CertificateError, HttpError};
use crate::inputs::InputErrors;
use crate::layout::LayoutError;
use crate::plan::{AssembleError, Conflict, Difference};
use crate::record::SelectionError;
use crate::referrers::ListError;
use crate::registry::CredentialsError;
use crate::report::RUN_AGAIN;
use crate::signatures::SignatureError;
use crate::sigstore::SigstoreError;

/// The reason why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line cannot be read.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    /// The inputs are wrong.
    #[error(transparent)]
    Inputs(#[from] InputErrors),
    /// An input with CA certificates is wrong.
    #[error("input `ca-bundle` cannot be used")]
    Certificates(#[from] CertificateError),
    /// The given credentials cannot be used.
    #[error("the credentials cannot be used")]
    Credentials(#[from] CredentialsError),
    /// The HTTP client cannot be set up.
    #[error("could not set up the HTTP client")]
    Http(#[from] HttpError),
    /// The run itself failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The runner's files cannot be written.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

/// The exit code of a failed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// A network, registry, permission or Sigstore problem: run again, or fix permissions or an outage.
    Failure = 1,
    /// The workflow is wrong; nothing was changed.
    Inputs = 2,
    /// Refused: a tag points to another digest, or verification failed.
    Refused = 3,
}

impl Failure {
    /// Returns the exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Arguments(_) | Self::Inputs(_) | Self::Certificates(_) | Self::Credentials(_) => {
                ExitCode::Inputs
            }
            Self::Environment(EnvironmentError::NotText(_)) => ExitCode::Inputs,
            Self::Http(_)
            | Self::Environment(
                EnvironmentError::Unwritable { .. } | EnvironmentError::DockerConfig { .. },
            ) => ExitCode::Failure,
            Self::Command(error) => verdict(error).code,
        }
    }

    /// Returns a short title for the annotation.
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self.exit_code() {
            ExitCode::Failure => "manifest-seal failed",
            ExitCode::Inputs => "manifest-seal: wrong inputs",
            ExitCode::Refused
                if matches!(
                    self,
                    Self::Command(CommandError::Tag(TagError::Conflict { .. }))
                ) =>
            {
                "manifest-seal: a tag points to another image"
            }
            ExitCode::Refused if matches!(self, Self::Command(CommandError::Preflight(_))) => {
                "manifest-seal: a tag exists already"
            }
            ExitCode::Refused => "manifest-seal: refused",
        }
    }

    /// Returns advice for the user, if there is any.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Command(error) => verdict(error).cure,
            Self::Credentials(_) => Some("give credentials in `registry-auths`, or log in with docker/login-action and DOCKER_CONFIG".to_owned()),
            Self::Environment(EnvironmentError::DockerConfig { .. }) => {
                Some("check this file, or name another folder in DOCKER_CONFIG".to_owned())
            }
            Self::Arguments(_)
            | Self::Inputs(_)
            | Self::Certificates(_)
            | Self::Http(_)
            | Self::Environment(
                EnvironmentError::Unwritable { .. } | EnvironmentError::NotText(_),
            ) => None,
        }
    }

    /// Returns the failure and all its causes in one text.
    #[must_use]
    pub fn text(&self) -> String {
        chain_text(self)
    }
}

/// The exit code of an error and the advice for it.
struct Diagnosis {
    code: ExitCode,
    cure: Option<String>,
}

impl ExitCode {
    fn without_cure(self) -> Diagnosis {
        self.with_optional_cure(None)
    }

    fn with_cure(self, cure: &str) -> Diagnosis {
        self.with_optional_cure(Some(cure.to_owned()))
    }

    fn with_optional_cure(self, cure: Option<String>) -> Diagnosis {
        Diagnosis { code: self, cure }
    }
}

/// Returns the exit code of every error, and advice if there is any.
fn verdict(error: &CommandError) -> Diagnosis {
    use ExitCode::{Failure, Refused};
    match error {
        CommandError::Registry(error) => Failure.with_optional_cure(registry_hint(error)),
        CommandError::Signature(error) => signature_verdict(error),
        CommandError::Image(error) => image_verdict(error),
        CommandError::List(error) => list_verdict(error),
        CommandError::Selection(error) => selection_verdict(error),
        CommandError::Tag(TagError::Conflict { conflicts, .. }) => {
            Refused.with_optional_cure(Some(conflict_hint(conflicts)))
        }
        CommandError::Tag(TagError::NotVisible { .. } | TagError::Contended { .. }) => {
            Failure.with_cure("another run may have written the tag; run it again: a tag that is correct is not changed")
        }
        CommandError::Preflight(error) => preflight_verdict(error),
        CommandError::Assemble(error) => assemble_verdict(error),
        CommandError::Layout(error @ LayoutError::Incomplete { .. }) => layout_code(error).with_cure("write all platforms to the folder: `docker pull --platform …` for each of them, then `docker save` without `--platform`; or push the images that are there, and make an index of them with `seal`"),
        CommandError::Layout(error) => layout_code(error).without_cure(),
        CommandError::Refused(refused)
            if refused
                .subjects
                .iter()
                .all(|subject| subject.reasons.is_empty()) =>
        {
            Refused.with_cure("check that the image was signed, and that the signature was pushed to this repository. A new signature may not be visible yet: raise `max-attempts` or `retry-delay`")
        }
        CommandError::Refused(refused) => Refused.with_optional_cure(Some(refused_hint(refused))),
        CommandError::Interrupted(interruption) => {
            Failure.with_optional_cure(Some(interruption_hint(interruption)))
        }
        CommandError::Record(_) => Failure.without_cure(),
    }
}

fn signature_verdict(error: &SignatureError) -> Diagnosis {
    use ExitCode::{Failure, Inputs};
    match error {
        SignatureError::Registry(error) => Failure.with_optional_cure(registry_hint(error)),
        SignatureError::Image(error) => image_verdict(error),
        SignatureError::List(error) => list_verdict(error),
        SignatureError::NotStored { source, .. } => {
            Failure.with_optional_cure(signature_verdict(source).cure)
        }
        SignatureError::Sigstore(error) => Failure.with_optional_cure(signing_hint(error)),
        SignatureError::NoToken(TokenAbsence::NotAsked) => Failure.with_cure("give the job `permissions: id-token: write`. Outside GitHub give `identity-token`"),
        SignatureError::NoToken(TokenAbsence::Fork(_) | TokenAbsence::Dependabot) => {
            Failure.with_cure("such a run cannot get a token: use `sign: false` for it, or `on-signing-failure: warn`")
        }
        SignatureError::NoLegacyLog => Inputs.with_cure("use `signature-format: bundle`, or give a `signing-config` with a log of `majorApiVersion` 1"),
        SignatureError::UnmetPolicy(refusal) => {
            Inputs.with_optional_cure(Some(unmet_hint(&refusal.unmet())))
        }
        SignatureError::UnsupportedDigest(_) => Inputs.with_cure("use the SHA-256 digest of the image, or of an index that lists it. `seal` signs such an index without `recursive`, and `publish` without an identity copies the image unverified"),
        SignatureError::NoPolicy(_) => Inputs.without_cure(),
        SignatureError::Record(_) => Failure.without_cure(),
    }
}

fn image_verdict(error: &ImageError) -> Diagnosis {
    use ExitCode::{Failure, Inputs};
    match error {
        ImageError::MissingChild { .. } => Failure.with_cure("check that it was pushed to this repository and still exists. Push it again, or raise `max-attempts` and `retry-delay` if the registry is slow to show it"),
        ImageError::MissingConfig { .. } => Failure.with_cure("a part of this image is missing in the registry: push the image again"),
        ImageError::NotAtSource { .. } | ImageError::NoSource(_) => Failure.with_cure("check that it was pushed there and still exists. Push it again, or copy from another source that has it"),
        ImageError::AnsweredElsewhere { .. } => Inputs.with_cure("a tag stands for what the named registry has. If that digest is the right one, give the image by it: `REPOSITORY@sha256:…`"),
        ImageError::MissingImage(_) => Failure.with_cure("check the name, and that it was pushed"),
        ImageError::NoPlatform { index: Some(_), .. }
        | ImageError::NotAnImage { index: Some(_), .. } => Inputs.with_cure(AS_IT_IS),
        ImageError::NoPlatform { .. } | ImageError::NotAnImage { .. } => {
            Inputs.with_cure("`digests` accepts images and indexes of images")
        }
        ImageError::ContradictedPlatform(_) => Inputs.with_cure("build the image for that platform, or correct the index; a container runtime may refuse the image, or run it on the wrong machine"),
        ImageError::LostAttestation { .. } => Inputs.without_cure(),
        ImageError::OddIndex { .. } | ImageError::TooDeep { .. } => Failure.without_cure(),
    }
}

fn list_verdict(error: &ListError) -> Diagnosis {
    use ExitCode::Failure;
    match error {
        ListError::Occupied { .. } => Failure.with_cure("the tag does not belong to an image of this repository: delete it manually if nothing needs it"),
        ListError::Vanished { .. } => {
            Failure.with_cure("run it again: the registry may show the list by then")
        }
        ListError::Full { .. } => Failure.with_cure("delete unneeded entries manually, or use a registry with the referrers API"),
        ListError::Contended { .. } => {
            Failure.with_cure("many jobs sign this digest at once; run it again")
        }
        ListError::TooMany { .. } => {
            Failure.with_cure("delete unneeded referrers of the image manually")
        }
        ListError::Unwritable(_) => Failure.without_cure(),
    }
}

fn selection_verdict(error: &SelectionError) -> Diagnosis {
    use ExitCode::{Failure, Inputs};
    match error {
        SelectionError::NoRecord(_) | SelectionError::Empty(..) => Inputs.with_cure("give `image` with its tag or digest, or the `record` that `create` wrote"),
        SelectionError::Unvouched { .. } => Inputs.with_cure("give `record-digest`, an output of the step that wrote the record; or name the digest itself, `registry/repository@sha256:…`, in `image` (`sign`) or `source` (`publish`)"),
        SelectionError::Observed { .. } => Inputs.with_cure("if it is the right image, name it, `registry/repository@sha256:…`, in `image` (`sign`) or `source` (`publish`)"),
        SelectionError::NoSuchRecord(_) | SelectionError::Several(_) => Inputs.without_cure(),
        SelectionError::OddRepository(_) | SelectionError::Unreadable(_) => Failure.without_cure(),
    }
}

/// Advice after a run that was cut short. Outside of a workflow nothing but the user hands the record's digest on.
fn interruption_hint(interruption: &Interruption) -> String {
    let mut hint = RUN_AGAIN.to_owned();
    if let Some(uploads) = &interruption.uploads {
        hint = format!("{hint}. The next run sends {uploads} again from the start");
    }
    if let Some(digest) = &interruption.record {
        hint = format!(
            "{hint}. Pass `record-digest: {digest}`, the SHA-256 of the record, and the record keeps what the tags pointed to before this run; `command: cleanup` with it reverts them"
        );
    }
    match interruption.limit {
        Limit::Timeout => format!("{hint}; or raise `timeout`"),
        Limit::Signal(_) => hint,
    }
}

/// Advice for signatures that do not meet the inputs. Without an authentic one there is no signer to name.
fn refused_hint(refused: &VerifyRefused) -> String {
    let subjects = refused.subjects.iter();
    let unmet: BTreeSet<&str> = subjects
        .flat_map(|subject| &subject.unmet)
        .copied()
        .collect();
    if unmet.is_empty() {
        return "none of these proves the signer: do not use this image; if it is yours, sign it again".to_owned();
    }
    let unmet: Vec<&str> = unmet.into_iter().collect();
    format!(
        "if one of these is the right signer, give its value in {}; otherwise do not use this image",
        inputs_text(&unmet)
    )
}

/// Advice for a run whose own identity does not meet the inputs.
fn unmet_hint(unmet: &[&str]) -> String {
    format!(
        "omit {}: the default is this run's own identity; or give the value of that identity (a pattern if runs from other refs count too). Nothing was changed",
        inputs_text(unmet)
    )
}

/// Names inputs. A pattern that matches a part is a common mistake.
fn inputs_text(inputs: &[&str]) -> String {
    let named = inputs.iter().map(|input| {
        let whole = if input.ends_with("-regexp") {
            " (a pattern that must match the whole value)"
        } else {
            ""
        };
        format!("`{input}`{whole}")
    });
    named.collect::<Vec<_>>().join(" and ")
}

fn conflict_hint(conflicts: &[Conflict]) -> String {
    adoptable(conflicts).map_or_else(|| "the tags in `tags` never move: choose another version, delete the tag manually if it is wrong, or name it in `moving-tags` if it may move".to_owned(), |adopted| format!("choose another version; or, if that index is yours, adopt it: give `digests: {adopted}`, no other digest, and no annotation that it lacks"))
}

/// The cure for an index that contains more than an index of images can say.
const AS_IT_IS: &str =
    "`sign` and `publish` take this index as it is: sign it, and publish it under the tags";

fn assemble_verdict(error: &AssembleError) -> Diagnosis {
    use ExitCode::{Failure, Inputs};
    match error {
        AssembleError::DuplicatePlatform { .. } => Inputs.with_cure("each platform needs exactly one digest: check `digests` for a digest of an earlier build"),
        AssembleError::SeveralInIndex { .. } => Inputs.with_cure(AS_IT_IS),
        AssembleError::Platforms { .. } => Inputs.with_cure("check that every job of the build matrix uploaded its digest"),
        AssembleError::NotDocker { .. } => Inputs.with_cure("use `media-type: oci` or `auto`"),
        AssembleError::Unwritable(_) | AssembleError::Unreadable(_) => Failure.without_cure(),
    }
}

fn layout_code(error: &LayoutError) -> ExitCode {
    match error {
        LayoutError::NoLayout { .. }
        | LayoutError::Archive(_)
        | LayoutError::NoImage { .. }
        | LayoutError::ManyImages { .. } => ExitCode::Inputs,
        LayoutError::Incomplete { .. }
        | LayoutError::Unreadable { .. }
        | LayoutError::NoFile(_)
        | LayoutError::TooLong { .. }
        | LayoutError::TooMany { .. }
        | LayoutError::OtherContent { .. }
        | LayoutError::Malformed { .. } => ExitCode::Failure,
    }
}

/// Returns the index that a user may adopt: all conflicts are tags on this one digest, and nothing vouches for it.
fn adoptable(conflicts: &[Conflict]) -> Option<ImageReference> {
    let adoptable = |conflict: &Conflict| matches!(conflict.difference, Difference::Unvouched(_));
    let (first, others) = conflicts.split_first()?;
    let same = others.iter().all(|other| other.digest == first.digest);
    (conflicts.iter().all(adoptable) && same).then(|| first.tag.repository.at(&first.digest))
}

fn preflight_verdict(error: &PreflightError) -> Diagnosis {
    use ExitCode::{Failure, Inputs, Refused};
    match error {
        PreflightError::Unknown(unknown) => {
            let errors = unknown.iter().map(|(_, error)| error);
            Failure.with_optional_cure(hints(errors))
        }
        PreflightError::Taken(_) => Refused.with_cure("nothing was built: choose another version; or use `on-existing-tag: skip`, with which the workflow completes the existing version"),
        PreflightError::Differ { .. } => Refused.with_cure("nothing was built: choose another version, or delete the wrong tags manually; their images differ, so none can be copied from another"),
        PreflightError::Unvouched { found, .. } => {
            let digests: BTreeSet<String> = found
                .iter()
                .map(|found| found.tag.repository.at(&found.contents.digest).to_string())
                .collect();
            let digests: Vec<String> = digests.into_iter().collect();
            Refused.with_optional_cure(Some(format!("nothing was built: choose another version; or, if you know the origin of this image, adopt it: give `digests: {}`", digests.join(", "))))
        }
        PreflightError::NoIdentity(_) => Inputs.with_cure("give the job `permissions: id-token: write`, or name the signer in `certificate-identity`; use `sign: false` if the images are never signed"),
    }
}

fn signing_hint(error: &SigstoreError) -> Option<String> {
    if let Some((problem, host)) = error.certificate() {
        return Some(problem.cure(host));
    }
    if let Some(hint) = error.transport().and_then(transport_hint) {
        return Some(hint);
    }
    let text = match (error, error.status()) {
        (SigstoreError::Token(_), Some(401 | 403)) => {
            "the job's permission `id-token: write` may be missing, or its token may have expired"
        }
        (SigstoreError::TokenUnreadable(_) | SigstoreError::TokenExpired { .. }, _) => {
            "give a new OIDC token with the audience that this Fulcio requires (`sigstore` for the public instance)"
        }
        (SigstoreError::Certificate(_), Some(400..=499)) => {
            "Fulcio does not accept this token: check that this Fulcio requires its audience (`oidc-audience`) and accepts its issuer"
        }
        (
            SigstoreError::Token(_)
            | SigstoreError::Certificate(_)
            | SigstoreError::Log(_)
            | SigstoreError::Timestamp(_),
            _,
        ) => {
            "Sigstore may be down (https://status.sigstore.dev): run it again, or publish unsigned for now with `on-signing-failure: warn`"
        }
        (SigstoreError::Trust(_), _) => {
            "give `trusted-root` and `signing-config`, or let the job reach tuf-repo-cdn.sigstore.dev"
        }
        (SigstoreError::Key(_) | SigstoreError::SelfCheck(_), _) => return None,
    };
    Some(text.to_owned())
}
