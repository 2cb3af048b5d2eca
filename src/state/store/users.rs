//! Users. Platform-internal: edges look callers up here before there is a scope.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{on, one, parse, text, touched};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{Id, TenantName, User, UserId};

#[derive(FromRow)]
struct Row {
    id: String,
    customer_id: String,
    name: String,
    email: String,
    enabled: bool,
    platform_admin: bool,
    created_at: i64,
}

impl TryFrom<Row> for User {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            customer_id: parse(&row.customer_id)?,
            name: parse(&row.name)?,
            email: row.email,
            enabled: row.enabled,
            platform_admin: row.platform_admin,
            created_at: Timestamp(row.created_at),
        })
    }
}

/// The user `u` that a key or token belongs to, beside that row's own columns.
macro_rules! owner_columns {
    () => {
        "u.id AS owner_id, u.customer_id AS owner_customer_id, u.name AS owner_name, u.email AS owner_email, \
         u.enabled AS owner_enabled, u.platform_admin AS owner_platform_admin, u.created_at AS owner_created_at"
    };
}
pub(super) use owner_columns;

#[derive(FromRow)]
pub(super) struct OwnerRow {
    owner_id: String,
    owner_customer_id: String,
    owner_name: String,
    owner_email: String,
    owner_enabled: bool,
    owner_platform_admin: bool,
    owner_created_at: i64,
}

impl TryFrom<OwnerRow> for User {
    type Error = Error;
    fn try_from(row: OwnerRow) -> Result<Self> {
        Row {
            id: row.owner_id,
            customer_id: row.owner_customer_id,
            name: row.owner_name,
            email: row.owner_email,
            enabled: row.owner_enabled,
            platform_admin: row.owner_platform_admin,
            created_at: row.owner_created_at,
        }
        .try_into()
    }
}

pub async fn insert(tx: &mut Tx, user: &User) -> Result<()> {
    const SQL: &str = "INSERT INTO users (id, customer_id, name, email, enabled, platform_admin, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let email = text(&user.email);
    touched!(tx, c => sqlx::query(SQL)
        .bind(user.id.as_str())
        .bind(user.customer_id.as_str())
        .bind(user.name.as_str())
        .bind(email.as_ref())
        .bind(user.enabled)
        .bind(user.platform_admin)
        .bind(user.created_at.0)
        .execute(c))?;
    Ok(())
}

pub async fn find(tx: &mut Tx, id: &UserId) -> Result<Option<User>> {
    const SQL: &str = "SELECT * FROM users WHERE id = $1";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(id.as_str()).fetch_optional(c))?)
}

pub async fn find_by_name(tx: &mut Tx, name: &TenantName) -> Result<Option<User>> {
    const SQL: &str = "SELECT * FROM users WHERE name = $1";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(name.as_str()).fetch_optional(c))?)
}

pub async fn count(tx: &mut Tx) -> Result<i64> {
    const SQL: &str = "SELECT count(*) FROM users";
    on!(tx, c => sqlx::query_scalar::<_, i64>(SQL).fetch_one(c))
}
