//! Routes: a host belongs to one environment of the platform.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{many, on, one, parse, touched};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{DomainName, EnvironmentId, Id, Route, RouteId};

#[derive(FromRow)]
struct Row {
    id: String,
    environment_id: String,
    host: String,
    created_at: i64,
}

impl TryFrom<Row> for Route {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            environment_id: parse(&row.environment_id)?,
            host: parse(&row.host)?,
            created_at: Timestamp(row.created_at),
        })
    }
}

/// Exists when the host is taken, by whomever.
pub async fn insert(tx: &mut Tx, route: &Route) -> Result<()> {
    const SQL: &str = "INSERT INTO routes (id, environment_id, host, created_at) VALUES ($1, $2, $3, $4)";
    touched!(tx, c => sqlx::query(SQL)
        .bind(route.id.as_str())
        .bind(route.environment_id.as_str())
        .bind(route.host.as_str())
        .bind(route.created_at.0)
        .execute(c))?;
    Ok(())
}

/// Oldest first.
pub async fn of_environment(tx: &mut Tx, environment: &EnvironmentId) -> Result<Vec<Route>> {
    const SQL: &str = "SELECT * FROM routes WHERE environment_id = $1 ORDER BY created_at, id";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).fetch_all(c))?)
}

pub async fn find_by_host(tx: &mut Tx, host: &DomainName) -> Result<Option<Route>> {
    const SQL: &str = "SELECT * FROM routes WHERE host = $1";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(host.as_str()).fetch_optional(c))?)
}

/// What the route table is made of.
pub async fn all(tx: &mut Tx) -> Result<Vec<Route>> {
    const SQL: &str = "SELECT * FROM routes ORDER BY host";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).fetch_all(c))?)
}

pub async fn delete(tx: &mut Tx, id: &RouteId) -> Result<bool> {
    const SQL: &str = "DELETE FROM routes WHERE id = $1";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).execute(c))? == 1)
}

/// Exists when the host is taken by another route.
pub async fn set_host(tx: &mut Tx, id: &RouteId, host: &DomainName) -> Result<()> {
    const SQL: &str = "UPDATE routes SET host = $2 WHERE id = $1";
    touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(host.as_str()).execute(c))?;
    Ok(())
}
