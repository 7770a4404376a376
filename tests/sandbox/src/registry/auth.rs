//! Basic credentials and bearer tokens: challenges, the token endpoint, scopes, expiry.

use super::options::{Auth, Options};
use super::routes::{Refusal, Route};
use crate::encoding::parse_query;
use crate::server::{Call, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) const TOKEN_PATH: &str = "/token";

/// Who was given which token.
pub(crate) struct Tokens {
    address: SocketAddr,
    auth: Auth,
    lifetime: Duration,
    anonymous_pull: bool,
    issued: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    count: u64,
    live: HashMap<String, Grant>,
}

struct Grant {
    scopes: Vec<String>,
    pull_only: bool,
    until: Instant,
}

/// Who asks the token endpoint.
enum Asker {
    Known,
    Anonymous,
    Wrong,
}

impl Tokens {
    pub(crate) fn new(address: SocketAddr, options: &Options) -> Self {
        Self {
            address,
            auth: options.auth.clone(),
            lifetime: options.token_lifetime,
            anonymous_pull: options.anonymous_pull,
            issued: Mutex::default(),
        }
    }

    pub(crate) fn revoke(&self) {
        self.lock().live.clear();
    }

    /// Answers requests to the token endpoint, no others.
    pub(crate) fn answer(&self, call: &Call) -> Option<Reply> {
        if call.path != TOKEN_PATH || !matches!(self.auth, Auth::Bearer { .. }) {
            return None;
        }
        let form = if call.method == "POST" {
            parse_query(&String::from_utf8_lossy(&call.body))
        } else {
            Vec::new()
        };
        let asked: Vec<String> = call
            .query
            .iter()
            .chain(&form)
            .filter(|(key, _)| key == "scope")
            .flat_map(|(_, value)| value.split(' ').map(str::to_owned))
            .filter(|scope| !scope.is_empty())
            .collect();
        Some(match self.asker(call, &form) {
            Asker::Known => self.issue(asked, false),
            Asker::Anonymous if self.anonymous_pull => self.issue(asked, true),
            Asker::Anonymous | Asker::Wrong => unauthorized("incorrect username or password"),
        })
    }

    /// Whether the request may go on; else the challenge.
    pub(crate) fn check(&self, call: &Call, route: &Route<'_>) -> Result<(), Reply> {
        match &self.auth {
            Auth::None => Ok(()),
            Auth::Basic { user, password } => {
                if basic(call).is_some_and(|sent| sent == (user.clone(), password.clone())) {
                    return Ok(());
                }
                let challenge = "Basic realm=\"sandbox\"";
                Err(unauthorized("authentication required").header("www-authenticate", challenge))
            }
            Auth::Bearer { .. } => self.check_bearer(call, route),
        }
    }

    fn check_bearer(&self, call: &Call, route: &Route<'_>) -> Result<(), Reply> {
        let needed = needed_scope(call, route);
        let sent = call
            .header("authorization")
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.to_owned());
        let error = match sent {
            None => None,
            Some(token) => {
                let issued = self.lock();
                match issued.live.get(&token) {
                    Some(grant) if grant.until <= Instant::now() => Some("invalid_token"),
                    Some(grant) if grant.allows(needed.as_ref()) => return Ok(()),
                    Some(_) => Some("insufficient_scope"),
                    None => Some("invalid_token"),
                }
            }
        };
        let address = self.address;
        let mut challenge = vec![
            format!("Bearer realm=\"http://{address}{TOKEN_PATH}\""),
            format!("service=\"{address}\""),
        ];
        if let Some((repository, actions)) = &needed {
            let actions = actions.join(",");
            challenge.push(format!("scope=\"repository:{repository}:{actions}\""));
        }
        challenge.extend(error.map(|error| format!("error=\"{error}\"")));
        let challenge = challenge.join(",");
        Err(unauthorized("authentication required").header("www-authenticate", challenge))
    }

    fn asker(&self, call: &Call, form: &[(String, String)]) -> Asker {
        let Auth::Bearer { user, password } = &self.auth else {
            return Asker::Wrong;
        };
        let field = |name: &str| {
            let found = form.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let known = match field("grant_type") {
            Some("refresh_token") => field("refresh_token") == Some(password),
            Some("password") => {
                field("username") == Some(user) && field("password") == Some(password)
            }
            Some(_) => false,
            None if call.header("authorization").is_none() => return Asker::Anonymous,
            None => basic(call).is_some_and(|sent| sent == (user.clone(), password.clone())),
        };
        if known { Asker::Known } else { Asker::Wrong }
    }

    fn issue(&self, scopes: Vec<String>, pull_only: bool) -> Reply {
        let mut issued = self.lock();
        issued.count += 1;
        let token = format!("sandbox-token-{}", issued.count);
        let grant = Grant {
            scopes,
            pull_only,
            until: Instant::now() + self.lifetime,
        };
        issued.live.insert(token.clone(), grant);
        let seconds = self.lifetime.as_secs();
        let body = json!({"token": token, "access_token": token, "expires_in": seconds});
        Reply::json(200, &body)
    }

    fn lock(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grant {
    fn allows(&self, needed: Option<&(String, Vec<&'static str>)>) -> bool {
        let Some((repository, actions)) = needed else {
            return true;
        };
        actions.iter().all(|action| {
            let permitted = !self.pull_only || *action == "pull";
            permitted && self.scopes.iter().any(|s| covers(s, repository, action))
        })
    }
}

fn covers(scope: &str, repository: &str, action: &str) -> bool {
    let parts = scope
        .strip_prefix("repository:")
        .and_then(|rest| rest.rsplit_once(':'));
    parts.is_some_and(|(name, actions)| {
        name == repository && actions.split(',').any(|a| a == action || a == "*")
    })
}

fn needed_scope(call: &Call, route: &Route<'_>) -> Option<(String, Vec<&'static str>)> {
    let actions = match call.method.as_str() {
        "GET" | "HEAD" => vec!["pull"],
        "DELETE" => vec!["delete"],
        _ => vec!["pull", "push"],
    };
    route.repository().map(|name| (name.to_owned(), actions))
}

fn basic(call: &Call) -> Option<(String, String)> {
    let (scheme, value) = call.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn unauthorized(message: &str) -> Reply {
    let refusal = Refusal {
        status: 401,
        code: "UNAUTHORIZED",
        message: message.to_owned(),
    };
    refusal.reply()
}
