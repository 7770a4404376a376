//! Child processes: cosign, crane, regctl, buildx. Each ends, by itself or by `timeout`.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{Log, stack, tls_authority};

/// A child that takes longer than this is ended, and its case fails.
const CHILD_SECONDS: u32 = 120;

/// The same for a run of a workflow, which has a dozen jobs with a container each.
const WORKFLOW_SECONDS: u32 = 900;

/// A workflow that runs for the repository `octo-org/octo-app`, or for another, and signs under its own identity.
#[derive(Debug, Clone)]
pub(crate) struct Workflow {
    reference: String,
    repository: &'static str,
    commit: Option<String>,
}

impl Workflow {
    /// The workflow `.github/workflows/NAME.yml` on the main branch.
    pub(crate) fn named(name: &str) -> Self {
        Self::called(&format!(
            "octo-org/octo-app/.github/workflows/{name}.yml@refs/heads/main"
        ))
    }

    /// A workflow that others call: `OWNER/NAME/.github/workflows/FILE@REF`.
    pub(crate) fn called(reference: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            repository: "octo-org/octo-app",
            commit: None,
        }
    }

    /// The same workflow, called by another repository.
    pub(crate) fn by(self, repository: &'static str) -> Self {
        Self { repository, ..self }
    }

    /// The same workflow, run on another commit of the main branch than the issuer's own.
    pub(crate) fn at(&self, commit: &str) -> Self {
        let commit = Some(commit.to_owned());
        Self {
            commit,
            ..self.clone()
        }
    }

    /// The identity in its certificates.
    pub(crate) fn identity(&self) -> String {
        format!("https://github.com/{}", self.reference)
    }

    /// The environment in which its jobs find GitHub's token endpoint.
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

/// The versions of cosign that are in use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cosign {
    /// 2.6: reads bundles only when told to.
    Two,
    /// 3: writes bundles, reads both.
    Three,
}

/// What a command took.
pub(crate) struct Spent {
    /// From its beginning to its end.
    pub(crate) seconds: f64,
    /// The peak of its memory, in MiB.
    pub(crate) peak: f64,
    /// Seconds of CPU, its own and the kernel's.
    pub(crate) cpu: f64,
}

/// A command that is about to run.
pub(crate) struct Tool {
    command: Command,
    seconds: u32,
    stdin: Vec<u8>,
}

impl Tool {
    /// `program` with nothing in its environment, bounded in time.
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

    /// cosign, for what the stack of real services has no part in.
    pub(crate) fn cosign() -> Self {
        Self::installed("cosign3")
    }

    /// One of the installed programs, with a home of its own.
    fn installed(name: &str) -> Self {
        Self::foreign(Path::new(&stack("BIN")).join(name))
    }

    /// A program of others: with a home of its own, and told in the way that all of Go's know which authority to trust.
    fn foreign(program: impl AsRef<OsStr>) -> Self {
        let home = Path::new(&stack("FOLDER")).join("home");
        std::fs::create_dir_all(&home).unwrap();
        let tool = Self::bounded(program).env("HOME", home);
        match tls_authority() {
            Some(authority) => tool.env("SSL_CERT_FILE", authority),
            None => tool,
        }
    }

    /// crane, which speaks plain HTTP to loopback by itself.
    pub(crate) fn crane() -> Self {
        Self::installed("crane")
    }

    /// skopeo, Debian's.
    pub(crate) fn skopeo() -> Self {
        Self::foreign("/usr/bin/skopeo").arg("--insecure-policy")
    }

    /// buildx, which does the same.
    pub(crate) fn buildx() -> Self {
        Self::installed("buildx")
    }

    /// docker, whichever talks to the daemon that has the image.
    pub(crate) fn docker(arguments: &[&str]) -> Self {
        Self::bounded(stack("DOCKER")).with_daemon().args(arguments)
    }

    /// The runner, with that daemon.
    pub(crate) fn act() -> Self {
        Self::within(WORKFLOW_SECONDS, stack("ACT")).with_daemon()
    }

    /// Passes on how that daemon is reached.
    fn with_daemon(mut self) -> Self {
        for name in ["PATH", "DOCKER_HOST", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                self = self.env(name, value);
            }
        }
        self
    }

    /// openssl, with the folder it works in.
    pub(crate) fn openssl(folder: &Path) -> Self {
        Self::bounded("/usr/bin/openssl").folder(folder)
    }

    /// regctl, told which of the hosts of both speak plain HTTP.
    pub(crate) fn regctl_between(from: &str, to: &str) -> Self {
        Self::regctl(from).told_of(to)
    }

    /// regctl, told whether the host of `reference` speaks plain HTTP.
    pub(crate) fn regctl(reference: &str) -> Self {
        Self::installed("regctl").told_of(reference)
    }

    /// Tells regctl of the host of `reference`: plain HTTP is spoken with addresses, TLS with names.
    fn told_of(self, reference: &str) -> Self {
        let (host, _) = reference.split_once('/').unwrap();
        if host.starts_with("127.0.0.1:") {
            self.args(["--host", &format!("reg={host},tls=disabled")])
        } else {
            self
        }
    }

    /// `cosign sign`, or whatever else signs, as a job of `workflow`.
    pub(crate) fn cosign_signing(verb: &str, log: Log, workflow: &Workflow) -> Self {
        Self::cosign()
            .args([verb, "--yes"])
            .job_of(workflow)
            .services(log)
    }

    /// cosign 2, told to write a bundle as a job of `workflow`.
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

    /// `cosign verify` of what `workflow` signed.
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

    /// A cosign that signs in its older format as a job of `workflow`: 2's own way, and one that 3 still has.
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

    /// `cosign verify` of what `workflow` signed, in whichever format it finds.
    pub(crate) fn legacy_verify(cosign: Cosign, workflow: &Workflow) -> Self {
        match cosign {
            Cosign::Two => Self::legacy(cosign)
                .args(["verify", "--rekor-url", &stack("REKOR1")])
                .args(["--certificate-identity", &workflow.identity()])
                .args(["--certificate-oidc-issuer", &stack("ISSUER")]),
            Cosign::Three => Self::cosign_verify(workflow),
        }
    }

    /// A cosign that is told by its environment whom to trust, which is the only way for what it knew before bundles.
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

    /// A command as somebody pastes it into a shell, whose `cosign` trusts this stack.
    pub(crate) fn pasted(command: &str) -> Self {
        let cosign = r#"cosign() { "$COSIGN" "$@" --trusted-root "$TRUSTED_ROOT"; }"#;
        Self::foreign("/bin/sh")
            .args(["-c", &format!("{cosign}\n{command}")])
            .env("COSIGN", Path::new(&stack("BIN")).join("cosign3"))
            .env("TRUSTED_ROOT", stack("TRUSTED_ROOT"))
    }

    /// The bundles that are stored as referrers of `digest`, by API or fallback tag.
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

    /// Runs it under a clock, which writes into `report`, asks for success, and returns what it took.
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

    /// The same command, which reads what another one prints.
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

    /// Gives it something to read.
    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }

    /// Runs it to its end, whatever that is; a child that was ended by the clock fails the case.
    pub(crate) fn output(mut self) -> Output {
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let mut pipe = child.stdin.take().unwrap();
        let given = self.stdin;
        // From a thread, since a child may print before it has read all. One that does not read closes the pipe; that
        // is its right.
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

    /// Runs it, asks for success, and returns what it printed.
    pub(crate) fn succeed(self) -> String {
        let shown = format!("{:?}", self.command);
        let output = self.output();
        assert!(output.status.success(), "{shown}\n{}", text(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// What a child printed, for a message.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
