//! All signers and all verifiers together: each way of signing and of verifying, on each registry. Each signs an index
//! and its children, with OCI's types and with Docker's. Expected failures are given by their messages.

use std::thread;

use serde_json::Value;

use super::legacy::layers;
use super::support::{
    Action, Child, Cosign, Expected, Flavour, Log, Outcome, Registry, Seen, Table, Tool, Workflow,
    on_each_registry, push_child, push_index, stack, text,
};

const YES: Expected = Ok(());
/// cosign 2.6 if there is a bundle, before it checks anything else.
const NOT_TOLD: Expected = Err("trusted root is required when using new bundle format");
const NO_BUNDLE: Expected = Err("no valid bundles exist in registry");
/// A Rekor v2 proves no time, and cosign 2 does not check the timestamp by default.
const NO_TIME: Expected = Err("threshold not met for verified log entry integrated timestamps");
const NO_TIMESTAMP: Expected = Err("threshold not met for verified signed timestamps");
const NOTHING: Expected = Err("no signatures found");
const NOTHING_FOR_US: Expected = Err("has no signature");
/// The answer of Rekor v2 to the entry of cosign 2.
const NO_ENTRY: Expected = Err("invalid type, must be hashedrekord");

/// The signer and its options.
#[derive(Debug, Clone, Copy)]
enum Signer {
    /// cosign, in the older format.
    Legacy(Cosign),
    /// cosign 2, with the services given by address: a bundle without a timestamp.
    ByAddress,
    /// cosign, with the services in a signing config.
    Bundle(Cosign, Log),
    /// This program, in this format.
    Us(&'static str, Log),
}

/// The verifier and its options.
#[derive(Debug, Clone, Copy)]
enum Verifier {
    /// cosign with the usual options.
    Cosign(Cosign),
    /// cosign 2, with the option for bundles.
    Bundle,
    /// cosign 2, with the options for bundles and timestamps.
    Timestamp,
    /// This program.
    Us,
}

const VERIFIERS: [(&str, Verifier); 5] = [
    ("cosign 2", Verifier::Cosign(Cosign::Two)),
    ("cosign 2, bundles", Verifier::Bundle),
    ("cosign 2, timestamps", Verifier::Timestamp),
    ("cosign 3", Verifier::Cosign(Cosign::Three)),
    ("us", Verifier::Us),
];

/// Name, signer, the expected result of signing, and the expected result of each verifier.
type Row = (&'static str, Signer, Expected, [Expected; 5]);

const LEGACY: [Expected; 5] = [YES, NO_BUNDLE, NO_BUNDLE, YES, YES];
const REKOR1: [Expected; 5] = [NOT_TOLD, YES, YES, YES, YES];
const REKOR2: [Expected; 5] = [NOT_TOLD, NO_TIME, YES, YES, YES];

#[rustfmt::skip]
const ROWS: [Row; 10] = [
    ("cosign 2, legacy", Signer::Legacy(Cosign::Two), YES, LEGACY),
    ("cosign 2, bundle, Rekor v1 by address", Signer::ByAddress, YES, [NOT_TOLD, YES, NO_TIMESTAMP, YES, YES]),
    ("cosign 2, bundle, Rekor v1", Signer::Bundle(Cosign::Two, Log::Rekor1), YES, REKOR1),
    ("cosign 2, bundle, Rekor v2", Signer::Bundle(Cosign::Two, Log::Rekor2), NO_ENTRY, [NOTHING, NO_BUNDLE, NO_BUNDLE, NOTHING, NOTHING_FOR_US]),
    ("cosign 3, legacy", Signer::Legacy(Cosign::Three), YES, LEGACY),
    ("cosign 3, bundle, Rekor v1", Signer::Bundle(Cosign::Three, Log::Rekor1), YES, REKOR1),
    ("cosign 3, bundle, Rekor v2", Signer::Bundle(Cosign::Three, Log::Rekor2), YES, REKOR2),
    ("us, legacy", Signer::Us("legacy", Log::Rekor1), YES, LEGACY),
    ("us, bundle, Rekor v1", Signer::Us("bundle", Log::Rekor1), YES, REKOR1),
    ("us, bundle, Rekor v2", Signer::Us("bundle", Log::Rekor2), YES, REKOR2),
];

on_each_registry!(whoever_signs_the_others_verify);

fn whoever_signs_the_others_verify(registry: Registry) {
    // Both in parallel, because most of the time is spent waiting for logs.
    let (oci, docker) = thread::scope(|scope| {
        let oci = scope.spawn(|| of_types(registry, Flavour::Oci, "OCI"));
        let docker = of_types(registry, Flavour::Docker, "Docker");
        (oci.join().unwrap(), docker)
    });
    oci.and(docker).end("registry | types | signer | part");
}

fn of_types(registry: Registry, flavour: Flavour, types: &str) -> Table {
    let mut table = Table::default();
    for (name, signer, signs, verify) in ROWS {
        let row = format!("{} | {types} | {name}", registry.name());
        let image = Image::push(registry, flavour);
        let signed = image.sign(signer);
        if signed.is_ok() != signs.is_ok() {
            table.begin(&format!("{row} | all"));
            table.see("signs", signs, &signed);
            continue;
        }
        // Only a signed image can be skipped as signed.
        let rerun = signs.map(|()| image.rerun(signer));
        for (part, references) in image.parts() {
            table.begin(&format!("{row} | {part}"));
            table.see("signs", signs, &signed);
            for ((verifier, how), expected) in VERIFIERS.into_iter().zip(verify) {
                for reference in &references {
                    table.see(verifier, expected, &how.verify(reference));
                }
            }
            if let Ok(rerun) = &rerun {
                table.see("our rerun skips", YES, rerun);
            }
        }
    }
    table
}

/// An index and its children, equal for every signer.
struct Image {
    repository: String,
    children: [Child; 2],
    flavour: Flavour,
}

impl Image {
    fn push(registry: Registry, flavour: Flavour) -> Self {
        let repository = registry.fresh();
        let children = two_children(&repository, flavour);
        Self {
            repository,
            children,
            flavour,
        }
    }

    /// Makes the index and signs it and its children: our program does all of it, for cosign crane makes the index.
    fn sign(&self, signer: Signer) -> Seen {
        let workflow = Workflow::default();
        let cosign = match signer {
            Signer::Us(format, log) => return self.sign_ours(format, log),
            Signer::Legacy(cosign) => Tool::legacy_signing(cosign, &workflow),
            Signer::ByAddress => {
                Tool::legacy_signing(Cosign::Two, &workflow).arg("--new-bundle-format")
            }
            Signer::Bundle(Cosign::Two, log) => Tool::cosign_2_signing(log, &workflow),
            Signer::Bundle(Cosign::Three, log) => Tool::cosign_signing("sign", log, &workflow),
        };
        let index = push_index(
            &self.repository,
            &[&self.children[0], &self.children[1]],
            "v1",
        );
        self.check_type()?;
        ran(cosign.args(["--recursive", &format!("{}@{index}", self.repository)]))
    }

    fn sign_ours(&self, format: &str, log: Log) -> Seen {
        let sealed = self.seal(format, log);
        said(&sealed, "result", "created")?;
        said(&sealed, "sign-skipped", "false")?;
        self.check_type()?;
        // The reported digest is the one under the tag, according to another tool.
        said(&sealed, "digest", &self.index())?;
        ran(Tool::pasted(sealed.output("verify-command")))
    }

    /// Runs our program over a foreign signature: it adds nothing, to either format.
    fn rerun(&self, signer: Signer) -> Seen {
        let index = self.index();
        for format in ["bundle", "legacy"] {
            let sealed = self.seal(format, Log::Rekor1);
            said(&sealed, "result", "unchanged")?;
            said(&sealed, "sign-skipped", "true")?;
            said(&sealed, "digest", &index)?;
        }
        let expected = match signer {
            Signer::Legacy(_) | Signer::Us("legacy", _) => (0, 1),
            Signer::ByAddress | Signer::Bundle(..) | Signer::Us(..) => (1, 0),
        };
        for digest in digests(&self.children).into_iter().chain([index.as_str()]) {
            let bundles = Tool::bundles(&self.repository, digest).len();
            let held = (bundles, layers(&self.repository, digest).len());
            if held != expected {
                return Err(format!("{digest}: bundles and layers are {held:?}"));
            }
        }
        Ok(())
    }

    fn seal(&self, format: &str, log: Log) -> Outcome {
        Action::seal(&self.repository, &digests(&self.children), &["v1"])
            .input("signature-format", format)
            .input("recursive", "true")
            .log(log)
            .run()
    }

    /// Checks that the index has the type that its children require.
    fn check_type(&self) -> Seen {
        let tag = format!("{}:v1", self.repository);
        let manifest = Tool::crane().args(["manifest", &tag]).succeed();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let expected = match self.flavour {
            Flavour::Oci => "application/vnd.oci.image.index.v1+json",
            Flavour::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        if manifest["mediaType"] == expected {
            Ok(())
        } else {
            Err(format!("{tag} is no {expected}: {manifest}"))
        }
    }

    fn index(&self) -> String {
        let tag = format!("{}:v1", self.repository);
        Tool::crane().args(["digest", &tag]).succeed()
    }

    /// Returns the references to verify: the index by its tag, each child by its digest.
    fn parts(&self) -> [(&'static str, Vec<String>); 2] {
        let repository = &self.repository;
        let child = |child: &Child| format!("{repository}@{}", child.digest);
        [
            ("index", vec![format!("{repository}:v1")]),
            ("children", self.children.iter().map(child).collect()),
        ]
    }
}

impl Verifier {
    fn verify(self, image: &str) -> Seen {
        let cosign = |cosign| Tool::legacy_verify(cosign, &Workflow::default());
        let trusting = |cosign: Tool| {
            cosign
                .args(["--new-bundle-format", "--trusted-root"])
                .arg(stack("TRUSTED_ROOT"))
        };
        match self {
            Self::Cosign(version) => ran(cosign(version).arg(image)),
            Self::Bundle => ran(trusting(cosign(Cosign::Two)).arg(image)),
            Self::Timestamp => ran(trusting(cosign(Cosign::Two))
                .arg("--use-signed-timestamps")
                .arg(image)),
            Self::Us => {
                // An index with its children.
                let verified = Action::new("verify", image)
                    .input("recursive", "true")
                    .run();
                match verified.code {
                    0 => said(&verified, "verified", "true"),
                    3 => Err(verified.log),
                    // Any other exit code is not a refusal.
                    code => {
                        println!("{image}\n{}", verified.log);
                        Err(format!("exit code {code}"))
                    }
                }
            }
        }
    }
}

/// Returns success, or else the output.
fn ran(tool: Tool) -> Seen {
    let output = tool.output();
    if output.status.success() {
        Ok(())
    } else {
        Err(text(&output))
    }
}

/// Checks that our run succeeded with this output; else returns its log.
fn said(outcome: &Outcome, output: &str, value: &str) -> Seen {
    let said = outcome.outputs.get(output).map(String::as_str);
    if (outcome.code, said) == (0, Some(value)) {
        Ok(())
    } else {
        Err(format!(
            "exit code {}, {output} is {said:?} and not {value}\n{}",
            outcome.code, outcome.log
        ))
    }
}

/// Policy engines filter by the entry's type, and cosign's own entries have the wrong one.
#[test]
fn fallback_entry_says_what_it_is() {
    for registry in [Registry::Debian, Registry::Distribution] {
        let repository = registry.fresh();
        let children = two_children(&repository, Flavour::Oci);
        let sealed = Action::seal(&repository, &digests(&children), &["v1"]).succeed();
        let tag = sealed.output("digest").replace(':', "-");
        let fallback = Tool::crane()
            .args(["manifest", &format!("{repository}:{tag}")])
            .succeed();
        let fallback: Value = serde_json::from_str(&fallback).unwrap();
        let entries = fallback["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "{fallback}");
        assert_eq!(
            entries[0]["artifactType"], "application/vnd.dev.sigstore.bundle.v0.3+json",
            "{fallback}"
        );
    }
}

/// Pushes two images, for amd64 and arm64.
pub(crate) fn two_children(repository: &str, flavour: Flavour) -> [Child; 2] {
    ["amd64", "arm64"].map(|architecture| push_child(repository, architecture, flavour))
}

/// Returns their digests.
pub(crate) fn digests(children: &[Child]) -> Vec<&str> {
    children.iter().map(|child| child.digest.as_str()).collect()
}
