use aws_credential_types::Credentials;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::provider::sigv4::{Request, sign};

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "obviously-not-a-secret";

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-01-02T03:04:05Z").unwrap()
}

/// A request that can be changed.
#[derive(Clone)]
struct Signed {
    method: String,
    target: String,
    authority: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Signed {
    fn received(&self) -> Received<'_> {
        Received { method: &self.method, target: self.target.as_bytes(), authority: self.authority.as_deref(), headers: &self.headers }
    }

    fn check_as(&self, service: &'static str, secret: &str) -> Result<(), Fault> {
        let request = self.received();
        let claim = Claim::read_for(service, find(&request)?.ok_or(Fault::Algorithm)?, &request, now())?;
        claim.verify(&self.body, &claim.key(secret))
    }

    fn check(&self) -> Result<(), Fault> {
        self.check_at(now())
    }

    fn check_at(&self, now: SystemTime) -> Result<(), Fault> {
        let claim = Claim::read(&self.received(), now)?.expect("it is signed");
        assert_eq!((claim.access_key_id(), claim.region()), (ID, "us-east-1"));
        claim.verify(&self.body, &claim.key(SECRET))
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(name, value.parse().unwrap());
    }

    fn authorization(&self) -> String {
        self.headers[AUTHORIZATION].to_str().unwrap().to_owned()
    }

    /// The same with something else in the header with the signature.
    fn with(&self, from: &str, to: &str) -> Signed {
        let mut changed = self.clone();
        let text = self.authorization();
        assert!(text.contains(from), "{text} has no {from}");
        changed.set("authorization", &text.replacen(from, to, 1));
        changed
    }
}

/// Signed by the crate that signs for AWS.
fn signed(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Signed {
    let authority = "gateway.example:8080";
    let credentials = Credentials::new(ID, SECRET, None, None, "test");
    let set = sign(&Request { method, authority, path: target, headers }, body, &credentials, "us-east-1", now()).unwrap();
    let mut map: HeaderMap = set.into_iter().collect();
    map.insert(HOST, authority.parse().unwrap());
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Signed { method: method.to_owned(), target: target.to_owned(), authority: None, headers: map, body: body.to_owned() }
}

fn plain() -> Signed {
    signed("POST", "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse?b=2&a=1", &[("content-type", "application/json")], b"{\"a\": 1}")
}

fn vectors() -> (Value, Vec<(String, &'static str, Signed)>) {
    let path = format!("{}/tests/fixtures/aws/sigv4.json", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let read = |vector: &Value| {
        let request = &vector["request"];
        let uri: http::Uri = text(&request["url"]).parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in request["headers"].as_object().unwrap() {
            headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), text(value).parse().unwrap());
        }
        headers.insert(HOST, uri.authority().unwrap().as_str().parse().unwrap());
        for name in ["authorization", "x-amz-date"] {
            headers.insert(name, text(&vector["expected"][name]).parse().unwrap());
        }
        if let Some(token) = vector["session_token"].as_str() {
            headers.insert("x-amz-security-token", token.parse().unwrap());
        }
        let service = if vector["service"] == "bedrock" { SIGNING_NAME } else { "bedrock-mantle" };
        let signed = Signed {
            method: text(&request["method"]),
            target: uri.path_and_query().unwrap().to_string(),
            authority: None,
            headers,
            body: request["body"].as_str().unwrap_or("").into(),
        };
        (text(&vector["name"]), service, signed)
    };
    let all = file["vectors"].as_array().unwrap().iter().map(read).collect();
    (file, all)
}

#[test]
fn trap_53_every_vector_is_right_and_no_longer_with_one_byte_changed_in_any_part() {
    let (file, all) = vectors();
    let secret = file["credentials"]["secret_access_key"].as_str().unwrap();
    assert_eq!(all.len(), 9);
    for (name, service, good) in all {
        let check = |signed: &Signed| signed.check_as(service, secret);
        assert_eq!(check(&good), Ok(()), "{name}");
        assert_eq!(good.check_as(service, &format!("{secret}x")), Err(Fault::Mismatch), "{name}");
        let refused = |what: &str, change: &dyn Fn(&mut Signed)| {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(check(&bad).is_err(), "{name}: {what}");
        };
        let flip = |text: &str, at: usize| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            String::from_utf8(bytes).unwrap()
        };
        refused("method", &|bad| bad.method = "PUT".to_owned());
        for at in 1..good.target.len() {
            refused("target", &|bad| bad.target = flip(&good.target, at));
        }
        refused("more query", &|bad| bad.target.push_str(if good.target.contains('?') { "&x=1" } else { "?x=1" }));
        refused("longer body", &|bad| bad.body.push(b' '));
        for at in 0..good.body.len() {
            refused("body", &|bad| bad.body[at] ^= 1);
        }
        let listed = good.authorization();
        let listed = listed.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap().to_owned();
        for header in listed.split(';') {
            let value = good.headers[header].to_str().unwrap().to_owned();
            for at in 0..value.len() {
                refused(header, &|bad| drop(bad.headers.insert(HeaderName::from_bytes(header.as_bytes()).unwrap(), flip(&value, at).parse().unwrap())));
            }
            refused("without", &|bad| drop(bad.headers.remove(header)));
            refused("twice", &|bad| assert!(bad.headers.append(HeaderName::from_bytes(header.as_bytes()).unwrap(), value.parse().unwrap())));
        }
        // All of it but the access key id, which only says whose secret is tried.
        let authorization = good.authorization();
        let (from, id_end) = (authorization.find("Credential=").unwrap() + 11, authorization.find('/').unwrap());
        for at in (0..authorization.len()).filter(|at| !(from..id_end).contains(at)) {
            refused("authorization", &|bad| bad.set("authorization", &flip(&authorization, at)));
        }
    }
}

#[test]
fn trap_53_the_canonical_request_is_the_one_of_every_vector() {
    let (file, all) = vectors();
    for (vector, (name, service, good)) in file["vectors"].as_array().unwrap().iter().zip(all) {
        let request = good.received();
        let claim = Claim::read_for(service, find(&request).unwrap().unwrap(), &request, now()).unwrap();
        let whole = format!("{}{}", std::str::from_utf8(&claim.canonical).unwrap(), hex(&Sha256::digest(&good.body)));
        assert_eq!(whole, vector["expected"]["canonical_request"].as_str().unwrap(), "{name}");
        if let Some(key) = vector["expected"]["signing_key_chain_hex"]["kSigning"].as_str() {
            assert_eq!(hex(&claim.key(file["credentials"]["secret_access_key"].as_str().unwrap()).0), key, "{name}");
        }
    }
}

#[test]
fn only_what_covers_the_whole_request_counts() {
    let good = plain();
    assert_eq!(good.check(), Ok(()));
    let stamp = "20260102T030405Z";
    type Change = Box<dyn Fn(&Signed) -> Signed>;
    let set = |name: &'static str, value: &'static str| -> Change {
        Box::new(move |good| {
            let mut bad = good.clone();
            bad.set(name, value);
            bad
        })
    };
    let with = |from: &'static str, to: &'static str| -> Change { Box::new(move |good| good.with(from, to)) };
    let cases: Vec<(Change, Fault)> = vec![
        (with("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), Fault::Algorithm),
        (with("content-type;host;x-amz-date", "content-type;x-amz-date"), Fault::Unsigned("host".to_owned())),
        (with("content-type;host;x-amz-date", "content-type;host"), Fault::Unsigned("x-amz-date".to_owned())),
        (with("content-type;host;x-amz-date", "accept;host;x-amz-date"), Fault::Missing("accept".to_owned())),
        (with("content-type;host;x-amz-date", "host;content-type;x-amz-date"), Fault::Malformed("SignedHeaders are not sorted names in lower case, each once")),
        (with("content-type;host", "content-type;host;host"), Fault::Malformed("SignedHeaders are not sorted names in lower case, each once")),
        (with("/bedrock/", "/bedrock-runtime/"), Fault::Scope("the service is another one")),
        (with("/aws4_request", "/aws4_other"), Fault::Scope("the end is another one")),
        (with("/us-east-1/", "/US EAST/"), Fault::Scope("the region is no name of one")),
        (with("/us-east-1/", "/"), Fault::Malformed("Credential is not KEYID/DATE/REGION/SERVICE/aws4_request")),
        (with("/us-east-1/", "/us/east-1/"), Fault::Malformed("Credential has more than five parts")),
        (with("/20260102/", "/20260103/"), Fault::Scope("the date is not the one of x-amz-date")),
        (with(", Signature", ", Other=1, Signature"), Fault::Malformed("it has a part other than Credential, SignedHeaders and Signature")),
        (with(", Signature", ", SignedHeaders=host, Signature"), Fault::Malformed("a part of it is there twice")),
        (with(", Signature=", ", Signature=0"), Fault::Malformed("Signature is not 64 lower-case hexadecimal digits")),
        (with("Credential=", "Credential"), Fault::Malformed("a part of it is not NAME=VALUE")),
        (set("authorization", "AWS4-HMAC-SHA256"), Fault::Malformed("a part of it is not NAME=VALUE")),
        (set("authorization", "AWS4-"), Fault::Algorithm),
        (set("x-amz-date", "2026-01-02T03:04:05Z"), Fault::Date),
        (set("x-amz-date", "20261302T030405Z"), Fault::Date),
        (set("x-amz-security-token", "FwoGZXIvYXdzEXAMPLE"), Fault::Token),
        (set("x-amz-content-sha256", "UNSIGNED-PAYLOAD"), Fault::Payload),
        (set("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), Fault::Payload),
        (set("x-amz-target", "x"), Fault::Unsigned("x-amz-target".to_owned())),
    ];
    for (change, fault) in cases {
        let bad = change(&good);
        assert_eq!(bad.check(), Err(fault), "{:?}", bad.authorization());
    }
    let mut twice = good.clone();
    twice.headers.append("x-amz-date", stamp.parse().unwrap());
    assert_eq!(twice.check(), Err(Fault::Repeated("x-amz-date")));
    let mut twice = good;
    twice.headers.append(AUTHORIZATION, "Bearer x".parse().unwrap());
    assert_eq!(twice.check(), Err(Fault::Repeated("authorization")));
}

#[test]
fn a_signature_lives_five_minutes_in_both_directions() {
    let good = plain();
    let stamp = || "20260102T030405Z".to_owned();
    for (time, expected) in [
        (now() + SKEW, Ok(())),
        (now() - SKEW, Ok(())),
        (now() + SKEW + Duration::from_millis(1), Err(Fault::Expired(stamp()))),
        (now() - SKEW - Duration::from_millis(1), Err(Fault::NotYetCurrent(stamp()))),
    ] {
        assert_eq!(good.check_at(time), expected);
    }
}

#[test]
fn what_differs_only_in_form_is_the_same() {
    let good = plain();
    let mut spaced = good.with("Credential=", "\t  Credential = ").with(", SignedHeaders=", " ,SignedHeaders= ").with(", Signature", ",   Signature");
    assert_eq!(spaced.check(), Ok(()));
    // Parameters in another order, or encoded where they need not be.
    spaced.target = spaced.target.replace("b=2&a=1", "a=%31&b=2");
    assert_eq!(spaced.check(), Ok(()));
    // HTTP/2 has the host elsewhere.
    let mut h2 = good.clone();
    h2.authority = good.headers[HOST].to_str().ok().map(str::to_owned);
    h2.headers.remove(HOST);
    assert_eq!(h2.check(), Ok(()));
    h2.authority = Some("other.example".to_owned());
    assert_eq!(h2.check(), Err(Fault::Mismatch));
    // Nobody says that the proxy on the way must not add what is nobody's.
    let mut noisy = good;
    noisy.set("x-forwarded-for", "192.0.2.1");
    noisy.set("amz-sdk-request", "attempt=1");
    assert_eq!(noisy.check(), Ok(()));
}

#[test]
fn the_declared_hash_of_the_body_must_be_its_hash() {
    let hash = hex(&Sha256::digest(b"{}"));
    let mut good = signed("POST", "/model/m/invoke", &[("x-amz-content-sha256", &hash)], b"{}");
    assert_eq!(good.check(), Ok(()));
    good.body = b"{ }".to_vec();
    assert_eq!(good.check(), Err(Fault::Payload));
}

#[test]
fn a_request_without_a_signature_claims_nothing_and_one_in_the_query_is_refused() {
    let mut other = plain();
    for value in [Some("Bearer AWS4-HMAC-SHA256"), Some("Basic x"), None] {
        match value {
            Some(value) => other.set("authorization", value),
            None => drop(other.headers.remove(AUTHORIZATION)),
        }
        assert_eq!(Claim::read(&other.received(), now()), Ok(None));
    }
    other.target = "/model/m/invoke?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00".to_owned();
    assert_eq!(Claim::read(&other.received(), now()), Err(Fault::Presigned));
}

#[test]
fn neither_the_secret_nor_the_right_signature_is_told() {
    let good = plain();
    let right = good.authorization().split("Signature=").nth(1).unwrap().to_owned();
    let bad = good.with(&right, &"0".repeat(64));
    let claim = Claim::read(&bad.received(), now()).unwrap().unwrap();
    let key = claim.key(SECRET);
    let fault = claim.verify(&bad.body, &key).unwrap_err();
    let told = format!("{fault} {fault:?} {claim:?} {key:?}");
    assert_eq!(fault, Fault::Mismatch);
    for secret in [SECRET, &right, &hex(&key.0)] {
        assert!(!told.contains(secret), "{told}");
    }
}

proptest! {
    /// Whatever the crate for AWS signs is right here, until something of it is changed.
    #[test]
    fn what_is_signed_is_right_until_it_is_changed(
        segments in prop::collection::vec("[a-zA-Z0-9_~:@!$'()*+,;=-]{1,12}|(%[0-9A-F]{2}){1,3}", 1..5),
        query in prop::collection::vec(("[a-z]{1,4}", "([A-Za-z0-9._~-]|%2F|%20){0,6}"), 0..4),
        value in "[!-~]{1,6}( {1,3}[!-~]{1,6}){0,2}",
        body in prop::collection::vec(any::<u8>(), 0..300),
        method in "GET|POST|DELETE",
        at in any::<prop::sample::Index>(),
    ) {
        let mut target = segments.iter().fold(String::new(), |path, segment| path + "/" + segment);
        for (index, (name, value)) in query.iter().enumerate() {
            target += &format!("{}{name}={value}", if index == 0 { "?" } else { "&" });
        }
        let good = signed(&method, &target, &[("content-type", "application/json"), ("x-amzn-bedrock-trace", &value)], &body);
        prop_assert_eq!(good.check(), Ok(()));
        let mut bad = good.clone();
        bad.body.insert(at.index(body.len() + 1), 0);
        prop_assert_eq!(bad.check(), Err(Fault::Mismatch));
        let mut bad = good.clone();
        bad.target.insert(1, 'x');
        prop_assert_eq!(bad.check(), Err(Fault::Mismatch));
        let mut bad = good;
        bad.headers.append("x-amzn-bedrock-trace", "x".parse().unwrap());
        prop_assert_eq!(bad.check(), Err(Fault::Mismatch));
    }

    /// Nothing that a client sends makes it panic.
    #[test]
    fn any_header_is_read_or_refused(
        text in "(AWS4-HMAC-SHA256)?[ -~\t]{0,200}",
        target in prop::collection::vec(any::<u8>(), 0..60),
        stamp in "[0-9]{8}T[0-9]{6}Z|[ -~]{0,20}",
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, text.parse().unwrap());
        headers.insert("x-amz-date", stamp.parse().unwrap());
        let _ = Claim::read(&Received { method: "POST", target: &target, authority: None, headers: &headers }, now());
    }
}
