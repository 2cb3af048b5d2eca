//! Settings: the platform's own small facts, by key.

use super::Tx;
use super::dialect::{on, touched};
use crate::base::error::Result;

pub async fn get(tx: &mut Tx, key: &str) -> Result<Option<String>> {
    const SQL: &str = "SELECT value FROM settings WHERE key = $1";
    on!(tx, c => sqlx::query_scalar::<_, String>(SQL).bind(key).fetch_optional(c))
}

pub async fn set(tx: &mut Tx, key: &str, value: &str) -> Result<()> {
    const SQL: &str = "INSERT INTO settings (key, value) VALUES ($1, $2)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    touched!(tx, c => sqlx::query(SQL).bind(key).bind(value).execute(c))?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, key: &str) -> Result<bool> {
    const SQL: &str = "DELETE FROM settings WHERE key = $1";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(key).execute(c))? == 1)
}
