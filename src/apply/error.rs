//! The errors that can end a run.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::PreflightError;
use crate::domain::{Digest, FullTag, ImageReference, Manifest, TokenAbsence};
use crate::layout::LayoutError;
use crate::outcome::Subject;
use crate::plan::{AssembleError, Conflict, images_of};
use crate::record::{RecordError, Unvouched};
use crate::registry::RegistryError;
use crate::signing::{SigstoreError, VerificationError};

/// The maximum number of a tag's images in a message. Others wrote the tag, and it may list many.
const IMAGES_SHOWN: usize = 40;

/// The reason why a run did not finish.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The registry refused a request, or sent an invalid response.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// Sigstore did not sign.
    #[error(transparent)]
    Signing(Box<SigstoreError>),
    /// The record cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// An image cannot be read from a folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The children cannot form an index.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// A child is absent after all tries of the retry policy.
    #[error("`{image}` is not there")]
    MissingChild {
        /// The child.
        image: Box<ImageReference>,
    },
    /// An image's config is not in the repository.
    #[error("the image `{image}` has lost its config `{config}`")]
    MissingConfig {
        /// The image.
        image: Box<ImageReference>,
        /// Its config.
        config: Digest,
    },
    /// Content to copy is in none of its possible sources.
    #[error("`{digest}`{} {}", part_text(.parent.as_ref()), places_text(.places))]
    NotAtSource {
        /// The missing content.
        digest: Digest,
        /// The manifest that points to it.
        parent: Option<Digest>,
        /// The places that were searched.
        places: Vec<String>,
    },
    /// A config names no platform: the manifest is an artifact, not an image.
    #[error("`{image}` names no platform: its config is a `{config}`")]
    NoPlatform {
        /// The manifest.
        image: Digest,
        /// The media type of its config.
        config: String,
        /// The part that the config lacks.
        #[source]
        source: serde_json::Error,
    },
    /// A child of an index is neither an image, nor an index, nor an attestation.
    #[error("`{digest}` is a `{is}`, which cannot be part of an image index")]
    NotAnImage {
        /// The child.
        digest: Digest,
        /// Its media type.
        is: String,
    },
    /// An attestation is for an image that its index does not contain.
    #[error("the index `{index}` has an attestation `{digest}` of something that it does not hold")]
    LostAttestation {
        /// The index.
        index: Digest,
        /// The attestation.
        digest: Digest,
    },
    /// An index without children, or with too many.
    #[error("the index `{digest}` has {children} children; from 1 to 1000 can be handled")]
    OddIndex {
        /// The index.
        digest: Digest,
        /// The number of its children.
        children: usize,
    },
    /// The nesting of indexes exceeds the limit.
    #[error("`{digest}` nests indexes more than {limit} deep")]
    TooDeep {
        /// The outermost index.
        digest: Digest,
        /// The limit.
        limit: usize,
    },
    /// Tags have other content.
    #[error("{}", conflicts_text(.conflicts, .digest, .wanted))]
    Conflict {
        /// The conflicts, with the content of the tags.
        conflicts: Vec<Conflict>,
        /// The expected images, by platform.
        wanted: Vec<(String, Digest)>,
        /// The digest that the tags were to hold.
        digest: Digest,
    },
    /// A tag was written, but the registry does not show it.
    #[error("the tag `{tag}` was written but still shows {}", shows_text(.shows.as_ref()))]
    TagNotVisible {
        /// The tag.
        tag: FullTag,
        /// The digest that it shows.
        shows: Option<Digest>,
    },
    /// An image to sign or verify does not exist.
    #[error("`{0}` is not there")]
    MissingImage(Box<ImageReference>),
    /// The referrers tag `sha256-…` or the digest tag `sha256-….sig` contains no list of signatures.
    #[error("the tag `{tag}`, which is for the signatures of `{subject}`, {why}; it is left alone")]
    FallbackOccupied {
        /// The tag.
        tag: FullTag,
        /// The digest that it belongs to.
        subject: Digest,
        /// The content that it has.
        why: Cow<'static, str>,
    },
    /// A tag pointed to a list, which the registry now reports as absent.
    #[error(
        "the tag `{tag}`, which is for the signatures of `{subject}`, held a list a moment ago, which is said to be gone; it is left alone"
    )]
    FallbackVanished {
        /// The tag.
        tag: FullTag,
        /// The digest that it belongs to.
        subject: Digest,
    },
    /// A list of signatures accepts no more entries.
    #[error(
        "the tag `{tag}`, which lists what refers to `{subject}`, takes no more: with one more entry it would have {bytes} bytes, and registries take {limit}"
    )]
    FallbackFull {
        /// The tag.
        tag: FullTag,
        /// The digest that it belongs to.
        subject: Digest,
        /// The length of the list with the new entry.
        bytes: usize,
        /// The length up to which registries must accept manifests.
        limit: usize,
    },
    /// A list of signatures could not be built.
    #[error("could not list a signature")]
    FallbackUnwritable(#[source] serde_json::Error),
    /// A signature was pushed, but other writers overwrote the list each time.
    #[error(
        "the signature of `{subject}` was pushed, but its entry in the tag `{tag}` is written over again and again"
    )]
    FallbackContended {
        /// The signed digest.
        subject: Digest,
        /// The tag.
        tag: FullTag,
    },
    /// No record exists to take the digests from.
    #[error("no tag and no digest is named, and there is no record `{0}`")]
    NoRecord(String),
    /// The record that is named as the source does not exist.
    #[error("there is no record `{0}`")]
    NoSuchRecord(String),
    /// Nothing vouches for a record that should supply digests.
    #[error("nothing vouches for the record `{name}`: {why}")]
    UnvouchedRecord {
        /// The record.
        name: String,
        /// The reason.
        why: Box<Unvouched>,
    },
    /// A vouched record names an image that its run only found under a tag.
    #[error(
        "the run of the record `{name}` found `{image}` under a tag and did not make it: nothing vouches for it"
    )]
    ObservedImage {
        /// The record.
        name: String,
        /// The image, as the record names it.
        image: String,
    },
    /// No source has the image.
    #[error("no `source` has the image: it is not in `{}`", .0.join("`, `"))]
    NoSource(Vec<String>),
    /// A record has several images, and the inputs do not select one for the tags.
    #[error("the record holds several images, and a tag can name but one: leave out `tags` and `moving-tags` (`image` says where they go), or name one as the `source`: {}", digests_text(.0))]
    ManyRecorded(Vec<Digest>),
    /// The record names no digest to sign.
    #[error("the record `{0}` names nothing to sign{1}")]
    EmptyRecord(String, String),
    /// The record names an invalid repository.
    #[error("the record names `{0}`, which is no repository")]
    OddRecord(String),
    /// No token identifies this run.
    #[error("there is no OIDC token that says who this run is: {0}")]
    NoToken(TokenAbsence),
    /// Legacy signatures are requested, and no usable transparency log can record them.
    #[error(
        "input `signature-format`: `legacy` signatures need a Rekor v1, and the signing config names none that is valid"
    )]
    NoLegacyLog,
    /// A digest has more referrers than can be read.
    #[error("{count} manifests or signatures refer to `{subject}`; up to 10000 are looked at")]
    TooManyReferrers {
        /// The digest and its repository.
        subject: Box<Subject>,
        /// The number of its referrers.
        count: usize,
    },
    /// A signature was made but could not be stored.
    #[error("could not store the signature of `{subject}`")]
    SignatureNotStored {
        /// The signed digest, and the repository for its signature.
        subject: Box<Subject>,
        /// The reason.
        #[source]
        source: Box<Self>,
    },
    /// This run cannot make a signature that meets the policy in the inputs.
    #[error("what this run signs would not be what the inputs ask for")]
    UnmetPolicy(#[source] Box<VerificationError>),
    /// The required identity cannot be determined.
    #[error("whose signature counts cannot be told: {0}")]
    NoPolicy(&'static str),
    /// Verification refused the image.
    #[error("{0}")]
    Refused(Refused),
    /// Preflight found that a build would be useless, or could not decide.
    #[error(transparent)]
    Preflight(Box<PreflightError>),
    /// The time limit was reached.
    #[error("the time given by `timeout` was up{}", step_text(.step.as_ref()))]
    Timeout {
        /// The step in progress.
        step: Option<String>,
        /// The digest that the next run must be given to continue the record.
        record: Option<Digest>,
    },
    /// A signal ended the run.
    #[error("the run was told to end ({signal}){}", step_text(.step.as_ref()))]
    Terminated {
        /// The name of the signal.
        signal: &'static str,
        /// The step in progress.
        step: Option<String>,
        /// The digest that the next run must be given to continue the record.
        record: Option<Digest>,
    },
}

impl ApplyError {
    /// Returns the error for tags whose content is not `wanted`.
    pub(super) fn conflict(conflicts: Vec<Conflict>, wanted: &Manifest) -> Self {
        Self::Conflict {
            conflicts,
            digest: wanted.digest().clone(),
            wanted: images_of(wanted),
        }
    }

    /// Reports whether a retry cannot help. Only absent content and a faulty response of a registry may change by the
    /// next try.
    #[must_use]
    pub(super) fn is_final(&self) -> bool {
        let is_fault = matches!(self, Self::Registry(error) if !error.is_denied());
        !is_fault && !matches!(self, Self::MissingChild { .. } | Self::MissingImage(_))
    }

    /// Reports whether fetched content is the cause: no reader can use the content of that digest.
    #[must_use]
    pub(super) fn is_about_content(&self) -> bool {
        let is_lacking = matches!(
            self,
            Self::NotAtSource { .. } | Self::TooDeep { .. } | Self::OddIndex { .. }
        );
        is_lacking
            || matches!(self, Self::Registry(error) if error.is_about_content())
            || matches!(self, Self::Layout(error) if error.is_about_content())
    }

    /// Reports whether content was fetched in which no signature can be proven: it is no list, or too much to read.
    /// Anyone with push access can cause that. A failed request never counts.
    #[must_use]
    pub(super) fn shows_no_signature(&self) -> bool {
        let is_list = |error: &RegistryError| error.is_no_list() || error.is_long_list();
        self.is_about_content()
            || matches!(
                self,
                Self::FallbackOccupied { .. } | Self::TooManyReferrers { .. }
            )
            || matches!(self, Self::Registry(error) if is_list(error))
    }

    /// Reports whether the content of a tag for lists prevents one more entry. Anyone with push access can cause that.
    #[must_use]
    pub(super) fn is_about_list(&self) -> bool {
        matches!(
            self,
            Self::FallbackOccupied { .. } | Self::FallbackFull { .. }
        )
    }

    /// Reports whether `on-signing-failure: warn` excuses this error. It excuses an outage of Sigstore, and an outage
    /// of the registry that stores a signature. It also excuses a token that the job cannot get. It never excuses a
    /// service or a verification that refuses, a conflict, a full list, or an unknown state.
    #[must_use]
    pub fn is_signing_outage(&self) -> bool {
        match self.beneath() {
            Beneath::Signing(error) => error.is_outage(),
            Beneath::NoToken(absence) => absence.is_excused(),
            Beneath::NotStored(error) => error.is_registry_outage(),
            // A registry outage before any signature was made leaves the state unknown.
            Beneath::Registry(_) | Beneath::Own => false,
        }
    }

    /// Reports whether the cause is a registry outage, and not another obstacle to storing a signature.
    fn is_registry_outage(&self) -> bool {
        match self.beneath() {
            Beneath::Registry(error) => error.is_outage(),
            Beneath::Signing(_) | Beneath::NoToken(_) | Beneath::NotStored(_) | Beneath::Own => {
                false
            }
        }
    }

    /// Returns the failed service beneath this error, if there is one. Every variant is listed, so that a new one has
    /// to choose.
    fn beneath(&self) -> Beneath<'_> {
        match self {
            Self::Registry(error) => Beneath::Registry(error),
            Self::Signing(error) => Beneath::Signing(error),
            Self::NoToken(absence) => Beneath::NoToken(absence),
            Self::SignatureNotStored { source, .. } => Beneath::NotStored(source),
            Self::Record(_)
            | Self::Layout(_)
            | Self::Assemble(_)
            | Self::MissingChild { .. }
            | Self::MissingConfig { .. }
            | Self::NotAtSource { .. }
            | Self::NoPlatform { .. }
            | Self::NotAnImage { .. }
            | Self::LostAttestation { .. }
            | Self::OddIndex { .. }
            | Self::TooDeep { .. }
            | Self::Conflict { .. }
            | Self::TagNotVisible { .. }
            | Self::MissingImage(_)
            | Self::FallbackOccupied { .. }
            | Self::FallbackVanished { .. }
            | Self::FallbackFull { .. }
            | Self::FallbackUnwritable(_)
            | Self::FallbackContended { .. }
            | Self::NoRecord(_)
            | Self::NoSuchRecord(_)
            | Self::NoSource(_)
            | Self::ManyRecorded(_)
            | Self::EmptyRecord(..)
            | Self::OddRecord(_)
            | Self::UnvouchedRecord { .. }
            | Self::ObservedImage { .. }
            | Self::NoLegacyLog
            | Self::TooManyReferrers { .. }
            | Self::UnmetPolicy(_)
            | Self::NoPolicy(_)
            | Self::Refused(_)
            | Self::Preflight(_)
            | Self::Timeout { .. }
            | Self::Terminated { .. } => Beneath::Own,
        }
    }
}

/// The service that failed beneath an error.
enum Beneath<'a> {
    /// A registry.
    Registry(&'a RegistryError),
    /// Sigstore.
    Signing(&'a SigstoreError),
    /// The job, which has no token.
    NoToken(&'a TokenAbsence),
    /// The cause, if a signature could not be stored.
    NotStored(&'a ApplyError),
    /// No service.
    Own,
}

/// The refusal by verification, with everything that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The digests without the required signature.
    pub subjects: Vec<RefusedSubject>,
    /// The required signer.
    pub wanted: String,
}

/// One digest without the required signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSubject {
    /// The digest.
    pub image: String,
    /// The reason for the refusal of each signature; empty if there is none.
    pub reasons: Vec<String>,
    /// The inputs that its authentic signatures do not meet.
    pub unmet: BTreeSet<&'static str>,
}

impl From<RegistryError> for ApplyError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<PreflightError> for ApplyError {
    fn from(error: PreflightError) -> Self {
        Self::Preflight(Box::new(error))
    }
}

impl From<SigstoreError> for ApplyError {
    fn from(error: SigstoreError) -> Self {
        Self::Signing(Box::new(error))
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, subject) in self.subjects.iter().enumerate() {
            if number > 0 {
                writeln!(formatter)?;
            }
            let image = &subject.image;
            if subject.reasons.is_empty() {
                write!(
                    formatter,
                    "`{image}` has no signature; wanted is one by {}",
                    self.wanted
                )?;
            } else {
                write!(
                    formatter,
                    "`{image}` has no signature by {}; found:",
                    self.wanted
                )?;
                for reason in &subject.reasons {
                    write!(formatter, "\n- {reason}")?;
                }
            }
        }
        Ok(())
    }
}

fn conflicts_text(conflicts: &[Conflict], digest: &Digest, wanted: &[(String, Digest)]) -> String {
    let text = |conflict: &Conflict| {
        let why = conflict.difference.text();
        let why = why.map_or(String::new(), |why| format!(" ({why})"));
        let (tag, holds) = (&conflict.tag, &conflict.holds);
        format!(
            "the tag `{tag}` holds `{holds}`{why} with {}",
            images_text(&conflict.found)
        )
    };
    let found: Vec<String> = conflicts.iter().map(text).collect();
    let wanted = match wanted {
        [] => String::new(),
        images => format!(" with {}", images_text(images)),
    };
    format!("{}\nwanted: `{digest}`{wanted}", found.join("\n"))
}

pub(super) fn images_text(images: &[(String, Digest)]) -> String {
    let mut shown: Vec<String> = images
        .iter()
        .take(IMAGES_SHOWN)
        .map(|(platform, digest)| format!("{platform} `{digest}`"))
        .collect();
    if images.len() > shown.len() {
        shown.push(format!("and {} more", images.len() - shown.len()));
    }
    if shown.is_empty() {
        "no platforms".to_owned()
    } else {
        shown.join(", ")
    }
}

fn part_text(parent: Option<&Digest>) -> String {
    parent.map_or(String::new(), |parent| format!(", part of `{parent}`,"))
}

fn digests_text(digests: &[Digest]) -> String {
    let digests: Vec<String> = digests.iter().map(|digest| format!("`{digest}`")).collect();
    digests.join(", ")
}

fn places_text(places: &[String]) -> String {
    match places {
        [] => "is not there".to_owned(),
        [place] => format!("is not in `{place}`"),
        places => format!("is in none of `{}`", places.join("`, `")),
    }
}

fn step_text(step: Option<&String>) -> String {
    step.map_or(String::new(), |step| format!(", in the step `{step}`"))
}

fn shows_text(shows: Option<&Digest>) -> String {
    shows.map_or("nothing".to_owned(), |digest| format!("`{digest}`"))
}
