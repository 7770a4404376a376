//! The result of a run as one reproducible text: values that differ from run to run are replaced by names.

use regex::Regex;

use super::{Outcome, World};

/// Returns exit code, log, outputs and summary together. Known digests and addresses are replaced by their names, others by
/// their kind.
pub(crate) fn told(world: &World, outcome: &Outcome) -> String {
    let mut outputs = String::new();
    for (name, value) in &outcome.outputs {
        outputs.extend([name, ": ", value, "\n"]);
    }
    let Outcome {
        code, log, summary, ..
    } = outcome;
    // Tokens arrive concurrently with other work, so the position of their masks varies.
    let (masks, others): (Vec<&str>, Vec<&str>) = log
        .lines()
        .partition(|line| line.starts_with("::add-mask::"));
    let log = [masks, others].concat().join("\n");
    let text = format!("exit code {code}\n\n{log}\n\n{outputs}\n{summary}");
    named(world, &text)
}

fn named(world: &World, text: &str) -> String {
    let mut text = text.to_owned();
    for (value, name) in world.names() {
        text = text.replace(&value, &name);
        // The summary contains the shortened digest.
        if let Some(hex) = value.strip_prefix("sha256:") {
            text = text.replace(&format!("sha256:{}`", &hex[..12]), &format!("{name}`"));
        }
    }
    for (pattern, name) in [
        ("sha256:[0-9a-f]{64}", "[DIGEST]"),
        ("sha256:[0-9a-f]{12}`", "[DIGEST]`"),
        ("sha256-[0-9a-f]{64}", "[FALLBACK TAG]"),
        (r"retry in [0-9.]+ s", "retry in [TIME]"),
        (r"::add-mask::.*", "::add-mask::[SECRET]"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
        (r"20\d\d-\d\d-\d\dT[0-9:.]+Z", "[TIME]"),
    ] {
        text = Regex::new(pattern)
            .unwrap()
            .replace_all(&text, name)
            .into_owned();
    }
    text
}
