//! The settings for any command: logins, trust, retries, the record.

use std::path::PathBuf;
use std::time::Duration;

use super::auths::{self, RegistryAuth};
use super::fields::{Fields, PEM_SIGN};
use super::grammar;
use crate::domain::{Digest, Host, RetryPolicy, Secret};

/// The settings of a run.
#[derive(Debug)]
pub struct Settings {
    /// The path of the record, relative to the workspace.
    pub record: PathBuf,
    /// The digest of the record, from outside of it.
    pub record_digest: Option<Digest>,
    /// Logins, which take precedence over all other credentials.
    pub registry_auths: Vec<RegistryAuth>,
    /// The token for the registry of the job's GitHub server.
    pub github_token: Option<Secret>,
    /// Hosts that use plain HTTP.
    pub insecure_registries: Vec<Host>,
    /// Extra CA certificates, PEM.
    pub ca_bundle: Option<Vec<u8>>,
    /// The Sigstore services to sign with, as JSON.
    pub signing_config: Option<Vec<u8>>,
    /// The trusted root, as JSON.
    pub trusted_root: Option<Vec<u8>>,
    /// The user's own OIDC token.
    pub identity_token: Option<Secret>,
    /// The audience of the OIDC token.
    pub oidc_audience: String,
    /// The retry policy.
    pub retry_policy: RetryPolicy,
    /// The time limit of the whole run.
    pub timeout: Duration,
    /// True if each request is printed.
    pub trace: bool,
    /// The mode: apply or dry run.
    pub mode: Mode,
}

/// The permission to change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Makes the changes.
    Apply,
    /// Only reports the changes.
    DryRun,
}

/// Reads the settings.
pub(super) fn settings(fields: &mut Fields<'_>) -> Settings {
    Settings {
        record: fields.record_path(),
        record_digest: fields.parsed("record-digest", grammar::sha256),
        registry_auths: fields
            .parsed("registry-auths", auths::parse)
            .unwrap_or_default(),
        github_token: fields.secret("github-token"),
        insecure_registries: fields.each("insecure-registries"),
        ca_bundle: fields.document("ca-bundle", PEM_SIGN),
        signing_config: fields.document("signing-config", "{"),
        trusted_root: fields.document("trusted-root", "{"),
        identity_token: fields.secret("identity-token"),
        oidc_audience: fields
            .owned("oidc-audience")
            .unwrap_or_else(|| "sigstore".to_owned()),
        retry_policy: fields.retry_policy(),
        timeout: fields
            .parsed("timeout", grammar::duration)
            .unwrap_or(Duration::from_mins(15)),
        trace: fields.boolean("trace", false),
        mode: if fields.boolean("dry-run", false) {
            Mode::DryRun
        } else {
            Mode::Apply
        },
    }
}
