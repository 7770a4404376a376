//! Describes why a server's certificate is not accepted. Each reason that needs a different fix is a variant of its
//! own.

use jiff::Timestamp;
use rustls::CertificateError;

/// The number of names in a foreign certificate that are printed.
const NAMES_SHOWN: usize = 5;
/// The name of a webpki error that rustls passes on. Its type cannot be named here.
const CA_AS_END_ENTITY: &str = "CaUsedAsEndEntity";

/// The reason why a certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// No trusted authority issued the certificate.
    #[error("its certificate was issued by an untrusted CA")]
    UnknownAuthority,
    /// No trusted authority issued the certificate, and the user gave authorities.
    #[error("its certificate was issued by an untrusted CA, which is not in `ca-bundle`")]
    NotInBundle,
    /// The certificate has expired.
    #[error("its certificate expired{}", when(.0.as_ref()))]
    Ended(Option<Timestamp>),
    /// The certificate is not valid yet.
    #[error("its certificate is not valid {}", validity(.0.as_ref()))]
    NotBegun(Option<Timestamp>),
    /// The certificate is for other names than the requested one.
    #[error("its certificate is for {}", names(.0))]
    OtherName(Vec<String>),
    /// The certificate is for no server.
    #[error("its certificate names no server (it has no subjectAltName with a name or an address)")]
    NoName,
    /// The certificate is that of an authority, which may issue certificates but may not serve with its own.
    #[error("its certificate is a CA certificate (`CA:TRUE`), which is not valid for a server")]
    IsAuthority,
    /// Any other reason, in the TLS library's words.
    #[error("its certificate is not accepted: {0}")]
    Other(String),
}

impl CertificateProblem {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is the TLS library's, and whatever else it says is shown in its words"
    )]
    pub(super) fn of(error: &CertificateError) -> Self {
        let time = |time: &rustls::pki_types::UnixTime| {
            let seconds = i64::try_from(time.as_secs()).ok()?;
            Timestamp::from_second(seconds).ok()
        };
        // SECURITY: this chooses only the message. The connection has already been refused.
        match error {
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::Expired => Self::Ended(None),
            CertificateError::ExpiredContext { not_after, .. } => Self::Ended(time(not_after)),
            CertificateError::NotValidYet => Self::NotBegun(None),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotBegun(time(not_before))
            }
            CertificateError::NotValidForName => Self::OtherName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                let names: Vec<String> = presented.iter().filter_map(|name| plain(name)).collect();
                if names.is_empty() {
                    Self::NoName
                } else {
                    Self::OtherName(names)
                }
            }
            other if other.to_string().contains(CA_AS_END_ENTITY) => Self::IsAuthority,
            other => Self::Other(other.to_string()),
        }
    }

    /// Returns the problem of a client with authorities that the user gave.
    #[must_use]
    pub(super) fn with_bundle(self) -> Self {
        if self == Self::UnknownAuthority {
            Self::NotInBundle
        } else {
            self
        }
    }

    /// Returns the fix for this problem, for the server `host`.
    #[must_use]
    pub fn cure(&self, host: &str) -> String {
        match self {
            Self::UnknownAuthority => format!(
                "if `{host}` is the intended server, give the certificate of its CA in `ca-bundle`"
            ),
            Self::NotInBundle => format!(
                "if `{host}` is the intended server, add the certificate of its CA to `ca-bundle`, which contains only other CAs"
            ),
            Self::NoName => format!(
                "give `{host}` a certificate with that name in its subjectAltName; a common name is ignored"
            ),
            Self::Ended(_) => {
                format!("renew the certificate of `{host}`, or correct the clock of this machine")
            }
            Self::NotBegun(_) => "check the clock of this machine".to_owned(),
            Self::OtherName(_) => format!(
                "use a host name from the certificate, or give `{host}` a certificate for that name (subjectAltName)"
            ),
            Self::IsAuthority => format!(
                "give `{host}` a server certificate (`CA:FALSE`) issued by that CA, and give the certificate of the CA in `ca-bundle`"
            ),
            Self::Other(_) => format!("check the certificate of `{host}`"),
        }
    }
}

/// Returns a name of a certificate without the debug text around it that the TLS library gives: `DnsName("a.test")`.
/// Entries that are no names of servers are left out.
fn plain(name: &str) -> Option<String> {
    match name.split_once('(') {
        None => (name != "DirectoryName").then(|| name.to_owned()),
        Some(("DnsName" | "IpAddress" | "UniformResourceIdentifier", inner)) => {
            let inner = inner.strip_suffix(')').unwrap_or(inner);
            Some(inner.trim_matches('"').to_owned())
        }
        Some(_) => None,
    }
}

fn when(time: Option<&Timestamp>) -> String {
    time.map(|time| format!(" at {time}")).unwrap_or_default()
}

fn validity(start: Option<&Timestamp>) -> String {
    start.map_or("yet".to_owned(), |time| format!("before {time}"))
}

fn names(names: &[String]) -> String {
    let shown = |name: &String| {
        let name: String = name
            .chars()
            .filter(|letter| !letter.is_control())
            .take(100)
            .collect();
        format!("`{name}`")
    };
    match names {
        [] => "another name".to_owned(),
        names => {
            let mut shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(shown).collect();
            if names.len() > shown.len() {
                shown.push(format!("{} more", names.len() - shown.len()));
            }
            format!("{} only", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{ServerName, UnixTime};
    use std::time::Duration;

    #[test]
    fn each_problem_has_one_plain_line() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let other_name = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("a.test").unwrap().to_owned(),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (error, text) in [
            (
                CertificateError::UnknownIssuer,
                "its certificate was issued by an untrusted CA",
            ),
            (
                CertificateError::ExpiredContext {
                    time: at(86400),
                    not_after: at(3600),
                },
                "its certificate expired at 1970-01-01T01:00:00Z",
            ),
            (
                CertificateError::NotValidYetContext {
                    time: at(0),
                    not_before: at(3600),
                },
                "its certificate is not valid before 1970-01-01T01:00:00Z",
            ),
            (
                other_name(&["b.test", "c.test"]),
                "its certificate is for `b.test`, `c.test` only",
            ),
            (
                other_name(&["a", "b", "c", "d", "e", "f", "g"]),
                "its certificate is for `a`, `b`, `c`, `d`, `e`, 2 more only",
            ),
            (
                other_name(&["a\n::error::b\u{1b}"]),
                "its certificate is for `a::error::b` only",
            ),
            (
                other_name(&[&"a".repeat(200)]),
                &format!("its certificate is for `{}` only", "a".repeat(100)),
            ),
            (
                other_name(&[
                    "DnsName(\"a.test\")",
                    "IpAddress(192.0.2.1)",
                    "DirectoryName",
                ]),
                "its certificate is for `a.test`, `192.0.2.1` only",
            ),
            (
                CertificateError::NotValidForName,
                "its certificate is for another name",
            ),
            (
                CertificateError::BadSignature,
                "its certificate is not accepted: BadSignature",
            ),
        ] {
            assert_eq!(CertificateProblem::of(&error).to_string(), text);
        }
        // The library has two variants of some errors. Only one of them contains the time or the names.
        for (error, problem) in [
            (CertificateError::Expired, CertificateProblem::Ended(None)),
            (
                CertificateError::NotValidYet,
                CertificateProblem::NotBegun(None),
            ),
            (
                CertificateError::NotValidForName,
                CertificateProblem::OtherName(Vec::new()),
            ),
        ] {
            assert_eq!(CertificateProblem::of(&error), problem);
        }
    }

    #[test]
    fn each_problem_has_a_cure_that_names_the_server() {
        use CertificateProblem::{
            Ended, IsAuthority, NoName, NotBegun, NotInBundle, Other, OtherName, UnknownAuthority,
        };
        for (problem, cure) in [
            (
                UnknownAuthority,
                "if `a.test` is the intended server, give the certificate of its CA in `ca-bundle`",
            ),
            (
                NotInBundle,
                "if `a.test` is the intended server, add the certificate of its CA to `ca-bundle`, which contains only other CAs",
            ),
            (
                NoName,
                "give `a.test` a certificate with that name in its subjectAltName; a common name is ignored",
            ),
            (
                Ended(None),
                "renew the certificate of `a.test`, or correct the clock of this machine",
            ),
            (NotBegun(None), "check the clock of this machine"),
            (
                OtherName(Vec::new()),
                "use a host name from the certificate, or give `a.test` a certificate for that name (subjectAltName)",
            ),
            (
                IsAuthority,
                "give `a.test` a server certificate (`CA:FALSE`) issued by that CA, and give the certificate of the CA in `ca-bundle`",
            ),
            (Other("x".to_owned()), "check the certificate of `a.test`"),
        ] {
            assert_eq!(problem.cure("a.test"), cure);
        }
    }
}
