//! The in-toto statement of a container signature, byte for byte as cosign 3 writes it.

use crate::domain::{Digest, SIGN_PREDICATE};

/// The media type of the payload in the envelope.
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The only type of statement that is written and read.
pub(super) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Writes the statement that the image with this digest is signed.
pub(super) fn statement(subject: &Digest) -> Vec<u8> {
    format!(
        r#"{{"_type":"{STATEMENT_TYPE}","subject":[{{"digest":{{"{}":"{}"}},"annotations":{{}}}}],"predicateType":"{SIGN_PREDICATE}","predicate":{{}}}}"#,
        subject.algorithm(),
        subject.hex()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_is_cosigns() {
        let expected = concat!(
            r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"#,
            r#""e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"annotations":{}}],"#,
            r#""predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}"#
        );
        assert_eq!(statement(&Digest::of(b"")), expected.as_bytes());
    }
}
