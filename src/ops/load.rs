//! How much is in the house: requests in flight and bytes in memory, bounded. Who comes when it is full is turned away at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::snapshot::Overload;

/// What there is too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `overload.max_requests`
    Requests,
    /// `overload.max_buffered_bytes`
    Bytes,
}

impl Full {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Full::Requests => "requests",
            Full::Bytes => "buffered_bytes",
        }
    }
}

/// The counts of the process.
#[derive(Debug, Default)]
pub struct Load {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Load {
    /// Lets a request in.
    ///
    /// # Errors
    /// [`Full::Requests`]
    pub fn enter(self: &Arc<Self>, bounds: &Overload) -> Result<Place, Full> {
        let place = Place { held: self.held() };
        // The place gives its count back when it goes, also here.
        if self.requests.fetch_add(1, Ordering::Relaxed) >= bounds.max_requests { Err(Full::Requests) } else { Ok(place) }
    }

    /// For bytes of a request that is in already.
    pub fn held(self: &Arc<Self>) -> Held {
        Held { load: Arc::clone(self), bytes: 0 }
    }

    /// Requests in flight.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of bodies in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Bytes in memory; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    load: Arc<Load>,
    bytes: u64,
}

impl Held {
    /// Holds more bytes.
    ///
    /// # Errors
    /// [`Full::Bytes`]: they are not held.
    pub fn hold(&mut self, bytes: usize, bounds: &Overload) -> Result<(), Full> {
        let bytes = bytes as u64;
        if self.load.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > bounds.max_buffered_bytes {
            self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full::Bytes);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Says how many bytes are held from now on, more or less than before. Never refused: they are there.
    pub fn keep(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.load.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request in flight and the bytes it holds; leaves when it is dropped.
#[derive(Debug)]
pub struct Place {
    held: Held,
}

impl Place {
    /// Holds more bytes.
    ///
    /// # Errors
    /// [`Full::Bytes`]: they are not held.
    pub fn hold(&mut self, bytes: usize, bounds: &Overload) -> Result<(), Full> {
        self.held.hold(bytes, bounds)
    }

    /// Says how many bytes are held from now on, more or less than before. Never refused: they are there.
    pub fn keep(&mut self, bytes: usize) {
        self.held.keep(bytes);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held.load.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_goes_out_again_and_no_more_than_fits() {
        let load = Arc::new(Load::default());
        let bounds = Overload { max_requests: 2, max_buffered_bytes: 100 };
        let mut first = load.enter(&bounds).unwrap();
        let mut second = load.enter(&bounds).unwrap();
        assert_eq!(load.enter(&bounds).unwrap_err(), Full::Requests);
        assert_eq!(load.requests(), 2, "who was turned away is not counted");
        first.hold(60, &bounds).unwrap();
        assert_eq!(second.hold(41, &bounds), Err(Full::Bytes));
        second.hold(40, &bounds).unwrap();
        first.keep(10);
        assert_eq!(load.bytes(), 50);
        drop((first, second));
        assert_eq!((load.requests(), load.bytes()), (0, 0));
    }
}
