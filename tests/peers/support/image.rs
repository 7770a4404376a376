//! Images as builders push them: a config, a layer, a manifest; optionally an attestation and an index of both.

use serde_json::{Value, json};

use super::Tool;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// The vendor of an image's media types.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flavour {
    /// OCI.
    Oci,
    /// Docker.
    Docker,
}

/// A manifest that was pushed by digest.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    /// Its digest.
    pub(crate) digest: String,
    media_type: &'static str,
    size: usize,
}

impl Child {
    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "size": self.size, "digest": self.digest})
    }
}

/// Pushes an image for `linux/ARCHITECTURE` by digest. Each repository gets different content.
pub(crate) fn push_child(repository: &str, architecture: &str, flavour: Flavour) -> Child {
    let (manifest_type, config_type, layer_type) = match flavour {
        Flavour::Oci => (
            OCI_MANIFEST,
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar",
        ),
        Flavour::Docker => (
            DOCKER_MANIFEST,
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar",
        ),
    };
    // Two empty blocks end an archive; the text before them makes the image unique.
    let mut layer = format!("{architecture} image of {repository}\n").into_bytes();
    layer.resize(2048, 0);
    let layer_digest = push_blob(repository, &layer);
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {"Entrypoint": ["/app"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    });
    let config = config.to_string().into_bytes();
    let config_digest = push_blob(repository, &config);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": manifest_type,
        "config": {"mediaType": config_type, "size": config.len(), "digest": config_digest},
        "layers": [{"mediaType": layer_type, "size": layer.len(), "digest": layer_digest}],
    });
    push_manifest(repository, manifest_type, &manifest)
}

/// Pushes the content of a build with provenance for one platform: an index of the image and its attestation manifest.
/// Returns the index, the image and the attestation.
pub(crate) fn push_with_provenance(repository: &str, architecture: &str) -> [Child; 3] {
    let image = push_child(repository, architecture, Flavour::Oci);
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": "app", "digest": {"sha256": image.digest.trim_start_matches("sha256:")}}], "predicate": {},
    });
    let statement = statement.to_string().into_bytes();
    let config = json!({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}, "config": {}});
    let config = config.to_string().into_bytes();
    let attestation = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(), "digest": push_blob(repository, &config)},
        "layers": [{
            "mediaType": "application/vnd.in-toto+json", "size": statement.len(), "digest": push_blob(repository, &statement),
            "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"},
        }],
    });
    let attestation = push_manifest(repository, OCI_MANIFEST, &attestation);
    let mut described = image.descriptor();
    described["platform"] = json!({"architecture": architecture, "os": "linux"});
    let mut attesting = attestation.descriptor();
    attesting["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    attesting["annotations"] = json!({
        "vnd.docker.reference.digest": image.digest, "vnd.docker.reference.type": "attestation-manifest",
    });
    let index =
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [described, attesting]});
    let index = push_manifest(repository, OCI_INDEX, &index);
    [index, image, attestation]
}

/// Pushes an index of `children` with crane, and gives it `tag`. It is Docker's if they are. Returns its digest.
pub(crate) fn push_index(repository: &str, children: &[&Child], tag: &str) -> String {
    let mut crane = Tool::crane().args(["index", "append"]);
    if children
        .iter()
        .all(|child| child.media_type == DOCKER_MANIFEST)
    {
        crane = crane.arg("--docker-empty-base");
    }
    for child in children {
        crane = crane.args(["-m", &format!("{repository}@{}", child.digest)]);
    }
    crane.args(["-t", &format!("{repository}:{tag}")]).succeed();
    Tool::crane()
        .args(["digest", &format!("{repository}:{tag}")])
        .succeed()
}

/// Pushes an image with layers of these `sizes` by digest. Their random content cannot be compressed.
pub(crate) fn push_layers(repository: &str, sizes: &[u64]) -> Child {
    let layers: Vec<Value> = sizes
        .iter()
        .map(|size| {
            let put = Tool::regctl(repository).args(["blob", "put", repository]);
            let digest = put.reading(&format!("head -c {size} /dev/urandom")).succeed();
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": size, "digest": digest})
        })
        .collect();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(), "digest": push_blob(repository, &config)},
        "layers": layers,
    });
    push_manifest(repository, OCI_MANIFEST, &manifest)
}

/// Pushes an index of `children`, which may be indexes themselves, by digest.
pub(crate) fn push_nested(repository: &str, children: &[&Child]) -> Child {
    let children: Vec<Value> = children.iter().map(|child| child.descriptor()).collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children});
    push_manifest(repository, OCI_INDEX, &index)
}

fn push_blob(repository: &str, bytes: &[u8]) -> String {
    Tool::regctl(repository)
        .args(["blob", "put", repository])
        .stdin(bytes)
        .succeed()
}

fn push_manifest(repository: &str, media_type: &'static str, manifest: &Value) -> Child {
    let bytes = manifest.to_string().into_bytes();
    let digest = manifest_seal::domain::Digest::of(&bytes).to_string();
    Tool::regctl(repository)
        .args(["manifest", "put", "--content-type", media_type])
        .arg(format!("{repository}@{digest}"))
        .stdin(&bytes)
        .succeed();
    Child {
        digest,
        media_type,
        size: bytes.len(),
    }
}
