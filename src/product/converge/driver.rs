//! The loop around the planner: look, plan, start what is not under way yet, publish, write the
//! status. One look takes milliseconds; whatever takes longer runs as a task whose end is a wake-up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Handle;
use super::apply::{Busy, Hands, Outcome};
use super::board::Board;
use super::chronicle::{self, Chronicle};
use super::desired::{Desired, Settings, default_check};
use super::observed::Memory;
use super::plan::{self, Change, Changes};
use super::scale::{Demand, Load, by_use, used};
use super::table::{Entry, Publisher};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{
    EnvironmentId, EnvironmentState, Generation, HealthCheck, Host, Replica, ReplicaState, Strategy, WorkloadId,
};
use crate::machinery::proxy::RouteTable;
use crate::machinery::runtime::Engine;
use crate::product::Ctx;
use crate::product::builds::Builder;
use crate::state::store;

/// The safety net under all signals.
const TIMER: Duration = Duration::from_secs(5);
/// A workload that the engine refused is asked for again after this long.
const REFUSED_PAUSE_MILLIS: i64 = 5_000;

pub struct Converger {
    hands: Hands,
    settings: Settings,
    wake: Arc<Notify>,
    ticks: watch::Sender<u64>,
    publisher: Publisher,
    chronicle: Chronicle,
    memory: Memory,
    board: Board,
    counted_crashes: HashSet<String>,
    refused: HashMap<WorkloadId, (Timestamp, String)>,
    busy: HashSet<Busy>,
    /// Which checks each replica is being asked, and how to end that.
    asked: HashMap<String, (Vec<HealthCheck>, CancellationToken)>,
    tasks: JoinSet<(Busy, Outcome)>,
    engine_lost: bool,
}

impl Converger {
    pub fn new(
        ctx: Ctx,
        engine: Arc<dyn Engine>,
        builder: Arc<Builder>,
        table: watch::Sender<Arc<RouteTable>>,
        api: Option<(Host, std::net::SocketAddr)>,
    ) -> Self {
        let settings = Settings::from(&ctx.config.runtime);
        let wake = Arc::clone(&ctx.wake);
        let chronicle = Chronicle::new(ctx.clone(), Arc::clone(&engine));
        Self {
            chronicle,
            hands: Hands { ctx, engine, builder },
            settings,
            wake: Arc::clone(&wake),
            ticks: watch::Sender::new(0),
            publisher: Publisher::new(table, api, Arc::clone(&wake)),
            memory: Memory::default(),
            board: Board::default(),
            counted_crashes: HashSet::new(),
            refused: HashMap::new(),
            busy: HashSet::new(),
            asked: HashMap::new(),
            tasks: JoinSet::new(),
            engine_lost: false,
        }
    }

    /// What is known of replicas is put up there.
    #[must_use]
    pub fn showing(self, board: Board) -> Self {
        Self { board, ..self }
    }

    pub fn handle(&self) -> Handle {
        Handle { wake: Arc::clone(&self.wake), ticks: self.ticks.subscribe() }
    }

    /// Runs until told to stop. Replicas go on running: another process adopts them from what it observes.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut events = None;
        loop {
            if events.is_none() {
                events = self.hands.engine.events().await.ok();
            }
            let look_again = match self.look().await {
                Ok(at) => at,
                Err(error) => {
                    tracing::error!(error = error.for_log(), "the converger could not look");
                    None
                }
            };
            self.ticks.send_modify(|tick| *tick += 1);
            let now = self.hands.ctx.clock.now();
            let pause = look_again
                .map_or(TIMER, |at| Duration::from_millis(u64::try_from(at.since(now)).unwrap_or(0).max(1)).min(TIMER));
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.wake.notified() => {}
                Some(done) = self.tasks.join_next() => self.finished(done).await,
                event = next(&mut events) => if event.is_none() { events = None },
                () = tokio::time::sleep(pause) => {}
            }
            while let Some(done) = self.tasks.try_join_next() {
                self.finished(done).await;
            }
        }
        self.tasks.abort_all();
    }

    async fn look(&mut self) -> Result<Option<Timestamp>> {
        let mut replicas = match self.hands.engine.observe().await {
            Ok(replicas) => {
                if std::mem::take(&mut self.engine_lost) {
                    tracing::info!("the engine answers again");
                }
                replicas
            }
            Err(error) => {
                if !std::mem::replace(&mut self.engine_lost, true) {
                    tracing::error!(error = %Error::internal(error).for_log(), "the engine does not answer; what is routed stays routed");
                }
                return Ok(Some(self.hands.ctx.clock.now().plus_millis(1000)));
            }
        };
        let mut tx = self.hands.ctx.store.read().await?;
        let all = Desired::all(&mut tx).await?;
        drop(tx);
        self.memory.keep_only(&replicas);
        replicas.retain(|replica| !self.memory.has_been_stopped(replica));
        self.board.put_up(&self.memory);
        let runs = |id: &String| replicas.iter().any(|r| r.id == *id && r.state == ReplicaState::Running);
        self.asked.iter().filter(|(id, _)| !runs(id)).for_each(|(_, (_, stop))| stop.cancel());
        self.count_crashes(&all, &replicas);
        self.chronicle.observed(&all, &replicas, &self.memory).await;
        self.orphans(&all, &replicas);
        let now = self.hands.ctx.clock.now();
        let mut look_again: Option<Timestamp> = None;
        let mut entries = Vec::new();
        let mut statuses = Vec::new();
        for desired in &all {
            let mut observed = self.memory.observe(&desired.environment.id, &replicas, |id| self.publisher.traffic(id));
            observed.load = self.load(desired, &replicas, now);
            let changes = plan::plan(desired, &observed, now, &self.settings);
            look_again = earliest(look_again, changes.look_again_at);
            entries.push(Entry {
                environment: desired.environment.id.clone(),
                app: desired.app.name.to_string(),
                hosts: desired.hosts.clone(),
                routed: changes.routed.clone(),
                share: changes.share.clone(),
                // Requests wait for the one that was stopped to make room for one that failed.
                state: if changes.holds { EnvironmentState::Converging } else { changes.status.state },
            });
            self.start(desired, &changes, &replicas, now);
            let mut status = changes.status;
            let gives_up = changes.list.iter().any(|c| matches!(c, Change::GiveUp { .. }));
            if status.reason.is_none() {
                status.reason = self.refusal(&desired.environment.id);
            }
            if !gives_up && status != desired.environment.status {
                statuses.push((desired, status));
            }
        }
        if let Some(left) = self.publisher.publish(&entries, &replicas) {
            for replica in left {
                self.memory.leaving.insert(replica, now);
            }
        }
        self.chronicle.routed(&all, &entries, &replicas).await;
        // The route is published before anybody can read that it is live.
        self.write(statuses).await?;
        Ok(look_again)
    }

    async fn write(&mut self, statuses: Vec<(&Desired, crate::base::model::EnvironmentStatus)>) -> Result<()> {
        if statuses.is_empty() {
            return Ok(());
        }
        let mut tx = self.hands.ctx.store.begin().await?;
        for (desired, status) in &statuses {
            store::environments::write_status(&mut tx, &desired.environment.id, status).await?;
            let now = self.hands.ctx.clock.now();
            chronicle::tell_state(&mut tx, &desired.environment, status, desired.release.as_ref(), now).await?;
            chronicle::tell_scaled(&mut tx, &desired.environment, status, now).await?;
        }
        tx.commit().await?;
        for (desired, status) in statuses {
            if status.state != desired.environment.status.state {
                tracing::info!(
                    environment.id = %desired.environment.id, app.name = %desired.app.name,
                    state = ?status.state, rollout = %desired.rollout(), "environment changed state"
                );
            }
        }
        Ok(())
    }

    fn start(&mut self, desired: &Desired, changes: &Changes, replicas: &[Replica], now: Timestamp) {
        let find = |id: &str| replicas.iter().find(|r| r.id == id).cloned();
        let hands = self.hands.clone();
        for change in changes.list.clone() {
            match change {
                Change::Ensure { workload, generation, count } => {
                    if self.refused.get(&workload).is_some_and(|(at, _)| now.since(*at) < REFUSED_PAUSE_MILLIS) {
                        continue;
                    }
                    // Its successor would be given the name of one that is not quite gone; the end of that brings us back.
                    if self.busy.iter().any(|busy| matches!(busy, Busy::Remove(of, _) if *of == workload)) {
                        continue;
                    }
                    let of_live = generation != desired.rollout();
                    let of_it =
                        if of_live { desired.live_processes(&changes.status.scaled) } else { desired.processes() };
                    let Some(process) = of_it.into_iter().find(|p| p.id == workload) else { continue };
                    let task = hands.clone().ensure(desired.clone(), process, generation, count);
                    if self.spawn(Busy::Ensure(workload.clone()), task) {
                        let of_it = |r: &&Replica| r.workload == workload && r.generation == generation;
                        let surplus = replicas.iter().filter(of_it).filter(|r| r.ordinal > count);
                        self.memory.doomed.extend(surplus.map(|r| (r.id.clone(), workload.clone())));
                    }
                }
                Change::Probe { replica } => {
                    if let Some(replica) = find(&replica) {
                        self.ask(desired, replica, now);
                    }
                }
                Change::Retire { workload, below } => {
                    if self.spawn(Busy::Retire(workload.clone()), hands.clone().retire(workload.clone(), below)) {
                        let goes = replicas.iter().filter(|r| r.workload == workload && r.generation < below);
                        self.memory.doomed.extend(goes.map(|r| (r.id.clone(), workload.clone())));
                    }
                }
                Change::Stop { replica } => {
                    let Some(replica) = find(&replica) else { continue };
                    let busy = Busy::Remove(replica.workload.clone(), replica.id.clone());
                    let (id, workload) = (replica.id.clone(), replica.workload.clone());
                    if self.spawn(busy, hands.clone().stop(replica)) {
                        self.memory.doomed.insert(id, workload);
                    }
                }
                Change::Remove { replica } => {
                    let Some(replica) = find(&replica) else { continue };
                    let busy = Busy::Remove(replica.workload.clone(), replica.id.clone());
                    self.spawn(busy, hands.clone().remove(replica));
                }
                Change::GiveUp { replica, cause } => {
                    let replica = replica.as_deref().and_then(find);
                    let vital = replica.as_ref().and_then(|r| self.memory.vitals.get(&r.id));
                    let fault = vital.and_then(|vital| vital.standing.fault.clone());
                    let busy = Busy::GiveUp(desired.environment.id.clone());
                    self.spawn(busy, hands.clone().give_up(desired.clone(), replica, cause, fault));
                }
            }
        }
    }

    /// Asks the replica its checks. Where it is being asked others, that ends, and its end brings us back here.
    fn ask(&mut self, desired: &Desired, replica: Replica, now: Timestamp) {
        let processes = match replica.generation {
            generation if generation == desired.rollout() => desired.processes(),
            generation if generation == desired.status().live => desired.live_processes(&desired.status().scaled),
            _ => Vec::new(),
        };
        let wanted = processes.into_iter().find(|p| p.id == replica.workload);
        // The checks of one release say nothing of the replicas of another.
        let checks = wanted.map_or_else(|| vec![default_check(&replica.workload.process)], |process| process.checks);
        if let Some((asked, stop)) = self.asked.get(&replica.id) {
            if *asked != checks {
                stop.cancel();
            }
            return;
        }
        let vital = self.memory.vitals.entry(replica.id.clone()).or_default();
        vital.follow(&checks, replica.started_at.unwrap_or(now));
        if vital.is_settled() {
            return;
        }
        let (vital, stop) = (vital.clone(), CancellationToken::new());
        self.asked.insert(replica.id.clone(), (checks, stop.clone()));
        self.spawn(Busy::Probe(replica.id.clone()), self.hands.clone().probe(replica, vital, stop));
    }

    /// False when that is under way already.
    fn spawn(&mut self, busy: Busy, task: impl Future<Output = Outcome> + Send + 'static) -> bool {
        let is_new = self.busy.insert(busy.clone());
        if is_new {
            self.tasks.spawn(async move { (busy, task.await) });
        }
        is_new
    }

    async fn finished(&mut self, done: Result<(Busy, Outcome), tokio::task::JoinError>) {
        let (busy, outcome) = match done {
            Ok(done) => done,
            Err(error) => {
                // Which task it was is lost with it: let all of them be planned anew.
                tracing::error!(%error, "a task of the converger died");
                self.busy.clear();
                self.memory.doomed.clear();
                self.asked.clear();
                return;
            }
        };
        self.busy.remove(&busy);
        if let Busy::Ensure(workload) | Busy::Retire(workload) = &busy {
            // Whatever is still there was not stopped after all, unless its own stop is under way.
            let own = |id: &String| self.busy.contains(&Busy::Remove(workload.clone(), id.clone()));
            self.memory.doomed.retain(|id, of| of != workload || own(id));
        }
        if let Busy::Remove(_, replica) = &busy {
            self.memory.doomed.remove(replica);
        }
        let now = self.hands.ctx.clock.now();
        match outcome {
            Outcome::Done => {
                if let Busy::Ensure(workload) = &busy {
                    self.refused.remove(workload);
                }
            }
            Outcome::Asked { replica, vital } => {
                self.asked.remove(&replica);
                self.memory.vitals.insert(replica, vital);
            }
            Outcome::Failed { workload, generation, error } => self.refuse(workload, generation, error, now).await,
            Outcome::Unapplied { error } => {
                tracing::error!(error = error.for_log(), "a change could not be applied");
                if let Busy::Ensure(workload) = busy {
                    self.refused.insert(workload, (now, error.public));
                }
            }
            Outcome::GaveUp { environment, generation, reason } => {
                if let Err(error) = self.block(&environment, generation, reason).await {
                    tracing::error!(environment.id = %environment, error = error.for_log(), "a status could not be written");
                }
            }
        }
    }

    /// The engine said no. What can never become live blocks its environment at once; what is live is tried again later.
    async fn refuse(
        &mut self,
        workload: WorkloadId,
        generation: Generation,
        error: crate::machinery::runtime::EngineError,
        now: Timestamp,
    ) {
        let temporary = error.is_temporary();
        let text = Error::internal(error).for_log();
        let cause = text.split_once(": ").map_or(text.as_str(), |(_, cause)| cause).to_owned();
        tracing::warn!(environment.id = %workload.environment, process = %workload.process, generation = %generation, error = cause, "the engine refused a change");
        if !temporary {
            let reason = format!("{} could not be started\n{cause}", workload.process);
            match self.block_new_rollout(&workload.environment, generation, reason).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::error!(error = error.for_log(), "a status could not be written"),
            }
        }
        self.refused.insert(workload, (now, cause));
    }

    /// Blocks the environment if `rollout` is its desired one and not live yet.
    async fn block_new_rollout(&self, id: &EnvironmentId, rollout: Generation, reason: String) -> Result<bool> {
        let environment = {
            let mut tx = self.hands.ctx.store.read().await?;
            store::environments::find(&mut tx, &crate::base::access::Scope::Platform, id).await?
        };
        match environment {
            Some(e) if e.spec.rollout == rollout && e.status.live != rollout => {
                self.block(id, e.generation, reason).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn block(&self, id: &EnvironmentId, generation: i64, reason: String) -> Result<()> {
        let mut tx = self.hands.ctx.store.begin().await?;
        let found = store::environments::find(&mut tx, &crate::base::access::Scope::Platform, id).await?;
        let Some(environment) = found.filter(|e| e.generation == generation) else { return Ok(()) };
        let mut status = environment.status.clone();
        // It was live and is not any more: the one that stood by serves again.
        if let Some(watch) = status.watch.take().filter(|_| status.live == environment.spec.rollout) {
            status.live = watch.previous;
            status.live_release = watch.previous_release;
        }
        status.canary = None;
        // Replica by replica, as it came.
        if environment.spec.strategy == Strategy::Rolling && status.live != Generation::default() {
            status.beside.insert(environment.spec.rollout);
            status.beside.remove(&status.live);
        }
        status.state = EnvironmentState::Blocked;
        status.observed_generation = generation;
        status.reason = Some(reason);
        store::environments::write_status(&mut tx, id, &status).await?;
        chronicle::tell_block(&mut tx, &environment, &status, self.hands.ctx.clock.now()).await?;
        tx.commit().await
    }

    /// What the proxy saw of an environment whose replicas the platform counts.
    fn load(&mut self, desired: &Desired, replicas: &[Replica], now: Timestamp) -> Option<Load> {
        let environment = &desired.environment;
        if environment.spec.scaling.is_empty() {
            self.memory.demands.remove(&environment.id);
            return None;
        }
        let (mut in_flight, mut entered) = (0, 0);
        for replica in replicas.iter().filter(|r| r.workload.environment == environment.id) {
            in_flight += self.publisher.traffic(&replica.id).map_or(0, |routed| routed.in_flight);
            entered += self.publisher.entered(&replica.id);
        }
        // Until it is up, requests wait that count nowhere else.
        let waking = environment.status.state == EnvironmentState::Converging;
        let was_rung = self.publisher.was_rung(&environment.id) || waking;
        let asleep = environment.status.state == EnvironmentState::Asleep;
        let demand = self.memory.demands.entry(environment.id.clone()).or_insert_with(|| Demand::new(asleep, now));
        demand.sample(now, u32::try_from(in_flight).unwrap_or(u32::MAX), entered, was_rung);
        for (process, scaling) in &environment.spec.scaling {
            let measured = self.hands.ctx.insight.measured();
            let size = desired.release_of(environment.status.live).and_then(|release| release.sizes.get(process));
            let limits = self.hands.ctx.config.runtime.limits_of(size);
            demand.measure(measured.at, || {
                let of_it = |r: &&Replica| r.workload.process == *process && r.generation == environment.status.live;
                let live = replicas.iter().filter(|r| r.workload.environment == environment.id).filter(of_it);
                by_use(scaling, &used(&measured, &environment.id, live, limits))
            });
        }
        Some(demand.load(now))
    }

    fn refusal(&self, environment: &EnvironmentId) -> Option<String> {
        self.refused.iter().find(|(id, _)| id.environment == *environment).map(|(_, (_, text))| text.clone())
    }

    /// Each exit of a replica of a live rollout counts once, and each that has to be restarted.
    fn count_crashes(&mut self, all: &[Desired], replicas: &[Replica]) {
        let live: HashMap<&EnvironmentId, Generation> =
            all.iter().map(|d| (&d.environment.id, d.environment.status.live)).collect();
        for replica in replicas {
            let of_live = live.get(&replica.workload.environment) == Some(&replica.generation);
            let at = match replica.state {
                ReplicaState::Exited { at, .. } => at,
                _ if self.memory.is_dead(&replica.id) => self.hands.ctx.clock.now(),
                _ => continue,
            };
            if of_live && self.counted_crashes.insert(replica.id.clone()) {
                self.memory.crashed(replica, at);
                let (environment, workload) = (&replica.workload.environment, &replica.workload);
                match replica.state {
                    ReplicaState::Exited { code, out_of_memory, .. } => tracing::warn!(
                        environment.id = %environment, process = %workload.process,
                        ordinal = replica.ordinal, code, out_of_memory, "a replica exited"
                    ),
                    _ => tracing::warn!(
                        environment.id = %environment, process = %workload.process,
                        ordinal = replica.ordinal, "a replica fails its liveness check and is restarted"
                    ),
                }
            }
        }
        self.counted_crashes.retain(|id| replicas.iter().any(|r| r.id == *id));
    }

    /// Replicas of environments that are no more.
    fn orphans(&mut self, all: &[Desired], replicas: &[Replica]) {
        let known: HashSet<&EnvironmentId> = all.iter().map(|d| &d.environment.id).collect();
        self.memory.demands.retain(|id, _| known.contains(id));
        let hands = self.hands.clone();
        for replica in replicas.iter().filter(|r| !known.contains(&r.workload.environment)) {
            let workload = replica.workload.clone();
            self.spawn(Busy::Retire(workload.clone()), hands.clone().retire(workload, Generation(i64::MAX)));
        }
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The next event; never resolves without a stream, so that the timer goes on.
async fn next(events: &mut Option<futures_util::stream::BoxStream<'static, ()>>) -> Option<()> {
    match events {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
