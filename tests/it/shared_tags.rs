//! Tags that several runs write: a run that stalls between its read and its write removes nothing that another run wrote in the
//! meantime and that was stable by then.

use std::time::Duration;

use sandbox::{Fault, Options, Referrers};

use crate::support::legacy::signatures;
use crate::support::{Action, World, until};

/// Longer than a run waits for others that write its tag.
const STALL: Duration = Duration::from_secs(3);

#[test]
fn stalled_run_removes_nothing_that_was_written_meanwhile() {
    let upload = || Fault::on("POST", "*/blobs/uploads/*").delay(STALL);
    let refused = || Fault::on("PUT", "*/manifests/sha256-*").throttle(3);
    let lacking = || {
        let put = Fault::on("PUT", "*/manifests/sha256-*");
        put.registry_error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown")
    };
    let faults: [(&str, &dyn Fn() -> Fault); 3] = [
        ("an upload takes long", &upload),
        ("the write is refused for a time", &refused),
        ("an uploaded part is not there yet", &lacking),
    ];
    for format in ["legacy", "bundle"] {
        for (what, fault) in faults {
            let world = World::with(Options::new().referrers(Referrers::TagSchema));
            let digest = world.create().succeed().output("digest").to_owned();
            let by = |name: &str| -> Action {
                let workflow =
                    format!("octo-org/octo-app/.github/workflows/{name}.yml@refs/heads/main");
                world.as_workflow(&workflow, "octo-org/octo-app", || {
                    let token = world.sigstore().identity_token();
                    let sign = world.sign("v1").without_token();
                    sign.input("identity-token", token)
                        .input("signature-format", format)
                        .input("retry-delay", "3s")
                })
            };
            let (stalled, other) = (by("stalled"), by("other"));
            world.registry().clear_requests();
            world.registry().fault(fault());
            let stalled = stalled.begin();
            until("the fault", || {
                world
                    .registry()
                    .requests()
                    .iter()
                    .any(|request| request.faulty)
            });
            let other = other.succeed();
            assert_eq!(other.output("sign-skipped"), "false");
            let stalled = stalled.end();
            assert_eq!(stalled.code, 0, "{}", stalled.log);
            let held = match format {
                "legacy" => signatures(&world, &digest).len(),
                _ => world.listed(&digest).len(),
            };
            assert_eq!(held, 2, "{format}, {what}");
        }
    }
}
