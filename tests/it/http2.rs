//! TLS with HTTP/2, as hosted registries and Sigstore speak it: every command, and every kind of request. The other tests
//! run over it as well where `MANIFEST_SEAL_TEST_TRANSPORT` is `h2`.

use sandbox::{Deletes, Options, Referrers, Registry, Request, Service, Transport, Version};
use serde_json::json;

use crate::support::hosted::{Hosted, PASSWORD};
use crate::support::{Action, REPOSITORY, World, cleanup};
use crate::uploads::Passage;

const USER: &str = "octocat";
const TARGET: &str = "prod/app";
const MIB: usize = 1 << 20;

/// Every kind of request that a run sends: method, and what its path holds.
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

/// A registry and a Sigstore where images are built, and a registry where they are published; both want tokens.
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

    /// Publishes `index` under `tags`, and checks who has signed.
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
    // Its blobs are on another host, and its tokens come from a third.
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

/// Every blob is asked for by HEAD, whose answer says how long the blob is and has no body.
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
    // In place of a copy by another tool: the images are there, and nothing that belongs to them.
    pipeline.target.delete_tag(TARGET, "v1");
    pipeline.publish(&index, &pipeline.there("v3")).succeed();
    let requests = pipeline.target.requests();
    let is_head = |request: &&Request| request.method == "HEAD" && request.path.contains("/blobs/");
    assert!(requests.iter().filter(is_head).count() > 0);
    assert_eq!(pipeline.target.tags(TARGET)["v2"], index);
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

/// HTTP/2 ends a body with a frame that may be empty; HTTP/1.1 takes an upload for whole once it has all of its bytes.
#[test]
fn wrong_blob_from_http2_is_never_whole_at_a_registry_that_speaks_http1() {
    let passage =
        |size| Passage::between(options(), Options::new().transport(Transport::PLAIN), size);
    let right = passage(300_000);
    right.publish().succeed();
    right.has_arrived();
    let wrong = passage(300_000);
    let read = format!("*/blobs/{}", wrong.layer);
    let fault = sandbox::Fault::on("GET", &read).times(u32::MAX);
    wrong.source.fault(fault.wrong_digest());
    let refused = wrong.publish().end_with(1);
    refused.says(&["the digest of the content is"]);
    let requests = wrong.target.requests();
    let whole = |request: &&Request| request.method == "PUT" && request.body_length >= 300_000;
    assert_eq!(requests.iter().filter(whole).count(), 0);
}
