use std::collections::HashMap;

use super::*;
use crate::config;

const MODELS: &str = r#"
providers:
  bedrock:      { type: bedrock, region: us-east-1 }
  bedrock-eu:   { type: bedrock, region: eu-central-1 }
  bedrock-eu-2: { type: bedrock, region: eu-central-1 }
  openai:       { type: openai }
models:
  simple: { bedrock: "anthropic.claude-3-haiku-20240307-v1:0", aliases: [gpt-4] }
  spread:
    targets:
      - { provider: bedrock,    model: a.first, weight: 3 }
      - { provider: bedrock-eu, model: a.second, weight: 1 }
      - { provider: bedrock-eu, model: a.third, priority: 1 }
  later: { openai: gpt-5 }
  mixed: { targets: [{ provider: openai, model: gpt-5 }, { provider: bedrock, model: a.b, priority: 7 }] }
  "anthropic.shadowed-v1:0": { bedrock-eu: "anthropic.other-v1:0" }
"#;

const ARN_EU: &str = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-6";
const ARN_JP: &str = "arn:aws:bedrock:ap-northeast-1:123456789012:inference-profile/jp.anthropic.claude-sonnet-4-6";

fn snapshot(more: &str) -> Snapshot {
    config::parse("", &format!("{MODELS}{more}"), &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The first of all routes.
fn first(snapshot: &Snapshot, model: &str, wish: Wish<'_>, usable: &dyn Fn(&Provider) -> bool, random: u64) -> Result<Route, ApiError> {
    route(snapshot, model, wish, &View { usable, fit: &|_| true, pinned: &|_| false, random }).map(|way| way.routes().next().unwrap())
}

/// `model at provider`, or status and message.
fn outcome(snapshot: &Snapshot, model: &str, provider: Option<&str>, down: &[&str], random: u64) -> String {
    match first(snapshot, model, provider.map_or(Wish::None, Wish::Provider), &|provider| !down.contains(&provider.name.as_str()), random) {
        Ok(route) => {
            let through = route.model.map(|model| format!(" through {}", model.name)).unwrap_or_default();
            format!("{} at {}{through}", route.target.model, route.target.provider.name)
        }
        Err(error) => format!("{} {}", error.status, error.message),
    }
}

#[test]
fn every_way_to_a_target() {
    let plain = snapshot("");
    for (model, provider, down, expected) in [
        // The map, by name and alias.
        ("simple", None, &[][..], "anthropic.claude-3-haiku-20240307-v1:0 at bedrock through simple"),
        ("gpt-4", None, &[], "anthropic.claude-3-haiku-20240307-v1:0 at bedrock through simple"),
        ("anthropic.shadowed-v1:0", None, &[], "anthropic.other-v1:0 at bedrock-eu through anthropic.shadowed-v1:0"),
        // A named provider narrows the targets; `aws` is Bedrock.
        ("spread", Some("bedrock-eu"), &[], "a.second at bedrock-eu through spread"),
        ("simple", Some("aws"), &[], "anthropic.claude-3-haiku-20240307-v1:0 at bedrock through simple"),
        ("simple", Some("bedrock-eu"), &[], "404 The model `simple` does not exist at the provider `bedrock-eu`."),
        ("anthropic.shadowed-v1:0", Some("bedrock"), &[], "anthropic.shadowed-v1:0 at bedrock"),
        ("simple", Some("nobody"), &[], "400 There is no provider `nobody`."),
        // Priority, and what is not usable.
        ("spread", None, &["bedrock"], "a.second at bedrock-eu through spread"),
        ("mixed", None, &[], "a.b at bedrock through mixed"),
        ("simple", None, &["bedrock"], "503 The model `simple` cannot be used: the provider `bedrock` is not configured (it has no usable credentials)."),
        (
            "later",
            None,
            &[],
            "503 The model `later` cannot be used: the provider `openai` is not configured (it has no api_key, and OPENAI_API_KEY is not set).",
        ),
        (
            "x",
            Some("openai"),
            &[],
            "503 The model `x` cannot be used: the provider `openai` is not configured (it has no api_key, and OPENAI_API_KEY is not set).",
        ),
        // Bedrock's own naming.
        ("us.anthropic.claude-sonnet-4-6", None, &[], "us.anthropic.claude-sonnet-4-6 at bedrock"),
        ("amazon.nova-pro-v1:0", Some("bedrock-eu"), &[], "amazon.nova-pro-v1:0 at bedrock-eu"),
        (ARN_EU, None, &[], &format!("{ARN_EU} at bedrock-eu")),
        (ARN_EU, None, &["bedrock-eu"], &format!("{ARN_EU} at bedrock-eu-2")),
        (ARN_EU, Some("bedrock"), &[], &format!("{ARN_EU} at bedrock")),
        (ARN_JP, None, &[], &format!("{ARN_JP} at bedrock")),
        ("amazon.nova-pro-v1:0", None, &["bedrock"], "amazon.nova-pro-v1:0 at bedrock-eu"),
        (
            "amazon.nova-pro-v1:0",
            None,
            &["bedrock", "bedrock-eu", "bedrock-eu-2"],
            "503 The model `amazon.nova-pro-v1:0` cannot be used: the provider `bedrock` is not configured (it has no usable credentials).",
        ),
        // Nobody knows it.
        ("gpt-5", None, &[], "404 The model `gpt-5` does not exist."),
        ("", None, &[], "404 The model `` does not exist."),
        ("..", Some("bedrock"), &[], "404 The model `..` does not exist at the provider `bedrock`."),
        ("a\u{7}b", None, &[], "404 The model `ab` does not exist."),
    ] {
        assert_eq!(outcome(&plain, model, provider, down, 3), expected, "{model} {provider:?} {down:?}");
    }
}

#[test]
fn a_fallback_model_takes_what_nobody_knows() {
    let with = snapshot("routing: { fallback_model: gpt-4 }\n");
    assert_eq!(outcome(&with, "gpt-5", None, &[], 0), "anthropic.claude-3-haiku-20240307-v1:0 at bedrock through simple");
    assert_eq!(outcome(&with, "amazon.nova-pro-v1:0", None, &[], 0), "amazon.nova-pro-v1:0 at bedrock");
    assert_eq!(outcome(&with, "gpt-5", Some("bedrock-eu"), &[], 0), "404 The model `gpt-5` does not exist at the provider `bedrock-eu`.");
    let other = snapshot("routing: { default_provider: openai }\n");
    assert!(outcome(&other, "gpt-5", None, &[], 0).starts_with("503 The model `gpt-5` cannot be used: the provider `openai`"));
    assert_eq!(outcome(&other, "amazon.nova-pro-v1:0", None, &[], 0), "amazon.nova-pro-v1:0 at bedrock");
}

#[test]
fn every_provider_has_its_own_naming() {
    let all = r#"
providers:
  bedrock: { type: bedrock }
  openai: { type: openai, base_url: "https://api.openai.com/v1", api_key: k }
  anthropic: { type: anthropic, api_key: k }
  azure: { type: azure_openai, endpoint: "https://r.openai.azure.com", api_key: k }
  vertex: { type: vertex, project: p }
  own: { type: openai, base_url: "http://127.0.0.1:1/v1" }
models: { m: { bedrock: a.b } }
"#;
    let env = |name: &str| (name == "OPENAI_BASE_URL").then(|| "http://127.0.0.1:1/v1/".to_owned());
    let all = config::parse("", all, &env).unwrap_or_else(|errors| panic!("{errors}"));
    for (model, provider, down, expected) in [
        ("gpt-4o-mini", None, &[][..], "gpt-4o-mini at openai"),
        ("o3", None, &[], "o3 at openai"),
        ("claude-opus-4-6", None, &[], "claude-opus-4-6 at anthropic"),
        ("claude-opus-4-5@20251101", None, &[], "claude-opus-4-5@20251101 at vertex"),
        ("google/gemini-2.5-pro", None, &[], "google/gemini-2.5-pro at vertex"),
        ("my-deployment", Some("azure"), &[], "my-deployment at azure"),
        ("whatever", Some("anthropic"), &[], "whatever at anthropic"),
        ("whatever", Some("aws"), &[], "404 The model `whatever` does not exist at the provider `bedrock`."),
        // The server that OPENAI_BASE_URL names may know any name; it comes last.
        ("my-llama", None, &[], "my-llama at own"),
        ("gpt-4o-mini", None, &["openai"], "gpt-4o-mini at own"),
        ("anthropic.claude-3-haiku-20240307-v1:0", None, &["bedrock"], "anthropic.claude-3-haiku-20240307-v1:0 at own"),
        ("m", None, &["bedrock"], "503 The model `m` cannot be used: the provider `bedrock` is not configured (it has no usable credentials)."),
        ("my-llama", None, &["own"], "404 The model `my-llama` does not exist."),
    ] {
        assert_eq!(outcome(&all, model, provider, down, 3), expected, "{model} {provider:?} {down:?}");
    }
    let other = config::parse("", "providers: { a: { type: anthropic, api_key: k } }\nmodels: { m: { a: b } }", &|_| None).unwrap();
    assert_eq!(outcome(&other, "whatever", None, &[], 0), "whatever at a", "the default provider is asked, unless it is Bedrock");
}

#[test]
fn names_of_the_built_in_map_lead_to_the_environments_server_where_there_is_no_bedrock() {
    let env = |name: &str| (name == "OPENAI_BASE_URL").then(|| "http://127.0.0.1:1/v1".to_owned());
    let built_in = config::load_embedded(&env).unwrap();
    assert_eq!(outcome(&built_in, "claude-3-haiku", None, &["bedrock"], 0), "claude-3-haiku at openai");
    assert_eq!(outcome(&built_in, "claude-3-haiku", None, &[], 0), "anthropic.claude-3-haiku-20240307-v1:0 at bedrock through claude-3-haiku");
    assert!(outcome(&built_in, "claude-3-haiku", Some("bedrock"), &["bedrock"], 0).starts_with("503 "));
}

#[test]
fn the_path_of_bedrocks_api_is_a_wish_and_a_providers_own_path_an_order() {
    let text = "providers: { bedrock: { type: bedrock }, own: { type: openai, base_url: \"http://127.0.0.1:1/v1\" } }\nmodels: { here: { bedrock: a.b }, there: { own: x } }";
    let env = |name: &str| (name == "OPENAI_BASE_URL").then(|| "http://127.0.0.1:1/v1".to_owned());
    let snapshot = config::parse("", text, &env).unwrap();
    let to = |model: &str, wish| first(&snapshot, model, wish, &|_| true, 0).map(|route| format!("{} at {}", route.target.model, route.target.provider.name));
    assert_eq!(to("here", Wish::Rather("bedrock")).unwrap(), "a.b at bedrock");
    assert_eq!(to("there", Wish::Rather("bedrock")).unwrap(), "x at own");
    assert_eq!(to("amazon.nova-pro-v1:0", Wish::Rather("aws")).unwrap(), "amazon.nova-pro-v1:0 at bedrock");
    assert_eq!(to("my-llama", Wish::Rather("bedrock")).unwrap(), "my-llama at own");
    assert_eq!(to("there", Wish::Provider("bedrock")).unwrap_err().status, 404);
    assert_eq!(native(&snapshot, "own", |_| true).unwrap().name, "own");
    assert_eq!(native(&snapshot, "nobody", |_| true).unwrap_err().status, 404);
    assert_eq!(native(&snapshot, "own", |_| false).unwrap_err().status, 503);
}

#[test]
fn bedrock_is_found_under_any_name() {
    let snapshot = config::parse("", "providers: { mine: { type: bedrock }, z: { type: openai } }\nmodels: { m: { mine: a.b } }", &|_| None).unwrap();
    for name in ["aws", "bedrock", "mine"] {
        assert_eq!(outcome(&snapshot, "m", Some(name), &[], 0), "a.b at mine through m");
    }
}

#[test]
fn weights_are_shares() {
    let snapshot = snapshot("");
    let mut seen = HashMap::new();
    for random in 0..400 {
        *seen.entry(outcome(&snapshot, "spread", None, &[], random)).or_insert(0) += 1;
    }
    assert_eq!(seen.remove("a.first at bedrock through spread"), Some(300));
    assert_eq!(seen.remove("a.second at bedrock-eu through spread"), Some(100));
    assert!(seen.is_empty());
    assert_eq!(outcome(&snapshot, "spread", None, &[], u64::MAX), "a.second at bedrock-eu through spread");
}

#[test]
fn errors_name_the_member_and_keep_client_text_short() {
    let snapshot = snapshot("");
    let unknown = first(&snapshot, &"x".repeat(5000), Wish::None, &|_| true, 0).unwrap_err();
    assert_eq!((unknown.kind, unknown.param.as_deref()), (ErrorKind::ModelNotFound, Some("model")));
    assert!(unknown.message.len() < 300);
    let provider = first(&snapshot, "simple", Wish::Provider("x"), &|_| true, 0).unwrap_err();
    assert_eq!((provider.kind, provider.param.as_deref()), (ErrorKind::InvalidRequest, Some("x-provider")));
}

#[test]
fn only_models_that_can_be_used_are_shown() {
    let snapshot = snapshot("");
    let names = |down: &str| visible_models(&snapshot, |provider| provider.name != down).map(|model| model.name.as_str()).collect::<Vec<_>>().join(" ");
    assert_eq!(names(""), "simple spread mixed anthropic.shadowed-v1:0");
    assert_eq!(names("bedrock"), "spread anthropic.shadowed-v1:0");
    assert_eq!(names("bedrock-eu"), "simple spread mixed");
}

/// All targets in their order.
fn order(snapshot: &Snapshot, model: &str, resting: &[&str], pinned: Option<&str>, random: u64) -> Vec<String> {
    let view =
        View { usable: &|_| true, fit: &|target| !resting.contains(&target.model.as_str()), pinned: &|target| pinned == Some(target.model.as_str()), random };
    route(snapshot, model, Wish::None, &view).unwrap().routes().map(|route| route.target.model.clone()).collect()
}

#[test]
fn targets_are_tried_by_fitness_then_priority_then_place_then_weight() {
    let snapshot = snapshot("");
    for (resting, pinned, expected) in [
        (&[][..], None, ["a.first", "a.second", "a.third"]),
        (&["a.first"], None, ["a.second", "a.third", "a.first"]),
        (&["a.first", "a.second"], None, ["a.third", "a.first", "a.second"]),
        (&["a.first", "a.second", "a.third"], None, ["a.first", "a.second", "a.third"]),
        (&[], Some("a.second"), ["a.second", "a.first", "a.third"]),
        // No detour for a cache, and none to who rests.
        (&[], Some("a.third"), ["a.first", "a.second", "a.third"]),
        (&["a.second"], Some("a.second"), ["a.first", "a.third", "a.second"]),
    ] {
        assert_eq!(order(&snapshot, "spread", resting, pinned, 0), expected, "{resting:?} {pinned:?}");
    }
    let text = r#"
providers: { x: { type: openai }, y: { type: openai }, z: { type: openai } }
models:
  several: { x: one, y: two, z: three }
  listed: { targets: [{ provider: x, model: one }, { provider: y, model: two }, { provider: z, model: three }] }
"#;
    let with = |routing: &str| config::parse("", &format!("{text}{routing}"), &|name| (name == "OPENAI_API_KEY").then(|| "not-a-key".to_owned())).unwrap();
    // The short form is an order, the list is a draw, and the operator's order is above both.
    for random in 0..50 {
        assert_eq!(order(&with(""), "several", &[], None, random), ["one", "two", "three"]);
        let ordered = with("routing: { default_provider: x, fallback: { providers: [z, x] } }");
        for model in ["several", "listed"] {
            assert_eq!(order(&ordered, model, &[], None, random), ["three", "one", "two"]);
        }
    }
    let drawn: std::collections::BTreeSet<_> = (0..50).map(|random| order(&with(""), "listed", &[], None, random)).collect();
    assert_eq!(drawn.len(), 6, "every order comes");
}

#[test]
fn shares_are_within_three_percent_of_the_weights() {
    let text = "providers: { x: { type: openai }, y: { type: openai }, z: { type: openai } }\n\
                models: { m: { targets: [{ provider: x, model: a, weight: 6 }, { provider: y, model: b, weight: 3 }, { provider: z, model: c, weight: 1 }] } }";
    let snapshot = config::parse("", text, &|name| (name == "OPENAI_API_KEY").then(|| "not-a-key".to_owned())).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut firsts, mut seconds) = (HashMap::new(), HashMap::new());
    for _ in 0..10_000 {
        let order = order(&snapshot, "m", &[], None, random.u64(..));
        *firsts.entry(order[0].clone()).or_insert(0) += 1;
        if order[0] == "a" {
            *seconds.entry(order[1].clone()).or_insert(0) += 1;
        }
    }
    for (model, expected) in [("a", 6000), ("b", 3000), ("c", 1000)] {
        let share: i32 = firsts[model];
        assert!((share - expected).abs() <= 300, "{model}: {share} of 10,000");
    }
    // What is left is drawn by weight too: 3 to 1.
    let (b, c) = (f64::from(seconds["b"]), f64::from(seconds["c"]));
    assert!((b / (b + c) - 0.75).abs() < 0.03, "{b} {c}");
}
