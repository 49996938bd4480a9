//! Whether a user may use a model. Nothing is widened on the way: an alias, a provider's own id, the fallback model or a provider's own API lead to no model
//! that his line does not name.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{Model, ModelMap, Models};
use crate::policy::auth::Principal;
use crate::proxy::error::clip;

/// Path segments of providers' own APIs in front of a model's name.
const BEFORE_A_MODEL: &[&str] = &["model", "models", "deployments", "engines", "endpoints", "provisioned-model-throughput"];

/// Whether a user may use a model by the name that he gave it: by that name, or by the map's.
pub(super) fn allows(models: &Models, asked: &str, map: &ModelMap) -> bool {
    models.allow(asked) || map.find(asked).is_some_and(|model| models.allow(&model.name))
}

/// Checks the name that a client asks for. Before anybody looks it up, so that the answer tells nothing about models that are none of his business.
pub(super) fn asked(principal: Option<&Principal>, asked: &str, map: &ModelMap) -> Result<(), ApiError> {
    match principal {
        Some(principal) if !allows(&principal.grant.models, asked, map) => Err(denied(asked)),
        _ => Ok(()),
    }
}

/// Checks where that led: to the model itself, or to one that takes requests for unknown ones.
pub(super) fn led_to(principal: Option<&Principal>, asked: &str, found: Option<&Model>, map: &ModelMap) -> Result<(), ApiError> {
    let Some((principal, found)) = principal.zip(found) else { return Ok(()) };
    let itself = map.find(asked).is_some_and(|model| model.name == found.name);
    if itself || principal.grant.models.allow(&found.name) { Ok(()) } else { Err(denied(asked)) }
}

/// Checks a request to a provider's own API: for a user with a list of models, it must name its model in the path or in the body, and whatever it names must be
/// one of his.
pub(super) fn native(principal: Option<&Principal>, path: &str, query: Option<&str>, body: &[u8], map: &ModelMap) -> Result<(), ApiError> {
    let Some(models) = principal.map(|principal| &principal.grant.models).filter(|models| !models.is_all()) else { return Ok(()) };
    let unclear = || ApiError::new(ErrorKind::PermissionDenied, "You may use some models only, and this request does not say clearly which one it is for.");
    let mut names = in_path(path).ok_or_else(unclear)?;
    // Some APIs take it in the query; which, is not known here.
    if query.is_some_and(|query| query.contains("model") || query.contains('%')) {
        return Err(unclear());
    }
    if !body.iter().all(u8::is_ascii_whitespace) {
        let mut json = serde_json::Deserializer::from_slice(body);
        Named { names: &mut names, here: false }.deserialize(&mut json).and_then(|()| json.end()).map_err(|_| unclear())?;
    }
    if names.is_empty() {
        return Err(unclear());
    }
    match names.iter().find(|name| !allows(models, name, map)) {
        Some(name) => Err(denied(name)),
        None => Ok(()),
    }
}

/// The models that a path names; `None` for a path that an upstream may read in another way.
fn in_path(path: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut before = false;
    for segment in path.split('/') {
        let segment = percent_decode_str(segment).decode_utf8().ok()?;
        if matches!(&*segment, "." | "..") || segment.contains(['/', '\\', '%', '?', '#', ';']) {
            return None;
        }
        if before {
            // `gemini-2.0-flash:generateContent`
            let name = segment.rsplit_once(':').filter(|(_, verb)| verb.bytes().all(|byte| byte.is_ascii_alphabetic())).map_or(&*segment, |(name, _)| name);
            names.extend((!name.is_empty()).then(|| name.to_owned()));
        }
        before = BEFORE_A_MODEL.contains(&&*segment);
    }
    Some(names)
}

fn denied(model: &str) -> ApiError {
    ApiError::new(ErrorKind::PermissionDenied, format!("You are not allowed to use the model `{}`.", clip(model))).with_param("model")
}

/// Gathers what stands under `model` anywhere in a JSON text, each time it does: which of several an upstream takes is not known. A `model` that is no text
/// is somebody's schema.
struct Named<'n> {
    names: &'n mut Vec<String>,
    /// What is read now stands under `model`.
    here: bool,
}

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Named<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(Named { names: self.names, here: key.eq_ignore_ascii_case("model") })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Named { names: self.names, here: self.here })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.here {
            self.names.push(text.to_owned());
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::snapshot::{Grant, Snapshot};
    use crate::policy::auth::Proof;

    fn snapshot() -> Snapshot {
        let models = "providers: { o: { type: openai, base_url: \"http://127.0.0.1:1/v1\", api_key: fake } }\nmodels: { small: { targets: [{ provider: o, model: small-1 }], aliases: [tiny] }, big: { o: big-1 } }\n";
        crate::config::parse("", models, &|_| None).unwrap()
    }

    fn user(patterns: &[&str]) -> Principal {
        let models = Models::only(patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
        Principal { name: "alice".into(), grant: Arc::new(Grant { models, ..Grant::default() }), proof: Proof::ApiKey }
    }

    #[test]
    fn neither_alias_nor_own_id_nor_fallback_widens_it() {
        let snapshot = snapshot();
        let map = &snapshot.models;
        for (patterns, name, allowed) in [
            (&["small"][..], "small", true),
            (&["small"], "tiny", true),
            (&["tiny"], "tiny", true),
            (&["tiny"], "small", false),
            (&["small"], "small-1", false),
            (&["small*"], "small-1", true),
            (&["small"], "big", false),
            (&[], "small", false),
        ] {
            assert_eq!(asked(Some(&user(patterns)), name, map).is_ok(), allowed, "{patterns:?} {name}");
        }
        assert!(asked(None, "big", map).is_ok());
        let big = map.find("big").unwrap();
        assert!(led_to(Some(&user(&["mystery"])), "mystery", Some(big), map).is_err(), "the fallback model");
        assert!(led_to(Some(&user(&["mystery", "big"])), "mystery", Some(big), map).is_ok());
        assert!(led_to(Some(&user(&["mystery"])), "mystery", None, map).is_ok());
    }

    #[test]
    fn a_providers_own_api_is_for_models_that_are_named_and_allowed() {
        let snapshot = snapshot();
        for (path, query, body, allowed) in [
            ("/v1/responses", None, r#"{"model":"small"}"#, true),
            ("/v1/responses", None, r#"{"model":"big"}"#, false),
            ("/v1/responses", None, r#"{"model":"small","model":"big"}"#, false),
            ("/v1/responses", None, r#"{"model":"small","\u006dodel":"big"}"#, false),
            ("/v1/responses", None, r#"{"model":"small","Model":"big"}"#, false),
            ("/v1/batches", None, r#"{"model":"small","requests":[{"params":{"model":"big"}}]}"#, false),
            ("/v1/responses", None, r#"{"model":"small","tools":[{"parameters":{"properties":{"model":{"type":"string"}}}}]}"#, true),
            ("/v1/responses", None, r#"{"input":"x"}"#, false),
            ("/v1/responses", None, "--form", false),
            ("/v1/responses", None, r#"{"model":"small"} {"model":"big"}"#, false),
            ("/v1/files", None, "", false),
            ("/v1/models/small", None, "", true),
            ("/v1/models/big", None, "", false),
            ("/v1/models/small:generateContent", None, r#"{"contents":[]}"#, true),
            ("/v1/models/small/../big", None, "", false),
            ("/v1/models/small%2F..%2Fbig", None, "", false),
            ("/openai/deployments/big/chat/completions", None, r#"{"model":"small"}"#, false),
            ("/v1/realtime", Some("model=big"), r#"{"model":"small"}"#, false),
            ("/v1/responses", Some("api-version=1"), r#"{"model":"small"}"#, true),
        ] {
            let user = user(&["small"]);
            assert_eq!(native(Some(&user), path, query, body.as_bytes(), &snapshot.models).is_ok(), allowed, "{path} {query:?} {body}");
            assert!(native(None, path, query, body.as_bytes(), &snapshot.models).is_ok());
        }
    }
}
