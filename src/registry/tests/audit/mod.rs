//! Plays every possible response to every request to a registry, or to a service beside one. The result must match the
//! table ([`table::ROWS`]). Everything that the table does not name is unknown.

mod asks;
mod row;
mod table;
mod well;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox::{Proof, Proxy};

use super::super::{AwsKeys, Credentials, Registry, RegistrySettings};
use super::*;
use crate::domain::Host;
use crate::http::tests::audit::{self, By, Clients, Fails};
use crate::http::tests::server::Seen;
use asks::{HOSTS, ask};
use row::Row;
use table::ROWS;
use well::well;

/// The result of a request for the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Means {
    /// The content exists, was stored, was deleted or was listed, or access was granted.
    Done,
    /// The content does not exist, or never existed.
    Absent,
    /// The registry does not support this, but there is another way.
    OtherWay,
    /// Every state is possible.
    Unknown,
}

/// The content of a response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Nothing,
    Garbage,
    Page,
    NotThere,
    Denied,
    Unsupported,
    /// The expected content.
    Right,
}

const SAYINGS: [Says; 7] = [
    Says::Nothing,
    Says::NotThere,
    Says::Right,
    Says::Garbage,
    Says::Page,
    Says::Denied,
    Says::Unsupported,
];

impl Says {
    /// Returns the text. `None` stands for the expected content, which differs for each request.
    fn body(self, row: &Row) -> Option<&'static str> {
        match self {
            Self::Nothing => Some(""),
            Self::Garbage => Some("\u{0}\u{1}{"),
            Self::Page => Some("<html>Not found</html>"),
            Self::NotThere => Some(row.not_there),
            Self::Denied => Some(r#"{"errors":[{"code":"DENIED"}]}"#),
            Self::Unsupported => Some(r#"{"errors":[{"code":"UNSUPPORTED"}]}"#),
            Self::Right => None,
        }
    }
}

type RegistryCase = audit::Case<Says>;

/// The server behind all hosts, and its response to the request under test.
struct Stage {
    by: By,
    /// The proxy with tunnels to the server, if that uses TLS.
    _tunnels: Proxy,
    _server: Server,
    http: Clients,
    address: String,
    script: Arc<Mutex<(Option<Row>, Reply)>>,
}

impl Stage {
    async fn new(by: By) -> Self {
        let script = Arc::new(Mutex::new((None::<Row>, Reply::new(500))));
        let own = Arc::clone(&script);
        let answer = move |seen: &Seen| {
            let (row, reply) = &*own.lock().unwrap();
            let is_it = row.as_ref().is_some_and(|row| (row.is_it)(seen));
            if is_it { reply.clone() } else { well(seen) }
        };
        let server = match by {
            By::Plain => Server::start(answer).await,
            By::Http2 => Server::start_http2(answer),
        };
        let address = server.address().to_owned();
        let place = address.parse().unwrap();
        let tunnels = HOSTS.iter().fold(Proxy::start(), |tunnels, host| {
            tunnels.leads(&format!("{host}:443"), place)
        });
        let proxy = match by {
            By::Plain => reqwest::Proxy::http(format!("http://{address}")),
            By::Http2 => reqwest::Proxy::https(format!("http://{}", tunnels.address())),
        };
        // Large uploads and AWS use the server's own address, without the proxy.
        let proxy = proxy
            .unwrap()
            .no_proxy(reqwest::NoProxy::from_string("127.0.0.1"));
        let http = Clients::new(Some(&proxy));
        Self {
            by,
            _server: server,
            _tunnels: tunnels,
            http,
            address,
            script,
        }
    }

    /// Builds a new registry client that tries once and reaches every host here.
    fn registry(&self, case: RegistryCase) -> Registry {
        let mut credentials = Credentials::new();
        for host in ["guarded.test", "harbor.test", "docker.io", "ghcr.io"] {
            let login = Login {
                username: "me".to_owned(),
                password: Secret::new("password"),
            };
            credentials.login(host, login, "registry-auths").unwrap();
        }
        let config = br#"{"auths":{"posted.test":{"identitytoken":"t","auth":"bWU6"}}}"#;
        credentials.docker_config(config, "config.json").unwrap();
        credentials.aws(AwsKeys {
            id: "AKIA".to_owned(),
            secret: Secret::new("secret"),
            session_token: None,
            endpoint: Some(match self.by {
                By::Plain => format!("http://{}/", self.address),
                By::Http2 => format!("https://{}/", self.address),
            }),
            public_endpoint: None,
        });
        Registry::new(RegistrySettings {
            http: self.http.of(&case).clone(),
            credentials,
            insecure: match self.by {
                By::Plain => HOSTS.map(|host| host.parse::<Host>().unwrap()).to_vec(),
                By::Http2 => Vec::new(),
            },
            retry_policy: RetryPolicy {
                max_attempts: 1,
                delay: Duration::ZERO,
                max_delay: Duration::ZERO,
                at_least: Duration::ZERO,
                propagation: Duration::ZERO,
            },
            events: Events::silent(),
        })
    }

    async fn play(&self, row: &Row, case: RegistryCase) -> Means {
        let right = (row.right)();
        let reply = match case {
            Ok((status, says)) => match says.body(row) {
                Some(body) => Reply::new(status).body(body),
                None => right.status(status),
            },
            Err(Fails::Reset) => Reply::silent(),
            Err(Fails::Cut) => right.or_body("{}").cut(),
            Err(Fails::Silence) => Reply::stalled(),
        };
        *self.script.lock().unwrap() = (Some(row.clone()), reply);
        ask(row.ask, &self.registry(case), &self.address).await
    }
}

/// True for statuses with a defined meaning in HTTP.
fn is_named(status: u16) -> bool {
    matches!(
        status,
        200..=208 | 226 | 300..=308 | 400..=418 | 422 | 425..=431 | 451 | 499..=511 | 522 | 599
    )
}

/// True for statuses that some request here distinguishes.
fn is_telling(status: u16) -> bool {
    matches!(
        status,
        200..=202 | 204 | 206 | 301 | 307 | 400 | 401 | 403 | 404 | 405 | 409 | 429 | 500 | 503
    )
}

/// Returns the responses to play. Statuses that some request distinguishes are played with every body. Others are
/// played with three bodies in a full run. In a sample they have one body over plain HTTP, if HTTP defines them, and
/// none over HTTP/2. A sample over HTTP/2 has two bodies: what a body says does not depend on the protocol.
fn cases(row: &Row, by: By) -> Vec<RegistryCase> {
    let every = Proof::is_wanted();
    let answers = (200..600).flat_map(|status| SAYINGS.map(|says| (status, says)));
    let answers = answers.filter(|(status, says)| {
        let is_sampled = by == By::Plain || matches!(says, Says::NotThere | Says::Right);
        (is_telling(*status) && (every || is_sampled))
            || (every && matches!(says, Says::Nothing | Says::NotThere | Says::Right))
            || (by == By::Plain && is_named(*status) && *says == Says::NotThere)
    });
    let fails = Fails::ALL.into_iter().filter(|fails| match fails {
        Fails::Reset => true,
        // A HEAD has no body to cut.
        Fails::Cut => row.has_body,
        // Large uploads have a minute (`passage.rs`), which is too long to wait for here.
        Fails::Silence => row.is_timed,
    });
    answers.map(Ok).chain(fails.map(Err)).collect()
}

#[tokio::test]
async fn absence_audit_of_every_request_to_a_registry() {
    let title = "Requests to registries and to what stands beside them";
    audit(&Stage::new(By::Plain).await, title).await;
}

#[tokio::test]
async fn absence_audit_of_every_request_to_a_registry_over_http2() {
    let title = "Requests to registries and to what stands beside them, over HTTP/2";
    audit(&Stage::new(By::Http2).await, title).await;
}

async fn audit(stage: &Stage, title: &str) {
    let mut proof = Proof::new(
        "absence",
        title,
        &[
            "request",
            "answers played",
            "done",
            "not there",
            "another way",
            "unknown",
            "not as the table says",
        ],
    );
    let mut wrong = Vec::new();
    let mut all = 0;
    for row in ROWS {
        let mut counts: BTreeMap<Means, usize> = BTreeMap::new();
        let wrong_before = wrong.len();
        let cases = cases(row, stage.by);
        for case in &cases {
            let read = stage.play(row, *case).await;
            let wanted = match *case {
                Ok((status, says)) => (row.means)(status, says),
                Err(_) => row.fails_mean,
            };
            if read != wanted {
                wrong.push(format!(
                    "{} {case:?}: {read:?}, not {wanted:?}",
                    row.request
                ));
            }
            *counts.entry(read).or_default() += 1;
        }
        all += cases.len();
        let count = |means| counts.get(&means).copied().unwrap_or_default();
        assert!(
            row.never_done || count(Means::Done) > 0,
            "`{}` was never seen to work",
            row.request
        );
        proof.row(&[
            &row.request,
            &cases.len(),
            &count(Means::Done),
            &count(Means::Absent),
            &count(Means::OtherWay),
            &count(Means::Unknown),
            &(wrong.len() - wrong_before),
        ]);
    }
    proof.end(&format!(
        "{all} answers to {} requests; {} read as anything that the table does not say.",
        ROWS.len(),
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
