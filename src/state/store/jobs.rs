//! Jobs and their steps. What the states and leases mean stands in `state::jobs`, which alone moves them.
//!
//! A job that runs has a holder and a lease. One without a holder waits until `lease_until`, then
//! anybody may claim it; its subject stays taken meanwhile. An index keeps a second running job of a
//! subject out, whatever the queries do. A queued job that was called off gets a holder without running.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_json, from_word, json, many, on, one, parse, text, touched, word};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{Id, Job, JobId, JobState, JobStep, StepState};

macro_rules! columns {
    () => {
        "id, kind, subject, payload, state, reason, called_off, created_at, finished_at"
    };
}

#[derive(FromRow)]
struct Row {
    id: String,
    kind: String,
    subject: String,
    payload: String,
    state: String,
    reason: Option<String>,
    called_off: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
}

#[derive(FromRow)]
struct StepRow {
    name: String,
    state: String,
    attempt: i64,
    output: String,
    error: Option<String>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Job {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            kind: row.kind,
            subject: row.subject,
            payload: from_json(&row.payload)?,
            state: from_word(&row.state)?,
            reason: row.reason,
            called_off: row.called_off,
            created_at: Timestamp(row.created_at),
            finished_at: row.finished_at.map(Timestamp),
        })
    }
}

impl TryFrom<StepRow> for JobStep {
    type Error = Error;
    fn try_from(row: StepRow) -> Result<Self> {
        Ok(Self {
            name: row.name,
            state: from_word(&row.state)?,
            attempt: row.attempt,
            output: from_json(&row.output)?,
            error: row.error,
            started_at: row.started_at.map(Timestamp),
            finished_at: row.finished_at.map(Timestamp),
        })
    }
}

pub async fn insert(tx: &mut Tx, job: &Job, steps: &[&str]) -> Result<()> {
    const SQL: &str = "INSERT INTO jobs (id, kind, subject, payload, state, reason, created_at, finished_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (payload, state) = (json(&job.payload)?, word(&job.state)?);
    let (subject, reason) = (text(&job.subject), job.reason.as_deref().map(text));
    touched!(tx, c => sqlx::query(SQL)
        .bind(job.id.as_str())
        .bind(job.kind.as_str())
        .bind(subject.as_ref())
        .bind(payload.as_str())
        .bind(state.as_str())
        .bind(reason.as_deref())
        .bind(job.created_at.0)
        .bind(job.finished_at.map(|at| at.0))
        .execute(c))?;
    add_steps(tx, &job.id, 0, steps).await
}

/// Pending steps from position `first` on.
pub async fn add_steps(tx: &mut Tx, id: &JobId, first: usize, names: &[&str]) -> Result<()> {
    const SQL: &str = "INSERT INTO job_steps (job_id, position, name, state, attempt, output)
        VALUES ($1, $2, $3, 'pending', 0, 'null')";
    for (offset, name) in names.iter().enumerate() {
        let at = position(first + offset)?;
        touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(at).bind(*name).execute(c))?;
    }
    Ok(())
}

pub async fn find(tx: &mut Tx, id: &JobId) -> Result<Option<Job>> {
    const SQL: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1");
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(id.as_str()).fetch_optional(c))?)
}

pub async fn steps(tx: &mut Tx, id: &JobId) -> Result<Vec<JobStep>> {
    const SQL: &str = "SELECT name, state, attempt, output, error, started_at, finished_at
        FROM job_steps WHERE job_id = $1 ORDER BY position";
    many(on!(tx, c => sqlx::query_as::<_, StepRow>(SQL).bind(id.as_str()).fetch_all(c))?)
}

/// Oldest first.
pub async fn unfinished(tx: &mut Tx, subject: &str) -> Result<Vec<Job>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM jobs WHERE subject = $1 AND state IN ('queued', 'running') ORDER BY created_at, id"
    );
    let subject = text(subject);
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(subject.as_ref()).fetch_all(c))?)
}

/// What unfinished jobs were given, and what their steps have handed on.
pub async fn at_work_on(tx: &mut Tx) -> Result<Vec<serde_json::Value>> {
    const SQL: &str = "SELECT payload FROM jobs WHERE state IN ('queued', 'running')
        UNION ALL SELECT s.output FROM job_steps s JOIN jobs j ON j.id = s.job_id
        WHERE j.state IN ('queued', 'running')";
    let documents = on!(tx, c => sqlx::query_scalar::<_, String>(SQL).fetch_all(c))?;
    documents.iter().map(|text| from_json(text)).collect()
}

/// No job waits longer for its next attempt; one that seems to was told its time before the clock was set back.
const LONGEST_WAIT_MILLIS: i64 = 600_000;

/// The oldest job that can run now: its lease has run out, or it is queued, no job of its subject
/// runs and none is queued before it.
pub async fn claim(tx: &mut Tx, holder: &str, now: Timestamp, lease_until: Timestamp) -> Result<Option<Job>> {
    const SQL: &str = concat!(
        "UPDATE jobs SET state = 'running', holder = $1, lease_until = $3 WHERE id = (
            SELECT j.id FROM jobs j WHERE j.state IN ('queued', 'running') AND (
                (j.state = 'running' AND (j.lease_until <= $2 OR j.holder IS NULL AND j.lease_until > $4))
                OR (j.state = 'queued' AND j.called_off IS NULL AND NOT EXISTS (
                    SELECT 1 FROM jobs o WHERE o.subject = j.subject AND o.state IN ('queued', 'running')
                        AND (o.state = 'running' OR (o.created_at, o.id) < (j.created_at, j.id)))))
            ORDER BY j.created_at, j.id LIMIT 1)
         RETURNING ",
        columns!()
    );
    take_turn(tx).await?;
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(holder)
        .bind(now.0)
        .bind(lease_until.0)
        .bind(now.plus_millis(LONGEST_WAIT_MILLIS).0)
        .fetch_optional(c))?)
}

/// SQLite has one writer. In PostgreSQL two claims could each see the subject free: they take turns.
async fn take_turn(tx: &mut Tx) -> Result<()> {
    if let Tx::Postgres(_) = tx {
        const TURN: &str = "SELECT pg_advisory_xact_lock(hashtext('hythe.jobs.claim'))";
        touched!(tx, c => sqlx::query(TURN).execute(c))?;
    }
    Ok(())
}

/// The oldest job that was called off before it began. It stays queued, as another of its subject may run.
pub async fn claim_called_off(
    tx: &mut Tx,
    holder: &str,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Option<Job>> {
    const SQL: &str = concat!(
        "UPDATE jobs SET holder = $1, lease_until = $3 WHERE called_off IS NOT NULL AND id = (
            SELECT j.id FROM jobs j WHERE j.state = 'queued' AND j.called_off IS NOT NULL
                AND (j.lease_until IS NULL OR j.lease_until <= $2)
            ORDER BY j.created_at, j.id LIMIT 1)
         RETURNING ",
        columns!()
    );
    take_turn(tx).await?;
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(holder)
        .bind(now.0)
        .bind(lease_until.0)
        .fetch_optional(c))?)
}

/// The job shall end as failed, for this reason: at once where it waits. `false`: it is over, or was called off before.
pub async fn call_off(tx: &mut Tx, id: &JobId, reason: &str) -> Result<bool> {
    const SQL: &str = "UPDATE jobs SET called_off = $2,
            lease_until = CASE WHEN holder IS NULL AND state = 'running' THEN 0 ELSE lease_until END
        WHERE id = $1 AND state IN ('queued', 'running') AND called_off IS NULL";
    let reason = text(reason);
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(reason.as_ref()).execute(c))? == 1)
}

/// `false`: the holder no longer has the job.
pub async fn renew(tx: &mut Tx, id: &JobId, holder: &str, until: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE jobs SET lease_until = $3
        WHERE id = $1 AND holder = $2 AND state IN ('queued', 'running')";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(holder).bind(until.0).execute(c))? == 1)
}

/// Gives the job back: from `until` on anybody may claim it. `false`: the holder no longer has it.
pub async fn give_back(tx: &mut Tx, id: &JobId, holder: &str, until: Timestamp) -> Result<bool> {
    const SQL: &str = "UPDATE jobs SET holder = NULL, lease_until = $3
        WHERE id = $1 AND holder = $2 AND state = 'running'";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(holder).bind(until.0).execute(c))? == 1)
}

/// Gives back what holders whose names begin with `prefix` left behind, `holder` excepted.
pub async fn give_back_all(tx: &mut Tx, prefix: &str, holder: &str) -> Result<u64> {
    const SQL: &str = "UPDATE jobs SET holder = NULL, lease_until = 0
        WHERE state IN ('queued', 'running') AND substr(holder, 1, length($1)) = $1 AND holder <> $2";
    touched!(tx, c => sqlx::query(SQL).bind(prefix).bind(holder).execute(c))
}

/// When the first lease runs out.
pub async fn next_due(tx: &mut Tx) -> Result<Option<Timestamp>> {
    const SQL: &str = "SELECT min(lease_until) FROM jobs WHERE state IN ('queued', 'running')";
    let due = on!(tx, c => sqlx::query_scalar::<_, Option<i64>>(SQL).fetch_one(c))?;
    Ok(due.map(Timestamp))
}

/// Counts an attempt.
pub async fn step_started(tx: &mut Tx, id: &JobId, index: usize, now: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE job_steps
        SET state = 'running', attempt = attempt + 1, error = NULL, started_at = $3, finished_at = NULL
        WHERE job_id = $1 AND position = $2";
    let at = position(index)?;
    touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(at).bind(now.0).execute(c))?;
    Ok(())
}

pub async fn step_finished(
    tx: &mut Tx,
    id: &JobId,
    index: usize,
    state: StepState,
    output: &serde_json::Value,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    const SQL: &str = "UPDATE job_steps SET state = $3, output = $4, error = $5, finished_at = $6
        WHERE job_id = $1 AND position = $2";
    let (state, output, error, at) = (word(&state)?, json(output)?, error.map(text), position(index)?);
    touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(at)
        .bind(state.as_str())
        .bind(output.as_str())
        .bind(error.as_deref())
        .bind(now.0)
        .execute(c))?;
    Ok(())
}

/// The step waits for its next attempt; `error` says what the last one met. An interrupted attempt
/// does not count.
pub async fn step_waits(tx: &mut Tx, id: &JobId, index: usize, error: Option<&str>, interrupted: bool) -> Result<()> {
    const SQL: &str = "UPDATE job_steps SET state = 'pending', error = $3, attempt = attempt - $4
        WHERE job_id = $1 AND position = $2";
    let (error, at) = (error.map(text), position(index)?);
    touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(at)
        .bind(error.as_deref())
        .bind(i64::from(interrupted))
        .execute(c))?;
    Ok(())
}

/// `false`: the holder no longer has the job.
pub async fn finish(
    tx: &mut Tx,
    id: &JobId,
    holder: &str,
    state: JobState,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    const SQL: &str = "UPDATE jobs SET state = $3, reason = $4, finished_at = $5, holder = NULL, lease_until = NULL
        WHERE id = $1 AND holder = $2 AND state IN ('queued', 'running')";
    let (state, reason) = (word(&state)?, reason.map(text));
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(holder)
        .bind(state.as_str())
        .bind(reason.as_deref())
        .bind(now.0)
        .execute(c))?
        == 1)
}

/// Removes at most `most` of the jobs that ended before `before`, with their steps; how many that were.
pub async fn purge(tx: &mut Tx, before: Timestamp, most: i64) -> Result<u64> {
    const SQL: &str = "DELETE FROM jobs WHERE id IN
        (SELECT o.id FROM jobs o WHERE o.finished_at < $1 AND o.state IN ('succeeded', 'failed')
         ORDER BY o.finished_at LIMIT $2)";
    touched!(tx, c => sqlx::query(SQL).bind(before.0).bind(most).execute(c))
}

fn position(index: usize) -> Result<i64> {
    i64::try_from(index).map_err(Error::internal)
}
