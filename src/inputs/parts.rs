//! Inputs that several commands share.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::Fields;
use super::grammar::{self, Separator};
use super::repositories::Repositories;
use super::values::{Depth, Given, PolicyInputs};
use crate::domain::{
    DigestError, FullTag, GithubClaims, ImageReference, Reference, ReferenceError, Repository,
};

/// Reads both lists of tags, for commands whose other inputs name no repository.
pub(super) fn both_tags(
    fields: &mut Fields<'_>,
    repositories: &mut Repositories,
) -> (Vec<FullTag>, Vec<FullTag>) {
    let tags = repositories.entries(fields, "tags");
    let moving_tags = repositories.entries(fields, "moving-tags");
    let tags = repositories.placed(fields, "tags", tags);
    let moving_tags = repositories.placed(fields, "moving-tags", moving_tags);
    refuse_both(fields, &tags, &moving_tags);
    (tags, moving_tags)
}

/// Refuses tags that are in both lists.
pub(super) fn refuse_both(fields: &mut Fields<'_>, tags: &[FullTag], moving_tags: &[FullTag]) {
    for tag in moving_tags.iter().filter(|tag| tags.contains(tag)) {
        fields.refuse(
            "moving-tags",
            format!("`{tag}` is also in `tags`, which never move"),
        );
    }
}

/// Returns every repository of a tag, once; `home` if there is no tag.
pub(super) fn destinations(
    tags: &[FullTag],
    moving_tags: &[FullTag],
    home: &Repository,
) -> Vec<Repository> {
    let mut destinations = Vec::new();
    for tag in tags.iter().chain(moving_tags) {
        if !destinations.contains(&tag.repository) {
            destinations.push(tag.repository.clone());
        }
    }
    if destinations.is_empty() {
        destinations.push(home.clone());
    }
    destinations
}

/// Returns the digests and tags with their repositories, each digest and each full tag once.
pub(super) fn given(
    references: Vec<(Option<Repository>, Reference)>,
    home: &Repository,
) -> Vec<Given> {
    let mut seen = BTreeSet::new();
    let all = references.into_iter().map(|(repository, reference)| Given {
        repository: repository.unwrap_or_else(|| home.clone()),
        reference,
    });
    all.filter(|given| {
        let tagged_in = match &given.reference {
            Reference::Tag(_) => Some(given.repository.clone()),
            Reference::Digest(_) => None,
        };
        seen.insert((tagged_in, given.reference.clone()))
    })
    .collect()
}

pub(super) fn annotations(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    match fields.text("annotations").map(grammar::annotations) {
        None => BTreeMap::new(),
        Some(Ok(annotations)) => annotations,
        Some(Err(problems)) => {
            for problem in problems {
                fields.refuse("annotations", problem);
            }
            BTreeMap::new()
        }
    }
}

/// Reads the digests and tags in `digests`, in the given order, with their repositories if named.
pub(super) fn listed_digests(
    fields: &mut Fields<'_>,
    repositories: &mut Repositories,
) -> Vec<(Option<Repository>, Reference)> {
    let mut digests = Vec::new();
    for token in grammar::list(fields.text("digests").unwrap_or_default(), Separator::Comma) {
        match digest_or_tag(token) {
            Ok((repository, reference)) => {
                if let Some(named) = &repository {
                    repositories.add(named);
                }
                digests.push((repository, reference));
            }
            Err(problem) => fields.refuse("digests", problem),
        }
    }
    digests
}

/// Reads a digest, or a full reference with a digest or a tag. A bare tag is none: it is easily mistaken for a digest.
fn digest_or_tag(token: &str) -> Result<(Option<Repository>, Reference), String> {
    if !token.contains(['@', '/']) {
        let digest = token.parse();
        return digest
            .map(|digest| (None, Reference::Digest(digest)))
            .map_err(|error: DigestError| error.to_string());
    }
    let image: ImageReference = token.parse().map_err(|error| match &error {
        ReferenceError::NoDigest(_) => format!("{error}: did that job hand its digest over?"),
        ReferenceError::Digest(_) => format!("`{token}`: {error}"),
        ReferenceError::Tag(_)
        | ReferenceError::Repository(_)
        | ReferenceError::UpperCase { .. } => error.to_string(),
    })?;
    match image.reference {
        Some(reference) => Ok((Some(image.repository), reference)),
        None => Err(format!("`{token}` names no digest and no tag")),
    }
}

/// Reads the file names of the folder in `digests-folder`.
pub(super) fn folder_digests(fields: &mut Fields<'_>) -> Vec<(Option<Repository>, Reference)> {
    let input = "digests-folder";
    let names = fields.folder(input).unwrap_or_default();
    let (mut digests, mut folders) = (Vec::new(), Vec::new());
    for name in names {
        if let Some(digest) = grammar::digest_of_file(&name) {
            digests.push((None, Reference::Digest(digest)));
        } else if fields.is_folder(input, &name) {
            folders.push(format!("`{name}`"));
        } else {
            fields.refuse(
                input,
                format!("the file name `{name}` is not 64 lower-case hex digits (SHA-256), nor 128 (SHA-512), alone or after `sha256-` or `sha512-`"),
            );
        }
    }
    if !folders.is_empty() {
        fields.refuse(
            input,
            format!(
                "it contains folders ({}) instead of files: give actions/download-artifact `merge-multiple: true`",
                folders.join(", ")
            ),
        );
    }
    digests
}

pub(super) fn depth(fields: &mut Fields<'_>) -> Depth {
    if fields.boolean("recursive", false) {
        Depth::Children
    } else {
        Depth::Itself
    }
}

pub(super) fn policy(fields: &mut Fields<'_>) -> PolicyInputs {
    PolicyInputs {
        identity: fields.matcher("certificate-identity", "certificate-identity-regexp"),
        issuer: fields.matcher("certificate-oidc-issuer", "certificate-oidc-issuer-regexp"),
        github: GithubClaims {
            repository: fields.owned("certificate-github-workflow-repository"),
            reference: fields.owned("certificate-github-workflow-ref"),
            sha: fields.owned("certificate-github-workflow-sha"),
            name: fields.owned("certificate-github-workflow-name"),
            trigger: fields.owned("certificate-github-workflow-trigger"),
        },
    }
}
