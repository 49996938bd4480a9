//! Where a request says which approach it wants.
//!
//! ```text
//! <optillm_approach>moa</optillm_approach> in a prompt   ─▶ "optillm_approach":"moa" in the body ─▶ "model":"moa-claude-3-sonnet"
//! ```
//!
//! The first of them that is there counts. All of them are taken out of what the model gets, whichever counts: with an approach in the body or in a prompt, one
//! in front of the model's name is passed over.

use std::borrow::Cow;

use crate::chat::{ApiError, Message, Part, Request, Role};
use crate::wire::json::{Kind, Text};

use super::expression::{NONE, is_meant};

/// The member of a body.
pub const MEMBER: &str = "optillm_approach";

/// Leaves the choice to the model's name.
const AUTO: &str = "auto";

const OPEN: &str = "<optillm_approach>";
const CLOSE: &str = "</optillm_approach>";

/// What a model's name says of an approach: `moa-claude-3-sonnet` → `moa`, `claude-3-sonnet`. `None` for a name that is just a name.
#[must_use]
pub fn of_name(name: &str) -> Option<(&str, &str)> {
    name.split_once('-').filter(|(approach, model)| is_meant(approach) && !model.is_empty())
}

/// What a request says of an approach beside its model's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    approach: Option<String>,
    /// Something stood there, if only that nothing is wanted.
    found: bool,
}

impl Wish {
    /// Takes it out of a request.
    ///
    /// # Errors
    /// 400 for a member that is no text.
    pub fn take(request: &mut Request<'_>) -> Result<Self, ApiError> {
        let (mut member, mut found) = (None, false);
        for extra in request.extras.extract_if(.., |extra| extra.name == *MEMBER) {
            found = true;
            member = match extra.value.kind() {
                Kind::Null => None,
                _ => Some(extra.value.text().ok_or_else(|| ApiError::invalid(MEMBER, "it must be a text"))?.unescape().trim().to_owned()),
            };
        }
        let mut tagged = None;
        for message in &mut request.messages {
            untag(message, &mut tagged);
        }
        found |= tagged.is_some();
        Ok(Wish { approach: tagged.or(member).filter(|wish| !wish.is_empty() && wish != AUTO), found })
    }

    /// The approach that counts, beside one of the model's name: `none` where something was said that comes to nothing. `None` for a request that does not speak
    /// of approaches.
    #[must_use]
    pub fn or<'w>(&'w self, of_name: Option<&'w str>) -> Option<&'w str> {
        self.approach.as_deref().or(of_name).or_else(|| self.found.then_some(NONE))
    }
}

/// Takes tags out of what is said to the model. The first one counts.
fn untag(message: &mut Message<'_>, found: &mut Option<String>) {
    if !matches!(message.role, Role::System | Role::User) {
        return;
    }
    for part in &mut message.parts {
        let Part::Text(text) = part else { continue };
        // Some clients escape the brackets; nobody escapes the name.
        if !text.escaped().contains(MEMBER) {
            continue;
        }
        let Cow::Owned(rest) = without_tags(&text.unescape(), found) else { continue };
        *text = Text::from_plain(rest);
    }
    message.parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
}

fn without_tags<'t>(text: &'t str, found: &mut Option<String>) -> Cow<'t, str> {
    let mut rest = text;
    let mut kept: Option<String> = None;
    while let Some((before, (approach, after))) = rest.split_once(OPEN).and_then(|(before, behind)| Some((before, behind.split_once(CLOSE)?))) {
        found.get_or_insert_with(|| approach.trim().to_owned());
        kept.get_or_insert_default().push_str(before);
        rest = after;
    }
    match kept {
        Some(kept) => Cow::Owned(format!("{kept}{rest}").trim().to_owned()),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::openai::downstream::request::decode;

    #[test]
    fn a_name_is_one_approach_and_a_model() {
        for (name, parts) in [
            ("moa-claude-3-sonnet", Some(("moa", "claude-3-sonnet"))),
            ("bon|moa-gpt-4", Some(("bon|moa", "gpt-4"))),
            ("re2&cot_reflection-m", Some(("re2&cot_reflection", "m"))),
            ("mcts-m", Some(("mcts", "m"))),
            ("none-m", Some(("none", "m"))),
            ("x&y-m", Some(("x&y", "m"))),
            ("moa-", None),
            ("moa", None),
            ("claude-3-sonnet", None),
            ("moai-1", None),
            ("", None),
        ] {
            assert_eq!(of_name(name), parts, "{name}");
        }
    }

    /// The wish, and what is left of the messages' texts and the extras.
    fn taken(rest: &str) -> (Option<String>, Vec<String>, usize) {
        let body = format!(r#"{{"model":"m",{rest}}}"#);
        let mut request = decode(&body).unwrap().request;
        let wish = Wish::take(&mut request).unwrap();
        let text = |part: &Part<'_>| if let Part::Text(text) = part { text.unescape().into_owned() } else { "?".to_owned() };
        let texts = request.messages.iter().map(|message| message.parts.iter().map(text).collect::<Vec<_>>().join("+")).collect();
        (wish.or(Some("of-name")).map(str::to_owned), texts, request.extras.len())
    }

    #[test]
    fn the_tag_stands_above_the_member_and_the_member_above_the_name() {
        let hi = r#""messages":[{"role":"user","content":"Hi"}]"#;
        let wish = |rest: &str| taken(rest).0;
        assert_eq!(wish(hi).as_deref(), Some("of-name"));
        assert_eq!(taken(&format!(r#""optillm_approach":" bon ",{hi}"#)), (Some("bon".to_owned()), vec!["Hi".to_owned()], 0));
        for of_name in ["null", r#""""#, r#""auto""#] {
            assert_eq!(wish(&format!(r#""optillm_approach":{of_name},{hi}"#)).as_deref(), Some("of-name"), "{of_name}");
        }
        assert_eq!(wish(&format!(r#""optillm_approach":"none",{hi}"#)).as_deref(), Some("none"));
        assert_eq!(Wish::default().or(None), None);
        let unnamed = format!(r#"{{"model":"m","optillm_approach":"auto",{hi}}}"#);
        let mut unnamed = decode(&unnamed).unwrap().request;
        assert_eq!(Wish::take(&mut unnamed).unwrap().or(None), Some("none"));
        let tagged = r#""optillm_approach":"bon","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"\u003coptillm_approach>re2\u0026moa</optillm_approach> Hi"}]"#;
        assert_eq!(taken(tagged), (Some("re2&moa".to_owned()), vec!["Be brief.".to_owned(), "Hi".to_owned()], 0));
    }

    #[test]
    fn every_tag_goes_and_the_first_one_counts() {
        let several = r#""messages":[{"role":"system","content":[{"type":"text","text":"<optillm_approach>moa</optillm_approach>"},{"type":"text","text":"A"}]},
            {"role":"user","content":"a <optillm_approach>bon</optillm_approach>b<optillm_approach></optillm_approach>c"},
            {"role":"assistant","content":"<optillm_approach>re2</optillm_approach>"}]"#;
        let (wish, texts, _) = taken(several);
        assert_eq!(wish.as_deref(), Some("moa"));
        assert_eq!(texts, ["A", "a bc", "<optillm_approach>re2</optillm_approach>"], "what the model has said is its own");
        let open = r#""messages":[{"role":"user","content":" <optillm_approach>bon"}]"#;
        assert_eq!(taken(open), (Some("of-name".to_owned()), vec![" <optillm_approach>bon".to_owned()], 0));
    }

    proptest! {
        #[test]
        fn nothing_of_a_tag_is_left_and_nothing_else_is_lost(before in "[a-z<>/ ]{0,20}", approach in "[a-z&|]{0,10}", after in "[a-z<>/ ]{0,20}") {
            let mut found = None;
            let text = format!("{before}{OPEN}{approach}{CLOSE}{after}");
            let rest = without_tags(&text, &mut found).into_owned();
            prop_assert_eq!(found.as_deref(), Some(approach.trim()));
            let expected = format!("{before}{after}");
            prop_assert_eq!(rest, expected.trim());
        }

        #[test]
        fn any_text_is_an_expression_or_none(text in ".*") {
            let _ = super::super::Expression::parse(&text);
            let mut found = None;
            let rest = without_tags(&text, &mut found);
            prop_assert!(found.is_some() || rest == text);
            if let Some((approach, model)) = of_name(&text) {
                prop_assert_eq!(format!("{approach}-{model}"), text);
            }
        }
    }

    #[test]
    fn a_member_is_a_text() {
        let mut request = decode(r#"{"model":"m","optillm_approach":["moa"],"messages":[{"role":"user","content":"Hi"}]}"#).unwrap().request;
        let error = Wish::take(&mut request).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(MEMBER)));
    }
}
