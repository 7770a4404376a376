//! The timestamp authority (RFC 3161): a countersignature with a time at which a signature existed.

use reqwest::header::CONTENT_TYPE;
use sha2::{Digest as _, Sha256};
use sigstore_types::{SignatureBytes, TimestampToken};

use super::endpoint::Endpoint;
use super::error::SigstoreErrorKind;
use super::service_client::ServiceClient;

/// A `TimeStampReq` up to its hash: version 1, imprint by SHA-256 (RFC 3161, 2.4.1).
const REQUEST_HEAD: [u8; 24] = [
    0x30, 0x39, // TimeStampReq, 57 bytes
    0x02, 0x01, 0x01, // version
    0x30, 0x31, // MessageImprint, 49 bytes
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, // sha256
    0x04, 0x20, // OCTET STRING, 32 bytes
];
/// The field `certReq`: the response must contain the authority's certificate.
const REQUEST_TAIL: [u8; 3] = [0x01, 0x01, 0xff];

/// Requests a timestamp of `signature` from `authority`.
pub(super) async fn timestamp(
    client: &ServiceClient,
    authority: &Endpoint,
    signature: &SignatureBytes,
) -> Result<TimestampToken, SigstoreErrorKind> {
    let url = authority.url();
    let request = request(signature.as_bytes());
    let body = client
        .with_retries("the request for a timestamp", || {
            let post = client
                .post(url)
                .header(CONTENT_TYPE, "application/timestamp-query");
            client.send_ok(url, post.body(request.clone()))
        })
        .await?;
    if is_granted(&body) {
        Ok(TimestampToken::new(body))
    } else {
        Err(SigstoreErrorKind::unreadable(
            url,
            "it does not grant a timestamp",
        ))
    }
}

// No nonce: it would distinguish a fresh response from a replayed one. Nobody can have sent an earlier request for a
// signature made just now.
fn request(signature: &[u8]) -> Vec<u8> {
    let imprint = Sha256::digest(signature);
    [REQUEST_HEAD.as_slice(), imprint.as_slice(), &REQUEST_TAIL].concat()
}

/// True if `response` is a `TimeStampResp` whose status is granted, possibly with changes (RFC 3161, 2.4.2). The
/// verification of the whole signature checks that it is a timestamp of this signature.
pub(super) fn is_granted(response: &[u8]) -> bool {
    let content = |bytes: &[u8]| -> Option<usize> {
        match bytes {
            [0x30, 0x80, ..] => None,
            [0x30, short, ..] if *short < 0x80 => Some(2),
            [0x30, long, ..] if usize::from(*long & 0x7f) <= 4 => {
                Some(2 + usize::from(*long & 0x7f))
            }
            _ => None,
        }
    };
    let Some(status) = content(response).and_then(|start| response.get(start..)) else {
        return false;
    };
    let code = content(status).and_then(|start| status.get(start..));
    matches!(code, Some([0x02, 0x01, 0 | 1, ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_well_formed() {
        let request = request(b"signature");
        assert_eq!(request.len(), usize::from(REQUEST_HEAD[1]) + 2);
        assert_eq!(request[24..56], Sha256::digest(b"signature")[..]);
    }

    #[test]
    fn only_a_granted_answer_is_a_timestamp() {
        assert!(is_granted(&[0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x00]));
        assert!(is_granted(&[
            0x30, 0x82, 0x02, 0x00, 0x30, 0x03, 0x02, 0x01, 0x01
        ]));
        for refused in [
            &[][..],
            b"<html>",
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02],
        ] {
            assert!(!is_granted(refused), "{refused:?}");
        }
    }
}
