//! The check that no parser of outside text is left without a property.

use std::path::{Path, PathBuf};

use crate::{copy, http, registry, sigstore};

#[test]
fn every_file_that_reads_outside_text_has_a_property() {
    let files = [
        super::public::FILES,
        registry::tests::properties::FILES,
        sigstore::tests::properties::FILES,
        copy::tests::properties::FILES,
        http::names::tests::FILES,
    ]
    .concat();
    let sources = sources();
    let excuse = |file: &str| EXCUSED.iter().find(|(excused, _)| *excused == file);
    for (file, text) in &sources {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let reads = READS.iter().find(|pattern| text.contains(**pattern));
        match (reads, files.contains(&file.as_str()), excuse(file)) {
            (Some(_), true, None) | (Some(_), false, Some(_)) | (None, _, None) => (),
            (Some(pattern), false, None) => panic!("`{file}` has `{pattern}` and no property"),
            (Some(_), true, Some(_)) => panic!("`{file}` is excused and has a property"),
            (None, _, Some((_, why))) => panic!("`{file}` reads nothing, and is excused: {why}"),
        }
    }
    for file in EXCUSED.iter().map(|(file, _)| file).chain(&files) {
        assert!(
            sources.iter().any(|(known, _)| known == file),
            "there is no `{file}`"
        );
    }
}

/// The patterns by which code that reads text is found.
const READS: &[&str] = &[
    "json::from_slice(",
    "json::from_slice::",
    "json::from_str(",
    "json::from_str::",
    "from_json(",
    "from_pem(",
    "pem::parse",
    "from_base64(",
    "yaml_serde::",
    "FromStr for",
    "parse_http_date(",
    "Url::parse(",
    "from_utf8(",
    "RegexBuilder",
    "pem_slice_iter",
    "parse_with_errors(",
    "Message::from_vec(",
    "parse::<IpAddr>()",
];

/// Files that only read parts of a document that another file has read, or text of our own.
const EXCUSED: &[(&str, &str)] = &[
    (
        "src/plan/differences.rs",
        "an index that `manifest.rs` has read: trees of JSON, which are compared",
    ),
    (
        "src/registry/credentials.rs",
        "the address of the job's own server, from the runner",
    ),
    (
        "src/registry/sender.rs",
        "an address that is put together of checked parts",
    ),
    (
        "src/registry/deletion/acr.rs",
        "an address that is put together of checked parts",
    ),
    (
        "src/registry/deletion/api.rs",
        "an address that is put together of checked parts",
    ),
    (
        "src/registry/aws.rs",
        "a field of JSON in base64, as in `docker_config.rs`",
    ),
    (
        "src/registry/deletion/docker_hub.rs",
        "a field of JSON, as in `token.rs`",
    ),
    (
        "src/registry/deletion/ecr.rs",
        "fields of JSON, printed as `error_response.rs` does it",
    ),
    (
        "src/registry/deletion/github.rs",
        "fields of JSON, which are compared",
    ),
    (
        "src/registry/deletion/other_tags.rs",
        "a list of JSON, each of which is read as a tag",
    ),
    (
        "src/registry/tags.rs",
        "a list of JSON, which is looked up in",
    ),
];

fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") && !path.ends_with("properties") {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    let name = |file: &Path| file.strip_prefix(root).unwrap().display().to_string();
    files
        .iter()
        .map(|file| (name(file), std::fs::read_to_string(file).unwrap()))
        .collect()
}
