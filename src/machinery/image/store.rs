//! Blobs by their digest: written beside their place and renamed into it, then synced in the background.
//!
//! Below the store's directory: `incoming/` has what is being written and is emptied at every start; `fresh/<hex>` has blobs
//! that are whole but perhaps not on the disk yet; `sha256/<hex>` those that are. So a crash, of the process or of the
//! machine, never leaves wrong content under a digest's name, and readers need not verify.
//!
//! The modification time of a blob is its last use: whoever writes, finds, opens or reads it sets it. `sweep` goes by it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempPath};

use super::settle::{Settler, fresh, recover, settled};
use super::sweep::Pins;
use super::{Digest, ImageError, Result};
use crate::base::model::ContentDigest;

/// A handle; clones are the same store.
#[derive(Debug, Clone)]
pub struct BlobStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    settler: Settler,
    pins: Pins,
    /// Held for reading while a blob is found and its use noted, for writing while one is judged and removed: so no blob
    /// goes between the two.
    judging: RwLock<()>,
}

impl BlobStore {
    /// Opens or makes the store. Only one process at a time may have it open: leftovers of writers are removed.
    /// Dropping the last handle waits until all blobs are on the disk.
    pub fn open(dir: &Path) -> Result<Self> {
        let incoming = dir.join("incoming");
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ImageError::store("empty", &incoming)(error));
            }
            _ => {}
        }
        for made in [&incoming, &dir.join("fresh"), &dir.join("sha256")] {
            fs::create_dir_all(made).map_err(ImageError::store("make", made))?;
        }
        recover(dir)?;
        let settler = Settler::start(dir.to_owned());
        Ok(Self(Arc::new(Inner { dir: dir.to_owned(), settler, pins: Pins::default(), judging: RwLock::default() })))
    }

    /// Finding it is a use of it.
    pub fn has(&self, digest: &Digest) -> bool {
        self.find(digest, |path| fs::metadata(path)).is_ok()
    }

    /// Bytes; no use of it.
    pub fn size(&self, digest: &Digest) -> Result<u64> {
        let _there = self.using();
        self.look(digest, |path| fs::metadata(path)).map(|metadata| metadata.len())
    }

    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        self.find(digest, |path| File::open(path))
    }

    /// The whole blob; for documents (at most 8 MiB), not for layers.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        const LIMIT: u64 = 8 << 20;
        if self.size(digest)? > LIMIT {
            return Err(ImageError::Invalid { digest: *digest, reason: "too large for a document".to_owned() });
        }
        self.find(digest, |path| fs::read(path))
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
        // in the order in which a blob moves, so that it cannot slip through
        for path in [fresh(&self.0.dir, digest), settled(&self.0.dir, digest)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ImageError::store("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn temporary(&self) -> Result<NamedTempFile> {
        let incoming = self.0.dir.join("incoming");
        NamedTempFile::new_in(&incoming).map_err(ImageError::store("write in", &incoming))
    }

    /// Gives `file`, whose content has `digest`, its name.
    pub(super) fn keep(&self, file: NamedTempFile, digest: &Digest) -> Result<()> {
        self.keep_written(file.into_temp_path(), digest)
    }

    /// As `keep`, for what nobody writes to any more.
    pub(super) fn keep_written(&self, file: TempPath, digest: &Digest) -> Result<()> {
        let path = fresh(&self.0.dir, digest);
        file.persist(&path).map_err(|error| ImageError::store("name", &path)(error.error))?;
        self.0.settler.add(*digest);
        Ok(())
    }

    /// Returns when the blob, which is there, is on the disk under its name.
    fn settle(&self, digest: &Digest) -> Result<()> {
        super::settle::settle_now(&self.0.dir, digest).map_err(ImageError::store("sync", &self.0.dir))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0.dir
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.0.pins
    }

    fn using(&self) -> RwLockReadGuard<'_, ()> {
        self.0.judging.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody finds a blob while this is held.
    pub(super) fn judging(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.judging.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `read` where the blob lies now, and notes the use.
    fn find<T>(&self, digest: &Digest, read: impl Fn(&Path) -> io::Result<T>) -> Result<T> {
        let _there = self.using();
        self.look(digest, |path| {
            let done = read(path)?;
            note_use(path)?;
            Ok(done)
        })
    }

    /// Does `read` where the blob lies now.
    fn look<T>(&self, digest: &Digest, read: impl Fn(&Path) -> io::Result<T>) -> Result<T> {
        let place = settled(&self.0.dir, digest);
        // the last look finds what moved between the first two
        for path in [&place, &fresh(&self.0.dir, digest), &place] {
            match read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                found => return found.map_err(ImageError::store("read", path)),
            }
        }
        Err(ImageError::Missing(*digest))
    }
}

fn note_use(path: &Path) -> io::Result<()> {
    let at = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
    Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
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

impl BlobWriter {
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.size
    }

    /// As `finish_as`, and on the disk before it returns: whoever sent it may forget it. `None`: the content has another
    /// digest, and is gone.
    pub fn finish_durably(mut self, expected: &ContentDigest) -> Result<Option<Digest>> {
        let path = self.file.path().to_owned();
        self.file.as_file_mut().sync_data().map_err(ImageError::store("sync", &path))?;
        let digest = Digest::from_hasher(self.hasher.clone());
        let found = match expected.is_sha512() {
            true => {
                let file = self.file.reopen().map_err(ImageError::store("read", &path))?;
                super::unpack::sha512(file).map_err(ImageError::store("read", &path))?
            }
            false => digest.to_string(),
        };
        if found != expected.as_str() {
            return Ok(None);
        }
        let store = self.store.clone();
        self.finish()?;
        store.settle(&digest)?;
        Ok(Some(digest))
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
