//! Certificates as text: RFC 7468, with the line ends that Go writes, since cosign's formats contain them byte for
//! byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem::{EncodeConfig, LineEnding, Pem};
use sigstore_types::DerCertificate;

const LABEL: &str = "CERTIFICATE";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Writes the certificates, one after the other.
pub(super) fn pem<'a>(certificates: impl IntoIterator<Item = &'a DerCertificate>) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let one = |certificate: &DerCertificate| Pem::new(LABEL, certificate.as_bytes());
    let all = certificates.into_iter().map(one);
    all.map(|one| pem::encode_config(&one, config)).collect()
}

/// Returns the first certificate in `text`; `None` if the first PEM block is another one or cannot be read.
pub(super) fn first_certificate(text: &str) -> Option<DerCertificate> {
    certificate(pem::parse(text).ok()?)
}

/// Returns all certificates in `text`; none if a block cannot be read.
pub(super) fn all_certificates(text: &str) -> Vec<DerCertificate> {
    let blocks = pem::parse_many(text).unwrap_or_default();
    blocks.into_iter().filter_map(certificate).collect()
}

fn certificate(block: Pem) -> Option<DerCertificate> {
    (block.tag() == LABEL).then(|| DerCertificate::new(block.into_contents()))
}

/// Returns all certificates in `text`. `None` if there is none, or if the text contains anything else, which the crate `pem`
/// would skip.
pub(super) fn only_certificates(text: &str) -> Option<Vec<DerCertificate>> {
    let lines = text.lines().map(str::trim_end);
    let mut lines = lines.filter(|line| !line.is_empty());
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        if line != BEGIN {
            return None;
        }
        let mut encoded = String::new();
        loop {
            match lines.next()? {
                END => break,
                line => encoded.push_str(line),
            }
        }
        all.push(DerCertificate::new(STANDARD.decode(encoded).ok()?));
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_go_ends_them() {
        for (length, lines) in [(1, 1), (48, 1), (49, 2), (96, 2), (97, 3)] {
            let certificate = DerCertificate::new(vec![7; length]);
            let text = pem([&certificate]);
            assert_eq!(text.lines().count(), lines + 2, "{length}");
            assert!(text.lines().all(|line| line.len() <= 64) && text.ends_with('\n'));
            assert_eq!(first_certificate(&text), Some(certificate));
        }
    }

    #[test]
    fn the_first_of_several_is_taken_and_garbage_is_none() {
        let both = [vec![1], vec![2]].map(DerCertificate::new);
        assert_eq!(first_certificate(&pem(&both)), Some(both[0].clone()));
        assert_eq!(all_certificates(&pem(&both)), both);
        for text in [
            "",
            BEGIN,
            END,
            "-----BEGIN CERTIFICATE-----*-----END CERTIFICATE-----",
        ] {
            assert_eq!(first_certificate(text), None, "{text}");
        }
    }

    #[test]
    fn text_beside_certificates_is_refused() {
        let both = [vec![1], vec![2]].map(DerCertificate::new);
        let text = pem(&both);
        for fine in [
            text.clone(),
            text.trim_end().to_owned(),
            text.replace('\n', "\r\n\r\n"),
        ] {
            assert_eq!(
                only_certificates(&fine).as_deref(),
                Some(both.as_slice()),
                "{fine}"
            );
        }
        for odd in [
            String::new(),
            "mine".to_owned(),
            format!("{text}mine"),
            format!("mine\n{text}"),
            text.replace('\n', ""),
            text.replacen("AQ==", "A*==", 1),
            text.replacen("AQ==", "name: mine\nAQ==", 1),
            text.replacen(END, "", 2),
        ] {
            assert_eq!(only_certificates(&odd), None, "{odd}");
        }
    }
}
