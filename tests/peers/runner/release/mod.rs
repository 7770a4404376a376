//! `release.yml`, run step by step: its own scripts, the real knope, the binary as the action, and a registry on
//! loopback. A bare repository replaces GitHub's. The other parts of GitHub are stand-ins: builds, artifacts, `gh`, and
//! docker's reading of the SBOM.

mod site;
mod walk;

use std::collections::BTreeSet;
use std::fs;

use super::held;
use crate::interoperability::{digests, two_children};
use crate::support::{Action, Flavour, Tool};
use site::Site;

/// The jobs of the release, in order.
const JOBS: [&str; 7] = [
    "changes",
    "version",
    "preflight",
    "build",
    "seal",
    "verify",
    "publish",
];

/// Asserts that `version` is released completely. Returns the digest and the tagged commit.
fn out(site: &Site, version: &str) -> (String, String) {
    let tag = format!("refs/tags/v{version}");
    let tagged = site.git(&["rev-parse", &tag]);
    let subject = format!("Release {version}");
    let log = site.git(&["log", "--format=%H %s", "main"]);
    let releases: Vec<&str> = log
        .lines()
        .filter(|line| line.ends_with(&subject))
        .collect();
    assert_eq!(releases.len(), 1, "{log}");
    let release = releases[0].split(' ').next().unwrap();
    assert_eq!(site.git(&["rev-parse", &format!("{tag}^")]), release);
    // The only difference to main is the image, and it is the digest under the version's tag.
    let digest = held(&site.image, version).unwrap();
    let diff = site.git(&["diff", "--unified=0", release, &tagged]);
    let changed: BTreeSet<&str> = diff
        .lines()
        .filter(|line| {
            line.starts_with(['+', '-']) && !line.starts_with("+++ ") && !line.starts_with("--- ")
        })
        .collect();
    let pinned = format!("+  image: docker://{}@{digest}", site.image);
    assert_eq!(changed, BTreeSet::from(["-  image: Dockerfile", &pinned]));
    assert_eq!(site.git(&["rev-parse", "refs/tags/v0"]), tagged);
    assert_eq!(Tool::bundles(&site.image, &digest).len(), 1);
    let sbom = fs::read_to_string(site.released(version).join("sbom.json")).unwrap();
    assert!(sbom.contains("SPDX") && sbom.contains(&digest), "{sbom}");
    (digest, tagged)
}

fn changes(site: &Site) -> Vec<String> {
    let files = site.git(&["ls-tree", "--name-only", "main", ".changeset/"]);
    files.lines().map(str::to_owned).collect()
}

#[test]
fn changes_become_a_version_that_names_its_image() {
    let site = Site::new();
    let said: Vec<String> = changes(&site)
        .iter()
        .map(|file| lines(&fs::read_to_string(file).unwrap(), 4))
        .collect();
    assert!(!said.is_empty());
    site.dispatch("").whole();
    let first = out(&site, "0.0.1");
    assert_eq!(changes(&site), [""; 0]);
    let notes = fs::read_to_string(site.released("0.0.1").join("notes.md")).unwrap();
    for change in said {
        assert!(notes.contains(change.trim()), "{change}\n{notes}");
    }
    let lock = site.git(&["show", "main:Cargo.lock"]);
    assert!(lock.contains("name = \"manifest-seal\"\nversion = \"0.0.1\""));

    // Without changes, the result is the same.
    site.dispatch("").whole();
    assert_eq!(out(&site, "0.0.1"), first);

    site.commit(
        ".changeset/more.md",
        "---\nmanifest-seal: patch\n---\n\nMore of the same.\n",
    );
    site.dispatch("").whole();
    let second = out(&site, "0.0.2");
    assert_ne!(second.0, first.0);
    assert_eq!(site.git(&["rev-parse", "refs/tags/v0.0.1"]), first.1);
    let notes = fs::read_to_string(site.released("0.0.2").join("notes.md")).unwrap();
    assert!(
        notes.contains("More of the same") && !notes.contains("command:"),
        "{notes}"
    );

    site.commit(
        ".changeset/more.md",
        "---\nmanifest-seal: patch\n---\n\nMore of the same.\n",
    );
    site.dispatch("0.3.0").whole();
    out(&site, "0.3.0");
}

#[test]
fn release_that_failed_goes_on_where_it_stopped() {
    for job in &JOBS[..6] {
        let site = Site::new();
        site.dispatch("").until(job);
        let digest = held(&site.image, "0.0.1");
        assert_eq!(digest.is_some(), ["seal", "verify"].contains(job), "{job}");
        site.commit(
            ".changeset/more.md",
            "---\nmanifest-seal: minor\n---\n\nMeanwhile.\n",
        );
        site.dispatch("").whole();
        let first = out(&site, "0.0.1");
        assert_eq!(digest.as_ref().unwrap_or(&first.0), &first.0, "{job}");
        // Changes merged meanwhile are included only if nothing had been pushed yet.
        let left: &[&str] = match *job {
            "changes" => &[],
            _ => &[".changeset/more.md"],
        };
        assert_eq!(changes(&site), left, "{job}");
    }
}

#[test]
fn release_whose_last_job_failed_at_any_command_goes_on() {
    for cause in ["refs/tags/v0.0.1", "docker", "gh", "refs/tags/v0"] {
        let site = Site::new();
        site.refuse(cause);
        site.dispatch("").fail_in("publish");
        let digest = held(&site.image, "0.0.1");
        let tagged = site.try_git(&["rev-parse", "--quiet", "--verify", "refs/tags/v0.0.1"]);
        assert_eq!(tagged.is_some(), cause != "refs/tags/v0.0.1", "{cause}");
        assert_eq!(
            site.try_git(&["rev-parse", "--quiet", "--verify", "refs/tags/v0"]),
            None
        );
        site.refuse("nothing");
        site.dispatch("").whole();
        let (now, commit) = out(&site, "0.0.1");
        assert_eq!(digest, Some(now), "{cause}");
        assert!(tagged.is_none_or(|tagged| tagged == commit), "{cause}");
    }
}

#[test]
fn version_that_cannot_be_pushed_is_no_release() {
    let site = Site::new();
    site.refuse("refs/heads/main");
    site.dispatch("").fail_in("version");
    site.refuse("nothing");
    site.dispatch("").whole();
    out(&site, "0.0.1");
    // Nothing was ever released, and there is nothing to release.
    let site = Site::new();
    for file in changes(&site) {
        site.commit(&file, "");
    }
    site.dispatch("").fail_in("version");
    assert_eq!(site.git(&["tag"]), "");
    // Workflows call the action of their own version.
    let site = Site::new();
    site.dispatch("1.0.0").fail_in("version");
}

/// Tests that an unsigned index under a version's tag is released only if its digest is given.
#[test]
fn unsigned_version_is_released_only_by_its_digest() {
    let site = Site::new();
    let children = two_children(&site.image, Flavour::Oci);
    let created = Action::new("create", &site.image)
        .input("digests", &digests(&children).join(","))
        .input("tags", "0.0.1")
        .succeed();
    site.dispatch("").fail_in("preflight");
    let other = format!("sha256:{}", "ab".repeat(32));
    site.dispatch("").adopting(&other).fail_in("seal");
    assert_eq!(
        Tool::bundles(&site.image, created.output("digest")).len(),
        0
    );
    site.dispatch("").adopting("0.0.1").fail_in("preflight");
    site.dispatch("").adopting(created.output("digest")).whole();
    assert_eq!(out(&site, "0.0.1").0, created.output("digest"));
}

/// Tests the check of the release commit: the tool that makes the version may be compromised.
#[test]
fn release_changes_nothing_but_a_version_and_its_changelog() {
    for (file, content) in [
        ("src/lib.rs", "fn main() {}"),
        (".github/workflows/release.yml", "name: release"),
        (".changeset/more.md", "more"),
        ("Cargo.toml", "[dependencies]\nstranger = \"1\""),
    ] {
        let site = Site::new();
        let head = site.git(&["rev-parse", "main"]);
        site.knope_writes(file, content);
        let said = site.dispatch("").fail_in("version");
        assert!(
            said.contains("more than a version and its changelog"),
            "{said}"
        );
        assert_eq!(site.git(&["rev-parse", "main"]), head, "{file}");
    }
}

/// Returns the text from a line on.
fn lines(text: &str, from: usize) -> String {
    text.lines().skip(from).collect()
}
