//! A registry and a Sigstore that keep running, and the commands to use them in a shell.

use crate::terminal::Terminal;
use anyhow::Context as _;
use sandbox::{Kind, Options, Sandbox, Transport};

const REPOSITORY: &str = "octo-org/octo-app";

/// Serves until Ctrl-C.
pub(crate) fn run(terminal: &mut Terminal) -> anyhow::Result<()> {
    // Plain HTTP, so that no client needs the sandbox's authority.
    let sandbox = Sandbox::with(Options::new().transport(Transport::PLAIN));
    let (registry, sigstore) = (&sandbox.registry, &sandbox.sigstore);
    let folder = tempfile::tempdir().context("could not make a folder for the configuration")?;
    let config = folder.path().join("signing-config.json");
    let root = folder.path().join("trusted-root.json");
    std::fs::write(&config, sigstore.signing_config())?;
    std::fs::write(&root, sigstore.trusted_root())?;
    let digests = ["linux/amd64", "linux/arm64"]
        .map(|platform| registry.push_image(REPOSITORY, platform, Kind::Oci).digest);

    let mut exports = vec![
        ("IMAGE".to_owned(), registry.repository(REPOSITORY)),
        ("DIGESTS".to_owned(), digests.join(",")),
        ("SIGNING_CONFIG".to_owned(), config.display().to_string()),
        ("TRUSTED_ROOT".to_owned(), root.display().to_string()),
        ("IDENTITY".to_owned(), sigstore.identity()),
        ("ISSUER".to_owned(), sigstore.issuer()),
    ];
    exports.extend(sigstore.github_env());
    terminal.line("# A registry and a Sigstore are up until Ctrl-C. In another shell, paste:")?;
    for (name, value) in exports {
        terminal.line(&format!("export {name}='{}'", value.replace('\'', r"'\''")))?;
    }
    terminal.line(
        r#"
# then, for example:
cargo run --bin manifest-seal -- seal --image "$IMAGE" --tags 1.0.0 --digests "$DIGESTS" \
  --signing-config "$SIGNING_CONFIG" --trusted-root "$TRUSTED_ROOT"
cargo run --bin manifest-seal -- verify --image "$IMAGE:1.0.0" --trusted-root "$TRUSTED_ROOT" \
  --certificate-identity "$IDENTITY" --certificate-oidc-issuer "$ISSUER"
cosign verify --trusted-root "$TRUSTED_ROOT" \
  --certificate-identity "$IDENTITY" --certificate-oidc-issuer "$ISSUER" "$IMAGE:1.0.0""#,
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Ctrl-C is caught, so that the folder is deleted.
    runtime.block_on(tokio::signal::ctrl_c())?;
    Ok(())
}
