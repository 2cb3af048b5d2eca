//! From an image that somebody pushed to a running release: the way of a push, from its image step on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::activate::{deployment, environment, finish};
use super::fetched::{self, ImageSource};
use super::options::Manner;
use super::push::{earlier, failure, output};
use super::releases::{self, NewRelease};
use super::shape::Shape;
use super::{attempt, commands, messages, rollout};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{
    App, AppId, Build, BuildId, BuildState, ContentDigest, DeploymentId, DeploymentState, Environment, EnvironmentId,
    Id, JobId, JobState, Manifest, ReleaseKind, TagName, UserId,
};
use crate::machinery::image::{Digest, ImageError};
use crate::product::builds::{Builder, Imaged};
use crate::product::converge::Handle;
use crate::product::{Ctx, images, routing};
use crate::state::jobs::{StepContext, StepError, Work};
use crate::state::store;

const KIND: &str = "image";
const STEPS: [&str; 6] = ["image", "release", "predeploy", "rollout", "postdeploy", "accept"];
const LATEST: &str = "latest";
const PRODUCTION: &str = "production";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct ImageOrder {
    app: AppId,
    environment: EnvironmentId,
    #[serde(flatten)]
    from: From,
    #[serde(default, skip_serializing_if = "Manner::is_usual")]
    manner: Manner,
    user: UserId,
    build: BuildId,
    deployment: DeploymentId,
}

/// Where the image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum From {
    /// In the app's repository.
    Pushed { tag: TagName, manifest: ContentDigest },
    /// In a registry elsewhere.
    Elsewhere { elsewhere: ImageSource },
    /// It came as an archive: in the store already.
    Uploaded { uploaded: Uploaded },
}

/// An image, and under which names the store has what it is of. An unfinished job keeps what its payload names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Uploaded {
    image: ContentDigest,
    contents: Vec<(ContentDigest, ContentDigest)>,
}

/// What became of a push that deploys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    Live,
    /// It goes on; the text says where to look.
    GoesOn(String),
    /// Why it was refused; what was live stays.
    Refused(String),
}

/// The environment that pushing this tag deploys to: its own name, and for `latest` production. Other tags deploy nowhere.
pub async fn image_target(ctx: &Ctx, actor: &Actor, app: &App, tag: &TagName) -> Result<Option<Environment>> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let name = if tag.as_str() == LATEST { PRODUCTION } else { tag.as_str() };
    let environments = store::environments::of_app(&mut ctx.store.read().await?, &actor.scope(), &app.id).await?;
    Ok(environments.into_iter().find(|environment| environment.name.as_str() == name))
}

/// Makes a release of a manifest in the app's repository, and names it `tag` once that is live. A second order for the same
/// while the first is under way is the first: clients try again when they lose an answer.
pub async fn deploy_image(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    (tag, manifest): (&TagName, &ContentDigest),
) -> Result<JobId> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = held(ctx, app, environment).await?;
    for job in store::jobs::unfinished(&mut tx, app.id.as_str()).await?.into_iter().filter(|job| job.kind == KIND) {
        let Ok(order) = serde_json::from_value::<ImageOrder>(job.payload) else { continue };
        let wanted = From::Pushed { tag: tag.clone(), manifest: manifest.clone() };
        if (&order.environment, &order.from) == (&environment.id, &wanted) {
            return Ok(job.id);
        }
    }
    let from = From::Pushed { tag: tag.clone(), manifest: manifest.clone() };
    let build = enqueue(ctx, &mut tx, (actor, app, environment), (from, Manner::default())).await?;
    tx.commit().await?;
    ctx.queue.notify();
    Ok(build.job_id)
}

/// As `deploy_image`, of an image that is elsewhere: the job fetches it.
pub(super) async fn deploy_reference(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    (source, manner): (ImageSource, Manner),
) -> Result<Build> {
    actor.may(Action::Deploy, &Place::from(app))?;
    source.check()?;
    manner.check_for_image()?;
    let mut tx = held(ctx, app, environment).await?;
    let from = From::Elsewhere { elsewhere: source };
    let build = enqueue(ctx, &mut tx, (actor, app, environment), (from, manner)).await?;
    tx.commit().await?;
    ctx.queue.notify();
    Ok(build)
}

/// As `deploy_image`, of an image that came as an archive.
pub(super) async fn deploy_archive(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    (archive, manner): (std::fs::File, Manner),
) -> Result<Build> {
    actor.may(Action::Deploy, &Place::from(app))?;
    manner.check_for_image()?;
    let taken = ctx.desk.machine()?.builder.take_image(archive, ctx.config.registry.app_bytes).await;
    let taken = taken.map_err(|error| match &error {
        ImageError::Unfit(cause) => Error::invalid("archive", format!("the image cannot be taken: {cause}")),
        error if error.is_disk_full() => Error::new(Kind::Unavailable, messages::DISK_FULL),
        ImageError::Stream(_) => Error::invalid("archive", "the archive cannot be read: it is cut off or damaged"),
        _ => Error::internal(error),
    })?;
    let named = |blob: &Digest| blob.to_string().parse::<ContentDigest>().map_err(Error::internal);
    let contents = taken.contents.iter().map(|(digest, blob)| Ok((digest.clone(), named(blob)?)));
    let uploaded = Uploaded { image: taken.manifest, contents: contents.collect::<Result<_>>()? };
    let mut tx = held(ctx, app, environment).await?;
    let build = enqueue(ctx, &mut tx, (actor, app, environment), (From::Uploaded { uploaded }, manner)).await?;
    tx.commit().await?;
    ctx.queue.notify();
    Ok(build)
}

/// A transaction in which the environment can be given an order; refused where it cannot, or the disk is full.
pub(super) async fn held(ctx: &Ctx, app: &App, environment: &Environment) -> Result<store::Tx> {
    if let Some(reason) = ctx.disk.too_full(ctx).await {
        return Err(Error::limit(reason));
    }
    let mut tx = ctx.store.begin().await?;
    super::guide::nothing_held(&mut tx, app).await?;
    if !store::environments::hold(&mut tx, &environment.id).await? {
        return Err(Error::not_found("environment"));
    }
    Ok(tx)
}

async fn enqueue(
    ctx: &Ctx,
    tx: &mut store::Tx,
    (actor, app, environment): (&Actor, &App, &Environment),
    (from, manner): (From, Manner),
) -> Result<Build> {
    let named = match &from {
        From::Pushed { manifest, .. } => manifest.to_string(),
        From::Elsewhere { elsewhere } => elsewhere.reference.clone(),
        From::Uploaded { uploaded } => uploaded.image.to_string(),
    };
    let order = ImageOrder {
        app: app.id.clone(),
        environment: environment.id.clone(),
        from,
        manner,
        user: actor.user.id.clone(),
        build: BuildId::fresh(),
        deployment: DeploymentId::fresh(),
    };
    let payload = serde_json::to_value(&order).map_err(Error::internal)?;
    let job_id = ctx.queue.enqueue(tx, KIND, app.id.as_str(), payload).await?;
    let build = attempt::build(ctx, &order.build, app, &job_id, named);
    attempt::begin(tx, &build, (&order.deployment, &environment.id), order.user, order.manner.course).await?;
    Ok(build)
}

/// Waits for the end of a push's job, as long as the configuration lets its pusher wait.
pub async fn image_deployed(ctx: &Ctx, actor: &Actor, app: &App, job: &JobId) -> Result<Pushed> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let patience = Duration::from_secs(ctx.config.registry.wait_seconds.into());
    match tokio::time::timeout(patience, ctx.queue.finished(job)).await {
        Ok(ended) => {
            let ended = ended?;
            Ok(match ended.state {
                JobState::Succeeded => Pushed::Live,
                _ => Pushed::Refused(ended.reason.unwrap_or_else(|| "the deployment failed".into())),
            })
        }
        Err(_) => {
            Ok(Pushed::GoesOn(format!("the deployment goes on; follow it with hythe builds:output -a {}", app.name)))
        }
    }
}

pub struct ImageWork {
    ctx: Ctx,
    builder: Arc<Builder>,
    converger: Handle,
}

impl ImageWork {
    pub fn new(ctx: Ctx, builder: Arc<Builder>, converger: Handle) -> Self {
        Self { ctx, builder, converger }
    }

    async fn image(&self, order: &ImageOrder, cx: &StepContext) -> Result<Value, StepError> {
        let limit = self.ctx.config.registry.app_bytes;
        let imaged = match &order.from {
            From::Pushed { tag, manifest } => {
                cx.log.append(&messages::heading(&messages::pushed(tag, manifest), 0));
                let all = images::contents(&self.ctx, &order.app).await?;
                let contents = all.into_iter().filter_map(|(digest, blob)| Some((digest, blob.as_str().parse().ok()?)));
                self.builder.adopt(&order.app, contents.collect(), manifest, limit).await
            }
            From::Elsewhere { elsewhere } => {
                cx.log.append(&messages::heading(&messages::fetching(&elsewhere.reference), 0));
                let login = fetched::login(&self.ctx, &order.app, &order.environment, &elsewhere.login).await?;
                let route = fetched::route(&self.ctx)?;
                self.builder.adopt_from(&order.app, &elsewhere.reference, (login, route), limit).await
            }
            From::Uploaded { uploaded } => {
                cx.log.append(&messages::heading(&messages::uploaded(&uploaded.image), 0));
                let contents = uploaded.contents.iter();
                let contents =
                    contents.filter_map(|(digest, blob)| Some((digest.clone(), blob.as_str().parse().ok()?)));
                self.builder.adopt(&order.app, contents.collect(), &uploaded.image, limit).await
            }
        };
        let imaged = imaged.map_err(|f| failure(&f, cx))?;
        let text = messages::image(&imaged.image, imaged.layers_total, imaged.layers_new, imaged.bytes_new);
        cx.log.append(&messages::heading(&text, 0));
        output(&imaged)
    }

    async fn release(&self, order: &ImageOrder, cx: &StepContext) -> Result<Value, StepError> {
        let imaged: Imaged = earlier(cx, 0)?;
        let mut tx = self.ctx.store.begin().await?;
        let row = deployment(&mut tx, &order.deployment).await?;
        if row.release_id.is_some() {
            return Ok(Value::Null);
        }
        let now = self.ctx.clock.now();
        let place = environment(&mut tx, &order.environment).await?;
        let variables = store::variables::latest(&mut tx, &place.id).await?.map_or(0, |set| set.version);
        let new = NewRelease {
            build_id: Some(order.build.clone()),
            commit: None,
            image: imaged.image.clone(),
            processes: imaged.processes.clone(),
            variables_version: variables,
            shape: Shape::of_spec(&place.spec).resolved(&mut tx, &place.id).await?,
            manifest: Manifest::default(),
            kind: ReleaseKind::Rollout,
            description: {
                let of = match &order.from {
                    From::Pushed { tag, manifest } => messages::image_pushed(tag, manifest),
                    From::Elsewhere { elsewhere } => format!("image {}", elsewhere.reference),
                    From::Uploaded { uploaded } => messages::of_upload(&uploaded.image),
                };
                messages::worded(&order.manner, of)
            },
            created_by: Some(order.user.clone()),
        };
        let release = releases::make(&mut tx, &place, new, now).await?;
        store::deployments::set_release(&mut tx, &row.id, &release.id).await?;
        let (image, processes) = (Some(&imaged.image), &imaged.processes);
        store::builds::finish(&mut tx, &order.build, BuildState::Succeeded, image, processes, None, now).await?;
        tx.commit().await?;
        cx.log.append(&messages::heading(&messages::release(&release, place.name.as_str()), 0));
        Ok(json!({ "release": release.id }))
    }

    /// The tag names what is live: the push is accepted.
    async fn accept(&self, order: &ImageOrder, cx: &StepContext) -> Result<Value, StepError> {
        let mut tx = self.ctx.store.begin().await?;
        if let From::Pushed { tag, manifest } = &order.from {
            match images::write_tag(&self.ctx, &mut tx, &order.app, tag, manifest).await {
                // Somebody deleted what he pushed while it was deployed: what runs has an image of its own.
                Err(error) if !error.is_not_found() => return Err(error.into()),
                Err(_) => drop(tx),
                Ok(()) => tx.commit().await?,
            }
        } else {
            drop(tx);
        }
        finish(&self.ctx, &order.deployment, DeploymentState::Succeeded, None).await?;
        let mut tx = self.ctx.store.read().await?;
        for route in store::routes::of_environment(&mut tx, &order.environment).await? {
            cx.log.append(&messages::body(&routing::url(&self.ctx.config, &route.host)));
        }
        Ok(Value::Null)
    }
}

#[async_trait]
impl Work for ImageWork {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn steps(&self) -> &'static [&'static str] {
        &STEPS
    }

    async fn run(&self, step: usize, cx: &StepContext) -> Result<Value, StepError> {
        let order: ImageOrder = serde_json::from_value(cx.job.payload.clone()).map_err(Error::internal)?;
        match step {
            0 => self.image(&order, cx).await,
            1 => self.release(&order, cx).await,
            2 => commands::before(&self.ctx, &order.deployment, cx).await,
            3 => {
                let (at, strategy) = ((&order.environment, &order.deployment), order.manner.strategy.as_ref());
                rollout::of_push(&self.ctx, &self.converger, at, strategy, cx).await
            }
            4 => commands::after(&self.ctx, &order.deployment, cx).await,
            _ => self.accept(&order, cx).await,
        }
    }

    async fn failed(&self, cx: &StepContext, reason: &str) {
        let Ok(order) = serde_json::from_value::<ImageOrder>(cx.job.payload.clone()) else { return };
        let attempt = (&order.build, &order.deployment);
        if cx.was_called_off(reason) {
            cx.log.append(&messages::problem(&messages::cancelled(reason)));
        }
        if let Err(error) = attempt::clear_away(&self.ctx, &order.environment, attempt, reason).await {
            tracing::error!(job.id = %cx.job.id, error = error.for_log(), "a failed push could not be cleared away");
        }
        let live = rollout::live_number(&self.ctx, &order.environment).await.ok().flatten();
        cx.log.append(&messages::problem(if live.is_some() { messages::KEPT } else { messages::TAG_UNMOVED }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_before_still_read() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let id = |prefix: &str| format!("{prefix}_01a20094149a73459f5da67ee405b2f6");
        let mut order = json!({
            "app": id("app"), "environment": id("env"), "tag": "latest", "manifest": digest, "user": id("usr"),
            "build": id("bld"), "deployment": id("dep"),
        });
        let read = |order: &Value| serde_json::from_value::<ImageOrder>(order.clone()).expect("an order");
        assert!(matches!(read(&order).from, From::Pushed { .. }));
        let written = serde_json::to_value(read(&order)).expect("JSON");
        assert_eq!(written, order);
        let fields = order.as_object_mut().expect("an object");
        fields.remove("tag");
        fields.remove("manifest");
        fields.insert("elsewhere".into(), json!({"reference": "r.example/x:1", "user": null, "password": "TOKEN"}));
        assert!(matches!(read(&order).from, From::Elsewhere { elsewhere } if elsewhere.login.password.is_some()));
    }
}
