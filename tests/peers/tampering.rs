//! Altered, exchanged or unsigned content is refused with exit code 3, even if most of it is genuine.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::interoperability::{digests, two_children};
use super::support::{
    Action, Flavour, Log, Registry, Tool, Workflow, on_each_registry, push_child, push_index,
};

on_each_registry!(
    index_replaced_under_the_tag_is_refused,
    altered_bundle_is_refused,
    bundle_of_another_image_is_refused,
    attestation_alone_is_refused,
    other_identity_and_issuer_are_refused,
    unsigned_child_is_refused,
);

fn index_replaced_under_the_tag_is_refused(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let seal = Action::seal(&repository, &digests(&children), &["v1"]);
    seal.succeed();
    let intruder = push_child(&repository, "riscv64", Flavour::Oci);
    let replaced = push_index(&repository, &[&children[0], &intruder], "v1");
    let verify = Action::new("verify", &format!("{repository}:v1")).end_with(3);
    assert!(verify.log.contains(&replaced), "{}", verify.log);
    let conflict = seal.end_with(3);
    assert!(conflict.log.contains(&intruder.digest), "{}", conflict.log);
}

/// Tests with a genuine bundle of this image as the only one, with one thing changed.
fn altered_bundle_is_refused(registry: Registry) {
    let signed = sealed(&registry.fresh());
    for (what, pointer) in [
        ("signature", "/dsseEnvelope/signatures/0/sig"),
        ("payload", "/dsseEnvelope/payload"),
        ("certificate", "/verificationMaterial/certificate/rawBytes"),
    ] {
        let (repository, index) = same_image_elsewhere(registry, &signed);
        let altered = alter(&signed.bundle, pointer);
        attach(&repository, &index, &altered);
        let refused = Action::new("verify", &format!("{repository}@{index}")).end_with(3);
        assert_ne!(
            refused.outputs.get("verified").map(String::as_str),
            Some("true"),
            "{what}"
        );
    }
    // The unchanged bundle is accepted in the same way, so the refusals above are due to the change.
    let (repository, index) = same_image_elsewhere(registry, &signed);
    attach(&repository, &index, signed.bundle.as_bytes());
    Action::new("verify", &format!("{repository}@{index}")).succeed();
}

/// The reader of bundles here is as strict as cosign's: what cosign cannot read is no signature, and what it reads in another
/// spelling is one.
#[test]
fn bundle_is_readable_where_it_is_to_cosign() {
    let registry = Registry::Distribution;
    let signed = sealed(&registry.fresh());
    for (what, bundle, is_readable) in spellings(&signed.bundle) {
        let (repository, index) = same_image_elsewhere(registry, &signed);
        attach(&repository, &index, bundle.as_bytes());
        let image = format!("{repository}@{index}");
        Action::new("verify", &image).end_with(if is_readable { 0 } else { 3 });
        let cosign = Tool::cosign_verify(&Workflow::default());
        let cosign = cosign.arg(&image).output();
        assert_eq!(cosign.status.success(), is_readable, "{what}: {cosign:?}");
    }
}

/// Returns other spellings of a bundle, and whether cosign reads them.
fn spellings(bundle: &str) -> Vec<(&'static str, String, bool)> {
    let value: Value = serde_json::from_str(bundle).unwrap();
    let with = |place: &str, name: &str, value: Value| {
        let mut changed: Value = serde_json::from_str(bundle).unwrap();
        changed.pointer_mut(place).unwrap()[name] = value;
        changed.to_string()
    };
    let (material, entry) = (
        "/verificationMaterial",
        "/verificationMaterial/tlogEntries/0",
    );
    let index: u64 = value["verificationMaterial"]["tlogEntries"][0]["logIndex"]
        .as_str()
        .map_or(0, |index| index.parse().unwrap());
    let media_type = value["mediaType"].to_string();
    let text = value.to_string();
    vec![
        (
            "white space",
            serde_json::to_string_pretty(&value).unwrap(),
            true,
        ),
        (
            "names of the definition",
            text.replace("tlogEntries", "tlog_entries"),
            true,
        ),
        (
            "a number, not a text",
            with(entry, "logIndex", index.into()),
            true,
        ),
        (
            "no other key",
            with(material, "publicKey", Value::Null),
            true,
        ),
        ("an unknown field", with("", "note", "x".into()), false),
        (
            "an unknown field of nothing",
            with(entry, "note", Value::Null),
            false,
        ),
        (
            "a name twice",
            text.replacen('{', &format!("{{\"mediaType\":{media_type},"), 1),
            false,
        ),
        (
            "a list, not a message",
            with(material, "timestampVerificationData", json!([])),
            false,
        ),
        (
            "a number with a sign",
            with(entry, "logIndex", format!("+{index}").into()),
            false,
        ),
        (
            "two contents",
            with("", "messageSignature", json!({})),
            false,
        ),
    ]
}

fn bundle_of_another_image_is_refused(registry: Registry) {
    let other = sealed(&registry.fresh());
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let index = push_index(&repository, &[&children[0], &children[1]], "v1");
    assert_ne!(index, other.index);
    attach(&repository, &index, other.bundle.as_bytes());
    Action::new("verify", &format!("{repository}@{index}")).end_with(3);
    // It does not count as an existing signature either.
    let sealed = Action::seal(&repository, &digests(&children), &["v1"]).succeed();
    assert_eq!(sealed.output("sign-skipped"), "false", "{}", sealed.log);
    Action::new("verify", &format!("{repository}@{index}")).succeed();
}

/// Tests that an attestation, which makes a statement about an image, is not the signature that a gate requires.
fn attestation_alone_is_refused(registry: Registry) {
    let repository = registry.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let index = push_index(&repository, &[&children[0], &children[1]], "v1");
    Tool::cosign_signing("attest", Log::Rekor2, &Workflow::default())
        .args(["--type", "custom", "--predicate", "-"])
        .arg(format!("{repository}@{index}"))
        .stdin(b"{\"tests\": \"passed\"}")
        .succeed();
    assert_eq!(Tool::bundles(&repository, &index).len(), 1);
    let verify = Action::new("verify", &format!("{repository}@{index}"));
    verify.end_with(3);
    let sealed = Action::seal(&repository, &digests(&children), &["v1"]).succeed();
    assert_eq!(sealed.output("sign-skipped"), "false", "{}", sealed.log);
    verify.succeed();
}

fn other_identity_and_issuer_are_refused(registry: Registry) {
    let signed = sealed(&registry.fresh());
    let verify = Action::new("verify", &format!("{}@{}", signed.repository, signed.index));
    verify.succeed();
    let other = Workflow::named("nightly");
    let refused = verify.clone().by(&other).end_with(3);
    // The actual signer is reported.
    assert!(
        refused.log.contains(&Workflow::default().identity()),
        "{}",
        refused.log
    );
    verify
        .clone()
        .input(
            "certificate-oidc-issuer",
            "https://token.actions.githubusercontent.com",
        )
        .end_with(3);
    verify
        .clone()
        .input("certificate-github-workflow-repository", "octo-org/other")
        .end_with(3);
    verify
        .input(
            "certificate-github-workflow-repository",
            "octo-org/octo-app",
        )
        .input("certificate-github-workflow-ref", "refs/heads/main")
        .succeed();
}

fn unsigned_child_is_refused(registry: Registry) {
    let signed = sealed(&registry.fresh());
    let verify = Action::new("verify", &format!("{}@{}", signed.repository, signed.index));
    verify.succeed();
    verify.input("recursive", "true").end_with(3);
}

/// A sealed index and its only bundle.
struct Sealed {
    repository: String,
    index: String,
    bundle: String,
}

fn sealed(repository: &str) -> Sealed {
    let children = two_children(repository, Flavour::Oci);
    let outcome = Action::seal(repository, &digests(&children), &["v1"]).succeed();
    let index = outcome.output("digest").to_owned();
    let mut bundles = Tool::bundles(repository, &index);
    let bundle = bundles.pop().unwrap();
    assert!(
        bundles.is_empty(),
        "one signature, not {}",
        bundles.len() + 1
    );
    Sealed {
        repository: repository.to_owned(),
        index,
        bundle,
    }
}

/// Copies the image without its signature to an unused repository.
fn same_image_elsewhere(registry: Registry, signed: &Sealed) -> (String, String) {
    let repository = registry.fresh();
    let source = format!("{}@{}", signed.repository, signed.index);
    Tool::crane()
        .args(["copy", &source, &format!("{repository}:v1")])
        .succeed();
    (repository, signed.index.clone())
}

/// Stores `bundle` as a referrer of `digest`, like cosign.
pub(super) fn attach(repository: &str, digest: &str, bundle: &[u8]) {
    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    Tool::regctl(repository)
        .args(["artifact", "put", "--artifact-type", BUNDLE])
        .args(["--file-media-type", BUNDLE])
        .args(["--annotation", "dev.sigstore.bundle.content=dsse-envelope"])
        .args([
            "--annotation",
            "dev.sigstore.bundle.predicateType=https://sigstore.dev/cosign/sign/v1",
        ])
        .args(["--subject", &format!("{repository}@{digest}")])
        .stdin(bundle)
        .succeed();
}

/// Flips one bit in the middle of the base64 text at `pointer`.
fn alter(bundle: &str, pointer: &str) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_str(bundle).unwrap();
    let place = bundle
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("no {pointer}"));
    let mut bytes = STANDARD.decode(place.as_str().unwrap()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *place = Value::from(STANDARD.encode(bytes));
    bundle.to_string().into_bytes()
}
