//! The initial state of a cell of the grid: a command, and a registry of some kind that also contains others' content. Also the
//! expected state once the command has finished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use sandbox::{Kind as ImageKind, Registry, Signatures, Snapshot};

use super::axes::{Added, Command, Server};
use super::kinds::{Kind, USER};
use crate::support::hosted::{PASSWORD, auths};
use crate::support::{Action, REPOSITORY, World, cleanup};

/// The repository that `publish` writes to.
const TARGET: &str = "prod/app";
/// The file that contains a run's record.
pub(super) const RECORD: &str = "manifest-seal.json";
/// The time for which an absent list is read again, and the number of reads in which a late one is absent.
const PROPAGATION: &str = "600ms";
const LATE_READS: u32 = 2;
/// A tag of somebody else.
const BYSTANDER: &str = "bystander";

pub(super) struct Setup {
    pub(super) command: Command,
    pub(super) kind: Kind,
    world: World,
    target: Option<Registry>,
    action: Action,
    record: Option<Vec<u8>>,
    start: Snapshot,
    source: Option<Snapshot>,
    /// The number of requests that a run without faults sends to each server.
    pub(super) requests: BTreeMap<Server, u64>,
    /// The numbers, from 1, of the requests that write a manifest to the registry that is changed.
    pub(super) manifest_writes: Vec<u64>,
    /// The numbers of the requests to that registry that only its kind gets.
    pub(super) particular_requests: Vec<u64>,
    /// The duration of a run without faults.
    pub(super) duration: Duration,
    pub(super) wanted: Wanted,
}

/// The expected state in the end.
pub(super) struct Wanted {
    /// The digest of the index.
    pub(super) digest: String,
    /// The tags, except those that list signatures.
    pub(super) tags: BTreeMap<String, String>,
    /// The tags before the command runs, except those that list signatures.
    pub(super) earlier: BTreeMap<String, String>,
    /// The signatures before the run, and the number of each format that it adds, by digest.
    pub(super) signatures: BTreeMap<String, (Signatures, Added)>,
    /// The manifests that must exist.
    pub(super) manifests: BTreeSet<String>,
}

impl Setup {
    pub(super) fn new(command: Command, kind: Kind) -> Self {
        let world = World::with(kind.options());
        if command == Command::SealTimestamp {
            world.sigstore().offer_timestamps();
        } else if command == Command::SealRekor2 {
            world.sigstore().offer_rekor_v2();
        }
        let target = (command == Command::Publish).then(|| Registry::start(kind.options()));
        let mut setup = Self {
            action: Action::new("verify"),
            start: world.registry().snapshot(),
            source: None,
            command,
            kind,
            world,
            target,
            record: None,
            requests: BTreeMap::new(),
            manifest_writes: Vec::new(),
            particular_requests: Vec::new(),
            duration: Duration::ZERO,
            wanted: Wanted {
                digest: String::new(),
                tags: BTreeMap::new(),
                earlier: BTreeMap::new(),
                signatures: BTreeMap::new(),
                manifests: BTreeSet::new(),
            },
        };
        setup.prepare();
        setup.begin_again();
        setup.count();
        setup.begin_again();
        setup
    }

    /// Returns the registry that is changed, and the repository there.
    pub(super) fn registry(&self) -> (&Registry, &'static str) {
        match &self.target {
            Some(target) => (target, TARGET),
            None => (self.world.registry(), REPOSITORY),
        }
    }

    fn repository(&self, reference: &str) -> String {
        let (registry, repository) = self.registry();
        format!("{}:{reference}", registry.repository(repository))
    }

    fn repositories(&self, tags: &[&str]) -> String {
        let references = tags.iter().map(|tag| self.repository(tag));
        references.collect::<Vec<_>>().join("\n")
    }

    /// Returns the fixed tags and the moving ones that the command writes.
    fn tags(&self) -> [&'static [&'static str]; 2] {
        if self.kind.has_many_tags() {
            [&["v1", "v1.0"], &["latest", "edge"]]
        } else {
            [&["v1"], &["latest"]]
        }
    }

    /// Returns `action` with the credentials that this kind of registry requires.
    fn admitted(&self, action: Action) -> Action {
        let registries = [Some(self.world.registry()), self.target.as_ref()];
        let auths: Vec<serde_json::Value> = registries
            .into_iter()
            .flatten()
            .map(|registry| auths(&registry.address(), USER, PASSWORD))
            .map(|list| serde_json::from_str::<serde_json::Value>(&list).unwrap()[0].take())
            .collect();
        if self.kind.requires_credentials() {
            action.input("registry-auths", serde_json::json!(auths).to_string())
        } else {
            action
        }
    }

    fn prepare(&mut self) {
        let created = self
            .admitted(self.world.create().input("tags", ""))
            .succeed();
        let digest = created.output("digest").to_owned();
        self.add_others_content(&digest);
        let formatted = |action: Action| {
            let action = action.input("signature-format", self.command.format());
            action.input("recursive", self.command.is_recursive().to_string())
        };
        let seal = formatted(self.admitted(self.world.seal()));
        let [fixed, moving] = self.tags();
        let seal = seal.input("tags", fixed.join("\n"));
        let seal = seal.input("moving-tags", moving.join("\n"));
        let action = match self.command {
            Command::SealBundle
            | Command::SealLegacy
            | Command::SealBoth
            | Command::SealRecursive
            | Command::SealTimestamp
            | Command::SealRekor2 => {
                // Others wrote a late list for an image that they found.
                if self.kind != Kind::LateList {
                    self.world.registry().delete_manifest(REPOSITORY, &digest);
                }
                seal
            }
            Command::SealAgain => {
                self.record = Some(sealed(&seal));
                seal
            }
            Command::SealElsewhere => {
                seal.succeed();
                seal
            }
            Command::Verify => {
                seal.succeed();
                self.verify()
            }
            Command::Cleanup => {
                // A cleanup deletes only content that its run created.
                self.world.registry().delete_manifest(REPOSITORY, &digest);
                self.wanted.tags = self.world.tags();
                self.record = Some(sealed(&seal));
                cleanup(&seal)
            }
            Command::Publish => {
                formatted(self.admitted(self.world.sign(&digest))).succeed();
                let verify = self.admitted(self.world.verify("v1")).input("image", "");
                verify
                    .input("command", "publish")
                    .input("recursive", "true")
                    .input("source", self.world.at(&digest))
                    .input("tags", self.repositories(fixed))
                    .input("moving-tags", self.repositories(moving))
            }
        };
        self.add_dead_entries();
        // A wait that a server requests is limited to this.
        self.action = action.input("retry-max-delay", "20ms");
        if self.kind.has_dead_entry() || self.kind == Kind::LateList {
            self.action = self.action.clone().input("propagation", PROPAGATION);
        }
        self.hide_lists();
        self.start = self.registry().0.snapshot();
        self.source = self
            .target
            .as_ref()
            .map(|_| self.world.registry().snapshot());
        self.want(digest);
    }

    /// Adds a tag and signatures of somebody else, and an earlier index under `latest`.
    fn add_others_content(&self, digest: &str) {
        let (registry, repository) = self.registry();
        let other = self
            .world
            .registry()
            .push_image(REPOSITORY, "linux/s390x", ImageKind::Oci);
        let signed = if self.command.has_company() {
            digest
        } else {
            &self.world.amd64.digest
        };
        let workflow = "octo-org/other/.github/workflows/nightly.yml@refs/heads/main";
        self.world.as_workflow(workflow, "octo-org/other", || {
            for one in [signed, &other.digest] {
                let sign = self.admitted(self.world.sign(one));
                sign.input("signature-format", "both").succeed();
            }
        });
        let other = if self.target.is_some() {
            let theirs = registry.push_image(repository, "linux/s390x", ImageKind::Oci);
            registry.tag(repository, "latest", &theirs.digest);
            self.countersign(digest);
            theirs
        } else {
            let earlier = self.world.create().input("tags", "");
            let earlier = earlier.input("digests", &other.digest);
            self.admitted(earlier.input("moving-tags", "latest"))
                .succeed();
            other
        };
        registry.tag(repository, BYSTANDER, &other.digest);
    }

    /// Adds signatures of the index at the destination of `publish`. Their signer had the index there before, and the source
    /// does not have these signatures.
    fn countersign(&self, digest: &str) {
        let (target, repository) = self.registry();
        let (media_type, bytes) = self.world.registry().manifest(REPOSITORY, digest).unwrap();
        target.push_raw(repository, None, &media_type, &bytes);
        let workflow = "octo-org/audit/.github/workflows/approve.yml@refs/heads/main";
        self.world.as_workflow(workflow, "octo-org/audit", || {
            let sign = self.admitted(self.world.sign(digest));
            let there = format!("{}@{digest}", target.repository(repository));
            let sign = sign.input("image", there);
            sign.input("signature-format", "both").succeed();
        });
        if self.kind != Kind::LateList {
            target.delete_manifest(repository, digest);
        }
    }

    /// Adds an entry without a manifest to each list of signatures in the registry that is changed.
    fn add_dead_entries(&self) {
        if !self.kind.has_dead_entry() {
            return;
        }
        let (registry, repository) = self.registry();
        for tag in self.lists() {
            let (media_type, bytes) = registry.manifest(repository, &tag).unwrap();
            let mut list: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let entries = list["manifests"].as_array_mut().unwrap();
            let mut dead = entries[0].clone();
            let digest = dead["digest"].as_str().unwrap();
            let reversed: String = digest["sha256:".len()..].chars().rev().collect();
            dead["digest"] = format!("sha256:{reversed}").into();
            entries.push(dead);
            let bytes = list.to_string();
            registry.push_raw(repository, Some(&tag), &media_type, bytes.as_bytes());
        }
    }

    /// Makes each list of signatures absent in its first reads, as if it was written just before the run.
    fn hide_lists(&self) {
        if self.kind != Kind::LateList {
            return;
        }
        let (registry, repository) = self.registry();
        let tags = registry.tags(repository);
        registry.set_lag(LATE_READS);
        for tag in self.lists() {
            registry.delete_tag(repository, &tag);
            registry.tag(repository, &tag, &tags[&tag]);
        }
        registry.set_lag(0);
    }

    /// Returns the referrers tags in the registry that is changed.
    fn lists(&self) -> Vec<String> {
        let (registry, repository) = self.registry();
        let tags = registry.tags(repository).into_keys();
        tags.filter(|tag| tag.starts_with("sha256-") && !tag.contains(".sig"))
            .collect()
    }

    fn want(&mut self, digest: String) {
        let (registry, repository) = self.registry();
        let children = [&self.world.amd64.digest, &self.world.arm64.digest];
        let mut signatures = BTreeMap::new();
        for subject in [&digest].into_iter().chain(children) {
            let before = registry.signatures(repository, subject);
            let is_countersigned = !before.bundles.is_empty() && !before.legacy.is_empty();
            assert!(is_countersigned || self.command != Command::Publish || *subject != digest);
            let added = if self.command == Command::Publish {
                // Everything that anybody signed at the source must be at the destination afterwards.
                let source = self.world.registry().signatures(REPOSITORY, subject);
                assert!(!source.bundles.is_empty(), "{source:?}");
                Added {
                    bundles: source.bundles.len(),
                    legacy: source.legacy.len(),
                }
            } else if *subject != digest && !self.command.is_recursive() {
                Added::default()
            } else {
                self.command.adds()
            };
            signatures.insert(subject.clone(), (before, added));
        }
        let mut tags = registry.tags(repository);
        tags.retain(|tag, _| !tag.starts_with("sha256-"));
        let earlier = tags.clone();
        if self.command == Command::Cleanup {
            tags.clone_from(&self.wanted.tags);
        } else {
            let written = self.tags().concat().into_iter();
            tags.extend(written.map(|tag| (tag.to_owned(), digest.clone())));
        }
        assert!(tags.contains_key(BYSTANDER), "{tags:?}");
        let mut manifests: BTreeSet<String> = registry.manifests(repository).into_iter().collect();
        manifests.extend(children.map(Clone::clone));
        manifests.insert(digest.clone());
        // Lists are extended, so their earlier versions need not be kept.
        let lists = registry.tags(repository);
        manifests.retain(|digest| {
            !lists
                .iter()
                .any(|(tag, held)| tag.starts_with("sha256-") && held == digest)
        });
        self.wanted = Wanted {
            digest,
            tags,
            earlier,
            signatures,
            manifests,
        };
    }

    /// Restores the state before the command runs.
    pub(super) fn begin_again(&self) {
        self.registry().0.restore(&self.start);
        if let Some(source) = &self.source {
            self.world.registry().restore(source);
        }
        self.world.sigstore().clear_requests();
        self.world.sigstore().clear_faults();
    }

    /// Returns the command, on a machine where it has not run yet.
    pub(super) fn run(&self) -> Action {
        let action = self.action.elsewhere();
        match &self.record {
            Some(record) => action.handed(RECORD, record),
            None => action,
        }
    }

    /// True if a cleanup reverts the run alone, and nothing from before the run.
    pub(super) fn can_be_cleaned_up(&self) -> bool {
        self.record.is_none() && self.command != Command::Verify
    }

    /// Returns a run of `verify` for the command's result.
    pub(super) fn verify(&self) -> Action {
        let verify = self.admitted(self.world.verify("v1"));
        verify
            .input("image", self.repository("v1"))
            .input("recursive", self.command.is_recursive().to_string())
    }

    fn count(&mut self) {
        let began = Instant::now();
        self.run().succeed();
        self.duration = began.elapsed();
        for server in [Server::Registry, Server::Source, Server::Sigstore] {
            let requests = self.asked(server);
            if server == Server::Registry {
                let is_write = |request: &sandbox::Request| {
                    is_write(&request.method) && request.path.contains("/manifests/")
                };
                let writes = (1..)
                    .zip(&requests)
                    .filter(|(_, request)| is_write(request));
                self.manifest_writes = writes.map(|(k, _)| k).collect();
                let is_particular = |request: &sandbox::Request| self.kind.is_particular(request);
                let particular = (1..)
                    .zip(&requests)
                    .filter(|(_, request)| is_particular(request));
                self.particular_requests = particular.map(|(k, _)| k).collect();
            }
            self.requests.insert(server, requests.len() as u64);
        }
        assert!(self.requests[&Server::Registry] > 3);
        if self.command == Command::Cleanup {
            // In a registry that deletes only digests, a digest without another tag is deleted with its tag.
            let (registry, repository) = self.registry();
            let held = registry.manifests(repository);
            self.wanted.manifests.retain(|digest| held.contains(digest));
        }
    }

    fn asked(&self, server: Server) -> Vec<sandbox::Request> {
        match server {
            Server::Registry => self.registry().0.requests(),
            Server::Source if self.target.is_some() => self.world.registry().requests(),
            Server::Source => Vec::new(),
            Server::Sigstore => self.world.sigstore().requests(),
        }
    }

    pub(super) fn fault(&self, server: Server, fault: sandbox::Fault) {
        match server {
            Server::Registry => self.registry().0.fault(fault),
            Server::Source => self.world.registry().fault(fault),
            Server::Sigstore => self.world.sigstore().fault(fault),
        }
    }

    pub(super) fn clear_faults(&self) {
        self.registry().0.clear_faults();
        self.world.registry().clear_faults();
        self.world.sigstore().clear_faults();
    }

    /// Returns the first request that the fault hit, as text without values that differ from run to run.
    pub(super) fn hit(&self, server: Server) -> Option<String> {
        let requests = self.asked(server);
        let hit = requests.into_iter().find(|request| request.faulty)?;
        Some(self.named(&hit))
    }

    /// Returns the requests that the last run sent to `server`, as text without unpredictable values.
    pub(super) fn told(&self, server: Server) -> Vec<String> {
        let requests = self.asked(server);
        let anonymous = |request: &sandbox::Request| anonymous(&self.named(request));
        requests.iter().map(anonymous).collect()
    }

    fn named(&self, request: &sandbox::Request) -> String {
        let mut text = format!("{} {}", request.method, request.path);
        for (value, name) in [
            (&self.wanted.digest, "INDEX"),
            (&self.world.amd64.digest, "AMD64"),
            (&self.world.arm64.digest, "ARM64"),
        ] {
            text = text.replace(value.as_str(), name);
            text = text.replace(&value.replace(':', "-"), &format!("LIST-{name}"));
        }
        text
    }
}

/// True if a request with this method can change the state of a server.
pub(super) fn is_write(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD")
}

/// Returns a request without the digests, identifiers and ports that differ from run to run.
fn anonymous(request: &str) -> String {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let mut text = request.to_owned();
    for (prefix, name) in [
        ("sha256:", "DIGEST"),
        ("sha256%3A", "DIGEST"),
        ("/uploads/", "/uploads/ID"),
        ("127.0.0.1%3A", "HOST"),
    ] {
        let mut parts = text.split(prefix);
        let first = parts.next().unwrap_or_default().to_owned();
        text = parts.fold(first, |text, part| {
            let rest = part.trim_start_matches(is_name);
            let name = if rest == part { prefix } else { name };
            text + name + rest
        });
    }
    text
}

/// Seals; returns the record that the run leaves.
fn sealed(seal: &Action) -> Vec<u8> {
    seal.succeed();
    fs::read(seal.workspace().join(RECORD)).unwrap()
}
