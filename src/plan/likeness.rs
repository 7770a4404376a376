//! How an index that a tag holds compares to the one that this run makes: its images, and everything else in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::assemble::{Assembly, Child, Leaf, PlatformMap, Resolved};
use crate::domain::{Descriptor, Digest, Manifest, ManifestKind, Platform};

/// Others wrote what differs, to any length.
const DIFFERENCES_SHOWN: usize = 8;
const TEXT_SHOWN_LETTERS: usize = 240;

/// How what a tag holds compares to the index that is wanted.
pub(super) enum Likeness {
    /// The same map of platforms, in whichever bytes.
    Same,
    /// Another map, as its platforms and digests show.
    OtherMap,
    /// Something in it that the platforms and digests do not show.
    Odd(String),
}

/// Compares the images of `holds` with `platforms`, which those of `wanted` are.
pub(super) fn compare(
    holds: &Manifest,
    platforms: &PlatformMap,
    wanted: &Manifest,
    resolved: &[Resolved],
) -> Likeness {
    match platforms_held(holds, resolved) {
        Ok(held) if held != *platforms => Likeness::OtherMap,
        Ok(_) => wrong_size(holds, wanted).map_or(Likeness::Same, Likeness::Odd),
        Err(why) => Likeness::Odd(why),
    }
}

/// What an index says wrongly of the size of a child. Clients check the size first: nobody could pull it.
fn wrong_size(holds: &Manifest, wanted: &Manifest) -> Option<String> {
    let known = wanted.children();
    let sizes: BTreeMap<&Digest, u64> = known
        .iter()
        .map(|child| (&child.digest, child.size))
        .collect();
    holds.children().iter().find_map(|child| {
        let size = *sizes.get(&child.digest)?;
        let (digest, said) = (&child.digest, child.size);
        (size != said).then(|| {
            format!("it says that its child `{digest}` has {said} bytes, and it has {size}, so that it cannot be pulled")
        })
    })
}

/// What an index says runs where, or what is in it that no such map shows.
pub(super) fn platforms_held(
    holds: &Manifest,
    resolved: &[Resolved],
) -> Result<PlatformMap, String> {
    let ManifestKind::Index { manifests, .. } = holds.kind() else {
        return Err("it is a single image, not an index".to_owned());
    };
    let mut platforms = PlatformMap::new();
    let mut attestations = Vec::new();
    for child in manifests {
        if !child.urls.is_empty() || child.data.is_some() {
            return Err(format!("its child `{}` has `urls` or `data`", child.digest));
        }
        if let Some(of) = child.attests() {
            attestations.push((child, of));
            continue;
        }
        // SECURITY: a nested index is no exception: what it brings must not cover another image for the same platform.
        for (platform, image) in images_under(child, resolved)? {
            if platforms.insert(platform.clone(), image).is_some() {
                return Err(format!("it has two children for `{platform}`"));
            }
        }
    }
    // SECURITY: what calls itself an attestation is set aside only if it attests an image of this very index, so that
    // no extra image can hide behind the annotations.
    let images: BTreeSet<&Digest> = platforms.values().map(|child| &child.digest).collect();
    let stray = |(child, of): &&(&Descriptor, Digest)| {
        !images.contains(of) || images.contains(&child.digest)
    };
    if let Some((child, _)) = attestations.iter().find(stray) {
        return Err(format!(
            "its child `{}` calls itself an attestation of something that is not there",
            child.digest
        ));
    }
    Ok(platforms)
}

/// The images that a child of an index stands for. Some tools nest an index that was given to them instead of flattening
/// it; if it is one of ours, what is in it is known.
fn images_under(
    child: &Descriptor,
    resolved: &[Resolved],
) -> Result<Vec<(Platform, Child)>, String> {
    let nested = resolved
        .iter()
        .find(|input| *input.input == child.digest && child.media_type.is_index());
    if let Some(input) = nested {
        let image = |leaf: &Leaf| (leaf.platform.clone(), Child::of(&leaf.descriptor));
        return Ok(input.leaves.iter().map(image).collect());
    }
    let Some(platform) = child.platform.clone() else {
        return Err(format!("its child `{}` names no platform", child.digest));
    };
    if !platform.is_usable() {
        return Err(format!(
            "its child `{}` names a platform that cannot be",
            child.digest
        ));
    }
    Ok(vec![(platform, Child::of(child))])
}

/// What `holds` says beside, or instead of, what this run would write: entries, as a multiset of digest, media type,
/// platform and annotations, and the index's own fields. White space, the order of fields and entries, and an
/// `artifactType` that repeats the type of the child's config (crane writes it) do not count.
pub(super) fn differences(
    holds: &Manifest,
    assembly: &Assembly,
    resolved: &[Resolved],
) -> Vec<String> {
    let Ok(document) = serde_json::from_slice::<Value>(holds.bytes()) else {
        return vec!["it cannot be read again".to_owned()];
    };
    let mut found = Vec::new();
    let own =
        |name: &str| ["schemaVersion", "mediaType", "manifests", "annotations"].contains(&name);
    let fields = document.as_object().into_iter().flatten();
    // SECURITY: of a field that is unknown here another reader may make something, empty or not.
    let extra = fields.filter(|(name, value)| !own(name) && !value.is_null());
    found.extend(extra.map(|(name, _)| format!("it has the field `{}`", shown(name))));
    if document["schemaVersion"] != 2 {
        found.push("its `schemaVersion` is not 2".to_owned());
    }
    let types = config_types(resolved);
    let entries = |document: &Value| -> Vec<Value> {
        let entries = document["manifests"].as_array().into_iter().flatten();
        entries.map(|entry| normal(entry, &types)).collect()
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
            value.map_or("not there".to_owned(), |value| shown(&value))
        };
        let (held, wanted) = (value(&held), value(&wanted));
        format!("its annotation `{}` is {held}, to be {wanted}", shown(name))
    }));
    let more = found.len().saturating_sub(DIFFERENCES_SHOWN);
    found.truncate(DIFFERENCES_SHOWN);
    found.extend((more > 0).then(|| format!("and {more} more differences")));
    found
}

/// The media type of the config of everything that was read.
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

/// An entry of an index, as it is compared: without what is known here and empty, and its platform as this program writes it.
fn normal(entry: &Value, types: &BTreeMap<String, &str>) -> Value {
    let mut entry = entry.clone();
    let Some(fields) = entry.as_object_mut() else {
        return entry;
    };
    let optional = ["annotations", "urls", "artifactType"];
    fields.retain(|name, value| {
        let says_nothing = optional.contains(&name.as_str()) && is_empty(value);
        !(value.is_null() || says_nothing)
    });
    let digest = fields
        .get("digest")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let config = types.get(digest).copied();
    if fields.get("artifactType").and_then(Value::as_str) == config {
        fields.remove("artifactType");
    }
    if let Some(platform) = fields.get_mut("platform") {
        *platform = normal_platform(platform);
    }
    entry
}

/// A platform with no field but those that a platform has, in the spelling of this program; else as it is.
fn normal_platform(platform: &Value) -> Value {
    let known = ["architecture", "os", "os.version", "os.features", "variant"];
    let mut fields = platform.as_object().into_iter().flatten();
    if fields.any(|(name, value)| !known.contains(&name.as_str()) && !value.is_null()) {
        return platform.clone();
    }
    serde_json::from_value::<Platform>(platform.clone())
        .ok()
        .and_then(|read| serde_json::to_value(read).ok())
        .unwrap_or_else(|| platform.clone())
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

/// A child in few words: what it is for, its digest, and what else it says.
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

/// Others' text, short and visible.
fn shown(text: &str) -> String {
    let visible = text.chars().filter(|letter| !letter.is_control());
    let mut shown: String = visible.take(TEXT_SHOWN_LETTERS).collect();
    if text.chars().nth(TEXT_SHOWN_LETTERS).is_some() {
        shown.push('…');
    }
    shown
}

/// What an index has for which platform, attestations left out, as text to be shown.
#[must_use]
pub fn images_of(holds: &Manifest) -> Vec<(String, Digest)> {
    let ManifestKind::Index { manifests, .. } = holds.kind() else {
        return Vec::new();
    };
    // What somebody else wrote there may be anything.
    let name = |child: &Descriptor| match &child.platform {
        None => "no platform".to_owned(),
        Some(platform) if platform.is_usable() => platform.to_string(),
        Some(platform) if platform.is_unknown() => "unknown/unknown".to_owned(),
        Some(_) => "an odd platform".to_owned(),
    };
    let images = manifests.iter().filter(|child| child.attests().is_none());
    let found: BTreeSet<_> = images
        .map(|child| (name(child), child.digest.clone()))
        .collect();
    found.into_iter().collect()
}
