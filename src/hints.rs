//! Advice for errors of registries and proxies.

use crate::registry::{AwsErrorResponse, RegistryError, RegistryErrorKind};

/// Joins the advice for each registry. The registry is named if there is advice for several.
pub(crate) fn hints<'a>(errors: impl Iterator<Item = &'a RegistryError>) -> Option<String> {
    let mut cures: Vec<(&str, String)> = Vec::new();
    for error in errors {
        let host = error.host().as_str();
        let is_told = cures.iter().any(|(known, _)| *known == host);
        if let (false, Some(cure)) = (is_told, registry_hint(error)) {
            cures.push((host, cure));
        }
    }
    match &cures[..] {
        [] => None,
        [(_, only)] => Some(only.clone()),
        several => {
            let cures = several
                .iter()
                .map(|(host, cure)| format!("`{host}`: {cure}"));
            Some(cures.collect::<Vec<_>>().join(" — "))
        }
    }
}

/// Returns advice for `error`, if there is any.
pub(crate) fn registry_hint(error: &RegistryError) -> Option<String> {
    if let Some(refusal) = error.aws_refusal() {
        return Some(aws_hint(refusal));
    }
    let host = error.host();
    if let Some(helper) = error.unused_helper() {
        return Some(format!(
            "`docker-credential-{helper}` is a program of the machine and is not in this image: give `registry-auths`"
        ));
    }
    if error.is_denied() {
        let who = error.credentials().map_or_else(
            || "no credentials were given for it: give `registry-auths`, or log in with docker/login-action and DOCKER_CONFIG".to_owned(),
            |source| format!("the credentials came from {source}"),
        );
        let rights = match (host.as_str(), error.is_write()) {
            ("ghcr.io", true) => {
                "; with GITHUB_TOKEN the job needs `permissions: packages: write`, and the package must grant this repository access (Manage Actions access)"
            }
            ("ghcr.io", false) => {
                "; with GITHUB_TOKEN the job needs `permissions: packages: read`, and the package must grant this repository access"
            }
            (_, true) => "; do they allow pushing to this repository?",
            (_, false) => "; do they allow pulling from this repository?",
        };
        return Some(format!("{who}{rights}"));
    }
    if error.is_throttled() {
        return Some(format!(
            "`{host}` limits requests: wait, log in, or lower the number of parallel jobs; a rerun goes on where this run stopped"
        ));
    }
    if let Some((problem, host)) = error.certificate() {
        return Some(problem.cure(host));
    }
    if let Some(proxy) = error.proxy() {
        return Some(proxy_hint(proxy.variable));
    }
    if matches!(error.fault(), RegistryErrorKind::Unreachable { .. }) {
        return Some(format!(
            "is `{host}` the right registry, and may this job reach it? If so run it again: it goes on where this run stopped"
        ));
    }
    if matches!(error.fault(), RegistryErrorKind::File(_)) {
        return None;
    }
    if matches!(
        error.fault(),
        RegistryErrorKind::Digest { .. } | RegistryErrorKind::Size { .. }
    ) && !error.is_write()
    {
        let text =
            "it is damaged where it is: push or save it again, or copy from a place that has it";
        return Some(text.to_owned());
    }
    if error.is_no_list() {
        let text = "the tag holds no list of what refers to an image, as it should: remove it by hand if nothing needs it";
        return Some(text.to_owned());
    }
    if error.is_long_list() {
        let text = "remove by hand what refers to the image there and is of no use";
        return Some(text.to_owned());
    }
    if error.is_about_content() {
        let text = "is it the registry that answers, and not a proxy or a login page in its place? If it is, another run will read the same: push something else there, or remove it by hand if nothing needs it";
        return Some(text.to_owned());
    }
    match error.status() {
        Some(404) if error.is_write() => Some(format!(
            "does the repository exist? Some registries, Amazon ECR among them, make none when something is pushed: create `{}` there first",
            error.repository().path()
        )),
        Some(405) if error.is_write() => Some(format!(
            "`{host}` takes nothing: is it a mirror, or read-only for now?"
        )),
        Some(500..) | None => Some("run it again: it goes on where this run stopped".to_owned()),
        Some(_) => None,
    }
}

/// Advice for a proxy that could not be used. `variable` is the environment variable that names it.
pub(crate) fn proxy_hint(variable: &str) -> String {
    format!(
        "does the proxy that `{variable}` names run, and does it let this job through? A login belongs into the variable (`http://USER:PASSWORD@HOST:PORT`); hosts in `NO_PROXY` are asked directly"
    )
}

fn aws_hint(refusal: AwsErrorResponse) -> String {
    match refusal {
        AwsErrorResponse::Keys => "AWS does not take the keys of the environment, or not any more: run aws-actions/configure-aws-credentials in this job, shortly before this step".to_owned(),
        // The public service also calls the token service of AWS for its token, under a permission of its own.
        AwsErrorResponse::Permission(permission @ "ecr-public:GetAuthorizationToken") => format!(
            "the role that the job assumes needs the permissions `{permission}` and `sts:GetServiceBearerToken` on `*`"
        ),
        AwsErrorResponse::Permission(permission) => {
            format!("the role that the job assumes needs the permission `{permission}` on `*`")
        }
    }
}
