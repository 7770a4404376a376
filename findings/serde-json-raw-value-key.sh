#!/bin/bash
# An object with one special name is read as something else once any crate of the program turns on serde_json's `raw_value`.
#
# serde_json 1.0.154: `{"$serde_json::private::RawValue": "[1,2]"}` is an ordinary JSON object. Read as `serde_json::Value`
# it is that object by default, and the list `[1,2]` with the feature `raw_value`, which Cargo turns on for the whole
# program when one dependency asks for it. Code that compares documents by their `Value` sees content that the bytes hold
# only as a text, and that other readers do not see.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > src/main.rs <<'END'
fn main() {
    let text = r#"{"$serde_json::private::RawValue": "[1,2]"}"#;
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    println!("{value}");
}
END
for features in '' '"raw_value"'; do
  cat > Cargo.toml <<END
[package]
name = "raw-value-key"
version = "0.0.0"
edition = "2024"

[dependencies]
serde_json = { version = "=1.0.154", features = [$features] }
END
  cargo run --quiet
done | tee seen
diff seen - <<'END'
{"$serde_json::private::RawValue":"[1,2]"}
[1,2]
END
echo "as described"
