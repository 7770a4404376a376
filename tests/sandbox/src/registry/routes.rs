//! The meaning of requests: names, paths, error envelopes, lists.

use super::auth::Tokens;
use super::options::{Auth, Options, Referrers};
use super::services::Listing;
use super::sighting::{self, Tagging};
use super::store::Store;
use super::{aws, blobs, deletion, manifests, push};
use crate::faults::glob;
use crate::server::{Call, Reply};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The registry's handler in the server.
pub(crate) struct Routes {
    store: Mutex<Store>,
    taggings: Mutex<Vec<Tagging>>,
    pub(crate) tokens: Tokens,
    pub(crate) options: Options,
    /// The address of a second port of the same server, if it has one.
    pub(crate) second_port: OnceLock<SocketAddr>,
}

/// An error in the registry's own form.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
}

/// A shorthand for `Err(Refusal { .. })`.
pub(crate) fn refuse<T>(
    status: u16,
    code: &'static str,
    message: impl Into<String>,
) -> Result<T, Refusal> {
    Err(Refusal {
        status,
        code,
        message: message.into(),
        detail: None,
    })
}

/// The answer for a repository without any push.
pub(crate) fn unknown_name<T>(name: &str) -> Result<T, Refusal> {
    refuse(
        404,
        "NAME_UNKNOWN",
        format!("repository name not known to registry: {name}"),
    )
}

impl Refusal {
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn reply(&self) -> Reply {
        let error = json!({"code": self.code, "message": self.message, "detail": self.detail});
        Reply::json(self.status, &json!({ "errors": [error] }))
    }
}

/// A parsed request path.
pub(crate) enum Route<'a> {
    Ping,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Referrers(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
}

impl<'a> Route<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/v2")?;
        if rest.is_empty() || rest == "/" {
            return Some(Self::Ping);
        }
        let rest = rest.strip_prefix('/')?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Some(Self::Tags(name));
        }
        if let Some((name, id)) = rest.split_once("/blobs/uploads") {
            let id = id.trim_start_matches('/');
            return Some(if id.is_empty() {
                Self::Uploads(name)
            } else {
                Self::Upload(name, id)
            });
        }
        // From the right: a repository may be called `manifests`, and a reference contains no slash.
        let (head, last) = rest.rsplit_once('/')?;
        let (name, kind) = head.rsplit_once('/')?;
        match kind {
            "manifests" => Some(Self::Manifest(name, last)),
            "referrers" => Some(Self::Referrers(name, last)),
            "blobs" => Some(Self::Blob(name, last)),
            _ => None,
        }
    }

    /// Returns the repository, if there is one.
    pub(crate) fn repository(&self) -> Option<&'a str> {
        match self {
            Self::Ping => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Referrers(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _) => Some(name),
        }
    }
}

impl Routes {
    pub(crate) fn new(address: SocketAddr, options: Options) -> Self {
        let mut store = Store::default();
        store.lag = options.lag;
        Self {
            store: Mutex::new(store),
            taggings: Mutex::default(),
            tokens: Tokens::new(address, &options),
            options,
            second_port: OnceLock::new(),
        }
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn taggings(&self) -> MutexGuard<'_, Vec<Tagging>> {
        self.taggings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answer(&self, call: &Call) -> Reply {
        if let Some(reply) = self.elsewhere(call) {
            return reply;
        }
        let Some(route) = Route::parse(&call.path) else {
            return not_found();
        };
        if let Err(reply) = self.tokens.check(call, &route) {
            return reply;
        }
        self.route(call, &route)
            .unwrap_or_else(|refusal| refusal.reply())
            .header("docker-distribution-api-version", "registry/2.0")
    }

    /// Answers requests that are not for the registry: its token server, its storage, AWS.
    fn elsewhere(&self, call: &Call) -> Option<Reply> {
        if let (Some(keys), Auth::Basic { password, .. } | Auth::Bearer { password, .. }) =
            (&self.options.aws, &self.options.auth)
            && let Some(reply) = aws::answer(keys, password, call, &self.options, &mut self.store())
        {
            return Some(reply);
        }
        let check = |route: &Route<'_>| self.tokens.check(call, route);
        if let Some(reply) = deletion::answer(&self.options, &mut self.store(), call, check) {
            return Some(reply);
        }
        if let Some(reply) = self.tokens.answer(call) {
            return Some(reply);
        }
        if let Some(reply) = self.stored_manifest(call) {
            return Some(reply);
        }
        let habits = &self.options.habits;
        let [_, _, storage] = habits.hosts[..] else {
            return None;
        };
        habits.redirects_blobs.filter(|_| call.host == storage)?;
        Some(blobs::stored(&self.store(), call))
    }

    fn route(&self, call: &Call, route: &Route<'_>) -> Result<Reply, Refusal> {
        if let Some(name) = route.repository() {
            check_name(name)?;
        }
        let mut store = self.store();
        let is_read = matches!(call.method.as_str(), "GET" | "HEAD");
        if self.options.hides_new
            && is_read
            && route.repository().is_some_and(|name| !store.knows(name))
        {
            return refuse(403, "DENIED", "denied");
        }
        let mut denied = self.options.denied.iter();
        if let Some((_, message)) = denied.find(|(pattern, _)| is_read && glob(pattern, &call.path))
        {
            return refuse(403, "DENIED", message);
        }
        match (call.method.as_str(), route) {
            ("GET" | "HEAD", Route::Ping) => Ok(Reply::json(200, &json!({}))),
            ("GET", Route::Tags(name)) => self.list_tags(call, &store, name),
            ("GET" | "HEAD", Route::Manifest(name, reference)) => {
                let found = manifests::get(&mut store, &self.options, call, name, reference)?;
                Ok(self.redirect_manifest(name, found))
            }
            ("PUT", Route::Manifest(name, reference)) => {
                let pushed = push::put(&mut store, &self.options, call, name, reference)?;
                let log = |tag| sighting::of_push(&store, self.options.referrers, name, tag);
                self.taggings()
                    .extend(pushed.tags.into_iter().filter_map(log));
                Ok(pushed.reply)
            }
            ("DELETE", Route::Manifest(name, reference)) => {
                manifests::delete(&mut store, &self.options, name, reference)
            }
            ("GET", Route::Referrers(name, digest)) => {
                self.list_referrers(call, &store, name, digest)
            }
            ("GET", Route::Blob(name, digest))
                if let (Some(status), [_, _, storage]) = (
                    self.options.habits.redirects_blobs,
                    &self.options.habits.hosts[..],
                ) && store.blob(name, digest).is_some() =>
            {
                let scheme = self.options.transport.scheme();
                let place = format!("{scheme}://{storage}/{name}/{digest}?X-Amz-Signature=secret");
                Ok(Reply::new(status)
                    .header("location", place)
                    .header("docker-content-digest", *digest))
            }
            (_, Route::Blob(name, digest)) => blobs::blob(&mut store, call, name, digest),
            (_, Route::Uploads(_) | Route::Upload(..))
                if call.body.len() > self.options.upload_max =>
            {
                refuse(413, "SIZE_INVALID", "request entity too large")
            }
            ("POST", Route::Uploads(name)) => {
                let takes_whole = self.options.takes_whole;
                let begun = blobs::begin(&mut store, call, name, takes_whole)?;
                let least = self.options.part_min;
                Ok(begun.header("oci-chunk-min-length", least.to_string()))
            }
            (_, Route::Upload(name, id)) => {
                blobs::upload(&mut store, call, name, id, self.options.part_min)
            }
            _ => refuse(405, "UNSUPPORTED", "the operation is unsupported"),
        }
    }

    fn list_referrers(
        &self,
        call: &Call,
        store: &Store,
        name: &str,
        digest: &str,
    ) -> Result<Reply, Refusal> {
        match (self.options.referrers, self.options.habits.listing) {
            (_, Listing::Elsewhere(status, place)) => {
                Ok(Reply::new(status).header("location", place))
            }
            (Referrers::Api, Listing::OfWhatIsThere) if store.manifest(name, digest).is_none() => {
                refuse(400, "MANIFEST_INVALID", "manifest invalid")
            }
            (Referrers::Api, _) if !self.options.lists_in_new && !store.knows(name) => {
                unknown_name(name)
            }
            (Referrers::Api, _) => {
                manifests::referrers(store, call, name, digest, self.options.page_size)
            }
            (Referrers::TagSchema, _) => Ok(not_found()),
        }
    }

    fn list_tags(&self, call: &Call, store: &Store, name: &str) -> Result<Reply, Refusal> {
        if !store.knows(name) {
            return unknown_name(name);
        }
        let last = call.query("last").unwrap_or("");
        let asked = call.query("n").and_then(|n| n.parse().ok());
        let most = asked.unwrap_or(usize::MAX).min(self.options.page_size);
        let mut tags: Vec<String> = store.tags(name).into_keys().collect();
        tags.retain(|tag| tag.as_str() > last);
        let more = tags.len() > most && most > 0;
        tags.truncate(most);
        let link = tags
            .last()
            .filter(|_| more)
            .map(|last| format!("</v2/{name}/tags/list?n={most}&last={last}>; rel=\"next\""));
        let reply = Reply::json(200, &json!({"name": name, "tags": tags}));
        Ok(match link {
            Some(link) => reply.header("link", link),
            None => reply,
        })
    }
}

/// The answer of a registry without such a path, which is not an error envelope.
fn not_found() -> Reply {
    Reply::new(404).body("text/plain; charset=utf-8", "404 page not found\n")
}

/// Checks a repository name. SPEC: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*`, here without the rule on doubled separators.
fn check_name(name: &str) -> Result<(), Refusal> {
    let part = |part: &str| {
        let ends = part.as_bytes();
        let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        alphanumeric(ends.first())
            && alphanumeric(ends.last())
            && part
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    };
    if name.len() <= 255 && name.split('/').all(part) {
        return Ok(());
    }
    refuse(
        400,
        "NAME_INVALID",
        format!("invalid repository name: {name}"),
    )
}
