//! What an operator writes in `conf/models.yaml`: providers, models, and how to choose among them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::cursor::{Section, Value, closest};
use super::env::Environment;
use super::mistake::Position;
use super::provider;
use super::snapshot::{Cooldown, Fallback, Model, ModelMap, OnDisconnect, Price, Provider, Retry, Routing, Surface, Target, Timeouts, Trigger};
use super::tree::Key;
use crate::chat::capability::{Capabilities, Overrides};
use crate::chat::{Policy, Unknown, Unsupported};
use crate::dialect::converse::Guardrail;
use crate::provider::bedrock;

/// What a target and its model may both say; the target's own word counts.
#[derive(Clone, Default)]
struct Options {
    overrides: Vec<Overrides>,
    max_tokens: Option<u64>,
    guardrail: Option<Guardrail>,
    base_model: Option<String>,
    surface: Option<Surface>,
    input_type: Option<String>,
}

/// Providers by name, and their order in the file.
struct Providers {
    by_name: BTreeMap<String, Arc<Provider>>,
    /// Every name, also of those that are not usable for their mistakes.
    names: Vec<String>,
    /// `routing.fallback.providers`: who is asked first for what several have.
    order: Vec<String>,
    /// What targets lead to, each once.
    slots: RefCell<Slots>,
}

#[derive(Default)]
struct Slots {
    all: Vec<(String, String)>,
    known: HashMap<(String, String), usize>,
}

impl Providers {
    /// A provider's place in the operator's order; the others come last.
    fn place(&self, name: &str) -> usize {
        self.order.iter().position(|known| known == name).unwrap_or(self.order.len())
    }

    fn slot(&self, provider: &str, model: &str) -> usize {
        let slots = &mut *self.slots.borrow_mut();
        let all = &mut slots.all;
        *slots.known.entry((provider.to_owned(), model.to_owned())).or_insert_with_key(|slot| {
            all.push(slot.clone());
            all.len() - 1
        })
    }
}

/// Reads the file. `None` only if there were mistakes.
pub(super) fn read(root: &Value<'_>, env: &Environment<'_>, timeouts: &Timeouts) -> Option<ModelMap> {
    let section = root.section()?;
    let mut providers = section.required("providers", "at least one provider").map(|value| providers(&value, env, timeouts));
    let choosing = section.get("routing").and_then(|value| value.section());
    let mut rules = choosing.as_ref().map_or_else(Rules::default, |section| rules(section, providers.as_ref()));
    if let Some(providers) = &mut providers {
        providers.order = std::mem::take(&mut rules.order);
    }
    let models = section.get("models");
    let (models, by_name) = match (&providers, models) {
        (Some(providers), Some(value)) => models_of(&value, providers, &rules.fallback),
        _ => (Vec::new(), HashMap::new()),
    };
    let routing = providers.as_ref().and_then(|providers| routing(choosing.as_ref(), rules, providers, &by_name));
    if let Some(choosing) = choosing {
        choosing.finish();
    }
    note_unconfigured(&section, &models);
    section.finish();
    let providers = providers?;
    Some(ModelMap { slots: providers.slots.into_inner().all, providers: providers.by_name, models, routing: routing?, built_in: false, by_name })
}

/// Notes the providers that cannot be used although models lead to them.
fn note_unconfigured(section: &Section<'_>, models: &[Arc<Model>]) {
    let mut unconfigured = BTreeMap::new();
    for target in models.iter().flat_map(|model| &model.targets) {
        if let Some(reason) = target.provider.unavailable() {
            unconfigured.insert(target.provider.name.as_str(), reason);
        }
    }
    if let Some(providers) = section.get("providers") {
        for (key, value) in providers.members() {
            if let Some(reason) = unconfigured.get(key.name.as_str()) {
                value.note(format_args!("the provider is not configured: {reason}; its models answer 503"));
            }
        }
    }
}

fn providers(value: &Value<'_>, env: &Environment<'_>, timeouts: &Timeouts) -> Providers {
    let mut by_name = BTreeMap::new();
    let mut names = Vec::new();
    let members = value.members();
    if members.is_empty() {
        value.expected("at least one provider");
    }
    for (key, value) in members {
        names.push(key.name.clone());
        if key.name.is_empty() || !key.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            value.mistake(format!("expected a provider name of letters, digits, `-`, `_` and `.`, found `{}`", key.name));
            continue;
        }
        if let Some((kind, timeouts)) = provider::read(&value, env, timeouts) {
            let provider = Provider { name: key.name.clone(), kind, timeouts };
            by_name.insert(key.name.clone(), Arc::new(provider));
        }
    }
    Providers { by_name, names, order: Vec::new(), slots: RefCell::default() }
}

impl Providers {
    /// The provider that a value names; a broken one is passed over, its mistake is noted.
    fn named(&self, value: &Value<'_>, name: &str) -> Option<Arc<Provider>> {
        if !self.names.iter().any(|known| known == name) {
            let near = closest(name, self.names.iter().map(String::as_str));
            let hint = near.map_or_else(|| self.names.join(", "), |near| format!("did you mean `{near}`?"));
            value.mistake(format!("expected the name of a provider, found `{name}`: {hint}"));
        }
        self.by_name.get(name).cloned()
    }
}

fn models_of(value: &Value<'_>, providers: &Providers, fallback: &Fallback) -> (Vec<Arc<Model>>, HashMap<String, Arc<Model>>) {
    let mut models = Vec::new();
    let mut by_name: HashMap<String, Arc<Model>> = HashMap::new();
    let mut taken: HashMap<String, (Position, String)> = HashMap::new();
    let members = value.members();
    // Names first: an alias never takes the name of a model, wherever it stands.
    for (key, value) in &members {
        taken.insert(key.name.clone(), (key.at, value.path().to_owned()));
    }
    for (key, value) in members {
        if key.name.trim().is_empty() || key.name.chars().any(char::is_control) {
            value.mistake("expected a model name, found an empty one or control characters");
            continue;
        }
        let Some(mut model) = model(&key.name, &value, providers, fallback) else { continue };
        model.aliases.retain(|(alias_value, alias)| match taken.get(alias) {
            Some((at, path)) => {
                alias_value.mistake(format!("expected an alias of its own, but `{alias}` is taken by {path} in line {}", at.line));
                false
            }
            None => {
                taken.insert(alias.clone(), (key.at, value.path().to_owned()));
                true
            }
        });
        let model = Arc::new(model.into_model());
        for name in std::iter::once(&model.name).chain(&model.aliases) {
            by_name.insert(name.clone(), Arc::clone(&model));
        }
        models.push(model);
    }
    (models, by_name)
}

/// A model whose aliases are not checked yet.
struct Draft<'n> {
    model: Model,
    aliases: Vec<(Value<'n>, String)>,
}

impl Draft<'_> {
    fn into_model(self) -> Model {
        let aliases = self.aliases.into_iter().map(|(_, alias)| alias).collect();
        Model { aliases, ..self.model }
    }
}

fn model<'n>(name: &str, value: &Value<'n>, providers: &Providers, default_fallback: &Fallback) -> Option<Draft<'n>> {
    if value.is_scalar() {
        value.expected("`{ provider: model-id }` or `{ targets: […] }`");
        return None;
    }
    let section = value.section()?;
    let aliases = section.get("aliases").map(|value| value.texts()).unwrap_or_default();
    let aliases = aliases.into_iter().map(|(value, alias)| (value, alias.to_owned())).collect();
    let price = section.section("price", price).flatten();
    let policy = section.section("parameters", policy).unwrap_or_default();
    let fallback = section.section("fallback", |section| fallback(section, default_fallback)).unwrap_or_else(|| default_fallback.clone());
    let options = options(&section);
    let targets = targets(&section, providers, &options);
    let first = targets.first()?;
    let vendor = first.provider.bedrock().and_then(|_| bedrock::vendor(&first.model));
    let model = Model {
        name: name.to_owned(),
        aliases: Vec::new(),
        price,
        policy,
        fallback,
        created: date(&first.model).unwrap_or(BEDROCK_BEGAN),
        owned_by: vendor.unwrap_or(&first.provider.name).to_owned(),
        targets,
    };
    Some(Draft { model, aliases })
}

fn price(section: &Section<'_>) -> Option<Price> {
    let required = |name| section.required(name, "USD per million tokens").and_then(|value| value.price());
    let (input, output) = (required("input"), required("output"));
    let (input, output) = (input?, output?);
    // Whoever names no price of the cache pays for its tokens as for any others.
    let cache = |name, default: f64| section.get(name).and_then(|value| value.price()).unwrap_or(default);
    let cache_write = cache("cache_write", input);
    Some(Price { input, output, cache_read: cache("cache_read", input), cache_write, cache_write_1h: cache("cache_write_1h", cache_write) })
}

fn policy(section: &Section<'_>) -> Policy {
    let default = Policy::default();
    let unsupported = section.get("unsupported").and_then(|value| value.choice(&[("drop", Unsupported::Drop), ("reject", Unsupported::Reject)]));
    let words = [("carry", Unknown::Carry), ("drop", Unknown::Drop), ("reject", Unknown::Reject)];
    let unknown = section.get("unknown").and_then(|value| value.choice(&words));
    Policy { unsupported: unsupported.unwrap_or(default.unsupported), unknown: unknown.unwrap_or(default.unknown) }
}

fn options(section: &Section<'_>) -> Options {
    Options {
        overrides: section.get("capabilities").and_then(|value| value.read()).into_iter().collect(),
        max_tokens: section.integer("max_tokens", 1, u64::from(u32::MAX)),
        guardrail: section.get("guardrail").and_then(|value| guardrail(&value)),
        base_model: section.get("base_model").and_then(|value| model_id(&value)).map(str::to_owned),
        surface: section.get("surface").and_then(|value| value.choice(&[("converse", Surface::Converse), ("invoke", Surface::Invoke)])),
        input_type: section.text_or_empty("input_type").map(str::to_owned),
    }
}

/// The guardrail's own type reads it, and takes texts only: `version: 1` is meant as the text `1`.
fn guardrail(value: &Value<'_>) -> Option<Guardrail> {
    let section = value.section()?;
    let identifier = section.required("identifier", "the id or ARN of a guardrail").and_then(|value| value.text());
    let version = section.required("version", "a number or DRAFT").and_then(|value| {
        value.parse("a number or DRAFT", |text| (text == "DRAFT" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))).then_some(text))
    });
    let word = |name, words: &[(&str, &'static str)]| section.get(name).and_then(|value| value.choice(words)).map(str::to_owned);
    let trace = word("trace", &[("enabled", "enabled"), ("disabled", "disabled"), ("enabled_full", "enabled_full")]);
    let stream_processing_mode = word("stream_processing_mode", &[("sync", "sync"), ("async", "async")]);
    section.finish();
    Some(Guardrail { identifier: identifier?.to_owned(), version: version?.to_owned(), trace, stream_processing_mode })
}

fn model_id<'n>(value: &Value<'n>) -> Option<&'n str> {
    let text = value.parse("a model id", Some)?;
    match bedrock::check_model_id(text) {
        Ok(()) => Some(text),
        Err(error) => {
            value.mistake(format!("expected a model id, but {error}"));
            None
        }
    }
}

/// The long form's list, or the short form: a member that is named like a provider.
fn targets(section: &Section<'_>, providers: &Providers, options: &Options) -> Vec<Arc<Target>> {
    let long = section.get("targets");
    let unknown = section.unknown();
    let (short, wrong): (Vec<_>, Vec<_>) = unknown.into_iter().partition(|(key, _)| providers.names.contains(&key.name));
    let names: Vec<&str> = providers.names.iter().map(String::as_str).collect();
    for (key, value) in &wrong {
        section.complain(key, value, &names);
    }
    match (long, short.as_slice()) {
        (Some(_), [(key, value), ..]) => {
            section.mistake_at(key.at, value.path(), "expected targets in the short form, or a list in `targets`, found both");
            Vec::new()
        }
        (Some(list), []) => {
            let values = list.list();
            if values.is_empty() && !list.is_scalar() {
                list.expected("at least one target");
            }
            values.iter().filter_map(|value| long_target(value, providers, options)).map(Arc::new).collect()
        }
        // Several in the short form are tried in the order in which they stand, unless the operator has one for all.
        (None, [_, ..]) => {
            let target = |(written, (key, value)): (usize, &(&Key, Value<'_>))| {
                let model = model_id(value)?;
                let target = target(Arc::clone(providers.by_name.get(&key.name)?), model, options, providers);
                let place = if providers.order.is_empty() { written } else { target.place };
                Some(Arc::new(Target { place, ..target }))
            };
            short.iter().enumerate().filter_map(target).collect()
        }
        (None, []) => {
            if wrong.is_empty() {
                section.value().expected("a target: `{ provider: model-id }` or `targets: […]`");
            }
            Vec::new()
        }
    }
}

fn long_target(value: &Value<'_>, providers: &Providers, defaults: &Options) -> Option<Target> {
    let section = value.section()?;
    let provider = section.required("provider", "the name of a provider").and_then(|value| providers.named(&value, value.text()?));
    let model = section.required("model", "the model's id at the provider").and_then(|value| model_id(&value));
    let narrow = |name, least, most| section.integer(name, least, most).and_then(|number| u32::try_from(number).ok());
    let weight = narrow("weight", 1, 1_000_000).unwrap_or(1);
    let priority = narrow("priority", 0, 1_000).unwrap_or(0);
    let own = options(&section);
    section.finish();
    let options = Options {
        overrides: defaults.overrides.iter().cloned().chain(own.overrides).collect(),
        max_tokens: own.max_tokens.or(defaults.max_tokens),
        guardrail: own.guardrail.or_else(|| defaults.guardrail.clone()),
        base_model: own.base_model.or_else(|| defaults.base_model.clone()),
        surface: own.surface.or(defaults.surface),
        input_type: own.input_type.or_else(|| defaults.input_type.clone()),
    };
    Some(Target { weight, priority, ..target(provider?, model?, &options, providers) })
}

fn target(provider: Arc<Provider>, model: &str, options: &Options, providers: &Providers) -> Target {
    let mut capabilities = Capabilities::of(options.base_model.as_deref().unwrap_or(model));
    for overrides in &options.overrides {
        capabilities.apply(overrides);
    }
    Target {
        capabilities,
        default_max_tokens: options.max_tokens,
        guardrail: options.guardrail.clone(),
        surface: options.surface,
        base_model: options.base_model.clone(),
        input_type: options.input_type.clone(),
        place: providers.place(&provider.name),
        slot: Some(providers.slot(&provider.name, model)),
        ..Target::plain(provider, model)
    }
}

/// The day Bedrock opened, 2023-09-28: for models whose id has no date of its own. Clients want some date, and none is older.
pub const BEDROCK_BEGAN: u64 = 1_695_859_200;

/// Midnight of the date in a model id, in seconds since 1970: `anthropic.claude-3-haiku-20240307-v1:0` → 2024-03-07.
fn date(model_id: &str) -> Option<u64> {
    let dates = model_id.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 8);
    dates
        .filter_map(|digits| {
            let (year, rest) = digits.split_at_checked(4)?;
            let (month, day) = rest.split_at_checked(2)?;
            let time = humantime::parse_rfc3339(&format!("{year}-{month}-{day}T00:00:00Z")).ok()?;
            time.duration_since(std::time::UNIX_EPOCH).ok()
        })
        .map(|since| since.as_secs())
        .next()
}

/// What `routing` says that needs no model.
struct Rules {
    fallback: Fallback,
    order: Vec<String>,
    retry: Retry,
    cooldown: Option<Cooldown>,
    cache_affinity: bool,
    on_disconnect: OnDisconnect,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            fallback: default_fallback(),
            order: Vec::new(),
            retry: default_retry(),
            cooldown: Some(default_cooldown()),
            cache_affinity: false,
            on_disconnect: OnDisconnect::Cancel,
        }
    }
}

fn rules(section: &Section<'_>, providers: Option<&Providers>) -> Rules {
    let default = Rules::default();
    let read = |section: &Section<'_>| {
        let order = section.get("providers").map(|value| order(&value, providers)).unwrap_or_default();
        (fallback(section, &default.fallback), order)
    };
    let (fallback, order) = section.section("fallback", read).unwrap_or_else(|| (default.fallback.clone(), Vec::new()));
    let cooldown = match section.section("cooldown", cooldown) {
        Some(cooldown) => Some(cooldown),
        None if section.is_null("cooldown") => None,
        None => default.cooldown,
    };
    Rules {
        fallback,
        order,
        retry: section.section("retry", retry).unwrap_or(default.retry),
        cooldown,
        cache_affinity: section.flag("cache_affinity").unwrap_or(default.cache_affinity),
        on_disconnect: section
            .get("on_disconnect")
            .and_then(|value| value.choice(&[("cancel", OnDisconnect::Cancel), ("drain", OnDisconnect::Drain)]))
            .unwrap_or(default.on_disconnect),
    }
}

/// Names of providers, each once.
fn order(value: &Value<'_>, providers: Option<&Providers>) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for (value, name) in value.texts() {
        if order.iter().any(|known| known == name) {
            value.mistake(format!("expected every provider once, found `{name}` again"));
        }
        if let Some(providers) = providers {
            providers.named(&value, name);
        }
        order.push(name.to_owned());
    }
    order
}

fn routing(section: Option<&Section<'_>>, rules: Rules, providers: &Providers, models: &HashMap<String, Arc<Model>>) -> Option<Routing> {
    let default_provider = default_provider(section.and_then(|section| section.get("default_provider")), providers);
    let fallback_model = section.and_then(|section| section.get("fallback_model")).and_then(|value| {
        let name = value.text()?;
        let model = models.get(name);
        if model.is_none() {
            let near = closest(name, models.keys().map(String::as_str)).map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            value.mistake(format!("expected the name of a model of this file, found `{name}`{near}"));
        }
        model.cloned()
    });
    let Rules { fallback, retry, cooldown, cache_affinity, on_disconnect, order: _ } = rules;
    Some(Routing { default_provider: default_provider?, fallback_model, fallback, retry, cooldown, cache_affinity, on_disconnect })
}

/// The one that is named, else `bedrock`, else the first of the file.
fn default_provider(value: Option<Value<'_>>, providers: &Providers) -> Option<Arc<Provider>> {
    match value {
        Some(value) => providers.named(&value, value.text()?),
        None => {
            let first = || providers.names.iter().find_map(|name| providers.by_name.get(name));
            providers.by_name.get("bedrock").or_else(first).cloned()
        }
    }
}

/// Without `timeout`: the provider has the request, works on it and bills it.
fn default_fallback() -> Fallback {
    let statuses = [429, 500, 502, 503, 504].map(Trigger::Status);
    Fallback { enabled: true, on: std::iter::once(Trigger::Connect).chain(statuses).collect() }
}

fn fallback(section: &Section<'_>, default: &Fallback) -> Fallback {
    let enabled = section.flag("enabled").unwrap_or(default.enabled);
    let on = section.get("on").map(|value| value.list().iter().filter_map(trigger).collect());
    Fallback { enabled, on: on.unwrap_or_else(|| default.on.clone()) }
}

fn default_retry() -> Retry {
    Retry { attempts: 0, base: Duration::from_millis(100), most: Duration::from_secs(2), budget: 0.2 }
}

fn retry(section: &Section<'_>) -> Retry {
    let default = default_retry();
    let retry = Retry {
        attempts: section.integer("attempts", 0, 10).and_then(|attempts| attempts.try_into().ok()).unwrap_or(default.attempts),
        base: section.duration("base", default.base),
        most: section.duration("max", default.most),
        budget: section.get("budget").and_then(|value| value.share()).unwrap_or(default.budget),
    };
    if retry.most < retry.base {
        section.value().mistake("expected `max` to be no shorter than `base`");
    }
    retry
}

fn trigger(value: &Value<'_>) -> Option<Trigger> {
    value.parse("connect, timeout or an HTTP status from 400 to 599", |text| match text {
        "connect" => Some(Trigger::Connect),
        "timeout" => Some(Trigger::Timeout),
        status => status.parse().ok().filter(|status| (400..=599).contains(status)).map(Trigger::Status),
    })
}

fn default_cooldown() -> Cooldown {
    let seconds = Duration::from_secs;
    Cooldown { failures: 5, within: seconds(10), rate: 0.5, rest: seconds(5), most: seconds(120) }
}

fn cooldown(section: &Section<'_>) -> Cooldown {
    let default = default_cooldown();
    let cooldown = Cooldown {
        failures: section.integer("failures", 1, 1_000_000).unwrap_or(default.failures),
        within: section.duration("within", default.within),
        rate: section.get("rate").and_then(|value| value.share()).unwrap_or(default.rate),
        rest: section.duration("for", default.rest),
        most: section.duration("max", default.most),
    };
    if cooldown.most < cooldown.rest {
        section.value().mistake("expected `max` to be no shorter than `for`");
    }
    cooldown
}
