//! Reads docker's `config.json`: the credentials of `docker login` and other tools.
//!
//! Source: docker/cli, `cli/config/configfile`; containers-auth.json(5) for entries with a path.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::credential::{
    Credential, CredentialEntry, CredentialScope, CredentialsError, EntryValue, Login,
};
use crate::domain::Secret;

const SOURCE: &str = "docker config";

/// Base64 with optional padding. Docker pads, but not every other writer of the file does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The credentials in a docker config.
#[derive(Debug)]
pub(super) struct DockerConfig {
    pub(super) entries: Vec<CredentialEntry>,
    pub(super) default_helper: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    auths: Option<BTreeMap<String, Option<Auth>>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
struct Auth {
    #[serde(rename = "auth")]
    encoded: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// Reads a config. Entries whose key is not a registry are skipped: other programs store their own there.
pub(super) fn read(json: &[u8], origin: &str) -> Result<DockerConfig, CredentialsError> {
    let file: File = serde_json::from_slice(json).map_err(|error| CredentialsError::Malformed {
        origin: origin.to_owned(),
        line: error.line(),
        column: error.column(),
    })?;
    let default_helper = file.creds_store.filter(|name| !name.is_empty());
    let by_helper = |helper: &str| EntryValue::Helper {
        helper: helper.to_owned(),
        origin: origin.to_owned(),
    };
    let mut entries: Vec<CredentialEntry> = Vec::new();
    for (key, auth) in file.auths.unwrap_or_default() {
        let Ok(scope) = key.parse::<CredentialScope>() else {
            continue;
        };
        let credential =
            credential(auth.unwrap_or_default()).map_err(|()| CredentialsError::Auth {
                origin: origin.to_owned(),
                key: key.clone(),
            })?;
        // An empty entry is docker's mark that the credential store has this host's credentials.
        let value = credential
            .map(EntryValue::Credential)
            .or(default_helper.as_deref().map(by_helper));
        if let Some(value) = value {
            entries.push(CredentialEntry {
                scope,
                value,
                source: SOURCE,
            });
        }
    }
    for (key, helper) in file.cred_helpers.unwrap_or_default() {
        let Ok(scope) = key.parse::<CredentialScope>() else {
            continue;
        };
        // Docker prefers the helper to the file. The helper is not installed here, so the file is used first.
        let is_known = entries
            .iter()
            .any(|entry| entry.scope == scope && matches!(entry.value, EntryValue::Credential(_)));
        if !is_known && !helper.is_empty() {
            entries.retain(|entry| entry.scope != scope);
            entries.push(CredentialEntry {
                scope,
                value: by_helper(&helper),
                source: SOURCE,
            });
        }
    }
    Ok(DockerConfig {
        entries,
        default_helper,
    })
}

/// Returns the credential of one entry, or `None` for an empty one.
fn credential(auth: Auth) -> Result<Option<Credential>, ()> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(auth.identitytoken) {
        return Ok(Some(Credential::IdentityToken(Secret::new(token))));
    }
    let login = match (given(auth.encoded), given(auth.username)) {
        (Some(encoded), _) => decode(&encoded).ok_or(())?,
        (None, Some(username)) => Login {
            username,
            password: Secret::new(auth.password.unwrap_or_default()),
        },
        (None, None) => return Ok(None),
    };
    Ok(Some(Credential::from_login(login)))
}

fn decode(encoded: &str) -> Option<Login> {
    let text = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Login {
        username: username.to_owned(),
        // Docker strips trailing NULs, which old versions wrote.
        password: Secret::new(password.trim_end_matches('\0')),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Credentials, credential::HelperNeeded};
    use super::*;

    fn found(config: &str, repository: &str) -> Result<Option<Credential>, HelperNeeded> {
        let mut credentials = Credentials::new();
        credentials
            .docker_config(config.as_bytes(), "config.json")
            .unwrap();
        let found = credentials.find(&repository.parse().unwrap())?;
        Ok(found.map(|found| found.credential))
    }

    fn login(username: &str, password: &str) -> Credential {
        Credential::Login(Login {
            username: username.to_owned(),
            password: Secret::new(password),
        })
    }

    #[test]
    fn entries_are_read_in_every_form_that_is_written() {
        let hub = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cDphOnNz"}}}"#;
        assert_eq!(found(hub, "o/r").unwrap(), Some(login("me", "p:a:ss")));
        let unpadded = r#"{"auths":{"ghcr.io":{"auth":"bWU6cGFzcw"}}}"#;
        assert_eq!(
            found(unpadded, "ghcr.io/o/r").unwrap(),
            Some(login("me", "pass"))
        );
        let plain = r#"{"auths":{"https://ghcr.io/v2/":{"username":"me","password":"p"}}}"#;
        assert_eq!(found(plain, "ghcr.io/o/r").unwrap(), Some(login("me", "p")));
        let identity = r#"{"auths":{"r.azurecr.io":{"auth":"MDAwOg==","identitytoken":"it"}}}"#;
        let token = Credential::IdentityToken(Secret::new("it"));
        assert_eq!(
            found(identity, "r.azurecr.io/r").unwrap(),
            Some(token.clone())
        );
        let marked = r#"{"auths":{"r.azurecr.io":{"username":"<token>","password":"it"}}}"#;
        assert_eq!(found(marked, "r.azurecr.io/r").unwrap(), Some(token));
    }

    #[test]
    fn path_of_an_entry_narrows_it() {
        let config = r#"{"auths":{
            "ghcr.io":{"username":"all","password":""},
            "ghcr.io/org":{"username":"org","password":""},
            "not a host":{"username":"x","password":""}}}"#;
        assert_eq!(
            found(config, "ghcr.io/org/r").unwrap(),
            Some(login("org", ""))
        );
        assert_eq!(
            found(config, "ghcr.io/o/r").unwrap(),
            Some(login("all", ""))
        );
    }

    #[test]
    fn helper_matters_only_where_it_holds_the_credentials() {
        let config = r#"{"auths":{"ghcr.io":{},"quay.io":{"username":"me","password":"p"}},
            "credsStore":"desktop","credHelpers":{"r.azurecr.io":"acr","quay.io":"other"}}"#;
        let helper = |repository| found(config, repository).unwrap_err().helper;
        assert_eq!(helper("ghcr.io/o/r"), "desktop");
        assert_eq!(helper("r.azurecr.io/r"), "acr");
        assert_eq!(
            found(config, "quay.io/o/r").unwrap(),
            Some(login("me", "p"))
        );
        assert_eq!(found(config, "gcr.io/o/r").unwrap(), None);
    }

    #[test]
    fn config_without_credentials_is_none() {
        for config in [
            "{}",
            r#"{"auths":null}"#,
            r#"{"auths":{"ghcr.io":null}}"#,
            r#"{"auths":{"ghcr.io":{}},"credsStore":""}"#,
        ] {
            assert_eq!(found(config, "ghcr.io/o/r").unwrap(), None, "{config}");
        }
    }

    #[test]
    fn broken_config_is_an_error_that_shows_no_secret() {
        let mut credentials = Credentials::new();
        for (config, wanted) in [
            (r#"{"auths":{"ghcr.io":{"auth":5,"x":"hidden"}}}"#, "line 1"),
            (r#"{"auths":{"ghcr.io":{"auth":"hidden!"}}}"#, "`ghcr.io`"),
            (r#"{"auths":{"ghcr.io":{"auth":"aGlkZGVu"}}}"#, "`ghcr.io`"),
        ] {
            let error = credentials
                .docker_config(config.as_bytes(), "config.json")
                .unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(wanted) && !text.contains("hidden"), "{text}");
        }
    }
}
