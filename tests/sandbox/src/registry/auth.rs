//! Basic credentials and bearer tokens: challenges, the token endpoint, scopes, expiry.

use super::options::{Auth, Options};
use super::routes::{Refusal, Route};
use super::services::{Habits, Stranger};
use crate::encoding::parse_query;
use crate::server::{Call, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const TOKEN_PATH: &str = "/token";

/// The token server and its issued tokens.
pub(crate) struct Tokens {
    address: SocketAddr,
    scheme: &'static str,
    auth: Auth,
    lifetime: Duration,
    bytes_max: usize,
    anonymous_pull: bool,
    habits: Habits,
    /// The actions that the user may get; `None` for all.
    grants: Option<Vec<String>>,
    issued: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    count: u64,
    live: HashMap<String, Grant>,
}

struct Grant {
    scopes: Vec<String>,
    /// The actions that the token may allow; `None` for all.
    at_most: Option<Vec<String>>,
    until: Instant,
    /// The number of bytes that may still be sent with the token.
    bytes_left: usize,
}

/// A repository and the actions needed there.
type Need = (String, Vec<&'static str>);

/// The credentials of a token request.
enum Asker {
    Known,
    Anonymous,
    Wrong,
}

impl Tokens {
    pub(crate) fn new(address: SocketAddr, options: &Options) -> Self {
        Self {
            address,
            scheme: options.transport.scheme(),
            auth: options.auth.clone(),
            lifetime: options.token_lifetime,
            bytes_max: options.token_bytes,
            anonymous_pull: options.anonymous_pull,
            habits: options.habits.clone(),
            grants: options.grants.clone(),
            issued: Mutex::default(),
        }
    }

    pub(crate) fn revoke(&self) {
        self.lock().live.clear();
    }

    /// True if a request to `host` for `path` is a token request.
    pub(crate) fn is_realm(&self, host: &str, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or_default();
        match self.habits.realm {
            None => path == TOKEN_PATH,
            Some((realm, _)) => realm == format!("{host}{path}"),
        }
    }

    /// Answers requests to the token endpoint, no others.
    pub(crate) fn answer(&self, call: &Call) -> Option<Reply> {
        let is_wanted = matches!(self.auth, Auth::Bearer { .. });
        (is_wanted && self.is_realm(&call.host, &call.path)).then(|| self.token(call))
    }

    fn token(&self, call: &Call) -> Reply {
        if call.method == "POST" && !self.habits.takes_post {
            return refusal(405, "UNSUPPORTED", "the operation is unsupported");
        }
        let form = if call.method == "POST" {
            parse_query(&String::from_utf8_lossy(&call.body))
        } else {
            Vec::new()
        };
        let values = |name: &str| -> Vec<String> {
            let pairs = call.query.iter().chain(&form);
            pairs
                .filter(|(key, _)| key == name)
                .flat_map(|(_, value)| value.split(' ').map(str::to_owned))
                .filter(|value| !value.is_empty())
                .collect()
        };
        let asked = values("scope");
        if let Some(known) = self.habits.actions
            && !asked
                .iter()
                .flat_map(|scope| actions(scope))
                .all(|action| known.contains(&action))
        {
            return refusal(
                400,
                "INVALID_REQUEST",
                "Unable to decode repository and actions",
            );
        }
        let service = self.habits.realm.map(|(_, service)| service);
        if self.habits.knows_its_service && values("service") != Vec::from_iter(service) {
            return refusal(400, "BAD_REQUEST", "unknown service");
        }
        let pull = || Some(vec!["pull".to_owned()]);
        match (self.asker(call, &form), self.habits.stranger) {
            (Asker::Known, _) => self.issue(asked, self.grants.clone()),
            (Asker::Anonymous, _) if self.anonymous_pull => self.issue(asked, pull()),
            (Asker::Anonymous, Stranger::Puller) => self.issue(asked, pull()),
            (Asker::Anonymous, Stranger::Powerless) => self.issue(asked, Some(Vec::new())),
            (_, Stranger::Refused(status, code, message)) => refusal(status, code, message),
            (Asker::Wrong, _) => unauthorized("incorrect username or password"),
        }
    }

    /// Checks whether the request is allowed; else returns the challenge.
    pub(crate) fn check(&self, call: &Call, route: &Route<'_>) -> Result<(), Reply> {
        match &self.auth {
            Auth::None => Ok(()),
            Auth::Basic { user, password } => {
                if basic(call).is_some_and(|sent| sent == (user.clone(), password.clone())) {
                    return Ok(());
                }
                let realm = self.habits.hosts.first().map_or_else(
                    || "Basic realm=\"sandbox\"".to_owned(),
                    |host| format!("Basic realm=\"https://{host}/\",service=\"ecr.amazonaws.com\""),
                );
                Err(unauthorized("authentication required").header("www-authenticate", realm))
            }
            Auth::Bearer { .. } => self.check_bearer(call, route),
        }
    }

    fn check_bearer(&self, call: &Call, route: &Route<'_>) -> Result<(), Reply> {
        let needed = needed_scopes(call, route, self.habits.delete_actions);
        let shown = call.header("authorization");
        let sent = shown
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token);
        let error = match sent {
            None => None,
            Some(token) => {
                let mut issued = self.lock();
                let grant = issued.live.get_mut(token);
                let grant = grant.map(|grant| {
                    let allows = needed.iter().all(|need| grant.allows(need));
                    (grant.outlives(call.body.len()), allows)
                });
                match grant {
                    Some((true, true)) => return Ok(()),
                    Some((true, false)) => Some("insufficient_scope"),
                    Some((false, _)) | None => Some("invalid_token"),
                }
            }
        };
        let own_way = match error {
            Some("insufficient_scope") => self.habits.powerless,
            Some(_) => self.habits.stale,
            None => None,
        };
        if let Some((status, code, message)) = own_way {
            return Err(refusal(status, code, message));
        }
        let challenge = if self.habits.basic_once_shown && shown.is_some() {
            "Basic realm=\"harbor\"".to_owned()
        } else {
            self.challenge(&needed, error)
        };
        Err(unauthorized("authentication required").header("www-authenticate", challenge))
    }

    fn challenge(&self, needed: &[Need], error: Option<&str>) -> String {
        let own = self.address.to_string();
        let own_realm = format!("{own}{TOKEN_PATH}");
        let (realm, service) = self.habits.realm.unwrap_or((&own_realm, &own));
        let scopes = needed
            .iter()
            .map(|(repository, actions)| format!("repository:{repository}:{}", actions.join(",")));
        let scope = match self.habits.scope {
            Some(always) => always.to_owned(),
            None => scopes.collect::<Vec<_>>().join(" "),
        };
        let mut parts = vec![
            format!("Bearer realm=\"{}://{realm}\"", self.scheme),
            format!("service=\"{service}\""),
        ];
        if !scope.is_empty() {
            parts.push(format!("scope=\"{scope}\""));
        }
        parts.extend(error.map(|error| format!("error=\"{error}\"")));
        parts.join(",")
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

    fn issue(&self, scopes: Vec<String>, at_most: Option<Vec<String>>) -> Reply {
        let mut issued = self.lock();
        issued.count += 1;
        let token = format!("Sandbox-token-number-{}", issued.count);
        let grant = Grant {
            scopes,
            at_most,
            until: Instant::now() + self.lifetime,
            bytes_left: self.bytes_max,
        };
        issued.live.insert(token.clone(), grant);
        let mut body = Map::new();
        for name in self.habits.token_names {
            body.insert((*name).to_owned(), json!(token));
        }
        if self.habits.tells_lifetime {
            body.insert("expires_in".to_owned(), json!(self.lifetime.as_secs()));
        }
        Reply::json(200, &Value::Object(body))
    }

    fn lock(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grant {
    /// Reports whether the token is still valid after a request with this many bytes.
    fn outlives(&mut self, bytes: usize) -> bool {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => self.bytes_left = left,
            None => self.until = Instant::now(),
        }
        self.until > Instant::now()
    }

    fn allows(&self, (repository, actions): &Need) -> bool {
        actions.iter().all(|action| {
            let may = |most: &Vec<String>| most.iter().any(|own| own == action);
            self.at_most.as_ref().is_none_or(may)
                && self.scopes.iter().any(|s| covers(s, repository, action))
        })
    }
}

/// The actions in `repository:NAME:ACTIONS`.
fn actions(scope: &str) -> impl Iterator<Item = &str> {
    let parts = scope
        .strip_prefix("repository:")
        .and_then(|rest| rest.rsplit_once(':'));
    parts
        .map(|(_, actions)| actions)
        .into_iter()
        .flat_map(|actions| actions.split(','))
}

fn covers(scope: &str, repository: &str, action: &str) -> bool {
    let parts = scope
        .strip_prefix("repository:")
        .and_then(|rest| rest.rsplit_once(':'));
    parts.is_some_and(|(name, actions)| {
        name == repository && actions.split(',').any(|a| a == action || a == "*")
    })
}

/// Returns the scopes that a request needs; a mount needs scopes for two repositories.
fn needed_scopes(call: &Call, route: &Route<'_>, to_delete: &'static [&'static str]) -> Vec<Need> {
    let actions = match call.method.as_str() {
        "GET" | "HEAD" => vec!["pull"],
        "DELETE" => to_delete.to_vec(),
        _ => vec!["pull", "push"],
    };
    let own = route.repository().map(|name| (name.to_owned(), actions));
    let source = call.query("mount").and(call.query("from"));
    let mounted = source.map(|name| (name.to_owned(), vec!["pull"]));
    own.into_iter().chain(mounted).collect()
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
    refusal(401, "UNAUTHORIZED", message)
}

fn refusal(status: u16, code: &'static str, message: &str) -> Reply {
    let refusal = Refusal {
        detail: None,
        status,
        code,
        message: message.to_owned(),
    };
    refusal.reply()
}
