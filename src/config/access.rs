//! `auth` of `conf/adit.yaml`: how clients prove who they are.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::cursor::Section;
use super::env::Environment;
use super::file::Keys;
use super::snapshot::{Auth, Budget, CertificateUser, Grant, Jwt, Models, Modes, Page, UserLimits};
use crate::provider::endpoint::Endpoint;

/// `auth.mode` and `AUTH_MODE`.
const MODES: &[(&str, Modes)] = &[
    ("api_key", Modes { api_key: true, ..NO_MODE }),
    ("api_key+totp", Modes { api_key_totp: true, ..NO_MODE }),
    ("jwt", Modes { jwt: true, ..NO_MODE }),
    ("mtls", Modes { mtls: true, ..NO_MODE }),
];

const NO_MODE: Modes = Modes { api_key: false, api_key_totp: false, jwt: false, mtls: false };

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
    let text = |name, default: &str| section.text(name).unwrap_or(default).to_owned();
    let audience = section.text("audience").map(str::to_owned);
    let (user_claim, groups_claim) = (text("user_claim", "sub"), text("groups_claim", "groups"));
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
    Some(Jwt { issuer, endpoint, jwks_url: jwks_url.map(|(url, _)| url), allow_http, audience, algorithms, user_claim, groups_claim, groups })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `models`, `limits` and `budget` of a user or a group.
pub(super) fn grant(section: &Section<'_>) -> Grant {
    let models = section.get("models").map(|models| Models::only(models.texts().into_iter().map(|(_, text)| text.to_owned()).collect()));
    Grant {
        models: models.unwrap_or_default(),
        limits: section.section("limits", user_limits).unwrap_or_default(),
        budget: section.section("budget", budget).unwrap_or_default(),
    }
}

/// `requests_per_minute` and the like.
pub(super) fn user_limits(section: &Section<'_>) -> UserLimits {
    UserLimits {
        requests_per_minute: section.integer("requests_per_minute", 1, u64::MAX),
        tokens_per_minute: section.integer("tokens_per_minute", 1, u64::MAX),
        concurrent_requests: section.integer("concurrent_requests", 1, u64::MAX),
    }
}

fn budget(section: &Section<'_>) -> Budget {
    // Nobody's budget is so large that a rounded thousand-millionth of a dollar matters.
    let nano_usd = |name| section.get(name).and_then(|value| value.usd()).map(|usd| (usd * 1e9) as u64);
    Budget { daily_nano_usd: nano_usd("daily_usd"), monthly_nano_usd: nano_usd("monthly_usd") }
}
