//! Tags that contain something other than a manifest, pushed by somebody with push permission. A fixed tag of this kind is a
//! reported conflict. A moving tag moves. Content that the registry did not return stays unknown.

use sandbox::Fault;
use serde_json::json;

use crate::support::cleanup::remaining;
use crate::support::{Action, INDEX, Outcome, REPOSITORY, UNREAD, World, cleanup};

const TOO_LONG_BYTES: usize = 5 << 20;

/// The content that somebody pushed under a tag: its media type, its bytes, and the text of the message about it.
struct Holder {
    media_type: &'static str,
    bytes: Vec<u8>,
    says: &'static str,
}

fn holders(world: &World) -> Vec<Holder> {
    let holder = |media_type, text: &str, says| Holder {
        media_type,
        bytes: text.as_bytes().to_vec(),
        says,
    };
    let entry = json!({"mediaType": INDEX, "digest": world.amd64.digest, "size": 1,
        "platform": {"os": "linux", "architecture": null}});
    let no_architecture = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
    let no_config = r#"{"schemaVersion":2,"layers":[]}"#;
    let docker = r#"{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json"}"#;
    let image = "application/vnd.oci.image.manifest.v1+json";
    vec![
        holder(
            INDEX,
            r#"{"manifests":[],"manifests":[]}"#,
            "duplicate field",
        ),
        holder(INDEX, r#"{"Manifests":[]}"#, "resembles `manifests`"),
        holder(INDEX, &no_architecture.to_string(), "invalid type: null"),
        holder(INDEX, "not JSON", "not a well-formed"),
        holder(INDEX, "", "not a well-formed"),
        holder(
            INDEX,
            r#"{"manifests":[],"config":null,"layers":[]}"#,
            "of an index and of an image",
        ),
        holder(INDEX, docker, "but its `mediaType` is"),
        holder(image, no_config, "missing field `config`"),
        holder(
            "application/vnd.them+json",
            "{ }",
            "its media type `application/vnd.them+json`",
        ),
        holder("", "{}", "its media type ``"),
        holder(INDEX, &" ".repeat(TOO_LONG_BYTES), "exceeds 4194304 bytes"),
    ]
}

/// Pushes `holder` under `tags`. Returns its digest.
fn put(world: &World, holder: &Holder, tags: &[&str]) -> String {
    let registry = world.registry();
    let push =
        |tag: &&str| registry.push_raw(REPOSITORY, Some(tag), holder.media_type, &holder.bytes);
    tags.iter().map(push).next_back().unwrap()
}

/// Returns every command that writes tags, each for the tag `v1`.
fn commands(world: &World) -> Vec<Action> {
    let image = world.at(&world.arm64.digest);
    let publish = Action::new("publish").input("source", image);
    let publish = publish.input("tags", world.at("v1"));
    let unsigned = world.seal().input("sign", "false");
    vec![world.seal(), unsigned, world.create(), publish]
}

fn with_moving(world: &World, action: &Action) -> Action {
    action.clone().input("moving-tags", world.at("latest"))
}

fn says(outcome: &Outcome, tag: &str, digest: &str, holder: &Holder) {
    let text = &outcome.log;
    let mut lines = text.lines();
    let line = lines.find(|line| {
        let parts = [tag, digest, holder.says];
        parts.iter().all(|part| line.contains(part))
    });
    let line = line.unwrap_or_else(|| panic!("{}: {text}", holder.says));
    assert!(line.len() < 2000, "{line}");
}

#[test]
fn fixed_tag_that_holds_no_manifest_is_a_conflict_for_every_command() {
    let world = World::new();
    for holder in holders(&world) {
        let digest = put(&world, &holder, &["v1"]);
        let preflight = |policy| world.preflight().input("on-existing-tag", policy);
        let before = world.tags();
        world.registry().clear_requests();
        let writers = commands(&world)
            .into_iter()
            .map(|action| with_moving(&world, &action));
        let looks = ["fail", "skip"].map(preflight);
        for action in writers.chain(looks) {
            says(&action.end_with(3), &world.at("v1"), &digest, &holder);
        }
        let warned = preflight("warn").succeed();
        assert_eq!(warned.output("proceed"), "true");
        assert_eq!((world.tags(), world.writes()), (before, Vec::new()));
    }
}

#[test]
fn moving_tag_that_holds_no_manifest_moves_with_a_warning() {
    let world = World::new();
    for holder in holders(&world) {
        for action in commands(&world) {
            world.registry().delete_tag(REPOSITORY, "v1");
            let digest = put(&world, &holder, &["latest"]);
            let action = with_moving(&world, &action.elsewhere());
            let outcome = action.succeed();
            let made = outcome.output("digest");
            assert_eq!(
                world.tag("latest").as_deref(),
                Some(made),
                "{}",
                outcome.log
            );
            says(&outcome, "::warning", &digest, &holder);
            assert_eq!(
                action.record()["images"][0]["tags"][1]["before"],
                json!(digest)
            );
            // Cleanup cannot restore such content under the tag. Its manifest stays in the registry.
            let action = action.input("source", "");
            let cleaned = cleanup(&action).succeed();
            assert_eq!(remaining(&cleaned).keys().collect::<Vec<_>>(), ["latest"]);
            assert!(world.registry().manifest(REPOSITORY, &digest).is_some());
        }
    }
}

#[test]
fn tag_that_holds_no_manifest_by_now_is_left_alone_by_a_cleanup() {
    let world = World::new();
    for holder in holders(&world) {
        world.registry().delete_tag(REPOSITORY, "v1");
        let create = world.create();
        create.succeed();
        let digest = put(&world, &holder, &["v1"]);
        cleanup(&create)
            .succeed()
            .says(&["somebody else moved it", &digest]);
        assert_eq!(world.tag("v1"), Some(digest));
    }
}

#[test]
fn content_that_was_not_read_stays_unknown() {
    for fault in UNREAD {
        for tag in ["v1", "latest"] {
            let world = World::new();
            let bad = holders(&world).remove(0);
            put(&world, &bad, &[tag]);
            let before = world.tags();
            let path = format!("*/manifests/{tag}");
            let on = Fault::on("GET", &path).times(u32::MAX);
            world.registry().fault(fault(on));
            for action in commands(&world) {
                let action = with_moving(&world, &action).input("max-attempts", "1");
                action.end_with(1);
            }
            assert_eq!(world.tags(), before);
        }
    }
}
