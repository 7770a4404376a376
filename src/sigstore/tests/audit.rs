//! Tests every request to Sigstore with every possible response, by HTTP/1.1 and by HTTP/2. Signing continues after the
//! responses that the table lists, and ends with the step's own error after all others.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox::Proof;

use crate::domain::{Digest, Events, RetryPolicy, Secret};
use crate::http::Client;
use crate::http::tests::audit::{self, By, Clients, Fails};
use crate::http::tests::server::{Reply, Seen, Server, reply};

use super::super::service_client::ServiceClient;
use super::super::trust::{Purpose, Trust, TrustSource};
use super::super::tuf::Tuf;
use super::super::{Keyless, SigstoreError, TokenSource};
use super::recorded_trust;
use super::services::{
    CERTIFICATE, ENTRIES_V1, ENTRIES_V2, ID, TIMESTAMP, TOKEN, signing_config, well,
};
use super::tuf::{LATER, TufSigner, good_targets};

/// A policy of one attempt without waits.
const ONCE: RetryPolicy = RetryPolicy {
    max_attempts: 1,
    delay: Duration::ZERO,
    max_delay: Duration::ZERO,
    at_least: Duration::ZERO,
    propagation: Duration::ZERO,
};

/// The content of a response's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SigstoreSays {
    Nothing,
    Garbage,
    Page,
    /// JSON without the expected fields.
    Json,
    /// The first half of the expected body.
    Half,
    Right,
}

const SAYINGS: [SigstoreSays; 6] = [
    SigstoreSays::Nothing,
    SigstoreSays::Right,
    SigstoreSays::Half,
    SigstoreSays::Garbage,
    SigstoreSays::Page,
    SigstoreSays::Json,
];

type SigstoreCase = audit::Case<SigstoreSays>;

/// The tested request, by method and path, and its response.
type Script = Arc<Mutex<(String, String, Reply)>>;

async fn server(
    by: By,
    script: &Script,
    well: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> Server {
    let script = Arc::clone(script);
    let answer = move |asked: &Seen| {
        let (method, path, reply) = script.lock().unwrap().clone();
        if asked.method != method || asked.path() != path {
            return well(asked);
        }
        reply
    };
    match by {
        By::Plain => Server::start(answer).await,
        By::Http2 => Server::start_http2(answer),
    }
}

fn answer(case: SigstoreCase, right: &[u8]) -> Reply {
    let (status, says) = match case {
        Ok(answer) => answer,
        Err(Fails::Reset) => return Reply::silent(),
        Err(Fails::Cut) => return reply(200, right).cut(),
        Err(Fails::Silence) => return Reply::stalled(),
    };
    let body: &[u8] = match says {
        SigstoreSays::Nothing => b"",
        SigstoreSays::Garbage => b"\0\x01{",
        SigstoreSays::Page => b"<html>Not found</html>",
        SigstoreSays::Json => b"{}",
        SigstoreSays::Half => &right[..right.len() / 2],
        SigstoreSays::Right => right,
    };
    reply(status, body)
}

/// All responses. Each body has the statuses that some code treats specially; outside of a sample, two bodies have all
/// statuses.
fn cases() -> Vec<SigstoreCase> {
    let is_played = |(status, says): &(u16, SigstoreSays)| match status {
        200 | 201 | 403 | 404 | 409 => true,
        204 | 206 | 301 | 307 | 400 | 401 | 429 | 500 | 503 => *says == SigstoreSays::Right,
        _ => Proof::is_wanted() && matches!(says, SigstoreSays::Nothing | SigstoreSays::Right),
    };
    let answers = (200..600).flat_map(|status| SAYINGS.map(|says| (status, says)));
    let answers = answers.filter(is_played).map(Ok);
    answers.chain(Fails::ALL.map(Err)).collect()
}

/// A request, and the responses after which signing continues.
struct SigstoreRow {
    request: &'static str,
    method: &'static str,
    path: String,
    log: u32,
    goes_on: fn(u16, SigstoreSays) -> bool,
    is_its_error: fn(&SigstoreError) -> bool,
}

fn rows() -> [SigstoreRow; 6] {
    let row = |request, method, path: &str, log, goes_on, is_its_error| SigstoreRow {
        request,
        method,
        path: path.to_owned(),
        log,
        goes_on,
        is_its_error,
    };
    let entry = format!("{ENTRIES_V1}/{ID}");
    // 204 has no body, whatever is sent.
    let is_right: fn(u16, SigstoreSays) -> bool =
        |status, says| matches!(status, 200..=203 | 205..=299) && says == SigstoreSays::Right;
    // The log's response names the id of an existing entry, which is then fetched.
    let or_held: fn(u16, SigstoreSays) -> bool = |status, says| match says {
        SigstoreSays::Right => matches!(status, 200..=203 | 205..=299 | 409),
        SigstoreSays::Half => status == 409,
        SigstoreSays::Nothing | SigstoreSays::Garbage | SigstoreSays::Page | SigstoreSays::Json => {
            false
        }
    };
    // Only the head of a timestamp is checked until the whole signature is verified.
    let is_granted: fn(u16, SigstoreSays) -> bool = |status, says| {
        matches!(status, 200..=203 | 205..=299)
            && matches!(says, SigstoreSays::Right | SigstoreSays::Half)
    };
    let is_log: fn(&SigstoreError) -> bool = |error| matches!(error, SigstoreError::Log(_));
    [
        row("identity token: GET", "GET", TOKEN, 1, is_right, |error| {
            matches!(
                error,
                SigstoreError::Token(_) | SigstoreError::TokenUnreadable(_)
            )
        }),
        row("Fulcio: POST", "POST", CERTIFICATE, 1, is_right, |error| {
            matches!(error, SigstoreError::Certificate(_))
        }),
        row(
            "Rekor v1: POST entry",
            "POST",
            ENTRIES_V1,
            1,
            or_held,
            is_log,
        ),
        row("Rekor v1: GET entry", "GET", &entry, 1, is_right, is_log),
        row(
            "Rekor v2: POST entry",
            "POST",
            ENTRIES_V2,
            2,
            is_right,
            is_log,
        ),
        row(
            "timestamp: POST",
            "POST",
            TIMESTAMP,
            1,
            is_granted,
            |error| matches!(error, SigstoreError::Timestamp(_)),
        ),
    ]
}

/// True if a signature reached its last check, which nothing that a script makes passes.
async fn goes_on(row: &SigstoreRow, server: &Server, trust: &Arc<Trust>, http: &Client) -> bool {
    let source = TokenSource::GitHub {
        request_url: format!("{}{TOKEN}", server.url()),
        request_token: Secret::new("request"),
        audience: "sigstore".to_owned(),
    };
    let keyless = Keyless::new(
        Arc::clone(trust),
        http.clone(),
        source,
        ONCE,
        &Events::silent(),
    );
    let error = keyless.unwrap().sign(&Digest::of(b"first")).await;
    let error = error.unwrap_err();
    let goes_on = matches!(error, SigstoreError::SelfCheck(_));
    assert!(
        goes_on || (row.is_its_error)(&error),
        "{}: {error:?}",
        row.request
    );
    goes_on
}

fn proof(title: &str) -> Proof {
    let columns = [
        "request",
        "answers played",
        "went on",
        "ended with the step's error",
        "not as the table says",
    ];
    Proof::new("absence", title, &columns)
}

#[tokio::test]
async fn absence_audit_of_every_request_to_sigstore() {
    audit_signing(By::Plain, "Requests to Sigstore").await;
}

#[tokio::test]
async fn absence_audit_of_every_request_to_sigstore_over_http2() {
    audit_signing(By::Http2, "Requests to Sigstore, over HTTP/2").await;
}

async fn audit_signing(by: By, title: &str) {
    let mut proof = proof(title);
    let mut wrong = Vec::new();
    let cases = cases();
    for row in rows() {
        let script: Script = Arc::new(Mutex::new((
            row.method.to_owned(),
            row.path.clone(),
            Reply::silent(),
        )));
        let is_fetched = row.method == "GET" && row.path.starts_with(ENTRIES_V1);
        let all_well = move |asked: &Seen| match asked.path() {
            ENTRIES_V1 if is_fetched => {
                reply(409, "").header("location", format!("{ENTRIES_V1}/{ID}"))
            }
            _ => well(asked),
        };
        let server = server(by, &script, all_well).await;
        let config = signing_config(&server.url(), row.log).to_string();
        let trust = Arc::new(recorded_trust(Some(config)).await);
        let http = Clients::new(None);
        let (mut went, before) = (0, wrong.len());
        for case in &cases {
            let right = well(&Seen::new(row.method, &row.path));
            script.lock().unwrap().2 = answer(*case, right.content());
            let goes = goes_on(&row, &server, &trust, http.of(case)).await;
            went += usize::from(goes);
            if goes != case.is_ok_and(|(status, says)| (row.goes_on)(status, says)) {
                wrong.push(format!("{} {case:?}: goes on: {goes}", row.request));
            }
        }
        assert!(went > 0, "`{}` was never seen to work", row.request);
        proof.row(&[
            &row.request,
            &cases.len(),
            &went,
            &(cases.len() - went),
            &(wrong.len() - before),
        ]);
    }
    proof.end(&format!(
        "{} answers; {} read as anything that the table does not say.",
        cases.len() * rows().len(),
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn absence_audit_of_every_request_for_trust() {
    audit_trust(By::Plain, "Requests for the trusted root (TUF)").await;
}

#[tokio::test]
async fn absence_audit_of_every_request_for_trust_over_http2() {
    audit_trust(
        By::Http2,
        "Requests for the trusted root (TUF), over HTTP/2",
    )
    .await;
}

async fn audit_trust(by: By, title: &str) {
    let signer = TufSigner::new();
    let mut files = signer.repository(1, LATER, &good_targets());
    // In place of a newer root the server returns the old one, which must not be followed.
    let root = signer.root();
    let right_root = root.clone();
    let newer = "/2.root.json".to_owned();
    let paths = [
        newer.as_str(),
        "/timestamp.json",
        "/snapshot.json",
        "/targets.json",
        "/targets/trusted_root.json",
    ];
    let rights: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| files.get(*path).unwrap_or(&right_root).clone())
        .collect();
    let script: Script = Arc::new(Mutex::new((
        "GET".to_owned(),
        String::new(),
        Reply::silent(),
    )));
    files.remove(&newer);
    let server = server(by, &script, move |asked| {
        let file = files.get(asked.path());
        file.map_or_else(|| reply(404, ""), |bytes| reply(200, bytes.clone()))
    })
    .await;
    let http = Clients::new(None);
    let (mut proof, mut wrong, cases) = (proof(title), vec![], cases());
    for (path, right) in paths.iter().zip(&rights) {
        let (mut went, before) = (0, wrong.len());
        for case in &cases {
            *script.lock().unwrap() = ("GET".to_owned(), (*path).to_owned(), answer(*case, right));
            let events = Events::silent();
            let client = ServiceClient::new(http.of(case).clone(), ONCE, &events);
            let tuf = Tuf::new(&server.url(), &root, None, client);
            let loaded = Trust::load_from(&TrustSource::default(), Purpose::Verify, &tuf).await;
            let wanted = case.is_ok_and(|(status, says)| {
                if *path == newer {
                    // No newer root exists; an object store returns 403 for that.
                    matches!(status, 403 | 404)
                } else {
                    (status, says) == (200, SigstoreSays::Right)
                }
            });
            went += usize::from(loaded.is_ok());
            if loaded.is_ok() != wanted {
                wrong.push(format!("{path} {case:?}: goes on: {}", loaded.is_ok()));
            }
        }
        proof.row(&[
            &format!("`{path}`"),
            &cases.len(),
            &went,
            &(cases.len() - went),
            &(wrong.len() - before),
        ]);
    }
    proof.end(&format!(
        "{} answers; {} read as anything that the table does not say. Of a newer root 403 and 404 say that there is none.",
        cases.len() * paths.len(),
        wrong.len()
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
