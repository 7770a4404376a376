//! Certificate authorities that a user adds to the public ones.

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// Extra certificate authorities, parsed and known to be usable.
#[derive(Debug, Clone, Default)]
pub struct Certificates(Vec<CertificateDer<'static>>);

/// The reason why a text contains no usable certificate authority.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The text contains no `BEGIN CERTIFICATE`.
    #[error("it contains no PEM certificate (`-----BEGIN CERTIFICATE-----`)")]
    Empty,
    /// The text starts like PEM but is malformed.
    #[error("certificate number {number} is not well-formed PEM")]
    Pem {
        /// The position of the certificate, counted from 1.
        number: usize,
        /// The PEM parser's error.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The PEM content is not an X.509 certificate.
    #[error("certificate number {number} is not a usable X.509 certificate")]
    Unusable {
        /// The position of the certificate, counted from 1.
        number: usize,
        /// The TLS library's error.
        #[source]
        source: rustls::Error,
    },
}

impl Certificates {
    /// Reads all certificates in `pem`, which must contain at least one.
    pub fn parse(pem: &str) -> Result<Self, CertificateError> {
        let mut certificates = Self::default();
        certificates.add(pem)?;
        Ok(certificates)
    }

    /// Adds all certificates in `pem`, which must contain at least one.
    pub fn add(&mut self, pem: &str) -> Result<(), CertificateError> {
        let mut found = Vec::new();
        let pem = lines_of(pem);
        for (index, parsed) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            let number = index + 1;
            let certificate = parsed.map_err(|source| CertificateError::Pem { number, source })?;
            check_usable(&certificate)
                .map_err(|source| CertificateError::Unusable { number, source })?;
            found.push(certificate);
        }
        if found.is_empty() {
            return Err(CertificateError::Empty);
        }
        self.0.append(&mut found);
        Ok(())
    }

    /// Returns the number of certificates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are no certificates.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns every trusted authority: the built-in public ones, the machine's own if it has any, and these.
    ///
    /// The public ones are built in because an image made from nothing has none. The machine's are added because
    /// companies install their own authorities there. Those that rustls cannot read are left out: old stores contain
    /// such certificates, and reqwest would refuse to build a client.
    pub(super) fn with_public_ones(&self) -> Vec<reqwest::Certificate> {
        let native = rustls_native_certs::load_native_certs().certs;
        webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .chain(native.iter().filter(|one| check_usable(one).is_ok()))
            .chain(&self.0)
            .filter_map(|one| reqwest::Certificate::from_der(one).ok())
            .collect()
    }
}

/// Returns the text with its lines as PEM needs them. YAML indents them, and secrets often have `\n` in place of line ends.
fn lines_of(pem: &str) -> String {
    let pem = pem
        .trim_start_matches('\u{feff}')
        .replace("\\r", "")
        .replace("\\n", "\n");
    let lines: Vec<&str> = pem.lines().map(str::trim).collect();
    lines.join("\n") + "\n"
}

fn check_usable(certificate: &CertificateDer<'static>) -> Result<(), rustls::Error> {
    RootCertStore::empty().add(certificate.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    fn pem(der: &[u8]) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn bundle_of_several_is_read_whole_and_comments_are_not_in_the_way() {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        let bundle = format!("# one\n{}\n# two\n{}", pem(&roots[0]), pem(&roots[1]));
        assert_eq!(Certificates::parse(&bundle).unwrap().len(), 2);
    }

    #[test]
    fn indented_lines_and_written_line_ends_are_read() {
        let root = pem(&webpki_root_certs::TLS_SERVER_ROOT_CERTS[0]);
        let indented = format!("    # ours\n    {}", root.replace('\n', "\r\n    "));
        for text in [
            root.replace('\n', "\\n"),
            format!("\u{feff}{root}"),
            indented,
        ] {
            assert_eq!(Certificates::parse(&text).unwrap().len(), 1, "{text}");
        }
    }

    #[test]
    fn text_without_a_usable_certificate_is_refused_with_its_number() {
        let root = &webpki_root_certs::TLS_SERVER_ROOT_CERTS[0];
        let refused = |text: &str| Certificates::parse(text).unwrap_err().to_string();
        assert!(refused("").contains("no PEM certificate"));
        assert!(refused("/etc/ssl/ca.pem").contains("no PEM certificate"));
        let second_is_cut = format!("{}{}", pem(root), pem(&root[..100]));
        assert!(refused(&second_is_cut).starts_with("certificate number 2 is not a usable"));
        let unfinished = "-----BEGIN CERTIFICATE-----\nMIIB";
        assert!(refused(unfinished).starts_with("certificate number 1 is not well-formed"));
    }
}
