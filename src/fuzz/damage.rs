//! The damage done to documents.

use fastrand::Rng;
use serde_json::Value;

/// Tokens with a meaning in some grammar.
const TOKENS: &[&str] = &[
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "=",
    "@",
    "/",
    "..",
    "#",
    "<",
    ">",
    ";",
    "&a ",
    "*a",
    "- ",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\u{202e}",
    "ſ",
    "::",
    "##[",
    "`",
    "|",
    "%00",
    "%zz",
    "null",
    "true",
    "-1",
    "0",
    "18446744073709551616",
    "9223372036854775807",
    "1e999",
    "-0.0",
    "sha256:",
    "rel=next",
    "Bearer ",
    "<<: *a",
    "!!binary ",
    "(?:",
    "{1000}",
    "\\pL",
    "99999999999999999999h",
    "-----BEGIN CERTIFICATE-----\n",
    "\u{30}\u{80}",
];

/// Openings that are repeated for deep nesting.
const NESTS: &[&str] = &[
    "[",
    "{\"a\":",
    "- ",
    "(",
    "{",
    "[{\"manifests\":",
    "\u{30}\u{7f}",
    "&a [*a,",
    "\\",
    "'",
];

/// Damages bytes, sometimes with a piece of another seed.
pub(super) fn damage(rng: &mut Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = rng.usize(..=bytes.len());
    let end = (at + rng.usize(..=32)).min(bytes.len());
    match rng.u8(..9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.u8(..8);
            }
        }
        1 => drop(bytes.drain(at..end)),
        2 => {
            let some: Vec<u8> = (0..rng.usize(1..8)).map(|_| rng.u8(..)).collect();
            drop(bytes.splice(at..at, some));
        }
        3 => {
            let token = rng.choice(TOKENS).copied().unwrap_or_default();
            drop(bytes.splice(at..end, token.bytes()));
        }
        4 => {
            let token = rng.choice(TOKENS).copied().unwrap_or_default();
            drop(bytes.splice(at..at, token.bytes()));
        }
        5 => {
            let piece = bytes
                .get(at..end)
                .unwrap_or_default()
                .repeat(rng.usize(1..200));
            drop(bytes.splice(at..at, piece));
        }
        6 => {
            let other = rng.choice(seeds).cloned().unwrap_or_default();
            let from = rng.usize(..=other.len());
            drop(bytes.splice(at.., other.get(from..).unwrap_or_default().to_vec()));
        }
        7 => {
            let nest = rng.choice(NESTS).copied().unwrap_or_default();
            let times = if rng.u8(..20) == 0 {
                10_000
            } else {
                rng.usize(1..300)
            };
            drop(bytes.splice(at..at, nest.repeat(times).into_bytes()));
        }
        _ => bytes.truncate(at),
    }
}

/// Replaces one value at a random place by a strange one.
pub(super) fn damage_json(rng: &mut Rng, value: &mut Value) {
    let goes_down = rng.u8(..6) > 0;
    match value {
        Value::Array(items) if goes_down && !items.is_empty() => {
            let at = rng.usize(..items.len());
            items
                .get_mut(at)
                .into_iter()
                .for_each(|item| damage_json(rng, item));
        }
        Value::Object(fields) if goes_down && !fields.is_empty() => {
            let name = rng.choice(fields.keys()).cloned().unwrap_or_default();
            match rng.u8(..8) {
                0 => drop(fields.remove(&name)),
                1 => {
                    let value = fields.remove(&name).unwrap_or_default();
                    fields.insert(name.to_uppercase(), value);
                }
                _ => fields
                    .get_mut(&name)
                    .into_iter()
                    .for_each(|field| damage_json(rng, field)),
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => *value = strange(rng, value.take()),
    }
}

fn strange(rng: &mut Rng, old: Value) -> Value {
    match rng.u8(..12) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => Value::from(-1),
        3 => Value::from(u64::MAX),
        4 => Value::from(1e300),
        5 => Value::from(""),
        6 => Value::from("x".repeat(rng.usize(1..3000))),
        7 => Value::from("\n::error::\u{0}\u{1b}[31m`|<img>\u{202e}"),
        8 => (0..rng.usize(1..400)).fold(old, |inner, _| Value::Array(vec![inner])),
        9 => Value::Array(vec![old; rng.usize(..60)]),
        10 => Value::Object(serde_json::Map::new()),
        _ => match old.as_str() {
            Some(text) => {
                let mut bytes = text.as_bytes().to_vec();
                damage(rng, &mut bytes, &[]);
                Value::from(String::from_utf8_lossy(&bytes))
            }
            None => Value::from(i64::MIN),
        },
    }
}
