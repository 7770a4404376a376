//! TLS with HTTP/2, the protocol of hosted registries and Sigstore: every command, and every kind of request. The other tests
//! also use it if `MANIFEST_SEAL_TEST_TRANSPORT` is `h2`.

use sandbox::{
    Deletes, Fault, Options, Proof, Referrers, Registry, Request, Service, Transport, Version,
};
use serde_json::json;

use crate::support::hosted::{Hosted, PASSWORD};
use crate::support::{Action, Passage, REPOSITORY, World, attach_with, cleanup};

const USER: &str = "octocat";
const TARGET: &str = "prod/app";
const MIB: usize = 1 << 20;

/// Every kind of request that a run sends: its method, and a part of its path.
pub(crate) const KINDS: [(&str, &str); 21] = [
    ("GET", "/manifests/"),
    ("HEAD", "/manifests/"),
    ("PUT", "/manifests/"),
    ("DELETE", "/manifests/"),
    ("HEAD", "/blobs/sha256:"),
    ("GET", "/blobs/sha256:"),
    ("GET", "X-Amz-Signature"),
    ("POST", "/blobs/uploads/?digest="),
    ("POST", "/blobs/uploads/?mount="),
    ("POST", "/blobs/uploads/"),
    ("PATCH", "/blobs/uploads/"),
    ("PUT", "/blobs/uploads/"),
    ("DELETE", "/blobs/uploads/"),
    ("GET", "/tags/list"),
    ("GET", "/referrers/"),
    ("GET", "/token?"),
    ("GET", "/gh/token"),
    ("POST", "/api/v2/signingCert"),
    ("POST", "/api/v1/log/entries"),
    ("POST", "/api/v2/log/entries"),
    ("POST", "/api/v1/timestamp"),
];

fn options() -> Options {
    Options::new().transport(Transport::HTTP2)
}

/// A registry and a Sigstore to build images, and a registry to publish them; both registries require tokens.
struct Pipeline {
    world: World,
    target: Registry,
}

impl Pipeline {
    fn new() -> Self {
        let target = options()
            .referrers(Referrers::TagSchema)
            .takes_whole(false)
            .deletes(Deletes::Digests);
        let world = World::with(options().bearer(USER, PASSWORD));
        world.sigstore().offer_rekor_v2();
        Self {
            world,
            target: Registry::start(target.bearer(USER, PASSWORD)),
        }
    }

    fn logged_in(&self, action: Action) -> Action {
        let hosts = [self.world.registry().address(), self.target.address()];
        let logins =
            hosts.map(|host| json!({"registry": host, "username": USER, "password": PASSWORD}));
        action.input("registry-auths", json!(logins).to_string())
    }

    fn there(&self, tag: &str) -> String {
        format!("{}:{tag}", self.target.repository(TARGET))
    }

    /// Returns a run that publishes `index` under `tags`, and verifies its signatures.
    fn publish(&self, index: &str, tags: &str) -> Action {
        let sigstore = self.world.sigstore();
        let publish = Action::new("publish")
            .input("source", self.world.at(index))
            .input("tags", tags)
            .input("trusted-root", sigstore.trusted_root())
            .input("certificate-identity", sigstore.identity())
            .input("certificate-oidc-issuer", sigstore.issuer());
        self.logged_in(publish)
    }

    fn build(&self) -> String {
        let create = self.logged_in(self.world.create().input("tags", ""));
        let index = create.succeed().outputs["digest"].clone();
        let sign = self.world.sign(&index).input("recursive", "true");
        self.logged_in(sign).succeed();
        index
    }
}

#[test]
fn every_command_works_and_every_kind_of_request_goes_by_http2() {
    let pipeline = Pipeline::new();
    let world = &pipeline.world;
    let index = pipeline.build();

    let preflight = Action::new("preflight").input("tags", pipeline.there("v1"));
    let free = pipeline.logged_in(preflight).succeed();
    assert_eq!(free.output("proceed"), "true");
    let publish = pipeline.publish(&index, &pipeline.there("v1"));
    assert_eq!(publish.succeed().output("result"), "created");
    let verify = world.verify("v1").input("image", pipeline.there("v1"));
    let verified = pipeline.logged_in(verify).succeed();
    assert_eq!(verified.output("digest"), index);

    let seal = pipeline.logged_in(world.seal().input("signature-format", "both"));
    assert_eq!(seal.succeed().output("digest"), index);
    assert_eq!(seal.succeed().output("result"), "unchanged");
    // Within one registry blobs are mounted.
    let beside = format!("{}:v1", world.registry().repository(TARGET));
    pipeline.publish(&index, &beside).succeed();
    pipeline.logged_in(cleanup(&publish)).succeed();
    assert!(!pipeline.target.tags(TARGET).contains_key("v1"));

    let parts = Passage::between(options(), options().upload_max(4 * MIB), 5 * MIB);
    parts.publish().succeed();
    parts.has_arrived();
    // Docker Hub serves its blobs from another host, and its tokens from a third.
    let hub = Hosted::with(Service::DockerHub, options());
    hub.logged_in(hub.world.seal()).succeed();
    hub.kept_to_itself();

    let requests = [
        world.registry().requests(),
        world.sigstore().requests(),
        pipeline.target.requests(),
        parts.source.requests(),
        parts.target.requests(),
        hub.registry().requests(),
        hub.world.sigstore().requests(),
    ];
    let requests = requests.concat();
    let slow: Vec<&Request> = requests
        .iter()
        .filter(|request| request.version != Version::Http2)
        .collect();
    assert!(slow.is_empty(), "{slow:?}");
    let is_missing = |(method, part): &(&str, &str)| {
        let is_it = |request: &Request| request.method == *method && request.path.contains(part);
        !requests.iter().any(is_it)
    };
    let missing: Vec<_> = KINDS.into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Checks every blob by a HEAD request: the response states the blob's length and has no body.
#[test]
fn what_is_there_already_is_published_again_and_under_another_tag() {
    let pipeline = Pipeline::new();
    let index = pipeline.build();
    pipeline.publish(&index, &pipeline.there("v1")).succeed();
    pipeline.target.clear_requests();
    for (tag, result) in [("v1", "unchanged"), ("v2", "created")] {
        let publish = pipeline.publish(&index, &pipeline.there(tag));
        assert_eq!(publish.succeed().output("result"), result, "{tag}");
    }
    // Stands for a copy by another tool: the images exist at the destination, without their referrers.
    pipeline.target.delete_tag(TARGET, "v1");
    pipeline.publish(&index, &pipeline.there("v3")).succeed();
    let requests = pipeline.target.requests();
    let is_head = |request: &&Request| request.method == "HEAD" && request.path.contains("/blobs/");
    assert!(requests.iter().filter(is_head).count() > 0);
    assert_eq!(pipeline.target.tags(TARGET)["v2"], index);
}

/// Plays responses by which the server has not processed the request. It is sent again at once, even a POST, without using one
/// of the run's attempts.
#[test]
fn request_that_was_not_looked_at_is_sent_again_at_once() {
    const REFUSED_STREAM: u32 = 7;
    let asked = [
        ("GET", "*/manifests/*"),
        ("PUT", "*/manifests/*"),
        ("GET", "*/blobs/*"),
        ("POST", "*/blobs/uploads/*"),
        ("GET", "*/referrers/*"),
        ("GET", "/token*"),
        ("GET", "/gh/token*"),
        ("POST", "/api/v2/signingCert"),
        ("POST", "/api/v2/log/entries"),
        ("POST", "/api/v1/timestamp"),
    ];
    for (method, path) in asked {
        let pipeline = Pipeline::new();
        let (registry, sigstore) = (pipeline.world.registry(), pipeline.world.sigstore());
        let at = || Fault::on(method, path);
        for fault in [at().reset_stream(REFUSED_STREAM), at().go_away_before()] {
            registry.fault(fault.clone());
            sigstore.fault(fault);
        }
        let seal = pipeline.logged_in(pipeline.world.seal().input("max-attempts", "1"));
        let sealed = seal.succeed();
        assert!(!sealed.log.contains("retry in"), "{}", sealed.log);
        let faulty = [registry.requests(), sigstore.requests()].concat();
        let faulty = faulty.iter().filter(|request| request.faulty).count();
        assert_eq!(faulty, 2, "{method} {path}");
        assert_eq!(sigstore.entries(), 1, "{method} {path}");
    }
}

/// Plays long response headers, which HTTP/1.1 accepts too.
#[test]
fn long_headers_are_no_fault() {
    let world = World::with(options());
    let long = "x".repeat(300 << 10);
    for path in ["*/manifests/*", "*/blobs/*", "*/referrers/*"] {
        let fault = Fault::on("GET", path).set_header("x-long", &long);
        world.registry().fault(fault);
    }
    world.seal().input("max-attempts", "1").succeed();
    let requests = world.registry().requests();
    assert!(requests.iter().filter(|request| request.faulty).count() == 3);
}

/// Plays a dead connection that no error reports. Without detection every retry would reuse it. The detection takes half a
/// minute, so this test runs only with the long proofs.
#[test]
fn connection_that_falls_silent_is_given_up() {
    if !Proof::is_wanted() {
        return;
    }
    let world = World::with(options());
    let path = format!("*/blobs/{}", world.amd64.config);
    world
        .registry()
        .fault(Fault::on("GET", &path).silence_after());
    let sealed = world.seal().input("retry-delay", "1s").succeed();
    assert_eq!(sealed.output("signed"), "true");
    assert!(world.registry().connections() > 1);
}

#[test]
fn one_request_at_a_time_is_enough() {
    let transport = Transport::HTTP2.streams_max(1);
    let world = World::with(Options::new().transport(transport));
    let sealed = world.seal().succeed();
    assert_eq!(sealed.output("signed"), "true");
    assert_eq!(world.seal().succeed().output("result"), "unchanged");
}

/// Uploads a streamed layer to a server with a flow-control window of one byte; 64 bytes outside the long proofs. Each window
/// costs a round trip, and a busy machine completes few of them.
#[test]
fn large_layer_goes_through_the_smallest_window() {
    let transport = Transport::HTTP2.window_bytes(if Proof::is_wanted() { 1 } else { 64 });
    let passage = Passage::between(options(), Options::new().transport(transport), 70_000);
    passage.publish().input("timeout", "30m").succeed();
    passage.has_arrived();
}

/// Reads the maximum of concurrent bodies, each longer than its stream's window: the connection's window has room for all.
#[test]
fn large_answers_do_not_wait_for_one_another() {
    let world = World::with(options());
    let sealed = world.seal().succeed();
    let digest = sealed.output("digest");
    let large = "x".repeat(3 * MIB);
    for number in 0..20 {
        let bundle = format!("{number}{}", " ".repeat(MIB - 10));
        attach_with(&world, digest, bundle.as_bytes(), &large);
    }
    world
        .registry()
        .delete_manifest(REPOSITORY, &world.listed(digest)[0]);
    let verify = world.verify("v1").input("max-attempts", "1");
    verify.input("timeout", "60s").end_with(3);
}

#[test]
fn server_that_offers_no_http2_is_spoken_to_by_http1() {
    let world = World::with(Options::new().transport(Transport::HTTP1));
    world.seal().succeed();
    let requests = [world.registry().requests(), world.sigstore().requests()].concat();
    assert!(
        requests
            .iter()
            .all(|request| request.version == Version::Http1)
    );
    assert_eq!(world.tags().len(), 1, "{REPOSITORY}");
}

/// Sends requests of all kinds, including large uploads, over the connections of the first two requests to each host, which
/// start together. More would cost handshakes.
#[test]
fn connections_of_the_first_requests_are_enough() {
    let passage = Passage::between(options(), options(), 3 * MIB);
    passage.publish().succeed();
    passage.has_arrived();
    let connections = [&passage.source, &passage.target].map(Registry::connections);
    assert!(
        connections.iter().all(|count| *count <= 2),
        "{connections:?}"
    );
}

/// Copies a wrong blob from HTTP/2 to HTTP/1.1. HTTP/2 ends a body with a frame that may be empty. HTTP/1.1 accepts an upload
/// as complete once it has all of its bytes.
#[test]
fn wrong_blob_from_http2_is_never_whole_at_a_registry_that_speaks_http1() {
    let passage =
        |size| Passage::between(options(), Options::new().transport(Transport::PLAIN), size);
    let right = passage(300_000);
    right.publish().succeed();
    right.has_arrived();
    let wrong = passage(300_000);
    let read = format!("*/blobs/{}", wrong.layer);
    let fault = Fault::on("GET", &read).times(u32::MAX);
    wrong.source.fault(fault.wrong_digest());
    let refused = wrong.publish().end_with(1);
    refused.says(&["the digest of the content is"]);
    let requests = wrong.target.requests();
    let whole = |request: &&Request| request.method == "PUT" && request.body_length >= 300_000;
    assert_eq!(requests.iter().filter(whole).count(), 0);
}
