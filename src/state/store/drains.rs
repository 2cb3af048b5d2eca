//! Drains: their addresses are kept sealed.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{many, on, parse, parse_some, sees_app, touched, viewer};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{AppId, Drain, DrainId, Id};

#[derive(FromRow)]
struct Row {
    id: String,
    app_id: String,
    environment_id: Option<String>,
    shown: String,
    created_at: i64,
}

#[derive(FromRow)]
struct Sealed {
    #[sqlx(flatten)]
    row: Row,
    sealed: Vec<u8>,
}

impl TryFrom<Row> for Drain {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            app_id: parse(&row.app_id)?,
            environment_id: parse_some(row.environment_id.as_deref())?,
            shown: row.shown,
            created_at: Timestamp(row.created_at),
        })
    }
}

impl TryFrom<Sealed> for (Drain, Vec<u8>) {
    type Error = Error;
    fn try_from(row: Sealed) -> Result<Self> {
        Ok((Drain::try_from(row.row)?, row.sealed))
    }
}

pub async fn insert(tx: &mut Tx, drain: &Drain, sealed: &[u8]) -> Result<()> {
    const SQL: &str = "INSERT INTO drains (id, app_id, environment_id, shown, sealed, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    touched!(tx, c => sqlx::query(SQL)
        .bind(drain.id.as_str())
        .bind(drain.app_id.as_str())
        .bind(drain.environment_id.as_ref().map(Id::as_str))
        .bind(drain.shown.as_str())
        .bind(sealed)
        .bind(drain.created_at.0)
        .execute(c))?;
    Ok(())
}

/// Oldest first.
pub async fn of_app(tx: &mut Tx, scope: &Scope, app: &AppId) -> Result<Vec<Drain>> {
    const SQL: &str = concat!(
        "SELECT d.id, d.app_id, d.environment_id, d.shown, d.created_at FROM drains d JOIN apps a ON a.id = d.app_id
         WHERE d.app_id = $2 AND ",
        sees_app!("$1", "a"),
        " ORDER BY d.created_at, d.id"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(app.as_str()).fetch_all(c))?)
}

/// `false`: the app has no such drain, or is not seen.
pub async fn delete(tx: &mut Tx, scope: &Scope, app: &AppId, id: &DrainId) -> Result<bool> {
    const SQL: &str = concat!(
        "DELETE FROM drains WHERE id = $3 AND app_id = $2 AND EXISTS (SELECT 1 FROM apps a WHERE a.id = $2 AND ",
        sees_app!("$1", "a"),
        ")"
    );
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(viewer(scope))
        .bind(app.as_str())
        .bind(id.as_str())
        .execute(c))?
        == 1)
}

/// What lines are sent along, for who sends them.
pub async fn all(tx: &mut Tx) -> Result<Vec<(Drain, Vec<u8>)>> {
    const SQL: &str = "SELECT id, app_id, environment_id, shown, created_at, sealed FROM drains ORDER BY id";
    many(on!(tx, c => sqlx::query_as::<_, Sealed>(SQL).fetch_all(c))?)
}
