//! Measurements over time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::clock::Timestamp;
use crate::base::model::{ReplicaSample, Requests, Sample};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MetricsView {
    pub step_seconds: i64,
    /// Oldest first; steps in which nothing was measured are left out.
    pub points: Vec<MetricsPoint>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MetricsPoint {
    /// Begin of the step.
    pub at: String,
    /// By name: `web.1`.
    pub replicas: BTreeMap<String, ReplicaPoint>,
    pub requests: Option<RequestsPoint>,
    pub host: Option<HostPoint>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReplicaPoint {
    /// Mean; 100 is one processor.
    pub cpu_percent: f64,
    pub cpu_percent_most: f64,
    pub memory_bytes: u64,
    pub memory_bytes_most: u64,
    /// Written to its own file system, volumes not counted.
    #[serde(default)]
    pub disk_bytes: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestsPoint {
    pub count: u64,
    pub per_second: f64,
    /// `2xx` and so on; those that did not occur are left out.
    pub statuses: BTreeMap<String, u64>,
    pub mean_millis: f64,
    /// As far as classes of latency tell: half, 95 and 99 of a hundred took no longer.
    pub p50_millis: Option<f64>,
    pub p95_millis: Option<f64>,
    pub p99_millis: Option<f64>,
    /// The most that were under way when somebody looked.
    pub in_flight_most: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostPoint {
    /// Mean; 100 is one processor.
    pub cpu_percent: f64,
    pub processors: u64,
    pub memory_bytes: u64,
    pub memory_total_bytes: u64,
    pub disk_bytes: u64,
    pub disk_total_bytes: u64,
}

impl MetricsView {
    pub fn new(step_seconds: i64, points: &[(Timestamp, Sample)]) -> Self {
        let point = |(at, sample): &(Timestamp, Sample)| MetricsPoint {
            at: at.to_string(),
            replicas: sample.replicas.iter().map(|(name, replica)| (name.clone(), replica.into())).collect(),
            requests: (!sample.requests.is_empty()).then(|| RequestsPoint::new(&sample.requests, step_seconds)),
            host: sample.host.as_ref().map(|host| HostPoint {
                cpu_percent: host.cpu_millis as f64 / 10.0,
                processors: host.processors,
                memory_bytes: host.memory_bytes,
                memory_total_bytes: host.memory_total,
                disk_bytes: host.disk_bytes,
                disk_total_bytes: host.disk_total,
            }),
        };
        Self { step_seconds, points: points.iter().map(point).collect() }
    }
}

impl From<&ReplicaSample> for ReplicaPoint {
    fn from(sample: &ReplicaSample) -> Self {
        Self {
            cpu_percent: sample.cpu_millis as f64 / 10.0,
            cpu_percent_most: sample.cpu_most as f64 / 10.0,
            memory_bytes: sample.memory_bytes,
            memory_bytes_most: sample.memory_most,
            disk_bytes: sample.disk_bytes,
        }
    }
}

impl RequestsPoint {
    fn new(requests: &Requests, step_seconds: i64) -> Self {
        let count = requests.count();
        let statuses = requests.statuses.iter().enumerate().filter(|(_, count)| **count > 0);
        Self {
            count,
            per_second: count as f64 / step_seconds as f64,
            statuses: statuses.map(|(class, count)| (format!("{}xx", class + 1), *count)).collect(),
            mean_millis: if count == 0 { 0.0 } else { requests.micros as f64 / 1000.0 / count as f64 },
            p50_millis: requests.quantile(0.5),
            p95_millis: requests.quantile(0.95),
            p99_millis: requests.quantile(0.99),
            in_flight_most: requests.in_flight_most,
        }
    }
}
