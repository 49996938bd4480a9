//! AWS Bedrock runtime: which host serves a region, which path an operation has, and what its model ids look like.
//!
//! Not here: signing ([`super::sigv4`]) and bodies (the Converse dialect).
//!
//! Hosts follow the service's endpoint rule set and the partition table of the AWS SDKs (botocore 1.44.5, `data/bedrock-runtime/2023-09-30/endpoint-rule-set-1.json`
//! and `data/partitions.json`), paths the service model beside it.
//! API: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>.

use percent_encoding::utf8_percent_encode;

use super::SEGMENT;
pub use super::endpoint::{Endpoint, EndpointError};

/// The name that requests are signed for; it is not that of the host.
pub const SIGNING_NAME: &str = "bedrock";

/// Longest model id that Converse and InvokeModel take (service model, `ConversationalModelId`).
pub const MAX_MODEL_ID_BYTES: usize = 2048;

/// A group of regions with DNS suffixes of its own.
struct Partition {
    id: &'static str,
    /// What stands in front of `-word-number` in the region names.
    prefixes: &'static [&'static str],
    dns_suffix: &'static str,
    dual_stack_suffix: &'static str,
}

/// From the partition table named above. All partitions support FIPS and dual stack. The first one also takes regions that no line knows.
const PARTITIONS: &[Partition] = &[
    Partition { id: "aws", prefixes: &["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"], dns_suffix: "amazonaws.com", dual_stack_suffix: "api.aws" },
    Partition { id: "aws-cn", prefixes: &["cn"], dns_suffix: "amazonaws.com.cn", dual_stack_suffix: "api.amazonwebservices.com.cn" },
    Partition { id: "aws-eusc", prefixes: &["eusc-de"], dns_suffix: "amazonaws.eu", dual_stack_suffix: "api.amazonwebservices.eu" },
    Partition { id: "aws-iso", prefixes: &["us-iso"], dns_suffix: "c2s.ic.gov", dual_stack_suffix: "api.aws.ic.gov" },
    Partition { id: "aws-iso-b", prefixes: &["us-isob"], dns_suffix: "sc2s.sgov.gov", dual_stack_suffix: "api.aws.scloud" },
    Partition { id: "aws-iso-e", prefixes: &["eu-isoe"], dns_suffix: "cloud.adc-e.uk", dual_stack_suffix: "api.cloud-aws.adc-e.uk" },
    Partition { id: "aws-iso-f", prefixes: &["us-isof"], dns_suffix: "csp.hci.ic.gov", dual_stack_suffix: "api.aws.hci.ic.gov" },
    Partition { id: "aws-us-gov", prefixes: &["us-gov"], dns_suffix: "amazonaws.com", dual_stack_suffix: "api.aws" },
];

/// Vendors whose models Bedrock has. Ids of others are known by their version suffix or their inference-profile prefix.
const VENDORS: &[&str] = &[
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "moonshotai",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
    "xai",
    "zai",
];

/// Prefixes of system-defined inference profiles.
const GEOGRAPHIES: &[&str] = &["global", "us", "us-gov", "eu", "apac", "jp", "au", "ca", "in", "sa", "me", "af", "il", "mx", "ap"];

/// What is asked of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Whole answer, uniform dialect.
    Converse,
    /// Event stream, uniform dialect.
    ConverseStream,
    /// How many tokens a request has.
    CountTokens,
    /// Whole answer, the model's own dialect.
    Invoke,
    /// Event stream, the model's own dialect.
    InvokeStream,
}

impl Operation {
    /// The last segment of the path.
    #[must_use]
    pub fn segment(self) -> &'static str {
        match self {
            Operation::Converse => "converse",
            Operation::ConverseStream => "converse-stream",
            Operation::CountTokens => "count-tokens",
            Operation::Invoke => "invoke",
            Operation::InvokeStream => "invoke-with-response-stream",
        }
    }
}

/// The operation of a path's last segment: `converse` → [`Operation::Converse`].
#[must_use]
pub fn operation(segment: &str) -> Option<Operation> {
    [Operation::Converse, Operation::ConverseStream, Operation::CountTokens, Operation::Invoke, Operation::InvokeStream]
        .into_iter()
        .find(|operation| operation.segment() == segment)
}

/// The model id that CountTokens takes: that of a foundation model, without the prefix of an inference profile.
#[must_use]
pub fn counted_model(model_id: &str) -> &str {
    let id = if model_id.starts_with("arn:") { model_id.rsplit('/').next().unwrap_or(model_id) } else { model_id };
    match id.split_once('.') {
        Some((area, rest)) if GEOGRAPHIES.contains(&area) && rest.contains('.') => rest,
        _ => id,
    }
}

/// Whether a model is Claude, whose own API InvokeModel speaks.
#[must_use]
pub fn is_claude(model_id: &str) -> bool {
    vendor(model_id) == Some("anthropic")
}

/// Why a text cannot be a model id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelIdError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Over [`MAX_MODEL_ID_BYTES`].
    #[error("it is longer than 2048 bytes")]
    TooLong,
    /// `.` or `..`: a path segment that proxies resolve.
    #[error("it is a dot segment")]
    DotSegment,
    /// A control character or white space.
    #[error("it holds a control character or white space")]
    Control,
}

/// The host that serves a region: `eu-central-1` → `bedrock-runtime.eu-central-1.amazonaws.com`.
#[must_use]
pub fn endpoint(region: &str, fips: bool, dual_stack: bool) -> Endpoint {
    let partition = partition(region).or(PARTITIONS.first());
    let suffix = partition.map_or("amazonaws.com", |p| if dual_stack { p.dual_stack_suffix } else { p.dns_suffix });
    let service = if fips { "bedrock-runtime-fips" } else { "bedrock-runtime" };
    Endpoint::https(format!("{service}.{region}.{suffix}"))
}

/// Whether a region's name has the form of some AWS partition; others may exist, and are taken for regions of the partition `aws`.
#[must_use]
pub fn is_known_form(region: &str) -> bool {
    partition(region).is_some()
}

/// Whether a text can stand in a host name as a region.
#[must_use]
pub fn is_region(region: &str) -> bool {
    (1..=63).contains(&region.len())
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !region.starts_with('-')
        && !region.ends_with('-')
}

/// The prefix of the inference profiles that are at home where the region is: `eu-west-1` → `eu`, `ap-south-1` → `apac`.
#[must_use]
pub fn geography(region: &str) -> &'static str {
    match region.split_once('-').map_or(region, |(first, _)| first) {
        "us" if region.starts_with("us-gov-") => "us-gov",
        "eu" => "eu",
        "ap" => "apac",
        _ => "us",
    }
}

/// The path of an operation on a model; the id becomes one segment: `anthropic.claude-3-haiku-20240307-v1:0` →
/// `/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse`. Check ids that come from elsewhere with [`check_model_id`] first.
#[must_use]
pub fn path(endpoint: &Endpoint, model_id: &str, operation: Operation) -> String {
    format!("{}/model/{}/{}", endpoint.prefix, utf8_percent_encode(model_id, SEGMENT), operation.segment())
}

/// Checks that a text may stand in a path as a model id.
///
/// # Errors
/// [`ModelIdError`] says why not.
pub fn check_model_id(model_id: &str) -> Result<(), ModelIdError> {
    match model_id {
        "" => Err(ModelIdError::Empty),
        "." | ".." => Err(ModelIdError::DotSegment),
        _ if model_id.len() > MAX_MODEL_ID_BYTES => Err(ModelIdError::TooLong),
        _ if model_id.chars().any(|c| c.is_control() || c.is_whitespace()) => Err(ModelIdError::Control),
        _ => Ok(()),
    }
}

/// Whether a model name is one of Bedrock's own: `anthropic.claude-3-haiku-20240307-v1:0`, `us.…`, `global.…`, `arn:aws…:bedrock:…`.
#[must_use]
pub fn recognises(model_id: &str) -> bool {
    if check_model_id(model_id).is_err() {
        return false;
    }
    if model_id.starts_with("arn:") {
        return arn(model_id).is_some();
    }
    let Some((first, rest)) = model_id.split_once('.') else { return false };
    if rest.is_empty() {
        return false;
    }
    VENDORS.contains(&first) || (GEOGRAPHIES.contains(&first) && rest.contains('.')) || (is_vendor(first) && has_version(rest))
}

/// The region inside an ARN, where there is one.
#[must_use]
pub fn arn_region(model_id: &str) -> Option<&str> {
    arn(model_id).filter(|region| !region.is_empty())
}

/// The vendor that a model id names: `us.anthropic.claude-…` → `anthropic`. An ARN of an application profile hides it.
#[must_use]
pub fn vendor(model_id: &str) -> Option<&str> {
    let name = model_id.rsplit('/').next().unwrap_or(model_id);
    let mut parts = name.split('.');
    let first = parts.next()?;
    let vendor = if GEOGRAPHIES.contains(&first) { parts.next()? } else { first };
    // Something must follow the vendor.
    parts.next().filter(|model| !model.is_empty())?;
    is_vendor(vendor).then_some(vendor)
}

/// The region (may be empty) of `arn:{partition}:{bedrock|sagemaker}:{region}:{account}:{resource}`.
fn arn(model_id: &str) -> Option<&str> {
    let mut parts = model_id.splitn(6, ':');
    if parts.next()? != "arn" {
        return None;
    }
    let (partition, service, region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Converse also takes the endpoints of marketplace models, which SageMaker runs.
    (partition.starts_with("aws") && matches!(service, "bedrock" | "sagemaker") && !resource.is_empty()).then_some(region)
}

fn partition(region: &str) -> Option<&'static Partition> {
    PARTITIONS.iter().find(|partition| {
        let global = region.strip_suffix("-global") == Some(partition.id);
        global || partition.prefixes.iter().any(|prefix| region.strip_prefix(prefix).is_some_and(is_word_and_number))
    })
}

/// `-\w+-\d+`, as in `-east-1`.
fn is_word_and_number(rest: &str) -> bool {
    let mut parts = rest.split('-');
    let (Some(""), Some(word), Some(number), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else { return false };
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

fn is_vendor(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// `model-v1:0`: the form that the ids of foundation models end in, those of newer ones aside.
#[must_use]
pub fn has_version(model: &str) -> bool {
    let Some((before, revision)) = model.rsplit_once(':') else { return false };
    let version = before.rsplit_once("-v").map_or("", |(_, version)| version);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits(version) && digits(revision)
}

#[cfg(test)]
mod tests;
