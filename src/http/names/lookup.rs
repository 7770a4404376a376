//! The order in which nameservers and search domains are tried.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_proto::rr::Name;
use tokio::time::{Instant, sleep_until};

use super::error::NameError;
use super::name_server::{NameServer, ServerReply};
use super::settings::NameSettings;

/// The silence of a nameserver after which the next one is asked too.
const SILENCE: Duration = Duration::from_secs(2);

/// Returns the turns of the nameservers: each has one in every round.
fn turns(settings: &NameSettings) -> impl Iterator<Item = NameServer> {
    let servers = settings.servers.as_deref().unwrap_or_default();
    let first = if settings.rotates {
        fastrand::usize(..servers.len().max(1))
    } else {
        0
    };
    let round = servers.iter().cycle().skip(first).take(servers.len());
    let rounds = (0..settings.attempts).flat_map(move |_| round.clone());
    rounds.map(|server| NameServer::new(*server, settings))
}

/// Asks the nameservers in their order. The next one is asked as soon as one fails, and when it was silent for two
/// seconds. The first usable response counts, even of a server that was silent before.
async fn ask(name: &Name, settings: &NameSettings, end: Instant) -> AllReplies {
    let mut turns = turns(settings).peekable();
    let mut asked = FuturesUnordered::new();
    let mut failures: Vec<(SocketAddr, String)> = Vec::new();
    loop {
        if let Some(server) = turns.next() {
            asked.push(async move { (server.address, server.ask(name).await) });
        }
        let patience = match turns.peek() {
            Some(_) => end.min(Instant::now() + SILENCE),
            None => end,
        };
        let (server, reply) = tokio::select! {
            Some(replied) = asked.next() => replied,
            () = sleep_until(patience), if !asked.is_empty() => {
                if Instant::now() >= end {
                    failures.extend(silent(settings, &failures));
                    return AllReplies::Nothing(failures);
                }
                continue;
            }
            else => return AllReplies::Nothing(failures),
        };
        match reply {
            ServerReply::Addresses(addresses) => return AllReplies::Addresses(addresses),
            ServerReply::NoName => return AllReplies::NoName(server),
            ServerReply::NoAddress => return AllReplies::NoAddress(server),
            ServerReply::Failed(why) => {
                let failure = (server, why);
                if !failures.contains(&failure) {
                    failures.push(failure);
                }
            }
        }
    }
}

/// Returns the nameservers without a response.
fn silent(settings: &NameSettings, failures: &[(SocketAddr, String)]) -> Vec<(SocketAddr, String)> {
    let servers = settings.servers.iter().flatten();
    let silent = servers.filter(|server| !failures.iter().any(|(known, _)| known == *server));
    let why = || format!("no response within {:?}", settings.total);
    silent.map(|server| (*server, why())).collect()
}

/// The result of asking all nameservers for one name.
enum AllReplies {
    Addresses(Vec<IpAddr>),
    NoName(SocketAddr),
    NoAddress(SocketAddr),
    Nothing(Vec<(SocketAddr, String)>),
}

/// Resolves a host name. The hosts file alone decides for a name that it has.
pub(super) async fn resolve(settings: &NameSettings, host: &str) -> Result<Vec<IpAddr>, NameError> {
    if let Some(known) = settings.hosts.find(host) {
        return Ok(known);
    }
    let name = || host.to_owned();
    if let Err(why) = &settings.servers {
        let (name, why) = (name(), why.clone());
        return Err(NameError::NoServer { name, why });
    }
    let candidates =
        candidates(settings, host).ok_or_else(|| NameError::Invalid { name: name() })?;
    let end = Instant::now() + settings.total;
    let mut worst: Option<NameError> = None;
    for candidate in candidates {
        let found = ask(&candidate, settings, end).await;
        let error = match found {
            AllReplies::Addresses(addresses) => return Ok(addresses),
            AllReplies::NoName(server) => NameError::NotFound {
                name: name(),
                server,
            },
            AllReplies::NoAddress(server) => NameError::NoAddress {
                name: name(),
                server,
            },
            AllReplies::Nothing(failures) => NameError::NoResponse {
                name: name(),
                failures,
            },
        };
        // An absence that is known for one candidate says nothing about a candidate that could not be looked up.
        let is_worse = worst
            .as_ref()
            .is_none_or(|known| rank(&error) > rank(known));
        if is_worse {
            worst = Some(error);
        }
        if Instant::now() >= end {
            break;
        }
    }
    Err(worst.unwrap_or_else(|| NameError::Invalid { name: name() }))
}

/// Orders errors by how much they leave open.
fn rank(error: &NameError) -> u8 {
    match error {
        NameError::Invalid { .. } | NameError::NoServer { .. } => 0,
        NameError::NotFound { .. } => 1,
        NameError::NoAddress { .. } => 2,
        NameError::NoResponse { .. } => 3,
    }
}

/// Returns the full names to try for `host`, in their order. `None` if it is not a valid name.
fn candidates(settings: &NameSettings, host: &str) -> Option<Vec<Name>> {
    // Registries and internal services do have underscores in their names, which `from_ascii` accepts.
    let mut full = Name::from_ascii(host).ok()?;
    let is_full = full.is_fqdn();
    full.set_fqdn(true);
    if is_full {
        return Some(vec![full]);
    }
    let relative = Name::from_ascii(host).ok()?;
    let searched = settings.search.iter();
    // A name that is too long with this domain cannot exist there.
    let mut candidates: Vec<Name> = searched
        .filter_map(|domain| relative.clone().append_domain(domain).ok())
        .collect();
    if host.matches('.').count() >= settings.ndots {
        candidates.insert(0, full);
    } else {
        candidates.push(full);
    }
    Some(candidates)
}
