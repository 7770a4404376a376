//! A registry with two platform images, a Sigstore, and the workflow that uses both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sandbox::{Image, Kind, Options, Registry, Request, Sandbox, Sigstore};
use serde_json::Value;

use super::Action;

/// The repository that everything happens in.
pub(crate) const REPOSITORY: &str = "octo-org/app";

/// What the tests happen in.
pub(crate) struct World {
    sandbox: Sandbox,
    /// An image for linux/amd64.
    pub(crate) amd64: Image,
    /// An image for linux/arm64.
    pub(crate) arm64: Image,
}

impl World {
    /// One with an open registry that has the referrers API.
    pub(crate) fn new() -> Self {
        Self::with(Options::new())
    }

    /// One with this kind of registry.
    pub(crate) fn with(options: Options) -> Self {
        let sandbox = Sandbox::with(options);
        let push = |platform| sandbox.registry.push_image(REPOSITORY, platform, Kind::Oci);
        Self {
            amd64: push("linux/amd64"),
            arm64: push("linux/arm64"),
            sandbox,
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.sandbox.registry
    }

    pub(crate) fn sigstore(&self) -> &Sigstore {
        &self.sandbox.sigstore
    }

    /// `127.0.0.1:PORT/octo-org/app`.
    pub(crate) fn image(&self) -> String {
        self.registry().repository(REPOSITORY)
    }

    /// The image by tag or digest.
    pub(crate) fn at(&self, reference: &str) -> String {
        let sign = if reference.contains(':') { '@' } else { ':' };
        format!("{}{sign}{reference}", self.image())
    }

    /// A run of `create` for both images and the tag `v1`.
    pub(crate) fn create(&self) -> Action {
        let digests = [self.amd64.digest.as_str(), &self.arm64.digest];
        Action::new("create")
            .input("image", self.image())
            .input("digests", digests.join("\n"))
            .input("tags", "v1")
    }

    /// A run of `seal` for both images and the tag `v1`, in a job that has `id-token: write`.
    pub(crate) fn seal(&self) -> Action {
        self.signing(self.create().input("command", "seal"))
    }

    /// A run of `sign` for `reference`, in a job that has `id-token: write`.
    pub(crate) fn sign(&self, reference: &str) -> Action {
        self.signing(Action::new("sign").input("image", self.at(reference)))
    }

    /// A run of `preflight` for the tag `v1`, in a job that has `id-token: write`; it needs no signing config.
    pub(crate) fn preflight(&self) -> Action {
        let action = Action::new("preflight")
            .input("image", self.image())
            .input("tags", "v1");
        self.signing(action).input("signing-config", "")
    }

    /// A run of `verify` for `reference` that asks for this workflow's signature.
    pub(crate) fn verify(&self, reference: &str) -> Action {
        Action::new("verify")
            .input("image", self.at(reference))
            .input("trusted-root", self.sigstore().trusted_root())
            .input("certificate-identity", self.sigstore().identity())
            .input("certificate-oidc-issuer", self.sigstore().issuer())
    }

    fn signing(&self, mut action: Action) -> Action {
        for (name, value) in self.sigstore().github_env() {
            action = action.env(&name, value);
        }
        action
            .input("trusted-root", self.sigstore().trusted_root())
            .input("signing-config", self.sigstore().signing_config())
    }

    /// Runs `act` as the workflow `file` of this or another repository, then goes back to the usual one.
    pub(crate) fn as_workflow<T>(
        &self,
        workflow: &str,
        repository: &str,
        act: impl FnOnce() -> T,
    ) -> T {
        let usual = "octo-org/octo-app/.github/workflows/release.yml@refs/heads/main";
        self.sigstore().set_claim("job_workflow_ref", workflow);
        self.sigstore().set_claim("repository", repository);
        let result = act();
        self.sigstore().set_claim("job_workflow_ref", usual);
        self.sigstore().set_claim("repository", "octo-org/octo-app");
        result
    }

    /// What `tag` holds.
    pub(crate) fn tag(&self, tag: &str) -> Option<String> {
        self.tags().remove(tag)
    }

    /// Every tag but those that list referrers.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.registry().tags(REPOSITORY);
        tags.retain(|tag, _| !tag.starts_with("sha256-"));
        tags
    }

    /// A manifest as JSON.
    pub(crate) fn manifest(&self, reference: &str) -> Value {
        manifest(self.registry(), REPOSITORY, reference)
    }

    /// The digests of everything that is listed as referring to `digest`.
    pub(crate) fn listed(&self, digest: &str) -> Vec<String> {
        listed(self.registry(), REPOSITORY, digest)
    }

    /// Every request that changed something in the registry, in order, in words.
    pub(crate) fn writes(&self) -> Vec<String> {
        let requests = self.registry().requests();
        let writes = requests.iter().filter(|request| is_write(request));
        writes.map(|request| wire(request, &self.names())).collect()
    }

    /// How often Fulcio was asked for a certificate.
    pub(crate) fn certificates(&self) -> usize {
        self.asked("POST", "/api/v2/signingCert")
    }

    /// How often Sigstore was asked `method path`.
    pub(crate) fn asked(&self, method: &str, path: &str) -> usize {
        let requests = self.sigstore().requests();
        let asked = |request: &&Request| request.method == method && request.path.starts_with(path);
        requests.iter().filter(asked).count()
    }

    /// Values that differ from run to run, or say nothing to a reader, and what to call them.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let mut names = vec![
            (self.registry().address(), "[REGISTRY]".to_owned()),
            (self.sigstore().url(), "[SIGSTORE]".to_owned()),
            (self.amd64.digest.clone(), "[AMD64]".to_owned()),
            (self.arm64.digest.clone(), "[ARM64]".to_owned()),
        ];
        for (tag, digest) in self.tags() {
            if !names.iter().any(|(known, _)| *known == digest) {
                names.push((digest, format!("[INDEX {tag}]")));
            }
        }
        names
    }
}

/// A manifest as JSON.
pub(crate) fn manifest(registry: &Registry, repository: &str, reference: &str) -> Value {
    let (_, bytes) = registry.manifest(repository, reference).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The digests of everything that is listed as referring to `digest`: by the fallback tag where there is one, else by what
/// the API would list.
pub(crate) fn listed(registry: &Registry, repository: &str, digest: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tag = digest.replace(':', "-");
    if registry.tags(repository).contains_key(&tag) {
        let list = manifest(registry, repository, &tag);
        let entries = list["manifests"].as_array().unwrap();
        return entries.iter().map(|entry| text(&entry["digest"])).collect();
    }
    let mut all = registry.manifests(repository);
    all.retain(|known| manifest(registry, repository, known)["subject"]["digest"] == digest);
    all
}

fn is_write(request: &Request) -> bool {
    !matches!(request.method.as_str(), "GET" | "HEAD") && !request.path.starts_with("/token")
}

/// A request in words: `PUT manifests/v1`.
fn wire(request: &Request, names: &[(String, String)]) -> String {
    let path = request.path.split('?').next().unwrap();
    let mut text = request.method.clone();
    let prefix = format!("/v2/{REPOSITORY}/");
    let _ = write!(text, " {}", path.strip_prefix(&prefix).unwrap_or(path));
    for (value, name) in names {
        text = text.replace(value, name);
    }
    text
}

/// Waits for another process to get somewhere.
pub(crate) fn until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{what} never came"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}
