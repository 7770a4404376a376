//! Tags in the query of a push by digest.

use std::collections::BTreeMap;

use reqwest::{Method, Response};
use sandbox::{Kind, Options, Registry, TagParameter};

use crate::support::{MANIFEST, NAME, ask, code};

/// A registry with an image, and the image's digest.
struct Place {
    registry: Registry,
    digest: String,
}

impl Place {
    fn with(options: Options) -> Self {
        let registry = Registry::start(options);
        let digest = registry.push_image(NAME, "linux/amd64", Kind::Oci).digest;
        Self { registry, digest }
    }

    fn new(support: TagParameter) -> Self {
        Self::with(Options::new().tag_parameter(support))
    }

    async fn put(&self, digest: &str, tags: &[&str]) -> Response {
        let (_, bytes) = self.registry.manifest(NAME, digest).unwrap();
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let path = format!("manifests/{digest}?{}", query.join("&"));
        ask(&self.registry, Method::PUT, &path, MANIFEST, &bytes).await
    }

    /// Pushes the image with these tags; returns the lines of `OCI-Tag`.
    async fn named(&self, tags: &[&str]) -> Vec<String> {
        let put = self.put(&self.digest, tags).await;
        assert_eq!(put.status(), 201);
        let lines = put.headers().get_all("oci-tag").iter();
        lines.map(|line| line.to_str().unwrap().into()).collect()
    }

    /// Returns the tags, all of which lead to the image.
    fn tags(&self) -> Vec<String> {
        let tags: BTreeMap<String, String> = self.registry.tags(NAME);
        assert!(tags.values().all(|digest| *digest == self.digest));
        tags.into_keys().collect()
    }

    /// Returns the tags in the log of pushes.
    fn logged(&self) -> Vec<String> {
        let taggings = self.registry.taggings().into_iter();
        taggings.map(|tagging| tagging.tag).collect()
    }
}

#[tokio::test]
async fn default_ignores_tags_in_the_query() {
    let place = Place::with(Options::new());
    assert!(place.named(&["a", "b"]).await.is_empty());
    assert!(place.tags().is_empty() && place.logged().is_empty());
}

#[tokio::test]
async fn honoured_tags_are_written_named_and_logged() {
    let place = Place::new(TagParameter::Honoured);
    assert!(place.named(&[]).await.is_empty());
    assert_eq!(place.named(&["a"]).await, ["a"]);
    assert_eq!(place.named(&["b", "c"]).await, ["b, c"]);
    assert_eq!(
        place.named(&["1.2.3", "1.2", "1"]).await,
        ["1.2.3, 1.2", "1"]
    );
    assert_eq!(place.tags(), ["1", "1.2", "1.2.3", "a", "b", "c"]);
    assert_eq!(place.logged(), ["a", "b", "c", "1.2.3", "1.2", "1"]);
    // A query beside a tag in the path has no meaning.
    let (_, bytes) = place.registry.manifest(NAME, &place.digest).unwrap();
    let path = "manifests/d?tag=e";
    let put = ask(&place.registry, Method::PUT, path, MANIFEST, &bytes).await;
    assert!(put.headers().get("oci-tag").is_none());
    assert_eq!(place.logged().last().unwrap(), "d");
    assert!(!place.tags().contains(&"e".to_owned()));
}

#[tokio::test]
async fn silent_registry_writes_and_names_nothing_and_a_boastful_one_the_reverse() {
    let silent = Place::new(TagParameter::Silent);
    assert!(silent.named(&["a", "b"]).await.is_empty());
    assert_eq!(silent.tags(), ["a", "b"]);
    assert_eq!(silent.logged(), ["a", "b"]);
    let boastful = Place::new(TagParameter::Boastful);
    assert_eq!(boastful.named(&["a", "b"]).await, ["a, b"]);
    assert!(boastful.tags().is_empty() && boastful.logged().is_empty());
}

#[tokio::test]
async fn first_tag_alone_is_written_and_named() {
    let place = Place::new(TagParameter::First);
    assert_eq!(place.named(&["b", "a"]).await, ["b"]);
    assert_eq!(place.tags(), ["b"]);
    assert!(place.named(&[]).await.is_empty());
}

#[tokio::test]
async fn too_many_tags_are_refused_and_none_is_written() {
    let place = Place::new(TagParameter::TooLong);
    assert_eq!(place.put(&place.digest, &["a", "b"]).await.status(), 414);
    assert!(place.tags().is_empty());
    assert_eq!(place.named(&["a"]).await, ["a"]);
    assert_eq!(place.tags(), ["a"]);
}

#[tokio::test]
async fn refused_query_writes_nothing() {
    let place = Place::new(TagParameter::Refused);
    let put = place.put(&place.digest, &["a"]).await;
    assert_eq!(code(put).await, (400, "UNSUPPORTED".into()));
    assert!(place.tags().is_empty());
    assert!(place.named(&[]).await.is_empty());
}

#[tokio::test]
async fn one_invalid_or_immutable_tag_refuses_all() {
    let options = Options::new().tag_parameter(TagParameter::Honoured);
    let place = Place::with(options.immutable_tags(true));
    let put = place.put(&place.digest, &["a", "-no"]).await;
    assert_eq!(code(put).await, (400, "TAG_INVALID".into()));
    assert_eq!(place.named(&["a"]).await, ["a"]);
    let other = place
        .registry
        .push_image_seeded(NAME, "linux/amd64", Kind::Oci, 2);
    let put = place.put(&other.digest, &["b", "a"]).await;
    assert_eq!(code(put).await, (400, "TAG_INVALID".into()));
    assert_eq!(place.tags(), ["a"]);
}
