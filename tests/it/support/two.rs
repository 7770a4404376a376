//! Two registries: one that has the images, and one that is empty.

use sandbox::{Image, Kind, Options, Referrers, Registry, Request};

use super::{Action, REPOSITORY, World};

/// The repository in the other registry.
pub(crate) const MIRROR: &str = "mirror/app";

/// A registry that has the images, and one that is empty.
pub(crate) struct Two {
    pub(crate) world: World,
    pub(crate) other: Registry,
}

impl Two {
    pub(crate) fn new() -> Self {
        Self::with(
            Options::new(),
            Options::new().referrers(Referrers::TagSchema),
        )
    }

    pub(crate) fn with(first: Options, second: Options) -> Self {
        Self {
            world: World::with(first),
            other: Registry::start(second),
        }
    }

    /// Returns `tag` by its full name in the other registry.
    pub(crate) fn there(&self, tag: &str) -> String {
        format!("{}:{tag}", self.other.repository(MIRROR))
    }

    /// Returns a run of `seal` that publishes `v1` in both registries.
    pub(crate) fn seal(&self) -> Action {
        let tags = format!("v1\n{}", self.there("v1"));
        self.world.seal().input("tags", tags)
    }

    /// Returns a run of `verify` for the tag in the other registry.
    pub(crate) fn verify_there(&self) -> Action {
        let action = self.world.verify("v1");
        action.input("image", self.there("v1"))
    }

    /// Pushes the index under `tag` here, and the same images in another tool's bytes under `v1` there. Returns the digest and
    /// the bytes of the latter.
    pub(crate) fn push_theirs(&self, tag: &str) -> (String, Vec<u8>) {
        let ours = self.world.create().input("tags", tag).succeed();
        let registry = self.world.registry();
        let (media_type, bytes) = registry
            .manifest(REPOSITORY, ours.output("digest"))
            .unwrap();
        let index: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let pretty = serde_json::to_vec_pretty(&index).unwrap();
        for platform in ["linux/amd64", "linux/arm64"] {
            self.other.push_image(MIRROR, platform, Kind::Oci);
        }
        let theirs = self
            .other
            .push_raw(MIRROR, Some("v1"), &media_type, &pretty);
        (theirs, pretty)
    }

    /// Reports whether both registries have the image with its config and layer.
    pub(crate) fn is_whole_in_both(&self, image: &Image) -> bool {
        let registries = [(self.world.registry(), REPOSITORY), (&self.other, MIRROR)];
        registries.iter().all(|(registry, name)| {
            registry.manifest(name, &image.digest).is_some()
                && [&image.config, &image.layer]
                    .iter()
                    .all(|blob| registry.blob(name, blob).is_some())
        })
    }
}

pub(crate) fn writes(registry: &Registry) -> Vec<String> {
    let is_write = |request: &&Request| !matches!(request.method.as_str(), "GET" | "HEAD");
    let requests = registry.requests();
    let writes = requests.iter().filter(is_write);
    writes
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}
