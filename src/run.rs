//! A run, from the environment to the exit code, in the order that the crate's documentation gives.

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::actions::{Console, Environment, LookAlike};
use crate::commands::{CommandError, CommandResult, PreflightError, RunLimits, execute};
use crate::context::{Context, RecordReader, RecordWriter};
use crate::domain::{Event, Events, RequestTrace, Secret, SignatureFormat, chain_text};
use crate::failure::Failure;
use crate::http::{Certificates, Client, NameResolver, NameSettings, Proxies};
use crate::inputs::{
    Files, INPUTS, InputError, InputErrors, Inputs, Mode, RawInputs, Request, Settings,
};
use crate::outcome::Outcome;
use crate::record::{ExportedDigests, KnownDigests, RecordExport, WorkflowRun, export_name};
use crate::registry::{self, AwsKeys, Credentials, Login, Registry};
use crate::report::{FailureText, Report, RetryText, trace_text};
use crate::signatures::{SignatureError, SigningContext, VerifyingContext};
use crate::sigstore::{Keyless, OwnIdentity, Purpose, TokenSource, Trust, TrustSource};

/// Runs the command that the environment requests and reports its result. Returns the process's exit code.
///
/// `stop` resolves to the signal's name when the process must stop.
pub async fn run(
    environment: &Environment,
    console: &Arc<Console>,
    stop: impl Future<Output = &'static str>,
) -> u8 {
    let inputs = match parse(environment, console) {
        Ok(inputs) => inputs,
        Err(failure) => return fail_early(environment, console, &failure),
    };
    let journal = Arc::new(Mutex::new(Journal::default()));
    let events = listen(console, &journal, inputs.settings.trace);
    let events = events.with_public(&environment.public_text());
    if console.is_in_actions() && environment.variable("GITHUB_WORKSPACE").is_none() {
        console.warn("`GITHUB_WORKSPACE` is not set: paths start at the working directory, and later steps may not find the record");
    }
    let result = tokio::select! {
        result = work(environment, &inputs, &events, stop) => result,
        never = tick(console) => match never {},
    };
    let (outcome, failure) = match result {
        Ok(CommandResult { outcome, failure }) => (outcome, failure.map(Failure::Command)),
        Err(failure) => (Outcome::default(), Some(failure)),
    };
    let Journal { retries, requests } = journal
        .lock()
        .map(|mut journal| std::mem::take(&mut *journal))
        .unwrap_or_default();
    let report = Report {
        outcome: &outcome,
        failure: failure.as_ref().map(|failure| FailureText {
            text: failure.text(),
            hint: failure.hint(),
        }),
        retries: &retries,
        command: inputs.command,
        record: &Environment::relative(&inputs.settings.record),
    };
    console.close();
    if inputs.settings.trace {
        console.line(&trace_text(&requests));
    }
    // A summary is for people alone: the run is as good without it.
    if let Err(error) = environment.write_summary(&report.summary()) {
        console.warn(&chain_text(&error));
    }
    let outputs = environment.write_outputs(&report.outputs());
    match (failure, outputs.map_err(Failure::Environment)) {
        (Some(failure), _) | (None, Err(failure)) => fail(console, &failure),
        (None, Ok(())) => {
            console.line(&report.closing_line());
            0
        }
    }
}

fn parse(environment: &Environment, console: &Console) -> Result<Inputs, Failure> {
    let names: Vec<&'static str> = INPUTS.iter().map(|input| input.name).collect();
    environment.check_text(&names)?;
    check_look_alikes(environment, &names)?;
    let raw = RawInputs::gather(|name| environment.input(name));
    let read = |path: &str| environment.read(path);
    let path = |path: &str| environment.workspace_path(Path::new(path));
    let list = |path: &str| environment.list(path);
    // Secrets are masked before the first line is printed: a message about a wrong input could quote one.
    for name in ["github-token", "identity-token"] {
        environment
            .input(name)
            .into_iter()
            .for_each(|secret| console.mask(&secret));
    }
    if let Some(secret) = environment.secret("SIGSTORE_ID_TOKEN") {
        console.mask(secret.expose());
    }
    let inputs = Inputs::parse(
        &raw,
        &Files {
            read: &read,
            path: &path,
            list: &list,
        },
    )?;
    for auth in &inputs.settings.registry_auths {
        console.mask(auth.password.expose());
    }
    check_trust(environment, &inputs)?;
    environment.check_files()?;
    Ok(inputs)
}

/// Refuses variables that nobody reads although they look like an input: `INPUT_DRY_RUN` would change nothing.
fn check_look_alikes(environment: &Environment, names: &[&'static str]) -> Result<(), InputErrors> {
    let found = environment.look_alikes(names).into_iter();
    let errors = found.map(|LookAlike { input, variable }| InputError {
        input,
        problem: format!(
            "the variable `{variable}` is not read; this input is `--{input}`, or the variable `INPUT_{}`, which `env` can set",
            input.to_uppercase()
        ),
    });
    let errors: Vec<InputError> = errors.collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(InputErrors(errors))
    }
}

/// Checks the trust material that the inputs give, before anything is done: the workflow is wrong, not the network.
fn check_trust(environment: &Environment, inputs: &Inputs) -> Result<(), InputErrors> {
    let Some(purpose) = purpose(&inputs.request) else {
        return Ok(());
    };
    let errors = trust_source(environment, inputs).check(purpose);
    let errors = errors.iter().map(|(input, error)| {
        let document = input.replace('-', " ");
        InputError {
            input,
            problem: format!(
                "{}; it must be the JSON of a {document}, as `cosign {input} create` prints it",
                chain_text(error)
            ),
        }
    });
    let errors: Vec<InputError> = errors.collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(InputErrors(errors))
    }
}

fn trust_source(environment: &Environment, inputs: &Inputs) -> TrustSource {
    TrustSource {
        trusted_root: inputs.settings.trusted_root.clone(),
        signing_config: inputs.settings.signing_config.clone(),
        cache: environment.cache(),
    }
}

/// The purpose that a request may load trust for; `None` if it neither signs nor verifies.
fn purpose(request: &Request) -> Option<Purpose> {
    match request {
        Request::Verify(_) | Request::Preflight(_) | Request::Publish(_) => Some(Purpose::Verify),
        Request::Sign(_) => Some(Purpose::Sign),
        Request::Seal(seal) => seal.signing.as_ref().map(|_| Purpose::Sign),
        Request::Cleanup(_) => None,
    }
}

/// Retries and requests, which are reported again at the end.
#[derive(Debug, Default)]
struct Journal {
    retries: Vec<RetryText>,
    requests: Vec<RequestTrace>,
}

/// One listener for the whole run: it prints events at once and keeps those that are reported again at the end.
fn listen(console: &Arc<Console>, journal: &Arc<Mutex<Journal>>, trace: bool) -> Events {
    let (console, journal) = (Arc::clone(console), Arc::clone(journal));
    let listener = move |event| {
        console.print_event(&event);
        let Ok(mut journal) = journal.lock() else {
            return;
        };
        match event {
            Event::Retry { what, why, .. } => journal.retries.push(RetryText { what, why }),
            Event::Request(request) => journal.requests.push(request),
            Event::Step(_)
            | Event::Info(_)
            | Event::Warning(_)
            | Event::Mask(_)
            | Event::Limit(_) => (),
        }
    };
    if trace {
        Events::traced(Instant::now(), listener)
    } else {
        Events::new(listener)
    }
}

/// Updates a terminal's progress line while it is polled.
async fn tick(console: &Console) -> Infallible {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        console.tick();
    }
}

async fn work(
    environment: &Environment,
    inputs: &Inputs,
    events: &Events,
    stop: impl Future<Output = &'static str>,
) -> Result<CommandResult, Failure> {
    let settings = &inputs.settings;
    let proxies = Proxies::from_environment(|name| environment.variable(name))?;
    for password in proxies.secrets() {
        events.emit(Event::Mask(Secret::new(password)));
    }
    let names = NameSettings::of_system();
    for warning in names.warnings() {
        events.warn(warning.clone());
    }
    let client = Client::new(&certificates(settings)?, proxies, NameResolver::new(names))?;
    let registry = Registry::new(registry::RegistrySettings {
        http: client.clone(),
        credentials: credentials(environment, settings, events)?,
        insecure: settings.insecure_registries.clone(),
        retry_policy: settings.retry_policy,
        events: events.clone(),
    });
    // Not in a dry run: some registries create a repository when a client requests a push token for it.
    if settings.mode == Mode::Apply {
        let destinations = match &inputs.request {
            Request::Seal(seal) => seal.destinations.as_slice(),
            Request::Publish(publish) => &publish.destinations,
            Request::Sign(_) | Request::Verify(_) | Request::Preflight(_) | Request::Cleanup(_) => {
                &[]
            }
        };
        for repository in destinations {
            registry.request_push_scope(repository);
        }
    }
    let retry_policy = settings.retry_policy;
    let context = Context::new(registry, retry_policy, events.clone(), settings.mode);
    let record = Environment::relative(&settings.record);
    let earlier = RecordReader::open(
        &record,
        environment.workspace_path(&settings.record),
        record_export(environment, settings),
        settings.mode,
    )
    .map_err(CommandError::from)?;
    let record_writer = RecordWriter::new(earlier);
    let signing_context = signing_context(environment, inputs, client, events);
    let limits = RunLimits {
        timeout: settings.timeout,
        stop,
    };
    let result = execute(
        &context,
        &inputs.request,
        signing_context,
        &record_writer,
        limits,
    )
    .await;
    // In Actions the digest is an output.
    if let (Some(digest), None) = (
        record_writer.written(),
        environment.variable("GITHUB_OUTPUT"),
    ) {
        events.info(format!(
            "pass `record-digest: {digest}` to continue the record `{record}`"
        ));
    }
    Ok(result)
}

/// Collects the job's part in its records: its run, the known digests, and how to announce a new one.
fn record_export(environment: &Environment, settings: &Settings) -> RecordExport {
    let number = |name: &str| environment.variable(name)?.parse().ok();
    let run = || {
        Some(WorkflowRun {
            id: environment.variable("GITHUB_RUN_ID")?.parse().ok()?,
            attempt: number("GITHUB_RUN_ATTEMPT").unwrap_or(1),
            repository: environment.variable("GITHUB_REPOSITORY")?.to_owned(),
        })
    };
    let (exporting, announcing) = (environment.clone(), environment.clone());
    let input = settings.record_digest.clone();
    let name = Environment::relative(&settings.record);
    let variable = export_name(&name);
    let known = move |name: &str| {
        let variable = export_name(&Environment::relative(Path::new(name)));
        let exported = exporting.variable(&variable).unwrap_or_default();
        KnownDigests {
            input: input.clone(),
            exported: exported
                .split(' ')
                .filter_map(|text| text.parse().ok())
                .collect(),
        }
    };
    let export = move |digests: ExportedDigests<'_>| match digests {
        ExportedDigests::Replacing { old, new } => {
            let both: Vec<String> = old
                .into_iter()
                .chain([new])
                .map(ToString::to_string)
                .collect();
            Ok(announcing.export(&variable, both.join(" "))?)
        }
        ExportedDigests::Replaced(new) => {
            announcing.export(&variable, new.to_string())?;
            let outputs = [("record", name.clone()), ("record-digest", new.to_string())];
            Ok(announcing.write_outputs(&outputs)?)
        }
    };
    RecordExport {
        run: run(),
        known: Box::new(known),
        export: Box::new(export),
    }
}

fn certificates(settings: &Settings) -> Result<Certificates, Failure> {
    let mut certificates = Certificates::default();
    if let Some(pem) = &settings.ca_bundle {
        certificates.add(&String::from_utf8_lossy(pem))?;
    }
    Ok(certificates)
}

fn credentials(
    environment: &Environment,
    settings: &Settings,
    events: &Events,
) -> Result<Credentials, Failure> {
    let mut credentials = Credentials::new();
    for auth in &settings.registry_auths {
        let login = Login {
            username: auth.username.clone(),
            password: auth.password.clone(),
        };
        credentials.login(&auth.registry, login, "`registry-auths`")?;
    }
    if let Some((config, origin)) = environment.docker_config()? {
        credentials.docker_config(&config, &origin)?;
    }
    if let Some(token) = &settings.github_token {
        credentials.github_token(token.clone(), environment.variable("GITHUB_SERVER_URL"));
    }
    if let Some(keys) = aws_keys(environment) {
        credentials.aws(keys);
    }
    for secret in credentials.secrets() {
        events.emit(Event::Mask(secret.clone()));
    }
    Ok(credentials)
}

/// The AWS keys that aws-actions/configure-aws-credentials exports to later steps.
fn aws_keys(environment: &Environment) -> Option<AwsKeys> {
    let text = |name: &str| environment.variable(name).map(str::to_owned);
    Some(AwsKeys {
        id: text("AWS_ACCESS_KEY_ID")?,
        secret: environment.secret("AWS_SECRET_ACCESS_KEY")?,
        session_token: environment.secret("AWS_SESSION_TOKEN"),
        endpoint: text("AWS_ENDPOINT_URL_ECR"),
        public_endpoint: text("AWS_ENDPOINT_URL_ECR_PUBLIC"),
    })
}

/// Loads everything that signing and verifying need. No request is sent before the future is awaited.
async fn signing_context(
    environment: &Environment,
    inputs: &Inputs,
    client: Client,
    events: &Events,
) -> Result<SigningContext, CommandError> {
    let settings = &inputs.settings;
    let source = trust_source(environment, inputs);
    // Commands that neither sign nor verify never await this.
    let purpose = purpose(&inputs.request).unwrap_or(Purpose::Verify);
    let token = token_source(environment, settings);
    let absence = environment.token_absence();
    // Checked before the trust root is loaded: the workflow is wrong.
    if token.is_none() && needs_token(&inputs.request) {
        return Err(PreflightError::NoIdentity(absence).into());
    }
    let trust = Trust::load(&source, purpose, &client, settings.retry_policy, events).await;
    let trust = Arc::new(trust.map_err(SignatureError::from)?);
    // Checked before any change, even if the run would not need to sign: the workflow is wrong.
    if signs_legacy(&inputs.request) && !trust.can_sign_legacy() {
        return Err(SignatureError::NoLegacyLog.into());
    }
    let (mut keyless, mut identity) = (None, None);
    match (purpose, token) {
        (Purpose::Sign, Some(token)) => {
            let trust = Arc::clone(&trust);
            let made = Keyless::new(trust, client, token, settings.retry_policy, events);
            keyless = Some(made.map_err(SignatureError::from)?);
        }
        (Purpose::Verify, Some(token)) => {
            identity = Some(OwnIdentity::new(
                client,
                token,
                settings.retry_policy,
                events,
            ));
        }
        (_, None) => (),
    }
    Ok(SigningContext {
        verifying: VerifyingContext {
            trust,
            identity,
            token_absence: absence,
            source_repository: environment.source_repository(),
        },
        keyless,
    })
}

/// True if a preflight needs an OIDC token to determine which identity's signature counts.
fn needs_token(request: &Request) -> bool {
    let Request::Preflight(preflight) = request else {
        return false;
    };
    let policy = preflight.policy.as_ref();
    policy.is_some_and(|policy| policy.identity.is_none())
}

fn signs_legacy(request: &Request) -> bool {
    let signing = match request {
        Request::Seal(seal) => seal.signing.as_ref(),
        Request::Sign(sign) => Some(&sign.signing),
        Request::Verify(_) | Request::Preflight(_) | Request::Publish(_) | Request::Cleanup(_) => {
            None
        }
    };
    signing.is_some_and(|signing| signing.formats.each().contains(&SignatureFormat::Legacy))
}

/// The source of the OIDC token: the user's own token, else GitHub's for jobs that may request one.
fn token_source(environment: &Environment, settings: &Settings) -> Option<TokenSource> {
    let given: Option<Secret> = settings
        .identity_token
        .clone()
        .or_else(|| environment.secret("SIGSTORE_ID_TOKEN"));
    given.map(TokenSource::Given).or_else(|| {
        Some(TokenSource::GitHub {
            request_url: environment
                .variable("ACTIONS_ID_TOKEN_REQUEST_URL")?
                .to_owned(),
            request_token: environment.secret("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?,
            audience: settings.oidc_audience.clone(),
        })
    })
}

/// Fails before there is anything to report except the failure itself.
fn fail_early(environment: &Environment, console: &Console, failure: &Failure) -> u8 {
    let text = format!(
        "### :x: {}\n\n{}\n",
        failure.title(),
        crate::report::failure_block(&failure.text(), failure.hint().as_deref())
    );
    let code = fail(console, failure);
    if let Err(error) = environment.write_summary(&text) {
        console.error(failure.title(), &chain_text(&error));
    }
    code
}

/// Prints the failure and the advice for it. Returns the process's exit code.
pub fn fail(console: &Console, failure: &Failure) -> u8 {
    console.error(failure.title(), &failure.text());
    if let Some(hint) = failure.hint() {
        console.line(&format!("hint: {hint}"));
    }
    failure.exit_code() as u8
}
