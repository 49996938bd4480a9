//! URLs of files that lead astray.

use std::net::{SocketAddr, TcpListener};

use crate::common::{Client, Gateway, Upstream};
use crate::gateway;

/// A picture of one dot.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";

/// A host of files: gives each its answer, once.
fn files(answers: Vec<(&'static str, Vec<u8>)>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let mut asked = Vec::new();
        for _ in 0..answers.len() {
            let mut far = Client::new(listener.accept().unwrap().0);
            let request = far.request().unwrap();
            let path = request.line.split(' ').nth(1).unwrap().to_owned();
            let (_, answer) = answers.iter().find(|(name, _)| *name == path).unwrap_or_else(|| panic!("nobody should ask for {path}"));
            far.send(answer);
            asked.push(path);
        }
        asked
    };
    (address, std::thread::spawn(serve))
}

fn file(kind: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn allowing(host: &str) -> String {
    format!("remote_files: {{ enabled: true, allow: ['{host}'], max_bytes: 1000, timeout: 20s }}\n")
}

#[test]
fn a_picture_behind_a_url_reaches_a_model_that_takes_none_and_is_fetched_once() {
    let (host, asked) = files(vec![("/a.jpg", file("image/jpeg", PNG)), ("/b.txt", file("text/plain", b"plain words"))]);
    let (first, second) = (Upstream::new(), Upstream::new());
    let target = |name: &str, upstream: &Upstream| {
        format!(
            "  {name}: {{ type: bedrock, region: us-east-1, endpoint: 'http://{}', access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY }}\n",
            upstream.address
        )
    };
    let models = format!(
        "providers:\n{}{}models:\n  m: {{ targets: [{{ provider: one, model: 'anthropic.claude-3-haiku-20240307-v1:0' }}, {{ provider: two, model: 'us.amazon.nova-lite-v1:0', priority: 1 }}] }}\n",
        target("one", &first),
        target("two", &second)
    );
    let gateway = Gateway::with_models(&models, &allowing(&host.to_string()), &[]);
    let body = format!(
        r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"url","url":"http://{host}/a.jpg"}}}},{{"type":"document","title":"d","source":{{"type":"url","url":"http://{host}/b.txt"}}}},{{"type":"image","source":{{"type":"url","url":"http://{host}/a.jpg"}}}}]}}]}}"#
    );
    let mut client = gateway.connect();
    client.call("POST", "/v1/messages", "", body.as_bytes());
    // Claude on Bedrock: InvokeModel, Anthropic's own form.
    let (mut far, request) = first.exchange();
    assert!(request.line.contains("/invoke "), "{}", request.line);
    let content = request.json()["messages"][0]["content"].clone();
    assert_eq!(content[0]["source"]["media_type"], "image/png", "the bytes decide");
    assert_eq!(content[0]["source"], content[2]["source"]);
    assert_eq!(content[1]["source"], serde_json::json!({"type": "text", "media_type": "text/plain", "data": "plain words"}));
    far.reply("503 Service Unavailable", "connection: close\r\n", r#"{"message":"later"}"#);
    // Nova: Converse. Nothing is fetched again.
    let (mut far, request) = second.exchange();
    assert!(request.line.contains("/converse "), "{}", request.line);
    assert_eq!(request.json()["messages"][0]["content"][0]["image"]["format"], "png");
    far.reply_text("seen");
    assert_eq!(client.answer().status, 200);
    let mut asked = asked.join().unwrap();
    asked.sort();
    assert_eq!(asked, ["/a.jpg", "/b.txt"]);
    gateway.wait_metrics(&["adit_buffered_bytes 0".to_owned()]);
}

#[test]
fn urls_that_lead_astray_are_refused_in_words_that_tell_nothing() {
    let refused = "secret words of an inner host";
    let (host, asked) = files(vec![
        (
            "/moved",
            format!("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data\r\ncontent-length: {}\r\n\r\n{refused}", refused.len())
                .into_bytes(),
        ),
        ("/denied", format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{refused}", refused.len()).into_bytes()),
        ("/page.png", file("image/png", b"<html>secret words of an inner host</html>")),
        ("/large", file("image/png", &PNG.repeat(100))),
    ]);
    let upstream = Upstream::new();
    let extra = format!("remote_files: {{ enabled: true, allow: ['{host}', localhost, '*.example.com'], max_bytes: 1000, timeout: 20s }}\n");
    let gateway = Gateway::start(upstream.address, &extra);
    let port = host.port();
    for url in [
        format!("http://{host}/moved"),
        format!("http://{host}/denied"),
        format!("http://{host}/page.png"),
        format!("http://{host}/large"),
        format!("http://localhost:{port}/x"),
        "http://localhost/x".to_owned(),
        "http://127.0.0.1/x".to_owned(),
        format!("http://user@{host}/x"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/".to_owned(),
        "http://2130706433/".to_owned(),
        "http://0177.0.0.1/".to_owned(),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://files.example.com@169.254.169.254/".to_owned(),
        "https://example.com.evil.test/".to_owned(),
    ] {
        let image = format!(r#"{{"model":"claude-3-haiku","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#);
        let answer = gateway.post("/v1/chat/completions", "", &image);
        assert_eq!(answer.status, 400, "{url}: {}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!((&error["type"], &error["param"]), (&"invalid_request_error".into(), &"messages[0].content[0].image_url.url".into()), "{url}");
        let text = answer.text();
        for telling in ["secret", "403", "302", "169.254", "127.0.0.1", "refused", "ec2"] {
            assert!(!text.contains(telling), "{url}: {text}");
        }
    }
    let answer = gateway.post("/v1/messages", "", r#"{"model":"claude-3-haiku","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://10.0.0.1/"}}]}]}"#);
    assert_eq!((answer.status, answer.json()["type"].as_str()), (400, Some("error")), "{}", answer.text());
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("does not fetch files from this host"), "{}", answer.text());
    assert_eq!(asked.join().unwrap().len(), 4);
    assert!(upstream.is_unused());
}

#[test]
fn remote_files_are_off_unless_the_operator_says_so_and_pass_where_the_provider_fetches() {
    let upstream = Upstream::new();
    let gateway = gateway(upstream.address, "");
    let image = |model: &str| {
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"http://10.0.0.1/a.png"}}}}]}}]}}"#)
    };
    for (path, body) in [
        ("/v1/chat/completions", image("claude-3-haiku")),
        ("/v1/messages", r#"{"model":"claude-3-haiku","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://10.0.0.1/"}}]}]}"#.to_owned()),
    ] {
        let answer = gateway.post(path, "", &body);
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("remote files are off"), "{}", answer.text());
    }
    let mut client = gateway.connect();
    client.post(image("gpt").as_bytes());
    let (mut far, request) = upstream.exchange();
    assert_eq!(request.json()["messages"][0]["content"][0]["image_url"]["url"], "http://10.0.0.1/a.png");
    far.reply("200 OK", "", r#"{"choices":[]}"#);
    assert_eq!(client.answer().status, 200);
}
