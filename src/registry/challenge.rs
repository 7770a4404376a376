//! Parses `WWW-Authenticate`, the challenge of a registry.
//!
//! Grammar: RFC 9110, 11.2 and 11.6.1. Real registries do not always follow it, so unquoted values may contain
//! characters that only quotes allow. No value read here is trusted until `token.rs` has checked the address.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The longest header that is parsed. No registry sends a longer one.
pub(super) const HEADER_MAX_BYTES: usize = 8 * 1024;
const CHALLENGES_MAX: usize = 16;
const PARAMETERS_MAX: usize = 32;

/// The authentication that a registry requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from a token server.
    Bearer(Bearer),
}

/// A token server, and the scopes to request from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    /// The address of the token server.
    pub(super) realm: String,
    /// The name of the registry at the token server; some challenges have none.
    pub(super) service: Option<String>,
    /// The scopes that the request needs.
    pub(super) scopes: Vec<String>,
}

/// One challenge as written in the header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    scheme: String,
    parameters: Vec<(String, String)>,
}

/// Chooses the challenge to answer: Bearer if it is offered, else Basic, else none.
pub(super) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let written: Vec<Written> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter(|value| value.len() <= HEADER_MAX_BYTES)
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .flat_map(parse)
        .take(CHALLENGES_MAX)
        .collect();
    let bearer = written.iter().find_map(Written::bearer);
    bearer.map(Challenge::Bearer).or_else(|| {
        let basic = written.iter().any(|one| one.scheme == "basic");
        basic.then_some(Challenge::Basic)
    })
}

impl Written {
    fn bearer(&self) -> Option<Bearer> {
        let value = |name: &str| {
            self.parameters
                .iter()
                .find(|(own, value)| own == name && !value.is_empty())
                .map(|(_, value)| value.clone())
        };
        if self.scheme != "bearer" {
            return None;
        }
        Some(Bearer {
            realm: value("realm")?,
            service: value("service"),
            // The grammar allows one parameter with several scopes. Some registries repeat the parameter instead.
            scopes: self
                .parameters
                .iter()
                .filter(|(name, _)| name == "scope")
                .flat_map(|(_, value)| value.split_ascii_whitespace())
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// Parses all challenges of one header. Unreadable parts are skipped. The function never fails and always ends.
fn parse(text: &str) -> Vec<Written> {
    let mut challenges: Vec<Written> = Vec::new();
    let mut reader = Reader { rest: text };
    while challenges.len() < CHALLENGES_MAX {
        reader.skip(|letter| letter == ',' || letter.is_ascii_whitespace());
        if reader.rest.is_empty() {
            break;
        }
        let name = reader.word();
        if name.is_empty() {
            // No word starts here. Skip one character, or a single odd one would end the parsing.
            reader.next();
            continue;
        }
        reader.skip(|letter| letter.is_ascii_whitespace());
        if let Some(value) = reader.value() {
            let open = challenges.last_mut();
            if let Some(challenge) = open.filter(|open| open.parameters.len() < PARAMETERS_MAX) {
                challenge.parameters.push((name, value));
            }
        } else {
            challenges.push(Written {
                scheme: name,
                parameters: Vec::new(),
            });
            reader.token68();
        }
    }
    challenges
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let letter = letters.next();
        self.rest = letters.as_str();
        letter
    }

    fn skip(&mut self, unwanted: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(unwanted);
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let end = self
            .rest
            .find(|letter| !wanted(letter))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    /// Reads a scheme or a parameter name in lower case, because neither is case-sensitive.
    fn word(&mut self) -> String {
        self.take(|letter| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter))
            .to_ascii_lowercase()
    }

    /// Reads `= value`, quoted or not. Returns `None` if there is no `=`.
    fn value(&mut self) -> Option<String> {
        self.rest = self.rest.strip_prefix('=')?;
        self.skip(|letter| letter.is_ascii_whitespace());
        if !self.rest.starts_with('"') {
            return Some(self.take(|letter| letter != ',' && !letter.is_ascii_whitespace()));
        }
        self.next();
        let mut value = String::new();
        while let Some(letter) = self.next() {
            match letter {
                '"' => return Some(value),
                '\\' => value.extend(self.next()),
                other => value.push(other),
            }
        }
        // The closing quote is missing, so the value is unreliable.
        Some(String::new())
    }

    /// Skips the single value that some schemes have instead of parameters (`Negotiate oRkwF6A=`).
    fn token68(&mut self) {
        let end = self.rest.find(',').unwrap_or(self.rest.len());
        let (candidate, rest) = self.rest.split_at(end);
        let body = candidate.trim().trim_end_matches('=');
        let in_alphabet =
            |letter: char| letter.is_ascii_alphanumeric() || "-._~+/".contains(letter);
        if !body.is_empty() && body.chars().all(in_alphabet) {
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chosen(values: &[&str]) -> Option<Challenge> {
        let headers = values
            .iter()
            .map(|value| (WWW_AUTHENTICATE, value.parse().unwrap()))
            .collect::<Vec<_>>();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        choose(&map)
    }

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        assert_eq!(
            chosen(&[
                r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:o/r:pull""#
            ]),
            Some(bearer(
                "https://ghcr.io/token",
                Some("ghcr.io"),
                &["repository:o/r:pull"]
            ))
        );
        // Artifact Registry may name no service; Harbor may want several scopes.
        assert_eq!(
            chosen(&[
                r#"bearer realm="https://r/v2/token",service="",scope="repository:a:pull repository:b:pull,push",error="insufficient_scope""#
            ]),
            Some(bearer(
                "https://r/v2/token",
                None,
                &["repository:a:pull", "repository:b:pull,push"]
            ))
        );
        assert_eq!(chosen(&[r#"Basic realm="harbor""#]), Some(Challenge::Basic));
        assert_eq!(chosen(&["Basic"]), Some(Challenge::Basic));
        // Harbor sends this for a project that does not exist.
        assert_eq!(chosen(&[""]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn token_is_preferred_wherever_it_is_offered() {
        let wanted = Some(bearer("https://r/t", None, &[]));
        assert_eq!(
            chosen(&[r#"Basic realm="x", Bearer realm="https://r/t""#]),
            wanted
        );
        assert_eq!(
            chosen(&[r#"Negotiate oRkwF6A==, BEARER Realm = "https://r/t""#]),
            wanted
        );
        assert_eq!(
            chosen(&["Negotiate", r#"Bearer realm="https://r/t""#, "Basic"]),
            wanted
        );
        assert_eq!(chosen(&["Bearer realm=https://r/t, Basic"]), wanted);
        assert_eq!(
            chosen(&["Bearer scope=\"a\", Basic"]),
            Some(Challenge::Basic)
        );
    }

    #[test]
    fn quotes_hold_commas_and_escapes() {
        assert_eq!(
            chosen(&[r#"Bearer realm="https://r/t?a=\"b\",c", service="x, Basic y=z""#]),
            Some(bearer(r#"https://r/t?a="b",c"#, Some("x, Basic y=z"), &[]))
        );
    }

    #[test]
    fn quote_that_never_closes_gives_nothing() {
        assert_eq!(chosen(&[r#"Bearer realm="https://r/t"#]), None);
        assert_eq!(chosen(&[r#"Bearer realm="https://r/t\"#]), None);
    }

    #[test]
    fn first_of_two_realms_counts() {
        assert_eq!(
            chosen(&[r#"Bearer realm="https://one",realm="https://two""#]),
            Some(bearer("https://one", None, &[]))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_within_bounds(text in "\\PC{0,300}") {
            let read = parse(&text);
            prop_assert!(read.len() <= CHALLENGES_MAX);
            prop_assert!(read.iter().all(|one| one.parameters.len() <= PARAMETERS_MAX));
        }

        #[test]
        fn punctuation_is_read_within_bounds(text in "[a=\",\\\\ ]{0,300}") {
            prop_assert!(parse(&text).len() <= CHALLENGES_MAX);
        }

        #[test]
        fn quoted_values_come_back(realm in "[ -~]{1,80}", scope in "[a-z:,/]{1,30}") {
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("Bearer realm=\"{quoted}\",scope=\"{scope}\"");
            prop_assert_eq!(chosen(&[&text]), Some(bearer(&realm, None, &[&scope])));
        }
    }
}
