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
use super::manifest::{apply, wished};
use super::options::Course;
use super::releases::{self, NewRelease};
use super::shape::Shape;
use super::{attempt, commands, messages, rollout};
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, AppId, BuildId, BuildState, CommitId, DeploymentId, DeploymentState, EnvironmentId, Id, ReleaseKind,
};
use crate::machinery::git::{
    GitError, ObjectId, Quarantine, Repositories, Repository, TreeLimits, export_tree, tree_of,
};
use crate::product::Ctx;
use crate::product::apps::{self, VariableChanges};
use crate::product::builds::{BuildFailure, BuildLog, BuildRequest, Builder, Built, Imaged, Origin, Source, Turn};
use crate::product::converge::Handle;
use crate::product::routing;
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
        let mut values = set.values;
        if order.manner.course == Course::DryRun {
            let (brought, _) = wished(&self.manifest(order).await?, &values, &VariableChanges::new());
            apply(&mut values, brought);
        }
        let changes = self.changes(&mut tx, order, app).await?;
        // Built from what is stored alone: only then is the same again the same.
        let repeatable = changes.is_empty() && order.manner.course != Course::DryRun && !order.manner.no_cache;
        apply(&mut values, changes);
        let place = environment(&mut tx, &order.environment).await?;
        drop(tx);
        let (tree, wishes) = tokio::join!(self.tree(order), self.wishes(order, &place));
        let (tree, wishes) = (tree?, wishes?);
        Ok(BuildRequest {
            wishes,
            origin: repeatable.then(|| Origin { tree, variables: (order.environment.clone(), version) }),
            app: app.id.clone(),
            app_name: app.name.clone(),
            commit: order.new.to_string(),
            variables: values.into_iter().map(|(name, value)| (name.to_string(), value)).collect(),
            no_cache: order.manner.no_cache,
        })
    }

    async fn tree(&self, order: &PushOrder) -> Result<String> {
        let repository = self.repository(order)?;
        let (key, commit) = (order.quarantine.clone(), object_id(&order.new));
        let read = tokio::task::spawn_blocking(move || {
            let quarantine = Quarantine::reopen(&repository, &key)?;
            tree_of(&repository, quarantine.as_ref(), &commit)
        });
        Ok(read.await.map_err(Error::internal)?.map_err(Error::internal)?.to_string())
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
        let imaged = match earlier(cx, 0)? {
            Way::Buildpacks(detected) => {
                let built: Built = earlier(cx, 1)?;
                let imaged = self.builder.image(&order.app, &detected, &built, lines(cx)).await;
                imaged.map_err(|f| failure(&f, cx))?
            }
            Way::Dockerfile { recipe } => {
                let request = self.request(order, &self.app(order).await?).await?;
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
        let before = store::variables::latest(&mut tx, &place.id).await?.map_or(0, |set| set.version);
        let variables = self.write_variables(&mut tx, order, &place, before).await?;
        let new = NewRelease {
            build_id: Some(order.build.clone()),
            commit: Some(order.new.to_string()),
            image: imaged.image.clone(),
            processes: imaged.processes.clone(),
            variables_version: variables,
            shape: Shape::of_spec(&place.spec).with_wishes(&manifest).resolved(&mut tx, &place.id).await?,
            manifest,
            kind: ReleaseKind::Rollout,
            description: messages::made_of(order),
            created_by: Some(order.user.clone()),
        };
        let release = releases::make(&mut tx, &place, new, now).await?;
        store::deployments::set_release(&mut tx, &row.id, &release.id).await?;
        if variables != before {
            store::deployments::set_variables_before(&mut tx, &row.id, before).await?;
        }
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
        if order.manner.course == Course::Skip {
            cx.log.append(&messages::heading(&messages::skipped(order.branch.as_str()), 0));
            return Ok(Value::Null);
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
impl Work for PushWork {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn steps(&self) -> &'static [&'static str] {
        &STEPS
    }

    async fn run(&self, step: usize, cx: &StepContext) -> Result<Value, StepError> {
        let order: PushOrder = serde_json::from_value(cx.job.payload.clone()).map_err(Error::internal)?;
        self.work(&order, step, cx).await
    }

    async fn failed(&self, cx: &StepContext, reason: &str) {
        let Ok(order) = serde_json::from_value::<PushOrder>(cx.job.payload.clone()) else { return };
        let tried = Tried {
            app: &order.app,
            environment: &order.environment,
            attempt: (&order.build, &order.deployment),
            quarantine: Some(&order.quarantine),
        };
        self.undo(tried, cx, reason).await;
    }
}

impl PushWork {
    pub(super) async fn work(&self, order: &PushOrder, step: usize, cx: &StepContext) -> Result<Value, StepError> {
        match (order.manner.course, step) {
            (Course::Skip, 0) => self.check_not_stale(order)?,
            (Course::Skip, 1..=6) | (Course::DryRun, 4..=6) => {}
            (Course::DryRun, 3) => return self.end_dry_run(order, cx).await,
            (Course::DryRun, 7) => {
                self.discard(order).await?;
                cx.log.append(&messages::heading(messages::DRY_RUN, 0));
            }
            _ => return self.deploy(order, step, cx).await,
        }
        Ok(Value::Null)
    }

    async fn deploy(&self, order: &PushOrder, step: usize, cx: &StepContext) -> Result<Value, StepError> {
        match step {
            0 => self.detect(order, cx).await,
            1 => self.build(order, cx).await,
            2 => self.image(order, cx).await,
            3 => self.release(order, cx).await,
            4 => commands::before(&self.ctx, &order.deployment, cx).await,
            5 => {
                let (at, strategy) = ((&order.environment, &order.deployment), order.manner.strategy.as_ref());
                rollout::of_push(&self.ctx, &self.converger, at, strategy, cx).await
            }
            6 => commands::after(&self.ctx, &order.deployment, cx).await,
            _ => self.accept(order, cx).await,
        }
    }

    pub(super) async fn undo(&self, tried: Tried<'_>, cx: &StepContext, reason: &str) {
        let environment = tried.environment;
        if cx.was_called_off(reason) {
            cx.log.append(&messages::problem(&messages::cancelled(reason)));
            self.end_build(tried.app, cx).await;
        }
        if let Err(error) = self.clear_away(&tried, reason).await {
            tracing::error!(job.id = %cx.job.id, error = error.for_log(), "a failed push could not be cleared away");
        }
        let live = rollout::live_number(&self.ctx, environment).await.ok().flatten();
        cx.log.append(&messages::problem(if live.is_some() { messages::KEPT } else { messages::NONE_BEFORE }));
    }

    /// What the build was in the middle of goes with its sandbox. Where it had not begun, the sandbox may be another one's.
    async fn end_build(&self, app: &AppId, cx: &StepContext) {
        if matches!(cx.under_way, Some("detect" | "build"))
            && let Err(failure) = self.builder.end(app).await
        {
            tracing::warn!(job.id = %cx.job.id, reason = failure.reason, "a sandbox could not be removed");
        }
    }

    async fn clear_away(&self, tried: &Tried<'_>, reason: &str) -> Result<()> {
        attempt::clear_away(&self.ctx, tried.environment, tried.attempt, reason).await?;
        if let Some(key) = tried.quarantine
            && let Some(repository) = self.repositories.find(tried.app.as_str()).map_err(Error::internal)?
            && let Some(quarantine) = Quarantine::reopen(&repository, key).map_err(Error::internal)?
        {
            quarantine.discard().map_err(Error::internal)?;
        }
        Ok(())
    }
}

/// What a failed order leaves to clear away.
pub(super) struct Tried<'a> {
    pub(super) app: &'a AppId,
    pub(super) environment: &'a EnvironmentId,
    pub(super) attempt: (&'a BuildId, &'a DeploymentId),
    /// None: nothing came yet.
    pub(super) quarantine: Option<&'a str>,
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
