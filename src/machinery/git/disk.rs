//! Files that must be there after a power cut: written, synced, then named.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::GitError;

/// Wraps a fault of the disk, or of what is stored on it.
pub(super) fn storage<E>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> GitError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| GitError::Storage { operation, path: path.to_owned(), source: source.into() }
}

/// Makes creations, renames and removals in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Replaces or makes `path` by way of `path` + `.lock`, as git does: readers see the old or the new content, never a part.
/// The caller sees to it that nobody else writes `path`, so a lock file that is there was left by a crash.
pub(super) fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = Path::new(&lock);
    let mut file = File::create(lock)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(lock, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Already gone is success.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
