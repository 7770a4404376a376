//! Work of several sizes, with the growth of its cost: a line through the figures, by least squares.

use sandbox::Proof;

use crate::support::{Action, Flavour, Registry, Tool, Workflow, push_child, push_layers};

use super::copies::{Copier, tagged, unverified};
use super::{Cost, children, measured, repeated, tell};

/// The number of repetitions; the table has the median.
const TIMES: usize = 3;

/// The cost of work of each size.
type Costs = Vec<(usize, Cost)>;

/// Tells each cost, and the line through wall times and requests: cost = start + growth * size.
pub(super) fn tell_growth(work: &str, registry: &str, by: &str, costs: &Costs) {
    for (size, cost) in costs {
        tell(&format!("{work}: {size}"), registry, by, cost);
    }
    let line = |figure: fn(&Cost) -> f64| {
        let points = costs.iter().map(|(size, cost)| {
            let size = f64::from(u32::try_from(*size).unwrap());
            (size, figure(cost))
        });
        fitted(&points.collect::<Vec<_>>())
    };
    let (wall, wall_growth) = line(|cost| cost.wall);
    let (requests, requests_growth) = line(|cost| f64::from(u32::try_from(cost.requests).unwrap()));
    let columns = [
        "work",
        "by",
        "wall s at 0 #",
        "wall ms for each #",
        "requests at 0 #",
        "requests for each #",
    ];
    let mut proof = Proof::new("speed", "Growth", &columns);
    proof.row(&[
        &work,
        &by,
        &format!("{wall:.2}"),
        &format!("{:.1}", wall_growth * 1e3),
        &format!("{requests:.1}"),
        &format!("{requests_growth:.2}"),
    ]);
    proof.join();
}

/// Returns start and growth of the line through these points.
fn fitted(points: &[(f64, f64)]) -> (f64, f64) {
    let count = f64::from(u32::try_from(points.len()).unwrap());
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (size, cost) = (mean(|point| point.0), mean(|point| point.1));
    let together: f64 = points
        .iter()
        .map(|point| (point.0 - size) * (point.1 - cost))
        .sum();
    let spread: f64 = points.iter().map(|point| (point.0 - size).powi(2)).sum();
    let growth = together / spread;
    (cost - growth * size, growth)
}

/// Takes back a run that has written many tags.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn cleanup_of_many_tags() {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for count in [10, 30, 100] {
        let tags: Vec<String> = (0..count).map(|number| format!("v{number}")).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let made = || {
            let repository = Registry::Distribution.fresh();
            let children = children(&repository, &["amd64"]);
            let seal = Action::seal(&repository, &[&children[0].digest], &tags);
            let seal = seal.input("command", "create");
            seal.succeed();
            (repository, seal)
        };
        let cleanup = |_| {
            let (_, create) = made();
            let cleanup = create.input("command", "cleanup").input("digests", "");
            measured(vec![cleanup.tool()])
        };
        ours.push((count, repeated(TIMES, cleanup)));
        let removals = |_| {
            let (repository, _) = made();
            let removals = tags.iter().map(|tag| {
                let tag = format!("{repository}:{tag}");
                Tool::regctl(&tag).args(["tag", "rm", &tag])
            });
            measured(removals.collect())
        };
        theirs.push((count, repeated(TIMES, removals)));
    }
    let (work, registry) = ("cleanup of tags", "distribution");
    tell_growth(work, registry, "manifest-seal: cleanup", &ours);
    tell_growth(work, registry, "regctl tag rm, one by one", &theirs);
}

/// Verifies an image that several workflows signed, the right one first or last.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn verification_among_many_signatures() {
    for (place, is_first) in [("first", true), ("last", false)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for count in [1, 10, 100] {
            let repository = Registry::Distribution.fresh();
            let image = push_child(&repository, "amd64", Flavour::Oci);
            let image = format!("{repository}@{}", image.digest);
            let sign = |workflow: &Workflow| {
                Action::new("sign", &image).by(workflow).succeed();
            };
            let own = Workflow::default();
            if is_first {
                sign(&own);
            }
            for number in 1..count {
                sign(&Workflow::named(&format!("other{number}")));
            }
            if !is_first {
                sign(&own);
            }
            let verify = |_| measured(vec![Action::new("verify", &image).tool()]);
            ours.push((count, repeated(TIMES, verify)));
            let cosign = |_| measured(vec![Tool::cosign_verify(&own).arg(&image)]);
            theirs.push((count, repeated(TIMES, cosign)));
        }
        let work = format!("verify among signatures, the right one {place}");
        tell_growth(&work, "distribution", "manifest-seal: verify", &ours);
        tell_growth(&work, "distribution", "cosign verify", &theirs);
    }
}

/// Copies one image to several hosts: to all at once by this program, to one after the other by regctl. The fifth host is
/// the source's own.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn copies_to_several_hosts() {
    let built = Registry::Distribution.fresh();
    let image = push_layers(&built, &[10_000_000; 3]);
    let from = tagged(&built, &image);
    let hosts = [
        Registry::Debian,
        Registry::Cue,
        Registry::Ggcr,
        Registry::Olareg,
        Registry::Distribution,
    ];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for count in [1, 2, 5] {
        let fresh = || hosts[..count].iter().map(|host| host.fresh());
        let publish = |_| {
            let tags: Vec<String> = fresh().map(|to| format!("{to}:v1")).collect();
            let publish = unverified(&from, "").input("tags", &tags.join("\n"));
            measured(vec![publish.tool()])
        };
        ours.push((count, repeated(TIMES, publish)));
        let copies = |_| {
            let copies = fresh().map(|to| Copier::Regctl.tool(&from, &to));
            measured(copies.collect())
        };
        theirs.push((count, repeated(TIMES, copies)));
    }
    let (work, registry) = ("30 MB to hosts", "distribution");
    tell_growth(work, registry, Copier::Publish.name(), &ours);
    tell_growth(work, registry, Copier::Regctl.name(), &theirs);
}
