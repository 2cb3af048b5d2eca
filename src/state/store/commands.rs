//! Commands. A queued one is taken by whoever claims it first; a running one belongs to its holder until it is final.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{
    from_json, from_word, json, many, on, one, parse, parse_some, sees_app, text, touched, viewer, word,
};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{Command, CommandId, CommandKind, CommandState, CronId, DeploymentId, EnvironmentId, Id};

macro_rules! columns {
    ($of:literal) => {
        concat!(
            $of,
            "id, ",
            $of,
            "environment_id, ",
            $of,
            "release_id, ",
            $of,
            "kind, ",
            $of,
            "process, ",
            $of,
            "state, ",
            $of,
            "exit_code, ",
            $of,
            "reason, ",
            $of,
            "deployment_id, ",
            $of,
            "cron_id, ",
            $of,
            "due_at, ",
            $of,
            "created_by, ",
            $of,
            "created_at, ",
            $of,
            "started_at, ",
            $of,
            "finished_at"
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: String,
    environment_id: String,
    release_id: Option<String>,
    kind: String,
    process: String,
    state: String,
    exit_code: Option<i64>,
    reason: Option<String>,
    deployment_id: Option<String>,
    cron_id: Option<String>,
    due_at: Option<i64>,
    created_by: Option<String>,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Command {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            environment_id: parse(&row.environment_id)?,
            release_id: parse_some(row.release_id.as_deref())?,
            kind: from_word(&row.kind)?,
            process: from_json(&row.process)?,
            state: from_word(&row.state)?,
            exit_code: row.exit_code,
            reason: row.reason,
            deployment_id: parse_some(row.deployment_id.as_deref())?,
            cron_id: parse_some(row.cron_id.as_deref())?,
            due_at: row.due_at.map(Timestamp),
            created_by: parse_some(row.created_by.as_deref())?,
            created_at: Timestamp(row.created_at),
            started_at: row.started_at.map(Timestamp),
            finished_at: row.finished_at.map(Timestamp),
        })
    }
}

/// Who looks after a command, and until when its word is taken for that.
#[derive(Debug, Clone, Copy)]
pub struct Hold<'a> {
    pub holder: &'a str,
    pub until: Timestamp,
}

/// Exists when the deployment has one of this kind, or the cron one for this time.
pub async fn insert(tx: &mut Tx, command: &Command, hold: Option<Hold<'_>>) -> Result<()> {
    const SQL: &str = "INSERT INTO commands (id, environment_id, release_id, kind, process, state, exit_code, reason,
            deployment_id, cron_id, due_at, holder, lease_until, created_by, created_at, started_at, finished_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    let (kind, state, process) = (word(&command.kind)?, word(&command.state)?, json(&command.process)?);
    let reason = command.reason.as_deref().map(text);
    touched!(tx, c => sqlx::query(SQL)
        .bind(command.id.as_str())
        .bind(command.environment_id.as_str())
        .bind(command.release_id.as_ref().map(Id::as_str))
        .bind(kind.as_str())
        .bind(process.as_str())
        .bind(state.as_str())
        .bind(command.exit_code)
        .bind(reason.as_deref())
        .bind(command.deployment_id.as_ref().map(Id::as_str))
        .bind(command.cron_id.as_ref().map(Id::as_str))
        .bind(command.due_at.map(|at| at.0))
        .bind(hold.map(|h| h.holder))
        .bind(hold.map(|h| h.until.0))
        .bind(command.created_by.as_ref().map(Id::as_str))
        .bind(command.created_at.0)
        .bind(command.started_at.map(|at| at.0))
        .bind(command.finished_at.map(|at| at.0))
        .execute(c))?;
    Ok(())
}

pub async fn find(tx: &mut Tx, scope: &Scope, id: &CommandId) -> Result<Option<Command>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!("o."),
        " FROM commands o JOIN environments e ON e.id = o.environment_id JOIN apps a ON a.id = e.app_id
         WHERE o.id = $2 AND ",
        sees_app!("$1", "a")
    );
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(id.as_str()).fetch_optional(c))?)
}

/// Whoever sees it.
pub async fn exists(tx: &mut Tx, id: &CommandId) -> Result<bool> {
    const SQL: &str = "SELECT count(*) FROM commands WHERE id = $1";
    let count: i64 = on!(tx, c => sqlx::query_scalar(SQL).bind(id.as_str()).fetch_one(c))?;
    Ok(count > 0)
}

/// Newest first.
pub async fn list(tx: &mut Tx, scope: &Scope, environment: &EnvironmentId, limit: i64) -> Result<Vec<Command>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!("o."),
        " FROM commands o JOIN environments e ON e.id = o.environment_id JOIN apps a ON a.id = e.app_id
         WHERE o.environment_id = $2 AND ",
        sees_app!("$1", "a"),
        " ORDER BY o.created_at DESC, o.id DESC LIMIT $3"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(environment.as_str())
        .bind(limit)
        .fetch_all(c))?)
}

/// In the order in which they ran.
pub async fn of_deployment(tx: &mut Tx, deployment: &DeploymentId) -> Result<Vec<Command>> {
    const SQL: &str =
        concat!("SELECT ", columns!(""), " FROM commands WHERE deployment_id = $1 ORDER BY created_at, id");
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(deployment.as_str()).fetch_all(c))?)
}

/// Newest first.
pub async fn of_cron(tx: &mut Tx, cron: &CronId, limit: i64) -> Result<Vec<Command>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(""),
        " FROM commands WHERE cron_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(cron.as_str()).bind(limit).fetch_all(c))?)
}

/// Commands of the environment that are neither final nor a deployment's.
pub async fn unfinished(tx: &mut Tx, environment: &EnvironmentId) -> Result<i64> {
    const SQL: &str = "SELECT count(*) FROM commands
        WHERE environment_id = $1 AND state IN ('queued', 'running') AND deployment_id IS NULL";
    on!(tx, c => sqlx::query_scalar::<_, i64>(SQL).bind(environment.as_str()).fetch_one(c))
}

/// Takes the oldest queued command. Two that try at once get two, or one gets none.
pub async fn claim(tx: &mut Tx, hold: Hold<'_>, now: Timestamp) -> Result<Option<Command>> {
    const SQL: &str = concat!(
        "UPDATE commands SET state = 'running', holder = $1, lease_until = $2, started_at = $3
         WHERE state = 'queued' AND id = (SELECT o.id FROM commands o WHERE o.state = 'queued'
            ORDER BY o.created_at, o.id LIMIT 1) RETURNING ",
        columns!("")
    );
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(hold.holder)
        .bind(hold.until.0)
        .bind(now.0)
        .fetch_optional(c))?)
}

/// What the holder looks after.
pub async fn held(tx: &mut Tx, holder: &str) -> Result<Vec<Command>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(""),
        " FROM commands WHERE state = 'running' AND holder = $1 ORDER BY created_at, id"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(holder).fetch_all(c))?)
}

/// All that the holder looks after stays its own until then.
pub async fn renew(tx: &mut Tx, hold: Hold<'_>) -> Result<()> {
    const SQL: &str = "UPDATE commands SET lease_until = $2 WHERE state = 'running' AND holder = $1";
    touched!(tx, c => sqlx::query(SQL).bind(hold.holder).bind(hold.until.0).execute(c))?;
    Ok(())
}

/// Those whose holder has said nothing for too long.
pub async fn forsaken(tx: &mut Tx, now: Timestamp) -> Result<Vec<Command>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(""),
        " FROM commands WHERE state = 'running' AND lease_until < $1 ORDER BY created_at, id LIMIT 100"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(now.0).fetch_all(c))?)
}

/// Commands of deployments that have ended without them.
pub async fn left_behind(tx: &mut Tx) -> Result<Vec<Command>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!("o."),
        " FROM commands o JOIN deployments d ON d.id = o.deployment_id
         WHERE o.state = 'running' AND d.state <> 'running' ORDER BY o.created_at, o.id LIMIT 100"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).fetch_all(c))?)
}

/// `false`: it was final already, and stays as it was.
pub async fn finish(
    tx: &mut Tx,
    id: &CommandId,
    state: CommandState,
    exit_code: Option<i64>,
    reason: Option<&str>,
    at: Timestamp,
) -> Result<bool> {
    const SQL: &str = "UPDATE commands SET state = $2, exit_code = $3, reason = $4, finished_at = $5,
            holder = NULL, lease_until = NULL
        WHERE id = $1 AND state IN ('queued', 'running')";
    let (state, reason) = (word(&state)?, reason.map(text));
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(state.as_str())
        .bind(exit_code)
        .bind(reason.as_deref())
        .bind(at.0)
        .execute(c))?
        == 1)
}

/// Whether a run of the cron is queued or under way.
pub async fn cron_is_busy(tx: &mut Tx, cron: &CronId) -> Result<bool> {
    const SQL: &str = "SELECT count(*) FROM commands WHERE cron_id = $1 AND state IN ('queued', 'running')";
    Ok(on!(tx, c => sqlx::query_scalar::<_, i64>(SQL).bind(cron.as_str()).fetch_one(c))? > 0)
}

/// Removes all but the newest `keep` final commands of a kind; the ids of those removed. Those of deployments stay with
/// them.
pub async fn prune(tx: &mut Tx, environment: &EnvironmentId, kind: CommandKind, keep: i64) -> Result<Vec<CommandId>> {
    const SQL: &str = "DELETE FROM commands WHERE id IN (
            SELECT o.id FROM commands o
            WHERE o.environment_id = $1 AND o.kind = $2 AND o.deployment_id IS NULL
                AND o.state NOT IN ('queued', 'running')
            ORDER BY o.created_at DESC, o.id DESC LIMIT 1000 OFFSET $3)
        RETURNING id";
    let kind = word(&kind)?;
    let ids: Vec<String> = on!(tx, c => sqlx::query_scalar::<_, String>(SQL)
        .bind(environment.as_str())
        .bind(kind.as_str())
        .bind(keep)
        .fetch_all(c))?;
    ids.iter().map(|id| parse(id)).collect()
}
