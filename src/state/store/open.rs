//! Opening a database: connection settings, migrations, the node's name.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};

use super::{Db, Store, faults};
use crate::base::error::{Error, Kind, Result};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a caller waits for a connection, or for another process that holds SQLite's write lock.
const PATIENCE: Duration = Duration::from_secs(15);
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;

pub(super) async fn open(database_url: Option<&str>, dir: &Path) -> Result<Store> {
    // Keys and variables lie below it: nobody else's to read.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| unusable(dir, e))?;
    let node = node(dir)?;
    let db = match database_url {
        None => sqlite(&dir.join("hythe.db")).await?,
        Some(url) => Db::Postgres(postgres(url).await?),
    };
    match &db {
        Db::Sqlite { writer, .. } => SQLITE.run(writer).await,
        Db::Postgres(pool) => POSTGRES.run(pool).await,
    }
    .map_err(unmigrated)?;
    Ok(Store { db, node: node.into() })
}

async fn sqlite(file: &Path) -> Result<Db> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // With a write-ahead log this is safe against a crash of the process; a power cut can lose
        // the last commits, never the database.
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(PATIENCE);
    let pool = || SqlitePoolOptions::new().acquire_timeout(PATIENCE).test_before_acquire(false).idle_timeout(None);
    let connected = |pool: std::result::Result<SqlitePool, sqlx::Error>| {
        pool.map_err(|e| Error::unavailable(format!("cannot open the database {}", file.display()), e))
    };
    // The writer first: it makes the file and switches it to WAL.
    let writer = connected(pool().max_connections(1).max_lifetime(None).connect_with(options.clone()).await)?;
    let reading = options.pragma("query_only", "ON");
    let reader = connected(pool().max_connections(SQLITE_READERS).max_lifetime(None).connect_with(reading).await)?;
    Ok(Db::Sqlite { writer, reader })
}

async fn postgres(url: &str) -> Result<PgPool> {
    // The parser's own text may quote the address, password included.
    let options: PgConnectOptions = url
        .parse()
        .map_err(|_| Error::invalid("data.database_url", "must be an address such as postgres://user@host/database"))?;
    let host = options.get_host().to_owned();
    PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .connect_with(options.application_name("hythe"))
        .await
        .map_err(|e| Error::unavailable(format!("cannot open the PostgreSQL database at {host}"), e))
}

fn unmigrated(fault: MigrateError) -> Error {
    match fault {
        MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => {
            let cause = faults::translate(e);
            Error { public: format!("cannot bring the database up to date: {}", cause.public), ..cause }
        }
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => Error::new(
            Kind::Conflict,
            "the database was written by a newer version of Hythe; start that version or restore a backup",
        )
        .because(fault),
        other => Error::internal(other),
    }
}

/// Random, made once and kept in `dir/node`.
fn node(dir: &Path) -> Result<String> {
    let file = dir.join("node");
    match fs::read_to_string(&file) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(unusable(&file, e)),
    }
    let name = format!("node_{}", uuid::Uuid::now_v7().simple());
    let fresh = dir.join("node.new");
    fs::write(&fresh, format!("{name}\n")).and_then(|()| fs::rename(&fresh, &file)).map_err(|e| unusable(&file, e))?;
    Ok(name)
}

fn unusable(path: &Path, fault: std::io::Error) -> Error {
    Error::unavailable(format!("cannot use {}: {fault}", path.display()), fault)
}
