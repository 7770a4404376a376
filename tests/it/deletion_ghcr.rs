//! Deletion of tags at GHCR, which deletes no single tag but a package version with all its tags.

use sandbox::{Fault, Kind, Service};
use serde_json::json;

use crate::support::hosted::Hosted;
use crate::support::{Published, REPOSITORY, asked, cleanup};

#[test]
fn ghcr_s_version_with_a_tag_of_others_stays_whole() {
    let published = Published::new(Service::Ghcr);
    published
        .hosted
        .registry()
        .tag(REPOSITORY, "stable", &published.digest);
    let outcome = published.cleanup().succeed();
    let asked = published.hosted.registry().requests();
    assert!(!asked.iter().any(|request| request.method == "DELETE"));
    published.hosted.registry().delete_tag(REPOSITORY, "stable");
    published.remains(&outcome, &["together with `stable`"]);
}

#[test]
fn ghcr_s_list_that_lags_behind_is_waited_for() {
    // The stale list has `latest` on the version that had it before the cleanup restored it.
    let published = Published::new(Service::Ghcr);
    published.hosted.registry().keep_lists(2);
    let outcome = published.clean();
    assert_eq!(published.tags(), published.before, "{}", outcome.log);
    outcome.says(&["the list of the package's versions does not match the registry"]);
    // If the list stays stale, nothing is deleted.
    let published = Published::new(Service::Ghcr);
    published.hosted.registry().keep_lists(u32::MAX);
    published.remains(&published.clean(), &["these tags cannot be listed"]);
}

#[test]
fn ghcr_s_last_tagged_version_and_its_popular_ones_stay() {
    // The first release of a package: no version existed before.
    let hosted = Hosted::new(Service::Ghcr);
    let action = hosted.logged_in(hosted.world.create());
    action.succeed();
    let outcome = cleanup(&action).succeed();
    assert!(hosted.world.tag("v1").is_some());
    let entry = &outcome.json("remaining")[0];
    let why = entry["why"].as_str().unwrap();
    assert!(
        why.contains("You cannot delete the last tagged version of a package"),
        "{why}"
    );
    let steps = entry["steps"].as_str().unwrap();
    assert!(
        steps.contains("the last tagged version can only be deleted with the package"),
        "{steps}"
    );

    let published = Published::new(Service::Ghcr);
    let message = "Publicly visible package versions with more than 5000 downloads cannot be deleted. Contact GitHub support for further assistance.";
    let (method, path) = asked(Service::Ghcr);
    let fault = Fault::on(method, path).times(u32::MAX);
    published.hosted.registry().fault(fault.answer(
        400,
        &[],
        &json!({"message": message}).to_string(),
    ));
    published.remains(&published.clean(), &["more than 5000 downloads"]);
}

#[test]
fn ghcr_s_second_page_is_read() {
    let published = Published::new(Service::Ghcr);
    for seed in 10..130 {
        let registry = published.hosted.registry();
        registry.push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, seed);
    }
    published.clean();
    assert_eq!(published.tags(), published.before);
}

#[test]
fn ghcr_s_list_that_does_not_show_our_tags_yet_is_waited_for() {
    let published = Published::new(Service::Ghcr);
    let registry = published.hosted.registry();
    // The list predates the tags, so it would not contain a new tag of somebody else either.
    for tag in ["v1", "v1.0", "edge", "latest"] {
        registry.delete_tag(REPOSITORY, tag);
    }
    registry.keep_lists(u32::MAX);
    for tag in ["v1", "v1.0", "edge", "latest", "stable"] {
        registry.tag(REPOSITORY, tag, &published.digest);
    }
    let outcome = published.clean();
    registry.delete_tag(REPOSITORY, "stable");
    published.remains(&outcome, &["these tags cannot be listed"]);
}
