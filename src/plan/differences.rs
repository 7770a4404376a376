//! The differences between an index under a tag and the index that this run would write.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::assemble::{Assembly, Resolved};
use super::listed::platform_as_wanted;
use super::repeated::repeated_name;
use crate::domain::{Digest, Manifest, Platform, has_lost_texts};

/// The number of differences that are printed. Others wrote them, at any length.
const DIFFERENCES_SHOWN: usize = 8;
const TEXT_SHOWN_LETTERS: usize = 240;
/// The accepted length, as a multiple of the length that this program writes, and some more. No tool needs more bytes
/// for white space and escapes.
const LENGTH_FACTOR: usize = 4;
const LENGTH_SPARE_BYTES: usize = 4096;
/// The extra length that is still parsed. A value takes up to 90 bytes in memory, and two in the document.
const READABLE_SPARE_BYTES: usize = 256 * 1024;

/// Lists the differences between `existing` and the index that this run would write. It compares entries as a multiset of
/// digest, media type, platform and annotations. It compares the index's own fields, and its media type if an input
/// names one or the document states none. White space within bounds and the order of fields and entries do not count. An `artifactType` that
/// repeats the type of the child's config does not count either (crane writes it).
pub(super) fn differences(
    existing: &Manifest,
    assembly: &Assembly,
    resolved: &[Resolved],
) -> Vec<String> {
    let too_long = too_long(existing, assembly);
    // SECURITY: a parsed document may take many times its length in memory.
    if existing.bytes().len() > readable_bytes(assembly) {
        return Vec::from_iter(too_long);
    }
    let Ok(document) = serde_json::from_slice::<Value>(existing.bytes()) else {
        return vec!["it cannot be parsed".to_owned()];
    };
    let mut found = Vec::from_iter(too_long);
    found.extend(form(existing, &document, assembly));
    let own =
        |name: &str| ["schemaVersion", "mediaType", "manifests", "annotations"].contains(&name);
    let nothing =
        |name: &str, value: &Value| value.is_null() && ["artifactType", "subject"].contains(&name);
    let fields = document.as_object().into_iter().flatten();
    // SECURITY: another reader may interpret a field that is unknown here, empty or not.
    let extra = fields.filter(|(name, value)| !own(name) && !nothing(name, value));
    found.extend(extra.map(|(name, _)| format!("it has the field `{}`", shown(name))));
    if document["schemaVersion"] != 2 {
        found.push("its `schemaVersion` is not 2".to_owned());
    }
    let types = config_types(resolved);
    let entries = |document: &Value| -> Vec<Value> {
        let listed = document["manifests"].as_array().into_iter().flatten();
        // Some tools list an image again that they add again. No reader takes it for another one.
        let mut entries = Vec::new();
        for entry in listed.map(|entry| normal(entry, &types, resolved)) {
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        entries
    };
    let wanted: Value = serde_json::from_slice(assembly.manifest.bytes()).unwrap_or_default();
    let (mut held, mut missing) = (entries(&document), entries(&wanted));
    held.retain(|entry| match missing.iter().position(|one| one == entry) {
        Some(place) => {
            missing.remove(place);
            false
        }
        None => true,
    });
    found.extend(
        held.iter()
            .map(|entry| format!("it has {}", entry_text(entry))),
    );
    found.extend(
        missing
            .iter()
            .map(|entry| format!("it lacks {}", entry_text(entry))),
    );
    let annotations = |document: &Value| document["annotations"].as_object().cloned();
    let (held, wanted) = (annotations(&document), annotations(&wanted));
    let (held, wanted) = (held.unwrap_or_default(), wanted.unwrap_or_default());
    let names: BTreeSet<_> = held.keys().chain(wanted.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| held.get(*name) != wanted.get(*name));
    found.extend(differing.map(|name| {
        let value = |annotations: &Map<String, Value>| {
            let value = annotations.get(name).map(Value::to_string);
            value.map_or("absent".to_owned(), |value| shown(&value))
        };
        let (held, wanted) = (value(&held), value(&wanted));
        format!(
            "its annotation `{}` is {held}, expected {wanted}",
            shown(name)
        )
    }));
    let more = found.len().saturating_sub(DIFFERENCES_SHOWN);
    found.truncate(DIFFERENCES_SHOWN);
    found.extend((more > 0).then(|| format!("and {more} more differences")));
    found
}

/// Returns a message if `existing` has more bytes than any equal document needs. SECURITY: a signature covers every byte,
/// and nobody should have to read bytes without meaning.
fn too_long(existing: &Manifest, assembly: &Assembly) -> Option<String> {
    let (length, own) = (existing.bytes().len(), assembly.manifest.bytes().len());
    let most = (LENGTH_FACTOR * own + LENGTH_SPARE_BYTES).min(readable_bytes(assembly));
    (length > most).then(|| {
        format!("it has {length} bytes, mostly white space: this run would write {own}, and at most {most} are accepted")
    })
}

/// The maximum length of a document that is parsed to list its differences.
fn readable_bytes(assembly: &Assembly) -> usize {
    2 * assembly.manifest.bytes().len() + READABLE_SPARE_BYTES
}

/// Checks the form of the bytes: a repeated name, the media type.
fn form(
    existing: &Manifest,
    document: &Value,
    assembly: &Assembly,
) -> impl Iterator<Item = String> {
    // SECURITY: other readers find other values there.
    let repeated =
        has_lost_texts(existing.bytes(), document).then(|| match repeated_name(existing.bytes()) {
            Some(name) => format!("it has the name `{}` twice", shown(&name)),
            None => "it has a name twice".to_owned(),
        });
    let (held, named) = (existing.media_type(), assembly.named_type.as_ref());
    let named = named.filter(|named| *named != held);
    let other_type = named.map(|named| format!("its media type is `{held}`, expected `{named}`"));
    [repeated, other_type, spelling(existing, document, assembly)]
        .into_iter()
        .flatten()
}

/// Returns a message if the document does not state the media type as this program writes it.
///
/// SECURITY: registries and readers that compare the text interpret another spelling as another type. A document that
/// states no type gets it from the registry, so only the type that this run would write counts.
fn spelling(existing: &Manifest, document: &Value, assembly: &Assembly) -> Option<String> {
    let (held, wanted) = (existing.media_type(), assembly.manifest.media_type());
    match document.get("mediaType") {
        Some(Value::String(text)) if text == held.as_str() => None,
        None | Some(Value::Null) if held == wanted => None,
        None | Some(Value::Null) => Some(format!(
            "it states no `mediaType`, and the registry serves it as `{held}`, expected `{wanted}`"
        )),
        Some(stated) => {
            let stated = shown(stated.as_str().unwrap_or_default());
            Some(format!(
                "its `mediaType` is spelled `{stated}`, expected `{held}`"
            ))
        }
    }
}

/// The media type of the config of every manifest that was read, by the manifest's digest.
fn config_types(resolved: &[Resolved]) -> BTreeMap<String, &str> {
    let images = resolved.iter().flat_map(|input| &input.leaves);
    let images = images.map(|leaf| (&leaf.descriptor, &leaf.config_type));
    let attestations = resolved.iter().flat_map(|input| &input.attestations);
    let attestations = attestations.map(|one| (&one.descriptor, &one.config_type));
    images
        .chain(attestations)
        .map(|(descriptor, media_type)| (descriptor.digest.to_string(), media_type.as_str()))
        .collect()
}

/// Normalises an entry of an index for comparison. Known fields that are empty are removed, and the platform is spelled
/// as this program writes it.
fn normal(entry: &Value, types: &BTreeMap<String, &str>, resolved: &[Resolved]) -> Value {
    let mut entry = entry.clone();
    let Some(fields) = entry.as_object_mut() else {
        return entry;
    };
    let optional = ["annotations", "urls", "artifactType"];
    fields.retain(|name, value| !(optional.contains(&name.as_str()) && is_empty(value)));
    let digest = fields
        .get("digest")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let config = types.get(&digest).copied();
    if fields.get("artifactType").and_then(Value::as_str) == config {
        fields.remove("artifactType");
    }
    let digest = digest.parse::<Digest>().ok();
    let platform = fields.get("platform").cloned();
    let platform = platform.and_then(|held| normal_platform(held, digest.as_ref(), resolved));
    match platform {
        Some(platform) => fields.insert("platform".to_owned(), platform),
        None => fields.remove("platform"),
    };
    entry
}

/// Normalises a platform to the one under which this run lists the image, and to the spelling of this program, if it has no
/// unknown field; else returns it unchanged.
fn normal_platform(held: Value, digest: Option<&Digest>, resolved: &[Resolved]) -> Option<Value> {
    let known = ["architecture", "os", "os.version", "os.features", "variant"];
    let mut fields = held.as_object().into_iter().flatten();
    // Docker writes this field in its lists.
    let is_nothing = |name: &str, value: &Value| name == "features" && value.is_null();
    if fields.any(|(name, value)| !known.contains(&name.as_str()) && !is_nothing(name, value)) {
        return Some(held);
    }
    let Ok(read) = serde_json::from_value::<Platform>(held.clone()) else {
        return Some(held);
    };
    let platform = match digest {
        Some(digest) => platform_as_wanted(digest, Some(read), resolved)?,
        None => read,
    };
    Some(serde_json::to_value(platform).unwrap_or(held))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Describes a child briefly: its platform, its digest, and its other fields.
fn entry_text(entry: &Value) -> String {
    let digest = entry["digest"].as_str().unwrap_or("no digest");
    let mut text = format!("the entry `{}`", shown(digest));
    let platform = &entry["platform"];
    if let (Some(os), Some(architecture)) =
        (platform["os"].as_str(), platform["architecture"].as_str())
    {
        let platform = shown(&format!("{os}/{architecture}"));
        // Writing to a string cannot fail.
        let _ = write!(text, " for {platform}");
    }
    for name in ["annotations", "artifactType"] {
        if let Some(value) = entry.get(name) {
            let _ = write!(text, ", {name} {}", shown(&value.to_string()));
        }
    }
    text
}

/// Shortens text from others and removes control characters.
pub(super) fn shown(text: &str) -> String {
    let visible = text.chars().filter(|letter| !letter.is_control());
    let mut shown: String = visible.take(TEXT_SHOWN_LETTERS).collect();
    if text.chars().nth(TEXT_SHOWN_LETTERS).is_some() {
        shown.push('…');
    }
    shown
}
