//! Blobs and their uploads: in one go, in chunks, or mounted from another repository.

use super::digest::{Algorithm, is_digest, is_digest_of};
use super::ranges;
use super::routes::{Refusal, refuse};
use super::store::Store;
use crate::server::{Call, Reply};

/// `/v2/NAME/blobs/DIGEST`.
pub(crate) fn blob(
    store: &mut Store,
    call: &Call,
    name: &str,
    digest: &str,
) -> Result<Reply, Refusal> {
    if !is_digest(digest) {
        return refuse(
            400,
            "DIGEST_INVALID",
            format!("invalid checksum digest: {digest}"),
        );
    }
    match call.method.as_str() {
        "GET" | "HEAD" => match store.blob(name, digest) {
            Some(bytes) => Ok(ranges::content(call, "application/octet-stream", bytes)
                .header("docker-content-digest", digest)),
            None => refuse(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        },
        "DELETE" if store.forget_blob(name, digest) => Ok(Reply::new(202)),
        "DELETE" => refuse(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        _ => refuse(405, "UNSUPPORTED", "the operation is unsupported"),
    }
}

/// The storage behind the registry, the target of its signed addresses: `/NAME/DIGEST`.
pub(crate) fn stored(store: &Store, call: &Call) -> Reply {
    if call.header("authorization").is_some() {
        return two_auth_mechanisms();
    }
    let place = call.path.trim_start_matches('/').rsplit_once('/');
    match place.and_then(|(name, digest)| store.blob(name, digest)) {
        Some(bytes) => ranges::content(call, "application/octet-stream", bytes),
        None => Reply::new(404).body("application/xml", "<Code>NoSuchKey</Code>"),
    }
}

/// The answer of S3 to credentials beside a signed address. The storages of Azure and Google also refuse, in other words.
pub(crate) fn two_auth_mechanisms() -> Reply {
    Reply::new(400).body(
        "application/xml",
        "<Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message>",
    )
}

/// `POST /v2/NAME/blobs/uploads/`: a mount, a whole blob, or the start of an upload.
pub(crate) fn begin(
    store: &mut Store,
    call: &Call,
    name: &str,
    takes_whole: bool,
) -> Result<Reply, Refusal> {
    if let Some(name) = call.query("digest-algorithm")
        && Algorithm::named(name).is_none()
    {
        let message = format!("unsupported digest algorithm: {name}");
        return refuse(400, "DIGEST_INVALID", message);
    }
    if let (Some(digest), Some(from)) = (call.query("mount"), call.query("from"))
        && store.mount(name, digest, from)
    {
        return Ok(created(name, digest));
    }
    if let Some(digest) = call.query("digest").filter(|_| takes_whole) {
        return finish(store, name, digest, &call.body);
    }
    let id = store.begin_upload(name);
    Ok(progress(202, name, &id, 0))
}

/// `/v2/NAME/blobs/uploads/ID`.
pub(crate) fn upload(
    store: &mut Store,
    call: &Call,
    name: &str,
    id: &str,
    part_min: usize,
) -> Result<Reply, Refusal> {
    let Some(upload) = store.upload(name, id) else {
        return refuse(
            404,
            "BLOB_UPLOAD_UNKNOWN",
            "blob upload unknown to registry",
        );
    };
    let length = upload.bytes.len();
    let is_stale = |call: &Call| call.query("_state") != Some(&length.to_string());
    match call.method.as_str() {
        // Like distribution 3: the location of an earlier answer is of no use.
        "PATCH" | "PUT" if is_stale(call) => refuse(416, "RANGE_INVALID", "upload state is stale"),
        "GET" => Ok(progress(204, name, id, length)),
        "DELETE" => {
            store.end_upload(id);
            Ok(Reply::new(204))
        }
        "PATCH" => {
            check_range(call, length)?;
            if std::mem::replace(&mut upload.has_last, call.body.len() < part_min) {
                return refuse(416, "SIZE_INVALID", "a part before this one is too short");
            }
            upload.bytes.extend_from_slice(&call.body);
            let length = upload.bytes.len();
            Ok(progress(202, name, id, length))
        }
        "PUT" => {
            check_range(call, length)?;
            let Some(digest) = call.query("digest") else {
                return refuse(400, "DIGEST_INVALID", "digest missing");
            };
            let mut bytes = std::mem::take(&mut upload.bytes);
            bytes.extend_from_slice(&call.body);
            store.end_upload(id);
            finish(store, name, digest, &bytes)
        }
        _ => refuse(405, "UNSUPPORTED", "the operation is unsupported"),
    }
}

fn finish(store: &mut Store, name: &str, digest: &str, bytes: &[u8]) -> Result<Reply, Refusal> {
    let Some(algorithm) = Algorithm::of(digest).filter(|_| is_digest_of(digest, bytes)) else {
        return refuse(
            400,
            "DIGEST_INVALID",
            format!("provided digest did not match uploaded content: {digest}"),
        );
    };
    store.put_blob(name, algorithm, bytes);
    Ok(created(name, digest))
}

/// Checks the start of a chunk. SPEC: a chunk that does not begin at the end of the last one is 416.
fn check_range(call: &Call, length: usize) -> Result<(), Refusal> {
    let Some(range) = call.header("content-range") else {
        return Ok(());
    };
    let range = range.trim_start_matches("bytes ").trim_start_matches('=');
    let start = range.split('-').next().and_then(|start| start.parse().ok());
    if start == Some(length) {
        return Ok(());
    }
    refuse(
        416,
        "BLOB_UPLOAD_INVALID",
        format!("chunk out of order: expected to start at {length}"),
    )
}

fn progress(status: u16, name: &str, id: &str, length: usize) -> Reply {
    Reply::new(status)
        .header(
            "location",
            format!("/v2/{name}/blobs/uploads/{id}?_state={length}"),
        )
        .header("range", format!("0-{}", length.saturating_sub(1)))
        .header("docker-upload-uuid", id)
}

fn created(name: &str, digest: &str) -> Reply {
    Reply::new(201)
        .header("location", format!("/v2/{name}/blobs/{digest}"))
        .header("docker-content-digest", digest)
}
