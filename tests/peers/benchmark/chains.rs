//! Making, signing and verifying an index, beside the chains of tools that do so.

use crate::support::{Action, Child, Log, Registry, Tool, Workflow};

use super::{Cost, children, many_children, measured, median, tell};

const TWENTY: usize = 20;
/// The number of repetitions; the table has the median.
const TIMES: usize = 3;

#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn side_by_side() {
    for (registry, name) in [
        (Registry::Cue, "referrers API"),
        (Registry::Distribution, "fallback tag"),
    ] {
        two_platforms(registry, name);
        let (ours, theirs) = (registry.fresh(), registry.fresh());
        let (own, other) = (many_children(&ours, TWENTY), many_children(&theirs, TWENTY));
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
        let costs: Vec<Cost> = rounds.iter().map(|round| round[place]).collect();
        tell(work, name, by, &median(&costs));
    }
}

/// Seals an index of sixty platforms with all of its images.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn sixty_platforms() {
    let repository = Registry::Cue.fresh();
    let own = many_children(&repository, 60);
    let sealed = seal(&repository, &own, "true");
    tell(
        "recursive 60",
        "referrers API",
        "manifest-seal: seal",
        &sealed,
    );
}

/// The tool that makes the index in the replaced chain.
#[derive(Clone, Copy)]
enum Maker {
    Crane,
    Buildx,
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
