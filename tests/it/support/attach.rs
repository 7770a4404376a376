//! Bundles made and attached as other tools do.

use serde_json::{Value, json};
use sigstore_sign::oidc::IdentityToken;
use sigstore_sign::{SigningContext, SigningServices};

use super::{MANIFEST, REPOSITORY, World, descriptor};

pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The predicate type of a signature by cosign.
pub(crate) const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// The path of the verification material in a bundle.
pub(crate) const MATERIAL: &str = "/verificationMaterial";
/// The path of the log entry in a bundle.
pub(crate) const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

/// Makes a bundle of a statement of type `predicate` about `digest` with the published client, signed by the current workflow.
pub(crate) fn statement_bundle(world: &World, digest: &str, predicate: &str) -> Vec<u8> {
    let hex = digest.strip_prefix("sha256:").unwrap();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "", "digest": {"sha256": hex}}],
        "predicateType": predicate,
        "predicate": {},
    });
    let url = world.sigstore().plain_url();
    let token = IdentityToken::from_jwt(&world.sigstore().identity_token()).unwrap();
    let signer = SigningContext::new(SigningServices::new(url.clone(), url)).signer(token);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bundle = runtime.block_on(signer.sign_raw_statement(statement.to_string().as_bytes()));
    bundle.unwrap().to_json().unwrap().into_bytes()
}

/// Attaches a bundle as a referrer of `subject`, which the API then lists. Returns the digest of its manifest.
pub(crate) fn attach(world: &World, subject: &str, bundle: &[u8]) -> String {
    attach_with(world, subject, bundle, "")
}

/// Attaches a bundle whose manifest also contains `remark`, which makes the manifest longer.
pub(crate) fn attach_with(world: &World, subject: &str, bundle: &[u8], remark: &str) -> String {
    let registry = world.registry();
    let (media_type, content) = registry.manifest(REPOSITORY, subject).unwrap();
    let config = registry.push_blob(REPOSITORY, b"{}");
    let layer = registry.push_blob(REPOSITORY, bundle);
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": BUNDLE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": BUNDLE, "digest": layer, "size": bundle.len()}],
        "subject": {"mediaType": media_type, "digest": subject, "size": content.len()},
    });
    if !remark.is_empty() {
        // It is no annotation, since lists of referrers would repeat that.
        manifest["remark"] = json!(remark);
    }
    registry.push_raw(REPOSITORY, None, MANIFEST, manifest.to_string().as_bytes())
}

/// Returns the bundle of the first signature listed for `subject`.
pub(crate) fn bundle_of(world: &World, subject: &str) -> Vec<u8> {
    let listed = world.listed(subject);
    let manifest = world.manifest(listed.first().expect("it is signed"));
    let Value::String(layer) = &manifest["layers"][0]["digest"] else {
        panic!("a signature has a layer: {manifest}");
    };
    world.registry().blob(REPOSITORY, layer).unwrap()
}

/// Returns a valid manifest for a bundle of `subject`, for tests to corrupt.
pub(crate) fn bundle_manifest(world: &World, subject: &str, bundle: &[u8]) -> Value {
    let registry = world.registry();
    let config = registry.push_blob(REPOSITORY, b"{}");
    let layer = registry.push_blob(REPOSITORY, bundle);
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": BUNDLE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": BUNDLE, "digest": layer, "size": bundle.len()}],
        "subject": descriptor(world, subject),
    })
}

/// Pushes `manifest`. Returns its entry in a list of referrers.
pub(crate) fn store(world: &World, manifest: &Value) -> Value {
    let bytes = manifest.to_string();
    let registry = world.registry();
    let digest = registry.push_raw(REPOSITORY, None, MANIFEST, bytes.as_bytes());
    let mut entry = json!({"mediaType": MANIFEST, "artifactType": BUNDLE, "digest": digest, "size": bytes.len()});
    if manifest["annotations"].is_object() {
        entry["annotations"] = manifest["annotations"].clone();
    }
    entry
}

/// Replaces everything attached to `digest` by `bundle`.
pub(crate) fn replace(world: &World, digest: &str, bundle: &Value) {
    for listed in world.listed(digest) {
        world.registry().delete_manifest(REPOSITORY, &listed);
    }
    attach(world, digest, bundle.to_string().as_bytes());
}
