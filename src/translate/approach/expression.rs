//! What an approach is written as.
//!
//! ```text
//! expression = sequence *( "|" sequence )      side by side: an answer of each
//! sequence   = approach *( "&" approach )      one after another: the answer of one is the question of the next
//! ```

use super::Approach;

/// What a real OptiLLM server knows beside what is built in: its own approaches, then its plugins. A model's name may begin with one of them.
const OTHERS: &[&str] = &[
    "mcts",
    "rto",
    "z3",
    "pvg",
    "rstar",
    "plansearch",
    "leap",
    "cepo",
    "mars",
    "coc",
    "compact",
    "deep_research",
    "deepthink",
    "executecode",
    "genselect",
    "json",
    "longcepo",
    "majority_voting",
    "mcp",
    "memory",
    "privacy",
    "proxy",
    "readurls",
    "router",
    "spl",
    "web_search",
];

/// No approach, said in so many words.
pub const NONE: &str = "none";

/// A reading of what stands for an approach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// Side by side, one at least; each is one after another: none of them is the plain request.
    pub branches: Vec<Vec<Approach>>,
}

/// Why an expression is none of what is built in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// An approach that is not built in, or does not exist.
    #[error("the approach `{0}` is not built in")]
    Unknown(String),
    /// `bon||moa`, `&re2`
    #[error("an approach is missing between the signs of `{0}`")]
    Gap(String),
}

impl Expression {
    /// Reads an expression: `bon|re2&moa`, or `none`, which stands alone. Space around a name does not count.
    ///
    /// # Errors
    /// When one of its names is not built in, or missing.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.trim() == NONE {
            return Ok(Expression { branches: vec![Vec::new()] });
        }
        let approach = |name: &str| match name.trim() {
            "" => Err(Fault::Gap(text.to_owned())),
            name => Approach::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| Fault::Unknown(name.to_owned())),
        };
        let branches = text.split('|').map(|sequence| sequence.split('&').map(approach).collect()).collect::<Result<_, _>>()?;
        Ok(Expression { branches })
    }
}

/// Whether the beginning of a model's name is meant for an approach: one that somebody knows, or signs that no model's name has.
pub(super) fn is_meant(text: &str) -> bool {
    text == NONE || text.contains(['|', '&']) || OTHERS.contains(&text) || Approach::ALL.iter().any(|known| known.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Approach::*;

    #[test]
    fn side_by_side_stands_above_one_after_another() {
        for (text, branches) in [
            ("moa", vec![vec![Moa]]),
            ("bon|moa", vec![vec![Bon], vec![Moa]]),
            ("re2&cot_reflection", vec![vec![Re2, CotReflection]]),
            ("none", vec![vec![]]),
            (" re2 & self_consistency | bon ", vec![vec![Re2, SelfConsistency], vec![Bon]]),
        ] {
            assert_eq!(Expression::parse(text).unwrap().branches, branches, "{text}");
        }
    }

    #[test]
    fn what_is_not_built_in_is_named() {
        assert_eq!(Expression::parse("bon&mcts"), Err(Fault::Unknown("mcts".to_owned())));
        assert_eq!(Expression::parse("MOA"), Err(Fault::Unknown("MOA".to_owned())));
        assert_eq!(Expression::parse("re2&none"), Err(Fault::Unknown("none".to_owned())));
        for gap in ["", "bon||moa", "&re2", "re2&", "|", " "] {
            assert_eq!(Expression::parse(gap), Err(Fault::Gap(gap.to_owned())), "{gap:?}");
        }
    }
}
