//! Which target takes a request.
//!
//! ```text
//! provider named by path or header ─▶ model map ─▶ an id of a provider's own naming ─▶ routing.fallback_model ─▶ routing.default_provider
//!                                                                                    ─▶ a server of one's own that may know any model ─▶ 404
//! ```
//!
//! A pure function of the snapshot, the request's two names, which providers are usable, and a random number. It neither counts failures nor retries.

use std::sync::Arc;

use crate::chat::{ApiError, ErrorKind};
use crate::config::snapshot::{Model, ModelMap, Provider, Snapshot, Target};

/// How much of a client's text goes into an error.
const SHOWN_CHARS: usize = 200;

/// Names that mean Bedrock, whatever the operator calls his provider.
const BEDROCK_NAMES: [&str; 2] = ["aws", "bedrock"];

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The line of the model map that led here; `None` for an id of the provider's own.
    pub model: Option<Arc<Model>>,
    /// Provider, model id there, and what the model takes.
    pub target: Arc<Target>,
}

/// What a request says of its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'n> {
    /// Nothing.
    None,
    /// `x-provider`, or a path that is a provider's own: this one and no other.
    Provider(&'n str),
    /// The path of Bedrock's API: Bedrock, unless the model map knows the model elsewhere only.
    Rather(&'n str),
}

/// Chooses the target for a model name: among the usable ones of the lowest priority number, by weight.
///
/// # Errors
/// 400 for an unknown provider, 404 for an unknown model, 503 for a known one whose provider cannot be used.
pub fn route(snapshot: &Snapshot, model: &str, wish: Wish<'_>, usable: impl Fn(&Provider) -> bool, random: u64) -> Result<Route, ApiError> {
    let map = &snapshot.models;
    let usable = |provider: &Provider| provider.unavailable().is_none() && usable(provider);
    let named = match wish {
        Wish::None => None,
        Wish::Provider(name) => Some(named(map, name)?),
        Wish::Rather(name) => {
            let rather = named(map, name).ok();
            let elsewhere = |rather: &Arc<Provider>| {
                map.find(model).is_some_and(|found| !found.targets.iter().any(|target| Arc::ptr_eq(rather, &target.provider))) || !rather.may_know(model)
            };
            rather.filter(|rather| !elsewhere(rather))
        }
    };

    let plain = |provider: &Arc<Provider>| Route { model: None, target: Arc::new(Target::plain(Arc::clone(provider), model)) };
    // Who has nothing but a server of his own gets there with any name, also with one that looks like Bedrock's.
    let any = || map.providers.values().find(|provider| named.is_none() && provider.knows_any_model() && usable(provider));
    if let Some(found) = map.find(model)
        && let Some(route) = through_map(found, model, named, &usable, random)
    {
        // The operator's own lines are his word; those of the built-in map are not.
        return route.or_else(|error| any().filter(|_| map.built_in).map(plain).ok_or(error));
    }
    let own = own_naming(map, model, named, &usable);
    if let Some(provider) = own.filter(|provider| usable(provider)) {
        return Ok(plain(provider));
    }
    if let Some(provider) = own {
        return any().map(plain).ok_or_else(|| not_configured(model, provider));
    }
    if let Some(fallback) = &map.routing.fallback_model
        && let Some(route) = through_map(fallback, model, named, &usable, random)
    {
        return route;
    }
    let last = &map.routing.default_provider;
    let may_know = named.is_none() && last.may_know(model);
    if may_know && usable(last) {
        return Ok(plain(last));
    }
    if let Some(provider) = any() {
        return Ok(plain(provider));
    }
    Err(if may_know { not_configured(model, last) } else { unknown_model(model, named) })
}

/// The models that clients may be shown: those that some usable provider runs, in the order of the file.
pub fn visible_models(snapshot: &Snapshot, usable: impl Fn(&Provider) -> bool) -> impl Iterator<Item = &Arc<Model>> {
    let usable = move |target: &Arc<Target>| target.provider.unavailable().is_none() && usable(&target.provider);
    snapshot.models.models.iter().filter(move |model| model.targets.iter().any(&usable))
}

/// The provider of a path below `/providers/`.
///
/// # Errors
/// 400 for one that nobody knows, 503 for one that cannot be used.
pub fn native<'s>(snapshot: &'s Snapshot, name: &str, usable: impl Fn(&Provider) -> bool) -> Result<&'s Arc<Provider>, ApiError> {
    let provider = named(&snapshot.models, name).map_err(|error| ApiError { status: 404, kind: ErrorKind::NotFound, param: None, ..error })?;
    if provider.unavailable().is_none() && usable(provider) {
        return Ok(provider);
    }
    let reason = provider.unavailable().unwrap_or("it has no usable credentials");
    Err(ApiError::new(ErrorKind::NotConfigured, format!("The provider `{}` is not configured ({reason}).", provider.name)))
}

/// The provider of a name; `aws` and `bedrock` find one of Bedrock under any name.
fn named<'m>(map: &'m ModelMap, name: &str) -> Result<&'m Arc<Provider>, ApiError> {
    let default = &map.routing.default_provider;
    let by_type = || {
        let is_bedrock = |provider: &&Arc<Provider>| provider.bedrock().is_some();
        BEDROCK_NAMES.contains(&name).then(|| map.providers.get("bedrock").into_iter().chain([default]).chain(map.providers.values()).find(is_bedrock))?
    };
    map.providers.get(name).or_else(by_type).ok_or_else(|| ApiError::invalid("x-provider", format!("There is no provider `{}`.", shown(name))))
}

/// A target of a model in the map. `None` if the model has none at the named provider.
fn through_map(
    found: &Arc<Model>,
    asked: &str,
    named: Option<&Arc<Provider>>,
    usable: &impl Fn(&Provider) -> bool,
    random: u64,
) -> Option<Result<Route, ApiError>> {
    let wanted = |target: &&Arc<Target>| named.is_none_or(|provider| Arc::ptr_eq(provider, &target.provider));
    let first = found.targets.iter().find(wanted)?;
    let candidates = || found.targets.iter().filter(wanted).filter(|target| usable(&target.provider));
    let target = pick(candidates, random).ok_or_else(|| not_configured(asked, &first.provider));
    Some(target.map(|target| Route { model: Some(Arc::clone(found)), target: Arc::clone(target) }))
}

/// Of the candidates with the lowest priority number, one by weight.
fn pick<'t, I: Iterator<Item = &'t Arc<Target>>>(candidates: impl Fn() -> I, random: u64) -> Option<&'t Arc<Target>> {
    let priority = candidates().map(|target| target.priority).min()?;
    let tier = || candidates().filter(|target| target.priority == priority);
    let total: u64 = tier().map(|target| u64::from(target.weight)).sum();
    let mut point = random.checked_rem(total)?;
    tier().find(|target| {
        let weight = u64::from(target.weight);
        let hit = point < weight;
        point = point.saturating_sub(weight);
        hit
    })
}

/// The provider whose own naming an id follows: the named one, else for an ARN one of its region, else the default provider, else any.
fn own_naming<'m>(map: &'m ModelMap, model: &str, named: Option<&'m Arc<Provider>>, usable: &impl Fn(&Provider) -> bool) -> Option<&'m Arc<Provider>> {
    if let Some(provider) = named {
        return provider.may_know(model).then_some(provider);
    }
    let all = || {
        std::iter::once(&map.routing.default_provider)
            .chain(map.providers.values())
            .filter(|provider| provider.recognises(model) && provider.unavailable().is_none())
    };
    let home = || all().filter(|provider| provider.is_home_of(model));
    home().find(|provider| usable(provider)).or_else(|| home().next()).or_else(|| all().find(|provider| usable(provider))).or_else(|| all().next())
}

fn unknown_model(model: &str, named: Option<&Arc<Provider>>) -> ApiError {
    let at = named.map(|provider| format!(" at the provider `{}`", provider.name)).unwrap_or_default();
    ApiError::new(ErrorKind::ModelNotFound, format!("The model `{}` does not exist{at}.", shown(model))).with_param("model")
}

fn not_configured(model: &str, provider: &Provider) -> ApiError {
    let reason = provider.unavailable().unwrap_or("it has no usable credentials");
    ApiError::new(
        ErrorKind::NotConfigured,
        format!("The model `{}` cannot be used: the provider `{}` is not configured ({reason}).", shown(model), provider.name),
    )
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests;
