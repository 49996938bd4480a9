//! `adit health`: one question to the gateway of this machine, for health checks in images that hold no other program.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{EXIT_USAGE, complain, say};
use crate::config;
use crate::provider::endpoint::Endpoint;

/// As long as anybody waits for it: less than the time-outs of health checks usually are.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than a status line and the answer to `/health` need.
const LONGEST_ANSWER: u64 = 16 * 1024;

/// Asks, and says what came.
pub(super) fn health(config: Option<&Path>, url: Option<&str>) -> ExitCode {
    let url = match url {
        Some(url) => url.to_owned(),
        None => match config::load_from_process(config) {
            Ok(snapshot) => match &snapshot.process.http {
                Some(listen) => format!("http://{}", reachable(listen)),
                None => return usage("listen.http: there is nothing to ask"),
            },
            Err(errors) => return usage(&errors.to_string()),
        },
    };
    let endpoint = match Endpoint::parse(&url) {
        Ok(endpoint) if !endpoint.tls => endpoint,
        Ok(_) => return usage("--url: expected http://, as the question is for this machine"),
        Err(error) => return usage(&format!("--url: {error}")),
    };
    match ask(&endpoint) {
        Ok(status) if status == "200" => {
            say("healthy");
            ExitCode::SUCCESS
        }
        Ok(status) => failed(&format!("{url} answers {status}")),
        Err(error) => failed(&format!("{url} cannot be asked: {error}")),
    }
}

fn usage(text: &str) -> ExitCode {
    complain(text);
    ExitCode::from(EXIT_USAGE)
}

fn failed(text: &str) -> ExitCode {
    complain(text);
    ExitCode::FAILURE
}

/// An address to connect to, for one to listen on: the unspecified one is this machine.
fn reachable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

/// The status that the gateway answers with.
fn ask(endpoint: &Endpoint) -> std::io::Result<String> {
    let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "no address");
    let address = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?.next().ok_or_else(missing)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let path = if endpoint.prefix.is_empty() { "/health" } else { &endpoint.prefix };
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", endpoint.authority())?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer)?;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.map(str::to_owned).ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "it speaks no HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::]:80", "[::1]:80"), ("127.0.0.1:1", "127.0.0.1:1"), ("localhost:9", "localhost:9")] {
            assert_eq!(reachable(listen), asked);
        }
    }
}
