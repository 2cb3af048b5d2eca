//! SSH keys: a fingerprint belongs to one user of the platform.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{many, on, parse, text, touched};
use super::users::{OwnerRow, owner_columns};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{Id, SshKey, User, UserId};

#[derive(FromRow)]
struct Row {
    id: String,
    user_id: String,
    name: String,
    fingerprint: String,
    public_key: String,
    created_at: i64,
}

#[derive(FromRow)]
struct Owned {
    #[sqlx(flatten)]
    key: Row,
    #[sqlx(flatten)]
    owner: OwnerRow,
}

impl TryFrom<Row> for SshKey {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            user_id: parse(&row.user_id)?,
            name: row.name,
            fingerprint: row.fingerprint,
            public_key: row.public_key,
            created_at: Timestamp(row.created_at),
        })
    }
}

pub async fn insert(tx: &mut Tx, key: &SshKey) -> Result<()> {
    const SQL: &str = "INSERT INTO ssh_keys (id, user_id, name, fingerprint, public_key, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let name = text(&key.name);
    touched!(tx, c => sqlx::query(SQL)
        .bind(key.id.as_str())
        .bind(key.user_id.as_str())
        .bind(name.as_ref())
        .bind(key.fingerprint.as_str())
        .bind(key.public_key.as_str())
        .bind(key.created_at.0)
        .execute(c))?;
    Ok(())
}

/// Oldest first.
pub async fn list(tx: &mut Tx, user: &UserId) -> Result<Vec<SshKey>> {
    const SQL: &str = "SELECT * FROM ssh_keys WHERE user_id = $1 ORDER BY created_at, id";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(user.as_str()).fetch_all(c))?)
}

/// Also of users who are disabled: the caller asks.
pub async fn find_by_fingerprint(tx: &mut Tx, fingerprint: &str) -> Result<Option<(SshKey, User)>> {
    const SQL: &str = concat!(
        "SELECT k.*, ",
        owner_columns!(),
        " FROM ssh_keys k JOIN users u ON u.id = k.user_id WHERE k.fingerprint = $1"
    );
    let fingerprint = text(fingerprint);
    on!(tx, c => sqlx::query_as::<_, Owned>(SQL).bind(fingerprint.as_ref()).fetch_optional(c))?
        .map(|row| Ok((row.key.try_into()?, row.owner.try_into()?)))
        .transpose()
}

pub async fn delete(tx: &mut Tx, user: &UserId, name: &str) -> Result<bool> {
    const SQL: &str = "DELETE FROM ssh_keys WHERE user_id = $1 AND name = $2";
    let name = text(name);
    Ok(touched!(tx, c => sqlx::query(SQL).bind(user.as_str()).bind(name.as_ref()).execute(c))? == 1)
}
