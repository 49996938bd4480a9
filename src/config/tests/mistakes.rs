//! What an operator gets wrong, and what he is told.

use super::{EMBEDDED_MODELS, env, no_env};
use crate::config::{Snapshot, Source, assemble, parse};

#[track_caller]
fn adit(text: &str, expected: &[&str]) {
    let errors = parse(text, EMBEDDED_MODELS, &no_env).expect_err("this should be wrong").to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "\n{errors}");
}

#[track_caller]
fn models(text: &str, expected: &[&str]) {
    let errors = parse("", text, &no_env).expect_err("this should be wrong").to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "\n{errors}");
}

/// A model map with these lines under `models`.
fn with(models: &str) -> String {
    format!("providers:\n  bedrock: {{ type: bedrock }}\nmodels:\n{models}")
}

#[test]
fn all_at_once() {
    adit(
        "lisen: { http: 1 }\nlisten:\n  http: everywhere\n  htps: {}\ntimeouts: { connect: 3, idle: 0s, totl: 9s }\nlimits: { max_body_bytes: 25MB }\naccess_log: { format: xml }\nstream: quiet\n",
        &[
            "adit.yaml:1:1: lisen: unknown key, did you mean `listen`?",
            "adit.yaml:3:9: listen.http: expected an address such as 127.0.0.1:8080 or [::]:8080, found `everywhere`",
            "adit.yaml:4:3: listen.htps: unknown key, did you mean `https`?",
            "adit.yaml:5:22: timeouts.connect: expected a duration above zero such as 500ms, 3s or 12h, found `3`",
            "adit.yaml:5:31: timeouts.idle: expected a duration above zero such as 500ms, 3s or 12h, found `0s`",
            "adit.yaml:5:35: timeouts.totl: unknown key, did you mean `total`?",
            "adit.yaml:6:27: limits.max_body_bytes: expected a number of bytes such as 26214400 or 25MiB, found `25MB`",
            "adit.yaml:7:23: access_log.format: expected text, json or off, found `xml`",
            "adit.yaml:8:9: stream: expected a mapping, found `quiet`",
        ],
    );
}

#[test]
fn yaml_itself() {
    adit("listen: {\n  http: [\n", &["adit.yaml:3:1: listen.http[0]: expected YAML, but while parsing a node, did not find expected node content"]);
    adit("a: 1\n---\nb: 2\n", &["adit.yaml:2:1: expected one document, found a second one"]);
    adit("- a\n- b\n", &["adit.yaml:1:1: expected a mapping, found a list"]);
    adit("just text\n", &["adit.yaml:1:1: expected a mapping, found `just text`"]);
    adit(
        "models: a.yaml\nmodels: b.yaml\nmodels: c.yaml\n",
        &[
            "adit.yaml:2:1: models: this key stands here a second time; the first is in line 1",
            "adit.yaml:3:1: models: this key stands here a second time; the first is in line 1",
        ],
    );
    adit(
        "limits: !!set { a }\n",
        &[
            "adit.yaml:1:9: limits: tags such as `tag:yaml.org,2002:!set` are not supported",
            "adit.yaml:1:17: limits.a: unknown key, expected default, default_max_tokens, max_body_bytes or per_address",
        ],
    );
    adit("? [a]\n: b\n", &["adit.yaml:1:3: expected a name as key, found something else"]);
    adit("audit: &a { path: *a }\n", &["adit.yaml:1:19: audit.path: an alias inside an anchor is not supported"]);
    models("", &["models.yaml: expected `providers` and `models`, found an empty file"]);
    models("# only words\n", &["models.yaml: expected `providers` and `models`, found an empty file"]);
}

#[test]
fn variables() {
    adit(
        "models: \"${NO_SUCH}\"\naudit: { path: \"${\" }\nlisten: { http: \"127.0.0.1:${PORT:-none}\" }\n",
        &[
            "adit.yaml:1:9: models: expected the environment variable NO_SUCH to be set, found none; `${NO_SUCH:-default}` would give it a default",
            "adit.yaml:2:16: audit.path: expected `}` behind `${`, found none",
            "adit.yaml:3:17: listen.http: expected an address such as 127.0.0.1:8080 or [::]:8080, found `127.0.0.1:none`",
        ],
    );
}

#[test]
fn words_flags_and_addresses_that_are_none() {
    adit(
        "cache: { enabled: maybe }\nredis: http://127.0.0.1\nremote_files: { enabled: true, allow: [\"http://x\"] }\n",
        &[
            "adit.yaml:1:19: cache.enabled: expected true or false, found `maybe`",
            "adit.yaml:2:8: redis: expected a URL such as redis://host:6379 or rediss://user:password@host:6379/0",
            "adit.yaml:3:40: remote_files.allow[0]: expected a host such as cdn.example.com, *.example.com or cdn.example.com:8443, found `http://x`",
        ],
    );
    models(
        &with("  m: { targets: [{ provider: bedrock, model: a.b, surface: messages }] }\n"),
        &["models.yaml:4:60: models.m.targets[0].surface: expected converse or invoke, found `messages`"],
    );
    let variables = env(&[
        ("AUTH_ENABLED", "true"),
        ("AUTH_MODE", "magic"),
        ("ADIT_REDIS_URL", "x"),
        ("ENABLE_OPTILLM", "yes"),
        ("OPTILLM_BASE_URL", "ftp://x"),
        ("ADIT_LISTEN", "nope"),
    ]);
    let errors = parse("", EMBEDDED_MODELS, &variables).unwrap_err().to_string();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        [
            "environment: ADIT_LISTEN: expected an address such as 127.0.0.1:8080 or [::]:8080, found `nope`",
            "environment: AUTH_MODE: expected api_key, api_key+totp, jwt or mtls, found `magic`",
            "environment: ADIT_REDIS_URL: expected a URL such as redis://host:6379 or rediss://user:password@host:6379/0",
            "environment: ENABLE_OPTILLM: expected true or false, found `yes`",
            "environment: OPTILLM_BASE_URL: expected a URL such as https://host:443/prefix, but it does not begin with http:// or https://",
        ]
    );
}

#[test]
fn a_mode_needs_what_it_checks_proofs_with() {
    adit(
        "auth: { enabled: true, mode: [jwt, mtls] }\n",
        &[
            "adit.yaml:1:7: auth: the mode jwt needs `auth.jwt`: who issues tokens",
            "adit.yaml:1:7: auth: the mode mtls needs `listen.https.client_ca`: who vouches for clients",
        ],
    );
    adit(
        "auth: { jwt: { audience: adit, leeway: 1h } }\n",
        &[
            "adit.yaml:1:14: auth.jwt: expected `issuer` or `jwks_url`, found neither",
            "adit.yaml:1:40: auth.jwt.leeway: expected a duration of at most 10m such as 60s, found `1h`",
        ],
    );
    assert!(parse("auth: { mode: [jwt, mtls] }\n", EMBEDDED_MODELS, &no_env).is_ok(), "what is off needs nothing");
    let errors = parse("", EMBEDDED_MODELS, &env(&[("AUTH_ENABLED", "true"), ("AUTH_MODE", "jwt")])).unwrap_err().to_string();
    assert_eq!(errors, "environment: AUTH_MODE: the mode jwt needs `auth.jwt`: who issues tokens");
}

#[test]
fn sections_of_other_versions_are_checked_too() {
    adit(
        "auth: { enabled: maybe, mode: [api_key, password], session: { ttl: long }, jwt: { issuer: \"http://id.example.com\", algorithms: [none], groups: { a: { model: x } } }, mtls: { user: me } }\ntrusted_proxies: [10.0.0.0/40]\naudit: { bodies: some }\noverload: { max_requests: -1 }\npingora: { threads: many }\non_redis_failure: panic\nlisten: { http: null }\n",
        &[
            "adit.yaml:1:18: auth.enabled: expected true or false, found `maybe`",
            "adit.yaml:1:41: auth.mode[1]: expected api_key, api_key+totp, jwt or mtls, found `password`",
            "adit.yaml:1:68: auth.session.ttl: expected a duration above zero such as 500ms, 3s or 12h, found `long`",
            "adit.yaml:1:91: auth.jwt.issuer: expected an https URL, as plain http is for loopback addresses or `allow_http: true`, found `http://id.example.com`",
            "adit.yaml:1:129: auth.jwt.algorithms[0]: expected RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA, found `none`",
            "adit.yaml:1:151: auth.jwt.groups.a.model: unknown key, did you mean `models`?",
            "adit.yaml:1:181: auth.mtls.user: expected subject_cn, san_dns or san_uri, found `me`",
            "adit.yaml:2:19: trusted_proxies[0]: expected a network such as 10.0.0.0/8 or an address, found `10.0.0.0/40`",
            "adit.yaml:3:8: audit: expected `path`: a file, found none",
            "adit.yaml:3:18: audit.bodies: expected none, redacted or full, found `some`",
            "adit.yaml:4:27: overload.max_requests: expected a whole number from 1, found `-1`",
            "adit.yaml:5:21: pingora.threads: expected a whole number from 0 to 1024, found `many`",
            "adit.yaml:6:19: on_redis_failure: expected local or deny, found `panic`",
            "adit.yaml:7:9: listen: expected `http` or `https`, found neither",
        ],
    );
    adit(
        "auth: { jwt: { issuer: \"http://127.0.0.1:1\", jwks_url: \"http://[::1]/k\" } }\nx: 1\n",
        &[
            "adit.yaml:2:1: x: unknown key, expected access_log, audit, auth, cache, limits, listen, models, on_redis_failure, optillm, overload, pingora, redis, redis_timeout, remote_files, responses, state_dir, stream, timeouts or trusted_proxies",
        ],
    );
}

#[test]
fn providers() {
    models(
        r#"
providers:
  a: { type: bedrok }
  b: { region: us-east-1 }
  c: { type: bedrock, region: US-EAST-1, endpoint: ftp://x, regoin: x }
  d: { type: bedrock, access_key_id: AKIDEXAMPLE, session_token: x }
  e: { type: bedrock, external_id: x, profile: p, bearer_token: t }
  f: { type: bedrock, role_arn: admin }
  g: { type: bedrock, role_arn: "arn:aws:iam::123456789012:role/x", bearer_token: t }
  h: { type: bedrock, endpoint: "https://x", fips: true }
  "a/b": { type: bedrock }
  i: text
"#,
        &[
            "models.yaml:3:14: providers.a.type: expected bedrock, openai, azure_openai, anthropic or vertex, found `bedrok`",
            "models.yaml:4:6: providers.b: expected `type`: bedrock, openai, azure_openai, anthropic or vertex, found none",
            "models.yaml:5:31: providers.c.region: expected a region such as us-east-1, found `US-EAST-1`",
            "models.yaml:5:52: providers.c.endpoint: expected a URL such as https://host:443/prefix, found `ftp://x`: it does not begin with http:// or https://",
            "models.yaml:5:61: providers.c.regoin: unknown key, did you mean `region`?",
            "models.yaml:6:6: providers.d: expected `access_key_id` and `secret_access_key` together, found one of them",
            "models.yaml:7:6: providers.e: expected `external_id` beside `role_arn`, found it alone",
            "models.yaml:7:6: providers.e: expected one source of credentials, found `bearer_token` and `profile`",
            "models.yaml:8:33: providers.f.role_arn: expected a role such as arn:aws:iam::123456789012:role/name, found `admin`",
            "models.yaml:9:6: providers.g: expected `role_arn` or `bearer_token`, found both: no role can be assumed with a bearer token",
            "models.yaml:10:6: providers.h: expected either `endpoint` or `fips` and `dual_stack`, found both",
            "models.yaml:11:10: providers.a/b: expected a provider name of letters, digits, `-`, `_` and `.`, found `a/b`",
            "models.yaml:12:6: providers.i: expected a mapping, found `text`",
        ],
    );
    models("models: {}\n", &["models.yaml:1:1: expected `providers`: at least one provider, found none"]);
    models("providers: {}\n", &["models.yaml:1:12: providers: expected at least one provider, found a mapping"]);
    let bad = env(&[("AWS_REGION", "us east"), ("AWS_ENDPOINT_URL", "x")]);
    let errors = parse("", "providers: { a: { type: bedrock }, b: { type: bedrock } }", &bad).unwrap_err().to_string();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        [
            "environment: AWS_REGION: expected a region such as us-east-1, found `us east`",
            "environment: AWS_ENDPOINT_URL: expected a URL such as https://host:443/prefix, but it does not begin with http:// or https://",
        ]
    );
}

#[test]
fn models_and_targets() {
    models(
        &with(
            r#"  a: anthropic.claude
  b: {}
  c: { bedrok: x }
  d: { bedrock: x, targets: [{ provider: bedrock, model: x }] }
  e: { targets: [] }
  f: { targets: [{ provider: bedrok, model: "a b", weight: 0, priority: high }, { model: x }] }
  g: { bedrock: "" }
  h: { bedrock: x, price: { input: -1 }, max_tokens: 0, parameters: { unknown: keep } }
  i: { bedrock: x, guardrail: { identifier: g, version: latest, trace: on } }
"#,
        ),
        &[
            "models.yaml:4:6: models.a: expected `{ provider: model-id }` or `{ targets: […] }`, found `anthropic.claude`",
            "models.yaml:5:6: models.b: expected a target: `{ provider: model-id }` or `targets: […]`, found a mapping",
            "models.yaml:6:8: models.c.bedrok: unknown key, did you mean `bedrock`?",
            "models.yaml:7:8: models.d.bedrock: expected targets in the short form, or a list in `targets`, found both",
            "models.yaml:8:17: models.e.targets: expected at least one target, found a list",
            "models.yaml:9:30: models.f.targets[0].provider: expected the name of a provider, found `bedrok`: did you mean `bedrock`?",
            "models.yaml:9:45: models.f.targets[0].model: expected a model id, but it holds a control character or white space",
            "models.yaml:9:60: models.f.targets[0].weight: expected a whole number from 1 to 1000000, found `0`",
            "models.yaml:9:73: models.f.targets[0].priority: expected a whole number from 0 to 1000, found `high`",
            "models.yaml:9:81: models.f.targets[1]: expected `provider`: the name of a provider, found none",
            "models.yaml:10:17: models.g.bedrock: expected a model id, but it is empty",
            "models.yaml:11:27: models.h.price: expected `output`: USD per million tokens, found none",
            "models.yaml:11:36: models.h.price.input: expected a price of 0 or more in USD per million tokens, found `-1`",
            "models.yaml:11:54: models.h.max_tokens: expected a whole number from 1 to 4294967295, found `0`",
            "models.yaml:11:80: models.h.parameters.unknown: expected carry, drop or reject, found `keep`",
            "models.yaml:12:57: models.i.guardrail.version: expected a number or DRAFT, found `latest`",
            "models.yaml:12:72: models.i.guardrail.trace: expected enabled, disabled or enabled_full, found `on`",
        ],
    );
}

#[test]
fn names_that_collide() {
    models(
        &with("  a: { bedrock: x, aliases: [b, c] }\n  b: { bedrock: x, aliases: [c, b, a] }\n  a: { bedrock: y }\n"),
        &[
            "models.yaml:4:30: models.a.aliases[0]: expected an alias of its own, but `b` is taken by models.b in line 5",
            "models.yaml:5:30: models.b.aliases[0]: expected an alias of its own, but `c` is taken by models.a in line 4",
            "models.yaml:5:33: models.b.aliases[1]: expected an alias of its own, but `b` is taken by models.b in line 5",
            "models.yaml:5:36: models.b.aliases[2]: expected an alias of its own, but `a` is taken by models.a in line 4",
            "models.yaml:6:3: models.a: this key stands here a second time; the first is in line 4",
        ],
    );
}

#[test]
fn routing() {
    models(
        &(with("  claude: { bedrock: x }\n")
            + "routing: { default_provider: aws, fallback_model: cloude, fallback: { on: [connect, 200, often] }, cooldown: { for: 10s, max: 5s }, on_disconnect: wait, retry: { attempts: 11, budget: 2, base: 3s }, tries: 1 }\n"),
        &[
            "models.yaml:5:30: routing.default_provider: expected the name of a provider, found `aws`: bedrock",
            "models.yaml:5:51: routing.fallback_model: expected the name of a model of this file, found `cloude`, did you mean `claude`?",
            "models.yaml:5:85: routing.fallback.on[1]: expected connect, timeout or an HTTP status from 400 to 599, found `200`",
            "models.yaml:5:90: routing.fallback.on[2]: expected connect, timeout or an HTTP status from 400 to 599, found `often`",
            "models.yaml:5:110: routing.cooldown: expected `max` to be no shorter than `for`",
            "models.yaml:5:148: routing.on_disconnect: expected cancel or drain, found `wait`",
            "models.yaml:5:161: routing.retry: expected `max` to be no shorter than `base`",
            "models.yaml:5:173: routing.retry.attempts: expected a whole number from 0 to 10, found `11`",
            "models.yaml:5:185: routing.retry.budget: expected a share from 0 to 1, found `2`",
            "models.yaml:5:200: routing.tries: unknown key, expected cache_affinity, cooldown, default_provider, fallback, fallback_model, on_disconnect or retry",
        ],
    );
}

/// What follows `unknown field` lists the members of a type that is not this module's.
#[test]
fn capabilities() {
    let text = with("  m: { bedrock: x, capabilities: { flying: true, tools: perhaps, max_tokens: [] } }\n  n: { bedrock: x, capabilities: [tools] }\n");
    let errors = parse("", &text, &no_env).unwrap_err().to_string();
    let starts = [
        "models.yaml:4:44: models.m.capabilities.flying: unknown field `flying`, expected one of ",
        "models.yaml:4:57: models.m.capabilities.tools: invalid type: string \"perhaps\", expected a boolean",
        "models.yaml:4:78: models.m.capabilities.max_tokens: ",
        "models.yaml:5:34: models.n.capabilities: expected a mapping, found a list",
    ];
    assert_eq!(errors.lines().count(), starts.len(), "{errors}");
    for (line, start) in errors.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn azures_version_is_one_word_and_may_be_left_open() {
    let text = |version: &str| {
        format!("providers:\n  a: {{ type: azure_openai, endpoint: 'http://h', api_version: {version} }}\nmodels: {{}}\nrouting: {{ default_provider: a }}\n")
    };
    models(&text("'a b&c'"), &["models.yaml:2:63: providers.a.api_version: expected an API version such as 2024-10-21, v1 or preview, found `a b&c`"]);
    assert!(parse("", &text("''"), &no_env).is_ok());
}

/// What is said of a file of keys, beside an empty configuration with this environment.
fn keys(text: &str, names: &[&str], variables: &'static [(&'static str, &'static str)]) -> Result<Snapshot, Vec<String>> {
    let source = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned(), own: true };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let models = |_| Ok(source("models.yaml", EMBEDDED_MODELS));
    let adit = source("adit.yaml", "limits: { default: { requests_per_minute: 7, tokens_per_minute: 8 } }");
    assemble(&adit, models, |_| Some(Ok(source("keys.yaml", text))), &env(variables), &names)
        .map_err(|errors| errors.to_string().lines().map(str::to_owned).collect())
}

const HASH: &str = "hmac-sha256:abc:AAAAAAAAAAAAAAAAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn mistakes_in_keys() {
    let text = format!(
        "keys:\n  - {{ name: a, hash: \"{HASH}\", limits: {{ requests_per_minute: 1 }} }}\n  - {{ name: a, hash: \"{HASH}\" }}\n  - {{ hash: sk-adit-hush, expires: soon, disabled: maybe, totp: hush, modls: x }}\n  - {{ name: b, access_key_id: AKIDEXAMPLE }}\n  - {{ name: b, access_key_id: AKIDEXAMPLE, secret: hush }}\n  - {{ name: b, access_key_id: AKIDEXAMPLE, secret: hush }}\n  - {{ name: b, hash: \"{HASH}\", secret: hush }}\n  - {{ name: c, totp: GEZDGNBVGY3TQOJQ }}\nkeyz: []\n"
    );
    let found =
        keys(&text, &["BEDROCK_API_KEY_X", "BEDROCK_API_KEY_Y"], &[("BEDROCK_API_KEY_X", "hush"), ("BEDROCK_API_KEY_Y", "hush"), ("TOTP_SECRET_X", "hush")]);
    let found = found.unwrap_err();
    assert_eq!(
        found,
        [
            "keys.yaml:3:5: keys[1]: expected the same limits and budget as in the other lines of `a`: they hold for the user, not for a key",
            "keys.yaml:3:5: keys[1]: expected a key of its own, found the id of another line's hash",
            "keys.yaml:4:5: keys[2]: expected `name`: the user, found none",
            "keys.yaml:4:13: keys[2].hash: expected `hmac-sha256:<id>:<salt>:<digest>`, as `adit key new` prints it",
            "keys.yaml:4:36: keys[2].expires: expected a time such as 2027-01-01T00:00:00Z, found `soon`",
            "keys.yaml:4:52: keys[2].disabled: expected true or false, found `maybe`",
            "keys.yaml:4:65: keys[2].totp: expected a secret in base32 of at least 16 characters, as `adit totp new` prints it",
            "keys.yaml:4:71: keys[2].modls: unknown key, did you mean `models`?",
            "keys.yaml:5:5: keys[3]: expected `secret` beside `access_key_id`",
            "keys.yaml:7:5: keys[5]: expected a key pair of its own, found the access_key_id of another line",
            "keys.yaml:8:5: keys[6]: expected either `hash` or `access_key_id` and `secret`, found both",
            "keys.yaml:9:5: keys[7]: expected `hash` beside `totp`: codes go with a key",
            "keys.yaml:10:1: keyz: unknown key, did you mean `keys`?",
            "environment: TOTP_SECRET_X: expected a secret in base32 of at least 16 characters, as `adit totp new` prints it",
            "environment: BEDROCK_API_KEY_Y: expected a key of its own, found the one of BEDROCK_API_KEY_X",
        ]
    );
    assert!(!found.concat().contains("hush"));
}

#[test]
fn good_keys() {
    let text = format!(
        "keys:\n  - {{ name: a, hash: \"{HASH}\", models: [x], limits: {{ requests_per_minute: 1 }}, expires: 2027-01-01, labels: {{ team: red }}, totp: \"gezd gnbv gy3t qojq\" }}\n  - {{ name: robot, access_key_id: AKIDEXAMPLE, secret: hush, disabled: true }}\n  - {{ name: carol, models: [y], disabled: true }}\n"
    );
    let snapshot =
        keys(&text, &["BEDROCK_API_KEY_A", "BEDROCK_API_KEY_CAROL", "PATH"], &[("BEDROCK_API_KEY_A", "hush-a"), ("BEDROCK_API_KEY_CAROL", "hush-c")]).unwrap();
    let users = &snapshot.process.auth.users;
    let key = &users.keys["abc"];
    assert_eq!((&*key.name, key.grant.models.allow("x"), key.grant.models.allow("y")), ("a", true, false));
    assert_eq!((key.grant.limits.requests_per_minute, key.grant.limits.tokens_per_minute), (Some(1), Some(8)), "over the defaults");
    assert_eq!(humantime::format_rfc3339(key.expires.unwrap()).to_string(), "2027-01-01T00:00:00Z");
    assert_eq!(key.totp.as_ref().unwrap().0.as_ref(), b"1234567890");
    let robot = &users.sigv4["AKIDEXAMPLE"];
    assert_eq!((&*robot.name, robot.disabled, robot.secret.expose(), robot.grant.limits.requests_per_minute), ("robot", true, "hush", Some(7)));
    assert!(users.by_name["carol"].disabled && !users.by_name["robot"].disabled);
    let of_env: Vec<_> = users.env_keys.iter().map(|(_, key)| (&*key.name, &*key.id, key.disabled, key.grant.models.allow("x"))).collect();
    assert_eq!(
        of_env,
        [("a", "BEDROCK_API_KEY_A", false, true), ("carol", "BEDROCK_API_KEY_CAROL", true, false)],
        "an environment's key is for what the user's line says"
    );
    assert!(!format!("{snapshot:?}").contains("hush"));
    assert!(snapshot.notes().concat().contains("auth.enabled is false"));
}
