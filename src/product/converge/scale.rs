//! How many replicas, where the platform chooses: a pure function of the bounds and of what was seen lately.
//!
//! Up at once, down only when nothing within the window asked for more: a peak that returns finds its replicas still
//! there. To zero only after the whole idle time, and from zero with the first request.

use std::collections::{BTreeMap, VecDeque};

use crate::base::clock::Timestamp;
use crate::base::model::{EnvironmentId, Limits, Measured, ProcessName, Replica, Scaling};

/// A lower number is taken only when it was enough for this long.
const WINDOW_MILLIS: i64 = 60_000;
/// Samples closer together than this are one.
const SAMPLE_MILLIS: i64 = 500;

/// Fewer requests in one measurement say nothing of their time.
const LEAST_REQUESTS: u64 = 20;

/// What was seen of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    /// Most requests that were inside all replicas of `web` together at once, within the window.
    pub in_flight: u32,
    /// The most replicas that what was measured of a process type asked for, within the window; missing where nothing was.
    pub by_use: BTreeMap<ProcessName, u32>,
    /// Since the last request; the greatest number for an app that was asleep before anybody looked.
    pub idle_millis: i64,
}

/// The number of replicas to have now. `before`: the number chosen last, which what has no requests keeps while nothing
/// is measured. `settled`: no rollout is under way, whose replicas have to prove themselves.
pub fn count(process: &ProcessName, scaling: &Scaling, load: &Load, before: Option<u32>, settled: bool) -> u32 {
    let by_use = load.by_use.get(process).copied();
    if process.as_str() != "web" {
        return by_use.or(before).unwrap_or(0).clamp(scaling.min.max(1), scaling.max.max(1));
    }
    let idle = load.idle_millis >= i64::from(scaling.idle_seconds) * 1000;
    if scaling.min == 0 && idle && settled {
        return 0;
    }
    let wanted = load.in_flight.div_ceil(scaling.in_flight.max(1)).max(by_use.unwrap_or(0));
    wanted.clamp(scaling.min.max(1), scaling.max.max(1))
}

/// What the replicas of one process type were measured at, together, once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// How many were measured.
    pub replicas: u32,
    /// Means, in percent of the bound of a replica.
    pub cpu_percent: u64,
    pub memory_percent: u64,
    /// What 95 of 100 requests did not exceed; none when too few were asked to say.
    pub latency_millis: Option<u64>,
}

/// The means over `replicas`, of those that were measured.
pub fn used<'a>(
    measured: &Measured,
    environment: &EnvironmentId,
    replicas: impl Iterator<Item = &'a Replica>,
    limits: Limits,
) -> Use {
    let samples: Vec<_> = replicas.filter_map(|replica| measured.replicas.get(&replica.id)).collect();
    let percent = |sum: u64, limit: i64| {
        let whole = u64::try_from(limit).unwrap_or(0).saturating_mul(samples.len() as u64);
        (sum * 100).checked_div(whole).unwrap_or(0)
    };
    let asked = measured.requests.get(environment).filter(|requests| requests.count() >= LEAST_REQUESTS);
    Use {
        replicas: u32::try_from(samples.len()).unwrap_or(u32::MAX),
        cpu_percent: percent(samples.iter().map(|s| s.cpu_millis).sum(), limits.cpu_millis),
        memory_percent: percent(samples.iter().map(|s| s.memory_bytes).sum(), limits.memory_bytes),
        latency_millis: asked.and_then(|requests| requests.quantile(0.95)).map(|millis| millis as u64),
    }
}

/// How many replicas would have been right for that; 0 where nothing is asked of it.
///
/// Processor and memory are shared, so their number is in proportion, as the field has it (Kubernetes' horizontal pod
/// autoscaler); latency need not follow the number, so it asks for one half more, and for one less where it is far
/// below what it may be. Never more than twice the replicas at once: what has just been added has not been measured yet.
pub fn by_use(scaling: &Scaling, used: &Use) -> u32 {
    let now = u64::from(used.replicas);
    if now == 0 {
        return 0;
    }
    let share = |percent: u64, target: Option<u32>| {
        let target = u64::from(target?.max(1));
        let is_near = (target * 9..=target * 11).contains(&(percent * 10));
        Some(if is_near { now } else { (now * percent).div_ceil(target) })
    };
    let latency = scaling.latency_millis.zip(used.latency_millis).map(|(target, seen)| match u64::from(target) {
        target if seen > target => now + now.div_ceil(2),
        target if seen * 2 < target => now - 1,
        _ => now,
    });
    let wanted =
        [share(used.cpu_percent, scaling.cpu_percent), share(used.memory_percent, scaling.memory_percent), latency];
    let wanted = wanted.into_iter().flatten().max().unwrap_or(0);
    u32::try_from(wanted.min(now * 2)).unwrap_or(u32::MAX)
}

/// Collects the load of one environment between looks.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    entered: u64,
    last_request: Option<Timestamp>,
    /// Requests inside at that time; oldest first, none older than the window, none that a later one exceeds.
    peaks: VecDeque<(Timestamp, u32)>,
    /// What measurements asked for; oldest first, none older than the window.
    uses: BTreeMap<ProcessName, VecDeque<(Timestamp, u32)>>,
    measured_at: Timestamp,
}

impl Demand {
    /// `asleep`: it has no replica, and that nobody looked until now is no request. `borne`: the requests that the replicas
    /// chosen before can have inside; so many there may have been until now.
    pub fn new(asleep: bool, borne: u32, now: Timestamp) -> Self {
        Self {
            entered: 0,
            last_request: (!asleep).then_some(now),
            peaks: VecDeque::from([(now, borne)]),
            ..Self::default()
        }
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

    /// What was measured at a time counts once. That time, `at`, is of a clock that may be set; `now` is not. A number of 0
    /// says nothing.
    pub fn measure(&mut self, at: Timestamp, now: Timestamp, wanted: impl FnOnce() -> BTreeMap<ProcessName, u32>) {
        if at != self.measured_at {
            self.measured_at = at;
            for (process, number) in wanted().into_iter().filter(|(_, number)| *number > 0) {
                self.uses.entry(process).or_default().push_back((now, number));
            }
        }
        self.uses.retain(|_, uses| {
            uses.retain(|(then, _)| now.since(*then) < WINDOW_MILLIS);
            !uses.is_empty()
        });
    }

    pub fn load(&self, now: Timestamp) -> Load {
        let most = |uses: &VecDeque<(Timestamp, u32)>| {
            uses.iter().filter(|(at, _)| now.since(*at) < WINDOW_MILLIS).map(|(_, number)| *number).max()
        };
        Load {
            by_use: self.uses.iter().filter_map(|(process, uses)| Some((process.clone(), most(uses)?))).collect(),
            in_flight: self.peaks.iter().map(|(_, n)| *n).max().unwrap_or(0),
            idle_millis: self.last_request.map_or(i64::MAX, |at| now.since(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALING: Scaling = Scaling {
        min: 0,
        max: 5,
        in_flight: 10,
        idle_seconds: 300,
        cpu_percent: None,
        memory_percent: None,
        latency_millis: None,
    };

    fn load(in_flight: u32, idle_millis: i64) -> Load {
        Load { in_flight, idle_millis, ..Load::default() }
    }

    fn web(scaling: &Scaling, load: &Load, settled: bool) -> u32 {
        count(&name("web"), scaling, load, None, settled)
    }

    fn name(process: &str) -> ProcessName {
        process.parse().expect("a name")
    }

    #[test]
    fn the_number_follows_the_requests_within_the_bounds() {
        let numbers = [0, 10, 11, 49, 1000].map(|n| web(&SCALING, &load(n, 0), true));
        assert_eq!(numbers, [1, 1, 2, 5, 5]);
        let two = Scaling { min: 2, ..SCALING };
        assert_eq!(web(&two, &load(0, i64::MAX), true), 2, "only a minimum of 0 sleeps");
    }

    #[test]
    fn it_sleeps_after_the_idle_time_and_never_during_a_rollout() {
        assert_eq!(web(&SCALING, &load(0, 299_999), true), 1);
        assert_eq!(web(&SCALING, &load(0, 300_000), true), 0);
        assert_eq!(web(&SCALING, &load(0, i64::MAX), false), 1);
    }

    #[test]
    fn a_peak_counts_for_the_whole_window_and_not_longer() {
        let mut demand = Demand::new(false, 0, Timestamp(0));
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
        let mut demand = Demand::new(false, 0, Timestamp(0));
        demand.sample(Timestamp(1000), 0, 7, false);
        demand.sample(Timestamp(5000), 0, 7, false);
        assert_eq!(demand.load(Timestamp(5000)).idle_millis, 4000);
        demand.sample(Timestamp(6000), 0, 2, false);
        assert_eq!(demand.load(Timestamp(6000)).idle_millis, 5000, "a replica went, no request came");
        demand.sample(Timestamp(7000), 0, 3, false);
        assert_eq!(demand.load(Timestamp(7000)).idle_millis, 0);
    }

    #[test]
    fn measurements_ask_for_their_share_and_never_for_more_than_double() {
        let wanted = |scaling: Scaling, used: Use| by_use(&scaling, &used);
        let cpu = Scaling { cpu_percent: Some(50), ..SCALING };
        let at = |replicas, cpu_percent| Use { replicas, cpu_percent, ..Use::default() };
        let numbers = [(2, 50), (2, 54), (2, 56), (2, 100), (2, 400), (4, 10), (1, 0), (0, 90)];
        assert_eq!(numbers.map(|(n, percent)| wanted(cpu.clone(), at(n, percent))), [2, 2, 3, 4, 4, 1, 0, 0]);
        assert_eq!(wanted(SCALING, at(2, 400)), 0, "nobody asked to look at it");
        let memory = Scaling { memory_percent: Some(80), ..cpu };
        assert_eq!(wanted(memory, Use { memory_percent: 120, ..at(2, 10) }), 3, "the most of what is asked for");
        let slow = Scaling { latency_millis: Some(200), ..SCALING };
        let took = |latency_millis| Use { replicas: 3, latency_millis, ..Use::default() };
        let numbers = [None, Some(50), Some(150), Some(200), Some(201)].map(|ms| wanted(slow.clone(), took(ms)));
        assert_eq!(numbers, [0, 2, 3, 3, 5]);
    }

    #[test]
    fn what_was_measured_counts_once_and_for_the_window() {
        let asks = |number| BTreeMap::from([(name("web"), number)]);
        let mut demand = Demand::new(false, 0, Timestamp(0));
        demand.measure(Timestamp(10_000), Timestamp(10_000), || asks(4));
        demand.measure(Timestamp(10_000), Timestamp(10_000), || panic!("measured already"));
        demand.measure(Timestamp(20_000), Timestamp(20_000), || asks(2));
        let scaling = Scaling { min: 1, ..SCALING };
        let number = |demand: &Demand, at| web(&scaling, &demand.load(Timestamp(at)), true);
        assert_eq!([20_000, 69_999, 70_000, 80_000].map(|at| number(&demand, at)), [4, 4, 2, 1]);
        demand.measure(Timestamp(90_000), Timestamp(90_000), || asks(3));
        assert_eq!((number(&demand, 90_000), demand.uses[&name("web")].len()), (3, 1));
    }

    #[test]
    fn who_looks_for_the_first_time_takes_the_number_of_before_as_needed_for_a_window() {
        let mut demand = Demand::new(false, 30, Timestamp(0));
        demand.sample(Timestamp(1), 2, 2, false);
        assert_eq!(web(&SCALING, &demand.load(Timestamp(1)), true), 3);
        demand.sample(Timestamp(60_000), 2, 2, false);
        assert_eq!(web(&SCALING, &demand.load(Timestamp(60_000)), true), 1);
    }

    #[test]
    fn what_slept_before_anybody_looked_sleeps_on_until_it_is_rung() {
        let mut demand = Demand::new(true, 0, Timestamp(0));
        demand.sample(Timestamp(1), 0, 0, false);
        assert_eq!(web(&SCALING, &demand.load(Timestamp(1)), true), 0);
        demand.sample(Timestamp(2), 0, 0, true);
        assert_eq!(web(&SCALING, &demand.load(Timestamp(2)), true), 1);
    }

    #[test]
    fn what_receives_no_requests_follows_its_measurements_alone() {
        let cpu = Scaling { min: 1, cpu_percent: Some(50), ..SCALING };
        let worker = |load: &Load, before| count(&name("worker"), &cpu, load, before, true);
        let measured = |number| Load { by_use: BTreeMap::from([(name("worker"), number)]), ..load(1000, i64::MAX) };
        assert_eq!([0, 3, 9].map(|n| worker(&measured(n), Some(2))), [1, 3, 5]);
        let nothing = load(1000, 0);
        assert_eq!([None, Some(4), Some(9)].map(|before| worker(&nothing, before)), [1, 4, 5], "it stays as it was");
        let of_another = Load { by_use: BTreeMap::from([(name("web"), 5)]), ..Load::default() };
        assert_eq!(worker(&of_another, Some(2)), 2);
    }
}
