//! What an operator writes of one provider.

use std::path::PathBuf;

use super::cursor::{Section, Value};
use super::env::Environment;
use super::secret::Secret;
use super::snapshot::{AwsCredentials, AwsRole, AwsSource, Bedrock, ProviderKind, Timeouts};
use crate::provider::endpoint::Endpoint;
use crate::provider::{bedrock, openai, vertex};

/// The types of `providers.*.type`.
#[derive(Clone, Copy)]
enum Type {
    Bedrock,
    OpenAi,
    AzureOpenAi,
    Anthropic,
    Vertex,
}

const TYPES: &[(&str, Type)] =
    &[("bedrock", Type::Bedrock), ("openai", Type::OpenAi), ("azure_openai", Type::AzureOpenAi), ("anthropic", Type::Anthropic), ("vertex", Type::Vertex)];

/// Where Claude is, and Gemini too.
const DEFAULT_LOCATION: &str = "us-east5";

/// Reads one provider. `None` only if there were mistakes.
pub(super) fn read(value: &Value<'_>, env: &Environment<'_>, timeouts: &Timeouts) -> Option<(ProviderKind, Timeouts)> {
    let section = value.section()?;
    // Without a type it is not known which other keys are right, so those are not looked at.
    let kind = section.required("type", "bedrock, openai, azure_openai, anthropic or vertex")?.choice(TYPES)?;
    let kind = match kind {
        Type::Bedrock => bedrock(&section, env).map(ProviderKind::Bedrock),
        Type::OpenAi => {
            let base_url = base_url(&section, env, &["OPENAI_BASE_URL", "OPENAI_API_BASE"], openai::DEFAULT_BASE_URL);
            let api_key = key(&section, env, "OPENAI_API_KEY");
            let named = ["OPENAI_BASE_URL", "OPENAI_API_BASE"].iter().find_map(|name| env.get(name)).and_then(|url| Endpoint::parse(&url).ok());
            let responses = section.flag("responses");
            base_url.map(|base_url| ProviderKind::OpenAi {
                of_environment: named.as_ref() == Some(&base_url),
                responses: responses.unwrap_or_else(|| openai::is_own(&base_url)),
                base_url,
                api_key,
            })
        }
        Type::AzureOpenAi => Some(ProviderKind::AzureOpenAi {
            endpoint: url(&section, "endpoint").or_else(|| env_url(env, &["AZURE_OPENAI_ENDPOINT"])),
            api_key: key(&section, env, "AZURE_OPENAI_API_KEY"),
            api_version: api_version(&section).unwrap_or_else(|| "2024-10-21".to_owned()),
            responses: section.flag("responses").unwrap_or(false),
        }),
        Type::Anthropic => {
            let base_url = base_url(&section, env, &["ANTHROPIC_BASE_URL"], "https://api.anthropic.com");
            let api_key = key(&section, env, "ANTHROPIC_API_KEY");
            base_url.map(|base_url| ProviderKind::Anthropic { base_url, api_key })
        }
        Type::Vertex => vertex(&section, env),
    };
    let timeouts = section.section("timeouts", |section| super::file::timeouts(section, timeouts)).unwrap_or_else(|| timeouts.clone());
    section.finish();
    Some((kind?, timeouts))
}

fn bedrock(section: &Section<'_>, env: &Environment<'_>) -> Option<Bedrock> {
    let region = match section.get("region") {
        Some(value) => value.parse("a region such as us-east-1", |text| bedrock::is_region(text).then(|| text.to_owned())),
        None => env.region(),
    };
    if let (Some(region), Some(value)) = (&region, section.get("region"))
        && !bedrock::is_known_form(region)
    {
        value.note(format_args!("`{region}` has the form of no AWS region; it is taken for one of the partition aws"));
    }
    let fips = section.flag("fips").or_else(|| env.flag("AWS_USE_FIPS_ENDPOINT")).unwrap_or(false);
    let dual_stack = section.flag("dual_stack").or_else(|| env.flag("AWS_USE_DUALSTACK_ENDPOINT")).unwrap_or(false);
    let own_endpoint = url(section, "endpoint");
    let endpoint = match &own_endpoint {
        Some(_) => own_endpoint.clone(),
        None => env_url(env, &["AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"]),
    };
    // The endpoint rule set refuses both combinations.
    if endpoint.is_some() && (fips || dual_stack) {
        let from = if own_endpoint.is_some() { "`endpoint`" } else { "the environment's endpoint URL" };
        section.value().mistake(format!("expected either {from} or `fips` and `dual_stack`, found both"));
    }
    let credentials = aws_credentials(section, env);
    let region = region?;
    let endpoint = endpoint.unwrap_or_else(|| bedrock::endpoint(&region, fips, dual_stack));
    Some(Bedrock { region, endpoint, credentials })
}

/// It stands in a query as it is.
fn api_version(section: &Section<'_>) -> Option<String> {
    section.text_or_empty("api_version")?;
    let valid = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')).then(|| text.to_owned());
    section.get("api_version")?.parse("an API version such as 2024-10-21, v1 or preview", valid)
}

fn vertex(section: &Section<'_>, env: &Environment<'_>) -> Option<ProviderKind> {
    const EXPECTED: &str = "a location such as us-east5, us, eu or global";
    let valid = |text: &str| vertex::is_location(text).then(|| text.to_owned());
    let location = match section.text_or_empty("location") {
        Some(_) => section.get("location").and_then(|value| value.parse(EXPECTED, valid)),
        None => match env.get("GOOGLE_CLOUD_LOCATION") {
            Some(text) => env.checked("GOOGLE_CLOUD_LOCATION", &text, EXPECTED, valid(&text)),
            None => Some(DEFAULT_LOCATION.to_owned()),
        },
    };
    let project = section.text_or_empty("project").map(str::to_owned).or_else(|| env.get("GOOGLE_CLOUD_PROJECT"));
    let own_endpoint = url(section, "endpoint");
    let credentials = file(section, "credentials").or_else(|| env.get("GOOGLE_APPLICATION_CREDENTIALS").map(Into::into));
    let location = location?;
    let endpoint = own_endpoint.unwrap_or_else(|| vertex::endpoint(&location));
    Some(ProviderKind::Vertex { project, location, endpoint, credentials })
}

/// Credentials in the provider's own lines win over everything in the environment.
fn aws_credentials(section: &Section<'_>, env: &Environment<'_>) -> AwsCredentials {
    let profile = section.text_or_empty("profile").map(str::to_owned);
    let access_key_id = section.text_or_empty("access_key_id").map(str::to_owned);
    let secret_access_key = section.secret("secret_access_key");
    let session_token = section.secret("session_token");
    let bearer = section.secret("bearer_token");
    let role = role(section);

    if access_key_id.is_some() != secret_access_key.is_some() {
        section.value().mistake("expected `access_key_id` and `secret_access_key` together, found one of them");
    }
    if session_token.is_some() && access_key_id.is_none() {
        section.value().mistake("expected `session_token` beside `access_key_id` and `secret_access_key`, found it alone");
    }
    let sources = [("bearer_token", bearer.is_some()), ("access_key_id", access_key_id.is_some()), ("profile", profile.is_some())];
    let named: Vec<&str> = sources.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    if named.len() > 1 {
        section.value().mistake(format!("expected one source of credentials, found `{}`", named.join("` and `")));
    }
    if bearer.is_some() && role.is_some() {
        section.value().mistake("expected `role_arn` or `bearer_token`, found both: no role can be assumed with a bearer token");
    }

    let source = match (bearer, access_key_id.zip(secret_access_key), profile) {
        (Some(token), ..) => AwsSource::Bearer(token),
        (None, Some((access_key_id, secret_access_key)), _) => AwsSource::Keys { access_key_id, secret_access_key, session_token },
        (None, None, Some(profile)) => AwsSource::Profile(profile),
        (None, None, None) => match env.get("AWS_BEARER_TOKEN_BEDROCK") {
            Some(token) if role.is_none() => AwsSource::Bearer(Secret::from(token.as_str())),
            _ => environment_keys(env).unwrap_or(AwsSource::Default),
        },
    };
    AwsCredentials { source, role }
}

/// The first link of the default chain. An environment does not change, so its keys are ready without running the chain.
fn environment_keys(env: &Environment<'_>) -> Option<AwsSource> {
    let secret = |name| env.get(name).map(|text| Secret::from(text.as_str()));
    Some(AwsSource::Keys {
        access_key_id: env.get("AWS_ACCESS_KEY_ID")?,
        secret_access_key: secret("AWS_SECRET_ACCESS_KEY")?,
        session_token: secret("AWS_SESSION_TOKEN"),
    })
}

fn role(section: &Section<'_>) -> Option<AwsRole> {
    let arn = section.get("role_arn").filter(|value| value.parse("text", Some).is_some_and(|text| !text.is_empty()));
    let external_id = section.text_or_empty("external_id").map(str::to_owned);
    let Some(arn) = arn else {
        if external_id.is_some() {
            section.value().mistake("expected `external_id` beside `role_arn`, found it alone");
        }
        return None;
    };
    let is_role = |text: &str| text.starts_with("arn:aws") && text.split(':').nth(2) == Some("iam") && text.contains(":role/");
    let arn = arn.parse("a role such as arn:aws:iam::123456789012:role/name", |text| is_role(text).then(|| text.to_owned()))?;
    Some(AwsRole { arn, external_id })
}

/// A URL, where empty counts as missing.
pub(super) fn url(section: &Section<'_>, name: &'static str) -> Option<Endpoint> {
    section.text_or_empty(name)?;
    section.get(name)?.endpoint()
}

/// A URL of the first of these variables that is set.
pub(super) fn env_url(env: &Environment<'_>, names: &[&str]) -> Option<Endpoint> {
    let (name, text) = names.iter().find_map(|name| env.get(name).map(|text| (*name, text)))?;
    match Endpoint::parse(&text) {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            env.mistake(name, format!("expected a URL such as https://host:443/prefix, but {error}"));
            None
        }
    }
}

fn base_url(section: &Section<'_>, env: &Environment<'_>, names: &[&str], default: &str) -> Option<Endpoint> {
    if section.text_or_empty("base_url").is_some() {
        return url(section, "base_url");
    }
    if names.iter().any(|name| env.get(name).is_some()) {
        return env_url(env, names);
    }
    Endpoint::parse(default).ok()
}

fn key(section: &Section<'_>, env: &Environment<'_>, name: &str) -> Option<Secret> {
    section.secret("api_key").or_else(|| env.get(name).map(|key| Secret::from(key.as_str())))
}

/// A file that credentials or certificates are in.
fn file(section: &Section<'_>, name: &'static str) -> Option<PathBuf> {
    section.text_or_empty(name).map(PathBuf::from)
}
