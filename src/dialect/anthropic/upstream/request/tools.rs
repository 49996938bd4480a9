//! Tools, the choice among them, and the shape of the answer.
//!
//! Vendor pages: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use>,
//! <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>.

use std::borrow::Cow;

use super::turns::{Conversation, write_mark};
use crate::chat::capability::{Capabilities, ForcedChoice, StructuredOutput};
use crate::chat::names::ToolNames;
use crate::chat::schema::{self, Wish};
use crate::chat::turns::Mark;
use crate::chat::{ApiError, Ledger, OutputFormat, Request, Tool, ToolChoice};
use crate::wire::json::{Object, Text};

/// What becomes of `tools`, `tool_choice` and `parallel_tool_calls`.
#[derive(Debug, Default)]
pub(super) struct Toolbox<'r> {
    pub(super) tools: Vec<Spec<'r>>,
    choice: Option<Choice<'r>>,
    /// Only one tool may be used at a time.
    one_at_a_time: bool,
}

/// A tool, ready to be written. Names need no escape, schemas are JSON.
#[derive(Debug)]
pub(super) struct Spec<'r> {
    name: Cow<'r, str>,
    description: Option<&'r Text<'r>>,
    schema: Cow<'r, str>,
    strict: bool,
    pub(super) mark: Option<Mark>,
}

/// `tool_choice`.
#[derive(Debug, PartialEq, Eq)]
enum Choice<'r> {
    Auto,
    Any,
    Tool(Cow<'r, str>),
    None,
}

/// How the output shape is asked for.
#[derive(Debug)]
pub(super) enum Shape<'r> {
    /// It is not.
    Free,
    /// `output_config.format`, with this schema.
    Native(Cow<'r, str>),
    /// A sentence to the model.
    Instruction(String),
}

impl<'r> Toolbox<'r> {
    /// Decides on tools. `thinking` says that the model will think, which no forced choice goes with.
    ///
    /// # Errors
    /// 400 for members that the family does not take, where the policy says so.
    pub(super) fn plan(
        request: &'r Request<'_>,
        takes: &Capabilities,
        names: &ToolNames<'_>,
        conversation: &Conversation<'_>,
        thinking: bool,
        ledger: &mut Ledger,
    ) -> Result<Self, ApiError> {
        if !takes.tools {
            if !request.tools.is_empty() {
                ledger.lose("tools")?;
            }
            return Ok(Toolbox::default());
        }
        if request.tools.is_empty() {
            // Tools of the history must be declared, and none of them was offered for this turn.
            let tools: Vec<Spec<'_>> = conversation.used_tools().into_iter().map(|name| Spec::bare(name.to_owned())).collect();
            let choice = (!tools.is_empty()).then_some(Choice::None);
            return Ok(Toolbox { tools, choice, one_at_a_time: false });
        }
        let most = if thinking { ForcedChoice::None } else { takes.forced_choice };
        let choice = match &request.tool_choice {
            None => None,
            Some(ToolChoice::Auto) => Some(Choice::Auto),
            Some(ToolChoice::None) => Some(Choice::None),
            Some(ToolChoice::Any) if most >= ForcedChoice::Any => Some(Choice::Any),
            Some(ToolChoice::Tool(name)) if most == ForcedChoice::Tool => Some(Choice::Tool(names.wire(name))),
            Some(ToolChoice::Any | ToolChoice::Tool(_)) => {
                ledger.lose("tool_choice")?;
                None
            }
        };
        let single = request.parallel_tool_calls == Some(false) || request.one_tool_call;
        Ok(Toolbox {
            tools: request.tools.iter().map(|tool| Spec::of(tool, takes, names, ledger)).collect(),
            one_at_a_time: single && choice != Some(Choice::None),
            choice,
        })
    }

    /// Adds `tools` and `tool_choice`.
    pub(super) fn write(&self, body: &mut Object<'_>) {
        if self.tools.is_empty() {
            return;
        }
        body.array("tools", |tools| self.tools.iter().for_each(|tool| tools.object(|object| tool.write(object))));
        let choice = match &self.choice {
            None if self.one_at_a_time => &Choice::Auto,
            None => return,
            Some(choice) => choice,
        };
        body.object("tool_choice", |object| {
            let kind = match choice {
                Choice::Auto => "auto",
                Choice::Any => "any",
                Choice::Tool(_) => "tool",
                Choice::None => "none",
            };
            object.string("type", kind);
            if let Choice::Tool(name) = choice {
                object.string("name", name);
            }
            if self.one_at_a_time {
                object.bool("disable_parallel_tool_use", true);
            }
        });
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.tools.iter().map(|tool| tool.name.len() + tool.schema.len() + tool.description.map_or(0, |text| text.escaped().len()) + 96).sum()
    }
}

impl<'r> Spec<'r> {
    /// A tool as the client gave it.
    fn of(tool: &'r Tool<'_>, takes: &Capabilities, names: &ToolNames<'_>, ledger: &mut Ledger) -> Self {
        let strict = tool.strict == Some(true) && takes.strict_tools;
        if tool.strict == Some(true) && !strict {
            ledger.note("tools[].strict");
        }
        let mark = tool.cache.as_ref().and_then(|point| {
            if takes.cache_tools {
                Mark::of(point, takes.cache, ledger)
            } else {
                ledger.note("cache_control");
                None
            }
        });
        Spec {
            name: names.wire(&tool.name),
            description: tool.description.as_ref().filter(|text| !text.is_blank()),
            schema: schema::of_tool(tool.parameters, Wish { closed: strict, plain_patterns: !takes.look_around }),
            strict,
            mark,
        }
    }

    /// A tool that is known by its name only.
    fn bare(name: String) -> Self {
        Spec { name: Cow::Owned(name), description: None, schema: Cow::Borrowed(schema::EMPTY), strict: false, mark: None }
    }

    fn write(&self, tool: &mut Object<'_>) {
        tool.string("name", &self.name);
        if let Some(description) = self.description {
            tool.text("description", description);
        }
        tool.raw("input_schema", &self.schema);
        if self.strict {
            tool.bool("strict", true);
        }
        if let Some(mark) = self.mark {
            write_mark(tool, mark);
        }
    }
}

impl<'r> Shape<'r> {
    /// Natively, if the family can and the schema is one it takes; else in words.
    pub(super) fn plan(format: Option<&'r OutputFormat<'_>>, takes: &Capabilities) -> Self {
        match format {
            None | Some(OutputFormat::Text) => Shape::Free,
            Some(OutputFormat::JsonObject) => Shape::Instruction(schema::instruction(None)),
            Some(OutputFormat::JsonSchema { schema: raw, .. }) => {
                if takes.structured_output == StructuredOutput::Native && !schema::is_open(raw.as_str()) {
                    Shape::Native(schema::rewrite(raw.as_str(), Wish { closed: true, plain_patterns: !takes.look_around }))
                } else {
                    Shape::Instruction(schema::instruction(Some(raw.as_str())))
                }
            }
        }
    }
}
