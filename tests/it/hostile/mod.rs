//! Hostile content: manifests, lists, signatures, timestamps, text and responses of a registry, of Sigstore, or of somebody
//! with push permission. Each is refused or has no effect, with little memory and time.

mod candidates;
mod forgeries;
mod manifests;
mod messages;
mod registry;
mod responses;
mod signers;
mod stranger;
mod strings;
mod timestamps;
