//! Driver errors of both databases, mapped once to ours. What people read names neither a table
//! nor a constraint; that stands in the source, for the log.

use sqlx::error::{DatabaseError, ErrorKind};

use crate::base::error::{Error, Kind};

/// Primary result codes of SQLite (sqlite.org/rescode.html); extended codes keep them in the low byte.
mod sqlite {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
}

const FULL: &str = "the disk of the database is full; free some space and try again";
const BUSY: &str = "the database is busy; try again";
const AWAY: &str = "the database does not answer; try again later";
const UNWRITABLE: &str = "the database cannot be read or written; see the log of the server";

pub(super) fn translate(fault: sqlx::Error) -> Error {
    match &fault {
        sqlx::Error::Database(database) => match public(database.as_ref()) {
            Some((kind, public)) => Error::new(kind, public).because(fault),
            None => Error::internal(fault),
        },
        sqlx::Error::PoolTimedOut => Error::unavailable(BUSY, fault),
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            Error::unavailable(AWAY, fault)
        }
        _ => Error::internal(fault),
    }
}

fn public(fault: &dyn DatabaseError) -> Option<(Kind, String)> {
    match fault.kind() {
        ErrorKind::UniqueViolation => return Some((Kind::Exists, format!("{} already exists", noun(fault)))),
        ErrorKind::ForeignKeyViolation => {
            return Some((Kind::Conflict, "what this belongs to is gone, or something still depends on it".to_owned()));
        }
        _ => {}
    }
    let unavailable = |text: &str| Some((Kind::Unavailable, text.to_owned()));
    let code = fault.code()?;
    if fault.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return match code.parse::<i32>().ok()? & 0xff {
            sqlite::FULL => unavailable(FULL),
            sqlite::BUSY | sqlite::LOCKED => unavailable(BUSY),
            sqlite::READONLY | sqlite::IOERR | sqlite::CANTOPEN => unavailable(UNWRITABLE),
            _ => None,
        };
    }
    // Classes of SQLSTATE (PostgreSQL manual, appendix A).
    match code.as_ref() {
        "53100" => unavailable(FULL),
        // serialization failure, deadlock, lock not available, too many connections
        "40001" | "40P01" | "55P03" | "53300" => unavailable(BUSY),
        // admin shutdown, crash shutdown, cannot connect now, read only transaction (a standby)
        "57P01" | "57P02" | "57P03" | "25006" => unavailable(AWAY),
        other if other.starts_with("08") => unavailable(AWAY),
        other if other.starts_with("58") => unavailable(UNWRITABLE),
        _ => None,
    }
}

/// What exists already, from the table: SQLite says it in the message only ("UNIQUE constraint
/// failed: apps.organization_id, apps.name").
fn noun(fault: &dyn DatabaseError) -> &'static str {
    let table = match fault.table() {
        Some(table) => table,
        None => fault.message().rsplit(": ").next().and_then(|column| column.split('.').next()).unwrap_or_default(),
    };
    match table {
        "customers" => "a customer of this name",
        "organizations" => "an organization of this name",
        "spaces" => "a space of this name",
        "users" => "a user of this name",
        "memberships" => "this membership",
        "ssh_keys" => "this key, or a key of this name,",
        "tokens" => "a token of this name",
        "apps" => "an app of this name",
        "environments" => "an environment of this name",
        "domains" => "this domain",
        "routes" => "a route for this host",
        _ => "it",
    }
}
