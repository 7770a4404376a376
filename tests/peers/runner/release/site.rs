//! The place of a release: stand-ins for GitHub's repository, its releases, and the programs that call them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Action, Registry, Tool, stack};

/// The repository that is released.
pub(super) const REPOSITORY: &str = "manifest-seal/manifest-seal";

/// `gh`, with the subcommands used here: a folder for each release, and for each draft.
const GH: &str = r#"#!/bin/bash
set -eu
[ "$1" = release ]
case "$2 ${*:4}" in
"view --json isDraft --jq .isDraft")
  if [ -d "$SITE/drafts/$3" ]; then echo true; else [ -d "$SITE/releases/$3" ] && echo false; fi
  ;;
"delete --yes") rmdir "$SITE/drafts/$3" ;;
"create sbom.json --verify-tag --title $3 --notes-file notes.md")
  git ls-remote --exit-code "$SITE/remote" "refs/tags/$3" >/dev/null
  mkdir "$SITE/drafts/$3"
  if grep -qx gh "$SITE/refused"; then exit 1; fi
  mv "$SITE/drafts/$3" "$SITE/releases/$3"
  cp sbom.json notes.md "$SITE/releases/$3"
  ;;
*) exit 2 ;;
esac
"#;

/// `docker`, which prints the SBOM of each platform of an image that buildx has built with one.
const DOCKER: &str = r#"#!/bin/bash
set -eu
[ "$1 $2 $3 $5 $6" = "buildx imagetools inspect --format {{ json .SBOM }}" ]
if grep -qx docker "$SITE/refused"; then exit 1; fi
printf '{"of":"%s","linux/amd64":{"SPDX":{}},"linux/arm64":{"SPDX":{}}}' "${4##*@}"
"#;

/// A hook that rejects a push to a reference with such a name.
const HOOK: &str = r#"#!/bin/bash
while read -r _ _ name; do if grep -qx "$name" "$SITE/refused"; then exit 1; fi; done
"#;

/// A folder with a repository in place of GitHub's, its releases, and the destination of the image. All files of this
/// repository are committed there.
pub(super) struct Site {
    pub(super) folder: PathBuf,
    pub(super) image: String,
}

impl Site {
    pub(super) fn new() -> Self {
        let folder = Action::new("seal", "unused.test/o/r")
            .workspace()
            .to_owned();
        let site = Self {
            folder,
            image: Registry::Distribution.fresh(),
        };
        for path in ["programs", "releases", "drafts", "home"] {
            fs::create_dir_all(site.folder.join(path)).unwrap();
        }
        site.refuse("nothing");
        let tree = site.folder.join("tree");
        let files = Tool::bounded("/usr/bin/git")
            // The tests of a runner run as root, in a checkout of another user.
            .args(["-c", "safe.directory=*", "ls-files", "--cached"])
            .args(["--others", "--exclude-standard"]);
        for file in files
            .succeed()
            .lines()
            .filter(|file| Path::new(file).exists())
        {
            let to = tree.join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file, to).unwrap();
        }
        site.script(&tree, "git init --quiet --initial-branch main && git add --all && git commit --quiet --message All", &[])
            .succeed();
        site.script(&site.folder, "git clone --quiet --bare tree remote && git -C remote config uploadpack.allowAnySHA1InWant true", &[])
            .succeed();
        let remote = site.folder.join("remote");
        for (path, script) in [
            (site.folder.join("programs/gh"), GH),
            (site.folder.join("programs/docker"), DOCKER),
            (remote.join("hooks/pre-receive"), HOOK),
        ] {
            fs::write(&path, script).unwrap();
            Tool::bounded("/usr/bin/chmod")
                .arg("755")
                .arg(path)
                .succeed();
        }
        site
    }

    /// Makes one thing fail from now on: a push to a reference, `docker` or `gh`; nothing else.
    pub(super) fn refuse(&self, cause: &str) {
        fs::write(self.folder.join("refused"), format!("{cause}\n")).unwrap();
    }

    /// Makes the program that creates versions also add a line to a file.
    pub(super) fn knope_writes(&self, file: &str, content: &str) {
        let knope = stack("KNOPE");
        let script = format!(
            "#!/bin/bash\nset -eu\n{knope} \"$@\"\nprintf '\\n%s\\n' '{content}' >>{file}\n"
        );
        let path = self.folder.join("programs/knope");
        fs::write(&path, script).unwrap();
        Tool::bounded("/usr/bin/chmod")
            .arg("755")
            .arg(path)
            .succeed();
    }

    /// Commits `content` to the main branch; without content deletes the file.
    pub(super) fn commit(&self, file: &str, content: &str) {
        let script = r#"git clone --quiet "$SITE/remote" . && mkdir -p .changeset && printf %s "$CONTENT" >"$FILE" &&
            { [ -n "$CONTENT" ] || rm "$FILE"; } && git add --all && git commit --quiet --message Change && git push --quiet"#;
        let variables = [("FILE", file.to_owned()), ("CONTENT", content.to_owned())];
        self.script(&fresh(), script, &variables).succeed();
    }

    /// Runs git in the repository; returns its output.
    pub(super) fn git(&self, arguments: &[&str]) -> String {
        let tool = Tool::bounded("/usr/bin/git").folder(&self.folder.join("remote"));
        tool.args(arguments).succeed().trim().to_owned()
    }

    /// Runs git in the repository; returns its output, or `None` if it fails.
    pub(super) fn try_git(&self, arguments: &[&str]) -> Option<String> {
        let tool = Tool::bounded("/usr/bin/git").folder(&self.folder.join("remote"));
        let output = tool.args(arguments).output();
        let said = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        output.status.success().then_some(said)
    }

    /// Returns the folder of the release `version`.
    pub(super) fn released(&self, version: &str) -> PathBuf {
        self.folder.join(format!("releases/v{version}"))
    }

    /// Makes a tool that runs a script like the runner, with the stand-ins for GitHub in its path.
    pub(super) fn script(&self, folder: &Path, script: &str, variables: &[(&str, String)]) -> Tool {
        let programs = self.folder.join("programs");
        let knope = stack("KNOPE");
        let knope = Path::new(&knope).parent().unwrap();
        let path = format!("{}:{}:/usr/bin:/bin", programs.display(), knope.display());
        let remote = format!(
            "url.file://{}.insteadOf",
            self.folder.join("remote").display()
        );
        let own = [
            ("PATH", path),
            ("HOME", self.folder.join("home").display().to_string()),
            ("SITE", self.folder.display().to_string()),
            ("GITHUB_REPOSITORY", REPOSITORY.to_owned()),
            ("RUNNER_TEMP", fresh().display().to_string()),
            ("GITHUB_OUTPUT", folder.join("output").display().to_string()),
            ("GIT_CONFIG_COUNT", "3".to_owned()),
            ("GIT_CONFIG_KEY_0", remote),
            (
                "GIT_CONFIG_VALUE_0",
                format!("https://github.com/{REPOSITORY}"),
            ),
            ("GIT_CONFIG_KEY_1", "user.name".to_owned()),
            ("GIT_CONFIG_VALUE_1", "octocat".to_owned()),
            ("GIT_CONFIG_KEY_2", "user.email".to_owned()),
            ("GIT_CONFIG_VALUE_2", "octocat@example.com".to_owned()),
        ];
        let mut tool = Tool::bounded("/usr/bin/bash")
            .folder(folder)
            .args(["-e", "-c", script]);
        for (name, value) in own.iter().chain(variables) {
            tool = tool.env(name, value);
        }
        tool
    }
}

/// Returns an unused folder.
pub(super) fn fresh() -> PathBuf {
    Action::new("seal", "unused.test/o/r")
        .workspace()
        .to_owned()
}
