//! The optional parts of the registry protocol: what each registry does, compared with the table in
//! `.github/docs/registry-features.md`, and several tags in one request at a registry that is not ours.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use manifest_seal::domain::{Algorithm, Digest};
use serde_json::{Value, json};

use super::interoperability::{digests, two_children};
use super::support::{
    Action, Flavour, Registry, Server, Tool, free_port, on_each_registry, push_child, stack, text,
};

on_each_registry!(features_equal_the_documented_ones);

const TABLE: &str = include_str!("../../.github/docs/registry-features.md");
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A response to a request of curl.
struct Response {
    status: u16,
    /// Status line and headers.
    head: String,
    body: String,
}

/// An image under a tag, in an unused repository.
struct Probe {
    /// `http://HOST/v2/REPOSITORY`, or `https://`.
    url: String,
    manifest: String,
    digest: Digest,
}

impl Response {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the values of a header that may be repeated.
    fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let lines = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| value.trim()).collect()
    }
}

fn send(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&str>) -> Response {
    let mut curl = Tool::curl().args(["-s", "-i", "--http1.1", "--noproxy", "*", "-m", "20"]);
    curl = match method {
        "HEAD" => curl.arg("--head"),
        _ => curl.args(["-X", method]),
    };
    for (name, value) in headers {
        curl = curl.args(["-H", &format!("{name}: {value}")]);
    }
    if let Some(body) = body {
        curl = curl.args(["-H", "Expect:", "--data-binary", "@-"]);
        curl = curl.stdin(body.as_bytes());
    }
    let output = curl.arg(url).output();
    assert!(output.status.success(), "{method} {url}\n{}", text(&output));
    let answer = String::from_utf8(output.stdout).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    Response {
        status: status.parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

impl Probe {
    fn new(registry: Registry) -> Self {
        let repository = registry.fresh();
        let child = push_child(&repository, "amd64", Flavour::Oci);
        let (host, name) = repository.split_once('/').unwrap();
        let scheme = if host.starts_with("127.") {
            "http"
        } else {
            "https"
        };
        let url = format!("{scheme}://{host}/v2/{name}");
        let accept = [("Accept", MANIFEST)];
        let there = format!("{url}/manifests/{}", child.digest);
        let manifest = send("GET", &there, &accept, None).body;
        let probe = Self {
            url,
            digest: Digest::of(manifest.as_bytes()),
            manifest,
        };
        assert_eq!(probe.digest.to_string(), child.digest);
        assert!(
            probe
                .put("tag", &[], MANIFEST, &probe.manifest)
                .is_success()
        );
        probe
    }

    fn put(
        &self,
        reference: &str,
        condition: &[(&str, &str)],
        media_type: &str,
        body: &str,
    ) -> Response {
        let url = format!("{}/manifests/{reference}", self.url);
        let headers = [&[("Content-Type", media_type)], condition].concat();
        send("PUT", &url, &headers, Some(body))
    }

    fn read(&self, method: &str, reference: &str) -> Response {
        let url = format!("{}/manifests/{reference}", self.url);
        let accept = format!("{MANIFEST}, {INDEX}");
        send(method, &url, &[("Accept", &accept)], None)
    }

    /// Pushes by digest with two tags in the query.
    fn tag_parameter(&self) -> String {
        let reference = format!("{}?tag=q1&tag=q2", self.digest);
        let put = self.put(&reference, &[], MANIFEST, &self.manifest);
        let named = put.values("oci-tag").join(",");
        let named: BTreeSet<&str> = named.split(',').map(str::trim).collect();
        let there = |tag: &&str| self.read("GET", tag).is_success();
        let written: BTreeSet<&str> = ["q1", "q2"].into_iter().filter(there).collect();
        match (put.status, written.len()) {
            (201, 2) if named == written => "honoured".to_owned(),
            (201, 0) if named == BTreeSet::from([""]) => "ignored".to_owned(),
            (status, written) => format!("{status}, {written} written, named {named:?}"),
        }
    }

    fn etag(&self) -> String {
        let etag = self.read("HEAD", "tag").values("etag").join(", ");
        let is_strong = etag.starts_with('"');
        match etag.as_str() {
            "" => "no",
            _ if is_strong => "yes",
            _ => "weak",
        }
        .to_owned()
    }

    /// Pushes by tag under a condition that does not hold.
    fn condition(&self, name: &str, value: &str) -> String {
        let put = self.put("tag", &[(name, value)], MANIFEST, &self.manifest);
        match put.status {
            200..300 => "ignored".to_owned(),
            412 => "honoured".to_owned(),
            status => format!("{status} {}", code(&put)),
        }
    }

    /// Uploads a blob under its SHA-512 digest, and reads it.
    fn sha512_blob(&self) -> String {
        let content = "content under another algorithm";
        let digest = Algorithm::Sha512.digest(content.as_bytes()).to_string();
        let uploads = format!("{}/blobs/uploads/?digest-algorithm=sha512", self.url);
        let begun = send("POST", &uploads, &[], Some(""));
        let upload = begun.values("location").concat();
        let host = self.url.split("/v2/").next().unwrap();
        let upload = if upload.starts_with('/') {
            format!("{host}{upload}")
        } else {
            upload
        };
        let separator = if upload.contains('?') { '&' } else { '?' };
        let address = format!("{upload}{separator}digest={digest}");
        let octets = [("Content-Type", "application/octet-stream")];
        let put = send("PUT", &address, &octets, Some(content));
        let blob = send("GET", &format!("{}/blobs/{digest}", self.url), &[], None);
        stored(&put, blob.status == 200 && blob.body == content)
    }

    /// Pushes a manifest under its SHA-512 digest, and reads it.
    fn sha512_manifest(&self) -> String {
        let digest = Algorithm::Sha512.digest(self.manifest.as_bytes());
        let put = self.put(&digest.to_string(), &[], MANIFEST, &self.manifest);
        let read = self.read("GET", &digest.to_string());
        stored(&put, read.status == 200 && read.body == self.manifest)
    }

    /// Pushes an index with an entry whose manifest is absent.
    fn dead_entry(&self) -> String {
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX,
            "manifests": [{"mediaType": MANIFEST, "digest": Digest::of(b"absent").to_string(), "size": 6}],
        });
        let put = self.put("list", &[], INDEX, &index.to_string());
        if put.is_success() {
            "accepted".to_owned()
        } else {
            format!("{} {}", put.status, code(&put))
        }
    }

    fn redirect(&self) -> String {
        match self.read("GET", "tag").status {
            200 => "no".to_owned(),
            status => status.to_string(),
        }
    }
}

/// Returns the error code of a refusal, as Markdown.
fn code(response: &Response) -> String {
    let body: Value = serde_json::from_str(&response.body).unwrap_or_default();
    let code = body["errors"][0]["code"].as_str();
    code.map_or_else(String::new, |code| format!("`{code}`"))
}

fn stored(put: &Response, is_there: bool) -> String {
    match (put.is_success(), is_there) {
        (true, true) => "yes".to_owned(),
        (true, false) => format!("{}, not stored", put.status),
        (false, _) => format!("no: {} {}", put.status, code(put)),
    }
}

fn features_equal_the_documented_ones(registry: Registry) {
    let probe = Probe::new(registry);
    let features = [
        probe.tag_parameter(),
        probe.etag(),
        probe.condition("If-Match", "\"no content has this\""),
        probe.condition("If-None-Match", "*"),
        probe.sha512_blob(),
        probe.sha512_manifest(),
        probe.dead_entry(),
        probe.redirect(),
    ];
    let name = registry.name();
    let row = format!(
        "| {name} | {} | {} |",
        registry.version(),
        features.join(" | ")
    );
    println!("{row}");
    // The date is the last column.
    let row = row.strip_suffix('|').unwrap();
    assert!(TABLE.contains(row), "not in the table: {row}");
}

#[test]
fn several_tags_take_one_request_at_olareg() {
    let tags = ["v1.2.3", "v1.2", "v1", "latest", "edge"];
    let repository = Registry::Olareg.fresh();
    let (host, name) = repository.split_once('/').unwrap();
    let log = PathBuf::from(stack("FOLDER")).join(format!("log/{}.jsonl", name.replace('/', "-")));
    let port = free_port();
    let front = format!("127.0.0.1:{port}");
    let route = format!("olareg={front}={host}");
    let _proxy = Server::start("countproxy", &["-log", log.to_str().unwrap(), &route], port);
    let repository = format!("{front}/{name}");
    let children = two_children(&repository, Flavour::Oci);
    let seal = Action::seal(&repository, &digests(&children), &tags[..3])
        .input("moving-tags", &tags[3..].join("\n"))
        .input("trace", "true");

    let before = tag_writes(&log);
    let sealed = seal.succeed();
    let digest = sealed.output("digest");
    let writes = tag_writes(&log)[before.len()..].to_vec();
    let query = |tags: &[&str]| {
        format!(
            "PUT /v2/{name}/manifests/{digest}?tag={}",
            tags.join("&tag=")
        )
    };
    assert_eq!(
        writes,
        [query(&tags[..3]), query(&tags[3..])],
        "{}",
        sealed.log
    );
    for tag in tags {
        let reference = format!("{repository}:{tag}");
        let crane = Tool::crane().args(["digest", &reference]).succeed();
        let regctl = Tool::regctl(&reference).args(["image", "digest", &reference]);
        assert_eq!([crane, regctl.succeed()], [digest, digest], "{tag}");
    }
    Action::new("verify", &format!("{repository}:v1")).succeed();

    let before = all_writes(&log);
    let again = seal.succeed();
    assert_eq!(again.output("result"), "unchanged", "{}", again.log);
    assert_eq!(all_writes(&log), before, "{}", again.log);
}

/// Returns the requests that write tags, as method and URL.
fn tag_writes(log: &Path) -> Vec<String> {
    let is_of_tag = |request: &String| {
        let (_, reference) = request.split_once("/manifests/").unwrap_or_default();
        reference.contains("?tag=") || (!reference.is_empty() && !reference.contains(':'))
    };
    let writes = all_writes(log).into_iter();
    writes.filter(is_of_tag).collect()
}

/// Returns the requests other than reads, as method and URL.
fn all_writes(log: &Path) -> Vec<String> {
    let lines = fs::read_to_string(log).unwrap();
    let requests = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        format!("{} {}", text("method"), text("url"))
    });
    let is_read = |request: &String| request.starts_with("GET ") || request.starts_with("HEAD ");
    requests.filter(|request| !is_read(request)).collect()
}
