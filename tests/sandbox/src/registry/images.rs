//! Small real images: a layer with one file, a config, a manifest. Their bytes are always equal.

use super::digest::Algorithm::{self, Sha256};
use super::routes::Routes;
use crate::encoding::sha256_text;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write as _;

/// The vendor of an image's media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OCI.
    Oci,
    /// Docker, schema 2.
    Docker,
}

impl Kind {
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// A pushed platform image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of the manifest.
    pub digest: String,
    /// The digest of the config blob.
    pub config: String,
    /// The digest of the only layer.
    pub layer: String,
    /// The media type of the manifest.
    pub media_type: String,
    /// The size of the manifest in bytes.
    pub size: usize,
    /// The platform as given: `linux/arm64`.
    pub platform: String,
}

/// An index of one platform image and its attestation manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexWithProvenance {
    /// The digest of the index, which the build reports.
    pub digest: String,
    /// The platform image in it.
    pub image: Image,
    /// The digest of the attestation manifest in it.
    pub attestation: String,
}

pub(crate) fn push_image(
    service: &Routes,
    algorithm: Algorithm,
    repository: &str,
    platform: &str,
    kind: Kind,
    seed: u64,
) -> Image {
    let tar = tar_of_one(
        "hello",
        &format!("{repository} on {platform}, build {seed}\n"),
    );
    let layer = gzip(&tar);
    let mut config = platform_fields(platform);
    config["config"] = json!({"Entrypoint": ["/hello"]});
    config["rootfs"] = json!({"type": "layers", "diff_ids": [sha256_text(&tar)]});
    config["history"] = json!([{"created_by": "COPY hello /hello"}]);
    let config = config.to_string();

    let mut store = service.store();
    let layer_digest = store.put_blob(repository, algorithm, &layer);
    let config_digest = store.put_blob(repository, algorithm, config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind.manifest(),
        "config": {"mediaType": kind.config(), "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": kind.layer(), "digest": layer_digest, "size": layer.len()}],
    })
    .to_string();
    let digest = store.put_manifest(repository, algorithm, kind.manifest(), manifest.as_bytes());
    Image {
        digest,
        config: config_digest,
        layer: layer_digest,
        media_type: kind.manifest().to_owned(),
        size: manifest.len(),
        platform: platform.to_owned(),
    }
}

pub(crate) fn push_index_with_provenance(
    service: &Routes,
    repository: &str,
    platform: &str,
) -> IndexWithProvenance {
    let image = push_image(service, Sha256, repository, platform, Kind::Oci, 0);
    let hex = image.digest.trim_start_matches("sha256:");
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": format!("pkg:docker/{repository}"), "digest": {"sha256": hex}}],
        "predicate": {"builder": {"id": ""}, "buildType": "https://mobyproject.org/buildkit@v1"},
    })
    .to_string();
    let mut config = json!({"architecture": "unknown", "os": "unknown", "config": {}});
    config["rootfs"] = json!({"type": "layers", "diff_ids": [sha256_text(statement.as_bytes())]});
    let config = config.to_string();

    let mut store = service.store();
    let layer = store.put_blob(repository, Sha256, statement.as_bytes());
    let config_digest = store.put_blob(repository, Sha256, config.as_bytes());
    let attestation = json!({
        "schemaVersion": 2,
        "mediaType": Kind::Oci.manifest(),
        "config": {"mediaType": Kind::Oci.config(), "digest": config_digest, "size": config.len()},
        "layers": [{
            "mediaType": "application/vnd.in-toto+json",
            "digest": layer,
            "size": statement.len(),
            "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
        }],
    })
    .to_string();
    let manifest_type = Kind::Oci.manifest();
    let attestation_digest =
        store.put_manifest(repository, Sha256, manifest_type, attestation.as_bytes());
    let index_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({
        "schemaVersion": 2,
        "mediaType": index_type,
        "manifests": [{
            "mediaType": manifest_type,
            "digest": image.digest,
            "size": image.size,
            "platform": platform_fields(platform),
        }, {
            "mediaType": manifest_type,
            "digest": attestation_digest,
            "size": attestation.len(),
            "annotations": {
                "vnd.docker.reference.digest": image.digest,
                "vnd.docker.reference.type": "attestation-manifest",
            },
            "platform": {"architecture": "unknown", "os": "unknown"},
        }],
    });
    // Pretty-printed, like BuildKit's.
    let index = format!("{index:#}");
    IndexWithProvenance {
        digest: store.put_manifest(repository, Sha256, index_type, index.as_bytes()),
        image,
        attestation: attestation_digest,
    }
}

/// Returns `os/architecture[/variant]` as the fields of a config or descriptor.
fn platform_fields(platform: &str) -> Value {
    let mut parts = platform.split('/');
    let os = parts.next().unwrap_or_default();
    let architecture = parts.next().unwrap_or_default();
    let mut fields = json!({"architecture": architecture, "os": os});
    if let Some(variant) = parts.next() {
        fields["variant"] = json!(variant);
    }
    fields
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("memory takes what is written to it")
}

/// Makes a ustar archive with one file, owned by root, dated to the epoch.
fn tar_of_one(name: &str, content: &str) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut field = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    field(0, name);
    field(100, "0000755\0");
    field(108, "0000000\0");
    field(116, "0000000\0");
    field(124, &format!("{:011o}\0", content.len()));
    field(136, "00000000000\0");
    // The checksum is computed with its own field blank.
    field(148, "        ");
    field(156, "0");
    field(257, "ustar\0");
    field(263, "00");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());

    let mut archive = header.to_vec();
    archive.extend_from_slice(content.as_bytes());
    // Padded to a block, then two blocks of zeros.
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
