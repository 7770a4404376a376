//! The scripts of `release.yml`, with git and a stand-in for the release tool. Changes by an installed tool reach the main
//! branch only within the files of a release.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::project::read;
use crate::support::workflow::{assert_refused, run_in};

/// A stand-in for `knope prepare`, reduced to the changes that matter here.
const KNOPE: &str = r#"#!/bin/bash
set -eu
[ "$1" = prepare ] && [ -e knope.toml ]
sed --in-place 's/^version = "0.0.0"$/version = "0.1.0"/' Cargo.toml Cargo.lock
printf '# Changes\n\n## 0.1.0 (2026-01-31)\n\n%s\n' "$(tail -n 1 .changeset/*.md)" >.github/CHANGELOG.md
rm .changeset/*.md
"#;

/// A repository that stands for GitHub's, and a folder of programs.
struct Site(TempDir);

impl Site {
    /// Creates the state before a release, and a tool that also runs `more`.
    fn new(more: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let tree = site.path("tree");
        for folder in ["tree/.changeset", "tree/.github/workflows", "programs"] {
            fs::create_dir_all(site.path(folder)).unwrap();
        }
        for (file, content) in [
            ("Cargo.toml", "[workspace.package]\nversion = \"0.0.0\"\n"),
            (
                "Cargo.lock",
                "[[package]]\nname = \"manifest-seal\"\nversion = \"0.0.0\"\n",
            ),
            (
                ".changeset/one.md",
                "---\nmanifest-seal: minor\n---\n\nOne more.\n",
            ),
            (".github/knope.toml", "\n"),
            (".github/workflows/release.yml", "name: release\n"),
            ("src.rs", "fn main() {}\n"),
        ] {
            fs::write(tree.join(file), content).unwrap();
        }
        let knope = site.path("programs/knope");
        fs::write(&knope, format!("{KNOPE}{more}\n")).unwrap();
        fs::set_permissions(&knope, fs::Permissions::from_mode(0o755)).unwrap();
        site.git("tree", &["init", "--quiet", "--initial-branch", "main"]);
        site.git("tree", &["add", "--all"]);
        site.git("tree", &["commit", "--quiet", "--message", "All"]);
        site.git(".", &["clone", "--quiet", "--bare", "tree", "remote"]);
        site
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        let identity = [
            "-c",
            "user.name=octocat",
            "-c",
            "user.email=octocat@example.com",
        ];
        let output = Command::new("git")
            .current_dir(self.path(folder))
            .args(identity)
            .args(arguments)
            .env("HOME", self.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs the script of `job` in a clone of its own, at the commit `base`.
    fn script(
        &self,
        job: &str,
        base: &str,
        variables: &[(&str, &str)],
    ) -> Result<BTreeMap<String, String>, String> {
        let folder = tempfile::tempdir_in(&self.0).unwrap();
        let clone = folder.path().join("clone");
        let temp = folder.path().to_str().unwrap();
        self.git(
            ".",
            &["clone", "--quiet", "remote", clone.to_str().unwrap()],
        );
        self.git(clone.to_str().unwrap(), &["checkout", "--quiet", base]);
        let remote = format!("url.file://{}.insteadOf", self.path("remote").display());
        let path = format!("{}:/usr/bin:/bin", self.path("programs").display());
        let usual = [
            ("PATH", &*path),
            ("HOME", temp),
            ("RUNNER_TEMP", temp),
            ("GITHUB_REPOSITORY", "octo-org/app"),
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", &remote),
            ("GIT_CONFIG_VALUE_0", "https://github.com/octo-org/app"),
        ];
        let variables: Vec<_> = usual.iter().chain(variables).copied().collect();
        run_in(&clone, "release.yml", [job, job], &variables)
    }

    /// Runs both jobs, the one without permissions and the one that pushes.
    fn release(&self) -> Result<BTreeMap<String, String>, String> {
        let made = self.script("changes", "main", &[("ASKED", "")]).unwrap();
        let head = self.git("remote", &["rev-parse", "main"]);
        assert_eq!(made["base"], head);
        let variables = [("PATCH", &*made["patch"]), ("TOKEN", "ghs_secret")];
        self.script("version", &made["base"], &variables)
    }
}

#[test]
fn version_and_changelog_reach_the_main_branch() {
    let site = Site::new("");
    let made = site.script("changes", "main", &[("ASKED", "")]).unwrap();
    let pushed = || {
        let variables = [("PATCH", &*made["patch"]), ("TOKEN", "ghs_secret")];
        site.script("version", &made["base"], &variables)
    };
    let released = pushed().unwrap();
    assert_eq!(released["version"], "0.1.0");
    assert_eq!(
        released["commit"],
        site.git("remote", &["rev-parse", "main"])
    );
    let subject = site.git("remote", &["log", "-1", "--format=%s", "main"]);
    assert_eq!(subject, "Release 0.1.0");
    let files = site.git("remote", &["ls-tree", "-r", "--name-only", "main"]);
    assert!(
        files.contains("CHANGELOG.md") && !files.contains(".changeset"),
        "{files}"
    );
    // A rerun of the job makes the existing commit again.
    assert_eq!(pushed().unwrap(), released);
    // If the whole workflow is run again, nothing is to be prepared, and the release continues.
    assert_eq!(site.release().unwrap(), released);
}

#[test]
fn anything_else_that_the_tool_changed_is_refused() {
    for more in [
        "echo '// more' >>src.rs",
        "rm src.rs",
        "chmod 755 Cargo.toml",
        "echo 'name: more' >.github/workflows/more.yml",
        "echo more >.changeset/more.txt",
        "printf '[dependencies]\\nstranger = \"1\"\\n' >>Cargo.toml",
        "echo 'version = \"0.1.0\\\"; more\"' >>Cargo.lock",
        "rm .github/CHANGELOG.md; ln -s ../src.rs .github/CHANGELOG.md",
        "git mv src.rs .changeset/two.md",
    ] {
        let site = Site::new(more);
        let head = site.git("remote", &["rev-parse", "main"]);
        assert_refused(site.release(), "more than a version and its changelog");
        assert_eq!(site.git("remote", &["rev-parse", "main"]), head, "{more}");
    }
}

/// Git calls the credential helper that the scripts configure, which prints the token of its environment.
#[test]
fn git_gets_the_token_from_the_environment() {
    let text = read(".github/workflows/release.yml");
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("git config credential."))
        .collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "git init --quiet && git config credential.{line} && printf 'protocol=https\\nhost=github.com\\n\\n' | git credential fill"
        );
        let said = bash(folder.path(), &script);
        assert!(
            said.contains("username=x-access-token\n") && said.contains("password=ghs_secret\n"),
            "{said}"
        );
    }
}

fn bash(folder: &Path, script: &str) -> String {
    let output = Command::new("bash")
        .current_dir(folder)
        .args(["-e", "-c", script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs([("TOKEN", "ghs_secret"), ("GH_TOKEN", "ghs_secret")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
