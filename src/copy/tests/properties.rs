//! Properties of what extends the documents of other tools: existing content stays there.

use crate::copy::bundle_manifest::strict_entry;
use crate::domain::{Descriptor, Digest, Manifest, MediaType};
use crate::outcome::Subject;
use crate::properties::{of_bytes, properties};
use crate::referrers::merge;
use crate::signatures::candidates::bundle_of;
use crate::signatures::legacy_manifest::{SignatureConfig, config_of, merge as merge_legacy};

const INDEX: &[u8] = br#"{"schemaVersion":2,"x":{"b":1},"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","platform":{"os":"linux","architecture":"arm64","variant":"v8"},"annotations":{"a":"b"}}],"annotations":{"z":"1"}}"#;
const BUNDLE: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="},"layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","size":7,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","annotations":{"org.opencontainers.image.title":"sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sigstore.json"}}],"annotations":{"org.opencontainers.image.created":"2026-11-29T21:40:11Z","dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1"}}"#;

fn legacy(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/signing/legacy");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

fn legacy_manifest(name: &str) -> Manifest {
    Manifest::parse(legacy(name), MediaType::OciManifest).unwrap()
}

properties! {
    referrers_tag_keeps_its_entries_and_gets_ours_last in "src/referrers/index.rs" {
        let entry = Descriptor::new(MediaType::OciManifest, 1, Digest::of(b"ours"));
        let subject = Subject { repository: "ghcr.io/o/r".parse().unwrap(), digest: Digest::of(b"subject") };
        of_bytes(&[INDEX], |bytes| {
            let Ok(theirs) = Manifest::parse(bytes.to_vec(), MediaType::OciIndex) else { return false };
            // A document that is nested too deep to be written again is left unchanged.
            let Ok(merge_layers) = merge(Some(&theirs), &subject, std::slice::from_ref(&entry)) else { return false };
            let merge_layers = Manifest::parse(merge_layers.unwrap(), MediaType::OciIndex).unwrap();
            let (last, before) = merge_layers.children().split_last().unwrap();
            assert_eq!((before, last), (theirs.children(), &entry));
            true
        });
    }
    legacy_manifest_is_merged_or_refused in "src/signatures/legacy_manifest.rs" {
        let current = legacy_manifest("manifest.json");
        of_bytes(&[legacy("manifest-of-two.json")], |bytes| {
            let Ok(theirs) = Manifest::parse(bytes.to_vec(), MediaType::OciManifest) else { return false };
            let _ = config_of(&theirs);
            merge_legacy(&current, SignatureConfig::Missing, &theirs).is_ok() && merge_legacy(&theirs, SignatureConfig::Missing, &current).is_ok()
        });
    }
    config_of_legacy_signatures_is_merged_or_refused in "src/signatures/legacy_manifest.rs" {
        let (current, other) = (legacy_manifest("manifest.json"), legacy_manifest("manifest-of-two.json"));
        of_bytes(&[legacy("config.json")], |bytes| merge_legacy(&current, SignatureConfig::Known(bytes.to_vec()), &other).is_ok());
    }
    entry_of_a_bundle_has_its_digest_and_plain_annotations in "src/copy/bundle_manifest.rs" {
        let subject = Descriptor::new(MediaType::OciIndex, 1, Digest::of(b"subject"));
        of_bytes(&[BUNDLE], |bytes| {
            let Ok(manifest) = Manifest::parse(bytes.to_vec(), MediaType::OciManifest) else { return false };
            let Some(bundle) = bundle_of(&manifest) else { return false };
            let Ok(entry) = strict_entry(&manifest, bundle, &subject) else { return false };
            assert_eq!((&entry.digest, entry.size), (manifest.digest(), bytes.len() as u64));
            let is_needed = |name: &String| {
                name.starts_with("dev.sigstore.bundle.") || name == "org.opencontainers.image.created"
            };
            assert!(entry.annotations.keys().all(is_needed), "{entry:?}");
            true
        });
    }
}
