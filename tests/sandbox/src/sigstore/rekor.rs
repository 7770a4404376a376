//! Rekor v1's API over a real Merkle tree: entries, proofs, signed checkpoints, promises.

use super::entry::canonical_body;
use super::keys::{Key, pem};
use super::merkle::{self, Hash};
use super::note::checkpoint;
use super::oidc::unix_seconds;
use crate::server::{Call, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};

const ENTRIES: &str = "/api/v1/log/entries";
const TREE_ID: u64 = 0x5ea1_0000_0000_0001;
const HOST: &str = "rekor.sandbox";

/// The log.
pub(crate) struct Log {
    pub(crate) key: Key,
    tree: Mutex<Tree>,
}

#[derive(Default)]
struct Tree {
    leaves: Vec<Hash>,
    entries: Vec<Entry>,
}

struct Entry {
    uuid: String,
    body: Vec<u8>,
    integrated_time: u64,
    promise: Vec<u8>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            key: Key::generate(),
            tree: Mutex::default(),
        }
    }

    pub(crate) fn length(&self) -> usize {
        self.lock().entries.len()
    }

    pub(crate) fn answer(&self, call: &Call) -> Option<Reply> {
        let rest = call.path.strip_prefix("/api/v1/log")?;
        Some(match (call.method.as_str(), rest) {
            ("GET", "" | "/") => self.info(),
            ("GET", "/publicKey") => {
                let text = pem("PUBLIC KEY", self.key.spki());
                Reply::new(200).body("application/x-pem-file", text)
            }
            ("POST", "/entries") => self.add(call),
            ("GET", "/entries") => {
                let index = call.query("logIndex").and_then(|index| index.parse().ok());
                self.show(index)
            }
            ("GET", _) => {
                let uuid = rest.strip_prefix("/entries/")?;
                // With or without the tree's id as a prefix.
                let tree = self.lock();
                let found = tree.entries.iter().position(|e| e.uuid.ends_with(uuid));
                drop(tree);
                self.show(found.filter(|_| uuid.len() >= 64))
            }
            _ => return None,
        })
    }

    fn add(&self, call: &Call) -> Reply {
        let body = match canonical_body(&call.body) {
            Ok(body) => body,
            Err(message) => return error(400, &format!("error processing entry: {message}")),
        };
        let leaf = merkle::leaf(&body);
        let mut tree = self.lock();
        if let Some(index) = tree.leaves.iter().position(|known| *known == leaf) {
            let uuid = &tree.entries[index].uuid;
            let message = format!(
                "an equivalent entry already exists in the transparency log with UUID {uuid}"
            );
            return error(409, &message).header("location", format!("{ENTRIES}/{uuid}"));
        }
        let index = tree.leaves.len();
        let integrated_time = unix_seconds();
        let promise = self.promise(&body, integrated_time, index);
        let uuid = format!("{TREE_ID:016x}{}", hex::encode(leaf));
        tree.leaves.push(leaf);
        tree.entries.push(Entry {
            uuid: uuid.clone(),
            body,
            integrated_time,
            promise,
        });
        Reply::json(201, &self.entry(&tree, index))
            .header("location", format!("{ENTRIES}/{uuid}"))
            .header("etag", uuid)
    }

    fn show(&self, index: Option<usize>) -> Reply {
        let tree = self.lock();
        match index.filter(|index| *index < tree.entries.len()) {
            Some(index) => Reply::json(200, &self.entry(&tree, index)),
            None => Reply::json(404, &json!({"code": 404, "message": "entry not found"})),
        }
    }

    /// Returns an entry. Its proof is always for the present tree, as in Rekor.
    fn entry(&self, tree: &Tree, index: usize) -> Value {
        let entry = &tree.entries[index];
        let hashes: Vec<String> = merkle::path(&tree.leaves, index)
            .iter()
            .map(hex::encode)
            .collect();
        json!({ entry.uuid.clone(): {
            "body": STANDARD.encode(&entry.body),
            "integratedTime": entry.integrated_time,
            "logID": hex::encode(self.key.id()),
            "logIndex": index,
            "verification": {
                "inclusionProof": {
                    "checkpoint": self.checkpoint(tree),
                    "hashes": hashes,
                    "logIndex": index,
                    "rootHash": hex::encode(merkle::root(&tree.leaves)),
                    "treeSize": tree.leaves.len(),
                },
                "signedEntryTimestamp": STANDARD.encode(&entry.promise),
            },
        }})
    }

    /// Makes the signed entry timestamp: over canonical JSON, whose keys are in this order.
    fn promise(&self, body: &[u8], integrated_time: u64, index: usize) -> Vec<u8> {
        let signed = json!({
            "body": STANDARD.encode(body),
            "integratedTime": integrated_time,
            "logID": hex::encode(self.key.id()),
            "logIndex": index,
        });
        self.key.sign(signed.to_string().as_bytes())
    }

    fn checkpoint(&self, tree: &Tree) -> String {
        let origin = format!("{HOST} - {TREE_ID}");
        checkpoint(&self.key, HOST, &origin, &tree.leaves)
    }

    fn info(&self) -> Reply {
        let tree = self.lock();
        let body = json!({
            "inactiveShards": [],
            "rootHash": hex::encode(merkle::root(&tree.leaves)),
            "signedTreeHead": self.checkpoint(&tree),
            "treeID": TREE_ID.to_string(),
            "treeSize": tree.leaves.len(),
        });
        Reply::json(200, &body)
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"code": status, "message": message}))
}
