//! Cases that would disturb others that use the same Sigstore: `run` plays them by themselves.

use super::interoperability::{digests, two_children};
use super::support::{Action, Flavour, Registry, Tool};

/// Ends runs while they sign, and runs again at once. Rekor v2 reports the cancellation of one request to all that wait for
/// the same batch (status 499).
#[test]
fn run_that_is_cut_short_while_it_signs_does_not_fail_the_next() {
    let mut cut_short = 0;
    for milliseconds in [300, 400, 450, 500, 550, 600, 625, 650, 675, 700, 725, 750] {
        let repository = Registry::Distribution.fresh();
        let children = two_children(&repository, Flavour::Oci);
        let seal = Action::seal(&repository, &digests(&children), &["v1"]);
        let first = seal
            .clone()
            .input("timeout", &format!("{milliseconds}ms"))
            .run();
        cut_short += usize::from(first.code != 0);
        let second = seal.succeed();
        let retries = second
            .log
            .lines()
            .filter(|line| line.starts_with("retry in"));
        let retries: Vec<&str> = retries.collect();
        println!(
            "{milliseconds} ms: exit code {}, then [{}]",
            first.code,
            retries.join("; ")
        );
        assert_eq!(second.output("signed"), "true", "{}", second.log);
        assert_eq!(Tool::bundles(&repository, second.output("digest")).len(), 1);
    }
    assert!(cut_short > 0);
}
