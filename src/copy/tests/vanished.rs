//! Tests a destination that once reports a list as absent: the entries that others listed stay.

use std::time::Duration;

use sandbox::{Fault, Kind, Referrers};

use super::pushed::{document, listed, publish, push_beside, push_referrer, registry};
use super::*;

/// At least the number of times that a copy reads a list.
const LOOKS: usize = 4;

/// Makes the destination answer read number `place` of `tag` with 404.
fn deny(destination: &Sandbox, tag: &str, place: usize) {
    let look = || Fault::on("GET", &format!("*/manifests/{tag}"));
    for _ in 0..place {
        destination.fault(look().delay(Duration::ZERO));
    }
    destination.fault(look().registry_error(404, "MANIFEST_UNKNOWN", "manifest unknown"));
}

#[tokio::test]
async fn signatures_under_a_tag_stay() {
    for place in 0..LOOKS {
        let (source, destination) = (sandbox(), sandbox());
        let image = digest(&source.push_image("o/a", "linux/amd64", Kind::Oci).digest);
        destination.push_image("o/a", "linux/amd64", Kind::Oci);
        push_beside(&source, "o/a", &image, "sig", &["ours"]);
        push_beside(&destination, "o/a", &image, "sig", &["theirs"]);
        let tag = image.digest_tag("sig").unwrap().to_string();
        deny(&destination, &tag, place);
        let from = [repository(&source, "o/a").into()];
        let to = repository(&destination, "o/a");
        publish(&from, &to, &image).await.unwrap();
        let merge_layers = document(&destination, "o/a", &tag);
        let layers = merge_layers["layers"].as_array().unwrap().iter();
        let contents: Vec<&Value> = layers.map(|layer| &layer["annotations"]["a"]).collect();
        assert_eq!(contents, ["theirs", "ours"], "look {place}");
    }
}

#[tokio::test]
async fn referrers_under_the_fallback_tag_stay() {
    for place in 0..LOOKS {
        let here = Referrers::TagSchema;
        let (source, destination) = (registry(here), registry(here));
        let image = digest(&source.push_image("o/a", "linux/amd64", Kind::Oci).digest);
        destination.push_image("o/a", "linux/amd64", Kind::Oci);
        let ours = push_referrer(&source, "o/a", &image, "ours", here);
        let theirs = push_referrer(&destination, "o/a", &image, "theirs", here);
        deny(&destination, &image.referrers_tag().to_string(), place);
        let from = [repository(&source, "o/a").into()];
        let to = repository(&destination, "o/a");
        publish(&from, &to, &image).await.unwrap();
        let listed = listed(&destination, "o/a", &image);
        assert_eq!(listed, [theirs, ours], "look {place}");
    }
}
