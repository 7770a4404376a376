//! How a run goes about it, whatever it does: logins, trust, patience, the record.

use std::path::PathBuf;
use std::time::Duration;

use super::auths::{self, RegistryAuth};
use super::fields::Fields;
use super::grammar;
use crate::domain::{Digest, Host, Patience, Secret};

/// How to go about it.
#[derive(Debug)]
pub struct Settings {
    /// Where the record is, relative to the workspace.
    pub record: PathBuf,
    /// The digest of the record, as it is known from outside of it.
    pub record_digest: Option<Digest>,
    /// Logins, before all other credentials.
    pub registry_auths: Vec<RegistryAuth>,
    /// For the registry of the server that the job runs on.
    pub github_token: Option<Secret>,
    /// Hosts that speak plain HTTP.
    pub insecure_registries: Vec<Host>,
    /// Extra CA certificates, PEM.
    pub ca_bundle: Option<Vec<u8>>,
    /// Which services to sign with, JSON.
    pub signing_config: Option<Vec<u8>>,
    /// What to trust, JSON.
    pub trusted_root: Option<Vec<u8>>,
    /// An OIDC token of the user's.
    pub identity_token: Option<Secret>,
    /// Whom an OIDC token is asked for.
    pub oidc_audience: String,
    /// The retry policy.
    pub patience: Patience,
    /// The whole run ends by then.
    pub timeout: Duration,
    /// Whether each request is told of.
    pub trace: bool,
    /// Whether anything may be changed.
    pub mode: Mode,
}

/// Whether anything may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Do it.
    Apply,
    /// Say what would be done.
    DryRun,
}

/// Reads them.
pub(super) fn settings(fields: &mut Fields<'_>) -> Settings {
    Settings {
        record: fields.record_path(),
        record_digest: fields.parsed("record-digest", grammar::sha256),
        registry_auths: fields
            .parsed("registry-auths", auths::parse)
            .unwrap_or_default(),
        github_token: fields.secret("github-token"),
        insecure_registries: fields.each("insecure-registries"),
        ca_bundle: fields.document("ca-bundle", "-----BEGIN"),
        signing_config: fields.document("signing-config", "{"),
        trusted_root: fields.document("trusted-root", "{"),
        identity_token: fields.secret("identity-token"),
        oidc_audience: fields
            .owned("oidc-audience")
            .unwrap_or_else(|| "sigstore".to_owned()),
        patience: fields.patience(),
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
