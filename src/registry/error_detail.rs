//! The `detail` of a registry's error: the reason in words, or the content that is missing. SPEC: its form is free.

use serde_json::Value;

/// The fields of a detail that are shown, as Quay and Google (`message`), Artifactory (`description`), GitLab
/// (`Reason`) and distribution (`digest`) name them. Others, such as the scopes of a denial, say nothing new.
const SHOWN_FIELDS: [&str; 4] = ["message", "description", "Reason", "digest"];
const TEXTS_MAX: usize = 8;

/// Returns the readable texts of the errors' details that `shown` does not contain already.
pub(super) fn detail_text<'a>(errors: impl Iterator<Item = &'a Value>, shown: &str) -> String {
    let texts = errors
        .filter_map(|error| error.get("detail"))
        .flat_map(listed)
        .flat_map(texts)
        .filter(|text| !text.is_empty() && !shown.contains(text));
    let mut kept: Vec<&str> = Vec::new();
    for text in texts {
        if !kept.contains(&text) && kept.len() < TEXTS_MAX {
            kept.push(text);
        }
    }
    kept.join(", ")
}

/// Returns the parts of a detail, which may be a list.
fn listed(detail: &Value) -> Vec<&Value> {
    match detail {
        Value::Array(details) => details.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            vec![detail]
        }
    }
}

fn texts(detail: &Value) -> Vec<&str> {
    match detail {
        Value::String(text) => vec![text.trim()],
        Value::Object(fields) => {
            let shown = SHOWN_FIELDS.iter().filter_map(|name| fields.get(*name));
            shown.filter_map(Value::as_str).map(str::trim).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Vec::new(),
    }
}
