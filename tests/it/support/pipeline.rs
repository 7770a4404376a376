//! A registry in which images are built and signed, and one in which they are published.

use sandbox::{Options, Referrers, Registry};

use super::{Action, World};

/// The repository where images are published.
pub(crate) const TARGET: &str = "prod/app";

pub(crate) fn target(referrers: Referrers) -> Registry {
    Registry::start(Options::new().referrers(referrers))
}

/// A registry in which images are built and signed, and one in which they are published.
pub(crate) struct Pipeline {
    pub(crate) world: World,
    pub(crate) target: Registry,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        Self {
            world: World::new(),
            target: target(Referrers::TagSchema),
        }
    }

    /// Returns `prod/app:tag` in the registry where images are published.
    pub(crate) fn there(&self, reference: &str) -> String {
        let sign = if reference.contains(':') { '@' } else { ':' };
        format!("{}{sign}{reference}", self.target.repository(TARGET))
    }

    /// Makes an unsigned index without a tag. Returns the run and the digest of the index.
    pub(crate) fn create(&self) -> (Action, String) {
        let create = self.world.create().input("tags", "");
        let index = create.succeed().output("digest").to_owned();
        (create, index)
    }

    /// Makes an index without a tag, and signs it with its children. Returns the run and the digest of the index.
    pub(crate) fn build(&self) -> (Action, String) {
        let (create, index) = self.create();
        let sign = self.world.sign(&index).input("recursive", "true");
        sign.succeed();
        (create, index)
    }

    /// Returns a run of `publish` of `source` to `v1` and the moving `latest`.
    pub(crate) fn publish(&self, source: &str) -> Action {
        Action::new("publish")
            .input("source", source)
            .input("tags", self.there("v1"))
            .input("moving-tags", self.there("latest"))
    }

    /// Returns a run of `publish` that also verifies signatures.
    pub(crate) fn checked(&self, source: &str) -> Action {
        let sigstore = self.world.sigstore();
        self.publish(source)
            .input("trusted-root", sigstore.trusted_root())
            .input("certificate-identity", sigstore.identity())
            .input("certificate-oidc-issuer", sigstore.issuer())
            .input("recursive", "true")
    }

    /// Returns every manifest there, except the lists of referrers and signatures.
    pub(crate) fn manifests_there(&self) -> Vec<String> {
        let tags = self.target.tags(TARGET);
        let mut held = self.target.manifests(TARGET);
        held.retain(|digest| {
            let mut names = tags.iter().filter(|(_, held)| *held == digest).peekable();
            names.peek().is_none() || names.any(|(tag, _)| !tag.starts_with("sha256-"))
        });
        held.sort();
        held
    }

    /// Returns the write requests there.
    pub(crate) fn writes_there(&self) -> Vec<String> {
        let requests = self.target.requests().into_iter();
        let writes = requests.filter(|request| !["GET", "HEAD"].contains(&request.method.as_str()));
        writes
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }
}
