//! `auth` of `conf/adit.yaml`: how clients prove who they are.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::cursor::Section;
use super::env::Environment;
use super::snapshot::{Auth, Budget, CertificateUser, Grant, Jwt, Models, Modes, Page, UserLimits};
use super::top::Keys;
use crate::provider::endpoint::Endpoint;

/// `auth.mode` and `AUTH_MODE`.
const MODES: &[(&str, Modes)] = &[
    ("api_key", Modes { api_key: true, ..NO_MODE }),
    ("api_key+totp", Modes { api_key_totp: true, ..NO_MODE }),
    ("jwt", Modes { jwt: true, ..NO_MODE }),
    ("mtls", Modes { mtls: true, ..NO_MODE }),
];

const NO_MODE: Modes = Modes { api_key: false, api_key_totp: false, jwt: false, mtls: false };

/// What clocks that are kept may differ by.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(60);
/// More would make tokens live on that have expired.
const MOST_LEEWAY: Duration = Duration::from_secs(600);

/// A working day.
const DEFAULT_SESSION_TTL: Duration = Duration::from_secs(12 * 3600);

/// Asymmetric all: a secret shared with the identity provider has no place at a gateway.
const ALGORITHMS: &[(&str, &str)] = &[
    ("RS256", "RS256"),
    ("RS384", "RS384"),
    ("RS512", "RS512"),
    ("PS256", "PS256"),
    ("PS384", "PS384"),
    ("PS512", "PS512"),
    ("ES256", "ES256"),
    ("ES384", "ES384"),
    ("EdDSA", "EdDSA"),
];

const DEFAULT_ALGORITHMS: &[&str] = &["RS256", "ES256", "EdDSA"];

/// Reads the section; without one, what the environment says counts.
pub(super) fn auth(keys: &Keys<'_, '_>, env: &Environment<'_>) -> Auth {
    let mut auth = Auth {
        enabled: false,
        modes: Modes { api_key: true, ..NO_MODE },
        keys_file: None,
        users: Arc::default(),
        session_ttl: DEFAULT_SESSION_TTL,
        session_secret: None,
        jwt: None,
        mtls_user: CertificateUser::SubjectCn,
        metrics: Page::Open,
        ready: Page::Open,
    };
    let enabled = keys.section("auth", |section| section_of(section, keys, &mut auth)).flatten();
    if let Some(mode) = env.get("AUTH_MODE") {
        let known = MODES.iter().find(|(name, _)| *name == mode).map(|(_, mode)| *mode);
        if let Some(mode) = env.checked("AUTH_MODE", &mode, "api_key, api_key+totp, jwt or mtls", known) {
            auth.modes = mode;
        }
    }
    // The environment wins in both directions.
    auth.enabled = env.flag("AUTH_ENABLED").or(enabled).unwrap_or(false);
    auth
}

fn section_of(section: &Section<'_>, keys: &Keys<'_, '_>, auth: &mut Auth) -> Option<bool> {
    let enabled = section.flag("enabled");
    if let Some(mode) = section.get("mode") {
        let modes = if mode.is_scalar() { vec![mode] } else { mode.list() };
        let modes = modes.iter().filter_map(|mode| mode.choice(MODES));
        auth.modes = modes.fold(NO_MODE, |all, one| Modes {
            api_key: all.api_key || one.api_key,
            api_key_totp: all.api_key_totp || one.api_key_totp,
            jwt: all.jwt || one.jwt,
            mtls: all.mtls || one.mtls,
        });
    }
    auth.keys_file = section.text("keys").map(|path| keys.file(path));
    section.section("session", |session| {
        auth.session_ttl = session.duration("ttl", DEFAULT_SESSION_TTL);
        auth.session_secret = session.secret("secret");
    });
    auth.jwt = section.section("jwt", jwt).flatten();
    section.section("mtls", |mtls| {
        let words = [("subject_cn", CertificateUser::SubjectCn), ("san_dns", CertificateUser::SanDns), ("san_uri", CertificateUser::SanUri)];
        auth.mtls_user = mtls.get("user").and_then(|value| value.choice(&words)).unwrap_or(CertificateUser::SubjectCn);
    });
    let page = |name| section.get(name).and_then(|value| value.choice(&[("open", Page::Open), ("key", Page::Key)]));
    auth.metrics = page("metrics").unwrap_or(Page::Open);
    auth.ready = page("ready").unwrap_or(Page::Open);
    enabled
}

/// What a mode needs has to be there: without it nobody gets in, or the operator believes in a proof that nobody asks for.
pub(super) fn check(keys: &Keys<'_, '_>, env: &Environment<'_>, auth: &Auth) {
    let names = |section: &'static str, name: &'static str, inner: &'static str| {
        let section = keys.get(section).filter(|value| !value.is_scalar()).and_then(|value| value.section());
        let value = section.and_then(|section| section.get(name));
        value.is_some_and(|value| inner.is_empty() || (!value.is_scalar() && value.section().is_some_and(|section| section.get(inner).is_some())))
    };
    let wanted = [
        (auth.modes.jwt && !names("auth", "jwt", ""), "jwt", "`auth.jwt`: who issues tokens"),
        (auth.modes.mtls && !names("listen", "https", "client_ca"), "mtls", "`listen.https.client_ca`: who vouches for clients"),
    ];
    for (_, mode, needed) in wanted.into_iter().filter(|(missing, ..)| auth.enabled && *missing) {
        let message = format!("the mode {mode} needs {needed}");
        match keys.get("auth") {
            Some(section) if env.get("AUTH_MODE").is_none() => section.mistake(message),
            _ => env.mistake("AUTH_MODE", message),
        }
    }
}

fn jwt(section: &Section<'_>) -> Option<Jwt> {
    let allow_http = section.flag("allow_http").unwrap_or(false);
    let endpoint = |name| -> Option<(Endpoint, String)> {
        let value = section.get(name)?;
        let endpoint = value.endpoint()?;
        if !endpoint.tls && !allow_http && !is_loopback(&endpoint.host) {
            value.expected("an https URL, as plain http is for loopback addresses or `allow_http: true`");
        }
        Some((endpoint, value.text()?.to_owned()))
    };
    let (issuer, jwks_url) = (endpoint("issuer"), endpoint("jwks_url"));
    if section.get("issuer").is_none() && section.get("jwks_url").is_none() {
        section.value().mistake("expected `issuer` or `jwks_url`, found neither");
    }
    let text = |name, default: &str| section.text(name).unwrap_or(default).to_owned();
    let audience = section.text("audience").map(str::to_owned);
    let (user_claim, groups_claim) = (text("user_claim", "sub"), text("groups_claim", "groups"));
    let leeway = section.get("leeway").map(|value| value.parse("a duration of at most 10m such as 60s", leeway)).unwrap_or(Some(DEFAULT_LEEWAY));
    let algorithms = match section.get("algorithms") {
        Some(algorithms) => algorithms.list().iter().filter_map(|algorithm| algorithm.choice(ALGORITHMS)).collect(),
        None => DEFAULT_ALGORITHMS.to_vec(),
    };
    let groups = section.get("groups").map(|groups| groups.members()).unwrap_or_default();
    let groups = groups.into_iter().filter_map(|(name, group)| {
        let group = group.section()?;
        let granted = grant(&group);
        group.finish();
        Some((name.name.clone(), granted))
    });
    let groups = groups.collect();
    let (issuer, endpoint) = match issuer {
        Some((endpoint, issuer)) => (issuer, endpoint),
        // Without an issuer the keys alone say who may sign.
        None => (String::new(), jwks_url.as_ref()?.0.clone()),
    };
    Some(Jwt { issuer, endpoint, jwks_url: jwks_url.map(|(url, _)| url), allow_http, audience, algorithms, leeway: leeway?, user_claim, groups_claim, groups })
}

/// None at all is a leeway too.
fn leeway(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|leeway| *leeway <= MOST_LEEWAY)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `models`, `limits` and `budget` of a user or a group.
pub(super) fn grant(section: &Section<'_>) -> Grant {
    let models = section.get("models").map(|models| Models::only(models.texts().into_iter().map(|(_, text)| text.to_owned()).collect()));
    let (limits, model_limits) = section.section("limits", |limits| (user_limits(limits), model_limits(limits))).unwrap_or_default();
    Grant { models: models.unwrap_or_default(), limits, model_limits, budget: section.section("budget", budget).unwrap_or_default() }
}

/// `requests_per_minute` and the like.
pub(super) fn user_limits(section: &Section<'_>) -> UserLimits {
    UserLimits {
        requests_per_minute: section.integer("requests_per_minute", 1, u64::MAX),
        tokens_per_minute: section.integer("tokens_per_minute", 1, u64::MAX),
        concurrent_requests: section.integer("concurrent_requests", 1, u64::MAX),
    }
}

/// `limits.models`: patterns of model names, and how much of those.
fn model_limits(section: &Section<'_>) -> Vec<(Models, UserLimits)> {
    let models = section.get("models").map(|models| models.members()).unwrap_or_default();
    let limits = models.into_iter().filter_map(|(pattern, limits)| {
        let limits = limits.section()?;
        let read = user_limits(&limits);
        limits.finish();
        Some((Models::only(vec![pattern.name.clone()]), read))
    });
    limits.collect()
}

/// `daily_usd` and `monthly_usd`.
pub(super) fn budget(section: &Section<'_>) -> Budget {
    // Nobody's budget is so large that a rounded thousand-millionth of a dollar matters.
    let nano_usd = |name| section.get(name).and_then(|value| value.usd()).map(|usd| (usd * 1e9) as u64);
    Budget { daily_nano_usd: nano_usd("daily_usd"), monthly_nano_usd: nano_usd("monthly_usd") }
}
