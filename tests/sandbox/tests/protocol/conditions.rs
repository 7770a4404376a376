//! Conditions on pushes by tag.

use reqwest::{Method, Response};
use sandbox::{Conditions, Kind, Options, Registry};

use crate::support::{MANIFEST, NAME, get, header, send};

/// A registry with the tag `v1` on the first of two images.
struct Place {
    registry: Registry,
    digests: [String; 2],
}

impl Place {
    fn new(support: Conditions) -> Self {
        let registry = Registry::start(Options::new().conditions(support));
        let digests = [1, 2].map(|seed| {
            registry
                .push_image_seeded(NAME, "linux/amd64", Kind::Oci, seed)
                .digest
        });
        registry.tag(NAME, "v1", &digests[0]);
        Self { registry, digests }
    }

    /// Returns the `ETag` of `v1`.
    async fn etag(&self) -> Option<String> {
        let answer = get(&self.registry, "manifests/v1").await;
        let etag = answer.headers().get("etag");
        etag.map(|etag| etag.to_str().unwrap().to_owned())
    }

    /// Pushes the second image under a condition.
    async fn put(&self, reference: &str, name: &str, value: &str) -> Response {
        let (_, bytes) = self.registry.manifest(NAME, &self.digests[1]).unwrap();
        let path = format!("manifests/{reference}");
        let headers = [("content-type", MANIFEST), (name, value)];
        send(&self.registry, Method::PUT, &path, &headers, &bytes).await
    }

    async fn status(&self, reference: &str, name: &str, value: &str) -> u16 {
        self.put(reference, name, value).await.status().as_u16()
    }
}

fn quoted(digest: &str) -> String {
    format!("\"{digest}\"")
}

#[tokio::test]
async fn default_sends_an_etag_and_ignores_conditions() {
    for (support, etag) in [(Conditions::Ignored, true), (Conditions::NoEtag, false)] {
        let place = Place::new(support);
        let held = quoted(&place.digests[0]);
        assert_eq!(place.etag().await, etag.then_some(held));
        assert_eq!(place.status("v1", "if-none-match", "*").await, 201);
        assert_eq!(place.status("v2", "if-match", "\"x\"").await, 201);
    }
    let place = Registry::start(Options::new());
    let image = place.push_image(NAME, "linux/amd64", Kind::Oci);
    let answer = get(&place, &format!("manifests/{}", image.digest)).await;
    assert_eq!(header(&answer, "etag"), quoted(&image.digest));
}

#[tokio::test]
async fn honoured_conditions_decide_on_a_push_by_tag() {
    for support in [Conditions::Honoured, Conditions::Unannounced] {
        let place = Place::new(support);
        let [first, second] = place.digests.each_ref().map(|digest| quoted(digest));
        let announced = (support == Conditions::Honoured).then(|| first.clone());
        assert_eq!(place.etag().await, announced);
        for (name, value) in [
            ("if-match", second.as_str()),
            ("if-match", &format!("W/{first}")),
            ("if-none-match", "*"),
            ("if-none-match", &first),
        ] {
            assert_eq!(place.status("v1", name, value).await, 412, "{name} {value}");
        }
        assert_eq!(place.status("v2", "if-match", "*").await, 412);
        assert_eq!(place.registry.tags(NAME)["v1"], place.digests[0]);
        assert_eq!(place.registry.tags(NAME).len(), 1);
        let list = format!("\"x\", {first}");
        assert_eq!(place.status("v1", "if-match", &list).await, 201);
        assert_eq!(place.status("v2", "if-none-match", "*").await, 201);
        // Pushes by digest have no conditions.
        let digest = &place.digests[1];
        assert_eq!(place.status(digest, "if-none-match", "*").await, 201);
    }
}

#[tokio::test]
async fn only_one_of_many_conditional_pushes_at_once_succeeds() {
    let place = std::sync::Arc::new(Place::new(Conditions::Honoured));
    let pushes = (0..16).map(|_| {
        let place = std::sync::Arc::clone(&place);
        tokio::spawn(async move { place.status("new", "if-none-match", "*").await })
    });
    let mut statuses = Vec::new();
    for push in pushes.collect::<Vec<_>>() {
        statuses.push(push.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201);
    assert!(statuses[1..].iter().all(|&status| status == 412));
}

#[tokio::test]
async fn refusal_as_invalid_names_the_condition() {
    let place = Place::new(Conditions::AsInvalid);
    assert!(place.etag().await.is_some());
    for (name, value) in [("If-Match", "\"x\""), ("If-None-Match", "*")] {
        let refused = place.put("v1", name, value).await;
        assert_eq!(refused.status(), 400);
        let body = refused.text().await.unwrap();
        assert!(body.contains("MANIFEST_INVALID"), "{body}");
        assert!(body.contains(&format!("{name} condition failed")), "{body}");
    }
    let held = quoted(&place.digests[0]);
    assert_eq!(place.status("v1", "if-match", &held).await, 201);
}

#[tokio::test]
async fn broken_registry_refuses_every_conditional_push() {
    let place = Place::new(Conditions::Broken);
    let etag = place.etag().await.unwrap();
    assert_eq!(place.status("v1", "if-match", &etag).await, 412);
    assert_eq!(place.status("v2", "if-none-match", "*").await, 412);
    assert_eq!(place.status("v2", "x-other", "*").await, 201);
}
