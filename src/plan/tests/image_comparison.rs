//! Tests that everything an index states beside its images counts, and that content without meaning does not.

use serde_json::{Value, json};

use super::*;

const ATTESTATION: &str = "vnd.docker.reference.digest";

fn two() -> [Resolved; 2] {
    ["linux/amd64", "linux/arm64"]
        .map(|platform| resolved(leaf(platform, 1, MediaType::OciManifest), true))
}

/// Assembles the index of these children, with one annotation.
fn made(children: &[Resolved]) -> Assembly {
    let annotations = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    assemble(children, &wanted(&annotations)).unwrap()
}

/// A change to an index, by name.
type Variation = (&'static str, fn(&mut Value));

/// A change to an index, by name and by its message.
type Disguise = (&'static str, &'static str, fn(&mut Value));

/// Returns the differences that prevent the changed index from being signed; `None` if it may be signed.
fn signing_is_refused(change: impl Fn(&mut Value)) -> Option<String> {
    let children = two();
    let assembly = made(&children);
    let theirs = edited(&assembly.manifest, change);
    let conflicts = decide_signed(&assembly, &children, &[fixed("v1", Some(theirs))]).err()?;
    Some(conflicts[0].difference.text().unwrap_or_default())
}

#[test]
fn index_that_only_looks_the_same_is_a_conflict_whether_something_is_signed_or_not() {
    let disguises: [Disguise; 13] = [
        ("swapped platforms", "", |index| {
            let first = index["manifests"][0]["platform"].clone();
            index["manifests"][0]["platform"] = index["manifests"][2]["platform"].clone();
            index["manifests"][2]["platform"] = first;
        }),
        ("another type of an image", "", |index| {
            index["manifests"][0]["mediaType"] = MediaType::DockerManifest.to_string().into();
        }),
        ("urls", "has `urls`", |index| {
            index["manifests"][0]["urls"] = json!(["https://evil.test/"]);
        }),
        ("data", "has `data`", |index| {
            index["manifests"][0]["data"] = "e30=".into();
        }),
        ("another size of an image", "cannot be pulled", |index| {
            index["manifests"][0]["size"] = 501.into();
        }),
        (
            "another size of an attestation",
            "cannot be pulled",
            |index| {
                index["manifests"][1]["size"] = 701.into();
            },
        ),
        ("an extra child", "", |index| {
            let mut extra = index["manifests"][0].clone();
            extra["digest"] = Digest::of(b"extra").to_string().into();
            extra["platform"] = json!({"os": "linux", "architecture": "s390x"});
            index["manifests"].as_array_mut().unwrap().push(extra);
        }),
        (
            "an attestation of nothing",
            "attestation of an image that is not in the index",
            |index| {
                index["manifests"][1]["annotations"][ATTESTATION] =
                    Digest::of(b"extra").to_string().into();
            },
        ),
        (
            "an image that calls itself the attestation of another",
            "attestation of an image that is not in the index",
            |index| {
                let image = index["manifests"][2]["digest"].clone();
                index["manifests"][1]["digest"] = image;
                index["manifests"][1]["size"] = 500.into();
            },
        ),
        (
            "an attestation for a platform",
            "two children for `linux/amd64`",
            |index| {
                index["manifests"][1]["platform"] = json!({"os": "linux", "architecture": "amd64"});
            },
        ),
        (
            "an unknown platform without annotations",
            "names an invalid platform",
            |index| {
                let attestation = index["manifests"][1].as_object_mut().unwrap();
                attestation.remove("annotations");
            },
        ),
        ("an image without a platform", "", |index| {
            let mut extra = index["manifests"][0].clone();
            extra["digest"] = Digest::of(b"extra").to_string().into();
            extra.as_object_mut().unwrap().remove("platform");
            index["manifests"].as_array_mut().unwrap().push(extra);
        }),
        (
            "an image that hides before an index of ours",
            "two children for `linux/amd64`",
            |index| {
                let of = index["manifests"][0]["digest"].as_str().unwrap();
                let nested = Digest::of(format!("index of {of}").as_bytes());
                index["manifests"][0]["digest"] = Digest::of(b"extra").to_string().into();
                index["manifests"][1] =
                    json!({"mediaType": MediaType::OciIndex, "digest": nested, "size": 1});
            },
        ),
    ];
    let children = two();
    let assembly = assembled(&children);
    for (name, why, disguise) in disguises {
        let seen = [fixed("v1", Some(edited(&assembly.manifest, disguise)))];
        for decide in [decide_signed, decide_unsigned] {
            let conflicts = decide(&assembly, &children, &seen);
            let conflicts = conflicts.expect_err(name);
            let text = conflicts[0].difference.text().unwrap_or_default();
            assert!(text.contains(why), "{name}: {text}");
            assert_eq!(text.is_empty(), why.is_empty(), "{name}: {text}");
        }
    }
}

#[test]
fn index_in_an_index_stands_for_its_images_only_as_an_index_that_was_given() {
    let children = two();
    let assembly = assembled(&children);
    let nested = |media_type: MediaType, digest: Digest| {
        edited(&assembly.manifest, |index| {
            let platform = index["manifests"][0]["platform"].clone();
            let entry =
                json!({"mediaType": media_type, "digest": digest, "size": 9, "platform": platform});
            let entries = index["manifests"].as_array_mut().unwrap();
            entries.splice(0..2, [entry]);
        })
    };
    let is_kept = |theirs: Manifest| {
        let seen = [fixed("v1", Some(theirs))];
        // Its bytes are not those that this run would write, so they are signed only if something vouches for them.
        assert!(decide_signed(&assembly, &children, &seen).is_err());
        decide_unsigned(&assembly, &children, &seen).is_ok()
    };
    let given = (*children[0].input).clone();
    assert!(is_kept(nested(MediaType::OciIndex, given.clone())));
    assert!(!is_kept(nested(MediaType::OciManifest, given)));
    assert!(!is_kept(nested(MediaType::OciIndex, Digest::of(b"extra"))));
}

#[test]
fn all_that_an_index_says_counts_where_something_is_signed() {
    let changes: [Variation; 21] = [
        ("its annotation `a` is absent, expected \"1\"", |index| {
            index.as_object_mut().unwrap().remove("annotations");
        }),
        ("its annotation `a` is \"2\", expected \"1\"", |index| {
            index["annotations"]["a"] = "2".into();
        }),
        ("its annotation `b` is \"\", expected absent", |index| {
            index["annotations"]["b"] = "".into();
        }),
        ("it has the field `artifactType`", |index| {
            index["artifactType"] = "".into();
        }),
        ("it has the field `subject`", |index| {
            let subject = json!({"mediaType": "a", "digest": Digest::of(b"other"), "size": 1});
            index["subject"] = subject;
        }),
        ("it has the field `x`", |index| {
            index["x"] = json!({});
        }),
        ("its `schemaVersion` is not 2", |index| {
            index.as_object_mut().unwrap().remove("schemaVersion");
        }),
        ("it lacks the entry `sha256:", |index| {
            index["manifests"].as_array_mut().unwrap().remove(1);
        }),
        ("it has the entry `sha256:", |index| {
            let mut extra = index["manifests"][1].clone();
            extra["digest"] = Digest::of(b"extra").to_string().into();
            index["manifests"].as_array_mut().unwrap().push(extra);
        }),
        ("", |index| {
            let other = index["manifests"][1].clone();
            index["manifests"][3] = other;
        }),
        ("", |index| {
            index["manifests"][1]["digest"] = Digest::of(b"extra").to_string().into();
        }),
        ("", |index| {
            index["manifests"][1]["mediaType"] = MediaType::DockerManifest.to_string().into();
        }),
        ("annotations {\"by\":\"them\"", |index| {
            index["manifests"][0]["annotations"] = json!({"by": "them"});
        }),
        ("", |index| {
            index["manifests"][1]["annotations"]["vnd.docker.reference.type"] = "else".into();
        }),
        ("", |index| {
            index["manifests"][1]["platform"] = json!({"os": "unknown", "architecture": "amd64"});
        }),
        ("", |index| {
            index["manifests"][1]["platform"] = json!({"os": "linux", "architecture": "unknown"});
        }),
        ("", |index| {
            index["manifests"][1]["platform"]["variant"] = "v7".into();
        }),
        ("", |index| {
            index["manifests"][1]["platform"]["os.version"] = "10".into();
        }),
        ("", |index| {
            index["manifests"][1]["platform"]["os.features"] = json!(["win32k"]);
        }),
        ("artifactType \"application/x\"", |index| {
            index["manifests"][0]["artifactType"] = "application/x".into();
        }),
        ("", |index| {
            index["manifests"][0]["x"] = "".into();
        }),
    ];
    assert_eq!(signing_is_refused(|_| ()), None);
    for (number, (says, change)) in changes.into_iter().enumerate() {
        let refused = signing_is_refused(change);
        let refused = refused.unwrap_or_else(|| panic!("number {number}, {says}, passed"));
        assert!(refused.contains(says), "number {number}: {refused}");
    }
}

#[test]
fn type_of_an_entrys_config_is_that_of_its_own() {
    let mut children = two();
    children[0].leaves[0].config_type = MediaType::from("application/x");
    children[1].attestations[0].config_type = MediaType::from("application/y");
    let assembly = assembled(&children);
    let is_same = |place: usize, media_type: &str| {
        let theirs = edited(&assembly.manifest, |index| {
            index["manifests"][place]["artifactType"] = media_type.into();
        });
        decide_signed(&assembly, &children, &[fixed("v1", Some(theirs))]).is_ok()
    };
    let types = ["application/x", CONFIG, CONFIG, "application/y"];
    for (place, own) in types.into_iter().enumerate() {
        for media_type in ["application/x", "application/y", CONFIG] {
            assert_eq!(is_same(place, media_type), media_type == own, "{place}");
        }
    }
}

#[test]
fn what_says_nothing_is_no_difference() {
    let changes: [Variation; 13] = [
        ("no subject", |index| index["subject"] = Value::Null),
        ("annotations of null", |index| {
            index["manifests"][0]["annotations"] = Value::Null;
        }),
        ("Docker's features of null", |index| {
            index["manifests"][0]["platform"]["features"] = Value::Null;
        }),
        ("no annotations", |index| {
            index["manifests"][0]["annotations"] = json!({});
        }),
        ("no urls", |index| {
            index["manifests"][0]["urls"] = json!([]);
        }),
        ("no artifact type", |index| {
            index["manifests"][0]["artifactType"] = "".into();
        }),
        ("no variant", |index| {
            index["manifests"][0]["platform"]["variant"] = "".into();
        }),
        ("no version", |index| {
            index["manifests"][0]["platform"]["os.version"] = "".into();
        }),
        ("no features", |index| {
            index["manifests"][0]["platform"]["os.features"] = json!([]);
        }),
        ("the only variant there is", |index| {
            let platform = &mut index["manifests"][2]["platform"];
            platform.as_object_mut().unwrap().remove("variant");
        }),
        ("order of the fields", |index| {
            let entry = index["manifests"][1].as_object_mut().unwrap();
            let turned = entry.iter().rev();
            *entry = turned
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
        }),
        ("an entry that is listed again", |index| {
            let again = index["manifests"][1].clone();
            index["manifests"].as_array_mut().unwrap().push(again);
        }),
        ("order of the entries", |index| {
            index["manifests"].as_array_mut().unwrap().reverse();
        }),
    ];
    for (name, change) in changes {
        assert_eq!(signing_is_refused(change), None, "{name}");
    }
}

#[test]
fn differences_are_few_short_and_visible() {
    let many = signing_is_refused(|index| {
        for number in 0..12 {
            index["annotations"][format!("n{number:02}")] = "x".into();
        }
    });
    let many = many.unwrap();
    assert_eq!(many.matches("its annotation").count(), 8, "{many}");
    assert!(many.ends_with("; and 4 more differences"), "{many}");
    let long = signing_is_refused(|index| {
        index[format!("a\u{1b}[31m{}", "b".repeat(500))] = 1.into();
    });
    let long = long.unwrap();
    assert!(!long.contains('\u{1b}'), "{long}");
    assert!(
        long.ends_with("b…`") && long.chars().count() < 320,
        "{long}"
    );
}

#[test]
fn images_are_named_by_usable_platforms_and_attestations_are_none() {
    let children = two();
    let assembly = assembled(&children);
    let theirs = edited(&assembly.manifest, |index| {
        index["manifests"][0]["platform"]["os"] = "li nux".into();
        let attestation = index["manifests"][3].as_object_mut().unwrap();
        attestation.remove("annotations");
    });
    let names: Vec<String> = images_of(&theirs)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        ["an invalid platform", "linux/arm64/v8", "unknown/unknown"]
    );
}
