use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::snapshot::RemoteHost;

/// Answers look-ups one after the other; the last one again and again.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Lookup for Script {
    fn lookup(&self, _: String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move { Ok(answer.unwrap_or_default()) })
    }
}

fn script(answers: &[&[&str]]) -> Arc<Script> {
    let addresses = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
    Arc::new(Script { answers: Mutex::new(answers.iter().map(addresses).collect()), asked: AtomicUsize::new(0) })
}

fn rules(allow: &[&str]) -> RemoteFiles {
    RemoteFiles { allow: allow.iter().map(|host| RemoteHost::parse(host).unwrap()).collect(), max_bytes: 1000, timeout: Duration::from_secs(20) }
}

/// The rule of these tests: 127.0.0.1, where their servers are, stands for the public internet.
fn only_one(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// A server that gives these answers, each on a connection of its own, and tells what it was asked.
async fn server(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            asked.push(String::from_utf8(request).unwrap());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        asked
    };
    (port, tokio::spawn(serve))
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

#[test]
fn only_the_public_internet_is_public() {
    for inside in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
    ] {
        assert!(!is_public(inside.parse().unwrap()), "{inside}");
    }
    for public in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.1.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.1.1",
        "198.17.1.1",
        "198.20.1.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
        "2002:101:101::1",
        "2001:200::1",
    ] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
}

#[tokio::test]
async fn trap_40_no_url_leads_inside() {
    let remote = |answers: &[&[&str]]| Remote::with(script(answers), is_public);
    let list = rules(&["files.example.com", "*.cdn.example.com", "xn--bcher-kva.example"]);
    let try_it = async |url: &str, answers: &[&[&str]]| remote(answers).fetch(url, &list, |_| Ok(())).await.unwrap_err();
    // Numbers in every spelling, and other hosts: not on the list.
    for url in [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fd00:ec2::254]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://0/",
        "http://localhost/",
        "http://metadata.google.internal/",
        "http://files.example.com.evil.test/",
        "http://evil.test/files.example.com",
        "http://evil.test#files.example.com",
        "http://evil.test\\@files.example.com/",
        "http://files.example.com./",
        "http://files.example.com:8080/",
        "http://cdn.example.com/",
        "http://１２７.０.０.１/",
        "http://1.1.1.1/",
    ] {
        assert_eq!(try_it(url, &[&["1.1.1.1"]]).await, Trouble::Host, "{url}");
    }
    for url in [
        "file:///etc/passwd",
        "gopher://files.example.com/",
        "data:text/plain,x",
        "ftp://files.example.com/x",
        "http://files.example.com@evil.test/",
        "http://u:p@files.example.com/",
        "//x",
        "",
        "http://",
        "http:///",
        "https://[::1",
        "http://files.example.com:99999/",
        "http://fi les.example.com/",
    ] {
        // `http:///host` is read as `http://host`, as browsers do.
        assert!(matches!(try_it(url, &[&["1.1.1.1"]]).await, Trouble::Url), "{url}");
    }
    // Names on the list that lead inside, in whole or in part, in any spelling of the name.
    for inside in ["127.0.0.1", "10.1.2.3", "169.254.169.254", "fd00:ec2::254", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "0.0.0.0", "fe80::1"] {
        for answer in [&[inside] as &[&str], &["1.1.1.1", inside], &[inside, "2606:4700::1111"]] {
            for url in ["http://files.example.com/a.png", "https://FILES.Example.COM/a", "https://a.b.cdn.example.com/", "http://bücher.example/"] {
                assert_eq!(try_it(url, &[answer]).await, Trouble::Address, "{url} {answer:?}");
            }
        }
    }
    assert_eq!(remote(&[&[]]).fetch("http://files.example.com/", &list, |_| Ok(())).await.unwrap_err(), Trouble::Address);
    assert_eq!(remote(&[&["1.1.1.1"]]).fetch("http://files.example.com/", &rules(&[]), |_| Ok(())).await.unwrap_err(), Trouble::Host);
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_checked() {
    let (port, asked) = server(vec![ok("", "first")]).await;
    // The second answer would lead inside.
    let names = script(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let remote = Remote::with(Arc::clone(&names) as Arc<dyn Lookup>, only_one);
    let list = rules(&[&format!("files.example.com:{port}")]);
    let url = format!("http://files.example.com:{port}/a.png?x=1");
    let fetched = remote.fetch(&url, &list, |_| Ok(())).await.unwrap();
    assert_eq!((fetched.bytes.as_slice(), fetched.media_type.as_deref()), (b"first".as_slice(), Some("image/png")));
    assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    let asked = asked.await.unwrap();
    let request = asked[0].to_ascii_lowercase();
    assert!(request.starts_with("get /a.png?x=1 http/1.1\r\n") && request.contains(&format!("host: files.example.com:{port}\r\n")), "{request}");
    assert!(request.contains("accept-encoding: identity\r\n") && request.contains("user-agent: adit/"), "{request}");
    assert!(!request.contains("cookie") && !request.contains("authorization"), "{request}");
    // Each fetch asks anew, and is checked anew.
    assert_eq!(remote.fetch(&url, &list, |_| Ok(())).await.unwrap_err(), Trouble::Address);
    assert_eq!(names.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn redirects_stay_within_their_host() {
    let to = |place: &str| format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n");
    let (port, asked) = server(vec![to("/b.png"), ok("", "b")]).await;
    let list = rules(&[&format!("files.example.com:{port}"), "other.example.com"]);
    let remote = Remote::with(script(&[&["127.0.0.1"]]), only_one);
    let fetched = remote.fetch(&format!("http://files.example.com:{port}/a.png"), &list, |_| Ok(())).await.unwrap();
    assert_eq!(fetched.bytes, b"b");
    assert!(asked.await.unwrap()[1].starts_with("GET /b.png "));
    for place in [
        "http://169.254.169.254/latest",
        "http://other.example.com/",
        "http://127.0.0.1/",
        "file:///etc/passwd",
        "//evil.test/x",
        "http://u@files.example.com/",
        "http://[bad",
    ] {
        let (port, asked) = server(vec![to(place)]).await;
        let list = rules(&[&format!("files.example.com:{port}"), "other.example.com"]);
        let trouble = remote.fetch(&format!("http://files.example.com:{port}/"), &list, |_| Ok(())).await.unwrap_err();
        assert_eq!(trouble, Trouble::Redirect, "{place}");
        assert_eq!(asked.await.unwrap().len(), 1);
    }
    // The second look-up, for the second door, leads inside.
    let (port, _asked) = server(vec![to("/again")]).await;
    let remote = Remote::with(script(&[&["127.0.0.1"], &["10.0.0.1"]]), only_one);
    let list = rules(&[&format!("files.example.com:{port}")]);
    assert_eq!(remote.fetch(&format!("http://files.example.com:{port}/"), &list, |_| Ok(())).await.unwrap_err(), Trouble::Address);
    // Round and round.
    let (port, asked) = server(vec![to("/"), to("/"), to("/"), to("/")]).await;
    let remote = Remote::with(script(&[&["127.0.0.1"]]), only_one);
    let list = rules(&[&format!("files.example.com:{port}")]);
    assert_eq!(remote.fetch(&format!("http://files.example.com:{port}/"), &list, |_| Ok(())).await.unwrap_err(), Trouble::Redirect);
    assert_eq!(asked.await.unwrap().len(), 4);
}

#[tokio::test]
async fn size_time_and_form_are_bounded() {
    let long = "x".repeat(1001);
    let chunked = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    for (answer, wanted) in [
        (ok("", &long), Trouble::TooLarge(1000)),
        (chunked, Trouble::TooLarge(1000)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_owned(), Trouble::TooLarge(1000)),
        (ok("content-encoding: gzip\r\n", "x"), Trouble::Failed),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\n\r\nsecret".to_owned(), Trouble::Failed),
        ("HTTP/1.1 206 Partial Content\r\ncontent-length: 1\r\n\r\nx".to_owned(), Trouble::Failed),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort".to_owned(), Trouble::Failed),
        ("nonsense\r\n\r\n".to_owned(), Trouble::Failed),
    ] {
        let (port, _asked) = server(vec![answer.clone()]).await;
        let address = format!("127.0.0.1:{port}");
        let trouble = Remote::default().fetch(&format!("http://{address}/"), &rules(&[&address]), |_| Ok(())).await.unwrap_err();
        assert_eq!(trouble, wanted, "{}", answer.get(..60).unwrap_or(&answer));
    }
    let (port, _asked) = server(vec![ok("", "room")]).await;
    let address = format!("127.0.0.1:{port}");
    let trouble = Remote::default().fetch(&format!("http://{address}/"), &rules(&[&address]), |_| Err(Trouble::Full(Full::Bytes))).await.unwrap_err();
    assert_eq!(trouble, Trouble::Full(Full::Bytes));
    // Nobody answers here, ever.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let hasty = RemoteFiles { timeout: Duration::from_millis(50), ..rules(&[&address]) };
    assert_eq!(Remote::default().fetch(&format!("http://{address}/"), &hasty, |_| Ok(())).await.unwrap_err(), Trouble::TimedOut);
}
