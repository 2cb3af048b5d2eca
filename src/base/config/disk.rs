//! What is kept on the disk, and what of it is kept free.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Disk {
    /// With less than this free, pushes are refused and what nobody needs is removed at once; 0: never.
    pub reserved_bytes: u64,
    /// As many files (inodes); where the file system bounds them.
    pub reserved_files: u64,
    /// Images that an environment keeps to go back to, beside those of the live and of the last good release.
    pub keep_images: u32,
    /// What nobody needs is left for so long after its last use.
    pub grace_seconds: u32,
    /// What the build cache of one app may hold before it is dropped.
    pub cache_bytes: u64,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            reserved_bytes: 1 << 30,
            reserved_files: 50_000,
            keep_images: 10,
            grace_seconds: 600,
            cache_bytes: 5 << 30,
        }
    }
}

impl Disk {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        if self.grace_seconds == 0 {
            faults.push("disk.grace_seconds: must be at least 1".into());
        }
        if self.cache_bytes < 1 << 20 {
            faults.push("disk.cache_bytes: must be at least 1048576".into());
        }
    }
}
