//! Folders as other tools write them, and malformed ones.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A folder with these entries in its index.
fn folder(entries: &[Value]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
    let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
    fs::write(folder.path().join("oci-layout"), marker).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": entries});
    fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
    folder
}

fn put(folder: &TempDir, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    fs::write(folder.path().join(place(&digest)), bytes).unwrap();
    digest
}

fn entry(seed: &str, annotations: &Value) -> Value {
    let digest = Digest::of(seed.as_bytes());
    json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "annotations": annotations})
}

fn open(folder: &TempDir) -> Result<Layout, LayoutError> {
    Layout::open(folder.path(), "images")
}

fn image_of(layout: &Layout, tag: Option<&str>) -> Result<Digest, String> {
    let image = layout.image(tag).map_err(|error| error.to_string())?;
    Ok(image.digest.clone())
}

#[test]
fn image_is_found_by_its_tag_or_as_the_only_one() {
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    // skopeo, regctl and BuildKit write the tag; crane writes the full reference, or nothing.
    for (name, tag) in [("v1", "v1"), ("registry.example:5000/o/app:v1", "v1")] {
        let folder = folder(&[
            entry("one", &json!({NAME: name})),
            entry("two", &json!({NAME: "v2"})),
        ]);
        let layout = open(&folder).unwrap();
        assert_eq!(image_of(&layout, Some(tag)).unwrap(), one);
        assert_eq!(image_of(&layout, Some("v2")).unwrap(), two);
        assert_eq!(
            image_of(&layout, Some("1")).unwrap_err(),
            format!("`images` has no image `1`; it has `{name}`, `v2`")
        );
        assert_eq!(
            image_of(&layout, None).unwrap_err(),
            format!(
                "`images` does not contain exactly one image: name one (`oci:images:…`); it has `{name}`, `v2`"
            )
        );
    }
    let bare = folder(&[entry("one", &Value::Null)]);
    assert_eq!(image_of(&open(&bare).unwrap(), None).unwrap(), one);
    let twice = folder(&[
        entry("one", &json!({NAME: "v1"})),
        entry("one", &json!({NAME: "latest"})),
    ]);
    assert_eq!(image_of(&open(&twice).unwrap(), None).unwrap(), one);
    assert!(image_of(&open(&folder(&[])).unwrap(), None).is_err());
}

#[test]
fn only_image_with_a_name_is_the_image() {
    let (name, same) = (json!({NAME: "v1"}), json!({NAME: "latest"}));
    let parts = || vec![entry("one", &Value::Null), entry("two", &json!({NAME: ""}))];
    for names in [vec![name.clone()], vec![name.clone(), same]] {
        let mut entries = parts();
        entries.extend(names.iter().map(|name| entry("index", name)));
        let layout = open(&folder(&entries)).unwrap();
        assert_eq!(image_of(&layout, None).unwrap(), Digest::of(b"index"));
        assert_eq!(image_of(&layout, Some("v1")), image_of(&layout, None));
    }
    let mut both = parts();
    both.extend([entry("index", &name), entry("other", &json!({NAME: "v2"}))]);
    for entries in [parts(), both] {
        assert!(image_of(&open(&folder(&entries)).unwrap(), None).is_err());
    }
}

#[test]
fn missing_images_of_an_index_are_named() {
    let folder = folder(&[]);
    let config = put(&folder, b"{}");
    let part = |digest: &Digest| json!({"mediaType": "application/x", "digest": digest, "size": 2});
    let image = |layer: &Digest| {
        json!({"mediaType": OCI_MANIFEST, "config": part(&config), "layers": [part(layer)]})
            .to_string()
    };
    let lost_layer = Digest::of(b"lost layer");
    let whole = put(&folder, image(&config).as_bytes());
    let half = put(&folder, image(&lost_layer).as_bytes());
    let lost = Digest::of(b"lost");
    let attestation = Digest::of(b"attestation");
    let child = |digest: &Digest, platform: [&str; 2]| {
        json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1,
            "platform": {"os": platform[0], "architecture": platform[1]}})
    };
    let mut attests = child(&attestation, ["unknown", "unknown"]);
    attests["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": lost,
    });
    let of = |children: &[Value]| {
        let index = json!({"schemaVersion": 2, "manifests": children}).to_string();
        Manifest::parse(index.into_bytes(), MediaType::OciIndex).unwrap()
    };
    let index = of(&[
        child(&whole, ["linux", "amd64"]),
        child(&half, ["linux", "s390x"]),
        child(&lost, ["linux", "arm64"]),
        attests.clone(),
    ]);
    let layout = open(&folder).unwrap();
    let text = |index: &Manifest, digest, parent| {
        let error = layout.incomplete(index, digest, parent)?;
        Some(error.to_string())
    };
    assert_eq!(text(&index, &lost, None), None, "the index is not there");
    put(&folder, index.bytes());
    let wanted = format!(
        "`images` lacks images of the index `{}`: linux/s390x (`{half}` without `{lost_layer}`), linux/arm64/v8 (`{lost}`)",
        index.digest()
    );
    for (digest, parent) in [
        (&lost, None),
        (&lost_layer, Some(&half)),
        (&attestation, None),
    ] {
        assert_eq!(text(&index, digest, parent).as_ref(), Some(&wanted));
    }
    // Content of something else, such as a referrer, is another error.
    let other = Digest::of(b"other");
    assert_eq!(text(&index, &other, Some(&whole)), None);
    let index = of(&[child(&whole, ["linux", "amd64"]), attests]);
    put(&folder, index.bytes());
    let text = text(&index, &attestation, None).unwrap();
    assert!(text.ends_with(&format!(": `{attestation}`")), "{text}");
}

#[test]
fn what_belongs_to_an_image_is_no_second_image() {
    let hex = Digest::of(b"one").hex().to_owned();
    let kind = |word: &str| json!({KIND: format!("dev.cosignproject.cosign/{word}")});
    for (name, entries) in [
        ("cosign", [kind("imageIndex"), kind("sigs"), kind("atts")]),
        (
            "regctl",
            [
                json!({NAME: "v1"}),
                json!({NAME: format!("sha256-{hex}.sig")}),
                json!({NAME: format!("sha256-{hex}.att")}),
            ],
        ),
    ] {
        let [image, signatures, attestations] = entries;
        let folder = folder(&[
            entry("signatures", &signatures),
            entry("one", &image),
            entry("attestations", &attestations),
        ]);
        let layout = open(&folder).unwrap();
        let one = image_of(&layout, None).unwrap();
        assert_eq!(one, Digest::of(b"one"), "{name}");
        let digest_tag = |subject: &Digest, suffix| {
            let tag = subject.digest_tag(suffix)?;
            let found = layout.digest_tag(&tag);
            found.map(|found| found.digest.clone())
        };
        assert_eq!(digest_tag(&one, "sig"), Some(Digest::of(b"signatures")));
        assert_eq!(digest_tag(&one, "att"), Some(Digest::of(b"attestations")));
        assert_eq!(digest_tag(&one, "sbom"), None);
        assert_eq!(digest_tag(&Digest::of(b"another"), "sig"), None);
    }
}

#[test]
fn referrers_are_found_whether_they_are_listed_or_not() {
    let subject = Digest::of(b"one");
    let folder = folder(&[entry("one", &Value::Null)]);
    let referrer = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": subject, "size": 2},
        "layers": [],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1},
        "artifactType": "application/x",
        "annotations": {"a": "b"},
    });
    let bytes = referrer.to_string().into_bytes();
    let digest = put(&folder, &bytes);
    for other in [&b"{"[..], b"[]", b"", b"\x1f\x8b", br#"{"subject":1}"#] {
        put(&folder, other);
    }
    fs::write(folder.path().join("blobs/sha256/half-written"), "{").unwrap();
    let layout = open(&folder).unwrap();
    let [found] = layout.referrers(&subject) else {
        panic!("{:?}", layout.referrers(&subject));
    };
    assert_eq!((&found.digest, found.size), (&digest, bytes.len() as u64));
    assert_eq!(found.artifact_type.as_deref(), Some("application/x"));
    assert_eq!(found.annotations["a"], "b");
    assert_eq!(layout.manifest(&digest).unwrap().unwrap().bytes(), bytes);
}

#[test]
fn manifest_without_a_media_type_is_what_its_fields_say() {
    let folder = folder(&[]);
    let (index, image) = (
        put(&folder, br#"{"schemaVersion":2,"manifests":[]}"#),
        put(
            &folder,
            json!({"config": entry("config", &Value::Null), "layers": []})
                .to_string()
                .as_bytes(),
        ),
    );
    let layout = open(&folder).unwrap();
    let media_type = |digest| {
        layout
            .manifest(digest)
            .unwrap()
            .unwrap()
            .media_type()
            .clone()
    };
    assert_eq!(media_type(&index), MediaType::OciIndex);
    assert_eq!(media_type(&image), MediaType::OciManifest);
    assert!(layout.manifest(&Digest::of(b"absent")).unwrap().is_none());
    assert!(layout.blob(&Digest::of(b"absent")).unwrap().is_none());
}

#[test]
fn what_is_no_layout_is_said_to_be_none() {
    let missing = Layout::open(Path::new("/there/is/nothing"), "images").unwrap_err();
    assert_eq!(missing.to_string(), "could not read `images`");
    let archive = tempfile::NamedTempFile::new().unwrap();
    let archive = Layout::open(archive.path(), "image.tar").unwrap_err();
    assert!(matches!(archive, LayoutError::Archive(_)), "{archive}");
    assert_eq!(
        archive.to_string(),
        "`image.tar` is a file, not a folder; an archive must be unpacked: `mkdir FOLDER && tar -xf ARCHIVE -C FOLDER`, then give `oci:FOLDER`"
    );
    for (file, content, wanted) in [
        (
            "oci-layout",
            None,
            "`images` is not an OCI image layout: it has no file `oci-layout`",
        ),
        (
            "oci-layout",
            Some("{}"),
            "`images` is not an OCI image layout: its file `oci-layout` names no version",
        ),
        (
            "oci-layout",
            Some(r#"{"imageLayoutVersion":"2.0.0"}"#),
            "`images` is not an OCI image layout: it is of another version than 1",
        ),
        (
            "index.json",
            None,
            "`images` is not an OCI image layout: it has no file `index.json`",
        ),
        (
            "index.json",
            Some("{"),
            "`images/index.json` cannot be used",
        ),
    ] {
        let folder = folder(&[]);
        fs::remove_file(folder.path().join(file)).unwrap();
        if let Some(content) = content {
            fs::write(folder.path().join(file), content).unwrap();
        }
        assert_eq!(open(&folder).unwrap_err().to_string(), wanted);
    }
    let long = folder(&[]);
    let spaces = " ".repeat(5 << 20);
    fs::write(long.path().join("index.json"), spaces).unwrap();
    assert!(matches!(open(&long), Err(LayoutError::TooLong { .. })));
}

#[test]
fn content_under_sha512_is_found_and_checked() {
    let one = json!({"mediaType": OCI_MANIFEST, "digest": Digest::of(b"one"), "size": 1});
    let bytes = json!({
        "mediaType": OCI_MANIFEST, "config": one, "layers": [], "subject": one,
    });
    let bytes = bytes.to_string().into_bytes();
    let digest = Algorithm::Sha512.digest(&bytes);
    let named = |name: String| json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": bytes.len(), "annotations": {NAME: name}});
    // What has the name of a referrers tag is no second image.
    let mut list = entry("list", &Value::Null);
    list["annotations"] = json!({NAME: digest.referrers_tag().to_string()});
    let folder = folder(&[named("v1".to_owned()), list]);
    fs::create_dir_all(folder.path().join("blobs/sha512")).unwrap();
    let path = folder.path().join("blobs/sha512").join(digest.hex());
    fs::write(&path, &bytes).unwrap();
    let layout = open(&folder).unwrap();
    assert_eq!(image_of(&layout, None).unwrap(), digest);
    assert_eq!(layout.manifest(&digest).unwrap().unwrap().digest(), &digest);
    assert_eq!(layout.content(&digest, 1 << 20).unwrap().unwrap(), bytes);
    let referrers = layout.referrers(&Digest::of(b"one"));
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].digest, digest);
    fs::write(&path, "{}").unwrap();
    for error in [
        layout.manifest(&digest).unwrap_err(),
        layout.content(&digest, 1 << 20).unwrap_err(),
    ] {
        assert!(matches!(error, LayoutError::OtherContent { .. }), "{error}");
    }
}

#[test]
fn content_that_is_not_what_its_name_says_is_refused() {
    let folder = folder(&[]);
    let digest = put(&folder, br#"{"manifests":[]}"#);
    fs::write(folder.path().join(place(&digest)), r#"{"manifests": []}"#).unwrap();
    let error = open(&folder).unwrap().manifest(&digest).unwrap_err();
    assert!(matches!(error, LayoutError::OtherContent { .. }), "{error}");
}

#[test]
fn link_out_of_the_folder_is_not_followed() {
    let (folder, elsewhere) = (folder(&[]), tempfile::tempdir().unwrap());
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let layout = open(&folder).unwrap();
    let digest = Digest::of(b"secret");
    let link = folder.path().join(place(&digest));
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    for refused in [
        layout.blob(&digest).unwrap_err(),
        layout.manifest(&digest).unwrap_err(),
        open(&folder).unwrap_err(),
    ] {
        assert!(matches!(refused, LayoutError::NoFile(_)), "{refused}");
    }
    // Some tools link inside the folder to save space.
    fs::remove_file(&link).unwrap();
    fs::write(folder.path().join("shared"), "secret").unwrap();
    std::os::unix::fs::symlink("../../shared", &link).unwrap();
    assert!(layout.blob(&digest).unwrap().is_some());
    // A folder is not a blob.
    fs::remove_file(&link).unwrap();
    fs::create_dir(&link).unwrap();
    assert!(matches!(layout.blob(&digest), Err(LayoutError::NoFile(_))));
}
