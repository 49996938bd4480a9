use std::thread;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
/// So short that a test can wait for its end, and that nothing may be said of what is found before.
const SHORT: Duration = Duration::from_millis(20);
/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

fn marked(hash: u64) -> CachedPrefix {
    CachedPrefix { hash, ttl: Some(HOUR) }
}

fn short(hash: u64) -> CachedPrefix {
    CachedPrefix { hash, ttl: Some(SHORT) }
}

fn looked_back_on(hash: u64) -> CachedPrefix {
    CachedPrefix { hash, ttl: None }
}

fn east() -> TargetKey {
    TargetKey::of("bedrock", "m")
}

fn west() -> TargetKey {
    TargetKey::of("bedrock-west", "m")
}

/// Looks a prefix up until it is gone.
fn until_gone(pins: &Pins, prefix: CachedPrefix) {
    let start = Instant::now();
    while pins.find("m", &[prefix]).is_some() {
        assert!(start.elapsed() < PATIENCE, "the pin outlived its time");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn targets_are_told_apart_by_both_names() {
    assert_eq!(TargetKey::of("bedrock", "m"), east());
    for other in [west(), TargetKey::of("bedrock", "n"), TargetKey::of("m", "bedrock"), TargetKey::of("bedroc", "km"), TargetKey::of("", "bedrockm")] {
        assert_ne!(other, east());
    }
}

#[test]
fn the_longest_prefix_that_is_known_decides() {
    let pins = Pins::default();
    pins.pin("m", &[marked(1)], east());
    pins.pin("m", &[marked(2)], west());
    for (prefixes, expected) in [
        (&[marked(1)][..], Some(east())),
        (&[marked(1), marked(2)], Some(west())),
        (&[marked(2), marked(1)], Some(east())),
        (&[marked(1), looked_back_on(2), marked(3)], Some(west())),
        (&[looked_back_on(1), looked_back_on(4), marked(3)], Some(east())),
        (&[marked(3)], None),
        (&[], None),
    ] {
        assert_eq!(pins.find("m", prefixes), expected, "{prefixes:?}");
    }
}

#[test]
fn only_what_is_marked_is_pinned() {
    let pins = Pins::default();
    pins.pin("m", &[marked(1), looked_back_on(2), marked(3)], east());
    pins.pin("m", &[], west());
    for (hash, expected) in [(1, Some(east())), (2, None), (3, Some(east()))] {
        assert_eq!(pins.find("m", &[marked(hash)]), expected, "{hash}");
    }
}

#[test]
fn another_model_has_pins_of_its_own() {
    let pins = Pins::default();
    pins.pin("m", &[marked(1)], east());
    assert_eq!(pins.find("n", &[marked(1)]), None);
    pins.pin("n", &[marked(1)], west());
    assert_eq!((pins.find("m", &[marked(1)]), pins.find("n", &[marked(1)])), (Some(east()), Some(west())));
}

#[test]
fn a_prompt_that_went_elsewhere_is_pinned_there() {
    let pins = Pins::default();
    pins.pin("m", &[marked(1), marked(2)], east());
    pins.pin("m", &[marked(1), marked(3)], west());
    for (hash, expected) in [(1, west()), (2, east()), (3, west())] {
        assert_eq!(pins.find("m", &[marked(hash)]), Some(expected), "{hash}");
    }
}

#[test]
fn a_pin_ends_with_its_time_however_often_it_is_looked_up() {
    let pins = Pins::default();
    pins.pin("m", &[marked(1), short(2)], east());
    until_gone(&pins, marked(2));
    assert_eq!(pins.find("m", &[marked(1), marked(2)]), Some(east()), "each prefix has a time of its own");
}

#[test]
fn the_latest_writing_says_how_long() {
    let pins = Pins::default();
    pins.pin("m", &[short(1), marked(2)], east());
    pins.pin("m", &[marked(1), short(2)], east());
    // The witness is written last, with the time that the first had.
    pins.pin("m", &[short(3)], east());
    until_gone(&pins, marked(3));
    assert_eq!(pins.find("m", &[marked(1)]), Some(east()), "renewed");
    until_gone(&pins, marked(2));
}

#[test]
fn there_are_never_too_many() {
    let pins = Pins::with_capacity(50);
    for hash in 0..1000 {
        pins.pin("m", &[marked(hash)], east());
    }
    pins.pins.run_pending_tasks();
    assert_eq!(pins.pins.entry_count(), 50);
    assert_eq!(pins.find("m", &[marked(0)]), None);
    assert_eq!(pins.find("m", &[marked(999)]), Some(east()), "what is new is not turned away");
}

#[test]
fn many_threads_pin_and_find() {
    let pins = Pins::default();
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pins = &pins;
            scope.spawn(move || {
                for hash in (0..500).map(|at| at * 4 + thread) {
                    pins.pin("m", &[marked(hash)], east());
                    assert_eq!(pins.find("m", &[marked(hash)]), Some(east()));
                }
            });
        }
    });
}
