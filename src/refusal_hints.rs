//! Advice for requests that a registry refuses, by status and code. Denials, throttling and outages have advice of their
//! own, in `hints.rs`.

use crate::registry::{ErrorResponse, Operation, RegistryError};

/// The input that makes an OCI index of the children.
const OCI: &str = "media-type: oci";

/// Harbor's code for a policy of a project that forbids to pull an image, sent with 412.
const POLICY_VIOLATION: &str = "PROJECTPOLICYVIOLATION";

/// Returns advice for a tag that the registry does not let change.
pub(crate) fn immutable_hint(error: &RegistryError) -> Option<String> {
    if !error.is_immutable_tag() {
        return None;
    }
    let host = error.host();
    // The referrers tag schema, and cosign's digest tags.
    if error.object().contains(":sha256-") {
        return Some(format!(
            "tags may be immutable in `{host}`, but this one lists signatures or referrers and has to change: exclude `sha256-*` from the rule there"
        ));
    }
    Some(format!(
        "the tag may be immutable in `{host}`: choose another version, or permit there that this tag changes"
    ))
}

/// Returns advice for an error response, if there is any.
pub(crate) fn refusal_hint(error: &RegistryError) -> Option<String> {
    let host = error.host();
    let refusal = error.refusal()?;
    if error.is_write() && error.is_about_sha512() {
        return Some(format!(
            "`{host}` may not store SHA-512 digests: use a registry that does, or push the image again with SHA-256 digests"
        ));
    }
    if error.lacks_parts() {
        return Some(missing_part_hint(error));
    }
    if refusal.codes.iter().any(|code| code == POLICY_VIOLATION) {
        return Some(policy_hint(error, refusal));
    }
    let is_manifest = error.operation() == Operation::Write;
    match refusal.status {
        400 if is_manifest && refusal.has_no_reason() => Some(unexplained_hint(error)),
        404 if error.is_write() => Some(format!(
            "check that the repository exists{}. Some registries, such as Amazon ECR, create no repository on a push: create `{}` there first",
            owner_text(error, refusal),
            error.repository().path()
        )),
        404 if refusal.codes.is_empty() && error.is_from_registry() => Some(format!(
            "check that `{host}` is the right registry{}",
            owner_text(error, refusal)
        )),
        405 if error.is_write() => Some(format!(
            "`{host}` accepts no writes: it may be a mirror, or read-only for now"
        )),
        413 => Some(format!(
            "`{host}`, or more often a proxy before it, limits the size of a request: raise that limit (nginx: `client_max_body_size`)"
        )),
        415 if error.is_docker_manifest() => Some(format!(
            "`{host}` does not accept Docker media types: use `{OCI}`, and build OCI images, because the children keep their types (`oci-mediatypes=true` in the outputs of docker/build-push-action)"
        )),
        _ => None,
    }
}

/// Advice for an image that a policy of Harbor's project does not let be pulled. Source: `SkipPolicyChecking` in
/// `src/server/middleware/util/util.go`, and the setting of its core in later versions.
fn policy_hint(error: &RegistryError, refusal: &ErrorResponse) -> String {
    let host = error.host();
    if refusal.message.contains("not signed") {
        format!(
            "the project in `{host}` lets only signed images be pulled. Signing needs credentials that may push there; later versions of Harbor also need the setting `CONTENT_TRUST_LEGACY_SIGNER_PULL_ENABLED=true` of their core"
        )
    } else {
        format!(
            "a policy of the project in `{host}` does not let this image be pulled, by anyone: see its configuration there, such as the limit on vulnerabilities"
        )
    }
}

/// Advice for a manifest that is refused without a reason.
fn unexplained_hint(error: &RegistryError) -> String {
    let other_cause = if error.is_docker_manifest() {
        format!(", or its media type is not accepted (then `{OCI}` helps)")
    } else {
        String::new()
    };
    format!(
        "`{}` gave no reason. Often a child of the index is not in the repository{other_cause}",
        error.host()
    )
}

/// Names the owner, if the registry answers 404 without a code of the specification. Gitea does so for an owner that
/// does not exist.
fn owner_text(error: &RegistryError, refusal: &ErrorResponse) -> String {
    let owner = error.repository().path().split_once('/');
    match owner.filter(|_| refusal.codes.is_empty() && error.is_from_registry()) {
        Some((owner, _)) => {
            format!(", and that the owner or organisation `{owner}` exists there")
        }
        None => String::new(),
    }
}

/// Gitea answers 404 here, which is not about the repository.
fn missing_part_hint(error: &RegistryError) -> String {
    let part = error.missing_digest().map_or_else(
        || "content that this manifest refers to".to_owned(),
        |digest| format!("`{digest}`, which this manifest refers to"),
    );
    format!(
        "`{}` does not have {part}: check that it was pushed to this repository and still exists. Push it again, or raise `max-attempts` and `retry-delay` if the registry is slow to show it",
        error.host()
    )
}
