//! Tests of name resolution, against scripted nameservers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use sandbox::{Family, NAME_SITUATIONS, NameResult, NameServer, NameSituation};

use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::hosts::Hosts;
use super::lookup::resolve;
use super::name_server::{ResponseContent, ServerReply, read};
use super::{NameError, NameSettings};
use crate::http::tunnel_probe::status_of;
use crate::properties::{of_bytes, properties};

/// Returns the settings of a situation whose nameservers listen on other ports.
fn settings(situation: &NameSituation, servers: &[NameServer]) -> NameSettings {
    let hosts = Hosts::parse(situation.hosts);
    let text = situation.resolv_conf();
    let text = text.as_deref().unwrap_or_default().as_bytes();
    let mut settings = NameSettings::parse(text, "/etc/resolv.conf", hosts);
    for address in settings.servers.iter_mut().flatten() {
        let mut known = servers.iter().map(NameServer::address);
        let known = known.find(|server| server.ip() == address.ip());
        // Nothing listens on this port.
        address.set_port(known.map_or(9, |server| server.port()));
    }
    settings
}

async fn look_up(settings: &NameSettings, host: &str) -> Result<Vec<IpAddr>, NameError> {
    resolve(settings, host).await
}

fn is_right(found: &Result<Vec<IpAddr>, NameError>, right: NameResult) -> bool {
    match (found, right) {
        (Ok(found), NameResult::Addresses(right)) => {
            let right = right.iter().map(|text| text.parse().unwrap());
            found.iter().copied().collect::<BTreeSet<IpAddr>>() == right.collect()
        }
        (Err(NameError::NotFound { .. }), NameResult::NotFound)
        | (Err(NameError::NoAddress { .. }), NameResult::NoAddress)
        | (Err(NameError::NoResponse { .. }), NameResult::NoResponse)
        | (Err(NameError::NoServer { .. }), NameResult::NoServer) => true,
        _ => false,
    }
}

#[tokio::test]
async fn names_resolve_as_the_table_says() {
    let looked_up = NAME_SITUATIONS.iter().map(async |situation| {
        let servers = situation.start(0);
        let settings = settings(situation, &servers);
        let found = look_up(&settings, situation.host).await;
        (!is_right(&found, situation.right)).then(|| format!("{}: {found:?}", situation.name))
    });
    // One after the other: all of them use the same addresses.
    let mut wrong = Vec::new();
    for one in looked_up {
        wrong.extend(one.await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(NAME_SITUATIONS.len() >= 23);
}

properties! {
    status_of_a_proxy_has_three_digits in "src/http/tunnel_probe.rs" {
        of_bytes(&[b"HTTP/1.1 407".as_slice()], |bytes| {
            let status = status_of(bytes);
            assert!(status.is_none_or(|status| status < 1000), "{status:?}");
            status.is_some()
        });
    }
    hosts_file_is_read_line_by_line in "src/http/names/hosts.rs" {
        let text = "127.0.0.1 registry.test other # comment\n::1 registry.test\n";
        of_bytes(&[text.as_bytes()], |bytes| {
            let text = String::from_utf8_lossy(bytes);
            Hosts::parse(&text).find("registry.test").is_some_and(|found| found.len() <= text.lines().count())
        });
    }
    resolv_conf_names_at_most_three_nameservers in "src/http/names/settings.rs" {
        let text = "search corp.test ~. \nnameserver 127.0.0.1\nnameserver fe80::1%1\noptions ndots:5 timeout:2 attempts:9\n";
        of_bytes(&[text.as_bytes()], |bytes| {
            let settings = NameSettings::parse(bytes, "/etc/resolv.conf", Hosts::default());
            assert!(settings.attempts >= 1 && settings.attempts <= 5);
            settings.servers.is_ok_and(|servers| servers.len() <= 3)
        });
    }
    response_of_a_nameserver_is_read_or_refused in "src/http/names/name_server.rs" {
        let name = Name::from_ascii("registry.test.").unwrap();
        let mut response = Message::response(7, OpCode::Query);
        response.add_query(Query::query(name.clone(), RecordType::A));
        let target = Name::from_ascii("target.test.").unwrap();
        response.add_answer(Record::from_rdata(name.clone(), 1, RData::CNAME(CNAME(target.clone()))));
        response.add_answer(Record::from_rdata(target, 1, RData::A(Ipv4Addr::LOCALHOST.into())));
        of_bytes(&[response.to_vec().unwrap()], |bytes| {
            let Ok(response) = Message::from_vec(bytes) else { return false };
            let found = read(&response, &name, RecordType::A);
            matches!(found, ResponseContent::ServerReply(ServerReply::Addresses(addresses)) if !addresses.is_empty())
        });
    }
}

#[test]
fn records_of_other_names_do_not_count() {
    let name = Name::from_ascii("registry.test.").unwrap();
    let other = Name::from_ascii("other.test.").unwrap();
    let mut response = Message::response(7, OpCode::Query);
    response.add_answer(Record::from_rdata(
        other,
        1,
        RData::A(Ipv4Addr::LOCALHOST.into()),
    ));
    let found = read(&response, &name, RecordType::A);
    assert!(matches!(
        found,
        ResponseContent::ServerReply(ServerReply::NoAddress)
    ));
}

fn situation(name: &str) -> &'static NameSituation {
    let mut all = NAME_SITUATIONS.iter();
    all.find(|situation| situation.name == name).unwrap()
}

#[tokio::test]
async fn second_nameserver_is_not_asked_while_the_first_one_answers() {
    let situation =
        situation("the first nameserver has the name, the second says that it does not exist");
    let servers = situation.start(0);
    let settings = settings(situation, &servers);
    for _ in 0..20 {
        look_up(&settings, situation.host).await.unwrap();
    }
    assert_eq!(servers[1].requests(), []);
    assert!(!servers[0].requests().is_empty());
}

#[tokio::test]
async fn hosts_file_decides_without_any_request() {
    let situation = situation("the hosts file has one family, and the nameserver is silent");
    let servers = situation.start(0);
    let settings = settings(situation, &servers);
    look_up(&settings, situation.host).await.unwrap();
    assert_eq!(servers[0].requests(), []);
    assert!(look_up(&settings, "localhost").await.is_ok());
    assert!(look_up(&settings, "a.localhost").await.is_ok());
    assert_eq!(servers[0].requests(), []);
}

#[tokio::test]
async fn errors_name_the_host_and_each_nameserver() {
    let situation = situation("all nameservers fail");
    let servers = situation.start(0);
    let settings = settings(situation, &servers);
    let error = look_up(&settings, situation.host).await.unwrap_err();
    let [first, second] = [0, 1].map(|number: usize| servers[number].address());
    let wanted = format!(
        "`registry.test` cannot be resolved: nameserver {first}: SERVFAIL; nameserver {second}: SERVFAIL"
    );
    assert_eq!(error.to_string(), wanted);
    let missing = NameSettings::read("/nonexistent/resolv.conf".as_ref(), "/nonexistent".as_ref());
    let error = look_up(&missing, "registry.test").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`registry.test` cannot be resolved: there is no `/nonexistent/resolv.conf` to name a nameserver"
    );
}

#[tokio::test]
async fn silent_servers_end_the_lookup_in_time() {
    let begin = Instant::now();
    let situation = NameSituation {
        resolv_conf: Some("nameserver @1\noptions timeout:30 attempts:5\n"),
        ..*situation("all nameservers are silent")
    };
    let servers = situation.start(0);
    let settings = settings(&situation, &servers);
    let error = look_up(&settings, situation.host).await.unwrap_err();
    assert!(
        matches!(&error, NameError::NoResponse { failures, .. } if failures.len() == 1),
        "{error}"
    );
    assert!(begin.elapsed() >= Duration::from_secs(3), "{error}");
    // A request that is lost is repeated.
    let requests = servers[0].requests();
    assert!(
        requests.iter().all(|(_, _, count)| *count >= 2),
        "{requests:?}"
    );
    let families: Vec<Family> = requests.iter().map(|(_, family, _)| *family).collect();
    assert_eq!(families, [Family::Ipv4, Family::Ipv6]);
}

#[test]
fn settings_that_are_ignored_are_warned_of() {
    let parse =
        |text: &str| NameSettings::parse(text.as_bytes(), "/etc/resolv.conf", Hosts::default());
    let settings = parse("search .lan ok.test\nnameserver fe80::1%nothing\nnameserver 127.0.0.1\n");
    assert_eq!(
        settings.warnings(),
        [
            "`/etc/resolv.conf`: the nameserver `fe80::1%nothing` is ignored, since this machine has no such interface",
            "`/etc/resolv.conf`: the search domain `.lan` is ignored, since it is not a valid name",
        ]
    );
    assert_eq!(settings.servers.as_ref().map(Vec::len), Ok(1));
    assert_eq!(settings.search.len(), 1);
    assert_eq!(
        parse("nameserver 127.0.0.1\nsearch .\n").warnings(),
        [""; 0]
    );
    // A folder is no file.
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let settings = NameSettings::read(&missing, folder.path());
    assert_eq!(settings.warnings().len(), 1);
    assert_eq!(NameSettings::read(&missing, &missing).warnings(), [""; 0]);
}
