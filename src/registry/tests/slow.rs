//! Tests registries that take long to store content.

use super::copies::descriptor;
use super::*;
use crate::http::Timeouts;

/// The time for a response that stores nothing.
const ANSWER: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn content_may_take_longer_to_store_than_an_answer_takes() {
    let server = Server::start(|request| match request.method.as_str() {
        // It accepts no large blob in one request.
        "PUT" if request.body.len() == 200_000 => Reply::new(413),
        "PUT" => Reply::new(201).late(LATE),
        "POST" if request.target.contains("digest=") => Reply::new(201).late(LATE),
        "POST" => Reply::new(202).header("location", "/upload"),
        "PATCH" => Reply::new(202).late(LATE),
        "DELETE" => Reply::new(204),
        _ => index_reply().late(LATE),
    })
    .await;
    let timeouts = Timeouts::short(ANSWER, Duration::from_mins(1));
    let http = Client::of(reqwest::Client::new(), timeouts);
    let bench = Bench::with(1, Credentials::new(), http);
    let (registry, to) = (&bench.registry, repository(&server, "o/r"));
    let folder = tempfile::tempdir().unwrap();
    let (file, large) = (folder.path().join("large"), vec![7; 200_000]);
    std::fs::write(&file, &large).unwrap();
    let (large, tag) = (descriptor(&large), tag("v1"));
    let medium = vec![7; 70_000];
    let (manifest, small, large_put, chunks, read) = tokio::join!(
        registry.put_manifest(&to, &tag, &MediaType::OciIndex, MANIFEST),
        registry.put_blob(&to, b"with the POST"),
        registry.put_blob(&to, &medium),
        registry.upload_blob(&file, &to, &large),
        registry.manifest(&to, &tag),
    );
    manifest.unwrap();
    small.unwrap();
    large_put.unwrap();
    chunks.unwrap();
    let error = read.unwrap_err().kind().to_string();
    assert!(error.contains("it was silent for 1s"), "{error}");
}
