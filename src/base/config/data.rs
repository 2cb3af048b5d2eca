//! Where Hythe keeps what must survive.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Repositories, blobs, logs, keys and, by default, the database.
    pub dir: PathBuf,
    /// `postgres://…`; none means SQLite at `dir/hythe.db`.
    pub database_url: Option<String>,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: PathBuf::from("/var/lib/hythe"), database_url: None }
    }
}

impl Data {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        if self.dir.as_os_str().is_empty() {
            faults.push("data.dir: must not be empty".into());
        }
        if let Some(url) = &self.database_url
            && !url.starts_with("postgres://")
            && !url.starts_with("postgresql://")
        {
            faults.push("data.database_url: must start with postgres://".into());
        }
    }
}
