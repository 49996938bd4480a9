//! Signatures of clients: any head is read or refused, and none that was made without the secret is ever right. The first byte says whether the header with the
//! signature is the input's own, or well formed around its list of signed headers, so that the canonical form is reached.

#![no_main]

use std::time::{Duration, SystemTime};

use adit::provider::sigv4::verify::{Claim, Received};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

/// 2026-01-02T03:04:05Z
const NOW: Duration = Duration::from_secs(1_767_323_045);

fuzz_target!(|input: &[u8]| {
    let Some((&own, rest)) = input.split_first() else { return };
    let mut parts = rest.splitn(4, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (target, signature, value, body) = (part(), part(), part(), part());
    let formed =
        [&b"AWS4-HMAC-SHA256 Credential=A/20260102/us-east-1/bedrock/aws4_request, SignedHeaders="[..], signature, b", Signature=", &[b'0'; 64]].concat();
    let authorization = if own % 2 == 0 { signature } else { &formed[..] };
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("authorization", authorization), ("x-amz-date", &b"20260102T030405Z"[..]), ("host", b"x".as_slice()), ("x-amzn-bedrock-trace", value)]
    {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let request = Received { method: "POST", target, authority: None, headers: &headers };
    if let Ok(Some(claim)) = Claim::read(&request, SystemTime::UNIX_EPOCH + NOW) {
        assert!(claim.verify(body, &claim.key("obviously-not-a-secret")).is_err());
    }
});
