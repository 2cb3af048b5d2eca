//! What people say of a rollout that is under way: that a canary may go on, or that the release shall not become live.
//! And what waits until they have said it.

use super::activate::find_release;
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Result};
use crate::base::model::{App, Environment, EnvironmentState, Guidance, Happened};
use crate::product::Ctx;
use crate::product::apps;
use crate::state::store::{self, Tx};

/// Lets a held canary go on to its next step, or after the last one to all of the requests.
pub async fn proceed(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Environment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let held = environment.status.canary.clone().filter(|canary| {
        environment.status.state == EnvironmentState::Holding && canary.rollout == environment.spec.rollout
    });
    if environment.spec.guidance.as_ref().is_some_and(|said| said.aborted && said.rollout == environment.spec.rollout) {
        return Err(Error::conflict("somebody ended this rollout already; to try it again, push it again"));
    }
    let Some(canary) = held else {
        return Err(Error::conflict(match environment.status.canary {
            Some(_) => "the next step is being brought up already; see it with: hythe ps",
            None => "nothing is held here, so there is nothing to let go on",
        }));
    };
    let happened = Happened::CanaryContinued {
        rollout: canary.rollout.0,
        release: number(&mut tx, &environment).await?,
        percent: canary.percent,
    };
    apps::tell(&mut tx, ctx, actor, &environment, happened).await?;
    let said = Guidance { rollout: canary.rollout, steps: canary.step + 1, aborted: false };
    write(ctx, tx, environment, said).await
}

/// Ends a rollout that is under way, held or watched: the release before it is live, and what the deployment changed is
/// taken back.
pub async fn abort(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Environment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let (spec, status) = (&environment.spec, &environment.status);
    let comes = status.live != spec.rollout && spec.release.is_some();
    let given_up = status.state == EnvironmentState::Blocked && status.observed_generation == environment.generation;
    if given_up || !(comes || status.watch.is_some()) {
        return Err(Error::conflict("no release is being rolled out here; to leave the live one: hythe rollback"));
    }
    let happened = Happened::ReleaseAborted { rollout: spec.rollout.0, release: number(&mut tx, &environment).await? };
    apps::tell(&mut tx, ctx, actor, &environment, happened).await?;
    let steps = spec.guidance.as_ref().filter(|said| said.rollout == spec.rollout).map_or(0, |said| said.steps);
    let said = Guidance { rollout: spec.rollout, steps, aborted: true };
    write(ctx, tx, environment, said).await
}

/// The deployments of an app come one after the other, and a canary that holds may hold for long: what would wait behind
/// it is refused instead.
pub(super) async fn nothing_held(tx: &mut Tx, app: &App) -> Result<()> {
    let all = store::environments::of_app(tx, &super::intake::PLATFORM, &app.id).await?;
    match all.iter().find_map(held_text) {
        Some(text) => Err(Error::conflict(text)),
        None => Ok(()),
    }
}

/// Why nothing else of the app is deployed now.
pub(super) fn held_text(environment: &Environment) -> Option<String> {
    let canary = environment.status.canary.as_ref()?;
    Some(format!(
        "{} holds a canary at {} % of its requests; first let it go on (hythe releases:continue) or end it (hythe \
         releases:abort)",
        environment.name, canary.percent
    ))
}

async fn write(ctx: &Ctx, mut tx: Tx, environment: Environment, said: Guidance) -> Result<Environment> {
    let mut spec = environment.spec.clone();
    spec.guidance = Some(said);
    if !store::environments::write_spec(&mut tx, &environment.id, environment.generation, &spec).await? {
        return Err(Error::conflict("the environment was changed at the same moment; try again"));
    }
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(Environment { spec, generation: environment.generation + 1, ..environment })
}

async fn number(tx: &mut Tx, environment: &Environment) -> Result<Option<i64>> {
    match &environment.spec.release {
        Some(id) => Ok(Some(find_release(tx, id).await?.number)),
        None => Ok(None),
    }
}

/// As it is now.
async fn find(tx: &mut Tx, actor: &Actor, app: &App, environment: &Environment) -> Result<Environment> {
    let found = store::environments::find(tx, &actor.scope(), &environment.id).await?;
    found.filter(|e| e.app_id == app.id).ok_or_else(|| Error::not_found("environment"))
}
