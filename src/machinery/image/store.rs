//! Blobs at `<dir>/sha256/<hex>`, written beside their place and renamed into it.
//!
//! A blob is synced before it gets its name, so a crash leaves either the whole blob or none under it; readers
//! need not verify. Temporary files are `<dir>/incoming/…`, and a new start removes them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{Digest, ImageError, Result};

/// A handle; clones are the same store.
#[derive(Debug, Clone)]
pub struct BlobStore {
    dir: Arc<PathBuf>,
}

impl BlobStore {
    /// Opens or makes the store. Only one process at a time may have it open: leftovers of writers are removed.
    pub fn open(dir: &Path) -> Result<Self> {
        let incoming = dir.join("incoming");
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ImageError::store("empty", &incoming)(error));
            }
            _ => {}
        }
        for made in [&incoming, &dir.join("sha256")] {
            fs::create_dir_all(made).map_err(ImageError::store("make", made))?;
        }
        Ok(Self { dir: Arc::new(dir.to_owned()) })
    }

    /// Where the blob lies, or would.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("sha256").join(digest.hex())
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Bytes.
    pub fn size(&self, digest: &Digest) -> Result<u64> {
        let path = self.path(digest);
        fs::metadata(&path).map(|m| m.len()).map_err(|error| self.missing(digest, &path, error))
    }

    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| self.missing(digest, &path, error))
    }

    /// The whole blob; for documents (at most 8 MiB), not for layers.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        const LIMIT: u64 = 8 << 20;
        if self.size(digest)? > LIMIT {
            return Err(ImageError::Invalid { digest: *digest, reason: "too large for a document".to_owned() });
        }
        let path = self.path(digest);
        fs::read(&path).map_err(|error| self.missing(digest, &path, error))
    }

    /// Stores a small blob. One that is there already is not written again.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.has(&digest) {
            let mut file = self.temporary()?;
            file.write_all(bytes).map_err(ImageError::store("write", file.path()))?;
            self.keep(file, &digest)?;
        }
        Ok(digest)
    }

    pub fn writer(&self) -> Result<BlobWriter> {
        Ok(BlobWriter { store: self.clone(), file: self.temporary()?, hasher: Sha256::new(), size: 0 })
    }

    /// Already gone is success.
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::store("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    pub(super) fn temporary(&self) -> Result<NamedTempFile> {
        let incoming = self.dir.join("incoming");
        NamedTempFile::new_in(&incoming).map_err(ImageError::store("write in", &incoming))
    }

    /// Gives `file`, whose content has `digest`, its name.
    pub(super) fn keep(&self, file: NamedTempFile, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        file.as_file().sync_data().map_err(ImageError::store("sync", file.path()))?;
        file.persist(&path).map_err(|error| ImageError::store("name", &path)(error.error))?;
        let parent = self.dir.join("sha256");
        File::open(&parent).and_then(|dir| dir.sync_all()).map_err(ImageError::store("sync", &parent))
    }

    fn missing(&self, digest: &Digest, path: &Path, error: io::Error) -> ImageError {
        match error.kind() {
            io::ErrorKind::NotFound => ImageError::Missing(*digest),
            _ => ImageError::store("read", path)(error),
        }
    }
}

/// Hashes what is written through it. Dropped without `finish`, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    file: NamedTempFile,
    hasher: Sha256,
    size: u64,
}

impl BlobWriter {
    /// Of the temporary file, for messages.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Digest and size of what was written, which is now in the store.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let digest = Digest::from_hasher(self.hasher);
        if !self.store.has(&digest) {
            self.store.keep(self.file, &digest)?;
        }
        Ok((digest, self.size))
    }

    /// As `finish`, but only if the content has the digest that was promised.
    pub fn finish_as(self, expected: &Digest) -> Result<u64> {
        let found = Digest::from_hasher(self.hasher.clone());
        if found != *expected {
            return Err(ImageError::Invalid { digest: *expected, reason: format!("its content has digest {found}") });
        }
        Ok(self.finish()?.1)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
