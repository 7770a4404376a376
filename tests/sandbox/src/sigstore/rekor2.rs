//! Rekor v2's API for writers: an entry is returned with its proof once, has no time, and cannot be read again.

use super::entry::canonical_body_v2;
use super::keys::Key;
use super::merkle::{self, Hash};
use super::note::checkpoint;
use crate::server::{Call, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};

/// The host of its address, by which verifiers match its checkpoints.
const HOST: &str = "127.0.0.1";
const INVALID_ARGUMENT: u8 = 3;
const ALREADY_EXISTS: u8 = 6;

/// The log.
pub(crate) struct Log2 {
    pub(crate) key: Key,
    leaves: Mutex<Vec<Hash>>,
}

impl Log2 {
    pub(crate) fn new() -> Self {
        Self {
            key: Key::generate(),
            leaves: Mutex::default(),
        }
    }

    pub(crate) fn length(&self) -> usize {
        let leaves = self.leaves.lock();
        leaves.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// `POST /api/v2/log/entries`.
    pub(crate) fn add(&self, call: &Call) -> Reply {
        let body = match canonical_body_v2(&call.body) {
            Ok(body) => body,
            Err(message) => return error(400, INVALID_ARGUMENT, &message),
        };
        let leaf = merkle::leaf(&body);
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = leaves.iter().position(|known| *known == leaf) {
            let message = format!(
                "an equivalent entry already exists in the transparency log with index {index}"
            );
            return error(409, ALREADY_EXISTS, &message);
        }
        leaves.push(leaf);
        Reply::json(201, &self.entry(&leaves, &body))
    }

    /// Returns the last entry in protobuf's JSON: numbers of 64 bits are text.
    fn entry(&self, leaves: &[Hash], body: &[u8]) -> Value {
        let index = leaves.len() - 1;
        let hashes = merkle::path(leaves, index);
        let hashes: Vec<String> = hashes.iter().map(|hash| STANDARD.encode(hash)).collect();
        json!({
            "logIndex": index.to_string(),
            "logId": {"keyId": STANDARD.encode(self.key.id())},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "integratedTime": "0",
            "inclusionPromise": null,
            "inclusionProof": {
                "logIndex": index.to_string(),
                "rootHash": STANDARD.encode(merkle::root(leaves)),
                "treeSize": leaves.len().to_string(),
                "hashes": hashes,
                "checkpoint": {"envelope": checkpoint(&self.key, HOST, HOST, leaves)},
            },
            "canonicalizedBody": STANDARD.encode(body),
        })
    }
}

fn error(status: u16, code: u8, message: &str) -> Reply {
    let body = json!({"code": code, "message": message, "details": []});
    Reply::json(status, &body)
}
