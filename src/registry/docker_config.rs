//! Reads docker's `config.json`: the credentials of `docker login` and other tools.
//!
//! Source: docker/cli, `cli/config/configfile` and `cli/config/credentials/file_store.go`; containers-auth.json(5) for
//! entries with a path.

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
    cred_helpers: Option<BTreeMap<String, Option<String>>>,
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
///
/// The entries are ordered so that the last one of a scope is used. One registry may have several keys (`ghcr.io`,
/// `https://ghcr.io/v2/`), and as in docker's file store the exact key is preferred to other spellings.
pub(super) fn read(json: &[u8], origin: &str) -> Result<DockerConfig, CredentialsError> {
    let file: File = serde_json::from_slice(json).map_err(|error| CredentialsError::Malformed {
        origin: origin.to_owned(),
        line: error.line(),
        column: error.column(),
    })?;
    let default_helper = file.creds_store.filter(|name| !name.is_empty());
    let entry_of = |scope, value| CredentialEntry {
        scope,
        value,
        source: SOURCE,
    };
    let by_helper = |helper: &str| EntryValue::Helper {
        helper: helper.to_owned(),
        origin: origin.to_owned(),
    };
    let (mut entries, mut credentials) = (Vec::new(), Vec::new());
    for (scope, key, auth) in by_scope(file.auths) {
        let Some(auth) = auth else {
            continue;
        };
        let credential = credential(auth).map_err(|()| CredentialsError::Auth {
            origin: origin.to_owned(),
            key,
        })?;
        match (credential, &default_helper) {
            (Some(credential), _) => {
                credentials.push(entry_of(scope, EntryValue::Credential(credential)));
            }
            // An empty entry is docker's mark that the credential store has this host's credentials.
            (None, Some(helper)) => entries.push(entry_of(scope, by_helper(helper))),
            (None, None) => {}
        }
    }
    for (scope, _, helper) in by_scope(file.cred_helpers) {
        // A host without a helper of its own (`null` or empty) is in the file, not in the default store.
        entries.retain(|entry| entry.scope != scope);
        if let Some(helper) = helper.filter(|helper| !helper.is_empty()) {
            entries.push(entry_of(scope, by_helper(&helper)));
        }
    }
    // Docker prefers a helper to the file. The helper is not installed here, so the file is used first.
    entries.extend(credentials);
    Ok(DockerConfig {
        entries,
        default_helper,
    })
}

/// Returns the values whose key is a registry, with the scope and the key. Values under an exact key are last.
fn by_scope<T>(values: Option<BTreeMap<String, T>>) -> Vec<(CredentialScope, String, T)> {
    let values = values.into_iter().flatten();
    let mut scoped: Vec<_> = values
        .filter_map(|(key, value)| Some((key.parse::<CredentialScope>().ok()?, key, value)))
        .collect();
    scoped.sort_by_key(|(scope, key, _)| scope.is_exactly(key));
    scoped
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
    // Go's decoder ignores line ends, and programs that write the file wrap long lines.
    let encoded = encoded.trim().replace(['\r', '\n'], "");
    let text = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Login {
        username: username.to_owned(),
        // Docker strips trailing NULs, which old versions wrote.
        password: Secret::new(password.trim_end_matches('\0')),
    })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::super::{Credentials, credential::HelperNeeded};
    use super::*;

    /// A repository, docker's key for its registry, and other spellings of that key.
    const SPELLINGS: [(&str, [&str; 4]); 3] = [
        (
            "ghcr.io/o/r",
            [
                "ghcr.io",
                "https://ghcr.io",
                "http://ghcr.io/",
                "https://ghcr.io/v2/",
            ],
        ),
        (
            "r.test:5000/r",
            [
                "r.test:5000",
                "https://r.test:5000/v1/",
                "R.test:5000",
                "r.test:5000/",
            ],
        ),
        (
            "o/r",
            [
                "https://index.docker.io/v1/",
                "docker.io",
                "index.docker.io",
                "https://registry-1.docker.io",
            ],
        ),
    ];

    /// The value of one key in `auths`.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum WrittenAuth {
        Null,
        Empty,
        /// A login whose user name is the key without `:`. Its base64 has this line end after each such number of letters.
        Wrapped(&'static str, usize),
    }

    impl WrittenAuth {
        fn json(self, key: &str) -> String {
            match self {
                Self::Null => "null".to_owned(),
                Self::Empty => "{}".to_owned(),
                Self::Wrapped(line_end, width) => {
                    let encoded = STANDARD.encode(format!("{}:p", user_of(key)));
                    let lines: Vec<_> = encoded.as_bytes().chunks(width).collect();
                    let encoded = String::from_utf8(lines.join(line_end.as_bytes())).unwrap();
                    json!({ "auth": encoded }).to_string()
                }
            }
        }
    }

    fn user_of(key: &str) -> String {
        key.replace(':', "_")
    }

    /// Writes an object with its keys in this order.
    fn object<'a>(entries: impl Iterator<Item = (&'a str, String)>) -> String {
        let entries: Vec<String> = entries
            .map(|(key, value)| format!("{}:{value}", json!(key)))
            .collect();
        format!("{{{}}}", entries.join(","))
    }

    fn written_auth() -> impl Strategy<Value = WrittenAuth> {
        let wrapped = (select(&["\n", "\r\n", "\r"][..]), 1..80_usize);
        prop_oneof![
            Just(WrittenAuth::Null),
            Just(WrittenAuth::Empty),
            wrapped.prop_map(|(line_end, width)| WrittenAuth::Wrapped(line_end, width)),
        ]
    }

    proptest! {
        #[test]
        fn exact_key_wins_in_any_order_and_null_is_no_entry(
            (repository, keys) in select(&SPELLINGS[..]),
            order in Just([0, 1, 2, 3]).prop_shuffle(),
            auths in vec(option::of(written_auth()), 4),
            helpers in vec(option::of(select(&["null", "\"\"", "\"own\""][..])), 4),
            store in select(&["null", "\"\"", "\"desktop\""][..]),
        ) {
            let auth_of = |at: usize| Some((keys[at], auths[at]?.json(keys[at])));
            let helper_of = |at: usize| Some((keys[at], helpers[at]?.to_owned()));
            let config = |order: &[usize]| {
                let (auths, helpers) = (order.iter().copied(), order.iter().copied());
                let auths = object(auths.filter_map(auth_of));
                let helpers = object(helpers.filter_map(helper_of));
                // An empty object and `null` have the same meaning.
                let [auths, helpers] = [auths, helpers].map(|written| match written.as_str() {
                    "{}" => "null".to_owned(),
                    _ => written,
                });
                format!(r#"{{"credHelpers":{helpers},"credsStore":{store},"auths":{auths}}}"#)
            };
            let read = |order: &[usize]| match found(&config(order), repository) {
                Ok(Some(Credential::Login(login))) => format!("login {}", login.username),
                Ok(Some(Credential::IdentityToken(_))) => "a token".to_owned(),
                Ok(None) => "none".to_owned(),
                Err(needed) => format!("helper {}", needed.helper),
            };
            let is_login = |at: &usize| matches!(auths[*at], Some(WrittenAuth::Wrapped(..)));
            let login = |at: usize| format!("login {}", user_of(keys[at]));
            let own_helper = helpers[0].or_else(|| helpers.iter().flatten().next().copied());
            let wanted = if is_login(&0) {
                vec![login(0)]
            } else if order.iter().any(is_login) {
                order.iter().copied().filter(is_login).map(login).collect()
            } else if helpers[0].is_none() && own_helper.is_some() {
                // Docker would not read these keys: each of them may count.
                let each = helpers.iter().flatten();
                each.map(|helper| if *helper == "\"own\"" { "helper own" } else { "none" }.to_owned()).collect()
            } else {
                let is_marked = auths.contains(&Some(WrittenAuth::Empty));
                vec![match own_helper {
                    Some("\"own\"") => "helper own",
                    None if is_marked && store == "\"desktop\"" => "helper desktop",
                    Some(_) | None => "none",
                }.to_owned()]
            };
            let result = read(&order);
            prop_assert!(wanted.contains(&result), "{result}, not {wanted:?}: {}", config(&order));
            prop_assert_eq!(result, read(&[0, 1, 2, 3]));
        }
    }

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
    fn exact_key_is_preferred_to_other_spellings() {
        let config = r#"{"auths":{
            "ghcr.io":{"username":"exact","password":""},
            "https://ghcr.io":{"username":"other","password":""},
            "ghcr.io/org":{"username":"exact","password":""},
            "https://ghcr.io/org/":{"username":"other","password":""}}}"#;
        for repository in ["ghcr.io/o/r", "ghcr.io/org/r"] {
            let found = found(config, repository).unwrap();
            assert_eq!(found, Some(login("exact", "")), "{repository}");
        }
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
            r#"{"auths":{"ghcr.io":{}},"credsStore":null,"credHelpers":{"ghcr.io":null}}"#,
            r#"{"auths":{"ghcr.io":null},"credsStore":"desktop","credHelpers":null}"#,
            r#"{"auths":{"ghcr.io":{}},"credsStore":"desktop","credHelpers":{"ghcr.io":null}}"#,
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
