//! Certificates that are to be had from authorities of the web, accounts there, and whose names are ordered for.

use sqlx::FromRow;

use super::Tx;
use super::dialect::{many, on, one, parse, parse_some, text, touched};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{CertificateOrder, DomainName, EnvironmentId, Id, OrderId};

#[derive(FromRow)]
struct Row {
    id: String,
    environment_id: Option<String>,
    name: String,
    directory: Option<String>,
    url: Option<String>,
    attempts: i64,
    error: Option<String>,
    failed_at: Option<i64>,
    next_at: i64,
    created_at: i64,
}

impl TryFrom<Row> for CertificateOrder {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parse(&row.id)?,
            environment_id: parse_some(row.environment_id.as_deref())?,
            name: parse(&row.name)?,
            directory: row.directory,
            url: row.url,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            error: row.error,
            failed_at: row.failed_at.map(Timestamp),
            next_at: Timestamp(row.next_at),
            created_at: Timestamp(row.created_at),
        })
    }
}

/// What is kept of an order under way, so that it can be gone on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub directory: String,
    pub url: Option<String>,
    pub sealed: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Account {
    pub sealed: Vec<u8>,
    /// None: not registered yet, or the authority knows it no more.
    pub url: Option<String>,
}

const COLUMNS: &str = "SELECT id, environment_id, name, directory, url, attempts, error, failed_at, next_at, created_at
    FROM certificate_orders ORDER BY next_at, id";

/// A new one. Exists when there is one for the name.
pub async fn insert(tx: &mut Tx, order: &CertificateOrder) -> Result<()> {
    const SQL: &str = "INSERT INTO certificate_orders (id, environment_id, name, attempts, next_at, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)";
    touched!(tx, c => sqlx::query(SQL)
        .bind(order.id.as_str())
        .bind(order.environment_id.as_ref().map(Id::as_str))
        .bind(order.name.as_str())
        .bind(i64::from(order.attempts))
        .bind(order.next_at.0)
        .bind(order.created_at.0)
        .execute(c))?;
    Ok(())
}

/// Who waits longest first.
pub async fn all(tx: &mut Tx) -> Result<Vec<CertificateOrder>> {
    many(on!(tx, c => sqlx::query_as::<_, Row>(COLUMNS).fetch_all(c))?)
}

pub async fn draft(tx: &mut Tx, id: &OrderId) -> Result<Option<Draft>> {
    const SQL: &str = "SELECT directory, url, sealed FROM certificate_orders WHERE id = $1";
    type Kept = (Option<String>, Option<String>, Option<Vec<u8>>);
    let found = on!(tx, c => sqlx::query_as::<_, Kept>(SQL).bind(id.as_str()).fetch_optional(c))?;
    Ok(found.and_then(|(directory, url, sealed)| Some(Draft { directory: directory?, url, sealed: sealed? })))
}

/// `false`: it is gone.
pub async fn keep(tx: &mut Tx, id: &OrderId, draft: &Draft) -> Result<bool> {
    const SQL: &str = "UPDATE certificate_orders SET directory = $2, url = $3, sealed = $4 WHERE id = $1";
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(id.as_str())
        .bind(draft.directory.as_str())
        .bind(draft.url.as_deref())
        .bind(draft.sealed.as_slice())
        .execute(c))?
        == 1)
}

/// A try failed. `goes_on` keeps what may be gone on with. `false`: it is gone.
pub async fn fail(tx: &mut Tx, order: &CertificateOrder, goes_on: bool) -> Result<bool> {
    const SQL: &str = "UPDATE certificate_orders SET attempts = $2, error = $3, failed_at = $4, next_at = $5,
        url = CASE WHEN $6 = 1 THEN url END, sealed = CASE WHEN $6 = 1 THEN sealed END WHERE id = $1";
    Ok(touched!(tx, c => sqlx::query(SQL)
        .bind(order.id.as_str())
        .bind(i64::from(order.attempts))
        .bind(order.error.as_deref().map(text).as_deref())
        .bind(order.failed_at.map(|at| at.0))
        .bind(order.next_at.0)
        .bind(i64::from(goes_on))
        .execute(c))?
        == 1)
}

/// Those of the environment, or the one of a name, are tried at once.
pub async fn hurry(tx: &mut Tx, environment: &EnvironmentId, name: Option<&DomainName>, now: Timestamp) -> Result<()> {
    const SQL: &str = "UPDATE certificate_orders SET next_at = $2
        WHERE environment_id = $1 AND next_at > $2 AND ($3 = '*' OR name = $3)";
    let name = name.map_or(ALL, DomainName::as_str);
    touched!(tx, c => sqlx::query(SQL).bind(environment.as_str()).bind(now.0).bind(name).execute(c))?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, id: &OrderId) -> Result<bool> {
    const SQL: &str = "DELETE FROM certificate_orders WHERE id = $1";
    Ok(touched!(tx, c => sqlx::query(SQL).bind(id.as_str()).execute(c))? == 1)
}

/// Stands for all names of an environment that nothing was said of.
const ALL: &str = "*";

/// None as name is all of the environment; `ordered` goes for those named before as well.
pub async fn choose(tx: &mut Tx, environment: &EnvironmentId, name: Option<&DomainName>, ordered: bool) -> Result<()> {
    const CLEAR: &str = "DELETE FROM certificate_choices WHERE environment_id = $1 AND ($2 = '*' OR name = $2)";
    const SQL: &str = "INSERT INTO certificate_choices (environment_id, name, ordered) VALUES ($1, $2, $3)";
    let name = name.map_or(ALL, DomainName::as_str);
    touched!(tx, c => sqlx::query(CLEAR).bind(environment.as_str()).bind(name).execute(c))?;
    touched!(tx, c => sqlx::query(SQL).bind(environment.as_str()).bind(name).bind(ordered).execute(c))?;
    Ok(())
}

/// What was said of the names of environments; None is all of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub environment: EnvironmentId,
    pub name: Option<DomainName>,
    pub ordered: bool,
}

pub async fn choices(tx: &mut Tx) -> Result<Vec<Choice>> {
    const SQL: &str = "SELECT environment_id, name, ordered FROM certificate_choices ORDER BY environment_id, name";
    let rows = on!(tx, c => sqlx::query_as::<_, (String, String, bool)>(SQL).fetch_all(c))?;
    let choice = |(environment, name, ordered): (String, String, bool)| {
        let name = Some(name).filter(|name| name != ALL);
        Ok(Choice { environment: parse(&environment)?, name: parse_some(name.as_deref())?, ordered })
    };
    rows.into_iter().map(choice).collect()
}

pub async fn account(tx: &mut Tx, directory: &str) -> Result<Option<Account>> {
    const SQL: &str = "SELECT sealed, url FROM acme_accounts WHERE directory = $1";
    let found = on!(tx, c => sqlx::query_as::<_, Account>(SQL).bind(directory).fetch_optional(c))?;
    Ok(found)
}

/// With a key alone. Exists when there is one.
pub async fn insert_account(tx: &mut Tx, directory: &str, sealed: &[u8], now: Timestamp) -> Result<()> {
    const SQL: &str = "INSERT INTO acme_accounts (directory, sealed, created_at) VALUES ($1, $2, $3)";
    touched!(tx, c => sqlx::query(SQL).bind(directory).bind(sealed).bind(now.0).execute(c))?;
    Ok(())
}

pub async fn register(tx: &mut Tx, directory: &str, url: Option<&str>) -> Result<()> {
    const SQL: &str = "UPDATE acme_accounts SET url = $2 WHERE directory = $1";
    touched!(tx, c => sqlx::query(SQL).bind(directory).bind(url).execute(c))?;
    Ok(())
}

pub async fn of_name(tx: &mut Tx, name: &DomainName) -> Result<Option<CertificateOrder>> {
    const SQL: &str = "SELECT id, environment_id, name, directory, url, attempts, error, failed_at, next_at, created_at
        FROM certificate_orders WHERE name = $1";
    one(on!(tx, c => sqlx::query_as::<_, Row>(SQL).bind(name.as_str()).fetch_optional(c))?)
}
