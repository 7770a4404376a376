//! Each hosted registry by its own habits: everything comes to its end, a rerun changes nothing, credentials stay with
//! whom they are for, and a denial is never taken for absence. The registries are reached by their own names, with the
//! sandbox as the proxy that all of them are behind.

use sandbox::{Authorization, Fault, Options, Registry, Request, Service};
use serde_json::json;

use crate::support::{Action, Outcome, REPOSITORY, World, until};

const PASSWORD: &str = "hunter2-and-more";
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "IQoJb3JpZ2luX2VjEXAMPLE//////////==";

/// One hosted registry with two platform images, and a job that may log in there in its usual way.
struct Hosted {
    service: Service,
    world: World,
}

impl Hosted {
    fn new(service: Service) -> Self {
        Self::with(service, Options::new())
    }

    fn with(service: Service, options: Options) -> Self {
        let options =
            options
                .like(service, user(service), PASSWORD)
                .aws(KEY, SECRET, Some(SESSION), true);
        Self {
            service,
            world: World::with(options),
        }
    }

    fn registry(&self) -> &Registry {
        self.world.registry()
    }

    fn image(&self) -> String {
        format!("{}/{REPOSITORY}", self.service.hosts()[0])
    }

    /// `action` at this registry, as nobody.
    fn anonymous(&self, action: Action) -> Action {
        action
            .input("image", self.image())
            .input("insecure-registries", self.service.hosts().join(","))
            .env(
                "HTTP_PROXY",
                format!("http://{}", self.registry().address()),
            )
    }

    /// `action` at this registry, with the credentials that are usual there.
    fn logged_in(&self, action: Action) -> Action {
        let action = self.anonymous(action);
        let [host, ..] = self.service.hosts();
        let endpoint = format!("http://{}", self.registry().address());
        match self.service {
            Service::DockerHub => docker_login(action, "https://index.docker.io/v1/", PASSWORD),
            Service::Ghcr => action.input("github-token", PASSWORD),
            Service::Ecr => aws(action).env("AWS_ENDPOINT_URL_ECR", endpoint),
            Service::EcrPublic => aws(action).env("AWS_ENDPOINT_URL_ECR_PUBLIC", endpoint),
            Service::Acr => {
                let config = json!({"auths": {host: {"auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": PASSWORD}}});
                docker_config(action, &config)
            }
            Service::ArtifactRegistry | Service::Quay | Service::Harbor => {
                action.input("registry-auths", auths(host, user(self.service), PASSWORD))
            }
        }
    }

    /// The requests that changed something at the registry.
    fn writes(&self) -> Vec<Request> {
        let mut requests = self.registry().requests();
        requests.retain(|request| {
            !matches!(request.method.as_str(), "GET" | "HEAD") && request.path.starts_with("/v2/")
        });
        requests
    }

    /// Asks that nobody was sent anything who is none of this registry's hosts, and its storage no credentials.
    fn kept_to_itself(&self) {
        let [registry, realm, storage] = self.service.hosts();
        let registry = if registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            registry
        };
        let aws = self.registry().address();
        for request in self.registry().requests() {
            let host = request.host.as_str();
            assert!(
                [registry, realm, storage, &aws].contains(&host),
                "{request:?}"
            );
            let is_sent = request.authorization != Authorization::None;
            assert!(
                !is_sent || host != storage || storage == registry,
                "{request:?}"
            );
            // What goes to AWS is signed, and is no password.
            assert!(
                host != aws || request.authorization == Authorization::Other,
                "{request:?}"
            );
        }
    }
}

fn user(service: Service) -> &'static str {
    match service {
        Service::DockerHub => "octocat",
        Service::Ghcr => "x-access-token",
        Service::Ecr | Service::EcrPublic => "AWS",
        Service::Acr => "00000000-0000-0000-0000-000000000000",
        Service::ArtifactRegistry => "oauth2accesstoken",
        Service::Quay => "octo-org+robot",
        Service::Harbor => "robot$octo-org+release",
    }
}

fn auths(host: &str, username: &str, password: &str) -> String {
    json!([{"registry": host, "username": username, "password": password}]).to_string()
}

fn docker_config(action: Action, config: &serde_json::Value) -> Action {
    let action = action.file("docker/config.json", config.to_string());
    let folder = action.workspace().join("docker");
    action.env("DOCKER_CONFIG", folder.to_str().unwrap())
}

fn docker_login(action: Action, key: &str, password: &str) -> Action {
    let config = json!({"auths": {key: {"username": "octocat", "password": password}}});
    docker_config(action, &config)
}

/// What aws-actions/configure-aws-credentials exports.
fn aws(action: Action) -> Action {
    action
        .env("AWS_REGION", "ap-southeast-2")
        .env("AWS_DEFAULT_REGION", "ap-southeast-2")
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_SESSION_TOKEN", SESSION)
}

/// No secret is anywhere but in the line that has it masked.
fn kept_secret(outcome: &Outcome) {
    let unmasked: Vec<&str> = outcome
        .log
        .lines()
        .filter(|line| !line.starts_with("::add-mask::"))
        .chain([outcome.summary.as_str()])
        .collect();
    for secret in [
        PASSWORD,
        SECRET,
        SESSION,
        "X-Amz-Signature",
        "sandbox-token-",
    ] {
        assert!(
            !unmasked.iter().any(|text| text.contains(secret)),
            "{secret}: {}",
            outcome.log
        );
    }
}

#[test]
fn everything_is_made_signed_and_left_alone_by_a_rerun_at_every_service() {
    for service in Service::ALL {
        let hosted = Hosted::new(service);
        let said = |outcome: &Outcome, wanted: [&str; 2]| {
            kept_secret(outcome);
            hosted.kept_to_itself();
            let got = ["result", "sign-skipped"].map(|name| outcome.output(name).to_owned());
            assert_eq!(got, wanted, "{service:?}\n{}", outcome.log);
        };
        let create = hosted.logged_in(hosted.world.create());
        said(&create.succeed(), ["created", "false"]);
        assert!(!hosted.writes().is_empty(), "{service:?}");

        hosted.registry().clear_requests();
        said(&create.succeed(), ["unchanged", "false"]);
        assert_eq!(hosted.writes(), [], "{service:?}");

        let seal = hosted.logged_in(hosted.world.seal());
        said(&seal.succeed(), ["unchanged", "false"]);
        hosted.registry().clear_requests();
        said(
            &hosted.logged_in(hosted.world.seal()).succeed(),
            ["unchanged", "true"],
        );
        assert_eq!(hosted.writes(), [], "{service:?}");
    }
}

#[test]
fn nobody_and_the_wrong_one_are_told_so_and_nothing_is_written() {
    for service in Service::ALL {
        let hosted = Hosted::new(service);
        let nobody = hosted.anonymous(hosted.world.create()).end_with(1);
        nobody.says(&["hint: no credentials were given"]);
        let [host, ..] = service.hosts();
        let wrong = hosted
            .anonymous(hosted.world.create())
            .input("registry-auths", auths(host, user(service), "wrong-one"));
        let wrong = wrong.end_with(1);
        wrong.says(&["hint: the credentials came from `registry-auths`"]);
        for outcome in [nobody, wrong] {
            kept_secret(&outcome);
            assert!(!outcome.outputs.contains_key("digest") || outcome.output("digest").is_empty());
        }
        hosted.kept_to_itself();
        // ECR Public lets anybody read, so that it is the push that is refused.
        let mut stored = hosted.writes();
        stored.retain(|request| request.status.is_some_and(|status| status < 300));
        assert_eq!(stored, [], "{service:?}");
        assert!(hosted.world.tags().is_empty(), "{service:?}");
    }
}

#[test]
fn who_may_only_read_is_told_so_and_no_tag_is_taken_for_absent_without_a_look() {
    for service in Service::ALL {
        if service == Service::Ecr {
            // Its rights are AWS's, and are not in a token.
            continue;
        }
        let hosted = Hosted::with(service, Options::new().grants(&["pull"]));
        let outcome = hosted.logged_in(hosted.world.create()).end_with(1);
        outcome.says(&["hint: the credentials came from"]);
        hosted.kept_to_itself();
        assert!(hosted.world.tags().is_empty(), "{service:?}");
        // What is there already needs no right to write.
        let index = Hosted::new(service);
        let made = index.logged_in(index.world.create()).succeed();
        let (_, bytes) = index.registry().manifest(REPOSITORY, "v1").unwrap();
        let media_type = "application/vnd.oci.image.index.v1+json";
        hosted
            .registry()
            .push_raw(REPOSITORY, Some("v1"), media_type, &bytes);
        let again = hosted.logged_in(hosted.world.create()).succeed();
        assert_eq!(again.output("digest"), made.output("digest"));
        assert_eq!(again.output("result"), "unchanged", "{service:?}");
    }
}

#[test]
fn tag_that_was_deleted_is_absent_in_each_service_s_own_words() {
    for service in Service::ALL {
        let hosted = Hosted::new(service);
        let create = hosted.logged_in(hosted.world.create());
        create.succeed();
        hosted.registry().delete_tag(REPOSITORY, "v1");
        let again = hosted.logged_in(hosted.world.create()).succeed();
        assert_eq!(again.output("result"), "created", "{service:?}");
        assert!(hosted.world.tag("v1").is_some(), "{service:?}");
    }
}

#[test]
fn token_that_is_taken_away_in_the_middle_is_asked_for_again() {
    for service in Service::ALL {
        if service == Service::Ecr
            || service == Service::ArtifactRegistry
            || service == Service::Ghcr
        {
            // The first has no tokens; of the others it is not known what they say to one.
            continue;
        }
        let hosted = Hosted::new(service);
        let slow = std::time::Duration::from_millis(300);
        let index = Fault::on("PUT", "*/manifests/sha256:*");
        hosted.registry().fault(index.delay(slow));
        let running = hosted.logged_in(hosted.world.create()).begin();
        until("the index", || {
            hosted
                .writes()
                .iter()
                .any(|request| request.method == "PUT")
        });
        hosted.registry().revoke_tokens();
        let outcome = running.end();
        assert_eq!(outcome.code, 0, "{service:?}\n{}", outcome.log);
        assert_eq!(hosted.registry().token_requests(), 2, "{service:?}");
        kept_secret(&outcome);
    }
}

#[test]
fn docker_hub_goes_by_all_its_names() {
    for name in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
        for key in [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io",
        ] {
            let hosted = Hosted::new(Service::DockerHub);
            let action = hosted
                .anonymous(hosted.world.create())
                .input("image", format!("{name}/{REPOSITORY}"));
            let outcome = docker_login(action, key, PASSWORD).succeed();
            assert_eq!(outcome.output("result"), "created", "{name} {key}");
            hosted.kept_to_itself();
        }
    }
}

/// How often AWS was asked.
fn asked_aws(hosted: &Hosted) -> usize {
    let own = hosted.registry().address();
    let requests = hosted.registry().requests();
    requests
        .iter()
        .filter(|request| request.host == own)
        .count()
}

#[test]
fn aws_is_asked_once_and_only_where_nobody_else_has_a_login() {
    for service in [Service::Ecr, Service::EcrPublic] {
        let hosted = Hosted::new(service);
        let many: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
        let seal = hosted.logged_in(hosted.world.seal());
        seal.input("tags", many.join(","))
            .input("recursive", "true")
            .succeed();
        assert_eq!(asked_aws(&hosted), 1, "{service:?}");

        hosted.registry().clear_requests();
        let [host, ..] = service.hosts();
        let create = || hosted.logged_in(hosted.world.create());
        create()
            .input("registry-auths", auths(host, "AWS", PASSWORD))
            .succeed();
        let config = json!({"auths": {host: {"username": "AWS", "password": PASSWORD}}});
        docker_config(create(), &config).succeed();
        assert_eq!(asked_aws(&hosted), 0, "{service:?}");

        // What the helper would do is what is done here.
        for config in [
            json!({"credHelpers": {host: "ecr-login"}}),
            json!({"auths": {host: {}}, "credsStore": "ecr-login"}),
        ] {
            hosted.registry().clear_requests();
            docker_config(create(), &config).succeed();
            assert_eq!(asked_aws(&hosted), 1, "{service:?}");
        }
    }
    // Another registry's challenge is not answered by AWS.
    let hosted = Hosted::new(Service::Quay);
    let endpoint = format!("http://{}", hosted.registry().address());
    let nobody = aws(hosted.anonymous(hosted.world.create()));
    nobody.env("AWS_ENDPOINT_URL_ECR", endpoint).end_with(1);
    assert_eq!(asked_aws(&hosted), 0);
}

#[test]
fn aws_that_says_no_is_told_of_with_the_permission_that_is_missing() {
    for (service, permission) in [
        (Service::Ecr, "`ecr:GetAuthorizationToken`"),
        (
            Service::EcrPublic,
            "`ecr-public:GetAuthorizationToken` and `sts:GetServiceBearerToken`",
        ),
    ] {
        let options = Options::new().like(service, "AWS", PASSWORD);
        let denied = Hosted {
            service,
            world: World::with(options.aws(KEY, SECRET, Some(SESSION), false)),
        };
        let outcome = denied.logged_in(denied.world.create()).end_with(1);
        outcome.says(&[
            "could not get a login from AWS",
            "AccessDeniedException",
            "is not authorized to perform",
        ]);
        outcome.says(&[
            "hint: the role that the job assumes needs the permission",
            permission,
        ]);
        assert_eq!(asked_aws(&denied), 1, "it is no use to ask again");
        kept_secret(&outcome);

        // An old session: the keys are right, its token is not.
        let hosted = Hosted::new(service);
        let old = hosted.logged_in(hosted.world.create());
        let outcome = old.env("AWS_SESSION_TOKEN", "old").end_with(1);
        outcome.says(&[
            "InvalidSignatureException",
            "hint: AWS does not take the keys of the environment",
        ]);
        let other = hosted.logged_in(hosted.world.create());
        let outcome = other.env("AWS_SECRET_ACCESS_KEY", "other").end_with(1);
        outcome.says(&["does not match the signature you provided"]);

        // A bad minute of AWS's passes.
        let hosted = Hosted::new(service);
        let throttled = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
        hosted
            .registry()
            .fault(Fault::on("POST", "/").answer(400, &[], throttled));
        let outcome = hosted.logged_in(hosted.world.create()).succeed();
        outcome.says(&["login from", "Rate exceeded"]);

        let variable = match service {
            Service::EcrPublic => "AWS_ENDPOINT_URL_ECR_PUBLIC",
            _ => "AWS_ENDPOINT_URL_ECR",
        };
        let plain = hosted.logged_in(hosted.world.create());
        let outcome = plain.env(variable, "http://aws.example").end_with(1);
        outcome.says(&[&format!("variable `{variable}` is not HTTPS")]);
    }
}

#[test]
fn each_request_is_told_of_where_trace_asks_for_it_and_no_secret_with_it() {
    let hosted = Hosted::new(Service::Ecr);
    let quiet = hosted.logged_in(hosted.world.seal()).succeed();
    assert!(!quiet.log.contains("trace"), "{}", quiet.log);
    let hosted = Hosted::new(Service::Ecr);
    let seal = hosted.logged_in(hosted.world.seal());
    let outcome = seal.input("trace", "true").succeed();
    kept_secret(&outcome);
    let lines: Vec<&str> = outcome
        .log
        .lines()
        .filter(|line| line.starts_with("trace ") && line.contains(" ms "))
        .collect();
    // Everything that was asked was told of, of registry and Sigstore alike, and nothing else.
    let asked = hosted.registry().requests().len() + hosted.world.sigstore().requests().len();
    assert_eq!(lines.len(), asked, "{}", outcome.log);
    for request in hosted.registry().requests() {
        let path = request.path.split('?').next().unwrap();
        let status = request.status.unwrap();
        let wanted = format!("{:<5} {}{path} {status}", request.method, request.host);
        assert!(
            lines.iter().any(|line| line.ends_with(&wanted)),
            "{wanted}\n{}",
            outcome.log
        );
    }
    assert!(
        !lines.iter().any(|line| line.contains('?')),
        "{}",
        outcome.log
    );
    let [host, ..] = Service::Ecr.hosts();
    outcome.says(&[
        &format!("trace: {asked} requests, at least "),
        &format!("trace: {host}: "),
        &format!("trace: {}: 1 request, ", hosted.registry().address()),
    ]);
}
