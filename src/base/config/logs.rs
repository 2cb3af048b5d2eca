//! How much of what apps write is kept.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Of one environment.
    pub max_bytes: u64,
    pub max_days: u32,
    /// Lines of one replica in a second, over a minute; more are dropped and counted.
    pub lines_per_second: u32,
    /// Keep a line for each request that the proxy answers for an app.
    pub access: bool,
}

impl Default for Logs {
    fn default() -> Self {
        Self { max_bytes: 20 << 20, max_days: 7, lines_per_second: 500, access: true }
    }
}

impl Logs {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        if self.max_bytes < 1 << 20 {
            faults.push("logs.max_bytes: must be at least 1048576".into());
        }
        if self.max_days == 0 || self.lines_per_second == 0 {
            faults.push("logs.max_days and logs.lines_per_second: must be at least 1".into());
        }
    }
}
