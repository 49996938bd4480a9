//! The command line of the real binary: what it takes from its environment, and what it writes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

fn adit() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true").stdin(Stdio::null());
    command
}

#[test]
fn an_empty_variable_is_no_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = adit().arg("-t").env("ADIT_CONFIG", "").env("ADIT_LISTEN", "").current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let output = adit().arg("-t").env("ADIT_CONFIG", "nowhere.yaml").current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere.yaml: expected a readable file"));
}

#[test]
fn json_access_lines_are_json_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = folder.path().join("adit.yaml");
    std::fs::write(&file, "access_log: { format: json }\nmodels: models.yaml\npingora: { threads: 1 }\n").unwrap();
    std::fs::write(folder.path().join("models.yaml"), "providers: { bedrock: { type: bedrock } }\nmodels: { m: { bedrock: amazon.nova-lite-v1:0 } }\n")
        .unwrap();
    let mut child = adit().arg("-c").arg(&file).env("ADIT_LISTEN", address.to_string()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.contains("listening on")));
    // The line comes a moment before the socket.
    let mut stream = loop {
        if let Ok(stream) = TcpStream::connect(address) {
            break stream;
        }
        assert!(child.try_wait().unwrap().is_none(), "the daemon ended");
    };
    stream.write_all(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nx-request-id: id-1\r\nconnection: close\r\n\r\n").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let line = lines.find(|line| line.contains("id-1")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((json["status"].as_u64(), json["request_id"].as_str()), (Some(404), Some("id-1")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_daemon_that_cannot_write_its_pid_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let config = folder.path().join("adit.yaml");
    std::fs::write(&config, format!("pingora: {{ pid_file: {}/file/pid }}\nmodels: models.yaml\n", folder.path().display())).unwrap();
    std::fs::write(folder.path().join("models.yaml"), "providers: { bedrock: { type: bedrock } }\nmodels: { m: { bedrock: amazon.nova-lite-v1:0 } }\n")
        .unwrap();
    let output = adit().arg("-d").arg("-c").arg(&config).env("ADIT_LISTEN", "127.0.0.1:0").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("pingora.pid_file: cannot write"));
}

#[test]
fn models_tells_what_is_believed_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("adit.yaml", "models: models.yaml\n");
    write(
        "models.yaml",
        "providers: { bedrock: { type: bedrock } }\nmodels:\n  own: { bedrock: \"anthropic.claude-3-haiku-20240307-v1:0\", capabilities: { cache: 1h, images: false } }\n",
    );
    let run = |arguments: &[&str]| {
        let output = adit().arg("models").arg("-c").arg(folder.path().join("adit.yaml")).args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let all = run(&[]);
    assert!(all.starts_with("own → bedrock: anthropic.claude-3-haiku-20240307-v1:0\n  row: "), "{all}");
    assert!(all.contains("\n  cache: 1h   # models.yaml; the table says none\n"), "{all}");
    assert!(all.contains("\n  images: false   # models.yaml; the table says true\n"), "{all}");
    assert!(all.contains("\n  tools: true\n"), "{all}");
    let one = run(&["us.amazon.nova-pro-v1:0"]);
    assert!(one.starts_with("us.amazon.nova-pro-v1:0\n  row: amazon.nova\n"), "{one}");
}

#[test]
fn health_asks_the_gateway_of_this_machine() {
    let upstream = common::Upstream::new();
    let gateway = common::Gateway::start(upstream.address, "");
    let health = |arguments: &[&str]| {
        let output = adit().arg("health").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let url = format!("http://{}", gateway.address);
    let config = gateway.folder().join("adit.yaml");
    for arguments in [vec!["--url", url.as_str()], vec!["--config", config.to_str().unwrap()]] {
        let (code, text) = health(&arguments);
        assert_eq!((code, text.as_str()), (Some(0), "healthy\n"));
    }
    let (code, text) = health(&["--url", &format!("{url}/v1/nowhere")]);
    assert!(code == Some(1) && text.contains("answers 404"), "{text}");
    for wrong in ["https://127.0.0.1", "nonsense"] {
        assert_eq!(health(&["--url", wrong]).0, Some(2), "{wrong}");
    }
    drop(gateway);
    assert_eq!(health(&["--url", &url]).0, Some(1), "nobody is there");
}
