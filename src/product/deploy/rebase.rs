//! The newest base under what is live, without a build: a release like any other, whose image is the one before on another
//! base. What is put under it is decided by the job, at the moment in which nothing else of the app is deployed.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::activate::{deployment, environment, find_release, finish, undo};
use super::push::{earlier, failure, lines, output};
use super::releases::{self, NewRelease};
use super::shape::Shape;
use super::{commands, messages, rollout};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Deployment, DeploymentId, DeploymentKind, DeploymentState, Environment, EnvironmentId, EnvironmentName, Id,
    ImageDigest, Release, ReleaseId, ReleaseKind,
};
use crate::product::builds::{BaseFacts, Builder, Changed, Imaged, Rebased, Standing};
use crate::product::converge::Handle;
use crate::product::{Ctx, apps};
use crate::state::jobs::{StepContext, StepError, Work};
use crate::state::store;

const KIND: &str = "rebase";
const STEPS: [&str; 5] = ["image", "release", "predeploy", "rollout", "postdeploy"];

/// What is live in one environment, and the newest base.
pub struct Ground {
    pub app: App,
    pub environment: EnvironmentName,
    pub release: Release,
    pub standing: Standing,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Payload {
    environment: EnvironmentId,
    deployment: DeploymentId,
}

/// What the first step hands on; nothing where there is nothing to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Put {
    source: ReleaseId,
    base: ImageDigest,
    imaged: Imaged,
}

/// How everything live stands in these apps; where the actor may not deploy, nothing is said.
pub async fn grounds(ctx: &Ctx, actor: &Actor, apps: &[App]) -> Result<Vec<Ground>> {
    actor.may_act()?;
    let mut found = Vec::new();
    for app in apps {
        if actor.may(Action::Deploy, &Place::from(app)).is_ok() {
            found.extend(ground(ctx, actor, app).await?);
        }
    }
    Ok(found)
}

/// How what is live stands in the environments of one app.
pub async fn ground(ctx: &Ctx, actor: &Actor, app: &App) -> Result<Vec<Ground>> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut found = Vec::new();
    for environment in apps::environments(ctx, actor, app).await? {
        let Some(live) = &environment.status.live_release else { continue };
        let release = find_release(&mut ctx.store.read().await?, live).await?;
        let standing = standing(ctx, &release).await?;
        found.push(Ground { app: app.clone(), environment: environment.name, release, standing });
    }
    Ok(found)
}

/// Puts the newest base under what is live. A second order while the first is under way is the first.
pub async fn rebase(ctx: &Ctx, actor: &Actor, app: &App, place: &Environment) -> Result<Deployment> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let live = place.status.live_release.as_ref().ok_or_else(|| nothing_live(place))?;
    let release = find_release(&mut ctx.store.read().await?, live).await?;
    match standing(ctx, &release).await? {
        Standing::Older => {}
        Standing::Newest => return Err(Error::conflict(messages::newest(place.name.as_str()))),
        Standing::Unfit(why) => return Err(Error::conflict(messages::unfit(&why))),
    }
    if let Some(reason) = ctx.disk.too_full(ctx).await {
        return Err(Error::limit(reason));
    }
    let mut tx = ctx.store.begin().await?;
    super::guide::nothing_held(&mut tx, app).await?;
    if !store::environments::hold(&mut tx, &place.id).await? {
        return Err(Error::not_found("environment"));
    }
    for job in store::jobs::unfinished(&mut tx, app.id.as_str()).await?.into_iter().filter(|job| job.kind == KIND) {
        let Ok(order) = serde_json::from_value::<Payload>(job.payload) else { continue };
        if order.environment == place.id {
            return deployment(&mut tx, &order.deployment).await;
        }
    }
    let payload = Payload { environment: place.id.clone(), deployment: DeploymentId::fresh() };
    let (id, document) = (payload.deployment.clone(), serde_json::to_value(payload).map_err(Error::internal)?);
    let row = Deployment {
        id,
        environment_id: place.id.clone(),
        job_id: ctx.queue.enqueue(&mut tx, KIND, app.id.as_str(), document).await?,
        kind: DeploymentKind::Rebase,
        release_id: None,
        state: DeploymentState::Running,
        reason: None,
        created_by: Some(actor.user.id.clone()),
        created_at: ctx.clock.now(),
        finished_at: None,
    };
    store::deployments::insert(&mut tx, &row).await?;
    tx.commit().await?;
    ctx.queue.notify();
    Ok(row)
}

async fn standing(ctx: &Ctx, release: &Release) -> Result<Standing> {
    // An image that was pushed or fetched is of no commit, whatever its labels say.
    if release.commit.is_none() {
        return Ok(Standing::Unfit(messages::NOT_BUILT_HERE.into()));
    }
    let (builder, image) = (Arc::clone(&ctx.desk.machine()?.builder), release.image.clone());
    tokio::task::spawn_blocking(move || builder.standing(&image)).await.map_err(Error::internal)
}

fn nothing_live(environment: &Environment) -> Error {
    Error::conflict(format!("nothing is live in {} yet: push first", environment.name))
}

pub struct RebaseWork {
    ctx: Ctx,
    builder: Arc<Builder>,
    converger: Handle,
}

impl RebaseWork {
    pub fn new(ctx: Ctx, builder: Arc<Builder>, converger: Handle) -> Self {
        Self { ctx, builder, converger }
    }

    async fn image(&self, order: &Payload, cx: &StepContext) -> Result<Value, StepError> {
        let source = {
            let mut tx = self.ctx.store.read().await?;
            let place = environment(&mut tx, &order.environment).await?;
            releases::current(&mut tx, &order.environment).await?.ok_or_else(|| nothing_live(&place))?
        };
        if source.commit.is_none() {
            return Err(StepError::fail(messages::unfit(messages::NOT_BUILT_HERE)));
        }
        cx.log.append(&messages::heading(&format!("Rebase of v{}", source.number), 0));
        let put = self.builder.rebase(&source.image, &source.processes, &*lines(cx)).await;
        match put.map_err(|f| failure(&f, cx))? {
            Rebased::Same => {
                cx.log.append(&messages::body("it lies on the newest base already; nothing was changed"));
                Ok(Value::Null)
            }
            Rebased::Onto { base, imaged } => {
                let text = messages::image(&imaged.image, imaged.layers_total, imaged.layers_new, imaged.bytes_new);
                cx.log.append(&messages::heading(&text, 0));
                output(&Put { source: source.id, base, imaged: *imaged })
            }
        }
    }

    async fn release(&self, order: &Payload, put: &Put, cx: &StepContext) -> Result<Value, StepError> {
        let mut tx = self.ctx.store.begin().await?;
        let row = deployment(&mut tx, &order.deployment).await?;
        if row.release_id.is_some() {
            return Ok(Value::Null);
        }
        let place = environment(&mut tx, &order.environment).await?;
        let source = find_release(&mut tx, &put.source).await?;
        // Numbers and checks may have changed meanwhile, and with them the release, but not what it runs.
        let current = releases::current(&mut tx, &place.id).await?;
        let Some(current) = current.filter(|now| now.image == source.image) else {
            return Err(StepError::fail(messages::SUPERSEDED));
        };
        let new = NewRelease {
            build_id: current.build_id,
            commit: current.commit,
            image: put.imaged.image.clone(),
            processes: current.processes,
            variables_version: store::variables::latest(&mut tx, &place.id).await?.map_or(0, |set| set.version),
            shape: Shape::of_spec(&place.spec).resolved(&mut tx, &place.id).await?,
            manifest: current.manifest,
            kind: ReleaseKind::Rollout,
            description: messages::rebased(&put.base),
            created_by: row.created_by,
        };
        let release = releases::make(&mut tx, &place, new, self.ctx.clock.now()).await?;
        store::deployments::set_release(&mut tx, &row.id, &release.id).await?;
        tx.commit().await?;
        cx.log.append(&messages::heading(&messages::release(&release, place.name.as_str()), 0));
        Ok(json!({ "release": release.id }))
    }

    async fn rollout(&self, order: &Payload, put: &Put, cx: &StepContext) -> Result<Value, StepError> {
        // A collection may have come between a crash and now.
        self.builder.load(&put.imaged.image).await.map_err(|f| failure(&f, cx))?;
        rollout::of_push(&self.ctx, &self.converger, (&order.environment, &order.deployment), None, cx).await
    }

    async fn put_back(&self, order: &Payload, reason: &str) -> Result<()> {
        undo(&self.ctx, &order.environment, &order.deployment, reason).await?;
        rollout::withdraw(&self.ctx, &order.environment, &order.deployment).await
    }
}

#[async_trait]
impl Work for RebaseWork {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn steps(&self) -> &'static [&'static str] {
        &STEPS
    }

    async fn run(&self, step: usize, cx: &StepContext) -> Result<Value, StepError> {
        let order: Payload = serde_json::from_value(cx.job.payload.clone()).map_err(Error::internal)?;
        if step == 0 {
            return self.image(&order, cx).await;
        }
        let put: Option<Put> = earlier(cx, 0)?;
        let output = match (&put, step) {
            (Some(put), 1) => self.release(&order, put, cx).await?,
            (Some(_), 2) => commands::before(&self.ctx, &order.deployment, cx).await?,
            (Some(put), 3) => self.rollout(&order, put, cx).await?,
            (Some(_), _) => commands::after(&self.ctx, &order.deployment, cx).await?,
            (None, _) => Value::Null,
        };
        if step + 1 == STEPS.len() {
            finish(&self.ctx, &order.deployment, DeploymentState::Succeeded, None).await?;
        }
        Ok(output)
    }

    async fn failed(&self, cx: &StepContext, reason: &str) {
        let Ok(order) = serde_json::from_value::<Payload>(cx.job.payload.clone()) else { return };
        if let Err(error) = self.put_back(&order, reason).await {
            tracing::error!(job.id = %cx.job.id, error = error.for_log(), "a failed rebase could not be cleared away");
        }
        cx.log.append(&messages::problem(messages::KEPT));
    }
}

/// The base that builds begin with; for who runs the platform.
pub async fn base(ctx: &Ctx, actor: &Actor) -> Result<Option<BaseFacts>> {
    actor.may_manage_platform()?;
    let builder = Arc::clone(&ctx.desk.machine()?.builder);
    tokio::task::spawn_blocking(move || builder.base()).await.map_err(Error::internal)
}

/// Makes the base anew from what its source has now, and says what is different in it. Nothing that runs is changed by it.
pub async fn update_base(ctx: &Ctx, actor: &Actor) -> Result<(BaseFacts, Vec<Changed>)> {
    actor.may_manage_platform()?;
    if let Some(reason) = ctx.disk.too_full(ctx).await {
        return Err(Error::limit(reason));
    }
    let made = ctx.desk.machine()?.builder.refresh().await;
    made.map_err(|failure| Error::unavailable(messages::no_base(&failure.lines), failure))
}
