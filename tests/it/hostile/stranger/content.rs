//! Content that a stranger tags, lists or names: our own indexes, images of another repository, and referrers.

use sandbox::{Fault, Kind, Options, Referrers};
use serde_json::{Value, json};

use super::signatures::other_images;
use super::{Before, Table, right};
use crate::support::{
    INDEX, MIRROR, Pipeline, REPOSITORY, TARGET, Two, World, attach, cleanup, descriptor, index_of,
    push, sbom, statement_bundle, target,
};

const NAME: &str = "io.github.manifest-seal.name";

pub(super) fn who_pushes_our_own_indexes(table: &mut Table) {
    let who = "pushes to the registry";
    let world = World::new();
    let images = other_images(&world, 77);
    let sealed = |name: &str, tag: &str| {
        let seal = world.seal().input("digests", &images);
        let seal = seal.input("annotations", format!("{NAME}={name}"));
        seal.input("tags", tag)
    };
    let debug = sealed("app-debug", "v1-debug").succeed();
    let debug = debug.output("digest").to_owned();
    world.registry().tag(REPOSITORY, "v1", &debug);
    let before = Before::of(&world, vec![(world.registry(), REPOSITORY)], &[&debug]);
    let seal = sealed("app", "v1").input("moving-tags", "latest");
    let skip = world.preflight().input("on-existing-tag", "skip");
    let skip = skip.input("annotations", format!("{NAME}=app"));
    let what = "another image of this workflow under the tag";
    table.play(who, what, &before, &[(&seal, 3), (&skip, 3)]);

    let two = Two::new();
    let (world, other) = (&two.world, &two.other);
    let (_, bytes) = two.push_theirs("scratch");
    let text = String::from_utf8(bytes).unwrap();
    let theirs = text.replacen(INDEX, "Application/VND.oci.image.index.v1+JSON", 1);
    let theirs = other.push_raw(MIRROR, Some("v1"), INDEX, theirs.as_bytes());
    let places = vec![(world.registry(), REPOSITORY), (other, MIRROR)];
    let before = Before::of(world, places, &[&theirs]);
    let seal = two.seal().input("moving-tags", "latest");
    let what = "the right index with its media type in another case";
    table.play(who, what, &before, &[(&seal, 3)]);

    // Another run with the same images publishes what a failed run had planned.
    let world = World::new();
    let run = |id: &str| {
        let seal = world.seal().elsewhere().env("GITHUB_RUN_ID", id);
        seal.input("tags", "1.0.0").input("moving-tags", "latest")
    };
    let failed = run("100");
    let refusal = Fault::on("POST", "*/signingCert").times(1).status(403);
    world.sigstore().fault(refusal);
    failed.end_with(1);
    world.sigstore().clear_faults();
    run("200").succeed();
    let before = Before::of(&world, vec![(world.registry(), REPOSITORY)], &[]);
    let what = "what a failed run had planned";
    let who = "is another run of this workflow";
    table.play(who, what, &before, &[(&cleanup(&failed), 0)]);
}

pub(super) fn who_pushes_to_one_of_two_registries(table: &mut Table) {
    let who = "pushes to one of two registries";
    let two = Two::new();
    let (world, other) = (&two.world, &two.other);
    let registry = world.registry();
    let private = registry.push_image_seeded(REPOSITORY, "linux/s390x", Kind::Oci, 4242);
    let mut index = right(world);
    let mut entry = descriptor(world, &private.digest);
    entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    entry["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": world.amd64.digest,
    });
    index["manifests"].as_array_mut().unwrap().push(entry);
    other.push_raw(MIRROR, Some("v1"), INDEX, index.to_string().as_bytes());
    let before = Before::of(world, vec![(other, MIRROR)], &[&private.digest]);
    let create = world.create().input("tags", two.there("v1"));
    let seal = two.seal().input("tags", two.there("v1"));
    let what = "an index that names a private image of the other";
    table.play(who, what, &before, &[(&create, 0), (&seal, 3)]);

    let first = Options::new().referrers(Referrers::TagSchema);
    let two = Two::with(first, Options::new());
    let (world, other) = (&two.world, &two.other);
    let digest = world.seal().succeed().output("digest").to_owned();
    let bundle = crate::support::bundle_of(world, &digest);
    let mut bundle: Value = serde_json::from_slice(&bundle).unwrap();
    bundle["dsseEnvelope"]["signatures"][0]["keyid"] = json!("by mallory");
    let theirs = attach(world, &digest, bundle.to_string().as_bytes());
    let list = index_of(&[descriptor(world, &theirs)]).to_string();
    push(world, Some(&digest.replace(':', "-")), &list);
    let theirs = world.manifest(&theirs)["layers"][0]["digest"].clone();
    let theirs = theirs.as_str().unwrap();
    let before = Before::of(world, vec![(other, MIRROR)], &[theirs]);
    let what = "our signature with their words beside it";
    table.play(who, what, &before, &[(&two.seal(), 0)]);
    two.verify_there().succeed();
}

pub(super) fn who_lists_referrers(table: &mut Table) {
    let who = "pushes to the source of `publish`";
    let pipeline = Pipeline {
        world: World::with(Options::new().referrers(Referrers::TagSchema)),
        target: target(Referrers::Api),
    };
    let world = &pipeline.world;
    let (_, first) = pipeline.build();
    let next = world.create().elsewhere().input("tags", "");
    let next = next.input("digests", &world.amd64.digest).succeed();
    let next = next.output("digest").to_owned();
    world.sign(&next).elsewhere().succeed();
    let registry = world.registry();
    let private = registry.push_image_seeded(REPOSITORY, "linux/s390x", Kind::Oci, 4242);
    let of_another = sbom(&pipeline, &first);
    let tag = next.replace(':', "-");
    let mut list = world.manifest(&tag);
    let entries = list["manifests"].as_array_mut().unwrap();
    entries.extend([&private.digest, &of_another].map(|digest| descriptor(world, digest)));
    push(world, Some(&tag), &list.to_string());
    let theirs = [private.digest.as_str(), &of_another];
    let before = Before::of(world, vec![(&pipeline.target, TARGET)], &theirs);
    let checked = pipeline.checked(&world.at(&next));
    let checked = checked.input("recursive", "false");
    let verified = checked.elsewhere().input("referrers", "verified");
    let anything = pipeline.publish(&world.at(&next));
    let what = "a list with an image, and with an SBOM of another image";
    let runs = [(&checked, 0), (&verified, 0), (&anything, 0)];
    table.play(who, what, &before, &runs);

    let bundle = statement_bundle(world, &next, "https://slsa.dev/provenance/v1");
    let bundle = String::from_utf8(bundle).unwrap();
    let bundle = format!("{{\"keyid\":\"by mallory\",\"keyid\":\"\",{}", &bundle[1..]);
    let theirs = attach(world, &next, bundle.as_bytes());
    let before = Before::of(world, vec![(&pipeline.target, TARGET)], &[&theirs]);
    let verified = verified.elsewhere();
    let what = "our attestation with a name twice, to be carried as verified";
    table.play(who, what, &before, &[(&verified, 0)]);
}
