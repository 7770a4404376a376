//! A failed run is reverted at registries that delete tags, that delete only digests, and that delete nothing.

use std::fs;

use super::interoperability::{digests, two_children};
use super::support::{
    Action, Flavour, Outcome, Registry, Server, Tool, free_port, on_each_registry,
};

on_each_registry!(
    failed_run_is_taken_back,
    tag_of_others_on_the_same_digest_stays,
);

/// A repository in which `latest` existed before a run wrote `v1`, `v1.0` and `latest`.
struct Published {
    repository: String,
    earlier: String,
    digest: String,
    action: Action,
}

impl Published {
    fn at(repository: String) -> Self {
        let children = two_children(&repository, Flavour::Oci);
        let wanted = digests(&children);
        let first = Action::seal(&repository, &wanted[..1], &[]).input("moving-tags", "latest");
        let earlier = first.succeed().output("digest").to_owned();
        let action =
            Action::seal(&repository, &wanted, &["v1", "v1.0"]).input("moving-tags", "latest");
        let digest = action.succeed().output("digest").to_owned();
        Self {
            repository,
            earlier,
            digest,
            action,
        }
    }

    fn cleanup(&self) -> Outcome {
        let action = self.action.clone().input("command", "cleanup");
        action.input("digests", "").succeed()
    }

    /// Returns the digest of a tag according to crane; `None` if crane finds none.
    fn holds(&self, tag: &str) -> Option<String> {
        let name = format!("{}:{tag}", self.repository);
        let output = Tool::crane().args(["digest", &name]).output();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| text.trim().to_owned())
    }

    fn all(&self) -> [Option<String>; 3] {
        ["v1", "v1.0", "latest"].map(|tag| self.holds(tag))
    }
}

fn failed_run_is_taken_back(registry: Registry) {
    let published = Published::at(registry.fresh());
    let wrote = Some(published.digest.clone());
    assert_eq!(published.all(), [wrote.clone(), wrote.clone(), wrote]);
    let bundles = Tool::bundles(&published.repository, &published.digest);
    for _ in 0..2 {
        let outcome = published.cleanup();
        let back = [None, None, Some(published.earlier.clone())];
        assert_eq!(published.all(), back, "{}", outcome.log);
        assert_eq!(outcome.output("remaining"), "[]", "{}", outcome.log);
    }
    assert_eq!(bundles.len(), 1);
    assert_eq!(
        Tool::bundles(&published.repository, &published.digest),
        bundles,
        "the signature is history"
    );
    // The version can be published again.
    let again = published.action.succeed();
    assert_eq!(again.output("digest"), published.digest, "{}", again.log);
}

fn tag_of_others_on_the_same_digest_stays(registry: Registry) {
    let published = Published::at(registry.fresh());
    let name = format!("{}@{}", published.repository, published.digest);
    Tool::crane().args(["tag", &name, "stable"]).succeed();
    let outcome = published.cleanup();
    let wrote = Some(published.digest.clone());
    assert_eq!(published.holds("stable"), wrote, "{}", outcome.log);
    assert_eq!(published.holds("latest"), Some(published.earlier.clone()));
    let ours = ["v1", "v1.0"].map(|tag| published.holds(tag));
    println!(
        "{}: {}",
        registry.name(),
        outcome.log.lines().last().unwrap()
    );
    if matches!(registry, Registry::Debian) {
        // 2.8 deletes only digests, which would also delete `stable`.
        assert_eq!(ours, [wrote.clone(), wrote]);
        assert!(
            outcome
                .output("remaining")
                .contains("together with `stable`"),
            "{}",
            outcome.log
        );
    } else {
        assert_eq!(ours, [None, None], "{}", outcome.log);
        assert_eq!(outcome.output("remaining"), "[]", "{}", outcome.log);
    }
}

/// Both programs in their default configuration.
#[test]
fn registry_whose_deletion_is_off_is_a_warning() {
    for program in ["/usr/bin/docker-registry", "registry"] {
        let port = free_port();
        let folder = Action::new("cleanup", "unused.test/o/r")
            .workspace()
            .to_owned();
        let config = folder.join("config.yml");
        let storage = folder.join("storage");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let _server = Server::start(program, &["serve", config.to_str().unwrap()], port);
        let published = Published::at(format!("127.0.0.1:{port}/octo-org/app"));
        let outcome = published.cleanup();
        let wrote = Some(published.digest.clone());
        let wanted = [wrote.clone(), wrote, Some(published.earlier.clone())];
        assert_eq!(published.all(), wanted, "{}", outcome.log);
        let remaining = outcome.output("remaining");
        let says = format!("`127.0.0.1:{port}` does not support the deletion of tags");
        assert_eq!(
            remaining.matches(&says).count(),
            2,
            "{program}: {remaining}"
        );
        assert!(
            outcome.summary.contains("regctl tag delete"),
            "{}",
            outcome.summary
        );
    }
}
