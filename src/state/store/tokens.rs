//! API tokens, known only by the hash that the caller makes of them.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_word, many, on, parse, text, touched, word};
use super::users::{OwnerRow, owner_columns};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{ApiToken, Grant, Id, TokenId, User, UserId};

/// Without the hash: nobody needs it back.
macro_rules! columns {
    () => {
        "t.id, t.user_id, t.name, t.created_at, t.expires_at, t.last_used_at, t.app_id, t.role, a.name AS app_name"
    };
}

#[derive(FromRow)]
struct Row {
    id: String,
    user_id: String,
    name: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    app_id: Option<String>,
    role: Option<String>,
    app_name: Option<String>,
}

#[derive(FromRow)]
struct Owned {
    #[sqlx(flatten)]
    token: Row,
    #[sqlx(flatten)]
    owner: OwnerRow,
}

impl TryFrom<Row> for ApiToken {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        let grant = match (&row.app_id, &row.app_name, &row.role) {
            (Some(app), Some(name), Some(role)) => {
                Some(Grant { app: parse(app)?, app_name: parse(name)?, role: from_word(role)? })
            }
            _ => None,
        };
        Ok(Self {
            id: parse(&row.id)?,
            user_id: parse(&row.user_id)?,
            name: row.name,
            created_at: Timestamp(row.created_at),
            expires_at: row.expires_at.map(Timestamp),
            last_used_at: row.last_used_at.map(Timestamp),
            grant,
        })
    }
}

pub async fn insert(tx: &mut Tx, token: &ApiToken, hash: &str) -> Result<()> {
    const SQL: &str = "INSERT INTO tokens (id, user_id, name, hash, created_at, expires_at, last_used_at, app_id, role)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let name = text(&token.name);
    let role = token.grant.as_ref().map(|grant| word(&grant.role)).transpose()?;
    touched!(tx, c => sqlx::query(SQL)
        .bind(token.id.as_str())
        .bind(token.user_id.as_str())
        .bind(name.as_ref())
        .bind(hash)
        .bind(token.created_at.0)
        .bind(token.expires_at.map(|at| at.0))
        .bind(token.last_used_at.map(|at| at.0))
        .bind(token.grant.as_ref().map(|grant| grant.app.as_str()))
        .bind(role.as_deref())
        .execute(c))?;
    Ok(())
}

/// Also when it has expired, and of users who are disabled: the caller asks.
pub async fn find_by_hash(tx: &mut Tx, hash: &str) -> Result<Option<(ApiToken, User)>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(),
        ", ",
        owner_columns!(),
        " FROM tokens t JOIN users u ON u.id = t.user_id LEFT JOIN apps a ON a.id = t.app_id WHERE t.hash = $1"
    );
    let hash = text(hash);
    on!(tx, c => sqlx::query_as::<_, Owned>(SQL).bind(hash.as_ref()).fetch_optional(c))?
        .map(|row| Ok((row.token.try_into()?, row.owner.try_into()?)))
        .transpose()
}

/// Oldest first.
pub async fn list(tx: &mut Tx, user: &UserId) -> Result<Vec<ApiToken>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM tokens t LEFT JOIN apps a ON a.id = t.app_id WHERE t.user_id = $1 ORDER BY t.created_at, t.id"
    );
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(user.as_str()).fetch_all(c))?)
}

pub async fn delete(tx: &mut Tx, user: &UserId, name: &str) -> Result<bool> {
    const SQL: &str = "DELETE FROM tokens WHERE user_id = $1 AND name = $2";
    let name = text(name);
    Ok(touched!(tx, c => sqlx::query(SQL).bind(user.as_str()).bind(name.as_ref()).execute(c))? == 1)
}

/// Notes the use of a token.
pub async fn touch(tx: &mut Tx, id: &TokenId, at: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE tokens SET last_used_at = $2 WHERE id = $1";
    touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).bind(at.0).execute(c))?;
    Ok(())
}
