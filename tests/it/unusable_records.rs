//! Unusable content at the path of the record: any job of the run can have written it, so it blocks no run, and is kept.

use std::fs;

use manifest_seal::domain::Digest;
use serde_json::{Value, json};

use crate::support::{Action, INDEX, MANIFEST, Outcome, REPOSITORY, World, cleanup};

const NAME: &str = "manifest-seal.json";

/// Content that somebody may put there: a file, or a folder.
#[derive(Debug, Clone)]
enum Thing {
    File(String),
    Folder,
}

impl Thing {
    fn all() -> [Self; 5] {
        [
            Self::File("x".to_owned()),
            Self::File(r#"{"schema":2,"images":[]}"#.to_owned()),
            Self::File(format!("\"{}\"", "x".repeat(3 << 20))),
            Self::File(" ".repeat(5 << 20)),
            Self::Folder,
        ]
    }

    fn put(&self, action: Action) -> Action {
        match self {
            Self::File(text) => action.file(NAME, text),
            Self::Folder => action.file(&format!("{NAME}/x"), "precious"),
        }
    }

    fn is_at(&self, path: &std::path::Path) -> bool {
        match self {
            Self::File(text) => fs::read_to_string(path).is_ok_and(|held| held == *text),
            Self::Folder => fs::read_to_string(path.join("x")).is_ok_and(|held| held == "precious"),
        }
    }

    /// Reports whether it is still in the workspace, under any name.
    fn is_kept(&self, action: &Action) -> bool {
        let mut entries = fs::read_dir(action.workspace()).unwrap();
        entries.any(|entry| self.is_at(&entry.unwrap().path()))
    }
}

fn is_short(outcome: &Outcome) {
    outcome.says(&["::warning", "the record could not be read"]);
    assert!(outcome.log.len() < 100_000, "{}", outcome.log.len());
}

#[test]
fn unreadable_record_is_kept_and_stops_no_run() {
    let world = World::new();
    let image = world.seal().succeed().output("digest").to_owned();
    let other = Digest::of(b"another").to_string();
    for thing in Thing::all() {
        for action in [world.seal(), world.create(), world.sign(&image)] {
            for known in ["", &other] {
                let action = thing.put(action.elsewhere().input("record-digest", known));
                is_short(&action.succeed());
                assert_eq!(action.record()["schema"], 1);
                assert!(thing.is_kept(&action), "{thing:?}");
                // Later steps of the job use the new record.
                action.succeed().does_not_say(&["could not be read"]);
            }
        }
        for action in [world.verify("v1"), world.preflight().input("tags", "v2")] {
            let action = thing.put(action.elsewhere());
            is_short(&action.succeed());
            assert!(thing.is_at(&action.workspace().join(NAME)), "{thing:?}");
        }
    }
}

#[test]
fn cleanup_says_what_is_to_be_done_by_hand() {
    let world = World::new();
    world.seal().succeed();
    let other = Digest::of(b"another").to_string();
    for thing in Thing::all() {
        for known in ["", &other] {
            let action = cleanup(&world.seal().elsewhere()).input("record-digest", known);
            let action = thing.put(action);
            let outcome = action.succeed();
            is_short(&outcome);
            let remaining = outcome.json("remaining");
            assert_eq!(remaining.as_array().unwrap().len(), 1, "{remaining}");
            assert!(thing.is_at(&action.workspace().join(NAME)), "{thing:?}");
            assert!(world.tag("v1").is_some());
        }
    }
}

#[test]
fn what_is_vouched_for_and_cannot_be_read_is_an_error() {
    let world = World::new();
    for text in ["x", r#"{"schema":2,"images":[]}"#] {
        let known = Digest::of(text.as_bytes()).to_string();
        for action in [world.seal(), cleanup(&world.seal()), world.verify("v1")] {
            let action = action.elsewhere().file(NAME, text);
            action.input("record-digest", &*known).end_with(1);
        }
    }
    assert_eq!(world.writes(), [""; 0]);
}

/// Returns the entry of a signature, as anybody can write it into a record.
fn place(subject: &str, format: &str, manifest: &str) -> Value {
    json!({
        "subject": subject, "format": format, "manifest": manifest, "identity": "", "issuer": "",
        "logIndex": null, "made": true,
    })
}

#[test]
fn places_that_a_record_names_are_looked_at_a_few_times() {
    for format in ["bundle", "legacy"] {
        let asked = [0, 15_000].map(|count| {
            let world = World::new();
            let dry = world.seal().input("dry-run", "true").succeed();
            let digest = dry.output("digest");
            let places = (0..count).map(|number| place(digest, format, &format!("sha256:{number:064x}")));
            let places: Vec<Value> = places.collect();
            let record = json!({
                "schema": 1, "run": {"id": 100, "attempt": 1, "repository": "octo-org/octo-app"},
                "images": [{"image": world.image(), "digest": digest, "mediaType": INDEX, "platforms": [], "signatures": places}],
            });
            let seal = world.seal().input("signature-format", format);
            world.registry().clear_requests();
            seal.file(NAME, record.to_string()).succeed();
            world.registry().requests().len()
        });
        assert!(asked[1] <= asked[0] + 16, "{format}: {asked:?}");
    }
}

/// A record may name arbitrary content as a signature.
#[test]
fn junk_at_a_place_that_a_record_names_stops_nobody() {
    for format in ["bundle", "legacy"] {
        let world = World::new();
        let dry = world.seal().input("dry-run", "true").succeed();
        let digest = dry.output("digest");
        let junk = world.registry().push_raw(REPOSITORY, None, MANIFEST, b"[]");
        let places = [
            place(digest, format, &junk),
            place(digest, format, &world.amd64.digest),
        ];
        let record = json!({
            "schema": 1, "run": {"id": 100, "attempt": 1, "repository": "octo-org/octo-app"},
            "images": [{"image": world.image(), "digest": digest, "mediaType": INDEX, "platforms": [], "signatures": places}],
        });
        let seal = world.seal().input("signature-format", format);
        let sealed = seal.file(NAME, record.to_string()).succeed();
        assert_eq!(sealed.output("sign-skipped"), "false");
    }
}
