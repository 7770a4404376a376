//! The behaviour of hosted registries, each as last observed; unobserved behaviour follows the specification. Clients
//! reach all of them by their own names through a proxy, which with plain HTTP is this server itself. Apart from the
//! scheme, their answers are unchanged.

use super::options::{Deletes, Referrers};

/// A hosted registry, or the software of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// docker.io
    DockerHub,
    /// ghcr.io
    Ghcr,
    /// Amazon ECR, private.
    Ecr,
    /// Amazon ECR Public.
    EcrPublic,
    /// Azure Container Registry.
    Acr,
    /// Google Artifact Registry.
    ArtifactRegistry,
    /// quay.io
    Quay,
    /// A Harbor instance.
    Harbor,
    /// registry.gitlab.com
    GitLab,
}

/// The token server's answer to missing credentials, and (except `Powerless`) to wrong ones.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stranger {
    /// A token without rights: the registry itself refuses the request.
    Powerless,
    /// A token that may pull.
    Puller,
    /// No token.
    Refused(u16, &'static str, &'static str),
}

/// The answer to a request for referrers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listing {
    /// The behaviour that the options set.
    AsTold,
    /// A redirect to a web page.
    Elsewhere(u16, &'static str),
    /// A list, if the subject exists.
    OfWhatIsThere,
}

/// The differences of a registry from the specification and from other registries.
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a habit that some have and others have not"
)]
pub(crate) struct Habits {
    /// Its hosts: the registry, its token server, its storage.
    pub(crate) hosts: Vec<&'static str>,
    /// The address of the token endpoint without the scheme, and its service name; `None` for this server itself.
    pub(crate) realm: Option<(&'static str, &'static str)>,
    /// The scope in challenges, if it is always the same.
    pub(crate) scope: Option<&'static str>,
    /// The fields of an answer with the token.
    pub(crate) token_names: &'static [&'static str],
    /// True if it states the token's lifetime.
    pub(crate) tells_lifetime: bool,
    /// True if identity tokens can be exchanged by POST.
    pub(crate) takes_post: bool,
    pub(crate) stranger: Stranger,
    /// The actions that a scope may contain. A request with another one is refused.
    pub(crate) actions: Option<&'static [&'static str]>,
    /// True if a token request for another service is refused.
    pub(crate) knows_its_service: bool,
    /// The refusal of a token without the needed right, unless it is 401 and a challenge.
    pub(crate) powerless: Option<(u16, &'static str, &'static str)>,
    /// The refusal of an unknown token, unless it is 401 and a challenge.
    pub(crate) stale: Option<(u16, &'static str, &'static str)>,
    /// True if it challenges with Basic once any credentials were sent.
    pub(crate) basic_once_shown: bool,
    /// The error code for a tag that does not exist.
    pub(crate) unknown_tag: &'static str,
    /// The error code for a deleted tag.
    pub(crate) expired_tag: &'static str,
    /// True if an index is reported as absent to clients that do not accept indexes.
    pub(crate) insists_on_accept: bool,
    pub(crate) listing: Listing,
    pub(crate) states_subject: bool,
    /// The status of redirects to blobs at `hosts[2]`; `None` without redirects.
    pub(crate) redirects_blobs: Option<u16>,
    /// True if the answer to a pushed manifest has a `Location`.
    pub(crate) names_place: bool,
    /// The actions that a token needs for deletions.
    pub(crate) delete_actions: &'static [&'static str],
    /// True if cosign's digest tags are deleted with the last tag of their subject.
    pub(crate) expires_siblings: bool,
    /// True if the reference `sha256-HEX` names the manifest `sha256:HEX`.
    pub(crate) takes_dash_for_colon: bool,
    /// True if artifact types and subjects have GitLab's limits.
    pub(crate) limits_artifacts: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            realm: None,
            scope: None,
            token_names: &["token", "access_token"],
            tells_lifetime: true,
            takes_post: true,
            stranger: Stranger::Refused(401, "UNAUTHORIZED", "incorrect username or password"),
            actions: None,
            knows_its_service: false,
            powerless: None,
            stale: None,
            basic_once_shown: false,
            unknown_tag: "MANIFEST_UNKNOWN",
            expired_tag: "MANIFEST_UNKNOWN",
            insists_on_accept: false,
            listing: Listing::AsTold,
            states_subject: true,
            redirects_blobs: None,
            names_place: true,
            delete_actions: &["delete"],
            expires_siblings: false,
            takes_dash_for_colon: false,
            limits_artifacts: false,
        }
    }
}

impl Service {
    /// All services where a signature of the default format can be stored: all but GitLab.
    pub const ALL: [Self; 8] = [
        Self::DockerHub,
        Self::Ghcr,
        Self::Ecr,
        Self::EcrPublic,
        Self::Acr,
        Self::ArtifactRegistry,
        Self::Quay,
        Self::Harbor,
    ];

    /// Returns its hosts: the registry as in references, its token server, its storage.
    pub fn hosts(self) -> [&'static str; 3] {
        match self {
            Self::DockerHub => [
                "docker.io",
                "auth.docker.io",
                "production.cloudflare.docker.com",
            ],
            Self::Ghcr => ["ghcr.io", "ghcr.io", "pkg-containers.githubusercontent.com"],
            Self::Ecr => [
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com",
            ],
            Self::EcrPublic => [
                "public.ecr.aws",
                "public.ecr.aws",
                "d5l0dvt14r5h8.cloudfront.net",
            ],
            Self::Acr => [
                "octo.azurecr.io",
                "octo.azurecr.io",
                "octo.blob.core.windows.net",
            ],
            Self::ArtifactRegistry => [
                "europe-docker.pkg.dev",
                "europe-docker.pkg.dev",
                "europe-docker.pkg.dev",
            ],
            Self::Quay => ["quay.io", "quay.io", "cdn01.quay.io"],
            Self::Harbor => ["harbor.example", "harbor.example", "harbor.example"],
            Self::GitLab => [
                "registry.gitlab.com",
                "gitlab.com",
                "cdn.registry.gitlab-static.net",
            ],
        }
    }

    /// Returns the deletions that its protocol allows. Sources: `content/reference/api/registry/latest.yaml` of
    /// docker/docs (405); skopeo#1880 (GHCR, 405); fluxcd/pkg#328 (ACR, Artifact Registry); `endpoints/v2/manifest.py` of
    /// quay/quay; docs.gitlab.com, "Container registry API" (GitLab: tags too). None was found for ECR.
    pub(crate) fn deletes(self) -> Deletes {
        match self {
            Self::DockerHub | Self::Ghcr | Self::Ecr | Self::EcrPublic => Deletes::Nothing,
            Self::Acr | Self::Harbor => Deletes::Digests,
            Self::ArtifactRegistry | Self::Quay | Self::GitLab => Deletes::Tags,
        }
    }

    /// Returns the only support for referrers that the service has; `None` if the options decide.
    pub(crate) fn referrers(self) -> Option<Referrers> {
        (self == Self::GitLab).then_some(Referrers::TagSchema)
    }

    pub(crate) fn habits(self) -> Habits {
        let mut habits = match self {
            Self::DockerHub => docker_hub(),
            Self::Ghcr => ghcr(),
            Self::Ecr => ecr(),
            Self::EcrPublic => ecr_public(),
            Self::Acr => acr(),
            Self::ArtifactRegistry => artifact_registry(),
            Self::Quay => quay(),
            Self::Harbor => harbor(),
            Self::GitLab => gitlab(),
        };
        habits.hosts = self.hosts().to_vec();
        habits
    }
}

/// Sources: `content/reference/api/registry/auth.md` and `latest.yaml` in docker/docs (challenge, answer, 307 to the
/// storage); docker/hub-feedback#1771 (200 for anything); docker-archive/docker-registry#1071 (`insufficient_scope`).
fn docker_hub() -> Habits {
    Habits {
        realm: Some(("auth.docker.io/token", "registry.docker.io")),
        stranger: Stranger::Powerless,
        redirects_blobs: Some(307),
        ..Habits::default()
    }
}

/// Sources: `src/registry.ts` of dataaxiom/ghcr-cleanup-action (challenge, no `expires_in`); coollabsio/coolify#5575
/// (403 of the token server); RightNow-AI/openfang#12 and int128/docker-manifest-create-action#158 (403 afterwards);
/// Mic92/niks3#229 (`Accept`); artifacthub/hub#4785 (303).
fn ghcr() -> Habits {
    Habits {
        realm: Some(("ghcr.io/token", "ghcr.io")),
        token_names: &["token"],
        tells_lifetime: false,
        takes_post: false,
        stranger: Stranger::Refused(403, "DENIED", "denied"),
        powerless: Some((403, "DENIED", "permission_denied: write_package")),
        insists_on_accept: true,
        listing: Listing::Elsewhere(
            303,
            "https://github.com/-/v2/packages/container/package/octo-org%2Fapp%2Freferrers%2Fsha256",
        ),
        states_subject: false,
        redirects_blobs: Some(307),
        ..Habits::default()
    }
}

/// Sources: the trace in open-policy-agent/opa#6580 (Basic with each request); aws/containers-roadmap#1970 (missing
/// repository); `src/client.rs` of oras-project/rust-oci-client (no `Location`); open-policy-agent/opa#6728 (storage).
fn ecr() -> Habits {
    Habits {
        redirects_blobs: Some(307),
        names_place: false,
        ..Habits::default()
    }
}

/// Sources: the challenge as recorded by goharbor/harbor and many others; aws/containers-roadmap#2835 (400).
fn ecr_public() -> Habits {
    Habits {
        realm: Some(("public.ecr.aws/token/", "public.ecr.aws")),
        scope: Some("aws"),
        token_names: &["token"],
        tells_lifetime: false,
        takes_post: false,
        stranger: Stranger::Puller,
        powerless: Some((403, "DENIED", "Not Authorized")),
        stale: Some((400, "DENIED", "Your Authorization Token is invalid.")),
        redirects_blobs: Some(307),
        ..Habits::default()
    }
}

/// Sources: `docs/AAD-OAuth.md` in Azure/acr (challenge, both flows, `access_token` alone); Azure/acr#217 (storage).
fn acr() -> Habits {
    Habits {
        realm: Some(("octo.azurecr.io/oauth2/token", "octo.azurecr.io")),
        token_names: &["access_token"],
        tells_lifetime: false,
        stranger: Stranger::Refused(401, "UNAUTHORIZED", "authentication required"),
        redirects_blobs: Some(307),
        ..Habits::default()
    }
}

/// Sources: recorded error texts of the service (empty `service`, DENIED by the token server); containerd's authorizer
/// (no POST); `docs/registry.md` of awslabs/soci-snapshotter (login page for referrers).
fn artifact_registry() -> Habits {
    Habits {
        realm: Some(("europe-docker.pkg.dev/v2/token", "")),
        token_names: &["token"],
        takes_post: false,
        stranger: Stranger::Refused(
            403,
            "DENIED",
            "Permission \"artifactregistry.repositories.downloadArtifacts\" denied on resource \"projects/octo-org/locations/europe/repositories/app\" (or it may not exist)",
        ),
        powerless: Some((
            403,
            "DENIED",
            "Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource \"projects/octo-org/locations/europe/repositories/app\" (or it may not exist)",
        )),
        listing: Listing::Elsewhere(302, "https://accounts.google.com/ServiceLogin?service=ah"),
        states_subject: false,
        delete_actions: &["pull", "push"],
        ..Habits::default()
    }
}

/// Sources: quay/quay, `auth/registry_jwt_auth.py` and `endpoints/v2/v2auth.py` (realm, actions, answer),
/// `endpoints/v2/manifest.py` (`TAG_EXPIRED`, scopes of deletions), `data/model/oci/tag.py`
/// (`_expire_cosign_sibling_tags`), `endpoints/v2/referrers.py`, `endpoints/v2/blob.py` (302).
fn quay() -> Habits {
    Habits {
        realm: Some(("quay.io/v2/auth", "quay.io")),
        token_names: &["token"],
        tells_lifetime: false,
        takes_post: false,
        stranger: Stranger::Powerless,
        actions: Some(&["pull", "push", "*"]),
        expired_tag: "TAG_EXPIRED",
        listing: Listing::OfWhatIsThere,
        states_subject: false,
        delete_actions: &["pull", "push"],
        expires_siblings: true,
        redirects_blobs: Some(302),
        ..Habits::default()
    }
}

/// Sources: goharbor/harbor, `src/server/middleware/v2auth` and `src/core/service/token` (challenges, service),
/// `src/lib/errors` and `src/server/registry/manifest.go` (`NOT_FOUND`).
fn harbor() -> Habits {
    Habits {
        realm: Some(("harbor.example/service/token", "harbor-registry")),
        takes_post: false,
        stranger: Stranger::Powerless,
        knows_its_service: true,
        basic_once_shown: true,
        unknown_tag: "NOT_FOUND",
        expired_tag: "NOT_FOUND",
        ..Habits::default()
    }
}

/// Sources: gitlabhq/gitlabhq, `app/services/auth/container_registry_authentication_service.rb` (service, `token` alone,
/// 403) and `spec/requests/jwt_controller_spec.rb` (no POST); oras-project/oras#2148 (`sha256-HEX`); distribution#4927,
/// grimoire-rs/grimoire#11 and moby/buildkit#7007 (subjects).
fn gitlab() -> Habits {
    Habits {
        realm: Some(("gitlab.com/jwt/auth", "container_registry")),
        token_names: &["token"],
        tells_lifetime: false,
        takes_post: false,
        stranger: Stranger::Refused(403, "DENIED", "access forbidden"),
        states_subject: false,
        redirects_blobs: Some(307),
        takes_dash_for_colon: true,
        limits_artifacts: true,
        ..Habits::default()
    }
}
