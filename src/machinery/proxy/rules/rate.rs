//! Requests per client address, by a bucket of tokens each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::base::model::Rate;
use crate::machinery::proxy::listen::network;

/// More addresses than this are not told apart from new ones when they come again.
const MOST: usize = 20_000;

#[derive(Debug, Default)]
pub(super) struct Book(Mutex<HashMap<IpAddr, Bucket>>);

#[derive(Debug)]
struct Bucket {
    tokens: f32,
    at: Instant,
}

impl Book {
    pub(super) fn admits(&self, client: IpAddr, rate: Rate) -> bool {
        self.admits_at(client, rate, Instant::now())
    }

    fn admits_at(&self, client: IpAddr, rate: Rate, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (most, gain) = (rate.burst as f32, rate.per_second as f32);
        let filled = |bucket: &Bucket| (bucket.tokens + now.duration_since(bucket.at).as_secs_f32() * gain).min(most);
        if buckets.len() >= MOST {
            // A full one says nothing that a new one does not.
            buckets.retain(|_, bucket| filled(bucket) < most);
            if buckets.len() >= MOST {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(network(client)).or_insert(Bucket { tokens: most, at: now });
        bucket.tokens = filled(bucket);
        bucket.at = now;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let (book, start) = (Book::default(), Instant::now());
        let rate = Rate { per_second: 2, burst: 5 };
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let passed = |client, at, count| (0..count).filter(|_| book.admits_at(client, rate, at)).count();
        assert_eq!(passed(one, start, 20), 5);
        assert_eq!(passed(other, start, 20), 5, "each has its own");
        assert_eq!(passed(one, start + Duration::from_secs(1), 20), 2);
        assert_eq!(passed(one, start + Duration::from_secs(60), 20), 5, "no more than the burst is saved up");
        // One household, one bucket.
        let [a, b] = ["2001:db8::1", "2001:db8::ffff"].map(|text| text.parse::<IpAddr>().expect("an address"));
        assert_eq!((passed(a, start, 3), passed(b, start, 20)), (3, 2));
    }

    #[test]
    fn the_book_is_bounded() {
        let (book, now) = (Book::default(), Instant::now());
        for n in 0..100_000_u32 {
            book.admits_at(IpAddr::from(n.to_be_bytes()), Rate { per_second: 1, burst: 1 }, now);
        }
        assert!(book.0.lock().expect("no panic").len() <= MOST);
    }
}
