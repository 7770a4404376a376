//! AWS's part for its registries: logins and deletions, for clients with a valid signature.

use super::options::Options;
use super::store::Store;
use crate::encoding::sha256_text;
use crate::server::{Call, Reply};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const PRIVATE: &str = "AmazonEC2ContainerRegistry_V20150921";
const PUBLIC: &str = "SpencerFrontendService";

/// The keys that are accepted.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) session_token: Option<String>,
    /// True if they may get a login.
    pub(crate) may_log_in: bool,
}

/// Answers `GetAuthorizationToken`, `BatchDeleteImage` and `DescribeImages` of both services, nothing else. AWS's JSON
/// services refuse with 400.
pub(crate) fn answer(
    keys: &Keys,
    password: &str,
    call: &Call,
    options: &Options,
    store: &mut Store,
) -> Option<Reply> {
    let (target, action) = call.header("x-amz-target")?.split_once('.')?;
    let service = match (target, action) {
        (PRIVATE, "GetAuthorizationToken" | "BatchDeleteImage" | "DescribeImages") => "ecr",
        (PUBLIC, "GetAuthorizationToken" | "BatchDeleteImage" | "DescribeImages") => "ecr-public",
        _ => return Some(refused("UnknownOperationException", "")),
    };
    if let Err(reason) = check(keys, service, call) {
        return Some(refused("InvalidSignatureException", &reason));
    }
    if action == "BatchDeleteImage" {
        if !options.may_delete {
            let message = format!(
                "User: arn:aws:sts::123456789012:assumed-role/release/GitHubActions is not authorized to perform: {service}:BatchDeleteImage"
            );
            return Some(refused("AccessDeniedException", &message));
        }
        return Some(delete(service, call, store));
    }
    if action == "DescribeImages" {
        return Some(describe(service, call, store));
    }
    if !keys.may_log_in {
        let message = format!(
            "User: arn:aws:sts::123456789012:assumed-role/release/GitHubActions is not authorized to perform: {service}:GetAuthorizationToken on resource: * because no identity-based policy allows the {service}:GetAuthorizationToken action"
        );
        return Some(refused("AccessDeniedException", &message));
    }
    let data = json!({
        "authorizationToken": STANDARD.encode(format!("AWS:{password}")),
        "expiresAt": 1_900_000_000.0,
    });
    let mut answer = json!({ "authorizationData": data });
    if service == "ecr" {
        let mut data = data;
        data["proxyEndpoint"] = json!("https://123456789012.dkr.ecr.eu-west-1.amazonaws.com");
        answer = json!({ "authorizationData": [data] });
    }
    let bytes = answer.to_string();
    Some(Reply::new(200).body("application/x-amz-json-1.1", bytes))
}

/// Deletes tags. Sources: `API_BatchDeleteImage` of both services (request; each failure is listed under 200; the last
/// tag deletes its image); `API_ImageFailure` (codes).
fn delete(service: &str, call: &Call, store: &mut Store) -> Reply {
    let (asked, name) = match asked(service, call, store) {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for image in asked["imageIds"].as_array().into_iter().flatten() {
        let tag = image["imageTag"].as_str().unwrap_or_default();
        let failure = |code: &str, reason: &str| json!({"imageId": image, "failureCode": code, "failureReason": reason});
        let Some(digest) = store.tags(&name).remove(tag) else {
            failures.push(failure("ImageNotFound", "Requested image not found"));
            continue;
        };
        let is_last = store
            .tags(&name)
            .values()
            .filter(|held| **held == digest)
            .count()
            == 1;
        if is_last && is_child(store, &name, &digest) {
            let reason = "Requested image referenced by manifest list";
            failures.push(failure("ImageReferencedByManifestList", reason));
            continue;
        }
        store.delete_tag(&name, tag);
        if is_last {
            store.forget_manifest(&name, &digest);
        }
        deleted.push(json!({"imageDigest": digest, "imageTag": tag}));
    }
    let body = json!({"imageIds": deleted, "failures": failures});
    Reply::new(200).body("application/x-amz-json-1.1", body.to_string())
}

/// Describes images by digest. Source: `API_DescribeImages` and `API_ImageDetail` of both services.
fn describe(service: &str, call: &Call, store: &Store) -> Reply {
    let (asked, name) = match asked(service, call, store) {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    let mut details = Vec::new();
    for image in asked["imageIds"].as_array().into_iter().flatten() {
        let digest = image["imageDigest"].as_str().unwrap_or_default();
        if store.manifest(&name, digest).is_none() {
            let message = format!("The image with imageId {image} does not exist");
            return refused("ImageNotFoundException", &message);
        }
        let tags = store.tags(&name).into_iter();
        let tags: Vec<String> = tags
            .filter(|(_, held)| held == digest)
            .map(|(tag, _)| tag)
            .collect();
        details.push(json!({"repositoryName": name, "imageDigest": digest, "imageTags": tags}));
    }
    let body = json!({ "imageDetails": details });
    Reply::new(200).body("application/x-amz-json-1.1", body.to_string())
}

/// Returns the content of a request, and the name of its repository.
fn asked(service: &str, call: &Call, store: &Store) -> Result<(Value, String), Reply> {
    let asked: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    if service == "ecr" && asked["registryId"] != "123456789012" {
        return Err(refused("InvalidParameterException", "registryId"));
    }
    let name = asked["repositoryName"].as_str().unwrap_or_default();
    // The public service omits the account's alias from the name; here that is the first part of the path.
    let name = if service == "ecr" {
        name.to_owned()
    } else {
        format!("octo-org/{name}")
    };
    if store.knows(&name) {
        return Ok((asked, name));
    }
    let message = format!("The repository with name '{name}' does not exist");
    Err(refused("RepositoryNotFoundException", &message))
}

fn is_child(store: &Store, name: &str, digest: &str) -> bool {
    let mut manifests = store.manifests(name);
    manifests.any(|manifest| {
        let content: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
        let children = content["manifests"].as_array();
        let mut children = children.into_iter().flatten();
        children.any(|child| child["digest"] == digest)
    })
}

fn refused(code: &str, message: &str) -> Reply {
    let body: Value = json!({"__type": code, "message": message});
    Reply::new(400).body("application/x-amz-json-1.1", body.to_string())
}

/// Verifies the signature like AWS: every header that it names must have been sent, and `host` must be one of them.
fn check(keys: &Keys, service: &str, call: &Call) -> Result<(), String> {
    let authorization = call.header("authorization").ok_or("it is not signed")?;
    let fields = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .ok_or("it is signed in another way")?;
    let field = |name: &str| {
        let found = fields
            .split(", ")
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        found.ok_or(format!("{name} is missing"))
    };
    let (credential, names, signature) = (
        field("Credential")?,
        field("SignedHeaders")?,
        field("Signature")?,
    );
    let parts: Vec<&str> = credential.split('/').collect();
    let [id, date, region, for_service, "aws4_request"] = parts[..] else {
        return Err(format!("Credential is {credential}"));
    };
    let wanted_region = if service == "ecr" {
        "eu-west-1"
    } else {
        "us-east-1"
    };
    if (id, region, for_service) != (keys.id.as_str(), wanted_region, service) {
        return Err(format!(
            "Credential should be scoped to {wanted_region}/{service}"
        ));
    }
    if call.header("x-amz-security-token") != keys.session_token.as_deref() {
        return Err("the security token is not that of the key".to_owned());
    }
    let mut canonical = format!("{}\n{}\n\n", call.method, call.path);
    for name in names.split(';') {
        let value = call
            .header(name)
            .ok_or(format!("{name} is signed and missing"))?;
        canonical.extend([name, ":", value.trim(), "\n"]);
    }
    for name in ["host", "x-amz-date", "x-amz-target"] {
        if !names.split(';').any(|own| own == name) {
            return Err(format!("{name} is not signed"));
        }
    }
    let hash = |bytes: &[u8]| sha256_text(bytes).trim_start_matches("sha256:").to_owned();
    canonical.extend(["\n", names, "\n", &hash(&call.body)]);
    let time = call.header("x-amz-date").unwrap_or_default();
    if !time.starts_with(date) {
        return Err("the day of the credential is not that of the request".to_owned());
    }
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
        hash(canonical.as_bytes())
    );
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for step in [date, region, service, "aws4_request"] {
        key = sign(&key, step.as_bytes());
    }
    if hex::encode(sign(&key, text.as_bytes())) == signature {
        Ok(())
    } else {
        Err(
            "The request signature we calculated does not match the signature you provided."
                .to_owned(),
        )
    }
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
        .as_ref()
        .to_vec()
}
