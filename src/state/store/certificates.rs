//! Certificates: their keys are kept sealed.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{from_json, from_word, json, many, on, parse, parse_some, text, touched, word};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{Certificate, CertificateId, EnvironmentId, Id, OrganizationId};

#[derive(FromRow)]
struct Row {
    id: String,
    environment_id: Option<String>,
    origin: String,
    names: String,
    issuer: String,
    chain: String,
    not_before: i64,
    not_after: i64,
    created_at: i64,
}

#[derive(FromRow)]
struct Sealed {
    #[sqlx(flatten)]
    row: Row,
    sealed: Vec<u8>,
    organization_id: Option<String>,
}

/// With what opens its key.
#[derive(Debug, Clone)]
pub struct Kept {
    pub certificate: Certificate,
    pub sealed: Vec<u8>,
    /// None: the platform.
    pub organization: Option<OrganizationId>,
}

impl TryFrom<Row> for Certificate {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            environment_id: parse_some(row.environment_id.as_deref())?,
            origin: from_word(&row.origin)?,
            names: from_json(&row.names)?,
            issuer: row.issuer,
            chain: row.chain,
            not_before: Timestamp(row.not_before),
            not_after: Timestamp(row.not_after),
            created_at: Timestamp(row.created_at),
        })
    }
}

impl TryFrom<Sealed> for Kept {
    type Error = Error;
    fn try_from(row: Sealed) -> Result<Self> {
        let organization = parse_some(row.organization_id.as_deref())?;
        Ok(Self { certificate: row.row.try_into()?, sealed: row.sealed, organization })
    }
}

/// Exists when it is a second authority.
pub async fn insert(tx: &mut Tx, certificate: &Certificate, sealed: &[u8]) -> Result<()> {
    const SQL: &str = "INSERT INTO certificates
        (id, environment_id, origin, names, issuer, chain, sealed, not_before, not_after, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let (origin, names, issuer) = (word(&certificate.origin)?, json(&certificate.names)?, text(&certificate.issuer));
    touched!(tx, c => sqlx::query(SQL)
        .bind(certificate.id.as_str())
        .bind(certificate.environment_id.as_ref().map(Id::as_str))
        .bind(origin)
        .bind(names)
        .bind(issuer.as_ref())
        .bind(certificate.chain.as_str())
        .bind(sealed)
        .bind(certificate.not_before.0)
        .bind(certificate.not_after.0)
        .bind(certificate.created_at.0)
        .execute(c))?;
    Ok(())
}

/// Oldest first.
pub async fn of_environment(tx: &mut Tx, environment: &EnvironmentId) -> Result<Vec<Certificate>> {
    const SQL: &str = "SELECT * FROM certificates WHERE environment_id = $1 ORDER BY created_at, id";
    many(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(environment.as_str()).fetch_all(c))?)
}

/// Of the whole platform, oldest first.
pub async fn all(tx: &mut Tx) -> Result<Vec<Kept>> {
    const SQL: &str = "SELECT k.*, a.organization_id FROM certificates k
        LEFT JOIN environments e ON e.id = k.environment_id LEFT JOIN apps a ON a.id = e.app_id
        ORDER BY k.created_at, k.id";
    many(on!(tx, c => sqlx::query_as::<_, Sealed>(SQL).fetch_all(c))?)
}

pub async fn delete(tx: &mut Tx, id: &CertificateId) -> Result<bool> {
    const SQL: &str = "DELETE FROM certificates WHERE id = $1";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).execute(c))? == 1)
}
