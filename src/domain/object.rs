//! JSON objects that every reader interprets in the same way; others are refused.
//!
//! SECURITY: this program compares and signs a digest by what it reads in the bytes. Clients pull by what they read
//! there. Go's reader accepts `Manifests` for `manifests`, and uses the last if both exist. serde would accept an array
//! for an object. A document that depends on such a difference is refused.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Error, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Every name with a meaning in a manifest, a descriptor or a platform.
const NAMES: [&str; 18] = [
    "annotations",
    "architecture",
    "artifactType",
    "config",
    "data",
    "digest",
    "features",
    "layers",
    "manifests",
    "mediaType",
    "os",
    "os.features",
    "os.version",
    "platform",
    "size",
    "subject",
    "urls",
    "variant",
];

/// A `T` that is read from an object whose names are spelled as the specification spells them.
pub(crate) struct StrictObject<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for StrictObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueFields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for UniqueFields<T> {
            type Value = StrictObject<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(Spelled(map))).map(StrictObject)
            }
        }
        deserializer.deserialize_map(UniqueFields(PhantomData))
    }
}

/// The fields of an object; each name is checked when it is read.
struct Spelled<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Spelled<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(name) = self.0.next_key::<String>()? else {
            return Ok(None);
        };
        if let Some(known) = NAMES
            .iter()
            .find(|known| **known != name && folded(known).eq(folded(&name)))
        {
            return Err(Error::custom(format_args!(
                "a field name resembles `{known}`, and some parsers read it as that field"
            )));
        }
        let name: StringDeserializer<A::Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// Folds a name as readers do that ignore case: `ſ` and the Kelvin sign equal an ASCII letter in another case. Source:
/// Go, `encoding/json`, "foldName".
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Platform;

    fn read(text: &str) -> Result<Platform, serde_json::Error> {
        serde_json::from_str::<StrictObject<Platform>>(text).map(|object| object.0)
    }

    #[test]
    fn object_that_reads_alike_everywhere_is_read() {
        let text = r#"{"os":"linux","architecture":"arm64","x":[[1]],"ox":1}"#;
        assert_eq!(read(text).unwrap(), "linux/arm64".parse().unwrap());
    }

    #[test]
    fn object_that_others_may_read_otherwise_is_refused() {
        for text in [
            r#"["arm64","linux"]"#,
            r#"{"os":"linux","architecture":"arm64","OS":"plan9"}"#,
            r#"{"os":"linux","architecture":"arm64","o\u017f":"plan9"}"#,
            r#"{"os":"linux","os":"plan9","architecture":"arm64"}"#,
            r#"{"os":"linux","architecture":"arm64","Features":[]}"#,
            "null",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
