//! Tests that need an environment run in a process of their own: this test binary again, with one test and a clean environment, against stubs on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use super::*;
use crate::config;

/// Tells a child that it is one.
const CHILD: &str = "ADIT_TEST_CHILD";

fn map(provider: &str) -> ModelMap {
    config::parse("", &format!("providers: {{ a: {{ type: bedrock, {provider} }} }}"), &|_| None).unwrap_or_else(|errors| panic!("{errors}")).models
}

fn key(current: &Current) -> Option<&str> {
    match current {
        Current::Ready(credentials) => Some(credentials.access_key_id()),
        _ => None,
    }
}

#[test]
fn what_stands_in_the_configuration_is_ready_without_a_runtime() {
    let stores = Stores::new(&map("access_key_id: AKIDEXAMPLE, secret_access_key: not-a-secret, session_token: not-a-token"));
    stores.spawn();
    let current = stores.get("a").unwrap().current();
    let Current::Ready(credentials) = &current else { panic!("{current:?}") };
    assert_eq!(
        (credentials.access_key_id(), credentials.secret_access_key(), credentials.session_token()),
        ("AKIDEXAMPLE", "not-a-secret", Some("not-a-token"))
    );

    let bearer = Stores::new(&map("bearer_token: not-a-token"));
    bearer.spawn();
    assert!(matches!(bearer.get("a").unwrap().current(), Current::Bearer(token) if token.expose() == "not-a-token"));
    assert!(matches!(Stores::new(&map("profile: x")).get("a").unwrap().current(), Current::Pending));
    for stores in [stores, bearer] {
        assert!(!format!("{stores:?}").contains("not-a"), "{stores:?}");
    }
}

#[test]
fn a_reload_keeps_the_stores_that_did_not_change() {
    let two = |a: &str, b: &str| {
        let text = format!("providers: {{ a: {{ type: bedrock, {a} }}, b: {{ type: bedrock, {b} }}, c: {{ type: openai }} }}");
        config::parse("", &text, &|_| None).unwrap().models
    };
    let old = Stores::new(&two("profile: x", "bearer_token: t"));
    let new = old.renewed(&two("profile: x", "bearer_token: u"));
    assert!(Arc::ptr_eq(old.get("a").unwrap(), new.get("a").unwrap()));
    assert!(!Arc::ptr_eq(old.get("b").unwrap(), new.get("b").unwrap()));
    assert!(new.get("c").is_none());
    assert_eq!(new.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    let moved = new.renewed(&two("profile: x, region: eu-west-1", "bearer_token: u"));
    assert!(!Arc::ptr_eq(new.get("a").unwrap(), moved.get("a").unwrap()));
}

#[test]
fn renewal_is_ahead_of_expiry() {
    for (left, jitter, expected) in
        [(3600, 0.0, 2880), (3600, 1.0, 2592), (1200, 0.0, 900), (601, 0.0, 301), (600, 0.0, 480), (100, 0.0, 80), (1, 0.0, 1), (0, 1.0, 1)]
    {
        assert_eq!(refresh_after(Duration::from_secs(left), jitter).as_secs(), expected, "{left} {jitter}");
    }
    for (failures, jitter, expected) in [(1, 0.0, 1000), (2, 0.0, 2000), (2, 1.0, 1000), (6, 0.0, 32_000), (7, 0.0, 60_000), (u32::MAX, 0.0, 60_000)] {
        assert_eq!(backoff(failures, jitter).as_millis(), expected, "{failures} {jitter}");
    }
}

#[tokio::test]
async fn waiting_ends_at_the_deadline() {
    let stores = Stores::new(&map("profile: x"));
    let current = stores.get("a").unwrap().wait_ready(Instant::now() + Duration::from_millis(5)).await;
    assert!(matches!(current, Current::Pending));
}

/// Runs one test of this file in a process whose environment is only what stands here.
fn child(test: &str, variables: &[(&str, &str)]) {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("ops::credentials::tests::{test}"), "--ignored", "--nocapture"])
        .env_clear()
        .env(CHILD, "1")
        .env("HOME", home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A store that works, in a child; `None` for somebody who runs the ignored tests by hand.
fn working(provider: &str) -> Option<Stores> {
    std::env::var_os(CHILD)?;
    let stores = Stores::new(&map(provider));
    stores.spawn();
    Some(stores)
}

async fn first(store: &Store) -> Current {
    store.wait_ready(Instant::now() + Duration::from_secs(20)).await
}

/// An HTTP server on loopback: gives each request (head and body as one text) to `answer` and closes. Returns its URL.
fn stub(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (status, body) = answer(&request(&mut stream));
            let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
    });
    url
}

fn request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut piece = [0; 4096];
    loop {
        let Ok(read @ 1..) = stream.read(&mut piece) else { return text };
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse().unwrap()));
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
    }
}

fn container_answer(number: usize, lives: Duration) -> String {
    let expiration = humantime::format_rfc3339_millis(SystemTime::now() + lives);
    format!(r#"{{"AccessKeyId":"ASIACONTAINER{number}","SecretAccessKey":"not-a-secret","Token":"not-a-token","Expiration":"{expiration}"}}"#)
}

#[test]
fn container_credentials_are_renewed_before_they_expire() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let url = stub(move |request| {
        let mut seen = seen.lock().unwrap();
        seen.push(request.to_owned());
        (200, container_answer(seen.len(), Duration::from_secs(6)))
    });
    child("child_container", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{url}/role")), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "not-an-authorization")]);
    let requests = requests.lock().unwrap();
    assert!(requests.len() >= 2, "{requests:?}");
    assert!(requests[0].starts_with("GET /role ") && requests[0].to_ascii_lowercase().contains("authorization: not-an-authorization"), "{requests:?}");
}

#[tokio::test]
#[ignore = "runs as a child of container_credentials_are_renewed_before_they_expire"]
async fn child_container() {
    let Some(stores) = working("region: us-east-1") else { return };
    let store = stores.get("a").unwrap();
    let current = first(store).await;
    let Current::Ready(old) = &current else { panic!("{current:?}") };
    assert_eq!((old.access_key_id(), old.session_token()), ("ASIACONTAINER1", Some("not-a-token")));
    let mut resolutions = store.inner.resolutions.subscribe();
    resolutions.wait_for(|count| *count >= 2).await.unwrap();
    assert!(SystemTime::now() < old.expiry().unwrap(), "renewed too late");
    assert_eq!(key(&store.current()), Some("ASIACONTAINER2"));
    assert!(store.trouble().is_none());
}

#[test]
fn old_credentials_serve_while_they_are_valid_and_a_source_that_recovers_is_used() {
    let started = std::time::Instant::now();
    let count = Mutex::new(0);
    let url = stub(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let broken = *count > 1 && started.elapsed() < Duration::from_secs(6);
        if broken { (500, "{}".to_owned()) } else { (200, container_answer(if *count == 1 { 1 } else { 2 }, Duration::from_secs(3))) }
    });
    child("child_recovery", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)]);
}

#[tokio::test]
#[ignore = "runs as a child of old_credentials_serve_while_they_are_valid_and_a_source_that_recovers_is_used"]
async fn child_recovery() {
    let Some(stores) = working("region: us-east-1") else { return };
    let store = stores.get("a").unwrap();
    let provider = Provider { name: "a".to_owned(), ..(**map("").providers.get("a").unwrap()).clone() };
    assert_eq!(key(&first(store).await), Some("ASIACONTAINER1"));
    let mut resolutions = store.inner.resolutions.subscribe();
    let (mut lost, mut back) = (false, false);
    while !back {
        resolutions.changed().await.unwrap();
        match store.current() {
            Current::Ready(credentials) if credentials.access_key_id() == "ASIACONTAINER1" => assert!(!lost && stores.usable(&provider)),
            Current::Missing(reason) => {
                lost = true;
                assert!(!stores.usable(&provider));
                assert!(!reason.contains("127.0.0.1"), "{reason}");
                assert_eq!(store.trouble().as_deref().map(String::as_str), Some(&*reason));
            }
            Current::Ready(_) => back = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(lost && store.trouble().is_none());
}

const ASSUMED: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROAEXAMPLE:adit</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/a/adit</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIAASSUMED</AccessKeyId><SecretAccessKey>not-a-secret</SecretAccessKey><SessionToken>not-a-token</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"#;

#[test]
fn a_role_is_assumed_with_its_external_id() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let url = stub(move |request| {
        seen.lock().unwrap().push(request.to_owned());
        (200, ASSUMED.to_owned())
    });
    child("child_role", &[("AWS_ENDPOINT_URL_STS", &url)]);
    let requests = requests.lock().unwrap();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    for part in ["Action=AssumeRole", "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fa", "ExternalId=what-they-want", "RoleSessionName=adit"] {
        assert!(body.contains(part), "{part}: {body}");
    }
    // Signed with the base credentials, for the provider's own region.
    assert!(head.contains("Credential=AKIDEXAMPLE/") && head.contains("/eu-west-1/sts/aws4_request"), "{head}");
}

#[tokio::test]
#[ignore = "runs as a child of a_role_is_assumed_with_its_external_id"]
async fn child_role() {
    let role = "role_arn: \"arn:aws:iam::123456789012:role/a\", external_id: what-they-want";
    let Some(stores) = working(&format!("region: eu-west-1, access_key_id: AKIDEXAMPLE, secret_access_key: not-a-secret, {role}")) else { return };
    let store = stores.get("a").unwrap();
    assert!(matches!(store.current(), Current::Pending));
    assert_eq!(key(&first(store).await), Some("ASIAASSUMED"));
}

#[test]
fn the_environment_comes_first_but_a_named_profile_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    std::fs::write(
        &file,
        "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = x\n[dev]\naws_access_key_id = AKIDDEV\naws_secret_access_key = x\n",
    )
    .unwrap();
    let file = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap());
    child("child_sources", &[file, ("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"), ("AWS_SECRET_ACCESS_KEY", "x")]);
}

#[tokio::test]
#[ignore = "runs as a child of the_environment_comes_first_but_a_named_profile_before_it"]
async fn child_sources() {
    let Some(by_default) = working("") else { return };
    assert_eq!(key(&first(by_default.get("a").unwrap()).await), Some("AKIDENVIRONMENT"));
    let profile = working("profile: dev").unwrap();
    assert_eq!(key(&first(profile.get("a").unwrap()).await), Some("AKIDDEV"));
    let unknown = working("profile: nobody").unwrap();
    assert!(matches!(first(unknown.get("a").unwrap()).await, Current::Missing(_)));
}

#[test]
fn without_any_source_the_reason_is_plain() {
    child("child_nothing", &[]);
}

#[tokio::test]
#[ignore = "runs as a child of without_any_source_the_reason_is_plain"]
async fn child_nothing() {
    let Some(stores) = working("") else { return };
    let current = first(stores.get("a").unwrap()).await;
    assert!(matches!(&current, Current::Missing(reason) if &**reason == "no AWS credentials were found"), "{current:?}");
}
