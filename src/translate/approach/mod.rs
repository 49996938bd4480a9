//! Approaches: one question that a model is asked in several calls, by the methods that OptiLLM made common.
//!
//! ```text
//! name, member or tag ─▶ Wish ─▶ Expression ─▶ a Course for each branch ─▶ Steps ─▶ replies ─▶ … ─▶ the answer ─▶ Writer
//! ```
//!
//! Pure: a [`Course`] says which calls come next and is given their answers; who makes the calls, and how, is not its business. It knows the canonical form
//! only, so any client's API and any target's will do.
//!
//! The methods follow their papers and what OptiLLM (<https://github.com/codelion/optillm>) publishes of its behaviour; the words of the prompts are our own.
//! Re-reading: <https://arxiv.org/abs/2309.06275>. Mixture of agents: <https://arxiv.org/abs/2406.04692>. Self-consistency: <https://arxiv.org/abs/2203.11171>.
//! Best of n: <https://arxiv.org/abs/2110.14168>. Reasoning with reflection: <https://arxiv.org/abs/2303.11366>.

mod agree;
mod cost;
mod course;
mod expression;
mod output;
mod step;
mod wish;
mod writer;

pub use cost::Cost;
pub use course::{Course, Next, Reply};
pub use expression::{Expression, Fault, NONE};
pub use step::{Kind, Shape, Step};
pub use wish::{MEMBER, Wish, of_name};
pub use writer::{Final, Writer, choices, encode};

/// A method that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approach {
    /// The question is put twice.
    Re2,
    /// The model thinks, reflects, and only then answers.
    CotReflection,
    /// The best of several answers, by the model's own marks.
    Bon,
    /// Several answers, a critique of them, and one answer made of all.
    Moa,
    /// The answer that most of several samples agree on.
    SelfConsistency,
}

impl Approach {
    /// All of them.
    pub const ALL: [Approach; 5] = [Approach::Re2, Approach::CotReflection, Approach::Bon, Approach::Moa, Approach::SelfConsistency];

    /// Its name in expressions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Approach::Re2 => "re2",
            Approach::CotReflection => "cot_reflection",
            Approach::Bon => "bon",
            Approach::Moa => "moa",
            Approach::SelfConsistency => "self_consistency",
        }
    }
}
