//! Spaces: what apps of one organization share a network in.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{on, one, parse, sees_space, touched, viewer};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{Id, OrganizationId, Space, SpaceId, TenantName};

#[derive(FromRow)]
struct Row {
    id: String,
    organization_id: String,
    name: String,
    created_at: i64,
}

impl TryFrom<Row> for Space {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            organization_id: parse(&row.organization_id)?,
            name: parse(&row.name)?,
            created_at: Timestamp(row.created_at),
        })
    }
}

pub async fn insert(tx: &mut Tx, space: &Space) -> Result<()> {
    const SQL: &str = "INSERT INTO spaces (id, organization_id, name, created_at) VALUES ($1, $2, $3, $4)";
    touched!(tx, c => sqlx::query(SQL)
        .bind(space.id.as_str())
        .bind(space.organization_id.as_str())
        .bind(space.name.as_str())
        .bind(space.created_at.0)
        .execute(c))?;
    Ok(())
}

pub async fn find(tx: &mut Tx, scope: &Scope, id: &SpaceId) -> Result<Option<Space>> {
    const SQL: &str = concat!("SELECT s.* FROM spaces s WHERE s.id = $2 AND ", sees_space!("$1", "s"));
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(id.as_str()).fetch_optional(c))?)
}

pub async fn find_by_name(
    tx: &mut Tx,
    scope: &Scope,
    organization: &OrganizationId,
    name: &TenantName,
) -> Result<Option<Space>> {
    const SQL: &str =
        concat!("SELECT s.* FROM spaces s WHERE s.organization_id = $2 AND s.name = $3 AND ", sees_space!("$1", "s"));
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL)
        .bind(viewer(scope))
        .bind(organization.as_str())
        .bind(name.as_str())
        .fetch_optional(c))?)
}

/// Spaces in which there is an app.
pub async fn with_apps(tx: &mut Tx) -> Result<Vec<SpaceId>> {
    const SQL: &str = "SELECT DISTINCT space_id FROM apps ORDER BY space_id";
    let ids = on!(tx, c => sqlx::query_scalar::<_, String>(SQL).fetch_all(c))?;
    ids.iter().map(|id| parse(id)).collect()
}
