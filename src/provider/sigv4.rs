//! AWS Signature Version 4 behind one function: request parts, body, credentials and time in, headers to set out.
//!
//! The signature itself is made by the crate `aws-sigv4`. What this module adds is the short list of headers that are signed: everything that a hop may
//! change or add stays unsigned, and `content-length` too, because the HTTP layer owns it. Sign last, and again on every attempt.
//!
//! Follows <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

pub mod verify;

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue};

use super::bedrock::SIGNING_NAME;

/// The head of a request to sign, as it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `POST`
    pub method: &'a str,
    /// The `host` header: no port where it is the scheme's own.
    pub authority: &'a str,
    /// Path and query, encoded once, exactly as on the wire.
    pub path: &'a str,
    /// Headers of the request. Those that must not be signed are passed over, so a whole header map is as good as a short list.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path, the host or a header is not something HTTP can carry.
    #[error("the request cannot be signed")]
    Sign(#[from] aws_sigv4::http_request::SigningError),
    /// The credentials hold what no signature can be made with.
    #[error("the signing parameters are incomplete")]
    Params(#[from] v4::signing_params::BuildError),
    /// A header to set holds characters that HTTP cannot carry: a session token with a line break, for example.
    #[error("a header of the signature is no valid HTTP header")]
    Header,
}

/// Signs a request for Bedrock: `x-amz-date`, `authorization` and, for temporary credentials, `x-amz-security-token` to set.
///
/// # Errors
/// [`Error`]. None of its texts holds a secret.
pub fn sign(request: &Request<'_>, body: &[u8], credentials: &Credentials, region: &str, time: SystemTime) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    sign_for(SIGNING_NAME, request, body, credentials, region, time)
}

fn sign_for(
    service: &str,
    request: &Request<'_>,
    body: &[u8],
    credentials: &Credentials,
    region: &str,
    time: SystemTime,
) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder().identity(&identity).region(region).name(service).time(time).settings(SigningSettings::default()).build()?.into();
    // The host goes in as it leaves; the crate would otherwise guess it from a whole URI.
    let headers = request.headers.iter().copied().filter(|(name, _)| is_signed(name)).chain([("host", request.authority)]);
    let signable = SignableRequest::new(request.method, request.path, headers, SignableBody::Bytes(body))?;
    let (instructions, _signature) = aws_sigv4::http_request::sign(signable, &params)?.into_parts();
    let (headers, _no_query) = instructions.into_parts();
    headers.iter().map(|header| to_set(header.name(), header.value(), header.sensitive())).collect()
}

/// Which headers are signed beside the host: content-type, accept, anthropic-version, `x-amz-*`, `x-amzn-bedrock-*`.
fn is_signed(name: &str) -> bool {
    let starts = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
    is("content-type") || is("accept") || is("anthropic-version") || starts("x-amz-") || starts("x-amzn-bedrock-")
}

fn to_set(name: &'static str, value: &str, sensitive: bool) -> Result<(HeaderName, HeaderValue), Error> {
    let name = HeaderName::from_static(name);
    let mut value = HeaderValue::from_str(value).map_err(|_| Error::Header)?;
    value.set_sensitive(sensitive || name == http::header::AUTHORIZATION);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        let path = format!("{}/tests/fixtures/aws/sigv4.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn time() -> SystemTime {
        humantime::parse_rfc3339("2026-01-02T03:04:05Z").unwrap()
    }

    fn signed(vector: &Value, keys: &Value) -> Vec<(HeaderName, HeaderValue)> {
        let request = &vector["request"];
        let uri: http::Uri = request["url"].as_str().unwrap().parse().unwrap();
        let headers: Vec<(&str, &str)> = request["headers"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let credentials = Credentials::new(
            text(&keys["access_key_id"]),
            text(&keys["secret_access_key"]),
            vector["session_token"].as_str().map(str::to_owned),
            None,
            "vectors",
        );
        let parts = Request {
            method: request["method"].as_str().unwrap(),
            authority: uri.authority().unwrap().as_str(),
            path: uri.path_and_query().unwrap().as_str(),
            headers: &headers,
        };
        let body = request["body"].as_str().unwrap_or("").as_bytes();
        sign_for(vector["service"].as_str().unwrap(), &parts, body, &credentials, vector["region"].as_str().unwrap(), time()).unwrap()
    }

    #[test]
    fn trap_54_every_vector_gives_its_signature_from_the_short_list_of_headers() {
        let file = vectors();
        let all = file["vectors"].as_array().unwrap();
        assert_eq!(all.len(), 9);
        for vector in all {
            let name = vector["name"].as_str().unwrap();
            let headers = signed(vector, &file["credentials"]);
            let value = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.to_str().unwrap());
            assert_eq!(value("authorization"), vector["expected"]["authorization"].as_str(), "{name}");
            assert_eq!(value("x-amz-date"), vector["expected"]["x-amz-date"].as_str(), "{name}");
            assert_eq!(value("x-amz-security-token"), vector["session_token"].as_str(), "{name}");
        }
    }

    fn authorization(request: &Request<'_>, body: &[u8]) -> String {
        let credentials = Credentials::new("AKIDEXAMPLE", "not-a-secret", None, None, "test");
        let headers = sign(request, body, &credentials, "us-east-1", time()).unwrap();
        headers.iter().find(|(name, _)| name == "authorization").unwrap().1.to_str().unwrap().to_owned()
    }

    #[test]
    fn trap_54_what_a_hop_may_change_is_not_signed() {
        let plain = Request { method: "POST", authority: "example.com", path: "/model/m/converse", headers: &[("content-type", "application/json")] };
        let noisy = Request {
            headers: &[
                ("Content-Type", "application/json"),
                ("content-length", "2"),
                ("user-agent", "x"),
                ("traceparent", "00-1-1-01"),
                ("te", "trailers"),
                ("connection", "close"),
                ("x-amzn-trace-id", "Root=1"),
            ],
            ..plain
        };
        assert_eq!(authorization(&plain, b"{}"), authorization(&noisy, b"{}"));
        assert!(authorization(&noisy, b"{}").contains("SignedHeaders=content-type;host;x-amz-date,"));
    }

    #[test]
    fn trap_55_the_body_is_part_of_the_signature() {
        let request = Request { method: "POST", authority: "127.0.0.1:9000", path: "/model/m/converse", headers: &[] };
        assert_ne!(authorization(&request, b"{}"), authorization(&request, b"{ }"));
    }

    #[test]
    fn what_cannot_be_signed_is_an_error_and_secrets_stay_out_of_it() {
        let request = Request { method: "POST", authority: "exa\nmple", path: "/", headers: &[] };
        let credentials = Credentials::new("AKIDEXAMPLE", "not-a-secret", Some("token\nwith a break".to_owned()), None, "test");
        assert!(matches!(sign(&request, b"", &credentials, "us-east-1", time()), Err(Error::Sign(_))));
        let request = Request { authority: "example.com", ..request };
        let error = sign(&request, b"", &credentials, "us-east-1", time()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("with a break"), "{error:?}");
    }

    #[test]
    fn secret_headers_are_marked() {
        let request = Request { method: "POST", authority: "example.com", path: "/", headers: &[] };
        let credentials = Credentials::new("AKIDEXAMPLE", "not-a-secret", Some("token".to_owned()), None, "test");
        let headers = sign(&request, b"", &credentials, "us-east-1", time()).unwrap();
        for name in ["authorization", "x-amz-security-token"] {
            assert!(headers.iter().find(|(found, _)| found == name).unwrap().1.is_sensitive(), "{name}");
        }
    }
}
