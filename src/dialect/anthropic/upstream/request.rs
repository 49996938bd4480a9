//! A chat request as a Messages body: first everything is planned, then it is written once, from front to back, into one buffer.
//!
//! ```text
//! chat::Request ─▶ turns ─▶ thinking ─▶ tools ─▶ the rest ─▶ write ─▶ {"model", "max_tokens", "system", "messages", "tools", …}
//! ```
//!
//! Texts, schemas and base64 are moved as they stand. Members that the client did not set are not sent, `max_tokens` aside, without which there is no answer.
//! Equal requests give equal bytes, and a longer conversation begins with the bytes of the shorter one: prompt caches live on that.
//!
//! Vendor pages: <https://platform.claude.com/docs/en/api/messages>, <https://platform.claude.com/docs/en/api/messages-count-tokens>.

mod extras;
mod media;
mod thinking;
mod tools;
mod turns;

#[cfg(test)]
mod tests;

use crate::chat::capability::Capabilities;
use crate::chat::fields::{Fields, Members};
use crate::chat::names::ToolNames;
use crate::chat::{ApiError, Encoded, Ledger, Options, Request, Restore};
use crate::wire::json::{Array, Object, Raw, Text, write_text};
use extras::Extras;
use thinking::{Thinking, Wanted};
use tools::{Shape, Toolbox};
use turns::{Blocks, Conversation, write_blocks};

/// The most cache markers in one request.
const MARKS_MAX: usize = 4;

/// What a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Messages,
    Count,
}

/// Writes a chat request as the body of `POST /v1/messages`.
///
/// `{"messages":[{"role":"user","content":"Hi"}],"max_tokens":5}` →
/// `{"model":"claude-…","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}]}`
///
/// Where nobody says how many tokens the answer may take, it may take 4096.
///
/// # Errors
/// 400 naming the member, for what the model could not read (an unknown image format, sound), what cannot stand where it is (an image in an assistant
/// message), and what the policy refuses.
pub fn encode(request: &Request<'_>, options: &Options<'_>) -> Result<Encoded, ApiError> {
    write(request, options, Purpose::Messages)
}

/// Writes a chat request as the body of `POST /v1/messages/count_tokens`: the same without limit, sampling and stream.
///
/// # Errors
/// As [`encode`].
pub fn encode_count(request: &Request<'_>, options: &Options<'_>) -> Result<Encoded, ApiError> {
    write(request, options, Purpose::Count)
}

fn write(request: &Request<'_>, options: &Options<'_>, purpose: Purpose) -> Result<Encoded, ApiError> {
    let plan = Plan::new(request, options, purpose)?;
    let mut body = Vec::with_capacity(plan.size());
    plan.write(&mut body);
    let restore = Restore { names: plan.names.into_restore(), format_tool: None, unwrap: false };
    Ok(Encoded { body, restore, dropped: plan.ledger.into_dropped() })
}

/// Everything that will be written.
struct Plan<'r> {
    model: &'r str,
    /// None where the tokens are only counted.
    max_tokens: Option<u64>,
    stream: bool,
    conversation: Conversation<'r>,
    toolbox: Toolbox<'r>,
    /// All that is small.
    rest: Fields<'r>,
    names: ToolNames<'r>,
    ledger: Ledger,
}

impl<'r> Plan<'r> {
    fn new(request: &'r Request<'_>, options: &Options<'r>, purpose: Purpose) -> Result<Self, ApiError> {
        let takes = options.capabilities;
        let mut ledger = Ledger::new(options.policy);
        if request.messages.is_empty() {
            return Err(ApiError::invalid("messages", "messages must not be empty"));
        }
        for name in &request.unsupported {
            ledger.lose(name)?;
        }
        let extras = Extras::sort(request, options.policy.unknown, &mut ledger)?;
        let names = ToolNames::of(request, "");
        let mut conversation = Conversation::plan(&request.messages, takes, &names, Blocks, &mut ledger)?;
        let wanted = Wanted {
            effort: request.effort,
            own: request.thinking.or_else(|| extras.field("thinking")),
            max_tokens: request.max_tokens.or(options.default_max_tokens).or(takes.default_max_tokens),
            lacks_thought: conversation.lacks_thought(),
        };
        let thinking = thinking::plan(&wanted, takes, &mut ledger)?;
        let mut toolbox = Toolbox::plan(request, takes, &names, &conversation, thinking.on, &mut ledger)?;
        let shape = Shape::plan(request.output_format.as_ref(), takes);
        if let Shape::Instruction(text) = &shape {
            conversation.instruct(text.clone());
        }
        // What the model goes on from and a shape of the whole do not go together.
        conversation.close(takes.prefill && !thinking.on && !matches!(shape, Shape::Native(_)));
        let most = MARKS_MAX.saturating_sub(usize::from(extras.caches()));
        conversation.limit_marks(toolbox.tools.iter_mut().map(|tool| &mut tool.mark), most, &mut ledger);

        let mut rest = Fields::default();
        if let Some(json) = &thinking.json {
            rest.put("thinking", json.clone());
        }
        plan_output(&shape, &thinking, &extras, &mut rest, &mut ledger);
        if purpose == Purpose::Messages {
            plan_sampling(request, takes, &thinking, &extras, &mut rest, &mut ledger)?;
            plan_rest(request, takes, &mut rest, &mut ledger)?;
        }
        extras.place(purpose == Purpose::Count, &mut rest, &mut ledger);
        Ok(Plan {
            model: options.model,
            max_tokens: (purpose == Purpose::Messages).then_some(thinking.max_tokens),
            stream: options.stream && purpose == Purpose::Messages,
            conversation,
            toolbox,
            rest,
            names,
            ledger,
        })
    }

    /// About how many bytes the body takes; rather more, so that it is not moved while it grows.
    fn size(&self) -> usize {
        1024 + self.conversation.size + self.conversation.size / 32 + self.toolbox.size() * 2
    }

    fn write(&self, out: &mut Vec<u8>) {
        Object::write(out, |body| {
            body.string("model", self.model);
            if let Some(max_tokens) = self.max_tokens {
                body.number("max_tokens", max_tokens);
            }
            if self.stream {
                body.bool("stream", true);
            }
            if !self.conversation.system.is_empty() {
                body.array("system", |system| write_blocks(system, &self.conversation.system));
            }
            body.array("messages", |messages| {
                for turn in &self.conversation.turns {
                    messages.object(|message| {
                        message.string("role", turn.speaker.role());
                        message.array("content", |content| write_blocks(content, &turn.blocks));
                    });
                }
            });
            self.toolbox.write(body);
            self.rest.write_into(body);
        });
    }
}

/// `output_config`: what was decided, and what else the client has there.
fn plan_output<'r>(shape: &Shape<'r>, thinking: &Thinking<'r>, extras: &Extras<'r>, rest: &mut Fields<'r>, ledger: &mut Ledger) {
    let mut config = Fields::default();
    if let Some(theirs) = extras.field("output_config") {
        match Members::of(theirs) {
            Some(members) => config.put_all(members),
            // The API itself says what is wrong with it.
            None => rest.put("output_config", theirs.as_str()),
        }
    }
    let mut place = |name: &'static str, json: String| {
        if config.contains(name) {
            ledger.note("output_config");
        }
        config.replace(name, json);
    };
    if let Some(effort) = thinking.effort {
        place("effort", format!("\"{effort}\""));
    }
    if let Shape::Native(schema) = shape {
        place("format", format!(r#"{{"type":"json_schema","schema":{schema}}}"#));
    }
    if !config.is_empty() {
        let mut json = Vec::new();
        config.write(&mut json);
        rest.replace("output_config", String::from_utf8(json).unwrap_or_default());
    }
}

/// Temperature and its like.
fn plan_sampling<'r>(
    request: &Request<'r>,
    takes: &Capabilities,
    thinking: &Thinking<'_>,
    extras: &Extras<'r>,
    rest: &mut Fields<'r>,
    ledger: &mut Ledger,
) -> Result<(), ApiError> {
    let of = |own: Option<Raw<'r>>, name: &str| own.or_else(|| extras.field(name));
    let temperature = of(request.temperature, "temperature");
    let sampling = takes.sampling && !thinking.on;
    if let Some(temperature) = temperature {
        let value = temperature.number();
        if sampling {
            // OpenAI goes up to 2, Anthropic to 1.
            rest.put("temperature", if value.is_some_and(|value| value > 1.0) { "1" } else { temperature.as_str() });
        } else if value != Some(1.0) {
            // 1 is what the model does anyway.
            ledger.lose("temperature")?;
        }
    }
    if let Some(top_p) = of(request.top_p, "top_p") {
        if sampling && (takes.temperature_with_top_p || temperature.is_none()) {
            rest.put("top_p", top_p.as_str());
        } else {
            ledger.lose("top_p")?;
        }
    }
    if let Some(top_k) = of(request.top_k, "top_k") {
        if sampling {
            rest.put("top_k", top_k.as_str());
        } else {
            ledger.lose("top_k")?;
        }
    }
    Ok(())
}

/// Stop texts, the person, the tier.
fn plan_rest<'r>(request: &'r Request<'_>, takes: &Capabilities, rest: &mut Fields<'r>, ledger: &mut Ledger) -> Result<(), ApiError> {
    let stop: Vec<&Text<'_>> = request.stop.iter().filter(|text| !text.is_blank()).collect();
    if request.stop.iter().any(|text| text.is_blank() && !text.is_empty()) || (!stop.is_empty() && !takes.stop) {
        ledger.lose("stop")?;
    }
    if !stop.is_empty() && takes.stop {
        let mut texts = Vec::new();
        Array::write(&mut texts, |array| stop.iter().for_each(|text| array.text(text)));
        rest.put("stop_sequences", String::from_utf8(texts).unwrap_or_default());
    }
    if let Some(user) = request.user.as_ref().filter(|user| !user.is_blank()) {
        let mut json = Vec::new();
        Object::write(&mut json, |metadata| write_text(metadata.key("user_id"), user));
        rest.put("metadata", String::from_utf8(json).unwrap_or_default());
    }
    if !request.metadata.is_empty() {
        ledger.lose("metadata")?;
    }
    if let Some(tier) = &request.service_tier {
        match tier.unescape().as_ref() {
            "auto" => rest.put("service_tier", "\"auto\""),
            "default" | "standard" | "standard_only" => rest.put("service_tier", "\"standard_only\""),
            _ => ledger.lose("service_tier")?,
        }
    }
    Ok(())
}
