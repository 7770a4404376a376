//! Shared code of the Sigstore tests: the published clients, one for signing and one for verifying.
#![allow(dead_code, reason = "each test binary uses a part")]

use sandbox::Sigstore;
use serde_json::json;
use sigstore_oidc::IdentityToken;
use sigstore_sign::{SigningContext, SigningServices};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, Sha256Hash};
use sigstore_verify::{VerificationPolicy, VerificationResult, verify};

pub(crate) const DIGEST: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

pub(crate) fn context(sigstore: &Sigstore) -> SigningContext {
    let services = SigningServices::new(sigstore.url(), sigstore.url());
    SigningContext::new(services)
}

pub(crate) async fn sign(sigstore: &Sigstore) -> Result<Bundle, sigstore_sign::Error> {
    sign_with(context(sigstore), sigstore).await
}

pub(crate) async fn sign_with(
    context: SigningContext,
    sigstore: &Sigstore,
) -> Result<Bundle, sigstore_sign::Error> {
    let token = IdentityToken::from_jwt(&sigstore.identity_token()).unwrap();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": DIGEST}, "annotations": {}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    });
    let signer = context.signer(token);
    signer
        .sign_raw_statement(statement.to_string().as_bytes())
        .await
}

pub(crate) fn check(
    sigstore: &Sigstore,
    bundle: &Bundle,
) -> sigstore_verify::Result<VerificationResult> {
    let root = TrustedRoot::from_json(&sigstore.trusted_root()).unwrap();
    let policy = VerificationPolicy::any_identity()
        .require_identity(sigstore.identity())
        .require_issuer(sigstore.issuer());
    verify(
        Sha256Hash::from_hex(DIGEST).unwrap(),
        bundle,
        &policy,
        &root,
    )
}
