//! Variables of an environment, sealed by the vault: versions are written once and never changed.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_json, json, on, one, parse, parse_some, touched};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{EnvironmentId, Id, UserId, VariableName};

/// One version of an environment's variables. Only the names are readable.
#[derive(Debug, Clone)]
pub struct SealedVariables {
    pub environment_id: EnvironmentId,
    /// 1, 2, 3 …
    pub version: i64,
    pub names: Vec<VariableName>,
    /// As the vault sealed it.
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
    pub created_by: Option<UserId>,
}

#[derive(FromRow)]
struct Row {
    environment_id: String,
    version: i64,
    names: String,
    sealed: Vec<u8>,
    created_at: i64,
    created_by: Option<String>,
}

impl TryFrom<Row> for SealedVariables {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            environment_id: parse(&row.environment_id)?,
            version: row.version,
            names: from_json(&row.names)?,
            sealed: row.sealed,
            created_at: Timestamp(row.created_at),
            created_by: parse_some(row.created_by.as_deref())?,
        })
    }
}

pub async fn latest(tx: &mut Tx, environment: &EnvironmentId) -> Result<Option<SealedVariables>> {
    const SQL: &str = "SELECT * FROM variables WHERE environment_id = $1 ORDER BY version DESC LIMIT 1";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).fetch_optional(c))?)
}

pub async fn at(tx: &mut Tx, environment: &EnvironmentId, version: i64) -> Result<Option<SealedVariables>> {
    const SQL: &str = "SELECT * FROM variables WHERE environment_id = $1 AND version = $2";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).bind(version).fetch_optional(c))?)
}

/// Exists when another wrote this version first.
pub async fn insert(tx: &mut Tx, variables: &SealedVariables) -> Result<()> {
    const SQL: &str = "INSERT INTO variables (environment_id, version, names, sealed, created_at, created_by)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let names = json(&variables.names)?;
    touched!(tx, c => sqlx::query(SQL)
        .bind(variables.environment_id.as_str())
        .bind(variables.version)
        .bind(names.as_str())
        .bind(variables.sealed.as_slice())
        .bind(variables.created_at.0)
        .bind(variables.created_by.as_ref().map(Id::as_str))
        .execute(c))?;
    Ok(())
}
