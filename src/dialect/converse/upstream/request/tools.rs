//! Tools, the choice among them, and the shape of the answer, which some families only give through a tool.
//!
//! Members of the service model: `ToolConfiguration`, `OutputFormat`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::chat::{ApiError, CachePoint, OutputFormat, Request, Tool, ToolChoice};
use crate::wire::json::{Kind, Object, Raw, Text, write_text};

use super::turns::Conversation;
use super::write_mark;
use crate::chat::Ledger;
use crate::chat::capability::{Capabilities, ForcedChoice, StructuredOutput};
use crate::chat::fields::Members;
use crate::chat::names::ToolNames;
use crate::chat::schema::{self, Wish};
use crate::chat::turns::Mark;

/// The tool that stands for an output shape.
pub(super) const FORMAT_TOOL: &str = "json_answer";
const FORMAT_TOOL_TEXT: &str = "Gives the final answer. The arguments of this tool are the answer and all of it: put everything the answer needs into them.";
/// What `json_object` asks for.
const ANY_OBJECT: &str = r#"{"type":"object","additionalProperties":true}"#;

/// What becomes of `tools`, `tool_choice`, `parallel_tool_calls` and the output shape.
#[derive(Debug, Default)]
pub(super) struct Toolbox<'r> {
    pub(super) tools: Vec<Spec<'r>>,
    pub(super) choice: Option<Choice<'r>>,
    /// Anthropic's own member says that only one tool may be used at a time.
    pub(super) one_at_a_time: bool,
    pub(super) shape: Shape<'r>,
    /// The name of the tool that stands for the output shape, if there is one among the tools.
    pub(super) format_tool: Option<String>,
    /// The wanted shape has no member of its own called `properties`.
    pub(super) unwrap: bool,
}

/// A tool, ready to be written. Names need no escape, descriptions are in escaped form, schemas are JSON.
#[derive(Debug)]
pub(super) struct Spec<'r> {
    name: Cow<'r, str>,
    description: Option<Cow<'r, str>>,
    schema: Cow<'r, str>,
    strict: bool,
    pub(super) mark: Option<Mark>,
}

/// `toolChoice`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'r> {
    Auto,
    Any,
    Tool(Cow<'r, str>),
}

/// How the output shape is asked for.
#[derive(Debug, Default)]
pub(super) enum Shape<'r> {
    /// It is not, or it is asked for by a tool.
    #[default]
    None,
    /// `outputConfig.textFormat`.
    Native { schema: Cow<'r, str>, name: Option<&'r Text<'r>>, description: Option<&'r Text<'r>> },
    /// A sentence to the model.
    Instruction(String),
}

impl<'r> Toolbox<'r> {
    /// Decides on tools and shape. `thinking` says that the model will think, which no forced choice goes with.
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
        let mut toolbox = Toolbox::default();
        let offered: &[Tool<'_>] = if takes.tools {
            &request.tools
        } else {
            if !request.tools.is_empty() {
                ledger.lose("tools")?;
            }
            &[]
        };
        let none = matches!(request.tool_choice, Some(ToolChoice::None));
        if !none {
            toolbox.tools = offered.iter().map(|tool| spec(tool, takes, names, ledger)).collect();
            toolbox.choose(request, takes, names, thinking, ledger)?;
        }
        toolbox.shape(request, takes, thinking);
        if toolbox.tools.is_empty() && conversation.has_tools() {
            toolbox.tools = from_history(conversation, offered, takes, names, ledger);
        }
        let unwanted = request.parallel_tool_calls == Some(false);
        if (unwanted || request.one_tool_call) && !toolbox.tools.is_empty() && !none {
            let free = matches!(toolbox.choice, None | Some(Choice::Auto));
            if takes.anthropic_fields && free {
                toolbox.one_at_a_time = true;
                toolbox.choice = None;
            } else if unwanted {
                ledger.lose("parallel_tool_calls")?;
            }
        }
        Ok(toolbox)
    }

    /// The client's choice, as far as the family takes it.
    fn choose(&mut self, request: &'r Request<'_>, takes: &Capabilities, names: &ToolNames<'_>, thinking: bool, ledger: &mut Ledger) -> Result<(), ApiError> {
        if self.tools.is_empty() {
            return Ok(());
        }
        let most = if thinking { ForcedChoice::None } else { takes.forced_choice };
        self.choice = match &request.tool_choice {
            None | Some(ToolChoice::None) => None,
            // It is the default; families that know no choice at all need not hear it.
            Some(ToolChoice::Auto) => (takes.forced_choice > ForcedChoice::None).then_some(Choice::Auto),
            Some(ToolChoice::Any) if most >= ForcedChoice::Any => Some(Choice::Any),
            Some(ToolChoice::Tool(name)) if most == ForcedChoice::Tool => Some(Choice::Tool(names.wire(name))),
            Some(ToolChoice::Tool(name)) if most == ForcedChoice::Any => {
                // Any of one tool is that tool.
                let name = names.wire(name);
                self.tools.retain(|tool| tool.name == name);
                (!self.tools.is_empty()).then_some(Choice::Any)
            }
            Some(ToolChoice::Any | ToolChoice::Tool(_)) => {
                ledger.lose("tool_choice")?;
                None
            }
        };
        Ok(())
    }

    /// Decides how the output shape is asked for.
    ///
    /// Natively, if the family can and the schema is one it takes. Else by a tool whose arguments are the answer: the model is made to use it, or, beside
    /// real tools, to use any of them. Where no tool can be forced, by an instruction. A client that forces one of its own tools gets that tool.
    fn shape(&mut self, request: &'r Request<'_>, takes: &Capabilities, thinking: bool) {
        let can_force = takes.tools && !thinking && takes.forced_choice > ForcedChoice::None;
        let forced_by_client = matches!(self.choice, Some(Choice::Any | Choice::Tool(_)));
        match &request.output_format {
            None | Some(OutputFormat::Text) => {}
            Some(OutputFormat::JsonObject) if forced_by_client => {}
            Some(OutputFormat::JsonObject) if can_force && self.tools.is_empty() => self.force_format(request, takes, Cow::Borrowed(ANY_OBJECT), None, false),
            Some(OutputFormat::JsonObject) => self.shape = Shape::Instruction(schema::instruction(None)),
            Some(OutputFormat::JsonSchema { name, description, schema: json, strict }) => {
                let raw = json.raw();
                let plain_patterns = !takes.look_around;
                let native = takes.structured_output == StructuredOutput::Native && !schema::is_open(raw.as_str());
                if native {
                    let schema = schema::rewrite(raw.as_str(), Wish { closed: true, plain_patterns });
                    let description = description.as_ref().filter(|text| !text.is_blank());
                    self.shape = Shape::Native { schema, name: name.as_ref(), description };
                    return;
                }
                if forced_by_client {
                    return;
                }
                if can_force && is_object_schema(raw) {
                    let strict = *strict == Some(true) && takes.strict_tools && !schema::is_open(raw.as_str());
                    let schema = schema::of_tool(Some(raw), Wish { closed: strict, plain_patterns });
                    self.force_format(request, takes, schema, description.as_ref(), strict);
                } else {
                    self.shape = Shape::Instruction(schema::instruction(Some(raw.as_str())));
                }
            }
        }
    }

    /// Adds the tool that stands for the output shape and makes the model use it.
    fn force_format(&mut self, request: &Request<'_>, takes: &Capabilities, schema: Cow<'r, str>, description: Option<&Text<'_>>, strict: bool) {
        let mut name = Cow::Borrowed(FORMAT_TOOL);
        let mut number = 2;
        let taken: HashSet<Cow<'_, str>> = request.tools.iter().map(|tool| tool.name.unescape()).filter(|own| own.starts_with(FORMAT_TOOL)).collect();
        while taken.contains(&name) {
            name = Cow::Owned(format!("{FORMAT_TOOL}_{number}"));
            number += 1;
        }
        let description = match description.filter(|text| !text.is_blank()) {
            Some(own) => Cow::Owned(format!("{FORMAT_TOOL_TEXT} {}", own.escaped())),
            None => Cow::Borrowed(FORMAT_TOOL_TEXT),
        };
        let alone = self.tools.is_empty();
        self.choice = Some(if alone && takes.forced_choice == ForcedChoice::Tool { Choice::Tool(name.clone()) } else { Choice::Any });
        self.format_tool = Some(name.clone().into_owned());
        self.unwrap = !has_property(&schema, "properties");
        self.tools.push(Spec { name, description: Some(description), schema, strict, mark: None });
    }

    /// Adds the members of `toolConfig`.
    pub(super) fn write(&self, config: &mut Object<'_>) {
        config.array("tools", |tools| {
            for tool in &self.tools {
                tools.object(|item| item.object("toolSpec", |item| tool.write(item)));
                if let Some(mark) = tool.mark {
                    tools.object(|point| write_mark(point, mark));
                }
            }
        });
        match &self.choice {
            None => {}
            Some(Choice::Auto) => config.raw("toolChoice", r#"{"auto":{}}"#),
            Some(Choice::Any) => config.raw("toolChoice", r#"{"any":{}}"#),
            Some(Choice::Tool(name)) => config.object("toolChoice", |choice| choice.object("tool", |tool| tool.string("name", name))),
        }
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.tools.iter().map(|tool| tool.name.len() + tool.schema.len() + tool.description.as_ref().map_or(0, |text| text.len()) + 96).sum()
    }
}

impl Spec<'_> {
    fn write(&self, spec: &mut Object<'_>) {
        spec.string("name", &self.name);
        if let Some(description) = &self.description {
            write_text(spec.key("description"), &Text::from_escaped(description.as_ref()));
        }
        spec.object("inputSchema", |input| input.raw("json", &self.schema));
        if self.strict {
            spec.bool("strict", true);
        }
    }
}

/// A tool as the client gave it.
fn spec<'r>(tool: &'r Tool<'_>, takes: &Capabilities, names: &ToolNames<'_>, ledger: &mut Ledger) -> Spec<'r> {
    let name = names.wire(&tool.name);
    let description = tool.description.as_ref().map(|text| {
        // An empty one is refused. The name says at least something.
        if text.is_blank() { Text::from_plain(tool.name.unescape()).into_escaped() } else { Cow::Borrowed(text.escaped()) }
    });
    let strict = tool.strict == Some(true) && takes.strict_tools;
    if tool.strict == Some(true) && !strict {
        ledger.note("tools[].strict");
    }
    Spec {
        name,
        description: description.filter(|text| !text.is_empty()),
        schema: schema::of_tool(tool.parameters, Wish { closed: strict, plain_patterns: !takes.look_around }),
        strict,
        mark: tool.cache.as_ref().and_then(|point| point_of(point, takes, ledger)),
    }
}

/// The cache point behind a tool, where the family takes one there.
fn point_of(point: &CachePoint<'_>, takes: &Capabilities, ledger: &mut Ledger) -> Option<Mark> {
    if takes.cache_tools {
        Mark::of(point, takes.cache, ledger)
    } else {
        ledger.note("cache_control");
        None
    }
}

/// The tools that the history uses: Bedrock wants them declared, even where none may be used any more. As the client defines them, or by name alone.
fn from_history<'r>(
    conversation: &Conversation<'_>,
    offered: &'r [Tool<'_>],
    takes: &Capabilities,
    names: &ToolNames<'_>,
    ledger: &mut Ledger,
) -> Vec<Spec<'r>> {
    let offered: HashMap<Cow<'_, str>, &'r Tool<'_>> = offered.iter().rev().map(|tool| (names.wire(&tool.name), tool)).collect();
    let declare = |used: &str| match offered.get(used) {
        Some(tool) => spec(tool, takes, names, ledger),
        None => {
            let name = used.to_owned();
            Spec { name: Cow::Owned(name.clone()), description: Some(Cow::Owned(name)), schema: Cow::Borrowed(schema::EMPTY), strict: false, mark: None }
        }
    };
    conversation.used_tools().into_iter().map(declare).collect()
}

/// Whether the object that a schema describes has a member of this name.
fn has_property(schema: &str, name: &str) -> bool {
    let member = |text| Raw::parse(text).ok().and_then(Members::of);
    let properties = member(schema).and_then(|members| members.value("properties"));
    properties.and_then(|properties| member(properties.as_str())).is_some_and(|members| members.value(name).is_some())
}

/// Whether the arguments of a tool can follow the schema: they are always an object.
fn is_object_schema(raw: Raw<'_>) -> bool {
    raw.kind() == Kind::Object && !matches!(schema::of_tool(Some(raw), Wish::default()), Cow::Borrowed(schema::EMPTY))
}
