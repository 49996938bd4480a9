//! What an operator writes of approaches: `optillm` in `conf/adit.yaml`, `ENABLE_OPTILLM`, `OPTILLM_BASE_URL`.

use std::sync::Arc;

use super::cursor::Section;
use super::env::Environment;
use super::provider::{env_url, url};
use super::snapshot::{OPTILLM, Optillm, Provider, ProviderKind, Timeouts};
use super::top::Keys;
use crate::provider::endpoint::Endpoint;

/// Three mixtures of agents, or five times the best of three.
const DEFAULT_MAX_CALLS: u64 = 32;
/// As many samples as an approach takes at a time.
const DEFAULT_CONCURRENCY: usize = 5;
/// Where an OptiLLM server has its API.
const VERSION: &str = "/v1";

/// The section with its variables above it; `None`: off.
pub(super) fn read(keys: &Keys<'_, '_>, env: &Environment<'_>, timeouts: &Timeouts) -> Option<Optillm> {
    let written = keys.section("optillm", section).unwrap_or_default();
    let enabled = env.flag("ENABLE_OPTILLM").or(written.enabled).unwrap_or(false);
    let base_url = if env.get("OPTILLM_BASE_URL").is_some() { env_url(env, &["OPTILLM_BASE_URL"]) } else { written.base_url };
    enabled.then(|| Optillm {
        server: base_url.map(|base_url| Arc::new(server(base_url, timeouts))),
        max_calls: written.max_calls.unwrap_or(DEFAULT_MAX_CALLS),
        concurrency: written.concurrency.unwrap_or(DEFAULT_CONCURRENCY),
    })
}

#[derive(Default)]
struct Written {
    enabled: Option<bool>,
    base_url: Option<Endpoint>,
    max_calls: Option<u64>,
    concurrency: Option<usize>,
}

fn section(section: &Section<'_>) -> Written {
    Written {
        enabled: section.flag("enabled"),
        base_url: url(section, "base_url"),
        max_calls: section.integer("max_calls", 1, 1000),
        concurrency: section.integer("concurrency", 1, 1000).and_then(|most| most.try_into().ok()),
    }
}

/// It says nothing before it has all of an answer, which is many calls: no first byte is late before the whole of it is.
fn server(base_url: Endpoint, timeouts: &Timeouts) -> Provider {
    let prefix = if base_url.prefix.is_empty() { VERSION.to_owned() } else { base_url.prefix.clone() };
    let base_url = Endpoint { prefix, ..base_url };
    let first_byte = timeouts.total.unwrap_or(timeouts.first_byte).max(timeouts.first_byte);
    let timeouts = Timeouts { first_byte, ..timeouts.clone() };
    Provider { name: OPTILLM.to_owned(), kind: ProviderKind::OpenAi { base_url, api_key: None, of_environment: false, responses: false }, timeouts }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{EMBEDDED_MODELS, parse};
    use super::*;

    fn read(yaml: &str, variables: &[(&str, &str)]) -> Option<Optillm> {
        let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        parse(yaml, EMBEDDED_MODELS, &env).unwrap_or_else(|errors| panic!("{errors}")).process.optillm
    }

    #[test]
    fn it_is_off_until_it_is_switched_on() {
        assert_eq!(read("", &[]), None);
        assert_eq!(read("optillm: { base_url: 'http://127.0.0.1:8000/v1' }", &[("OPTILLM_BASE_URL", "http://127.0.0.1:1")]), None);
        assert_eq!(read("optillm: { enabled: true }", &[("ENABLE_OPTILLM", "false")]), None, "the environment wins");
        let built_in = read("", &[("ENABLE_OPTILLM", "true")]).unwrap();
        assert_eq!(built_in, Optillm { server: None, max_calls: 32, concurrency: 5 });
        let some = read("optillm: { enabled: true, max_calls: 7, concurrency: 2 }", &[]).unwrap();
        assert_eq!((some.max_calls, some.concurrency), (7, 2));
    }

    #[test]
    fn a_server_is_one_of_openai_type_that_may_think_long() {
        let server = |yaml: &str, variables: &[(&str, &str)]| read(yaml, variables).unwrap().server.unwrap();
        let timeouts = "timeouts: { first_byte: 5s, total: 100s }\n";
        let written = server(&format!("{timeouts}optillm: {{ enabled: true, base_url: 'http://127.0.0.1:8000/v1/' }}"), &[]);
        assert_eq!((written.name.as_str(), written.endpoint().unwrap().prefix.as_str()), ("optillm", "/v1"));
        assert_eq!(written.timeouts.first_byte, Duration::from_secs(100));
        let named =
            server(&format!("{timeouts}optillm: {{ enabled: true, base_url: 'http://127.0.0.1:1' }}"), &[("OPTILLM_BASE_URL", "http://127.0.0.1:8000")]);
        let endpoint = named.endpoint().unwrap();
        assert_eq!((endpoint.port, endpoint.prefix.as_str()), (8000, "/v1"), "the environment wins, and the version is not forgotten");
        assert!(!named.knows_any_model());
    }
}
