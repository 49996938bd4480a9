use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const ANY: Wish = Wish { read: true, write: true, max_age: None };

fn cache(max_bytes: u64, ttl: Duration) -> Arc<Cache> {
    Cache::new(&Settings { ttl, max_bytes, shared: false, deterministic_only: true }, None)
}

fn entry(body: impl Into<Bytes>) -> Entry {
    let usage = Usage { input_tokens: 3, output_tokens: 2, cache_read_tokens: 1, reasoning_tokens: Some(1), ..Usage::default() };
    let made = SystemTime::UNIX_EPOCH + Duration::from_millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64);
    Entry {
        body: body.into(),
        form: Form::Stream { usage: true },
        made,
        usage: Some(usage),
        stop: Some("end_turn".to_owned()),
        dropped: vec!["seed".to_owned()],
    }
}

fn key(number: u32) -> Key {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    Key(key)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn an_entry_comes_back_from_redis_as_it_went() {
    let kept = entry("data: {}\n\ndata: [DONE]\n\n");
    assert_eq!(decode(encode(&kept).into()), Some(kept));
    for broken in ["", "{}", "{}\nx", "\n"] {
        assert_eq!(decode(broken.into()), None, "{broken}");
    }
}

#[test]
fn of_many_who_ask_the_same_one_leads() {
    let cache = cache(1 << 20, Duration::from_secs(60));
    let asked = Arc::new(AtomicUsize::new(0));
    runtime().block_on(async {
        let asks = (0..1000).map(|_| {
            let (cache, asked) = (Arc::clone(&cache), Arc::clone(&asked));
            tokio::spawn(async move {
                match cache.find(key(1), ANY).await {
                    Found::Answer(entry) => entry.body.clone(),
                    Found::Nothing(lead) => {
                        asked.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        lead.keep(entry("hello"));
                        Bytes::from_static(b"hello")
                    }
                }
            })
        });
        for answer in futures::future::join_all(asks).await {
            assert_eq!(answer.unwrap(), "hello");
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(cache.flights().is_empty());
}

#[test]
fn those_who_waited_for_nothing_do_not_wait_for_each_other() {
    let cache = cache(1 << 20, Duration::from_secs(60));
    runtime().block_on(async {
        let Found::Nothing(lead) = cache.find(key(1), ANY).await else { panic!("it is empty") };
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let cache = Arc::clone(&cache);
                tokio::spawn(async move { matches!(cache.find(key(1), ANY).await, Found::Nothing(Lead { flight: None, .. })) })
            })
            .collect();
        // Whoever wants no answer of another's does not wait either.
        assert!(matches!(cache.find(key(1), Wish { read: false, ..ANY }).await, Found::Nothing(Lead { flight: None, .. })));
        drop(lead);
        for each in waiting {
            // Those who came before its end ask for themselves; who came later leads.
            each.await.unwrap();
        }
    });
    assert!(cache.flights().is_empty());
}

#[test]
fn age_decides_who_takes_an_entry() {
    let cache = cache(1 << 20, Duration::from_secs(600));
    let old = Entry { made: SystemTime::now() - Duration::from_secs(100), ..entry("old") };
    runtime().block_on(async {
        let Found::Nothing(lead) = cache.find(key(1), ANY).await else { panic!("it is empty") };
        lead.keep(old);
        assert!(matches!(cache.find(key(1), ANY).await, Found::Answer(_)));
        assert!(matches!(cache.find(key(1), Wish { max_age: Some(Duration::from_secs(200)), ..ANY }).await, Found::Answer(_)));
        for fresh in [Wish { max_age: Some(Duration::from_secs(50)), ..ANY }, Wish { read: false, ..ANY }] {
            assert!(matches!(cache.find(key(1), fresh).await, Found::Nothing(_)), "{fresh:?}");
        }
        assert!(matches!(cache.find(key(2), ANY).await, Found::Nothing(_)));
    });
}

#[test]
fn bytes_are_bounded_whatever_is_written() {
    const MOST: u64 = 1 << 20;
    let cache = cache(MOST, Duration::from_secs(60));
    runtime().block_on(async {
        for number in 0..10 * 64 {
            let Found::Nothing(lead) = cache.find(key(number), ANY).await else { panic!("nobody has asked that") };
            lead.keep(entry(vec![b'x'; 16 * 1024]));
            assert!(cache.size()[1] <= MOST, "{} bytes after {number}", cache.size()[1]);
        }
        assert!(matches!(cache.find(key(639), ANY).await, Found::Answer(_)), "the newest is there");
        assert!(matches!(cache.find(key(0), ANY).await, Found::Nothing(_)), "the oldest is not");
    });
    assert!(cache.size()[1] > MOST / 2, "it is used");
}
