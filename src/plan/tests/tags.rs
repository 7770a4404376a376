//! The step for a tag, for every state of the tag.

use super::*;

proptest! {
    #[test]
    fn a_rerun_changes_nothing(children in children(), absent in any::<[bool; 3]>()) {
        let assembly = assembled(&children);
        let held = |absent: bool| (!absent).then(|| Manifest::clone(&assembly.manifest));
        let tags = [fixed("v1", held(absent[0])), fixed("v1.0", held(absent[1])), moving("latest", held(absent[2]))];
        let first = decide_signed(&assembly, &children, &tags).unwrap();
        prop_assert_eq!(first.target.manifest().digest(), assembly.manifest.digest());
        for (step, absent) in first.steps.iter().zip(absent) {
            prop_assert_eq!(step.writes(), absent);
            prop_assert_eq!(&step.after, assembly.manifest.digest());
        }
        let done = ["v1", "v1.0"].map(|tag| fixed(tag, held(false)));
        prop_assert!(decide_signed(&assembly, &children, &done).unwrap().steps.iter().all(|step| !step.writes()));
    }

    #[test]
    fn the_same_map_in_other_bytes_is_kept_and_given_to_the_rest(children in children()) {
        let assembly = assembled(&children);
        let theirs = rewritten(&assembly.manifest);
        let seen = [fixed("v1", None), fixed("v1.0", Some(theirs.clone())), fixed("v1.0.0", Some(Manifest::clone(&assembly.manifest))), moving("latest", None)];
        let decided = decide_signed(&assembly, &children, &seen).unwrap();
        prop_assert_eq!(decided.target.manifest().bytes(), theirs.bytes());
        let after: Vec<_> = decided.steps.iter().map(|step| &step.after).collect();
        prop_assert_eq!(after, [theirs.digest(), theirs.digest(), assembly.manifest.digest(), theirs.digest()]);
        prop_assert_eq!(decided.equivalents.len(), 1);
    }

    #[test]
    fn every_repository_gets_the_first_index_that_will_do(children in children(), held in any::<[bool; 4]>(), rewrite in any::<[bool; 4]>()) {
        let assembly = assembled(&children);
        let theirs = rewritten(&assembly.manifest);
        let tags = ["a.test/o/r:v1", "b.test/o/r:v1", "a.test/o/r:v1.0", "b.test/o/r:v1.0"];
        let mut seen: Vec<SeenTag> = (0..4)
            .map(|n| fixed(tags[n], held[n].then(|| if rewrite[n] { theirs.clone() } else { Manifest::clone(&assembly.manifest) })))
            .collect();
        seen.push(moving("c.test/o/r:latest", None));
        let decided = decide_signed(&assembly, &children, &seen).unwrap();
        let made: &Manifest = &assembly.manifest;
        let held = |tag: &SeenTag| tag.existing.as_ref().map(|existing| existing.digest().clone());
        let first = seen.iter().find_map(held).unwrap_or(made.digest().clone());
        prop_assert_eq!(decided.target.manifest().digest(), &first);
        for (step, tag) in decided.steps.iter().zip(&seen) {
            prop_assert_eq!(&step.tag, &tag.tag);
            let kept = held(tag).unwrap_or(first.clone());
            prop_assert_eq!((&step.after, step.writes()), (&kept, tag.existing.is_none()));
        }
        // Indexes that other tags keep are reported once for each repository.
        let others: BTreeSet<_> = seen.iter()
            .filter(|tag| held(tag).is_some_and(|existing| existing != first))
            .map(|tag| &tag.tag.repository)
            .collect();
        let repositories: Vec<_> = decided.equivalents.iter().map(|found| &found.repository).collect();
        prop_assert_eq!(repositories.len(), others.len());
        prop_assert_eq!(repositories.into_iter().collect::<BTreeSet<_>>(), others);
    }

    #[test]
    fn a_fixed_tag_is_never_written_over(children in children(), others in children()) {
        let (mine, theirs) = (assembled(&children), assembled(&others));
        let decided = decide_signed(&mine, &children, &[fixed("v1", Some(Manifest::clone(&theirs.manifest))), fixed("v2", None)]);
        match decided {
            Ok(steps) => {
                prop_assert_eq!(mine.manifest.digest(), theirs.manifest.digest());
                prop_assert!(!steps.steps[0].writes());
            }
            Err(conflicts) => {
                // The same images with other attestations are another index.
                prop_assert_ne!(mine.manifest.digest(), theirs.manifest.digest());
                prop_assert_eq!(&conflicts[0].digest, theirs.manifest.digest());
                prop_assert_eq!(conflicts[0].images.len(), theirs.platforms.len());
            }
        }
    }
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
    let conflicts = decide_signed(
        &assembled(&children),
        &children,
        &[fixed("v1", Some(image))],
    )
    .unwrap_err();
    assert!(
        conflicts[0].images.is_empty() && conflicts[0].difference.text().is_some(),
        "{conflicts:?}"
    );
}

#[test]
fn what_is_no_manifest_is_a_conflict_and_freezes_nothing() {
    let children = [resolved(
        leaf("linux/amd64", 1, MediaType::OciManifest),
        true,
    )];
    let assembly = assembled(&children);
    let held = |tag: SeenTag| SeenTag {
        existing: Some(unusable()),
        ..tag
    };
    let seen = [held(fixed("v1", None)), held(moving("latest", None))];
    for decided in [
        decide_signed(&assembly, &children, &seen).map(drop),
        decide_unsigned(&assembly, &children, &seen).map(drop),
        decide_published(&assembly.manifest, &seen, &BTreeMap::new()).map(drop),
    ] {
        let conflicts = decided.unwrap_err();
        assert_eq!(conflicts.len(), 1);
        assert_eq!(&conflicts[0].digest, unusable().digest());
        let why = conflicts[0].difference.text().unwrap();
        assert!(why.contains("not a usable manifest"), "{why}");
    }
    let moved = decide_signed(&assembly, &children, &seen[1..]).unwrap();
    assert!(moved.steps[0].writes());
    assert_eq!(moved.steps[0].before.as_ref(), Some(unusable().digest()));
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
    let steps = decide_signed(
        &mine,
        &children,
        &[moving("latest", Some(Manifest::clone(&theirs.manifest)))],
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

proptest! {
    #[test]
    fn what_anybody_could_have_written_is_neither_signed_nor_given_to_a_tag(children in children(), which in 0..8_usize, kinds in any::<[bool; 2]>()) {
        let assembly = assembled(&children);
        let theirs = edited(&assembly.manifest, |index| {
            let first = &mut index["manifests"][0];
            match which {
                0 => index["annotations"]["by"] = "them".into(),
                1 => index["subject"] = serde_json::json!({"mediaType": "a", "digest": Digest::of(b"other"), "size": 1}),
                2 => first["annotations"]["by"] = "them".into(),
                3 => first["artifactType"] = "application/vnd.example".into(),
                5 => index["SchemaVersion"] = "".into(),
                6 => first["platform"]["features"] = "".into(),
                7 => index["schemaVersion"] = 1.into(),
                _ => first["platform"]["os.features"] = serde_json::json!([]),
            }
        });
        // An empty list does not count.
        let is_same = which == 4;
        let tag = if kinds[0] { "a.test/o/r:v1" } else { "v1" };
        let seen = [fixed(tag, Some(theirs.clone())), fixed("v2", None), moving("latest", None)];
        match decide_signed(&assembly, &children, &seen) {
            Ok(decided) => {
                prop_assert!(is_same);
                prop_assert_eq!(decided.target.manifest().digest(), theirs.digest());
            }
            Err(conflicts) => {
                prop_assert!(!is_same);
                prop_assert_eq!(&conflicts[0].digest, theirs.digest());
                prop_assert!(matches!(conflicts[0].difference, Difference::Unvouched(_)));
            }
        }
        // If nothing is signed, it stays, and no other tag gets it.
        let decided = decide_unsigned(&assembly, &children, &seen).unwrap();
        let wanted = if is_same { theirs.digest() } else { assembly.manifest.digest() };
        prop_assert!(decided.target.vouched().is_some());
        for step in &decided.steps {
            prop_assert_eq!(&step.after, if step.tag == full(tag) { theirs.digest() } else { wanted });
        }
        // A signature that meets the policy vouches for it, as does an input that names it and nothing else.
        let signed = Vouched::signed(theirs.clone(), &crate::sigstore::Verified::invented(theirs.digest(), "us")).unwrap();
        let decided = decide_tags(&assembly, &children, &seen, KeepRule::Vouched(&[signed]), &BTreeMap::new()).unwrap();
        prop_assert_eq!(decided.target.manifest().digest(), theirs.digest());
        let adopted = adopting(&theirs, &children);
        let decided = decide_signed(&assembly, &adopted, &seen).unwrap();
        prop_assert_eq!(decided.target.manifest().digest(), theirs.digest());
        // Beside other digests, or where an annotation is asked for that it lacks, it is a part of what is made.
        let several = [adopted.clone(), children.clone()].concat();
        prop_assert_eq!(decide_signed(&assembly, &several, &seen).is_ok(), is_same);
        let annotations = BTreeMap::from([("name".to_owned(), "app".to_owned())]);
        let named = assemble(&children, &super::wanted(&annotations)).unwrap();
        prop_assert!(decide_signed(&named, &adopted, &seen).is_err());
    }

    #[test]
    fn index_of_others_that_every_tag_holds_is_the_result_where_nothing_is_signed(children in children(), absent in any::<[bool; 2]>()) {
        let assembly = assembled(&children);
        let theirs = annotated(&assembly.manifest);
        let held = |absent: bool| (!absent).then(|| theirs.clone());
        let seen = [fixed("v1", held(false)), fixed("v2", held(absent[0])), moving("latest", held(absent[1]))];
        let decided = decide_unsigned(&assembly, &children, &seen).unwrap();
        let is_kept = absent == [false; 2];
        prop_assert_eq!(decided.target.vouched().is_none(), is_kept);
        prop_assert_eq!(decided.steps.iter().any(TagStep::writes), !is_kept);
    }
}

#[test]
fn signature_of_one_index_vouches_for_no_other() {
    let children = [resolved(
        leaf("linux/amd64", 1, MediaType::OciManifest),
        false,
    )];
    let index = assembled(&children).manifest.into_content();
    let verified = crate::sigstore::Verified::invented(&Digest::of(b"another"), "us");
    assert!(Vouched::signed(index, &verified).is_none());
}

fn with_version(manifest: &Manifest, version: Option<&str>) -> Manifest {
    edited(manifest, |index| {
        if let Some(version) = version {
            index["annotations"]["org.opencontainers.image.version"] = version.into();
        }
    })
}

/// True if `existing` is newer than what is made of `children` under `tags`, by the versions that both state.
fn is_newer(existing: &Manifest, made: &Manifest, resolved: &[Resolved], tags: &[&str]) -> bool {
    let tags: Vec<FullTag> = tags.iter().map(|tag| full(tag)).collect();
    let held = version_stated(existing, std::iter::empty());
    let wanted = version_made(made, resolved, &tags);
    held.zip(wanted)
        .is_some_and(|(held, wanted)| newer(&held, &wanted).is_some())
}

proptest! {
    #[test]
    fn moving_tags_go_forward_or_stay(held in any::<[u8; 3]>(), wanted in any::<[u8; 3]>(), pre in any::<[bool; 2]>()) {
        let text = |[major, minor, patch]: [u8; 3], pre: bool| format!("{major}.{minor}.{patch}{}", if pre { "-rc.1" } else { "" });
        let found = newer(&text(held, pre[0]), &text(wanted, pre[1]));
        // A pre-release comes before its release.
        let is_newer = (held, !pre[0]) > (wanted, !pre[1]);
        prop_assert_eq!(found.is_some(), is_newer);
        let index = |platform: &str| assembled(&[resolved(leaf(platform, 1, MediaType::OciManifest), false)]).manifest;
        let (theirs, mine) = (index("linux/amd64"), index("linux/arm64"));
        let step = TagStep::of_moving(&full("latest"), Some(&theirs.clone().into_content().into()), mine.digest(), found.clone());
        prop_assert_eq!((step.newer.is_some(), !step.writes()), (is_newer, is_newer));
        prop_assert_eq!(&step.before, &Some(theirs.digest().clone()));
        let after = if is_newer { theirs.digest() } else { mine.digest() };
        prop_assert_eq!(&step.after, after);
        // Content that is the target already is not a step back.
        let again = TagStep::of_moving(&full("latest"), Some(&mine.clone().into_content().into()), mine.digest(), found);
        prop_assert_eq!((again.newer, again.before), (None, Some(again.after)));
    }
}

#[test]
fn version_is_the_annotation_else_the_label_of_all_images_else_the_one_semver_tag() {
    let labelled = |labels: &[Option<&str>]| -> Vec<Resolved> {
        let images = PLATFORMS.iter().zip(labels.iter().copied());
        let leaf = |(platform, label): (&&str, Option<&str>)| {
            let mut image = resolved(leaf(platform, 1, MediaType::OciManifest), false);
            image.leaves[0].version = label.map(str::to_owned);
            image
        };
        images.map(leaf).collect()
    };
    let made = |labels: &[Option<&str>], annotation: Option<&str>, tags: &[&str]| {
        let children = labelled(labels);
        let index = with_version(&assembled(&children).manifest, annotation);
        let tags: Vec<FullTag> = tags.iter().map(|tag| full(tag)).collect();
        version_made(&index, &children, &tags)
    };
    let both = [Some("1.2.3"), Some("1.2.3")];
    assert_eq!(
        made(&both, Some("4.0.0"), &["5.0.0"]).as_deref(),
        Some("4.0.0")
    );
    assert_eq!(made(&both, None, &["5.0.0"]).as_deref(), Some("1.2.3"));
    for labels in [
        [Some("1.2.3"), None],
        [Some("1.2.3"), Some("1.2.4")],
        [None, None],
    ] {
        assert_eq!(
            made(&labels, None, &["v5.0.0", "5.0", "main"]).as_deref(),
            Some("v5.0.0")
        );
        assert_eq!(made(&labels, None, &["5.0.0", "5.0.1"]), None);
        assert_eq!(made(&labels, None, &["main"]), None);
    }
}

#[test]
fn moving_tags_move_where_the_versions_say_nothing() {
    let children = [resolved(
        leaf("linux/amd64", 1, MediaType::OciManifest),
        false,
    )];
    let plain = assembled(&children).manifest.into_content();
    let [old, odd] = [Some("1.0.0"), Some("nightly")].map(|version| with_version(&plain, version));
    let new = with_version(&plain, Some("2.0.0"));
    for (held, made) in [
        (&new, &plain),
        (&new, &odd),
        (&odd, &new),
        (&plain, &new),
        (&old, &new),
    ] {
        assert!(!is_newer(held, made, &children, &["main"]));
    }
    assert!(is_newer(&new, &old, &children, &[]));
    // Tags have a `v`; build metadata decides nothing; numbers are compared as numbers.
    for (held, wanted, stays) in [
        ("v1.10.0", "1.9.0", true),
        ("1.0.0+2", "1.0.0+1", false),
        ("1.0.0-rc.10", "v1.0.0-rc.9", true),
        ("01.2.3", "1.0.0", false),
    ] {
        assert_eq!(newer(held, wanted).is_some(), stays, "{held} {wanted}");
    }
    assert!(TagStep::of_moving(&full("latest"), None, old.digest(), None).writes());
}
