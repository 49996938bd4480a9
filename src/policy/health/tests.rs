use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn rules() -> Cooldown {
    Cooldown { failures: 5, within: MS(10_000), rate: 0.5, rest: MS(5_000), most: MS(12_000) }
}

/// A target and a clock.
struct Case {
    health: Health,
    now: Instant,
}

impl Case {
    fn new() -> Self {
        Case { health: Health::default(), now: Instant::now() }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn attempt(&self, verdict: Verdict) {
        let role = self.health.begin(self.now);
        self.health.end(self.now, &rules(), role, verdict);
    }

    fn fitness(&self) -> Fitness {
        self.health.fitness(self.now)
    }
}

#[test]
fn a_target_rests_after_enough_failures_in_the_window() {
    let mut case = Case::new();
    for _ in 0..4 {
        case.attempt(Verdict::Failed(None));
    }
    assert_eq!(case.fitness(), Fitness::Serving);
    case.pass(MS(9_000));
    case.attempt(Verdict::Failed(None));
    assert_eq!(case.fitness(), Fitness::Resting(MS(5_000)));
}

#[test]
fn failures_that_are_old_do_not_count() {
    let mut case = Case::new();
    for _ in 0..20 {
        case.attempt(Verdict::Failed(None));
        case.pass(MS(2_600));
        assert_eq!(case.fitness(), Fitness::Serving, "never five in ten seconds");
    }
}

#[test]
fn few_failures_among_many_answers_do_not_count() {
    let mut case = Case::new();
    for _ in 0..100 {
        case.attempt(Verdict::Answered);
        case.attempt(Verdict::Answered);
        case.attempt(Verdict::Failed(None));
        case.pass(MS(20));
    }
    assert_eq!(case.fitness(), Fitness::Serving);
}

#[test]
fn one_request_probes_and_the_rest_doubles_up_to_its_bound() {
    let mut case = Case::new();
    for _ in 0..5 {
        case.attempt(Verdict::Failed(None));
    }
    for rest in [5_000, 10_000, 12_000, 12_000] {
        assert_eq!(case.fitness(), Fitness::Resting(MS(rest)));
        case.pass(MS(rest - 1));
        assert!(!case.fitness().takes_requests());
        case.pass(MS(1));
        assert_eq!(case.fitness(), Fitness::Due);
        assert_eq!(case.health.begin(case.now), Role::Probe);
        assert_eq!(case.health.begin(case.now), Role::Forced, "one is enough");
        assert_eq!(case.fitness(), Fitness::Probing);
        case.health.end(case.now, &rules(), Role::Forced, Verdict::Failed(None));
        assert_eq!(case.fitness(), Fitness::Probing, "only the probe decides");
        case.health.end(case.now, &rules(), Role::Probe, Verdict::Failed(None));
    }
}

#[test]
fn an_answered_probe_brings_it_back_and_a_quiet_window_forgives() {
    let mut case = Case::new();
    let fall = |case: &Case| (0..5).for_each(|_| case.attempt(Verdict::Failed(None)));
    fall(&case);
    case.pass(MS(5_000));
    case.attempt(Verdict::Answered);
    assert_eq!(case.fitness(), Fitness::Serving);
    // Again at once: twice the rest.
    fall(&case);
    assert_eq!(case.fitness(), Fitness::Resting(MS(10_000)));
    case.pass(MS(10_000));
    case.attempt(Verdict::Answered);
    case.pass(MS(10_001));
    case.attempt(Verdict::Answered);
    fall(&case);
    assert_eq!(case.fitness(), Fitness::Resting(MS(5_000)));
}

#[test]
fn a_probe_that_learned_nothing_leaves_it_to_the_next() {
    let mut case = Case::new();
    for _ in 0..5 {
        case.attempt(Verdict::Failed(None));
    }
    case.pass(MS(5_000));
    case.attempt(Verdict::Unknown);
    assert_eq!(case.fitness(), Fitness::Due);
}

#[test]
fn whoever_asks_for_time_gets_it_at_once_within_bounds() {
    let case = Case::new();
    case.attempt(Verdict::Failed(Some(MS(3_000))));
    assert_eq!(case.fitness(), Fitness::Resting(MS(3_000)));
    let case = Case::new();
    case.attempt(Verdict::Failed(Some(MS(3_600_000))));
    assert_eq!(case.fitness(), Fitness::Resting(MS(12_000)));
}

#[test]
fn a_target_that_is_asked_although_it_rests_may_show_that_it_is_well() {
    let case = Case::new();
    for _ in 0..5 {
        case.attempt(Verdict::Failed(None));
    }
    // One that began before does not: what it says is old.
    case.health.end(case.now, &rules(), Role::Regular, Verdict::Answered);
    assert_eq!(case.fitness(), Fitness::Resting(MS(5_000)));
    for _ in 0..5 {
        case.attempt(Verdict::Failed(None));
    }
    assert_eq!(case.fitness(), Fitness::Resting(MS(5_000)), "no longer than before");
    case.attempt(Verdict::Answered);
    assert_eq!(case.fitness(), Fitness::Serving);
}
