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
    /// Module proxy that Go uses in builds; none means Go's own.
    pub go_proxy: Option<String>,
    /// Mirror that Bundler uses in builds for all sources of gems.
    pub gem_mirror: Option<String>,
    /// Composer repository that is used in builds in place of Composer's own.
    pub composer_mirror: Option<String>,
    /// Registry that cargo uses in builds in place of its own; `sparse+http://…` or `http://…`.
    pub cargo_registry: Option<String>,
    /// Repository that Maven and Gradle use in builds in place of all others.
    pub maven_mirror: Option<String>,
    pub memory_bytes: i64,
    pub cpu_millis: i64,
    pub timeout_seconds: u64,
    /// Processes and threads of one build.
    pub processes: i64,
    /// Bytes of one build's files, with what earlier builds of its app left for it.
    pub disk_bytes: u64,
    /// Files and directories of one build, with what earlier builds of its app left for it.
    pub disk_files: u64,
    /// Bytes that one phase of a build may print.
    pub output_bytes: u64,
    /// Builds that run at a time; none means as many as there are processors.
    pub at_once: Option<usize>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            base: "debian".into(),
            suite: "bookworm".into(),
            mirror: None,
            npm_registry: None,
            pip_index: None,
            go_proxy: None,
            gem_mirror: None,
            composer_mirror: None,
            cargo_registry: None,
            maven_mirror: None,
            memory_bytes: 2 << 30,
            cpu_millis: 2000,
            timeout_seconds: 1800,
            processes: 4096,
            disk_bytes: 20_000_000_000,
            disk_files: 1_000_000,
            output_bytes: 200_000_000,
            at_once: None,
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
        for (key, url) in [
            ("mirror", &self.mirror),
            ("npm_registry", &self.npm_registry),
            ("pip_index", &self.pip_index),
            ("go_proxy", &self.go_proxy),
            ("gem_mirror", &self.gem_mirror),
            ("composer_mirror", &self.composer_mirror),
            ("maven_mirror", &self.maven_mirror),
        ] {
            if url.as_ref().is_some_and(|u| !u.starts_with("http://") && !u.starts_with("https://")) {
                faults.push(format!("build.{key}: must start with http:// or https://"));
            }
        }
        if self.cargo_registry.as_ref().is_some_and(|u| {
            let u = u.strip_prefix("sparse+").unwrap_or(u);
            !u.starts_with("http://") && !u.starts_with("https://")
        }) {
            faults.push("build.cargo_registry: must start with http://, https:// or sparse+".into());
        }
        if self.memory_bytes < 64 << 20 {
            faults.push("build.memory_bytes: must be at least 67108864".into());
        }
        if self.cpu_millis < 100 {
            faults.push("build.cpu_millis: must be at least 100".into());
        }
        if self.processes < 64 {
            faults.push("build.processes: must be at least 64".into());
        }
        if self.at_once == Some(0) {
            faults.push("build.at_once: must be at least 1".into());
        }
        for (key, value, least) in [
            ("timeout_seconds", self.timeout_seconds, 1),
            ("disk_bytes", self.disk_bytes, 100_000_000),
            ("disk_files", self.disk_files, 10_000),
            ("output_bytes", self.output_bytes, 100_000),
        ] {
            if value < least {
                faults.push(format!("build.{key}: must be at least {least}"));
            }
        }
    }
}
