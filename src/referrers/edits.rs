//! Edits a JSON document of another writer in its text. The rest stays byte for byte as it was written. The document is
//! not parsed into values, which take many times its length.

use std::ops::Range;

use serde::{Deserialize as _, Deserializer};
use serde_json::value::RawValue;

/// A document, and its pending edits.
pub(crate) struct Edits<'a> {
    text: &'a str,
    changes: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    /// Creates an empty set of edits for a document that is a JSON object.
    pub(crate) fn of(text: &'a str) -> Self {
        Self {
            text,
            changes: Vec::new(),
        }
    }

    /// Replaces `value`, which was read from this document.
    pub(crate) fn replace(&mut self, value: &RawValue, by: String) {
        let place = self.place(value);
        self.changes.push((place, by));
    }

    /// Appends items to `list`, which was read from this document. A value that is no list is replaced. If there is no
    /// value, the list becomes the field `name`.
    pub(crate) fn append(&mut self, list: Option<&RawValue>, name: &str, items: &[String]) {
        let items = items.join(",");
        match list {
            Some(list) if is_list(list) => {
                let end = self.place(list).end - 1;
                let comma = comma(&list.get()[1..list.get().len() - 1]);
                self.changes.push((end..end, format!("{comma}{items}")));
            }
            Some(other) => self.replace(other, format!("[{items}]")),
            None => {
                let document = self.text.trim_end();
                let end = document.len().saturating_sub(1);
                let comma = comma(document[..end].trim_start().get(1..).unwrap_or_default());
                let field = format!("{comma}\"{name}\":[{items}]");
                self.changes.push((end..end, field));
            }
        }
    }

    /// Returns the document with all edits.
    pub(crate) fn done(mut self) -> String {
        self.changes.sort_by_key(|(place, _)| place.start);
        let added: usize = self.changes.iter().map(|(_, by)| by.len()).sum();
        let mut text = String::with_capacity(self.text.len() + added);
        let mut written = 0;
        for (place, by) in &self.changes {
            text.push_str(&self.text[written..place.start]);
            text.push_str(by);
            written = place.end;
        }
        text.push_str(&self.text[written..]);
        text
    }

    /// Returns the position in the text of a value that was borrowed from it.
    fn place(&self, value: &RawValue) -> Range<usize> {
        let start = value.get().as_ptr().addr() - self.text.as_ptr().addr();
        start..start + value.get().len()
    }
}

/// Reports whether this is a JSON array.
pub(crate) fn is_list(value: &RawValue) -> bool {
    value.get().starts_with('[')
}

/// Returns the separator between the existing items and one more.
fn comma(there: &str) -> &'static str {
    if there.trim().is_empty() { "" } else { "," }
}

/// Reads any value; `null` is one.
pub(crate) fn present<'de: 'a, 'a, D>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error>
where
    D: Deserializer<'de>,
{
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct EditedDocument<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        list: Option<&'a RawValue>,
        #[serde(borrow, default, deserialize_with = "present")]
        other: Option<&'a RawValue>,
    }

    fn grown(text: &str) -> String {
        let document: EditedDocument<'_> = serde_json::from_str(text).unwrap();
        let mut edits = Edits::of(text);
        edits.append(document.list, "list", &["8".to_owned(), "9".to_owned()]);
        if let Some(other) = document.other {
            edits.replace(other, "true".to_owned());
        }
        edits.done()
    }

    #[test]
    fn items_come_last_and_the_rest_stays_as_it_is_written() {
        for (text, wanted) in [
            (r#"{"list":[1.50]}"#, r#"{"list":[1.50,8,9]}"#),
            (
                " {\n\"a\": \"]\", \"list\" : [ {\"x\":[]} ] , \"z\":null } ",
                " {\n\"a\": \"]\", \"list\" : [ {\"x\":[]} ,8,9] , \"z\":null } ",
            ),
            (r#"{"list":[ ],"b":1}"#, r#"{"list":[ 8,9],"b":1}"#),
            (r#"{"list":null}"#, r#"{"list":[8,9]}"#),
            (r#"{"list": 7 }"#, r#"{"list": [8,9] }"#),
            ("{}", r#"{"list":[8,9]}"#),
            (" { } ", r#" { "list":[8,9]} "#),
            (r#"{"a":1}"#, r#"{"a":1,"list":[8,9]}"#),
            (
                r#"{"other":{"a":[1]},"list":[]}"#,
                r#"{"other":true,"list":[8,9]}"#,
            ),
        ] {
            assert_eq!(grown(text), wanted);
        }
    }
}
