//! The input `registry-auths`: a YAML list of logins, like the `registry-auth` of docker/login-action.

use serde::Deserialize;

use crate::domain::Secret;

/// A user name and a password for a registry, or for a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryAuth {
    /// A host, or a host and path: `ghcr.io`, `ghcr.io/octo-org`. Docker Hub if none was given.
    pub registry: String,
    /// The user name.
    pub username: String,
    /// The password or token.
    pub password: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthEntry {
    registry: Option<String>,
    username: String,
    password: String,
}

/// Parses the list. The YAML parser's own message is dropped: it can quote the text, which contains passwords.
pub(super) fn parse(text: &str) -> Result<Vec<RegistryAuth>, String> {
    let entries: Vec<AuthEntry> = yaml_serde::from_str(text).map_err(|error| {
        let place = error.location().map_or(String::new(), |place| format!(" (line {}, column {})", place.line(), place.column()));
        format!("it is not a YAML list of `registry`, `username` and `password`, each a quoted string{place}")
    })?;
    let auth = |(number, entry): (usize, AuthEntry)| {
        if entry.username.is_empty() || entry.password.is_empty() {
            return Err(format!(
                "entry {} has an empty `username` or `password`; is the secret set?",
                number + 1
            ));
        }
        Ok(RegistryAuth {
            registry: entry
                .registry
                .filter(|registry| !registry.is_empty())
                .unwrap_or_else(|| "docker.io".to_owned()),
            username: entry.username,
            password: Secret::new(entry.password),
        })
    };
    entries.into_iter().enumerate().map(auth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_read() {
        let text = "- registry: ghcr.io\n  username: octocat\n  password: \"p: #1\"\n- username: me\n  password: you\n";
        let auths = parse(text).unwrap();
        assert_eq!(
            auths
                .iter()
                .map(|auth| auth.registry.as_str())
                .collect::<Vec<_>>(),
            ["ghcr.io", "docker.io"]
        );
        assert_eq!(
            auths.first().map(|auth| auth.password.expose()),
            Some("p: #1")
        );
    }

    #[test]
    fn errors_never_quote_a_password() {
        for text in [
            "- registry: ghcr.io\n  username: o\n  passwort: hunter2\n",
            "hunter2",
            "- hunter2",
            "- {username: hunter2, password: ''}",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
