use proptest::prelude::*;

use super::*;

fn ask(limits: UserLimits, budget: Budget, tokens: u64, nano_usd: u64) -> Ask {
    Ask { scopes: vec![("".into(), limits)], budget, tokens, nano_usd }
}

fn second(text: &str) -> Now {
    Now::at(humantime::parse_rfc3339(text).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs())
}

#[test]
fn days_and_months_end_when_the_calendar_says_so() {
    for (now, tomorrow, month) in [
        ("2026-11-25T23:59:59Z", 1, 5 * DAY + 1),
        ("2026-12-31T00:00:00Z", DAY, DAY),
        ("2028-02-28T12:00:00Z", DAY / 2, DAY + DAY / 2),
        ("2027-02-28T12:00:00Z", DAY / 2, DAY / 2),
        ("1970-01-01T00:00:00Z", DAY, 31 * DAY),
    ] {
        let now = second(now);
        assert_eq!((now.until_next(Limit::Daily), now.until_next(Limit::Monthly)), (tomorrow, month), "{now:?}");
    }
}

#[test]
fn a_refused_request_counts_nothing() {
    let limits = UserLimits { requests_per_minute: Some(5), concurrent_requests: Some(1), ..UserLimits::default() };
    let one = ask(limits, Budget::default(), 0, 0);
    let (mut account, now) = (Account::default(), Now::at(1000));
    account.reserve(&one, now).unwrap();
    assert_eq!(account.reserve(&one, now), Err(Over { limit: Limit::Concurrent, retry_after: 1 }));
    assert_eq!(account.standing(&one, now).requests, Some(Level { limit: 5, remaining: 4, reset: 61 }));
    account.settle(&one, Used::default(), now);
    account.reserve(&one, now).unwrap();
}

#[test]
fn a_budget_comes_back_with_the_day_and_with_what_was_not_used() {
    let budget = Budget { daily_nano_usd: Some(100), monthly_nano_usd: Some(150) };
    let one = ask(UserLimits::default(), budget, 0, 60);
    let (mut account, now) = (Account::default(), second("2026-11-25T12:00:00Z"));
    account.reserve(&one, now).unwrap();
    assert_eq!(account.reserve(&one, now), Err(Over { limit: Limit::Daily, retry_after: 1 }), "what is held may come back");
    account.settle(&one, Used { tokens: 0, nano_usd: 40 }, now);
    account.reserve(&one, now).unwrap();
    account.settle(&one, Used { tokens: 0, nano_usd: 60 }, now);
    assert_eq!(account.reserve(&one, now), Err(Over { limit: Limit::Monthly, retry_after: 5 * DAY + DAY / 2 }), "the longer of two waits");
    let small = ask(UserLimits::default(), budget, 0, 10);
    assert_eq!(account.reserve(&small, now), Err(Over { limit: Limit::Daily, retry_after: DAY / 2 }));
    let tomorrow = second("2026-11-26T00:00:00Z");
    assert_eq!(account.reserve(&one, tomorrow), Err(Over { limit: Limit::Monthly, retry_after: 5 * DAY }));
    account.reserve(&one, second("2026-12-01T00:00:00Z")).unwrap();
}

#[test]
fn what_is_written_down_is_counted_once() {
    let budget = Budget { daily_nano_usd: Some(100), ..Budget::default() };
    let one = ask(UserLimits::default(), budget, 0, 30);
    let (mut account, now) = (Account::default(), Now::at(1000));
    account.reserve(&one, now).unwrap();
    account.settle(&one, Used { tokens: 0, nano_usd: 30 }, now);
    let mine = account.unsaved();
    // Between the reading and the writing more was spent, and another process has spent 20.
    account.reserve(&one, now).unwrap();
    account.settle(&one, Used { tokens: 0, nano_usd: 10 }, now);
    account.saved(mine, mine.plus(Spent::of(20, now), now), now);
    assert_eq!((account.spent.in_day, account.unsaved().in_day), (60, 10));
}

#[test]
fn an_account_without_traces_is_idle() {
    let limits = UserLimits { requests_per_minute: Some(5), ..UserLimits::default() };
    let one = ask(limits, Budget::default(), 0, 0);
    let mut account = Account::default();
    account.reserve(&one, Now::at(1000)).unwrap();
    assert!(!account.is_idle(Now::at(2000)), "it still runs");
    account.settle(&one, Used { tokens: 7, nano_usd: 0 }, Now::at(2000));
    assert!(!account.is_idle(Now::at(2060)) && account.is_idle(Now::at(2061)));
}

proptest! {
    #[test]
    fn no_sixty_seconds_hold_more_than_the_limit(limit in 1_u64..20, steps in prop::collection::vec((0_u64..8000, any::<bool>()), 1..300)) {
        let limits = UserLimits { requests_per_minute: Some(limit), ..UserLimits::default() };
        let one = ask(limits, Budget::default(), 0, 0);
        let (mut account, mut at_ms, mut admitted) = (Account::default(), 0, Vec::<u64>::new());
        for (pause_ms, many) in steps {
            at_ms += if many { 0 } else { pause_ms };
            match account.reserve(&one, Now::at(at_ms / 1000)) {
                Ok(()) => {
                    admitted.push(at_ms);
                    account.settle(&one, Used::default(), Now::at(at_ms / 1000));
                }
                Err(over) => {
                    // When the promised time has passed, it fits.
                    let mut later = account.clone();
                    prop_assert!(later.reserve(&one, Now::at(at_ms / 1000 + over.retry_after)).is_ok());
                }
            }
        }
        for (index, from) in admitted.iter().enumerate() {
            prop_assert!(admitted[index..].iter().take_while(|at| **at < from + 60_000).count() as u64 <= limit);
        }
    }

    #[test]
    fn no_interleaving_overruns_tokens_places_or_money(
        steps in prop::collection::vec((0_u64..40, 0_u64..60, 0_u64..60, 0_usize..6, 0_u64..101), 1..200)
    ) {
        let limits = UserLimits { tokens_per_minute: Some(100), concurrent_requests: Some(3), requests_per_minute: None };
        let budget = Budget { daily_nano_usd: Some(500), monthly_nano_usd: None };
        let (mut account, mut at, mut running, mut tokens, mut spent) = (Account::default(), 0, Vec::<Ask>::new(), Vec::new(), 0);
        for (pause, wants, costs, which, percent) in steps {
            at += pause;
            let now = Now::at(at);
            if which < running.len() {
                let ended = running.swap_remove(which);
                let used = Used { tokens: ended.tokens * percent / 100, nano_usd: ended.nano_usd * percent / 100 };
                account.settle(&ended, used, now);
                tokens.push((at, used.tokens));
                spent += if at < DAY { used.nano_usd } else { 0 };
            } else {
                let one = ask(limits, budget, wants, costs);
                if account.reserve(&one, now).is_ok() {
                    running.push(one);
                }
            }
            prop_assert!(running.len() <= 3);
            let recent: u64 = tokens.iter().filter(|(when, _)| when + 60 > at).map(|(_, count)| count).sum();
            prop_assert!(recent + running.iter().map(|ask| ask.tokens).sum::<u64>() <= 100);
            prop_assert!(spent + running.iter().map(|ask| ask.nano_usd).sum::<u64>() <= 500);
        }
    }
}
