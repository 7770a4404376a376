//! The trusted root and the services to sign with: given by the user, or from the public-good instance by TUF.

use std::path::PathBuf;

use sigstore_trust_root::{SIGNING_CONFIG_TARGET, SigningConfig, TRUSTED_ROOT_TARGET, TrustedRoot};
use sigstore_types::DerCertificate;
use sigstore_verify::Verifier;

use crate::domain::{Events, RetryPolicy};
use crate::http::Client;

use super::error::{SigstoreError, TrustError};
use super::refusal::Cause;
use super::service_client::ServiceClient;
use super::services::Services;
use super::tuf::Tuf;

/// The material that the user gave. Missing parts come from the public-good instance.
#[derive(Debug, Clone, Default)]
pub struct TrustSource {
    /// A trusted root, as JSON.
    pub trusted_root: Option<Vec<u8>>,
    /// A signing config, as JSON.
    pub signing_config: Option<Vec<u8>>,
    /// The folder that stores the TUF metadata between runs.
    pub cache: Option<PathBuf>,
}

/// The purpose that trust is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Verifying only: no signing config is read or fetched.
    Verify,
    /// Signing, which verifies too.
    Sign,
}

/// The trusted keys and certificates, and the services to sign with.
pub struct Trust {
    root: TrustedRoot,
    verifier: Verifier,
    services: Option<Services>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Trust")
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl TrustSource {
    /// Checks the given parts that `purpose` needs, without the network. Returns each input that cannot be used, and the
    /// reason.
    #[must_use]
    pub fn check(&self, purpose: Purpose) -> Vec<(&'static str, TrustError)> {
        let root = self.trusted_root.as_deref().map(read_root);
        let root = root.and_then(Result::err);
        let config = self.signing_config.as_deref();
        let config = config.filter(|_| purpose == Purpose::Sign);
        let config = config.map(read_services).and_then(Result::err);
        let root = root.map(|error| ("trusted-root", error));
        let config = config.map(|error| ("signing-config", error));
        root.into_iter().chain(config).collect()
    }
}

impl Trust {
    /// Loads what `purpose` needs. The network is used only for what `source` does not give.
    pub async fn load(
        source: &TrustSource,
        purpose: Purpose,
        http: &Client,
        retry_policy: RetryPolicy,
        events: &Events,
    ) -> Result<Self, SigstoreError> {
        let tuf = Tuf::of_public_good(
            source.cache.as_deref(),
            ServiceClient::new(http.clone(), retry_policy, events),
        );
        Self::load_from(source, purpose, &tuf)
            .await
            .map_err(SigstoreError::Trust)
    }

    pub(super) async fn load_from(
        source: &TrustSource,
        purpose: Purpose,
        tuf: &Tuf,
    ) -> Result<Self, TrustError> {
        let signs = purpose == Purpose::Sign;
        let mut wanted = Vec::new();
        if source.trusted_root.is_none() {
            wanted.push(TRUSTED_ROOT_TARGET);
        }
        if signs && source.signing_config.is_none() {
            wanted.push(SIGNING_CONFIG_TARGET);
        }
        let mut fetched = tuf.targets(&wanted).await?.into_iter();
        let mut given_or_fetched =
            |given: &Option<Vec<u8>>| given.clone().or_else(|| fetched.next());
        let root = given_or_fetched(&source.trusted_root).unwrap_or_default();
        let config = if signs {
            given_or_fetched(&source.signing_config)
        } else {
            None
        };
        Self::read(&root, config.as_deref())
    }

    pub(super) fn read(root: &[u8], config: Option<&[u8]>) -> Result<Self, TrustError> {
        let (root, verifier) = read_root(root)?;
        let services = config.map(read_services).transpose()?;
        Ok(Self {
            root,
            verifier,
            services,
        })
    }

    /// True if the services can make signatures in the legacy format, which needs a Rekor v1.
    #[must_use]
    pub fn can_sign_legacy(&self) -> bool {
        self.services
            .as_ref()
            .is_some_and(|services| services.legacy_log.is_some())
    }

    /// True if `certificate` is in the chain of an authority that is trusted to issue the certificates of signers.
    pub(super) fn has(&self, certificate: &DerCertificate) -> bool {
        let authorities = self.root.certificate_authorities.iter();
        let mut trusted = authorities.flat_map(|authority| &authority.cert_chain.certificates);
        trusted.any(|known| known.raw_bytes == *certificate)
    }

    pub(super) fn root(&self) -> &TrustedRoot {
        &self.root
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(super) fn services(&self) -> Option<&Services> {
        self.services.as_ref()
    }
}

fn read_root(json: &[u8]) -> Result<(TrustedRoot, Verifier), TrustError> {
    let bad_root = |source: Cause| TrustError::Root(source);
    let json = std::str::from_utf8(json).map_err(|source| bad_root(source.into()))?;
    let root = TrustedRoot::from_json(json).map_err(|source| bad_root(source.into()))?;
    // Every field but one is optional to the parser, so another document may pass for a trusted root.
    if root.certificate_authorities.is_empty() {
        return Err(TrustError::Empty("certificate authority"));
    }
    if root.tlogs.is_empty() {
        return Err(TrustError::Empty("transparency log"));
    }
    let verifier = Verifier::new(&root).map_err(|source| bad_root(source.into()))?;
    Ok((root, verifier))
}

pub(super) fn read_services(config: &[u8]) -> Result<Services, TrustError> {
    let text = std::str::from_utf8(config).map_err(|source| TrustError::Config(source.into()))?;
    let config =
        SigningConfig::from_json(text).map_err(|source| TrustError::Config(source.into()))?;
    Services::choose(&config)
}
