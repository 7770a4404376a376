//! Properties of the decisions, for every set of children and every state of the tags.

mod cleanup;
mod differences;
mod image_comparison;
mod listed;
mod preflight;
mod tags;
mod vouched;
mod vouching;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::{
    Descriptor, Digest, FullTag, ImageReference, Manifest, ManifestKind, MediaType, Platform,
    TagContent, Unusable,
};
use crate::inputs::IndexType;

const PLATFORMS: [&str; 5] = [
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/riscv64",
    "windows/amd64",
];

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn leaf(platform: &str, seed: u8, media_type: MediaType) -> Leaf {
    let digest = Digest::of(format!("{platform} {seed}").as_bytes());
    Leaf {
        descriptor: Vouched::invented(Descriptor::new(media_type, 500, digest)),
        platform: Some(platform.parse().unwrap()),
        stated: platform.parse().unwrap(),
        config_type: MediaType::from(CONFIG),
        version: None,
    }
}

fn resolved(leaf: Leaf, attested: bool) -> Resolved {
    let of = leaf.descriptor.digest.clone();
    let attestation = Attestation {
        descriptor: Vouched::invented(Descriptor::new(
            MediaType::OciManifest,
            700,
            Digest::of(format!("about {of}").as_bytes()),
        )),
        of: of.clone(),
        config_type: MediaType::from(CONFIG),
    };
    let input = if attested {
        Digest::of(format!("index of {of}").as_bytes())
    } else {
        of
    };
    Resolved {
        input: Vouched::invented(input),
        leaves: vec![leaf],
        attestations: attested.then_some(attestation).into_iter().collect(),
    }
}

/// Makes the input that names `index`, with all that `children` have.
fn adopting(index: &Manifest, children: &[Resolved]) -> Vec<Resolved> {
    let leaves = children.iter().flat_map(|one| one.leaves.clone());
    let attestations = children.iter().flat_map(|one| one.attestations.clone());
    vec![Resolved {
        input: Vouched::invented(index.digest().clone()),
        leaves: leaves.collect(),
        attestations: attestations.collect(),
    }]
}

/// Children for distinct platforms, some with attestations.
fn children() -> impl Strategy<Value = Vec<Resolved>> {
    let which = proptest::sample::subsequence(PLATFORMS.to_vec(), 1..=PLATFORMS.len());
    (which, any::<[bool; 5]>(), any::<u8>()).prop_map(|(platforms, attested, seed)| {
        let make =
            |(platform, attested)| resolved(leaf(platform, seed, MediaType::OciManifest), attested);
        platforms.into_iter().zip(attested).map(make).collect()
    })
}

fn wanted(annotations: &BTreeMap<String, String>) -> Wanted<'_> {
    Wanted {
        platforms: None,
        annotations,
        media_type: IndexType::Auto,
    }
}

fn assembled(children: &[Resolved]) -> Assembly {
    assemble(children, &wanted(&BTreeMap::new())).unwrap()
}

/// Parses a tag: a bare name is a tag of one repository, any other is a full name.
fn full(tag: &str) -> FullTag {
    let name = if tag.contains('/') {
        tag.to_owned()
    } else {
        format!("ghcr.io/o/r:{tag}")
    };
    name.parse::<ImageReference>().unwrap().try_into().unwrap()
}

fn fixed(tag: &str, existing: Option<Manifest>) -> SeenTag {
    SeenTag {
        tag: full(tag),
        kind: TagKind::Fixed,
        existing: existing.map(TagContent::from),
    }
}

fn moving(tag: &str, existing: Option<Manifest>) -> SeenTag {
    SeenTag {
        kind: TagKind::Moving,
        ..fixed(tag, existing)
    }
}

/// Makes content that is not a manifest.
fn unusable() -> TagContent {
    let error = Manifest::parse(b"[]".to_vec(), MediaType::OciIndex).unwrap_err();
    TagContent::Unusable(Unusable::new(Digest::of(b"[]"), &error))
}

/// Rewrites an index as another tool would: pretty-printed, and with the children in another order. The type of each
/// config is repeated, as crane does.
fn rewritten(manifest: &Manifest) -> Manifest {
    let mut document: serde_json::Value = serde_json::from_slice(manifest.bytes()).unwrap();
    let entries = document["manifests"].as_array_mut().unwrap();
    entries.reverse();
    for entry in entries {
        entry["artifactType"] = CONFIG.into();
    }
    Manifest::parse(
        serde_json::to_vec_pretty(&document).unwrap(),
        manifest.media_type().clone(),
    )
    .unwrap()
}

fn edited(manifest: &Manifest, edit: impl Fn(&mut serde_json::Value)) -> Manifest {
    let mut document: serde_json::Value = serde_json::from_slice(manifest.bytes()).unwrap();
    edit(&mut document);
    Manifest::parse(
        serde_json::to_vec(&document).unwrap(),
        manifest.media_type().clone(),
    )
    .unwrap()
}

proptest! {
    #[test]
    fn digest_does_not_depend_on_order_or_repetition(children in children(), shuffle in any::<u64>()) {
        let mut other = children.clone();
        other.extend(children.iter().take(usize::try_from(shuffle % 3).unwrap()).cloned());
        let middle = usize::try_from(shuffle).unwrap_or(0) % other.len();
        other.rotate_left(middle);
        prop_assert_eq!(assembled(&children).manifest, assembled(&other).manifest);
    }

    #[test]
    fn attestations_stand_right_behind_what_they_attest(children in children()) {
        let assembly = assembled(&children);
        let ManifestKind::Index { manifests, .. } = assembly.manifest.kind() else { panic!("no index") };
        for (position, child) in manifests.iter().enumerate() {
            if let Some(of) = child.attests() {
                prop_assert_eq!(&manifests[position - 1].digest, &of);
            }
        }
        let all: usize = children.iter().map(|input| 1 + input.attestations.len()).sum();
        prop_assert_eq!(manifests.len(), all);
    }

    #[test]
    fn another_digest_for_a_platform_makes_another_index(children in children()) {
        let first = &children[0].leaves[0];
        let mut other = children.clone();
        other[0] = resolved(leaf(&first.stated.to_string(), 255, MediaType::DockerManifest), false);
        prop_assert_ne!(assembled(&children).platforms, assembled(&other).platforms);
    }
}

#[test]
fn the_bytes_are_these() {
    // A change of these bytes changes the digest of every release that is sealed again: never change them.
    let children = [
        resolved(leaf("linux/arm64", 1, MediaType::OciManifest), false),
        resolved(leaf("linux/amd64", 1, MediaType::OciManifest), true),
    ];
    let annotations = BTreeMap::from([
        ("b".to_owned(), "2".to_owned()),
        ("a".to_owned(), "1".to_owned()),
    ]);
    let assembly = assemble(&children, &wanted(&annotations)).unwrap();
    insta::assert_snapshot!(String::from_utf8_lossy(assembly.manifest.bytes()));
}

#[test]
fn two_children_for_one_platform_are_refused_by_name() {
    let children =
        [1, 2].map(|seed| resolved(leaf("linux/arm64", seed, MediaType::OciManifest), false));
    let error = assemble(&children, &wanted(&BTreeMap::new()))
        .unwrap_err()
        .to_string();
    for child in &children {
        assert!(error.contains(&child.input.to_string()), "{error}");
    }
}

#[test]
fn a_lost_matrix_leg_is_refused() {
    let children = [resolved(
        leaf("linux/amd64", 1, MediaType::OciManifest),
        false,
    )];
    let named: BTreeSet<Platform> = ["linux/amd64", "linux/arm64"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    let none = BTreeMap::new();
    let error = assemble(
        &children,
        &Wanted {
            platforms: Some(&named),
            ..wanted(&none)
        },
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the children are not for the platforms named in `platforms`: `linux/arm64/v8` is missing"
    );
    let named: BTreeSet<Platform> = ["windows/amd64".parse().unwrap()].into();
    let error = assemble(
        &children,
        &Wanted {
            platforms: Some(&named),
            ..wanted(&none)
        },
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("`windows/amd64` is missing, `linux/amd64` is not named"),
        "{error}"
    );
}

#[test]
fn the_kind_of_index_follows_the_children() {
    let none = BTreeMap::new();
    let some = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let docker = [resolved(
        leaf("linux/amd64", 1, MediaType::DockerManifest),
        false,
    )];
    let mixed = [
        docker[0].clone(),
        resolved(leaf("linux/arm64", 1, MediaType::OciManifest), false),
    ];
    let kind = |children: &[Resolved], annotations, media_type| {
        assemble(
            children,
            &Wanted {
                platforms: None,
                annotations,
                media_type,
            },
        )
        .map(|made| made.manifest.media_type().clone())
    };
    assert_eq!(
        kind(&docker, &none, IndexType::Auto).unwrap(),
        MediaType::DockerList
    );
    assert_eq!(
        kind(&docker, &some, IndexType::Auto).unwrap(),
        MediaType::OciIndex
    );
    assert_eq!(
        kind(&docker, &none, IndexType::Oci).unwrap(),
        MediaType::OciIndex
    );
    assert_eq!(
        kind(&docker, &none, IndexType::Docker).unwrap(),
        MediaType::DockerList
    );
    assert_eq!(
        kind(&mixed, &none, IndexType::Auto).unwrap(),
        MediaType::OciIndex
    );
    assert!(matches!(
        kind(&mixed, &none, IndexType::Docker),
        Err(AssembleError::NotDocker { .. })
    ));
}

/// Decides the steps if something is to be signed and no signature vouches for anything.
fn decide_signed(
    assembly: &Assembly,
    resolved: &[Resolved],
    seen: &[SeenTag],
) -> Result<TagSteps, Vec<Conflict>> {
    decide_tags(
        assembly,
        resolved,
        seen,
        KeepRule::Vouched(&[]),
        &BTreeMap::new(),
    )
}

/// Decides the steps if nothing is signed.
fn decide_unsigned(
    assembly: &Assembly,
    resolved: &[Resolved],
    seen: &[SeenTag],
) -> Result<TagSteps, Vec<Conflict>> {
    decide_tags(assembly, resolved, seen, KeepRule::Images, &BTreeMap::new())
}

/// Adds an annotation that no input asked for; the images stay equal.
fn annotated(manifest: &Manifest) -> Manifest {
    edited(manifest, |index| index["annotations"]["by"] = "them".into())
}
