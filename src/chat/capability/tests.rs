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
