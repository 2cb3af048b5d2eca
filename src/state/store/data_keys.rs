//! Data keys of the vault, wrapped by its master key.

use super::Tx;
use super::dialect::{on, touched};
use crate::base::error::Result;

pub async fn find(tx: &mut Tx, scope: &str) -> Result<Option<Vec<u8>>> {
    const SQL: &str = "SELECT wrapped FROM data_keys WHERE scope = $1";
    on!(tx, c => sqlx::query_scalar::<_, Vec<u8>>(SQL).bind(scope).fetch_optional(c))
}

/// `false`: the scope has a key, which stays.
pub async fn insert(tx: &mut Tx, scope: &str, wrapped: &[u8]) -> Result<bool> {
    const SQL: &str = "INSERT INTO data_keys (scope, wrapped) VALUES ($1, $2) ON CONFLICT (scope) DO NOTHING";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(scope).bind(wrapped).execute(c))? == 1)
}
