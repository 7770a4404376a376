//! The same work by this program and by what it replaces, as a table: wall time, requests, memory, and how much of the
//! time was the log's own. `tests/peers/bench` starts a stack with far servers and runs this.

use std::env;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::support::{
    Action, Child, Flavour, Log, Registry, Tool, Workflow, push_child, push_layers, stack,
};

const TWENTY: usize = 20;
/// A large layer.
const GIGABYTE: u64 = 1_000_000_000;

/// What one piece of work took.
struct Cost {
    wall: f64,
    log: f64,
    requests: usize,
    peak: f64,
}

#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn side_by_side() {
    head();
    for (registry, name) in [
        (Registry::Cue, "referrers API"),
        (Registry::Distribution, "fallback tag"),
    ] {
        let two = ["amd64", "arm64"];
        let (ours, theirs) = (registry.fresh(), registry.fresh());
        let (own, other) = (children(&ours, &two), children(&theirs, &two));
        for work in ["fresh", "rerun"] {
            tell(
                work,
                name,
                "manifest-seal: seal, verify",
                &seal_and_verify(&ours, &own, "false"),
            );
            tell(
                work,
                name,
                "crane, cosign: append, sign, verify",
                &chain(&theirs, &other, Maker::Crane, &[]),
            );
        }
        let built = registry.fresh();
        let other = children(&built, &two);
        tell(
            "fresh",
            name,
            "buildx, cosign: create, sign, verify",
            &chain(&built, &other, Maker::Buildx, &[]),
        );
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

/// Copies from one registry to another. crane and skopeo leave signatures behind.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn copies_side_by_side() {
    head();
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
        // What is built and what is published are often two repositories of one registry.
        copy("signed copy, same host", name, &from, registry);
    }
}

/// `BENCH_LAYERS=5` makes it an image of five such layers.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn large_copies_side_by_side() {
    head();
    let built = Registry::Distribution.fresh();
    let layers = env::var("BENCH_LAYERS").map_or(1, |count| count.parse().unwrap());
    let image = push_layers(&built, &vec![GIGABYTE; layers]);
    let from = format!("{built}:v1");
    // regctl finds no tags where there are none, and fails.
    Tool::crane()
        .args(["tag", &format!("{built}@{}", image.digest), "v1"])
        .succeed();
    let work = format!("{layers} GB");
    copy(&work, "distribution", &from, Registry::Debian);
}

fn head() {
    println!();
    println!("| work | registry | by | wall s | of it the log's | requests | peak MB |");
    println!("| --- | --- | --- | ---: | ---: | ---: | ---: |");
}

/// Copies `from` by each of the tools, twice each: to where nothing is, and to where all of it is.
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
            Tool::skopeo()
                .args(["copy", "--all", "--preserve-digests"])
                .args(["--src-tls-verify=false", "--dest-tls-verify=false"])
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

/// What makes the index in the chain that is replaced.
#[derive(Clone, Copy)]
enum Maker {
    Crane,
    Buildx,
}

fn tell(work: &str, registry: &str, by: &str, cost: &Cost) {
    let Cost {
        wall,
        log,
        requests,
        peak,
    } = cost;
    println!("| {work} | {registry} | {by} | {wall:.2} | {log:.2} | {requests} | {peak:.0} |");
}

fn children(repository: &str, architectures: &[&str]) -> Vec<Child> {
    architectures
        .iter()
        .map(|architecture| push_child(repository, architecture, Flavour::Oci))
        .collect()
}

fn seal_and_verify(repository: &str, children: &[Child], recursive: &str) -> Cost {
    let digests: Vec<&str> = children.iter().map(|child| child.digest.as_str()).collect();
    let seal = Action::seal(repository, &digests, &["v1"]).input("recursive", recursive);
    let verify = Action::new("verify", &format!("{repository}:v1")).input("recursive", recursive);
    measured(vec![seal.tool(), verify.tool()])
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
    measured(vec![
        index,
        signing,
        Tool::cosign_verify(&workflow).arg(&image),
    ])
}

/// Runs tools one after the other; peak is the largest of them.
fn measured(tools: Vec<Tool>) -> Cost {
    let log = PathBuf::from(stack("FOLDER")).join("log/http.jsonl");
    let before = fs::read_to_string(&log).unwrap().lines().count();
    let report = PathBuf::from(stack("FOLDER")).join("cost");
    let (mut wall, mut peak) = (0.0, 0.0_f64);
    for tool in tools {
        tool.timed(&report).succeed();
        let text = fs::read_to_string(&report).unwrap();
        let mut numbers = text
            .lines()
            .last()
            .unwrap()
            .split(' ')
            .map(|number| number.parse::<f64>().unwrap());
        wall += numbers.next().unwrap();
        peak = peak.max(numbers.next().unwrap() / 1024.0);
    }
    let lines: Vec<Value> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .skip(before)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    Cost {
        wall,
        log: time_in_log(&lines),
        requests: lines.len(),
        peak,
    }
}

/// How long at least one request to the transparency log was under way, in seconds.
fn time_in_log(lines: &[Value]) -> f64 {
    let mut spans: Vec<(f64, f64)> = lines
        .iter()
        .filter(|line| {
            line["service"]
                .as_str()
                .is_some_and(|service| service.starts_with("rekor"))
        })
        .map(|line| {
            let start = line["time"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap();
            #[expect(
                clippy::cast_precision_loss,
                reason = "microseconds of this century fit"
            )]
            let start = start.as_microsecond() as f64 / 1e6;
            (start, start + line["ms"].as_f64().unwrap() / 1e3)
        })
        .collect();
    spans.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut total, mut end) = (0.0, f64::MIN);
    for (from, to) in spans {
        total += (to - from.max(end)).max(0.0);
        end = end.max(to);
    }
    total
}
