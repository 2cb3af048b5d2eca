//! Samples by subject, step and time. The subject is an environment's id or the platform's own `host`: who may ask for
//! it was found before.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_json, json, on, touched};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::Sample;

#[derive(FromRow)]
struct Row {
    at: i64,
    document: String,
}

/// Adds to the sample of the step that `at` lies in; `step` is in seconds.
pub async fn add(tx: &mut Tx, subject: &str, step: i64, at: Timestamp, sample: &Sample) -> Result<()> {
    const FIND: &str = "SELECT at, document FROM metrics WHERE subject = $1 AND step = $2 AND at = $3";
    const PUT: &str = "INSERT INTO metrics (subject, step, at, document) VALUES ($1, $2, $3, $4)
        ON CONFLICT (subject, step, at) DO UPDATE SET document = excluded.document";
    let at = begin(at, step);
    let found = on!(tx, c => sqlx::query_as::<_, Row>(FIND).bind(subject).bind(step).bind(at).fetch_optional(c))?;
    let mut sum: Sample = match found {
        Some(row) => from_json(&row.document)?,
        None => Sample::default(),
    };
    sum.add(sample);
    let document = json(&sum)?;
    touched!(tx, c => sqlx::query(PUT).bind(subject).bind(step).bind(at).bind(document.as_str()).execute(c))?;
    Ok(())
}

/// Oldest first, from `since` on, before `until`.
pub async fn list(
    tx: &mut Tx,
    subject: &str,
    step: i64,
    (since, until): (Timestamp, Timestamp),
) -> Result<Vec<(Timestamp, Sample)>> {
    const SQL: &str = "SELECT at, document FROM metrics
        WHERE subject = $1 AND step = $2 AND at >= $3 AND at < $4 ORDER BY at";
    let rows = on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(subject)
        .bind(step)
        .bind(since.0)
        .bind(until.0)
        .fetch_all(c))?;
    rows.into_iter().map(|row| Ok((Timestamp(row.at), from_json(&row.document)?))).collect()
}

pub async fn purge(tx: &mut Tx, step: i64, before: Timestamp) -> Result<u64> {
    const SQL: &str = "DELETE FROM metrics WHERE step = $1 AND at < $2";
    touched!(tx, c => sqlx::query(SQL).bind(step).bind(before.0).execute(c))
}

fn begin(at: Timestamp, step: i64) -> i64 {
    at.0 - at.0.rem_euclid(step * 1000)
}
