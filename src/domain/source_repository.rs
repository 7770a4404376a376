//! The repository of this run, as the runner states it: the default source repository where there is no token.

use super::Matcher;

/// The host of GitHub's public server, and the host of its issuer.
const PUBLIC_SERVER: [&str; 2] = ["github.com", "token.actions.githubusercontent.com"];

/// The repository of a workflow run and the server that it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRepository {
    /// `owner/name`.
    pub name: String,
    /// The URL of the server.
    pub server: String,
}

impl SourceRepository {
    /// Returns its name, if certificates for tokens of `issuer` state the repository: the issuer is its server's own.
    ///
    /// SECURITY: a pattern may match the server's issuer, so the repository is required then, too.
    #[must_use]
    pub fn name_for(&self, issuer: &Matcher) -> Option<String> {
        let is_own = match issuer {
            Matcher::Exact(issuer) => self.is_issued_by(issuer),
            Matcher::Pattern(_) => true,
        };
        is_own.then(|| self.name.clone())
    }

    /// Returns the issuers of its server's tokens.
    #[must_use]
    pub fn issuer(&self) -> Option<Matcher> {
        let server = host(&self.server)?;
        let [public, issuer] = PUBLIC_SERVER;
        let issuer = if server == public {
            issuer.to_owned()
        } else {
            format!("token.actions.{server}")
        };
        let [server, issuer] = [server, issuer].map(|host| regex::escape(&host));
        Matcher::pattern(&format!(
            "https://({issuer}(/.*)?|{server}/_services/token)"
        ))
        .ok()
    }

    /// The public server has an issuer on another host, `ghe.com` a host for the issuer below the server's, and an
    /// Enterprise Server issues tokens itself.
    fn is_issued_by(&self, issuer: &str) -> bool {
        let (Some(server), Some(issuer)) = (host(&self.server), host(issuer)) else {
            return false;
        };
        issuer == server
            || issuer.strip_prefix("token.actions.") == Some(server.as_str())
            || PUBLIC_SERVER == [server.as_str(), issuer.as_str()]
    }
}

/// Returns the host and the port of a URL.
fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.split('/').next()?;
    Some(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_is_required_of_the_issuer_of_its_own_server_alone() {
        for (server, issuer, is_own) in [
            (
                "https://github.com",
                "https://token.actions.githubusercontent.com",
                true,
            ),
            (
                "https://github.com/",
                "https://token.actions.githubusercontent.com/octo-enterprise",
                true,
            ),
            ("https://github.com", "https://accounts.google.com", false),
            (
                "https://github.com",
                "https://token.actions.githubusercontent.com.example",
                false,
            ),
            (
                "https://git.example:8443",
                "https://git.example:8443/_services/token",
                true,
            ),
            (
                "https://git.example",
                "https://token.actions.githubusercontent.com",
                false,
            ),
            (
                "https://octo.ghe.com",
                "https://token.actions.octo.ghe.com",
                true,
            ),
            (
                "https://octo.ghe.com",
                "https://token.actions.ghe.com",
                false,
            ),
            ("https://git.example", "git.example", false),
        ] {
            let repository = SourceRepository {
                name: "o/r".to_owned(),
                server: server.to_owned(),
            };
            let name = repository.name_for(&Matcher::Exact(issuer.to_owned()));
            assert_eq!(name.is_some(), is_own, "{server} {issuer}");
            assert_eq!(repository.issuer().unwrap().matches(issuer), is_own);
            let any = Matcher::pattern(".*").unwrap();
            assert_eq!(repository.name_for(&any).as_deref(), Some("o/r"));
        }
    }
}
