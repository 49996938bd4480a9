use std::time::Duration;

use super::snapshot::*;
use super::*;

/// The example of the file's documentation, with everything that this version has not built switched off or left out.
const FULL_ADIT: &str = r#"
listen:
  http: 127.0.0.1:8081
models: models.yaml
auth:
  enabled: false
  mode: [api_key, jwt]
  keys: keys.yaml
  session: { ttl: 12h }
  jwt: { issuer: "https://id.example.com", jwks_url: null, audience: adit, algorithms: [RS256, ES256, EdDSA], user_claim: sub, groups_claim: groups, groups: { engineers: { models: ["claude-*"] } } }
  mtls: { user: subject_cn }
limits:
  max_body_bytes: 1000
  default: { requests_per_minute: 600, tokens_per_minute: 1000000, concurrent_requests: 64 }
timeouts: { connect: 1s, first_byte: 2s, idle: 1m 30s, total: null }
audit: { path: audit.jsonl, bodies: redacted, max_body_bytes: 1024 }
cache: { enabled: false, ttl: 10m, max_bytes: 268435456 }
redis: null
on_redis_failure: local
trusted_proxies: [10.0.0.0/8, "::1"]
remote_files: { enabled: false, allow: ["*.example.com"], max_bytes: 10485760, timeout: 10s }
optillm: { enabled: false, base_url: "http://127.0.0.1:8000/v1", max_calls: 32, concurrency: 5 }
overload: { max_requests: 20000, max_buffered_bytes: 1073741824 }
access_log: { format: json }
stream: { keepalive: null }
pingora: { threads: 2, pid_file: /run/a.pid, upgrade_sock: /run/a.sock, grace_period_seconds: 0, graceful_shutdown_timeout_seconds: 10 }
"#;

const FULL_MODELS: &str = r#"
providers:
  bedrock:      { type: bedrock, region: "${AWS_REGION:-us-east-1}" }
  bedrock-west: { type: bedrock, region: us-west-2, dual_stack: true }
  openai:       { type: openai, base_url: "${OPENAI_BASE_URL:-https://api.openai.com/v1}", api_key: "${OPENAI_API_KEY:-}" }
  azure:        { type: azure_openai, endpoint: "${AZURE_OPENAI_ENDPOINT:-}", api_key: "${AZURE_OPENAI_API_KEY:-}", api_version: "2024-10-21" }
  anthropic:    { type: anthropic, base_url: "${ANTHROPIC_BASE_URL:-https://api.anthropic.com}", api_key: "${ANTHROPIC_API_KEY:-}" }
  vertex:       { type: vertex, project: "${GOOGLE_CLOUD_PROJECT:-}", location: "${GOOGLE_CLOUD_LOCATION:-us-east5}" }
models:
  claude-3-haiku: { bedrock: "anthropic.claude-3-haiku-20240307-v1:0" }
  claude-3-sonnet:
    targets:
      - { provider: bedrock,      model: "anthropic.claude-3-sonnet-20240229-v1:0", weight: 3 }
      - { provider: bedrock-west, model: "anthropic.claude-3-sonnet-20240229-v1:0", weight: 1, surface: converse, max_tokens: 7 }
      - { provider: anthropic,    model: "claude-3-sonnet-20240229", priority: 1 }
    aliases: [gpt-4]
    price: { input: 3.00, output: 15.00 }
    parameters: { unsupported: reject, unknown: drop }
    max_tokens: 4096
    guardrail: { identifier: abc, version: 1, stream_processing_mode: async }
  hidden: { bedrock: "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/x", base_model: anthropic.claude-sonnet-4-6, max_tokens: 10 }
routing:
  default_provider: bedrock-west
  fallback: { enabled: true, on: [connect, timeout, 429, 500, 502, 503, 504] }
  cooldown: { failures: 5, within: 10s, for: 5s, max: 120s }
  on_disconnect: cancel
  fallback_model: gpt-4
"#;

fn no_env(_: &str) -> Option<String> {
    None
}

fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

fn bedrock<'s>(snapshot: &'s Snapshot, name: &str) -> &'s Bedrock {
    snapshot.models.providers[name].bedrock().unwrap()
}

#[test]
fn every_key_is_read() {
    let snapshot = parse(FULL_ADIT, FULL_MODELS, &no_env).unwrap_or_else(|errors| panic!("{errors}"));
    let process = &snapshot.process;
    assert_eq!(process.http.as_deref(), Some("127.0.0.1:8081"));
    assert_eq!(process.https, None);
    assert_eq!(process.max_body_bytes, 1000);
    let timeouts = Timeouts { connect: Duration::from_secs(1), first_byte: Duration::from_secs(2), idle: Duration::from_secs(90), total: None };
    assert_eq!(process.timeouts, timeouts);
    assert_eq!(process.keepalive, None);
    assert_eq!(process.access_log, AccessLog::Json);
    assert_eq!(process.pingora.threads, 2);
    assert_eq!(process.pingora.upgrade_sock, Path::new("/run/a.sock"));
    assert_eq!((process.pingora.grace_period_seconds, process.pingora.graceful_shutdown_timeout_seconds), (0, 10));
    assert_eq!(process.default_limits.as_ref().unwrap().concurrent_requests, Some(64));
    let audit = process.audit.as_ref().unwrap();
    assert_eq!((audit.bodies, audit.max_body_bytes), (AuditBodies::Redacted, 1024));
    assert_eq!(process.overload.max_requests, 20000);
    assert!(process.trusted_proxies[0].contains("10.1.2.3".parse().unwrap()));

    let map = &snapshot.models;
    assert_eq!(map.providers.len(), 6);
    assert_eq!(bedrock(&snapshot, "bedrock").endpoint.host, "bedrock-runtime.us-east-1.amazonaws.com");
    assert_eq!(bedrock(&snapshot, "bedrock-west").endpoint.host, "bedrock-runtime.us-west-2.api.aws");
    assert!(map.providers["openai"].unavailable().is_some() && map.providers["bedrock"].unavailable().is_none());
    assert_eq!(map.models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["claude-3-haiku", "claude-3-sonnet", "hidden"]);

    let haiku = map.find("claude-3-haiku").unwrap();
    assert_eq!((haiku.created, haiku.owned_by.as_str()), (1_709_769_600, "anthropic"));
    assert_eq!(haiku.targets[0].converse_path, "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse");
    assert_eq!(haiku.targets[0].converse_stream_path, "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream");

    let sonnet = map.find("gpt-4").unwrap();
    assert_eq!(sonnet.name, "claude-3-sonnet");
    let weights: Vec<_> = sonnet.targets.iter().map(|target| (target.weight, target.priority, target.default_max_tokens)).collect();
    assert_eq!(weights, [(3, 0, Some(4096)), (1, 0, Some(7)), (1, 1, Some(4096))]);
    assert_eq!(sonnet.targets[2].converse_path, "");
    assert_eq!(sonnet.targets[0].guardrail.as_ref().unwrap().version, "1");
    assert_eq!(sonnet.price, Some(Price { input: 3.0, output: 15.0, cache_read: 3.0, cache_write: 3.0, cache_write_1h: 3.0 }));
    assert_eq!(sonnet.policy, crate::chat::Policy { unsupported: crate::chat::Unsupported::Reject, unknown: crate::chat::Unknown::Drop });

    let routing = &map.routing;
    assert_eq!(routing.default_provider.name, "bedrock-west");
    assert_eq!(routing.fallback_model.as_ref().unwrap().name, "claude-3-sonnet");
    assert_eq!(routing.fallback.on.len(), 7);
    assert_eq!(routing.cooldown.as_ref().unwrap().most, Duration::from_secs(120));
}

#[test]
fn rules_of_failure_have_defaults_and_a_model_and_a_provider_may_have_their_own() {
    let read = |text: &str| parse("timeouts: { idle: 7s }", text, &no_env).unwrap_or_else(|errors| panic!("{errors}")).models;
    let plain = read("providers: { a: { type: bedrock } }\nmodels: { m: { a: x } }");
    let routing = &plain.routing;
    assert!(routing.fallback.enabled && routing.fallback.on.contains(&Trigger::Connect) && routing.fallback.on.contains(&Trigger::Status(503)));
    assert!(!routing.fallback.on.contains(&Trigger::Timeout), "trap 58: a provider that is slow bills all the same");
    assert_eq!((routing.retry.attempts, routing.cache_affinity, routing.on_disconnect), (0, false, OnDisconnect::Cancel));
    assert_eq!(plain.providers["a"].timeouts.idle, Duration::from_secs(7), "what adit.yaml says");
    assert_eq!(plain.providers["a"].timeouts.total, Some(Duration::from_secs(900)));

    let own = read(
        "providers:\n  a: { type: bedrock, timeouts: { connect: 1s, total: null } }\n  b: { type: bedrock }\n\
         models:\n  m: { a: x, b: y, fallback: { on: [connect, timeout, 404] } }\n  n: { targets: [{ provider: b, model: y }, { provider: a, model: x }] }\n\
         routing: { default_provider: a, fallback: { enabled: false, providers: [b] }, cooldown: null, retry: { attempts: 3, budget: 0.5 }, cache_affinity: true, on_disconnect: drain }",
    );
    let a = &own.providers["a"].timeouts;
    assert_eq!((a.connect, a.idle, a.total), (Duration::from_secs(1), Duration::from_secs(7), None));
    let (m, n) = (own.find("m").unwrap(), own.find("n").unwrap());
    assert_eq!(
        m.fallback,
        Fallback { enabled: false, on: vec![Trigger::Connect, Trigger::Timeout, Trigger::Status(404)] },
        "what it does not say is everybody's"
    );
    assert!(!n.fallback.enabled);
    assert_eq!(m.targets.iter().map(|target| (target.place, target.slot)).collect::<Vec<_>>(), [(1, Some(0)), (0, Some(1))]);
    assert_eq!(n.targets.iter().map(|target| (target.place, target.slot)).collect::<Vec<_>>(), [(0, Some(1)), (1, Some(0))]);
    assert_eq!(own.slots.len(), 2);
    assert!(own.routing.cooldown.is_none() && own.routing.cache_affinity && own.routing.retry.attempts == 3);
    assert_eq!(own.routing.on_disconnect, OnDisconnect::Drain);
}

#[test]
fn a_price_is_in_thousand_millionths_of_a_dollar_and_rounded_up() {
    let price = Price { input: 3.0, output: 15.0, cache_read: 0.3, cache_write: 3.75, cache_write_1h: 6.0 };
    let usage = crate::chat::Usage { input_tokens: 10, output_tokens: 2, ..crate::chat::Usage::default() };
    assert_eq!(price.nano_usd(&usage), 60_000);
    let cached = crate::chat::Usage { cache_read_tokens: 3, cache_write_tokens: 5, cache_write_1h_tokens: 1, ..usage };
    assert_eq!(price.nano_usd(&cached), 60_000 + 900 + 15_000 + 6_000);
    assert_eq!(Price { input: 0.000_001, ..price }.nano_usd(&crate::chat::Usage { input_tokens: 1, ..crate::chat::Usage::default() }), 1);
    assert_eq!(price.nano_usd(&crate::chat::Usage::default()), 0);
}

#[test]
fn trap_31_base_model_names_the_family_that_an_arn_hides() {
    let snapshot = parse("", FULL_MODELS, &no_env).unwrap();
    let hidden = snapshot.models.find("hidden").unwrap();
    let family = crate::chat::capability::Capabilities::of("anthropic.claude-sonnet-4-6");
    assert_eq!(format!("{:?}", hidden.targets[0].capabilities), format!("{family:?}"));
    assert_eq!(hidden.owned_by, "bedrock");
}

#[test]
fn what_has_no_effect_yet_is_noted_if_the_operator_wrote_it() {
    let notes = parse(FULL_ADIT, FULL_MODELS, &no_env).unwrap().notes();
    assert_eq!(notes, ["providers.anthropic: the provider is not configured: it has no api_key, and ANTHROPIC_API_KEY is not set; its models answer 503",]);
    assert_eq!(parse(EMBEDDED_ADIT, EMBEDDED_MODELS, &no_env).unwrap().notes(), Vec::<String>::new());
}

#[test]
fn the_embedded_files_serve_every_promised_model_in_any_region() {
    let snapshot = parse(EMBEDDED_ADIT, EMBEDDED_MODELS, &env(&[("AWS_REGION", "eu-central-1")])).unwrap_or_else(|errors| panic!("{errors}"));
    for name in [
        "claude-3-haiku",
        "claude-3-sonnet",
        "claude-3-opus",
        "claude-3-5-sonnet",
        "claude-3-5-haiku",
        "claude-3-7-sonnet",
        "amazon-titan-text-express",
        "llama2-70b",
        "mistral-8x7b",
        "claude-opus-4-6",
        "nova-pro",
        "llama3-3-70b",
        "deepseek-r1",
        "gpt-oss-120b",
        "titan-embed-text-v2",
        "cohere-embed-v4",
    ] {
        assert!(snapshot.models.find(name).is_some(), "{name}");
    }
    for model in &snapshot.models.models {
        let id = &model.targets[0].model;
        assert!(crate::provider::bedrock::recognises(id), "{id}");
        assert!(model.targets[0].converse_path.starts_with("/model/"));
    }
    assert_eq!(bedrock(&snapshot, "bedrock").region, "eu-central-1");
    assert_eq!(snapshot.models.find("nova-pro").unwrap().targets[0].model, "eu.amazon.nova-pro-v1:0");
    assert_eq!(snapshot.process.http.as_deref(), Some("127.0.0.1:8080"));
}

#[test]
fn what_the_shipped_file_says_is_what_an_empty_one_means() {
    let shipped = parse(EMBEDDED_ADIT, EMBEDDED_MODELS, &no_env).unwrap();
    let empty = parse("# nothing\n", EMBEDDED_MODELS, &no_env).unwrap();
    assert_eq!(format!("{:?}", shipped.process), format!("{:?}", empty.process));
}

#[test]
fn the_environment_wins() {
    let snapshot = parse("listen: { http: 127.0.0.1:1 }", EMBEDDED_MODELS, &env(&[("ADIT_LISTEN", "[::1]:2")])).unwrap();
    assert_eq!(snapshot.process.http.as_deref(), Some("[::1]:2"));
    let off = parse("auth: { enabled: true }", EMBEDDED_MODELS, &env(&[("AUTH_ENABLED", "false"), ("AUTH_MODE", "api_key+totp")]));
    assert!(off.is_ok());
    let region = parse("", "providers: { a: { type: bedrock }, b: { type: bedrock, region: us-west-2 } }", &env(&[("AWS_REGION", "eu-west-1")])).unwrap();
    assert_eq!((bedrock(&region, "a").region.as_str(), bedrock(&region, "b").region.as_str()), ("eu-west-1", "us-west-2"));
    let region = parse("", "providers: { a: { type: bedrock } }", &env(&[("AWS_DEFAULT_REGION", "ap-south-1")])).unwrap();
    assert_eq!(bedrock(&region, "a").region, "ap-south-1");
}

#[test]
fn the_audit_log_of_the_page_about_it_can_be_had() {
    let page = include_str!("../../docs/audit.md");
    let block = page.split("```").nth(1).and_then(|block| block.strip_prefix("yaml\n")).unwrap();
    let audit = parse(block, EMBEDDED_MODELS, &no_env).unwrap_or_else(|errors| panic!("{errors}")).process.audit.unwrap();
    // What it shows are the defaults, but for the rotation, which is off.
    let least = parse("audit: { path: audit.jsonl }", EMBEDDED_MODELS, &no_env).unwrap().process.audit.unwrap();
    assert_eq!(Audit { max_bytes: None, ..audit }, least);
}

#[test]
fn a_provider_has_a_region_or_none() {
    let snapshot = parse(FULL_ADIT, FULL_MODELS, &env(&[("GOOGLE_CLOUD_LOCATION", "europe-west1")])).unwrap();
    for (name, region) in [("bedrock-west", Some("us-west-2")), ("vertex", Some("europe-west1")), ("openai", None), ("azure", None), ("anthropic", None)] {
        assert_eq!(snapshot.models.providers[name].region(), region, "{name}");
    }
}

#[test]
fn trap_56_an_endpoint_url_of_the_environment_is_for_providers_that_name_none() {
    let models = "providers: { a: { type: bedrock }, b: { type: bedrock, endpoint: \"https://b.example\" } }";
    let both = env(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://[::1]:9000/x/")]);
    let snapshot = parse("", models, &both).unwrap();
    assert_eq!(bedrock(&snapshot, "a").endpoint.to_string(), "http://[::1]:9000/x");
    assert_eq!(bedrock(&snapshot, "b").endpoint.to_string(), "https://b.example");
    let general = parse("", models, &env(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")])).unwrap();
    assert_eq!(bedrock(&general, "a").endpoint.to_string(), "http://127.0.0.1:1");
    let fips = parse("", models, &env(&[("AWS_USE_FIPS_ENDPOINT", "true")])).unwrap_err();
    assert!(fips.to_string().contains("providers.b: expected either `endpoint` or"), "{fips}");
}

fn source(lines: &str, env: &dyn Fn(&str) -> Option<String>) -> AwsCredentials {
    let snapshot = parse("", &format!("providers: {{ a: {{ type: bedrock, {lines} }} }}"), env).unwrap_or_else(|errors| panic!("{errors}"));
    bedrock(&snapshot, "a").credentials.clone()
}

#[test]
fn a_providers_own_credentials_win_over_the_environment() {
    let bearer = env(&[("AWS_BEARER_TOKEN_BEDROCK", "token-of-the-environment")]);
    let keys = "access_key_id: AKIDEXAMPLE, secret_access_key: not-a-secret";
    assert_eq!(source("", &no_env).source, AwsSource::Default);
    assert_eq!(source("", &bearer).source, AwsSource::Bearer("token-of-the-environment".into()));
    assert_eq!(source("bearer_token: own", &bearer).source, AwsSource::Bearer("own".into()));
    assert_eq!(source("profile: dev", &bearer).source, AwsSource::Profile("dev".to_owned()));
    assert!(matches!(source(keys, &bearer).source, AwsSource::Keys { session_token: None, .. }));
    let role = source("role_arn: \"arn:aws:iam::123456789012:role/a\", external_id: 42", &bearer);
    assert_eq!(role.source, AwsSource::Default);
    assert_eq!(role.role, Some(AwsRole { arn: "arn:aws:iam::123456789012:role/a".to_owned(), external_id: Some("42".to_owned()) }));
    // What `"${VAR:-}"` leaves behind is nothing.
    assert_eq!(source("profile: \"\", access_key_id: \"\", secret_access_key: \"\", role_arn: \"\", endpoint: \"\"", &no_env).source, AwsSource::Default);
}

#[test]
fn secrets_do_not_show() {
    let credentials = source("access_key_id: AKIDEXAMPLE, secret_access_key: hush-hush, session_token: hush-too", &no_env);
    assert!(!format!("{credentials:?}").contains("hush"));
    let models = "providers: { a: { type: bedrock, secret_access_key: hush-hush, bearer_token: [hush] }, b: { type: openai, base_url: \"https://u:hush@h\" } }";
    let errors = parse("redis: \"redis://:hush@\"", models, &env(&[("ADIT_REDIS_URL", "redi://:hush@host")])).unwrap_err();
    assert_eq!(errors.iter().count(), 5, "{errors}");
    assert!(!errors.to_string().contains("hush"), "{errors}");
}

#[test]
fn files_are_found_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let adit = folder.path().join("adit.yaml");
    std::fs::write(&adit, "models: maps/other.yaml\n").unwrap();
    let errors = load(Some(&adit), &no_env).unwrap_err().to_string();
    assert!(errors.contains("maps/other.yaml: expected a readable file, but"), "{errors}");

    std::fs::create_dir(folder.path().join("maps")).unwrap();
    std::fs::write(folder.path().join("maps/other.yaml"), "providers: { only: { type: bedrock } }\nmodels: { m: { only: amazon.titan-text-express-v1 } }")
        .unwrap();
    let snapshot = load(Some(&adit), &no_env).unwrap();
    assert_eq!(snapshot.models.routing.default_provider.name, "only");
    assert!(snapshot.models.find("m").is_some());

    let path = adit.display().to_string();
    let from_env = load(None, &|name| (name == "ADIT_CONFIG").then(|| path.clone())).unwrap();
    assert!(from_env.models.find("m").is_some());
    assert!(load(Some(Path::new("/nowhere/adit.yaml")), &no_env).is_err());
}

#[test]
fn a_load_names_what_it_read_good_or_bad_and_tells_texts_apart() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let adit = folder.path().join("adit.yaml");
    let names = |files: &[FileRead]| files.iter().map(|file| file.path.strip_prefix(folder.path()).unwrap().display().to_string()).collect::<Vec<_>>();
    write("adit.yaml", "models: map.yaml");
    let missing = load(Some(&adit), &no_env).unwrap_err().files;
    assert_eq!(names(&missing), ["adit.yaml", "map.yaml"]);
    write("map.yaml", "providers: { bedrock: { type: bedrock } }\nmodels: {}");
    let good = load(Some(&adit), &no_env).unwrap().files;
    assert_eq!(names(&good), ["adit.yaml", "map.yaml"]);
    assert!(good[0] == missing[0] && good[1] != missing[1]);
    write("map.yaml", "models: 1");
    let bad = load(Some(&adit), &no_env).unwrap_err().files;
    assert!(bad[0] == good[0] && bad[1] != good[1]);
    std::fs::remove_file(&adit).unwrap();
    assert_eq!(names(&load(Some(&adit), &no_env).unwrap_err().files), ["adit.yaml"]);
}

#[test]
fn what_needs_another_process_is_named_and_nothing_else() {
    let read = |adit: &str| parse(adit, FULL_MODELS, &no_env).unwrap().process;
    let before = read(FULL_ADIT);
    let fixed = |from: &str, to: &str| {
        assert!(FULL_ADIT.contains(from));
        before.fixed_but_changed(&read(&FULL_ADIT.replace(from, to)))
    };
    assert_eq!(fixed("127.0.0.1:8081", "127.0.0.1:8082"), ["listen.http"]);
    assert_eq!(fixed("threads: 2, pid_file: /run/a.pid", "threads: 3, pid_file: /run/b.pid"), ["pingora.threads", "pingora.pid_file"]);
    assert_eq!(fixed("/run/a.sock", "/run/b.sock"), ["pingora.upgrade_sock"]);
    assert!(fixed("grace_period_seconds: 0", "grace_period_seconds: 1").is_empty());
    assert!(fixed("max_body_bytes: 1000", "max_body_bytes: 2000").is_empty());
}

#[test]
fn thousands_of_models_load_and_are_found() {
    let mut models = String::from("providers: { bedrock: { type: bedrock } }\nmodels:\n");
    for n in 0..5000 {
        models.push_str(&format!("  model-{n}: {{ bedrock: vendor.model-{n}, aliases: [alias-{n}] }}\n"));
    }
    let snapshot = parse("", &models, &no_env).unwrap();
    assert_eq!(snapshot.models.models.len(), 5000);
    assert_eq!(snapshot.models.find("alias-4999").unwrap().name, "model-4999");
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_odd(adit in "[a-z${}\\[\\]:,&*!|>\"' \n0-9-]{0,80}", models in "(providers|models|targets|a|b|[{}\\[\\]:,\" \n-]){0,40}") {
        let _ = parse(&adit, &models, &no_env);
    }
}

mod mistakes;
mod tls;

#[test]
fn capabilities_of_the_model_and_then_of_the_target_win_over_the_table() {
    let models = "providers: { b: { type: bedrock } }\nmodels: { m: { capabilities: { tools: false }, targets: [{ provider: b, model: a.b }, { provider: b, model: a.c, capabilities: { tools: true } }] } }";
    let snapshot = parse("", models, &no_env).unwrap();
    let tools: Vec<bool> = snapshot.models.find("m").unwrap().targets.iter().map(|target| target.capabilities.tools).collect();
    assert_eq!(tools, [false, true]);
}

#[test]
fn the_servers_variable_has_two_names_in_files_too() {
    let models = "providers: { o: { type: openai, base_url: \"${OPENAI_BASE_URL:-https://api.openai.com/v1}\" } }\nmodels: { m: { o: x } }";
    for name in ["OPENAI_BASE_URL", "OPENAI_API_BASE"] {
        let snapshot = parse("", models, &|asked| (asked == name).then(|| "http://127.0.0.1:1/v1".to_owned())).unwrap();
        let provider = &snapshot.models.providers["o"];
        assert_eq!(provider.endpoint().unwrap().to_string(), "http://127.0.0.1:1/v1", "{name}");
        assert!(provider.knows_any_model() && provider.unavailable().is_none(), "{name}");
    }
    let snapshot = parse("", models, &|_| None).unwrap();
    assert!(!snapshot.models.providers["o"].knows_any_model());
}

#[test]
fn limits_are_read_for_everybody_and_for_the_models_of_a_group() {
    let adit = "limits: { default: { tokens_per_minute: 9, budget: { daily_usd: 0.5 } }, default_max_tokens: 77, per_address: { requests_per_second: 3 } }\n\
        auth: { jwt: { issuer: 'https://id.example.com', groups: { a: { limits: { requests_per_minute: 6, models: { 'claude-*': { concurrent_requests: 2 } } } } } } }";
    let process = parse(adit, FULL_MODELS, &no_env).unwrap_or_else(|errors| panic!("{errors}")).process;
    assert_eq!(process.default_limits.unwrap().tokens_per_minute, Some(9));
    assert_eq!((process.default_budget.daily_nano_usd, process.default_budget.monthly_nano_usd), (Some(500_000_000), None));
    assert_eq!((process.default_max_tokens, process.per_address), (77, Some(3)));
    let jwt = process.auth.jwt.unwrap();
    let grant = &jwt.groups[0].1;
    let (models, limits) = &grant.model_limits[0];
    assert_eq!((grant.limits.requests_per_minute, limits.concurrent_requests), (Some(6), Some(2)));
    assert!(models.allow("claude-3-haiku") && !models.allow("nova"));
}
