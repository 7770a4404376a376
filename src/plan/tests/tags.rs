//! What happens to a tag, for every state in which it can be found.

use super::*;

proptest! {
    #[test]
    fn a_rerun_changes_nothing(children in children(), absent in any::<[bool; 3]>()) {
        let assembly = assembled(&children);
        let held = |absent: bool| (!absent).then(|| assembly.manifest.clone());
        let tags = [fixed("v1", held(absent[0])), fixed("v1.0", held(absent[1])), moving("latest", held(absent[2]))];
        let first = decide_tags(&assembly, &children, &tags).unwrap();
        prop_assert_eq!(first.target.digest(), assembly.manifest.digest());
        for (step, absent) in first.steps.iter().zip(absent) {
            prop_assert_eq!(step.writes(), absent);
            prop_assert_eq!(&step.after, assembly.manifest.digest());
        }
        let done = ["v1", "v1.0"].map(|tag| fixed(tag, held(false)));
        prop_assert!(decide_tags(&assembly, &children, &done).unwrap().steps.iter().all(|step| !step.writes()));
    }

    #[test]
    fn the_same_map_in_other_bytes_is_kept_and_given_to_the_rest(children in children()) {
        let assembly = assembled(&children);
        let theirs = rewritten(&assembly.manifest);
        let seen = [fixed("v1", None), fixed("v1.0", Some(theirs.clone())), fixed("v1.0.0", Some(assembly.manifest.clone())), moving("latest", None)];
        let decided = decide_tags(&assembly, &children, &seen).unwrap();
        prop_assert_eq!(decided.target.bytes(), theirs.bytes());
        let after: Vec<_> = decided.steps.iter().map(|step| &step.after).collect();
        prop_assert_eq!(after, [theirs.digest(), theirs.digest(), assembly.manifest.digest(), theirs.digest()]);
        prop_assert_eq!(decided.equivalents.len(), 1);
    }

    #[test]
    fn every_repository_gets_the_first_index_that_will_do(children in children(), held in any::<[bool; 3]>(), rewrite in any::<[bool; 3]>()) {
        let assembly = assembled(&children);
        let theirs = rewritten(&assembly.manifest);
        let tags = ["a.test/o/r:v1", "b.test/o/r:v1", "a.test/o/r:v1.0"];
        let mut seen: Vec<SeenTag> = (0..3)
            .map(|n| fixed(tags[n], held[n].then(|| if rewrite[n] { theirs.clone() } else { assembly.manifest.clone() })))
            .collect();
        seen.push(moving("c.test/o/r:latest", None));
        let decided = decide_tags(&assembly, &children, &seen).unwrap();
        let first = seen.iter().find_map(|tag| tag.holds.as_ref()).unwrap_or(&assembly.manifest);
        prop_assert_eq!(decided.target.digest(), first.digest());
        for (step, tag) in decided.steps.iter().zip(&seen) {
            prop_assert_eq!(&step.tag, &tag.tag);
            let kept = tag.holds.as_ref().unwrap_or(first);
            prop_assert_eq!((&step.after, step.writes()), (kept.digest(), tag.holds.is_none()));
        }
        // What others hold and keep is told once for each repository.
        let others: BTreeSet<_> = seen.iter()
            .filter(|tag| tag.holds.as_ref().is_some_and(|holds| holds.digest() != first.digest()))
            .map(|tag| &tag.tag.repository)
            .collect();
        let told: Vec<_> = decided.equivalents.iter().map(|found| &found.repository).collect();
        prop_assert_eq!(told.len(), others.len());
        prop_assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), others);
    }

    #[test]
    fn a_fixed_tag_is_never_written_over(children in children(), others in children()) {
        let (mine, theirs) = (assembled(&children), assembled(&others));
        let decided = decide_tags(&mine, &children, &[fixed("v1", Some(theirs.manifest.clone())), fixed("v2", None)]);
        match decided {
            Ok(steps) => {
                prop_assert_eq!(&mine.platforms, &theirs.platforms);
                prop_assert!(!steps.steps[0].writes());
            }
            Err(conflicts) => {
                prop_assert_ne!(&mine.platforms, &theirs.platforms);
                prop_assert_eq!(&conflicts[0].holds, theirs.manifest.digest());
                prop_assert_eq!(conflicts[0].found.len(), theirs.platforms.len());
            }
        }
    }
}

/// One way to make an index that only looks the same, by name.
type Disguise = (&'static str, fn(&mut serde_json::Value));

#[test]
fn an_index_that_only_looks_the_same_is_a_conflict() {
    let children = ["linux/amd64", "linux/arm64"]
        .map(|platform| resolved(leaf(platform, 1, MediaType::OciManifest), true));
    let assembly = assembled(&children);
    let disguises: [Disguise; 8] = [
        ("swapped platforms", |index| {
            let first = index["manifests"][0]["platform"].clone();
            index["manifests"][0]["platform"] = index["manifests"][2]["platform"].clone();
            index["manifests"][2]["platform"] = first;
        }),
        ("urls", |index| {
            index["manifests"][0]["urls"] = serde_json::json!(["https://evil.test/"]);
        }),
        ("data", |index| {
            index["manifests"][0]["data"] = "e30=".into();
        }),
        ("an extra child", |index| {
            let mut extra = index["manifests"][0].clone();
            extra["digest"] = Digest::of(b"extra").to_string().into();
            extra["platform"] = serde_json::json!({"os": "linux", "architecture": "s390x"});
            index["manifests"].as_array_mut().unwrap().push(extra);
        }),
        ("an attestation of nothing", |index| {
            index["manifests"][1]["annotations"]["vnd.docker.reference.digest"] =
                Digest::of(b"extra").to_string().into();
        }),
        ("an attestation for a platform", |index| {
            index["manifests"][1]["platform"] =
                serde_json::json!({"os": "linux", "architecture": "s390x"});
        }),
        ("an unknown platform without annotations", |index| {
            index["manifests"][1]
                .as_object_mut()
                .unwrap()
                .remove("annotations");
        }),
        ("an image that hides before an index of ours", |index| {
            let of = index["manifests"][0]["digest"].as_str().unwrap();
            let nested = Digest::of(format!("index of {of}").as_bytes());
            index["manifests"][0]["digest"] = Digest::of(b"extra").to_string().into();
            index["manifests"][1] =
                serde_json::json!({"mediaType": MediaType::OciIndex, "digest": nested, "size": 1});
        }),
    ];
    for (name, disguise) in disguises {
        let theirs = edited(&assembly.manifest, disguise);
        assert!(
            decide_tags(&assembly, &children, &[fixed("v1", Some(theirs))]).is_err(),
            "{name} passed as the same"
        );
    }
    let same = edited(&assembly.manifest, |_| ());
    assert!(decide_tags(&assembly, &children, &[fixed("v1", Some(same))]).is_ok());
}

#[test]
fn a_tag_on_a_single_image_is_a_conflict() {
    let children = [resolved(
        leaf("linux/amd64", 1, MediaType::OciManifest),
        false,
    )];
    let config = Descriptor::new(MediaType::Other("c".to_owned()), 2, Digest::of(b"{}"));
    let image = serde_json::to_vec(&serde_json::json!({"config": config, "layers": []})).unwrap();
    let image = Manifest::parse(image, MediaType::OciManifest).unwrap();
    let conflicts = decide_tags(
        &assembled(&children),
        &children,
        &[fixed("v1", Some(image))],
    )
    .unwrap_err();
    assert!(
        conflicts[0].found.is_empty() && conflicts[0].why.is_some(),
        "{conflicts:?}"
    );
}

#[test]
fn moving_tags_move_and_remember() {
    let children = [resolved(
        leaf("linux/amd64", 1, MediaType::OciManifest),
        false,
    )];
    let others = [resolved(
        leaf("linux/amd64", 2, MediaType::OciManifest),
        false,
    )];
    let (mine, theirs) = (assembled(&children), assembled(&others));
    let steps = decide_tags(
        &mine,
        &children,
        &[moving("latest", Some(theirs.manifest.clone()))],
    )
    .unwrap()
    .steps;
    let wanted = TagStep {
        tag: full("latest"),
        kind: TagKind::Moving,
        before: Some(theirs.manifest.digest().clone()),
        after: mine.manifest.digest().clone(),
        newer: None,
    };
    assert_eq!(steps, [wanted]);
}

fn with_version(manifest: &Manifest, version: Option<&str>) -> Manifest {
    edited(manifest, |index| {
        if let Some(version) = version {
            index["annotations"]["org.opencontainers.image.version"] = version.into();
        }
    })
}

proptest! {
    #[test]
    fn moving_tags_go_forward_or_stay(held in any::<[u8; 3]>(), wanted in any::<[u8; 3]>(), pre in any::<[bool; 2]>()) {
        let text = |[major, minor, patch]: [u8; 3], pre: bool| format!("{major}.{minor}.{patch}{}", if pre { "-rc.1" } else { "" });
        let index = |platform: &str, version: &str| {
            let children = [resolved(leaf(platform, 1, MediaType::OciManifest), false)];
            with_version(&assembled(&children).manifest, Some(version))
        };
        let (theirs, mine) = (index("linux/amd64", &text(held, pre[0])), index("linux/arm64", &text(wanted, pre[1])));
        let step = TagStep::of_moving(&full("latest"), Some(&theirs), &mine);
        // A pre-release comes before its release.
        let is_newer = (held, !pre[0]) > (wanted, !pre[1]);
        prop_assert_eq!((step.newer.is_some(), !step.writes()), (is_newer, is_newer));
        prop_assert_eq!(&step.before, &Some(theirs.digest().clone()));
        let after = if is_newer { theirs.digest() } else { mine.digest() };
        prop_assert_eq!(&step.after, after);
        // What is there goes on to be what it is.
        let again = TagStep::of_moving(&full("latest"), Some(&mine), &mine);
        prop_assert_eq!((again.newer, again.before), (None, Some(again.after)));
    }
}

#[test]
fn moving_tags_move_where_the_versions_say_nothing() {
    let children = [resolved(
        leaf("linux/amd64", 1, MediaType::OciManifest),
        false,
    )];
    let plain = assembled(&children).manifest;
    let [old, odd] = [Some("1.0.0"), Some("nightly")].map(|version| with_version(&plain, version));
    let new = with_version(&plain, Some("2.0.0"));
    for (held, target) in [
        (&new, &plain),
        (&new, &odd),
        (&odd, &new),
        (&plain, &new),
        (&old, &new),
    ] {
        let step = TagStep::of_moving(&full("latest"), Some(held), target);
        assert!(step.writes() && step.newer.is_none());
    }
    assert!(!TagStep::of_moving(&full("latest"), Some(&new), &old).writes());
    // Tags have a `v`; what was built when decides nothing; numbers are no words.
    for (held, target, stays) in [
        ("v1.10.0", "1.9.0", true),
        ("1.0.0+2", "1.0.0+1", false),
        ("1.0.0-rc.10", "v1.0.0-rc.9", true),
        ("01.2.3", "1.0.0", false),
    ] {
        let [held, target] = [held, target].map(|version| with_version(&plain, Some(version)));
        let step = TagStep::of_moving(&full("latest"), Some(&held), &target);
        assert_eq!(step.newer.is_some(), stays);
    }
    assert!(TagStep::of_moving(&full("latest"), None, &old).writes());
}
