//! When to try again: how long to wait, and how long whoever was asked wants to be left alone.

use std::time::{Duration, SystemTime};

use crate::config::snapshot::Retry;

/// The pause before a round of retries, counted from 0: any time up to a bound that doubles ("full jitter"), so that many who failed together do not come back
/// together. `random` is from 0 to 1.
///
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
#[must_use]
pub fn pause(rules: &Retry, round: u32, random: f64) -> Duration {
    let bound = rules.base.saturating_mul(1_u32.checked_shl(round).unwrap_or(u32::MAX)).min(rules.most);
    bound.mul_f64(random.clamp(0.0, 1.0))
}

/// The time that a `retry-after` header asks for: seconds, or a date (RFC 9110, section 10.2.3).
#[must_use]
pub fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    // OpenAI's and Google's servers write fractions too.
    if let Ok(seconds) = header.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(header).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_anything_below_it() {
        let rules = Retry { attempts: 9, base: Duration::from_millis(100), most: Duration::from_secs(1), budget: 0.2 };
        for (round, bound_ms) in [(0, 100), (1, 200), (2, 400), (3, 800), (4, 1000), (40, 1000)] {
            assert_eq!(pause(&rules, round, 1.0), Duration::from_millis(bound_ms));
            assert_eq!(pause(&rules, round, 0.5), Duration::from_millis(bound_ms / 2));
            assert_eq!(pause(&rules, round, 0.0), Duration::ZERO);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (header, expected) in [
            ("5", Some(Duration::from_secs(5))),
            (" 0.25 ", Some(Duration::from_millis(250))),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(Duration::from_secs(10))),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(Duration::ZERO)),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("1e300", None),
        ] {
            assert_eq!(retry_after(header, now), expected, "{header}");
        }
    }
}
