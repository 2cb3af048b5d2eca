//! Apps: their names are unique in the organization.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{many, on, one, parse, sees_app, touched, viewer};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{App, AppId, AppName, Id, TenantName};

#[derive(FromRow)]
struct Row {
    id: String,
    organization_id: String,
    space_id: String,
    name: String,
    created_at: i64,
}

impl TryFrom<Row> for App {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            organization_id: parse(&row.organization_id)?,
            space_id: parse(&row.space_id)?,
            name: parse(&row.name)?,
            created_at: Timestamp(row.created_at),
        })
    }
}

pub async fn insert(tx: &mut Tx, app: &App) -> Result<()> {
    const SQL: &str = "INSERT INTO apps (id, organization_id, space_id, name, created_at) VALUES ($1, $2, $3, $4, $5)";
    touched!(tx, c => sqlx::query(SQL)
        .bind(app.id.as_str())
        .bind(app.organization_id.as_str())
        .bind(app.space_id.as_str())
        .bind(app.name.as_str())
        .bind(app.created_at.0)
        .execute(c))?;
    Ok(())
}

pub async fn find(tx: &mut Tx, scope: &Scope, id: &AppId) -> Result<Option<App>> {
    const SQL: &str = concat!("SELECT a.* FROM apps a WHERE a.id = $2 AND ", sees_app!("$1", "a"));
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(id.as_str()).fetch_optional(c))?)
}

/// More than one when several organizations that the caller sees use the name.
pub async fn find_by_name(
    tx: &mut Tx,
    scope: &Scope,
    organization: Option<&TenantName>,
    name: &AppName,
) -> Result<Vec<App>> {
    const SQL: &str = concat!(
        "SELECT a.* FROM apps a JOIN organizations o ON o.id = a.organization_id
         WHERE a.name = $2 AND ($3 IS NULL OR o.name = $3) AND ",
        sees_app!("$1", "a"),
        " ORDER BY o.name"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(name.as_str())
        .bind(organization.map(TenantName::as_str))
        .fetch_all(c))?)
}

/// By name, after the name `after`. A page can be longer than `limit`: it never parts apps of one
/// name (of several organizations), so that the last name serves as the cursor.
pub async fn list(tx: &mut Tx, scope: &Scope, after: Option<&AppName>, limit: i64) -> Result<Vec<App>> {
    const SQL: &str = concat!(
        "SELECT a.* FROM apps a WHERE ($2 IS NULL OR a.name > $2) AND ",
        sees_app!("$1", "a"),
        " AND a.name <= (SELECT max(page.name) FROM (SELECT b.name FROM apps b WHERE ($2 IS NULL OR b.name > $2) AND ",
        sees_app!("$1", "b"),
        " ORDER BY b.name LIMIT $3) page) ORDER BY a.name, a.id"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(after.map(AppName::as_str))
        .bind(limit)
        .fetch_all(c))?)
}

pub async fn rename(tx: &mut Tx, scope: &Scope, id: &AppId, name: &AppName) -> Result<bool> {
    const SQL: &str = concat!("UPDATE apps SET name = $3 WHERE id = $2 AND ", sees_app!("$1", "apps"));
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(viewer(scope))
        .bind(id.as_str())
        .bind(name.as_str())
        .execute(c))?
        == 1)
}

/// With all that belongs to it: environments, variables, builds, releases, deployments, routes.
pub async fn delete(tx: &mut Tx, scope: &Scope, id: &AppId) -> Result<bool> {
    const SQL: &str = concat!("DELETE FROM apps WHERE id = $2 AND ", sees_app!("$1", "apps"));
    Ok(touched!(tx, c => sqlx::query(SQL).bind(viewer(scope)).bind(id.as_str()).execute(c))? == 1)
}
