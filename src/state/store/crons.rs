//! Schedules and when they are due next. Who advances `next_due` from the time it was due runs that time, and nobody else.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_word, many, on, one, parse, text, touched, word};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{Cron, CronId, EnvironmentId, Id};

#[derive(FromRow)]
struct Row {
    id: String,
    environment_id: String,
    name: String,
    schedule: String,
    command: String,
    timezone: String,
    origin: String,
    next_due: Option<i64>,
    created_at: i64,
}

impl TryFrom<Row> for Cron {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            environment_id: parse(&row.environment_id)?,
            name: row.name,
            schedule: row.schedule,
            command: row.command,
            timezone: row.timezone,
            origin: from_word(&row.origin)?,
            next_due: row.next_due.map(Timestamp),
            created_at: Timestamp(row.created_at),
        })
    }
}

/// Exists when the environment has one of this name.
pub async fn insert(tx: &mut Tx, cron: &Cron) -> Result<()> {
    const SQL: &str = "INSERT INTO crons (id, environment_id, name, schedule, command, timezone, origin, next_due,
            created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let (name, schedule, command) = (text(&cron.name), text(&cron.schedule), text(&cron.command));
    let (timezone, origin) = (text(&cron.timezone), word(&cron.origin)?);
    touched!(tx, c => sqlx::query(SQL)
        .bind(cron.id.as_str())
        .bind(cron.environment_id.as_str())
        .bind(name.as_ref())
        .bind(schedule.as_ref())
        .bind(command.as_ref())
        .bind(timezone.as_ref())
        .bind(origin.as_str())
        .bind(cron.next_due.map(|at| at.0))
        .bind(cron.created_at.0)
        .execute(c))?;
    Ok(())
}

/// Everything but its name, its environment and its age.
pub async fn update(tx: &mut Tx, cron: &Cron) -> Result<()> {
    const SQL: &str = "UPDATE crons SET schedule = $2, command = $3, timezone = $4, origin = $5, next_due = $6
        WHERE id = $1";
    let (schedule, command) = (text(&cron.schedule), text(&cron.command));
    let (timezone, origin) = (text(&cron.timezone), word(&cron.origin)?);
    touched!(tx, c => sqlx::query(SQL)
        .bind(cron.id.as_str())
        .bind(schedule.as_ref())
        .bind(command.as_ref())
        .bind(timezone.as_ref())
        .bind(origin.as_str())
        .bind(cron.next_due.map(|at| at.0))
        .execute(c))?;
    Ok(())
}

/// By name.
pub async fn of_environment(tx: &mut Tx, environment: &EnvironmentId) -> Result<Vec<Cron>> {
    const SQL: &str = "SELECT * FROM crons WHERE environment_id = $1 ORDER BY name";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).fetch_all(c))?)
}

pub async fn by_name(tx: &mut Tx, environment: &EnvironmentId, name: &str) -> Result<Option<Cron>> {
    const SQL: &str = "SELECT * FROM crons WHERE environment_id = $1 AND name = $2";
    let name = text(name);
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).bind(name.as_ref()).fetch_optional(c))?)
}

pub async fn delete(tx: &mut Tx, id: &CronId) -> Result<()> {
    const SQL: &str = "DELETE FROM crons WHERE id = $1";
    touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).execute(c))?;
    Ok(())
}

/// The longest due first.
pub async fn due(tx: &mut Tx, now: Timestamp) -> Result<Vec<Cron>> {
    const SQL: &str = "SELECT * FROM crons WHERE next_due <= $1 ORDER BY next_due, id LIMIT 100";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(now.0).fetch_all(c))?)
}

/// `false`: another has seen to this time.
pub async fn advance(tx: &mut Tx, id: &CronId, due: Timestamp, next: Option<Timestamp>) -> Result<bool> {
    const SQL: &str = "UPDATE crons SET next_due = $3 WHERE id = $1 AND next_due = $2";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(due.0).bind(next.map(|at| at.0)).execute(c))? == 1)
}

/// When the next one is due.
pub async fn next(tx: &mut Tx) -> Result<Option<Timestamp>> {
    const SQL: &str = "SELECT min(next_due) FROM crons";
    let next = on!(tx, c => sqlx::query_scalar::<_, Option<i64>>(SQL).fetch_one(c))?;
    Ok(next.map(Timestamp))
}
