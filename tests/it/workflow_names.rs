//! Names that `build.yml` derives from an event and a call: tags, platforms and the record. The tests run its script as the
//! runner does.

use std::collections::{BTreeMap, BTreeSet};

use yaml_serde::Value;

use crate::support::project::read;
use crate::support::workflow::{assert_refused, run};

/// Derives the names for a push to the main branch, except for the values in `variables`.
fn names(variables: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
    let usual = [
        ("IMAGES", "ghcr.io/octo-org/app"),
        ("PLATFORMS", "linux/amd64, linux/arm64"),
        ("TAGS", ""),
        ("TAGLESS", ""),
        ("PREFIX", ""),
        ("SUFFIX", ""),
        ("ADOPT", ""),
        ("PULL_REQUEST", ""),
        ("CALL", "{}"),
        ("KEY", ""),
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_REF", "refs/heads/main"),
        ("GITHUB_REF_NAME", "main"),
        ("GITHUB_SHA", "d34db33fd34db33fd34db33fd34db33fd34db33f"),
    ];
    let variables: Vec<_> = usual.iter().chain(variables).copied().collect();
    run("build.yml", ["plan", "names"], &variables)
}

/// Returns the tag of a call without `tags`.
fn tag(variables: &[(&str, &str)]) -> Result<String, String> {
    let named = names(variables)?;
    let tag = named["tags"].strip_prefix("type=raw,value=").unwrap();
    Ok(tag.to_owned())
}

/// Returns the tag for a push of `reference`, without the prefix `tag-prefix`.
fn tag_of(reference: &str, prefix: &str) -> Result<String, String> {
    let name = reference.splitn(3, '/').nth(2).unwrap();
    let pushed = [("GITHUB_REF", reference), ("GITHUB_REF_NAME", name)];
    tag(&[pushed[0], pushed[1], ("PREFIX", prefix)])
}

#[test]
fn every_event_has_its_tag() {
    let made = |variables: &[(&str, &str)]| tag(variables).unwrap();
    assert_eq!(made(&[]), "main-d34db33");
    assert_eq!(made(&[("SUFFIX", "-plugins")]), "main-d34db33-plugins");
    // A manual dispatch on the same ref has the same tag.
    let dispatched = ("GITHUB_EVENT_NAME", "workflow_dispatch");
    assert_eq!(made(&[dispatched]), "main-d34db33");
    assert_eq!(tag_of("refs/heads/MAIN", "").unwrap(), "MAIN-d34db33");
    assert_eq!(tag_of("refs/tags/v1.4.2", "").unwrap(), "v1.4.2");
    assert_eq!(tag_of("refs/tags/v1.4.2", "v").unwrap(), "1.4.2");
    let request = [
        ("GITHUB_EVENT_NAME", "pull_request"),
        ("PULL_REQUEST", "17"),
        ("GITHUB_REF", "refs/pull/17/merge"),
        ("GITHUB_REF_NAME", "17/merge"),
    ];
    assert_eq!(made(&request), "pr-17-d34db33");
    let nightly = made(&[("GITHUB_EVENT_NAME", "schedule")]);
    let date = nightly.strip_prefix("nightly-").unwrap();
    assert!(date.len() == 8 && date.starts_with("20"), "{nightly}");
    // If the caller passes tags, or requests none, no tag is derived, whatever the ref.
    for given in [("TAGS", "type=raw,value=v1"), ("TAGLESS", "true")] {
        let reference = [
            ("GITHUB_REF", "refs/tags/v1+1"),
            ("GITHUB_REF_NAME", "v1+1"),
        ];
        let named = names(&[given, reference[0], reference[1]]).unwrap();
        assert_eq!(named["tags"], "");
    }
}

/// Different refs that a careless rule maps to the same tag.
const REFS: [&str; 27] = [
    "refs/heads/main",
    "refs/heads/MAIN",
    "refs/heads/Main",
    "refs/heads/feature/x",
    "refs/heads/feature-x",
    "refs/heads/feature--x",
    "refs/heads/feature+x",
    "refs/heads/feature.x",
    "refs/heads/feature_x",
    "refs/heads/Feature/$(id)",
    "refs/heads/Feature/$(id)é",
    "refs/heads/Feature/$(id)è",
    "refs/heads/v1.4.2",
    "refs/heads/v1.4.2-plugins",
    "refs/heads/pr-17-x",
    "refs/heads/nightly-20260131",
    "refs/heads/main-d34db33",
    "refs/tags/main",
    "refs/tags/MAIN",
    "refs/tags/v1.4.2",
    "refs/tags/V1.4.2",
    "refs/tags/1.4.2",
    "refs/tags/v1.4.2-1",
    "refs/tags/v1.4.2.1",
    "refs/tags/v1.4.2_1",
    "refs/tags/vv1.4.2",
    "refs/tags/nightly-202601",
];

#[test]
fn refs_that_differ_have_tags_that_differ() {
    for prefix in ["", "v"] {
        let mut tags = BTreeSet::new();
        for reference in REFS {
            match tag_of(reference, prefix) {
                Ok(tag) => assert!(tags.insert(tag.clone()), "{reference}: {tag}"),
                Err(said) => assert!(
                    prefix == "v" && said.contains("lacks the 'tag-prefix' v"),
                    "{said}"
                ),
            }
        }
        let refused = REFS.len() - tags.len();
        assert_eq!(refused, if prefix.is_empty() { 0 } else { 5 }, "{tags:?}");
        // Another commit has another tag.
        let other = ("GITHUB_SHA", "c0ffee0fd34db33fd34db33fd34db33fd34db33f");
        assert!(!tags.contains(&tag(&[other]).unwrap()));
    }
    let readable = tag_of("refs/heads/feature/x", "").unwrap();
    assert!(
        readable.starts_with("feature-x..") && readable.ends_with("-d34db33"),
        "{readable}"
    );
}

#[test]
fn refs_that_would_share_a_tag_are_refused() {
    for (reference, prefix, complaint) in [
        // With the prefix, `v1.4.2` has this tag.
        ("refs/tags/1.4.2", "v", "lacks the 'tag-prefix' v"),
        // These names are not valid as image tags.
        ("refs/tags/v1.4.2+1", "", "makes no tag"),
        ("refs/tags/release/1", "", "makes no tag"),
        ("refs/tags/v", "v", "makes no tag"),
        ("refs/heads/#1", "", "makes no tag"),
        // A branch, a pull request or a schedule has this tag.
        ("refs/tags/main-d34db33", "", "reads like"),
        ("refs/tags/vmain-d34db33", "v", "reads like"),
        ("refs/tags/pr-17-d34db33", "", "reads like"),
        ("refs/tags/nightly-20260131", "", "reads like"),
        ("refs/heads/pr-17", "", "reads like a pull request"),
    ] {
        assert_refused(tag_of(reference, prefix), complaint);
    }
    let long = format!("refs/heads/{}", "x".repeat(121));
    assert_refused(tag_of(&long, ""), "at most 128");
    assert_eq!(tag_of(&long[..long.len() - 1], "").unwrap().len(), 128);
    // A suffix may contain only characters of a tag, and cannot add another output.
    for suffix in ["+x", "/x", ",enable=false", "-x\nproceed=false", "é"] {
        assert_refused(names(&[("SUFFIX", suffix)]), "'tag-suffix'");
    }
}

#[test]
fn platforms_have_the_same_number_each_time() {
    let matrix = |platforms: &str| {
        let named = names(&[("PLATFORMS", platforms)]).unwrap();
        (named["matrix"].clone(), named["legs"].clone())
    };
    let wanted =
        r#"[{"platform":"linux/amd64","number":0},{"platform":"linux/arm/v7","number":1}]"#;
    for platforms in [
        "linux/amd64\nlinux/arm/v7",
        "linux/arm/v7,linux/amd64",
        " linux/arm/v7, linux/amd64, linux/arm/v7\n",
    ] {
        assert_eq!(matrix(platforms), (wanted.to_owned(), "2".to_owned()));
    }
    let many: Vec<String> = (1..=16).map(|number| format!("linux/v{number}")).collect();
    assert_eq!(matrix(&many.join(",")).1, "16");
    let more = format!("{},linux/v17", many.join(","));
    assert_refused(names(&[("PLATFORMS", &more)]), "one call builds 16 at most");
}

/// The inputs of a call distinguish it from every other call of the same run. Calls that write other tags have other names.
/// Values that may change from run to run do not change the name.
#[test]
fn calls_that_write_other_tags_have_names_of_their_own() {
    let name = |variables: &[(&str, &str)]| names(variables).unwrap()["name"].clone();
    let calls: [&[(&str, &str)]; 9] = [
        &[],
        &[("IMAGES", "ghcr.io/octo-org/tools")],
        &[("IMAGES", "docker.io/octo-org/app")],
        &[("SUFFIX", "-debug")],
        &[("PREFIX", "-debug")],
        &[("TAGS", "type=raw,value=v1")],
        &[("TAGS", "type=raw,value=v1\n-debug")],
        &[("TAGS", "type=raw,value=v1"), ("SUFFIX", "-debug")],
        &[("TAGLESS", "true"), ("KEY", "type=raw,value=v1")],
    ];
    let all: BTreeSet<String> = calls.into_iter().map(name).collect();
    assert_eq!(all.len(), calls.len(), "{all:?}");
    for same in [
        ("IMAGES", "ghcr.io/octo-org/app, docker.io/octo-org/app"),
        ("PLATFORMS", "linux/amd64"),
        ("CALL", r#"{"build-args":"NUMBER=2"}"#),
        ("GITHUB_EVENT_NAME", "workflow_dispatch"),
        ("GITHUB_SHA", "c0ffee0fd34db33fd34db33fd34db33fd34db33f"),
    ] {
        assert_eq!(name(&[same]), name(&[]), "{same:?}");
    }
    let readable = name(&[]);
    assert!(
        readable.starts_with("app-") && readable.len() == 20,
        "{readable}"
    );
}

#[test]
fn calls_of_one_run_have_records_of_their_own() {
    let record = |call: &str| names(&[("CALL", call)]).unwrap()["record"].clone();
    assert_eq!(record(r#"{"target":"a"}"#), record(r#"{"target":"a"}"#));
    let calls = [
        "{}",
        r#"{"target":"a"}"#,
        r#"{"target":"b"}"#,
        r#"{"file":"a"}"#,
    ];
    let records: BTreeSet<String> = calls.into_iter().map(record).collect();
    assert_eq!(records.len(), calls.len(), "{records:?}");

    // `CALL` contains all inputs, without naming them. Inputs that the two callers do not pass otherwise are in the key.
    let workflow = |file: &str| -> Value {
        yaml_serde::from_str(&read(&format!(".github/workflows/{file}"))).unwrap()
    };
    let build = workflow("build.yml");
    let steps = build["jobs"]["plan"]["steps"].as_sequence().unwrap();
    let step = steps.iter().find(|step| step["id"] == "names").unwrap();
    assert_eq!(step["env"]["CALL"], "${{ toJSON(inputs) }}");
    // Inputs for signing, publishing and cleanup do not change the built images.
    let aside = ["cleanup-on-failure", "on-signing-failure", "record"];
    for file in ["build-publish.yml", "staged.yml"] {
        let calling = workflow(file);
        let with = yaml_serde::to_string(&calling["jobs"]["build"]["with"]).unwrap();
        for (name, _) in calling["on"]["workflow_call"]["inputs"]
            .as_mapping()
            .unwrap()
        {
            let name = name.as_str().unwrap();
            let known = with.contains(&format!("inputs.{name} "))
                || with.contains(&format!("inputs.{name},"))
                || with.contains(&format!("inputs.{name})"));
            let is_verifying = [
                "certificate-oidc-issuer",
                "signing-config",
                "trusted-root",
                "signature-format",
            ]
            .contains(&name);
            assert!(
                known || aside.contains(&name) || is_verifying,
                "{file}: `{name}`"
            );
        }
    }
}

#[test]
fn digest_that_is_adopted_is_in_an_image_of_the_call() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let images = "ghcr.io/octo-org/app, docker.io/octo-org/app";
    let adopt = |given: &str| names(&[("IMAGES", images), ("ADOPT", given)]);
    let bare = adopt(&digest).unwrap();
    assert_eq!(bare["adopt"], format!("ghcr.io/octo-org/app@{digest}"));
    let full = format!("docker.io/octo-org/app@{digest}");
    assert_eq!(adopt(&full).unwrap()["adopt"], full);
    assert_eq!(adopt("").unwrap()["adopt"], "");
    for (given, complaint) in [
        ("v1.4.2".to_owned(), "'adopt' is no digest"),
        (digest.replace("sha256", "sha512"), "'adopt' is no digest"),
        (digest[..70].to_owned(), "'adopt' is no digest"),
        (
            format!("ghcr.io/octo-org/app:v1@{digest}"),
            "'images' does not name",
        ),
        (
            format!("ghcr.io/octo-org/other@{digest}"),
            "'images' does not name",
        ),
        (format!("octo-org/app@{digest}"), "'images' does not name"),
    ] {
        assert_refused(adopt(&given), complaint);
    }
}

#[test]
fn names_of_a_build_are_checked() {
    let named = names(&[("IMAGES", "\nghcr.io/octo-org/app, docker.io/octo-org/app\n")]).unwrap();
    assert_eq!(named["image"], "ghcr.io/octo-org/app");
    assert_eq!(
        named["images"],
        r#"["ghcr.io/octo-org/app","docker.io/octo-org/app"]"#
    );
    for (image, registry) in [
        ("ghcr.io/octo-org/app", "ghcr.io"),
        ("localhost/app", "localhost"),
        ("registry:5000/app", "registry:5000"),
        ("octo-org/app", "docker.io"),
    ] {
        assert_eq!(names(&[("IMAGES", image)]).unwrap()["registry"], registry);
    }
    for (name, value, complaint) in [
        ("IMAGES", " , ", "'images' is empty"),
        ("IMAGES", "ghcr.io/o/\"a\"", "not a repository in 'images'"),
        (
            "PLATFORMS",
            "linux/amd64\"}",
            "not a platform in 'platforms'",
        ),
    ] {
        assert_refused(names(&[(name, value)]), complaint);
    }
}
