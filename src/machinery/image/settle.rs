//! Makes new blobs durable behind the writer's back: a sync takes as long as many a build step.
//!
//! A new blob stands under `fresh/<hex>` until its content is on the disk, then under `sha256/<hex>`. Only a failing machine
//! (not a killed process) can spoil what stands under `fresh`, so that, and only that, is verified at the next start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{Digest, ImageError, Result};

/// The thread that syncs; ends, all done, when dropped.
#[derive(Debug)]
pub(super) struct Settler {
    queue: Option<Sender<Digest>>,
    thread: Option<JoinHandle<()>>,
}

pub(super) fn fresh(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("fresh").join(digest.hex())
}

pub(super) fn settled(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("sha256").join(digest.hex())
}

impl Settler {
    pub(super) fn start(dir: PathBuf) -> Self {
        let (queue, digests) = channel();
        Self { queue: Some(queue), thread: Some(std::thread::spawn(move || settle_all(&dir, &digests))) }
    }

    pub(super) fn add(&self, digest: Digest) {
        // the thread lives as long as this; were it gone, the next start would settle the blob
        let _ = self.queue.as_ref().map(|queue| queue.send(digest));
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.queue = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Settles what an earlier process left, and removes what a crash of the machine spoiled.
pub(super) fn recover(dir: &Path) -> Result<()> {
    let place = dir.join("fresh");
    for entry in fs::read_dir(&place).map_err(ImageError::store("list", &place))? {
        let path = entry.map_err(ImageError::store("list", &place))?.path();
        let name = path.file_name().and_then(|name| format!("sha256:{}", name.to_str()?).parse().ok());
        let whole = |digest: &Digest| File::open(&path).and_then(Digest::of_reader).map(|found| found == *digest);
        match name.map(|digest| (digest, whole(&digest))) {
            Some((digest, Ok(true))) => settle(dir, &digest).map_err(ImageError::store("sync", &path))?,
            Some((_, Err(error))) => return Err(ImageError::store("read", &path)(error)),
            _ => fs::remove_file(&path).map_err(ImageError::store("remove", &path))?,
        }
    }
    sync_names(dir).map_err(ImageError::store("sync", dir))
}

fn settle_all(dir: &Path, digests: &Receiver<Digest>) {
    while let Ok(first) = digests.recv() {
        for digest in std::iter::once(first).chain(digests.try_iter()) {
            if let Err(error) = settle(dir, &digest) {
                // it stays where it is found and verified at the next start
                tracing::error!(blob = %digest, %error, "a new blob could not be synced");
            }
        }
        if let Err(error) = sync_names(dir) {
            tracing::error!(%error, "the names of new blobs could not be synced");
        }
    }
}

/// For who waits for it. What the thread has settled meanwhile is in its place, its name perhaps not on the disk yet.
pub(super) fn settle_now(dir: &Path, digest: &Digest) -> io::Result<()> {
    settle(dir, digest)?;
    sync_names(dir)
}

/// A blob that was removed meanwhile is no fault.
fn settle(dir: &Path, digest: &Digest) -> io::Result<()> {
    let from = fresh(dir, digest);
    let done =
        File::open(&from).and_then(|file| file.sync_data()).and_then(|()| fs::rename(&from, settled(dir, digest)));
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn sync_names(dir: &Path) -> io::Result<()> {
    File::open(dir.join("sha256"))?.sync_all()
}
