//! The timeline that `trace` prints.

use sandbox::Service;

use crate::support::hosted::{Hosted, kept_secret};

#[test]
fn each_request_is_told_of_where_trace_asks_for_it_and_no_secret_with_it() {
    let hosted = Hosted::new(Service::Ecr);
    let quiet = hosted.logged_in(hosted.world.seal()).succeed();
    assert!(!quiet.log.contains("trace"), "{}", quiet.log);
    let hosted = Hosted::new(Service::Ecr);
    let seal = hosted.logged_in(hosted.world.seal());
    let outcome = seal.input("trace", "true").succeed();
    kept_secret(&outcome);
    let lines: Vec<&str> = outcome
        .log
        .lines()
        .filter(|line| line.starts_with("trace ") && line.contains(" ms "))
        .collect();
    // Every request to registry and Sigstore is reported, and nothing else.
    // Over TLS a connection to Sigstore is opened ahead of the requests, by a HEAD.
    let sigstore = hosted.world.sigstore().requests();
    let sigstore = sigstore.iter().filter(|request| request.method != "HEAD");
    let asked = hosted.registry().requests().len() + sigstore.count();
    assert_eq!(lines.len(), asked, "{}", outcome.log);
    for request in hosted.registry().requests() {
        let path = request.path.split('?').next().unwrap();
        let status = request.status.unwrap();
        let wanted = format!("{:<5} {}{path} {status}", request.method, request.host);
        assert!(
            lines.iter().any(|line| line.contains(&wanted)),
            "{wanted}\n{}",
            outcome.log
        );
    }
    assert!(
        !lines.iter().any(|line| line.contains('?')),
        "{}",
        outcome.log
    );
    let [host, ..] = Service::Ecr.hosts();
    outcome.says(&[
        &format!("trace: {asked} requests, at least "),
        &format!("trace: {host}: "),
        &format!("trace: {}: 1 request, ", hosted.registry().address()),
    ]);
}
