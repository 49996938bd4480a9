//! One call of an approach: what is said to the model beside or in place of what the client said.

use std::borrow::Cow;

use crate::chat::{Message, Part, Request, Role};
use crate::wire::json::{Raw, Text};

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer itself.
    Answer,
    /// One of several answers.
    Candidate,
    /// A mark for a candidate.
    Rating,
    /// What is good and bad about the candidates.
    Critique,
    /// One answer, made of the candidates.
    Synthesis,
}

impl Kind {
    /// Its name in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Answer => "answer",
            Kind::Candidate => "candidate",
            Kind::Rating => "rating",
            Kind::Critique => "critique",
            Kind::Synthesis => "synthesis",
        }
    }

    /// Whether it speaks about answers and is none: what the client wants of the form of its answer does not hold for it.
    fn judges(self) -> bool {
        matches!(self, Kind::Rating | Kind::Critique)
    }
}

/// What of a call's text is its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Whole,
    /// What stands between `<output>` and `</output>`.
    Output,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is for.
    pub kind: Kind,
    /// What of its text counts.
    pub shape: Shape,
    /// Instructions behind the client's own.
    pub instructions: Option<Cow<'static, str>>,
    /// In the place of the question's text.
    pub question: Option<String>,
    /// What was said after the question.
    pub then: Vec<(Role, Cow<'static, str>)>,
    /// A JSON number, in the place of the client's.
    pub temperature: Option<&'static str>,
    /// In the place of the client's.
    pub max_tokens: Option<u64>,
    /// How many answers it asks for; `None` is one.
    pub choices: Option<u64>,
}

impl Step {
    /// A call that says what the client said.
    pub(super) fn new(kind: Kind) -> Self {
        Step { kind, shape: Shape::Whole, instructions: None, question: None, then: Vec::new(), temperature: None, max_tokens: None, choices: None }
    }

    /// The client's own request, for who makes all calls of an approach.
    #[must_use]
    pub fn whole(request: &Request<'_>) -> Self {
        Step { choices: request.n, ..Step::new(Kind::Answer) }
    }

    /// The call as a request of its own: the client's with what this call changes.
    #[must_use]
    pub fn request<'r>(&'r self, base: &Request<'r>) -> Request<'r> {
        let mut request = Request { n: self.choices, ..base.clone() };
        if let Some(temperature) = self.temperature.and_then(|number| Raw::parse(number).ok()) {
            request.temperature = Some(temperature);
        }
        request.max_tokens = self.max_tokens.or(request.max_tokens);
        if self.kind.judges() {
            request.output_format = None;
            request.stop.clear();
            request.effort = None;
            request.thinking = None;
        }
        if let Some(question) = &self.question {
            ask(&mut request.messages, Text::from_plain(question.as_str()));
        }
        if let Some(instructions) = &self.instructions {
            let behind = request.messages.iter().take_while(|message| message.role == Role::System).count();
            request.messages.insert(behind, said(Role::System, instructions));
        }
        request.messages.extend(self.then.iter().map(|(role, text)| said(*role, text)));
        request
    }
}

fn said<'t>(role: Role, text: &'t str) -> Message<'t> {
    Message { role, parts: vec![Part::Text(Text::from_plain(text))] }
}

/// The text of the question: of the last thing that the user has said.
pub(super) fn question(request: &Request<'_>) -> String {
    let parts = request.messages.iter().rfind(|message| message.role == Role::User).map_or(&[][..], |message| &message.parts);
    let texts: Vec<_> = parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text.unescape()) } else { None }).collect();
    texts.join("\n")
}

/// Puts another text in the place of the question's. Pictures and files of the question stay where they are.
fn ask<'t>(messages: &mut Vec<Message<'t>>, text: Text<'t>) {
    let Some(asked) = messages.iter_mut().rfind(|message| message.role == Role::User) else {
        messages.push(Message { role: Role::User, parts: vec![Part::Text(text)] });
        return;
    };
    let is_text = |part: &Part<'_>| matches!(part, Part::Text(_));
    let at = asked.parts.iter().position(is_text).unwrap_or(asked.parts.len());
    asked.parts.retain(|part| !is_text(part));
    asked.parts.insert(at.min(asked.parts.len()), Part::Text(text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai::downstream::request::decode;

    #[test]
    fn a_call_keeps_what_it_does_not_change() {
        let body = r#"{"model":"m","n":2,"top_p":0.5,"temperature":0.7,"max_tokens":9,"stop":["x"],"response_format":{"type":"json_object"},"reasoning_effort":"low",
            "messages":[{"role":"system","content":"S"},{"role":"user","content":"old"},{"role":"assistant","content":"said"},
            {"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/a.png"}},{"type":"text","text":"one"},{"type":"text","text":"two"}]}]}"#;
        let base = decode(body).unwrap().request;
        assert_eq!(question(&base), "one\ntwo");
        let plain = Step::new(Kind::Candidate);
        let same = plain.request(&base);
        assert_eq!((same.n, same.messages.len(), same.max_tokens, same.stop.len()), (None, 4, Some(9), 1));
        assert_eq!((same.temperature.unwrap().as_str(), same.output_format.is_some(), same.effort.is_some()), ("0.7", true, true));

        let mut step = Step { instructions: Some("I".into()), question: Some("Q \"q\"".to_owned()), temperature: Some("0.1"), ..Step::new(Kind::Rating) };
        step.then = vec![(Role::Assistant, "A".into()), (Role::User, "rate".into())];
        step.max_tokens = Some(5);
        let other = step.request(&base);
        let roles: Vec<_> = other.messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::System, Role::User, Role::Assistant, Role::User, Role::Assistant, Role::User]);
        let parts = &other.messages[4].parts;
        assert!(matches!(&parts[..], [Part::Image(_), Part::Text(text)] if *text == "Q \"q\""), "{parts:?}");
        assert!(matches!(&other.messages[2].parts[..], [Part::Text(text)] if *text == "old"));
        assert_eq!((other.temperature.unwrap().as_str(), other.max_tokens, other.top_p.is_some()), ("0.1", Some(5), true));
        assert!(other.output_format.is_none() && other.stop.is_empty() && other.effort.is_none(), "a mark has a form of its own");
    }

    #[test]
    fn a_conversation_without_a_question_gets_one() {
        let base = decode(r#"{"model":"m","messages":[{"role":"system","content":"S"}]}"#).unwrap().request;
        assert_eq!(question(&base), "");
        let step = Step { question: Some("Q".to_owned()), ..Step::new(Kind::Answer) };
        assert_eq!(step.request(&base).messages.last().unwrap().role, Role::User);
    }
}
