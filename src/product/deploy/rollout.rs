//! The step that both kinds of deployment share: write the desired release, wait until the
//! converger says that it is live or cannot be.

use std::time::Duration;

use serde_json::Value;

use super::shape::Shape;
use super::{activate, messages, releases};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{
    DeploymentId, Environment, EnvironmentId, EnvironmentState, EnvironmentStatus, Generation, Guidance, Once, Release,
    ReleaseId, Strategy,
};
use crate::product::Ctx;
use crate::product::converge::{Handle, patience_millis};
use crate::state::jobs::{StepContext, StepError};
use crate::state::store;

/// Beyond the time that replicas have to become ready, for an engine that answers slowly or not at all.
const BEYOND_READY: Duration = Duration::from_secs(30);

pub enum Ended {
    Live(Box<EnvironmentStatus>),
    /// Words of the converger: cause in the first line, evidence, remedy.
    Blocked(String),
    /// Somebody wrote another spec meanwhile.
    Superseded,
    ShuttingDown,
}

/// Writes `release` as desired unless it is already; returns the generation to wait for.
pub async fn begin(
    ctx: &Ctx,
    environment: &EnvironmentId,
    release: &Release,
    restores_formation: bool,
    strategy: Option<&Strategy>,
) -> Result<i64> {
    let mut tx = ctx.store.begin().await?;
    let found = find(&mut tx, environment).await?;
    if found.spec.release.as_ref() == Some(&release.id) {
        return Ok(found.generation);
    }
    let mut spec = found.spec.clone();
    spec.release = Some(release.id.clone());
    spec.rollout = Generation(found.generation + 1);
    spec.sizes.clone_from(&release.sizes);
    spec.mounts.clone_from(&release.mounts);
    // What is gone back to has proved itself: no canary of it.
    let (rollout, steps) = (spec.rollout, u32::MAX);
    spec.guidance = restores_formation.then_some(Guidance { rollout, steps, aborted: false });
    spec.once = strategy.map(|strategy| Once { rollout: spec.rollout, strategy: strategy.clone() });
    if restores_formation {
        spec.formation.clone_from(&release.formation);
        spec.scaling.clone_from(&release.scaling);
        spec.checks.clone_from(&release.checks);
    }
    for (process, count) in &release.formation {
        spec.formation.entry(process.clone()).or_insert(*count);
    }
    if !store::environments::write_spec(&mut tx, environment, found.generation, &spec).await? {
        return Err(Error::conflict("the environment was changed at the same moment; try again"));
    }
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(found.generation + 1)
}

/// The step of a push: the deployment's release becomes what shall run, and is waited for.
pub async fn of_push(
    ctx: &Ctx,
    handle: &Handle,
    (environment, deployment): (&EnvironmentId, &DeploymentId),
    strategy: Option<&Strategy>,
    cx: &StepContext,
) -> Result<Value, StepError> {
    let release = {
        let mut tx = ctx.store.read().await?;
        let row = activate::deployment(&mut tx, deployment).await?;
        let id = row.release_id.ok_or_else(|| Error::conflict("the deployment has no release"))?;
        activate::find_release(&mut tx, &id).await?
    };
    let began = ctx.clock.now();
    let before = live_number(ctx, environment).await?;
    begin(ctx, environment, &release, false, strategy).await?;
    let ended = wait(ctx, handle, environment, &release, cx).await?;
    conclude(ctx, ended, cx, (began, before.filter(|n| *n != release.number))).await
}

pub async fn wait(
    ctx: &Ctx,
    handle: &Handle,
    environment: &EnvironmentId,
    release: &Release,
    cx: &StepContext,
) -> Result<Ended> {
    let mut ticks = handle.ticks();
    let patience = patience(ctx, environment, release).await?;
    let mut told = false;
    let mut held = None;
    let mut resting = None;
    let mut over = std::pin::pin!(tokio::time::sleep(patience));
    loop {
        ticks.mark_unchanged();
        let found = find(&mut ctx.store.read().await?, environment).await?;
        if found.spec.release.as_ref() != Some(&release.id) {
            return Ok(Ended::Superseded);
        }
        if found.status.observed_generation == found.generation {
            match found.status.state {
                EnvironmentState::Live | EnvironmentState::Stopped | EnvironmentState::Asleep
                    if found.status.live == found.spec.rollout =>
                {
                    return Ok(Ended::Live(Box::new(found.status)));
                }
                EnvironmentState::Blocked => return Ok(Ended::Blocked(found.status.reason.unwrap_or_default())),
                EnvironmentState::Watching if !std::mem::replace(&mut told, true) => {
                    let previous = found.status.watch.as_ref().and_then(|w| w.previous_release.as_ref());
                    let previous = number(ctx, previous).await?;
                    cx.log.append(&messages::body(&messages::watching(found.spec.watch_seconds, previous)));
                }
                EnvironmentState::Holding => {
                    // People may take their time, and no other job shall wait for it.
                    resting.get_or_insert_with(|| cx.rest());
                    over.as_mut().reset(tokio::time::Instant::now() + patience);
                    let step = found.status.canary.as_ref().map(|canary| canary.step);
                    if held != step {
                        held = step;
                        for line in found.status.reason.iter().flat_map(|reason| reason.lines()) {
                            cx.log.append(&messages::body(line));
                        }
                    }
                }
                _ => {}
            }
            if found.status.state != EnvironmentState::Holding {
                resting = None;
            }
        }
        tokio::select! {
            () = cx.cancel.cancelled() => return Ok(Ended::ShuttingDown),
            changed = ticks.changed() => if changed.is_err() { return Ok(Ended::ShuttingDown) },
            () = &mut over => return Ok(Ended::Blocked(messages::no_engine(patience.as_secs(), found.status.reason))),
        }
    }
}

/// Bounds the whole rollout, the watch included.
async fn patience(ctx: &Ctx, environment: &EnvironmentId, release: &Release) -> Result<Duration> {
    let mut tx = ctx.store.read().await?;
    let found = find(&mut tx, environment).await?;
    let app = store::apps::find(&mut tx, &Scope::Platform, &found.app_id).await?;
    let app = app.ok_or_else(|| Error::not_found("the app"))?;
    let millis = patience_millis(&found, &app, release, &ctx.config.runtime);
    Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(0)) + BEYOND_READY)
}

/// Puts the spec back to what is live, if it still asks for `release`. Doing it twice is doing it once.
pub async fn revert(ctx: &Ctx, environment: &EnvironmentId, release: &Release) -> Result<()> {
    let mut tx = ctx.store.begin().await?;
    let found = match find(&mut tx, environment).await {
        Ok(found) => found,
        // The app was destroyed meanwhile: nothing to put back.
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    let live_already = found.status.live_release.as_ref() == Some(&release.id);
    if found.spec.release.as_ref() != Some(&release.id) || live_already {
        return Ok(());
    }
    let mut spec = found.spec.clone();
    spec.release.clone_from(&found.status.live_release);
    spec.rollout = found.status.live;
    // It goes back as it came.
    if let Some(once) = spec.once.as_mut().filter(|once| once.rollout == found.spec.rollout) {
        once.rollout = spec.rollout;
    }
    let live = match &spec.release {
        Some(id) => store::releases::find(&mut tx, &Scope::Platform, id).await?,
        None => None,
    };
    match live {
        Some(live) => Shape::of_release(&live).put_into(&mut spec),
        // What only `app.json` said is for the next push to say again.
        None => {
            spec.formation.retain(|process, count| release.manifest.formation.get(process) != Some(count));
            spec.sizes.retain(|process, size| release.manifest.sizes.get(process) != Some(size));
        }
    }
    store::environments::write_spec(&mut tx, environment, found.generation, &spec).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(())
}

/// A push that fails when its release is live already goes back to the last good one, so that what is served and what the
/// branch says agree. Doing it twice is doing it once.
pub async fn withdraw(ctx: &Ctx, environment: &EnvironmentId, deployment: &DeploymentId) -> Result<()> {
    let mut tx = ctx.store.read().await?;
    let found = store::deployments::find(&mut tx, &Scope::Platform, deployment).await?;
    let Some(release) = found.and_then(|found| found.release_id) else { return Ok(()) };
    let asked = store::environments::find(&mut tx, &Scope::Platform, environment).await?.and_then(|e| e.spec.release);
    if asked.as_ref() != Some(&release) {
        return Ok(());
    }
    let release = activate::find_release(&mut tx, &release).await?;
    let Some(good) = releases::last_good_before(&mut tx, &release).await? else { return Ok(()) };
    drop(tx);
    begin(ctx, environment, &good, true, None).await.map(drop)
}

async fn find(tx: &mut store::Tx, environment: &EnvironmentId) -> Result<Environment> {
    store::environments::find(tx, &Scope::Platform, environment)
        .await?
        .ok_or_else(|| Error::not_found("the environment"))
}

/// Turns the end of a rollout into the end of its step, with the lines that people read.
pub async fn conclude(
    ctx: &Ctx,
    ended: Ended,
    cx: &StepContext,
    (began, before): (Timestamp, Option<i64>),
) -> Result<Value, StepError> {
    match ended {
        Ended::Live(status) => {
            let millis = ctx.clock.now().since(began);
            cx.log.append(&messages::body(&messages::live(&status.ready, millis, before)));
            Ok(Value::Null)
        }
        Ended::Blocked(reason) => {
            let mut lines = reason.lines();
            let cause = lines.next().unwrap_or("it did not become ready").to_owned();
            cx.log.append(&messages::problem(&cause));
            for line in lines {
                cx.log.append(&messages::problem(line));
            }
            Err(StepError::fail(format!("deploy failed: {cause}")))
        }
        Ended::Superseded => Err(StepError::fail(messages::SUPERSEDED)),
        Ended::ShuttingDown => Err(StepError::Interrupted),
    }
}

/// Number of the release that is live now.
pub async fn live_number(ctx: &Ctx, environment: &EnvironmentId) -> Result<Option<i64>> {
    let mut tx = ctx.store.read().await?;
    let live = find(&mut tx, environment).await?.status.live_release;
    drop(tx);
    number(ctx, live.as_ref()).await
}

async fn number(ctx: &Ctx, release: Option<&ReleaseId>) -> Result<Option<i64>> {
    let Some(id) = release else { return Ok(None) };
    let found = store::releases::find(&mut ctx.store.read().await?, &Scope::Platform, id).await?;
    Ok(found.map(|r| r.number))
}
