//! A comparison of this program with the tools that it replaces, as a table: wall time, requests, connections, memory,
//! and the time spent in the log. `tests/peers/bench` starts a stack with distant servers and runs this, over plain HTTP
//! and over the protocols of hosted services. `PROOF` names a folder for the tables, as everywhere.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use sandbox::Proof;

use super::support::{
    Action, Child, Flavour, Log, Mark, Registry, Request, Tool, Workflow, push_child, push_layers,
    stack, tls_authority,
};

const TWENTY: usize = 20;
/// A large layer.
const GIGABYTE: u64 = 1_000_000_000;

/// The number of repetitions; the table has the median.
const TIMES: usize = 3;

/// The cost of one piece of work.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    log: f64,
    cpu: f64,
    requests: usize,
    connections: usize,
    peak: f64,
}

impl Cost {
    /// Returns the cost of this work followed by `other`.
    fn and(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            log: self.log + other.log,
            cpu: self.cpu + other.cpu,
            requests: self.requests + other.requests,
            connections: self.connections + other.connections,
            peak: self.peak.max(other.peak),
        }
    }
}

#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn side_by_side() {
    for (registry, name) in [
        (Registry::Cue, "referrers API"),
        (Registry::Distribution, "fallback tag"),
    ] {
        two_platforms(registry, name);
        let many: Vec<String> = (0..TWENTY).map(|number| format!("arch{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (ours, theirs) = (registry.fresh(), registry.fresh());
        let (own, other) = (children(&ours, &many), children(&theirs, &many));
        tell(
            "recursive 20",
            name,
            "manifest-seal: seal, verify",
            &seal_and_verify(&ours, &own, "true"),
        );
        tell(
            "recursive 20",
            name,
            "crane, cosign: append, sign -r, verify",
            &chain(&theirs, &other, Maker::Crane, &["--recursive"]),
        );
    }
}

fn two_platforms(registry: Registry, name: &str) {
    let two = ["amd64", "arm64"];
    let (mut works, mut rounds) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let (ours, theirs, built) = (registry.fresh(), registry.fresh(), registry.fresh());
        let own = children(&ours, &two);
        let (other, third) = (children(&theirs, &two), children(&built, &two));
        let crane = || chain(&theirs, &other, Maker::Crane, &[]);
        let (sealing, chain_of_crane) = (
            "manifest-seal: seal, verify",
            "crane, cosign: append, sign, verify",
        );
        let sealed = seal(&ours, &own, "false");
        let verified = measured(vec![verifying(&ours, "false")]);
        let round = [
            // The signature is verified before it is stored, and it is listed.
            ("fresh", "manifest-seal: seal", sealed),
            ("fresh", sealing, sealed.and(verified)),
            ("fresh", chain_of_crane, crane()),
            (
                "fresh",
                "buildx, cosign: create, sign, verify",
                chain(&built, &third, Maker::Buildx, &[]),
            ),
            ("rerun", sealing, seal_and_verify(&ours, &own, "false")),
            ("rerun", chain_of_crane, crane()),
            (
                "verify",
                "manifest-seal",
                measured(vec![verifying(&ours, "false")]),
            ),
            (
                "verify",
                "cosign",
                measured(vec![cosign_verifying(&theirs)]),
            ),
        ];
        works = round.iter().map(|(work, by, _)| (*work, *by)).collect();
        rounds.push(round.map(|(_, _, cost)| cost));
    }
    for (place, (work, by)) in works.into_iter().enumerate() {
        let costs = rounds.iter().map(|round| &round[place]);
        tell(work, name, by, &median(costs));
    }
}

/// Returns the median of each figure, except for the peak, which is the highest.
fn median<'a>(costs: impl Iterator<Item = &'a Cost>) -> Cost {
    let costs: Vec<&Cost> = costs.collect();
    let middle = |figure: fn(&Cost) -> f64| {
        let mut figures: Vec<f64> = costs.iter().map(|cost| figure(cost)).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let middle_count = |count: fn(&Cost) -> usize| {
        let mut counts: Vec<usize> = costs.iter().map(|cost| count(cost)).collect();
        counts.sort_unstable();
        counts[counts.len() / 2]
    };
    Cost {
        wall: middle(|cost| cost.wall),
        log: middle(|cost| cost.log),
        cpu: middle(|cost| cost.cpu),
        requests: middle_count(|cost| cost.requests),
        connections: middle_count(|cost| cost.connections),
        peak: costs.iter().map(|cost| cost.peak).fold(0.0, f64::max),
    }
}

/// Copies from one registry to another. crane and skopeo do not copy signatures.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn copies_side_by_side() {
    for (registry, name) in [
        (Registry::Cue, "from a referrers API"),
        (Registry::Distribution, "from fallback tags"),
    ] {
        let built = registry.fresh();
        let children = children(&built, &["amd64", "arm64"]);
        let digests: Vec<&str> = children.iter().map(|child| child.digest.as_str()).collect();
        let seal = Action::seal(&built, &digests, &["v1"]).input("recursive", "true");
        seal.succeed();
        let from = format!("{built}:v1");
        copy("signed copy", name, &from, Registry::Debian);
        // The build and the publication often use two repositories of one registry.
        copy("signed copy, same host", name, &from, registry);
    }
}

/// Copies an image of one large layer; `BENCH_LAYERS=5` makes it five such layers.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn large_copies_side_by_side() {
    let built = Registry::Distribution.fresh();
    let layers = env::var("BENCH_LAYERS").map_or(1, |count| count.parse().unwrap());
    let image = push_layers(&built, &vec![GIGABYTE; layers]);
    let from = format!("{built}:v1");
    // regctl fails if there are no tags.
    Tool::crane()
        .args(["tag", &format!("{built}@{}", image.digest), "v1"])
        .succeed();
    let work = format!("{layers} GB");
    copy(&work, "distribution", &from, Registry::Debian);
}

/// Copies `from` with each of the tools, twice each: to an empty repository, and to one with all of it.
fn copy(work: &str, registry: &str, from: &str, to: Registry) {
    type Copier = fn(&str, &str) -> Tool;
    let tools: [(&str, Copier); 4] = [
        ("manifest-seal: publish", |from, to| {
            let publish = Action::new("publish", to).input("source", from);
            let unchecked = publish
                .input("certificate-identity", "")
                .input("certificate-oidc-issuer", "");
            unchecked.input("tags", "v1").tool()
        }),
        ("regctl image copy", |from, to| {
            Tool::regctl_between(from, to)
                .args(["image", "copy", "--referrers", "--digest-tags", from])
                .arg(format!("{to}:v1"))
        }),
        ("crane copy", |from, to| {
            Tool::crane().args(["copy", from, &format!("{to}:v1")])
        }),
        ("skopeo copy", |from, to| {
            let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
            let plain = plain.iter().filter(|_| tls_authority().is_none());
            Tool::skopeo()
                .args(["copy", "--all", "--preserve-digests"])
                .args(plain)
                .args([format!("docker://{from}"), format!("docker://{to}:v1")])
        }),
    ];
    for (by, tool) in tools {
        let to = to.fresh();
        for again in ["", ", again"] {
            let cost = measured(vec![tool(from, &to)]);
            tell(&format!("{work}{again}"), registry, by, &cost);
        }
    }
}

/// The downloads before a job can begin. This program's image contains the program and nothing else.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn sizes_side_by_side() {
    let columns = ["program", "MB #", "compressed MB #"];
    let mut proof = Proof::new("speed", "What has to be fetched", &columns);
    let bin = PathBuf::from(stack("BIN"));
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_manifest-seal"));
    for (name, path) in [
        ("manifest-seal", ours),
        ("crane", bin.join("crane")),
        ("cosign", bin.join("cosign3")),
        ("docker buildx", bin.join("buildx")),
        ("regctl", bin.join("regctl")),
    ] {
        let packed = Command::new("gzip").arg("-c").arg(&path).output().unwrap();
        assert!(packed.status.success(), "{name}");
        let size = fs::metadata(&path).unwrap().len();
        proof.row(&[
            &name,
            &megabytes(size),
            &megabytes(packed.stdout.len() as u64),
        ]);
    }
    proof.end("");
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{:02}", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}

/// The tool that makes the index in the replaced chain.
#[derive(Clone, Copy)]
enum Maker {
    Crane,
    Buildx,
}

fn tell(work: &str, registry: &str, by: &str, cost: &Cost) {
    let delay = env::var("STACK_DELAY").unwrap_or_else(|_| "0ms".to_owned());
    let title = match tls_authority() {
        Some(_) => format!("Side by side over TLS with HTTP/2, {delay} in each direction"),
        None => format!("Side by side, each request {delay} longer"),
    };
    let columns = [
        "work",
        "registry",
        "by",
        "wall s #",
        "of it the log's #",
        "CPU s #",
        "requests #",
        "connections #",
        "peak MB #",
    ];
    let two = |number: f64| format!("{number:.2}");
    let mut proof = Proof::new("speed", &title, &columns);
    proof.row(&[
        &work,
        &registry,
        &by,
        &two(cost.wall),
        &two(cost.log),
        &two(cost.cpu),
        &cost.requests,
        &cost.connections,
        &format!("{:.0}", cost.peak),
    ]);
    proof.join();
}

fn children(repository: &str, architectures: &[&str]) -> Vec<Child> {
    architectures
        .iter()
        .map(|architecture| push_child(repository, architecture, Flavour::Oci))
        .collect()
}

fn seal_and_verify(repository: &str, children: &[Child], recursive: &str) -> Cost {
    let sealed = seal(repository, children, recursive);
    sealed.and(measured(vec![verifying(repository, recursive)]))
}

fn seal(repository: &str, children: &[Child], recursive: &str) -> Cost {
    let digests: Vec<&str> = children.iter().map(|child| child.digest.as_str()).collect();
    let seal = Action::seal(repository, &digests, &["v1"]).input("recursive", recursive);
    measured(vec![seal.tool()])
}

fn verifying(repository: &str, recursive: &str) -> Tool {
    Action::new("verify", &format!("{repository}:v1"))
        .input("recursive", recursive)
        .tool()
}

fn cosign_verifying(repository: &str) -> Tool {
    Tool::cosign_verify(&Workflow::default()).arg(format!("{repository}:v1"))
}

fn chain(repository: &str, children: &[Child], maker: Maker, sign: &[&str]) -> Cost {
    let image = format!("{repository}:v1");
    let sources = children
        .iter()
        .map(|child| format!("{repository}@{}", child.digest));
    let index = match maker {
        Maker::Crane => {
            let sources = sources.flat_map(|source| ["--manifest".to_owned(), source]);
            Tool::crane()
                .args([
                    "index",
                    "append",
                    "--docker-empty-base=false",
                    "--tag",
                    &image,
                ])
                .args(sources)
        }
        Maker::Buildx => Tool::buildx()
            .args(["imagetools", "create", "--tag", &image])
            .args(sources),
    };
    let workflow = Workflow::default();
    let signing = Tool::cosign_signing("sign", Log::Rekor2, &workflow)
        .args(sign)
        .arg(&image);
    measured(vec![index, signing, cosign_verifying(repository)])
}

/// Runs tools one after the other; the peak is that of the largest.
fn measured(tools: Vec<Tool>) -> Cost {
    let before = Mark::now();
    let report = PathBuf::from(stack("FOLDER")).join("cost");
    let (mut wall, mut cpu, mut peak) = (0.0, 0.0, 0.0_f64);
    for tool in tools {
        let spent = tool.measure(&report);
        wall += spent.seconds;
        cpu += spent.cpu;
        peak = peak.max(spent.peak);
    }
    let traffic = before.traffic();
    Cost {
        wall,
        log: time_in_log(&traffic.requests),
        cpu,
        requests: traffic.requests.len(),
        connections: traffic.connections,
        peak,
    }
}

/// Returns the seconds during which at least one request to the transparency log was open.
fn time_in_log(requests: &[Request]) -> f64 {
    let to_log = requests.iter();
    let to_log = to_log.filter(|request| request.service.starts_with("rekor"));
    let way = way_to_nginx();
    let mut spans: Vec<(f64, f64)> = to_log
        .map(|request| (request.span.0 - way, request.span.1 + way))
        .collect();
    spans.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut total, mut end) = (0.0, f64::MIN);
    for (from, to) in spans {
        total += (to - from.max(end)).max(0.0);
        end = end.max(to);
    }
    total
}

/// Returns the delay of a request before nginx receives it, in seconds. countproxy is on the clients' side.
fn way_to_nginx() -> f64 {
    let delay = env::var("STACK_DELAY").unwrap_or_default();
    match delay.strip_suffix("ms") {
        Some(milliseconds) if tls_authority().is_some() => {
            milliseconds.parse::<f64>().unwrap() / 1e3
        }
        _ => 0.0,
    }
}
