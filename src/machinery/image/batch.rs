//! Layers that are made together: within bounds that they share, and in the store all at once or not at all.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::{NamedTempFile, TempPath};

use super::{BlobStore, Digest, ImageError, Result};

/// What a batch may take.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Sum of the sizes of all files, as a reader of them counts: holes as well.
    pub bytes: u64,
    pub entries: u64,
    /// Bytes of all paths and targets of links: who makes a layer has them in memory.
    pub names: u64,
    /// What is left free of the store's file system.
    pub spare_bytes: u64,
    pub spare_files: u64,
}

/// Which bound was met, with the number that it allows or what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    #[error("more than {0} bytes in all")]
    Bytes(u64),
    #[error("more than {0} entries in all")]
    Entries(u64),
    #[error("more than {0} bytes of paths in all")]
    Names(u64),
    #[error("only {0} bytes are left of the file system")]
    Space(u64),
    #[error("only {0} files are left of the file system")]
    Files(u64),
}

/// What a file system has left for who is not root.
#[derive(Debug, Clone, Copy)]
pub struct Free {
    pub bytes: u64,
    pub total: u64,
    /// None where it is not bounded.
    pub files: Option<u64>,
}

impl Free {
    /// None where it cannot be known.
    pub fn at(place: &Path) -> Option<Self> {
        let seen = rustix::fs::statvfs(place).ok()?;
        let files = (seen.f_files > 0).then_some(seen.f_favail);
        Some(Self { bytes: seen.f_bavail * seen.f_frsize, total: seen.f_blocks * seen.f_frsize, files })
    }
}

/// Layers whose rules name it have no name in the store until `keep`; dropped before, it leaves nothing.
#[derive(Debug)]
pub struct Batch {
    blobs: BlobStore,
    allowed: Allowed,
    bytes: AtomicU64,
    entries: AtomicU64,
    names: AtomicU64,
    spent: AtomicBool,
    made: Mutex<Vec<(TempPath, Digest)>>,
}

impl Batch {
    pub fn new(blobs: &BlobStore, allowed: Allowed) -> Self {
        Self {
            blobs: blobs.clone(),
            allowed,
            bytes: AtomicU64::default(),
            entries: AtomicU64::default(),
            names: AtomicU64::default(),
            spent: AtomicBool::default(),
            made: Mutex::default(),
        }
    }

    /// Whether a bound was met: nothing of it is of use then.
    pub fn is_spent(&self) -> bool {
        self.spent.load(Ordering::SeqCst)
    }

    /// Gives all layers their names. Blocks.
    pub fn keep(&self) -> Result<()> {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        made.into_iter().try_for_each(|(path, digest)| self.blobs.keep_written(path, &digest))
    }

    /// One more entry with so many bytes, and with a path and the target of a link of that length.
    pub(super) fn take(&self, bytes: u64, names: usize) -> Result<()> {
        let most = &self.allowed;
        if add(&self.entries, 1) > most.entries {
            return self.beyond(Beyond::Entries(most.entries));
        }
        if add(&self.names, names as u64) > most.names {
            return self.beyond(Beyond::Names(most.names));
        }
        if add(&self.bytes, bytes) > most.bytes {
            return self.beyond(Beyond::Bytes(most.bytes));
        }
        Ok(())
    }

    /// So many bytes are about to be written.
    pub(super) fn writes(&self, bytes: u64) -> Result<()> {
        let Some(free) = Free::at(self.blobs.dir()) else { return Ok(()) };
        if free.bytes < self.allowed.spare_bytes.saturating_add(bytes) {
            return self.beyond(Beyond::Space(free.bytes));
        }
        match free.files.filter(|files| *files < self.allowed.spare_files) {
            Some(files) => self.beyond(Beyond::Files(files)),
            None => Ok(()),
        }
    }

    pub(super) fn hold(&self, file: NamedTempFile, digest: Digest) {
        let made = (file.into_temp_path(), digest);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
    }

    fn beyond(&self, bound: Beyond) -> Result<()> {
        self.spent.store(true, Ordering::SeqCst);
        Err(ImageError::Beyond(bound))
    }
}

/// The sum.
fn add(counter: &AtomicU64, more: u64) -> u64 {
    let add = |sum: u64| Some(sum.saturating_add(more));
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).unwrap_or_default().saturating_add(more)
}
