//! Vouching: a registry's response alone vouches for nothing, in any order of tags and repositories.

use proptest::prelude::*;

use super::*;
use crate::domain::Repository;

fn index(number: u8) -> Manifest {
    let text = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"n":"{number}"}}}}"#);
    Manifest::parse(text.into_bytes(), MediaType::OciIndex).unwrap()
}

fn repository(number: u8) -> Repository {
    format!("r{number}.example/o/app").parse().unwrap()
}

/// Generates up to six tags in three repositories, each with one of three digests or nothing, and the vouchers.
fn scenes() -> impl Strategy<Value = (Vec<FoundTag>, Vec<TagImage>)> {
    let tag = (0..3_u8, 0..6_u8, prop::option::of(0..3_u8)).prop_map(|(place, name, number)| {
        let tag = FullTag {
            repository: repository(place),
            tag: format!("v{name}").parse().unwrap(),
        };
        let held = |number| TagContents {
            digest: index(number).digest().clone(),
            images: Vec::new(),
        };
        let state = number.map_or(PreflightState::Absent, |number| {
            PreflightState::Present(held(number))
        });
        (FoundTag { tag, state }, number)
    });
    let tags = prop::collection::vec((tag, any::<bool>()), 1..6);
    tags.prop_map(|tags| {
        let mut images: Vec<TagImage> = Vec::new();
        for ((tag, number), is_vouched) in &tags {
            let Some(manifest) = number.map(index) else {
                continue;
            };
            let repository = tag.tag.repository.clone();
            let is_known =
                |image: &TagImage| image.repository == repository && image.manifest == manifest;
            if !images.iter().any(is_known) {
                images.push(TagImage {
                    repository,
                    vouched: is_vouched.then(|| Vouched::invented(manifest.clone())),
                    manifest,
                    signer: None,
                    refused: Vec::new(),
                });
            }
        }
        (tags.into_iter().map(|((tag, _), _)| tag).collect(), images)
    })
}

proptest! {
    #[test]
    fn what_is_handed_on_is_vouched_for_where_it_is_and_so_is_all_else((found, images) in scenes()) {
        let vouched = |digest: &Digest| images.iter().any(|image| image.manifest.digest() == digest && image.vouched.is_some());
        let held: Vec<&Digest> = found.iter().filter_map(|tag| Some(&tag.state.contents()?.digest)).collect();
        match decide_skip(&found, &images) {
            Verdict::Skip(tag, digest) => {
                prop_assert!(held.iter().all(|digest| vouched(digest)));
                let number = |found: &FoundTag| found.state.contents().is_some_and(|held| held.digest == digest);
                prop_assert!(found.iter().any(|found| found.tag == tag && number(found)));
                prop_assert!(images.iter().any(|image| image.repository == tag.repository && *image.manifest.digest() == digest && image.vouched.is_some()));
            }
            Verdict::Unvouched => prop_assert!(held.is_empty() || held.iter().any(|digest| !vouched(digest))),
            other @ (Verdict::Unknown | Verdict::Taken | Verdict::Differ | Verdict::Proceed) => {
                prop_assert!(false, "{other:?}");
            }
        }
    }
}

#[test]
fn index_is_named_by_its_digest_or_by_being_the_very_same() {
    let platforms = ["linux/amd64", "linux/arm64"];
    let input = |platform: &&str| resolved(leaf(platform, 1, MediaType::OciManifest), false);
    let inputs: Vec<Resolved> = platforms.iter().map(input).collect();
    let made = assembled(&inputs);
    let text = String::from_utf8(made.manifest.bytes().to_vec()).unwrap();
    let manifest =
        |text: &str| Manifest::parse(text.as_bytes().to_vec(), MediaType::OciIndex).unwrap();
    let annotated = text.replacen(
        "\"manifests\"",
        "\"annotations\":{\"a\":\"b\"},\"manifests\"",
        1,
    );
    assert_ne!(text, annotated);
    for (text, wanted) in [
        (text.clone(), true),
        (text.replacen('{', "{ ", 1), true),
        (text.replacen('{', "{\"x-field\":1,", 1), false),
        (annotated.clone(), false),
        (text.replace("\"arm64\"", "\"riscv64\""), false),
        (
            text.replacen(
                "\"manifests\":[{",
                "\"manifests\":[{\"urls\":[\"https://x\"],",
                1,
            ),
            false,
        ),
        (
            text.replacen("\"manifests\":[{", "\"manifests\":[{\"data\":\"e30=\",", 1),
            false,
        ),
        (text.replacen("\"size\":500", "\"size\":501", 1), false),
    ] {
        assert_eq!(
            vouched_by_inputs(&manifest(&text), &made, &inputs).is_some(),
            wanted,
            "{text}"
        );
    }
    // A repeated entry does not count as two entries.
    let mut twice = serde_json::from_str::<serde_json::Value>(&text).unwrap();
    twice["manifests"][1] = twice["manifests"][0].clone();
    assert!(vouched_by_inputs(&manifest(&twice.to_string()), &made, &inputs).is_none());
    let named = adopting(&manifest(&annotated), &inputs);
    assert!(vouched_by_inputs(&manifest(&annotated), &made, &named).is_some());
    // Beside other digests it is a part of what they make.
    let several = [named, inputs].concat();
    assert!(vouched_by_inputs(&manifest(&annotated), &made, &several).is_none());
}
