//! The requests of each row of the grid where nothing goes wrong: how many of each kind each server gets, and the order of
//! the writes that follow one another. Timing is no part of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::axes::{Command, Kind, Server};
use super::scene::Scene;

/// HTTP/2 changes how requests travel, and not which are sent.
const KINDS: [Kind; 3] = [Kind::Api, Kind::FallbackTag, Kind::Bearer];

#[test]
fn requests_of_each_row_stay_the_same() {
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
    let scene = Scene::new(command, kind);
    scene.run().succeed();
    let mut text = format!("== {}, {}\n", command.name(), kind.name());
    for server in [Server::Registry, Server::Source, Server::Sigstore] {
        let requests = scene.told(server);
        if requests.is_empty() {
            continue;
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for request in &requests {
            *counts.entry(kind_of(request)).or_default() += 1;
        }
        writeln!(text, "{}:", server.name()).unwrap();
        for (request, count) in counts {
            // A look at a tag is repeated where it is too old by the time of the write.
            let is_look =
                request.ends_with("/manifests/v1") || request.ends_with("/manifests/latest");
            if is_look && request.starts_with("GET ") {
                writeln!(text, "  * {request}").unwrap();
            } else {
                writeln!(text, "  {count} {request}").unwrap();
            }
        }
        let order = order(&requests).join(", ");
        if !order.is_empty() {
            writeln!(text, "  writes: {order}").unwrap();
        }
    }
    text
}

/// A request without what only tells which of several that are sent at once came first: the one that learns what the
/// registry can do.
fn kind_of(request: &str) -> String {
    let request = request.trim_end_matches("?digest=DIGEST");
    match request.split_once("/referrers/") {
        Some((repository, _)) => format!("{repository}/referrers/SUBJECT"),
        None => request.to_owned(),
    }
}

/// The kinds of content in the order in which the first of each is written. What one run writes at once is one kind.
fn order(requests: &[String]) -> Vec<&'static str> {
    let mut order = Vec::new();
    for request in requests {
        let kind = match request.split_once("/manifests/") {
            Some(("PUT /v2/octo-org/app" | "PUT /v2/prod/app", reference)) => match reference {
                "AMD64" | "ARM64" => "children",
                "INDEX" => "index",
                "v1" | "latest" => "tags",
                // Bundles, and the tags that list them or hold the older format.
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
