//! How builds are made and bounded.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Build {
    /// `debian` bootstraps the base image from Debian packages; anything else is an image reference to pull.
    pub base: String,
    /// Debian suite of the bootstrapped base.
    pub suite: String,
    /// Debian mirror; none means the package tools' own.
    pub mirror: Option<String>,
    /// Registry that npm uses in builds; none means npm's own.
    pub npm_registry: Option<String>,
    /// Index that pip uses in builds; none means pip's own.
    pub pip_index: Option<String>,
    pub memory_bytes: i64,
    pub cpu_millis: i64,
    pub timeout_seconds: u64,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            base: "debian".into(),
            suite: "bookworm".into(),
            mirror: None,
            npm_registry: None,
            pip_index: None,
            memory_bytes: 2 << 30,
            cpu_millis: 2000,
            timeout_seconds: 1800,
        }
    }
}

impl Build {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        if self.suite.is_empty()
            || !self.suite.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            faults.push("build.suite: must be the name of a Debian suite, such as bookworm".into());
        }
        for (key, url) in
            [("mirror", &self.mirror), ("npm_registry", &self.npm_registry), ("pip_index", &self.pip_index)]
        {
            if url.as_ref().is_some_and(|u| !u.starts_with("http://") && !u.starts_with("https://")) {
                faults.push(format!("build.{key}: must start with http:// or https://"));
            }
        }
        if self.memory_bytes < 64 << 20 {
            faults.push("build.memory_bytes: must be at least 67108864".into());
        }
        if self.cpu_millis < 100 {
            faults.push("build.cpu_millis: must be at least 100".into());
        }
        if self.timeout_seconds == 0 {
            faults.push("build.timeout_seconds: must be at least 1".into());
        }
    }
}
