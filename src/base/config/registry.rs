//! The embedded registry: what may be pushed and how long it is kept.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// What may be pushed to the repository of one app; 0: no bound.
    pub app_bytes: u64,
    /// A pushed manifest that no tag names is kept so long.
    pub untagged_seconds: u32,
    /// A pushed blob that no manifest names is kept so long.
    pub loose_seconds: u32,
    /// An upload that nobody goes on with is forgotten after it.
    pub session_seconds: u32,
    /// How long a push that deploys waits for the end of its deployment before it is told that it goes on.
    pub wait_seconds: u32,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            app_bytes: 10 << 30,
            untagged_seconds: 7 * 86_400,
            loose_seconds: 86_400,
            session_seconds: 3600,
            wait_seconds: 900,
        }
    }
}

impl Registry {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        for (key, value) in [
            ("untagged_seconds", self.untagged_seconds),
            ("loose_seconds", self.loose_seconds),
            ("session_seconds", self.session_seconds),
        ] {
            if value == 0 {
                faults.push(format!("registry.{key}: must be at least 1"));
            }
        }
    }
}
