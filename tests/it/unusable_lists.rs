//! The referrers tag and the digest tags of an image (`sha256-…`, `.sig`, `.att`, `.sbom`) with content that is no list.
//! Anybody with push permission can write it: it is read, skipped and reported as a warning. A list that the registry did not
//! return stays unknown.

use sandbox::{Fault, Options, Referrers, Registry};
use serde_json::json;

use crate::support::{
    INDEX, MANIFEST, Outcome, Pipeline, REPOSITORY, TARGET, UNREAD, World, descriptor, target,
    unsigned,
};

/// The content under such a tag: the media type and the bytes.
struct Junk {
    name: &'static str,
    media_type: &'static str,
    bytes: Vec<u8>,
}

const TOO_LONG_BYTES: usize = 5 << 20;

/// Returns content that is no list of signatures. Except for the index, it is no list of referrers either.
fn junk(registry: &Registry, repository: &str) -> Vec<Junk> {
    let config = registry.push_blob(repository, b"{}");
    let image = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    let junk = |name, media_type, text: &str| Junk {
        name,
        media_type,
        bytes: text.as_bytes().to_vec(),
    };
    vec![
        junk("not JSON", INDEX, "not JSON"),
        junk("an array", INDEX, "[]"),
        junk("an index", INDEX, &index.to_string()),
        junk("no layers", MANIFEST, &image.to_string()),
        junk("unknown", "application/vnd.them+json", "{ }"),
        junk("too long", INDEX, &" ".repeat(TOO_LONG_BYTES)),
    ]
}

impl Junk {
    /// Reports whether it is wrong under the tag that ends in `suffix`. An index without entries is an empty list of referrers.
    fn is_wrong(&self, suffix: &str) -> bool {
        !(suffix.is_empty() && self.name == "an index")
    }

    fn is_no_manifest(&self) -> bool {
        !["an index", "no layers"].contains(&self.name)
    }

    fn put(&self, registry: &Registry, repository: &str, tag: &str) -> String {
        registry.push_raw(repository, Some(tag), self.media_type, &self.bytes)
    }
}

fn tag(digest: &str, suffix: &str) -> String {
    format!("{}{suffix}", digest.replace(':', "-"))
}

/// Asserts that one warning names the tag and its digest, and that the warning is shorter than 2000 bytes.
fn warns_once(outcome: &Outcome, what: &str, tag: &str, held: &str) {
    let lines = outcome.log.lines();
    let warned: Vec<&str> = lines
        .filter(|line| line.starts_with("::warning") && line.contains(tag) && line.contains(held))
        .collect();
    assert_eq!(warned.len(), 1, "{what}: {}", outcome.log);
    assert!(warned[0].len() < 2000, "{what}: {}", warned[0]);
}

/// Asserts that the hint says to remove the tag by hand. No message may suggest another run, which cannot help.
fn says_to_remove_it(outcome: &Outcome, what: &str, tag: &str) {
    let hint = outcome.log.lines().find(|line| line.contains("hint"));
    let hint = hint.unwrap_or_else(|| panic!("{what}: {}", outcome.log));
    assert!(hint.contains("delete it manually"), "{what}: {hint}");
    assert!(
        !outcome.log.contains("run it again"),
        "{what}: {}",
        outcome.log
    );
    assert!(outcome.log.contains(tag), "{what}: {}", outcome.log);
}

#[test]
fn unusable_list_does_not_prevent_signing() {
    for suffix in ["", ".sig"] {
        for number in 0..junk(World::new().registry(), REPOSITORY).len() {
            let (world, digest) = unsigned();
            let registry = world.registry();
            let junk = &junk(registry, REPOSITORY)[number];
            let what = format!("{} under {suffix:?}", junk.name);
            let tag = tag(&digest, suffix);
            let held = junk.put(registry, REPOSITORY, &tag);
            let preflight = world.preflight().input("on-existing-tag", "skip");
            let seen = preflight.end_with(3);
            let refused = world.verify("v1").input("max-attempts", "1").end_with(3);
            if junk.is_wrong(suffix) {
                warns_once(&seen, &what, &tag, &held);
                refused.says(&[&tag, &held]);
            }
            // A signature of the older format must be written under this tag, and cannot be.
            if suffix == ".sig" {
                for format in ["legacy", "both"] {
                    let seal = world.seal().input("signature-format", format);
                    let seal = seal.input("on-signing-failure", "warn");
                    says_to_remove_it(&seal.end_with(1), &what, &tag);
                }
                assert_eq!(world.sigstore().entries(), 0);
            }
            let signed = world.sign("v1").succeed();
            if junk.is_wrong(suffix) {
                warns_once(&signed, &what, &tag, &held);
            }
            assert_eq!(world.seal().succeed().output("sign-skipped"), "true");
            world.verify("v1").succeed();
            assert_eq!(registry.tags(REPOSITORY)[&tag], held, "{what}");
        }
    }
}

/// Without the referrers API a bundle must be listed under the referrers tag.
#[test]
fn unusable_list_is_an_error_if_it_must_be_written() {
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let digest = world.create().succeed().output("digest").to_owned();
    let tag = tag(&digest, "");
    for junk in junk(world.registry(), REPOSITORY) {
        if !junk.is_wrong("") {
            continue;
        }
        let held = junk.put(world.registry(), REPOSITORY, &tag);
        world.verify("v1").input("max-attempts", "1").end_with(3);
        for action in [world.seal(), world.sign("v1")] {
            let action = action.input("on-signing-failure", "warn");
            says_to_remove_it(&action.end_with(1), junk.name, &tag);
        }
        assert_eq!(world.registry().tags(REPOSITORY)[&tag], held);
    }
    assert_eq!(world.sigstore().entries(), 0);
}

/// The suffixes of all tags that contain referrers or signatures of an image.
const PLACES: [&str; 4] = ["", ".sig", ".att", ".sbom"];

/// Returns a signed image and its referrers.
fn built() -> (Pipeline, String, Vec<String>) {
    let pipeline = Pipeline::new();
    let (_, index) = pipeline.build();
    let ours = pipeline.world.listed(&index);
    (pipeline, index, ours)
}

/// Publishes to an empty registry, then publishes again.
fn publish_twice(pipeline: &mut Pipeline, index: &str, referrers: &str) -> [Outcome; 2] {
    pipeline.target = target(Referrers::Api);
    let publish = pipeline.checked(&pipeline.world.at(index));
    let publish = publish.input("referrers", referrers);
    [publish.succeed(), publish.elsewhere().succeed()]
}

#[test]
fn unusable_list_is_not_published() {
    for suffix in PLACES {
        let (mut pipeline, index, ours) = built();
        let tag = tag(&index, suffix);
        for junk in junk(pipeline.world.registry(), REPOSITORY) {
            let held = junk.put(pipeline.world.registry(), REPOSITORY, &tag);
            for referrers in ["all", "verified"] {
                let what = format!("{} under {suffix:?}, {referrers}", junk.name);
                let runs = publish_twice(&mut pipeline, &index, referrers);
                assert!(pipeline.target.tags(TARGET).contains_key("v1"), "{what}");
                let is_there = |digest: &str| pipeline.target.manifest(TARGET, digest).is_some();
                // The image's other referrers are copied.
                assert!(ours.iter().all(|digest| is_there(digest)), "{what}");
                for published in runs {
                    assert_eq!(published.output("verified"), "true", "{what}");
                    if junk.is_wrong(suffix) && !is_carried(&junk, suffix, referrers) {
                        // Content that is merely left out is named by its tag.
                        let is_read = referrers == "all" || ["", ".sig"].contains(&suffix);
                        let is_named = is_read && (suffix.is_empty() || junk.is_no_manifest());
                        warns_once(&published, &what, &tag, if is_named { &held } else { "" });
                        assert!(!is_there(&held), "{what}");
                    }
                }
            }
        }
    }
}

/// True if the content is copied. With `referrers: all`, a manifest under one of cosign's tags is copied, whatever it contains.
fn is_carried(junk: &Junk, suffix: &str, referrers: &str) -> bool {
    referrers == "all" && !suffix.is_empty() && !junk.is_no_manifest()
}

/// A chain of referrers of referrers: somebody with push permission can extend it without end.
#[test]
fn chain_of_referrers_is_published_to_the_maximum_depth() {
    const DEPTH: usize = 8;
    let (mut pipeline, index, ours) = built();
    let world = &pipeline.world;
    let config = world.registry().push_blob(REPOSITORY, b"{}");
    let mut chain = vec![index.clone()];
    for number in 0..DEPTH {
        let subject = descriptor(world, &chain[number]);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "subject": subject, "layers": [],
            "artifactType": format!("application/x{number}"),
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2}});
        let manifest = manifest.to_string();
        let registry = world.registry();
        chain.push(registry.push_raw(REPOSITORY, None, MANIFEST, manifest.as_bytes()));
    }
    for published in publish_twice(&mut pipeline, &index, "all") {
        let is_there = |digest: &String| pipeline.target.manifest(TARGET, digest).is_some();
        assert!(ours.iter().all(is_there));
        let arrived = chain.iter().filter(|digest| is_there(digest)).count();
        assert!((2..DEPTH).contains(&arrived), "{arrived}");
        warns_once(&published, "deep", &chain[arrived - 1], "");
    }
    // Nothing in the chain is verified, so nothing of it is copied.
    publish_twice(&mut pipeline, &index, "verified");
}

/// Pushes a manifest like those under cosign's tags, with one layer of this type.
fn push_tag(registry: &Registry, repository: &str, tag: &str, layer: &str, text: &str) -> String {
    let config = registry.push_blob(repository, b"{}");
    let blob = registry.push_blob(repository, text.as_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": layer, "digest": blob, "size": text.len()}]});
    registry.push_raw(
        repository,
        Some(tag),
        MANIFEST,
        manifest.to_string().as_bytes(),
    )
}

const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

/// Neither the content at the destination nor the content at the source is signed by this workflow.
#[test]
fn unusable_list_at_the_destination_stays() {
    for suffix in [".sig", ".att", ".sbom"] {
        let (pipeline, index, _) = built();
        let tag = tag(&index, suffix);
        let publish = pipeline.checked(&pipeline.world.at(&index));
        push_tag(
            pipeline.world.registry(),
            REPOSITORY,
            &tag,
            ENVELOPE,
            "theirs",
        );
        for junk in junk(&pipeline.target, TARGET) {
            let what = format!("{} under {suffix:?}", junk.name);
            let held = junk.put(&pipeline.target, TARGET, &tag);
            let published = publish.elsewhere().succeed();
            warns_once(&published, &what, &tag, "");
            assert_eq!(pipeline.target.tags(TARGET)[&tag], held, "{what}");
        }
        // The reverse: the destination has a list, and the source has content that cannot be merged with it.
        let held = push_tag(&pipeline.target, TARGET, &tag, ENVELOPE, "good");
        for junk in junk(pipeline.world.registry(), REPOSITORY) {
            let what = format!("{} under {suffix:?}, at the source", junk.name);
            junk.put(pipeline.world.registry(), REPOSITORY, &tag);
            let published = publish.elsewhere().succeed();
            warns_once(&published, &what, &tag, "");
            assert_eq!(pipeline.target.tags(TARGET)[&tag], held, "{what}");
        }
    }
}

/// A verified signature must be copied: it is not left out with a warning.
#[test]
fn unusable_list_is_an_error_if_a_verified_signature_must_be_listed() {
    let (pipeline, index, _) = built();
    let world = &pipeline.world;
    let sign = world.sign(&index).input("signature-format", "both");
    sign.succeed();
    for suffix in [".sig", ""] {
        let tag = tag(&index, suffix);
        for referrers in ["all", "verified"] {
            for junk in junk(&pipeline.target, TARGET) {
                if !junk.is_wrong(suffix) {
                    continue;
                }
                let what = format!("{} under {suffix:?}, {referrers}", junk.name);
                let held = junk.put(&pipeline.target, TARGET, &tag);
                let publish = pipeline.checked(&world.at(&index));
                let publish = publish.input("referrers", referrers);
                says_to_remove_it(&publish.end_with(1), &what, &tag);
                let tags = pipeline.target.tags(TARGET);
                assert_eq!((&tags[&tag], tags.get("v1")), (&held, None), "{what}");
            }
        }
        pipeline.target.delete_tag(TARGET, &tag);
    }
}

/// A list that was not read may contain the signature that counts.
#[test]
fn list_that_was_not_read_stays_unknown() {
    for suffix in PLACES {
        let (pipeline, index, _) = built();
        let tag = tag(&index, suffix);
        let bad = junk(pipeline.world.registry(), REPOSITORY).remove(0);
        bad.put(pipeline.world.registry(), REPOSITORY, &tag);
        let (world, digest) = unsigned();
        let there = digest.replace(':', "-") + suffix;
        bad.put(world.registry(), REPOSITORY, &there);
        for fault in UNREAD {
            let at = |tag: &str| Fault::on("GET", &format!("*/manifests/{tag}")).times(u32::MAX);
            pipeline.world.registry().fault(fault(at(&tag)));
            let publish = pipeline.checked(&pipeline.world.at(&index));
            let publish = publish.input("max-attempts", "1");
            publish.end_with(1);
            if ["", ".sig"].contains(&suffix) {
                world.registry().fault(fault(at(&there)));
                let skip = world.preflight().input("on-existing-tag", "skip");
                for action in [world.seal(), world.sign("v1"), world.verify("v1"), skip] {
                    action.input("max-attempts", "1").end_with(1);
                }
            }
            pipeline.world.registry().clear_faults();
            world.registry().clear_faults();
        }
        assert_eq!(pipeline.target.tags(TARGET).get("v1"), None, "{suffix}");
        assert_eq!(world.sigstore().entries(), 0, "{suffix}");
    }
}
