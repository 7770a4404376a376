//! The requests of each row of the grid without a fault: how many of each kind each server receives, and the order of writes.
//! Timing is not included.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::axes::{Command, Server};
use super::kinds::Kind;
use super::setup::Setup;

/// The kinds of registry without HTTP/2, which changes the transport of requests, not the requests.
const KINDS: [Kind; 3] = [Kind::Api, Kind::FallbackTag, Kind::Bearer];

#[test]
fn requests_of_each_command_equal_the_recorded_ones() {
    let rows = Command::ALL.into_iter().flat_map(|command| {
        let kinds = KINDS.into_iter();
        let kinds = kinds.filter(move |kind| command.kinds().contains(kind));
        kinds.map(move |kind| (command, kind))
    });
    let rows: Vec<String> = std::thread::scope(|scope| {
        let rows: Vec<_> = rows
            .map(|(command, kind)| scope.spawn(move || row(command, kind)))
            .collect();
        rows.into_iter().map(|row| row.join().unwrap()).collect()
    });
    insta::assert_snapshot!("golden", rows.concat());
}

fn row(command: Command, kind: Kind) -> String {
    let setup = Setup::new(command, kind);
    setup.run().succeed();
    let mut text = format!("== {}, {}\n", command.name(), kind.name());
    for server in [Server::Registry, Server::Source, Server::Sigstore] {
        let requests = setup.told(server);
        if requests.is_empty() {
            continue;
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        // A request that opens a connection ahead of its use is sent by https alone.
        for request in requests.iter().filter(|request| *request != "HEAD /") {
            *counts.entry(kind_of(request)).or_default() += 1;
        }
        writeln!(text, "{}:", server.name()).unwrap();
        for (request, count) in counts {
            // A list is looked at once more if it was read too long before it is written.
            if request.starts_with("HEAD ") && request.contains("/manifests/LIST-") {
                continue;
            }
            // A read of a tag is repeated if it is too old by the time of the write. An upload ends with a PUT, unless its
            // registry is known by then to accept blobs in the POST.
            let is_look = ["/manifests/v1", "/manifests/latest"]
                .iter()
                .any(|end| request.ends_with(end));
            let is_look = is_look || request.contains("/manifests/LIST-");
            let is_end_of_upload = request.contains("/blobs/uploads/ID");
            if (is_look && request.starts_with("GET ")) || is_end_of_upload {
                writeln!(text, "  * {request}").unwrap();
            } else {
                writeln!(text, "  {count} {request}").unwrap();
            }
        }
        let mut order = order(&requests);
        // `publish` stores the referrers of a child while it still copies others.
        let swapped = order
            .windows(2)
            .position(|pair| pair == ["signatures", "index"]);
        if let Some(place) = swapped.filter(|_| command.name() == "publish") {
            order.swap(place, place + 1);
        }
        let order = order.join(", ");
        if !order.is_empty() {
            writeln!(text, "  writes: {order}").unwrap();
        }
    }
    text
}

/// Returns a request without the parts that depend on the order of concurrent requests. The first of these also probes the
/// registry's features.
fn kind_of(request: &str) -> String {
    let request = request.trim_end_matches("?digest=DIGEST");
    match request.split_once("/referrers/") {
        Some((repository, _)) => format!("{repository}/referrers/SUBJECT"),
        None => request.to_owned(),
    }
}

/// Returns the kinds of content in the order of their first write. Content that a run writes concurrently is one kind.
fn order(requests: &[String]) -> Vec<&'static str> {
    let mut order = Vec::new();
    for request in requests {
        let kind = match request.split_once("/manifests/") {
            Some(("PUT /v2/octo-org/app" | "PUT /v2/prod/app", reference)) => match reference {
                "AMD64" | "ARM64" => "children",
                "INDEX" => "index",
                "v1" | "latest" => "tags",
                // Bundles, and the tags that list them or contain the older format.
                _ => "signatures",
            },
            Some(("DELETE /v2/octo-org/app", _)) => "deletion",
            Some(_) | None => continue,
        };
        if !order.contains(&kind) {
            order.push(kind);
        }
    }
    order
}
