//! A Redis server of a test's own, which can be killed, held up and started again.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{PATIENCE, free_address};

/// Obviously no secret of anybody's.
pub(crate) const PASSWORD: &str = "hush-redis-password";

/// The server; ends with the test. What it knows outlives a kill.
pub(crate) struct Redis {
    child: Option<Child>,
    address: SocketAddr,
    files: tempfile::TempDir,
}

impl Redis {
    pub(crate) fn start() -> Redis {
        let mut redis = Redis { child: None, address: free_address(), files: tempfile::tempdir().unwrap() };
        for _ in 0..20 {
            if redis.try_run() {
                return redis;
            }
            // Somebody else has taken the port by now.
            redis.address = free_address();
        }
        panic!("redis-server did not start");
    }

    /// Whether it runs and answers.
    fn try_run(&mut self) -> bool {
        let port = self.address.port().to_string();
        // Each write is on the disk before it is answered: nothing that a node was told is forgotten.
        let options = ["--port", &port, "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--appendonly", "yes", "--appendfsync", "always", "--save", ""];
        let started = ["redis-server", "valkey-server"].into_iter().find_map(|program| {
            Command::new(program).args(options).current_dir(self.files.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
        });
        self.child = Some(started.expect("redis-server is missing: tests/setup.sh installs it"));
        let begun = Instant::now();
        while self.child.as_mut().unwrap().try_wait().unwrap().is_none() {
            if let Ok(mut connection) = self.client().get_connection()
                && redis::cmd("PING").query::<()>(&mut connection).is_ok()
            {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "redis-server does not answer");
            std::thread::yield_now();
        }
        false
    }

    /// Where it is, with its password.
    pub(crate) fn url(&self) -> String {
        format!("redis://:{PASSWORD}@{}", self.address)
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    /// A connection beside the nodes'.
    pub(crate) fn connect(&self) -> redis::Connection {
        self.client().get_connection().unwrap()
    }

    /// One command.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        redis::cmd(command[0]).arg(&command[1..]).query(&mut self.connect()).unwrap()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again where it was, with what it knew.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let begun = Instant::now();
        while !self.try_run() {
            assert!(begun.elapsed() < PATIENCE, "the port of redis-server is taken");
        }
    }

    /// Stops it where it stands, or lets it go on: its connections stay, and nothing answers on them.
    pub(crate) fn hold(&self, hold: bool) {
        let child = self.child.as_ref().unwrap();
        let signal = if hold { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
