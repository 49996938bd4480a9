//! What an operator writes in `conf/adit.yaml`.
//!
//! Every key of the file's contract is known and typed here. Defaults live here too, so an empty file is a good file.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::FileRead;
use super::access::{self, budget, user_limits};
use super::cursor::{Section, Value};
use super::env::Environment;
use super::snapshot::{
    AccessLog, Audit, AuditBodies, Budget, Cache, ClientTimeouts, Https, Network, OnFull, OnRedisFailure, Overload, Pingora, Process, Redis, RemoteFiles,
    RemoteHost, Responses, Timeouts, UserLimits,
};
use super::top::Keys;

/// Where the gateway listens unless told otherwise: this machine only.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// 25 MB, what Bedrock's InvokeModel takes at most.
const DEFAULT_MAX_BODY_BYTES: usize = 26_214_400;

/// What a whole file says: the process, and where the model map is.
pub(super) struct AditFile {
    pub(super) process: Process,
    /// As written, relative to the file; `None`: beside the file, under its usual name.
    pub(super) models: Option<PathBuf>,
    /// Other files that it names, as they were read.
    pub(super) files: Vec<FileRead>,
}

/// Reads the file; `None` stands for one without content.
/// Files that it names lie in `folder` unless they say otherwise.
pub(super) fn read(root: Option<Value<'_>>, env: &Environment<'_>, folder: &Path) -> AditFile {
    let section = root.and_then(|root| root.section());
    let keys = Keys { section: section.as_ref(), folder, read: RefCell::default() };
    let file = read_keys(&keys, env);
    let file = AditFile { files: keys.read.into_inner(), ..file };
    if let Some(section) = section {
        section.finish();
    }
    file
}

fn read_keys(keys: &Keys<'_, '_>, env: &Environment<'_>) -> AditFile {
    let (http, https) = listen(keys, env);
    let auth = access::auth(keys, env);
    access::check(keys, env, &auth);
    let limits = keys.section("limits", limits).unwrap_or_default();
    let (timeouts, client_timeouts) = keys
        .section("timeouts", |section| (timeouts(section, &default_timeouts()), client_timeouts(section)))
        .unwrap_or_else(|| (default_timeouts(), default_client_timeouts()));
    let audit = keys.section("audit", |section| audit(section, keys)).flatten();
    let responses = keys.section("responses", responses).unwrap_or_else(default_responses);
    let redis = redis(keys, env);
    let remote_files = remote_files(keys);
    let cache = keys.section("cache", cache).flatten();
    let optillm = super::optillm::read(keys, env, &timeouts);
    let trusted_proxies = keys.get("trusted_proxies").map(|list| networks(&list)).unwrap_or_default();
    let overload = keys.section("overload", overload).unwrap_or_else(default_overload);
    let access_log = keys.section("access_log", |section| {
        section.get("format").and_then(|value| value.choice(&[("text", AccessLog::Text), ("json", AccessLog::Json), ("off", AccessLog::Off)]))
    });
    let keepalive = keys.section("stream", |section| section.optional_duration("keepalive", Some(KEEPALIVE))).unwrap_or(Some(KEEPALIVE));
    let pingora = keys.section("pingora", pingora).unwrap_or_else(default_pingora);
    let models = keys.get("models").and_then(|value| value.text()).map(PathBuf::from);
    let process = Process {
        http,
        https,
        auth,
        state_dir: keys.get("state_dir").and_then(|value| value.text()).map(|path| keys.file(path)),
        max_body_bytes: limits.max_body_bytes,
        default_limits: limits.default,
        default_budget: limits.budget,
        default_max_tokens: limits.max_tokens,
        per_address: limits.per_address,
        timeouts,
        client_timeouts,
        audit,
        responses,
        redis,
        cache,
        remote_files,
        optillm,
        trusted_proxies,
        overload,
        access_log: access_log.flatten().unwrap_or(AccessLog::Text),
        keepalive,
        pingora,
    };
    AditFile { process, models, files: Vec::new() }
}

/// The longest that middle boxes are known to let a silent connection live is well above this.
const KEEPALIVE: Duration = Duration::from_secs(15);

fn listen(keys: &Keys<'_, '_>, env: &Environment<'_>) -> (Option<String>, Option<Https>) {
    let mut tls = None;
    let from_file = keys.section("listen", |section| {
        tls = section.section("https", |section| super::tls::https(section, keys, ADDRESS, address)).flatten();
        let http = match section.get("http") {
            Some(value) => value.parse(ADDRESS, address),
            None if section.is_null("http") && section.get("https").is_some() => None,
            None if section.is_null("http") => return Err(section.value().clone()),
            None => Some(DEFAULT_LISTEN.to_owned()),
        };
        Ok(http)
    });
    if let Some(text) = env.get("ADIT_LISTEN") {
        return (env.checked("ADIT_LISTEN", &text, ADDRESS, address(&text)), tls);
    }
    let http = match from_file {
        None => Some(DEFAULT_LISTEN.to_owned()),
        Some(Ok(http)) => http,
        Some(Err(section)) => {
            section.mistake("expected `http` or `https`, found neither");
            None
        }
    };
    (http, tls)
}

const ADDRESS: &str = "an address such as 127.0.0.1:8080 or [::]:8080";

/// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`
fn address(text: &str) -> Option<String> {
    if text.parse::<SocketAddr>().is_ok() {
        return Some(text.to_owned());
    }
    let (host, port) = text.rsplit_once(':')?;
    let name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    // `1.2.3:80` and `999.1.1.1:80` look like names and are mistyped addresses.
    let digits = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (name && !digits && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()).then(|| text.to_owned())
}

/// `limits`.
struct Limits {
    max_body_bytes: usize,
    default: Option<UserLimits>,
    budget: Budget,
    max_tokens: u64,
    per_address: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_body_bytes: DEFAULT_MAX_BODY_BYTES, default: None, budget: Budget::default(), max_tokens: DEFAULT_MAX_TOKENS, per_address: None }
    }
}

/// What most models write at most when nobody says how much.
const DEFAULT_MAX_TOKENS: u64 = 4096;

fn limits(section: &Section<'_>) -> Limits {
    let default = section.section("default", |default| (user_limits(default), default.section("budget", budget)));
    Limits {
        max_body_bytes: section.get("max_body_bytes").and_then(|value| value.bytes()).unwrap_or(DEFAULT_MAX_BODY_BYTES),
        default: default.map(|(limits, _)| limits),
        budget: default.and_then(|(_, budget)| budget).unwrap_or_default(),
        max_tokens: section.integer("default_max_tokens", 1, u64::MAX).unwrap_or(DEFAULT_MAX_TOKENS),
        per_address: section.section("per_address", |address| address.integer("requests_per_second", 1, u64::MAX)).flatten(),
    }
}

fn default_timeouts() -> Timeouts {
    let seconds = Duration::from_secs;
    Timeouts { connect: seconds(3), first_byte: seconds(60), idle: seconds(300), total: Some(seconds(900)) }
}

/// What a section says, over what holds where it says nothing. A provider's own lines have the same keys.
pub(super) fn timeouts(section: &Section<'_>, default: &Timeouts) -> Timeouts {
    Timeouts {
        connect: section.duration("connect", default.connect),
        first_byte: section.duration("first_byte", default.first_byte),
        idle: section.duration("idle", default.idle),
        total: section.optional_duration("total", default.total),
    }
}

fn default_client_timeouts() -> ClientTimeouts {
    ClientTimeouts { head: Duration::from_secs(30), body: Duration::from_secs(60) }
}

fn client_timeouts(section: &Section<'_>) -> ClientTimeouts {
    let default = default_client_timeouts();
    ClientTimeouts { head: section.duration("request_head", default.head), body: section.duration("request_body", default.body) }
}

/// Rotation by size is for those who have nothing else that rotates.
fn audit(section: &Section<'_>, keys: &Keys<'_, '_>) -> Option<Audit> {
    let path = section.required("path", "a file").and_then(|value| value.text());
    let words = [("none", AuditBodies::None), ("redacted", AuditBodies::Redacted), ("full", AuditBodies::Full)];
    let bodies = section.get("bodies").and_then(|value| value.choice(&words)).unwrap_or(AuditBodies::None);
    let max_body_bytes = section.get("max_body_bytes").and_then(|value| value.bytes()).unwrap_or(DEFAULT_AUDIT_BODY);
    let on_full = section.get("on_full").and_then(|value| value.choice(&[("drop", OnFull::Drop), ("block", OnFull::Block)])).unwrap_or(OnFull::Drop);
    let max_bytes = section.get("max_bytes").and_then(|value| value.bytes()).map(|bytes| bytes as u64);
    let keep = section.integer("keep", 0, 1000).and_then(|keep| keep.try_into().ok()).unwrap_or(DEFAULT_AUDIT_FILES);
    Some(Audit { path: keys.file(path?), bodies, max_body_bytes, on_full, max_bytes, keep })
}

const DEFAULT_AUDIT_FILES: usize = 5;
/// A long conversation, or a few thousand events of a stream.
const DEFAULT_AUDIT_BODY: usize = 64 << 10;

fn redis(keys: &Keys<'_, '_>, env: &Environment<'_>) -> Option<Redis> {
    const EXPECTED: &str = "expected a URL such as redis://host:6379 or rediss://user:password@host:6379/0";
    let is_redis = |url: &str| redis::IntoConnectionInfo::into_connection_info(url).is_ok();
    // Its URL may hold a password, so it is not shown.
    let mut url = keys.get("redis").and_then(|value| {
        let text = value.secret()?;
        if !is_redis(text.expose()) {
            value.mistake(EXPECTED);
        }
        Some(text)
    });
    if let Some(text) = env.get("ADIT_REDIS_URL") {
        if !is_redis(&text) {
            env.mistake("ADIT_REDIS_URL", EXPECTED);
        }
        url = Some(crate::config::Secret::from(text.as_str()));
    }
    let words = [("local", OnRedisFailure::Local), ("deny", OnRedisFailure::Deny)];
    let on_failure = keys.get("on_redis_failure").and_then(|value| value.choice(&words)).unwrap_or(OnRedisFailure::Local);
    let timeout = keys.get("redis_timeout").and_then(|value| value.duration()).unwrap_or(DEFAULT_REDIS_TIMEOUT);
    url.map(|url| Redis { url, on_failure, timeout })
}

/// An answer takes less than a thousandth of it on a network that deserves the name.
const DEFAULT_REDIS_TIMEOUT: Duration = Duration::from_millis(250);

fn remote_files(keys: &Keys<'_, '_>) -> Option<RemoteFiles> {
    keys.section("remote_files", |files| {
        let host = |value: &Value<'_>| value.parse("a host such as cdn.example.com, *.example.com or cdn.example.com:8443", RemoteHost::parse);
        let allow = files.get("allow").map(|value| value.list().iter().filter_map(host).collect()).unwrap_or_default();
        let max_bytes = files.get("max_bytes").and_then(|value| value.bytes()).unwrap_or(DEFAULT_REMOTE_BYTES);
        let timeout = files.duration("timeout", DEFAULT_REMOTE_TIMEOUT);
        (files.flag("enabled") == Some(true)).then_some(RemoteFiles { allow, max_bytes, timeout })
    })
    .flatten()
}

const DEFAULT_REMOTE_BYTES: usize = 10 << 20;
const DEFAULT_REMOTE_TIMEOUT: Duration = Duration::from_secs(10);

fn cache(section: &Section<'_>) -> Option<Cache> {
    let enabled = section.flag("enabled") == Some(true);
    let ttl = section.duration("ttl", DEFAULT_CACHE_TTL);
    let max_bytes = section.get("max_bytes").and_then(|value| value.bytes()).map_or(DEFAULT_CACHE_BYTES, |bytes| bytes as u64);
    let shared = section.flag("shared") == Some(true);
    let deterministic_only = section.flag("deterministic_only") != Some(false);
    enabled.then_some(Cache { ttl, max_bytes, shared, deterministic_only })
}

/// OpenAI keeps answers as long.
fn default_responses() -> Responses {
    Responses { store: true, ttl: Duration::from_secs(30 * 86_400), max_bytes: 1 << 30 }
}

fn responses(section: &Section<'_>) -> Responses {
    let default = default_responses();
    Responses {
        store: section.flag("store").unwrap_or(default.store),
        ttl: section.duration("ttl", default.ttl),
        max_bytes: section.get("max_bytes").and_then(|value| value.bytes()).map_or(default.max_bytes, |bytes| bytes as u64),
    }
}

const DEFAULT_CACHE_TTL: Duration = Duration::from_secs(600);
const DEFAULT_CACHE_BYTES: u64 = 256 << 20;

fn networks(list: &Value<'_>) -> Vec<Network> {
    list.list().iter().filter_map(|value| value.parse("a network such as 10.0.0.0/8 or an address", Network::parse)).collect()
}

fn default_overload() -> Overload {
    Overload { max_requests: 20_000, max_buffered_bytes: 1 << 30 }
}

fn overload(section: &Section<'_>) -> Overload {
    let default = default_overload();
    let bytes = section.get("max_buffered_bytes").and_then(|value| value.bytes()).and_then(|bytes| bytes.try_into().ok());
    Overload {
        max_requests: section.integer("max_requests", 1, u64::MAX).unwrap_or(default.max_requests),
        max_buffered_bytes: bytes.unwrap_or(default.max_buffered_bytes),
    }
}

fn default_pingora() -> Pingora {
    Pingora {
        threads: 0,
        pid_file: PathBuf::from("/run/adit/adit.pid"),
        upgrade_sock: PathBuf::from("/run/adit/upgrade.sock"),
        grace_period_seconds: 5,
        graceful_shutdown_timeout_seconds: 300,
    }
}

fn pingora(section: &Section<'_>) -> Pingora {
    let default = default_pingora();
    let day = 86_400;
    Pingora {
        threads: section.integer("threads", 0, 1024).and_then(|threads| threads.try_into().ok()).unwrap_or(default.threads),
        pid_file: section.text("pid_file").map_or(default.pid_file, PathBuf::from),
        upgrade_sock: section.text("upgrade_sock").map_or(default.upgrade_sock, PathBuf::from),
        grace_period_seconds: section.integer("grace_period_seconds", 0, day).unwrap_or(default.grace_period_seconds),
        graceful_shutdown_timeout_seconds: section.integer("graceful_shutdown_timeout_seconds", 0, day).unwrap_or(default.graceful_shutdown_timeout_seconds),
    }
}
