//! Images under the platforms that indexes list.

use super::*;

fn image(stated: &str) -> StatedImage {
    let Leaf {
        descriptor,
        stated,
        config_type,
        version,
        ..
    } = leaf(stated, 1, MediaType::OciManifest);
    StatedImage {
        descriptor,
        platform: stated,
        config_type,
        version,
    }
}

fn claims(platforms: &[&str]) -> BTreeSet<Option<Platform>> {
    let parse = |text: &&str| (!text.is_empty()).then(|| text.parse().unwrap());
    platforms.iter().map(parse).collect()
}

/// Returns the platforms of an image whose config states the first of these and that is listed under the others, as text;
/// or the error.
fn decided(stated: &str, listed_as: &[&str]) -> Result<Vec<String>, String> {
    let leaves = listed(&image(stated), &claims(listed_as)).map_err(|error| error.to_string())?;
    let text = |leaf: &Leaf| {
        leaf.platform
            .as_ref()
            .map_or(String::new(), Platform::to_string)
    };
    Ok(leaves.iter().map(text).collect())
}

#[test]
fn index_completes_the_platform_of_a_config() {
    for (stated, listed_as, wanted) in [
        ("linux/amd64", "linux/amd64", "linux/amd64"),
        ("linux/amd64", "linux/x86_64", "linux/amd64"),
        ("linux/amd64", "linux/amd64/v2", "linux/amd64/v2"),
        ("linux/amd64/v2", "linux/amd64", "linux/amd64/v2"),
        ("linux/arm", "linux/arm/v6", "linux/arm/v6"),
        ("linux/arm", "linux/arm/v7", "linux/arm"),
        ("linux/arm/v6", "linux/arm", "linux/arm/v6"),
        ("linux/arm64", "linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm64/v9", "linux/arm64", "linux/arm64/v9"),
        (
            "windows/amd64",
            "windows(10.0.1)/amd64",
            "windows/amd64 (10.0.1)",
        ),
        (
            "windows(10.0.1)/amd64",
            "windows/amd64",
            "windows/amd64 (10.0.1)",
        ),
        (
            "windows/amd64",
            "windows(10.0.1+win32k)/amd64",
            "windows/amd64 (10.0.1, win32k)",
        ),
        ("linux/amd64", "", ""),
    ] {
        let found = decided(stated, &[listed_as]);
        assert_eq!(found, Ok(vec![wanted.to_owned()]), "{stated} {listed_as}");
    }
    assert_eq!(decided("linux/arm", &[]), Ok(vec!["linux/arm".to_owned()]));
}

#[test]
fn contradiction_names_the_image_and_both_platforms() {
    for (stated, listed_as) in [
        ("linux/amd64", "linux/arm64"),
        ("linux/amd64", "windows/amd64"),
        ("linux/arm/v6", "linux/arm/v7"),
        ("windows(10.0.1)/amd64", "windows(10.0.2)/amd64"),
        ("windows(10.0.1+a)/amd64", "windows(10.0.1+b)/amd64"),
    ] {
        let error = decided(stated, &[listed_as]).unwrap_err();
        let digest = image(stated).descriptor.digest.to_string();
        for named in [&digest, &platform_text(stated), &platform_text(listed_as)] {
            assert!(error.contains(named), "{error} {named}");
        }
    }
    // Content for several platforms is for the one that its config states, too.
    assert!(decided("linux/s390x", &["linux/amd64", "linux/arm64"]).is_err());
    let both = decided("linux/amd64", &["linux/amd64", "linux/arm64", ""]);
    assert_eq!(both.unwrap(), ["", "linux/amd64", "linux/arm64/v8"]);
}

fn platform_text(text: &str) -> String {
    format!("`{}`", text.parse::<Platform>().unwrap())
}

const STATED: [&str; 6] = [
    "linux/amd64",
    "linux/arm",
    "linux/arm64/8",
    "linux/arm/v6",
    "windows/amd64",
    "windows(10.0.17763)/amd64",
];
const LISTED: [&str; 9] = [
    "",
    "linux/amd64",
    "Linux/x86_64",
    "linux/armhf",
    "linux/armel",
    "linux/aarch64",
    "windows/amd64",
    "windows(10.0.17763)/amd64",
    "windows(10.0.20348)/amd64",
];

/// Images of distinct content, each with the platforms under which one index lists it.
fn index() -> impl Strategy<Value = Vec<(StatedImage, BTreeSet<Option<Platform>>)>> {
    let listed_as = proptest::sample::subsequence(LISTED.to_vec(), 1..=3);
    let one = (proptest::sample::select(STATED.to_vec()), listed_as);
    proptest::collection::vec(one, 1..=4).prop_map(|images| {
        let numbered = images.into_iter().enumerate();
        let make = |(number, (stated, listed_as)): (usize, (&str, Vec<&str>))| {
            let Leaf { descriptor, .. } = leaf(
                stated,
                u8::try_from(number).unwrap(),
                MediaType::OciManifest,
            );
            let image = StatedImage {
                descriptor,
                ..image(stated)
            };
            (image, claims(&listed_as))
        };
        numbered.map(make).collect()
    })
}

/// Writes the index that lists these images, as another tool does: in the order of the images.
fn written(images: &[(StatedImage, BTreeSet<Option<Platform>>)]) -> Manifest {
    let entries = images.iter().flat_map(|(image, claims)| {
        claims.iter().map(|platform| Descriptor {
            platform: platform.clone(),
            ..Descriptor::clone(&image.descriptor)
        })
    });
    let entries: Vec<Descriptor> = entries.collect();
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciIndex.to_string(),
        "manifests": entries,
    });
    Manifest::parse(document.to_string().into_bytes(), MediaType::OciIndex).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Every accepted index comes back: each entry is in the index that is made, which is the same as the given one, under a
    /// tag too.
    #[test]
    fn entries_of_a_given_index_are_in_the_one_that_is_made(images in index()) {
        let leaves = images.iter().map(|(image, claims)| listed(image, claims));
        let Ok(leaves) = leaves.collect::<Result<Vec<_>, _>>() else { return Ok(()) };
        let given = written(&images);
        let input = vec![Resolved {
            input: Vouched::invented(given.digest().clone()),
            leaves: leaves.concat(),
            attestations: Vec::new(),
        }];
        let made = match assemble(&input, &wanted(&BTreeMap::new())) {
            Ok(made) => made,
            // Two images for one platform of one index: refused as such.
            Err(AssembleError::SeveralInIndex { index, .. }) => {
                prop_assert_eq!(&index, given.digest());
                return Ok(());
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        let entries: usize = images.iter().map(|(_, claims)| claims.len()).sum();
        prop_assert_eq!(made.manifest.children().len(), entries);
        for (image, claims) in &images {
            for claim in claims {
                let is_kept = made.manifest.children().iter().any(|child| {
                    let fits = match (&child.platform, claim) {
                        (Some(child), Some(claim)) => claim.is_name_of(child) || child.completed_by(claim).is_some(),
                        (child, claim) => child == claim,
                    };
                    child.digest == image.descriptor.digest && fits
                });
                prop_assert!(is_kept, "{:?} of {}", claim, image.descriptor.digest);
            }
        }
        // The given index and the one that is made are equal under a tag.
        for existing in [&given, &Manifest::clone(&made.manifest)] {
            let steps = decide_signed(&made, &input, &[fixed("v1", Some(existing.clone()))]);
            prop_assert!(steps.is_ok_and(|steps| !steps.steps[0].writes()), "{}", existing.digest());
        }
    }
}

/// Makes the input that names an index of these images, each under one platform.
fn given(listed_as: &[(&StatedImage, &str)]) -> Vec<Resolved> {
    let leaves = listed_as
        .iter()
        .map(|(image, platform)| listed(image, &claims(&[platform])));
    vec![Resolved {
        input: Vouched::invented(Digest::of(b"given")),
        leaves: leaves.collect::<Result<Vec<_>, _>>().unwrap().concat(),
        attestations: Vec::new(),
    }]
}

#[test]
fn index_by_a_tool_that_leaves_out_the_version_is_the_same_only_if_nothing_depends_on_it() {
    let one = image("windows/amd64");
    let other = StatedImage {
        descriptor: leaf("windows/amd64", 2, MediaType::OciManifest).descriptor,
        ..one.clone()
    };
    let versions = ["windows(10.0.1)/amd64", "windows(10.0.2)/amd64"];
    let without = |children: &[Resolved]| {
        edited(&assembled(children).manifest, |index| {
            for entry in index["manifests"].as_array_mut().unwrap() {
                entry["platform"]
                    .as_object_mut()
                    .unwrap()
                    .remove("os.version");
            }
        })
    };
    let alone = given(&[(&one, versions[0])]);
    let theirs = without(&alone);
    let steps = decide_signed(&assembled(&alone), &alone, &[fixed("v1", Some(theirs))]).unwrap();
    assert!(!steps.steps[0].writes());
    let both = given(&[(&one, versions[0]), (&other, versions[1])]);
    let theirs = without(&both);
    assert!(decide_signed(&assembled(&both), &both, &[fixed("v1", Some(theirs))]).is_err());
}

#[test]
fn image_that_is_listed_twice_is_the_same_image() {
    let children = [resolved(
        leaf("linux/amd64", 1, MediaType::OciManifest),
        true,
    )];
    let assembly = assembled(&children);
    let theirs = edited(&assembly.manifest, |index| {
        let entries = index["manifests"].as_array_mut().unwrap();
        entries.extend(entries.clone());
    });
    let steps = decide_signed(&assembly, &children, &[fixed("v1", Some(theirs))]).unwrap();
    assert!(!steps.steps[0].writes());
}
