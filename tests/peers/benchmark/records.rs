//! Copies of the images that a record names, beside eight processes of regctl.

use std::path::PathBuf;

use crate::support::{Action, Registry, Tool};

use super::copies::unverified;
use super::growth::tell_growth;
use super::{Cost, many_children, measured, measured_at_once, median, tell};

const PAIR: &str = "referrers API to fallback tags";
const OURS: &str = "manifest-seal: publish of a record";
const THEIRS: &str = "regctl image copy, 8 at once";
/// The number of repetitions; the table has the median.
const TIMES: usize = 3;

/// Copies signed images to empty repositories and to the same ones again, in records of several sizes.
#[test]
#[ignore = "a measurement: tests/peers/bench runs it"]
fn records_of_several_sizes() {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for count in [5, 10, 20] {
        let built = Built::sealed(count);
        let (own, own_again) = twice(|to| built.published(to));
        let (other, other_again) = twice(|to| built.copied(to));
        let again = format!("{count} signed images, again");
        tell(&again, PAIR, OURS, &own_again);
        tell(&again, PAIR, THEIRS, &other_again);
        ours.push((count, own));
        theirs.push((count, other));
    }
    tell_growth("signed images of a record", PAIR, OURS, &ours);
    tell_growth("signed images of a record", PAIR, THEIRS, &theirs);
}

/// Returns the median costs of work to empty repositories, and to the same ones again.
fn twice(work: impl Fn(&str) -> Cost) -> (Cost, Cost) {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let to = Registry::Debian.fresh();
        first.push(work(&to));
        again.push(work(&to));
    }
    (median(&first), median(&again))
}

/// Signed images with a tag each, and the record of the runs that made them.
struct Built {
    images: Vec<String>,
    record: PathBuf,
    record_digest: String,
    /// Keeps the folder of the record.
    _seal: Action,
}

impl Built {
    /// Seals this many indexes, of one platform each.
    fn sealed(count: usize) -> Self {
        let built = Registry::Cue.fresh();
        let mut seal = Action::seal(&built, &[], &[]).input("recursive", "true");
        let (mut images, mut record_digest) = (Vec::new(), String::new());
        for (number, child) in many_children(&built, count).iter().enumerate() {
            let tag = format!("v{number}");
            seal = seal.input("digests", &child.digest).input("tags", &tag);
            let sealed = seal.succeed();
            sealed
                .output("record-digest")
                .clone_into(&mut record_digest);
            images.push(format!("{built}:{tag}"));
        }
        Self {
            images,
            record: seal.workspace().join("manifest-seal.json"),
            record_digest,
            _seal: seal,
        }
    }

    fn published(&self, to: &str) -> Cost {
        let publish = unverified("built.json", to)
            .input("tags", "")
            .input("record-digest", &self.record_digest);
        std::fs::copy(&self.record, publish.workspace().join("built.json")).unwrap();
        measured(vec![publish.tool()])
    }

    fn copied(&self, to: &str) -> Cost {
        let copies = self.images.iter().map(|from| {
            let (_, tag) = from.rsplit_once(':').unwrap();
            Tool::regctl_between(from, to)
                .args(["image", "copy", "--referrers", "--digest-tags", from])
                .arg(format!("{to}:{tag}"))
        });
        measured_at_once(copies.collect(), 8)
    }
}
