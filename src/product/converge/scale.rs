//! How many replicas, where the platform chooses: a pure function of the bounds and of what was seen lately.
//!
//! Up at once, down only when nothing within the window asked for more: a peak that returns finds its replicas still
//! there. To zero only after the whole idle time, and from zero with the first request.

use std::collections::VecDeque;

use crate::base::clock::Timestamp;
use crate::base::model::Scaling;

/// A lower number is taken only when it was enough for this long.
const WINDOW_MILLIS: i64 = 60_000;
/// Samples closer together than this are one.
const SAMPLE_MILLIS: i64 = 500;

/// What was seen of one process type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Most requests that were inside all replicas together at once, within the window.
    pub in_flight: u32,
    /// Since the last request; the greatest number for an app that was asleep before anybody looked.
    pub idle_millis: i64,
}

/// The number of replicas to have now. `settled`: no rollout is under way, whose replicas have to prove themselves.
pub fn count(scaling: &Scaling, load: &Load, settled: bool) -> u32 {
    let idle = load.idle_millis >= i64::from(scaling.idle_seconds) * 1000;
    if scaling.min == 0 && idle && settled {
        return 0;
    }
    let wanted = load.in_flight.div_ceil(scaling.in_flight.max(1));
    wanted.clamp(scaling.min.max(1), scaling.max.max(1))
}

/// Collects the load of one environment between looks.
#[derive(Debug, Clone)]
pub struct Demand {
    entered: u64,
    last_request: Option<Timestamp>,
    /// Requests inside at that time; oldest first, none older than the window, none that a later one exceeds.
    peaks: VecDeque<(Timestamp, u32)>,
}

impl Demand {
    /// `asleep`: it has no replica, and that nobody looked until now is no request.
    pub fn new(asleep: bool, now: Timestamp) -> Self {
        Self { entered: 0, last_request: (!asleep).then_some(now), peaks: VecDeque::new() }
    }

    /// `entered` counts the requests that went into the replicas there are; it may fall when one goes away.
    pub fn sample(&mut self, now: Timestamp, in_flight: u32, entered: u64, was_rung: bool) {
        if was_rung || in_flight > 0 || entered > self.entered {
            self.last_request = Some(now);
        }
        self.entered = entered;
        while self.peaks.back().is_some_and(|(at, n)| *n <= in_flight && now.since(*at) < WINDOW_MILLIS) {
            self.peaks.pop_back();
        }
        if self.peaks.back().is_none_or(|(at, _)| now.since(*at) >= SAMPLE_MILLIS) || in_flight > 0 {
            self.peaks.push_back((now, in_flight));
        }
        while self.peaks.front().is_some_and(|(at, _)| now.since(*at) >= WINDOW_MILLIS) {
            self.peaks.pop_front();
        }
    }

    pub fn load(&self, now: Timestamp) -> Load {
        Load {
            in_flight: self.peaks.iter().map(|(_, n)| *n).max().unwrap_or(0),
            idle_millis: self.last_request.map_or(i64::MAX, |at| now.since(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALING: Scaling = Scaling { min: 0, max: 5, in_flight: 10, idle_seconds: 300 };

    fn load(in_flight: u32, idle_millis: i64) -> Load {
        Load { in_flight, idle_millis }
    }

    #[test]
    fn the_number_follows_the_requests_within_the_bounds() {
        let numbers = [0, 10, 11, 49, 1000].map(|n| count(&SCALING, &load(n, 0), true));
        assert_eq!(numbers, [1, 1, 2, 5, 5]);
        let two = Scaling { min: 2, ..SCALING };
        assert_eq!(count(&two, &load(0, i64::MAX), true), 2, "only a minimum of 0 sleeps");
    }

    #[test]
    fn it_sleeps_after_the_idle_time_and_never_during_a_rollout() {
        assert_eq!(count(&SCALING, &load(0, 299_999), true), 1);
        assert_eq!(count(&SCALING, &load(0, 300_000), true), 0);
        assert_eq!(count(&SCALING, &load(0, i64::MAX), false), 1);
    }

    #[test]
    fn a_peak_counts_for_the_whole_window_and_not_longer() {
        let mut demand = Demand::new(false, Timestamp(0));
        demand.sample(Timestamp(0), 40, 40, false);
        for second in 1..60 {
            demand.sample(Timestamp(second * 1000), 3, 40, false);
            assert_eq!(demand.load(Timestamp(second * 1000)).in_flight, 40);
        }
        demand.sample(Timestamp(60_000), 3, 40, false);
        assert_eq!(demand.load(Timestamp(60_000)).in_flight, 3);
        assert!(demand.peaks.len() < 130, "{}", demand.peaks.len());
    }

    #[test]
    fn requests_between_two_looks_count_and_a_replica_that_left_does_not() {
        let mut demand = Demand::new(false, Timestamp(0));
        demand.sample(Timestamp(1000), 0, 7, false);
        demand.sample(Timestamp(5000), 0, 7, false);
        assert_eq!(demand.load(Timestamp(5000)).idle_millis, 4000);
        demand.sample(Timestamp(6000), 0, 2, false);
        assert_eq!(demand.load(Timestamp(6000)).idle_millis, 5000, "a replica went, no request came");
        demand.sample(Timestamp(7000), 0, 3, false);
        assert_eq!(demand.load(Timestamp(7000)).idle_millis, 0);
    }

    #[test]
    fn what_slept_before_anybody_looked_sleeps_on_until_it_is_rung() {
        let mut demand = Demand::new(true, Timestamp(0));
        demand.sample(Timestamp(1), 0, 0, false);
        assert_eq!(count(&SCALING, &demand.load(Timestamp(1)), true), 0);
        demand.sample(Timestamp(2), 0, 0, true);
        assert_eq!(count(&SCALING, &demand.load(Timestamp(2)), true), 1);
    }
}
