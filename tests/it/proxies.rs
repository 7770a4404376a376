//! Proxies: a registry with TLS by a private authority, under a name that only the proxy can resolve.

use sandbox::{Options, Proxy, Transport};

use crate::support::{Action, Outcome, REPOSITORY, World};

const NAME: &str = "registry.test";
const PASSWORD: &str = "correct-horse-42";

/// A world, its registry under a name of its own, and the proxy in front of it.
struct Behind {
    world: World,
    proxy: Proxy,
}

impl Behind {
    fn new(proxy: Proxy) -> Self {
        let world = World::with(Options::new().transport(Transport::HTTP1));
        let proxy = proxy.leads(&format!("{NAME}:443"), world.registry().socket());
        Self { world, proxy }
    }

    /// Returns `action` at the registry by its name, with these variables. `PROXY` in them stands for the address of the proxy.
    fn with(&self, action: Action, variables: &[(&str, &str)]) -> Action {
        let action = action
            .input("image", format!("{NAME}/{REPOSITORY}"))
            .input("max-attempts", "2");
        variables.iter().fold(action, |action, (name, value)| {
            action.env(name, value.replace("PROXY", &self.proxy.address()))
        })
    }

    /// Asserts that each request to the proxy opened a tunnel to the registry. Returns the number of tunnels.
    fn tunnels(&self) -> usize {
        let made = self.proxy.made();
        assert_eq!(made, self.proxy.asked());
        assert!(made.iter().all(|target| *target == format!("{NAME}:443")));
        made.len()
    }
}

/// Asserts that the password appears only in the line that masks it.
fn kept(outcome: &Outcome) {
    let mut lines = outcome.log.lines().chain(outcome.summary.lines());
    assert!(
        !lines.any(|line| line.contains(PASSWORD) && !line.starts_with("::add-mask::")),
        "{}",
        outcome.everything()
    );
}

#[test]
fn image_is_sealed_through_the_proxy_and_sigstore_on_this_machine_without_it() {
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let behind = Behind::new(Proxy::start().login("me", PASSWORD));
        let address = format!("http://me:{PASSWORD}@PROXY");
        let seal = behind.with(behind.world.seal(), &[(variable, &address)]);
        let sealed = seal.clone().input("trace", "true").succeed();
        assert_eq!(sealed.output("result"), "created", "{variable}");
        assert_eq!(sealed.output("signed"), "true");
        // At most eight connections to one host are open.
        assert!((1..=8).contains(&behind.tunnels()), "{}", behind.tunnels());
        assert!(behind.world.certificates() > 0);
        kept(&sealed);
        sealed.says(&[&format!("::add-mask::{PASSWORD}")]);
        assert_eq!(seal.succeed().output("result"), "unchanged");
    }
}

#[test]
fn large_layer_goes_through_the_proxy_too() {
    let behind = Behind::new(Proxy::start());
    let other = sandbox::Registry::start(Options::new());
    let layer = other.push_blob("from/app", &vec![7; 300_000]);
    let config = other.push_blob("from/app", br#"{"os":"linux","architecture":"amd64"}"#);
    let size = |digest: &str| other.blob("from/app", digest).unwrap().len();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size(&config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": size(&layer)}],
    });
    let bytes = manifest.to_string();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    other.push_raw("from/app", Some("v1"), media_type, bytes.as_bytes());
    let publish = Action::new("publish")
        .input("source", format!("{}:v1", other.repository("from/app")))
        .input("tags", "v2");
    let publish = behind.with(publish, &[("HTTPS_PROXY", "http://PROXY")]);
    publish.succeed();
    assert!(behind.tunnels() > 0);
    let direct = behind.world.registry().connections() - behind.tunnels();
    assert_eq!(direct, 0);
    let arrived = behind.world.registry().blob(REPOSITORY, &layer);
    assert_eq!(arrived.map(|bytes| bytes.len()), Some(300_000));
}

#[test]
fn host_in_no_proxy_is_asked_directly() {
    for (variable, list) in [
        ("NO_PROXY", NAME),
        ("no_proxy", "example.com,registry.test:443"),
        ("NO_PROXY", ".test"),
        ("NO_PROXY", "*"),
    ] {
        let behind = Behind::new(Proxy::start());
        let variables = [("HTTPS_PROXY", "http://PROXY"), (variable, list)];
        // Only the proxy can resolve this name.
        let lost = behind.with(behind.world.create(), &variables).end_with(1);
        lost.says(&["`registry.test` cannot be reached: "]);
        assert!(behind.proxy.asked().is_empty(), "{list}");
        assert!(!lost.log.contains("through the proxy"), "{}", lost.log);
    }
    let behind = Behind::new(Proxy::start());
    let variables = [
        ("HTTPS_PROXY", "http://PROXY"),
        ("NO_PROXY", "registry.test:5000,other.test,10.0.0.0/8"),
    ];
    behind.with(behind.world.create(), &variables).succeed();
    assert!(behind.tunnels() > 0);
}

/// Returns the error of a run that the proxy does not forward, with the proxy's address as `PROXY`.
fn refused(behind: &Behind, variable: &str, address: &str) -> String {
    let lost = behind.with(behind.world.create(), &[(variable, address)]);
    let lost = lost.end_with(1);
    kept(&lost);
    assert!(behind.proxy.made().is_empty());
    assert!(behind.world.registry().requests().is_empty() && behind.world.tags().is_empty());
    let of_failure = |line: &&str| line.starts_with("::error") || line.starts_with("hint: ");
    let lines: Vec<&str> = lost.log.lines().filter(of_failure).collect();
    let told = lines.join("\n").replace(&behind.proxy.address(), "PROXY");
    // The requests run concurrently: the first to fail is a race.
    let part = regex::Regex::new("octo-org/app[:@][^`]*").unwrap();
    part.replace(&told, "octo-org/app[PART]").into_owned()
}

#[test]
fn proxy_that_does_not_let_us_through_is_named_with_what_to_do() {
    let wants_login = Behind::new(Proxy::start().login("me", PASSWORD));
    insta::assert_snapshot!(refused(&wants_login, "HTTPS_PROXY", "http://PROXY"), @"
    ::error title=manifest-seal failed::could not read `registry.test/octo-org/app[PART]`: `registry.test` cannot be reached through the proxy `http://PROXY` (`HTTPS_PROXY`): it requires a login (407)
    hint: check that the proxy in `HTTPS_PROXY` accepts this job. If it requires a login, put it into the variable (`http://USER:PASSWORD@HOST:PORT`); hosts in `NO_PROXY` are contacted directly
    ");
    // A missing login is permanent: no request is retried.
    assert!(wants_login.proxy.asked().len() <= 4);
    let wrong = format!("http://me:{PASSWORD}x@PROXY");
    let told = refused(&wants_login, "https_proxy", &wrong);
    assert!(told.contains("it requires a login"), "{told}");
    assert!(told.contains("and the login in that variable"), "{told}");
    assert!(told.contains("`http://PROXY` (`HTTPS_PROXY`)"), "{told}");

    let broken = Behind::new(Proxy::start());
    broken.proxy.refuse(502);
    insta::assert_snapshot!(refused(&broken, "ALL_PROXY", "PROXY"), @"
    ::error title=manifest-seal failed::could not read `registry.test/octo-org/app[PART]`: `registry.test` cannot be reached through the proxy `http://PROXY` (`ALL_PROXY`): it opens no tunnel (status 502)
    hint: check that the proxy in `ALL_PROXY` reaches that host and accepts this job; hosts in `NO_PROXY` are contacted directly
    ");
    // Each request is tried twice.
    assert!(broken.proxy.asked().len() >= 2);

    let mut gone = Behind::new(Proxy::start());
    let address = gone.proxy.address();
    gone.proxy = Proxy::start();
    let told = refused(&gone, "HTTPS_PROXY", &format!("http://{address}"));
    insta::assert_snapshot!(told.replace(&address, "GONE"), @"
    ::error title=manifest-seal failed::could not read `registry.test/octo-org/app[PART]`: `registry.test` cannot be reached through the proxy `http://GONE` (`HTTPS_PROXY`): tcp connect error: Connection refused (os error 111)
    hint: check that the address of the proxy in `HTTPS_PROXY` is right, and that the proxy runs; hosts in `NO_PROXY` are contacted directly
    ");
}

#[test]
fn refusal_of_the_proxy_is_shown_with_its_status() {
    let behind = Behind::new(Proxy::start());
    behind.proxy.refuse(403);
    let text = refused(&behind, "HTTPS_PROXY", "http://PROXY");
    assert!(
        text.contains(
            "through the proxy `http://PROXY` (`HTTPS_PROXY`): it opens no tunnel (status 403)"
        ),
        "{text}"
    );
}

#[test]
fn plain_http_through_a_proxy_that_wants_a_login_names_the_proxy() {
    let world = World::new();
    let proxy = Proxy::start().login("me", PASSWORD);
    let outcome = world
        .create()
        .input("image", format!("{NAME}/{REPOSITORY}"))
        .input("insecure-registries", NAME)
        .env("HTTP_PROXY", format!("http://{}", proxy.address()))
        .end_with(1);
    outcome.says(&["(`HTTP_PROXY`): it requires a login (407)"]);
}

#[test]
fn address_that_is_no_proxy_is_refused_with_the_likely_reason() {
    for (address, why) in [
        ("socks5://127.0.0.1:1080", "SOCKS proxies are not supported"),
        (
            "http://me:pa#ss@127.0.0.1:3128",
            "in user name and password, `#` is written as ",
        ),
    ] {
        let world = World::new();
        let outcome = world.create().env("HTTPS_PROXY", address).end_with(1);
        outcome.says(&["`HTTPS_PROXY` is not the address of an HTTP proxy", why]);
        outcome.does_not_say(&["pa#ss"]);
    }
}

#[test]
fn proxy_that_opens_connections_is_told_by_its_certificate() {
    let behind = Behind::new(Proxy::start());
    let action = behind.with(behind.world.create(), &[("HTTPS_PROXY", "http://PROXY")]);
    let distrusted = action.input("ca-bundle", "").end_with(1);
    distrusted.says(&[
        "its certificate was issued by an untrusted CA",
        "if `registry.test` is the intended server, give the certificate of its CA in `ca-bundle`",
    ]);
    assert!(behind.world.registry().requests().is_empty());
}

#[test]
fn certificate_of_the_proxy_itself_is_blamed_on_the_proxy() {
    // Any server with TLS has the part of the proxy: its certificate is what counts.
    let behind = Behind::new(Proxy::start());
    let address = format!("https://{}", behind.world.registry().address());
    let variables = [("HTTPS_PROXY", address.as_str())];
    let action = behind.with(behind.world.create(), &variables);
    let distrusted = action.clone().input("ca-bundle", "").end_with(1);
    let proxy = format!("through the proxy `{address}`");
    distrusted.says(&[
        &proxy,
        "the proxy is not trusted: its certificate was issued by an untrusted CA",
        "if the proxy in `HTTPS_PROXY` is the intended one, give the certificate of its CA in `ca-bundle`",
    ]);
    distrusted.does_not_say(&["if `registry.test` is the intended server"]);
    // With a trusted certificate it is a server that opens no tunnel.
    let no_proxy = action.end_with(1);
    no_proxy.says(&[&proxy]);
    no_proxy.does_not_say(&[
        "its certificate was issued",
        "the proxy's certificate was issued",
    ]);
}

#[test]
fn unsupported_proxy_is_refused_not_bypassed() {
    let behind = Behind::new(Proxy::start());
    let action = behind.with(behind.world.create(), &[("HTTPS_PROXY", "socks5://PROXY")]);
    action
        .end_with(1)
        .says(&["`HTTPS_PROXY` is not the address of an HTTP proxy"]);
    assert!(behind.proxy.asked().is_empty());
}
