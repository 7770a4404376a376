//! A registry with an image of one layer, and one to copy it to.

use sandbox::{Options, Registry, Request};
use serde_json::json;

use super::{Action, REPOSITORY};

const TARGET: &str = "prod/app";
const PASSWORD: &str = "hunter2-and-more";

/// A registry with an image of one layer, and one without.
pub(crate) struct Passage {
    pub(crate) source: Registry,
    pub(crate) target: Registry,
    image: String,
    pub(crate) layer: String,
}

impl Passage {
    pub(crate) fn new(options: Options, size: usize) -> Self {
        Self::between(Options::new(), options, size)
    }

    /// Creates two registries of these kinds, with a layer of this size in the first.
    pub(crate) fn between(source: Options, target: Options, size: usize) -> Self {
        let source = Registry::start(source);
        // No part is like another.
        let bytes = (0_u8..251).cycle().take(size);
        let layer = source.push_blob(REPOSITORY, &bytes.collect::<Vec<u8>>());
        // The config is so long that it is looked for at the destination, which has it: the layer is the only upload.
        let comment = "long ".repeat(20_000);
        let config = json!({"architecture": "amd64", "os": "linux", "comment": comment});
        let config = config.to_string();
        let config_digest = source.push_blob(REPOSITORY, config.as_bytes());
        let target = Registry::start(target);
        target.push_blob(TARGET, config.as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let image = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size}],
        });
        let bytes = image.to_string();
        let image = source.push_raw(REPOSITORY, Some("v1"), media_type, bytes.as_bytes());
        Self {
            source,
            target,
            image,
            layer,
        }
    }

    pub(crate) fn publish(&self) -> Action {
        let login =
            json!([{"registry": self.target.address(), "username": "me", "password": PASSWORD}]);
        Action::new("publish")
            .input(
                "source",
                format!("{}:v1", self.source.repository(REPOSITORY)),
            )
            .input("tags", format!("{}:v1", self.target.repository(TARGET)))
            .input("registry-auths", login.to_string())
    }

    /// Asserts that the image is complete at the destination, and that no upload session is open.
    pub(crate) fn has_arrived(&self) {
        assert!(self.is_there(), "it is not what was sent");
        assert_eq!(self.target.open_uploads(), 0);
    }

    /// Reports whether the image is complete at the destination.
    pub(crate) fn is_there(&self) -> bool {
        let sent = self.source.blob(REPOSITORY, &self.layer);
        self.target.tags(TARGET).get("v1") == Some(&self.image)
            && sent == self.target.blob(TARGET, &self.layer)
    }

    /// Counts the reads of the layer.
    pub(crate) fn reads(&self) -> usize {
        self.read_statuses().len()
    }

    /// Returns the status of each read of the layer: 206 if a part of it was requested.
    pub(crate) fn read_statuses(&self) -> Vec<u16> {
        let requests = self.source.requests();
        let is_read =
            |request: &&Request| request.method == "GET" && request.path.ends_with(&self.layer);
        let reads = requests.iter().filter(is_read);
        reads.map(|read| read.status.unwrap_or_default()).collect()
    }

    /// Returns the number of bytes in the bodies of upload requests with this method.
    pub(crate) fn bytes_of(&self, method: &str) -> usize {
        let requests = self.target.requests();
        let uploads = requests
            .iter()
            .filter(|request| request.method == method && request.path.contains("/blobs/uploads/"));
        uploads.map(|upload| upload.body_length).sum()
    }

    /// Returns the requests of large uploads, with their lengths and responses.
    pub(crate) fn uploads(&self) -> Vec<String> {
        let mut requests = self.target.requests();
        requests.retain(|request| {
            let is_upload = request.path.contains("/blobs/uploads/");
            is_upload && !request.path.contains("uploads/?digest=")
        });
        let text = |request: &Request| {
            let (method, length) = (&request.method, request.body_length);
            format!("{method} {length} {}", request.status.unwrap_or_default())
        };
        requests.iter().map(text).collect()
    }
}
