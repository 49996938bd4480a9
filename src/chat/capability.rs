//! What each model family takes: the one place that knows models apart.
//!
//! A row is found by the model id, without what providers put around it: ARNs, the region prefix of an inference profile, Vertex AI's resource names. Claude
//! has one row for all who serve it. Families change faster than this table: every field can be overridden in the model map, and an id that no row knows gets
//! what any chat model takes.
//!
//! Sources: the service model's remarks on members, the AWS pages "Supported models and model features", "Prompt caching", "Count tokens", "Get validated JSON
//! results from models" and "Inference parameters", Anthropic's migration notes, OpenAI's and Google's API references, and what other gateways learned from
//! refusals.

use serde::{Deserialize, Serialize};

/// What a model family takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Tool use at all. Without it, tools are left out and tool turns of the history become text.
    pub tools: bool,
    /// Which `toolChoice` beside `auto` it takes.
    pub forced_choice: ForcedChoice,
    /// `strict` on a tool.
    pub strict_tools: bool,
    /// Where instructions go.
    pub system: SystemPrompt,
    /// Where instructions go that stand in the middle of a conversation.
    pub late_system: LateSystem,
    /// Pictures in a user turn.
    pub images: bool,
    /// Documents in a user turn.
    pub documents: bool,
    /// Cache points, and how long they may live.
    pub cache: Cache,
    /// Cache points behind tools too, not only in `system` and `messages`.
    pub cache_tools: bool,
    /// How thinking is asked for.
    pub reasoning: Reasoning,
    /// How an output shape is asked for.
    pub structured_output: StructuredOutput,
    /// Images and documents inside a tool result. Without it they stand beside the result.
    pub media_in_tool_results: bool,
    /// `status` on a tool result.
    pub tool_result_status: bool,
    /// `temperature` and `topP` in one request.
    pub temperature_with_top_p: bool,
    /// `temperature`, `topP` and top-k at all.
    pub sampling: bool,
    /// Stop sequences.
    pub stop: bool,
    /// A conversation that ends with the assistant: the model goes on from there. Without it a user turn is added.
    pub prefill: bool,
    /// Look-around in the regular expressions of a schema. Without it such patterns are left out.
    pub look_around: bool,
    /// Takes its own signed thoughts back. Without it thoughts are left out of the history.
    pub signed_reasoning: bool,
    /// Understands members of Anthropic's own API in `additionalModelRequestFields`, and answers with such in `additionalModelResponseFields`.
    pub anthropic_fields: bool,
    /// Where top-k goes.
    pub top_k: TopK,
    /// Counting the tokens of a request without running it: CountTokens on Bedrock, `count_tokens` of Anthropic's own API.
    pub count_tokens: bool,
    /// `maxTokens` to send when nobody says, for families whose own default is too small to be useful.
    pub default_max_tokens: Option<u64>,
    /// The longest answer that its maker's page tells of, beta headers included. It bounds what a limit holds for an answer that nobody has bounded, and is never
    /// sent.
    pub max_output_tokens: Option<u64>,
}

/// Which forced tool choices a family takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ForcedChoice {
    /// Neither: the model decides.
    None,
    /// `any`.
    Any,
    /// `any` and `tool`.
    Tool,
}

/// Where instructions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemPrompt {
    /// To `system`.
    Native,
    /// In front of the first user turn: the family has no system prompt.
    Prepended,
}

/// Where instructions from the middle of a conversation go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LateSystem {
    /// To `system`, behind the others: they keep their authority.
    Hoist,
    /// Into the user turn at that place: the beginning of the prompt stays the same, and with it the prompt cache.
    InPlace,
}

/// Prompt-cache markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Cache {
    /// Refused.
    #[serde(rename = "none")]
    None,
    /// Taken, without a time to live.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// Taken, with a time to live of five minutes or an hour.
    #[serde(rename = "1h")]
    OneHour,
}

/// How thinking is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// It cannot be: the family does not think, or always does.
    None,
    /// `thinking: {type: enabled, budget_tokens}`: Claude 3.7 to 4.5.
    Budget,
    /// `thinking: {type: adaptive}` and `outputConfig.effort` up to `high` and `max`: Claude 4.6, which still takes budgets.
    Adaptive,
    /// As `Adaptive`, with `xhigh`, and budgets are refused: Claude 4.7 and later.
    AdaptiveOnly,
    /// As `AdaptiveOnly`, and thinking cannot be turned off: Claude 5.5 and later.
    AdaptiveAlways,
    /// `outputConfig.effort` alone.
    OutputConfig,
    /// `reasoningConfig: {type: enabled, maxReasoningEffort}`: Nova 2.
    Nova,
    /// `reasoning_config: "<level>"`: DeepSeek V3, GLM and others.
    ReasoningConfig,
    /// `reasoning_effort: "<level>"`: gpt-oss, OpenAI's own thinking models, Gemini behind OpenAI's API.
    ReasoningEffort,
}

/// How an output shape is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StructuredOutput {
    /// `outputConfig.textFormat`.
    Native,
    /// A tool that the model must use; an instruction where none can be forced.
    Tool,
}

/// Where top-k goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TopK {
    /// `additionalModelRequestFields.top_k`.
    Plain,
    /// `additionalModelRequestFields.inferenceConfig.topK`: Nova.
    InferenceConfig,
}

/// What the model map says against the table. Everything is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each field is the one of the same name in `Capabilities`")]
pub struct Overrides {
    /// A model id whose row to start from: for ARNs that do not tell the model.
    pub base_model: Option<String>,
    pub tools: Option<bool>,
    pub forced_choice: Option<ForcedChoice>,
    pub strict_tools: Option<bool>,
    pub system: Option<SystemPrompt>,
    pub late_system: Option<LateSystem>,
    pub images: Option<bool>,
    pub documents: Option<bool>,
    pub cache: Option<Cache>,
    pub cache_tools: Option<bool>,
    pub reasoning: Option<Reasoning>,
    pub structured_output: Option<StructuredOutput>,
    pub media_in_tool_results: Option<bool>,
    pub tool_result_status: Option<bool>,
    pub temperature_with_top_p: Option<bool>,
    pub sampling: Option<bool>,
    pub stop: Option<bool>,
    pub prefill: Option<bool>,
    pub look_around: Option<bool>,
    pub signed_reasoning: Option<bool>,
    pub anthropic_fields: Option<bool>,
    pub top_k: Option<TopK>,
    pub count_tokens: Option<bool>,
    pub default_max_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
}

impl Capabilities {
    /// What the model behind an id takes, whoever serves it: see [`Capabilities::find`].
    #[must_use]
    pub fn of(model_id: &str) -> Self {
        Capabilities::find(model_id).1
    }

    /// The row of a model id, by the beginning of the ids that it stands for, and what it says. `unknown` and [`Capabilities::UNKNOWN`] where no row fits.
    ///
    /// `us.anthropic.claude-3-7-sonnet-20250219-v1:0`, an ARN that holds it, `claude-3-7-sonnet@20250219` → `claude-3-7`
    #[must_use]
    pub fn find(model_id: &str) -> (&'static str, Self) {
        let base = base_model(model_id);
        let (id, bedrock) = match base.strip_prefix("anthropic.") {
            Some(claude) => (claude, true),
            None => (base, false),
        };
        let Some(family) = FAMILIES.iter().find(|family| begins(id, family.prefix)) else { return ("unknown", UNKNOWN) };
        let mut takes = family.takes.clone();
        // Only Bedrock counts for some Claudes and not for others.
        takes.count_tokens |= takes.anthropic_fields && !bedrock;
        (family.prefix, takes)
    }

    /// What any chat model takes.
    pub const UNKNOWN: Capabilities = UNKNOWN;

    /// Puts the model map's word over the table's.
    pub fn apply(&mut self, overrides: &Overrides) {
        macro_rules! take {
            ($($field:ident),* $(,)?) => {
                // Exhaustive: a field that is forgotten here does not compile.
                let Overrides { base_model, default_max_tokens, max_output_tokens, $($field),* } = overrides;
                if let Some(base) = base_model {
                    *self = Capabilities::of(base);
                }
                $(if let Some(value) = *$field { self.$field = value; })*
                self.default_max_tokens = default_max_tokens.or(self.default_max_tokens);
                self.max_output_tokens = max_output_tokens.or(self.max_output_tokens);
            };
        }
        take!(
            tools,
            forced_choice,
            strict_tools,
            system,
            late_system,
            images,
            documents,
            cache,
            cache_tools,
            reasoning,
            structured_output,
            media_in_tool_results,
            tool_result_status,
            temperature_with_top_p,
            sampling,
            stop,
            prefill,
            look_around,
            signed_reasoning,
            anthropic_fields,
            top_k,
            count_tokens,
        );
    }

    /// Every field by its name in the model map, with its value as it is written there: `("cache", "5m")`. An unset one is `null`.
    #[must_use]
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        macro_rules! fields {
            ($($field:ident),* $(,)?) => {{
                let Capabilities { $($field),* } = self;
                vec![$((stringify!($field), written($field))),*]
            }};
        }
        fields!(
            tools,
            forced_choice,
            strict_tools,
            system,
            late_system,
            images,
            documents,
            cache,
            cache_tools,
            reasoning,
            structured_output,
            media_in_tool_results,
            tool_result_status,
            temperature_with_top_p,
            sampling,
            stop,
            prefill,
            look_around,
            signed_reasoning,
            anthropic_fields,
            top_k,
            count_tokens,
            default_max_tokens,
            max_output_tokens,
        )
    }
}

/// A value as it stands in YAML: all are booleans, numbers, `null` or words that need no quotes.
fn written(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    json.trim_matches('"').to_owned()
}

/// The model id inside of what providers put around it, such as
/// `arn:aws:bedrock:…:inference-profile/us.meta.llama3-…` → `meta.llama3-…`, `projects/…/publishers/google/models/gemini-…` → `gemini-…`.
#[must_use]
pub fn base_model(model_id: &str) -> &str {
    // The areas of cross-region inference profiles.
    const AREAS: [&str; 12] = ["us", "us-gov", "eu", "apac", "jp", "au", "ca", "sa", "me", "af", "mx", "global"];
    // Who stands in front of a slash where one API serves many makers.
    const MAKERS: [&str; 3] = ["anthropic", "google", "openai"];
    let id = if model_id.starts_with("arn:") { model_id.split_once('/').map_or(model_id, |(_, resource)| resource) } else { model_id };
    if let Some((_, model)) = id.split_once("publishers/").and_then(|(_, publisher)| publisher.split_once("/models/")) {
        return model;
    }
    if let Some((maker, model)) = id.split_once('/')
        && MAKERS.contains(&maker)
    {
        return model;
    }
    match id.split_once('.') {
        Some((area, model)) if AREAS.contains(&area) => model,
        _ => id,
    }
}

/// Whether an id begins with a row's prefix. Vertex AI writes the date behind `@`, everybody else behind a hyphen.
fn begins(id: &str, prefix: &str) -> bool {
    id.len() >= prefix.len() && id.bytes().zip(prefix.bytes()).all(|(byte, wanted)| byte == wanted || (byte == b'@' && wanted == b'-'))
}

/// One row: ids that begin with `prefix` take this. Of Claude's ids it is what stands behind `anthropic.`.
struct Family {
    prefix: &'static str,
    takes: Capabilities,
}

const fn family(prefix: &'static str, takes: Capabilities) -> Family {
    Family { prefix, takes }
}

/// What any chat model takes: text and tools, and none of the members that some family refuses.
const UNKNOWN: Capabilities = Capabilities {
    tools: true,
    forced_choice: ForcedChoice::None,
    strict_tools: false,
    system: SystemPrompt::Native,
    late_system: LateSystem::Hoist,
    images: false,
    documents: false,
    cache: Cache::None,
    cache_tools: false,
    reasoning: Reasoning::None,
    structured_output: StructuredOutput::Tool,
    media_in_tool_results: false,
    tool_result_status: false,
    temperature_with_top_p: true,
    sampling: true,
    stop: true,
    prefill: false,
    look_around: true,
    signed_reasoning: false,
    anthropic_fields: false,
    top_k: TopK::Plain,
    count_tokens: false,
    default_max_tokens: None,
    max_output_tokens: None,
};

const WITH_DOCUMENTS: Capabilities = Capabilities { documents: true, ..UNKNOWN };

const SEES: Capabilities = Capabilities { images: true, ..WITH_DOCUMENTS };

const NO_TOOLS: Capabilities = Capabilities { tools: false, ..UNKNOWN };

const NO_TOOLS_WITH_DOCUMENTS: Capabilities = Capabilities { tools: false, ..WITH_DOCUMENTS };

const NO_SYSTEM: Capabilities = Capabilities { system: SystemPrompt::Prepended, ..NO_TOOLS };

const NO_SYSTEM_WITH_DOCUMENTS: Capabilities = Capabilities { system: SystemPrompt::Prepended, ..NO_TOOLS_WITH_DOCUMENTS };

const CLAUDE_2: Capabilities = Capabilities { prefill: true, anthropic_fields: true, max_output_tokens: Some(4096), ..NO_TOOLS_WITH_DOCUMENTS };

const CLAUDE_3: Capabilities = Capabilities {
    tools: true,
    forced_choice: ForcedChoice::Tool,
    media_in_tool_results: true,
    tool_result_status: true,
    prefill: true,
    anthropic_fields: true,
    max_output_tokens: Some(4096),
    ..SEES
};

const CLAUDE_3_5: Capabilities = Capabilities { count_tokens: true, max_output_tokens: Some(8192), ..CLAUDE_3 };

const CLAUDE_3_5_CACHED: Capabilities = Capabilities { cache: Cache::FiveMinutes, cache_tools: true, ..CLAUDE_3_5 };

const CLAUDE_4: Capabilities = Capabilities { reasoning: Reasoning::Budget, signed_reasoning: true, max_output_tokens: Some(64_000), ..CLAUDE_3_5_CACHED };

const CLAUDE_4_1: Capabilities = Capabilities { temperature_with_top_p: false, ..CLAUDE_4 };

const CLAUDE_4_5: Capabilities = Capabilities { cache: Cache::OneHour, structured_output: StructuredOutput::Native, strict_tools: true, ..CLAUDE_4_1 };

const CLAUDE_4_6: Capabilities = Capabilities { reasoning: Reasoning::Adaptive, prefill: false, max_output_tokens: None, ..CLAUDE_4_5 };

const CLAUDE_4_7: Capabilities = Capabilities { reasoning: Reasoning::AdaptiveOnly, sampling: false, count_tokens: false, ..CLAUDE_4_6 };

const FABLE_5: Capabilities = Capabilities { reasoning: Reasoning::AdaptiveAlways, ..CLAUDE_4_7 };

const CLAUDE_5_5: Capabilities = Capabilities { forced_choice: ForcedChoice::None, ..FABLE_5 };

const CLAUDE_NEWER: Capabilities = Capabilities { structured_output: StructuredOutput::Tool, strict_tools: false, ..CLAUDE_5_5 };

const NOVA: Capabilities = Capabilities {
    forced_choice: ForcedChoice::Tool,
    cache: Cache::FiveMinutes,
    media_in_tool_results: true,
    tool_result_status: true,
    prefill: true,
    top_k: TopK::InferenceConfig,
    ..SEES
};

const FIRST_LLAMAS: Capabilities = Capabilities { max_output_tokens: Some(2048), ..NO_TOOLS_WITH_DOCUMENTS };

const OPEN_WEIGHTS: Capabilities = Capabilities { structured_output: StructuredOutput::Native, strict_tools: true, ..UNKNOWN };

const OPEN_EYES: Capabilities = Capabilities { images: true, ..OPEN_WEIGHTS };

const NO_STOP: Capabilities = Capabilities { stop: false, images: true, ..UNKNOWN };

const GPT_3_5: Capabilities = Capabilities { forced_choice: ForcedChoice::Tool, ..UNKNOWN };

const GPT_4O: Capabilities = Capabilities { forced_choice: ForcedChoice::Tool, structured_output: StructuredOutput::Native, strict_tools: true, ..SEES };

const O1: Capabilities = Capabilities { reasoning: Reasoning::ReasoningEffort, sampling: false, ..GPT_4O };

const O3: Capabilities = Capabilities { stop: false, ..O1 };

const GEMINI: Capabilities = Capabilities { forced_choice: ForcedChoice::Tool, structured_output: StructuredOutput::Native, images: true, ..UNKNOWN };

/// First match wins: special rows stand before general ones.
static FAMILIES: &[Family] = &[
    // Claude 2 and Instant: text, documents, a system prompt; no tools, no pictures.
    family("claude-v2", CLAUDE_2),
    family("claude-2", CLAUDE_2),
    family("claude-instant", CLAUDE_2),
    // The first Claude 3.5 Sonnet has no prompt caching; the second had it in preview, Haiku 3.5 has it. Claude 3 has none. Haiku 3.5 sees nothing on Bedrock.
    family("claude-3-5-sonnet-20240620", CLAUDE_3_5),
    family("claude-3-5-haiku", Capabilities { images: false, ..CLAUDE_3_5_CACHED }),
    family("claude-3-5", CLAUDE_3_5_CACHED),
    // Claude 3.7 brought thinking with a budget.
    family("claude-3-7", Capabilities { max_output_tokens: Some(128_000), ..CLAUDE_4 }),
    family("claude-3-", CLAUDE_3),
    // From Opus 4.1 on, temperature and top_p exclude each other. The first Claude 4 ids carry their date right behind the 4.
    family("claude-opus-4-1", CLAUDE_4_1),
    family("claude-opus-4-2025", CLAUDE_4),
    family("claude-opus-4-0", CLAUDE_4),
    family("claude-sonnet-4-2025", CLAUDE_4),
    family("claude-sonnet-4-0", CLAUDE_4),
    // Claude 4.5: structured output, strict tools, one-hour cache entries.
    family("claude-opus-4-5", CLAUDE_4_5),
    family("claude-sonnet-4-5", CLAUDE_4_5),
    family("claude-haiku-4-5", CLAUDE_4_5),
    // Claude 4.6: adaptive thinking; no prefill any more.
    family("claude-opus-4-6", CLAUDE_4_6),
    family("claude-sonnet-4-6", CLAUDE_4_6),
    // From 4.7 on, sampling parameters and budgets are refused, and Bedrock's CountTokens does not know the model.
    family("claude-opus-4-", CLAUDE_4_7),
    family("claude-sonnet-4-", CLAUDE_4_7),
    family("claude-haiku-4-", CLAUDE_4_7),
    family("claude-opus-4", CLAUDE_4),
    family("claude-sonnet-4", CLAUDE_4),
    // From 5.5 on, a forced tool choice is refused, and so is turning thinking off; plain 5 takes both.
    family("claude-opus-5-5", CLAUDE_5_5),
    family("claude-opus-5", CLAUDE_4_7),
    family("claude-sonnet-5-5", CLAUDE_5_5),
    family("claude-sonnet-5", CLAUDE_4_7),
    family("claude-haiku-5-5", CLAUDE_5_5),
    family("claude-haiku-5", CLAUDE_4_7),
    // Fable and Mythos always think; a forced tool choice is refused from 5.1 on.
    family("claude-fable-5-", CLAUDE_5_5),
    family("claude-fable-5", FABLE_5),
    family("claude-mythos-5-", CLAUDE_5_5),
    family("claude-mythos-5", FABLE_5),
    // A Claude of tomorrow: what the newest ones refuse, and no output shape until AWS lists it.
    family("claude", CLAUDE_NEWER),
    // Titan text models know neither instructions nor tools.
    family("amazon.titan-text-premier", Capabilities { max_output_tokens: Some(3072), ..NO_SYSTEM }),
    family("amazon.titan", Capabilities { max_output_tokens: Some(8192), ..NO_SYSTEM_WITH_DOCUMENTS }),
    // Nova caches system and messages, not tools. Nova 2 thinks on request. Micro is for text.
    family("amazon.nova-2", Capabilities { reasoning: Reasoning::Nova, prefill: false, ..NOVA }),
    family("amazon.nova-micro", Capabilities { images: false, documents: false, ..NOVA }),
    family("amazon.nova", NOVA),
    // Llama: tools from 3.1 on, not in the small ones of 3.2; the choice is always the model's. The large ones of 3.2 see, and all of 4.
    family("meta.llama2", FIRST_LLAMAS),
    family("meta.llama3-8b", FIRST_LLAMAS),
    family("meta.llama3-70b", FIRST_LLAMAS),
    family("meta.llama3-2-1b", NO_TOOLS_WITH_DOCUMENTS),
    family("meta.llama3-2-3b", NO_TOOLS_WITH_DOCUMENTS),
    family("meta.llama3-2-", SEES),
    family("meta.llama3-", WITH_DOCUMENTS),
    family("meta.llama4", SEES),
    family("meta.", UNKNOWN),
    // The first Mistrals know neither instructions nor tools; Large takes `any`.
    family("mistral.mistral-7b", NO_SYSTEM_WITH_DOCUMENTS),
    family("mistral.mixtral-8x7b", NO_SYSTEM_WITH_DOCUMENTS),
    family("mistral.mistral-large-3", OPEN_EYES),
    family("mistral.mistral-large", Capabilities { forced_choice: ForcedChoice::Any, ..WITH_DOCUMENTS }),
    family("mistral.ministral", OPEN_EYES),
    family("mistral.magistral", OPEN_EYES),
    family("mistral.voxtral", OPEN_WEIGHTS),
    family("mistral.pixtral", SEES),
    family("mistral.", UNKNOWN),
    // Cohere: the old Command has no chat; Command R has tools.
    family("cohere.command-r", WITH_DOCUMENTS),
    family("cohere.command", NO_SYSTEM_WITH_DOCUMENTS),
    // AI21: Jurassic has no chat, Jamba Instruct no tools, Jamba 1.5 has both.
    family("ai21.j2", NO_SYSTEM),
    family("ai21.jamba-instruct", NO_TOOLS),
    family("ai21.jamba", WITH_DOCUMENTS),
    // R1 always thinks and has no tools. V3 thinks by level and answers reliably only to `any`; its schemas take no look-around, nor do Kimi's.
    family("deepseek.r1", NO_TOOLS_WITH_DOCUMENTS),
    family("deepseek.", Capabilities { forced_choice: ForcedChoice::Any, reasoning: Reasoning::ReasoningConfig, look_around: false, ..OPEN_WEIGHTS }),
    family("moonshot", Capabilities { reasoning: Reasoning::ReasoningConfig, look_around: false, ..OPEN_WEIGHTS }),
    family("zai.", Capabilities { reasoning: Reasoning::ReasoningConfig, ..UNKNOWN }),
    family("minimax.", OPEN_WEIGHTS),
    family("qwen.qwen3-vl", OPEN_EYES),
    family("qwen.", OPEN_WEIGHTS),
    family("nvidia.", OPEN_WEIGHTS),
    family("google.gemma", OPEN_EYES),
    family("writer.", WITH_DOCUMENTS),
    // gpt-oss has an effort of its own; on Bedrock the closed GPTs and Grok refuse stop sequences.
    family("openai.gpt-oss", Capabilities { reasoning: Reasoning::ReasoningEffort, ..OPEN_WEIGHTS }),
    family("openai.", NO_STOP),
    family("xai.", NO_STOP),
    // OpenAI's and Azure's own names. Shapes and strict tools came with the second GPT-4o; the first previews of o1 had neither instructions nor tools.
    family("gpt-oss", Capabilities { reasoning: Reasoning::ReasoningEffort, ..OPEN_WEIGHTS }),
    family("gpt-3.5", GPT_3_5),
    family("gpt-35", GPT_3_5),
    family("gpt-4o-2024-05-13", Capabilities { structured_output: StructuredOutput::Tool, strict_tools: false, ..GPT_4O }),
    family("gpt-4-turbo", Capabilities { images: true, ..GPT_3_5 }),
    family("gpt-4o", GPT_4O),
    family("gpt-4.", GPT_4O),
    family("gpt-4", GPT_3_5),
    family("chatgpt-", Capabilities { tools: false, images: true, ..UNKNOWN }),
    family("o1-mini", NO_SYSTEM),
    family("o1-preview", NO_SYSTEM),
    family("o1", O1),
    // Stop sequences are refused from o3 on. GPT-5 takes no sampling; those with a number behind it do as long as they do not think.
    family("o3", O3),
    family("o4", O3),
    family("gpt-5-chat", GPT_4O),
    family("gpt-5.", Capabilities { sampling: true, ..O3 }),
    family("gpt-", O3),
    // Gemini behind Vertex AI's OpenAI-compatible API: thinking from 2.5 on, pictures but no documents.
    family("gemini-1", GEMINI),
    family("gemini-2.0", GEMINI),
    family("gemini-", Capabilities { reasoning: Reasoning::ReasoningEffort, ..GEMINI }),
];

#[cfg(test)]
mod tests;
