//! The errors that can end a run.

use std::collections::BTreeSet;

use super::images_text::images_text;
use super::preflight_error::PreflightError;
use crate::context::ImageError;
use crate::copy::CopyError;
use crate::domain::{Digest, FullTag, Manifest};
use crate::layout::LayoutError;
use crate::plan::{AssembleError, Conflict, images_of};
use crate::record::{RecordError, SelectionError};
use crate::referrers::ListError;
use crate::registry::RegistryError;
use crate::signatures::SignatureError;

/// The reason why a run did not finish.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The registry refused a request, or sent an invalid response.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// The record cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record supplies no image.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// An image cannot be read from a folder.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The children cannot form an index.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// An image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The list of what refers to an image cannot be used.
    #[error(transparent)]
    List(#[from] ListError),
    /// A signature could not be made or stored.
    #[error(transparent)]
    Signature(Box<SignatureError>),
    /// A tag cannot be written.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// Verification refused the image.
    #[error("{0}")]
    Refused(Refused),
    /// Preflight found that a build would be useless, or could not decide.
    #[error(transparent)]
    Preflight(Box<PreflightError>),
    /// The run was ended from outside.
    #[error(transparent)]
    Interrupted(#[from] Interruption),
}

/// The reason why a tag was not written, or not seen.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
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
    /// Other runs moved a tag before each attempt to write it.
    #[error("the tag `{tag}` was moved by another run before each attempt to write it")]
    Contended {
        /// The tag.
        tag: FullTag,
    },
    /// A tag was written, but the registry does not show it.
    #[error("the tag `{tag}` was written but still points to {}", shows_text(.shows.as_ref()))]
    NotVisible {
        /// The tag.
        tag: FullTag,
        /// The digest that it shows.
        shows: Option<Digest>,
    },
}

/// The end of a run from outside.
#[derive(Debug, thiserror::Error)]
#[error("{limit}{}", step_text(.step.as_ref()))]
pub struct Interruption {
    /// The limit that ended the run.
    pub limit: Limit,
    /// The step in progress.
    pub step: Option<String>,
    /// The digest that the next run must be given to continue the record.
    pub record: Option<Digest>,
    /// The large blobs in progress, which the next run sends again from their start.
    pub uploads: Option<String>,
}

/// A limit of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// The time limit.
    #[error("the run exceeded `timeout`")]
    Timeout,
    /// A signal with this name.
    #[error("the run was stopped by a signal ({0})")]
    Signal(&'static str),
}

impl CommandError {
    /// Returns this error about `child`. If the given index `input` lists it, the error names that index.
    pub(super) fn listed_by(self, child: &Digest, input: &Digest) -> Self {
        if child == input {
            return self;
        }
        if let Self::Image(error) = self {
            return Self::Image(error.listed_by(input));
        }
        self
    }

    /// Returns the error for tags whose content is not `wanted`.
    pub(super) fn conflict(conflicts: Vec<Conflict>, wanted: &Manifest) -> Self {
        Self::Tag(TagError::Conflict {
            conflicts,
            digest: wanted.digest().clone(),
            wanted: images_of(wanted),
        })
    }

    /// Reports whether a retry cannot help. Only absent content and a faulty response of a registry may change by the
    /// next try.
    #[must_use]
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_denied(),
            Self::Image(error) => !error.is_absence(),
            Self::Signature(error) => error.is_final(),
            Self::Record(_)
            | Self::Selection(_)
            | Self::Layout(_)
            | Self::Assemble(_)
            | Self::List(_)
            | Self::Tag(_)
            | Self::Refused(_)
            | Self::Preflight(_)
            | Self::Interrupted(_) => true,
        }
    }
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

impl From<RegistryError> for CommandError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<PreflightError> for CommandError {
    fn from(error: PreflightError) -> Self {
        Self::Preflight(Box::new(error))
    }
}

impl From<SignatureError> for CommandError {
    fn from(error: SignatureError) -> Self {
        CopyError::from(error).into()
    }
}

impl From<CopyError> for CommandError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Registry(error) => Self::Registry(error),
            CopyError::Layout(error) => Self::Layout(error),
            CopyError::Record(error) => Self::Record(error),
            CopyError::Image(error) => Self::Image(error),
            CopyError::List(error) => Self::List(error),
            CopyError::Signature(error) => Self::Signature(error),
        }
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
                    "`{image}` has no signature; a signature by {} is required",
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
        let (tag, digest) = (&conflict.tag, &conflict.digest);
        format!(
            "the tag `{tag}` points to `{digest}`{why} with {}",
            images_text(&conflict.images)
        )
    };
    let found: Vec<String> = conflicts.iter().map(text).collect();
    let wanted = match wanted {
        [] => String::new(),
        images => format!(" with {}", images_text(images)),
    };
    format!("{}\nexpected: `{digest}`{wanted}", found.join("\n"))
}

fn step_text(step: Option<&String>) -> String {
    step.map_or(String::new(), |step| format!(", in the step `{step}`"))
}

fn shows_text(shows: Option<&Digest>) -> String {
    shows.map_or("nothing".to_owned(), |digest| format!("`{digest}`"))
}
