//! The properties of parsers that are not private to a room.

use std::ffi::OsString;
use std::path::Path;

use super::{of_bytes, of_text, properties};
use crate::actions::{Arguments, Environment, Invocation};
use crate::domain::{
    Digest, Host, ImageConfig, ImageReference, Manifest, Matcher, MediaType, Platform, Repository,
    Tag,
};
use crate::http::{Certificates, Proxies};
use crate::inputs::{Files, INPUTS, Inputs, RawInputs};
use crate::layout::Layout;
use crate::record::{KnownDigests, Record, RecordFile};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","platform":{"os":"linux","architecture":"arm64","variant":"v8"}},{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":9,"digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}],"annotations":{"a":"b"}}"#;
const IMAGE: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"a/b","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","data":"e30="},"layers":[{"mediaType":"a/b","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","urls":["https://x.test"]}],"subject":{"mediaType":"a/b","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}"#;
const RECORD: &str = r#"{"schema":1,"images":[{"image":"ghcr.io/o/r","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","mediaType":"application/vnd.oci.image.index.v1+json","created":true,"platforms":[{"platform":"linux/arm64/v8","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],"attestations":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],"tags":[{"tag":"v1","moving":true,"before":null,"after":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","state":"written"}],"signatures":[{"subject":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","format":"legacy","manifest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","signature":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","tagged":true,"identity":"i","issuer":"j","logIndex":7,"made":true}]}]}"#;
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

properties! {
    repeated_name_is_found in "src/plan/repeated.rs" {
        of_text(&[r#"{"a":1,"b":{"c":[{"d":1,"d":2}]}}"#], |text| crate::plan::repeated_name(text.as_bytes()).is_some());
    }
    digest_is_printed_as_read in "src/domain/digest.rs" { of_text(&[DIGEST], comes_back::<Digest>); }
    host_is_printed_as_read in "src/domain/reference.rs" {
        of_text(&["ghcr.io", "localhost:5000", "[::1]:443"], comes_back::<Host>);
    }
    repository_is_printed_as_read in "src/domain/reference.rs" {
        of_text(&["ghcr.io/o/r", "localhost:5000/a/b_c", "docker.io/library/alpine", "[::1]:5000/a"], comes_back::<Repository>);
    }
    tag_is_printed_as_read in "src/domain/reference.rs" { of_text(&["v1.2-RC_3"], comes_back::<Tag>); }
    reference_is_printed_as_read in "src/domain/reference.rs" {
        of_text(&["ghcr.io/o/r:v1", "localhost:5000/a", &format!("ghcr.io/o/r:v1@{DIGEST}")], comes_back::<ImageReference>);
    }
    platform_is_printed_as_read in "src/domain/platform.rs" {
        of_text(&["linux/arm64/v8", "linux/amd64"], comes_back::<Platform>);
    }
    media_type_is_normalized_once in "src/domain/media_type.rs" {
        of_text(&["Application/vnd.oci.image.index.v1+json; charset=utf-8"], |text| {
            let read = MediaType::from(text);
            assert_eq!(MediaType::from(read.as_str()), read);
            true
        });
    }
    pattern_matches_long_text_soon in "src/domain/policy.rs" {
        of_text(&["https://github\\.com/o/.*@refs/tags/v[0-9]+", "a|b"], |text| {
            let matcher = Matcher::pattern(text);
            let _ = matcher.as_ref().map(|matcher| matcher.matches(&"a/".repeat(2000)));
            matcher.is_ok()
        });
    }
    command_line_is_read_or_refused in "src/actions/arguments.rs" {
        of_text(&["verify\n--image\nx\n--sign=false"], |text| {
            Invocation::parse(text.split('\n').map(OsString::from), &["image", "sign"], &["sign"]).is_ok()
        });
    }
    index_keeps_its_bytes in "src/domain/manifest.rs" { keeps_its_bytes(INDEX, &MediaType::OciIndex); }
    image_manifest_keeps_its_bytes in "src/domain/manifest.rs" { keeps_its_bytes(IMAGE, &MediaType::OciManifest); }
    docker_list_keeps_its_bytes in "src/domain/manifest.rs" {
        let list = INDEX.replace("oci.image.index.v1", "docker.distribution.manifest.list.v2");
        keeps_its_bytes(&list, &MediaType::DockerList);
    }
    platform_of_a_descriptor_is_written_as_read in "src/domain/object.rs" {
        let seed = r#"{"os":"windows","architecture":"amd64","os.version":"10.0","os.features":["b","a"],"variant":""}"#;
        of_bytes(&[seed], |bytes| {
            let Ok(platform) = serde_json::from_slice::<Platform>(bytes) else { return false };
            let written = serde_json::to_vec(&platform).unwrap();
            assert_eq!(serde_json::from_slice::<Platform>(&written).unwrap(), platform);
            true
        });
    }
    usable_platform_of_a_config_is_plain_text in "src/commands/children.rs" {
        let seed = r#"{"architecture":"arm","os":"windows","variant":"v7","os.version":"10.0.1","os.features":["win32k"],"config":{}}"#;
        of_bytes(&[seed], |bytes| {
            let read = ImageConfig::parse(bytes);
            let Some(platform) = read.ok().map(|config| config.platform).filter(Platform::is_usable) else { return false };
            let shown = platform.to_string();
            assert!(!shown.contains(|letter: char| letter.is_control() || letter == '`'), "{shown:?}");
            true
        });
    }
    proxies_are_read_or_refused in "src/http/proxies.rs" {
        of_text(&["http://me:pass@proxy.test:3128", "proxy.test", "https://[::1]:8443/"], |text| {
            Proxies::from_environment(|name: &str| (name != "REQUEST_METHOD").then_some(text)).is_ok()
        });
    }
    ca_certificates_are_read_or_refused in "src/http/certificates.rs" {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signing/long-lived.pem");
        of_text(&[&std::fs::read_to_string(file).unwrap()], |text| Certificates::parse(text).is_ok());
    }
    record_is_written_as_read in "src/record/file.rs" {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        of_bytes(&[RECORD], |bytes| {
            std::fs::write(&path, bytes).unwrap();
            let loaded = RecordFile::new(path.clone()).load(&KnownDigests::default(), None);
            let Ok(Some(record)) = loaded.as_ref().map(|loaded| loaded.hints()) else { return false };
            let written = serde_json::to_vec(&record).unwrap();
            assert_eq!(serde_json::from_slice::<Record>(&written).unwrap(), *record);
            true
        });
    }
    event_is_read_or_ignored in "src/actions/event.rs" {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("event.json");
        let variables = [("GITHUB_EVENT_NAME", "pull_request".into()), ("GITHUB_EVENT_PATH", OsString::from(&path))];
        let variables = variables.map(|(name, value)| (OsString::from(name), value));
        let environment = Environment::new(variables.into_iter(), Arguments::default());
        let seed = r#"{"pull_request":{"head":{"repo":{"full_name":"a/b"}},"base":{"repo":{"full_name":"o/r"}}}}"#;
        of_bytes(&[seed], |bytes| {
            std::fs::write(&path, bytes).unwrap();
            environment.token_absence().is_excused()
        });
    }
    index_of_a_layout_returns_no_other_content in "src/layout/mod.rs" { layout("index.json", INDEX); }
    marker_of_a_layout_returns_no_other_content in "src/layout/mod.rs" { layout("oci-layout", LAYOUT); }
    document_of_a_layout_returns_no_other_content in "src/layout/document.rs" { layout("blobs/sha256/DIGEST", IMAGE); }

    // Each input alone, beside other valid inputs.
    input_image in "src/inputs/repositories.rs" { input("image", "ghcr.io/o/r"); }
    input_tags in "src/inputs/fields.rs" { input("tags", "v1\nghcr.io/o/r:v2,docker.io/o/r:v1"); }
    input_moving_tags in "src/inputs/fields.rs" { input("moving-tags", "latest"); }
    input_digests in "src/inputs/requests.rs" {
        input("digests", &format!("{DIGEST}\nghcr.io/o/r@{DIGEST}, {DIGEST}\n# x"));
    }
    input_platforms in "src/inputs/requests.rs" { input("platforms", "linux/amd64,linux/arm64/v8"); }
    input_annotations in "src/inputs/grammar.rs" { input("annotations", "a=b\nindex:c=d=e, f\nmanifest,index:g="); }
    input_media_type in "src/inputs/grammar.rs" { input("media-type", "oci"); }
    input_recursive in "src/inputs/grammar.rs" { input("recursive", "true"); }
    input_retry_delay in "src/inputs/grammar.rs" { input("retry-delay", "100ms"); }
    input_timeout in "src/inputs/grammar.rs" { input("timeout", "2h"); }
    input_max_attempts in "src/inputs/settings.rs" { input("max-attempts", "5"); }
    input_registry_auths in "src/inputs/auths.rs" {
        input("registry-auths", "- registry: ghcr.io\n  username: o\n  password: \"p: #1\"\n- {username: &a x, password: *a}");
    }
    input_insecure_registries in "src/inputs/settings.rs" { input("insecure-registries", "localhost:5000, [::1]:80"); }
    input_identity_pattern in "src/inputs/requests.rs" { input("certificate-identity-regexp", "https://github.com/.*"); }
    input_record in "src/inputs/fields.rs" { input("record", "a/record.json"); }
    input_record_digest in "src/inputs/grammar.rs" { input("record-digest", DIGEST); }
}

/// True if `text` can be parsed. Its printed form must then parse to an equal value.
fn comes_back<T: std::str::FromStr + std::fmt::Display + PartialEq>(text: &str) -> bool {
    let Ok(read) = text.parse::<T>() else {
        return false;
    };
    let printed = read.to_string();
    assert!(
        printed.parse::<T>().is_ok_and(|again| again == read),
        "{printed:?}"
    );
    assert!(
        !printed
            .chars()
            .any(|letter| letter.is_control() || letter == '\''),
        "{printed:?}"
    );
    true
}

/// Checks that a manifest has the bytes that it was read from, and their digest.
fn keeps_its_bytes(seed: &str, media_type: &MediaType) {
    of_bytes(&[seed], |bytes| {
        let Ok(manifest) = Manifest::parse(bytes.to_vec(), media_type.clone()) else {
            return false;
        };
        assert_eq!(
            (manifest.bytes(), manifest.digest()),
            (bytes, &Digest::of(bytes))
        );
        true
    });
}

/// Checks a folder in the OCI layout of which one file is damaged: content whose digest differs from its file name is not
/// returned.
fn layout(damaged: &str, seed: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
    std::fs::write(folder.path().join("oci-layout"), LAYOUT).unwrap();
    std::fs::write(folder.path().join("index.json"), INDEX).unwrap();
    let digest = Digest::of(seed.as_bytes());
    let path = folder.path().join(damaged.replace("DIGEST", digest.hex()));
    of_bytes(&[seed], |bytes| {
        std::fs::write(&path, bytes).unwrap();
        let Ok(layout) = Layout::open(folder.path(), "layout") else {
            return false;
        };
        let read = layout.manifest(&digest);
        assert!(!matches!(&read, Ok(Some(manifest)) if *manifest.digest() != digest));
        let _ = (layout.image(None).is_ok(), layout.referrers(&digest).len());
        true
    });
}

/// Checks that an input is read, or refused with at least one error.
fn input(damaged: &str, seed: &str) {
    assert!(
        INPUTS.iter().any(|input| input.name == damaged),
        "{damaged}"
    );
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let files = Files {
        read: &|_| Err(missing()),
        path: &|path| path.into(),
        list: &|_| Err(missing()),
    };
    of_text(&[seed], |text| {
        let lookup = |name: &str| match name {
            name if name == damaged => Some(text.to_owned()),
            "command" => Some("seal".to_owned()),
            "image" => Some("ghcr.io/o/r".to_owned()),
            "tags" => Some("v0".to_owned()),
            "digests" => Some(DIGEST.to_owned()),
            _ => None,
        };
        let read = Inputs::parse(&RawInputs::gather(lookup), &files);
        assert!(
            read.as_ref()
                .err()
                .is_none_or(|errors| !errors.0.is_empty())
        );
        read.is_ok()
    });
}
