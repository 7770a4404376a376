//! The registry, as a client sees it.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use reqwest::{Client, Method, Response};
use sandbox::{Authorization, Kind, Options, Referrers, Registry};
use serde_json::{Value, json};
use std::time::Duration;

const NAME: &str = "octo-org/app";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

async fn ask(
    registry: &Registry,
    method: Method,
    path: &str,
    type_: &str,
    body: &[u8],
) -> Response {
    let url = if path.starts_with("/v2") {
        format!("http://{}{path}", registry.address())
    } else {
        format!("http://{}/v2/{NAME}/{path}", registry.address())
    };
    let request = Client::new()
        .request(method, url)
        .header("content-type", type_)
        .body(body.to_vec());
    request.send().await.unwrap()
}

async fn get(registry: &Registry, path: &str) -> Response {
    ask(registry, Method::GET, path, "", b"").await
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap().to_str().unwrap()
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    (
        status,
        body["errors"][0]["code"].as_str().unwrap().to_owned(),
    )
}

fn index_of(digests: &[&str]) -> Vec<u8> {
    let entry = |digest: &&str| json!({"mediaType": MANIFEST, "digest": digest, "size": 1});
    let entries: Vec<Value> = digests.iter().map(entry).collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
        .to_string()
        .into_bytes()
}

fn referrer_to(registry: &Registry, subject: &str, artifact_type: &str) -> Vec<u8> {
    let empty = registry.push_blob(NAME, b"{}");
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [], "annotations": {"a": "b"},
        "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1},
    })
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn images_are_the_same_each_time_and_complete() {
    let one = Registry::start(Options::new());
    let two = Registry::start(Options::new());
    let image = one.push_image(NAME, "linux/arm64", Kind::Oci);
    assert_eq!(image, two.push_image(NAME, "linux/arm64", Kind::Oci));
    let seeded = one.push_image_seeded(NAME, "linux/arm64", Kind::Oci, 1);
    assert_ne!(image.digest, seeded.digest);

    let manifest = get(&one, &format!("manifests/{}", image.digest)).await;
    assert_eq!(header(&manifest, "content-type"), MANIFEST);
    assert_eq!(header(&manifest, "docker-content-digest"), image.digest);
    for blob in [&image.config, &image.layer] {
        assert_eq!(get(&one, &format!("blobs/{blob}")).await.status(), 200);
    }
    let config: Value = serde_json::from_slice(&one.blob(NAME, &image.config).unwrap()).unwrap();
    assert_eq!(config["architecture"], "arm64");
    let docker = one.push_image(NAME, "linux/arm/v7", Kind::Docker);
    assert!(docker.media_type.contains("docker"));
    // What was pushed by the library passes the checks that clients must pass.
    let (type_, bytes) = one.manifest(NAME, &docker.digest).unwrap();
    let again = ask(&one, Method::PUT, "manifests/v7", &type_, &bytes).await;
    assert_eq!(again.status(), 201);
}

#[tokio::test]
async fn build_with_provenance_is_an_index_of_image_and_attestation() {
    let registry = Registry::start(Options::new());
    let built = registry.push_index_with_provenance(NAME, "linux/amd64");
    let (type_, bytes) = registry.manifest(NAME, &built.digest).unwrap();
    assert_eq!(type_, INDEX);
    let index: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(index["manifests"][0]["digest"], *built.image.digest);
    let attestation = &index["manifests"][1];
    assert_eq!(attestation["digest"], *built.attestation);
    assert_eq!(attestation["platform"]["os"], "unknown");
    assert_eq!(
        attestation["annotations"]["vnd.docker.reference.digest"],
        *built.image.digest
    );
    let put = ask(&registry, Method::PUT, "manifests/v1", INDEX, &bytes).await;
    assert_eq!(put.status(), 201);
}

#[tokio::test]
async fn manifest_is_refused_until_its_parts_are_here() {
    let registry = Registry::start(Options::new());
    let index = index_of(&[HELLO]);
    let refused = ask(&registry, Method::PUT, "manifests/v1", INDEX, &index).await;
    assert_eq!(code(refused).await, (400, "MANIFEST_BLOB_UNKNOWN".into()));
    assert!(registry.tags(NAME).is_empty());

    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let (_, manifest) = registry.manifest(NAME, &image.digest).unwrap();
    registry.delete_blob(NAME, &image.layer);
    let path = format!("manifests/{}", image.digest);
    let refused = ask(&registry, Method::PUT, &path, MANIFEST, &manifest).await;
    assert_eq!(code(refused).await, (400, "MANIFEST_BLOB_UNKNOWN".into()));
}

#[tokio::test]
async fn malformed_manifests_are_refused() {
    let registry = Registry::start(Options::new());
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let index = index_of(&[&image.digest]);
    let path = format!("manifests/{HELLO}");
    let cases: [(&str, &str, &[u8], u16, &str); 5] = [
        (&path, INDEX, &index, 400, "DIGEST_INVALID"),
        ("manifests/v1", MANIFEST, &index, 400, "MANIFEST_INVALID"),
        (
            "manifests/v1",
            "text/plain",
            &index,
            415,
            "MANIFEST_INVALID",
        ),
        ("manifests/v1", INDEX, b"{", 400, "MANIFEST_INVALID"),
        ("manifests/.v1", INDEX, &index, 400, "TAG_INVALID"),
    ];
    for (path, type_, body, status, wanted) in cases {
        let refused = ask(&registry, Method::PUT, path, type_, body).await;
        assert_eq!(
            code(refused).await,
            (status, wanted.to_owned()),
            "{path} {type_}"
        );
    }
}

#[tokio::test]
async fn absence_says_what_is_absent() {
    let registry = Registry::start(Options::new());
    let unknown = get(&registry, "manifests/v1").await;
    assert_eq!(code(unknown).await, (404, "NAME_UNKNOWN".into()));
    assert_eq!(
        code(get(&registry, "tags/list").await).await.1,
        "NAME_UNKNOWN"
    );
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let unknown = get(&registry, "manifests/v1").await;
    assert_eq!(code(unknown).await, (404, "MANIFEST_UNKNOWN".into()));
    let unknown = get(&registry, &format!("blobs/{HELLO}")).await;
    assert_eq!(code(unknown).await, (404, "BLOB_UNKNOWN".into()));

    // What garbage collection leaves: an index by tag whose child is gone.
    let index = registry.push_raw(NAME, Some("v1"), INDEX, &index_of(&[&image.digest]));
    registry.delete_manifest(NAME, &image.digest);
    assert_eq!(get(&registry, "manifests/v1").await.status(), 200);
    assert_eq!(
        get(&registry, &format!("manifests/{}", image.digest))
            .await
            .status(),
        404
    );
    assert_eq!(registry.tags(NAME)["v1"], index);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let registry = Registry::start(Options::new());
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let path = format!("manifests/{}", image.digest);
    let head = ask(&registry, Method::HEAD, &path, "", b"").await;
    assert_eq!(header(&head, "content-length"), image.size.to_string());
    assert_eq!(header(&head, "docker-content-digest"), image.digest);
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn blobs_go_up_whole_in_chunks_and_by_mount() {
    let registry = Registry::start(Options::new());
    let path = format!("blobs/uploads/?digest={HELLO}");
    let whole = ask(&registry, Method::POST, &path, "", b"hello").await;
    assert_eq!(whole.status(), 201);
    assert_eq!(
        header(&whole, "location"),
        format!("/v2/{NAME}/blobs/{HELLO}")
    );

    let wrong = ask(&registry, Method::POST, &path, "", b"hellO").await;
    assert_eq!(code(wrong).await, (400, "DIGEST_INVALID".into()));

    registry.delete_blob(NAME, HELLO);
    let begun = ask(&registry, Method::POST, "blobs/uploads/", "", b"").await;
    assert_eq!(begun.status(), 202);
    let place = header(&begun, "location").to_owned();
    let part = ask(&registry, Method::PATCH, &place, "", b"hel").await;
    assert_eq!(
        (part.status().as_u16(), header(&part, "range")),
        (202, "0-2")
    );
    let place = header(&part, "location").to_owned();
    let put = format!("{place}&digest={HELLO}");
    assert_eq!(
        ask(&registry, Method::PUT, &put, "", b"lo").await.status(),
        201
    );
    assert_eq!(registry.blob(NAME, HELLO).unwrap(), b"hello");
    let over = ask(&registry, Method::PUT, &put, "", b"lo").await;
    assert_eq!(code(over).await, (404, "BLOB_UPLOAD_UNKNOWN".into()));

    let path = format!("/v2/octo-org/other/blobs/uploads/?mount={HELLO}&from={NAME}");
    let mounted = ask(&registry, Method::POST, &path, "", b"").await;
    assert_eq!(mounted.status(), 201);
    let path = format!("/v2/octo-org/other/blobs/uploads/?mount={HELLO}&from=no/where");
    assert_eq!(
        ask(&registry, Method::POST, &path, "", b"").await.status(),
        202
    );
}

#[tokio::test]
async fn deletes_by_tag_leave_the_manifest_and_by_digest_take_the_tags() {
    let registry = Registry::start(Options::new());
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    registry.tag(NAME, "v1", &image.digest);
    registry.tag(NAME, "v2", &image.digest);
    let gone = ask(&registry, Method::DELETE, "manifests/v1", "", b"").await;
    assert_eq!(gone.status(), 202);
    assert_eq!(registry.tags(NAME).len(), 1);
    let path = format!("manifests/{}", image.digest);
    assert_eq!(
        ask(&registry, Method::DELETE, &path, "", b"")
            .await
            .status(),
        202
    );
    assert!(registry.tags(NAME).is_empty());
    assert_eq!(
        ask(&registry, Method::DELETE, &path, "", b"")
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn tag_lists_come_in_pages() {
    let registry = Registry::start(Options::new().page_size(2));
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    for tag in ["a", "b", "c"] {
        registry.tag(NAME, tag, &image.digest);
    }
    let first = get(&registry, "tags/list").await;
    let link = header(&first, "link").to_owned();
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let last = get(&registry, next).await;
    assert!(last.headers().get("link").is_none());
    let page: Value = serde_json::from_slice(&last.bytes().await.unwrap()).unwrap();
    assert_eq!(page, json!({"name": NAME, "tags": ["c"]}));
}

#[tokio::test]
async fn referrers_are_listed_filtered_and_paged() {
    let registry = Registry::start(Options::new().page_size(1));
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let list = format!("referrers/{}", image.digest);
    let none = get(&registry, &list).await;
    assert_eq!(header(&none, "content-type"), INDEX);
    let none: Value = serde_json::from_slice(&none.bytes().await.unwrap()).unwrap();
    assert_eq!(none["manifests"], json!([]));

    for type_ in ["application/x-one", "application/x-two+json"] {
        let manifest = referrer_to(&registry, &image.digest, type_);
        let path = format!("manifests/{type_}")
            .replace(['/', '+'], "-")
            .replace("manifests-", "manifests/");
        let put = ask(&registry, Method::PUT, &path, MANIFEST, &manifest).await;
        assert_eq!(put.status(), 201);
        assert_eq!(header(&put, "oci-subject"), image.digest);
    }
    let first = get(&registry, &list).await;
    assert!(header(&first, "link").contains("start=1"));
    let first: Value = serde_json::from_slice(&first.bytes().await.unwrap()).unwrap();
    assert_eq!(first["manifests"][0]["artifactType"], "application/x-one");
    assert_eq!(first["manifests"][0]["annotations"]["a"], "b");

    let filtered = get(
        &registry,
        &format!("{list}?artifactType=application/x-two%2Bjson"),
    )
    .await;
    assert_eq!(header(&filtered, "oci-filters-applied"), "artifactType");
    assert!(filtered.headers().get("link").is_none());
    let filtered: Value = serde_json::from_slice(&filtered.bytes().await.unwrap()).unwrap();
    assert_eq!(filtered["manifests"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn registry_without_the_referrers_api_shows_it() {
    let registry = Registry::start(Options::new().referrers(Referrers::TagSchema));
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let answer = get(&registry, &format!("referrers/{}", image.digest)).await;
    assert_eq!(answer.status(), 404);
    assert!(header(&answer, "content-type").starts_with("text/plain"));
    let manifest = referrer_to(&registry, &image.digest, "application/x-one");
    let put = ask(&registry, Method::PUT, "manifests/x", MANIFEST, &manifest).await;
    assert!(put.headers().get("oci-subject").is_none());
}

#[tokio::test]
async fn immutable_tags_take_the_same_content_only() {
    let registry = Registry::start(Options::new().immutable_tags(true));
    let one = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let two = registry.push_image_seeded(NAME, "linux/amd64", Kind::Oci, 2);
    let bytes = |digest: &str| registry.manifest(NAME, digest).unwrap().1;
    for _ in 0..2 {
        let put = ask(
            &registry,
            Method::PUT,
            "manifests/v1",
            MANIFEST,
            &bytes(&one.digest),
        )
        .await;
        assert_eq!(put.status(), 201);
    }
    let put = ask(
        &registry,
        Method::PUT,
        "manifests/v1",
        MANIFEST,
        &bytes(&two.digest),
    )
    .await;
    assert_eq!(code(put).await, (400, "TAG_INVALID".into()));
    assert_eq!(registry.tags(NAME)["v1"], one.digest);
}

#[tokio::test]
async fn lag_hides_what_is_new_for_n_reads() {
    let registry = Registry::start(Options::new().lag(2));
    let one = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let path = format!("manifests/{}", one.digest);
    for status in [404, 404, 200, 200] {
        assert_eq!(get(&registry, &path).await.status().as_u16(), status);
    }
    registry.tag(NAME, "v1", &one.digest);
    for status in [404, 404, 200] {
        assert_eq!(
            get(&registry, "manifests/v1").await.status().as_u16(),
            status
        );
    }
    // A tag that moved shows the old content first.
    let two = registry.push_image_seeded(NAME, "linux/amd64", Kind::Oci, 2);
    registry.tag(NAME, "v1", &two.digest);
    for digest in [&one.digest, &one.digest, &two.digest] {
        let answer = get(&registry, "manifests/v1").await;
        assert_eq!(header(&answer, "docker-content-digest"), digest);
    }
    // What is not new is not hidden again, and lag can be ended.
    registry.tag(NAME, "v1", &two.digest);
    assert_eq!(get(&registry, "manifests/v1").await.status(), 200);
    registry.set_lag(0);
    registry.tag(NAME, "v2", &two.digest);
    assert_eq!(get(&registry, "manifests/v2").await.status(), 200);
}

#[tokio::test]
async fn basic_auth_asks_each_time() {
    let registry = Registry::start(Options::new().basic("octocat", "hunter2"));
    let refused = get(&registry, "/v2/").await;
    assert_eq!(
        header(&refused, "www-authenticate"),
        "Basic realm=\"sandbox\""
    );
    assert_eq!(code(refused).await, (401, "UNAUTHORIZED".into()));
    let url = format!("http://{}/v2/", registry.address());
    let send = |password| {
        Client::new()
            .get(&url)
            .basic_auth("octocat", Some(password))
            .send()
    };
    assert_eq!(send("hunter2").await.unwrap().status(), 200);
    assert_eq!(send("hunter3").await.unwrap().status(), 401);
    let schemes: Vec<_> = registry
        .requests()
        .iter()
        .map(|r| r.authorization)
        .collect();
    assert_eq!(
        schemes,
        [
            Authorization::None,
            Authorization::Basic,
            Authorization::Basic
        ]
    );
}

async fn token(
    registry: &Registry,
    scope: &str,
    credentials: Option<(&str, &str)>,
) -> Option<String> {
    let url = format!(
        "http://{}/token?service=x&scope={scope}",
        registry.address()
    );
    let mut request = Client::new().get(url);
    if let Some((user, password)) = credentials {
        request = request.basic_auth(user, Some(password));
    }
    let answer = request.send().await.unwrap();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    body["token"].as_str().map(str::to_owned)
}

async fn with_token(registry: &Registry, method: Method, path: &str, token: &str) -> Response {
    let url = format!("http://{}/v2/{NAME}/{path}", registry.address());
    let request = Client::new().request(method, url).bearer_auth(token);
    request.send().await.unwrap()
}

#[tokio::test]
async fn bearer_tokens_open_what_their_scope_says() {
    let registry = Registry::start(Options::new().bearer("octocat", "hunter2"));
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let path = format!("manifests/{}", image.digest);
    let challenge = get(&registry, &path).await;
    let address = registry.address();
    assert_eq!(
        header(&challenge, "www-authenticate"),
        format!(
            "Bearer realm=\"http://{address}/token\",service=\"{address}\",scope=\"repository:{NAME}:pull\""
        )
    );
    let known = Some(("octocat", "hunter2"));
    let scope = format!("repository:{NAME}:pull");
    assert!(token(&registry, &scope, None).await.is_none());
    assert!(
        token(&registry, &scope, Some(("octocat", "no")))
            .await
            .is_none()
    );
    let pull = token(&registry, &scope, known).await.unwrap();
    assert_eq!(registry.token_requests(), 3);
    assert_eq!(
        with_token(&registry, Method::GET, &path, &pull)
            .await
            .status(),
        200
    );
    let push = with_token(&registry, Method::POST, "blobs/uploads/", &pull).await;
    assert!(header(&push, "www-authenticate").contains("insufficient_scope"));
    let other = token(&registry, "repository:octo-org/other:pull", known)
        .await
        .unwrap();
    assert_eq!(
        with_token(&registry, Method::GET, &path, &other)
            .await
            .status(),
        401
    );
    let push = token(&registry, &format!("repository:{NAME}:pull,push"), known)
        .await
        .unwrap();
    let begun = with_token(&registry, Method::POST, "blobs/uploads/", &push).await;
    assert_eq!(begun.status(), 202);

    registry.revoke_tokens();
    let stale = with_token(&registry, Method::GET, &path, &pull).await;
    assert!(header(&stale, "www-authenticate").contains("invalid_token"));
}

#[tokio::test]
async fn bearer_tokens_end() {
    let options = Options::new()
        .bearer("octocat", "hunter2")
        .anonymous_pull(true);
    let registry = Registry::start(options.token_lifetime(Duration::ZERO));
    let scope = format!("repository:{NAME}:pull,push");
    let pull = token(&registry, &scope, None).await.unwrap();
    assert_eq!(
        with_token(&registry, Method::GET, "tags/list", &pull)
            .await
            .status(),
        401
    );

    let options = Options::new()
        .bearer("octocat", "hunter2")
        .anonymous_pull(true);
    let registry = Registry::start(options);
    registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let pull = token(&registry, &scope, None).await.unwrap();
    assert_eq!(
        with_token(&registry, Method::GET, "tags/list", &pull)
            .await
            .status(),
        200
    );
    let push = with_token(&registry, Method::POST, "blobs/uploads/", &pull).await;
    assert_eq!(push.status(), 401);
}

#[tokio::test]
async fn identity_token_is_traded_by_post() {
    let registry = Registry::start(Options::new().bearer("octocat", "hunter2"));
    registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let url = format!("http://{}/token", registry.address());
    let send = |secret: &str| {
        let form = format!(
            "grant_type=refresh_token&refresh_token={secret}&scope=repository%3A{}%3Apull",
            NAME.replace('/', "%2F")
        );
        let request = Client::new().post(&url).body(form);
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .send()
    };
    assert_eq!(send("wrong").await.unwrap().status(), 401);
    let body = send("hunter2").await.unwrap().bytes().await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let pull = body["access_token"].as_str().unwrap();
    assert_eq!(
        with_token(&registry, Method::GET, "tags/list", pull)
            .await
            .status(),
        200
    );
}
