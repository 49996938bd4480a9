//! Edits of single members: what comes out is what an edit of the parsed object gives, and every other byte of a value stays.

#![no_main]

use adit::wire::json::{Edit, pick, splice};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

const EDITS: [Edit<'_>; 4] = [Edit::Set("model", "\"m\""), Edit::Replace("max_tokens", "1"), Edit::Remove("stream"), Edit::Set("", "null")];

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let edited = splice(text, &EDITS);
    assert_eq!(edited.is_ok(), pick(text, ["model"]).is_ok());
    let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(text) else { return };
    let edited = edited.expect("an object can be edited");
    for edit in EDITS {
        match edit {
            Edit::Set(name, json) => _ = object.insert(name.to_owned(), value(json)),
            Edit::Replace(name, json) => {
                if let Some(member) = object.get_mut(name) {
                    *member = value(json);
                }
            }
            Edit::Remove(name) => _ = object.remove(name),
        }
    }
    assert_eq!(serde_json::from_slice::<Map<String, Value>>(&edited).expect("the result is an object"), object);
});

fn value(json: &str) -> Value {
    serde_json::from_str(json).expect("the edits are JSON")
}
