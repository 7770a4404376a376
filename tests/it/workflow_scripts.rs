//! Scripts of the workflows, run as the runner runs them: accepted identities, digests from the matrix legs, and the registry
//! login of the build.

use crate::support::workflow::{assert_refused, run};

const BUILD_PUBLISH: &str = "manifest-seal/manifest-seal/.github/workflows/build-publish.yml";

/// Returns the identities accepted on an existing image, in a job whose context names `workflow_ref`.
fn identities(workflow_ref: Option<&str>) -> regex::Regex {
    let job = match workflow_ref {
        Some(text) => format!(
            "{{\n  \"status\": \"success\",\n  \"workflow_ref\": \"{text}\",\n  \"workflow_sha\": \"{text}\"\n}}"
        ),
        None => "{\n  \"status\": \"success\"\n}".to_owned(),
    };
    let variables = [("JOB", &*job), ("GITHUB_SERVER_URL", "https://github.com")];
    let outputs = run("build-publish.yml", ["policy", "policy"], &variables).unwrap();
    // The action anchors the pattern at both ends.
    regex::Regex::new(&format!(r"\A(?:{})\z", outputs["identities"])).unwrap()
}

#[test]
fn signatures_of_releases_and_of_this_commit_count() {
    let (own, fork) = ("d34db33f".repeat(5), "badc0ffe".repeat(5));
    let at = |reference: &str| format!("https://github.com/{BUILD_PUBLISH}@{reference}");
    let called_by_commit = identities(Some(&format!("{BUILD_PUBLISH}@{own}")));
    let unnamed = identities(None);
    let copy = "octo-org/pipelines/.github/workflows/publish.yml@refs/heads/main";
    for identity in ["refs/tags/v0", "refs/tags/v12", "refs/tags/v0.1.2", &own] {
        let counts = called_by_commit.is_match(&at(identity));
        assert!(counts, "{identity}");
        assert_eq!(
            unnamed.is_match(&at(identity)),
            identity != own,
            "{identity}"
        );
    }
    for reference in [
        &*fork,
        "refs/heads/main",
        "refs/heads/v0",
        "refs/tags/v0/refs",
        "refs/tags/vvv",
        "refs/tags/v0.1.2-fork",
        "refs/pull/7/merge",
        "",
    ] {
        let counts = called_by_commit.is_match(&at(reference));
        assert!(!counts && !unnamed.is_match(&at(reference)), "{reference}");
    }
    for identity in [
        at(&own).replace("build-publish", "staged"),
        at(&own).replace("build-publish.yml", "build-publish-yml"),
        at(&own).replace("github.com", "github-com"),
        at("refs/tags/v0").replace("build-publish.yml", "build-publish-yml"),
        at("refs/tags/v0").replace("/.github", "/-github"),
        at("refs/tags/v0").replace("github.com", "github-com"),
        format!("https://github.com/{copy}"),
        format!("{}\n", at(&own)),
    ] {
        assert!(!called_by_commit.is_match(&identity), "{identity}");
    }
    // A copy of the workflow accepts its own identity, with exactly the ref that it was called by.
    let copied = identities(Some(copy));
    assert!(copied.is_match(&format!("https://github.com/{copy}")));
    assert!(!copied.is_match(&format!("https://github.com/{copy}s")));
    assert!(!copied.is_match(&format!("https://github.com/{}", copy.replace('.', "-"))));
    // A ref that could end the string early is ignored.
    assert_eq!(identities(Some(r#"a\"|.*"#)).as_str(), unnamed.as_str());
}

/// Checks the digests of the legs, as both workflows that seal do.
fn digests(legs: &str, digests: &str) -> Result<String, String> {
    let variables = [
        ("IMAGE", "ghcr.io/octo-org/app"),
        ("LEGS", legs),
        ("DIGESTS", digests),
    ];
    let [one, other] =
        [("build-publish.yml", "seal"), ("staged.yml", "create")].map(|(file, job)| {
            run(file, [job, "digests"], &variables).map(|outputs| outputs["list"].clone())
        });
    assert_eq!(one, other);
    one
}

#[test]
fn each_leg_hands_over_one_digest() {
    let digest = |number: usize| format!("sha256:{number:064x}");
    let joined = |numbers: std::ops::Range<usize>| {
        let mut digests: Vec<String> = numbers.map(digest).collect();
        digests.resize(16, String::new());
        digests.join(",")
    };
    let two = digests("2", &joined(0..2)).unwrap();
    let image = "ghcr.io/octo-org/app";
    assert_eq!(two, format!("{image}@{},{image}@{}", digest(0), digest(1)));
    let sixteen = digests("16", &joined(0..16)).unwrap();
    assert_eq!(sixteen.matches("sha256:").count(), 16);
    for (legs, given, number) in [
        ("3", joined(0..2), "number 2 "),
        ("2", joined(0..3), "number 2 "),
        ("2", format!(",{}", digest(1)), "number 0 "),
        ("3", format!("{},,{}", digest(0), digest(2)), "number 1 "),
        ("1", String::new(), "number 0 "),
        ("1", digest(0).replace("00", "0G"), "number 0 "),
        ("1", format!("{}0", digest(0)), "number 0 "),
        ("1", format!("{} {}", digest(0), digest(1)), "number 0 "),
    ] {
        assert_refused(digests(legs, &given), number);
    }
}

/// Returns the entry of `registry-auths` that the build logs in with.
fn login(registry: &str, auths: &str) -> Result<String, String> {
    let variables = [("REGISTRY", registry), ("AUTHS", auths)];
    let ran = run("build.yml", ["build", "login"], &variables);
    ran.map(|outputs| outputs["entry"].clone())
}

const AUTHS: &str = "# who pushes
- registry: ghcr.io
  username: octocat
  password: 'one: # two'

- username: hub # Docker Hub is what is not named
  password: |
    three
    - registry: quay.io
- password: four
  registry: \"https://Registry.Example:5000/v2/\" # by its address
  username: example
";

#[test]
fn build_logs_in_to_its_own_registry_alone() {
    for (registry, lines) in [
        ("ghcr.io", 1..5),
        ("docker.io", 5..9),
        ("registry.example:5000", 9..12),
        ("quay.io", 0..0),
        ("registry.example", 0..0),
        ("ghcr-io", 0..0),
    ] {
        let wanted: Vec<&str> = AUTHS.lines().collect();
        let wanted = wanted[lines].join("\n");
        let entry = login(registry, AUTHS).unwrap();
        assert_eq!(entry.trim_end(), wanted.trim_end(), "{registry}");
        let indented = AUTHS.replace('\n', "\n    ");
        let entry = login(registry, &format!("---\n    {}", indented.trim_end())).unwrap();
        let unindented = entry.replace("\n    ", "\n");
        assert_eq!(unindented.trim(), wanted.trim_end(), "{registry}");
    }
    for hub in [
        "index.docker.io",
        "https://index.docker.io/v1/",
        "docker.io",
    ] {
        let auths = format!("- registry: {hub}\r\n  username: hub\r\n");
        assert!(login("docker.io", &auths).unwrap().contains("hub"), "{hub}");
        assert_eq!(login("ghcr.io", &auths).unwrap(), "", "{hub}");
    }
    assert_eq!(login("ghcr.io", "# nobody\n").unwrap(), "");
}

#[test]
fn logins_that_cannot_be_told_apart_are_refused() {
    for auths in [
        "[{registry: ghcr.io, username: octocat, password: secret}]",
        "- {registry: ghcr.io, username: octocat, password: secret}",
        "registry: ghcr.io\nusername: octocat\npassword: secret\n",
        "- registry: ghcr.io\n  username: octocat\n- &anchor\n  password: secret\n",
    ] {
        let refused = login("ghcr.io", auths);
        assert!(
            !refused.as_ref().unwrap_err().contains("secret"),
            "{refused:?}"
        );
        assert_refused(refused, "'registry-auths' must be a list");
    }
}
