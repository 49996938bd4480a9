//! Reloads of the real daemon: on SIGHUP, and on every way in which a file can change; whole or not at all, and under load without a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::log::Log;
use common::{Came, Client, Gateway, PATIENCE, Upstream, models};

const CHAT: &str = r#"{"model":"claude-3-haiku","messages":[{"role":"user","content":"Hi"}]}"#;
const STREAM: &str = r#"{"model":"claude-3-haiku","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
/// What a good reload logs.
const RELOADED: &str = "the configuration was reloaded";
/// What a bad one logs.
const REFUSED: &str = "the new configuration is refused";

/// The map of [`models`] with another name for its model.
fn named(model: &str, upstream: SocketAddr) -> String {
    models(upstream).replace("claude-3-haiku:", &format!("{model}:"))
}

/// The names of the models that can be asked for.
fn visible(gateway: &Gateway) -> Vec<String> {
    let list = gateway.get("/v1/models").json();
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits for so many good reloads since the start, and checks that metrics and `/ready` agree.
fn wait_applied(gateway: &Gateway, times: usize) {
    gateway.log.wait(RELOADED, times);
    gateway.wait_metrics(&[format!(r#"adit_config_reloads_total{{result="applied"}} {times}"#), "adit_config_last_reload_successful 1".to_owned()]);
    let config = &gateway.get("/ready").json()["config"];
    assert_eq!(config["state"], "current");
    assert_eq!(config.get("mistakes"), None);
}

fn wait_refused(gateway: &Gateway, times: usize, mistakes: usize) {
    gateway.log.wait(REFUSED, times);
    gateway.wait_metrics(&[format!(r#"adit_config_reloads_total{{result="refused"}} {times}"#), "adit_config_last_reload_successful 0".to_owned()]);
    let ready = gateway.get("/ready");
    assert_eq!(ready.status, 200, "what was in force serves on");
    let config = &ready.json()["config"];
    assert_eq!((config["state"].as_str(), config["mistakes"].as_u64()), (Some("refused"), Some(mistakes as u64)));
    for time in ["loaded", "refused"] {
        assert!(config[time].as_str().unwrap().ends_with('Z'), "{config}");
    }
}

/// The daemon's own file with something replaced.
fn edited(gateway: &Gateway, from: &str, to: &str) -> String {
    let text = fs::read_to_string(gateway.folder().join("adit.yaml")).unwrap();
    assert!(text.contains(from), "{from} is not in\n{text}");
    text.replace(from, to)
}

#[test]
fn every_way_to_change_a_file_takes_effect_without_a_signal() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    assert_eq!(visible(&gateway), ["claude-3-haiku"]);
    // As editors do it.
    gateway.rewrite("models.yaml", &named("renamed-over", upstream.address));
    wait_applied(&gateway, 1);
    assert_eq!(visible(&gateway), ["renamed-over"]);
    // As `echo >` does it.
    fs::write(gateway.folder().join("models.yaml"), named("written-in-place", upstream.address)).unwrap();
    wait_applied(&gateway, 2);
    assert_eq!(visible(&gateway), ["written-in-place"]);
    // As others do it: nothing is there for a moment.
    fs::remove_file(gateway.folder().join("models.yaml")).unwrap();
    fs::write(gateway.folder().join("models.yaml"), named("made-anew", upstream.address)).unwrap();
    wait_applied(&gateway, 3);
    assert_eq!(visible(&gateway), ["made-anew"]);
    // A folder in the place of a folder.
    let [old, new] = ["conf", "conf.new"].map(|name| gateway.folder().join(name));
    fs::create_dir(&old).unwrap();
    fs::create_dir(&new).unwrap();
    fs::write(old.join("models.yaml"), named("in-a-folder", upstream.address)).unwrap();
    fs::write(new.join("models.yaml"), named("in-another-folder", upstream.address)).unwrap();
    gateway.rewrite("adit.yaml", &edited(&gateway, "models.yaml", "conf/models.yaml"));
    wait_applied(&gateway, 4);
    assert_eq!(visible(&gateway), ["in-a-folder"]);
    fs::rename(&old, gateway.folder().join("conf.old")).unwrap();
    fs::rename(&new, &old).unwrap();
    wait_applied(&gateway, 5);
    assert_eq!(visible(&gateway), ["in-another-folder"]);
}

#[test]
fn a_config_map_that_kubelet_swaps_takes_effect() {
    /// What kubelet does for a new content; the folder before is gone at the end of it.
    fn put(mounted: &Path, version: &str, models: &str) {
        let before = fs::read_link(mounted.join("..data")).ok();
        fs::create_dir(mounted.join(version)).unwrap();
        fs::write(mounted.join(version).join("models.yaml"), models).unwrap();
        symlink(version, mounted.join("..data_tmp")).unwrap();
        fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(mounted.join(before)).unwrap();
        }
    }
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mounted = gateway.folder().join("mounted");
    fs::create_dir(&mounted).unwrap();
    put(&mounted, "..2026_11_25_01", &named("first", upstream.address));
    symlink("..data/models.yaml", mounted.join("models.yaml")).unwrap();
    // The new map's folder is watched from now on.
    gateway.rewrite("adit.yaml", &edited(&gateway, "models: models.yaml", "models: mounted/models.yaml"));
    wait_applied(&gateway, 1);
    assert_eq!(visible(&gateway), ["first"]);
    for (number, name) in ["second", "third", "fourth"].into_iter().enumerate() {
        put(&mounted, &format!("..2026_11_25_1{number}"), &named(name, upstream.address));
        wait_applied(&gateway, number + 2);
        assert_eq!(visible(&gateway), [name]);
    }
    assert_eq!(gateway.log.count(REFUSED), 0, "no state between two was read");
}

#[test]
fn a_hangup_reloads_and_a_touch_does_not() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    gateway.signal("HUP");
    wait_applied(&gateway, 1);
    gateway.rewrite("models.yaml", &models(upstream.address));
    gateway.wait_metrics(&[r#"adit_config_reloads_total{result="unchanged"} 1"#.to_owned()]);
    gateway.signal("HUP");
    wait_applied(&gateway, 2);
    assert_eq!(gateway.log.count(RELOADED), 2);
}

#[test]
fn a_hangup_is_no_end_where_there_is_nothing_to_reload() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_adit"))
        .current_dir(&folder)
        .env_clear()
        .envs([("ADIT_LISTEN", "127.0.0.1:0"), ("AWS_EC2_METADATA_DISABLED", "true")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = Log::of(child.stderr.take().unwrap());
    log.wait("listening on", 1);
    // The line comes before the process listens to signals: `/proc` tells when it does.
    let hangup_is_caught = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & 1 == 1
    };
    while !hangup_is_caught() {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").arg("-HUP").arg(child.id().to_string()).status().unwrap().success());
    log.wait("there is nothing to reload", 1);
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_service_manager_hears_when_a_reload_begins_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut message = [0; 1024];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let upstream = Upstream::new();
    let gateway = Gateway::with_models(&models(upstream.address), "", &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    assert!(heard().contains("READY=1"));
    let reload = || {
        let begun = heard();
        assert!(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begun}");
        assert_eq!(heard(), "READY=1\n");
    };
    gateway.signal("HUP");
    reload();
    gateway.rewrite("models.yaml", &named("other", upstream.address));
    reload();
    // A refused one is over too: the process is ready.
    gateway.rewrite("models.yaml", "models: [");
    reload();
}

#[test]
fn a_bad_file_is_refused_with_every_mistake_and_mending_it_heals() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let still_serves = || {
        let mut client = gateway.connect();
        client.post(CHAT.as_bytes());
        let (mut far, _) = upstream.exchange();
        far.reply_text("Hello");
        assert_eq!(client.answer().status, 200);
    };
    let good_models = models(upstream.address);
    let good_adit = fs::read_to_string(gateway.folder().join("adit.yaml")).unwrap();
    let (mut refused, mut applied) = (0, 0);
    for (name, good, bad, mistakes) in [
        ("models.yaml", &good_models, good_models.replace("region:", "regoin:").replace("{ bedrock: '", "{ weight: heavy, nobody: '"), 3),
        ("models.yaml", &good_models, "providers: [".to_owned(), 1),
        ("adit.yaml", &good_adit, format!("{good_adit}\nlimits: {{ max_body_bytes: plenty }}\nnonsense: true\n"), 2),
        ("adit.yaml", &good_adit, good_adit.replace("models: models.yaml", "models: nowhere.yaml"), 1),
    ] {
        gateway.rewrite(name, &bad);
        refused += 1;
        wait_refused(&gateway, refused, mistakes);
        let checked = Command::new(env!("CARGO_BIN_EXE_adit")).arg("-t").arg("-c").arg(gateway.folder().join("adit.yaml")).env_clear().output().unwrap();
        assert_eq!(checked.status.code(), Some(2));
        let list = String::from_utf8(checked.stderr).unwrap();
        assert_eq!(list.lines().count(), mistakes, "{list}");
        for line in list.lines() {
            gateway.log.wait(line, 1);
        }
        still_serves();
        gateway.rewrite(name, good);
        applied += 1;
        wait_applied(&gateway, applied);
        still_serves();
    }
    // A map that is named before it is there, and appears later.
    gateway.rewrite("adit.yaml", &good_adit.replace("models: models.yaml", "models: later/map.yaml"));
    wait_refused(&gateway, refused + 1, 1);
    fs::create_dir(gateway.folder().join("later")).unwrap();
    fs::write(gateway.folder().join("later/map.yaml"), named("late", upstream.address)).unwrap();
    wait_applied(&gateway, applied + 1);
    assert_eq!(visible(&gateway), ["late"]);
}

#[test]
fn the_keys_of_the_process_file_are_reloaded_but_for_listeners_and_threads() {
    let upstream = Upstream::new();
    let extra = "limits: { max_body_bytes: 100000 }\naccess_log: { format: off }\ntimeouts: { first_byte: 60s }";
    let gateway = Gateway::with_models(&models(upstream.address), extra, &[("RUST_LOG", "warn,adit=debug,access=info")]);
    let long = CHAT.replace("Hi", &"x".repeat(1000));
    let mut client = gateway.connect();
    client.post(long.as_bytes());
    let (mut far, _) = upstream.exchange();
    far.reply_text("Hello");
    assert_eq!(client.answer().status, 200);

    let other = common::free_address();
    let changed = edited(&gateway, "max_body_bytes: 100000", "max_body_bytes: 500")
        .replace("format: off", "format: json")
        .replace("first_byte: 60s", "first_byte: 100ms")
        .replace(&gateway.address.to_string(), &other.to_string())
        .replace("threads: 2", "threads: 1");
    gateway.rewrite("adit.yaml", &changed);
    wait_applied(&gateway, 1);
    gateway.log.wait("only after a restart or an upgrade: listen.http, pingora.threads", 1);
    assert!(std::net::TcpStream::connect(other).is_err(), "the listeners stay");
    assert_eq!(gateway.chat(&long).status, 413);
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let (_silent, _, _) = upstream.next(far);
    assert_eq!(client.answer().status, 504);
    gateway.log.wait(r#""status":413"#, 1);

    gateway.rewrite("adit.yaml", &changed.replace("max_body_bytes: 500", "max_body_bytes: 100000"));
    wait_applied(&gateway, 2);
    assert_eq!(gateway.log.count("only after a restart"), 1, "said once");
}

#[test]
fn a_request_in_flight_keeps_its_configuration() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let mut whole = gateway.connect();
    whole.post(CHAT.as_bytes());
    let (mut far_whole, _) = upstream.exchange();
    let mut stream = gateway.connect();
    stream.post(STREAM.as_bytes());
    let (mut far_stream, _) = upstream.exchange();
    far_stream.begin_answer();
    far_stream.delta("before");
    stream.read_until(b"before");
    // Model, provider and credentials go.
    let elsewhere = Upstream::new();
    gateway
        .rewrite("models.yaml", &named("other", elsewhere.address).replace("bedrock:", "elsewhere:").replace("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7CHANGED"));
    wait_applied(&gateway, 1);
    far_whole.reply_text("Hello");
    let answer = whole.answer();
    assert_eq!((answer.status, answer.header("x-adit-provider"), answer.header("x-adit-model")), (200, Some("bedrock"), Some("claude-3-haiku")));
    far_stream.delta("after");
    far_stream.end_stream();
    let rest = stream.read_until(b"data: [DONE]\n\n");
    assert!(rest.ends_with(b"data: [DONE]\n\n") && String::from_utf8_lossy(&rest).contains("after"));
    // On the same connections, the next requests live by the new one.
    whole.post(CHAT.as_bytes());
    assert_eq!(whole.answer().status, 404);
    whole.post(CHAT.replace("claude-3-haiku", "other").as_bytes());
    let (mut far, request) = elsewhere.exchange();
    assert!(request.header("authorization").unwrap().contains("AKIAIOSFODNN7CHANGED"));
    far.reply_text("Hello");
    assert_eq!(whole.answer().status, 200);
}

#[test]
fn an_unchanged_provider_keeps_its_connections() {
    let upstream = Upstream::new();
    let gateway = Gateway::start(upstream.address, "");
    let two = format!("{}  second: {{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0' }}\n", models(upstream.address));
    gateway.rewrite("models.yaml", &two);
    wait_applied(&gateway, 1);
    let mut client = gateway.connect();
    client.post(CHAT.as_bytes());
    let (mut far, _) = upstream.exchange();
    far.reply_text("one");
    assert_eq!(client.answer().status, 200);
    gateway.rewrite("models.yaml", &named("second", upstream.address));
    wait_applied(&gateway, 2);
    client.post(CHAT.replace("claude-3-haiku", "second").as_bytes());
    let (mut far, _, came) = upstream.next(far);
    assert_eq!(came, Came::Again, "the pooled connection is used");
    far.reply_text("two");
    assert_eq!(client.answer().status, 200);
    client.post(CHAT.as_bytes());
    let gone = client.answer();
    assert_eq!(gone.status, 404);
    assert_eq!(gone.json()["error"]["code"], "model_not_found");
    assert!(upstream.is_unused());
}

/// The stand-in as a process of its own.
struct Sandbox {
    child: Child,
    address: SocketAddr,
}

impl Sandbox {
    fn start() -> Sandbox {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        let mut child = command.args(["sandbox", "--listen", "127.0.0.1:0"]).env_clear().stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("sandbox on http://").unwrap().parse().unwrap();
        Sandbox { child, address }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the clients of a load saw.
#[derive(Default)]
struct Seen {
    begun: AtomicUsize,
    whole: AtomicUsize,
    streams: AtomicUsize,
    of_left: AtomicUsize,
    of_right: AtomicUsize,
    failed: AtomicUsize,
}

impl Seen {
    /// One request on a connection that is kept; says what was wrong.
    fn ask(&self, client: &mut Client) -> Result<(), String> {
        let streamed = self.begun.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        client.post(if streamed { STREAM } else { CHAT }.as_bytes());
        let answer = client.answer();
        if answer.status != 200 || !answer.whole {
            return Err(format!("status {}, whole: {}, {}", answer.status, answer.whole, answer.text()));
        }
        let good = if streamed { answer.text().ends_with("data: [DONE]\n\n") } else { answer.json()["choices"][0]["message"]["content"].is_string() };
        if !good {
            return Err(answer.text().to_owned());
        }
        match answer.header("x-adit-provider") {
            Some("left") => &self.of_left,
            Some("right") => &self.of_right,
            other => return Err(format!("provider {other:?}")),
        }
        .fetch_add(1, Ordering::Relaxed);
        if streamed { &self.streams } else { &self.whole }.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn five_thousand_requests_and_fifty_reloads_fail_none() {
    const REQUESTS: usize = 5_000;
    const FLIPS: usize = 50;
    const CLIENTS: usize = 32;
    let (left, right) = (Sandbox::start(), Sandbox::start());
    let maps = [("left", left.address), ("right", right.address)].map(|(name, address)| models(address).replace("bedrock:", &format!("{name}:")));
    let gateway = Gateway::with_models(&maps[0], "", &[("RUST_LOG", "warn,adit=info")]);
    let (seen, flipping) = (Seen::default(), AtomicBool::new(true));
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while flipping.load(Ordering::Relaxed) || seen.begun.load(Ordering::Relaxed) < REQUESTS {
                    if let Err(trouble) = seen.ask(&mut client) {
                        eprintln!("failed: {trouble}");
                        seen.failed.fetch_add(1, Ordering::Relaxed);
                        client = gateway.connect();
                    }
                }
            });
        }
        for flip in 1..=FLIPS {
            gateway.rewrite("models.yaml", &maps[flip % 2]);
            gateway.log.wait(RELOADED, flip);
            gateway.wait_metrics(&[format!(r#"adit_config_reloads_total{{result="applied"}} {flip}"#)]);
            if flip == FLIPS / 2 {
                gateway.rewrite("models.yaml", "models: { broken");
                wait_refused(&gateway, 1, 1);
            }
        }
        flipping.store(false, Ordering::Relaxed);
    });
    let [begun_requests, whole, streams, of_left, of_right, failed] =
        [&seen.begun, &seen.whole, &seen.streams, &seen.of_left, &seen.of_right, &seen.failed].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{begun_requests} requests in {:.1?} over {CLIENTS} connections: {whole} whole, {streams} streams, {of_left} of left, {of_right} of right, {failed} failed; {FLIPS} reloads, 1 refused",
        begun.elapsed()
    );
    assert_eq!(failed, 0);
    assert!(whole + streams == begun_requests && begun_requests >= REQUESTS && streams.abs_diff(whole) <= 1);
    assert!(of_left > 0 && of_right > 0, "both maps were in force");
}
