//! Drains: verbs, and the task behind each. A drain follows the kept log from when it was made, or from the start of
//! the server, on; what it cannot hand over is tried again with growing pauses while a bounded number of lines waits;
//! more are dropped and counted.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::check_address;
use crate::base::access::{Action, Actor, Scope};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{App, Drain, DrainId, Environment, EnvironmentId, Id, OutboundUrl};
use crate::machinery::outbound::{Guard, Outlet, Parcel};
use crate::product::Ctx;
use crate::state::logs::kept::{Query, Record};
use crate::state::store::{Tx, apps, drains as rows, environments};

const MOST_DRAINS: usize = 10;
/// Lines that wait for one drain.
const MOST_WAITING: usize = 5_000;
const BATCH: usize = 200;
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How soon drains and environments made elsewhere are found.
const LOOK: Duration = Duration::from_secs(5);

/// How a drain does, since the start of the server.
#[derive(Debug, Clone, Default)]
pub struct DrainHealth {
    pub sent: u64,
    pub dropped: u64,
    pub waiting: u64,
    pub last_sent_at: Option<Timestamp>,
    /// Why lines wait now.
    pub fault: Option<String>,
}

/// What the tasks tell the verbs.
#[derive(Default)]
pub(super) struct Drains {
    health: Mutex<HashMap<DrainId, DrainHealth>>,
    changed: Notify,
}

impl Drains {
    fn health(&self) -> MutexGuard<'_, HashMap<DrainId, DrainHealth>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: &DrainId, note: impl FnOnce(&mut DrainHealth)) {
        note(self.health().entry(id.clone()).or_default());
    }
}

pub async fn drains(ctx: &Ctx, actor: &Actor, app: &App) -> Result<Vec<(Drain, DrainHealth)>> {
    actor.may(Action::ViewApp, &app.into())?;
    let all = rows::of_app(&mut ctx.store.read().await?, &actor.scope(), &app.id).await?;
    let health = ctx.insight.drains.health();
    Ok(all.into_iter().map(|drain| (drain.clone(), health.get(&drain.id).cloned().unwrap_or_default())).collect())
}

/// Lines may hold what only those who deploy may see go elsewhere.
pub async fn add_drain(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: Option<&Environment>,
    address: &str,
) -> Result<Drain> {
    actor.may(Action::WriteVariables, &app.into())?;
    let url: OutboundUrl = address.parse().map_err(|e| Error::invalid("url", format!("{e}")))?;
    check_address(ctx, &url)?;
    let mut tx = ctx.store.begin().await?;
    if rows::of_app(&mut tx, &actor.scope(), &app.id).await?.len() >= MOST_DRAINS {
        return Err(Error::limit(format!("an app has at most {MOST_DRAINS} drains; remove one first")));
    }
    let drain = Drain {
        id: DrainId::fresh(),
        app_id: app.id.clone(),
        environment_id: environment.map(|e| e.id.clone()),
        shown: url.shown(),
        created_at: ctx.now(),
    };
    let scope = app.organization_id.to_string();
    let sealed = ctx.vault.seal(&mut tx, &scope, &bound_to(&drain.id), address.as_bytes()).await?;
    rows::insert(&mut tx, &drain, &sealed).await?;
    tx.commit().await?;
    ctx.insight.drains.changed.notify_one();
    tracing::info!(app.id = %app.id, drain.id = %drain.id, drain.address = drain.shown, user.id = %actor.user.id, "drain added");
    Ok(drain)
}

pub async fn remove_drain(ctx: &Ctx, actor: &Actor, app: &App, id: &str) -> Result<()> {
    actor.may(Action::WriteVariables, &app.into())?;
    let absent = || Error::not_found("drain");
    let id: DrainId = id.parse().map_err(|_| absent())?;
    let mut tx = ctx.store.begin().await?;
    if !rows::delete(&mut tx, &actor.scope(), &app.id, &id).await? {
        return Err(absent());
    }
    tx.commit().await?;
    ctx.insight.drains.changed.notify_one();
    tracing::info!(app.id = %app.id, drain.id = %id, user.id = %actor.user.id, "drain removed");
    Ok(())
}

fn bound_to(id: &DrainId) -> String {
    format!("drains/{id}")
}

/// One environment that a drain takes the lines of.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Source {
    environment: EnvironmentId,
    app: String,
    name: String,
}

/// Keeps a task for each drain, until `shutdown`.
pub async fn run_drains(ctx: Ctx, shutdown: CancellationToken) {
    let mut running: HashMap<DrainId, (Vec<Source>, CancellationToken)> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        match wanted(&ctx).await {
            Ok(wanted) => {
                running.retain(|id, (sources, stop)| {
                    let stays = wanted.get(id).is_some_and(|(_, now)| now == sources);
                    if !stays {
                        stop.cancel();
                    }
                    stays
                });
                ctx.insight.drains.health().retain(|id, _| wanted.contains_key(id));
                for (id, (url, sources)) in wanted {
                    if running.contains_key(&id) {
                        continue;
                    }
                    let stop = shutdown.child_token();
                    running.insert(id.clone(), (sources.clone(), stop.clone()));
                    let ctx = ctx.clone();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = drain(ctx, id, url, sources) => {}
                            () = stop.cancelled() => {}
                        }
                    });
                }
            }
            Err(error) => tracing::warn!(error = error.for_log(), "drains cannot be looked up now"),
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = ctx.insight.drains.changed.notified() => {}
            Some(_) = tasks.join_next() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    tasks.shutdown().await;
}

async fn wanted(ctx: &Ctx) -> Result<HashMap<DrainId, (OutboundUrl, Vec<Source>)>> {
    let mut tx = ctx.store.read().await?;
    let all = rows::all(&mut tx).await?;
    if all.is_empty() {
        return Ok(HashMap::new());
    }
    let mut wanted = HashMap::new();
    for (drain, sealed) in all {
        match one(ctx, &mut tx, &drain, &sealed).await {
            Ok(found) => drop(wanted.insert(drain.id, found)),
            Err(error) => tracing::warn!(drain.id = %drain.id, error = error.for_log(), "a drain cannot be read"),
        }
    }
    Ok(wanted)
}

async fn one(ctx: &Ctx, tx: &mut Tx, drain: &Drain, sealed: &[u8]) -> Result<(OutboundUrl, Vec<Source>)> {
    let app = apps::find(tx, &Scope::Platform, &drain.app_id).await?.ok_or_else(|| Error::not_found("app"))?;
    let plain = ctx.vault.unseal(tx, &app.organization_id.to_string(), &bound_to(&drain.id), sealed).await?;
    let text = std::str::from_utf8(plain.reveal()).map_err(|_| Error::internal("an address that is no text"))?;
    let url = text.parse().map_err(|_| Error::internal("an address that is none"))?;
    let mut sources: Vec<Source> = environments::of_app(tx, &Scope::Platform, &app.id)
        .await?
        .into_iter()
        .filter(|e| drain.environment_id.as_ref().is_none_or(|id| *id == e.id))
        .map(|e| Source { environment: e.id, app: app.name.to_string(), name: e.name.to_string() })
        .collect();
    sources.sort();
    Ok((url, sources))
}

/// Reads on while it cannot send, so that it is the drain that drops, and tells.
async fn drain(ctx: Ctx, id: DrainId, url: OutboundUrl, sources: Vec<Source>) {
    let mut lines = lines(&ctx, &sources);
    let waiting = Arc::new(Waiting::default());
    let reading = async {
        while let Some(parcel) = lines.next().await {
            waiting.push(parcel, &ctx, &id);
        }
    };
    tokio::join!(reading, send(&ctx, &id, &url, &waiting));
}

fn lines(ctx: &Ctx, sources: &[Source]) -> BoxStream<'static, Parcel> {
    let mut streams = Vec::new();
    for source in sources.iter().cloned() {
        match ctx.insight.logs.follow(&source.environment, &Query::default()) {
            Ok(records) => streams.push(records.map(move |record| parcel(&source, record)).boxed()),
            Err(error) => tracing::warn!(error = error.for_log(), "a drain cannot follow a log"),
        }
    }
    stream::select_all(streams).boxed()
}

fn parcel(source: &Source, record: Record) -> Parcel {
    Parcel {
        at: record.at,
        app: source.app.clone(),
        environment: source.name.clone(),
        source: record.source.as_str(),
        name: record.name,
        error: record.mark.is_some_and(|mark| mark.stream.ends_with('e')),
        text: record.text,
    }
}

#[derive(Default)]
struct Waiting {
    lines: Mutex<VecDeque<Parcel>>,
    more: Notify,
}

impl Waiting {
    fn push(&self, parcel: Parcel, ctx: &Ctx, id: &DrainId) {
        let mut lines = self.lines();
        if lines.len() >= MOST_WAITING {
            drop(lines);
            return ctx.insight.drains.note(id, |health| health.dropped += 1);
        }
        lines.push_back(parcel);
        drop(lines);
        self.more.notify_one();
    }

    /// The oldest ones; they wait on until `done`.
    async fn batch(&self) -> Vec<Parcel> {
        loop {
            let more = self.more.notified();
            let batch: Vec<Parcel> = self.lines().iter().take(BATCH).cloned().collect();
            if !batch.is_empty() {
                return batch;
            }
            more.await;
        }
    }

    fn done(&self, count: usize) -> u64 {
        let mut lines = self.lines();
        lines.drain(..count);
        lines.len() as u64
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<Parcel>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(ctx: &Ctx, id: &DrainId, url: &OutboundUrl, waiting: &Waiting) {
    let guard = Guard { private: ctx.config.outbound.private };
    let mut outlet: Option<Outlet> = None;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let batch = waiting.batch().await;
        let sent = async {
            let mut open = match outlet.take() {
                Some(open) => open,
                None => Outlet::open(url, guard).await?,
            };
            open.send(&batch).await?;
            Ok::<_, crate::machinery::outbound::OutboundError>(open)
        };
        match sent.await {
            Ok(open) => {
                outlet = Some(open);
                pause = SHORTEST_PAUSE;
                let left = waiting.done(batch.len());
                ctx.insight.drains.note(id, |health| {
                    health.sent += batch.len() as u64;
                    health.waiting = left;
                    health.last_sent_at = Some(ctx.now());
                    health.fault = None;
                });
            }
            Err(error) => {
                // What was refused stays refused until the operator decides otherwise.
                pause = if error.is_temporary() { pause } else { LONGEST_PAUSE };
                let left = waiting.lines().len() as u64;
                ctx.insight.drains.note(id, |health| {
                    health.fault = Some(error.to_string());
                    health.waiting = left;
                });
                tracing::debug!(drain.id = %id, %error, "a drain does not take lines now");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
