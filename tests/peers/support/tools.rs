//! Child processes: cosign, crane, regctl, buildx. Each ends, by itself or by `timeout`.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{Log, stack, tls_authority};

/// The time limit of a child. A child that exceeds it is killed, and its case fails.
const CHILD_SECONDS: u32 = 120;

/// The time limit of a workflow run, which has a dozen jobs with a container each.
const WORKFLOW_SECONDS: u32 = 900;

/// A workflow that runs for the repository `octo-org/octo-app`, or for another, and signs under its own identity.
#[derive(Debug, Clone)]
pub(crate) struct Workflow {
    reference: String,
    repository: &'static str,
    commit: Option<String>,
}

impl Workflow {
    /// Makes the workflow `.github/workflows/NAME.yml` on the main branch.
    pub(crate) fn named(name: &str) -> Self {
        Self::called(&format!(
            "octo-org/octo-app/.github/workflows/{name}.yml@refs/heads/main"
        ))
    }

    /// Makes a workflow that others call: `OWNER/NAME/.github/workflows/FILE@REF`.
    pub(crate) fn called(reference: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            repository: "octo-org/octo-app",
            commit: None,
        }
    }

    /// Returns this workflow, called by another repository.
    pub(crate) fn by(self, repository: &'static str) -> Self {
        Self { repository, ..self }
    }

    /// Returns this workflow, run on another commit of the main branch than the issuer's own.
    pub(crate) fn at(&self, commit: &str) -> Self {
        let commit = Some(commit.to_owned());
        Self {
            commit,
            ..self.clone()
        }
    }

    /// Returns the identity in its certificates.
    pub(crate) fn identity(&self) -> String {
        format!("https://github.com/{}", self.reference)
    }

    /// Returns the environment with GitHub's token endpoint for its jobs.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        let Self {
            reference,
            repository,
            commit,
        } = self;
        let url = stack("TOKEN_URL");
        let commit = commit
            .as_ref()
            .map(|commit| format!("&claim.sha={commit}"))
            .unwrap_or_default();
        let url = format!(
            "{url}&claim.job_workflow_ref={reference}&claim.repository={repository}{commit}"
        );
        [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", stack("TOKEN")),
        ]
    }
}

impl Default for Workflow {
    fn default() -> Self {
        Self::named("release")
    }
}

/// The versions of cosign in use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cosign {
    /// 2.6: reads bundles only with an option.
    Two,
    /// 3: writes bundles, reads both.
    Three,
}

/// The cost of a command.
pub(crate) struct Spent {
    /// The wall time.
    pub(crate) seconds: f64,
    /// The peak of its memory, in MiB.
    pub(crate) peak: f64,
    /// Seconds of CPU, its own and the kernel's.
    pub(crate) cpu: f64,
}

/// A command, not yet started.
pub(crate) struct Tool {
    command: Command,
    seconds: u32,
    stdin: Vec<u8>,
}

impl Tool {
    /// Returns the command `program` with an empty environment and a time limit.
    pub(crate) fn bounded(program: impl AsRef<OsStr>) -> Self {
        Self::within(CHILD_SECONDS, program)
    }

    fn within(seconds: u32, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new("/usr/bin/timeout");
        command
            .args(["-k", "5", &seconds.to_string()])
            .arg(program)
            .env_clear()
            .stdin(Stdio::piped());
        Self {
            command,
            seconds,
            stdin: Vec::new(),
        }
    }

    /// Returns cosign, for uses without the stack of real services.
    pub(crate) fn cosign() -> Self {
        Self::installed("cosign3")
    }

    /// Returns one of the installed programs, with a home of its own.
    fn installed(name: &str) -> Self {
        Self::foreign(Path::new(&stack("BIN")).join(name))
    }

    /// Returns a program of another project, with a home of its own. The authority to trust is in the variable that all
    /// Go programs read.
    fn foreign(program: impl AsRef<OsStr>) -> Self {
        let home = Path::new(&stack("FOLDER")).join("home");
        std::fs::create_dir_all(&home).unwrap();
        let tool = Self::bounded(program).env("HOME", home);
        match tls_authority() {
            Some(authority) => tool.env("SSL_CERT_FILE", authority),
            None => tool,
        }
    }

    /// Returns the distribution specification's conformance suite.
    pub(crate) fn conformance() -> Self {
        Self::installed("conformance")
    }

    /// Returns crane, which uses plain HTTP for loopback by itself.
    pub(crate) fn crane() -> Self {
        Self::installed("crane")
    }

    /// Returns curl, the system's.
    pub(crate) fn curl() -> Self {
        Self::foreign("/usr/bin/curl")
    }

    /// Returns skopeo, Debian's.
    pub(crate) fn skopeo() -> Self {
        Self::foreign("/usr/bin/skopeo").arg("--insecure-policy")
    }

    /// Returns buildx, which also uses plain HTTP for loopback.
    pub(crate) fn buildx() -> Self {
        Self::installed("buildx")
    }

    /// Returns docker, with the daemon that has the image.
    pub(crate) fn docker(arguments: &[&str]) -> Self {
        Self::bounded(stack("DOCKER")).with_daemon().args(arguments)
    }

    /// Returns the runner, with that daemon.
    pub(crate) fn act() -> Self {
        Self::within(WORKFLOW_SECONDS, stack("ACT")).with_daemon()
    }

    /// Passes on the environment with that daemon's address.
    fn with_daemon(mut self) -> Self {
        for name in ["PATH", "DOCKER_HOST", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                self = self.env(name, value);
            }
        }
        self
    }

    /// Returns openssl with its working directory.
    pub(crate) fn openssl(folder: &Path) -> Self {
        Self::bounded("/usr/bin/openssl").folder(folder)
    }

    /// Returns regctl, configured for the hosts of both references: plain HTTP or TLS.
    pub(crate) fn regctl_between(from: &str, to: &str) -> Self {
        Self::regctl(from).told_of(to)
    }

    /// Returns regctl, configured for the host of `reference`: plain HTTP or TLS.
    pub(crate) fn regctl(reference: &str) -> Self {
        Self::installed("regctl").told_of(reference)
    }

    /// Configures regctl for the host of `reference`: addresses use plain HTTP, names use TLS.
    fn told_of(self, reference: &str) -> Self {
        let (host, _) = reference.split_once('/').unwrap();
        if host.starts_with("127.0.0.1:") {
            self.args(["--host", &format!("reg={host},tls=disabled")])
        } else {
            self
        }
    }

    /// Returns `cosign sign`, or another signing command, as a job of `workflow`.
    pub(crate) fn cosign_signing(verb: &str, log: Log, workflow: &Workflow) -> Self {
        Self::cosign()
            .args([verb, "--yes"])
            .job_of(workflow)
            .services(log)
    }

    /// Returns cosign 2 with the option for bundles, as a job of `workflow`.
    pub(crate) fn cosign_2_signing(log: Log, workflow: &Workflow) -> Self {
        Self::installed("cosign2")
            .args(["sign", "--yes", "--new-bundle-format"])
            .job_of(workflow)
            .services(log)
    }

    fn job_of(mut self, workflow: &Workflow) -> Self {
        for (name, value) in workflow.environment() {
            self = self.env(name, value);
        }
        self
    }

    fn services(self, log: Log) -> Self {
        self.args(["--signing-config", &log.signing_config()])
            .args(["--trusted-root", &stack("TRUSTED_ROOT")])
    }

    /// Returns `cosign verify` for signatures of `workflow`.
    pub(crate) fn cosign_verify(workflow: &Workflow) -> Self {
        Self::cosign()
            .args(["verify", "--trusted-root", &stack("TRUSTED_ROOT")])
            .args(["--certificate-identity", &workflow.identity()])
            .args(["--certificate-oidc-issuer", &stack("ISSUER")])
            .args([
                "--certificate-github-workflow-repository",
                "octo-org/octo-app",
            ])
    }

    /// Returns a cosign that signs in its older format as a job of `workflow`: 2's default, and an option that 3 still has.
    pub(crate) fn legacy_signing(cosign: Cosign, workflow: &Workflow) -> Self {
        let mut tool = Self::legacy(cosign)
            .args(["sign", "--yes"])
            .job_of(workflow);
        if let Cosign::Three = cosign {
            tool = tool.args(["--new-bundle-format=false", "--use-signing-config=false"]);
        }
        tool.args(["--fulcio-url", &stack("FULCIO"), "--rekor-url"])
            .arg(stack("REKOR1"))
            .args(["--oidc-issuer", &stack("ISSUER")])
    }

    /// Returns `cosign verify` for signatures of `workflow`, in any format.
    pub(crate) fn legacy_verify(cosign: Cosign, workflow: &Workflow) -> Self {
        match cosign {
            Cosign::Two => Self::legacy(cosign)
                .args(["verify", "--rekor-url", &stack("REKOR1")])
                .args(["--certificate-identity", &workflow.identity()])
                .args(["--certificate-oidc-issuer", &stack("ISSUER")]),
            Cosign::Three => Self::cosign_verify(workflow),
        }
    }

    /// Returns a cosign with its trust in environment variables, the only way for formats older than bundles.
    fn legacy(cosign: Cosign) -> Self {
        let mut tool = match cosign {
            Cosign::Two => Self::installed("cosign2"),
            Cosign::Three => Self::installed("cosign3"),
        };
        for (name, file) in [
            ("SIGSTORE_ROOT_FILE", "ca.pem"),
            ("SIGSTORE_REKOR_PUBLIC_KEY", "rekor1.pub"),
            ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", "ct.pub"),
        ] {
            tool = tool.env(name, Path::new(&stack("FOLDER")).join("keys").join(file));
        }
        tool
    }

    /// Returns a command as pasted into a shell, whose `cosign` trusts this stack.
    pub(crate) fn pasted(command: &str) -> Self {
        let cosign = r#"cosign() { "$COSIGN" "$@" --trusted-root "$TRUSTED_ROOT"; }"#;
        Self::foreign("/bin/sh")
            .args(["-c", &format!("{cosign}\n{command}")])
            .env("COSIGN", Path::new(&stack("BIN")).join("cosign3"))
            .env("TRUSTED_ROOT", stack("TRUSTED_ROOT"))
    }

    /// Returns the bundles that are stored as referrers of `digest`, by API or referrers tag.
    pub(crate) fn bundles(repository: &str, digest: &str) -> Vec<String> {
        let listed = Self::regctl(repository)
            .args(["artifact", "list", &format!("{repository}@{digest}")])
            .args([
                "--format",
                "{{range .Descriptors}}{{println .Digest}}{{end}}",
            ])
            .succeed();
        let get = |referrer| {
            Self::regctl(repository)
                .args(["artifact", "get", &format!("{repository}@{referrer}")])
                .succeed()
        };
        listed.lines().map(get).collect()
    }

    /// Runs it under a clock, which writes to `report`, asserts success, and returns its cost.
    pub(crate) fn measure(self, report: &Path) -> Spent {
        let mut command = Command::new("/usr/bin/time");
        command
            .args(["-f", "%e %M %U %S", "-o"])
            .arg(report)
            .arg(self.command.get_program())
            .args(self.command.get_args());
        command.env_clear().stdin(Stdio::piped());
        for (name, value) in self.command.get_envs() {
            command.envs(value.map(|value| (name, value)));
        }
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        Self { command, ..self }.succeed();
        let text = std::fs::read_to_string(report).unwrap();
        let numbers = text.lines().last().unwrap().split(' ');
        let numbers: Vec<f64> = numbers.map(|number| number.parse().unwrap()).collect();
        let [seconds, kib, own, kernels] = numbers[..] else {
            panic!("{text}");
        };
        Spent {
            seconds,
            peak: kib / 1024.0,
            cpu: own + kernels,
        }
    }

    /// Makes the command read the output of another one.
    pub(crate) fn reading(self, other: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{other} | \"$0\" \"$@\"")])
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .env_clear()
            .stdin(Stdio::piped());
        for (name, value) in self.command.get_envs() {
            command.envs(value.map(|value| (name, value)));
        }
        Self { command, ..self }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets its standard input.
    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }

    /// Runs it to its end, with any result. A child that was killed by the time limit fails the case.
    pub(crate) fn output(mut self) -> Output {
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let mut pipe = child.stdin.take().unwrap();
        let given = self.stdin;
        // From a thread, because a child may print before it has read all. A child may also close the pipe without reading.
        let writer = std::thread::spawn(move || drop(pipe.write_all(&given)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(
            !matches!(output.status.code(), Some(124 | 137)),
            "more than {} s: {:?}\n{}",
            self.seconds,
            self.command,
            text(&output)
        );
        output
    }

    /// Runs it, asserts success, and returns its output.
    pub(crate) fn succeed(self) -> String {
        let shown = format!("{:?}", self.command);
        let output = self.output();
        assert!(output.status.success(), "{shown}\n{}", text(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Returns the output of a child, for a message.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
