//! The engine and the default bounds of replicas.

use serde::Deserialize;

use crate::base::model::Limits;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// Socket of the Docker Engine.
    pub engine: String,
    /// Names and labels of everything made in the engine start with it; two platforms on one engine need two.
    pub prefix: String,
    pub memory_bytes: i64,
    pub cpu_millis: i64,
    pub pids: i64,
    /// How long a new replica may take to become ready.
    pub ready_seconds: u32,
    /// SIGTERM, this long, SIGKILL.
    pub grace_seconds: u32,
    /// How long a command of a deployment or of a schedule may take.
    pub command_seconds: u32,
}

impl Default for Runtime {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            engine: "/var/run/docker.sock".into(),
            prefix: "hythe".into(),
            memory_bytes: limits.memory_bytes,
            cpu_millis: limits.cpu_millis,
            pids: limits.pids,
            ready_seconds: 60,
            grace_seconds: 30,
            command_seconds: 3600,
        }
    }
}

impl Runtime {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        if self.prefix.is_empty()
            || !self.prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            faults.push("runtime.prefix: must be characters of a-z, 0-9 and -".into());
        }
        if self.memory_bytes < 16 << 20 {
            faults.push("runtime.memory_bytes: must be at least 16777216".into());
        }
        if self.cpu_millis < 10 || self.pids < 8 {
            faults.push("runtime.cpu_millis must be at least 10 and runtime.pids at least 8".into());
        }
        if self.ready_seconds == 0 || self.command_seconds == 0 {
            faults.push("runtime.ready_seconds and runtime.command_seconds must be at least 1".into());
        }
    }

    pub fn limits(&self) -> Limits {
        Limits { memory_bytes: self.memory_bytes, cpu_millis: self.cpu_millis, pids: self.pids }
    }
}
