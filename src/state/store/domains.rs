//! Domains: claimed by any number of apps, proven by one.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_word, many, on, one, parse, touched, word};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{AppId, Domain, DomainId, DomainName, EnvironmentId, Id, OrganizationId, Proof};

#[derive(FromRow)]
struct Row {
    id: String,
    app_id: String,
    environment_id: String,
    name: String,
    token: String,
    proven_by: Option<String>,
    proven_at: Option<i64>,
    created_at: i64,
}

impl TryFrom<Row> for Domain {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        let proof = match (row.proven_by, row.proven_at) {
            (Some(by), Some(at)) => Some(Proof { method: from_word(&by)?, at: Timestamp(at) }),
            _ => None,
        };
        Ok(Self {
            id: parse(&row.id)?,
            app_id: parse(&row.app_id)?,
            environment_id: parse(&row.environment_id)?,
            name: parse(&row.name)?,
            token: row.token,
            proof,
            created_at: Timestamp(row.created_at),
        })
    }
}

/// Not proven yet. Exists when the app claims the name already.
pub async fn insert(tx: &mut Tx, domain: &Domain) -> Result<()> {
    const SQL: &str =
        "INSERT INTO domains (id, app_id, environment_id, name, token, created_at) VALUES ($1, $2, $3, $4, $5, $6)";
    touched!(tx, c => sqlx::query(SQL)
        .bind(domain.id.as_str())
        .bind(domain.app_id.as_str())
        .bind(domain.environment_id.as_str())
        .bind(domain.name.as_str())
        .bind(domain.token.as_str())
        .bind(domain.created_at.0)
        .execute(c))?;
    Ok(())
}

/// Oldest first.
pub async fn of_app(tx: &mut Tx, app: &AppId) -> Result<Vec<Domain>> {
    const SQL: &str = "SELECT * FROM domains WHERE app_id = $1 ORDER BY created_at, id";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(app.as_str()).fetch_all(c))?)
}

/// Oldest first.
pub async fn of_environment(tx: &mut Tx, environment: &EnvironmentId) -> Result<Vec<Domain>> {
    const SQL: &str = "SELECT * FROM domains WHERE environment_id = $1 ORDER BY created_at, id";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).fetch_all(c))?)
}

/// Who proved it, of all on the platform.
pub async fn owner(tx: &mut Tx, name: &DomainName) -> Result<Option<Domain>> {
    const SQL: &str = "SELECT * FROM domains WHERE name = $1 AND proven_at IS NOT NULL";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(name.as_str()).fetch_optional(c))?)
}

pub async fn organization(tx: &mut Tx, id: &DomainId) -> Result<Option<OrganizationId>> {
    const SQL: &str = "SELECT a.organization_id FROM domains d JOIN apps a ON a.id = d.app_id WHERE d.id = $1";
    let found = on!(tx, c => sqlx::query_scalar::<_, String>(SQL).bind(id.as_str()).fetch_optional(c))?;
    found.as_deref().map(parse).transpose()
}

/// `false`: it is gone, or was proven before. Exists when somebody else has proven the name.
pub async fn set_proof(tx: &mut Tx, id: &DomainId, proof: &Proof) -> Result<bool> {
    const SQL: &str = "UPDATE domains SET proven_by = $2, proven_at = $3 WHERE id = $1 AND proven_at IS NULL";
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(word(&proof.method)?)
        .bind(proof.at.0)
        .execute(c))?
        == 1)
}

pub async fn delete(tx: &mut Tx, id: &DomainId) -> Result<bool> {
    const SQL: &str = "DELETE FROM domains WHERE id = $1";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).execute(c))? == 1)
}
