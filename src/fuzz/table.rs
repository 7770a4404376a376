//! The table of fuzzed parsers. Parsers that are private to a room are listed in that room's tests.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use super::{Parser, of_bytes, of_text};
use crate::actions::{Arguments, Environment, Invocation};
use crate::domain::{
    Digest, Host, ImageReference, Manifest, Matcher, MediaType, Platform, Repository, Tag,
};
use crate::http::{Certificates, Proxies};
use crate::inputs::{Files, INPUTS, Inputs, RawInputs};
use crate::layout::Layout;
use crate::record::{KnownDigests, Record, RecordFile};
use crate::{copy, registry, signing};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","platform":{"os":"linux","architecture":"arm64","variant":"v8"}},{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":9,"digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}],"annotations":{"a":"b"}}"#;
const IMAGE: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"a/b","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","data":"e30="},"layers":[{"mediaType":"a/b","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","urls":["https://x.test"]}],"subject":{"mediaType":"a/b","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}"#;
const RECORD: &str = r#"{"schema":1,"images":[{"image":"ghcr.io/o/r","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","media_type":"application/vnd.oci.image.index.v1+json","platforms":[],"attestations":[],"tags":[],"signatures":[]}]}"#;

/// Returns all parsers.
pub(super) fn parsers() -> Vec<Parser> {
    let mut parsers = words();
    parsers.extend(documents());
    parsers.extend(inputs());
    parsers.extend(registry::tests::fuzz::parsers());
    parsers.extend(signing::tests::fuzz::parsers());
    parsers.extend(copy::tests::fuzz::parsers());
    parsers
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

fn words() -> Vec<Parser> {
    let reference = "src/domain/reference.rs";
    let repositories = [
        "ghcr.io/o/r",
        "localhost:5000/a/b_c",
        "alpine",
        "[::1]:5000/a",
    ];
    let full = format!("ghcr.io/o/r:v1@{DIGEST}");
    vec![
        of_text(
            "repeated name",
            "src/plan/repeated.rs",
            &[r#"{"a":1,"b":{"c":[{"d":1,"d":2}]}}"#],
            |text| crate::plan::repeated_name(text.as_bytes()).is_some(),
        ),
        of_text(
            "digest",
            "src/domain/digest.rs",
            &[DIGEST],
            comes_back::<Digest>,
        ),
        of_text(
            "host",
            reference,
            &["ghcr.io", "localhost:5000", "[::1]:443"],
            comes_back::<Host>,
        ),
        of_text(
            "repository",
            reference,
            &repositories,
            comes_back::<Repository>,
        ),
        of_text("tag", reference, &["v1.2-rc_3"], comes_back::<Tag>),
        of_text(
            "reference",
            reference,
            &["ghcr.io/o/r:v1", "alpine", &full],
            comes_back::<ImageReference>,
        ),
        of_text(
            "platform",
            "src/domain/platform.rs",
            &["linux/arm64/v8", "linux/amd64"],
            comes_back::<Platform>,
        ),
        of_text(
            "media type",
            "src/domain/media_type.rs",
            &["Application/vnd.oci.image.index.v1+json; charset=utf-8"],
            |text| {
                let read = MediaType::from(text);
                assert_eq!(MediaType::from(read.as_str()), read);
                true
            },
        ),
        of_text(
            "pattern",
            "src/domain/policy.rs",
            &["https://github\\.com/o/.*@refs/tags/v[0-9]+", "a|b"],
            |text| {
                Matcher::pattern(text).is_ok_and(|matcher| {
                    let _ = matcher.matches(&"a/".repeat(2000));
                    true
                })
            },
        ),
        of_text(
            "command line",
            "src/actions/arguments.rs",
            &["verify\n--image\nx\n--sign=false"],
            |text| {
                let words = text
                    .split('\n')
                    .map(|word| OsString::from_vec(word.as_bytes().to_vec()));
                Invocation::parse(words, &["image", "sign"], &["sign"]).is_ok()
            },
        ),
    ]
}

fn documents() -> Vec<Parser> {
    let bytes = |text: &str| vec![text.as_bytes().to_vec()];
    let manifest = |name, seed: &str, media_type: MediaType| {
        of_bytes(name, "src/domain/manifest.rs", bytes(seed), move |bytes| {
            let read = Manifest::parse(bytes.to_vec(), media_type.clone());
            if let Ok(manifest) = &read {
                assert_eq!(
                    (manifest.bytes(), manifest.digest()),
                    (bytes, &Digest::of(bytes))
                );
            }
            read.is_ok()
        })
    };
    let object = |bytes: &[u8]| {
        let read = serde_json::from_slice::<Platform>(bytes);
        read.is_ok_and(|platform| {
            let written = serde_json::to_vec(&platform).unwrap();
            assert_eq!(
                serde_json::from_slice::<Platform>(&written).unwrap(),
                platform
            );
            true
        })
    };
    let platform = r#"{"os":"windows","architecture":"amd64","os.version":"10.0","os.features":["b","a"],"variant":""}"#;
    let certificate = "tests/fixtures/signing/long-lived.pem";
    let certificate =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(certificate)).unwrap();
    let place = tempfile::tempdir().unwrap();
    vec![
        manifest("index", INDEX, MediaType::OciIndex),
        manifest("image manifest", IMAGE, MediaType::OciManifest),
        manifest(
            "Docker list",
            &INDEX.replace("oci.image.index.v1", "docker.distribution.manifest.list.v2"),
            MediaType::DockerList,
        ),
        of_bytes(
            "platform of a descriptor",
            "src/domain/object.rs",
            bytes(platform),
            object,
        ),
        of_text(
            "proxies",
            "src/http/proxies.rs",
            &[
                "http://me:pass@proxy.test:3128",
                "proxy.test",
                "https://[::1]:8443/",
            ],
            |text| {
                let view = |name: &str| (name != "REQUEST_METHOD").then_some(text);
                Proxies::from_environment(view).is_ok()
            },
        ),
        of_bytes(
            "CA certificates",
            "src/http/certificates.rs",
            vec![certificate],
            |bytes| Certificates::parse(&String::from_utf8_lossy(bytes)).is_ok(),
        ),
        of_bytes(
            "record",
            "src/record/file.rs",
            bytes(RECORD),
            move |bytes| {
                let path = place.path().join("record.json");
                std::fs::write(&path, bytes).unwrap();
                let file = RecordFile::new(path);
                let Ok(loaded) = file.load(&KnownDigests::default(), None) else {
                    return false;
                };
                let Some(record) = loaded.hints() else {
                    return false;
                };
                let written = serde_json::to_vec(&record).unwrap();
                assert_eq!(serde_json::from_slice::<Record>(&written).unwrap(), *record);
                true
            },
        ),
        event(),
        layout("layout's index", "src/layout/mod.rs", "index.json", INDEX),
        layout(
            "layout's marker",
            "src/layout/mod.rs",
            "oci-layout",
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        ),
        layout(
            "document in a layout",
            "src/layout/document.rs",
            "blobs/sha256/DIGEST",
            IMAGE,
        ),
    ]
}

/// The payload of the event that started the run.
fn event() -> Parser {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("event.json");
    let variables = [
        ("GITHUB_EVENT_NAME", "pull_request".into()),
        ("GITHUB_EVENT_PATH", OsString::from(&path)),
    ];
    let variables = variables.map(|(name, value)| (OsString::from(name), value));
    let environment = Environment::new(variables.into_iter(), Arguments::default());
    let seed = r#"{"pull_request":{"head":{"repo":{"full_name":"a/b"}},"base":{"repo":{"full_name":"o/r"}}}}"#;
    let seeds = vec![seed.as_bytes().to_vec()];
    of_bytes("event", "src/actions/event.rs", seeds, move |bytes| {
        // The closure owns the folder, so that the file stays in place.
        std::fs::write(folder.path().join("event.json"), bytes).unwrap();
        environment.token_absence().is_excused()
    })
}

/// A folder in the OCI layout with one damaged file.
fn layout(name: &'static str, file: &'static str, damaged: &'static str, seed: &str) -> Parser {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(
        folder.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    std::fs::write(folder.path().join("index.json"), INDEX).unwrap();
    let hex = Digest::of(seed.as_bytes()).hex().to_owned();
    of_bytes(name, file, vec![seed.as_bytes().to_vec()], move |bytes| {
        std::fs::write(folder.path().join(damaged.replace("DIGEST", &hex)), bytes).unwrap();
        let Ok(layout) = Layout::open(folder.path(), "layout") else {
            return false;
        };
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        let read = layout.manifest(&digest);
        // Content whose digest differs from its file name is not returned.
        assert!(!matches!(&read, Ok(Some(manifest)) if *manifest.digest() != digest));
        let _ = (layout.image(None).is_ok(), layout.referrers(&digest).len());
        true
    })
}

/// Each input alone, beside other valid inputs.
fn inputs() -> Vec<Parser> {
    let list = format!("{DIGEST}\nghcr.io/o/r@{DIGEST}, {DIGEST}\n# x");
    [
        ("image", "src/inputs/repositories.rs", "ghcr.io/o/r"),
        ("tags", "src/inputs/fields.rs", "v1\nghcr.io/o/r:v2,docker.io/o/r:v1"),
        ("moving-tags", "src/inputs/fields.rs", "latest"),
        ("digests", "src/inputs/requests.rs", &list),
        ("platforms", "src/inputs/requests.rs", "linux/amd64,linux/arm64/v8"),
        ("annotations", "src/inputs/grammar.rs", "a=b\nindex:c=d=e, f\nmanifest,index:g="),
        ("media-type", "src/inputs/grammar.rs", "oci"),
        ("recursive", "src/inputs/grammar.rs", "true"),
        ("retry-delay", "src/inputs/grammar.rs", "100ms"),
        ("timeout", "src/inputs/grammar.rs", "2h"),
        ("max-attempts", "src/inputs/settings.rs", "5"),
        ("registry-auths", "src/inputs/auths.rs", "- registry: ghcr.io\n  username: o\n  password: \"p: #1\"\n- {username: &a x, password: *a}"),
        ("insecure-registries", "src/inputs/settings.rs", "localhost:5000, [::1]:80"),
        ("certificate-identity-regexp", "src/inputs/requests.rs", "https://github.com/.*"),
        ("record", "src/inputs/fields.rs", "a/record.json"),
        ("record-digest", "src/inputs/grammar.rs", DIGEST),
    ]
    .into_iter()
    .map(|(name, file, seed)| of_text(name, file, &[seed], move |text| read(name, text)))
    .collect()
}

fn read(damaged: &str, text: &str) -> bool {
    let lookup = |name: &str| match name {
        name if name == damaged => Some(text.to_owned()),
        "command" => Some("seal".to_owned()),
        "image" => Some("ghcr.io/o/r".to_owned()),
        "tags" => Some("v0".to_owned()),
        "digests" => Some(DIGEST.to_owned()),
        _ => None,
    };
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let files = Files {
        read: &|_| Err(missing()),
        path: &|path| path.into(),
        list: &|_| Err(missing()),
    };
    assert!(
        INPUTS.iter().any(|input| input.name == damaged),
        "{damaged}"
    );
    match Inputs::parse(&RawInputs::gather(lookup), &files) {
        Ok(_) => true,
        Err(errors) => {
            assert!(!errors.0.is_empty());
            false
        }
    }
}
