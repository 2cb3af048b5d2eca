//! The only SQL.

pub mod apps;
pub mod builds;
pub mod customers;
pub mod data_keys;
pub mod deployments;
pub mod environments;
pub mod jobs;
pub mod memberships;
pub mod organizations;
pub mod releases;
pub mod routes;
pub mod settings;
pub mod spaces;
pub mod ssh_keys;
pub mod tokens;
pub mod users;
pub mod variables;

use std::path::Path;

use crate::base::error::Result;

#[derive(Clone)]
pub struct Store {
    _db: (),
}

/// One transaction; rolled back when dropped without [`Tx::commit`].
pub enum Tx {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Store {
    /// `dir` is the data directory; `database_url` none means SQLite at `dir/hythe.db`.
    pub async fn open(_database_url: Option<&str>, _dir: &Path) -> Result<Self> {
        todo!()
    }

    /// A transaction that may write.
    pub async fn begin(&self) -> Result<Tx> {
        todo!()
    }

    /// A transaction that only reads, with one view of the database.
    pub async fn read(&self) -> Result<Tx> {
        todo!()
    }
}

impl Tx {
    pub async fn commit(self) -> Result<()> {
        todo!()
    }
}
