//! The platforms of an image: its config states one, and the indexes that were given may list it under others.

use std::collections::BTreeSet;

use super::assemble::{Leaf, Resolved};
use super::vouched::Vouched;
use crate::domain::{ContradictedPlatform, Descriptor, Digest, MediaType, Platform};

/// An image as its manifest and its config state it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedImage {
    /// Media type, digest and size.
    pub descriptor: Vouched<Descriptor>,
    /// The platform that the image config states.
    pub platform: Platform,
    /// The media type of the image config.
    pub config_type: MediaType,
    /// The version that the image config's labels state.
    pub version: Option<String>,
}

/// Returns the image once for each platform under which indexes list it. `claims` are these platforms, with `None` for an
/// entry without one; they are empty if the image was given by itself, and then its config decides.
///
/// An index may state what the config does not: the version and the features of the system, and the variant. An image
/// that is listed under several platforms is content for all of them, such as data, and stays listed so if its config
/// states one of them.
pub fn listed(
    image: &StatedImage,
    claims: &BTreeSet<Option<Platform>>,
) -> Result<Vec<Leaf>, Box<ContradictedPlatform>> {
    let leaf = |platform: Option<Platform>| Leaf {
        descriptor: image.descriptor.clone(),
        platform,
        stated: image.platform.clone(),
        config_type: image.config_type.clone(),
        version: image.version.clone(),
    };
    if claims.is_empty() {
        return Ok(vec![leaf(Some(image.platform.clone()))]);
    }
    let completed = |claim: &Platform| {
        let completed = image.platform.completed_by(claim);
        completed.filter(Platform::is_usable)
    };
    let named: Vec<&Platform> = claims.iter().flatten().collect();
    let is_stated = named.iter().any(|claim| completed(claim).is_some());
    let contradicted = named.iter().find(|claim| {
        let may_differ = is_stated && named.len() > 1 && claim.is_usable();
        completed(claim).is_none() && !may_differ
    });
    if let Some(claim) = contradicted {
        return Err(Box::new(ContradictedPlatform {
            image: image.descriptor.digest.clone(),
            listed: (*claim).clone(),
            stated: image.platform.clone(),
        }));
    }
    let platforms = claims.iter().map(|claim| match (claim, named.as_slice()) {
        (Some(claim), [_]) => completed(claim),
        (claim, _) => claim.clone(),
    });
    Ok(platforms.map(leaf).collect())
}

/// Returns the platform under which this run lists an image, if `held`, the platform under which another index lists it,
/// stands for that one; else `held`. Tools spell platforms in several ways, take them from the image config, or leave out
/// the version and the features of the system. Without these, a platform stands for one image only if there is no
/// other of the same architecture.
pub(super) fn platform_as_wanted(
    digest: &Digest,
    held: Option<Platform>,
    resolved: &[Resolved],
) -> Option<Platform> {
    let leaves = || resolved.iter().flat_map(|input| &input.leaves);
    let own = || leaves().filter(|leaf| leaf.descriptor.digest == *digest);
    if let Some(exact) = own().find(|leaf| leaf.platform == held) {
        return exact.platform.clone();
    }
    let platform = held?;
    let stands_for = |leaf: &&Leaf| match &leaf.platform {
        Some(wanted) => {
            let named = leaves().filter_map(|leaf| Some((leaf.platform.as_ref()?, leaf)));
            let mut named = named.filter(|(wanted, _)| platform.is_name_of(wanted));
            platform.is_name_of(wanted)
                && named.all(|(other, leaf)| other == wanted && leaf.descriptor.digest == *digest)
        }
        None => leaf.stated == platform,
    };
    match own().find(stands_for) {
        Some(leaf) => leaf.platform.clone(),
        None => Some(platform),
    }
}
