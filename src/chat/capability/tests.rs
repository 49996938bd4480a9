use super::*;

#[test]
fn regions_and_arns_do_not_hide_the_model() {
    for (id, base) in [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("us.anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("us-gov.anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("global.amazon.nova-2-lite-v1:0", "amazon.nova-2-lite-v1:0"),
        ("apac.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-text-express-v1", "amazon.titan-text-express-v1"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:inference-profile/us-gov.meta.llama3-3-70b-instruct-v1:0", "meta.llama3-3-70b-instruct-v1:0"),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", "abc123"),
        ("deepseek.v3.2", "deepseek.v3.2"),
        ("projects/p/locations/global/publishers/anthropic/models/claude-opus-4-5@20251101", "claude-opus-4-5@20251101"),
        ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google/gemini-2.5-flash", "gemini-2.5-flash"),
        ("meta-llama/Llama-4", "meta-llama/Llama-4"),
        ("gpt-5.2", "gpt-5.2"),
        ("publishers/", "publishers/"),
        ("arn:", "arn:"),
        ("", ""),
    ] {
        assert_eq!(base_model(id), base, "{id}");
    }
}

#[test]
fn trap_34_the_reasoning_switch_is_the_familys_own() {
    for (id, reasoning) in [
        ("anthropic.claude-3-haiku-20240307-v1:0", Reasoning::None),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Reasoning::Budget),
        ("anthropic.claude-sonnet-4-20250514-v1:0", Reasoning::Budget),
        ("anthropic.claude-opus-4-1-20250805-v1:0", Reasoning::Budget),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", Reasoning::Budget),
        ("global.anthropic.claude-opus-4-6-v1", Reasoning::Adaptive),
        ("global.anthropic.claude-opus-4-7", Reasoning::AdaptiveOnly),
        ("anthropic.claude-opus-5", Reasoning::AdaptiveOnly),
        ("anthropic.claude-opus-5-5", Reasoning::AdaptiveAlways),
        ("anthropic.claude-epic-7", Reasoning::AdaptiveAlways),
        ("us.amazon.nova-2-lite-v1:0", Reasoning::Nova),
        ("amazon.nova-lite-v1:0", Reasoning::None),
        ("us.deepseek.r1-v1:0", Reasoning::None),
        ("deepseek.v3-v1:0", Reasoning::ReasoningConfig),
        ("zai.glm-4.7", Reasoning::ReasoningConfig),
        ("openai.gpt-oss-120b-1:0", Reasoning::ReasoningEffort),
        ("nobody.knows-me", Reasoning::None),
    ] {
        assert_eq!(Capabilities::of(id).reasoning, reasoning, "{id}");
    }
}

/// id, tools, forced choice, system, cache, structured output, prefill, sampling, temperature beside top_p
type Row = (&'static str, bool, ForcedChoice, SystemPrompt, Cache, StructuredOutput, bool, bool, bool);

#[test]
fn families() {
    use Cache::{FiveMinutes, OneHour};
    use StructuredOutput::Native as Shape;
    use SystemPrompt::{Native, Prepended};
    const BY_TOOL: StructuredOutput = StructuredOutput::Tool;
    const NO_CACHE: Cache = Cache::None;
    const ROWS: [Row; 21] = [
        ("anthropic.claude-v2:1", false, ForcedChoice::None, Native, NO_CACHE, BY_TOOL, true, true, true),
        ("anthropic.claude-3-haiku-20240307-v1:0", true, ForcedChoice::Tool, Native, NO_CACHE, BY_TOOL, true, true, true),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", true, ForcedChoice::Tool, Native, NO_CACHE, BY_TOOL, true, true, true),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", true, ForcedChoice::Tool, Native, FiveMinutes, BY_TOOL, true, true, true),
        ("anthropic.claude-opus-4-1-20250805-v1:0", true, ForcedChoice::Tool, Native, FiveMinutes, BY_TOOL, true, true, false),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", true, ForcedChoice::Tool, Native, OneHour, Shape, true, true, false),
        ("anthropic.claude-sonnet-4-6", true, ForcedChoice::Tool, Native, OneHour, Shape, false, true, false),
        ("anthropic.claude-opus-4-8", true, ForcedChoice::Tool, Native, OneHour, Shape, false, false, false),
        ("anthropic.claude-opus-5-5", true, ForcedChoice::None, Native, OneHour, Shape, false, false, false),
        ("anthropic.claude-epic-7", true, ForcedChoice::None, Native, OneHour, BY_TOOL, false, false, false),
        ("amazon.titan-text-express-v1", false, ForcedChoice::None, Prepended, NO_CACHE, BY_TOOL, false, true, true),
        ("amazon.nova-pro-v1:0", true, ForcedChoice::Tool, Native, FiveMinutes, BY_TOOL, true, true, true),
        ("meta.llama2-70b-chat-v1", false, ForcedChoice::None, Native, NO_CACHE, BY_TOOL, false, true, true),
        ("meta.llama3-8b-instruct-v1:0", false, ForcedChoice::None, Native, NO_CACHE, BY_TOOL, false, true, true),
        ("us.meta.llama3-3-70b-instruct-v1:0", true, ForcedChoice::None, Native, NO_CACHE, BY_TOOL, false, true, true),
        ("mistral.mixtral-8x7b-instruct-v0:1", false, ForcedChoice::None, Prepended, NO_CACHE, BY_TOOL, false, true, true),
        ("mistral.mistral-large-2407-v1:0", true, ForcedChoice::Any, Native, NO_CACHE, BY_TOOL, false, true, true),
        ("cohere.command-r-plus-v1:0", true, ForcedChoice::None, Native, NO_CACHE, BY_TOOL, false, true, true),
        ("deepseek.r1-v1:0", false, ForcedChoice::None, Native, NO_CACHE, BY_TOOL, false, true, true),
        ("qwen.qwen3-32b-v1:0", true, ForcedChoice::None, Native, NO_CACHE, Shape, false, true, true),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/x", true, ForcedChoice::None, Native, NO_CACHE, BY_TOOL, false, true, true),
    ];
    for (id, tools, forced_choice, system, cache, structured_output, prefill, sampling, temperature_with_top_p) in ROWS {
        let found = Capabilities::of(id);
        let found: Row = (
            id,
            found.tools,
            found.forced_choice,
            found.system,
            found.cache,
            found.structured_output,
            found.prefill,
            found.sampling,
            found.temperature_with_top_p,
        );
        assert_eq!(found, (id, tools, forced_choice, system, cache, structured_output, prefill, sampling, temperature_with_top_p));
    }
}

#[test]
fn no_row_is_hidden_behind_an_earlier_one() {
    for (at, row) in FAMILIES.iter().enumerate() {
        for earlier in &FAMILIES[..at] {
            assert!(!row.prefix.starts_with(earlier.prefix), "{} never matches: {} stands before it", row.prefix, earlier.prefix);
        }
    }
}

#[test]
fn trap_31_an_opaque_arn_is_told_its_family() {
    let mut takes = Capabilities::of("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/x");
    takes.apply(&Overrides { base_model: Some("eu.anthropic.claude-sonnet-4-5-20250929-v1:0".to_owned()), prefill: Some(false), ..Overrides::default() });
    assert_eq!(takes, Capabilities { prefill: false, ..CLAUDE_4_5 });
}

#[test]
fn overrides_read_from_yaml_and_refuse_what_they_do_not_know() {
    let overrides: Overrides =
        serde_yaml::from_str("forced_choice: any\ncache: 1h\nreasoning: adaptive_only\ndefault_max_tokens: 4096\nlate_system: in_place\n").unwrap();
    let mut takes = UNKNOWN;
    takes.apply(&overrides);
    let expected = Capabilities {
        forced_choice: ForcedChoice::Any,
        cache: Cache::OneHour,
        reasoning: Reasoning::AdaptiveOnly,
        default_max_tokens: Some(4096),
        late_system: LateSystem::InPlace,
        ..UNKNOWN
    };
    assert_eq!(takes, expected);
    assert!(serde_yaml::from_str::<Overrides>("temperatures: true").is_err());
}

#[test]
fn a_row_is_found_by_its_beginning_whoever_serves_the_model() {
    for (id, pattern) in [
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-3-7"),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("publishers/anthropic/models/claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("anthropic/claude-opus-4-5", "claude-opus-4-5"),
        ("claude-3-5-sonnet@20240620", "claude-3-5-sonnet-20240620"),
        ("claude-3-5-sonnet-v2@20241022", "claude-3-5"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4-2025"),
        ("claude-sonnet-4-0", "claude-sonnet-4-0"),
        ("claude-opus-4", "claude-opus-4"),
        ("claude-opus-4-8", "claude-opus-4-"),
        ("claude-2.1", "claude-2"),
        ("amazon.nova-micro-v1:0", "amazon.nova-micro"),
        ("openai.gpt-oss-120b-1:0", "openai.gpt-oss"),
        ("openai.gpt-5.6", "openai."),
        ("openai/gpt-oss-120b", "gpt-oss"),
        ("gpt-4o-mini", "gpt-4o"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-6-large", "gpt-"),
        ("o4-mini", "o4"),
        ("chatgpt-4o-latest", "chatgpt-"),
        ("google/gemini-3-pro", "gemini-"),
        ("mistral-large-latest", "unknown"),
        ("@", "unknown"),
        ("", "unknown"),
    ] {
        assert_eq!(Capabilities::find(id).0, pattern, "{id}");
        assert_eq!(Capabilities::find(id).1, Capabilities::of(id));
    }
}

#[test]
fn claude_is_the_same_with_every_provider_but_for_counting() {
    for (bedrock, others) in [
        ("anthropic.claude-3-haiku-20240307-v1:0", ["claude-3-haiku-20240307", "claude-3-haiku@20240307"]),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", ["claude-3-5-sonnet-20240620", "claude-3-5-sonnet@20240620"]),
        ("anthropic.claude-opus-4-20250514-v1:0", ["claude-opus-4-20250514", "claude-opus-4@20250514"]),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", ["claude-opus-4-1-20250805", "claude-opus-4-1@20250805"]),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", ["claude-haiku-4-5", "claude-haiku-4-5@20251001"]),
        ("anthropic.claude-opus-4-6-v1", ["claude-opus-4-6", "publishers/anthropic/models/claude-opus-4-6"]),
        ("anthropic.claude-opus-5", ["claude-opus-5", "publishers/anthropic/models/claude-opus-5"]),
        ("anthropic.claude-fable-5-1", ["claude-fable-5-1", "claude-fable-5-1@default"]),
    ] {
        let there = Capabilities::of(bedrock);
        assert!(there.anthropic_fields);
        for other in others {
            assert_eq!(Capabilities::of(other), Capabilities { count_tokens: true, ..there.clone() }, "{other}");
        }
    }
}

#[test]
fn newest_claudes_refuse_what_the_older_ones_took() {
    for (id, reasoning, forced_choice) in [
        ("claude-opus-4-7", Reasoning::AdaptiveOnly, ForcedChoice::Tool),
        ("claude-opus-5", Reasoning::AdaptiveOnly, ForcedChoice::Tool),
        ("claude-opus-5-5", Reasoning::AdaptiveAlways, ForcedChoice::None),
        ("claude-fable-5", Reasoning::AdaptiveAlways, ForcedChoice::Tool),
        ("claude-fable-5-2", Reasoning::AdaptiveAlways, ForcedChoice::None),
        ("claude-mythos-5", Reasoning::AdaptiveAlways, ForcedChoice::Tool),
    ] {
        let takes = Capabilities::of(id);
        assert_eq!((takes.reasoning, takes.forced_choice, takes.sampling, takes.prefill), (reasoning, forced_choice, false, false), "{id}");
    }
}

#[test]
fn what_is_seen_read_and_counted() {
    // id, images, documents, count_tokens
    for row in [
        ("anthropic.claude-v2:1", false, true, false),
        ("anthropic.claude-3-haiku-20240307-v1:0", true, true, false),
        ("anthropic.claude-3-5-haiku-20241022-v1:0", false, true, true),
        ("anthropic.claude-sonnet-4-6", true, true, true),
        ("anthropic.claude-opus-4-7", true, true, false),
        ("claude-opus-4-7", true, true, true),
        ("amazon.titan-text-express-v1", false, true, false),
        ("amazon.titan-text-premier-v1:0", false, false, false),
        ("amazon.nova-micro-v1:0", false, false, false),
        ("us.amazon.nova-2-lite-v1:0", true, true, false),
        ("meta.llama3-2-3b-instruct-v1:0", false, true, false),
        ("meta.llama3-2-90b-instruct-v1:0", true, true, false),
        ("meta.llama3-3-70b-instruct-v1:0", false, true, false),
        ("meta.llama4-scout-17b-instruct-v1:0", true, true, false),
        ("mistral.mistral-large-2407-v1:0", false, true, false),
        ("mistral.mistral-small-2402-v1:0", false, false, false),
        ("us.mistral.pixtral-large-2502-v1:0", true, true, false),
        ("cohere.command-r-v1:0", false, true, false),
        ("ai21.jamba-instruct-v1:0", false, false, false),
        ("ai21.jamba-1-5-large-v1:0", false, true, false),
        ("deepseek.r1-v1:0", false, true, false),
        ("gpt-4.1", true, true, false),
        ("gemini-2.5-pro", true, false, false),
        ("nobody.knows-me", false, false, false),
    ] {
        let takes = Capabilities::of(row.0);
        assert_eq!((row.0, takes.images, takes.documents, takes.count_tokens), row);
    }
}

#[test]
fn openai_and_gemini_by_their_own_names() {
    use StructuredOutput::{Native, Tool};
    const NONE: Reasoning = Reasoning::None;
    const EFFORT: Reasoning = Reasoning::ReasoningEffort;
    // id, tools, structured output, reasoning, sampling, stop
    for row in [
        ("gpt-3.5-turbo", true, Tool, NONE, true, true),
        ("gpt-35-turbo", true, Tool, NONE, true, true),
        ("gpt-4", true, Tool, NONE, true, true),
        ("gpt-4o-2024-05-13", true, Tool, NONE, true, true),
        ("gpt-4o-2024-08-06", true, Native, NONE, true, true),
        ("gpt-4.1-nano", true, Native, NONE, true, true),
        ("o1-2024-12-17", true, Native, EFFORT, false, true),
        ("o1-mini", false, Tool, NONE, true, true),
        ("o3-pro", true, Native, EFFORT, false, false),
        ("o4-mini", true, Native, EFFORT, false, false),
        ("gpt-5-mini", true, Native, EFFORT, false, false),
        ("gpt-5-chat-latest", true, Native, NONE, true, true),
        ("gpt-5.2", true, Native, EFFORT, true, false),
        ("chatgpt-4o-latest", false, Tool, NONE, true, true),
        ("google/gemini-2.0-flash-001", true, Native, NONE, true, true),
        ("google/gemini-2.5-flash", true, Native, EFFORT, true, true),
    ] {
        let takes = Capabilities::of(row.0);
        assert_eq!((row.0, takes.tools, takes.structured_output, takes.reasoning, takes.sampling, takes.stop), row);
        assert!(!takes.anthropic_fields && !takes.signed_reasoning && takes.cache == Cache::None);
    }
}

/// The description of a row is YAML that makes any other row into this one: names and values are the same everywhere.
#[test]
fn what_is_described_is_what_the_model_map_takes() {
    for row in FAMILIES {
        let described = Capabilities { default_max_tokens: Some(4096), max_output_tokens: Some(8192), ..row.takes.clone() };
        let yaml: String = described.describe().iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let overrides: Overrides = serde_yaml::from_str(&yaml).unwrap();
        for mut other in [UNKNOWN, CLAUDE_5_5, NOVA] {
            other.apply(&overrides);
            assert_eq!(other, described, "{yaml}");
        }
    }
    assert!(UNKNOWN.describe().contains(&("default_max_tokens", "null".to_owned())));
    assert!(CLAUDE_4_5.describe().contains(&("cache", "1h".to_owned())));
    serde_yaml::from_str::<Overrides>("default_max_tokens: null").unwrap();
}

#[test]
fn the_longest_answer_is_told_where_its_maker_tells_it() {
    for (id, most) in [
        ("anthropic.claude-v2:1", Some(4096)),
        ("anthropic.claude-3-haiku-20240307-v1:0", Some(4096)),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", Some(8192)),
        ("claude-3-7-sonnet@20250219", Some(128_000)),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", Some(64_000)),
        ("anthropic.claude-opus-4-6-v1", None),
        ("amazon.titan-text-express-v1", Some(8192)),
        ("amazon.titan-text-premier-v1:0", Some(3072)),
        ("meta.llama2-70b-chat-v1", Some(2048)),
        ("meta.llama3-1-70b-instruct-v1:0", None),
        ("nobody.knows", None),
    ] {
        assert_eq!(Capabilities::of(id).max_output_tokens, most, "{id}");
    }
    let mut takes = Capabilities::of("nobody.knows");
    takes.apply(&serde_yaml::from_str("max_output_tokens: 1000").unwrap());
    assert_eq!(takes.max_output_tokens, Some(1000));
}

#[test]
fn every_override_is_a_field_and_the_other_way_round() {
    // `deny_unknown_fields` lists what is known.
    let error = serde_yaml::from_str::<Overrides>("nobody: 1").unwrap_err().to_string();
    let known: Vec<&str> = error.split('`').skip(1).step_by(2).filter(|name| !["nobody", "base_model"].contains(name)).collect();
    let described: Vec<&str> = UNKNOWN.describe().into_iter().map(|(name, _)| name).collect();
    assert_eq!(known, described, "{error}");
}
