//! The search for a name that a JSON object has twice. Parsers keep one of the two values and report nothing.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Returns the first name that an object of the document has twice.
pub(crate) fn repeated_name(document: &[u8]) -> Option<String> {
    let names: Names = serde_json::from_slice(document).ok()?;
    names.0
}

/// A document of which only the first repeated name is kept.
struct Names(Option<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RepeatedKeys)
    }
}

struct RepeatedKeys;

impl<'de> Visitor<'de> for RepeatedKeys {
    type Value = Names;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let (mut seen, mut found) = (BTreeSet::new(), None);
        while let Some(name) = map.next_key::<String>()? {
            let Names(inside) = map.next_value()?;
            let is_repeated = seen.contains(&name);
            found = found.or(is_repeated.then(|| name.clone())).or(inside);
            seen.insert(name);
        }
        Ok(Names(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
        let mut found = None;
        while let Some(Names(inside)) = list.next_element()? {
            found = found.or(inside);
        }
        Ok(Names(found))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Names, E> {
        Ok(Names(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Names, E> {
        Ok(Names(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Names, E> {
        Ok(Names(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Names, E> {
        Ok(Names(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Names, E> {
        Ok(Names(None))
    }

    fn visit_unit<E>(self) -> Result<Names, E> {
        Ok(Names(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_found_at_any_depth_and_in_one_object_alone() {
        for (document, name) in [
            (r#"{"a":1,"b":[true,null,-1,0.5,"a"]}"#, None),
            (r#"{"a":{"b":1},"b":{"a":1}}"#, None),
            (r#"{"a":1,"a":2}"#, Some("a")),
            (r#"{"x":[{"b":1,"\u0062":2}]}"#, Some("b")),
        ] {
            assert_eq!(
                repeated_name(document.as_bytes()).as_deref(),
                name,
                "{document}"
            );
        }
    }
}
