//! The payload of a legacy signature: the JSON document that names the signed image, byte for byte as cosign 2 writes
//! it.
//!
//! Source: sigstore, `pkg/signature/payload/payload.go`; the format is containers/image's "simple signing".

use serde::Deserialize;

use super::refusal::VerificationError;
use super::verify::shown;
use crate::domain::Digest;

/// The type that marks such a document as a signature of cosign's.
const SIGNATURE_TYPE: &str = "cosign container image signature";
/// The maximum length of a document that signs an image.
const PAYLOAD_MAX_BYTES: usize = 1 << 20;

// A field that is there twice is an error, since two readers could use different ones.
#[derive(Deserialize)]
struct PayloadDocument {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Writes the document that the image with this digest and this name is signed. A digest or a repository's name
/// contains nothing that JSON would escape.
pub(super) fn payload(subject: &Digest, docker_reference: &str) -> Vec<u8> {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"{docker_reference}"}},"image":{{"docker-manifest-digest":"{subject}"}},"type":"{SIGNATURE_TYPE}"}},"optional":null}}"#
    )
    .into_bytes()
}

/// Checks that `payload` states that `subject` is signed. The name in it is not checked, as in cosign: an image that
/// was copied keeps its signature.
pub(super) fn check_payload(payload: &[u8], subject: &Digest) -> Result<(), VerificationError> {
    if payload.len() > PAYLOAD_MAX_BYTES {
        return Err(VerificationError::TooLarge {
            size: payload.len() as u64,
        });
    }
    let document: PayloadDocument =
        serde_json::from_slice(payload).map_err(VerificationError::unreadable_legacy)?;
    let Critical { image, kind } = document.critical;
    if kind != SIGNATURE_TYPE {
        return Err(VerificationError::NotASignature {
            predicate: Some(shown(&kind)),
        });
    }
    let found: Option<Digest> = image.digest.parse().ok();
    if found.as_ref() == Some(subject) {
        Ok(())
    } else {
        Err(VerificationError::OtherSubject {
            wanted: subject.clone(),
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(from: &str, to: &str) -> Result<(), VerificationError> {
        let subject = Digest::of(b"");
        let text = String::from_utf8(payload(&subject, "ghcr.io/o/r")).unwrap();
        assert!(text.contains(from), "{from}");
        check_payload(text.replace(from, to).as_bytes(), &subject)
    }

    #[test]
    fn payload_is_cosigns() {
        let expected = concat!(
            r#"{"critical":{"identity":{"docker-reference":"ghcr.io/o/r"},"image":{"docker-manifest-digest":"#,
            r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
            r#""type":"cosign container image signature"},"optional":null}"#
        );
        assert_eq!(
            payload(&Digest::of(b""), "ghcr.io/o/r"),
            expected.as_bytes()
        );
    }

    #[test]
    fn only_a_signature_of_the_subject_is_one() {
        let read =
            |refusal: &VerificationError| matches!(refusal, VerificationError::Unreadable { .. });
        let other =
            |refusal: &VerificationError| matches!(refusal, VerificationError::OtherSubject { .. });
        let none = |refusal: &VerificationError| {
            matches!(refusal, VerificationError::NotASignature { .. })
        };
        changed("null", r#"{"build":"7"}"#).unwrap();
        // The name is not checked: an image that was copied is still signed.
        changed("ghcr.io/o/r", "elsewhere.example/x").unwrap();
        for (from, to, refused) in [
            (
                "e3b0",
                "e3b1",
                &other as &dyn Fn(&VerificationError) -> bool,
            ),
            ("sha256:e3b0", "sha512:e3b0", &other),
            ("sha256:e3b0", "SHA256:e3b0", &other),
            ("cosign container", "atomic container", &none),
            ("\"type\":", "\"kind\":", &read),
            ("docker-manifest-digest", "digest", &read),
            ("\"optional\":null}", "", &read),
            (
                "\"type\":",
                "\"type\":\"cosign container image signature\",\"type\":",
                &read,
            ),
        ] {
            let refusal = changed(from, to).unwrap_err();
            assert!(refused(&refusal), "{to}: {refusal}");
        }
        let subject = Digest::of(b"");
        let mut long = payload(&subject, "ghcr.io/o/r");
        check_payload(&long, &subject).unwrap();
        long.resize(PAYLOAD_MAX_BYTES + 1, b' ');
        let refusal = check_payload(&long, &subject).unwrap_err();
        assert!(
            matches!(refusal, VerificationError::TooLarge { .. }),
            "{refusal}"
        );
    }
}
