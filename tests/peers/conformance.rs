//! The distribution specification's own conformance suite, against the sandbox's registry: the tests of this program rest
//! on a registry that the authors of the protocol accept.

use std::fs;
use std::path::PathBuf;

use sandbox::{Options, Registry, TagParameter, Transport};

use super::support::{Tool, stack, text};

/// Tests that are disabled by default at 1.1 and that a registry may pass all the same.
const ENABLED: [&str; 3] = [
    "OCI_API_BLOBS_UPLOAD_CANCEL",
    "OCI_API_BLOBS_DIGEST_HEADER",
    "OCI_API_MANIFESTS_DIGEST_HEADER",
];

#[test]
fn sandbox_passes_the_released_specification() {
    passes("1.1", Options::new(), 856);
}

#[test]
fn sandbox_with_tag_parameters_passes_the_coming_specification() {
    let options = Options::new().tag_parameter(TagParameter::Honoured);
    passes("dev", options, 980);
}

/// The counts of a run.
#[derive(Debug, Clone, Copy)]
struct Counts {
    passed: u32,
    /// Failures, and errors of the suite itself.
    failed: u32,
    skipped: u32,
    disabled: u32,
}

/// Runs the suite in one version, and asserts that nothing fails and at least `passed_min` tests pass.
fn passes(version: &str, options: Options, passed_min: u32) {
    let registry = Registry::start(options.transport(Transport::PLAIN));
    let folder = PathBuf::from(stack("FOLDER")).join(format!("conformance-{version}"));
    fs::create_dir_all(&folder).unwrap();
    let suite = ENABLED
        .into_iter()
        .fold(Tool::conformance().folder(&folder), |suite, name| {
            suite.env(name, "true")
        });
    let output = suite
        .env("OCI_REGISTRY", registry.address())
        .env("OCI_TLS", "disabled")
        .env("OCI_VERSION", version)
        .output();
    let report = text(&output);
    let counts = Counts::read(&report);
    let Counts {
        passed,
        failed,
        skipped,
        disabled,
    } = counts;
    println!(
        "conformance {version}: {passed} passed, {failed} failed, {skipped} skipped, {disabled} disabled"
    );
    assert!(output.status.success() && failed == 0, "{report}");
    assert!(passed >= passed_min, "{counts:?}\n{report}");
}

impl Counts {
    /// Reads the counts after the line with the result: `  Pass..........:        864`.
    fn read(report: &str) -> Self {
        let (_, counts) = report
            .split_once("OCI Conformance Result:")
            .unwrap_or_else(|| panic!("no result\n{report}"));
        let count = |status: &str| -> u32 {
            let mut lines = counts.lines().map(str::trim);
            let line = lines.find_map(|line| line.strip_prefix(status));
            let number = line.and_then(|line| line.split_once(": "));
            let number = number.and_then(|(_, number)| number.trim().parse().ok());
            number.unwrap_or_else(|| panic!("no count of {status}\n{report}"))
        };
        Self {
            passed: count("Pass."),
            failed: count("FAIL.") + count("Error."),
            skipped: count("Skip."),
            disabled: count("Disabled."),
        }
    }
}
