//! Deployments: one per job. Their beginnings and ends are events, written with them.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_word, many, on, one, parse, parse_some, sees_app, text, touched, viewer, word};
use super::events::{self, NewEvent, Subject};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{Deployment, DeploymentId, DeploymentState, EnvironmentId, Happened, Id, JobId, ReleaseId};

#[derive(FromRow)]
struct Row {
    id: String,
    environment_id: String,
    job_id: String,
    kind: String,
    release_id: Option<String>,
    state: String,
    reason: Option<String>,
    created_by: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Deployment {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            environment_id: parse(&row.environment_id)?,
            job_id: parse(&row.job_id)?,
            kind: from_word(&row.kind)?,
            release_id: parse_some(row.release_id.as_deref())?,
            state: from_word(&row.state)?,
            reason: row.reason,
            created_by: parse_some(row.created_by.as_deref())?,
            created_at: Timestamp(row.created_at),
            finished_at: row.finished_at.map(Timestamp),
        })
    }
}

/// Exists when the job has a deployment.
pub async fn insert(tx: &mut Tx, deployment: &Deployment) -> Result<()> {
    const SQL: &str = "INSERT INTO deployments (id, environment_id, job_id, kind, release_id, state, reason,
            created_by, created_at, finished_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let (kind, state) = (word(&deployment.kind)?, word(&deployment.state)?);
    let reason = deployment.reason.as_deref().map(text);
    touched!(tx, c => sqlx::query(SQL)
        .bind(deployment.id.as_str())
        .bind(deployment.environment_id.as_str())
        .bind(deployment.job_id.as_str())
        .bind(kind.as_str())
        .bind(deployment.release_id.as_ref().map(Id::as_str))
        .bind(state.as_str())
        .bind(reason.as_deref())
        .bind(deployment.created_by.as_ref().map(Id::as_str))
        .bind(deployment.created_at.0)
        .bind(deployment.finished_at.map(|at| at.0))
        .execute(c))?;
    let started = NewEvent {
        at: deployment.created_at,
        of: Subject::Environment(&deployment.environment_id),
        happened: Happened::DeploymentStarted { deployment: deployment.id.clone(), how: deployment.kind },
        subject: deployment.id.to_string(),
        actor: deployment.created_by.as_ref(),
        cause: None,
        once: Some(started(&deployment.id)),
    };
    events::insert(tx, &started).await?;
    Ok(())
}

/// What the event of its beginning is known by.
fn started(id: &DeploymentId) -> String {
    format!("{id}/started")
}

/// `false`: it is finished, or has another release.
pub async fn set_release(tx: &mut Tx, id: &DeploymentId, release: &ReleaseId) -> Result<bool> {
    const SQL: &str = "UPDATE deployments SET release_id = $2
        WHERE id = $1 AND state = 'running' AND (release_id IS NULL OR release_id = $2)";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(release.as_str()).execute(c))? == 1)
}

/// What it comes back to when it fails, as it wrote variables with its release.
pub async fn set_variables_before(tx: &mut Tx, id: &DeploymentId, version: i64) -> Result<()> {
    const SQL: &str = "UPDATE deployments SET variables_before = $2 WHERE id = $1";
    touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(version).execute(c))?;
    Ok(())
}

pub async fn variables_before(tx: &mut Tx, id: &DeploymentId) -> Result<Option<i64>> {
    const SQL: &str = "SELECT variables_before FROM deployments WHERE id = $1";
    Ok(on!(tx, c => sqlx::query_scalar::<_, Option<i64>>(SQL).bind(id.as_str()).fetch_optional(c))?.flatten())
}

/// `false`: it was finished already, and stays as it was.
pub async fn finish(
    tx: &mut Tx,
    id: &DeploymentId,
    state: DeploymentState,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<bool> {
    const SQL: &str = "UPDATE deployments SET state = $2, reason = $3, finished_at = $4
        WHERE id = $1 AND state = 'running'";
    let (word, text) = (word(&state)?, reason.map(text));
    let finished = touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(word.as_str())
        .bind(text.as_deref())
        .bind(at.0)
        .execute(c))?
        == 1;
    if finished {
        tell_end(tx, id, state, reason, at).await?;
    }
    Ok(finished)
}

#[derive(FromRow)]
struct Told {
    environment_id: String,
    created_by: Option<String>,
    number: Option<i64>,
}

async fn tell_end(
    tx: &mut Tx,
    id: &DeploymentId,
    state: DeploymentState,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<()> {
    const SQL: &str = "SELECT d.environment_id, d.created_by, r.number FROM deployments d
        LEFT JOIN releases r ON r.id = d.release_id WHERE d.id = $1";
    let told = on!(tx, c => sqlx::query_as::<_, Told>(SQL).bind(id.as_str()).fetch_one(c))?;
    let (deployment, release) = (id.clone(), told.number);
    let happened = match state {
        DeploymentState::Running => return Ok(()),
        DeploymentState::Succeeded => Happened::DeploymentSucceeded { deployment, release },
        DeploymentState::Superseded => Happened::DeploymentSuperseded { deployment, release },
        DeploymentState::Failed => {
            Happened::DeploymentFailed { deployment, release, reason: reason.unwrap_or_default().to_owned() }
        }
    };
    let actor = parse_some(told.created_by.as_deref())?;
    let ended = NewEvent {
        at,
        of: Subject::Environment(&parse(&told.environment_id)?),
        happened,
        subject: release.map_or_else(|| id.to_string(), |number| format!("v{number}")),
        actor: actor.as_ref(),
        cause: Some(started(id)),
        once: Some(format!("{id}/ended")),
    };
    events::insert(tx, &ended).await?;
    Ok(())
}

pub async fn find(tx: &mut Tx, scope: &Scope, id: &DeploymentId) -> Result<Option<Deployment>> {
    const SQL: &str = concat!(
        "SELECT d.* FROM deployments d JOIN environments e ON e.id = d.environment_id JOIN apps a ON a.id = e.app_id
         WHERE d.id = $2 AND ",
        sees_app!("$1", "a")
    );
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(id.as_str()).fetch_optional(c))?)
}

pub async fn of_job(tx: &mut Tx, job: &JobId) -> Result<Option<Deployment>> {
    const SQL: &str = "SELECT * FROM deployments WHERE job_id = $1";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(job.as_str()).fetch_optional(c))?)
}

/// The one whose release is on its way to be live, as long as its job works on that.
pub async fn rolling_out(tx: &mut Tx, environment: &EnvironmentId) -> Result<Option<Deployment>> {
    const SQL: &str = "SELECT d.* FROM deployments d JOIN jobs j ON j.id = d.job_id
        WHERE d.environment_id = $1 AND d.state = 'running' AND d.release_id IS NOT NULL
            AND j.state IN ('queued', 'running') ORDER BY d.created_at DESC LIMIT 1";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).fetch_optional(c))?)
}

/// Newest first.
pub async fn list(tx: &mut Tx, scope: &Scope, environment: &EnvironmentId, limit: i64) -> Result<Vec<Deployment>> {
    const SQL: &str = concat!(
        "SELECT d.* FROM deployments d JOIN environments e ON e.id = d.environment_id JOIN apps a ON a.id = e.app_id
         WHERE d.environment_id = $2 AND ",
        sees_app!("$1", "a"),
        " ORDER BY d.created_at DESC, d.id DESC LIMIT $3"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(environment.as_str())
        .bind(limit)
        .fetch_all(c))?)
}
