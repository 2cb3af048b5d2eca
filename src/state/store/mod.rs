//! The only SQL. One file per noun; its functions take the transaction first, and a look-up of what
//! belongs to a tenant takes the caller's scope, which stands in the query itself: what the caller
//! may not see is not found.
//!
//! Invariants:
//! - One SQL text serves SQLite and PostgreSQL; every query is run on both by `tests`.
//! - SQLite has one writer, and its transactions take the write lock when they begin, so that none
//!   fails half-way because another wrote in between. Never await the outside world inside one.
//! - Changes of state are guarded by the state they leave (`false`: it was not in that state).
//! - No row is read without being parsed into the model.
//!
//! Left to others: who may do what (`base::access`), when to retry.

mod dialect;
mod faults;
mod open;

pub mod apps;
pub mod builds;
pub mod certificates;
pub mod commands;
pub mod crons;
pub mod customers;
pub mod data_keys;
pub mod deployments;
pub mod domains;
pub mod drains;
pub mod environments;
pub mod events;
pub mod images;
pub mod jobs;
pub mod memberships;
pub mod metrics;
pub mod orders;
pub mod organizations;
pub mod releases;
pub mod routes;
pub mod settings;
pub mod spaces;
pub mod ssh_keys;
pub mod tokens;
pub mod users;
pub mod variables;
pub mod volumes;
pub mod webhooks;

use std::path::Path;
use std::sync::Arc;

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

use crate::base::error::Result;

/// Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Db,
    node: Arc<str>,
}

#[derive(Clone)]
enum Db {
    Sqlite { writer: SqlitePool, reader: SqlitePool },
    Postgres(PgPool),
}

/// One transaction; rolled back when dropped without [`Tx::commit`].
pub enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Store {
    /// Opens the database and brings its tables up to date. `dir` is the data directory;
    /// `database_url` none means SQLite at `dir/hythe.db`.
    pub async fn open(database_url: Option<&str>, dir: &Path) -> Result<Self> {
        open::open(database_url, dir).await
    }

    /// A transaction that may write.
    pub async fn begin(&self) -> Result<Tx> {
        match &self.db {
            Db::Sqlite { writer, .. } => writer.begin_with("BEGIN IMMEDIATE").await.map(Tx::Sqlite),
            Db::Postgres(pool) => pool.begin().await.map(Tx::Postgres),
        }
        .map_err(faults::translate)
    }

    /// A transaction for reading; the database refuses to write in it.
    pub async fn read(&self) -> Result<Tx> {
        match &self.db {
            Db::Sqlite { reader, .. } => reader.begin().await.map(Tx::Sqlite),
            Db::Postgres(pool) => pool.begin_with("BEGIN READ ONLY").await.map(Tx::Postgres),
        }
        .map_err(faults::translate)
    }

    /// The name of this data directory among those that share the database; it outlives the process.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Closes every connection; SQLite folds its write-ahead log into the database.
    pub async fn close(&self) {
        match &self.db {
            Db::Sqlite { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
        .map_err(faults::translate)
    }
}

#[cfg(test)]
pub(crate) mod tests;
