//! The parameters of `seal`, `create`, `sign` and `verify`, and the values that several commands share.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{
    FullTag, GithubClaims, ImageReference, Matcher, Platform, Reference, Repository,
    SignatureFormat,
};

/// The input `command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Makes an index, signs it and writes its tags.
    Seal,
    /// Makes an index and writes its tags.
    Create,
    /// Signs existing images.
    Sign,
    /// Verifies an image.
    Verify,
    /// Checks the tags before a build.
    Preflight,
    /// Copies existing images.
    Publish,
    /// Reverts the tags after a failure.
    Cleanup,
}

/// The commands `seal` and `create`.
#[derive(Debug)]
pub struct Seal {
    /// The repositories that get the index: those of the tags, else `image`. Never empty. Reports with room for only one
    /// repository name the first.
    pub destinations: Vec<Repository>,
    /// The parts of the index, without duplicates, in the given order.
    pub digests: Vec<Given>,
    /// Every repository that was named: a child that is lost in its own repository may be in another.
    pub sources: Vec<Repository>,
    /// Tags that must never move.
    pub tags: Vec<FullTag>,
    /// Tags that may move.
    pub moving_tags: Vec<FullTag>,
    /// The platforms that must be present, if they were given.
    pub platforms: Option<BTreeSet<Platform>>,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// The media type of the index.
    pub media_type: IndexType,
    /// The signing parameters; `None` to leave the index unsigned.
    pub signing: Option<Signing>,
    /// The order of tags and signatures.
    pub order: Order,
}

/// One of the parts that form an index, named by its digest or by a tag. Only inputs create one: they vouch for the
/// digest, or for the digest that the tag has when a run resolves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub(super) repository: Repository,
    pub(super) reference: Reference,
}

/// A value that an input names. Only inputs create one: they vouch for the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T>(pub(super) T);

impl<T> Named<T> {
    /// Wraps a value that no input names.
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
    /// Makes a part that no input names.
    #[cfg(test)]
    pub(crate) fn invented(repository: Repository, reference: Reference) -> Self {
        Self {
            repository,
            reference,
        }
    }

    /// Returns the repository that is given for the part.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the digest or the tag.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }
}

/// The command `sign`.
#[derive(Debug)]
pub struct Sign {
    /// The images to sign.
    pub what: Subjects,
    /// The signing parameters.
    pub signing: Signing,
}

/// The command `verify`.
#[derive(Debug)]
pub struct Verify {
    /// The image to verify; always with a tag or a digest.
    pub image: ImageReference,
    /// The verification depth: the image alone, or its children too.
    pub depth: Depth,
    /// The policy for signatures.
    pub policy: PolicyInputs,
}

/// The subjects of a `sign` run.
#[derive(Debug)]
pub enum Subjects {
    /// The named image.
    Image(Named<ImageReference>),
    /// Every digest of the record; only those of one repository if that is given.
    Record(Option<Repository>),
}

/// The parameters of signing.
#[derive(Debug, Clone)]
pub struct Signing {
    /// The signing depth.
    pub depth: Depth,
    /// The signature formats.
    pub formats: Formats,
    /// The reaction to an outage of Sigstore.
    pub on_failure: OnSigningFailure,
    /// The policy by which an existing signature counts.
    pub policy: PolicyInputs,
}

/// The inputs that select the required signer.
#[derive(Debug, Clone, Default)]
pub struct PolicyInputs {
    /// The identity in the certificate.
    pub identity: Option<Matcher>,
    /// The OIDC issuer.
    pub issuer: Option<Matcher>,
    /// The values of GitHub's certificate extensions.
    pub github: GithubClaims,
}

/// The formats in which a run signs. A subject with a signature in either format is not signed again, except that `Both`
/// adds the missing format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formats {
    /// A Sigstore bundle.
    Bundle,
    /// Cosign's older format (`legacy`).
    Legacy,
    /// Both formats.
    Both,
}

impl Seal {
    /// Returns other repositories that may contain a child that `destination` lacks, the likeliest first.
    #[must_use]
    pub fn sources_for(&self, destination: &Repository) -> Vec<Repository> {
        let sources = self.sources.iter();
        let others = sources.filter(|source| *source != destination);
        others.cloned().collect()
    }
}

impl PolicyInputs {
    pub(super) fn says_anything(&self) -> bool {
        self.identity.is_some() || self.issuer.is_some() || self.github != GithubClaims::default()
    }
}

impl Formats {
    /// Returns each format.
    #[must_use]
    pub fn each(self) -> &'static [SignatureFormat] {
        match self {
            Self::Bundle => &[SignatureFormat::Bundle],
            Self::Legacy => &[SignatureFormat::Legacy],
            Self::Both => &[SignatureFormat::Bundle, SignatureFormat::Legacy],
        }
    }
}

/// The depth of signing and verifying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The digest itself.
    Itself,
    /// The digest and every child of it.
    Children,
}

/// The reaction of a run to an outage of Sigstore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSigningFailure {
    /// The run fails.
    Fail,
    /// The tags are written, and a warning reports that they are unsigned.
    Warn,
}

/// The media type of the index to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexType {
    /// Docker's manifest list if every child is Docker's and there are no annotations, else OCI.
    Auto,
    /// An OCI index.
    Oci,
    /// Docker's manifest list.
    Docker,
}

/// The order of tags and signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Signatures first, so that no one can pull an unsigned index by its tag.
    SignThenTag,
    /// Tags first, for registries that drop untagged manifests.
    TagThenSign,
}
