//! The job of what lies elsewhere: its first step fetches, and what it fetched is a quarantine as that of a push; from there on
//! it goes the way of one.
//!
//! Invariants: a step that is run again, after a crash or a lost connection, begins anew in a quarantine of its own; one that no
//! step has handed on is nobody's, and swept away. Credentials are read from the app's variables when the step runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::fetched::Login;
use super::intake::PushOrder;
use super::options::Manner;
use super::push::{PushWork, Tried, earlier, output};
use super::{attempt, from_bucket, from_git, image, messages};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{
    App, AppId, BranchName, Build, BuildId, CommitId, DeploymentId, Environment, EnvironmentId, Id, UserId,
};
use crate::machinery::git::{GitError, ObjectId, Quarantine};
use crate::machinery::outbound::Object;
use crate::product::Ctx;
use crate::state::jobs::{StepContext, StepError, Work};
use crate::state::store;

pub(super) const KIND: &str = "source";
/// The first one, then those of a push.
const STEPS: [&str; 9] =
    ["fetch", "detect", "build", "image", "release", "predeploy", "rollout", "postdeploy", "accept"];
/// As often a connection may be lost.
const ATTEMPTS: i64 = 3;
const TELL_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FetchOrder {
    pub(super) app: AppId,
    pub(super) environment: EnvironmentId,
    /// The environment's.
    branch: BranchName,
    pub(super) from: From,
    pub(super) login: Login,
    #[serde(default, skip_serializing_if = "Manner::is_usual")]
    manner: Manner,
    user: UserId,
    build: BuildId,
    deployment: DeploymentId,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum From {
    Git { url: String, branch: BranchName },
    Bucket(Object),
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Git { url, branch } => write!(f, "{branch} of {url}"),
            Self::Bucket(object) => write!(f, "{object}"),
        }
    }
}

/// What the first step hands on.
#[derive(Serialize, Deserialize)]
struct Fetched {
    commit: CommitId,
    quarantine: String,
}

/// Of the first step's output.
pub(super) fn quarantine_of(output: &Value) -> Option<String> {
    serde_json::from_value::<Fetched>(output.clone()).ok().map(|fetched| fetched.quarantine)
}

/// What may become of a fetch, but success.
pub(super) enum Fault {
    /// The text says why it will not be otherwise in a moment.
    Final(String),
    /// The way there, or what is at its end, failed.
    Lost(String),
    Ours(Error),
}

impl std::convert::From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error.kind {
            Kind::Internal => Self::Ours(error),
            _ => Self::Final(error.public),
        }
    }
}

/// Objects that nobody else has yet, the key of their quarantine, and what they are of.
pub(super) struct Taken {
    pub(super) quarantine: Quarantine,
    pub(super) key: String,
    pub(super) tip: ObjectId,
}

/// One attempt: how far it is, and whether somebody still waits for it.
#[derive(Clone, Default)]
pub(super) struct Progress {
    bytes: Arc<AtomicU64>,
    /// Cancelled when nobody does.
    pub(super) given_up: CancellationToken,
}

impl Progress {
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

pub(super) async fn enqueue(
    ctx: &Ctx,
    actor: &Actor,
    (app, environment): (&App, &Environment),
    from: From,
    (login, manner): (Login, Manner),
) -> Result<Build> {
    actor.may(Action::Deploy, &Place::from(app))?;
    manner.check()?;
    let mut tx = image::held(ctx, app, environment).await?;
    let order = FetchOrder {
        app: app.id.clone(),
        environment: environment.id.clone(),
        branch: environment.branch.clone(),
        from,
        login,
        manner,
        user: actor.user.id.clone(),
        build: BuildId::fresh(),
        deployment: DeploymentId::fresh(),
    };
    let payload = serde_json::to_value(&order).map_err(Error::internal)?;
    let job_id = ctx.queue.enqueue(&mut tx, KIND, app.id.as_str(), payload).await?;
    let build = attempt::build(ctx, &order.build, app, &job_id, &order.from);
    attempt::begin(&mut tx, &build, (&order.deployment, &environment.id), order.user, order.manner.course).await?;
    tx.commit().await?;
    ctx.queue.notify();
    Ok(build)
}

pub struct FetchWork {
    push: Arc<PushWork>,
}

impl FetchWork {
    pub fn new(push: Arc<PushWork>) -> Self {
        Self { push }
    }

    async fn fetch(&self, order: &FetchOrder, cx: &StepContext) -> Result<Value, StepError> {
        let ctx = self.push.ctx();
        cx.log.append(&messages::heading(&messages::fetching(&order.from.to_string()), 0));
        let (began, progress) = (Instant::now(), Progress::default());
        // However this ends, nothing reads on behind its back.
        let _ends = progress.given_up.clone().drop_guard();
        let within = Duration::from_secs(ctx.config.build.timeout_seconds);
        let work = async {
            match &order.from {
                From::Git { url, branch } => from_git::fetch(ctx, order, (url, branch), &progress).await,
                From::Bucket(object) => from_bucket::fetch(ctx, order, object, &progress).await,
            }
        };
        let taken = tokio::select! {
            taken = timeout(within, work) => taken,
            () = tell(cx, &progress) => return Err(StepError::Interrupted),
            () = cx.cancel.cancelled() => return Err(StepError::Interrupted),
        };
        let late = |_| Err(Fault::Final(format!("it was not fetched within {} seconds", within.as_secs())));
        let mut taken = taken.unwrap_or_else(late).map_err(|fault| failed(fault, order, cx))?;
        let commit =
            taken.tip.to_string().parse().map_err(|e| Error::internal(std::io::Error::other(format!("{e}"))))?;
        let mut tx = ctx.store.begin().await?;
        store::builds::name_commit(&mut tx, &order.build, &commit).await?;
        tx.commit().await?;
        let millis = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        cx.log.append(&messages::heading(&messages::fetched(&commit, progress.so_far()), millis));
        // Not before: where nobody waits any more, it goes with its last owner.
        taken.quarantine.keep();
        output(&Fetched { commit, quarantine: taken.key })
    }
}

/// Says how far it is, as long as that changes. Has no end.
async fn tell(cx: &StepContext, progress: &Progress) {
    let (mut every, mut told) = (interval(TELL_EVERY), 0);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let bytes = progress.so_far();
        if bytes != told {
            told = bytes;
            cx.log.append(&messages::body(&messages::so_far(bytes)));
        }
    }
}

/// The address has no credentials in it, and no cause tells of any.
fn failed(fault: Fault, order: &FetchOrder, cx: &StepContext) -> StepError {
    match fault {
        Fault::Ours(error) => error.into(),
        Fault::Lost(cause) if cx.attempt < ATTEMPTS => {
            cx.log.append(&messages::problem(&messages::lost(&cause, cx.attempt, ATTEMPTS)));
            StepError::Retry { reason: cause, after: Duration::from_secs(1), source: None }
        }
        Fault::Lost(cause) | Fault::Final(cause) => {
            cx.log.append(&messages::problem(&format!("{} cannot be fetched: {cause}", order.from)));
            StepError::fail(format!("fetch failed: {cause}"))
        }
    }
}

/// As that of an upload or a push.
pub(super) fn not_taken(error: GitError) -> Fault {
    match (error.public(), error) {
        (Some(text), GitError::Disconnected(_)) => Fault::Lost(text),
        (Some(text), _) => Fault::Final(text),
        (None, error) => Fault::Ours(Error::internal(error)),
    }
}

fn push_order(order: FetchOrder, fetched: Fetched) -> PushOrder {
    PushOrder {
        app: order.app,
        environment: order.environment,
        branch: order.branch,
        old: None,
        new: fetched.commit,
        quarantine: fetched.quarantine,
        archive: true,
        fetched: Some(order.from.to_string()),
        manner: order.manner,
        user: order.user,
        build: order.build,
        deployment: order.deployment,
    }
}

#[async_trait]
impl Work for FetchWork {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn steps(&self) -> &'static [&'static str] {
        &STEPS
    }

    async fn run(&self, step: usize, cx: &StepContext) -> Result<Value, StepError> {
        let order: FetchOrder = serde_json::from_value(cx.job.payload.clone()).map_err(Error::internal)?;
        match step {
            0 => self.fetch(&order, cx).await,
            step => {
                let order = push_order(order, earlier(cx, 0)?);
                self.push.work(&order, step - 1, &cx.beyond(1)).await
            }
        }
    }

    async fn failed(&self, cx: &StepContext, reason: &str) {
        let Ok(order) = serde_json::from_value::<FetchOrder>(cx.job.payload.clone()) else { return };
        // A quarantine that was not handed on went with its step, or goes with the next start.
        let quarantine = cx.outputs.first().and_then(quarantine_of);
        let tried = Tried {
            app: &order.app,
            environment: &order.environment,
            attempt: (&order.build, &order.deployment),
            quarantine: quarantine.as_deref(),
        };
        self.push.undo(tried, cx, reason).await;
    }
}
