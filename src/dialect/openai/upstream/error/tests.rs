use super::*;
use crate::chat::refusal::OUR_CREDENTIALS;

fn of(status: u16, body: &str) -> ApiError {
    decode(status, None, body.as_bytes())
}

fn summary(error: &ApiError) -> (ErrorKind, u16) {
    (error.kind, error.status)
}

#[test]
fn every_shape_is_read() {
    for (status, body, kind, shown, message) in [
        (429, r#"{"error":{"message":"Slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#, ErrorKind::RateLimited, 429, "Slow down"),
        (
            429,
            r#"{"error":{"message":"No money","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            ErrorKind::RateLimited,
            429,
            "No money",
        ),
        (402, r#"{"error":{"message":"Insufficient credits","code":402}}"#, ErrorKind::RateLimited, 429, "Insufficient credits"),
        (400, r#"{"error":"plain"}"#, ErrorKind::InvalidRequest, 400, "plain"),
        (400, r#"{"object":"error","message":"vLLM","type":"BadRequestError","param":null,"code":400}"#, ErrorKind::InvalidRequest, 400, "vLLM"),
        (404, r#"{"object":"error","message":"The model `x` does not exist.","code":404}"#, ErrorKind::ModelNotFound, 404, "The model `x` does not exist."),
        (404, r#"{"detail":"Not Found"}"#, ErrorKind::ModelNotFound, 404, "Not Found"),
        (422, r#"{"detail":[{"loc":["body","x"],"msg":"field required","type":"missing"}]}"#, ErrorKind::InvalidRequest, 422, "field required"),
        (400, r#"[{"error":{"code":400,"message":"Bad","status":"INVALID_ARGUMENT","details":[]}}]"#, ErrorKind::InvalidRequest, 400, "Bad"),
        (429, r#"{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}"#, ErrorKind::RateLimited, 429, "Quota"),
        (404, r#"{"error":{"code":"DeploymentNotFound","message":"No such deployment"}}"#, ErrorKind::ModelNotFound, 404, "No such deployment"),
        (429, r#"{"error":{"code":"429","message":"Requests to the API exceeded"}}"#, ErrorKind::RateLimited, 429, "Requests to the API exceeded"),
        (503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, ErrorKind::Unavailable, 503, "Loading model"),
        (500, r#"{"error":{"message":"oops","type":"server_error","param":null,"code":null}}"#, ErrorKind::UpstreamInternal, 500, "oops"),
        (529, "{}", ErrorKind::Unavailable, 503, "the model provider is temporarily unavailable"),
        (502, "<html>Bad Gateway</html>", ErrorKind::BadUpstream, 502, "the model provider's answer could not be used"),
        (504, "upstream request timeout", ErrorKind::Timeout, 504, "upstream request timeout"),
        (418, "", ErrorKind::InvalidRequest, 418, "the model provider refused the request"),
        (
            403,
            r#"{"error":{"message":"Your region is not supported","code":"unsupported_country_region_territory"}}"#,
            ErrorKind::PermissionDenied,
            403,
            "Your region is not supported",
        ),
        (302, "", ErrorKind::BadUpstream, 502, "the model provider's answer could not be used"),
    ] {
        let error = of(status, body);
        assert_eq!((error.kind, error.status, error.message.as_ref()), (kind, shown, message), "{body}");
    }
}

#[test]
fn azure_s_filter_keeps_its_param() {
    let body = r#"{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter","status":400,
        "innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}"#;
    for body in [body.to_owned(), body.replace("innererror", "inner_error").replace("\"content_filter\"", "\"400\"")] {
        let error = of(400, &body);
        assert_eq!((error.kind, error.status, error.param.as_deref()), (ErrorKind::InvalidRequest, 400, Some("prompt")));
        assert_eq!(error.message, "The response was filtered");
    }
}

#[test]
fn too_long_conversations_are_told_apart() {
    for body in [
        r#"{"error":{"message":"Too many","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"BadRequestError","param":null,"code":400}}"#,
        r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_ctx":4096}}"#,
        r#"{"error":{"code":400,"message":"The input token count (2000000) exceeds the maximum","status":"INVALID_ARGUMENT"}}"#,
    ] {
        assert_eq!(summary(&of(400, body)), (ErrorKind::ContextLengthExceeded, 400), "{body}");
    }
    assert_eq!(of(429, r#"{"error":{"message":"context window of the rate limit"}}"#).kind, ErrorKind::RateLimited);
}

#[test]
fn our_own_key_is_nobodys_business() {
    let quoted = "Incorrect API key provided: sk-proj-abcdef. You can find your API key at https://platform.openai.com";
    for (status, body) in [
        (401, format!(r#"{{"error":{{"message":"{quoted}","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}}}"#)),
        (401, "{}".to_owned()),
        (403, r#"{"error":{"message":"Access denied due to invalid subscription key"}}"#.to_owned()),
        (403, r#"{"error":{"code":403,"message":"Your API key was reported as leaked.","status":"PERMISSION_DENIED"}}"#.to_owned()),
        (400, r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]"#.to_owned()),
        (200, format!(r#"{{"error":{{"message":"{quoted}","code":401}}}}"#)),
    ] {
        let error = of(status, &body);
        assert_eq!((error.kind, error.status, error.message.as_ref()), (ErrorKind::BadUpstream, 502, OUR_CREDENTIALS), "{body}");
        assert!(error.param.is_none());
    }
}

#[test]
fn trap_02_errors_inside_an_answer_have_their_own_status() {
    for (json, kind, status) in [
        (r#"{"message":"m","type":"server_error"}"#, ErrorKind::UpstreamInternal, 500),
        (r#"{"message":"m","code":502}"#, ErrorKind::BadUpstream, 502),
        (r#"{"message":"m","code":"429"}"#, ErrorKind::RateLimited, 429),
        (r#"{"message":"m","code":"rate_limit_exceeded"}"#, ErrorKind::RateLimited, 429),
        (r#"{"message":"m","type":"invalid_request_error"}"#, ErrorKind::InvalidRequest, 400),
        (r#"{"message":"m","status":"UNAVAILABLE"}"#, ErrorKind::Unavailable, 503),
        (r#"{"message":"m","type":"BadRequestError","code":400}"#, ErrorKind::InvalidRequest, 400),
        (r#"{"message":"m","code":"something_new"}"#, ErrorKind::BadUpstream, 502),
        (r#""m""#, ErrorKind::BadUpstream, 502),
    ] {
        let error = inside(Raw::parse(json).unwrap());
        assert_eq!((error.kind, error.status, error.message.as_ref()), (kind, status, "m"), "{json}");
    }
    assert_eq!(inside(Raw::parse("true").unwrap()).kind, ErrorKind::BadUpstream);
}

#[test]
fn messages_are_cut_and_cleaned() {
    let error = decode(429, Some("20"), br#"{"error":{"message":"Rate limit reached for gpt-4 in organization org-AbCdEfGhIjKlMnOp on tokens"}}"#);
    assert_eq!(error.message, "Rate limit reached for gpt-4 in organization [account] on tokens");
    assert_eq!(error.retry_after.as_deref(), Some("20"));
    assert_eq!(of(400, &"ä".repeat(5000)).message.len(), 2000);
    assert_eq!(of(400, &format!(r#"{{"error":{{"message":"m","param":"{}"}}}}"#, "p".repeat(999))).param.unwrap().len(), PARAM_MAX);
}

#[test]
fn nothing_panics() {
    let deep = "[".repeat(100_000);
    for body in [&b"\xff\xfe"[..], b"[]", b"[[[{}]]]", b"null", b"{\"error\":null}", b"{\"error\":[]}", b"{\"detail\":{}}", deep.as_bytes(), b"\xef\xbb\xbf{}"]
    {
        for status in [0, 200, 400, 401, 500, 599, 999] {
            assert!(!decode(status, None, body).message.is_empty());
        }
    }
}
