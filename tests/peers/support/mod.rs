//! Shared code of all cases: the addresses of the software, and a way to run it that always ends.

mod act;
mod action;
mod attempt;
mod image;
mod legs;
mod server;
mod table;
mod tools;
mod traffic;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

pub(crate) use act::{Dispatch, Ran};
pub(crate) use action::{Action, Outcome};
pub(crate) use image::{
    Child, Flavour, push_child, push_index, push_layers, push_nested, push_with_provenance,
};
pub(crate) use server::{Server, free_port};
pub(crate) use table::{Expected, Seen, Table};
pub(crate) use tools::{Cosign, Tool, Workflow, text};
pub(crate) use traffic::{Mark, Request};

/// Returns a variable from the `env.sh` of `up`.
pub(crate) fn stack(name: &str) -> String {
    env::var(format!("STACK_{name}"))
        .unwrap_or_else(|_| panic!("STACK_{name} is not set: run tests/peers/run"))
}

/// Returns the certificate authority of a stack with TLS, from `up`'s `env.tls.sh` in place of its `env.sh`.
pub(crate) fn tls_authority() -> Option<String> {
    env::var("STACK_TLS_AUTHORITY").ok()
}

/// One of the registries.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Registry {
    /// Debian's docker-registry 2.8: no referrers API.
    Debian,
    /// Distribution v3: no referrers API.
    Distribution,
    /// CUE's library: referrers API.
    Cue,
    /// go-containerregistry's library: referrers API.
    Ggcr,
    /// olareg: referrers API, several tags in one request.
    Olareg,
}

/// One of the transparency logs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Log {
    /// Rekor v1.
    Rekor1,
    /// Rekor v2.
    Rekor2,
}

impl Registry {
    /// Returns its name in the README.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Debian => "docker-registry",
            Self::Distribution => "distribution",
            Self::Cue => "cue",
            Self::Ggcr => "ggcr",
            Self::Olareg => "olareg",
        }
    }

    /// Returns its version, as installed.
    pub(crate) fn version(self) -> String {
        let pinned = |module: &str| {
            let versions = include_str!("../tools/go.mod").lines();
            let mut versions = versions.filter_map(|line| line.trim().split_once(' '));
            let (_, version) = versions.find(|(name, _)| *name == module).unwrap();
            version.to_owned()
        };
        let installed = |name: &str| {
            let file = Path::new(&stack("BIN")).join(".v").join(name);
            let text = fs::read_to_string(file).unwrap();
            text.trim().rsplit('@').next().unwrap().to_owned()
        };
        let version = match self {
            Self::Debian => {
                let shown = Tool::bounded("/usr/bin/docker-registry").arg("--version");
                shown.succeed().rsplit(' ').next().unwrap().to_owned()
            }
            Self::Distribution => installed("registry"),
            Self::Cue => pinned("cuelabs.dev/go/oci/ociregistry"),
            Self::Ggcr => pinned("github.com/google/go-containerregistry"),
            Self::Olareg => installed("olareg"),
        };
        // Debian adds its own revision.
        let version = version.split('+').next().unwrap();
        version.trim_start_matches('v').to_owned()
    }

    /// Returns an unused repository of this registry.
    pub(crate) fn fresh(self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let host = stack(match self {
            Self::Debian => "DOCKER_REGISTRY",
            Self::Distribution => "DISTRIBUTION",
            Self::Cue => "CUE",
            Self::Ggcr => "GGCR",
            Self::Olareg => "OLAREG",
        });
        fresh_at(&host, COUNT.fetch_add(1, Ordering::Relaxed))
    }
}

fn fresh_at(host: &str, count: u32) -> String {
    format!("{host}/octo-org/app-{}-{count}", std::process::id())
}

impl Log {
    /// Returns the signing config with this log.
    pub(crate) fn signing_config(self) -> String {
        stack(match self {
            Self::Rekor1 => "SIGNING_CONFIG_REKOR1",
            Self::Rekor2 => "SIGNING_CONFIG_REKOR2",
        })
    }
}

/// Makes one test per registry for each named function, which takes the registry.
macro_rules! on_each_registry {
    ($($case:ident),+ $(,)?) => { $(
        mod $case {
            use crate::support::{Registry, on_each_registry};
            on_each_registry!(@keeping_referrers $case);
            #[test]
            fn on_olareg() { super::$case(Registry::Olareg); }
        }
    )+ };
    // Without olareg, which loses referrers of one subject that are pushed at the same time: 0.2.2 reads its list, adds an
    // entry and writes the list, without a lock.
    (keeping referrers: $($case:ident),+ $(,)?) => { $(
        mod $case {
            use crate::support::{Registry, on_each_registry};
            on_each_registry!(@keeping_referrers $case);
        }
    )+ };
    (@keeping_referrers $case:ident) => {
        #[test]
        fn on_docker_registry() { super::$case(Registry::Debian); }
        #[test]
        fn on_distribution() { super::$case(Registry::Distribution); }
        #[test]
        fn on_cue() { super::$case(Registry::Cue); }
        #[test]
        fn on_ggcr() { super::$case(Registry::Ggcr); }
    };
}
pub(crate) use on_each_registry;
