//! Tests over the protocol of hosted registries and Sigstore: TLS with HTTP/2, by nginx in front of all of them.
//! `tests/peers/run` runs this, and the modules that it lists besides, with the TLS environment.

use std::collections::BTreeSet;

use manifest_seal::domain::Digest;

use super::convergence::digest_of;
use super::interoperability::{digests, two_children};
use super::publish::written;
use super::support::{
    Action, Flavour, Mark, Outcome, Registry, Request, Tool, Workflow, push_layers,
};

/// Larger than any buffer in memory.
const LARGE: u64 = 24 << 20;

/// The pairs of source and destination registry.
const WAYS: [(Registry, Registry); 2] = [
    (Registry::Debian, Registry::Distribution),
    (Registry::Distribution, Registry::Debian),
];

#[test]
fn seal_and_verify_converge_and_others_read_what_was_written() {
    for (registry, _) in WAYS {
        let mark = Mark::now();
        let repository = registry.fresh();
        let children = two_children(&repository, Flavour::Oci);
        let seal = Action::seal(&repository, &digests(&children), &["v1"]);
        let sealed = seal.succeed();
        assert_eq!(sealed.output("result"), "created", "{}", sealed.log);
        let again = seal.succeed();
        assert_eq!(again.output("result"), "unchanged", "{}", again.log);
        assert_eq!(again.output("sign-skipped"), "true", "{}", again.log);
        let tag = format!("{repository}:v1");
        let verified = Action::new("verify", &tag).succeed();
        assert_eq!(verified.output("digest"), sealed.output("digest"));
        others_read(&repository, "v1", sealed.output("digest"));
        let requests = mark.traffic().requests;
        only_http2_was_spoken(&requests, &repository);
        sigstore_was_asked_over_http2(&requests);
    }
}

#[test]
fn publish_converges_under_one_tag_and_the_next() {
    for (from, to) in WAYS {
        let mark = Mark::now();
        let (built, published) = (from.fresh(), to.fresh());
        let children = two_children(&built, Flavour::Oci);
        let seal = Action::seal(&built, &digests(&children), &["v1"]).input("recursive", "true");
        let sealed = seal.succeed();
        let publish = |tag: &str| {
            let publish = Action::new("publish", &published).input("trace", "true");
            let publish = publish.input("source", &format!("{built}:v1"));
            publish.input("tags", tag).succeed()
        };
        let result = |outcome: &Outcome| outcome.output("result").to_owned();
        let first = publish("v1");
        assert_eq!(result(&first), "created", "{}", first.log);
        let again = publish("v1");
        assert_eq!(result(&again), "unchanged", "{}", again.log);
        assert_eq!(written(&again, &published), [""; 0]);
        let next = publish("v2");
        assert_eq!(result(&next), "created", "{}", next.log);
        let written = written(&next, &published);
        assert!(
            matches!(&written[..], [tag] if tag.contains("/manifests/v2 ")),
            "{written:?}"
        );
        for tag in ["v1", "v2"] {
            others_read(&published, tag, sealed.output("digest"));
        }
        let requests = mark.traffic().requests;
        only_http2_was_spoken(&requests, &published);
    }
}

#[test]
fn large_layer_passes_from_one_registry_to_another() {
    for (from, to) in WAYS {
        let mark = Mark::now();
        let (built, published) = (from.fresh(), to.fresh());
        let image = push_layers(&built, &[LARGE]);
        let publish = Action::new("publish", &published)
            .input("source", &format!("{built}@{}", image.digest))
            .input("certificate-identity", "")
            .input("certificate-oidc-issuer", "")
            .input("tags", "v1");
        for result in ["created", "unchanged"] {
            let outcome = publish.succeed();
            assert_eq!(outcome.output("result"), result, "{}", outcome.log);
        }
        let manifest = Tool::crane().args(["manifest", &format!("{published}:v1")]);
        let manifest: serde_json::Value = serde_json::from_str(&manifest.succeed()).unwrap();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        let blob = Tool::crane().args(["blob", &format!("{published}@{layer}")]);
        assert_eq!(Digest::of(&blob.output().stdout).to_string(), layer);
        for repository in [&built, &published] {
            let requests = mark.traffic().requests;
            let ours = of_repository(&requests, repository);
            let ours = ours.filter(|request| request.agent.starts_with("manifest-seal/"));
            assert!(ours.count() > 0, "{repository}");
            spoken_is_http2(of_repository(&requests, repository));
        }
    }
}

/// Checks that crane and regctl find `digest` by `tag`, that cosign verifies it, and that it has one signature.
fn others_read(repository: &str, tag: &str, digest: &str) {
    let image = format!("{repository}:{tag}");
    assert_eq!(digest_of(repository, tag), digest);
    let seen = Tool::regctl(repository).args(["image", "digest", &image]);
    assert_eq!(seen.succeed(), digest);
    let workflow = Workflow::default();
    Tool::cosign_verify(&workflow).arg(&image).succeed();
    assert_eq!(Tool::bundles(repository, digest).len(), 1);
}

/// Checks that all four programs sent requests to `repository`, and all over HTTP/2.
fn only_http2_was_spoken(requests: &[Request], repository: &str) {
    let agents = of_repository(requests, repository).map(|request| {
        let agents = ["manifest-seal/", "regclient/", "crane/", "cosign/"];
        let known = agents.iter().find(|name| request.agent.contains(**name));
        *known.unwrap_or_else(|| panic!("who is `{}`?", request.agent))
    });
    let agents: BTreeSet<&str> = agents.collect();
    assert_eq!(agents.len(), 4, "{agents:?}");
    spoken_is_http2(of_repository(requests, repository));
}

fn sigstore_was_asked_over_http2(requests: &[Request]) {
    for service in ["oidc", "fulcio", "rekor2", "tsa"] {
        let ours = || {
            let to_it = requests.iter().filter(|asked| asked.service == service);
            to_it.filter(|request| request.agent.starts_with("manifest-seal/"))
        };
        assert!(ours().count() > 0, "{service}");
        spoken_is_http2(ours());
    }
}

fn spoken_is_http2<'a>(requests: impl Iterator<Item = &'a Request>) {
    for request in requests {
        let Request {
            protocol,
            url,
            agent,
            ..
        } = request;
        assert_eq!(protocol, "HTTP/2.0", "{agent} {url}");
    }
}

/// Returns the requests with `repository` in their path.
fn of_repository<'a>(
    requests: &'a [Request],
    repository: &str,
) -> impl Iterator<Item = &'a Request> {
    let (_, path) = repository.split_once('/').unwrap();
    let path = format!("/v2/{path}/");
    requests
        .iter()
        .filter(move |request| request.url.contains(&path))
}
