//! A rate with room for bursts.

use crate::base::clock::Timestamp;

/// The rate holds over this time, so that a burst is kept whole.
const BURST_SECONDS: f64 = 60.0;

/// Allows so many in a second, and a minute's worth of them at once.
pub(super) struct Bucket {
    pub(super) rate: f64,
    room: f64,
    at: Timestamp,
}

impl Bucket {
    pub(super) fn new(rate: f64, now: Timestamp) -> Self {
        Self { rate, room: rate * BURST_SECONDS, at: now }
    }

    pub(super) fn takes(&mut self, cost: f64, now: Timestamp) -> bool {
        let passed = now.since(std::mem::replace(&mut self.at, now)).max(0) as f64 / 1000.0;
        self.room = (self.room + passed * self.rate).min(self.rate * BURST_SECONDS);
        if self.room < cost {
            return false;
        }
        self.room -= cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_whole_and_a_flood_is_not() {
        let mut bucket = Bucket::new(10.0, Timestamp(0));
        assert_eq!((0..1000).filter(|_| bucket.takes(1.0, Timestamp(0))).count(), 600);
        assert_eq!((0..1000).filter(|_| bucket.takes(1.0, Timestamp(2000))).count(), 20);
        assert_eq!((0..1000).filter(|_| bucket.takes(2.0, Timestamp(4000))).count(), 10);
    }
}
