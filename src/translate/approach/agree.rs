//! Which of several answers most of them agree on.
//!
//! Answers that name their result (`\boxed{42}`, `Answer: 42`, `the answer is 42`) agree when the results do, whatever led there, as the paper has it. The others
//! agree when they are nearly the same text, as OptiLLM has it, and end in the same number: `It takes 12 days` is not `It takes 13 days`.

use std::borrow::Cow;

/// How much alike two texts are that say the same, from 0 to 1.
const ALIKE: f64 = 0.8;

/// The longest text that is compared letter by letter.
const LONGEST: usize = 64 << 10;

/// Marks in front of a result.
const MARKS: &[&str] = &["answer is", "answer:"];

/// The first answer of the largest group, of groups that are equally large the first one; `None` of none. An answer joins the first group whose first answer it
/// agrees with.
pub(super) fn majority<'a>(answers: impl IntoIterator<Item = &'a str>) -> Option<usize> {
    let mut groups: Vec<(Said, usize, usize)> = Vec::new();
    for (at, answer) in answers.into_iter().enumerate() {
        let said = Said::of(answer);
        match groups.iter_mut().find(|(first, ..)| first.agrees(&said)) {
            Some((_, _, size)) => *size += 1,
            None => groups.push((said, at, 1)),
        }
    }
    // Of equals `max_by_key` gives the last one.
    groups.iter().rev().max_by_key(|(_, _, size)| *size).map(|(_, at, _)| *at)
}

/// An answer as it is compared.
struct Said {
    text: String,
    result: Option<String>,
    number: Option<String>,
}

impl Said {
    fn of(answer: &str) -> Self {
        let text = answer.to_lowercase();
        Said { result: result(&text), number: last_number(&text), text }
    }

    fn agrees(&self, other: &Said) -> bool {
        match (&self.result, &other.result) {
            (Some(one), Some(two)) => one == two,
            (None, None) => self.text == other.text || (self.number == other.number && strsim::sorensen_dice(head(&self.text), head(&other.text)) >= ALIKE),
            _ => false,
        }
    }
}

fn head(text: &str) -> &str {
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

/// The last result that a text names, without what is put around it.
fn result(text: &str) -> Option<String> {
    let boxed = text.rsplit_once("\\boxed{").map(|(_, behind)| behind.split('}').next().unwrap_or_default());
    let marked = || {
        let behind = MARKS.iter().filter_map(|mark| text.rfind(mark).map(|at| at + mark.len())).max()?;
        text.get(behind..)?.lines().find(|line| !line.trim().is_empty())
    };
    let bare = boxed.or_else(marked)?.trim_matches(|c: char| c.is_whitespace() || matches!(c, ':' | '*' | '.' | '"' | '`' | '$' | '_'));
    (!bare.is_empty()).then(|| without_commas(bare).into_owned())
}

/// `1,000` is `1000`.
fn without_commas(text: &str) -> Cow<'_, str> {
    if text.contains(',') && text.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.' | '-')) {
        Cow::Owned(text.replace(',', ""))
    } else {
        Cow::Borrowed(text)
    }
}

fn last_number(text: &str) -> Option<String> {
    let number = text.split(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ','))).rfind(|word| word.contains(|c: char| c.is_ascii_digit()))?;
    Some(number.trim_matches(['.', ',']).replace(',', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_agree() {
        for (answers, first) in [
            (&["a", "b", "b"][..], Some(1)),
            (&["a", "b"], Some(0)),
            (&["Seven.", "It is eight.", "It is  eight!"], Some(1)),
            (&["First 2+2, so the answer is 4.", "I count fingers.\n\nThe answer is **4**", "The answer is 5."], Some(0)),
            (&["x \\boxed{5}", "Counting gives \\boxed{4}.", "Adding gives \\boxed{4}"], Some(1)),
            (&["It takes 12 days in all.", "It takes 13 days in all.", "It takes 13 days in all"], Some(1)),
            (&["Answer: 1,000", "no idea", "ANSWER:\n1000."], Some(0)),
            (&["one", "two two two", "one"], Some(0)),
            (&[], None),
        ] {
            assert_eq!(majority(answers.iter().copied()), first, "{answers:?}");
        }
    }

    #[test]
    fn long_and_strange_texts_are_compared_too() {
        let long = "ä".repeat(LONGEST);
        assert_eq!(majority([long.as_str(), "b", format!("{long}!").as_str()]), Some(0));
        assert_eq!(majority(["\\boxed{", "", "answer is", "\u{0}"]), Some(0));
    }
}
