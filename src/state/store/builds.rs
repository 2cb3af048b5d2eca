//! Builds: one per job.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{
    from_json, from_word, json, many, on, one, parse, parse_some, sees_app, text, touched, viewer, word,
};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{AppId, Build, BuildId, BuildState, CommitId, Id, ImageDigest, JobId, Processes};

#[derive(FromRow)]
struct Row {
    id: String,
    app_id: String,
    job_id: String,
    commit_id: String,
    state: String,
    image: Option<String>,
    processes: String,
    reason: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Build {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            app_id: parse(&row.app_id)?,
            job_id: parse(&row.job_id)?,
            commit: row.commit_id,
            state: from_word(&row.state)?,
            image: parse_some(row.image.as_deref())?,
            processes: from_json(&row.processes)?,
            reason: row.reason,
            created_at: Timestamp(row.created_at),
            finished_at: row.finished_at.map(Timestamp),
        })
    }
}

/// Exists when the job has a build.
pub async fn insert(tx: &mut Tx, build: &Build) -> Result<()> {
    const SQL: &str = "INSERT INTO builds (id, app_id, job_id, commit_id, state, image, processes, reason,
            created_at, finished_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let (state, processes) = (word(&build.state)?, json(&build.processes)?);
    let reason = build.reason.as_deref().map(text);
    touched!(tx, c => sqlx::query(SQL)
        .bind(build.id.as_str())
        .bind(build.app_id.as_str())
        .bind(build.job_id.as_str())
        .bind(build.commit.as_str())
        .bind(state.as_str())
        .bind(build.image.as_ref().map(ImageDigest::as_str))
        .bind(processes.as_str())
        .bind(reason.as_deref())
        .bind(build.created_at.0)
        .bind(build.finished_at.map(|at| at.0))
        .execute(c))?;
    Ok(())
}

/// What it is made of, once that is known.
pub async fn name_commit(tx: &mut Tx, id: &BuildId, commit: &CommitId) -> Result<()> {
    const SQL: &str = "UPDATE builds SET commit_id = $2 WHERE id = $1 AND state = 'running'";
    touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(commit.as_str()).execute(c))?;
    Ok(())
}

/// `false`: it was finished already, and stays as it was.
pub async fn finish(
    tx: &mut Tx,
    id: &BuildId,
    state: BuildState,
    image: Option<&ImageDigest>,
    processes: &Processes,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<bool> {
    const SQL: &str = "UPDATE builds SET state = $2, image = $3, processes = $4, reason = $5, finished_at = $6
        WHERE id = $1 AND state = 'running'";
    let (state, processes, reason) = (word(&state)?, json(processes)?, reason.map(text));
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(state.as_str())
        .bind(image.map(ImageDigest::as_str))
        .bind(processes.as_str())
        .bind(reason.as_deref())
        .bind(at.0)
        .execute(c))?
        == 1)
}

pub async fn find(tx: &mut Tx, scope: &Scope, id: &BuildId) -> Result<Option<Build>> {
    const SQL: &str =
        concat!("SELECT b.* FROM builds b JOIN apps a ON a.id = b.app_id WHERE b.id = $2 AND ", sees_app!("$1", "a"));
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(id.as_str()).fetch_optional(c))?)
}

pub async fn of_job(tx: &mut Tx, job: &JobId) -> Result<Option<Build>> {
    const SQL: &str = "SELECT * FROM builds WHERE job_id = $1";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(job.as_str()).fetch_optional(c))?)
}

/// Newest first.
pub async fn list(tx: &mut Tx, scope: &Scope, app: &AppId, limit: i64) -> Result<Vec<Build>> {
    const SQL: &str = concat!(
        "SELECT b.* FROM builds b JOIN apps a ON a.id = b.app_id WHERE b.app_id = $2 AND ",
        sees_app!("$1", "a"),
        " ORDER BY b.created_at DESC, b.id DESC LIMIT $3"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(app.as_str())
        .bind(limit)
        .fetch_all(c))?)
}
