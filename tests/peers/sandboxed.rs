//! The sandbox as a registry and a Sigstore for tests that must not depend on real ones. cosign verifies signatures that
//! are made against it, and signatures that cosign makes against it verify here.

use std::fs;
use std::path::PathBuf;

use sandbox::{Kind, Options, Referrers, Sandbox, Sigstore};

use super::support::{Action, Tool, stack};

#[test]
fn ours_is_verified_by_cosign_with_the_referrers_api() {
    ours_is_verified_by_cosign(Referrers::Api);
}

#[test]
fn ours_is_verified_by_cosign_with_fallback_tags() {
    ours_is_verified_by_cosign(Referrers::TagSchema);
}

#[test]
fn ours_in_the_older_format_is_verified_by_cosign() {
    let place = Place::start(Referrers::Api);
    let seal = place.seal().input("signature-format", "legacy");
    let sealed = seal.input("recursive", "true").succeed();
    let index = sealed.output("digest");
    for digest in place.children.iter().map(String::as_str).chain([index]) {
        place.cosign_verify(digest);
    }
}

#[test]
fn ours_with_a_timestamp_is_verified_by_cosign() {
    for offer in [Sigstore::offer_timestamps, Sigstore::offer_rekor_v2] {
        ours_is_verified(&Place::offering(Referrers::Api, offer));
    }
}

#[test]
fn cosigns_is_verified_with_the_referrers_api() {
    cosigns_is_verified(Referrers::Api);
}

#[test]
fn cosigns_with_a_timestamp_is_verified() {
    for offer in [Sigstore::offer_timestamps, Sigstore::offer_rekor_v2] {
        cosigns_is_accepted(&Place::offering(Referrers::Api, offer));
    }
}

#[test]
fn cosigns_is_verified_with_fallback_tags() {
    cosigns_is_verified(Referrers::TagSchema);
}

fn ours_is_verified_by_cosign(referrers: Referrers) {
    ours_is_verified(&Place::start(referrers));
}

fn ours_is_verified(place: &Place) {
    let sealed = place.seal().input("recursive", "true").succeed();
    assert_eq!(sealed.output("sign-skipped"), "false", "{}", sealed.log);
    let index = sealed.output("digest");
    for digest in place.children.iter().map(String::as_str).chain([index]) {
        place.cosign_verify(digest);
    }
}

fn cosigns_is_verified(referrers: Referrers) {
    cosigns_is_accepted(&Place::start(referrers));
}

fn cosigns_is_accepted(place: &Place) {
    let unsigned = place.seal().input("sign", "false").succeed();
    let index = unsigned.output("digest");
    let mut cosign = Tool::cosign().args(["sign", "--yes", "--recursive"]);
    for (name, value) in place.token() {
        cosign = cosign.env(name, value);
    }
    cosign
        .arg("--signing-config")
        .arg(place.folder.join("signing_config.json"))
        .arg("--trusted-root")
        .arg(place.folder.join("trusted_root.json"))
        .arg(format!("{}@{index}", place.repository))
        .succeed();
    place.cosign_verify(index);
    let sealed = place.seal().input("recursive", "true").succeed();
    assert_eq!(sealed.output("sign-skipped"), "true", "{}", sealed.log);
    assert_eq!(sealed.output("result"), "unchanged", "{}", sealed.log);
}

/// A sandbox with two images, and a folder with the clients' configuration.
struct Place {
    sandbox: Sandbox,
    repository: String,
    children: Vec<String>,
    folder: PathBuf,
}

impl Place {
    fn start(referrers: Referrers) -> Self {
        Self::offering(referrers, |_| ())
    }

    fn offering(referrers: Referrers, offer: fn(&Sigstore)) -> Self {
        let sandbox = Sandbox::with(Options::new().referrers(referrers));
        offer(&sandbox.sigstore);
        let (name, port) = ("octo-org/app", sandbox.registry.socket().port());
        let children = ["linux/amd64", "linux/arm64"]
            .map(|platform| {
                sandbox
                    .registry
                    .push_image(name, platform, Kind::Oci)
                    .digest
            })
            .to_vec();
        let folder = PathBuf::from(stack("FOLDER")).join(format!("sandbox-{port}"));
        fs::create_dir_all(&folder).unwrap();
        let root = sandbox.sigstore.trusted_root();
        fs::write(folder.join("trusted_root.json"), root).unwrap();
        let config = sandbox.sigstore.signing_config();
        fs::write(folder.join("signing_config.json"), config).unwrap();
        Self {
            repository: sandbox.registry.repository(name),
            sandbox,
            children,
            folder,
        }
    }

    fn token(&self) -> [(&'static str, String); 2] {
        let variables = self.sandbox.sigstore.github_env();
        [
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        ]
        .map(|name| {
            let (_, value) = variables.iter().find(|(each, _)| each == name).unwrap();
            (name, value.clone())
        })
    }

    fn seal(&self) -> Action {
        let children: Vec<&str> = self.children.iter().map(String::as_str).collect();
        let sigstore = &self.sandbox.sigstore;
        let path = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        Action::seal(&self.repository, &children, &["v1"])
            .input("trusted-root", &path("trusted_root.json"))
            .input("signing-config", &path("signing_config.json"))
            .input("certificate-identity", &sigstore.identity())
            .input("certificate-oidc-issuer", &sigstore.issuer())
            .token_from(self.token())
    }

    fn cosign_verify(&self, digest: &str) {
        let sigstore = &self.sandbox.sigstore;
        Tool::cosign()
            .args(["verify", "--certificate-identity", &sigstore.identity()])
            .args(["--certificate-oidc-issuer", &sigstore.issuer()])
            .arg("--trusted-root")
            .arg(self.folder.join("trusted_root.json"))
            .arg(format!("{}@{digest}", self.repository))
            .succeed();
    }
}
