//! Hosted registries, reached by their own names through a proxy that forwards to the sandbox. Without TLS the sandbox itself
//! is the proxy.

use sandbox::{Authorization, Options, Proxy, Registry, Request, Service};
use serde_json::json;

use super::{Action, Outcome, REPOSITORY, World};

/// The password, or token, at every registry.
pub(crate) const PASSWORD: &str = "hunter2-and-more";
/// The access key at AWS.
pub(crate) const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub(crate) const SESSION: &str = "IQoJb3JpZ2luX2VjEXAMPLE//////////==";

/// One hosted registry with two platform images, and credentials of the kind usual there.
pub(crate) struct Hosted {
    pub(crate) service: Service,
    pub(crate) world: World,
    proxy: Proxy,
}

impl Hosted {
    pub(crate) fn new(service: Service) -> Self {
        Self::with(service, Options::new())
    }

    pub(crate) fn with(service: Service, options: Options) -> Self {
        let options =
            options
                .like(service, user(service), PASSWORD)
                .aws(KEY, SECRET, Some(SESSION), true);
        Self::of(service, World::with(options))
    }

    pub(crate) fn of(service: Service, world: World) -> Self {
        let place = world.registry().socket();
        // Docker Hub's registry has a host name that no reference contains.
        let hosts = hosts(service).into_iter().chain(["registry-1.docker.io"]);
        let proxy = hosts.fold(Proxy::start(), |proxy, host| {
            proxy.leads(&format!("{host}:443"), place)
        });
        Self {
            service,
            world,
            proxy,
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.world.registry()
    }

    fn image(&self) -> String {
        format!("{}/{REPOSITORY}", self.service.hosts()[0])
    }

    /// Returns `action` at this registry, without credentials.
    pub(crate) fn anonymous(&self, action: Action) -> Action {
        let action = action.input("image", self.image());
        if self.registry().transport().is_tls() {
            return action.env("HTTPS_PROXY", format!("http://{}", self.proxy.address()));
        }
        action
            .input("insecure-registries", hosts(self.service).join(","))
            .env("HTTP_PROXY", self.registry().url())
    }

    /// Returns `action` at this registry, with the credentials that are usual there.
    pub(crate) fn logged_in(&self, action: Action) -> Action {
        let action = self.anonymous(action);
        let [host, ..] = self.service.hosts();
        let endpoint = self.registry().url();
        match self.service {
            Service::DockerHub => docker_login(action, "https://index.docker.io/v1/", PASSWORD),
            Service::Ghcr => action.input("github-token", PASSWORD),
            Service::Ecr => aws(action).env("AWS_ENDPOINT_URL_ECR", endpoint),
            Service::EcrPublic => aws(action).env("AWS_ENDPOINT_URL_ECR_PUBLIC", endpoint),
            Service::Acr => {
                let config = json!({"auths": {host: {"auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": PASSWORD}}});
                docker_config(action, &config)
            }
            Service::ArtifactRegistry | Service::Quay | Service::Harbor | Service::GitLab => {
                action.input("registry-auths", auths(host, user(self.service), PASSWORD))
            }
        }
    }

    /// Returns the write requests to the registry.
    pub(crate) fn writes(&self) -> Vec<Request> {
        let mut requests = self.registry().requests();
        requests.retain(|request| {
            !matches!(request.method.as_str(), "GET" | "HEAD") && request.path.starts_with("/v2/")
        });
        requests
    }

    /// Counts the requests to AWS.
    pub(crate) fn asked_aws(&self) -> usize {
        let own = self.registry().address();
        let requests = self.registry().requests();
        requests
            .iter()
            .filter(|request| request.host == own)
            .count()
    }

    /// Asserts that only this registry's hosts received requests, and that its storage received no credentials.
    pub(crate) fn kept_to_itself(&self) {
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
                [registry, realm, storage, &aws].contains(&host) || api(self.service) == Some(host),
                "{request:?}"
            );
            let is_sent = request.authorization != Authorization::None;
            assert!(
                !is_sent || host != storage || storage == registry,
                "{request:?}"
            );
            // Requests to AWS are signed, and contain no password.
            assert!(
                host != aws || request.authorization == Authorization::Other,
                "{request:?}"
            );
        }
    }
}

/// Returns all host names of a service, including that of a separate API.
fn hosts(service: Service) -> Vec<&'static str> {
    let mut hosts = service.hosts().to_vec();
    hosts.extend(api(service));
    hosts
}

fn api(service: Service) -> Option<&'static str> {
    match service {
        Service::DockerHub => Some("hub.docker.com"),
        Service::Ghcr => Some("api.github.com"),
        Service::Ecr
        | Service::EcrPublic
        | Service::Acr
        | Service::ArtifactRegistry
        | Service::Quay
        | Service::Harbor
        | Service::GitLab => None,
    }
}

pub(crate) fn user(service: Service) -> &'static str {
    match service {
        Service::DockerHub => "octocat",
        Service::Ghcr => "x-access-token",
        Service::Ecr | Service::EcrPublic => "AWS",
        Service::Acr => "00000000-0000-0000-0000-000000000000",
        Service::ArtifactRegistry => "oauth2accesstoken",
        Service::Quay => "octo-org+robot",
        Service::Harbor => "robot$octo-org+release",
        Service::GitLab => "gitlab-ci-token",
    }
}

pub(crate) fn auths(host: &str, username: &str, password: &str) -> String {
    json!([{"registry": host, "username": username, "password": password}]).to_string()
}

pub(crate) fn docker_config(action: Action, config: &serde_json::Value) -> Action {
    let action = action.file("docker/config.json", config.to_string());
    let folder = action.workspace().join("docker");
    action.env("DOCKER_CONFIG", folder.to_str().unwrap())
}

pub(crate) fn docker_login(action: Action, key: &str, password: &str) -> Action {
    let config = json!({"auths": {key: {"username": "octocat", "password": password}}});
    docker_config(action, &config)
}

/// Returns `action` with the variables that aws-actions/configure-aws-credentials exports.
pub(crate) fn aws(action: Action) -> Action {
    action
        .env("AWS_REGION", "ap-southeast-2")
        .env("AWS_DEFAULT_REGION", "ap-southeast-2")
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_SESSION_TOKEN", SESSION)
}

/// Asserts that every secret appears only in the lines that mask it.
pub(crate) fn kept_secret(outcome: &Outcome) {
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
