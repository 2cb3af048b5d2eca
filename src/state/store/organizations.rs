//! Organizations: their names are unique on the platform, because they stand in git addresses.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{on, one, parse, sees_organization, touched, viewer};
use crate::base::access::Scope;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{CustomerId, Id, Organization, OrganizationId, TenantName};

#[derive(FromRow)]
struct Row {
    id: String,
    customer_id: String,
    name: String,
    created_at: i64,
}

impl TryFrom<Row> for Organization {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            customer_id: parse(&row.customer_id)?,
            name: parse(&row.name)?,
            created_at: Timestamp(row.created_at),
        })
    }
}

pub async fn insert(tx: &mut Tx, organization: &Organization) -> Result<()> {
    const SQL: &str = "INSERT INTO organizations (id, customer_id, name, created_at) VALUES ($1, $2, $3, $4)";
    touched!(tx, c => sqlx::query(SQL)
        .bind(organization.id.as_str())
        .bind(organization.customer_id.as_str())
        .bind(organization.name.as_str())
        .bind(organization.created_at.0)
        .execute(c))?;
    Ok(())
}

pub async fn find(tx: &mut Tx, scope: &Scope, id: &OrganizationId) -> Result<Option<Organization>> {
    const SQL: &str = concat!("SELECT o.* FROM organizations o WHERE o.id = $2 AND ", sees_organization!("$1", "o"));
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(id.as_str()).fetch_optional(c))?)
}

pub async fn find_by_name(tx: &mut Tx, scope: &Scope, name: &TenantName) -> Result<Option<Organization>> {
    const SQL: &str = concat!("SELECT o.* FROM organizations o WHERE o.name = $2 AND ", sees_organization!("$1", "o"));
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(name.as_str()).fetch_optional(c))?)
}

/// The oldest that the caller sees.
pub async fn first_of_customer(tx: &mut Tx, scope: &Scope, customer: &CustomerId) -> Result<Option<Organization>> {
    const SQL: &str = concat!(
        "SELECT o.* FROM organizations o WHERE o.customer_id = $2 AND ",
        sees_organization!("$1", "o"),
        " ORDER BY o.created_at, o.id LIMIT 1"
    );
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(viewer(scope)).bind(customer.as_str()).fetch_optional(c))?)
}
