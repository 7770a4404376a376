//! Copies by other tools beside ours: registries get the same content, folders of other tools are published, and no large
//! content is kept in memory.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::publish::{files, is_there, other, publish, put, recorded, revisions, stage};
use super::support::{Action, Log, Registry, Tool, Workflow, on_each_registry, push_layers};

on_each_registry!(others_copy_the_same, folders_by_others_are_published);

/// Copies to three repositories of one registry that stores files: by us, by regctl, by skopeo.
fn others_copy_the_same(registry: Registry) {
    let built = registry.fresh();
    let stage = stage(&built, "both", Log::Rekor1);
    let outcome = publish(&stage, &Registry::Distribution.fresh()).succeed();
    let (ours, index) = (outcome.output("image"), outcome.output("digest"));
    let [theirs, skopeos] = [(); 2].map(|()| Registry::Distribution.fresh());
    let from = format!("{built}@{index}");
    Tool::regctl_between(&built, &theirs)
        .args(["image", "copy", "--referrers", "--digest-tags", &from])
        .arg(format!("{theirs}:v1"))
        .succeed();
    Tool::skopeo()
        .args(["copy", "--all", "--preserve-digests"])
        .args(["--src-tls-verify=false", "--dest-tls-verify=false"])
        .arg(format!("docker://{from}"))
        .arg(format!("docker://{skopeos}:v1"))
        .succeed();
    let [ours_there, theirs_there, skopeos_there] =
        [ours, &theirs, &skopeos].map(|repository| revisions(&files(repository).unwrap()));
    assert_eq!(ours_there, theirs_there, "ours and regctl's");
    // skopeo does not copy the referrers of the image.
    assert!(skopeos_there.contains(index), "{skopeos_there:?}");
    assert!(skopeos_there.is_subset(&ours_there), "{skopeos_there:?}");
    let tags = |repository: &str| {
        let listed = Tool::crane().args(["ls", repository]).succeed();
        let mut tags: BTreeSet<String> = listed.lines().map(str::to_owned).collect();
        tags.remove("v1");
        tags
    };
    assert_eq!(tags(ours), tags(&theirs));
    for repository in [ours, &skopeos] {
        let folder = stage.workspace().join(repository.replace([':', '/'], "-"));
        Tool::crane()
            .args(["pull", "--format=oci", &format!("{repository}@{index}")])
            .arg(folder)
            .succeed();
    }
}

/// Images signed here in both formats are saved to folders by other tools, and published from there.
fn folders_by_others_are_published(registry: Registry) {
    let built = registry.fresh();
    let stage = stage(&built, "both", Log::Rekor1);
    let recorded = recorded(&stage);
    let record = fs::read(stage.workspace().join("manifest-seal.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let index = record["images"][0]["digest"].as_str().unwrap();
    let tagged = format!("{built}:v1");
    Tool::regctl(&built)
        .args(["image", "copy", &format!("{built}@{index}"), &tagged])
        .succeed();
    let save = |name: &str, tool: Tool| {
        tool.folder(stage.workspace()).succeed();
        name.to_owned()
    };
    let regctl = Tool::regctl(&built)
        .args(["image", "copy", "--referrers", "--digest-tags", &tagged])
        .arg("ocidir://regctl:v1");
    let crane = Tool::crane().args(["pull", "--format=oci", &tagged, "crane"]);
    let cosign = Tool::cosign().args(["save", "--dir", "cosign", &tagged]);
    let skopeo = Tool::skopeo()
        // Without this option it rewrites the index.
        .args(["copy", "--all", "--preserve-digests"])
        .arg("--src-tls-verify=false")
        .arg(format!("docker://{tagged}"))
        .arg("oci:skopeo:v1");
    for (source, signed) in [
        (save("oci:regctl:v1", regctl), true),
        (save("oci:crane", crane), false),
        (save("oci:cosign", cosign), true),
        (save("oci:skopeo:v1", skopeo), false),
    ] {
        let published = other(registry).fresh();
        let run = publish(&stage, &published)
            .input("source", &source)
            .input("tags", "v1")
            .input("recursive", "false");
        // A copy without signatures cannot be verified.
        let run = if signed { run } else { unchecked(run) };
        let outcome = run.succeed();
        assert_eq!(outcome.output("digest"), index, "{source}\n{}", outcome.log);
        for name in put(&outcome, &published) {
            let is_known = recorded.contains(&name) || name == "v1" || name.starts_with("sha256-");
            assert!(is_known, "{source}: {name} is new\n{}", outcome.log);
        }
        let folder = stage.workspace().join(published.replace([':', '/'], "-"));
        Tool::crane()
            .args(["pull", "--format=oci", &format!("{published}:v1")])
            .arg(folder)
            .succeed();
        if signed {
            Tool::cosign_verify(&Workflow::default())
                .arg(format!("{published}:v1"))
                .succeed();
        }
    }
}

fn unchecked(run: Action) -> Action {
    run.input("certificate-identity", "")
        .input("certificate-oidc-issuer", "")
}

/// Memory stays small for layers of any size, from any source.
#[test]
fn large_layers_are_never_held() {
    const MB: u64 = 1 << 20;
    let built = Registry::Distribution.fresh();
    let image = push_layers(
        &built,
        &[64 * MB, 16 * MB, 16 * MB, 16 * MB, 16 * MB, 16 * MB],
    );
    let from = format!("{built}@{}", image.digest);
    let run = Action::new("publish", &Registry::Debian.fresh()).input("tags", "v1");
    let run = unchecked(run);
    Tool::regctl(&built)
        .args(["image", "copy", &from, "ocidir://large:v1"])
        .folder(run.workspace())
        .succeed();
    for source in [from.as_str(), "oci:large:v1"] {
        let published = Registry::Debian.fresh();
        let report = run.workspace().join("cost");
        let run = run
            .clone()
            .input("source", source)
            .input("image", &published);
        let peak = run.tool().measure(&report).peak;
        println!("peak of 144 MB from {source}: {peak:.0} MB");
        assert!(peak <= 48.0, "{source}: {peak} MB");
        assert!(is_there(&published, &image.digest));
    }
}
