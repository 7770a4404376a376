//! The deletion of tags in hosted registries, outside of the protocol: each by an API of its own, as documented.

use super::options::{Auth, Options};
use super::routes::Route;
use super::services::Service;
use super::store::Store;
use crate::server::{Call, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Docker Hub's API.
const HUB: &str = "hub.docker.com";
/// GitHub's API.
const GITHUB: &str = "api.github.com";
/// The token that Docker Hub's API gives for a password.
const HUB_TOKEN: &str = "sandbox-token-of-the-hub";

/// Answers requests to the API of `service`, no others. `check` decides whether a request of the registry's own may proceed.
pub(crate) fn answer(
    options: &Options,
    store: &mut Store,
    call: &Call,
    check: impl Fn(&Route<'_>) -> Result<(), Reply>,
) -> Option<Reply> {
    let path = call.path.as_str();
    match options.service? {
        Service::DockerHub if call.host == HUB => Some(docker_hub(options, store, call)),
        Service::Ghcr if call.host == GITHUB => Some(github(options, store, call)),
        Service::Acr => {
            let (name, tag) = path.strip_prefix("/acr/v1/")?.split_once("/_tags/")?;
            if let Err(refusal) = check(&Route::Manifest(name, tag)) {
                return Some(refusal);
            }
            Some(acr(options, store, name, tag))
        }
        Service::Harbor => {
            let rest = path.strip_prefix("/api/v2.0/projects/")?;
            Some(harbor(options, store, call, rest))
        }
        Service::DockerHub
        | Service::Ghcr
        | Service::Ecr
        | Service::EcrPublic
        | Service::ArtifactRegistry
        | Service::Quay
        | Service::GitLab => None,
    }
}

/// Sources: `content/reference/api/hub/latest.yaml` of docker/docs (`AuthCreateAccessToken`: request, answer, 401);
/// `pkg/hub/tags.go` of docker/hub-tool (path with a slash at its end, `Bearer`, 204).
fn docker_hub(options: &Options, store: &mut Store, call: &Call) -> Reply {
    let message = |status, text: &str| Reply::json(status, &json!({ "message": text }));
    if (call.method.as_str(), call.path.as_str()) == ("POST", "/v2/auth/token") {
        let sent: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let is_known = matches!(&options.auth, Auth::Bearer { user, password }
            if sent == json!({"identifier": user, "secret": password}));
        if is_known {
            return Reply::json(200, &json!({ "access_token": HUB_TOKEN }));
        }
        return Reply::json(
            401,
            &json!({"detail": "Incorrect authentication credentials"}),
        );
    }
    let place = call.path.strip_prefix("/v2/repositories/");
    let place = place.and_then(|rest| rest.strip_suffix('/')?.split_once("/tags/"));
    let (Some((name, tag)), "DELETE") = (place, call.method.as_str()) else {
        return message(404, "object not found");
    };
    if call.header("authorization") != Some(&format!("Bearer {HUB_TOKEN}")) {
        return message(401, "unauthorized");
    }
    if !options.may_delete {
        return message(
            403,
            "access to the resource is forbidden with personal access token",
        );
    }
    if store.delete_tag(name, tag) {
        Reply::new(204)
    } else {
        message(404, "tag not found")
    }
}

/// Sources: GitHub's REST reference, "REST API endpoints for packages" (paths, shapes, 204); kairos-io/kairos#4724 (the
/// last version with a tag); dataaxiom/ghcr-cleanup-action, `src/package-repo.ts` (no filter by tag, lists that lag).
fn github(options: &Options, store: &mut Store, call: &Call) -> Reply {
    let message = |status, text: &str| Reply::json(status, &json!({ "message": text }));
    let Auth::Bearer { password, .. } = &options.auth else {
        return message(401, "Requires authentication");
    };
    if call.header("authorization") != Some(&format!("Bearer {password}")) {
        return message(401, "Bad credentials");
    }
    if call.header("x-github-api-version") != Some("2022-11-28") {
        return message(400, "X-GitHub-Api-Version is missing");
    }
    if let Some(owner) = call.path.strip_prefix("/users/")
        && !owner.contains('/')
    {
        return Reply::json(200, &json!({"login": owner, "type": "Organization"}));
    }
    let place = call.path.strip_prefix("/orgs/");
    let place = place.and_then(|rest| rest.split_once("/packages/container/"));
    let Some((owner, (package, rest))) =
        place.and_then(|(owner, rest)| Some((owner, rest.split_once("/versions")?)))
    else {
        return message(404, "Not Found");
    };
    let name = format!("{owner}/{}", package.replace("%2F", "/"));
    if !options.may_delete {
        return message(403, "Resource not accessible by integration");
    }
    match (call.method.as_str(), rest.strip_prefix('/')) {
        ("GET", None) => versions(store, call, &name),
        ("DELETE", Some(id)) => delete_version(store, &name, id),
        _ => message(404, "Not Found"),
    }
}

/// Lists the versions. A version's number is the position of its manifest in the order of pushes.
fn versions(store: &mut Store, call: &Call, name: &str) -> Reply {
    let tags = store.listed_tags(name);
    let digests = store.manifest_digests(name);
    let number = |parameter: &str, default: usize| {
        let given = call.query(parameter).and_then(|text| text.parse().ok());
        given.unwrap_or(default)
    };
    let (page, per_page) = (number("page", 1), number("per_page", 30).min(100));
    let mut versions: Vec<Value> = Vec::new();
    for digest in &digests {
        let held: Vec<&String> = tags
            .iter()
            .filter(|(_, held)| *held == digest)
            .map(|(tag, _)| tag)
            .collect();
        versions.push(json!({
            "id": store.number_of(digest),
            "name": digest,
            "metadata": {"package_type": "container", "container": {"tags": held}},
        }));
    }
    // Newest first.
    versions.reverse();
    let page: Vec<Value> = versions
        .into_iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .collect();
    Reply::json(200, &json!(page))
}

fn delete_version(store: &mut Store, name: &str, id: &str) -> Reply {
    let message = |status, text: &str| Reply::json(status, &json!({ "message": text }));
    let digests = store.manifest_digests(name);
    let Some(digest) = digests
        .into_iter()
        .find(|digest| store.number_of(digest).to_string() == id)
    else {
        return message(404, "Package not found.");
    };
    let tags: BTreeMap<String, String> = store.tags(name);
    let is_tagged = tags.values().any(|held| *held == digest);
    if is_tagged && tags.values().all(|held| *held == digest) {
        return message(
            400,
            "You cannot delete the last tagged version of a package. You must delete the package instead.",
        );
    }
    store.delete_with_tags(name, &digest);
    Reply::new(204)
}

/// Sources: `src/azure-cli/azure/cli/command_modules/acr/repository.py` of Azure/azure-cli (path); the API's published
/// description (202).
fn acr(options: &Options, store: &mut Store, name: &str, tag: &str) -> Reply {
    let error = |status, code: &str, message: &str| {
        Reply::json(
            status,
            &json!({"errors": [{"code": code, "message": message}]}),
        )
    };
    if options.immutable_tags {
        return error(
            405,
            "UNSUPPORTED",
            "The operation is disallowed on this registry, repository or image.",
        );
    }
    if store.delete_tag(name, tag) {
        Reply::new(202)
    } else {
        error(404, "TAG_UNKNOWN", "the specified tag does not exist")
    }
}

/// Source: `api/v2.0/swagger.yaml` of goharbor/harbor (`deleteTag`: path, names escaped twice, 200, 403, 404), and its
/// `src/controller/tag` (412 for a tag that is immutable).
fn harbor(options: &Options, store: &mut Store, call: &Call, rest: &str) -> Reply {
    let error = |status, code: &str, message: &str| {
        Reply::json(
            status,
            &json!({"errors": [{"code": code, "message": message}]}),
        )
    };
    let Auth::Bearer { user, password } = &options.auth else {
        return error(401, "UNAUTHORIZED", "unauthorized");
    };
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    if call.header("authorization") != Some(&basic) {
        return error(401, "UNAUTHORIZED", "unauthorized");
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let [
        project,
        "repositories",
        name,
        "artifacts",
        digest,
        "tags",
        tag,
    ] = parts[..]
    else {
        return error(404, "NOT_FOUND", "path is not found");
    };
    let name = format!("{project}/{}", name.replace("%252F", "/"));
    if !options.may_delete {
        return error(403, "FORBIDDEN", "forbidden");
    }
    if options.immutable_tags {
        let message = format!("the tag {tag} configured as immutable, cannot be deleted");
        return error(412, "PRECONDITION", &message);
    }
    if store.tags(&name).get(tag).map(String::as_str) == Some(digest) {
        store.delete_tag(&name, tag);
        Reply::new(200)
    } else {
        error(
            404,
            "NOT_FOUND",
            &format!("tag {tag} attached to artifact is not found"),
        )
    }
}
