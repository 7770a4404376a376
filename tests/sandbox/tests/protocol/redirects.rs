//! Redirects of reads to a storage, and faults that redirect.

use reqwest::{Client, Method};
use sandbox::{Fault, Kind, ManifestReads, Options, Registry};

use crate::support::{MANIFEST, NAME, ask, get, header, send};

#[tokio::test]
async fn manifests_are_read_at_another_host_without_credentials() {
    let options = Options::new().redirects_manifests(ManifestReads::OtherHost);
    let registry = Registry::start(options);
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let (_, bytes) = registry.manifest(NAME, &image.digest).unwrap();
    registry.tag(NAME, "v1", &image.digest);
    for reference in [image.digest.as_str(), "v1"] {
        for method in [Method::GET, Method::HEAD] {
            let path = format!("manifests/{reference}");
            let redirect = send(&registry, method.clone(), &path, &[], b"").await;
            assert_eq!(redirect.status(), 307);
            assert_eq!(header(&redirect, "docker-content-digest"), image.digest);
            let location = header(&redirect, "location").to_owned();
            assert!(location.starts_with("http://127.0.0.1:"), "{location}");
            assert!(!location.contains(&registry.address()), "{location}");

            let read = Client::new().request(method.clone(), &location);
            let read = read.send().await.unwrap();
            assert_eq!(read.status(), 200);
            assert_eq!(header(&read, "content-type"), MANIFEST);
            assert_eq!(header(&read, "docker-content-digest"), image.digest);
            let body = read.bytes().await.unwrap();
            assert_eq!(body.is_empty(), method == Method::HEAD);
            assert!(body.is_empty() || body == bytes);

            let shown = Client::new().request(method, &location);
            let shown = shown.basic_auth("user", Some("secret"));
            assert_eq!(shown.send().await.unwrap().status(), 400);
        }
    }
    assert_eq!(get(&registry, "manifests/v2").await.status(), 404);
    // Writes are not redirected.
    let put = ask(&registry, Method::PUT, "manifests/v2", MANIFEST, &bytes).await;
    assert_eq!(put.status(), 201);
}

#[tokio::test]
async fn manifests_are_read_at_another_path_with_or_without_credentials() {
    let options = Options::new().basic("user", "secret");
    let options = options.redirects_manifests(ManifestReads::SameHost);
    let registry = Registry::start(options);
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let url = format!(
        "http://{}/v2/{NAME}/manifests/{}",
        registry.address(),
        image.digest
    );
    let read = Client::new().get(&url).basic_auth("user", Some("secret"));
    let read = read.send().await.unwrap();
    assert_eq!(read.status(), 200);
    assert!(read.url().path().starts_with("/storage/"), "{}", read.url());
    let again = Client::new().get(read.url().clone()).send().await.unwrap();
    assert_eq!(again.status(), 200);
    let anonymous = Client::new().get(&url).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
}

#[tokio::test]
async fn fault_redirects_with_any_status_and_location() {
    let registry = Registry::start(Options::new());
    let image = registry.push_image(NAME, "linux/amd64", Kind::Oci);
    let (_, bytes) = registry.manifest(NAME, &image.digest).unwrap();
    for (status, location) in [(303, "https://example.test/login"), (308, "/v2/other")] {
        registry.fault(Fault::on("PUT", "*/manifests/v1").redirect(status, location));
        let put = ask(&registry, Method::PUT, "manifests/v1", MANIFEST, &bytes).await;
        assert_eq!(put.status().as_u16(), status);
        assert_eq!(header(&put, "location"), location);
        assert!(registry.tags(NAME).is_empty());
    }
}
