//! What is made of an upstream from what was seen of it: how young it is, whether it refuses, how slow it is beside another.
//! Read and written by every request without a lock: a figure that is a moment old does no harm.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A replica beside older ones gets its full part of the requests only after this: caches and compilers warm up.
const SLOW_START: Duration = Duration::from_secs(10);
/// Replicas that came this close after each other are of one age.
const SAME_AGE: Duration = Duration::from_secs(2);
/// An upstream that refused is left alone so long, twice as long each further time.
const AVOIDED: Duration = Duration::from_secs(2);
const LONGEST_AVOIDED: Duration = Duration::from_secs(30);
/// Answers that a latency is known after.
const KNOWN_AFTER: u32 = 16;
/// Below this nothing is called slow.
const SLOW: Duration = Duration::from_millis(50);
/// One that takes so many times as long as another gets fewer requests than its own pace would leave it.
const SLOWER: f32 = 3.0;
/// The least part of its due that an upstream gets: what gets nothing shows nothing.
const LEAST: f32 = 0.1;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds since the process first asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn now() -> Self {
        Self(micros(EPOCH.elapsed()))
    }

    fn since(self, earlier: u64) -> u64 {
        self.0.saturating_sub(earlier)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[derive(Debug)]
pub(super) struct Standing {
    admitted: AtomicU64,
    /// Times in a row that it refused or broke off.
    refused: AtomicU32,
    avoid_until: AtomicU64,
    answers: AtomicU32,
    /// From sending to the head of the answer, the last ones weighing most.
    latency: AtomicU64,
}

impl Standing {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            admitted: AtomicU64::new(now.0),
            refused: AtomicU32::new(0),
            avoid_until: AtomicU64::new(0),
            answers: AtomicU32::new(0),
            latency: AtomicU64::new(0),
        }
    }

    pub(super) fn failed(&self, now: Moment) {
        let before = self.refused.fetch_add(1, Relaxed).min(8);
        let longer = (AVOIDED * (1 << before)).min(LONGEST_AVOIDED);
        self.avoid_until.store(now.0 + micros(longer), Relaxed);
    }

    pub(super) fn answered(&self, took: Duration) {
        if self.refused.load(Relaxed) > 0 {
            self.refused.store(0, Relaxed);
            self.avoid_until.store(0, Relaxed);
        }
        let (took, before) = (micros(took), self.latency.load(Relaxed));
        let known = self.answers.load(Relaxed).min(KNOWN_AFTER);
        if known < KNOWN_AFTER {
            self.answers.store(known + 1, Relaxed);
        }
        // The mean of the first ones, then one that forgets.
        let weight = u64::from(known.min(7) + 1);
        self.latency.store(before - before / weight + took / weight, Relaxed);
    }

    /// Left alone while there is another; when that time is over, one request at a time finds out whether it is back.
    pub(super) fn is_avoided(&self, now: Moment, in_flight: usize) -> bool {
        self.refused.load(Relaxed) > 0 && (now.0 < self.avoid_until.load(Relaxed) || in_flight > 0)
    }

    /// The part of its due that it gets beside the other: above 0, at most 1.
    pub(super) fn part_beside(&self, other: &Self, now: Moment) -> f32 {
        self.warmth(other, now) * self.pace(other)
    }

    fn warmth(&self, other: &Self, now: Moment) -> f32 {
        let (mine, others) = (self.admitted.load(Relaxed), other.admitted.load(Relaxed));
        let age = now.since(mine);
        if age >= micros(SLOW_START) || mine.saturating_sub(others) <= micros(SAME_AGE) {
            return 1.0;
        }
        (age as f32 / micros(SLOW_START) as f32).max(LEAST)
    }

    fn pace(&self, other: &Self) -> f32 {
        let known = |standing: &Self| standing.answers.load(Relaxed) >= KNOWN_AFTER;
        let mine = self.latency.load(Relaxed);
        if mine < micros(SLOW) || !known(self) || !known(other) {
            return 1.0;
        }
        let ratio = mine as f32 / other.latency.load(Relaxed).max(1) as f32;
        if ratio > SLOWER { (1.0 / ratio).max(LEAST) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f32) -> Moment {
        Moment(micros(Duration::from_secs_f32(seconds)))
    }

    #[test]
    fn the_young_get_their_part_little_by_little_beside_older_ones_only() {
        let (old, young, twin) = (Standing::new(at(0.0)), Standing::new(at(100.0)), Standing::new(at(101.0)));
        let parts = [100.0, 102.0, 105.0, 109.0, 110.0, 500.0].map(|time| young.part_beside(&old, at(time)));
        assert_eq!(parts, [0.1, 0.2, 0.5, 0.9, 1.0, 1.0]);
        assert_eq!(old.part_beside(&young, at(101.0)), 1.0);
        assert_eq!((twin.part_beside(&young, at(101.5)), young.part_beside(&twin, at(101.5))), (1.0, 1.0));
    }

    #[test]
    fn who_refuses_is_left_alone_for_longer_each_time_and_asked_by_one_at_first() {
        let one = Standing::new(at(0.0));
        assert!(!one.is_avoided(at(0.0), 5));
        for (failed, until) in [(10.0, 12.0), (20.0, 24.0), (30.0, 38.0), (40.0, 56.0), (60.0, 90.0), (100.0, 130.0)] {
            one.failed(at(failed));
            assert!(one.is_avoided(at(until - 0.01), 0) && !one.is_avoided(at(until), 0), "{failed}");
            assert!(one.is_avoided(at(until), 1), "somebody finds out already");
        }
        one.answered(Duration::from_millis(1));
        assert!(!one.is_avoided(at(100.0), 5));
        one.failed(at(200.0));
        assert!(!one.is_avoided(at(202.0), 0), "the count begins anew");
    }

    #[test]
    fn the_slow_get_less_when_it_is_known_that_they_are() {
        let (quick, slow) = (Standing::new(at(0.0)), Standing::new(at(0.0)));
        for n in 0..40 {
            let known = n >= 16;
            assert_eq!(slow.part_beside(&quick, at(60.0)), if known { 0.1 } else { 1.0 }, "{n}");
            quick.answered(Duration::from_millis(10));
            slow.answered(Duration::from_millis(300));
        }
        assert_eq!(quick.part_beside(&slow, at(60.0)), 1.0);
        (0..100).for_each(|_| slow.answered(Duration::from_millis(20)));
        assert_eq!(slow.part_beside(&quick, at(60.0)), 1.0, "it has recovered");
        // Both below what anybody would notice.
        let (a, b) = (Standing::new(at(0.0)), Standing::new(at(0.0)));
        for _ in 0..40 {
            a.answered(Duration::from_micros(300));
            b.answered(Duration::from_millis(40));
        }
        assert_eq!(b.part_beside(&a, at(60.0)), 1.0);
    }
}
