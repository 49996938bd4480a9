//! Tokens made here with keys made here.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SigningKey as _};
use serde_json::json;

use super::*;
use crate::provider::endpoint::Endpoint;

/// 2027, in seconds.
const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn config() -> Jwt {
    Jwt {
        issuer: "https://id.example.com".to_owned(),
        endpoint: Endpoint::https("id.example.com"),
        jwks_url: None,
        allow_http: false,
        audience: Some("adit".to_owned()),
        algorithms: vec!["RS256", "ES256", "ES384", "EdDSA"],
        leeway: Duration::from_secs(60),
        user_claim: "sub".to_owned(),
        groups_claim: "groups".to_owned(),
        groups: Vec::new(),
    }
}

fn claims() -> Value {
    json!({"iss": "https://id.example.com", "aud": "adit", "sub": "alice", "exp": NOW + 600, "nbf": NOW, "iat": NOW})
}

/// The key pair of RFC 7515, appendix A.2: everybody knows it.
const RSA: &str = include_str!("../../../../tests/fixtures/jose/rfc7515-a2.jwk.json");

/// A key that signs, with its id.
struct Signer {
    id: &'static str,
    algorithm: &'static str,
    key: Private,
}

enum Private {
    Rsa(ring::rsa::KeyPair),
    Other(KeyPair),
}

impl Signer {
    fn new(id: &'static str, algorithm: &'static str) -> Self {
        let key = match algorithm {
            "ES256" => Private::Other(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()),
            "ES384" => Private::Other(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()),
            "EdDSA" => Private::Other(KeyPair::generate_for(&PKCS_ED25519).unwrap()),
            _ => Private::Rsa(rsa()),
        };
        Signer { id, algorithm, key }
    }

    fn published(&self) -> Value {
        let Private::Other(key) = &self.key else {
            let key: Value = serde_json::from_str(RSA).unwrap();
            return json!({"kty": "RSA", "n": key["n"], "e": key["e"], "kid": self.id, "use": "sig"});
        };
        let raw = rcgen::PublicKeyData::der_bytes(key);
        let half = |from: usize, length| BASE64URL.encode(&raw[from..from + length]);
        let (kty, crv, x, y) = match self.algorithm {
            "ES256" => ("EC", "P-256", half(1, 32), Some(half(33, 32))),
            "ES384" => ("EC", "P-384", half(1, 48), Some(half(49, 48))),
            _ => ("OKP", "Ed25519", half(0, 32), None),
        };
        json!({"kty": kty, "crv": crv, "x": x, "y": y, "kid": self.id, "use": "sig"})
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm, "kid": self.id}), claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// Of texts, which need be no JSON.
    fn token_of(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        format!("{message}.{}", BASE64URL.encode(self.sign(message.as_bytes())))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signed = |key: &KeyPair| key.sign(message).unwrap();
        match (&self.key, self.algorithm) {
            (Private::Other(key), "ES256") => fixed(&signed(key), 32),
            (Private::Other(key), "ES384") => fixed(&signed(key), 48),
            (Private::Other(key), _) => signed(key),
            (Private::Rsa(key), algorithm) => {
                let padding: &dyn signature::RsaEncoding = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                let mut out = vec![0; key.public().modulus_len()];
                key.sign(padding, &ring::rand::SystemRandom::new(), message, &mut out).unwrap();
                out
            }
        }
    }
}

fn rsa() -> ring::rsa::KeyPair {
    let key: Value = serde_json::from_str(RSA).unwrap();
    let number = |name: &str| BASE64URL.decode(key[name].as_str().unwrap()).unwrap();
    let public_key = RsaPublicKeyComponents { n: number("n"), e: number("e") };
    let components =
        ring::rsa::KeyPairComponents { public_key, d: number("d"), p: number("p"), q: number("q"), dP: number("dp"), dQ: number("dq"), qInv: number("qi") };
    ring::rsa::KeyPair::from_components(&components).unwrap()
}

/// The two numbers of a signature in DER, each in its full length as RFC 7518, section 3.4, wants it.
fn fixed(der: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 2;
    for _ in 0..2 {
        let number = &der[at + 2..at + 2 + usize::from(der[at + 1])];
        at += 2 + number.len();
        let number: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        out.extend(std::iter::repeat_n(0, length - number.len()));
        out.extend(number);
    }
    out
}

fn keys(signers: &[&Signer]) -> Keys {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.published()).collect();
    Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// All that the operator may allow.
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

#[test]
fn a_good_token_of_each_algorithm_names_its_user_and_with_any_byte_changed_none() {
    let signers = ALGORITHMS.map(|algorithm| Signer::new(algorithm, algorithm));
    let keys = keys(&signers.each_ref());
    assert_eq!(keys.len(), ALGORITHMS.len());
    let config = Jwt { algorithms: ALGORITHMS.to_vec(), ..config() };
    for signer in &signers {
        let token = signer.token(&claims());
        let until = now() + Duration::from_secs(660);
        assert_eq!(verify(&token, &keys, &config, now()), Ok(Claims { user: "alice".to_owned(), groups: Vec::new(), until }), "{}", signer.algorithm);
        assert!(looks_like(&token));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64URL.decode(signature).unwrap();
        let (header, payload) = message.split_once('.').unwrap();
        let payload = BASE64URL.decode(payload).unwrap();
        let flipped = |bytes: &[u8], at: usize| {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            BASE64URL.encode(changed)
        };
        for at in [0, 1, signature.len() / 2, signature.len() - 1] {
            assert_eq!(verify(&format!("{message}.{}", flipped(&signature, at)), &keys, &config, now()), Err(Fault::Signature), "{} {at}", signer.algorithm);
        }
        for at in [0, payload.len() / 2, payload.len() - 1] {
            let changed = format!("{header}.{}.{}", flipped(&payload, at), BASE64URL.encode(&signature));
            assert_eq!(verify(&changed, &keys, &config, now()), Err(Fault::Signature), "{} {at}", signer.algorithm);
        }
        for wrong in [&signature[..signature.len() - 1], &[], &[signature.as_slice(), &[0]].concat(), &vec![0; signature.len()]] {
            assert_eq!(verify(&format!("{message}.{}", BASE64URL.encode(wrong)), &keys, &config, now()), Err(Fault::Signature), "{}", signer.algorithm);
        }
        // The key of one is none for another, whatever the token says.
        for other in ALGORITHMS.into_iter().filter(|other| *other != signer.algorithm) {
            let token = signer.token_with(&json!({"alg": other, "kid": signer.id}), &claims());
            assert_eq!(verify(&token, &keys, &config, now()), Err(Fault::Signature), "{} as {other}", signer.algorithm);
        }
        // Nobody allows it.
        let without = Jwt { algorithms: ALGORITHMS.into_iter().filter(|other| *other != signer.algorithm).collect(), ..config.clone() };
        assert_eq!(verify(&token, &keys, &without, now()), Err(Fault::Algorithm));
    }
}

#[test]
fn a_name_that_is_there_twice_makes_it_no_token() {
    let signer = Signer::new("k1", "ES256");
    let keys = keys(&[&signer]);
    let claims = claims().to_string();
    let twice = |name: &str, value: &str| format!("{},\"{name}\":{value}}}", &claims[..claims.len() - 1]);
    let header = r#"{"alg":"ES256","kid":"k1"}"#;
    assert!(verify(&signer.token_of(header, &claims), &keys, &config(), now()).is_ok());
    for (header, claims) in [
        (r#"{"alg":"ES256","kid":"k1","alg":"none"}"#, claims.clone()),
        (r#"{"alg":"none","alg":"ES256","kid":"k1"}"#, claims.clone()),
        (r#"{"alg":"ES256","kid":"k2","kid":"k1"}"#, claims.clone()),
        (header, twice("sub", "\"mallory\"")),
        (header, twice("s\\u0075b", "\"mallory\"")),
        (header, twice("exp", "9999999999")),
        (header, twice("aud", "\"adit\"")),
        (header, format!("{claims} {claims}")),
        (header, format!("[{claims}]")),
        (header, "null".to_owned()),
    ] {
        assert_eq!(verify(&signer.token_of(header, &claims), &keys, &config(), now()), Err(Fault::Malformed), "{header} {claims}");
    }
}

#[test]
fn only_what_somebody_has_made_up_is_a_guess() {
    for (fault, guess) in [
        (Fault::Malformed, true),
        (Fault::Algorithm, true),
        (Fault::Critical, true),
        (Fault::Signature, true),
        (Fault::UnknownKey, false),
        (Fault::Expired, false),
        (Fault::NotYet, false),
        (Fault::Issuer, false),
        (Fault::Audience, false),
        (Fault::NoUser, false),
    ] {
        assert_eq!(fault.is_guess(), guess, "{fault}");
    }
}

#[test]
fn rsa_tokens_are_checked_as_their_algorithm_says() {
    // RFC 7515, appendix A.2: the key and the token of the example.
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let keys = |more: Value| {
        let mut key = json!({"kty": "RSA", "n": n, "e": "AQAB"});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Keys::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap()
    };
    let config = Jwt { issuer: "joe".to_owned(), audience: None, user_claim: "iss".to_owned(), ..config() };
    let then = UNIX_EPOCH + Duration::from_secs(1_300_819_000);
    assert_eq!(verify(token, &keys(json!({})), &config, then).map(|claims| claims.user), Ok("joe".to_owned()));
    assert_eq!(
        verify(token, &keys(json!({"alg": "RS256", "use": "sig", "key_ops": ["verify"]})), &config, then).map(|claims| claims.user),
        Ok("joe".to_owned())
    );
    assert_eq!(verify(token, &keys(json!({"alg": "PS256"})), &config, then), Err(Fault::UnknownKey));
    for useless in [json!({"use": "enc"}), json!({"key_ops": ["encrypt"]}), json!({"n": "!"}), json!({"kty": "oct", "k": "c2VjcmV0"})] {
        assert!(keys(useless).is_empty());
    }
    let allowed = Jwt { algorithms: vec!["ES256"], ..config.clone() };
    assert_eq!(verify(token, &keys(json!({})), &allowed, then), Err(Fault::Algorithm));
    let broken = token.replace("cC4hiUPo", "cC4hiUPp");
    assert_eq!(verify(&broken, &keys(json!({})), &config, then), Err(Fault::UnknownKey));
    assert_eq!(verify(token, &keys(json!({})), &config, now()), Err(Fault::Expired));
}

#[test]
fn a_bad_token_is_refused_for_what_is_wrong_with_it() {
    let signer = Signer::new("k1", "ES256");
    let keys = keys(&[&signer]);
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        signer.token(&claims)
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        signer.token(&claims)
    };
    let headed = |header: Value| signer.token_with(&header, &claims());
    let other = Signer::new("k1", "ES256");
    for (token, fault) in [
        (other.token(&claims()), Fault::Signature),
        (Signer::new("k2", "ES256").token(&claims()), Fault::UnknownKey),
        (headed(json!({"alg": "none"})), Fault::Algorithm),
        (headed(json!({"alg": "HS256", "kid": "k1"})), Fault::Algorithm),
        (headed(json!({"alg": "RS512", "kid": "k1"})), Fault::Algorithm),
        (headed(json!({"alg": "RS256", "kid": "k1"})), Fault::Signature),
        (headed(json!({"alg": "EdDSA", "kid": "k1"})), Fault::Signature),
        (headed(json!({"alg": "ES256", "kid": "k1", "crit": ["exp"]})), Fault::Critical),
        (headed(json!({"alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": true})), Fault::Critical),
        (headed(json!({"alg": "ES256", "kid": "k1", "crit": []})), Fault::Critical),
        (headed(json!({"alg": "ES256", "kid": "k1", "crit": null})), Fault::Critical),
        (headed(json!({"alg": "none", "kid": "k1"})), Fault::Algorithm),
        (headed(json!({"alg": "None", "kid": "k1"})), Fault::Algorithm),
        (headed(json!({"alg": "es256", "kid": "k1"})), Fault::Algorithm),
        (headed(json!({"alg": ["ES256"], "kid": "k1"})), Fault::Malformed),
        (headed(json!({"alg": "ES256", "kid": null})), Fault::Malformed),
        (headed(json!({"alg": "ES256", "kid": 1})), Fault::Malformed),
        (headed(json!({"kid": "k1"})), Fault::Malformed),
        (with("exp", json!(NOW - 60)), Fault::Expired),
        (with("exp", json!("2030-01-01")), Fault::Malformed),
        (with("exp", json!("9999999999")), Fault::Malformed),
        (without("exp"), Fault::Expired),
        (with("nbf", json!(NOW + 61)), Fault::NotYet),
        (with("nbf", json!("0")), Fault::Malformed),
        (with("iat", json!(NOW + 61)), Fault::NotYet),
        (with("iss", json!("https://id.example.com/")), Fault::Issuer),
        (with("iss", json!(["https://id.example.com"])), Fault::Issuer),
        (without("iss"), Fault::Issuer),
        (with("aud", json!("other")), Fault::Audience),
        (with("aud", json!(["other", 1])), Fault::Audience),
        (without("aud"), Fault::Audience),
        (without("sub"), Fault::NoUser),
        (with("sub", json!("")), Fault::NoUser),
        (with("sub", json!(7)), Fault::NoUser),
        (with("sub", json!("a\nb")), Fault::NoUser),
        (format!("{}.x", signer.token(&claims())), Fault::Malformed),
        (format!("{}=", signer.token(&claims())), Fault::Malformed),
        (with("x", json!("x".repeat(LONGEST_TOKEN))), Fault::Malformed),
        ("..".to_owned(), Fault::Malformed),
        (String::new(), Fault::Malformed),
    ] {
        assert_eq!(verify(&token, &keys, &config(), now()), Err(fault), "{token}");
    }
    for good in [
        with("exp", json!(NOW - 59)),
        with("nbf", json!(NOW + 60)),
        without("nbf"),
        without("iat"),
        with("aud", json!(["other", "adit"])),
        with("exp", json!(1e300)),
    ] {
        assert!(verify(&good, &keys, &config(), now()).is_ok(), "{good}");
    }
    let unsigned = signer.token(&claims());
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    assert_eq!(verify(&unsigned, &keys, &config(), now()), Err(Fault::Signature));
}

#[test]
fn user_and_groups_are_found_where_the_operator_says() {
    let signer = Signer::new("k1", "EdDSA");
    let keys = keys(&[&signer]);
    let mut claims = claims();
    claims["realm_access"] = json!({"roles": ["a", 7, "b"]});
    claims["https://example.com/name"] = json!("bob");
    claims["scope"] = json!("read  write");
    for (user_claim, groups_claim, user, groups) in [
        ("sub", "realm_access.roles", "alice", vec!["a", "b"]),
        ("https://example.com/name", "scope", "bob", vec!["read", "write"]),
        ("sub", "none", "alice", vec![]),
        ("sub", "realm_access", "alice", vec![]),
        ("sub", "sub.x", "alice", vec![]),
    ] {
        let config = Jwt { user_claim: user_claim.to_owned(), groups_claim: groups_claim.to_owned(), ..config() };
        let found = verify(&signer.token(&claims), &keys, &config, now()).unwrap();
        assert_eq!((found.user.as_str(), found.groups.iter().map(String::as_str).collect::<Vec<_>>()), (user, groups));
    }
}

#[test]
fn a_user_may_what_any_of_his_groups_may() {
    let limits = |requests, tokens| UserLimits { requests_per_minute: requests, tokens_per_minute: tokens, concurrent_requests: None };
    let only = |patterns: &[&str]| Models::only(patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
    let group = |models, limits| Grant { models, limits, budget: Budget { daily_nano_usd: Some(5), monthly_nano_usd: None }, ..Grant::default() };
    let groups = vec![
        ("readers".to_owned(), group(only(&["claude-*"]), limits(Some(10), None))),
        ("writers".to_owned(), group(only(&["claude-*", "gpt-*"]), limits(Some(20), Some(7)))),
        ("admins".to_owned(), group(Models::default(), limits(None, None))),
    ];
    let config = Jwt { groups, ..config() };
    let default = limits(Some(15), None);
    let granted = |groups: &[&str]| grant(&groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>(), &config, default);
    assert_eq!(granted(&["readers"]), group(only(&["claude-*"]), limits(Some(10), None)));
    let both = granted(&["writers", "readers"]);
    assert_eq!(both.models, only(&["claude-*", "gpt-*"]));
    assert_eq!(both.limits, limits(Some(20), None), "no limit is the largest");
    assert_eq!(both.budget, Budget { daily_nano_usd: Some(5), monthly_nano_usd: None });
    assert!(granted(&["admins", "readers"]).models.is_all());
    assert_eq!(granted(&["admins"]).limits, default);
    for nobody in [granted(&[]), granted(&["others"])] {
        assert!(!nobody.models.allow("claude-3-haiku"));
        assert_eq!(nobody.limits, default);
    }
    let everybody = grant(&[], &Jwt { groups: Vec::new(), ..config.clone() }, default);
    assert!(everybody.models.is_all());
    assert_eq!(everybody.limits, default);
}

proptest::proptest! {
    #[test]
    fn no_token_is_too_odd(token in "[A-Za-z0-9_.=-]{0,80}", header in proptest::collection::vec(proptest::num::u8::ANY, 0..40), json in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
        let keys = Keys::parse(br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#).unwrap();
        assert!(verify(&token, &keys, &config(), now()).is_err());
        let token = format!("{}.{}.AAAA", BASE64URL.encode(header), BASE64URL.encode(&json));
        assert!(verify(&token, &keys, &config(), now()).is_err());
        let _ = Keys::parse(&json);
    }
}
