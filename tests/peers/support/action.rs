//! The binary, run like the runner runs it: inputs as `INPUT_*`, files for outputs and summary, nothing else inherited.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Log, Tool, Workflow, stack, tls_authority, tools};

/// A run of the action, not yet started.
#[derive(Clone)]
pub(crate) struct Action {
    inputs: BTreeMap<String, String>,
    /// The source of its OIDC token.
    token: Vec<(&'static str, String)>,
    workspace: PathBuf,
    place: Place,
}

/// The place where the program runs.
#[derive(Clone)]
enum Place {
    /// This machine.
    Here,
    /// The image, with these options of `docker run`.
    Image(Vec<String>),
    /// An empty root of the file system.
    EmptyRoot,
}

/// The results of a run.
pub(crate) struct Outcome {
    /// The exit code.
    pub(crate) code: i32,
    /// The whole output.
    pub(crate) log: String,
    /// The content of `GITHUB_OUTPUT`.
    pub(crate) outputs: BTreeMap<String, String>,
    /// The content of `GITHUB_STEP_SUMMARY`.
    pub(crate) summary: String,
}

impl Action {
    /// Makes a run of `command` on `image`, by the usual workflow. Only signatures of that workflow count.
    pub(crate) fn new(command: &str, image: &str) -> Self {
        let authority = tls_authority().map(|authority| ("ca-bundle".to_owned(), authority));
        let action = Self {
            inputs: authority.into_iter().collect(),
            token: Vec::new(),
            workspace: fresh_workspace(),
            place: Place::Here,
        };
        action
            .input("command", command)
            .input("image", image)
            .input("trusted-root", &stack("TRUSTED_ROOT"))
            .input("certificate-oidc-issuer", &stack("ISSUER"))
            .input("max-attempts", "3")
            .input("retry-delay", "200ms")
            .input("timeout", "100s")
            .log(Log::Rekor2)
            .by(&Workflow::default())
    }

    /// Makes a run of `seal` that gives `tags` to the index of `digests`.
    pub(crate) fn seal(image: &str, digests: &[&str], tags: &[&str]) -> Self {
        Self::new("seal", image)
            .input("digests", &digests.join("\n"))
            .input("tags", &tags.join("\n"))
    }

    /// Sets an input.
    pub(crate) fn input(mut self, name: &str, value: &str) -> Self {
        self.inputs.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Signs with the log `log`.
    pub(crate) fn log(self, log: Log) -> Self {
        self.input("signing-config", &log.signing_config())
    }

    /// Runs as a job of `workflow`, whose signatures count.
    pub(crate) fn by(self, workflow: &Workflow) -> Self {
        self.input("certificate-identity", &workflow.identity())
            .token_from(workflow.environment())
    }

    /// Reads its OIDC token from the endpoint in `variables`.
    pub(crate) fn token_from(mut self, variables: [(&'static str, String); 2]) -> Self {
        self.token = variables.into();
        self
    }

    /// Runs the image instead of the binary, with Docker's `options`. Files of the stack are copied into the workspace:
    /// the image has no access to others.
    pub(crate) fn in_image(mut self, options: &[&str]) -> Self {
        for input in ["trusted-root", "signing-config"] {
            let copy = self.workspace.join(input).with_extension("json");
            fs::copy(&self.inputs[input], copy).unwrap();
            self = self.input(input, &format!("{input}.json"));
        }
        let options = options.iter().map(|option| (*option).to_owned());
        self.place = Place::Image(options.collect());
        self
    }

    /// Runs the program of the image in its workspace as the root of the file system. It contains nothing else: no `/dev`,
    /// no `/proc`, no `/etc`.
    pub(crate) fn in_empty_root(self) -> Self {
        let mut action = self.in_image(&[]);
        let name = format!("manifest-seal-{}-root", std::process::id());
        let program = action.workspace.join("manifest-seal");
        let from = format!("{name}:/manifest-seal");
        Tool::docker(&["create", "--name", &name, &stack("IMAGE")]).succeed();
        Tool::docker(&["cp", &from, program.to_str().unwrap()]).succeed();
        Tool::docker(&["rm", &name]).succeed();
        action.place = Place::EmptyRoot;
        action
    }

    /// Returns the folder that a run uses as its workspace.
    pub(crate) fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Runs the action.
    pub(crate) fn run(&self) -> Outcome {
        let commands = self.workspace.join(".file_commands");
        fs::create_dir_all(&commands).unwrap();
        fs::write(commands.join("output"), "").unwrap();
        fs::write(commands.join("summary.md"), "").unwrap();
        let output = match &self.place {
            Place::Here => self.binary(&commands).output(),
            Place::Image(options) => self.image(&commands, options).output(),
            Place::EmptyRoot => self.root().output(),
        };
        Outcome {
            code: output.status.code().unwrap_or(-1),
            log: tools::text(&output),
            outputs: read_outputs(&fs::read_to_string(commands.join("output")).unwrap()),
            summary: fs::read_to_string(commands.join("summary.md")).unwrap(),
        }
    }

    fn binary(&self, commands: &Path) -> Tool {
        let mut tool = Tool::bounded(env!("CARGO_BIN_EXE_manifest-seal")).folder(&self.workspace);
        for (name, value) in self.environment(&self.workspace, commands) {
            tool = tool.env(name, value);
        }
        tool.env("HOME", &self.workspace)
    }

    fn root(&self) -> Tool {
        let mut tool = Tool::bounded("/usr/sbin/chroot").args([&self.workspace]);
        for (name, value) in self.environment(Path::new("/"), Path::new("/.file_commands")) {
            tool = tool.env(name, value);
        }
        tool.arg("/manifest-seal")
    }

    /// Makes the `docker run` of the runner: its folders mounted, its home, no user, no entrypoint.
    fn image(&self, commands: &Path, options: &[String]) -> Tool {
        let workspace = Path::new("/github/workspace");
        let mut tool = Tool::docker(&["run", "--rm", "--workdir", "/github/workspace"])
            .args(["--network", "host", "--env", "HOME=/github/home"])
            .args(options);
        for (from, to) in [
            (self.workspace.clone(), "/github/workspace"),
            (self.workspace.join(".home"), "/github/home"),
            (commands.to_owned(), "/github/file_commands"),
        ] {
            fs::create_dir_all(&from).unwrap();
            tool = tool.args(["--volume", &format!("{}:{to}", from.display())]);
        }
        for (name, value) in self.environment(workspace, Path::new("/github/file_commands")) {
            tool = tool.args(["--env", &format!("{name}={value}")]);
        }
        tool.arg(stack("IMAGE"))
    }

    fn environment(&self, workspace: &Path, commands: &Path) -> Vec<(String, String)> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let own = [
            ("GITHUB_ACTIONS", "true".to_owned()),
            ("GITHUB_WORKSPACE", path(workspace)),
            ("GITHUB_OUTPUT", path(&commands.join("output"))),
            ("GITHUB_STEP_SUMMARY", path(&commands.join("summary.md"))),
            ("GITHUB_ENV", path(&commands.join("env"))),
        ];
        // The variables of earlier steps. A container's files are in this folder, too.
        let exported = self.workspace.join(".file_commands/env");
        let exported = read_outputs(&fs::read_to_string(exported).unwrap_or_default());
        let inputs = self.inputs.iter().map(|(name, value)| {
            // The runner changes spaces and case in names, never hyphens.
            let name = format!("INPUT_{}", name.replace(' ', "_").to_uppercase());
            (name, value.clone())
        });
        own.into_iter()
            .chain(self.token.iter().cloned())
            .map(|(name, value)| (name.to_owned(), value))
            .chain(exported)
            .chain(inputs)
            .collect()
    }

    /// Returns the command of a run, for measurements.
    pub(crate) fn tool(&self) -> Tool {
        let commands = self.workspace.join(".file_commands");
        fs::create_dir_all(&commands).unwrap();
        self.binary(&commands)
    }

    /// Runs it and asserts success.
    pub(crate) fn succeed(&self) -> Outcome {
        self.end_with(0)
    }

    /// Runs it and asserts an exit code.
    pub(crate) fn end_with(&self, code: i32) -> Outcome {
        let outcome = self.run();
        assert_eq!(outcome.code, code, "{:?}\n{}", self.inputs, outcome.log);
        outcome
    }
}

impl Outcome {
    /// Returns the output `name`.
    pub(crate) fn output(&self, name: &str) -> &str {
        self.outputs
            .get(name)
            .unwrap_or_else(|| panic!("no output `{name}`\n{}", self.log))
    }
}

/// Returns an unused folder.
pub(super) fn fresh_workspace() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let folder = PathBuf::from(stack("FOLDER")).join("workspace").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Reads an outputs file: `name=value`, or `name<<END`, lines, `END`.
fn read_outputs(text: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some((name, end)) = line.split_once("<<") {
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
            outputs.insert(name.to_owned(), value.join("\n"));
        } else if let Some((name, value)) = line.split_once('=') {
            outputs.insert(name.to_owned(), value.to_owned());
        }
    }
    outputs
}
