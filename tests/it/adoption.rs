//! A digest of `digests` is a part of the index that is made. It stands for that index only where nothing else is asked
//! for.

use crate::support::{MIRROR, REPOSITORY, Two, World};

const NAME: &str = "io.github.manifest-seal.name";

#[test]
fn raw_build_under_a_tag_does_not_stand_for_the_index_with_annotations() {
    let two = Two::new();
    let world = &two.world;
    let registry = world.registry();
    let raw = registry.push_index_with_provenance(REPOSITORY, "linux/amd64");
    // Anyone with push access can tag a build before the run does.
    registry.tag(REPOSITORY, "1.0.0", &raw.digest);
    let tags = format!("1.0.0\n{}", two.there("1.0.0"));
    let seal = world.seal().input("digests", &raw.digest);
    let seal = seal.input("tags", tags).input("moving-tags", "latest");
    let named = seal.clone().input("annotations", format!("{NAME}=app"));
    let refused = named.end_with(3);
    refused.says(&[
        "it is not verified",
        &format!("its annotation `{NAME}` is absent, expected \"app\""),
        "has all of `annotations`",
    ]);
    assert_eq!(world.listed(&raw.digest), [""; 0]);
    assert_eq!(world.tag("latest"), None);
    assert!(two.other.tags(MIRROR).is_empty());
    // A preflight hands it on no more than that.
    let skip = world.preflight().input("on-existing-tag", "skip");
    let skip = skip.input("tags", "1.0.0").input("digests", &raw.digest);
    let look = skip.clone().input("annotations", format!("{NAME}=app"));
    look.end_with(3)
        .says(&["which is neither in `digests` nor signed by"]);
    // An unsigned run leaves it there, and spreads it nowhere.
    let unsigned = named.elsewhere().input("sign", "false").succeed();
    let made = world.tag("latest");
    assert!(made.is_some() && made.as_ref() != Some(&raw.digest));
    assert_eq!(two.other.tags(MIRROR).get("1.0.0"), made.as_ref());
    unsigned.says(&["no other tag is moved to it, because it is not verified"]);
    // It is adopted where nothing else is asked for.
    skip.without_token().succeed();
    let world = World::new();
    let raw = world
        .registry()
        .push_index_with_provenance(REPOSITORY, "linux/amd64");
    world.registry().tag(REPOSITORY, "v1", &raw.digest);
    let adopted = world.seal().input("digests", world.at(&raw.digest));
    let adopted = adopted.succeed();
    assert_eq!(adopted.output("digest"), raw.digest);
    assert_eq!(world.listed(&raw.digest).len(), 1);
}

#[test]
fn one_of_several_digests_does_not_stand_for_all_of_them() {
    let world = World::new();
    let registry = world.registry();
    // It has the same images as both together, and more.
    let raw = registry.push_index_with_provenance(REPOSITORY, "linux/amd64");
    let mut index = world.manifest(&raw.digest);
    index["annotations"] = serde_json::json!({"by": "them"});
    let theirs = crate::support::push(&world, Some("v1"), &index.to_string());
    let seal = |digests: &str| world.seal().elsewhere().input("digests", digests);
    seal(&format!("{theirs}\n{}", raw.digest))
        .end_with(3)
        .says(&["is the only entry of `digests`"]);
    assert_eq!(world.listed(&theirs), [""; 0]);
    // A digest that is given twice is one.
    seal(&format!("{theirs}\n{theirs}")).succeed();
    assert_eq!(world.listed(&theirs).len(), 1);
}
