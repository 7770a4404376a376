//! Lists of referrers made to exhaust memory: for many children at once, page after page.

use sandbox::{Fault, Options, Proof, Referrers};
use serde_json::{Value, json};

use crate::support::hostile_runs::{HostileRuns, hasty};
use crate::support::{
    INDEX, MANIFEST, REPOSITORY, World, bundle_manifest, descriptor, index_of, push, store,
};

const CHILDREN: usize = 8;

/// Pushes an unsigned index of [`CHILDREN`] images. Returns its digest and those of its children.
fn many(world: &World) -> (String, Vec<String>) {
    let children: Vec<String> = (0..CHILDREN)
        .map(|number| {
            let platform = format!("linux/a{number}");
            let registry = world.registry();
            registry
                .push_image(REPOSITORY, &platform, sandbox::Kind::Oci)
                .digest
        })
        .collect();
    let entries: Vec<Value> = children
        .iter()
        .enumerate()
        .map(|(number, digest)| {
            let mut entry = descriptor(world, digest);
            entry["platform"] = json!({"os": "linux", "architecture": format!("a{number}")});
            entry
        })
        .collect();
    let index = push(world, Some("v1"), &index_of(&entries).to_string());
    (index, children)
}

/// Returns a list of about four megabytes, in the shape `kind`, made to take as much memory as possible.
fn page(kind: &str, number: usize) -> String {
    let digest = |entry: usize| format!("sha256:{number:032x}{entry:032x}");
    let entry = |at: usize, annotations: Value| json!({"mediaType": MANIFEST, "digest": digest(at), "size": 7, "annotations": annotations});
    let provenance = "https://slsa.dev/provenance/v1";
    let predicate = "dev.sigstore.bundle.predicateType";
    let entries: Vec<Value> = match kind {
        "one long annotation" => vec![entry(
            0,
            json!({"x": "x".repeat(4_190_000 - 300), predicate: provenance}),
        )],
        "many short annotations" => {
            let mut all: serde_json::Map<String, Value> = (0..300_000)
                .map(|number| (format!("{number:x}"), json!("")))
                .collect();
            all.insert(predicate.to_owned(), json!(provenance));
            vec![entry(0, Value::Object(all))]
        }
        _ => (0..3000)
            .map(|at| entry(at, json!({predicate: provenance, "x": "x".repeat(1000)})))
            .collect(),
    };
    index_of(&entries).to_string()
}

const KINDS: [&str; 3] = [
    "one long annotation",
    "many short annotations",
    "many entries",
];

/// True if a run is left out of a sample: of the two kinds that take long, `verify` reads one and `sign` the other. With the
/// referrers API it is the other way round than with referrers tags.
fn is_left_out(kind: &str, sample: &str) -> bool {
    !Proof::is_wanted() && kind != KINDS[0] && kind != sample
}

#[test]
fn hostile_pages_of_referrers_of_many_children() {
    let mut runs = HostileRuns::new("A registry: pages of referrers, of many children at once");
    for kind in KINDS {
        let world = World::new();
        let (index, _) = many(&world);
        let pages = if Proof::is_wanted() { 3 } else { 2 };
        for number in (0..pages).rev() {
            let pattern = match number {
                0 => "*/referrers/*".to_owned(),
                number => format!("*/referrers/*?page={number}"),
            };
            let next = format!("<?page={}>; rel=\"next\"", number + 1);
            let mut headers = vec![("content-type", INDEX)];
            if number + 1 < pages {
                headers.push(("link", next.as_str()));
            }
            let on = Fault::on("GET", &pattern).times(u32::MAX);
            let body = page(kind, number);
            world.registry().fault(on.answer(200, &headers, &body));
        }
        let verify = hasty(world.verify("v1")).input("recursive", "true");
        if !is_left_out(kind, KINDS[1]) {
            runs.play(&format!("verify: {kind}"), &verify, 3);
        }
        let sign = hasty(world.sign(&index)).input("recursive", "true");
        if !is_left_out(kind, KINDS[2]) {
            runs.play(&format!("sign: {kind}"), &sign, 0);
        }
    }
    runs.end();
}

#[test]
fn hostile_fallback_tags_of_many_children() {
    let mut runs = HostileRuns::new("A registry: fallback tags, of many children at once");
    for kind in KINDS {
        let world = World::with(Options::new().referrers(Referrers::TagSchema));
        let (index, children) = many(&world);
        for (number, child) in children.iter().chain([&index]).enumerate() {
            let tag = child.replace(':', "-");
            push(&world, Some(&tag), &page(kind, number));
        }
        let verify = hasty(world.verify("v1")).input("recursive", "true");
        if !is_left_out(kind, KINDS[2]) {
            runs.play(&format!("verify: {kind}"), &verify, 3);
        }
        // The registry refuses a list with entries that it does not have, and they are removed. The client refuses a list
        // above its limit.
        let sign = hasty(world.sign(&index)).input("recursive", "true");
        if !is_left_out(kind, KINDS[1]) {
            runs.play(&format!("sign: {kind}"), &sign, i32::from(kind == KINDS[1]));
        }
    }
    runs.end();
}

/// Each manifest is as long as a manifest may be, and each bundle as long as a bundle may be.
#[test]
fn hostile_candidates_of_many_children() {
    let mut runs = HostileRuns::new("A registry: candidates, of many children at once");
    let world = World::with(Options::new().referrers(Referrers::TagSchema));
    let (index, children) = many(&world);
    for child in &children {
        let entries: Vec<Value> = (0..2)
            .map(|number| long_candidate(&world, child, number))
            .collect();
        let tag = child.replace(':', "-");
        push(&world, Some(&tag), &index_of(&entries).to_string());
    }
    let verify = hasty(world.verify("v1")).input("recursive", "true");
    runs.play("verify: two of 4 MB for each child", &verify, 3);
    let sign = hasty(world.sign(&index)).input("recursive", "true");
    runs.play("sign: two of 4 MB for each child", &sign, 0);
    runs.end();
}

fn long_candidate(world: &World, subject: &str, number: usize) -> Value {
    let bundle = format!("{number}{}", " ".repeat((1 << 20) - 1));
    let mut manifest = bundle_manifest(world, subject, bundle.as_bytes());
    manifest["annotations"] = json!({"x": "x".repeat((4 << 20) - 2000)});
    let mut entry = store(world, &manifest);
    entry.as_object_mut().unwrap().remove("annotations");
    entry
}

/// A page repeats the annotations of all its entries.
#[test]
fn hostile_annotations_of_referrers() {
    let mut runs = HostileRuns::new("A registry: annotations of referrers");
    let world = World::new();
    let digest = world.create().succeed().output("digest").to_owned();
    for number in 0..5 {
        long_candidate(&world, &digest, number);
    }
    runs.play("verify: a page of 20 MB", &hasty(world.verify("v1")), 3);
    runs.play("seal: a page of 20 MB", &hasty(world.seal()), 0);
    runs.play(
        "verify: signed, a page of 20 MB",
        &hasty(world.verify("v1")),
        0,
    );
    runs.end();
}
