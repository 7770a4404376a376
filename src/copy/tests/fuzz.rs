//! Extends documents of other tools, for the table in `src/fuzz`: existing content stays there.

use crate::copy::shape::plain_entry;
use crate::domain::{Descriptor, Digest, ImageConfig, Manifest, MediaType};
use crate::fuzz::{Parser, of_bytes};
use crate::outcome::Subject;
use crate::signatures::attach::merge;
use crate::signatures::candidates::bundle_of;
use crate::signatures::legacy_manifest::{SignatureConfig, config_of, merge as merge_legacy};

const INDEX: &[u8] = br#"{"schemaVersion":2,"x":{"b":1},"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","platform":{"os":"linux","architecture":"arm64","variant":"v8"},"annotations":{"a":"b"}}],"annotations":{"z":"1"}}"#;
const BUNDLE: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},"layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","size":7,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","annotations":{"org.opencontainers.image.title":"sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sigstore.json"}}],"annotations":{"org.opencontainers.image.created":"2026-11-29T21:40:11Z","dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1"}}"#;

fn legacy(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/signing/legacy");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

pub(crate) fn parsers() -> Vec<Parser> {
    let config = br#"{"architecture":"arm","os":"windows","variant":"v7","os.version":"10.0.1","os.features":["win32k"],"config":{}}"#;
    let entry = Descriptor::new(MediaType::OciManifest, 1, Digest::of(b"ours"));
    let subject = Subject {
        repository: "ghcr.io/o/r".parse().unwrap(),
        digest: Digest::of(b"subject"),
    };
    let current = Manifest::parse(legacy("manifest.json"), MediaType::OciManifest).unwrap();
    let other = Manifest::parse(legacy("manifest-of-two.json"), MediaType::OciManifest).unwrap();
    vec![
        of_bytes(
            "fallback index that grows",
            "src/signatures/attach.rs",
            vec![INDEX.to_vec()],
            move |bytes| {
                let Ok(theirs) = Manifest::parse(bytes.to_vec(), MediaType::OciIndex) else {
                    return false;
                };
                // A document that is nested too deep to be written again is left unchanged.
                let Ok(merged) = merge(Some(&theirs), &subject, std::slice::from_ref(&entry))
                else {
                    return false;
                };
                let merged = Manifest::parse(merged.unwrap(), MediaType::OciIndex).unwrap();
                let (last, before) = merged.children().split_last().unwrap();
                assert_eq!((before, last), (theirs.children(), &entry));
                true
            },
        ),
        of_bytes(
            "legacy manifest that grows",
            "src/signatures/legacy_manifest.rs",
            vec![legacy("manifest-of-two.json")],
            move |bytes| {
                let Ok(theirs) = Manifest::parse(bytes.to_vec(), MediaType::OciManifest) else {
                    return false;
                };
                let _ = config_of(&theirs);
                merge_legacy(&current, SignatureConfig::Lost, &theirs).is_ok()
                    && merge_legacy(&theirs, SignatureConfig::Lost, &current).is_ok()
            },
        ),
        of_bytes(
            "config of legacy signatures",
            "src/signatures/legacy_manifest.rs",
            vec![legacy("config.json")],
            move |bytes| {
                merge_legacy(
                    &current_of(),
                    SignatureConfig::Known(bytes.to_vec()),
                    &other,
                )
                .is_ok()
            },
        ),
        of_bytes(
            "manifest of a bundle",
            "src/copy/shape.rs",
            vec![BUNDLE.to_vec()],
            |bytes| {
                let subject = Digest::of(b"subject");
                let subject = Descriptor::new(MediaType::OciIndex, 1, subject);
                let Ok(manifest) = Manifest::parse(bytes.to_vec(), MediaType::OciManifest) else {
                    return false;
                };
                let Some(bundle) = bundle_of(&manifest) else {
                    return false;
                };
                let Ok(entry) = plain_entry(&manifest, bundle, &subject) else {
                    return false;
                };
                assert_eq!(
                    (&entry.digest, entry.size),
                    (manifest.digest(), bytes.len() as u64)
                );
                let is_plain = |name: &String| {
                    name.starts_with("dev.sigstore.bundle.")
                        || name == "org.opencontainers.image.created"
                };
                assert!(entry.annotations.keys().all(is_plain), "{entry:?}");
                true
            },
        ),
        of_bytes(
            "image config",
            "src/commands/children.rs",
            vec![config.to_vec()],
            |bytes| {
                let read = ImageConfig::parse(bytes);
                read.is_ok_and(|config| {
                    let is_usable = config.platform.is_usable();
                    let shown = config.platform.to_string();
                    assert!(
                        !is_usable
                            || !shown.contains(|letter: char| letter.is_control() || letter == '`')
                    );
                    is_usable
                })
            },
        ),
    ]
}

fn current_of() -> Manifest {
    Manifest::parse(legacy("manifest.json"), MediaType::OciManifest).unwrap()
}
