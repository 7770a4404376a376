//! Bundles made and attached as other tools do.

use serde_json::{Value, json};
use sigstore_sign::oidc::IdentityToken;
use sigstore_sign::{SigningContext, SigningServices};

use super::{REPOSITORY, World};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

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
