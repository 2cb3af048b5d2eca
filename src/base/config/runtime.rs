//! The engine and the default bounds of replicas.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::base::model::{Limits, SizeName};

/// The size of what nobody chose one for; its bounds stand beside the list of the others.
pub const USUAL: &str = "default";

/// Bounds of one replica, by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    pub name: SizeName,
    pub memory_bytes: i64,
    pub cpu_millis: i64,
    pub pids: i64,
    #[serde(default = "usual_disk")]
    pub disk_bytes: i64,
}

fn usual_disk() -> i64 {
    Limits::default().disk_bytes
}

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
    /// What a replica may write to its own file system before it is replaced; volumes are not counted.
    pub disk_bytes: i64,
    /// What process types can be given by name; smallest first.
    pub sizes: Vec<Size>,
    /// How long the data of a destroyed volume is kept.
    pub volume_kept_seconds: u32,
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
            disk_bytes: limits.disk_bytes,
            sizes: sizes(),
            volume_kept_seconds: 7 * 86_400,
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
        let mut names = BTreeSet::from([USUAL]);
        for (index, size) in self.sizes.iter().enumerate() {
            if !names.insert(size.name.as_str()) {
                faults.push(format!("runtime.sizes[{index}].name: \"{}\" is taken", size.name));
            }
            size.limits().validate(&format!("runtime.sizes[{index}]"), faults);
        }
        self.limits().validate("runtime", faults);
        if self.ready_seconds == 0 || self.command_seconds == 0 {
            faults.push("runtime.ready_seconds and runtime.command_seconds must be at least 1".into());
        }
    }

    /// The usual ones.
    pub fn limits(&self) -> Limits {
        let (memory_bytes, cpu_millis, pids) = (self.memory_bytes, self.cpu_millis, self.pids);
        Limits { memory_bytes, cpu_millis, pids, disk_bytes: self.disk_bytes }
    }

    pub fn usual(&self) -> Size {
        let Limits { memory_bytes, cpu_millis, pids, disk_bytes } = self.limits();
        let name = USUAL.parse().unwrap_or_else(|_| unreachable!("it is a name"));
        Size { name, memory_bytes, cpu_millis, pids, disk_bytes }
    }

    pub fn size(&self, name: &SizeName) -> Option<&Size> {
        self.sizes.iter().find(|size| size.name == *name)
    }

    /// A size that is no more in the configuration counts as none.
    pub fn limits_of(&self, size: Option<&SizeName>) -> Limits {
        size.and_then(|name| self.size(name)).map_or_else(|| self.limits(), Size::limits)
    }
}

impl Size {
    pub fn limits(&self) -> Limits {
        let (memory_bytes, cpu_millis, pids) = (self.memory_bytes, self.cpu_millis, self.pids);
        Limits { memory_bytes, cpu_millis, pids, disk_bytes: self.disk_bytes }
    }
}

impl Limits {
    fn validate(&self, at: &str, faults: &mut Vec<String>) {
        if self.memory_bytes < 16 << 20 {
            faults.push(format!("{at}.memory_bytes: must be at least 16777216"));
        }
        if self.disk_bytes < 1 << 20 {
            faults.push(format!("{at}.disk_bytes: must be at least 1048576"));
        }
        if self.cpu_millis < 10 || self.pids < 8 {
            faults.push(format!("{at}.cpu_millis must be at least 10 and {at}.pids at least 8"));
        }
    }
}

fn sizes() -> Vec<Size> {
    [("small", 256, 500, 1), ("medium", 512, 1000, 2), ("large", 1024, 2000, 4), ("xlarge", 2048, 4000, 8)]
        .into_iter()
        .filter_map(|(name, megabytes, cpu_millis, gigabytes)| {
            let (memory_bytes, pids) = (megabytes << 20, megabytes.max(256));
            Some(Size { name: name.parse().ok()?, memory_bytes, cpu_millis, pids, disk_bytes: gigabytes << 30 })
        })
        .collect()
}
