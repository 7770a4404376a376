//! Several sources of one image: which of them may supply it.

use sandbox::{Fault, Kind, Options, Registry};

use crate::support::{Pipeline, TARGET, is_there, sbom};

const WEAK: &str = "weak/app";

/// Returns a registry with another image under `v1`.
fn weak() -> (Registry, String) {
    let weak = Registry::start(Options::new());
    let theirs = weak.push_image_seeded(WEAK, "linux/amd64", Kind::Oci, 666);
    weak.tag(WEAK, "v1", &theirs.digest);
    (weak, theirs.digest)
}

fn unread(status: u16) -> Fault {
    let manifests = Fault::on("*", "*/manifests/*").times(u32::MAX);
    manifests.registry_error(status, "MANIFEST_UNKNOWN", "x")
}

#[test]
fn digest_of_the_first_source_is_the_only_image_that_is_published() {
    for status in [404, 500] {
        let pipeline = Pipeline::new();
        let (_, index) = pipeline.create();
        let (weak, theirs) = weak();
        let first = pipeline.world.at(&index);
        let weak_image =
            |sign: &str, reference: &str| format!("{}{sign}{reference}", weak.repository(WEAK));
        pipeline.world.registry().fault(unread(status));
        for later in [weak_image(":", "v1"), weak_image("@", &theirs)] {
            let publish = pipeline.publish(&format!("{first}\n{later}"));
            let refused = publish.input("max-attempts", "1").end_with(1);
            let warning = format!(
                "`{theirs}` in the `source` `{}` is ignored",
                weak.repository(WEAK)
            );
            refused.says(&[&warning, &format!("the first `source` names `{index}`")]);
            assert_eq!(pipeline.writes_there(), [""; 0]);
        }
        // The first source is read again: then the second is only a place for what the first lacks.
        pipeline.world.registry().clear_faults();
        let publish = pipeline.publish(&format!("{first}\n{}", weak_image(":", "v1")));
        assert_eq!(publish.succeed().output("digest"), index);
        assert!(pipeline.target.manifest(TARGET, &theirs).is_none());
    }
}

#[test]
fn image_of_a_source_that_cannot_be_read_is_not_another_tags_image() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.create();
    pipeline
        .world
        .registry()
        .tag(crate::support::REPOSITORY, "v1", &index);
    let (weak, theirs) = weak();
    let weak_tag = format!("{}:v1", weak.repository(WEAK));
    let sources = format!("{}\n{weak_tag}", pipeline.world.at("v1"));
    let publish = || pipeline.publish(&sources).input("max-attempts", "1");
    pipeline.world.registry().fault(unread(500));
    publish().end_with(1).says(&["may have another"]);
    assert_eq!(pipeline.writes_there(), [""; 0]);
    // An absent tag is known to have none.
    pipeline.world.registry().clear_faults();
    pipeline.world.registry().fault(unread(404));
    assert_eq!(publish().succeed().output("digest"), theirs);
}

#[test]
fn digest_of_an_unreadable_source_is_published_from_another() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.create();
    let two = pipeline.there("copy");
    let copy = pipeline.publish(&pipeline.world.at(&index));
    copy.input("tags", &two).input("moving-tags", "").succeed();
    pipeline.world.registry().fault(unread(500));
    let publish = pipeline.publish(&format!("{}\n{two}", pipeline.world.at(&index)));
    let published = publish.input("max-attempts", "1").succeed();
    published.says(&["one `source` is not used"]);
    assert_eq!(published.output("digest"), index);
}

/// Content that is damaged at one source may be right at another, which could not be read.
#[test]
fn referrer_that_one_source_damages_is_not_left_out_while_another_is_unread() {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.create();
    let registry = pipeline.world.registry();
    let sbom = sbom(&pipeline, &index);
    let spare = Registry::start(Options::new());
    let copy = pipeline.publish(&pipeline.world.at(&index));
    let copy = copy.input("tags", format!("{}:v1", spare.repository(WEAK)));
    copy.input("moving-tags", "").succeed();
    let read = || Fault::on("GET", &format!("*/manifests/{sbom}")).times(u32::MAX);
    registry.fault(read().wrong_content_type("text/html"));
    spare.fault(read().status(500));
    let sources = format!(
        "{}\n{}@{index}",
        pipeline.world.at(&index),
        spare.repository(WEAK)
    );
    let publish = pipeline.publish(&sources).input("max-attempts", "1");
    publish.end_with(1).says(&["500"]);
    assert_eq!(pipeline.target.tags(TARGET).get("v1"), None);
    spare.clear_faults();
    publish.elsewhere().succeed();
    assert!(is_there(&pipeline, &sbom));
}
