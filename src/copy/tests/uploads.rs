//! Tests that large blobs in progress are reported, and that abandoned upload sessions are cancelled.

use sandbox::Fault;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::commands::report_progress;
use crate::domain::{Descriptor, Event, MediaType};

#[tokio::test]
async fn what_is_under_way_is_told_and_not_left_open() {
    let (source, target) = (sandbox(), sandbox());
    let large = vec![7; 20_000_000];
    let blob = Descriptor {
        media_type: MediaType::from("application/octet-stream"),
        digest: digest(&source.push_blob("a/b", &large)),
        size: 20_000_000,
        platform: None,
        annotations: std::collections::BTreeMap::new(),
        artifact_type: None,
        urls: Vec::new(),
        data: None,
    };
    source.fault(Fault::on("GET", "*/blobs/*").stalled_body());
    let (tell, mut texts) = unbounded_channel();
    let context = context_with(Events::new(move |event| {
        if let Event::Info(text) = event {
            tell.send(text).unwrap();
        }
    }));
    let (from, to) = (repository(&source, "a/b"), repository(&target, "c/d"));
    let half = async {
        while let Some(text) = texts.recv().await {
            if text == "1 large blob is being copied: 10 of 20 MB" {
                return;
            }
        }
    };
    tokio::select! {
        copied = context.registry.copy_blob(&from, &to, &blob) => panic!("{copied:?}"),
        never = report_progress(&context, Duration::from_millis(5)) => match never {},
        () = half => (),
    }
    assert_eq!(target.open_uploads(), 1);
    context.registry.cancel_uploads().await;
    assert_eq!(target.open_uploads(), 0);
    // A finished upload is not cancelled.
    let copied = context.registry.copy_blob(&from, &to, &blob).await;
    copied.unwrap();
    target.clear_requests();
    context.registry.cancel_uploads().await;
    assert_eq!(lines(&target), [""; 0]);
}
