//! What was measured over one step of time. Samples of neighbouring steps add up to one of a longer step.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::EnvironmentId;
use crate::base::clock::Timestamp;

/// Upper bounds of the classes of latency in milliseconds; one class more has none.
pub const LATENCY_MILLIS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// By name: `web.1`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub replicas: BTreeMap<String, ReplicaSample>,
    #[serde(skip_serializing_if = "Requests::is_empty")]
    pub requests: Requests,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostSample>,
}

/// Means over `readings`, and the most of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaSample {
    pub readings: u64,
    /// Thousandths of a processor.
    pub cpu_millis: u64,
    pub cpu_most: u64,
    pub memory_bytes: u64,
    pub memory_most: u64,
    /// Written to its own file system; as it was at the end.
    pub disk_bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requests {
    /// 1xx to 5xx.
    pub statuses: [u64; 5],
    /// By the classes of `LATENCY_MILLIS` and the one above them.
    pub latency: Vec<u64>,
    /// Time of all of them together.
    pub micros: u64,
    pub in_flight_most: u64,
}

/// What was measured last, for who decides by it.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub at: Timestamp,
    /// By the engine's id.
    pub replicas: HashMap<String, ReplicaSample>,
    /// Of the last step alone.
    pub requests: HashMap<EnvironmentId, Requests>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSample {
    pub readings: u64,
    /// Thousandths of a processor, of all that are there.
    pub cpu_millis: u64,
    pub processors: u64,
    pub memory_bytes: u64,
    pub memory_total: u64,
    /// Of the file system that the data directory is on.
    pub disk_bytes: u64,
    pub disk_total: u64,
}

fn mean(a: u64, b: u64, (n, m): (u64, u64)) -> u64 {
    a.saturating_mul(n).saturating_add(b.saturating_mul(m)).checked_div(n + m).unwrap_or(0)
}

impl Sample {
    pub fn add(&mut self, other: &Self) {
        for (name, more) in &other.replicas {
            self.replicas.entry(name.clone()).or_default().add(more);
        }
        self.requests.add(&other.requests);
        if let Some(more) = &other.host {
            self.host.get_or_insert_default().add(more);
        }
    }
}

impl ReplicaSample {
    pub fn add(&mut self, other: &Self) {
        let weights = (self.readings, other.readings);
        self.cpu_millis = mean(self.cpu_millis, other.cpu_millis, weights);
        self.memory_bytes = mean(self.memory_bytes, other.memory_bytes, weights);
        self.cpu_most = self.cpu_most.max(other.cpu_most);
        self.memory_most = self.memory_most.max(other.memory_most);
        self.disk_bytes = other.disk_bytes;
        self.readings += other.readings;
    }
}

impl HostSample {
    pub fn add(&mut self, other: &Self) {
        let weights = (self.readings, other.readings);
        self.cpu_millis = mean(self.cpu_millis, other.cpu_millis, weights);
        self.memory_bytes = mean(self.memory_bytes, other.memory_bytes, weights);
        self.disk_bytes = other.disk_bytes;
        (self.processors, self.memory_total, self.disk_total) =
            (other.processors, other.memory_total, other.disk_total);
        self.readings += other.readings;
    }
}

impl Requests {
    pub fn is_empty(&self) -> bool {
        self.count() == 0 && self.in_flight_most == 0
    }

    pub fn count(&self) -> u64 {
        self.statuses.iter().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.statuses.iter_mut().zip(other.statuses).for_each(|(a, b)| *a += b);
        self.latency.resize(self.latency.len().max(other.latency.len()), 0);
        self.latency.iter_mut().zip(&other.latency).for_each(|(a, b)| *a += b);
        self.micros = self.micros.saturating_add(other.micros);
        self.in_flight_most = self.in_flight_most.max(other.in_flight_most);
    }

    /// The time in milliseconds that `share` of the requests did not exceed, as far as the classes tell.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count: u64 = self.latency.iter().sum();
        let wanted = count as f64 * share;
        let mut before = 0.0;
        for (class, number) in self.latency.iter().enumerate() {
            let number = *number as f64;
            if number > 0.0 && before + number >= wanted {
                let low = class.checked_sub(1).map_or(0, |at| LATENCY_MILLIS.get(at).copied().unwrap_or(0)) as f64;
                // The class without a bound says no more than its beginning.
                let Some(high) = LATENCY_MILLIS.get(class) else { return Some(low) };
                return Some(low + (*high as f64 - low) * (wanted - before) / number);
            }
            before += number;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_add_up_whatever_they_are_grouped_by() {
        let replica = |readings, cpu_millis| ReplicaSample {
            readings,
            cpu_millis,
            cpu_most: cpu_millis,
            memory_bytes: 100,
            memory_most: 100,
            disk_bytes: 100,
        };
        let mut sum = Sample { replicas: [("web.1".into(), replica(3, 100))].into(), ..Sample::default() };
        let mut more = Sample { replicas: [("web.1".into(), replica(1, 500))].into(), ..Sample::default() };
        more.requests = Requests { statuses: [0, 2, 0, 0, 1], latency: vec![3], micros: 9, in_flight_most: 2 };
        sum.add(&more);
        sum.add(&more);
        let web = &sum.replicas["web.1"];
        assert_eq!((web.readings, web.cpu_millis, web.cpu_most), (5, 260, 500));
        assert_eq!((sum.requests.count(), sum.requests.latency.clone(), sum.requests.micros), (6, vec![6], 18));
        let read: Sample = serde_json::from_str("{}").expect("an older row");
        assert_eq!(read, Sample::default());
    }

    #[test]
    fn quantiles_come_from_the_classes() {
        let requests = Requests { latency: vec![50, 40, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1], ..Requests::default() };
        assert_eq!(requests.quantile(0.5), Some(5.0));
        assert_eq!(requests.quantile(0.9), Some(10.0));
        assert_eq!(requests.quantile(0.99), Some(50.0));
        assert_eq!(requests.quantile(1.0), Some(10_000.0));
        assert_eq!(Requests::default().quantile(0.5), None);
    }
}
