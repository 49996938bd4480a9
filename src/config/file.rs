//! What an operator writes in `conf/adit.yaml`.
//!
//! Every key of the file's contract is known and typed here, also those whose feature is not built: switched on, they are mistakes rather than promises.
//! Defaults live here too, so an empty file is a good file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::cursor::{Section, Value};
use super::env::Environment;
use super::snapshot::{AccessLog, Audit, AuditBodies, ClientTimeouts, Network, Overload, Pingora, Process, Timeouts, UserLimits};

/// Where the gateway listens unless told otherwise: this machine only.
const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// 25 MB, what Bedrock's InvokeModel takes at most.
const DEFAULT_MAX_BODY_BYTES: usize = 26_214_400;

/// `auth.mode` and `AUTH_MODE`.
const AUTH_MODES: &[(&str, ())] = &[("api_key", ()), ("api_key+totp", ()), ("jwt", ()), ("mtls", ())];

/// What a whole file says: the process, and where the model map is.
pub(super) struct AditFile {
    pub(super) process: Process,
    /// As written, relative to the file; `None`: beside the file, under its usual name.
    pub(super) models: Option<PathBuf>,
}

/// Reads the file; `None` stands for one without content.
pub(super) fn read(root: Option<Value<'_>>, env: &Environment<'_>) -> AditFile {
    let section = root.and_then(|root| root.section());
    let file = read_keys(&Keys(section.as_ref()), env);
    if let Some(section) = section {
        section.finish();
    }
    file
}

/// A section that may be missing as a whole.
struct Keys<'s, 'n>(Option<&'s Section<'n>>);

impl<'n> Keys<'_, 'n> {
    fn get(&self, name: &'static str) -> Option<Value<'n>> {
        self.0?.get(name)
    }

    fn section<T>(&self, name: &'static str, read: impl FnOnce(&Section<'n>) -> T) -> Option<T> {
        self.0?.section(name, read)
    }
}

fn read_keys(keys: &Keys<'_, '_>, env: &Environment<'_>) -> AditFile {
    let http = listen(keys, env);
    auth(keys, env);
    let (max_body_bytes, default_limits) = keys.section("limits", limits).unwrap_or((DEFAULT_MAX_BODY_BYTES, None));
    let (timeouts, client_timeouts) = keys
        .section("timeouts", |section| (timeouts(section, &default_timeouts()), client_timeouts(section)))
        .unwrap_or_else(|| (default_timeouts(), default_client_timeouts()));
    let audit = keys.section("audit", audit).flatten();
    unbuilt_stores(keys, env);
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
        https: None,
        max_body_bytes,
        default_limits,
        timeouts,
        client_timeouts,
        audit,
        trusted_proxies,
        overload,
        access_log: access_log.flatten().unwrap_or(AccessLog::Text),
        keepalive,
        pingora,
    };
    AditFile { process, models }
}

/// The longest that middle boxes are known to let a silent connection live is well above this.
const KEEPALIVE: Duration = Duration::from_secs(15);

fn listen(keys: &Keys<'_, '_>, env: &Environment<'_>) -> Option<String> {
    let from_file = keys.section("listen", |section| {
        section.section("https", https);
        let http = match section.get("http") {
            Some(value) => value.parse(ADDRESS, address),
            None if section.is_null("http") => return Err(section.value().clone()),
            None => Some(DEFAULT_LISTEN.to_owned()),
        };
        Ok(http)
    });
    if let Some(text) = env.get("ADIT_LISTEN") {
        return env.checked("ADIT_LISTEN", &text, ADDRESS, address(&text));
    }
    match from_file {
        None => Some(DEFAULT_LISTEN.to_owned()),
        Some(Ok(http)) => http,
        Some(Err(section)) => {
            section.mistake("expected `http`: the only listener of this version, found null");
            None
        }
    }
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

fn https(section: &Section<'_>) {
    section.value().unavailable();
    section.required("address", ADDRESS).and_then(|value| value.parse(ADDRESS, address));
    section.required("certificate", "a file").and_then(|value| value.text());
    section.required("key", "a file").and_then(|value| value.text());
    section.text("client_ca");
}

fn auth(keys: &Keys<'_, '_>, env: &Environment<'_>) {
    let enabled = keys.section("auth", |section| {
        let enabled = section.get("enabled");
        if let Some(mode) = section.get("mode") {
            let modes = if mode.is_scalar() { vec![mode] } else { mode.list() };
            for mode in modes {
                mode.choice(AUTH_MODES);
            }
        }
        section.text("keys");
        section.section("session", |session| session.get("ttl").and_then(|value| value.duration()));
        section.section("jwt", jwt);
        section.section("mtls", |mtls| {
            mtls.get("user").and_then(|value| value.choice(&[("subject_cn", ()), ("san_dns", ()), ("san_uri", ())]));
        });
        enabled.and_then(|value| value.flag().map(|flag| (flag, value)))
    });
    if let Some(mode) = env.get("AUTH_MODE") {
        let known = AUTH_MODES.iter().any(|(name, ())| *name == mode);
        env.checked("AUTH_MODE", &mode, "api_key, api_key+totp, jwt or mtls", known.then_some(()));
    }
    // The environment wins in both directions.
    let switch = env.switched_on("AUTH_ENABLED");
    if switch.is_none()
        && let Some(Some((true, value))) = enabled
    {
        value.unavailable();
    }
    // Whoever says that authentication is off does not rely on his users' keys.
    if switch != Some(false) {
        env.refuse_api_keys();
    }
}

fn jwt(section: &Section<'_>) {
    let allow_http = section.flag("allow_http").unwrap_or(false);
    for name in ["issuer", "jwks_url"] {
        let Some(value) = section.get(name) else { continue };
        if value.endpoint().is_some_and(|endpoint| !endpoint.tls && !allow_http && !is_loopback(&endpoint.host)) {
            value.expected("an https URL, as plain http is for loopback addresses or `allow_http: true`");
        }
    }
    for name in ["audience", "user_claim", "groups_claim"] {
        section.text(name);
    }
    if let Some(algorithms) = section.get("algorithms") {
        const KNOWN: &[(&str, ())] =
            &[("RS256", ()), ("RS384", ()), ("RS512", ()), ("PS256", ()), ("PS384", ()), ("PS512", ()), ("ES256", ()), ("ES384", ()), ("EdDSA", ())];
        for algorithm in algorithms.list() {
            algorithm.choice(KNOWN);
        }
    }
    if let Some(groups) = section.get("groups") {
        for (_, group) in groups.members() {
            let Some(group) = group.section() else { continue };
            group.get("models").map(|models| models.texts());
            group.section("limits", user_limits);
            group.finish();
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn limits(section: &Section<'_>) -> (usize, Option<UserLimits>) {
    let max_body_bytes = section.get("max_body_bytes").and_then(|value| value.bytes()).unwrap_or(DEFAULT_MAX_BODY_BYTES);
    let default = section.section("default", |default| {
        default.value().note("not enforced in this version");
        user_limits(default)
    });
    (max_body_bytes, default)
}

fn user_limits(section: &Section<'_>) -> UserLimits {
    UserLimits {
        requests_per_minute: section.integer("requests_per_minute", 1, u64::MAX),
        tokens_per_minute: section.integer("tokens_per_minute", 1, u64::MAX),
        concurrent_requests: section.integer("concurrent_requests", 1, u64::MAX),
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

fn audit(section: &Section<'_>) -> Option<Audit> {
    section.value().note("no audit log is written in this version");
    let path = section.required("path", "a file").and_then(|value| value.text());
    let words = [("none", AuditBodies::None), ("redacted", AuditBodies::Redacted), ("full", AuditBodies::Full)];
    let bodies = section.get("bodies").and_then(|value| value.choice(&words)).unwrap_or(AuditBodies::None);
    Some(Audit { path: PathBuf::from(path?), bodies })
}

/// Cache, Redis and remote files: typed, and refused when switched on.
fn unbuilt_stores(keys: &Keys<'_, '_>, env: &Environment<'_>) {
    keys.section("cache", |cache| {
        refuse_if_enabled(cache);
        cache.get("ttl").and_then(|value| value.duration());
        cache.get("max_bytes").and_then(|value| value.bytes());
    });
    if let Some(redis) = keys.get("redis") {
        // Its URL may hold a password, so it is not shown.
        match redis.secret() {
            Some(url) if !url.expose().starts_with("redis://") && !url.expose().starts_with("rediss://") => {
                redis.mistake("expected a URL such as redis://host:6379");
            }
            Some(_) => redis.unavailable(),
            None => {}
        }
    }
    if env.get("ADIT_REDIS_URL").is_some() {
        env.unavailable("ADIT_REDIS_URL");
    }
    env.switched_on("ENABLE_OPTILLM");
    if let Some(value) = keys.get("on_redis_failure") {
        value.choice(&[("local", ()), ("deny", ())]);
    }
    keys.section("remote_files", |files| {
        refuse_if_enabled(files);
        files.get("allow").map(|value| value.texts());
        files.get("max_bytes").and_then(|value| value.bytes());
        files.get("timeout").and_then(|value| value.duration());
    });
}

fn refuse_if_enabled(section: &Section<'_>) {
    if let Some(value) = section.get("enabled")
        && value.flag() == Some(true)
    {
        value.unavailable();
    }
}

fn networks(list: &Value<'_>) -> Vec<Network> {
    let values = list.list();
    if !values.is_empty() {
        list.note("not used in this version");
    }
    values.iter().filter_map(|value| value.parse("a network such as 10.0.0.0/8 or an address", Network::parse)).collect()
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
