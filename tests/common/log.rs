//! What the daemon writes to its standard error.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use super::PATIENCE;

/// The lines so far, and a way to wait for more.
#[derive(Default)]
pub(crate) struct Log {
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
    readers: Vec<JoinHandle<()>>,
}

impl Log {
    /// Reads to the end of it, in the background; it is shown with the test's own output all the same.
    pub(crate) fn of(stderr: impl Read + Send + 'static) -> Log {
        let mut log = Log::default();
        log.and(stderr);
        log
    }

    /// Reads something else, too.
    pub(crate) fn and(&mut self, out: impl Read + Send + 'static) {
        let filled = Arc::clone(&self.lines);
        self.readers.push(std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                eprintln!("{line}");
                let (lines, more) = &*filled;
                lines.lock().unwrap().push(line);
                more.notify_all();
            }
        }));
    }

    /// Everything, of a daemon that has ended.
    pub(crate) fn end(&mut self) -> String {
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        self.text()
    }

    /// How many lines hold a text.
    pub(crate) fn count(&self, text: &str) -> usize {
        count(&self.lines.0.lock().unwrap(), text)
    }

    /// Waits until so many lines hold a text.
    pub(crate) fn wait(&self, text: &str, times: usize) {
        let (lines, more) = &*self.lines;
        let (lines, waited) = more.wait_timeout_while(lines.lock().unwrap(), PATIENCE, |lines| count(lines, text) < times).unwrap();
        assert!(!waited.timed_out(), "not {times} times {text:?} in\n{}", lines.join("\n"));
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.lines.0.lock().unwrap().join("\n")
    }
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}
