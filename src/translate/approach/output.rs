//! What stands between `<output>` and `</output>`: a model that was told to think aloud says its answer there.
//!
//! ```text
//! Before ──<output>──▶ Inside ──</output>──▶ Behind
//! ```
//!
//! A text without `<output>` is its own answer; one that breaks off inside ends there.

const OPEN: &str = "<output>";
const CLOSE: &str = "</output>";

/// So much is kept in wait of `<output>`. Whoever thinks longer is heard as he is.
const MOST: usize = 4 << 20;

/// The answer in a whole text.
#[must_use]
pub(super) fn of(text: &str) -> &str {
    let Some((_, inside)) = text.split_once(OPEN) else { return text };
    inside.split_once(CLOSE).map_or(inside, |(output, _)| output).trim()
}

/// Reads a text as it comes.
#[derive(Debug, Default)]
pub(super) struct Reader {
    state: State,
    /// Has come, and may belong to a tag or to the space around the answer.
    held: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    /// Nothing of the answer is out yet: space does not count.
    Opening,
    Inside,
    Behind,
    /// There is no tag to wait for.
    Plain,
}

impl Reader {
    /// More of the text; what of the answer is certain by now.
    pub(super) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        if self.state == State::Before
            && let Some((_, inside)) = self.held.split_once(OPEN)
        {
            self.held = inside.to_owned();
            self.state = State::Opening;
        }
        match self.state {
            State::Before if self.held.len() > MOST => {
                self.state = State::Plain;
                std::mem::take(&mut self.held)
            }
            State::Before => String::new(),
            State::Plain => std::mem::take(&mut self.held),
            State::Opening | State::Inside => self.inside(),
            State::Behind => {
                self.held.clear();
                String::new()
            }
        }
    }

    /// The text has ended; the rest of the answer.
    pub(super) fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Behind) {
            State::Before | State::Plain => rest,
            State::Opening => rest.trim().to_owned(),
            State::Inside => rest.trim_end().to_owned(),
            State::Behind => String::new(),
        }
    }

    fn inside(&mut self) -> String {
        if self.state == State::Opening {
            self.held = self.held.trim_start().to_owned();
            if self.held.is_empty() {
                return String::new();
            }
        }
        if let Some((output, _)) = self.held.split_once(CLOSE) {
            let output = output.trim_end().to_owned();
            self.held.clear();
            self.state = State::Behind;
            return output;
        }
        // The beginning of the closing tag may be there, and space before it.
        let tag = (1..CLOSE.len()).rev().find(|length| self.held.ends_with(CLOSE.get(..*length).unwrap_or(CLOSE))).unwrap_or(0);
        let certain = self.held.get(..self.held.len() - tag).unwrap_or_default().trim_end().len();
        if certain > 0 {
            self.state = State::Inside;
        }
        let rest = self.held.split_off(certain);
        std::mem::replace(&mut self.held, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: &[(&str, &str)] = &[
        ("<thinking>a <reflection>b</reflection></thinking>\n<output>\nThe answer\nis 1 < 2.\n</output>\n", "The answer\nis 1 < 2."),
        ("<output>x</outpu y</output> z", "x</outpu y"),
        ("<output>cut off </out", "cut off </out"),
        ("<output>\n\n", ""),
        ("no tags at all ", "no tags at all "),
        ("<outpu", "<outpu"),
        ("<output>ä\u{a0}ö</output><output>again</output>", "ä\u{a0}ö"),
        ("", ""),
    ];

    #[test]
    fn the_answer_stands_between_the_tags() {
        for (text, answer) in TEXTS {
            assert_eq!(of(text), *answer, "{text}");
        }
    }

    #[test]
    fn it_is_the_same_however_the_text_is_cut() {
        for (text, answer) in TEXTS {
            let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            for first in &ends {
                for second in ends.iter().filter(|second| *second >= first) {
                    let mut reader = Reader::default();
                    let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
                    let mut read: String = pieces.iter().map(|piece| reader.push(piece)).collect();
                    read.push_str(&reader.finish());
                    assert_eq!(read, *answer, "{text} cut at {first} and {second}");
                }
            }
            let mut reader = Reader::default();
            let mut read: String = text.chars().map(|char| reader.push(&char.to_string())).collect();
            read.push_str(&reader.finish());
            assert_eq!(read, *answer, "{text} in characters");
        }
    }

    #[test]
    fn nobody_is_waited_for_without_end() {
        let mut reader = Reader::default();
        assert!(reader.push(&"x".repeat(MOST)).is_empty());
        assert_eq!(reader.push("y").len(), MOST + 1);
        assert_eq!((reader.push("<output>z").as_str(), reader.finish().as_str()), ("<output>z", ""));
    }
}
