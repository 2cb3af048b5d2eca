//! The loop around `mind`: look, decide, start what is not under way yet, publish, write the status. One look takes
//! milliseconds; whatever takes longer runs as a task whose end is a wake-up.

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
use super::desired::{Desired, Settings};
use super::mind::{Mind, News, blocked, can_never_be_live};
use super::observed::by_environment;
use super::questions::Questions;
use super::table::Publisher;
use crate::base::clock::{SteadyClock, Timestamp};
use crate::base::error::{Error, Result};
use crate::base::model::{EnvironmentId, EnvironmentStatus, Generation, Host, Release, ReleaseId, WorkloadId};
use crate::machinery::proxy::RouteTable;
use crate::machinery::runtime::{Engine, EngineError};
use crate::product::Ctx;
use crate::product::builds::Builder;
use crate::state::store;

/// The safety net under all signals.
const TIMER: Duration = Duration::from_secs(5);

pub struct Converger {
    hands: Hands,
    wake: Arc<Notify>,
    ticks: watch::Sender<u64>,
    mind: Mind,
    chronicle: Chronicle,
    board: Board,
    tasks: JoinSet<(Busy, Outcome)>,
    engine_lost: bool,
    /// Of the last look.
    releases: HashMap<ReleaseId, Release>,
}

impl Converger {
    pub fn new(
        ctx: Ctx,
        engine: Arc<dyn Engine>,
        builder: Arc<Builder>,
        table: watch::Sender<Arc<RouteTable>>,
        api: Option<(Host, std::net::SocketAddr)>,
    ) -> Self {
        let (settings, runtime) = (Settings::from(&ctx.config.runtime), ctx.config.runtime.clone());
        let wake = Arc::clone(&ctx.wake);
        let chronicle = Chronicle::new(ctx.clone(), Arc::clone(&engine));
        let (steady, questions) = (Arc::new(SteadyClock::from(&*ctx.clock)), Questions::new(Arc::clone(&engine)));
        Self {
            chronicle,
            hands: Hands { steady, ctx, engine, builder, questions },
            wake: Arc::clone(&wake),
            ticks: watch::Sender::new(0),
            mind: Mind::new(settings, runtime, Publisher::new(table, api, wake)),
            board: Board::default(),
            tasks: JoinSet::new(),
            engine_lost: false,
            releases: HashMap::new(),
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
            let now = self.hands.steady.now();
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
                return Ok(Some(self.hands.steady.now().plus_millis(1000)));
            }
        };
        let mut tx = self.hands.ctx.store.read().await?;
        let all = Desired::all(&mut tx, &mut self.releases).await?;
        drop(tx);
        let mut stamped = replicas.clone();
        self.mind.take_in(&all, &mut replicas, (self.hands.steady.now(), self.hands.ctx.clock.now()));
        self.mind.weigh(&all, &replicas, &self.hands.ctx.insight.written(), self.hands.steady.now());
        let taken: HashSet<&str> = replicas.iter().map(|r| r.id.as_str()).collect();
        stamped.retain(|of| taken.contains(of.id.as_str()));
        by_environment(&mut stamped);
        self.board.put_up(&self.mind.memory);
        self.chronicle.observed(&all, &stamped, &self.mind.memory, self.hands.steady.now()).await;
        let decided = self.mind.decide(&all, &replicas, &self.hands.ctx.insight.measured(), self.hands.steady.now());
        for (busy, order) in self.mind.orders() {
            let task = self.hands.clone().carry_out(order);
            self.tasks.spawn(async move { (busy, task.await) });
        }
        self.chronicle.routed(&all, &decided.entries, &replicas).await;
        // The route is published before anybody can read that it is live.
        self.write(decided.statuses.into_iter().map(|(place, status)| (&all[place], status)).collect()).await?;
        Ok(decided.look_again_at)
    }

    async fn write(&mut self, statuses: Vec<(&Desired, EnvironmentStatus)>) -> Result<()> {
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

    async fn finished(&mut self, done: Result<(Busy, Outcome), tokio::task::JoinError>) {
        let (busy, outcome) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a task of the converger died");
                return self.mind.lost_count();
            }
        };
        let now = self.hands.steady.now();
        match self.mind.finished(busy, outcome, now) {
            None => {}
            Some(News::Refused { workload, generation, error }) => self.refuse(workload, generation, error, now).await,
            Some(News::GaveUp { environment, generation, reason }) => {
                if let Err(error) = self.block(&environment, generation, reason).await {
                    tracing::error!(environment.id = %environment, error = error.for_log(), "a status could not be written");
                }
            }
        }
    }

    /// The engine said no. What can never become live blocks its environment at once; what is live is tried again later.
    async fn refuse(&mut self, workload: WorkloadId, generation: Generation, error: EngineError, now: Timestamp) {
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
        self.mind.refuse(workload, cause, now);
    }

    /// Blocks the environment if `rollout` is its desired one and not live yet.
    async fn block_new_rollout(&self, id: &EnvironmentId, rollout: Generation, reason: String) -> Result<bool> {
        let environment = {
            let mut tx = self.hands.ctx.store.read().await?;
            store::environments::find(&mut tx, &crate::base::access::Scope::Platform, id).await?
        };
        match environment {
            Some(e) if can_never_be_live(&e, rollout) => {
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
        let status = blocked(&environment, reason);
        store::environments::write_status(&mut tx, id, &status).await?;
        chronicle::tell_block(&mut tx, &environment, &status, self.hands.ctx.clock.now()).await?;
        tx.commit().await
    }
}

/// The next event; never resolves without a stream, so that the timer goes on.
async fn next(events: &mut Option<futures_util::stream::BoxStream<'static, ()>>) -> Option<()> {
    match events {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
