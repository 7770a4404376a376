//! Advice for requests that a registry refuses, by status and code. Denials, throttling and outages have advice of their
//! own, in `hints.rs`.

use crate::registry::RegistryError;

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
    match refusal.status {
        404 if error.is_write() => Some(format!(
            "check that the repository exists. Some registries, such as Amazon ECR, create no repository on a push: create `{}` there first",
            error.repository().path()
        )),
        405 if error.is_write() => Some(format!(
            "`{host}` accepts no writes: it may be a mirror, or read-only for now"
        )),
        _ => None,
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
