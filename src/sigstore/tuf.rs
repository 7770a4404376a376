//! The Update Framework: fetches trust material from a repository with signed metadata, verifies it and caches it.
//!
//! Offline, the cache is used while it is unexpired, and is verified like a response from the network. The trusted root
//! that the library embeds is never used: it cannot expire, so an old one cannot be detected. Trust starts from the
//! library's TUF root.

use std::path::{Path, PathBuf};

use sigstore_trust_root::SigstoreInstance;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Error, FileStore, Repository, StoreRepository, Updater};

use super::endpoint::Endpoint;
use super::error::{SigstoreErrorKind, TrustError};
use super::service_client::{ServiceClient, status_error};

/// One repository, the root that its trust starts from, and its cache.
pub(super) struct Tuf {
    url: String,
    first_root: Vec<u8>,
    cache: Option<PathBuf>,
    client: ServiceClient,
}

impl Tuf {
    pub(super) fn of_public_good(cache: Option<&Path>, client: ServiceClient) -> Self {
        let instance = SigstoreInstance::PublicGood;
        Self::new(instance.tuf_url(), instance.tuf_root(), cache, client)
    }

    pub(super) fn new(
        url: &str,
        first_root: &[u8],
        cache: Option<&Path>,
        client: ServiceClient,
    ) -> Self {
        Self {
            url: url.to_owned(),
            first_root: first_root.to_owned(),
            cache: cache.map(Path::to_owned),
            client,
        }
    }

    /// Fetches the named targets, in this order.
    pub(super) async fn targets(&self, names: &[&str]) -> Result<Vec<Vec<u8>>, TrustError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let online = match self.online(names).await {
            Ok(targets) => return Ok(targets),
            Err(error) => error,
        };
        let url = self.url.clone();
        // A wrong response is no reason to fall back to the cache: these checks exist to detect it.
        if !matches!(online, Error::Transport { .. }) {
            return Err(TrustError::Forged {
                url,
                source: online,
            });
        }
        let Some(cache) = self
            .cache
            .as_deref()
            .filter(|cache| cache.join("timestamp.json").exists())
        else {
            return Err(TrustError::Unreachable {
                url,
                source: online,
            });
        };
        match self.offline(cache, names).await {
            Ok(targets) => {
                self.client.events().warn(format!("the TUF repository `{url}` could not be read ({online}); using its unexpired cache"));
                Ok(targets)
            }
            Err(source) => Err(TrustError::StaleCache {
                url,
                online: online.to_string(),
                source,
            }),
        }
    }

    async fn online(&self, names: &[&str]) -> Result<Vec<Vec<u8>>, Error> {
        let endpoint =
            Endpoint::parse(&self.url).map_err(|error| Error::Malformed(error.to_string()))?;
        let repository = HttpRepository {
            endpoint,
            client: self.client.clone(),
        };
        let mut updater = Updater::new(repository, &self.first_root)?;
        if let Some(cache) = &self.cache {
            updater = updater.with_store(FileStore::new(cache));
        }
        load(updater, names).await
    }

    async fn offline(&self, cache: &Path, names: &[&str]) -> Result<Vec<Vec<u8>>, Error> {
        let store = FileStore::new(cache);
        let updater =
            Updater::new(StoreRepository::new(store.clone()), &self.first_root)?.with_store(store);
        load(updater, names).await
    }
}

async fn load(mut updater: Updater, names: &[&str]) -> Result<Vec<Vec<u8>>, Error> {
    let now = jiff::Timestamp::now();
    updater.refresh(now).await?;
    let mut targets = Vec::with_capacity(names.len());
    for name in names {
        targets.push(updater.get_target(name, now).await?);
    }
    Ok(targets)
}

/// A repository that uses this program's HTTP client. The library's repository makes a client first, which fails if
/// there are no system roots.
struct HttpRepository {
    endpoint: Endpoint,
    client: ServiceClient,
}

impl HttpRepository {
    /// Fetches a file; `None` if the repository reports that it does not exist. Object stores return 403 for that.
    async fn get(&self, path: &str, max_length: u64) -> Result<Option<Vec<u8>>, Error> {
        let url = self.endpoint.join(path);
        let what = format!("the request for `{path}` of the TUF repository");
        let fetched = self
            .client
            .with_retries(&what, || async {
                let response = self.client.send(&url, self.client.get(&url)).await?;
                match response.status.as_u16() {
                    200 => Ok(Some(response.body)),
                    403 | 404 => Ok(None),
                    _ => Err(status_error(&response)),
                }
            })
            .await
            .map_err(|error: SigstoreErrorKind| {
                Error::transport_with_source(error.to_string(), error)
            })?;
        match fetched {
            Some(body) if u64::try_from(body.len()).is_ok_and(|length| length > max_length) => Err(
                Error::IntegrityMismatch(format!("`{path}` is longer than {max_length} bytes")),
            ),
            other => Ok(other),
        }
    }
}

impl Repository for HttpRepository {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.get(name, max_length))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(async move { self.get(&format!("targets/{path}"), max_length).await })
    }
}
