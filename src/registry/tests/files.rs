//! Tests uploads of blobs from files.

use std::path::{Path, PathBuf};

use super::super::{ContentError, Operation, RegistryError, RegistryErrorKind};
use super::copies::{contents, descriptor, plain};
use super::*;

fn file(folder: &tempfile::TempDir, content: &[u8]) -> PathBuf {
    let path = folder.path().join("blob");
    std::fs::write(&path, content).unwrap();
    path
}

async fn upload(
    bench: &Bench,
    path: &Path,
    to: &Repository,
    content: &[u8],
) -> Result<(), RegistryError> {
    let blob = descriptor(content);
    bench.registry.upload_blob(path, to, &blob).await
}

#[tokio::test]
async fn file_arrives_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for content in contents() {
        let server = Server::start(|request| plain(request, b"")).await;
        let bench = Bench::nobody(1);
        let (path, to) = (file(&folder, &content), repository(&server, "o/r"));
        upload(&bench, &path, &to, &content).await.unwrap();
        let last = server.seen().pop().unwrap();
        assert!(last.body == content, "the bytes are the same");
    }
}

#[tokio::test]
async fn upload_of_a_file_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    for content in contents() {
        let server = Server::start(|request| match request.number {
            0 | 2 => Reply::new(503),
            _ => plain(request, b""),
        })
        .await;
        let bench = Bench::nobody(4);
        let (path, to) = (file(&folder, &content), repository(&server, "o/r"));
        upload(&bench, &path, &to, &content).await.unwrap();
        assert!(server.seen().pop().unwrap().body == content);
    }
}

#[tokio::test]
async fn file_that_is_not_the_blob_never_arrives_whole() {
    let folder = tempfile::tempdir().unwrap();
    for content in contents() {
        let mut changed = content.clone();
        changed[1] ^= 1;
        let longer = [content.clone(), vec![0]].concat();
        for wrong in [changed, longer, content[1..].to_vec()] {
            let server = Server::start(|request| plain(request, b"")).await;
            let bench = Bench::nobody(2);
            let (path, to) = (file(&folder, &wrong), repository(&server, "o/r"));
            let error = upload(&bench, &path, &to, &content).await.unwrap_err();
            assert_eq!(error.operation(), Operation::ReadBlob);
            assert!(
                matches!(
                    error.kind(),
                    RegistryErrorKind::Content(
                        ContentError::Digest { .. } | ContentError::Size { .. }
                    )
                ),
                "{error:?}"
            );
            let path = path.display();
            assert_eq!(error.to_string(), format!("could not read blob `{path}`"));
            let stored = server
                .seen()
                .into_iter()
                .filter(|seen| seen.method == "PUT");
            assert!(stored.count() <= 1, "it is not tried again");
            let last = server.seen().pop();
            assert!(
                last.is_none_or(|last| last.method == "DELETE"),
                "nothing is left open"
            );
        }
    }
}

#[tokio::test]
async fn file_that_is_not_there_is_said_so() {
    let server = Server::start(|request| plain(request, b"")).await;
    let bench = Bench::nobody(1);
    let to = repository(&server, "o/r");
    let path = PathBuf::from("/there/is/nothing");
    let error = upload(&bench, &path, &to, b"x").await.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            RegistryErrorKind::Content(ContentError::File(_))
        ),
        "{error:?}"
    );
    assert!(server.seen().is_empty());
}
