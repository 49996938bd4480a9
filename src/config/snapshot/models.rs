//! What `conf/models.yaml` says: who runs models, which names lead where, and how to choose.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::secret::Secret;
use super::Timeouts;
use crate::chat::capability::Capabilities;
use crate::chat::{Policy, Usage};
use crate::dialect::converse;
use crate::provider::bedrock::{self, Endpoint, Operation};
use crate::provider::{anthropic, openai, vertex};

/// What `conf/models.yaml` says.
#[derive(Clone, Debug)]
pub struct ModelMap {
    /// By name.
    pub providers: BTreeMap<String, Arc<Provider>>,
    /// In the order of the file.
    pub models: Vec<Arc<Model>>,
    /// How to choose.
    pub routing: Routing,
    /// It is the built-in map: nobody wrote that its names are to lead where they do.
    pub built_in: bool,
    /// What the models lead to, each once: a provider's name and a model id there. [`Target::slot`] counts in it.
    pub slots: Vec<(String, String)>,
    pub(in crate::config) by_name: HashMap<String, Arc<Model>>,
}

impl ModelMap {
    /// The model of a name or alias.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name)
    }
}

/// How to choose a target.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Takes model ids that no line of the map knows.
    pub default_provider: Arc<Provider>,
    /// Takes requests for models that nobody knows.
    pub fallback_model: Option<Arc<Model>>,
    /// When to try the next target, for ids that no line of the map knows; a [`Model`] has its own.
    pub fallback: Fallback,
    /// When to try the same targets again.
    pub retry: Retry,
    /// When to let a failing target rest.
    pub cooldown: Option<Cooldown>,
    /// Whether a conversation stays with the target that holds its prompt cache.
    pub cache_affinity: bool,
    /// What happens upstream when the client leaves.
    pub on_disconnect: OnDisconnect,
}

/// When to try the next target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Whether at all.
    pub enabled: bool,
    /// After which failures.
    pub on: Vec<Trigger>,
}

/// A failure that makes another try worthwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// No connection.
    Connect,
    /// No answer in time, although the request was sent: the provider may be working on it, and will bill it.
    Timeout,
    /// An HTTP status, 400 to 599, or an answer that means as much.
    Status(u16),
}

/// When to try the same targets again, after all of them have failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How often.
    pub attempts: u32,
    /// The longest pause before the first of them; it doubles,
    pub base: Duration,
    /// up to this.
    pub most: Duration,
    /// The share of a provider's requests that may be retries.
    pub budget: f64,
}

/// When a failing target rests, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Cooldown {
    /// So many failures,
    pub failures: u64,
    /// in such a time,
    pub within: Duration,
    /// that are at least such a share of what it was asked,
    pub rate: f64,
    /// give so much rest, doubling,
    pub rest: Duration,
    /// up to this.
    pub most: Duration,
}

/// What happens upstream when the client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// The request is dropped at once.
    Cancel,
    /// The answer is read to its end, for the account.
    Drain,
}

/// Somebody who runs models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The operator's name for it.
    pub name: String,
    /// What it is.
    pub kind: ProviderKind,
    /// How long to wait for it.
    pub timeouts: Timeouts,
}

impl Provider {
    /// What it is, by OpenTelemetry's `gen_ai.provider.name`.
    #[must_use]
    pub fn semantic_name(&self) -> &'static str {
        match &self.kind {
            ProviderKind::Bedrock(_) => "aws.bedrock",
            ProviderKind::OpenAi { .. } => "openai",
            ProviderKind::AzureOpenAi { .. } => "azure.ai.openai",
            ProviderKind::Anthropic { .. } => "anthropic",
            ProviderKind::Vertex { .. } => "gcp.vertex_ai",
        }
    }

    /// Whether it speaks OpenAI Responses itself.
    #[must_use]
    pub fn speaks_responses(&self) -> bool {
        matches!(self.kind, ProviderKind::OpenAi { responses: true, .. } | ProviderKind::AzureOpenAi { responses: true, .. })
    }

    /// The Bedrock part, if it is Bedrock.
    #[must_use]
    pub fn bedrock(&self) -> Option<&Bedrock> {
        match &self.kind {
            ProviderKind::Bedrock(bedrock) => Some(bedrock),
            _ => None,
        }
    }

    /// Where it listens, if that is known.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match &self.kind {
            ProviderKind::Bedrock(bedrock) => Some(&bedrock.endpoint),
            ProviderKind::OpenAi { base_url, .. } | ProviderKind::Anthropic { base_url, .. } => Some(base_url),
            ProviderKind::AzureOpenAi { endpoint, .. } => endpoint.as_ref(),
            ProviderKind::Vertex { endpoint, .. } => Some(endpoint),
        }
    }

    /// Whether a model id is one of the provider's own naming, so that it needs no line in the map.
    #[must_use]
    pub fn recognises(&self, model_id: &str) -> bool {
        match &self.kind {
            ProviderKind::Bedrock(_) => bedrock::recognises(model_id),
            ProviderKind::OpenAi { .. } => openai::recognises(model_id),
            ProviderKind::Anthropic { .. } => anthropic::recognises(model_id),
            ProviderKind::Vertex { .. } => vertex::recognises(model_id),
            // Deployments are called whatever their owner likes.
            ProviderKind::AzureOpenAi { .. } => false,
        }
    }

    /// Whether a model id may be one of the provider's, when the request or the operator names the provider. Bedrock's ids have a form; the others have to be
    /// asked.
    #[must_use]
    pub fn may_know(&self, model_id: &str) -> bool {
        self.bedrock().is_none() || bedrock::recognises(model_id)
    }

    /// Whether it is the server of somebody's own that `OPENAI_BASE_URL` names: it may know any model, also one whose name looks like another provider's.
    #[must_use]
    pub fn knows_any_model(&self) -> bool {
        matches!(&self.kind, ProviderKind::OpenAi { base_url, of_environment: true, .. } if !openai::is_own(base_url))
    }

    /// Whether a model id is an ARN of the provider's region.
    #[must_use]
    pub fn is_home_of(&self, model_id: &str) -> bool {
        self.bedrock().is_some_and(|bedrock| bedrock::arn_region(model_id) == Some(&bedrock.region))
    }

    /// The region it is asked in, where it has one: Google calls it the location.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        match &self.kind {
            ProviderKind::Bedrock(bedrock) => Some(&bedrock.region),
            ProviderKind::Vertex { location, .. } => Some(location),
            ProviderKind::OpenAi { .. } | ProviderKind::AzureOpenAi { .. } | ProviderKind::Anthropic { .. } => None,
        }
    }

    /// Why the provider cannot be used as it is configured.
    #[must_use]
    pub fn unavailable(&self) -> Option<&'static str> {
        match &self.kind {
            ProviderKind::OpenAi { base_url, api_key: None, .. } if openai::is_own(base_url) => Some("it has no api_key, and OPENAI_API_KEY is not set"),
            ProviderKind::AzureOpenAi { endpoint: None, .. } => Some("it has no endpoint, and AZURE_OPENAI_ENDPOINT is not set"),
            ProviderKind::AzureOpenAi { api_key: None, .. } => Some("it has no api_key, and AZURE_OPENAI_API_KEY is not set"),
            ProviderKind::Anthropic { api_key: None, .. } => Some("it has no api_key, and ANTHROPIC_API_KEY is not set"),
            ProviderKind::Vertex { project: None, .. } => Some("it has no project, and GOOGLE_CLOUD_PROJECT is not set"),
            _ => None,
        }
    }
}

/// What a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// AWS Bedrock.
    Bedrock(Bedrock),
    /// OpenAI, or whoever speaks its API.
    OpenAi {
        /// With the version in its path: `https://api.openai.com/v1`.
        base_url: Endpoint,
        /// The key, if there is one.
        api_key: Option<Secret>,
        /// The environment names it (`OPENAI_BASE_URL`): whoever does that means it for any model that nobody else knows.
        of_environment: bool,
        /// It speaks Responses.
        responses: bool,
    },
    /// OpenAI's models on Azure.
    AzureOpenAi {
        /// `https://{resource}.openai.azure.com`
        endpoint: Option<Endpoint>,
        /// The key, if there is one.
        api_key: Option<Secret>,
        /// The `api-version` query parameter.
        api_version: String,
        /// It speaks Responses, by that version.
        responses: bool,
    },
    /// Anthropic.
    Anthropic {
        /// Without the version: `https://api.anthropic.com`.
        base_url: Endpoint,
        /// The key, if there is one.
        api_key: Option<Secret>,
    },
    /// Google Vertex AI.
    Vertex {
        /// The Google Cloud project.
        project: Option<String>,
        /// A region, `us`, `eu` or `global`.
        location: String,
        /// The location's own host, or another one.
        endpoint: Endpoint,
        /// A file with credentials, instead of the application default.
        credentials: Option<PathBuf>,
    },
}

/// AWS Bedrock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bedrock {
    /// The region that is signed for.
    pub region: String,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Where the credentials come from.
    pub credentials: AwsCredentials,
}

/// Where AWS credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsCredentials {
    /// The first step.
    pub source: AwsSource,
    /// A role to assume with them.
    pub role: Option<AwsRole>,
}

/// The first step to AWS credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsSource {
    /// The default chain: environment, profile, web identity, container, instance metadata.
    Default,
    /// A profile of the shared configuration files, whatever the environment says.
    Profile(String),
    /// Keys that stand in the configuration.
    Keys {
        /// `AKIA…`
        access_key_id: String,
        /// Its secret.
        secret_access_key: Secret,
        /// For temporary keys.
        session_token: Option<Secret>,
    },
    /// A Bedrock API key: sent as it is, nothing is signed.
    Bearer(Secret),
}

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsRole {
    /// `arn:aws:iam::123456789012:role/name`
    pub arn: String,
    /// What the role's owner wants to hear.
    pub external_id: Option<String>,
}

/// A model as clients know it.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// Who runs it, at least one.
    pub targets: Vec<Arc<Target>>,
    /// What it costs.
    pub price: Option<Price>,
    /// What happens to request members that have no place upstream.
    pub policy: Policy,
    /// When to try the next target.
    pub fallback: Fallback,
    /// Seconds since 1970, from the date in the model id; else the day Bedrock opened.
    pub created: u64,
    /// Who made it: the vendor in the model id, else the provider.
    pub owned_by: String,
}

/// USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// What goes in.
    pub input: f64,
    /// What comes out.
    pub output: f64,
    /// What is read from the prompt cache.
    pub cache_read: f64,
    /// What is written to it.
    pub cache_write: f64,
    /// What is written to it for an hour.
    pub cache_write_1h: f64,
}

impl Price {
    /// What an answer costs, in thousand-millionths of a dollar, rounded up: no request is free that has a price.
    #[must_use]
    pub fn nano_usd(&self, usage: &Usage) -> u64 {
        let short = usage.cache_write_tokens.saturating_sub(usage.cache_write_1h_tokens);
        let parts = [
            (usage.input_tokens, self.input),
            (usage.output_tokens, self.output),
            (usage.cache_read_tokens, self.cache_read),
            (short, self.cache_write),
            (usage.cache_write_1h_tokens, self.cache_write_1h),
        ];
        // A dollar per million tokens is a thousand nano-dollars per token.
        let nano: f64 = parts.into_iter().map(|(tokens, usd)| tokens as f64 * usd * 1000.0).sum();
        // Not a nano-dollar more for what lies in the digits that binary fractions of dollars do not have.
        (nano - 1e-6).ceil().max(0.0) as u64
    }
}

/// A model at a provider.
#[derive(Clone, Debug)]
pub struct Target {
    /// Who runs it.
    pub provider: Arc<Provider>,
    /// Its id there.
    pub model: String,
    /// Share of the traffic among targets of one priority, at least 1.
    pub weight: u32,
    /// Lower is tried first.
    pub priority: u32,
    /// Its provider's place in `routing.fallback.providers`: among targets of one priority, lower is tried first.
    pub place: usize,
    /// Where its state is kept; `None` for a model that no line of the map knows.
    pub slot: Option<usize>,
    /// What it takes.
    pub capabilities: Capabilities,
    /// `max_tokens` for requests that set none.
    pub default_max_tokens: Option<u64>,
    /// The guardrail that watches over it.
    pub guardrail: Option<converse::Guardrail>,
    /// How Messages clients reach it on Bedrock; unset, by whether it is Claude.
    pub surface: Option<Surface>,
    /// What the model really is, where its id does not tell.
    pub base_model: Option<String>,
    /// What embeddings are for, where the client does not say: Cohere's `input_type`.
    pub input_type: Option<String>,
    /// Path of the Converse operation, encoded; empty where the provider has no such thing.
    pub converse_path: String,
    /// Path of the ConverseStream operation, encoded; empty where the provider has no such thing.
    pub converse_stream_path: String,
}

/// How a model on Bedrock is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Through Bedrock's uniform API.
    Converse,
    /// Through InvokeModel, in the model's own API.
    Invoke,
}

impl Target {
    /// The id that tells which family the model is of.
    #[must_use]
    pub fn family_id(&self) -> &str {
        self.base_model.as_deref().unwrap_or(&self.model)
    }

    /// Whether Messages clients reach it as they are, through InvokeModel.
    #[must_use]
    pub fn speaks_messages(&self) -> bool {
        self.provider.bedrock().is_some() && self.surface.map_or_else(|| bedrock::is_claude(self.family_id()), |surface| surface == Surface::Invoke)
    }

    /// A target with nothing but its model id: what a request that names an id of the provider's own gets.
    #[must_use]
    pub fn plain(provider: Arc<Provider>, model: &str) -> Self {
        let path = |operation| provider.bedrock().map(|bedrock| bedrock::path(&bedrock.endpoint, model, operation)).unwrap_or_default();
        Target {
            model: model.to_owned(),
            weight: 1,
            priority: 0,
            place: 0,
            slot: None,
            capabilities: Capabilities::of(model),
            default_max_tokens: None,
            guardrail: None,
            surface: None,
            base_model: None,
            input_type: None,
            converse_path: path(Operation::Converse),
            converse_stream_path: path(Operation::ConverseStream),
            provider,
        }
    }
}
