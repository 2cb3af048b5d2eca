//! What the converger saw, told as events: each thing once, also after a restart, because what it is known by (the
//! engine's id of a replica, the number of a rollout) is unique in the store. Nothing here decides, and what cannot be
//! written now is told at the next look.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;

use super::desired::Desired;
use super::observed::{Memory, of};
use super::table::Entry;
use super::vital::{Death, overfull_text};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{
    CanaryHeld, Environment, EnvironmentId, EnvironmentState, EnvironmentStatus, Event, Failure, Generation, Happened,
    Release, Replica, ReplicaExited, ReplicaFailed, ReplicaReady, ReplicaState, Returned, Routed,
};
use crate::machinery::runtime::Engine;
use crate::product::Ctx;
use crate::state::store::events::{self, NewEvent, Subject};
use crate::state::store::{self, Tx};

/// The end of a log that is kept as evidence of an exit.
const LAST_LINES: usize = 12;
const LONGEST_LINE: usize = 1000;
/// An engine that does not give them in time holds up nobody.
const EVIDENCE: Duration = Duration::from_secs(2);
/// Replicas that are found ready long after their start were ready before this process was.
const FRESH_MILLIS: i64 = 600_000;
/// Readiness is found again by looking: so long after the start, no route that was lost is believed.
const SETTLING_MILLIS: i64 = 15_000;

pub struct Chronicle {
    ctx: Ctx,
    engine: Arc<dyn Engine>,
    began: Timestamp,
    /// What this process has told, or found told, of replicas and rollouts that are still seen.
    told: HashSet<String>,
    /// What was last told of each route; none until the store was asked.
    routes: Option<HashMap<EnvironmentId, Told>>,
}

struct Told {
    published: bool,
    route: Routed,
}

/// Before it is written.
struct Tale {
    environment: EnvironmentId,
    at: Timestamp,
    happened: Happened,
    subject: String,
    cause: Option<String>,
    once: Option<String>,
}

impl Chronicle {
    pub fn new(ctx: Ctx, engine: Arc<dyn Engine>) -> Self {
        let began = ctx.now();
        Self { ctx, engine, began, told: HashSet::new(), routes: None }
    }

    /// Exits, delays, readiness and new rollouts, before anything of it is cleared away.
    /// `replicas` as the engine stamped them, `by_environment`; `steady` is the time that `memory` goes by.
    pub async fn observed(&mut self, all: &[Desired], replicas: &[Replica], memory: &Memory, steady: Timestamp) {
        let now = self.ctx.now();
        let mut tales = Vec::new();
        for desired in all {
            let (rollout, live) = (desired.rollout(), desired.status().live);
            let once = rollout_once(&desired.environment.id, rollout);
            if let Some(release) = desired.release.as_ref().filter(|_| rollout != live && !self.told.contains(&once)) {
                let happened = Happened::RolloutStarted { release: release.number, rollout: rollout.0 };
                tales.push(tale(desired, now, happened, format!("v{}", release.number), None, Some(once)));
            }
            let here = of(replicas, &desired.environment.id);
            for replica in here.iter().filter(|r| concerns(desired, r)) {
                tales.extend(self.exit(desired, replica).await);
                tales.extend(self.ready(desired, replica, memory));
                tales.extend(self.failure(desired, replica, memory).await);
            }
            tales.extend(self.delays(desired, here, memory, steady));
        }
        let ids: HashSet<&str> = replicas.iter().map(|r| r.id.as_str()).collect();
        self.told.retain(|once| once.split_once('/').is_none_or(|(id, _)| id.contains('_') || ids.contains(id)));
        self.write(tales).await;
    }

    async fn exit(&self, desired: &Desired, replica: &Replica) -> Option<Tale> {
        let ReplicaState::Exited { code, out_of_memory, at } = replica.state else { return None };
        let once = format!("{}/exited", replica.id);
        if self.told.contains(&once) {
            return None;
        }
        let size = desired.release_of(replica.generation).and_then(|r| r.sizes.get(&replica.workload.process));
        let exited = ReplicaExited {
            process: replica.workload.process.clone(),
            ordinal: replica.ordinal,
            rollout: replica.generation.0,
            release: number(desired, replica),
            code,
            out_of_memory,
            memory_limit: self.ctx.config.runtime.limits_of(size).memory_bytes,
            ran_millis: replica.started_at.map(|started| at.since(started).max(0)),
            lines: self.last_lines(&replica.id).await,
        };
        let cause = rollout_once(&desired.environment.id, replica.generation);
        Some(tale(desired, at, Happened::ReplicaExited(exited), called(replica), Some(cause), Some(once)))
    }

    fn ready(&self, desired: &Desired, replica: &Replica, memory: &Memory) -> Option<Tale> {
        let (at, once) = (self.ctx.now(), format!("{}/ready", replica.id));
        let millis = replica.started_at.map(|started| at.since(started).max(0))?;
        if self.told.contains(&once) || millis > FRESH_MILLIS || !memory.is_ready(&replica.id) {
            return None;
        }
        let ready = ReplicaReady {
            process: replica.workload.process.clone(),
            ordinal: replica.ordinal,
            rollout: replica.generation.0,
            release: number(desired, replica),
            millis,
        };
        let cause = rollout_once(&desired.environment.id, replica.generation);
        Some(tale(desired, at, Happened::ReplicaReady(ready), called(replica), Some(cause), Some(once)))
    }

    /// It runs and is replaced all the same.
    async fn failure(&self, desired: &Desired, replica: &Replica, memory: &Memory) -> Option<Tale> {
        let (now, once) = (self.ctx.now(), format!("{}/failed", replica.id));
        let death = memory.death(&replica.id).filter(|_| replica.state == ReplicaState::Running)?;
        if self.told.contains(&once) {
            return None;
        }
        let fault = match death {
            Death::Overfull { bytes, most } => overfull_text(bytes, most),
            Death::Check | Death::Late { .. } => {
                let seen = memory.vitals.get(&replica.id).and_then(|vital| vital.standing.fault.clone());
                seen.map_or_else(|| "gives no answer".to_owned(), |(_, text)| text)
            }
        };
        let failed = ReplicaFailed {
            process: replica.workload.process.clone(),
            ordinal: replica.ordinal,
            rollout: replica.generation.0,
            release: number(desired, replica),
            fault,
            how: match death {
                Death::Check => Failure::Liveness,
                Death::Late { .. } => Failure::Late,
                Death::Overfull { .. } => Failure::Overfull,
            },
            ran_millis: replica.started_at.map(|started| now.since(started).max(0)),
            lines: self.last_lines(&replica.id).await,
        };
        let cause = rollout_once(&desired.environment.id, replica.generation);
        Some(tale(desired, now, Happened::ReplicaFailed(failed), called(replica), Some(cause), Some(once)))
    }

    fn delays(&self, desired: &Desired, replicas: &[Replica], memory: &Memory, steady: Timestamp) -> Vec<Tale> {
        let mut tales = Vec::new();
        for process in desired.processes() {
            let Some(crashes) = memory.crashes.get(&process.id).filter(|c| c.pause_millis() > 0) else { continue };
            let exited = replicas.iter().find(|r| {
                r.workload == process.id
                    && r.generation == desired.rollout()
                    && memory.ended(&r.id) == Some(crashes.last)
            });
            let Some(replica) = exited else { continue };
            let once = format!("{}/delayed", replica.id);
            if self.told.contains(&once) {
                continue;
            }
            let happened = Happened::RestartDelayed {
                process: process.id.process.clone(),
                rollout: replica.generation.0,
                crashes: crashes.count,
                until: self.ctx.now().plus_millis(crashes.last.plus_millis(crashes.pause_millis()).since(steady)),
            };
            let cause = Some(format!("{}/exited", replica.id));
            tales.push(tale(desired, self.ctx.now(), happened, called(replica), cause, Some(once)));
        }
        tales
    }

    /// What the published table says of each environment, `entries` standing in the order of `all`.
    pub async fn routed(&mut self, all: &[Desired], entries: &[Entry], replicas: &[Replica]) {
        let now = self.ctx.now();
        if self.routes.is_none() {
            match self.last_routes().await {
                Ok(routes) => self.routes = Some(routes),
                Err(error) => {
                    return tracing::error!(error = error.for_log(), "what was told of routes cannot be read");
                }
            }
        }
        let mut tales = Vec::new();
        let routes = self.routes.get_or_insert_default();
        for (desired, entry) in all.iter().zip(entries) {
            let id = &desired.environment.id;
            let here = of(replicas, id);
            let route = Routed {
                rollout: rollout_of(&entry.routed, here, desired.status().live).0,
                hosts: entry.hosts.iter().map(ToString::to_string).collect(),
                replicas: entry.routed.clone(),
            };
            let published = !route.replicas.is_empty() && !route.hosts.is_empty();
            let before = routes.get(id);
            let stays = match before {
                Some(before) if before.published && published => {
                    before.route.rollout == route.rollout && before.route.hosts == route.hosts
                }
                Some(before) => before.published == published,
                None => !published,
            };
            // Replicas that run and were not asked yet whether they are ready.
            let settling = !published
                && now.since(self.began) < SETTLING_MILLIS
                && here.iter().any(|r| r.state == ReplicaState::Running);
            if stays || settling {
                if let Some(before) = routes.get_mut(id).filter(|b| b.published && published) {
                    before.route = route;
                }
                continue;
            }
            let (happened, cause) = match before {
                Some(before) if !published => {
                    let mut gone = before.route.replicas.iter().map(|id| format!("{id}/exited"));
                    let cause = gone.rfind(|once| self.told.contains(once));
                    // What was asked for is told as such.
                    if desired.environment.spec.stopped || entry.state == EnvironmentState::Asleep {
                        routes.insert(id.clone(), Told { published, route });
                        continue;
                    }
                    (Happened::RouteWithdrawn(before.route.clone()), cause)
                }
                _ => (Happened::RoutePublished(route.clone()), Some(rollout_once(id, Generation(route.rollout)))),
            };
            let subject = route.hosts.first().cloned().unwrap_or_default();
            tales.push(tale(desired, now, happened, subject, cause, None));
            routes.insert(id.clone(), Told { published, route });
        }
        let known: HashSet<&EnvironmentId> = all.iter().map(|d| &d.environment.id).collect();
        routes.retain(|id, _| known.contains(id));
        self.write(tales).await;
    }

    async fn last_routes(&self) -> Result<HashMap<EnvironmentId, Told>> {
        let last = events::last_routes(&mut self.ctx.store.read().await?).await?;
        let told = |event: Event| {
            let (published, route) = match event.happened {
                Happened::RoutePublished(route) => (true, route),
                Happened::RouteWithdrawn(route) => (false, route),
                _ => return None,
            };
            Some((event.environment_id?, Told { published, route }))
        };
        Ok(last.into_iter().filter_map(told).collect())
    }

    async fn last_lines(&self, replica: &str) -> Vec<String> {
        let read = async {
            let Ok(stream) = self.engine.logs(replica, LAST_LINES, false).await else { return Vec::new() };
            let lines = stream.take(LAST_LINES).filter_map(|line| async { line.ok().map(|l| clipped(l.text)) });
            lines.collect().await
        };
        tokio::time::timeout(EVIDENCE, read).await.unwrap_or_default()
    }

    async fn write(&mut self, tales: Vec<Tale>) {
        if tales.is_empty() {
            return;
        }
        match self.written(&tales).await {
            Ok(()) => {
                self.told.extend(tales.into_iter().filter_map(|tale| tale.once));
                self.ctx.insight.tell();
            }
            Err(error) => tracing::error!(error = error.for_log(), "what the converger saw could not be told"),
        }
    }

    async fn written(&self, tales: &[Tale]) -> Result<()> {
        let mut tx = self.ctx.store.begin().await?;
        for tale in tales {
            let event = NewEvent {
                at: tale.at,
                of: Subject::Environment(&tale.environment),
                happened: tale.happened.clone(),
                subject: tale.subject.clone(),
                actor: None,
                cause: tale.cause.clone(),
                once: tale.once.clone(),
            };
            events::insert(&mut tx, &event).await?;
        }
        tx.commit().await
    }
}

/// What a change of status means for people, in the transaction that writes it.
pub async fn tell_state(
    tx: &mut Tx,
    environment: &Environment,
    status: &EnvironmentStatus,
    release: Option<&Release>,
    now: Timestamp,
) -> Result<()> {
    let before = &environment.status;
    let (rollout, number) = (environment.spec.rollout, release.map(|r| r.number));
    for (happened, once) in turns(environment, status, number, now) {
        let cause = Some(rollout_once(&environment.id, rollout));
        let subject = number.map_or_else(|| environment.name.to_string(), |n| format!("v{n}"));
        let of = Subject::Environment(&environment.id);
        let once = Some(format!("{}/{once}", environment.id));
        events::insert(tx, &NewEvent { at: now, of, happened, subject, actor: None, cause, once }).await?;
    }
    let (happened, once) = match status.state {
        EnvironmentState::Live | EnvironmentState::Watching if before.live != status.live => {
            let once = format!("{}/live/{rollout}", environment.id);
            (Happened::EnvironmentLive { rollout: rollout.0, release: number }, Some(once))
        }
        EnvironmentState::Blocked if before.state != EnvironmentState::Blocked || before.reason != status.reason => {
            let reason = status.reason.clone().unwrap_or_default();
            let once = format!("{}/blocked/{}", environment.id, environment.generation);
            (Happened::EnvironmentBlocked { rollout: rollout.0, release: number, reason }, Some(once))
        }
        EnvironmentState::Asleep if before.state != EnvironmentState::Asleep => {
            (Happened::EnvironmentAsleep { rollout: rollout.0 }, None)
        }
        EnvironmentState::Stopped if before.state != EnvironmentState::Stopped => {
            (Happened::EnvironmentStopped { rollout: rollout.0 }, None)
        }
        _ => return Ok(()),
    };
    let cause = Some(rollout_once(&environment.id, rollout));
    let of = Subject::Environment(&environment.id);
    let subject = number.map_or_else(|| environment.name.to_string(), |n| format!("v{n}"));
    events::insert(tx, &NewEvent { at: now, of, happened, subject, actor: None, cause, once }).await.map(drop)
}

/// The steps of autoscaling, in the transaction that writes them.
pub async fn tell_scaled(
    tx: &mut Tx,
    environment: &Environment,
    status: &EnvironmentStatus,
    now: Timestamp,
) -> Result<()> {
    for (process, to) in &status.scaled {
        // Where people counted until now, what was there is what it begins from.
        let before = &environment.status;
        let from = before.scaled.get(process).or_else(|| before.ready.get(process));
        let Some(from) = from.filter(|from| *from != to) else { continue };
        let happened = Happened::Autoscaled { process: process.clone(), from: *from, to: *to };
        let (of, subject) = (Subject::Environment(&environment.id), process.to_string());
        let event = NewEvent { at: now, of, happened, subject, actor: None, cause: None, once: None };
        events::insert(tx, &event).await?;
    }
    Ok(())
}

/// What a canary came to, and returns to the release before; each with the name that it is told by once.
fn turns(
    environment: &Environment,
    status: &EnvironmentStatus,
    release: Option<i64>,
    now: Timestamp,
) -> Vec<(Happened, String)> {
    let (before, spec) = (&environment.status, &environment.spec);
    let rollout = spec.rollout.0;
    let mut turns = Vec::new();
    let blocked = status.state == EnvironmentState::Blocked;
    let returned = || Returned { rollout, release, reason: status.reason.clone().unwrap_or_default() };
    if let Some(canary) = &before.canary {
        let name = format!("canary/{}/{}", canary.rollout, canary.step);
        let said =
            spec.guidance.as_ref().is_some_and(|said| said.rollout == canary.rollout && said.steps > canary.step);
        let moves =
            status.state != EnvironmentState::Holding || status.canary.as_ref().is_some_and(|c| c.step != canary.step);
        if blocked {
            turns.push((Happened::CanaryReturned(returned()), format!("{name}/returned")));
        } else if canary.rollout == spec.rollout && canary.goes_on && now >= canary.until && !said && moves {
            let percent = canary.percent;
            turns.push((Happened::CanaryContinued { rollout, release, percent }, format!("{name}/continued")));
        }
    }
    if let Some(canary) = &status.canary
        && before.canary.as_ref() != Some(canary)
    {
        let (percent, until, goes_on) = (canary.percent, canary.until, canary.goes_on);
        let held = CanaryHeld { rollout, release, percent, until, goes_on };
        turns.push((Happened::CanaryHeld(held), format!("canary/{}/{}/held", canary.rollout, canary.step)));
    }
    if blocked && before.watch.is_some() && before.live == spec.rollout {
        turns.push((Happened::WatchReturned(returned()), format!("watch/{rollout}/returned")));
    }
    turns
}

/// As `tell_state`, for an environment whose release is not at hand.
pub async fn tell_block(
    tx: &mut Tx,
    environment: &Environment,
    status: &EnvironmentStatus,
    now: Timestamp,
) -> Result<()> {
    let release = match &environment.spec.release {
        Some(id) => store::releases::find(tx, &crate::base::access::Scope::Platform, id).await?,
        None => None,
    };
    tell_state(tx, environment, status, release.as_ref(), now).await
}

/// Of the live or the wanted rollout, and not one that people asked to go away.
fn concerns(desired: &Desired, replica: &Replica) -> bool {
    let generation = replica.generation;
    replica.workload.environment == desired.environment.id
        && (generation == desired.rollout() || generation == desired.status().live)
        && desired.processes().iter().any(|p| p.id == replica.workload && replica.ordinal <= p.count)
}

fn tale(
    desired: &Desired,
    at: Timestamp,
    happened: Happened,
    subject: String,
    cause: Option<String>,
    once: Option<String>,
) -> Tale {
    Tale { environment: desired.environment.id.clone(), at, happened, subject, cause, once }
}

fn rollout_once(environment: &EnvironmentId, rollout: Generation) -> String {
    format!("{environment}/rollout/{rollout}")
}

/// Where several serve together, it is the live one's.
fn rollout_of(routed: &[String], replicas: &[Replica], live: Generation) -> Generation {
    let mut all = replicas.iter().filter(|r| routed.contains(&r.id)).map(|r| r.generation).peekable();
    let first = all.peek().copied().unwrap_or(live);
    if all.any(|generation| generation == live) { live } else { first }
}

fn number(desired: &Desired, replica: &Replica) -> Option<i64> {
    desired.release.as_ref().filter(|release| release.id == replica.release).map(|release| release.number)
}

fn called(replica: &Replica) -> String {
    format!("{}.{}", replica.workload.process, replica.ordinal)
}

fn clipped(mut line: String) -> String {
    if line.len() > LONGEST_LINE {
        let end = (0..=LONGEST_LINE).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}
