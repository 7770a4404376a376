//! A comparison of this program with the tools that it replaces, as tables: wall time, requests, turns, connections, memory,
//! and the time spent in the log. `tests/peers/bench` starts a stack with distant servers and runs this, over plain HTTP
//! and over the protocols of hosted services. `PROOF` names a folder for the tables, as everywhere.

mod chains;
mod copies;
mod growth;
mod records;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use sandbox::Proof;

use super::support::{Child, Flavour, Mark, Request, Tool, push_child, stack, tls_authority};

/// The cost of one piece of work.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    log: f64,
    cpu: f64,
    requests: usize,
    /// The number of requests of which each begins after the end of the one before.
    turns: usize,
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
            turns: self.turns + other.turns,
            connections: self.connections + other.connections,
            peak: self.peak.max(other.peak),
        }
    }
}

/// Returns the median cost of this work, done this many times.
fn repeated(times: usize, work: impl FnMut(usize) -> Cost) -> Cost {
    median(&(0..times).map(work).collect::<Vec<_>>())
}

/// Returns the median of each figure, except for the peak, which is the highest.
fn median(costs: &[Cost]) -> Cost {
    let middle = |figure: fn(&Cost) -> f64| {
        let mut figures: Vec<f64> = costs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let middle_count = |count: fn(&Cost) -> usize| {
        let mut counts: Vec<usize> = costs.iter().map(count).collect();
        counts.sort_unstable();
        counts[counts.len() / 2]
    };
    Cost {
        wall: middle(|cost| cost.wall),
        log: middle(|cost| cost.log),
        cpu: middle(|cost| cost.cpu),
        requests: middle_count(|cost| cost.requests),
        turns: middle_count(|cost| cost.turns),
        connections: middle_count(|cost| cost.connections),
        peak: costs.iter().map(|cost| cost.peak).fold(0.0, f64::max),
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
        "turns #",
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
        &cost.turns,
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

/// Pushes this many images of one platform each, all of them different.
fn many_children(repository: &str, count: usize) -> Vec<Child> {
    let architectures = (0..count).map(|number| format!("arch{number}"));
    let push = |architecture: String| push_child(repository, &architecture, Flavour::Oci);
    architectures.map(push).collect()
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
    cost_since(&before, wall, cpu, peak)
}

/// Runs tools, this many at once; the peak is the sum of the largest.
fn measured_at_once(tools: Vec<Tool>, at_once: usize) -> Cost {
    let (before, began) = (Mark::now(), Instant::now());
    let folder = PathBuf::from(stack("FOLDER"));
    let left = Mutex::new(tools);
    let work = |number: usize| {
        let report = folder.join(format!("cost-{number}"));
        let (mut cpu, mut peak) = (0.0, 0.0_f64);
        loop {
            let next = left.lock().unwrap().pop();
            let Some(tool) = next else {
                return (cpu, peak);
            };
            let spent = tool.measure(&report);
            cpu += spent.cpu;
            peak = peak.max(spent.peak);
        }
    };
    let spent = std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..at_once)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        let spent = workers.into_iter().map(|worker| worker.join().unwrap());
        spent.fold((0.0, 0.0), |(cpu, peak), more| {
            (cpu + more.0, peak + more.1)
        })
    });
    let wall = began.elapsed().as_secs_f64();
    cost_since(&before, wall, spent.0, spent.1)
}

fn cost_since(before: &Mark, wall: f64, cpu: f64, peak: f64) -> Cost {
    let traffic = before.traffic();
    Cost {
        wall,
        log: time_in_log(&traffic.requests),
        cpu,
        requests: traffic.requests.len(),
        turns: turns(&traffic.requests),
        connections: traffic.connections,
        peak,
    }
}

/// Returns the largest number of requests of which each begins after the end of the one before.
fn turns(requests: &[Request]) -> usize {
    let mut spans: Vec<(f64, f64)> = requests.iter().map(|request| request.span).collect();
    spans.sort_by(|one, other| one.1.total_cmp(&other.1));
    let (mut turns, mut end) = (0, f64::MIN);
    for (from, to) in spans {
        if from >= end {
            turns += 1;
            end = to;
        }
    }
    turns
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
