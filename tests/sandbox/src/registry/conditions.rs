//! Conditional pushes of tags: `If-Match` and `If-None-Match` on PUT. SPEC: RFC 9110, 13.

use super::routes::{Refusal, refuse};
use crate::server::Call;

/// The registry's support for conditions on pushes by tag. Pushes by digest never have conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditions {
    /// Manifests have an `ETag`, and conditions are ignored: distribution 3, Gitea.
    Ignored,
    /// Manifests have no `ETag`, and conditions are ignored: zot.
    NoEtag,
    /// A condition that does not hold is refused: 412. The check and the push are one step.
    Honoured,
    /// A condition that does not hold is refused with 400 `MANIFEST_INVALID` and a message that names it.
    AsInvalid,
    /// Conditions are honoured, but manifests have no `ETag`.
    Unannounced,
    /// Every conditional push is refused (412), whatever the tag holds.
    Broken,
}

impl Conditions {
    /// Returns the `ETag` of a manifest; `None` if this registry sends none.
    pub(crate) fn etag(self, digest: &str) -> Option<String> {
        match self {
            Self::NoEtag | Self::Unannounced => None,
            Self::Ignored | Self::Honoured | Self::AsInvalid | Self::Broken => Some(quoted(digest)),
        }
    }

    /// Checks the conditions of a push to a tag with the digest `held`.
    pub(crate) fn check(self, call: &Call, held: Option<&str>) -> Result<(), Refusal> {
        let broken = match self {
            Self::Ignored | Self::NoEtag => return Ok(()),
            Self::Broken => ["If-Match", "If-None-Match"]
                .into_iter()
                .find(|name| call.header(name).is_some()),
            Self::Honoured | Self::AsInvalid | Self::Unannounced => unmet(call, held),
        };
        let Some(name) = broken else {
            return Ok(());
        };
        let message = format!("{name} condition failed");
        if self == Self::AsInvalid {
            refuse(400, "MANIFEST_INVALID", message)
        } else {
            refuse(412, "PRECONDITION_FAILED", message)
        }
    }
}

/// Returns the name of the first condition that does not hold.
fn unmet(call: &Call, held: Option<&str>) -> Option<&'static str> {
    let matches = |list: &str, weak: bool| {
        held.is_some_and(|held| {
            let held = quoted(held);
            list.split(',').map(str::trim).any(|entry| {
                let entry = entry.strip_prefix("W/").filter(|_| weak).unwrap_or(entry);
                entry == "*" || entry == held
            })
        })
    };
    // SPEC: RFC 9110, 13.1.1 and 13.1.2: `If-Match` compares strongly, `If-None-Match` weakly.
    if call
        .header("if-match")
        .is_some_and(|list| !matches(list, false))
    {
        return Some("If-Match");
    }
    call.header("if-none-match")
        .filter(|list| matches(list, true))
        .map(|_| "If-None-Match")
}

fn quoted(digest: &str) -> String {
    format!("\"{digest}\"")
}
