//! GitLab's registry.

use reqwest::{Client, Method, Response};
use sandbox::{Kind, Options, Registry, Service, Transport};
use serde_json::{Value, json};

use crate::support::{MANIFEST, NAME};

/// GitLab, its client, and an image there.
struct GitLab {
    registry: Registry,
    client: Client,
    image: String,
}

impl GitLab {
    fn start() -> Self {
        let options = Options::new().transport(Transport::PLAIN);
        let registry = Registry::start(options.like(Service::GitLab, "octocat", "secret"));
        let image = registry.push_image(NAME, "linux/amd64", Kind::Oci).digest;
        let proxy = reqwest::Proxy::http(registry.url()).unwrap();
        let client = Client::builder().proxy(proxy).build().unwrap();
        Self {
            registry,
            client,
            image,
        }
    }

    async fn ask(&self, method: Method, path: &str, body: &[u8]) -> Response {
        let [host, realm, _] = Service::GitLab.hosts();
        let scope = format!("repository:{NAME}:pull,push,delete");
        let token = format!("http://{realm}/jwt/auth?service=container_registry&scope={scope}");
        let token = self.client.get(token).basic_auth("octocat", Some("secret"));
        let token = token.send().await.unwrap().bytes().await.unwrap();
        let token: Value = serde_json::from_slice(&token).unwrap();
        let url = format!("http://{host}/v2/{NAME}/{path}");
        let request = self.client.request(method, url).body(body.to_vec());
        let request = request.header("content-type", MANIFEST);
        let request = request.bearer_auth(token["token"].as_str().unwrap());
        request.send().await.unwrap()
    }

    /// Returns a referrer of `subject` with the parts of the image.
    fn referrer(&self, subject: &str, fields: &Value) -> Vec<u8> {
        let (_, bytes) = self.registry.manifest(NAME, &self.image).unwrap();
        let mut referrer: Value = serde_json::from_slice(&bytes).unwrap();
        referrer["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 1});
        for (name, value) in fields.as_object().unwrap() {
            referrer[name] = value.clone();
        }
        referrer.to_string().into_bytes()
    }

    /// Asserts that a push is refused with this code and detail.
    async fn refuses(&self, manifest: &[u8], code: &str, detail: &str) {
        let refused = self.ask(Method::PUT, "manifests/r", manifest).await;
        assert_eq!(refused.status(), 400);
        let body: Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
        assert_eq!(body["errors"][0]["code"], *code, "{body}");
        assert_eq!(body["errors"][0]["detail"], *detail, "{body}");
    }
}

#[tokio::test]
async fn dash_reference_is_the_image_itself() {
    let gitlab = GitLab::start();
    let dash = gitlab.image.replace(':', "-");
    let path = format!("manifests/{dash}");
    for method in [Method::GET, Method::HEAD] {
        let read = gitlab.ask(method, &path, b"").await;
        assert_eq!(read.status(), 200);
        assert_eq!(read.headers()["docker-content-digest"], *gitlab.image);
    }
    let absent = format!("manifests/sha256-{}", "a".repeat(64));
    assert_eq!(gitlab.ask(Method::GET, &absent, b"").await.status(), 404);
    // What a tag of this name holds is hidden by the image.
    let other = gitlab
        .registry
        .push_image_seeded(NAME, "linux/amd64", Kind::Oci, 2);
    gitlab.registry.tag(NAME, &dash, &other.digest);
    let read = gitlab.ask(Method::GET, &path, b"").await;
    assert_eq!(read.headers()["docker-content-digest"], *gitlab.image);
}

#[tokio::test]
async fn referrers_api_is_absent_and_tags_can_be_deleted() {
    let gitlab = GitLab::start();
    let list = format!("referrers/{}", gitlab.image);
    let list = gitlab.ask(Method::GET, &list, b"").await;
    assert_eq!(list.status(), 404);
    let content_type = list.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("text/plain"), "{content_type}");
    gitlab.registry.tag(NAME, "v1", &gitlab.image);
    let gone = gitlab.ask(Method::DELETE, "manifests/v1", b"").await;
    assert_eq!(gone.status(), 202);
    assert!(gitlab.registry.tags(NAME).is_empty());
    assert_eq!(gitlab.registry.manifests(NAME), [gitlab.image.as_str()]);
}

#[tokio::test]
async fn subjects_and_artifact_types_have_limits() {
    let gitlab = GitLab::start();
    let known = json!({"artifactType": "application/vnd.in-toto+json"});
    let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let unknown = gitlab.referrer(&gitlab.image, &json!({"artifactType": bundle}));
    let detail = format!("unknown media type: {bundle}");
    gitlab.refuses(&unknown, "MANIFEST_INVALID", &detail).await;

    let docker = gitlab
        .registry
        .push_image(NAME, "linux/arm64", Kind::Docker);
    let absent = format!("sha256:{}", "a".repeat(64));
    for subject in [docker.digest, absent] {
        let referrer = gitlab.referrer(&subject, &known);
        gitlab
            .refuses(&referrer, "MANIFEST_BLOB_UNKNOWN", &subject)
            .await;
    }
    let referrer = gitlab.referrer(&gitlab.image, &known);
    let put = gitlab.ask(Method::PUT, "manifests/r", &referrer).await;
    assert_eq!(put.status(), 201);
    assert!(put.headers().get("oci-subject").is_none());
}
