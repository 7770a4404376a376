//! The inputs of each command: the fields put together, and the rules across them.

use std::collections::{BTreeMap, BTreeSet};

use super::cleanup::{Cleanup, cleanup};
use super::fields::Fields;
use super::grammar;
use super::parts::{
    annotations, depth, destinations, folder_digests, given, listed_digests, policy, refuse_both,
};
use super::preflight::{Preflight, preflight};
use super::publish::{Publish, publish};
use super::repositories::Repositories;
use super::values::{
    Command, Formats, IndexType, Named, OnSigningFailure, Order, Seal, Sign, Signing, Subjects,
    Verify,
};
use crate::domain::{ImageReference, Reference, Repository};

/// The work to do, with all its parameters.
#[derive(Debug)]
pub enum Request {
    /// Makes an index, and signs it if `signing` is given (`seal`; `create` never signs).
    Seal(Seal),
    /// Signs existing images.
    Sign(Sign),
    /// Verifies an image.
    Verify(Verify),
    /// Checks whether the tags exist, and changes nothing.
    Preflight(Preflight),
    /// Copies existing images.
    Publish(Publish),
    /// Reverts the writes that the record lists.
    Cleanup(Cleanup),
}

/// Reads the command. Returns `None` if it was refused: without it, nothing is known about missing inputs.
pub(super) fn command(fields: &mut Fields<'_>) -> Option<Command> {
    let commands = [
        ("seal", Command::Seal),
        ("create", Command::Create),
        ("sign", Command::Sign),
        ("verify", Command::Verify),
        ("preflight", Command::Preflight),
        ("publish", Command::Publish),
        ("cleanup", Command::Cleanup),
    ];
    if fields.text("command").is_none() {
        return Some(Command::Seal);
    }
    fields.parsed("command", |text| grammar::word(text, &commands))
}

/// Reads the inputs of `command`. Returns `None` if an error leaves no request.
pub(super) fn request(fields: &mut Fields<'_>, command: Command) -> Option<Request> {
    match command {
        Command::Seal => {
            let signing = fields.boolean("sign", true).then(|| signing(fields));
            seal(fields, signing).map(Request::Seal)
        }
        Command::Create => seal(fields, None).map(Request::Seal),
        Command::Sign => Some(Request::Sign(Sign {
            signing: signing(fields),
            what: subjects(fields),
        })),
        Command::Verify => verify(fields).map(Request::Verify),
        Command::Preflight => preflight(fields).map(Request::Preflight),
        Command::Publish => publish(fields).map(Request::Publish),
        Command::Cleanup => cleanup(fields).map(Request::Cleanup),
    }
}

fn seal(fields: &mut Fields<'_>, signing: Option<Signing>) -> Option<Seal> {
    let mut repositories = Repositories::of_image(fields);
    let tags = repositories.entries(fields, "tags");
    let moving_tags = repositories.entries(fields, "moving-tags");
    let digests = digests(fields, &mut repositories);
    let tags = repositories.placed(fields, "tags", tags);
    let moving_tags = repositories.placed(fields, "moving-tags", moving_tags);
    refuse_both(fields, &tags, &moving_tags);
    // A staged pipeline makes its index first and tags it at publication.
    if signing.is_some() && tags.is_empty() && moving_tags.is_empty() && untagged(fields) {
        fields.refuse(
            "tags",
            "no tag is given; give `tags` or `moving-tags`, or use `command: create`",
        );
    }
    let annotations = annotations(fields);
    let media_type = media_type(fields, &annotations);
    let order = if fields.boolean("tag-before-signing", false) {
        Order::TagThenSign
    } else {
        Order::SignThenTag
    };
    let platforms: BTreeSet<_> = fields.each("platforms").into_iter().collect();
    let home = repositories.home(fields)?;
    Some(Seal {
        destinations: destinations(&tags, &moving_tags, &home),
        digests: given(digests, &home),
        sources: repositories.into_all(),
        tags,
        moving_tags,
        platforms: Some(platforms).filter(|platforms| !platforms.is_empty()),
        annotations,
        media_type,
        signing,
        order,
    })
}

fn media_type(fields: &mut Fields<'_>, annotations: &BTreeMap<String, String>) -> IndexType {
    let words = [
        ("auto", IndexType::Auto),
        ("oci", IndexType::Oci),
        ("docker", IndexType::Docker),
    ];
    let media_type = fields.word("media-type", &words, IndexType::Auto);
    if media_type == IndexType::Docker && !annotations.is_empty() {
        fields.refuse(
            "media-type",
            "`docker` lists cannot contain `annotations`; use `oci` or `auto`",
        );
    }
    media_type
}

fn untagged(fields: &Fields<'_>) -> bool {
    fields.text("tags").is_none() && fields.text("moving-tags").is_none()
}

/// Reads the digests of the index's parts, or the tags that name them.
fn digests(
    fields: &mut Fields<'_>,
    repositories: &mut Repositories,
) -> Vec<(Option<Repository>, Reference)> {
    let mut digests = listed_digests(fields, repositories);
    digests.extend(folder_digests(fields));
    let inputs = ["digests", "digests-folder"];
    let given = inputs.map(|input| fields.text(input).is_some());
    // A refused input was given. Reporting it as missing too would hide the real problem.
    let refused = inputs.iter().any(|input| fields.is_refused(input));
    if digests.is_empty() && !refused {
        let (input, problem) = match given {
            [false, false] => (
                "digests",
                "no digest is given; give `digests` or `digests-folder`",
            ),
            [_, true] => (
                "digests-folder",
                "it contains no digest; did every build job upload its digest?",
            ),
            [true, false] => (
                "digests",
                "it contains no digest; did every build job upload its digest?",
            ),
        };
        fields.refuse(input, problem);
    }
    digests
}

fn subjects(fields: &mut Fields<'_>) -> Subjects {
    match fields.image() {
        None => Subjects::Record(None),
        Some(ImageReference {
            repository,
            reference: None,
        }) => Subjects::Record(Some(repository)),
        Some(image) => Subjects::Image(Named(image)),
    }
}

fn verify(fields: &mut Fields<'_>) -> Option<Verify> {
    let policy = policy(fields);
    let given = ["certificate-identity", "certificate-identity-regexp"]
        .map(|input| fields.text(input).is_some());
    if given == [false, false] {
        fields.refuse("certificate-identity", "`verify` requires the identity of the signer; give it or `certificate-identity-regexp`");
    }
    let depth = depth(fields);
    let image = fields.image();
    match image {
        Some(image) if image.reference.is_some() => {
            return Some(Verify {
                image,
                depth,
                policy,
            });
        }
        Some(image) => fields.refuse(
            "image",
            format!("`{image}` names no tag and no digest (`…@sha256:…` is best)"),
        ),
        None if fields.text("image").is_none() => {
            fields.refuse("image", "`verify` needs the image, with its tag or digest");
        }
        None => {}
    }
    None
}

fn signing(fields: &mut Fields<'_>) -> Signing {
    let words = [
        ("fail", OnSigningFailure::Fail),
        ("warn", OnSigningFailure::Warn),
    ];
    let formats = [
        ("bundle", Formats::Bundle),
        ("legacy", Formats::Legacy),
        ("both", Formats::Both),
    ];
    Signing {
        depth: depth(fields),
        formats: fields.word("signature-format", &formats, Formats::Bundle),
        on_failure: fields.word("on-signing-failure", &words, OnSigningFailure::Fail),
        policy: policy(fields),
    }
}
