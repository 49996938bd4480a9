//! The model list. Which models there are is the model map's business; this is only how they are written.
//!
//! Vendor page: <https://platform.openai.com/docs/api-reference/models>.

use crate::wire::json::Object;

/// One model as a client sees it.
#[derive(Clone, Copy, Debug)]
pub struct ModelCard<'a> {
    /// The name to ask for.
    pub id: &'a str,
    /// Seconds since 1970.
    pub created: u64,
    /// The organisation behind it.
    pub owned_by: &'a str,
}

/// Appends the answer of `GET /v1/models`: `{"object":"list","data":[card…]}`.
pub fn list<'a>(cards: impl Iterator<Item = ModelCard<'a>>, out: &mut Vec<u8>) {
    Object::write(out, |body| {
        body.string("object", "list");
        body.array("data", |data| {
            for card in cards {
                one(&card, data.item());
            }
        });
    });
}

/// Appends the answer of `GET /v1/models/{id}`: `{"id":"…","object":"model","created":0,"owned_by":"…"}`.
pub fn one(card: &ModelCard<'_>, out: &mut Vec<u8>) {
    Object::write(out, |object| {
        object.string("id", card.id);
        object.string("object", "model");
        object.number("created", card.created);
        object.string("owned_by", card.owned_by);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: ModelCard<'static> = ModelCard { id: "anthropic.claude-v1:0", created: 1_700_000_000, owned_by: "anthropic" };
    const WRITTEN: &str = r#"{"id":"anthropic.claude-v1:0","object":"model","created":1700000000,"owned_by":"anthropic"}"#;

    #[test]
    fn a_card_and_lists_of_none_one_and_two() {
        let mut out = Vec::new();
        one(&CARD, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), WRITTEN);
        for (count, data) in [(0, String::new()), (1, WRITTEN.to_owned()), (2, format!("{WRITTEN},{WRITTEN}"))] {
            let mut out = Vec::new();
            list(std::iter::repeat_n(CARD, count), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!(r#"{{"object":"list","data":[{data}]}}"#));
        }
    }
}
