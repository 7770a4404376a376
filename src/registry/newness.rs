//! A repository that nobody has pushed to yet, where the registry denies it instead of saying that it is not there.
//!
//! No answer says so. What can be had is that everything else is ruled out: that we are nobody, that we may not push,
//! that the repository shows anything at all, that the registry says what it denies. What is left is a guess, and is
//! called so: [`Registry::may_be_new`] never makes a denial an absence.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::answers::{Presence, presence};
use super::client::{Question, Registry};
use super::error::RegistryError;
use crate::domain::Repository;

/// One tag is all that is asked for; a registry that answers with all of them has answered.
const TAGS_MAX_BYTES: u64 = 64 * 1024;

impl Registry {
    /// Whether `denials`, which are all that came back of `repository`, may be its registry's way to say that nobody has
    /// pushed there yet. To be asked after [`Registry::will_write`]: only who holds a token to push can tell "not there"
    /// from "not for you".
    pub async fn may_be_new(
        &self,
        repository: &Repository,
        denials: impl IntoIterator<Item = &RegistryError>,
    ) -> bool {
        denials.into_iter().all(is_wordless)
            && self.keyring().may_push(repository).await
            && self.hides(repository).await
    }

    /// Whether the list of tags, which a repository has as soon as anything is in it, is not to be had either.
    async fn hides(&self, repository: &Repository) -> bool {
        let list = Question::get(repository, "tags/list?n=1".to_owned(), TAGS_MAX_BYTES);
        match self.ask(&list).await {
            Ok(answer) => {
                let is_denied = matches!(answer.status.as_u16(), 401 | 403);
                is_denied || presence(&answer) == Presence::Absent
            }
            Err(_) => false,
        }
    }
}

/// Whether a denial leaves open what is denied. GHCR names the right that is missing (`permission_denied: read_package`)
/// where there is a package, or where it will not have one; a 403 that is not the registry's own has no code.
fn is_wordless(denial: &RegistryError) -> bool {
    denial.is_denied()
        && !denial.is_about_token()
        && denial.credentials().is_some()
        && denial.refusal().is_some_and(|refusal| {
            (refusal.status == 401 || refusal.has_code("DENIED"))
                && !refusal.message.contains("permission_denied")
        })
}

/// Whether a token says by itself that it is no good for pushing to `path`. Token servers grant less than they are asked
/// for without a word; those that write JSON web tokens write down what they granted (distribution's "Token
/// Authentication Implementation"). Nothing follows from a token that cannot be read.
pub(super) fn withholds_push(token: &str, path: &str) -> bool {
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
    // `null` is how a server written in Go writes an empty list.
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
                withholds_push(&token(&claims), "o/r"),
                withholds,
                "{claims}"
            );
        }
        for opaque in ["", "gho_abc", "a.b", "a.b.c.d", "a.!.c"] {
            assert!(!withholds_push(opaque, "o/r"), "{opaque}");
        }
    }
}
