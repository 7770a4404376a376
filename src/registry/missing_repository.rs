//! Detects a repository without any push so far, if the registry denies access instead of answering that it is absent.
//!
//! No response states this. It is inferred by exclusion: the requests are not anonymous, push is allowed, and the
//! repository exposes nothing. The registry does not name what it denies, either. The result is a guess:
//! [`Registry::may_be_new`] never turns a denial into an absence.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::classify::{Presence, presence};
use super::client::{Registry, RegistryRequest};
use super::error::RegistryError;
use crate::domain::Repository;

/// The limit for the tag list. Only one tag is requested; a registry that sends more than this exposes its tags.
const TAGS_MAX_BYTES: u64 = 64 * 1024;

impl Registry {
    /// Reports whether `denials`, the only responses for `repository`, may mean that it has had no push yet. Call it
    /// after [`Registry::will_write`]: only with a push token can an absent repository be distinguished from a
    /// forbidden one.
    pub async fn may_be_new(
        &self,
        repository: &Repository,
        denials: impl IntoIterator<Item = &RegistryError>,
    ) -> bool {
        denials.into_iter().all(is_wordless)
            && self.keyring().may_push(repository).await
            && self.hides(repository).await
    }

    /// True if the tag list is unavailable too. A repository with any content has one.
    async fn hides(&self, repository: &Repository) -> bool {
        let list = RegistryRequest::get(repository, "tags/list?n=1".to_owned(), TAGS_MAX_BYTES);
        match self.ask(&list).await {
            Ok(answer) => {
                let is_denied = matches!(answer.status.as_u16(), 401 | 403);
                is_denied || presence(&answer) == Presence::Absent
            }
            Err(_) => false,
        }
    }
}

/// True if a denial does not name what it denies. GHCR names the missing permission (`permission_denied: read_package`)
/// if the package exists or may not be created. A 403 from another server has no code.
fn is_wordless(denial: &RegistryError) -> bool {
    denial.is_denied()
        && !denial.is_about_token()
        && denial.credentials().is_some()
        && denial.refusal().is_some_and(|refusal| {
            (refusal.status == 401 || refusal.has_code("DENIED"))
                && !refusal.message.contains("permission_denied")
        })
}

/// True if a token itself excludes push to `path`. Token servers may silently grant less than requested. Those that
/// issue JSON web tokens list the grants (distribution's "Token Authentication Implementation"). An unreadable token
/// proves nothing.
pub(super) fn token_lacks_push(token: &str, path: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let claims = URL_SAFE_NO_PAD.decode(claims).ok();
    let claims: Option<Value> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(access) = claims.as_ref().and_then(|claims| claims.get("access")) else {
        return false;
    };
    // Servers written in Go send `null` for an empty list.
    let mut grants = access.as_array().into_iter().flatten();
    !grants.any(|grant| {
        let mut actions = grant
            .get("actions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        grant.get("type").and_then(Value::as_str) == Some("repository")
            && grant.get("name").and_then(Value::as_str) == Some(path)
            && actions.any(|action| action == "push" || action == "*")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(claims: &Value) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn tokens_are_taken_by_what_they_say_and_others_at_their_word() {
        let grant = |name: &str, actions: &[&str]| json!([{"type": "repository", "name": name, "actions": actions}]);
        for (claims, withholds) in [
            (json!({"access": grant("o/r", &["pull", "push"])}), false),
            (json!({"access": grant("o/r", &["*"])}), false),
            (json!({"access": grant("o/r", &["pull"])}), true),
            (json!({"access": grant("o/other", &["push"])}), true),
            (json!({"access": []}), true),
            (json!({"access": null}), true),
            (json!({"iss": "somebody"}), false),
        ] {
            assert_eq!(
                token_lacks_push(&token(&claims), "o/r"),
                withholds,
                "{claims}"
            );
        }
        for opaque in ["", "gho_abc", "a.b", "a.b.c.d", "a.!.c"] {
            assert!(!token_lacks_push(opaque, "o/r"), "{opaque}");
        }
    }
}
