//! Which targets take a request, and in which order.
//!
//! ```text
//! provider named by path or header ─▶ model map ─▶ an id of a provider's own naming ─▶ routing.fallback_model ─▶ routing.default_provider
//!                                                                                    ─▶ a server of one's own that may know any model ─▶ 404
//! ```
//!
//! A pure function of the snapshot, the request's two names, what is known of providers and targets, and a random number. It gives all targets that a request
//! may go to, best first; when the next one is tried is not decided here.

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

/// Where a request may go.
#[derive(Clone, Debug)]
pub struct Way {
    /// The line of the model map that led here; `None` for an id of the provider's own.
    pub model: Option<Arc<Model>>,
    /// Best first, at least one.
    pub targets: Vec<Arc<Target>>,
}

impl Way {
    /// Each target as a route.
    pub fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.targets.iter().map(|target| Route { model: self.model.clone(), target: Arc::clone(target) })
    }
}

/// What is known of providers and targets at this moment.
#[derive(Clone, Copy)]
pub struct View<'v> {
    /// Whether a provider has credentials, or may get some in a moment.
    pub usable: &'v dyn Fn(&Provider) -> bool,
    /// Whether a target may be asked before those that rest.
    pub fit: &'v dyn Fn(&Target) -> bool,
    /// Whether a target holds the request's prompt cache.
    pub pinned: &'v dyn Fn(&Target) -> bool,
    /// Any number.
    pub random: u64,
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

/// Finds the targets for a model name: the usable ones; those that are fit first, of these the lower priority numbers first, among equals by weight.
///
/// # Errors
/// 400 for an unknown provider, 404 for an unknown model, 503 for a known one whose provider cannot be used.
pub fn route(snapshot: &Snapshot, model: &str, wish: Wish<'_>, view: &View<'_>) -> Result<Way, ApiError> {
    let map = &snapshot.models;
    let usable = |provider: &Provider| provider.unavailable().is_none() && (view.usable)(provider);
    let view = &View { usable: &usable, ..*view };
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

    let plain = |provider: &Arc<Provider>| Way { model: None, targets: vec![Arc::new(Target::plain(Arc::clone(provider), model))] };
    // Who has nothing but a server of his own gets there with any name, also with one that looks like Bedrock's.
    let any = || map.providers.values().find(|provider| named.is_none() && provider.knows_any_model() && usable(provider));
    if let Some(found) = map.find(model)
        && let Some(way) = through_map(found, model, named, view)
    {
        // The operator's own lines are his word; those of the built-in map are not.
        return way.or_else(|error| any().filter(|_| map.built_in).map(plain).ok_or(error));
    }
    let own = own_naming(map, model, named, &usable);
    if let Some(provider) = own.filter(|provider| usable(provider)) {
        return Ok(plain(provider));
    }
    if let Some(provider) = own {
        return any().map(plain).ok_or_else(|| not_configured(model, provider));
    }
    if let Some(fallback) = &map.routing.fallback_model
        && let Some(way) = through_map(fallback, model, named, view)
    {
        return way;
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

/// The targets of a model in the map. `None` if the model has none at the named provider.
fn through_map(found: &Arc<Model>, asked: &str, named: Option<&Arc<Provider>>, view: &View<'_>) -> Option<Result<Way, ApiError>> {
    let wanted = |target: &&Arc<Target>| named.is_none_or(|provider| Arc::ptr_eq(provider, &target.provider));
    let first = found.targets.iter().find(wanted)?;
    let usable: Vec<&Arc<Target>> = found.targets.iter().filter(wanted).filter(|target| (view.usable)(&target.provider)).collect();
    if usable.is_empty() {
        return Some(Err(not_configured(asked, &first.provider)));
    }
    Some(Ok(Way { model: Some(Arc::clone(found)), targets: in_order(usable, view) }))
}

/// The order in which targets are tried.
fn in_order(mut targets: Vec<&Arc<Target>>, view: &View<'_>) -> Vec<Arc<Target>> {
    if targets.len() > 1 {
        let rank = |target: &Arc<Target>| (!(view.fit)(target), target.priority, target.place);
        targets.sort_by_cached_key(|target| rank(target));
        let mut random = view.random;
        for equals in targets.chunk_by_mut(|one, other| rank(one) == rank(other)) {
            shuffle(equals, &mut random);
        }
        // A cache is worth no detour: only among those that are first anyway.
        if let Some(first) = targets.first().map(|target| rank(target))
            && let Some(pinned) = targets.iter().position(|target| rank(target) == first && (view.pinned)(target))
        {
            targets.get_mut(..=pinned).unwrap_or_default().rotate_right(1);
        }
    }
    targets.into_iter().map(Arc::clone).collect()
}

/// Draws them by weight, one after the other.
fn shuffle(targets: &mut [&Arc<Target>], random: &mut u64) {
    let mut left = targets;
    while left.len() > 1 {
        let total: u64 = left.iter().map(|target| u64::from(target.weight)).sum();
        let mut point = random.checked_rem(total).unwrap_or_default();
        let drawn = left.iter().position(|target| {
            let weight = u64::from(target.weight);
            let hit = point < weight;
            point = point.saturating_sub(weight);
            hit
        });
        left.swap(0, drawn.unwrap_or_default());
        // The next number of the same sequence: as good as a new one.
        *random = fastrand::Rng::with_seed(*random).u64(..);
        left = left.split_first_mut().map(|(_, rest)| rest).unwrap_or_default();
    }
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
