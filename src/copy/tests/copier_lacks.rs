//! Tests the copy of missing content from sources that lack it too, or do not answer.

use sandbox::{Fault, Kind};

use super::copier::{assert_same, copy};
use super::*;
use crate::copy::CopyError;
use crate::copy::copier::DestinationCheck;
use crate::outcome::CopiedContent;

#[tokio::test]
async fn manifest_is_not_stored_without_what_the_source_has_lost() {
    let (source, destination) = (sandbox(), sandbox());
    let image = source.push_image("o/from", "linux/amd64", Kind::Oci);
    let index = push_index(&source, "o/from", &[&image.digest]);
    source.delete_blob("o/from", &image.layer);
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    let (ended, _) = copy(&from, &to, &index, DestinationCheck::RootOnly).await;
    assert_eq!(
        ended.unwrap_err().to_string(),
        format!(
            "`{}`, part of `{}`, was not found in `{}`",
            image.layer, image.digest, from[0]
        )
    );
    assert_eq!(destination.manifests("o/to"), [""; 0]);
}

#[tokio::test]
async fn child_that_is_nowhere_is_named() {
    let (source, destination) = (sandbox(), sandbox());
    let not_at_source = Digest::of(b"lost");
    let index = push_index(&source, "o/from", &[&not_at_source]);
    let to = repository(&destination, "o/to");
    let from = ["o/from", "o/other"].map(|name| repository(&source, name));
    let (ended, _) = copy(&from, &to, &index, DestinationCheck::Deep).await;
    let [one, other] = &from;
    assert_eq!(
        ended.unwrap_err().to_string(),
        format!("`{not_at_source}`, part of `{index}`, was not found in any of `{one}`, `{other}`")
    );
    assert_eq!(destination.manifests("o/to"), [""; 0]);
}

#[tokio::test]
async fn next_place_is_asked_for_what_the_first_one_lacks() {
    let (first, second, destination) = (sandbox(), sandbox(), sandbox());
    let name = "o/same";
    let image = first.push_image(name, "linux/amd64", Kind::Oci);
    second.push_image(name, "linux/amd64", Kind::Oci);
    let index = push_index(&second, name, &[&image.digest]);
    first.delete_blob(name, &image.layer);
    // A failure at one source is no reason to give up either.
    let path = format!("*/blobs/{}", image.config);
    first.fault(Fault::on("GET", &path).times(u32::MAX).status(500));
    let to = repository(&destination, name);
    let from = [repository(&first, name), repository(&second, name)];
    let (ended, _) = copy(&from, &to, &index, DestinationCheck::RootOnly).await;
    ended.unwrap();
    assert_same((&second, name), (&destination, name), &index);
}

#[tokio::test]
async fn place_that_does_not_answer_is_not_said_to_lack_anything() {
    let (source, destination) = (sandbox(), sandbox());
    let image = source.push_image("o/from", "linux/amd64", Kind::Oci);
    for what in ["manifests", "blobs"] {
        source.clear_faults();
        source.fault(
            Fault::on("GET", &format!("*/{what}/*"))
                .times(u32::MAX)
                .status(403),
        );
        let to = repository(&destination, "o/to");
        let from = [repository(&source, "o/from")];
        let (ended, _) = copy(&from, &to, &digest(&image.digest), DestinationCheck::Deep).await;
        let error = ended.unwrap_err();
        assert!(
            matches!(&error, CopyError::Registry(error) if error.status() == Some(403)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn destination_that_does_not_answer_is_not_written_to() {
    for what in ["manifests", "blobs"] {
        let (source, destination) = (sandbox(), sandbox());
        let image = source.push_image("o/from", "linux/amd64", Kind::Oci);
        let index = push_index(&source, "o/from", &[&image.digest]);
        let (_, bytes) = source.manifest("o/from", &index.to_string()).unwrap();
        destination.push_raw("o/to", None, OCI_INDEX, &bytes);
        let path = format!("*/{what}/sha256:*");
        destination.fault(Fault::on("*", &path).times(u32::MAX).status(403));
        let to = repository(&destination, "o/to");
        let from = [repository(&source, "o/from")];
        let (ended, _) = copy(&from, &to, &index, DestinationCheck::Deep).await;
        ended.unwrap_err();
        let lines = lines(&destination);
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with("HEAD") || line.starts_with("GET")),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn destination_tells_what_it_needs_when_the_source_is_gone() {
    let (source, destination) = (sandbox(), sandbox());
    let image = destination.push_image("o/to", "linux/amd64", Kind::Oci);
    let to = repository(&destination, "o/to");
    let from = [repository(&source, "o/from")];
    let (ended, copied) = copy(&from, &to, &digest(&image.digest), DestinationCheck::Deep).await;
    ended.unwrap();
    assert_eq!(copied, CopiedContent::default());
}
