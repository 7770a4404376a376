//! Copies from one registry to another, beside the tools that copy.

use std::env;

use sandbox::Proof;

use crate::support::{Action, Child, Registry, Tool, push_layers, tls_authority};

use super::{Cost, children, many_children, measured, median, tell};

/// The number of repetitions of copies that decide; the table has the median.
const TIMES: usize = 5;
/// A large layer.
const GIGABYTE: u64 = 1_000_000_000;
const TWENTY: usize = 20;

/// A pair of registries, and its name in the table.
const PAIRS: [(Registry, Registry, &str); 4] = [
    (
        Registry::Cue,
        Registry::Debian,
        "referrers API to fallback tags",
    ),
    (
        Registry::Distribution,
        Registry::Debian,
        "fallback tags to fallback tags",
    ),
    (
        Registry::Distribution,
        Registry::Cue,
        "fallback tags to referrers API",
    ),
    (Registry::Cue, Registry::Cue, "same host, referrers API"),
];

/// A tool that copies the image `from` to the repository `to`, with the tag `v1`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copier {
    /// This program, which verifies nothing, as the others.
    Publish,
    PublishVerified,
    Regctl,
    Crane,
    Skopeo,
}

impl Copier {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Publish => "manifest-seal: publish",
            Self::PublishVerified => "manifest-seal: publish, verified",
            Self::Regctl => "regctl image copy",
            Self::Crane => "crane copy",
            Self::Skopeo => "skopeo copy",
        }
    }

    pub(super) fn tool(self, from: &str, to: &str) -> Tool {
        let tagged = format!("{to}:v1");
        match self {
            Self::Publish => unverified(from, to).input("tags", "v1").tool(),
            Self::PublishVerified => {
                let publish = Action::new("publish", to).input("source", from);
                publish.input("tags", "v1").tool()
            }
            Self::Regctl => Tool::regctl_between(from, to)
                .args(["image", "copy", "--referrers", "--digest-tags", from])
                .arg(tagged),
            Self::Crane => Tool::crane().args(["-j", "16", "copy", from, &tagged]),
            Self::Skopeo => {
                let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
                let plain = plain.iter().filter(|_| tls_authority().is_none());
                Tool::skopeo()
                    .args(["copy", "--all", "--preserve-digests"])
                    .args(plain)
                    .args([format!("docker://{from}"), format!("docker://{tagged}")])
            }
        }
    }
}

/// Returns a run of `publish` that verifies nothing.
pub(super) fn unverified(from: &str, to: &str) -> Action {
    Action::new("publish", to)
        .input("source", from)
        .input("certificate-identity", "")
        .input("certificate-oidc-issuer", "")
}

/// Copies `from` with each of the tools, twice each: to an empty repository, and to one with all of it. The tools take
/// turns, so that all meet the same load. Returns the costs of the first copies.
fn compare(
    work: &str,
    pair: &str,
    from: &str,
    to: Registry,
    tools: &[Copier],
    times: usize,
) -> Vec<Cost> {
    let mut costs = vec![(Vec::new(), Vec::new()); tools.len()];
    for _ in 0..times {
        for (tool, (first, again)) in tools.iter().zip(&mut costs) {
            let to = to.fresh();
            flush_disk();
            first.push(measured(vec![tool.tool(from, &to)]));
            again.push(measured(vec![tool.tool(from, &to)]));
        }
    }
    let told = tools.iter().zip(&costs).map(|(tool, (first, again))| {
        let first = median(first);
        tell(work, pair, tool.name(), &first);
        tell(&format!("{work}, again"), pair, tool.name(), &median(again));
        first
    });
    told.collect()
}

/// Waits until the disk has all that was written before, which would slow down the next copy.
fn flush_disk() {
    Tool::bounded("/usr/bin/sync").succeed();
}

/// Seals an index of these images with signatures of all, and returns its name.
fn signed(built: &str, children: &[Child]) -> String {
    let digests: Vec<&str> = children.iter().map(|child| child.digest.as_str()).collect();
    let seal = Action::seal(built, &digests, &["v1"]).input("recursive", "true");
    seal.succeed();
    format!("{built}:v1")
}

/// Copies an index of two platforms with three signatures. crane and skopeo do not copy signatures.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn copies_side_by_side() {
    let tools = [
        Copier::Publish,
        Copier::Regctl,
        Copier::PublishVerified,
        Copier::Crane,
        Copier::Skopeo,
    ];
    for (from, to, pair) in PAIRS {
        let built = from.fresh();
        let from = signed(&built, &children(&built, &["amd64", "arm64"]));
        compare("signed copy", pair, &from, to, &tools, TIMES);
    }
}

/// Copies an index with twenty signed images.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn twenty_signed_children() {
    let tools = [Copier::Publish, Copier::Regctl, Copier::PublishVerified];
    for (from, to, pair) in PAIRS.into_iter().take(3) {
        let built = from.fresh();
        let from = signed(&built, &many_children(&built, TWENTY));
        compare("20 signed images in an index", pair, &from, to, &tools, 3);
    }
}

/// Copies an image of a hundred small layers.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn hundred_layers() {
    let built = Registry::Distribution.fresh();
    let image = push_layers(&built, &[100_000; 100]);
    let from = tagged(&built, &image);
    let tools = [Copier::Publish, Copier::Crane, Copier::Regctl];
    compare(
        "100 layers",
        "distribution",
        &from,
        Registry::Debian,
        &tools,
        3,
    );
}

/// Copies an image of one large layer; `BENCH_LAYERS=5` makes it five such layers.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn large_copies_side_by_side() {
    let built = Registry::Distribution.fresh();
    let layers: u16 = env::var("BENCH_LAYERS").map_or(1, |count| count.parse().unwrap());
    let image = push_layers(&built, &vec![GIGABYTE; layers.into()]);
    let from = tagged(&built, &image);
    let work = format!("{layers} GB");
    let tools = [
        Copier::Publish,
        Copier::Regctl,
        Copier::Crane,
        Copier::Skopeo,
    ];
    // The first copy of all finds the source on the disk and not in memory, so it does not count.
    measured(vec![Copier::Regctl.tool(&from, &Registry::Debian.fresh())]);
    let costs = compare(&work, "distribution", &from, Registry::Debian, &tools, 1);
    let columns = ["work", "by", "MB/s #", "peak MB #"];
    let mut proof = Proof::new("speed", "Throughput", &columns);
    let megabytes = 1e3 * f64::from(layers);
    for (tool, cost) in tools.iter().zip(costs) {
        let (speed, peak) = (megabytes / cost.wall, cost.peak);
        let (speed, peak) = (format!("{speed:.0}"), format!("{peak:.0}"));
        proof.row(&[&work, &tool.name(), &speed, &peak]);
    }
    proof.join();
}

/// Gives an image the tag `v1`: regctl fails if there are no tags.
pub(super) fn tagged(repository: &str, image: &Child) -> String {
    Tool::crane()
        .args(["tag", &format!("{repository}@{}", image.digest), "v1"])
        .succeed();
    format!("{repository}:v1")
}
