//! Jobs and their steps as they stand in the server's database, read beside it.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use tokio::runtime::Runtime;

pub struct Journal {
    runtime: Runtime,
    pool: SqlitePool,
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StepRow {
    pub job: String,
    pub job_state: String,
    pub name: String,
    pub state: String,
}

impl Journal {
    pub fn open(data: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let options = SqliteConnectOptions::new().filename(data.join("hythe.db")).read_only(true);
        let pool = runtime
            .block_on(SqlitePoolOptions::new().max_connections(1).connect_with(options))
            .expect("the server's database");
        Self { runtime, pool }
    }

    /// Steps of the newest job, in order.
    pub fn newest(&self) -> Vec<StepRow> {
        let text = "SELECT s.job_id AS job, j.state AS job_state, s.name AS name, s.state AS state \
            FROM job_steps s JOIN jobs j ON j.id = s.job_id \
            WHERE j.id = (SELECT id FROM jobs ORDER BY created_at DESC, id DESC LIMIT 1) ORDER BY s.position";
        self.runtime.block_on(sqlx::query_as(text).fetch_all(&self.pool)).unwrap_or_default()
    }

    pub fn unfinished(&self) -> i64 {
        let text = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')";
        self.runtime.block_on(sqlx::query_scalar(text).fetch_one(&self.pool)).unwrap_or(-1)
    }

    pub fn jobs(&self) -> i64 {
        self.runtime.block_on(sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(&self.pool)).unwrap_or(-1)
    }

    /// State and reason of each deployment, oldest first.
    pub fn deployments(&self) -> Vec<(String, Option<String>)> {
        let text = "SELECT state, reason FROM deployments ORDER BY created_at, id";
        self.runtime.block_on(sqlx::query_as(text).fetch_all(&self.pool)).unwrap_or_default()
    }
}
