//! Differences by which an index under a tag is no longer the index that a run would make and sign.

use sandbox::{Kind, Options};
use serde_json::Value;

use crate::support::{Action, INDEX, MIRROR, REPOSITORY, Two, World, child, index_of, push};

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Returns a run that signs Docker images as an index of this media type. `auto` requests no type.
fn seal(world: &World, media_type: &str) -> Action {
    let push = |platform| {
        world
            .registry()
            .push_image(REPOSITORY, platform, Kind::Docker)
    };
    let digests = ["linux/amd64", "linux/arm64"].map(|platform| push(platform).digest);
    let seal = world.seal().input("digests", digests.join("\n"));
    seal.input("media-type", media_type)
}

fn unsigned(action: &Action) -> Action {
    action.clone().input("sign", "false")
}

#[test]
fn index_of_another_type_is_a_conflict_where_an_input_names_one() {
    for (held, asked, types) in [
        ("docker", "oci", [DOCKER_LIST, INDEX]),
        ("oci", "docker", [INDEX, DOCKER_LIST]),
    ] {
        let world = World::new();
        let made = unsigned(&seal(&world, held).elsewhere()).succeed();
        let digest = made.output("digest").to_owned();
        let other = seal(&world, asked);
        let refused = other.end_with(3);
        let [held_type, asked_type] = types;
        let text = format!("its media type is `{held_type}`, expected `{asked_type}`");
        refused.says(&["it is not verified", &text, &digest]);
        assert_eq!(world.listed(&digest), [""; 0]);
        // A run that does not sign leaves the index in place. A run without a media type signs it, and that signature vouches
        // for it.
        unsigned(&other).succeed();
        assert_eq!(world.tag("v1").as_ref(), Some(&digest));
        let any = seal(&world, "auto").succeed();
        assert_eq!(any.output("digest"), digest);
        assert_eq!(other.elsewhere().succeed().output("digest"), digest);
        assert_eq!(world.listed(&digest).len(), 1);
    }
}

#[test]
fn index_that_is_named_may_be_of_any_type() {
    let world = World::new();
    let made = unsigned(&seal(&world, "docker").elsewhere()).succeed();
    let digest = made.output("digest");
    let named = seal(&world, "oci").input("digests", world.at(digest));
    assert_eq!(named.succeed().output("digest"), digest);
}

fn right(world: &World) -> Value {
    index_of(&[
        child(world, &world.amd64.digest, "amd64"),
        child(world, &world.arm64.digest, "arm64"),
    ])
}

#[test]
fn white_space_of_a_stranger_is_not_signed() {
    for (bytes, code) in [(400, 0), (3_500_000, 3)] {
        let world = World::new();
        let text = right(&world)
            .to_string()
            .replacen('{', &format!("{{{}", " ".repeat(bytes)), 1);
        let digest = push(&world, Some("v1"), &text);
        let outcome = world.seal().end_with(code);
        assert_eq!(world.listed(&digest).len(), usize::from(code == 0));
        if code == 3 {
            outcome.says(&[&digest, "mostly white space", "adopt it: give `digests"]);
            let skip = world.preflight().input("on-existing-tag", "skip");
            let digests = [world.amd64.digest.as_str(), &world.arm64.digest].join("\n");
            skip.input("digests", digests).end_with(3);
            world.create().succeed();
            assert_eq!(world.listed(&digest), [""; 0]);
        }
        assert_eq!(world.tag("v1"), Some(digest));
    }
}

#[test]
fn name_that_is_there_twice_is_not_signed() {
    for (more, name) in [
        (r#"{"schemaVersion":1,"#, "schemaVersion"),
        (r#"{"annotations":{"by":"them","by":"us"},"#, "by"),
    ] {
        let world = World::new();
        let text = right(&world).to_string().replacen('{', more, 1);
        let digest = push(&world, Some("v1"), &text);
        let seal = world.seal();
        let seal = if text.contains("by") {
            seal.input("annotations", "by=us")
        } else {
            seal
        };
        let twice = format!("it has the name `{name}` twice");
        seal.end_with(3).says(&[&digest, &twice]);
        assert_eq!(world.listed(&digest), [""; 0]);
    }
}

/// Readers that compare the text interpret another spelling as another type, or refuse the index.
#[test]
fn media_type_in_another_spelling_is_not_signed() {
    let two = Two::with(Options::new(), Options::new());
    let world = &two.world;
    for platform in ["linux/amd64", "linux/arm64"] {
        two.other.push_image(MIRROR, platform, Kind::Oci);
    }
    let seal = two.seal().input("moving-tags", "latest");
    let made = world.create().input("tags", "scratch").succeed();
    let made = made.output("digest").to_owned();
    let (_, bytes) = world.registry().manifest(REPOSITORY, &made).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let own = format!("\"mediaType\":\"{INDEX}\",");
    for (stated, served, difference) in [
        (
            "\"mediaType\":\"Application/VND.oci.image.index.v1+JSON\",",
            INDEX,
            format!(
                "its `mediaType` is spelled `Application/VND.oci.image.index.v1+JSON`, expected `{INDEX}`"
            ),
        ),
        (
            "\"mediaType\":\"application/vnd.oci.image.index.v1+json; charset=utf-8\",",
            INDEX,
            format!("charset=utf-8`, expected `{INDEX}`"),
        ),
        (
            "",
            DOCKER_LIST,
            format!(
                "it states no `mediaType`, and the registry serves it as `{DOCKER_LIST}`, expected `{INDEX}`"
            ),
        ),
    ] {
        let theirs = text.replacen(&own, stated, 1);
        let theirs = two
            .other
            .push_raw(MIRROR, Some("v1"), served, theirs.as_bytes());
        let refused = seal.elsewhere().end_with(3);
        refused.says(&["it is not verified", &difference, &theirs]);
        assert_eq!((world.tag("latest"), world.tag("v1")), (None, None));
        // A run that does not sign leaves it there, and spreads it nowhere.
        let kept = seal
            .elsewhere()
            .input("sign", "false")
            .input("moving-tags", "");
        kept.input("tags", two.there("v1")).succeed();
        assert_eq!(two.other.tags(MIRROR)["v1"], theirs);
    }
    // Without the field the index is what this run would write, if the registry serves it as that.
    let world = World::new();
    let plain = push(&world, Some("v1"), &text.replacen(&own, "", 1));
    assert_eq!(world.seal().succeed().output("digest"), plain);
}
