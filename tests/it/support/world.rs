//! A registry with two platform images, a Sigstore, and the workflow that uses both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sandbox::{Image, Kind, Options, Registry, Request, Sandbox, Sigstore};
use serde_json::Value;

use super::{Action, Outcome};

/// The repository of the tests' images.
pub(crate) const REPOSITORY: &str = "octo-org/app";

/// The sandbox of a test, and two images in it.
pub(crate) struct World {
    sandbox: Sandbox,
    /// An image for linux/amd64.
    pub(crate) amd64: Image,
    /// An image for linux/arm64.
    pub(crate) arm64: Image,
}

impl World {
    /// Creates a world with a registry without authentication that has the referrers API.
    pub(crate) fn new() -> Self {
        Self::with(Options::new())
    }

    /// Creates a world with this kind of registry.
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

    /// Returns `127.0.0.1:PORT/octo-org/app`.
    pub(crate) fn image(&self) -> String {
        self.registry().repository(REPOSITORY)
    }

    /// Returns the image by tag or digest.
    pub(crate) fn at(&self, reference: &str) -> String {
        let sign = if reference.contains(':') { '@' } else { ':' };
        format!("{}{sign}{reference}", self.image())
    }

    /// Returns a run of `create` for both images and the tag `v1`.
    pub(crate) fn create(&self) -> Action {
        let digests = [self.amd64.digest.as_str(), &self.arm64.digest];
        Action::new("create")
            .input("image", self.image())
            .input("digests", digests.join("\n"))
            .input("tags", "v1")
    }

    /// Returns a run of `seal` for both images and the tag `v1`, in a job that has `id-token: write`.
    pub(crate) fn seal(&self) -> Action {
        self.signing(self.create().input("command", "seal"))
    }

    /// Returns a run of `sign` for `reference`, in a job that has `id-token: write`.
    pub(crate) fn sign(&self, reference: &str) -> Action {
        self.signing(Action::new("sign").input("image", self.at(reference)))
    }

    /// Returns a run of `preflight` for the tag `v1`, in a job that has `id-token: write`. It needs no signing config.
    pub(crate) fn preflight(&self) -> Action {
        let action = Action::new("preflight")
            .input("image", self.image())
            .input("tags", "v1");
        self.signing(action).input("signing-config", "")
    }

    /// Returns a run of `verify` for `reference` that requires this workflow's signature.
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

    /// Runs `act` as the workflow `file` of this or another repository, then restores the usual workflow.
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

    /// Returns the digest that `tag` points to.
    pub(crate) fn tag(&self, tag: &str) -> Option<String> {
        self.tags().remove(tag)
    }

    /// Returns every tag except those that list referrers.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.registry().tags(REPOSITORY);
        tags.retain(|tag, _| !tag.starts_with("sha256-"));
        tags
    }

    /// Returns a manifest as JSON.
    pub(crate) fn manifest(&self, reference: &str) -> Value {
        manifest(self.registry(), REPOSITORY, reference)
    }

    /// Returns the digests of everything listed as a referrer of `digest`.
    pub(crate) fn listed(&self, digest: &str) -> Vec<String> {
        listed(self.registry(), REPOSITORY, digest)
    }

    /// Returns the write requests to the registry, in order, as text.
    pub(crate) fn writes(&self) -> Vec<String> {
        let requests = self.registry().requests();
        let writes = requests.iter().filter(|request| is_write(request));
        writes.map(|request| wire(request, &self.names())).collect()
    }

    /// Counts the requests to Fulcio for a certificate.
    pub(crate) fn certificates(&self) -> usize {
        self.asked("POST", "/api/v2/signingCert")
    }

    /// Counts the requests `method path` to Sigstore.
    pub(crate) fn asked(&self, method: &str, path: &str) -> usize {
        let requests = self.sigstore().requests();
        let asked = |request: &&Request| request.method == method && request.path.starts_with(path);
        requests.iter().filter(asked).count()
    }

    /// Returns values that differ from run to run, or have no meaning for a reader, with their names.
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

/// Returns a manifest as JSON.
pub(crate) fn manifest(registry: &Registry, repository: &str, reference: &str) -> Value {
    let (_, bytes) = registry.manifest(repository, reference).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Returns the digests of everything listed as a referrer of `digest`: by the referrers tag if it exists, else as the API would
/// list them.
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

/// Returns a request as text: `PUT manifests/v1`.
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

/// Waits until another process reaches a state.
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

/// Runs `action`. Returns the digest of its index.
pub(crate) fn created(action: &Action) -> String {
    action.succeed().output("digest").to_owned()
}

/// The values of `on-existing-tag`.
pub(crate) const POLICIES: [&str; 3] = ["fail", "skip", "warn"];

/// Returns the state of each tag, in the order of the inputs.
pub(crate) fn states(outcome: &Outcome) -> Vec<String> {
    let states = outcome.json("states");
    let states = states.as_object().unwrap();
    let word = |state: &Value| state["state"].as_str().unwrap().to_owned();
    states.values().map(word).collect()
}
