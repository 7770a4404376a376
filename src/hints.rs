//! Advice for errors of registries and proxies.

use crate::http::{TransportError, TransportErrorKind, UsedProxy};
use crate::refusal_hints::{immutable_hint, refusal_hint};
use crate::registry::{AwsErrorResponse, ContentError, RegistryError, RegistryErrorKind};
use crate::report::RUN_AGAIN;

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
    // A run that has written nothing has nothing to skip.
    let again = if error.is_write() {
        RUN_AGAIN
    } else {
        "run it again"
    };
    if let Some(helper) = error.unused_helper() {
        return Some(format!(
            "`docker-credential-{helper}` is a program of the host and is not in this image: give `registry-auths`"
        ));
    }
    if let Some(hint) = immutable_hint(error) {
        return Some(hint);
    }
    if error.is_denied() {
        if let Some(source) = error.unsent_credentials() {
            return Some(format!(
                "the credentials from {source} were not sent, because `{host}` asked for none: check that it is the right registry, and that no proxy or firewall answers in its place"
            ));
        }
        let who = error.credentials().map_or_else(
            || "no credentials were given for it: give `registry-auths`, or log in with docker/login-action and DOCKER_CONFIG".to_owned(),
            |source| format!("the credentials came from {source}"),
        );
        let rights = match (host.as_str(), error.is_destination()) {
            ("ghcr.io", true) => {
                "; with GITHUB_TOKEN the job needs `permissions: packages: write`, and the package must grant this repository access (Manage Actions access)"
            }
            ("ghcr.io", false) => {
                "; with GITHUB_TOKEN the job needs `permissions: packages: read`, and the package must grant this repository access"
            }
            (_, true) => {
                "; check that the credentials permit pushing to this repository, not only pulling"
            }
            (_, false) => "; check that the credentials permit pulling from this repository",
        };
        return Some(format!("{who}{rights}"));
    }
    if error.is_throttled() {
        return Some(format!(
            "`{host}` limits requests: wait, log in, or lower the number of parallel jobs; then {again}"
        ));
    }
    if let Some((problem, host)) = error.certificate() {
        return Some(problem.cure(host));
    }
    if let Some(hint) = error.transport().and_then(transport_hint) {
        return Some(hint);
    }
    if matches!(error.kind(), RegistryErrorKind::Unreachable { .. }) {
        return Some(format!(
            "check that `{host}` is the right registry and that this job can reach it; then {again}"
        ));
    }
    if matches!(
        error.kind(),
        RegistryErrorKind::Content(ContentError::File(_))
    ) {
        return None;
    }
    if matches!(
        error.kind(),
        RegistryErrorKind::Content(ContentError::Digest { .. } | ContentError::Size { .. })
    ) && !error.is_write()
    {
        let text = "the stored content is damaged: push or save it again, or copy from another source that has it";
        return Some(text.to_owned());
    }
    if error.is_no_list() {
        let text =
            "the tag does not point to a list of referrers: delete it manually if nothing needs it";
        return Some(text.to_owned());
    }
    if error.is_long_list() {
        let text = "delete unneeded referrers of the image manually";
        return Some(text.to_owned());
    }
    if error.is_about_content() {
        let text = "check that the registry answers, and not a proxy or a login page. If it is the registry, a rerun reads the same content: push other content there, or delete it manually if nothing needs it";
        return Some(text.to_owned());
    }
    if error.expects_https() {
        return Some(format!(
            "`{host}` is reached by plain HTTP, because `insecure-registries` names it, but seems to expect HTTPS: remove it from `insecure-registries`"
        ));
    }
    if error.gives_plain_address() {
        return Some(format!(
            "`{host}` gives addresses without HTTPS, usually because a proxy before the registry does not tell it: the proxy must send `X-Forwarded-Proto: https`, or the registry must be configured with its own `https://` address"
        ));
    }
    if let Some(hint) = refusal_hint(error) {
        return Some(hint);
    }
    error.may_pass().then(|| again.to_owned())
}

/// Returns advice for a request without a response, if this machine or a proxy is the reason.
pub(crate) fn transport_hint(error: &TransportError) -> Option<String> {
    if error.kind == TransportErrorKind::Local {
        let text = "this machine permits no more open files: raise the limit (`ulimit -n`)";
        return Some(text.to_owned());
    }
    error
        .proxy
        .as_ref()
        .map(|proxy| proxy_hint(proxy, error.kind))
}

/// Returns advice for a proxy that could not be used.
fn proxy_hint(proxy: &UsedProxy, kind: TransportErrorKind) -> String {
    let variable = proxy.variable;
    let check = match kind {
        TransportErrorKind::Untrusted => format!(
            "if the proxy in `{variable}` is the intended one, give the certificate of its CA in `ca-bundle`"
        ),
        TransportErrorKind::ProxyRefusal if proxy.has_login => format!(
            "check that the proxy in `{variable}` accepts this job, and the login in that variable"
        ),
        TransportErrorKind::ProxyRefusal => format!(
            "check that the proxy in `{variable}` accepts this job. If it requires a login, put it into the variable (`http://USER:PASSWORD@HOST:PORT`)"
        ),
        TransportErrorKind::NoTunnel => {
            format!("check that the proxy in `{variable}` reaches that host and accepts this job")
        }
        TransportErrorKind::Outage
        | TransportErrorKind::Silence
        | TransportErrorKind::Malformed
        | TransportErrorKind::NotSent
        | TransportErrorKind::Local => {
            format!(
                "check that the address of the proxy in `{variable}` is right, and that the proxy runs"
            )
        }
    };
    format!("{check}; hosts in `NO_PROXY` are contacted directly")
}

fn aws_hint(refusal: AwsErrorResponse) -> String {
    match refusal {
        AwsErrorResponse::Keys => "AWS does not accept the keys in the environment, or they have expired: run aws-actions/configure-aws-credentials in this job, shortly before this step".to_owned(),
        // The public service also calls the token service of AWS for its token, under a permission of its own.
        AwsErrorResponse::Permission(permission @ "ecr-public:GetAuthorizationToken") => format!(
            "the role that the job assumes needs the permissions `{permission}` and `sts:GetServiceBearerToken` on `*`"
        ),
        AwsErrorResponse::Permission(permission) => {
            format!("the role that the job assumes needs the permission `{permission}` on `*`")
        }
    }
}
