use http::{HeaderName, HeaderValue};

use super::*;

/// A published request, signed.
struct Signed {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body_sha256: String,
    service: String,
    token: Option<String>,
    canonical: String,
}

fn signed() -> Vec<Signed> {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../../tests/fixtures/aws/sigv4.json")).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    file["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|vector| {
            let (request, expected) = (&vector["request"], &vector["expected"]);
            let url: http::Uri = text(&request["url"]).parse().unwrap();
            let mut headers = HeaderMap::new();
            let mut set = |name: &str, value: &str| headers.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
            for (name, value) in request["headers"].as_object().unwrap() {
                set(name, value.as_str().unwrap());
            }
            set("host", url.authority().unwrap().as_str());
            set("x-amz-date", expected["x-amz-date"].as_str().unwrap());
            set("authorization", expected["authorization"].as_str().unwrap());
            let token = vector["session_token"].as_str().map(str::to_owned);
            if let Some(token) = &token {
                set("x-amz-security-token", token);
            }
            Signed {
                name: text(&vector["name"]),
                method: text(&request["method"]),
                path: url.path().to_owned(),
                query: url.query().unwrap_or_default().to_owned(),
                headers,
                body_sha256: hex(&Sha256::digest(text(&request["body"]))),
                service: text(&vector["service"]),
                token,
                canonical: text(&expected["canonical_request"]),
            }
        })
        .collect()
}

/// The clock and the keys of the published requests.
fn now() -> SystemTime {
    parse_time("20260102T030405Z").unwrap()
}

fn check(request: &Signed, now: SystemTime) -> Result<Caller, Failure> {
    check_with(request, now, |_| ())
}

fn check_with(request: &Signed, now: SystemTime, change: impl FnOnce(&mut Credentials)) -> Result<Caller, Failure> {
    let mut known = Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: request.token.clone(),
        expires: None,
    };
    change(&mut known);
    let keyring = Keyring { credentials: &[known], bearer_tokens: &["token".to_owned()], region: Some("us-east-1") };
    let received = Received {
        method: &request.method,
        path: &request.path,
        query: &request.query,
        authority: None,
        headers: &request.headers,
        body_sha256: &request.body_sha256,
    };
    keyring.verify(&received, now)
}

fn find(name: &str) -> Signed {
    signed().into_iter().find(|request| request.name == name).unwrap()
}

fn name_of(result: Result<Caller, Failure>) -> &'static str {
    result.unwrap_err().name
}

fn set(request: &mut Signed, name: &'static str, value: &str) {
    request.headers.insert(name, HeaderValue::from_str(value).unwrap());
}

#[test]
fn trap_53_published_requests_are_accepted_at_their_clock() {
    let mut accepted = 0;
    for request in signed() {
        if request.service == SERVICE {
            assert_eq!(check(&request, now()).unwrap(), Caller::Signed("AKIDEXAMPLE".to_owned()), "{}", request.name);
            accepted += 1;
        } else {
            // Signed for another service, and Bedrock says so.
            let failure = check(&request, now()).unwrap_err();
            assert!(failure.message.contains("correct service: 'bedrock'"), "{}", failure.message);
        }
    }
    assert_eq!(accepted, 8);
}

#[test]
fn a_refusal_shows_the_canonical_request_that_was_expected() {
    let mut count = 0;
    for mut request in signed().into_iter().filter(|request| request.service == SERVICE) {
        let authorization = request.headers["authorization"].to_str().unwrap().to_owned();
        let (start, signature) = authorization.rsplit_once('=').unwrap();
        let flipped = if signature.starts_with('0') { '1' } else { '0' };
        set(&mut request, "authorization", &format!("{start}={flipped}{}", &signature[1..]));
        let failure = check(&request, now()).unwrap_err();
        assert_eq!((failure.name, failure.status), ("InvalidSignatureException", 403));
        assert!(failure.message.contains(&request.canonical), "{}\n{}", request.name, failure.message);
        count += 1;
    }
    assert_eq!(count, 8);
}

#[test]
fn trap_55_everything_that_was_signed_is_checked() {
    let original = || find("invoke-stream-bedrock-headers");
    let changes: [fn(&mut Signed); 8] = [
        |request| request.method = "PUT".to_owned(),
        |request| request.path = request.path.replace("%3A", ":"),
        |request| request.path.push('/'),
        |request| request.query = "a=b".to_owned(),
        |request| request.body_sha256 = hex(&Sha256::digest("other")),
        |request| set(request, "content-type", "application/json; charset=utf-8"),
        |request| set(request, "host", "other.example"),
        |request| set(request, "x-amzn-bedrock-guardrailversion", "2"),
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut request = original();
        change(&mut request);
        assert_eq!(name_of(check(&request, now())), "InvalidSignatureException", "change {index}");
    }
    // What was not signed may change on the way.
    let mut request = original();
    set(&mut request, "user-agent", "another");
    set(&mut request, "traceparent", "00-0-0-00");
    check(&request, now()).unwrap();
}

#[test]
fn spaces_in_signed_values_are_collapsed_and_signed_headers_must_be_there() {
    let mut request = find("converse-static-keys");
    set(&mut request, "content-type", "  application/json ");
    check(&request, now()).unwrap();
    request.headers.remove("content-type");
    assert!(check(&request, now()).unwrap_err().message.contains("'content-type' is a signed header and not in the request"));
}

#[test]
fn every_amz_header_must_be_signed() {
    let mut request = find("converse-static-keys");
    set(&mut request, "x-amz-target", "anything");
    let failure = check(&request, now()).unwrap_err();
    assert!(failure.message.contains("'x-amz-target' must be a signed header"), "{}", failure.message);

    let mut request = find("converse-static-keys");
    let authorization = request.headers["authorization"].to_str().unwrap().replace("content-type;host;x-amz-date", "content-type;x-amz-date");
    set(&mut request, "authorization", &authorization);
    assert!(check(&request, now()).unwrap_err().message.contains("'host' must be a signed header"));
}

#[test]
fn the_clock_may_be_five_minutes_off() {
    let request = find("converse-static-keys");
    for seconds in [0, 299, 300] {
        check(&request, now() + Duration::from_secs(seconds)).unwrap();
        check(&request, now() - Duration::from_secs(seconds)).unwrap();
    }
    assert!(check(&request, now() + Duration::from_secs(301)).unwrap_err().message.starts_with("Signature expired"));
    assert!(check(&request, now() - Duration::from_secs(301)).unwrap_err().message.starts_with("Signature not yet current"));
}

#[test]
fn session_tokens_belong_to_their_credentials() {
    let request = find("converse-session-token");
    check(&request, now()).unwrap();
    assert_eq!(name_of(check_with(&request, now(), |known| known.session_token = None)), "UnrecognizedClientException");
    assert_eq!(name_of(check_with(&request, now(), |known| known.session_token = Some("other".to_owned()))), "UnrecognizedClientException");
    assert_eq!(name_of(check_with(&request, now(), |known| known.expires = Some(now()))), "ExpiredTokenException");
    let without = find("converse-static-keys");
    assert_eq!(name_of(check_with(&without, now(), |known| known.session_token = Some("token".to_owned()))), "UnrecognizedClientException");
}

#[test]
fn keys_and_scopes_are_checked() {
    let request = find("converse-static-keys");
    assert_eq!(name_of(check_with(&request, now(), |known| known.access_key_id = "AKIDOTHER".to_owned())), "UnrecognizedClientException");
    assert_eq!(name_of(check_with(&request, now(), |known| known.secret_access_key.push('x'))), "InvalidSignatureException");
    for (from, to, text) in [
        ("/us-east-1/", "/us-west-2/", "valid region"),
        ("/bedrock/", "/bedrock-runtime/", "correct service"),
        ("aws4_request", "aws4", "valid terminator"),
        ("/20260102/", "/20260103/", "Date in Credential scope"),
    ] {
        let mut request = find("converse-static-keys");
        let authorization = request.headers["authorization"].to_str().unwrap().replacen(from, to, 1);
        set(&mut request, "authorization", &authorization);
        let failure = check(&request, now()).unwrap_err();
        assert!(failure.message.contains(text), "{}", failure.message);
        assert_eq!(failure.status, 403);
    }
}

#[test]
fn headers_that_are_no_authorization_are_told_apart() {
    let with = |value: Option<&str>| {
        let mut request = find("converse-static-keys");
        match value {
            Some(value) => set(&mut request, "authorization", value),
            None => drop(request.headers.remove("authorization")),
        }
        check(&request, now())
    };
    assert_eq!(name_of(with(None)), "MissingAuthenticationTokenException");
    for broken in [
        "Basic YTpi",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=1, Signature=2",
        "AWS4-HMAC-SHA256 nonsense",
    ] {
        assert_eq!(name_of(with(Some(broken))), "IncompleteSignature", "{broken}");
    }
    assert_eq!(with(Some("Bearer token")).unwrap(), Caller::Bearer);
    assert_eq!(name_of(with(Some("Bearer other"))), "AccessDeniedException");
}

#[test]
fn content_sha256_must_be_the_hash_of_the_body() {
    let mut request = find("count-tokens-content-sha256");
    check(&request, now()).unwrap();
    set(&mut request, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert!(check(&request, now()).unwrap_err().message.contains("x-amz-content-sha256"));
}

#[test]
fn times_are_those_of_the_calendar() {
    for (text, seconds) in
        [("19700101T000000Z", 0), ("20000229T120000Z", 951_825_600), ("20260102T030405Z", 1_767_323_045), ("21000301T000000Z", 4_107_542_400)]
    {
        assert_eq!(parse_time(text), Some(UNIX_EPOCH + Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "20260102T030405", "2026-01-02T03:04Z", "20261302T030405Z", "20260102T240000Z", "19690101T000000Z", "2026010\u{e9}T03040Z"] {
        assert_eq!(parse_time(text), None, "{text}");
    }
}

#[test]
fn http2_signs_its_authority_as_host() {
    let mut request = find("converse-static-keys");
    let host = request.headers.remove("host").unwrap();
    let keyring = Keyring {
        credentials: &[Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            expires: None,
        }],
        bearer_tokens: &[],
        region: None,
    };
    let received = |authority| Received {
        method: &request.method,
        path: &request.path,
        query: &request.query,
        authority,
        headers: &request.headers,
        body_sha256: &request.body_sha256,
    };
    keyring.verify(&received(host.to_str().ok()), now()).unwrap();
    assert_eq!(name_of(keyring.verify(&received(None), now())), "InvalidSignatureException");
}
