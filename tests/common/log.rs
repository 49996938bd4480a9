//! What the daemon writes to its standard error.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;

/// The lines so far, and a way to wait for more.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    /// Reads to the end of it, in the background; it is shown with the test's own output all the same.
    pub(crate) fn of(stderr: impl Read + Send + 'static) -> Log {
        let log = Log::default();
        let filled = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{line}");
                let (lines, more) = &*filled.0;
                lines.lock().unwrap().push(line);
                more.notify_all();
            }
        });
        log
    }

    /// How many lines hold a text.
    pub(crate) fn count(&self, text: &str) -> usize {
        count(&self.0.0.lock().unwrap(), text)
    }

    /// Waits until so many lines hold a text.
    pub(crate) fn wait(&self, text: &str, times: usize) {
        let (lines, more) = &*self.0;
        let (lines, waited) = more.wait_timeout_while(lines.lock().unwrap(), PATIENCE, |lines| count(lines, text) < times).unwrap();
        assert!(!waited.timed_out(), "not {times} times {text:?} in\n{}", lines.join("\n"));
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.0.0.lock().unwrap().join("\n")
    }
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}
