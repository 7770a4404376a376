//! A registry in which images are built and signed, and one in which they are published.

use sandbox::{Options, Referrers, Registry};
use serde_json::{Value, json};

use super::{Action, MANIFEST, Outcome, REPOSITORY, World, descriptor};

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

/// Returns the entry for `name` in the output `referrers`.
pub(crate) fn said(outcome: &Outcome, name: &str) -> Value {
    let all = outcome.json("referrers");
    let mut all = all.as_array().unwrap().iter();
    let found = all.find(|one| one["referrer"] == name);
    found
        .unwrap_or_else(|| panic!("{name}: {}", outcome.output("referrers")))
        .clone()
}

/// Attaches an SBOM, as anybody with push permission can. Returns its digest.
pub(crate) fn sbom(pipeline: &Pipeline, subject: &str) -> String {
    let world = &pipeline.world;
    let registry = world.registry();
    let config = registry.push_blob(REPOSITORY, b"{}");
    let layer = registry.push_blob(REPOSITORY, b"an sbom");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/spdx+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/spdx+json", "digest": layer, "size": 7}],
        "subject": descriptor(world, subject),
    });
    registry.push_raw(REPOSITORY, None, MANIFEST, manifest.to_string().as_bytes())
}

/// Reports whether the destination has the manifest.
pub(crate) fn is_there(pipeline: &Pipeline, digest: &str) -> bool {
    pipeline.target.manifest(TARGET, digest).is_some()
}
