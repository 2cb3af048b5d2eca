//! Measures what runs, every few seconds: replicas by the engine's counters, requests by the proxy's, the machine by its
//! kernel's. What was counted since the last look goes into the sums of the minute, which go into the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::host::{self, HostReading};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{
    EnvironmentId, HostSample, Id, Measured, Replica, ReplicaSample, ReplicaState, Requests, Sample,
};
use crate::machinery::proxy::{Reading, RouteTable};
use crate::machinery::runtime::{Engine, Usage};
use crate::product::Ctx;
use crate::state::store;

/// Steps that are kept, in seconds, and for how long: a day of minutes, a month of ten minutes.
pub(super) const STEPS: [(i64, i64); 2] = [(60, 86_400), (600, 30 * 86_400)];
pub(super) const HOST: &str = "host";
const LOOK: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 4;
const PURGE_EVERY_MILLIS: i64 = 3_600_000;

/// What was seen last, for who asks for now.
#[derive(Default)]
pub(super) struct Latest {
    pub(super) replicas: Vec<(Replica, Usage)>,
    pub(super) requests: BTreeMap<EnvironmentId, Reading>,
    pub(super) host: Option<HostReading>,
    pub(super) measured: Arc<Measured>,
}

pub struct Sampler {
    ctx: Ctx,
    engine: Arc<dyn Engine>,
    table: watch::Receiver<Arc<RouteTable>>,
    usages: HashMap<String, (Timestamp, Usage)>,
    readings: HashMap<EnvironmentId, Reading>,
    host: Option<HostReading>,
    /// Since the store was written to.
    sums: BTreeMap<String, Sample>,
    written_at: Timestamp,
    purged_at: Timestamp,
}

impl Sampler {
    pub fn new(ctx: Ctx, engine: Arc<dyn Engine>, table: watch::Receiver<Arc<RouteTable>>) -> Self {
        let written_at = ctx.now();
        Self {
            ctx,
            engine,
            table,
            usages: HashMap::new(),
            readings: HashMap::new(),
            host: None,
            sums: BTreeMap::new(),
            written_at,
            purged_at: Timestamp(0),
        }
    }

    /// Until `shutdown`; what was measured by then is kept.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut over = false;
        while !over {
            self.look().await;
            let now = self.ctx.now();
            let minute = |at: Timestamp| at.0.div_euclid(STEPS[0].0 * 1000);
            if over || minute(now) != minute(self.written_at) {
                self.write(now).await;
            }
            tokio::select! {
                () = shutdown.cancelled() => over = true,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        self.write(self.ctx.now()).await;
    }

    async fn look(&mut self) {
        let (now, replicas) = (self.ctx.now(), self.replicas().await);
        let mut latest = Measured { at: now, ..Measured::default() };
        for (replica, usage) in &replicas {
            let sample = self.used(replica, *usage, now);
            latest.replicas.insert(replica.id.clone(), sample);
            let name = format!("{}.{}", replica.workload.process, replica.ordinal);
            let sum = self.sums.entry(replica.workload.environment.to_string()).or_default();
            sum.replicas.entry(name).or_default().add(&sample);
        }
        self.usages = replicas.iter().map(|(replica, usage)| (replica.id.clone(), (now, *usage))).collect();
        let requests = self.requests(&mut latest.requests);
        let dir = self.ctx.config.data.dir.clone();
        let host = tokio::task::spawn_blocking(move || host::read(&dir)).await.ok().flatten();
        if let Some(read) = host {
            let sample = measured(self.host.as_ref(), &read);
            self.sums.entry(HOST.to_owned()).or_default().host.get_or_insert_default().add(&sample);
            self.host = Some(read);
        }
        *self.ctx.insight.latest.lock().unwrap_or_else(PoisonError::into_inner) =
            Latest { replicas, requests, host, measured: Arc::new(latest) };
    }

    async fn replicas(&self) -> Vec<(Replica, Usage)> {
        let Ok(all) = self.engine.observe().await else { return Vec::new() };
        let running = all.into_iter().filter(|r| r.state == ReplicaState::Running);
        let engine = &self.engine;
        let used = |replica: Replica| async move {
            let usage = engine.usage(&replica.id).await.ok()?;
            Some((replica, usage))
        };
        stream::iter(running).map(used).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    /// Since the last look at it, or since its start.
    fn used(&self, replica: &Replica, usage: Usage, now: Timestamp) -> ReplicaSample {
        let (since, before) = match self.usages.get(&replica.id) {
            Some((at, before)) => (*at, before.cpu_nanos),
            None => (replica.started_at.unwrap_or(now), 0),
        };
        let millis = u64::try_from(now.since(since)).unwrap_or(0).max(1);
        let cpu_millis = usage.cpu_nanos.saturating_sub(before) / 1000 / millis;
        let memory = usage.memory_bytes;
        let disk_bytes = self.ctx.insight.written().get(&replica.id).copied().unwrap_or(0);
        let (cpu_most, memory_bytes, memory_most) = (cpu_millis, memory, memory);
        ReplicaSample { readings: 1, cpu_millis, cpu_most, memory_bytes, memory_most, disk_bytes }
    }

    /// Adds what was counted since the last look, and notes it; the counts as they stand.
    fn requests(&mut self, new: &mut HashMap<EnvironmentId, Requests>) -> BTreeMap<EnvironmentId, Reading> {
        let table = Arc::clone(&self.table.borrow());
        let mut all = BTreeMap::new();
        for (_, target) in table.routes() {
            let Ok(id) = target.meter.environment().parse::<EnvironmentId>() else { continue };
            all.insert(id, target.meter.read());
        }
        for (id, reading) in &all {
            let counted = counted(self.readings.get(id), reading);
            if !counted.is_empty() {
                self.sums.entry(id.to_string()).or_default().requests.add(&counted);
                new.insert(id.clone(), counted);
            }
        }
        self.readings = all.clone().into_iter().collect();
        all
    }

    async fn write(&mut self, now: Timestamp) {
        // A step belongs to the time in which it was measured.
        let at = std::mem::replace(&mut self.written_at, now);
        let sums = std::mem::take(&mut self.sums);
        if let Err(error) = self.written(at, &sums, now).await {
            tracing::warn!(error = error.for_log(), "measurements could not be kept");
        }
    }

    async fn written(&mut self, at: Timestamp, sums: &BTreeMap<String, Sample>, now: Timestamp) -> Result<()> {
        let mut tx = self.ctx.store.begin().await?;
        for (subject, sample) in sums {
            for (step, _) in STEPS {
                store::metrics::add(&mut tx, subject, step, at, sample).await?;
            }
        }
        if now.since(self.purged_at) > PURGE_EVERY_MILLIS {
            for (step, seconds) in STEPS {
                store::metrics::purge(&mut tx, step, now.plus_millis(-seconds * 1000)).await?;
            }
            self.purged_at = now;
        }
        tx.commit().await
    }
}

fn counted(before: Option<&Reading>, now: &Reading) -> Requests {
    let none = Reading::default();
    // Counts that went back are those of a new meter.
    let total = |reading: &Reading| reading.statuses.iter().sum::<u64>();
    let before = before.filter(|before| total(before) <= total(now)).unwrap_or(&none);
    let mut counted = Requests {
        statuses: now.statuses,
        latency: now.latency.to_vec(),
        micros: now.micros.saturating_sub(before.micros),
        in_flight_most: now.in_flight,
    };
    counted.statuses.iter_mut().zip(before.statuses).for_each(|(a, b)| *a = a.saturating_sub(b));
    counted.latency.iter_mut().zip(before.latency).for_each(|(a, b)| *a = a.saturating_sub(b));
    counted
}

fn measured(before: Option<&HostReading>, now: &HostReading) -> HostSample {
    let (busy, ticks) = before.map_or((0, 0), |b| (now.busy.saturating_sub(b.busy), now.ticks.saturating_sub(b.ticks)));
    HostSample {
        readings: 1,
        cpu_millis: (busy * 1000 * now.processors).checked_div(ticks).unwrap_or(0),
        processors: now.processors,
        memory_bytes: now.memory_bytes,
        memory_total: now.memory_total,
        disk_bytes: now.disk_bytes,
        disk_total: now.disk_total,
    }
}

impl Latest {
    /// What an environment is known by in the store's samples.
    pub(super) fn subject(id: &EnvironmentId) -> &str {
        id.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_counts() {
        let mut first = Reading { statuses: [0, 5, 0, 0, 0], micros: 100, in_flight: 2, ..Reading::default() };
        first.latency[0] = 5;
        let mut second = Reading { statuses: [0, 7, 0, 1, 0], micros: 150, ..first.clone() };
        second.latency[0] = 8;
        assert_eq!(counted(None, &first).count(), 5);
        let new = counted(Some(&first), &second);
        assert_eq!((new.statuses, new.latency[0], new.micros, new.in_flight_most), ([0, 2, 0, 1, 0], 3, 50, 2));
        assert_eq!(counted(Some(&second), &first).count(), 5, "another meter");
    }

    #[test]
    fn the_first_look_at_a_machine_knows_no_rate() {
        let now = HostReading { busy: 50, ticks: 200, processors: 2, ..HostReading::default() };
        assert_eq!(measured(None, &now).cpu_millis, 0);
        let before = HostReading { busy: 0, ticks: 100, ..now };
        assert_eq!(measured(Some(&before), &now).cpu_millis, 1000);
    }
}
