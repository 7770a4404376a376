//! The texts that the inputs accept and refuse, from a workflow author's view.

use super::*;
use crate::domain::Reference;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(given: &[(&str, &str)]) -> Result<Inputs, Vec<String>> {
    let raw = RawInputs::gather(|name| {
        given
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, text)| (*text).to_owned())
    });
    let missing = || Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let read = |path: &str| {
        if path == "root.json" {
            Ok(b"{}".to_vec())
        } else {
            missing()
        }
    };
    let list = |path: &str| match path {
        "digests" => Ok(vec![DIGEST.trim_start_matches("sha256:").to_owned()]),
        "empty" => Ok(Vec::new()),
        _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
    };
    let files = Files {
        read: &read,
        path: &|path: &str| path.into(),
        list: &list,
    };
    Inputs::parse(&raw, &files).map_err(|errors| errors.0.iter().map(ToString::to_string).collect())
}

fn seal(given: &[(&str, &str)]) -> Seal {
    match parse(given).unwrap().request {
        Request::Seal(seal) => seal,
        other @ (Request::Sign(_)
        | Request::Verify(_)
        | Request::Preflight(_)
        | Request::Publish(_)
        | Request::Cleanup(_)) => panic!("{other:?}"),
    }
}

#[test]
fn digests_are_a_set() {
    let digests = format!("{DIGEST},\n {DIGEST} \nghcr.io/o/r@{DIGEST},");
    let seal = seal(&[
        ("image", "ghcr.io/o/r"),
        ("tags", "v1"),
        ("digests", &digests),
        ("digests-folder", "digests"),
    ]);
    let given = Given {
        repository: "ghcr.io/o/r".parse().unwrap(),
        reference: Reference::Digest(DIGEST.parse().unwrap()),
    };
    assert_eq!(seal.digests, [given]);
    assert!(seal.signing.is_some());
}

#[test]
fn metadata_action_prints_full_references() {
    let seal = seal(&[
        ("tags", "ghcr.io/o/r:v1\nghcr.io/o/r:v1.2"),
        ("moving-tags", "latest"),
        ("digests", DIGEST),
    ]);
    assert_eq!(texts(&seal.destinations), ["ghcr.io/o/r"]);
    assert_eq!(texts(&seal.tags), ["ghcr.io/o/r:v1", "ghcr.io/o/r:v1.2"]);
    assert_eq!(texts(&seal.moving_tags), ["ghcr.io/o/r:latest"]);
}

fn texts(named: &[impl ToString]) -> Vec<String> {
    named.iter().map(ToString::to_string).collect()
}

#[test]
fn full_references_name_any_number_of_repositories() {
    let digests = format!("{DIGEST}\nquay.io/built/here@{DIGEST}");
    let several = seal(&[
        ("tags", "ghcr.io/o/r:v1\nquay.io/x/y:v1\nghcr.io/o/r:v1.2"),
        ("moving-tags", "quay.io/x/y:latest,quay.io/x/z:latest"),
        ("digests", &digests),
    ]);
    let destinations = ["ghcr.io/o/r", "quay.io/x/y", "quay.io/x/z"];
    assert_eq!(texts(&several.destinations), destinations);
    assert_eq!(texts(&several.sources)[..3], destinations);
    assert_eq!(texts(&several.sources)[3..], ["quay.io/built/here"]);
    // A bare digest belongs to the first named repository, which is tried first.
    assert_eq!(several.digests.len(), 1);
    assert_eq!(several.digests[0].repository.to_string(), "ghcr.io/o/r");
}

#[test]
fn preflight_takes_tags_anywhere_and_digests_where_they_are_known() {
    let given = [
        ("command", "preflight"),
        ("tags", "ghcr.io/o/r:v1,quay.io/x/y:v1,ghcr.io/o/r:v1"),
    ];
    let preflight = |more: &[(&str, &str)]| match parse(&[&given, more].concat()).unwrap().request {
        Request::Preflight(preflight) => preflight,
        other @ (Request::Seal(_)
        | Request::Sign(_)
        | Request::Verify(_)
        | Request::Publish(_)
        | Request::Cleanup(_)) => {
            panic!("{other:?}")
        }
    };
    let plain = preflight(&[]);
    assert_eq!(texts(&plain.tags), ["ghcr.io/o/r:v1", "quay.io/x/y:v1"]);
    assert!(plain.digests.is_empty());
    assert_eq!(plain.on_existing, OnExistingTag::Fail);
    let more = preflight(&[("digests", DIGEST), ("on-existing-tag", "skip")]);
    assert_eq!(more.digests[0].repository.to_string(), "ghcr.io/o/r");
    assert_eq!(more.on_existing, OnExistingTag::Skip);
    assert!(plain.policy.is_some() && more.policy.is_some());
    assert!(preflight(&[("sign", "false")]).policy.is_none());
}

#[test]
fn who_never_signs_says_so() {
    let given = |sign: &str| {
        let digests = ("digests", DIGEST);
        let tags = ("tags", "v1");
        let image = ("image", "ghcr.io/o/r");
        seal(&[image, tags, digests, ("sign", sign)]).signing
    };
    assert!(given("false").is_none());
    assert!(given("true").is_some() && given("").is_some());
}

#[test]
fn image_is_where_bare_names_are() {
    let given = [
        ("image", "ghcr.io/o/r"),
        ("tags", "quay.io/x/y:v1"),
        ("digests", DIGEST),
    ];
    let elsewhere = seal(&given);
    assert_eq!(texts(&elsewhere.destinations), ["quay.io/x/y"]);
    assert_eq!(elsewhere.digests[0].repository.to_string(), "ghcr.io/o/r");
    let both = seal(&[given[0], ("tags", "quay.io/x/y:v1,v1"), given[2]]);
    assert_eq!(texts(&both.destinations), ["quay.io/x/y", "ghcr.io/o/r"]);
    let tagless = seal(&[("command", "create"), given[0], given[2]]);
    assert_eq!(texts(&tagless.destinations), ["ghcr.io/o/r"]);
}

#[test]
fn a_bare_tag_of_nobody_is_refused() {
    let errors = parse(&[
        ("tags", "ghcr.io/o/r:v1,quay.io/x/y:v1"),
        ("moving-tags", "latest"),
        ("digests", DIGEST),
    ]);
    assert_eq!(
        errors.unwrap_err(),
        [
            "input `moving-tags`: `latest` names no repository, and `ghcr.io/o/r`, `quay.io/x/y` are possible; give `image`, or the full reference of the tag"
        ]
    );
}

#[test]
fn every_bad_input_is_reported_in_one_run() {
    let errors = parse(&[
        ("image", "ghcr.io/o/r:v9"),
        ("tags", "v 1\nquay.io/x/y"),
        ("digests", "sha256:00, latest"),
        ("platforms", "linux"),
        ("sign", "yes"),
        ("retry-delay", "10"),
        ("record", "../record.json"),
        ("trusted-root", "nowhere.json"),
        ("certificate-identity", "a"),
        ("certificate-identity-regexp", "("),
    ])
    .unwrap_err();
    for named in [
        "`v 1`",
        "`quay.io/x/y`",
        "`sha256:00`",
        "`latest`",
        "`linux`",
        "`yes`",
        "`10`",
        "`../record.json`",
        "`nowhere.json`",
        "`(`",
        "`ghcr.io/o/r:v9`",
        "`certificate-identity`",
    ] {
        assert!(
            errors.iter().any(|error| error.contains(named)),
            "{named} is not named in {errors:#?}"
        );
    }
}

#[test]
fn empty_strings_are_not_given() {
    let seal = seal(&[
        ("command", ""),
        ("image", "ghcr.io/o/r"),
        ("tags", "v1"),
        ("digests", DIGEST),
        ("platforms", " \n"),
        ("sign", ""),
    ]);
    assert!(seal.platforms.is_none());
}

#[test]
fn digests_may_be_full_tags() {
    let digests =
        format!("ghcr.io/o/r:v1\nquay.io/x/y:v1, ghcr.io/o/r:v1\nquay.io/x/y:v1@{DIGEST}");
    let read = |command| {
        let inputs = [
            ("command", command),
            ("tags", "ghcr.io/o/r:v2"),
            ("digests", digests.as_str()),
        ];
        parse(&inputs).unwrap().request
    };
    for request in ["create", "preflight"].map(read) {
        let (given, sources) = match request {
            Request::Seal(seal) => (seal.digests, seal.sources),
            Request::Preflight(preflight) => (preflight.digests, preflight.sources),
            other @ (Request::Sign(_)
            | Request::Verify(_)
            | Request::Publish(_)
            | Request::Cleanup(_)) => panic!("{other:?}"),
        };
        let references: Vec<_> = given
            .iter()
            .map(|given| {
                (
                    given.repository().to_string(),
                    given.reference().to_string(),
                )
            })
            .collect();
        let named =
            |repository: &str, reference: &str| (repository.to_owned(), reference.to_owned());
        let wanted = [
            named("ghcr.io/o/r", "v1"),
            named("quay.io/x/y", "v1"),
            named("quay.io/x/y", DIGEST),
        ];
        assert_eq!(references, wanted);
        let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
        assert_eq!(sources, ["ghcr.io/o/r", "quay.io/x/y"]);
    }
}

#[test]
fn what_is_wrong_is_said_once_and_nothing_follows_from_it() {
    // For an unknown command no required inputs are known.
    let wrong = [
        ("command", "seel", "`seel` is not one of `seal`"),
        ("digests", "sha256:1", "`sha256:1` is not a digest"),
        (
            "digests",
            "ghcr.io/o/r",
            "`ghcr.io/o/r` names no digest and no tag",
        ),
        ("digests", "r:v1", "`r:v1` is not a digest"),
        ("digests", "ghcr.io/o/r:.1", "`.1` is not a tag"),
        ("digests-folder", "nowhere", "could not list `nowhere`"),
    ];
    for (input, text, problem) in wrong {
        let mut given = vec![("image", "ghcr.io/o/r"), ("tags", "v1"), (input, text)];
        if input == "command" {
            given.drain(..2);
        }
        let problems = parse(&given).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].starts_with(&format!("input `{input}`: {problem}")),
            "{problems:?}"
        );
    }
}

#[test]
fn defaults_are_those_that_are_told() {
    let needed = [
        ("image", "ghcr.io/o/r"),
        ("tags", "v1"),
        ("digests", DIGEST),
    ];
    // Defaults that start with `${{` are GitHub expressions, which the runner evaluates.
    let defaults = INPUTS
        .iter()
        .filter(|input| !input.default.starts_with("${{"))
        .map(|input| (input.name, input.default));
    let given: Vec<_> = needed.into_iter().chain(defaults).collect();
    assert_eq!(
        format!("{:?}", parse(&needed).unwrap()),
        format!("{:?}", parse(&given).unwrap())
    );
}

#[test]
fn each_command_says_what_it_needs() {
    let cases: [(&[(&str, &str)], &str); 12] = [
        (
            &[("tags", "v1"), ("digests", DIGEST)],
            "input `image`: no repository",
        ),
        (
            &[("image", "ghcr.io/o/r"), ("tags", "v1")],
            "input `digests`: no digest is given",
        ),
        (
            &[
                ("image", "ghcr.io/o/r"),
                ("tags", "v1"),
                ("digests", "# none"),
            ],
            "input `digests`: it contains no digest",
        ),
        (
            &[
                ("image", "ghcr.io/o/r"),
                ("tags", "v1"),
                ("digests-folder", "empty"),
            ],
            "input `digests-folder`: it contains no digest",
        ),
        (
            &[("image", "ghcr.io/o/r"), ("digests", DIGEST)],
            "input `tags`: no tag is given",
        ),
        (
            &[("command", "verify"), ("image", "ghcr.io/o/r:v1")],
            "input `certificate-identity`: `verify` requires the identity",
        ),
        (
            &[
                ("command", "verify"),
                ("image", "ghcr.io/o/r"),
                ("certificate-identity", "a"),
            ],
            "input `image`: `ghcr.io/o/r` names no tag",
        ),
        (
            &[("command", "promote")],
            "input `command`: `promote` is not one of",
        ),
        (
            &[("command", "publish"), ("image", "ghcr.io/o/r")],
            "input `source`: no image is named",
        ),
        (
            &[("command", "publish"), ("source", "ghcr.io/o/r:v1")],
            "input `image`: no repository is given",
        ),
        (
            &[
                ("command", "publish"),
                ("image", "ghcr.io/o/r"),
                ("source", "oci:images"),
                ("certificate-oidc-issuer", "https://example.com"),
            ],
            "input `certificate-identity`: the identity of the signer is required",
        ),
        (
            &[
                ("command", "publish"),
                ("image", "ghcr.io/o/r"),
                ("source", "oci:images"),
                ("recursive", "true"),
            ],
            "input `certificate-identity`: the identity of the signer is required",
        ),
    ];
    for (given, wanted) in cases {
        let errors = parse(given).unwrap_err();
        assert!(
            errors.iter().any(|error| error.starts_with(wanted)),
            "{wanted} is not in {errors:#?}"
        );
    }
}

#[test]
fn create_may_be_tagless() {
    assert!(
        seal(&[
            ("command", "create"),
            ("image", "ghcr.io/o/r"),
            ("digests", DIGEST)
        ])
        .signing
        .is_none()
    );
}

#[test]
fn docker_lists_hold_no_annotations() {
    let errors = parse(&[
        ("image", "ghcr.io/o/r"),
        ("tags", "v1"),
        ("digests", DIGEST),
        ("media-type", "docker"),
        ("annotations", "a=b"),
    ]);
    assert!(
        errors
            .unwrap_err()
            .iter()
            .any(|error| error.starts_with("input `media-type`"))
    );
}

#[test]
fn documents_are_text_or_paths() {
    let base = [
        ("command", "verify"),
        ("image", "ghcr.io/o/r:v1"),
        ("certificate-identity", "a"),
    ];
    for text in ["{\"a\":1}", "root.json"] {
        let given: Vec<_> = base
            .iter()
            .copied()
            .chain([("trusted-root", text)])
            .collect();
        assert!(
            parse(&given).unwrap().settings.trusted_root.is_some(),
            "{text}"
        );
    }
}
