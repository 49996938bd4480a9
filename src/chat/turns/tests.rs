use proptest::prelude::*;

use super::*;
use crate::chat::capability::LateSystem;
use crate::chat::{Policy, Role, Source, ToolResult, ToolUse};

const HAIKU_3: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const SONNET_4_5: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

/// A form with two kinds of media, one of which may have to leave the results.
struct Plain {
    fits: bool,
    tells_failure: bool,
    reads_billing: bool,
}

const PLAIN: Plain = Plain { fits: true, tells_failure: true, reads_billing: true };

impl<'r> Form<'r> for Plain {
    type Media = &'static str;

    const TELLS_LOST_MARKS: bool = true;

    fn call_ids<'t>(ids: impl Iterator<Item = Cow<'t, str>>) -> CallIds {
        CallIds::plain(ids)
    }

    fn size(media: &&'static str) -> usize {
        media.len()
    }

    fn picture(&mut self, _: &'r Image<'r>, _: Place) -> Result<&'static str, ApiError> {
        Ok("<picture>")
    }

    fn file(&mut self, _: &'r Document<'r>, _: Place, _: &mut Ledger) -> Result<&'static str, ApiError> {
        Ok("<file>")
    }

    fn sound(&mut self, _: &'r Audio<'r>, at: Place) -> Result<&'static str, ApiError> {
        at.refuse("no sound")
    }

    fn search(&mut self, found: &'r SearchResult<'r>, _: Place) -> Result<Content<'r, &'static str>, ApiError> {
        Ok(Content::Text(Cow::Borrowed(found.title.escaped())))
    }

    fn json(&self, value: Raw<'r>) -> Option<&'static str> {
        (value.as_str() == "{}").then_some("<json>")
    }

    fn fits_result(&self, media: &&'static str) -> bool {
        self.fits || *media == "<json>"
    }

    fn tells_failure(&self) -> bool {
        self.tells_failure
    }

    fn reads_billing(&self) -> bool {
        self.reads_billing
    }
}

fn says(role: Role, parts: Vec<Part<'_>>) -> Message<'_> {
    Message { role, parts }
}

fn system(plain: &str) -> Message<'_> {
    says(Role::System, vec![text(plain)])
}

fn user(plain: &str) -> Message<'_> {
    says(Role::User, vec![text(plain)])
}

fn assistant(parts: Vec<Part<'_>>) -> Message<'_> {
    says(Role::Assistant, parts)
}

fn text(plain: &str) -> Part<'_> {
    Part::Text(Text::from_plain(plain))
}

fn call<'a>(id: &'a str, name: &'a str) -> Part<'a> {
    makes(id, name, "{}")
}

fn makes<'a>(id: &'a str, name: &'a str, input: &'a str) -> Part<'a> {
    Part::ToolUse(ToolUse { id: Text::from_plain(id), name: Text::from_plain(name), input: Cow::Borrowed(input) })
}

fn gives<'a>(id: &'a str, parts: Vec<Part<'a>>) -> Part<'a> {
    Part::ToolResult(ToolResult { id: Text::from_plain(id), parts, is_error: None })
}

fn result<'a>(id: &'a str, parts: Vec<Part<'a>>) -> Message<'a> {
    says(Role::Tool, vec![gives(id, parts)])
}

fn image() -> Part<'static> {
    Part::Image(Image { media_type: None, source: Source::Base64(Text::from_plain("AAAA")) })
}

fn thought(said: &'static str, seal: Option<&'static str>) -> Part<'static> {
    Part::Reasoning(Reasoning { text: Text::from_plain(said), signature: seal.map(Text::from_plain) })
}

fn cache(ttl: Option<&'static str>) -> Part<'static> {
    Part::CachePoint(CachePoint { ttl: ttl.map(Text::from_plain) })
}

fn plan<'r>(form: Plain, takes: &Capabilities, messages: &'r [Message<'_>]) -> Result<(Conversation<'r, &'static str>, Vec<String>), ApiError> {
    let names = messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
        Part::ToolUse(made) => Some(&made.name),
        _ => None,
    });
    let mut ledger = Ledger::new(Policy::default());
    let conversation = Conversation::plan(messages, takes, &ToolNames::new(names, ""), form, &mut ledger)?;
    Ok((conversation, ledger.into_dropped()))
}

/// The instructions and turns, a line each.
fn lines(conversation: &Conversation<'_, &'static str>) -> Vec<String> {
    let system = (!conversation.system.is_empty()).then(|| format!("system: {}", shown(&conversation.system)));
    let turns = conversation.turns.iter().map(|turn| format!("{}: {}", turn.speaker.role(), shown(&turn.blocks)));
    system.into_iter().chain(turns).collect()
}

fn shown(blocks: &[Block<'_, &'static str>]) -> String {
    let mark = |mark: Option<Mark>| mark.map_or_else(String::new, |mark| format!("*{}", mark.ttl.unwrap_or_default()));
    blocks.iter().map(|block| format!("{}{}", content(&block.content), mark(block.mark))).collect::<Vec<_>>().join(", ")
}

fn content(block: &Content<'_, &'static str>) -> String {
    match block {
        Content::Text(text) => text.to_string(),
        Content::Media(media) => (*media).to_owned(),
        Content::ToolUse { id, name, input } => format!("{name}#{id}{input}"),
        Content::ToolResult { id, items, failed } => {
            let items: Vec<_> = items.iter().map(content).collect();
            format!("#{id}[{}]{}", items.join(" "), if *failed == Some(true) { "!" } else { "" })
        }
        Content::Thought(thought) => format!("({})", thought.text.escaped()),
        Content::Redacted(sealed) => format!("({}?)", sealed.escaped()),
    }
}

fn turns(messages: &[Message<'_>]) -> Vec<String> {
    lines(&plan(PLAIN, &Capabilities::of(HAIKU_3), messages).unwrap().0)
}

/// With the ends made fit.
fn closed(messages: &[Message<'_>], prefill: bool) -> Vec<String> {
    let (mut conversation, _) = plan(PLAIN, &Capabilities::of(HAIKU_3), messages).unwrap();
    conversation.close(prefill);
    lines(&conversation)
}

#[test]
fn trap_10_neighbours_are_merged_and_results_stand_in_the_next_turn_in_order() {
    let messages = [
        system("S"),
        user("a"),
        user("b"),
        assistant(vec![text("c"), call("1", "f")]),
        assistant(vec![makes("2", "g", r#"{"x":1}"#)]),
        user("between"),
        result("2", vec![text("two")]),
        result("1", vec![text("one")]),
        user("d"),
    ];
    assert_eq!(turns(&messages), ["system: S", "user: a, b", r#"assistant: c, f#1{}, g#2{"x":1}"#, "user: #1[one], #2[two], between, d"]);
    let (conversation, _) = plan(PLAIN, &Capabilities::of(HAIKU_3), &messages).unwrap();
    assert_eq!((conversation.used_tools(), conversation.has_tools()), (vec!["f", "g"], true));
}

#[test]
fn trap_10_results_without_calls_and_calls_without_results() {
    let messages = [
        result("0", vec![text("stray"), image()]),
        assistant(vec![call("1", "f"), call("2", "f")]),
        result("2", vec![text("two")]),
        result("2", vec![text("again")]),
        assistant(vec![text("and"), call("3", "f")]),
    ];
    let wanted = |mark: &str| {
        [
            "user: Result of an earlier tool call:, stray, <picture>".to_owned(),
            "assistant: f#1{}, f#2{}".to_owned(),
            format!("user: #1[{NO_RESULT}]{mark}, #2[two], Result of an earlier tool call:, again"),
            "assistant: and, f#3{}".to_owned(),
            format!("user: #3[{NO_RESULT}]{mark}"),
        ]
    };
    assert_eq!(turns(&messages), wanted("!"), "a conversation that ends with a call");
    let (conversation, _) = plan(Plain { tells_failure: false, ..PLAIN }, &Capabilities::of(HAIKU_3), &messages).unwrap();
    assert_eq!(lines(&conversation), wanted(""));
}

#[test]
fn trap_10_a_late_result_finds_its_call() {
    let messages = [user("a"), assistant(vec![call("1", "f")]), user("b"), assistant(vec![text("c")]), result("1", vec![text("late")]), user("d")];
    assert_eq!(turns(&messages), ["user: a", "assistant: f#1{}", "user: #1[late], b", "assistant: c", "user: d"]);
}

#[test]
fn trap_11_and_30_signed_thoughts_come_first_and_unsigned_ones_not_at_all() {
    let parts = vec![call("1", "f"), text("t"), thought("no", None), thought("hm", Some("S==")), Part::RedactedReasoning(Text::from_plain("AA"))];
    let messages = [user("a"), assistant(parts)];
    let (conversation, dropped) = plan(PLAIN, &Capabilities::of(SONNET_4_5), &messages).unwrap();
    assert_eq!(lines(&conversation)[1], "assistant: (hm), (AA?), t, f#1{}");
    assert_eq!((dropped, conversation.lacks_thought()), (vec!["reasoning_content".to_owned()], false));
    let (conversation, dropped) = plan(PLAIN, &Capabilities::of(HAIKU_3), &messages).unwrap();
    assert_eq!(lines(&conversation)[1], "assistant: t, f#1{}");
    assert_eq!((dropped, conversation.lacks_thought()), (vec!["reasoning_content".to_owned()], true));
}

#[test]
fn trap_12_repeated_ids() {
    let messages = [
        user("a"),
        assistant(vec![call("1", "f")]),
        result("1", vec![text("one")]),
        assistant(vec![call("1", "f"), call("x", "f"), call("x", "f")]),
        result("1", vec![text("two")]),
        result("x", vec![text("three")]),
        result("x", vec![text("four")]),
    ];
    assert_eq!(turns(&messages)[2..], ["user: #1[one]", "assistant: f#1_2{}, f#x{}, f#x_2{}", "user: #1_2[two], #x[three], #x_2[four]"]);
}

#[test]
fn trap_09_arguments_that_are_no_object_become_empty() {
    for (input, sent) in
        [("", "{}"), ("null", "{}"), ("[1]", "{}"), ("\"x\"", "{}"), ("{\"a\":", "{}"), ("{} x", "{}"), (" {\"b\":1.50,\"a\":2}\n", "{\"b\":1.50,\"a\":2}")]
    {
        assert_eq!(turns(&[user("a"), assistant(vec![makes("1", "f", input)])])[1], format!("assistant: f#1{sent}"), "{input}");
    }
}

#[test]
fn trap_21_pictures_stay_in_results_only_where_they_are_taken() {
    let messages = [
        user("a"),
        assistant(vec![call("1", "f"), call("2", "f"), call("3", "f")]),
        result("1", vec![text("see"), image()]),
        result("2", vec![image(), text(" ")]),
        result("3", vec![Part::Json(Raw::parse("{}").unwrap()), Part::Json(Raw::parse("[1]").unwrap())]),
        user("b"),
    ];
    assert_eq!(turns(&messages)[2], "user: #1[see <picture>], #2[<picture>], #3[<json> [1]], b");
    let (conversation, _) = plan(Plain { fits: false, ..PLAIN }, &Capabilities::of(HAIKU_3), &messages).unwrap();
    let wanted = "user: #1[see], #2[The result is in the attachments of this message.], #3[<json> [1]], <picture>, <picture>, b";
    assert_eq!(lines(&conversation)[2], wanted, "says where the picture went");
}

#[test]
fn failed_results_say_so() {
    let failed = ToolResult { id: Text::from_plain("1"), parts: vec![text("no")], is_error: Some(true) };
    let messages = [user("a"), assistant(vec![call("1", "f")]), says(Role::Tool, vec![Part::ToolResult(failed)])];
    assert_eq!(turns(&messages)[2], "user: #1[no]!");
    let (conversation, _) = plan(Plain { tells_failure: false, ..PLAIN }, &Capabilities::of(HAIKU_3), &messages).unwrap();
    assert_eq!(lines(&conversation)[2], "user: #1[The tool call failed: no]");
}

#[test]
fn trap_22_blank_text_goes_and_calls_stay() {
    let messages = [
        user(" \n"),
        user("a"),
        assistant(vec![text(""), call("1", "f")]),
        result("1", vec![text("")]),
        assistant(vec![text("\u{a0}")]),
        user("b"),
        assistant(vec![text("Once \u{2003}\n")]),
    ];
    assert_eq!(closed(&messages, true), ["user: a", "assistant: f#1{}", "user: #1[], b", "assistant: Once"], "a prefill ends without white space");
}

#[test]
fn trap_23_the_user_begins_and_ends() {
    for messages in [vec![system("s")], vec![user("")], vec![]] {
        let turns = closed(&messages, true);
        assert_eq!(turns.last().map(String::as_str), Some("user: Please continue."));
    }
    let messages = [assistant(vec![text(" "), text("b \n")]), user("\n\t")];
    assert_eq!(closed(&messages, true), ["user: Please continue.", "assistant: b"], "the model goes on from there");
    assert_eq!(closed(&messages, false), ["user: Please continue.", "assistant: b \\n", "user: Please continue."]);
}

#[test]
fn instructions_in_front_of_the_first_turn() {
    for (messages, wanted) in [
        (vec![system("s"), user("a"), system("t")], vec!["user: s, t, a"]),
        (vec![system("s"), assistant(vec![text("b")])], vec!["user: s", "assistant: b"]),
        (vec![user("a")], vec!["user: a"]),
    ] {
        let (mut conversation, _) = plan(PLAIN, &Capabilities::of(HAIKU_3), &messages).unwrap();
        conversation.prepend_system();
        assert_eq!(lines(&conversation), wanted);
    }
}

#[test]
fn trap_24_late_instructions_never_stand_between_call_and_result() {
    let messages = [system("s"), user("a"), assistant(vec![call("1", "f")]), system("late"), result("1", vec![text("ok")]), user("go on")];
    assert_eq!(turns(&messages), ["system: s, late", "user: a", "assistant: f#1{}", "user: #1[ok], go on"]);
    let takes = Capabilities { late_system: LateSystem::InPlace, ..Capabilities::of(HAIKU_3) };
    let (conversation, _) = plan(PLAIN, &takes, &messages).unwrap();
    assert_eq!(lines(&conversation), ["system: s", "user: a", "assistant: f#1{}", "user: #1[ok], late, go on"], "in place, behind the result");
}

#[test]
fn trap_25_and_26_cache_markers() {
    let messages = [
        says(Role::System, vec![cache(None), text("s"), cache(Some("1h"))]),
        says(Role::User, vec![text("a"), cache(None)]),
        assistant(vec![thought("h", Some("S")), cache(None), call("t", "f"), cache(None)]),
        says(Role::User, vec![gives("t", vec![text("r"), cache(Some("5m"))]), text("b"), cache(Some("?"))]),
    ];
    let (mut conversation, dropped) = plan(PLAIN, &Capabilities::of(SONNET_4_5), &messages).unwrap();
    assert_eq!(lines(&conversation), ["system: s*1h", "user: a*", "assistant: (h), f#t{}*", "user: #t[r]*5m, b*"]);
    assert_eq!(dropped, ["cache_control"], "nothing and a thought carry none");
    let mut ledger = Ledger::new(Policy::default());
    let mut tool = Some(Mark { ttl: None });
    conversation.limit_marks([&mut tool].into_iter(), 6, &mut ledger);
    assert!(tool.is_some() && ledger.clone().into_dropped().is_empty());
    conversation.limit_marks([&mut tool].into_iter(), 3, &mut ledger);
    assert_eq!(lines(&conversation), ["system: s", "user: a", "assistant: (h), f#t{}*", "user: #t[r]*5m, b*"], "the first ones go");
    assert!(tool.is_none() && ledger.into_dropped() == ["cache_control"]);
    for (of, noted) in [(Cache::None, vec!["cache_control"]), (Cache::FiveMinutes, vec!["cache_control", "cache_control.ttl"])] {
        let takes = Capabilities { cache: of, ..Capabilities::of(SONNET_4_5) };
        let (conversation, dropped) = plan(PLAIN, &takes, &messages).unwrap();
        assert_eq!(
            (lines(&conversation).concat().matches('*').count(), dropped),
            (if of == Cache::None { 0 } else { 5 }, noted.iter().map(ToString::to_string).collect())
        );
    }
}

#[test]
fn models_without_tools_read_them_as_text() {
    let takes = Capabilities { tools: false, ..Capabilities::of(HAIKU_3) };
    let messages = [user("a"), assistant(vec![call("1", "f")]), result("1", vec![text("r")])];
    let (conversation, _) = plan(PLAIN, &takes, &messages).unwrap();
    assert_eq!(lines(&conversation), ["user: a", "assistant: Tool call: f {}", "user: Result of an earlier tool call:, r"]);
    assert!(!conversation.has_tools());
}

#[test]
fn trap_52_a_billing_header_is_for_anthropic_alone() {
    let messages = [system("x-anthropic-billing-header: cc_version=1"), user("a")];
    assert_eq!(turns(&messages).len(), 2);
    let (conversation, dropped) = plan(Plain { reads_billing: false, ..PLAIN }, &Capabilities::of(HAIKU_3), &messages).unwrap();
    assert_eq!((lines(&conversation), dropped), (vec!["user: a".to_owned()], vec![BILLING_HEADER.to_owned()]));
}

#[test]
fn parts_in_the_wrong_place_are_named() {
    let sound = || Part::Audio(Audio { format: Text::from_plain("wav"), source: Source::Base64(Text::from_plain("AAAA")) });
    for (messages, param) in [
        (vec![user("a"), assistant(vec![text("b"), image()])], "messages[1].content[1]"),
        (vec![assistant(vec![gives("1", vec![])])], "messages[0].content[0]"),
        (vec![says(Role::System, vec![image()])], "messages[0].content[0]"),
        (vec![says(Role::User, vec![call("1", "f")])], "messages[0].content[0]"),
        (vec![says(Role::User, vec![text("a"), cache(None), thought("h", None)])], "messages[0].content[1]"),
        (vec![user("a"), result("1", vec![gives("2", vec![])])], "messages[1].content[0]"),
        (vec![assistant(vec![call("1", "f")]), user("b"), result("1", vec![text("x"), sound()])], "messages[2].content[1]"),
        (vec![assistant(vec![call("1", "f")]), result("1", vec![text("x"), call("2", "f")])], "messages[1].content[1]"),
    ] {
        let error = plan(PLAIN, &Capabilities::of(SONNET_4_5), &messages).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)));
    }
}

/// A part of any kind, with ids that meet and are not all good.
fn made_part(kind: u8, at: usize) -> Part<'static> {
    const IDS: [&str; 3] = ["t1", "t:2", "t1"];
    let id = IDS[at % IDS.len()];
    match kind {
        0 | 1 => text(["x", " ", "", "y "][at % 4]),
        2 | 3 => call(id, "f"),
        4 | 5 => gives(id, vec![text("r"), image()]),
        6 => thought("h", Some("S")),
        7 => thought("h", None),
        8 => cache(None),
        9 => Part::Json(Raw::parse("[1]").unwrap()),
        10 => Part::RedactedReasoning(Text::from_plain("AA")),
        _ => gives("nobody", vec![]),
    }
}

proptest! {
    #[test]
    fn every_conversation_keeps_the_rules(
        said in prop::collection::vec((0_u8..4, prop::collection::vec(0_u8..12, 0..5)), 1..9),
        fits in any::<bool>(),
        prefill in any::<bool>(),
    ) {
        let belongs = |role: Role, kind: u8| match role {
            Role::System => matches!(kind, 0 | 1 | 8),
            Role::User | Role::Tool => matches!(kind, 0 | 1 | 4 | 5 | 8 | 9 | 11),
            Role::Assistant => !matches!(kind, 4 | 5 | 11),
        };
        let messages: Vec<Message<'_>> = said.iter().map(|(role, kinds)| {
            let role = [Role::System, Role::User, Role::Assistant, Role::Tool][usize::from(*role)];
            let parts = kinds.iter().enumerate().filter(|(_, kind)| belongs(role, **kind)).map(|(at, kind)| made_part(*kind, at)).collect();
            says(role, parts)
        }).collect();
        let (mut conversation, _) = plan(Plain { fits, ..PLAIN }, &Capabilities::of(SONNET_4_5), &messages).unwrap();
        conversation.close(prefill);
        conversation.limit_marks(std::iter::empty(), 4, &mut Ledger::new(Policy::default()));
        let mut open: Vec<String> = Vec::new();
        for (at, turn) in conversation.turns.iter().enumerate() {
            prop_assert_eq!(turn.speaker, if at % 2 == 0 { Speaker::User } else { Speaker::Assistant });
            prop_assert!(!turn.blocks.is_empty());
            let result = |block: &Block<'_, &'static str>| if let Content::ToolResult { id, .. } = &block.content { Some(id.to_string()) } else { None };
            let results: Vec<String> = turn.blocks.iter().map_while(result).collect();
            prop_assert_eq!(&results, &open, "results answer the calls before them, in front of all else");
            prop_assert_eq!(results.len(), turn.blocks.iter().filter_map(result).count());
            prop_assert!(turn.speaker == Speaker::User || turn.blocks.is_sorted_by_key(|block| block.content.rank()));
            open = turn.blocks.iter().filter_map(|block| if let Content::ToolUse { id, .. } = &block.content { Some(id.to_string()) } else { None }).collect();
            for block in &turn.blocks {
                prop_assert!(!matches!(&block.content, Content::Text(text) if text.trim().is_empty()));
                prop_assert!(block.mark.is_none() || block.content.rank() != 0);
            }
        }
        prop_assert!(open.is_empty());
        prop_assert!(conversation.turns.last().is_some_and(|last| prefill || last.speaker == Speaker::User));
        prop_assert!(lines(&conversation).concat().matches('*').count() <= 4);
    }
}
