//! The course of one branch of an expression: which calls come next, until there is an answer.
//!
//! ```text
//! begin ─▶ Ask ─▶ go_on(replies) ─▶ Ask ─▶ … ─▶ Last(call)    its answer is the client's
//!                                          └──▶ Pick(number)  a reply that is there is
//! ```

use crate::chat::{ApiError, ErrorKind, Request, Role};

use super::agree::majority;
use super::output;
use super::step::{Kind, Shape, Step, question};
use super::{Approach, Cost};

/// Answers that the best one is taken from, or one is made of.
pub(super) const CANDIDATES: usize = 3;
/// Answers that are looked at for what most of them say.
pub(super) const SAMPLES: usize = 5;
/// A mark is a number; models that think before it need some room.
pub(super) const RATING_TOKENS: u64 = 512;
/// A critique of a few short paragraphs.
pub(super) const CRITIQUE_TOKENS: u64 = 1024;

/// Answers that are to differ.
const VARIED: &str = "1";
/// Thinking aloud, where the client says nothing.
const MUSING: &str = "0.6";
/// Judgements that are not to differ.
const STEADY: &str = "0.1";

const REFLECT: &str = "Work on the request in three parts, each inside its own tags.\n\
    First <thinking>: reason towards the answer step by step. Before you close it, open <reflection> inside it: look for mistakes, gaps and better ways in what you have \
    just reasoned, close it, and correct what needs correcting.\n\
    Then <output>: the finished answer, complete and to the point. The reader sees nothing but what stands there, so do not refer to your reasoning, and put no part of \
    the answer anywhere else.\n\
    Your reply has this form:\n\
    <thinking>…<reflection>…</reflection>…</thinking>\n<output>…</output>";

const RATE: &str = "You will be asked to mark a reply. Judge how well it serves the request it was given to: is it correct, does it cover what was asked, is it clear? \
    0 is useless, 10 could not be better. Say the number and nothing else.";
const RATE_IT: &str = "What mark from 0 to 10 does your last reply deserve? Only the number.";

const NO_CRITIQUE: &str = "(none)";

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These calls, in any order; their replies come in this one.
    Ask(Vec<Step>),
    /// This call; its answer is the client's.
    Last(Box<Step>),
    /// This reply, of all that were given so far, is the client's answer.
    Pick(usize),
}

/// What a call has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What the model has said.
    pub text: String,
    /// It was cut off at its longest.
    pub truncated: bool,
}

impl Reply {
    /// Whether it may stand beside others.
    fn is_usable(&self) -> bool {
        !self.truncated && !self.text.trim().is_empty()
    }
}

/// Where an approach stands.
#[derive(Clone, Debug)]
enum State {
    /// Candidates are awaited, for a choice or for one answer of all.
    Candidates,
    /// The numbers of the candidates whose marks are awaited.
    Marks(Vec<usize>),
    /// The candidates whose critique is awaited.
    Critique(Vec<String>),
    /// Samples are awaited.
    Samples,
    /// The answer is awaited, for the approach that follows.
    Answer(Shape),
}

/// One branch on its way.
#[derive(Clone, Debug)]
pub struct Course {
    sequence: Vec<Approach>,
    /// Which of them it is at.
    at: usize,
    /// The text of its question.
    question: String,
    /// Whether that is the client's own.
    asked: bool,
    /// The client says how varied its answer is to be.
    has_temperature: bool,
    state: State,
    /// Replies before those of the approach that it is at.
    before: usize,
    /// Replies of the approach that it is at.
    replies: Vec<Reply>,
}

impl Course {
    /// A course for a client's request.
    #[must_use]
    pub fn new(sequence: &[Approach], request: &Request<'_>) -> Self {
        Course {
            sequence: sequence.to_vec(),
            at: 0,
            question: question(request),
            asked: true,
            has_temperature: request.temperature.is_some(),
            state: State::Samples,
            before: 0,
            replies: Vec::new(),
        }
    }

    /// What it may cost.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost::of(&self.sequence)
    }

    /// The first calls.
    pub fn begin(&mut self) -> Next {
        let Some(approach) = self.sequence.get(self.at) else { return Next::Last(Box::new(self.step(Kind::Answer))) };
        let several = |step: Step, count| Next::Ask(vec![step; count]);
        match approach {
            Approach::Re2 => {
                let question = reread(&self.question);
                self.answer(Step { question: Some(question), ..Step::new(Kind::Answer) })
            }
            Approach::CotReflection => {
                let temperature = (!self.has_temperature).then_some(MUSING);
                self.answer(Step { shape: Shape::Output, instructions: Some(REFLECT.into()), temperature, ..self.step(Kind::Answer) })
            }
            Approach::Bon | Approach::Moa => {
                self.state = State::Candidates;
                several(Step { temperature: Some(VARIED), ..self.step(Kind::Candidate) }, CANDIDATES)
            }
            Approach::SelfConsistency => {
                self.state = State::Samples;
                several(Step { temperature: Some(VARIED), ..self.step(Kind::Candidate) }, SAMPLES)
            }
        }
    }

    /// What follows from the replies to the calls that were asked for.
    ///
    /// # Errors
    /// 502 when none of them can be used.
    pub fn go_on(&mut self, replies: Vec<Reply>) -> Result<Next, ApiError> {
        let first = self.replies.len();
        self.replies.extend(replies);
        let new = self.replies.get(first..).unwrap_or_default();
        match std::mem::replace(&mut self.state, State::Samples) {
            State::Candidates => self.candidates(),
            State::Marks(candidates) => {
                let best = best(new, &candidates);
                self.pick(best)
            }
            State::Critique(candidates) => {
                let critique = new.first().filter(|reply| reply.is_usable()).map_or(NO_CRITIQUE, |reply| reply.text.trim());
                let question = synthesis(&self.question, &candidates, critique);
                Ok(self.answer(Step { question: Some(question), temperature: Some(STEADY), ..Step::new(Kind::Synthesis) }))
            }
            State::Samples => {
                let usable = self.usable();
                let texts = usable.iter().filter_map(|at| self.replies.get(*at)).map(|reply| reply.text.trim());
                let most = majority(texts).and_then(|at| usable.get(at).copied());
                self.pick(most)
            }
            State::Answer(shape) => {
                let reply = new.first().ok_or_else(nothing)?;
                let answer = match shape {
                    Shape::Whole => reply.text.trim(),
                    Shape::Output => output::of(&reply.text),
                };
                if answer.is_empty() {
                    return Err(nothing());
                }
                let answer = answer.to_owned();
                Ok(self.follow(answer))
            }
        }
    }

    /// The numbers of the replies that can be used.
    fn usable(&self) -> Vec<usize> {
        self.replies.iter().enumerate().filter(|(_, reply)| reply.is_usable()).map(|(at, _)| at).collect()
    }

    fn candidates(&mut self) -> Result<Next, ApiError> {
        let usable = self.usable();
        let texts = || usable.iter().filter_map(|at| self.replies.get(*at)).map(|reply| reply.text.trim().to_owned());
        if usable.is_empty() {
            return Err(nothing());
        }
        if self.sequence.get(self.at) == Some(&Approach::Moa) {
            let candidates: Vec<String> = texts().collect();
            let question = critique(&self.question, &candidates);
            let step = Step { question: Some(question), temperature: Some(STEADY), max_tokens: Some(CRITIQUE_TOKENS), ..Step::new(Kind::Critique) };
            self.state = State::Critique(candidates);
            return Ok(Next::Ask(vec![step]));
        }
        // There is nothing to choose from.
        if let [only] = usable[..] {
            return self.pick(Some(only));
        }
        let mark = |candidate: String| Step {
            instructions: Some(RATE.into()),
            then: vec![(Role::Assistant, candidate.into()), (Role::User, RATE_IT.into())],
            temperature: Some(STEADY),
            max_tokens: Some(RATING_TOKENS),
            ..self.step(Kind::Rating)
        };
        let marks = texts().map(mark).collect();
        self.state = State::Marks(usable);
        Ok(Next::Ask(marks))
    }

    /// A call with the question as it stands.
    fn step(&self, kind: Kind) -> Step {
        Step { question: (!self.asked).then(|| self.question.clone()), ..Step::new(kind) }
    }

    /// The call whose answer is that of the approach.
    fn answer(&mut self, step: Step) -> Next {
        if self.is_last() {
            return Next::Last(Box::new(step));
        }
        self.state = State::Answer(step.shape);
        Next::Ask(vec![step])
    }

    /// The reply that is the answer of the approach.
    fn pick(&mut self, reply: Option<usize>) -> Result<Next, ApiError> {
        let at = reply.ok_or_else(nothing)?;
        if self.is_last() {
            return Ok(Next::Pick(self.before + at));
        }
        let answer = self.replies.get(at).map(|reply| reply.text.trim().to_owned()).ok_or_else(nothing)?;
        Ok(self.follow(answer))
    }

    fn is_last(&self) -> bool {
        self.at + 1 >= self.sequence.len()
    }

    /// Begins the next approach: the answer of the one before is its question.
    fn follow(&mut self, answer: String) -> Next {
        self.question = answer;
        self.asked = false;
        self.at += 1;
        self.before += self.replies.len();
        self.replies.clear();
        self.begin()
    }
}

/// The candidate with the best mark; of equals the first.
fn best(marks: &[Reply], candidates: &[usize]) -> Option<usize> {
    let marked = marks.iter().zip(candidates).map(|(reply, candidate)| (mark(&reply.text), *candidate));
    marked.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, candidate)| candidate)
}

/// The mark that a reply says: its first number, 0 where there is none.
fn mark(text: &str) -> f64 {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let number = text.split(|c| !is_number(c)).map(|word| word.trim_matches('.')).find(|word| !word.is_empty());
    number.and_then(|number| number.parse().ok()).filter(|mark| (0.0..=10.0).contains(mark)).unwrap_or_default()
}

fn nothing() -> ApiError {
    ApiError::new(ErrorKind::BadUpstream, "None of the model's answers could be used: they were empty, or cut off at max_tokens.")
}

/// Two readings: the second pass over a question sees its beginning in the light of its end.
fn reread(question: &str) -> String {
    format!("{question}\n\nOnce more, to be read with care before you answer:\n{question}")
}

fn listed(candidates: &[String]) -> String {
    candidates.iter().enumerate().map(|(at, text)| format!("<draft number=\"{}\">\n{text}\n</draft>\n", at + 1)).collect()
}

fn critique(question: &str, candidates: &[String]) -> String {
    format!(
        "<request>\n{question}\n</request>\n\nThese drafts were written for it, each on its own:\n\n{}\nGo through the drafts by their numbers. Say of each what it gets right, \
         what is wrong or missing, and what another one does better. Do not write an answer of your own.",
        listed(candidates)
    )
}

fn synthesis(question: &str, candidates: &[String], critique: &str) -> String {
    format!(
        "<request>\n{question}\n</request>\n\nThese drafts were written for it, each on its own:\n\n{}\nA reviewer said of them:\n\n<review>\n{critique}\n</review>\n\nWrite \
         the best answer to the request. Take over what is right, leave out what is wrong, whoever wrote it, and trust your own judgement above both. Give the answer only: \
         its reader knows nothing of drafts or a review.",
        listed(candidates)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_the_first_number() {
        for (text, value) in [("7", 7.0), (" 8.5/10", 8.5), ("Mark: 9.", 9.0), ("none", 0.0), ("", 0.0), ("100", 0.0), ("...", 0.0), ("1.2.3", 0.0)] {
            assert!((mark(text) - value).abs() < f64::EPSILON, "{text}");
        }
    }
}
