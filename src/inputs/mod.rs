//! Strings in, proof out. Nothing behind this room looks at a string of the workflow's again.
//!
//! Parsing collects: one run reports every bad input, since each failed round trip costs its author minutes. Knows the
//! grammar of every input and which command needs which; refuses to know how a file is read or where a string came from.

mod auths;
mod cleanup;
mod fields;
mod grammar;
mod preflight;
mod publish;
mod raw;
mod repositories;
mod requests;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::domain::{
    Digest, FullTag, GithubClaims, ImageReference, Matcher, Platform, Repository, SignatureFormat,
};

pub use auths::RegistryAuth;
pub use cleanup::Cleanup;
pub use preflight::{OnExistingTag, Preflight};
pub use publish::{Carried, Origin, Publish};
pub use raw::{INPUTS, Input, RawInputs};
pub use settings::{Mode, Settings};

use fields::Fields;

/// Everything a run was asked to do, proven well-formed.
#[derive(Debug)]
pub struct Inputs {
    /// The command, as it was called.
    pub command: Command,
    /// What to do.
    pub request: Request,
    /// How to go about it, whatever it is.
    pub settings: Settings,
}

/// The input `command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Index, signature, tags.
    Seal,
    /// Index and tags.
    Create,
    /// Signatures of what is there.
    Sign,
    /// The gate.
    Verify,
    /// The look before a build.
    Preflight,
    /// Copies what is there.
    Publish,
    /// The way back after a failure.
    Cleanup,
}

/// What to do, with all that it takes.
#[derive(Debug)]
pub enum Request {
    /// Make an index, and sign it where `signing` says so (`seal`; `create` never signs).
    Seal(Seal),
    /// Sign what is there.
    Sign(Sign),
    /// Check what is there.
    Verify(Verify),
    /// Look whether anything is there, and change nothing.
    Preflight(Preflight),
    /// Copy what is there.
    Publish(Publish),
    /// Take back what the record says was written.
    Cleanup(Cleanup),
}

/// The commands `seal` and `create`.
#[derive(Debug)]
pub struct Seal {
    /// Where the index goes: every repository that a tag is in, else `image`. Never empty; the first is the one that is
    /// told of where there is room for one.
    pub destinations: Vec<Repository>,
    /// What the index is made of, without duplicates, in the order given.
    pub digests: Vec<Given>,
    /// Every repository that was named: a child that its own has lost may be in another.
    pub sources: Vec<Repository>,
    /// Tags that must never change.
    pub tags: Vec<FullTag>,
    /// Tags that may.
    pub moving_tags: Vec<FullTag>,
    /// The platforms that must be there, where that was said.
    pub platforms: Option<BTreeSet<Platform>>,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// Which kind of index.
    pub media_type: IndexType,
    /// Whether and how to sign.
    pub signing: Option<Signing>,
    /// What comes first, tags or signatures.
    pub order: Order,
}

/// One of the digests that an index is made of. Only inputs make one: it vouches for its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    repository: Repository,
    digest: Digest,
}

/// Something that an input names. Only inputs make one: they vouch for what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T>(T);

impl<T> Named<T> {
    /// Something that no input names.
    #[cfg(test)]
    pub(crate) fn invented(named: T) -> Self {
        Self(named)
    }
}

impl<T> std::ops::Deref for Named<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Given {
    /// The repository in which it is said to be.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// The command `sign`.
#[derive(Debug)]
pub struct Sign {
    /// What to sign.
    pub what: Subjects,
    /// How.
    pub signing: Signing,
}

/// The command `verify`.
#[derive(Debug)]
pub struct Verify {
    /// What to verify; always a tag or a digest.
    pub image: ImageReference,
    /// Whether its children must be signed too.
    pub depth: Depth,
    /// Who must have signed.
    pub policy: PolicyInputs,
}

/// What a `sign` run signs.
#[derive(Debug)]
pub enum Subjects {
    /// The image named.
    Image(Named<ImageReference>),
    /// Every digest of the record; only those of the repository where one is named.
    Record(Option<Repository>),
}

/// How to sign.
#[derive(Debug, Clone)]
pub struct Signing {
    /// What is signed.
    pub depth: Depth,
    /// In which formats.
    pub formats: Formats,
    /// What an outage of Sigstore means.
    pub on_failure: OnSigningFailure,
    /// Whose signature counts as already there.
    pub policy: PolicyInputs,
}

/// Who must have signed, as far as the inputs say.
#[derive(Debug, Clone, Default)]
pub struct PolicyInputs {
    /// The identity.
    pub identity: Option<Matcher>,
    /// The issuer.
    pub issuer: Option<Matcher>,
    /// GitHub's extensions.
    pub github: GithubClaims,
}

/// The formats in which a run signs. What is signed already in either of them stays as it is, except that `Both` adds the
/// one that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formats {
    /// A Sigstore bundle.
    Bundle,
    /// Cosign's older format.
    Legacy,
    /// Both, one beside the other.
    Both,
}

impl Seal {
    /// Where else a child may be that `destination` lacks, the likeliest first.
    #[must_use]
    pub fn sources_for(&self, destination: &Repository) -> Vec<Repository> {
        let sources = self.sources.iter();
        let others = sources.filter(|source| *source != destination);
        others.cloned().collect()
    }
}

impl PolicyInputs {
    fn says_anything(&self) -> bool {
        self.identity.is_some() || self.issuer.is_some() || self.github != GithubClaims::default()
    }
}

impl Formats {
    /// Each of them.
    #[must_use]
    pub fn each(self) -> &'static [SignatureFormat] {
        match self {
            Self::Bundle => &[SignatureFormat::Bundle],
            Self::Legacy => &[SignatureFormat::Legacy],
            Self::Both => &[SignatureFormat::Bundle, SignatureFormat::Legacy],
        }
    }
}

/// How deep signing and verifying go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The digest itself.
    Itself,
    /// The digest and every child of it.
    Children,
}

/// What an outage of Sigstore means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSigningFailure {
    /// The run fails.
    Fail,
    /// The tags are written, and a warning says that they are unsigned.
    Warn,
}

/// Which kind of index to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexType {
    /// Docker's list if every child is Docker's and there are no annotations, else OCI.
    Auto,
    /// An OCI index.
    Oci,
    /// Docker's manifest list.
    Docker,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Signatures, so that nobody can pull an unsigned index by its tag.
    SignThenTag,
    /// Tags, for registries that drop what has none.
    TagThenSign,
}

/// How inputs that name files are read. Relative paths are the workspace's.
pub struct Files<'a> {
    /// Reads a file; the size is bounded.
    pub read: &'a dyn Fn(&str) -> std::io::Result<Vec<u8>>,
    /// Where a file or folder is.
    pub path: &'a dyn Fn(&str) -> PathBuf,
    /// Lists the names of the files in a folder.
    pub list: &'a dyn Fn(&str) -> std::io::Result<Vec<String>>,
}

/// One thing wrong with the inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input `{input}`: {problem}")]
pub struct InputError {
    /// The input's name, as in action.yml.
    pub input: &'static str,
    /// What is wrong, and what was expected.
    pub problem: String,
}

/// Everything wrong with the inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InputErrors(pub Vec<InputError>);

impl Inputs {
    /// Reads all inputs, or says everything that is wrong with them.
    pub fn parse(raw: &RawInputs, files: &Files<'_>) -> Result<Self, InputErrors> {
        let mut fields = Fields::new(raw, files);
        let command = requests::command(&mut fields);
        let request =
            command.and_then(|command| Some((command, requests::request(&mut fields, command)?)));
        let settings = settings::settings(&mut fields);
        match (request, fields.finish()) {
            (Some((command, request)), Ok(())) => Ok(Self {
                command,
                request,
                settings,
            }),
            (_, Err(errors)) => Err(errors),
            (None, Ok(())) => Err(InputErrors(vec![InputError {
                input: "command",
                problem: "the inputs do not say what to do".to_owned(),
            }])),
        }
    }
}

#[cfg(test)]
mod tests;
