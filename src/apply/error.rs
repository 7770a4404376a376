//! Everything that can go wrong while a plan is walked.

use std::borrow::Cow;

use super::{PreflightError, Subject};
use crate::domain::{Digest, FullTag, ImageReference, TokenAbsence};
use crate::layout::LayoutError;
use crate::plan::{AssembleError, Conflict};
use crate::record::{RecordError, Unvouched};
use crate::registry::RegistryError;
use crate::signing::{Refusal, SigningError};

/// What a tag holds is told up to here: somebody else wrote it, and it may be long.
const IMAGES_SHOWN: usize = 40;

/// Why a run did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The registry would not, or said something that cannot be.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// Sigstore would not.
    #[error(transparent)]
    Signing(Box<SigningError>),
    /// The record cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// An image cannot be read from a folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The children make no index.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// A child is not in the repository, though it was asked for as often as the retry policy says.
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
    /// Something that is to be copied is in none of the places that it could come from.
    #[error("`{digest}`{} {}", part_text(.parent.as_ref()), places_text(.places))]
    NotAtSource {
        /// What is lacking.
        digest: Digest,
        /// What points to it.
        parent: Option<Digest>,
        /// Where it was looked for.
        places: Vec<String>,
    },
    /// A config names no platform: the manifest is an artifact, not an image.
    #[error("`{image}` names no platform: its config is a `{config}`")]
    NoPlatform {
        /// The manifest.
        image: Digest,
        /// The media type of its config.
        config: String,
        /// What the config lacks.
        #[source]
        source: serde_json::Error,
    },
    /// Something in an index is neither an image, nor an index, nor an attestation.
    #[error("`{digest}` is a `{is}`, which cannot be part of an image index")]
    NotAnImage {
        /// What.
        digest: Digest,
        /// Its media type.
        is: String,
    },
    /// An attestation attests an image that its index does not have.
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
        /// How many children it has.
        children: usize,
    },
    /// Indexes within indexes beyond the limit.
    #[error("`{digest}` nests indexes more than {limit} deep")]
    TooDeep {
        /// Where it begins.
        digest: Digest,
        /// The limit.
        limit: usize,
    },
    /// Tags hold something else.
    #[error("{}", conflicts_text(.conflicts, .wanted))]
    Conflict {
        /// What they hold.
        conflicts: Vec<Conflict>,
        /// What they were to hold, by platform.
        wanted: Vec<(String, Digest)>,
    },
    /// A tag was written, but the registry does not show it.
    #[error("the tag `{tag}` was written but still shows {}", shows_text(.shows.as_ref()))]
    TagNotVisible {
        /// The tag.
        tag: FullTag,
        /// What it shows.
        shows: Option<Digest>,
    },
    /// An image that is to be signed or verified is not there.
    #[error("`{0}` is not there")]
    MissingImage(Box<ImageReference>),
    /// The tag `sha256-…` or `sha256-….sig` holds something that is no list of signatures.
    #[error("the tag `{tag}`, which is for the signatures of `{subject}`, {why}; it is left alone")]
    FallbackOccupied {
        /// The tag.
        tag: FullTag,
        /// What it belongs to.
        subject: Digest,
        /// What it holds.
        why: Cow<'static, str>,
    },
    /// The tag was seen to hold a list, which is said to be gone.
    #[error(
        "the tag `{tag}`, which is for the signatures of `{subject}`, held a list a moment ago, which is said to be gone; it is left alone"
    )]
    FallbackVanished {
        /// The tag.
        tag: FullTag,
        /// What it belongs to.
        subject: Digest,
    },
    /// A list of signatures takes no more entries.
    #[error(
        "the tag `{tag}`, which lists what refers to `{subject}`, takes no more: with one more entry it would have {bytes} bytes, and registries take {limit}"
    )]
    FallbackFull {
        /// The tag.
        tag: FullTag,
        /// What it belongs to.
        subject: Digest,
        /// How long the list would be.
        bytes: usize,
        /// The longest manifest that registries have to take.
        limit: usize,
    },
    /// A list of signatures could not be made.
    #[error("could not list a signature")]
    FallbackUnwritable(#[source] serde_json::Error),
    /// A signature was pushed over and over, and others wrote over the list each time.
    #[error(
        "the signature of `{subject}` was pushed, but its entry in the tag `{tag}` is written over again and again"
    )]
    FallbackContended {
        /// What is signed.
        subject: Digest,
        /// The tag.
        tag: FullTag,
    },
    /// There is no record to take the digests from.
    #[error("no tag and no digest is named, and there is no record `{0}`")]
    NoRecord(String),
    /// The record that was named as the source is not there.
    #[error("there is no record `{0}`")]
    NoSuchRecord(String),
    /// Nothing vouches for a record that digests were to be taken from.
    #[error("nothing vouches for the record `{name}`: {why}")]
    UnvouchedRecord {
        /// The record.
        name: String,
        /// Why.
        why: Box<Unvouched>,
    },
    /// A record that is vouched for has an image that its run only found under a tag.
    #[error(
        "the run of the record `{name}` found `{image}` under a tag and did not make it: nothing vouches for it"
    )]
    ObservedImage {
        /// The record.
        name: String,
        /// The image, as the record names it.
        image: String,
    },
    /// None of the places has the image.
    #[error("no `source` has the image: it is not in `{}`", .0.join("`, `"))]
    NoSource(Vec<String>),
    /// A record has several images, and it is not said which of them the tags are for.
    #[error("the record holds several images, and a tag can name but one: leave out `tags` and `moving-tags` (`image` says where they go), or name one as the `source`: {}", digests_text(.0))]
    ManyRecorded(Vec<Digest>),
    /// The record names no digest that could be signed.
    #[error("the record `{0}` names nothing to sign{1}")]
    EmptyRecord(String, String),
    /// The record names an image that cannot be.
    #[error("the record names `{0}`, which is no repository")]
    OddRecord(String),
    /// There is no token that says who this run is.
    #[error("there is no OIDC token that says who this run is: {0}")]
    NoToken(TokenAbsence),
    /// Legacy signatures are wanted, and there is no log that can witness them.
    #[error(
        "input `signature-format`: `legacy` signatures need a Rekor v1, and the signing config names none that is valid"
    )]
    NoLegacyLog,
    /// More refers to a digest than can be looked at.
    #[error("{count} manifests or signatures refer to `{subject}`; up to 10000 are looked at")]
    TooManyReferrers {
        /// The digest, and where.
        subject: Box<Subject>,
        /// How many refer to it.
        count: usize,
    },
    /// A signature was made but could not be stored.
    #[error("could not store the signature of `{subject}`")]
    SignatureNotStored {
        /// What is signed, and where that was to be stored.
        subject: Box<Subject>,
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// This run cannot make a signature that meets the inputs.
    #[error("what this run signs would not be what the inputs ask for")]
    UnmetPolicy(#[source] Box<Refusal>),
    /// Whose signature counts cannot be told.
    #[error("whose signature counts cannot be told: {0}")]
    NoPolicy(&'static str),
    /// Verification said no.
    #[error("{0}")]
    Refused(Refused),
    /// A build would be for nothing, or nobody knows.
    #[error(transparent)]
    Preflight(Box<PreflightError>),
    /// The time was up.
    #[error("the time given by `timeout` was up{}", step_text(.step.as_ref()))]
    Timeout {
        /// The step that was under way.
        step: Option<String>,
    },
    /// The run was told to end.
    #[error("the run was told to end ({signal}){}", step_text(.step.as_ref()))]
    Terminated {
        /// By which signal.
        signal: &'static str,
        /// The step that was under way.
        step: Option<String>,
    },
}

impl ApplyError {
    /// Whether trying again cannot help. Only what is not there yet, and a registry that does not answer as it should,
    /// may be another next time.
    #[must_use]
    pub(super) fn is_final(&self) -> bool {
        let is_fault = matches!(self, Self::Registry(error) if !error.is_denied());
        !is_fault && !matches!(self, Self::MissingChild { .. } | Self::MissingImage(_))
    }

    /// Whether content came and is the fault: what is there under a digest cannot be used, whoever reads it.
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

    /// Whether what could hold signatures came, and nobody can show one in it: it is no list, or there is too much of it to
    /// look at. Whoever may push can put that there. What did not come is never that.
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

    /// Whether what a tag for lists holds is in the way of one more entry. Whoever may push can bring that about.
    #[must_use]
    pub(super) fn is_about_list(&self) -> bool {
        matches!(
            self,
            Self::FallbackOccupied { .. } | Self::FallbackFull { .. }
        )
    }

    /// Whether this is what `on-signing-failure: warn` lets pass: an outage of Sigstore, or of the registry while it was to
    /// store a signature, or a token that the job cannot have. Never a service that says no, a verification that said no, a
    /// conflict, a list that takes no more, or a state that is not known.
    #[must_use]
    pub fn is_signing_outage(&self) -> bool {
        match self.beneath() {
            Beneath::Signing(error) => error.is_outage(),
            Beneath::NoToken(absence) => absence.is_excused(),
            Beneath::NotStored(error) => error.is_registry_outage(),
            // What a registry does not answer while nothing was made yet is a state that is not known.
            Beneath::Registry(_) | Beneath::Own => false,
        }
    }

    /// Whether a registry is out of order, as opposed to whatever else keeps a signature from being stored.
    fn is_registry_outage(&self) -> bool {
        match self.beneath() {
            Beneath::Registry(error) => error.is_outage(),
            Beneath::Signing(_) | Beneath::NoToken(_) | Beneath::NotStored(_) | Beneath::Own => {
                false
            }
        }
    }

    /// What failed beneath this, if it was a service. All kinds of errors are listed, so that a new one has to choose.
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

/// What failed beneath an error.
enum Beneath<'a> {
    /// A registry.
    Registry(&'a RegistryError),
    /// Sigstore.
    Signing(&'a SigningError),
    /// The job, which has no token.
    NoToken(&'a TokenAbsence),
    /// This, while a signature was to be stored.
    NotStored(&'a ApplyError),
    /// No service.
    Own,
}

/// Verification's no, with all that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is not signed as it must be.
    pub subjects: Vec<RefusedSubject>,
    /// Who must have signed.
    pub wanted: String,
}

/// One digest that is not signed as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSubject {
    /// The digest.
    pub image: String,
    /// What each signature there was refused for; empty when there is none.
    pub reasons: Vec<String>,
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

impl From<SigningError> for ApplyError {
    fn from(error: SigningError) -> Self {
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

fn conflicts_text(conflicts: &[Conflict], wanted: &[(String, Digest)]) -> String {
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
    format!("{}\nwanted: {}", found.join("\n"), images_text(wanted))
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
