//! Resolves host names as glibc does: `/etc/hosts` decides for the names that it has, and nameservers are asked in their
//! order. An image `FROM scratch` has no C library that would do this.
//!
//! Source: `resolv.conf(5)`, `hosts(5)`; glibc, `resolv/res_send.c` and `resolv/res_query.c`.

mod error;
mod hosts;
mod lookup;
mod name_server;
mod settings;

#[cfg(test)]
pub(crate) mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

pub use error::NameError;
use lookup::resolve;
pub use settings::NameSettings;

/// Resolves host names for an HTTP client.
#[derive(Debug, Clone)]
pub struct NameResolver(Arc<NameSettings>);

impl NameResolver {
    /// Creates a resolver. This call sends nothing.
    #[must_use]
    pub fn new(settings: NameSettings) -> Self {
        Self(Arc::new(settings))
    }

    /// Returns the addresses of `host`; at least one.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NameError> {
        resolve(&self.0, host).await
    }
}

impl Resolve for NameResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?.into_iter();
            // The client adds the port of its request.
            let addresses = addresses.map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
