//! The grants that a token lists.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

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
