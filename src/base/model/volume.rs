//! Volumes: named data of an environment that outlives its replicas, and where its processes see it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{EnvironmentId, NameError, OrganizationId, ProcessName, SpaceId, VolumeId, VolumeName};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub id: VolumeId,
    pub organization_id: OrganizationId,
    pub space_id: SpaceId,
    /// None once the environment was destroyed: then its data waits for another one to take it.
    pub environment_id: Option<EnvironmentId>,
    /// Unique among the live volumes of its environment.
    pub name: VolumeName,
    /// Several replicas may use it at once; else one at a time.
    pub shared: bool,
    /// Where it belongs or belonged, for people: `shop/production`.
    pub origin: String,
    pub state: VolumeState,
    pub created_at: Timestamp,
    pub destroyed_at: Option<Timestamp>,
    /// Until then it can be restored; afterwards its data is removed.
    pub kept_until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    Live,
    /// A tombstone: nobody uses it, its data is there.
    Destroyed,
    /// The way back is over; its data is being removed.
    Purging,
}

/// Where the replicas of one process type see a volume. Stands in releases, so it is all that starting them needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub volume: VolumeName,
    /// The one that bore the name when the release was made.
    pub id: VolumeId,
    pub path: MountPath,
    #[serde(default)]
    pub shared: bool,
}

pub type Mounts = BTreeMap<ProcessName, Vec<Mount>>;

/// Of one process type.
pub const MOST_MOUNTS: usize = 10;

/// An absolute path inside a replica, in its plain form: no `.`, `..`, double or trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountPath(String);

/// The kernel's; nothing of it can be covered.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Programs and their libraries live there: a volume in their place would leave nothing to run. Below them it may lie.
const PROGRAMS: [&str; 16] = [
    "/app",
    "/bin",
    "/boot",
    "/cnb",
    "/etc",
    "/layers",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/root",
    "/run",
    "/sbin",
    "/usr",
    "/var",
    "/workspace",
];

impl MountPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `other` is this path or lies below it.
    pub fn covers(&self, other: &str) -> bool {
        other.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for MountPath {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let well = |b: u8| b.is_ascii_alphanumeric() || b"._-+@".contains(&b);
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(well);
        let path = text.strip_prefix('/').filter(|rest| text.len() <= 200 && rest.split('/').all(plain));
        if path.is_none() {
            return Err(NameError::new(
                "must be an absolute path such as /data, of letters, digits and . _ - + @, without .. and at most 200 characters",
            ));
        }
        let path = Self(text.to_owned());
        if let Some(taken) = KERNEL.iter().find(|taken| Self((**taken).to_owned()).covers(text)) {
            return Err(NameError::new(format!("must not lie in {taken}, which is the kernel's")));
        }
        if PROGRAMS.contains(&text) {
            return Err(NameError::new(format!(
                "must not be {text}: it would hide the programs there; choose a directory below it, such as {text}/data"
            )));
        }
        Ok(path)
    }
}

impl TryFrom<String> for MountPath {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<MountPath> for String {
    fn from(path: MountPath) -> Self {
        path.0
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_paths_are_no_mount_paths() {
        for text in [
            "",
            "/",
            "data",
            "./data",
            "/data/",
            "//data",
            "/data//x",
            "/data/..",
            "/../etc",
            "/data/.",
            "/proc",
            "/proc/1",
            "/sys/fs",
            "/dev/shm",
            "/etc",
            "/app",
            "/workspace",
            "/usr",
            "/data x",
            "/data:ro",
            "/data,x",
            "/dätä",
            "/a\0",
            "/a\nb",
            "/$(id)",
            "/`id`",
            "C:\\x",
            "/%2e%2e",
        ] {
            assert!(text.parse::<MountPath>().is_err(), "{text:?}");
        }
        assert!(format!("/{}", "x".repeat(10_000)).parse::<MountPath>().is_err());
        for text in ["/data", "/app/storage", "/var/lib/postgresql", "/usr/src/app/db", "/procedures", "/srv/v1.2_a-b"]
        {
            assert!(text.parse::<MountPath>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_path_covers_itself_and_what_lies_below() {
        let data: MountPath = "/data".parse().expect("a path");
        assert!(data.covers("/data") && data.covers("/data/x"));
        assert!(!data.covers("/database") && !data.covers("/") && !data.covers("/dat"));
    }
}
