//! One run, several different registries: the same digest, pulled and verified in each of them by other tools.

use super::interoperability::{digests, two_children};
use super::support::{Action, Cosign, Flavour, Log, Registry, Tool, Workflow, on_each_registry};

const ALL: [Registry; 4] = [
    Registry::Debian,
    Registry::Distribution,
    Registry::Cue,
    Registry::Ggcr,
];

on_each_registry!(
    what_is_built_here_is_published_everywhere,
    half_published_version_is_completed,
);

fn tags(repositories: &[String], tag: &str) -> Vec<String> {
    let tagged = repositories.iter();
    tagged
        .map(|repository| format!("{repository}:{tag}"))
        .collect()
}

fn seal(built: &str, wanted: &[&str], tags: &[String]) -> Action {
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    Action::seal(built, wanted, &tags).input("recursive", "true")
}

/// Publishes images of one registry in all four, this one included.
fn what_is_built_here_is_published_everywhere(registry: Registry) {
    for flavour in [Flavour::Oci, Flavour::Docker] {
        let built = registry.fresh();
        let children = two_children(&built, flavour);
        let repositories = ALL.map(Registry::fresh);
        let seal = seal(&built, &digests(&children), &tags(&repositories, "v1"));
        let sealed = seal.succeed();
        assert_eq!(sealed.output("result"), "created", "{}", sealed.log);
        let index = sealed.output("digest");
        let bundles = Tool::bundles(&repositories[0], index);
        assert_eq!(bundles.len(), 1);
        for repository in &repositories {
            let held = Tool::crane()
                .args(["digest", &format!("{repository}:v1")])
                .succeed();
            assert_eq!(index, held);
            // The whole image, down to the layers.
            let folder = seal.workspace().join(repository.replace([':', '/'], "-"));
            Tool::crane()
                .args(["pull", "--format=oci", &format!("{repository}:v1")])
                .arg(folder)
                .succeed();
            assert_eq!(Tool::bundles(repository, index), bundles);
            for digest in digests(&children).into_iter().chain([index]) {
                Tool::cosign_verify(&Workflow::default())
                    .arg(format!("{repository}@{digest}"))
                    .succeed();
            }
        }
        // A repository without publication has no index.
        let held = Tool::crane()
            .args(["manifest", &format!("{built}@{index}")])
            .output();
        assert!(!held.status.success());
        let again = seal.succeed();
        assert_eq!(again.output("result"), "unchanged", "{}", again.log);
        assert_eq!(again.output("sign-skipped"), "true", "{}", again.log);
    }
}

/// Completes a version that is published and signed here in both formats. The three others get no new signatures, and
/// both cosigns accept it.
fn half_published_version_is_completed(registry: Registry) {
    let here = registry.fresh();
    let children = two_children(&here, Flavour::Oci);
    let wanted = digests(&children);
    let first = seal(&here, &wanted, &tags(std::slice::from_ref(&here), "v1"))
        .input("signature-format", "legacy")
        .log(Log::Rekor1)
        .succeed();
    let others = ALL.map(Registry::fresh);
    let mut repositories = vec![here.clone()];
    repositories.extend(others.iter().cloned());
    let completed = seal(&here, &wanted, &tags(&repositories, "v1"))
        .input("signature-format", "legacy")
        .log(Log::Rekor1)
        .succeed();
    assert_eq!(completed.output("result"), "completed", "{}", completed.log);
    assert_eq!(
        completed.output("sign-skipped"),
        "true",
        "{}",
        completed.log
    );
    assert_eq!(completed.output("digest"), first.output("digest"));
    for repository in &repositories {
        for cosign in [Cosign::Two, Cosign::Three] {
            Tool::legacy_verify(cosign, &Workflow::default())
                .arg(format!("{repository}:v1"))
                .succeed();
        }
    }
}
