//! Random numbers of the operating system, for secrets. Where nothing depends on it, `fastrand` does.

/// Random bytes.
///
/// # Panics
/// Where the system has none: nothing could be kept secret there, and neither TLS nor a hash map works.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
}
