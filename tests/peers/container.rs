//! The image of the Dockerfile, run like GitHub's runner runs it. `tests/container/run` builds it and starts these tests.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{Kind, NAME_SITUATIONS, NameResult, Options};
use serde_json::{Value, json};

use super::interoperability::{digests, two_children};
use super::support::{Action, Flavour, Registry, Server, Tool, Workflow, free_port, stack};

/// The largest size of the image in a registry, as promised in the README.
const COMPRESSED_MAX_BYTES: u64 = 4_000_000;

#[test]
fn image_is_one_file_and_says_how_to_start_it() {
    let name = format!("manifest-seal-{}-files", std::process::id());
    Tool::docker(&["create", "--name", &name, &stack("IMAGE")]).succeed();
    let archive = Tool::docker(&["export", &name]).output();
    Tool::docker(&["rm", &name]).succeed();
    // Docker adds these to every container.
    let own = ["dev/", "etc/", "proc/", "sys/", ".dockerenv"];
    let files: Vec<String> = members(&archive)
        .into_iter()
        .filter(|file| !own.iter().any(|prefix| file.starts_with(prefix)))
        .collect();
    assert_eq!(files, ["manifest-seal"]);
    let format = "{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{json .Config.User}} {{json .Config.WorkingDir}}";
    let config = Tool::docker(&["image", "inspect", "--format", format, &stack("IMAGE")]).succeed();
    assert_eq!(config, r#"["/manifest-seal"] null "" """#);
    let version = Tool::docker(&["run", "--rm", &stack("IMAGE"), "--version"]).succeed();
    assert!(version.starts_with("manifest-seal "), "{version}");
}

#[test]
fn image_is_small() {
    let saved = Tool::docker(&["save", &stack("IMAGE")]).output();
    assert!(saved.status.success());
    let compressed = Tool::bounded("/usr/bin/gzip")
        .args(["-9", "--stdout"])
        .stdin(&saved.stdout)
        .output();
    let size = compressed.stdout.len() as u64;
    println!("image: {size} bytes compressed");
    assert!(size > 100_000, "{size} bytes hold no program");
    assert!(size <= COMPRESSED_MAX_BYTES, "{size} bytes");
}

#[test]
fn image_seals_as_the_runner_starts_it() {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let seal = Action::seal(&repository, &digests(&children), &["v1"]).in_image(&[]);
    let first = seal.succeed();
    assert_eq!(first.output("result"), "created", "{}", first.log);
    let digest = first.output("digest");
    assert!(first.summary.contains(digest), "{}", first.summary);
    let record = fs::read_to_string(seal.workspace().join("manifest-seal.json")).unwrap();
    assert!(record.contains(digest), "{record}");
    Tool::cosign_verify(&Workflow::default())
        .arg(format!("{repository}@{digest}"))
        .succeed();
    let second = seal.succeed();
    assert_eq!(second.output("result"), "unchanged", "{}", second.log);
    assert_eq!(second.output("sign-skipped"), "true", "{}", second.log);
    Action::new("verify", &format!("{repository}:v1"))
        .in_image(&[])
        .succeed();
}

/// Tests the login of docker/login-action, from the runner's temp folder, which the runner mounts, with the variable
/// translated. The password is masked before its first appearance, and the runner's own user can remove the record.
#[test]
fn image_finds_the_login_masks_it_and_leaves_no_file_of_roots() {
    const RUNNER: u32 = 1001;
    let registry = sandbox::Registry::start(Options::new().bearer("octocat", "hunter2-and-more"));
    let push = |platform| {
        let pushed = registry.push_image("octo-org/app", platform, Kind::Oci);
        pushed.digest
    };
    let digests = ["linux/amd64", "linux/arm64"].map(push);
    let action = Action::new("create", &registry.repository("octo-org/app"))
        .input("digests", &digests.join(","))
        .input("tags", "v1");
    let temp = action.workspace().with_extension("temp");
    fs::create_dir_all(temp.join("docker")).unwrap();
    let login = json!({"auths": {registry.address(): {"username": "octocat", "password": "hunter2-and-more"}}});
    fs::write(temp.join("docker/config.json"), login.to_string()).unwrap();
    chown(action.workspace(), Some(RUNNER), Some(RUNNER)).unwrap();
    let mount = format!("{}:/github/runner_temp", temp.display());
    let shown = [
        "--volume",
        &mount,
        "--env",
        "DOCKER_CONFIG=/github/runner_temp/docker",
    ];
    let made = action.clone().in_image(&shown).succeed();
    assert_eq!(made.output("result"), "created", "{}", made.log);
    let mask = "::add-mask::hunter2-and-more\n";
    assert_eq!(
        made.log.find("hunter2"),
        made.log.find(mask).map(|at| at + 12)
    );
    assert_eq!(made.log.matches("hunter2").count(), 1, "{}", made.log);
    let record = fs::metadata(action.workspace().join("manifest-seal.json")).unwrap();
    assert_eq!((record.uid(), record.gid()), (RUNNER, RUNNER));
    // Without that mount there is no login, and the message names `DOCKER_CONFIG`.
    let denied = action.in_image(&[]).end_with(1);
    assert!(denied.log.contains("DOCKER_CONFIG"), "{}", denied.log);
}

#[test]
fn image_resolves_names_from_the_hosts_file() {
    let repository = Registry::Distribution.fresh();
    sealed_by_name(
        &repository,
        "hosts.test",
        &["--add-host", "hosts.test:127.0.0.1"],
    );
}

#[test]
fn image_resolves_names_by_dns() {
    let _names = Server::start_names("127.0.0.77", "names.test");
    let repository = Registry::Distribution.fresh();
    sealed_by_name(&repository, "registry.names.test", &["--dns", "127.0.0.77"]);
    // A name that does not exist is an error, not an empty registry.
    let children = two_children(&repository, Flavour::Oci);
    Action::seal("unknown.invalid/octo-org/app", &digests(&children), &["v1"])
        .in_image(&["--dns", "127.0.0.77"])
        .end_with(1);
}

#[test]
fn program_seals_in_an_empty_root() {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let seal = Action::seal(&repository, &digests(&children), &["v1"]).in_empty_root();
    let sealed = seal.succeed();
    assert_eq!(sealed.output("result"), "created", "{}", sealed.log);
    Tool::cosign_verify(&Workflow::default())
        .arg(format!("{repository}@{}", sealed.output("digest")))
        .succeed();
}

/// Compares the program in its image with glibc in another: they get the same files and the same nameservers.
#[test]
fn image_resolves_names_as_glibc_does() {
    let registry = sandbox::Registry::start(Options::new());
    let pushed = registry.push_image("octo-org/app", "linux/amd64", Kind::Oci);
    let mut wrong = Vec::new();
    for situation in NAME_SITUATIONS {
        let servers = situation.start(53);
        let host = format!("{}:{}", situation.host, registry.socket().port());
        let action = Action::new("create", &format!("{host}/octo-org/app"))
            .input("digests", &pushed.digest)
            .input("tags", "v1")
            .input("dry-run", "true")
            .input("max-attempts", "1")
            .input("insecure-registries", &host);
        // Docker always mounts both files. An empty one names no nameserver either.
        let files = [
            ("resolv.conf", situation.resolv_conf().unwrap_or_default()),
            ("hosts", situation.hosts.to_owned()),
        ];
        let mounts = files.map(|(name, text)| {
            let file = action.workspace().with_extension(name);
            fs::write(&file, text).unwrap();
            format!("--volume={}:/etc/{name}:ro", file.display())
        });
        let options = mounts.each_ref().map(String::as_str);
        let glibc = thread::scope(|scope| {
            let glibc = scope.spawn(|| addresses_of_glibc(situation.host, &options));
            // A reference cannot have a host with a dot at its end.
            if !situation.host.ends_with('.') {
                let ours = action.clone().in_image(&options).run();
                let is_resolved = !ours.log.contains(&format!("`{}` ", situation.host));
                if is_resolved != matches!(situation.right, NameResult::Addresses(_)) {
                    wrong.push(format!("{}: {}", situation.name, ours.log));
                }
            }
            glibc.join().unwrap()
        });
        let right = match (situation.glibc, situation.right) {
            (Some((addresses, _)), _) | (None, NameResult::Addresses(addresses)) => addresses,
            (None, _) => &[],
        };
        let found: Vec<&str> = glibc.iter().map(String::as_str).collect();
        println!("{}: glibc finds [{}]", situation.name, found.join(", "));
        if !glibc
            .iter()
            .map(String::as_str)
            .eq(right.iter().copied().collect::<BTreeSet<_>>())
        {
            wrong.push(format!("{}: glibc finds {glibc:?}", situation.name));
        }
        drop(servers);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the addresses that glibc finds in a container with these options.
fn addresses_of_glibc(host: &str, options: &[&str]) -> BTreeSet<String> {
    let run = ["run", "--rm", "--network", "host", "--entrypoint", "getent"];
    let image = stack("BUILDER");
    let found = Tool::docker(&run)
        .args(options)
        .args([&image, "ahosts", host]);
    let found = String::from_utf8(found.output().stdout).unwrap();
    let addresses = found
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    addresses.map(str::to_owned).collect()
}

/// Seals under another name of the registry's host, which serves plain HTTP and whose name is not loopback.
fn sealed_by_name(repository: &str, name: &str, options: &[&str]) {
    let children = two_children(repository, Flavour::Oci);
    let named = repository.replacen("127.0.0.1", name, 1);
    let (host, _) = named.split_once('/').unwrap();
    let sealed = Action::seal(&named, &digests(&children), &["v1"])
        .input("insecure-registries", host)
        .in_image(options)
        .succeed();
    assert_eq!(sealed.output("result"), "created", "{}", sealed.log);
    Tool::cosign_verify(&Workflow::default())
        .arg(format!("{repository}@{}", sealed.output("digest")))
        .succeed();
}

#[test]
fn image_trusts_the_ca_bundle_and_no_stranger() {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let port = free_port();
    let named = repository.replacen(&stack("DISTRIBUTION"), &format!("tls.test:{port}"), 1);
    let seal = Action::seal(&named, &digests(&children), &["v1"])
        .in_image(&["--add-host", "tls.test:127.0.0.1"]);
    let folder = seal.workspace();
    make_certificates(folder);
    // The storage of the plain registry, so that content pushed there is here too.
    let config = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {stack}/data/distribution}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\", tls: {{certificate: {folder}/server.pem, key: {folder}/server.key}}}}\n",
        stack = stack("FOLDER"),
        folder = folder.display(),
    );
    let file = folder.join("registry.yml");
    fs::write(&file, config).unwrap();
    let _server = Server::start("registry", &["serve", file.to_str().unwrap()], port);
    let stranger = seal.end_with(1);
    assert!(stranger.log.contains("tls.test"), "{}", stranger.log);
    let sealed = seal.clone().input("ca-bundle", "ca.pem").succeed();
    assert_eq!(sealed.output("result"), "created", "{}", sealed.log);
    let bundle = fs::read_to_string(folder.join("ca.pem")).unwrap();
    let again = seal.input("ca-bundle", &bundle).succeed();
    assert_eq!(again.output("result"), "unchanged", "{}", again.log);
}

/// Stops a run between the index and its signature: the record lists the index, and no tag was written.
#[test]
fn image_that_is_stopped_leaves_a_record() {
    for signal in ["TERM", "HUP", "QUIT"] {
        stopped_image_leaves_a_record(signal);
    }
}

/// The program is the first process of the container, for which the kernel ignores signals without a handler.
fn stopped_image_leaves_a_record(signal: &str) {
    let repository = Registry::Distribution.fresh();
    let children = two_children(&repository, Flavour::Oci);
    let seal = Action::seal(&repository, &digests(&children), &["v1"]);
    let planned = seal.clone().input("dry-run", "true").succeed();
    let digest = planned.output("digest").to_owned();
    let name = format!("manifest-seal-{}-{signal}", std::process::id());
    let seal = seal
        .input("retry-delay", "10s")
        .in_image(&["--name", &name]);
    let config = seal.workspace().join("signing-config.json");
    fs::write(
        &config,
        without_fulcio(&fs::read_to_string(&config).unwrap()),
    )
    .unwrap();
    let record = seal.workspace().join("manifest-seal.json");
    let (outcome, seconds) = thread::scope(|scope| {
        let run = scope.spawn(|| seal.run());
        let deadline = Instant::now() + Duration::from_mins(1);
        let pushed = || {
            let held = Tool::crane().args(["digest", &format!("{repository}@{digest}")]);
            held.output().status.success()
                && fs::read_to_string(&record).is_ok_and(|text| text.contains(&digest))
        };
        while !pushed() {
            assert!(Instant::now() < deadline, "no index after 60 s");
            assert!(!run.is_finished(), "{}", run.join().unwrap().log);
            thread::sleep(Duration::from_millis(50));
        }
        let begin = Instant::now();
        Tool::docker(&["kill", "--signal", signal, &name]).succeed();
        (run.join().unwrap(), begin.elapsed())
    });
    // 137 would mean that the process had to be killed.
    assert!(
        ![0, 137].contains(&outcome.code),
        "{}\n{}",
        outcome.code,
        outcome.log
    );
    assert!(
        seconds < Duration::from_secs(15),
        "{seconds:?}\n{}",
        outcome.log
    );
    let record: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    assert!(record.to_string().contains(&digest), "{record}");
    let tag = Tool::crane()
        .args(["digest", &format!("{repository}:v1")])
        .output();
    let said = String::from_utf8_lossy(&tag.stderr);
    assert!(!tag.status.success() && said.contains("404"), "{said}");
}

/// Makes a certificate authority in `ca.pem`, and a server certificate by it for `tls.test`.
fn make_certificates(folder: &Path) {
    let request = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
    ];
    Tool::openssl(folder)
        .args(request)
        .args([
            "-subj",
            "/CN=authority.test",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ])
        .args(["-keyout", "ca.key", "-out", "ca.pem"])
        .succeed();
    Tool::openssl(folder)
        .args(request)
        .args(["-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=tls.test"])
        .args([
            "-addext",
            "subjectAltName=DNS:tls.test",
            "-addext",
            "basicConstraints=CA:FALSE",
        ])
        .args(["-keyout", "server.key", "-out", "server.pem"])
        .succeed();
}

/// Returns the signing config with a certificate authority that does not answer.
pub(super) fn without_fulcio(config: &str) -> String {
    let mut config: Value = serde_json::from_str(config).unwrap();
    config["caUrls"][0]["url"] = Value::from(format!("http://127.0.0.1:{}", free_port()));
    config.to_string()
}

/// Returns the names in an archive.
fn members(archive: &Output) -> Vec<String> {
    assert!(archive.status.success());
    Tool::bounded("/usr/bin/tar")
        .args(["--list", "--file", "-"])
        .stdin(&archive.stdout)
        .succeed()
        .lines()
        .map(str::to_owned)
        .collect()
}
