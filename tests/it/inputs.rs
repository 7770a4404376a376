//! Grammar of the inputs. Every wrong input is reported before the first request.

use crate::support::{World, created, told};

#[test]
fn digests_are_a_set_in_each_notation() {
    let world = World::new();
    let (one, two) = (&world.amd64.digest, &world.arm64.digest);
    let image = world.image();
    let expected = created(&world.create());
    for spelling in [
        format!("{one}\n{two}"),
        format!("{two},{one}"),
        format!("  {one} ,\t{two}\r\n\n,"),
        format!("{one}\n# {one}, not\n{two}\n{one},{two}"),
        format!("{image}@{one}\n{image}@{two},{two}"),
    ] {
        assert_eq!(
            created(&world.create().input("digests", &spelling)),
            expected,
            "{spelling:?}"
        );
    }
    let hex = |digest: &str| format!("digests/{}", digest.strip_prefix("sha256:").unwrap());
    let folder = world
        .create()
        .file(&hex(one), "")
        .file(&hex(two), "")
        .input("digests-folder", "digests")
        .input("digests", "");
    assert_eq!(created(&folder), expected);
    assert_eq!(created(&folder.input("digests", one)), expected);
}

#[test]
fn every_wrong_input_is_named_before_the_first_request() {
    let world = World::new();
    let outcome = world
        .seal()
        .file("digests/README", "")
        .input(
            "digests",
            format!(
                "sha256:ABC, {}\nv1\n{}",
                world.amd64.digest.to_uppercase(),
                "sha512:00"
            ),
        )
        .input("digests-folder", "digests")
        .input("tags", "v1 beta\n-x")
        .input("moving-tags", "latest\nother.test/o/r:latest")
        .input("platforms", "linux")
        .input("annotations", "no value")
        .input("media-type", "oci2")
        .input("recursive", "yes")
        .input("on-signing-failure", "ignore")
        .input("retry-delay", "10")
        .input("max-attempts", "0")
        .input("record", "/etc/passwd")
        .input("certificate-identity", "a")
        .input("certificate-identity-regexp", "(")
        .end_with(2);
    let loud = world.amd64.digest.to_uppercase();
    let told = told(&world, &outcome)
        .replace(
            "%0A", "
",
        )
        .replace(&loud, "[LOUD]");
    insta::assert_snapshot!(
        told.split_once(
            "


"
        )
        .unwrap()
        .0
    );
    assert_eq!(world.registry().requests(), []);
    assert_eq!(world.sigstore().requests(), []);
    assert!(!outcome.outputs.contains_key("digest"));
}

#[test]
fn empty_list_is_an_error() {
    let world = World::new();
    for (name, value) in [
        ("digests", " ,\n# none\n,"),
        ("digests", ""),
        ("digests-folder", "empty"),
    ] {
        let action = world.create().file("empty/.keep", "");
        let outcome = action.input("digests", "").input(name, value).end_with(2);
        outcome.says(&[&format!("input `{name}`"), "digest"]);
    }
    world
        .create()
        .input("tags", "")
        .input("image", "")
        .end_with(2)
        .says(&["input `image`"]);
    assert_eq!(world.registry().requests(), []);
}

#[test]
fn missing_platform_is_refused() {
    let world = World::new();
    let action = world
        .create()
        .input("platforms", "linux/amd64, linux/arm64\nlinux/s390x");
    action
        .end_with(2)
        .says(&["`linux/s390x` is missing", "hint: check that every job"]);
    action
        .input("platforms", "linux/amd64")
        .end_with(2)
        .says(&["`linux/arm64/v8` is not named"]);
    assert_eq!(world.writes(), [""; 0]);
    world
        .create()
        .input("platforms", "linux/arm64/v8,linux/amd64")
        .succeed();
}

#[test]
fn trust_material_that_cannot_be_used_is_a_wrong_input() {
    let world = World::new();
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let seal = world.seal().file("root.pem", pem);
    let of_other = world.sigstore().signing_config();
    let of_other = of_other.replace("signingconfig", "other");
    for (input, given, problem) in [
        (
            "trusted-root",
            "{}",
            "cannot be read: failed to parse JSON: missing field `mediaType`",
        ),
        (
            "trusted-root",
            "root.pem",
            "the trusted root cannot be read: ",
        ),
        ("trusted-root", pem, "it is neither a path nor a document"),
        (
            "trusted-root",
            &world.sigstore().signing_config(),
            "it names no certificate authority",
        ),
        (
            "signing-config",
            "{}",
            "cannot be read: failed to parse JSON: missing field `mediaType`",
        ),
        (
            "signing-config",
            "root.pem",
            "the signing config cannot be read: ",
        ),
        (
            "signing-config",
            &of_other,
            "the signing config cannot be read: ",
        ),
    ] {
        let outcome = seal.clone().input(input, given).end_with(2);
        outcome.says(&[&format!("input `{input}`: "), problem]);
        outcome.does_not_say(&["hint: "]);
        if !problem.contains("neither") {
            outcome.says(&[&format!("as `cosign {input} create` prints it")]);
        }
    }
    let both = seal
        .input("trusted-root", "{}")
        .input("signing-config", "{}");
    both.end_with(2)
        .says(&["input `trusted-root`", "input `signing-config`"]);
    let verify = world.verify("v1").input("trusted-root", "{}").end_with(2);
    verify.says(&["input `trusted-root`: the trusted root cannot be read"]);
    // Nothing was asked, and a command that neither signs nor verifies does not read them.
    assert_eq!(world.registry().requests().len(), 0);
    assert_eq!(world.sigstore().requests().len(), 0);
    world.create().input("trusted-root", "{}").succeed();
}
