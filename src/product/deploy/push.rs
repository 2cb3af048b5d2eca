//! The job of a push: from objects in quarantine to a release that serves. Every step can be run
//! again after a crash; the ref moves in the last one only.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::activate::{deployment, environment, finish};
use super::dockerfile::Way;
use super::intake::{PLATFORM, PushOrder};
use super::releases::{self, NewRelease};
use super::shape::Shape;
use super::{attempt, commands, messages, rollout};
use crate::base::error::{Error, Result};
use crate::base::model::{App, BuildState, CommitId, DeploymentState, Id, ReleaseKind};
use crate::machinery::git::{GitError, ObjectId, Quarantine, Repositories, Repository, TreeLimits, export_tree};
use crate::product::Ctx;
use crate::product::builds::{BuildFailure, BuildLog, BuildRequest, Builder, Built, Imaged, Source, Turn};
use crate::product::converge::Handle;
use crate::product::{apps, routing};
use crate::state::jobs::{JobLog, StepContext, StepError, Work};
use crate::state::store;

pub const KIND: &str = "push";
const STEPS: [&str; 8] = ["detect", "build", "image", "release", "predeploy", "rollout", "postdeploy", "accept"];

/// Bounds of a pushed tree.
pub(super) const MOST_ENTRIES: usize = 200_000;
pub(super) const DEEPEST: usize = 100;

pub struct PushWork {
    ctx: Ctx,
    repositories: Arc<Repositories>,
    builder: Arc<Builder>,
    converger: Handle,
}

impl PushWork {
    pub fn new(ctx: Ctx, repositories: Arc<Repositories>, builder: Arc<Builder>, converger: Handle) -> Self {
        Self { ctx, repositories, builder, converger }
    }

    async fn app(&self, order: &PushOrder) -> Result<App> {
        let mut tx = self.ctx.store.read().await?;
        store::apps::find(&mut tx, &PLATFORM, &order.app).await?.ok_or_else(|| Error::not_found("the app"))
    }

    pub(super) fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    pub(super) fn repository(&self, order: &PushOrder) -> Result<Repository> {
        let found = self.repositories.find(order.app.as_str()).map_err(Error::internal)?;
        found.ok_or_else(|| Error::not_found("the app's repository"))
    }

    async fn request(&self, order: &PushOrder, app: &App) -> Result<BuildRequest, StepError> {
        let mut tx = self.ctx.store.read().await?;
        let version = store::variables::latest(&mut tx, &order.environment).await?.map_or(0, |set| set.version);
        let organization = &app.organization_id;
        let set = apps::read_variables(&mut tx, &self.ctx, organization, &order.environment, version).await?;
        let place = environment(&mut tx, &order.environment).await?;
        drop(tx);
        Ok(BuildRequest {
            wishes: self.wishes(order, &place).await?,
            app: app.id.clone(),
            app_name: app.name.clone(),
            commit: order.new.to_string(),
            variables: set.values.into_iter().map(|(name, value)| (name.to_string(), value)).collect(),
            no_cache: false,
        })
    }

    /// The pushed tree as a tar stream: from quarantine, or from the repository once it has moved there.
    pub(super) fn source(&self, order: &PushOrder) -> Result<Source> {
        let repository = self.repository(order)?;
        let key = order.quarantine.clone();
        let commit = object_id(&order.new);
        let limits = self.tree_limits();
        Ok(Arc::new(move |out: &mut dyn io::Write| {
            let quarantine = Quarantine::reopen(&repository, &key).map_err(told)?;
            export_tree(&repository, quarantine.as_ref(), &commit, &limits, out).map_err(told)?;
            Ok(())
        }))
    }

    pub(super) fn tree_limits(&self) -> TreeLimits {
        let git = &self.ctx.config.git;
        TreeLimits {
            entries: MOST_ENTRIES,
            total_bytes: git.max_pack_bytes,
            file_bytes: git.max_object_bytes as u64,
            depth: DEEPEST,
        }
    }

    pub(super) fn builder(&self) -> &Builder {
        &self.builder
    }

    /// The branch must still be where the pusher saw it: pushes of one app run one after the other.
    fn check_not_stale(&self, order: &PushOrder) -> Result<(), StepError> {
        if order.archive {
            return Ok(());
        }
        let tip = self.repository(order)?.head_of(order.branch.as_str()).map_err(Error::internal)?;
        let tip = tip.map(|id| id.to_string());
        let known = order.old.as_ref().map(ToString::to_string);
        if tip == known || tip.as_deref() == Some(order.new.as_str()) {
            Ok(())
        } else {
            Err(StepError::fail(messages::STALE))
        }
    }

    async fn detect(&self, order: &PushOrder, cx: &StepContext) -> Result<Value, StepError> {
        self.check_not_stale(order)?;
        let app = self.app(order).await?;
        let manifest = self.manifest(order).await?;
        self.grant_wishes(order, &app, &manifest, cx).await?;
        let turn = turn(&self.builder, &app, cx).await?;
        let request = self.request(order, &app).await?;
        let chosen = self.choose(order, (&request, &manifest), cx).await?;
        turn.keep();
        Ok(chosen)
    }

    async fn build(&self, order: &PushOrder, cx: &StepContext) -> Result<Value, StepError> {
        let app = self.app(order).await?;
        let _turn = turn(&self.builder, &app, cx).await?;
        let request = self.request(order, &app).await?;
        let detected = match earlier(cx, 0)? {
            Way::Buildpacks(detected) => detected,
            Way::Dockerfile { recipe } => return self.build_recipe(order, &request, &recipe, cx).await,
        };
        let built = self.builder.build(&request, &detected, self.source(order)?, lines(cx)).await;
        output(&built.map_err(|f| failure(&f, cx))?)
    }

    async fn image(&self, order: &PushOrder, cx: &StepContext) -> Result<Value, StepError> {
        let app = self.app(order).await?;
        let request = self.request(order, &app).await?;
        let imaged = match earlier(cx, 0)? {
            Way::Buildpacks(detected) => {
                let built: Built = earlier(cx, 1)?;
                let imaged = self.builder.image(&request, &detected, &built, lines(cx)).await;
                imaged.map_err(|f| failure(&f, cx))?
            }
            Way::Dockerfile { recipe } => {
                self.image_of_recipe(order, &request, (&recipe, &earlier(cx, 1)?), cx).await?
            }
        };
        let text = messages::image(&imaged.image, imaged.layers_total, imaged.layers_new, imaged.bytes_new);
        cx.log.append(&messages::heading(&text, 0));
        output(&imaged)
    }

    async fn release(&self, order: &PushOrder, cx: &StepContext) -> Result<Value, StepError> {
        let imaged: Imaged = earlier(cx, 2)?;
        let manifest = self.manifest(order).await?;
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
            commit: Some(order.new.to_string()),
            image: imaged.image.clone(),
            processes: imaged.processes.clone(),
            variables_version: variables,
            shape: Shape::of_spec(&place.spec).with_wishes(&manifest).resolved(&mut tx, &place.id).await?,
            manifest,
            kind: ReleaseKind::Rollout,
            description: format!("{} {}", if order.archive { "upload" } else { "push" }, &order.new.as_str()[..12]),
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

    /// The objects become the repository's, the ref moves: the push is accepted.
    async fn accept(&self, order: &PushOrder, cx: &StepContext) -> Result<Value, StepError> {
        let repository = self.repository(order)?;
        let moved = order.clone();
        let task = tokio::task::spawn_blocking(move || {
            if let Some(quarantine) = Quarantine::reopen(&repository, &moved.quarantine)? {
                quarantine.migrate()?;
            }
            let new = object_id(&moved.new);
            if moved.archive {
                return repository.keep(moved.environment.as_str(), &new);
            }
            let old = moved.old.as_ref().map_or(null_id(), object_id);
            repository.update_ref(&format!("refs/heads/{}", moved.branch), &old, &new)
        });
        task.await.map_err(Error::internal)?.map_err(not_moved)?;
        finish(&self.ctx, &order.deployment, DeploymentState::Succeeded, None).await?;
        let mut tx = self.ctx.store.read().await?;
        for route in store::routes::of_environment(&mut tx, &order.environment).await? {
            cx.log.append(&messages::body(&routing::url(&self.ctx.config, &route.host)));
        }
        Ok(Value::Null)
    }
}

#[async_trait]
impl Work for PushWork {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn steps(&self) -> &'static [&'static str] {
        &STEPS
    }

    async fn run(&self, step: usize, cx: &StepContext) -> Result<Value, StepError> {
        let order: PushOrder = serde_json::from_value(cx.job.payload.clone()).map_err(Error::internal)?;
        match step {
            0 => self.detect(&order, cx).await,
            1 => self.build(&order, cx).await,
            2 => self.image(&order, cx).await,
            3 => self.release(&order, cx).await,
            4 => commands::before(&self.ctx, &order.deployment, cx).await,
            5 => rollout::of_push(&self.ctx, &self.converger, (&order.environment, &order.deployment), cx).await,
            6 => commands::after(&self.ctx, &order.deployment, cx).await,
            _ => self.accept(&order, cx).await,
        }
    }

    async fn failed(&self, cx: &StepContext, reason: &str) {
        let Ok(order) = serde_json::from_value::<PushOrder>(cx.job.payload.clone()) else { return };
        if let Err(error) = self.clear_away(&order, reason).await {
            tracing::error!(job.id = %cx.job.id, error = error.for_log(), "a failed push could not be cleared away");
        }
        let live = rollout::live_number(&self.ctx, &order.environment).await.ok().flatten();
        cx.log.append(&messages::problem(if live.is_some() { messages::KEPT } else { messages::NONE_BEFORE }));
    }
}

impl PushWork {
    async fn clear_away(&self, order: &PushOrder, reason: &str) -> Result<()> {
        let attempt = (&order.build, &order.deployment);
        attempt::clear_away(&self.ctx, &order.environment, attempt, reason).await?;
        if let Some(repository) = self.repositories.find(order.app.as_str()).map_err(Error::internal)?
            && let Some(quarantine) = Quarantine::reopen(&repository, &order.quarantine).map_err(Error::internal)?
        {
            quarantine.discard().map_err(Error::internal)?;
        }
        Ok(())
    }
}

/// The pusher reads this: what is the server's own goes to its log alone.
pub(super) fn told(error: GitError) -> io::Error {
    let text = error.public().unwrap_or_else(|| {
        tracing::error!(error = &error as &dyn std::error::Error, "a pushed tree could not be read");
        "the server cannot read its repository now; its log says why".into()
    });
    io::Error::other(text)
}

/// The release is live already: what may pass, such as a full disk, is waited for.
fn not_moved(error: GitError) -> StepError {
    match error {
        GitError::Moved { .. } => return StepError::fail(messages::STALE),
        _ if !error.is_temporary() => return Error::internal(error).into(),
        _ => {}
    }
    let reason = "the branch could not be moved: the server cannot write its repository now".into();
    StepError::Retry { reason, after: Duration::from_secs(1), source: Some(error.into()) }
}

/// Waits until the app's build may run. Who waits takes nobody's place in the queue of jobs.
pub(super) async fn turn(builder: &Builder, app: &App, cx: &StepContext) -> Result<Turn, StepError> {
    let mut resting = None;
    let entered = builder.enter(&app.id, &app.organization_id, |line| {
        resting.get_or_insert_with(|| cx.rest());
        cx.log.append(line);
    });
    tokio::select! {
        turn = entered => Ok(turn),
        () = cx.cancel.cancelled() => Err(StepError::Interrupted),
    }
}

struct Lines(JobLog);

pub(super) fn lines(cx: &StepContext) -> Arc<dyn BuildLog> {
    Arc::new(Lines(cx.log.clone()))
}

impl BuildLog for Lines {
    fn line(&self, text: &str) {
        self.0.append(text);
    }
}

pub(super) fn failure(failure: &BuildFailure, cx: &StepContext) -> StepError {
    for line in &failure.lines {
        cx.log.append(line);
    }
    StepError::fail(failure.reason.clone())
}

/// A `CommitId` holds nothing but a SHA-1, so it always is an object id.
pub(super) fn object_id(commit: &CommitId) -> ObjectId {
    commit.as_str().parse().unwrap_or_else(|_| unreachable!("a commit id is 40 hexadecimal digits"))
}

/// What people said of a process type goes before what `app.json` says.
pub(super) fn null_id() -> ObjectId {
    "0".repeat(40).parse().unwrap_or_else(|_| unreachable!("forty zeros are an object id"))
}

pub(super) fn output(value: &impl serde::Serialize) -> Result<Value, StepError> {
    Ok(serde_json::to_value(value).map_err(Error::internal)?)
}

/// What an earlier step of this job handed on.
pub(super) fn earlier<T: DeserializeOwned>(cx: &StepContext, step: usize) -> Result<T> {
    let value = cx.outputs.get(step).cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(Error::internal)
}
