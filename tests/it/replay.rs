//! Replay of older images. A signature vouches for a digest under any tag. Somebody with push permission can tag an older image
//! of the same workflow and ref as an image that was never built. The meaning of a tag is compared with the signed content.

use sandbox::{Kind, Options, Registry};

use crate::support::project::read;
use crate::support::workflow::run;
use crate::support::{Action, Outcome, REPOSITORY, World};

const BEFORE: &str = "badc0ffeebadc0ffeebadc0ffeebadc0ffeebadc";
const NOW: &str = "d34db33fd34db33fd34db33fd34db33fd34db33f";
const SHA: &str = "certificate-github-workflow-sha";
const VERSION: &str = "org.opencontainers.image.version";
const NAME: &str = "io.github.manifest-seal.name";

/// Returns the commit that `build.yml` requires of a call with its own tags `own`, on `reference`.
fn commit(own: &str, tags: &str, reference: &str) -> String {
    let variables = [
        ("OWN", own),
        ("TAGS", tags),
        ("GITHUB_REF", reference),
        ("GITHUB_SHA", NOW),
    ];
    let outputs = run("build.yml", ["plan", "commit"], &variables).unwrap();
    outputs["commit"].clone()
}

#[test]
fn tags_that_stand_for_a_commit_ask_for_it() {
    let image = "ghcr.io/octo-org/d34db33";
    for (own, tag, reference) in [
        ("", "main-d34db33", "refs/heads/main"),
        ("", "pr-17-d34db33", "refs/pull/17/merge"),
        ("", "v1.4.2", "refs/tags/v1.4.2"),
        ("", "nightly-20260131", "refs/heads/main"),
        (
            "type=semver,pattern={{version}}",
            "1.4.2",
            "refs/tags/v1.4.2",
        ),
        ("type=sha", "sha-d34db33", "refs/heads/main"),
        ("type=sha,format=long", NOW, "refs/heads/main"),
        ("type=sha,prefix=1.4.2-", "1.4.2-d34db33", "refs/heads/main"),
    ] {
        assert_eq!(
            commit(own, &format!("{image}:{tag}"), reference),
            NOW,
            "{tag}"
        );
    }
    // If one tag requires the commit, all do: they must point to the same image.
    let two = format!("{image}:1.4.2\n{image}:sha-d34db33");
    assert_eq!(commit("type=sha", &two, "refs/heads/main"), NOW);
    for (own, tag) in [
        ("type=raw,value=1.4.2", "1.4.2"),
        ("type=schedule", "nightly"),
        ("type=sha,event=tag", ""),
    ] {
        assert_eq!(
            commit(own, &format!("{image}:{tag}"), "refs/heads/main"),
            "",
            "{tag}"
        );
    }
}

/// A release may be resumed on another commit: the index itself states its image and its version.
#[test]
fn release_binds_its_image_to_its_version() {
    let workflow = read(".github/workflows/release.yml");
    let stated = format!(
        "annotations: |\n            {VERSION}=${{{{ needs.version.outputs.version }}}}\n            {NAME}=manifest-seal\n"
    );
    // An adopted index stays as it is, so no annotation may be required of it.
    let unless_adopted =
        |text: &str| format!("            ${{{{ inputs.adopt == '' && {text} || '' }}}}\n");
    let version = unless_adopted(&format!("'{VERSION}='"))
        .trim_end()
        .to_owned()
        + unless_adopted("needs.version.outputs.version").trim_start();
    let name = unless_adopted(&format!("'{NAME}=manifest-seal'"));
    let sealed = format!("annotations: |\n{version}{name}");
    let steps: Vec<&str> = workflow.split("uses: ./").skip(1).collect();
    let stating: Vec<bool> = steps
        .iter()
        .map(|step| step.split("\n\n").next().unwrap())
        .zip([&stated, &sealed, &stated])
        .map(|(step, stated)| step.contains(stated))
        .collect();
    assert_eq!(stating, [true, true, false], "preflight, seal, verify");
}

/// Runs `act` as a run of the workflow on `commit`.
fn on<T>(world: &World, commit: &str, act: impl FnOnce() -> T) -> T {
    world.sigstore().set_claim("sha", commit);
    act()
}

fn skip(world: &World, tag: &str) -> Action {
    let look = world.preflight().input("on-existing-tag", "skip");
    look.input("tags", tag)
}

fn is_refused(look: &Action, says: &[&str]) {
    let outcome = look.end_with(3);
    assert_eq!(outcome.output("proceed"), "false");
    assert!(!outcome.outputs.contains_key("source"));
    outcome.says(&["which is neither in `digests` nor signed by"]);
    outcome.says(says);
}

fn is_skipped(look: &Action, source: &str) -> Outcome {
    let outcome = look.succeed();
    assert_eq!(
        (outcome.output("proceed"), outcome.output("source")),
        ("false", source)
    );
    outcome
}

#[test]
fn older_image_under_the_tag_of_a_commit_is_not_skipped() {
    let world = World::new();
    let seal = |tag: &str| world.seal().input("tags", tag);
    let older = on(&world, BEFORE, || seal("main-badc0ff").succeed());
    let older = older.output("digest").to_owned();
    // Somebody with push permission gives it the tag of a commit that was never built, in one registry of two.
    world.registry().tag(REPOSITORY, "main-d34db33", &older);
    let other = Registry::start(Options::new());
    let tag = world.at("main-d34db33");
    let tags = format!("{tag}\n{}:main-d34db33", other.repository(REPOSITORY));
    let asked = commit("", &tags, "refs/heads/main");
    on(&world, NOW, || {
        let look = skip(&world, &tags).input(SHA, &asked);
        is_refused(
            &look,
            &[
                &format!("its workflow's sha is `{BEFORE}`, not `{NOW}`"),
                &tag,
            ],
        );
        // A run that does not require the commit skips it: its signature is valid.
        is_skipped(&skip(&world, &tags), &world.at(&older));
        // After a seal for this commit it is skipped, even though it is byte for byte the older image.
        let signed = seal("main-d34db33").input(SHA, &asked).succeed();
        assert_eq!(
            (signed.output("digest"), signed.output("sign-skipped")),
            (&*older, "false")
        );
        is_skipped(&look, &world.at(&older));
    });
    let again = skip(&world, &world.at("main-badc0ff")).input(SHA, BEFORE);
    on(&world, BEFORE, || is_skipped(&again, &world.at(&older)));
}

/// An index that is adopted by its digest is signed for the commit, so the next run skips it.
#[test]
fn older_image_that_is_adopted_is_signed_for_the_commit() {
    let world = World::new();
    let older = on(&world, BEFORE, || {
        world.seal().input("tags", "v1").succeed()
    });
    let image = world.at(older.output("digest"));
    world
        .registry()
        .tag(REPOSITORY, "v2", older.output("digest"));
    on(&world, NOW, || {
        let look = skip(&world, "v2").input(SHA, NOW);
        is_refused(&look, &[&format!("`digests: {image}`")]);
        let seal = world.seal().input("tags", "v2").input("digests", &image);
        let adopted = seal.input(SHA, NOW).succeed();
        assert_eq!(
            (adopted.output("reference"), adopted.output("sign-skipped")),
            (&*image, "false")
        );
        is_skipped(&look, &image);
    });
}

#[test]
fn index_of_another_version_is_not_skipped() {
    let world = World::new();
    let seal = |version: &str| {
        let seal = world.seal().input("tags", version);
        seal.input("annotations", format!("{VERSION}={version}"))
    };
    let older = seal("1.4.1").succeed();
    let image = world.at(older.output("digest"));
    world
        .registry()
        .tag(REPOSITORY, "1.4.2", older.output("digest"));
    let look = |version: &str| {
        let look = skip(&world, version);
        look.input(
            "annotations",
            format!("{VERSION}={version}\norg.example.built=now"),
        )
    };
    is_refused(
        &look("1.4.2"),
        &[
            "version (`org.opencontainers.image.version`) is `1.4.1`",
            "for `org.opencontainers.image.version=1.4.2`",
        ],
    );
    is_skipped(&look("1.4.1"), &image);
    // The caller may accept an index that states another version, and ask for none then.
    is_refused(
        &look("1.4.2").input("digests", &image),
        &["but its version"],
    );
    is_skipped(&skip(&world, "1.4.2").input("digests", &image), &image);
    is_skipped(&skip(&world, "1.4.2"), &image);
    // An index without that annotation has no version.
    let without = world.seal().input("tags", "1.4.3").succeed();
    let without = world.at(without.output("digest"));
    is_refused(&look("1.4.3"), &["is none"]);
    is_skipped(&skip(&world, "1.4.3"), &without);
    skip(&world, "1.4.3")
        .input("annotations", "x")
        .end_with(2)
        .says(&["`annotations`"]);
}

/// One run makes two images with the same identity. Somebody with push permission puts one under the tag of the other.
#[test]
fn another_image_of_the_same_workflow_is_not_skipped() {
    let world = World::new();
    let registry = world.registry();
    let name = |name: &str| format!("{NAME}={name}");
    on(&world, NOW, || {
        let digests: Vec<String> = ["linux/amd64", "linux/arm64"]
            .iter()
            .map(|platform| registry.push_image_seeded(REPOSITORY, platform, Kind::Oci, 77))
            .map(|image| image.digest)
            .collect();
        let debug = world.seal().input("digests", digests.join("\n"));
        let debug = debug.input("annotations", name("app-debug"));
        let debug = debug.input("tags", "v1.5.0-debug").succeed();
        let debug = debug.output("digest").to_owned();
        registry.tag(REPOSITORY, "v1.5.0", &debug);
        let look = |tag: &str, named: &str| {
            let look = skip(&world, tag).input(SHA, NOW);
            look.input(
                "annotations",
                format!("{}\norg.example.built=now", name(named)),
            )
        };
        is_refused(
            &look("v1.5.0", "app"),
            &[
                "name (`io.github.manifest-seal.name`) is `app-debug`",
                "for `io.github.manifest-seal.name=app`",
            ],
        );
        // Nor does `seal` take it for its own, although it is signed.
        let app = world.seal().input("digests", digests.join("\n"));
        let app = app.input("annotations", name("app"));
        let app = app.input("tags", "v1.5.0").input("moving-tags", "latest");
        app.end_with(3).says(&[
            "it is not verified",
            "`io.github.manifest-seal.name` is \"app-debug\", expected \"app\"",
        ]);
        assert_eq!(world.tag("latest"), None);
        is_skipped(&look("v1.5.0-debug", "app-debug"), &world.at(&debug));
        // An index without a name does not match a required name.
        let without = world.seal().input("tags", "v1.5.1").succeed();
        is_refused(&look("v1.5.1", "app"), &["is none"]);
        is_skipped(&skip(&world, "v1.5.1"), &world.at(without.output("digest")));
        // An adopted index stays unchanged, and is skipped if it is named by digest. It lacks the name, so none may be
        // required.
        let image = world.at(without.output("digest"));
        let adopted = world
            .seal()
            .input("tags", "v1.5.1")
            .input("digests", &image);
        let named = adopted.clone().input("annotations", name("app"));
        named.end_with(3).says(&["has all of `annotations`"]);
        assert_eq!(adopted.succeed().output("reference"), image);
        let named = look("v1.5.1", "app").input("digests", &image);
        is_refused(&named, &["is none"]);
        is_skipped(&skip(&world, "v1.5.1").input("digests", &image), &image);
    });
}
