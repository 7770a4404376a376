//! Fuzzing of every parser of outside text, with damaged documents. A parser must end soon and must not panic. Accepted
//! input must survive printing and parsing. A file that reads outside text and is not in the table fails a test.
//!
//! Valid documents are damaged in their bytes and in their JSON. The seeds are counted, so every run makes the same
//! documents. `FUZZ_SECONDS` sets the time for each parser; the default is a sample.

mod damage;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use sandbox::Proof;
use serde_json::Value;

use damage::{damage, damage_json};
use table::parsers;

/// The length limit of a document.
const LENGTH_MAX: usize = 64 * 1024;
/// The time limit for one document, for an unoptimized parser on a busy machine.
const SLOWEST: Duration = Duration::from_secs(10);

/// A parser of outside text.
pub(crate) struct Parser {
    pub(crate) name: &'static str,
    /// The source file of the parser.
    pub(crate) file: &'static str,
    /// Valid documents.
    pub(crate) seeds: Vec<Vec<u8>>,
    /// Reports whether a document was accepted. Panics if an accepted one breaks a rule.
    pub(crate) accepts: Accepts,
}

type Accepts = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Makes a parser of text. Bytes that are not text are not accepted.
pub(crate) fn of_text(
    name: &'static str,
    file: &'static str,
    seeds: &[&str],
    accepts: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Parser {
    Parser {
        name,
        file,
        seeds: seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect(),
        accepts: Box::new(move |bytes| accepts(&String::from_utf8_lossy(bytes))),
    }
}

/// Makes a parser of bytes.
pub(crate) fn of_bytes(
    name: &'static str,
    file: &'static str,
    seeds: Vec<Vec<u8>>,
    accepts: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
) -> Parser {
    Parser {
        name,
        file,
        seeds,
        accepts: Box::new(accepts),
    }
}

/// The result of feeding a parser.
#[derive(Default)]
struct Fed {
    documents: u64,
    accepted: u64,
    took: Duration,
    slowest: Duration,
    failure: Option<String>,
}

fn feed(parser: &Parser, time: Duration) -> Fed {
    let mut fed = Fed::default();
    let began = Instant::now();
    while fed.failure.is_none() && (fed.documents < 50 || began.elapsed() < time) {
        let document = document(parser, fed.documents);
        let each = Instant::now();
        let accepted = catch_unwind(AssertUnwindSafe(|| (parser.accepts)(&document)));
        let took = each.elapsed();
        fed.slowest = fed.slowest.max(took);
        let shown =
            || String::from_utf8_lossy(document.get(..2000).unwrap_or(&document)).into_owned();
        match accepted {
            Ok(accepted) => fed.accepted += u64::from(accepted),
            Err(_) => {
                fed.failure = Some(format!(
                    "panics at document {}: {:?}",
                    fed.documents,
                    shown()
                ));
            }
        }
        if took > SLOWEST {
            fed.failure = Some(format!(
                "takes {took:?} for document {}: {:?}",
                fed.documents,
                shown()
            ));
        }
        fed.documents += 1;
    }
    fed.took = began.elapsed();
    fed
}

/// Returns the document with this number: first the seeds as they are, then damaged ones.
fn document(parser: &Parser, number: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(number);
    let seeds = &parser.seeds;
    if let Some(seed) = usize::try_from(number)
        .ok()
        .and_then(|number| seeds.get(number))
    {
        return seed.clone();
    }
    let mut bytes = rng.choice(seeds).cloned().unwrap_or_default();
    if rng.bool()
        && let Ok(mut value) = serde_json::from_slice::<Value>(&bytes)
    {
        for _ in 0..rng.u32(1..=3) {
            damage_json(&mut rng, &mut value);
        }
        bytes = value.to_string().into_bytes();
        if rng.bool() {
            return cut(bytes);
        }
    }
    for _ in 0..rng.u32(1..=5) {
        damage(&mut rng, &mut bytes, seeds);
    }
    cut(bytes)
}

fn cut(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(LENGTH_MAX);
    bytes
}

#[test]
fn fuzz_every_parser_of_outside_text() {
    let usual = if Proof::is_wanted() { 60.0 } else { 0.1 };
    let seconds = std::env::var("FUZZ_SECONDS").map_or(usual, |text| text.parse().unwrap());
    let time = Duration::from_secs_f64(seconds);
    let parsers = parsers();
    let next = AtomicUsize::new(0);
    let fed = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((number, parser)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    parsers.get(number).map(|parser| (number, parser))
                } {
                    let one = feed(parser, time);
                    fed.lock().unwrap().push((number, one));
                }
            });
        }
    });
    let mut fed = fed.into_inner().unwrap();
    fed.sort_by_key(|(number, _)| *number);
    let columns = [
        "parser",
        "documents",
        "accepted",
        "seconds",
        "slowest",
        "panics and hangs",
    ];
    let mut proof = Proof::new("fuzz", "Parsers of outside text", &columns);
    let (mut failures, mut documents) = (Vec::new(), 0);
    for (number, one) in &fed {
        let parser = &parsers[*number];
        documents += one.documents;
        proof.row(&[
            &format!("{} (`{}`)", parser.name, parser.file),
            &one.documents,
            &one.accepted,
            &format!("{:.1}", one.took.as_secs_f64()),
            &format!("{:.1} ms", one.slowest.as_secs_f64() * 1e3),
            &usize::from(one.failure.is_some()),
        ]);
        if let Some(failure) = &one.failure {
            failures.push(format!("{} {failure}", parser.name));
        }
        if one.accepted == 0 {
            failures.push(format!(
                "{} accepts nothing, not even what is right",
                parser.name
            ));
        }
    }
    proof.end(&format!(
        "{documents} documents to {} parsers, {} s each, not optimized, overflow and bounds checked; {} panics and hangs.",
        parsers.len(),
        time.as_secs_f64(),
        failures.len()
    ));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn fuzz_leaves_no_parser_out() {
    let parsers = parsers();
    let columns = ["file", "why it is not fed by itself"];
    let mut proof = Proof::new("fuzz", "What else reads text", &columns);
    let (mut reading, mut excuses) = (0, EXCUSED.to_vec());
    for (file, text) in sources() {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let reads = READS.iter().find(|pattern| text.contains(**pattern));
        let is_fed = parsers.iter().any(|parser| parser.file == file);
        let excuse = excuses.iter().position(|(excused, _)| *excused == file);
        reading += usize::from(reads.is_some() || is_fed);
        match (reads, excuse) {
            (Some(pattern), None) => {
                assert!(is_fed, "`{file}` has `{pattern}` and is not in the table");
            }
            (Some(_), Some(excuse)) => {
                assert!(!is_fed, "`{file}` is excused and fed");
                let (_, why) = excuses.remove(excuse);
                proof.row(&[&format!("`{file}`"), &why]);
            }
            (None, _) => (),
        }
    }
    assert!(excuses.is_empty(), "these read nothing: {excuses:?}");
    for parser in &parsers {
        assert!(
            sources().any(|(file, _)| file == parser.file),
            "there is no `{}`",
            parser.file
        );
    }
    proof.end(&format!(
        "{reading} files read text from outside; the parsers of {} are fed.",
        reading - EXCUSED.len()
    ));
}

/// The patterns by which code that reads text is found.
const READS: &[&str] = &[
    "json::from_slice(",
    "json::from_slice::",
    "json::from_str(",
    "json::from_str::",
    "from_json(",
    "from_pem(",
    "from_base64(",
    "yaml_serde::",
    "FromStr for",
    "parse_http_date(",
    "Url::parse(",
    "from_utf8(",
    "RegexBuilder",
    "pem_slice_iter",
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
        "fields of JSON, printed as `refusal.rs` does it",
    ),
    (
        "src/registry/deletion/github.rs",
        "fields of JSON, which are compared",
    ),
    (
        "src/registry/deletion/oci.rs",
        "a list of JSON, each of which is read as a tag",
    ),
    (
        "src/registry/tags.rs",
        "a list of JSON, which is looked up in",
    ),
];

fn sources() -> impl Iterator<Item = (String, String)> {
    fn collect(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") && !path.ends_with("fuzz") {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let root: &'static std::path::Path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    files.retain(|file| !file.ends_with("tests.rs"));
    files.sort_unstable();
    let read = move |file: std::path::PathBuf| {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        (name, std::fs::read_to_string(file).unwrap())
    };
    files.into_iter().map(read)
}
