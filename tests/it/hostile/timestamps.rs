//! Timestamps that prove nothing about a signature, in bundles of a hostile registry: neither the timestamp nor the bundle is
//! accepted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::hostile_runs::HostileRuns;
use crate::support::legacy::{legacy, legacy_tag, signatures};
use crate::support::{ENTRY, MANIFEST, MATERIAL, Outcome, REPOSITORY, World, bundle_of, replace};

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
const HALF_AN_HOUR: i64 = 30 * 60;
const A_DAY: i64 = 24 * 60 * 60;

/// The source of a signature's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    /// The log's entry, and a timestamp in addition.
    Rekor1,
    /// The timestamp alone.
    Rekor2,
}

impl Log {
    /// Returns a world with this log and a timestamp authority.
    fn world(self) -> World {
        let world = World::new();
        match self {
            Self::Rekor1 => world.sigstore().offer_timestamps(),
            Self::Rekor2 => world.sigstore().offer_rekor_v2(),
        }
        world
    }
}

/// Returns a timestamp of `signature` by the world's authority, whose clock is `ahead` seconds fast.
fn stamp(world: &World, ahead: i64, signature: &[u8]) -> Vec<u8> {
    world.sigstore().set_timestamp_clock(ahead);
    let stamp = world.sigstore().timestamp(signature);
    world.sigstore().set_timestamp_clock(0);
    stamp
}

fn signature_of(bundle: &Value) -> Vec<u8> {
    let signature = bundle.pointer("/dsseEnvelope/signatures/0/sig").unwrap();
    STANDARD.decode(signature.as_str().unwrap()).unwrap()
}

/// Returns the bundle with these timestamps in place of its own.
fn with(bundle: &Value, stamps: &[&[u8]]) -> Value {
    let mut bundle = bundle.clone();
    let stamps = stamps.iter().map(|stamp| STANDARD.encode(stamp));
    let stamps: Vec<Value> = stamps
        .map(|text| json!({ "signedTimestamp": text }))
        .collect();
    bundle.pointer_mut(MATERIAL).unwrap()["timestampVerificationData"] =
        json!({ "rfc3161Timestamps": stamps });
    bundle
}

/// Returns the position of the time in a timestamp: fourteen digits and a `Z` (RFC 3161, 2.4.2).
fn time_in(stamp: &[u8]) -> std::ops::Range<usize> {
    let is_time = |text: &[u8]| text.starts_with(&[0x18, 15]) && text[16] == b'Z';
    let start = stamp.windows(17).position(is_time).unwrap();
    start + 2..start + 16
}

fn wrong_stamps(log: Log, world: &World, signature: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let right = world.sigstore().timestamp(signature);
    let late = stamp(world, HALF_AN_HOUR, signature);
    let changed = |at: usize, to: u8| {
        let mut stamp = right.clone();
        assert_ne!(stamp[at], to);
        stamp[at] = to;
        stamp
    };
    let mut set_back = late.clone();
    set_back[time_in(&late)].copy_from_slice(&right[time_in(&right)]);
    let last = right.len() - 1;
    vec![
        (
            "a timestamp of another signature",
            stamp(world, 0, b"another"),
        ),
        ("a timestamp of no bytes", stamp(world, 0, b"")),
        (
            "a timestamp of an authority that is not trusted",
            log.world().sigstore().timestamp(signature),
        ),
        (
            "a timestamp of before there was the certificate",
            stamp(world, -HALF_AN_HOUR, signature),
        ),
        ("a timestamp of after the certificate had ended", late),
        ("a timestamp set back to when it would do", set_back),
        (
            "a timestamp whose own signature is another",
            changed(last, !right[last]),
        ),
        // The status `granted` is the third byte of the first structure in it.
        ("a timestamp that was refused", changed(8, 2)),
        (
            "a timestamp that was granted and not given",
            vec![0x30, 5, 0x30, 3, 2, 1, 0],
        ),
        ("an empty structure for a timestamp", vec![0x30, 0]),
        ("no bytes for a timestamp", Vec::new()),
        ("half a timestamp", right[..right.len() / 2].to_vec()),
        ("zeros for a timestamp", vec![0; right.len()]),
        (
            "structures for a timestamp, 100 000 deep",
            [0x30, 0x80].repeat(100_000),
        ),
    ]
}

fn bundles(log: Log, world: &World, right: &Value) -> Vec<(String, Value)> {
    let signature = signature_of(right);
    let own = world.sigstore().timestamp(&signature);
    let other = world.sigstore().timestamp(b"another");
    let stamps = wrong_stamps(log, world, &signature);
    let mut bundles: Vec<(String, Value)> = stamps
        .iter()
        .map(|(what, stamp)| ((*what).to_owned(), with(right, &[stamp])))
        .collect();
    let mut add = |what: &str, bundle: Value| bundles.push((what.to_owned(), bundle));
    add(
        "a right timestamp, and one of another signature",
        with(right, &[&own, &other]),
    );
    let mut untold = right.clone();
    let entry = untold.pointer_mut(ENTRY).unwrap();
    entry["inclusionPromise"] = Value::Null;
    add(
        "no promise, and a timestamp of another signature",
        with(&untold, &[&other]),
    );
    add("no promise and no timestamp", with(&untold, &[]));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    untold.pointer_mut(ENTRY).unwrap()["integratedTime"] = json!(now.to_string());
    add(
        "no timestamp, and a time that no log has signed",
        with(&untold, &[]),
    );
    bundles
}

/// Seals; returns the digest and the bundle.
fn sealed(world: &World) -> (String, Value) {
    let digest = world.seal().succeed().output("digest").to_owned();
    let bundle = serde_json::from_slice(&bundle_of(world, &digest)).unwrap();
    (digest, bundle)
}

/// Reports whether a seal made a signature.
fn is_signed(seal: &Outcome) -> bool {
    seal.outputs
        .get("sign-skipped")
        .is_some_and(|text| text == "false")
}

/// Asserts that `verify` refuses `bundle` as the only bundle of the image, and that a seal adds a signature.
fn is_none(runs: &mut HostileRuns, attack: &str, world: &World, digest: &str, bundle: &Value) {
    replace(world, digest, bundle);
    runs.play(&format!("verify: {attack}"), &world.verify("v1"), 3);
    let seal = runs.play(&format!("seal: {attack}"), &world.seal(), 0);
    let is_signed = is_signed(&seal) && world.listed(digest).len() == 2;
    runs.expect(attack, "the image is signed", is_signed);
}

fn play_bundles(log: Log, runs: &mut HostileRuns) {
    let world = log.world();
    let (digest, right) = sealed(&world);
    for (what, bundle) in bundles(log, &world, &right) {
        let attack = format!("{log:?}: {what}");
        is_none(runs, &attack, &world, &digest, &bundle);
    }
    replace(&world, &digest, &right);
    let root: Value = serde_json::from_str(&world.sigstore().trusted_root()).unwrap();
    let authority = "/timestampAuthorities/0";
    for (what, authorities) in [
        ("of an authority that there is none of", json!([])),
        ("of an authority that had ended", {
            let mut ended = root.pointer(authority).unwrap().clone();
            ended["validFor"]["end"] = json!("2025-06-01T00:00:00Z");
            json!([ended])
        }),
        ("of an authority that has not begun", {
            let mut future = root.pointer(authority).unwrap().clone();
            future["validFor"]["start"] = json!("2200-01-01T00:00:00Z");
            json!([future])
        }),
    ] {
        let mut root = root.clone();
        root["timestampAuthorities"] = authorities;
        let verify = world.verify("v1").input("trusted-root", root.to_string());
        runs.play(&format!("verify: {log:?}: a timestamp {what}"), &verify, 3);
    }
    let nothing = format!("nothing: {log:?}: the right one, as it was");
    runs.play(&nothing, &world.verify("v1"), 0);
    let seal = runs.play(&nothing, &world.seal(), 0);
    assert_eq!(seal.output("sign-skipped"), "true");
    replace(&world, &digest, &json!({}));
    world.sigstore().set_timestamp_clock(HALF_AN_HOUR);
    let attack = format!("seal: {log:?}: the authority's clock is half an hour ahead");
    runs.play(&attack, &world.seal(), 1);
    let is_unsigned = world.listed(&digest).len() == 1;
    runs.expect(&attack, "nothing was pushed", is_unsigned);
}

/// Plays a timestamp from after the end of the authority's certificate, which is valid for a day. The signing certificate is
/// valid for longer.
fn play_expired_authority(log: Log, runs: &mut HostileRuns) {
    let world = log.world();
    world
        .sigstore()
        .set_certificate_lifetime(Duration::from_hours(72));
    let (digest, right) = sealed(&world);
    let bundle = with(&right, &[&stamp(&world, 2 * A_DAY, &signature_of(&right))]);
    let attack = format!("{log:?}: a timestamp of after the authority's certificate had ended");
    is_none(runs, &attack, &world, &digest, &bundle);
}

/// Plays the wrong timestamps in cosign's older format, which always contains the log's entry.
fn play_legacy_signatures(runs: &mut HostileRuns) {
    let world = Log::Rekor1.world();
    let digest = legacy(world.seal()).succeed().output("digest").to_owned();
    let tag = legacy_tag(&digest);
    let right = world.manifest(&tag);
    let of_right = &right["layers"][0]["annotations"];
    assert!(of_right.get(TIMESTAMP).is_some(), "{of_right}");
    let signature = of_right[SIGNATURE].as_str().unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    let hold = |manifest: &Value| {
        let bytes = manifest.to_string();
        let registry = world.registry();
        registry.push_raw(REPOSITORY, Some(&tag), MANIFEST, bytes.as_bytes());
    };
    for (what, stamp) in wrong_stamps(Log::Rekor1, &world, &signature) {
        let mut manifest = right.clone();
        let stamp = json!({"SignedRFC3161Timestamp": STANDARD.encode(stamp)});
        manifest["layers"][0]["annotations"][TIMESTAMP] = json!(stamp.to_string());
        hold(&manifest);
        let attack = format!("an older signature: {what}");
        runs.play(&format!("verify: {attack}"), &world.verify("v1"), 3);
        let seal = runs.play(&format!("seal: {attack}"), &legacy(world.seal()), 0);
        let is_signed = is_signed(&seal) && signatures(&world, &digest).len() == 2;
        runs.expect(&attack, "the image is signed", is_signed);
    }
    hold(&right);
    let nothing = "nothing: an older signature, as it was";
    runs.play(nothing, &world.verify("v1"), 0);
}

#[test]
fn hostile_timestamps() {
    let mut runs = HostileRuns::new("Sigstore: timestamps that are none");
    for log in [Log::Rekor1, Log::Rekor2] {
        play_bundles(log, &mut runs);
        play_expired_authority(log, &mut runs);
    }
    play_legacy_signatures(&mut runs);
    runs.end();
}
