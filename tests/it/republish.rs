//! A rerun of failed jobs, which writes the tags again once verification succeeds. The test runs this step as it is in
//! build-publish.yml, after somebody else took the free tags.

use std::fs;

use sandbox::Kind;
use serde_json::{Value, json};

use crate::support::workflow::step;
use crate::support::{Action, Outcome, REPOSITORY, World, child, cleanup, index_of, push};

const VERSION: &str = "org.opencontainers.image.version";

/// A run whose first attempt sealed, failed at the verification and was cleaned up.
struct Failed {
    world: World,
    sealed: Outcome,
    record: Vec<u8>,
}

impl Failed {
    fn new() -> Self {
        let world = World::new();
        let seal = world.seal().input("tags", "1.0.0");
        let seal = seal.input("moving-tags", "latest");
        let sealed = seal.succeed();
        let record = fs::read(seal.workspace().join("manifest-seal.json")).unwrap();
        cleanup(&seal.elsewhere().handed("manifest-seal.json", &record)).succeed();
        assert_eq!([world.tag("1.0.0"), world.tag("latest")], [None, None]);
        Self {
            world,
            sealed,
            record,
        }
    }

    fn digest(&self) -> &str {
        self.sealed.output("digest")
    }

    /// Returns the second attempt's step, with the outputs of the jobs before it.
    fn republish(&self) -> Action {
        let sigstore = self.world.sigstore();
        let given = [
            ("needs.seal.outputs.reference", self.world.at(self.digest())),
            (
                "needs.seal.outputs.record-digest",
                self.sealed.output("record-digest").to_owned(),
            ),
            ("needs.build.outputs.tags", self.world.at("1.0.0")),
            ("needs.build.outputs.moving-tags", self.world.at("latest")),
            ("inputs.recursive", "false".to_owned()),
            (
                "needs.build.outputs.proceed == 'true' && needs.seal.outputs.identity || ''",
                self.sealed.output("identity").to_owned(),
            ),
            ("inputs.certificate-oidc-issuer", sigstore.issuer()),
            ("github.repository", "octo-org/octo-app".to_owned()),
            ("github.ref", "refs/heads/main".to_owned()),
            ("inputs.trusted-root", sigstore.trusted_root()),
        ];
        let step = step("build-publish.yml", "republish");
        let mut action = Action::new(&step["command"])
            .file("manifest-seal.json", &self.record)
            .env("GITHUB_RUN_ATTEMPT", "2");
        for (name, value) in step {
            let expression = value.strip_prefix("${{ ").unwrap_or_default();
            let expression = expression.strip_suffix(" }}").unwrap_or_default();
            if let Some((_, value)) = given.iter().find(|(known, _)| *known == expression) {
                action = action.input(&name, value);
            }
        }
        action
    }
}

/// Pushes an index of somebody else under the fixed tag: the right images, an attestation of another build, and an annotation.
fn theirs(world: &World) -> String {
    let foreign = world
        .registry()
        .push_image_seeded(REPOSITORY, "linux/amd64", Kind::Oci, 666)
        .digest;
    let mut attestation = child(world, &foreign, "unknown");
    attestation["platform"]["os"] = "unknown".into();
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": world.amd64.digest,
    });
    let mut index = index_of(&[
        child(world, &world.amd64.digest, "amd64"),
        child(world, &world.arm64.digest, "arm64"),
        attestation,
    ]);
    index["annotations"] = json!({"org.opencontainers.image.source": "https://example.org/theirs"});
    push(world, Some("1.0.0"), &index.to_string())
}

/// Pushes an index that states a newer version than any other.
fn newest(world: &World) -> String {
    let mut index: Value = index_of(&[child(world, &world.amd64.digest, "amd64")]);
    index["annotations"] = json!({VERSION: "999.0.0"});
    push(world, Some("latest"), &index.to_string())
}

#[test]
fn tags_that_were_taken_back_are_written_again_and_can_be_taken_back_again() {
    let failed = Failed::new();
    let world = &failed.world;
    let ours = Some(failed.digest().to_owned());
    let step = failed.republish();
    let outcome = step.succeed();
    assert_eq!(outcome.output("verified"), "true");
    assert_eq!(
        [world.tag("1.0.0"), world.tag("latest")],
        [ours.clone(), ours]
    );
    // A later job may fail too.
    let record = fs::read(step.workspace().join("manifest-seal.json")).unwrap();
    let tags = world
        .seal()
        .elsewhere()
        .input("tags", "1.0.0")
        .input("moving-tags", "latest");
    let clean = cleanup(&tags.handed("manifest-seal.json", &record));
    clean.succeed();
    assert_eq!([world.tag("1.0.0"), world.tag("latest")], [None, None]);
}

#[test]
fn index_of_a_stranger_with_the_same_images_is_a_conflict() {
    let failed = Failed::new();
    let theirs = theirs(&failed.world);
    failed.republish().end_with(3).says(&[&theirs]);
    assert_eq!(failed.world.tag("1.0.0"), Some(theirs));
}

#[test]
fn unsigned_image_that_claims_to_be_newer_does_not_keep_latest() {
    let failed = Failed::new();
    newest(&failed.world);
    failed.republish().succeed();
    let ours = Some(failed.digest().to_owned());
    assert_eq!(failed.world.tag("latest"), ours);
}
