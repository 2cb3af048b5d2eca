//! Where pushed objects wait until the push is accepted.

use std::fs::{self, File};
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use gix::ObjectId;

use super::disk::{remove_tree, storage, sync_directory};
use super::repository::{INCOMING, is_plain_word, open_objects};
use super::{Repository, Result, connected, pack};

#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the pack as it comes over the wire.
    pub pack_bytes: u64,
    /// Objects in the pack, as its header says.
    pub objects: u32,
    /// Bytes of any single object, unpacked.
    pub object_bytes: usize,
}

/// The objects of one push, in `<repository>/incoming/<key>/`: a directory of packs that names the repository's own
/// objects as its alternate. Dropping it removes it, unless it was [kept](Self::keep).
#[derive(Debug)]
pub struct Quarantine {
    repo: Repository,
    path: PathBuf,
    kept: bool,
    /// Held while the directory has no other owner, so that a sweep leaves it alone.
    _lock: Option<File>,
}

impl Quarantine {
    /// Reads a pack, completes it where it is thin, indexes it and makes it durable. `key` must be a plain word, such as an id.
    pub fn receive(
        repo: &Repository,
        key: &str,
        r: &mut impl BufRead,
        limits: &Limits,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let incoming = repo.path().join(INCOMING);
        let path = incoming.join(key);
        if !is_plain_word(key) || path.exists() {
            return Err(storage("make the quarantine", &path)(io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let draft = incoming.join(format!(".{key}"));
        let lock = make(&draft).map_err(storage("make the quarantine", &draft))?;
        let mut quarantine = Self { repo: repo.clone(), path: draft, kept: false, _lock: Some(lock) };
        pack::index(r, &quarantine.packs(), repo.objects()?, limits, progress)?;
        let finish = || -> io::Result<()> {
            sync_directory(&quarantine.path)?;
            fs::rename(&quarantine.path, &path)?;
            sync_directory(&incoming)
        };
        finish().map_err(storage("finish the quarantine", &path))?;
        quarantine.path = path;
        Ok(quarantine)
    }

    /// The quarantine that an earlier process left under `key`. It counts as kept.
    pub fn reopen(repo: &Repository, key: &str) -> Result<Option<Self>> {
        let path = repo.path().join(INCOMING).join(key);
        if !is_plain_word(key) || !path.is_dir() {
            return Ok(None);
        }
        Ok(Some(Self { repo: repo.clone(), path, kept: true, _lock: None }))
    }

    /// Refuses malformed objects, hostile trees, and tips of which anything reachable is missing; names the first fault.
    pub fn check(&self, tips: &[ObjectId]) -> Result<()> {
        connected::check(&self.packs(), &self.repo.objects()?, tips)
    }

    /// From now on dropping leaves it in place.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Moves the objects into the repository and removes the quarantine. May be repeated, also after a crash in the middle.
    pub fn migrate(mut self) -> Result<()> {
        // Whatever fails now, the objects are wanted.
        self.kept = true;
        let packs = self.packs();
        let target = self.repo.objects_path().join("pack");
        let work = || -> io::Result<()> {
            // A pack becomes visible by its index, so that goes last. Without the directory of packs an earlier take-over
            // died while it removed the quarantine: they are all there.
            for extension in ["pack", "idx"] {
                for file in if packs.is_dir() { files(&packs, extension)? } else { Vec::new() } {
                    fs::rename(&file, target.join(file.file_name().unwrap_or_default()))?;
                }
            }
            sync_directory(&target)?;
            remove_tree(&self.path)?;
            sync_directory(&self.repo.path().join(INCOMING))
        };
        work().map_err(storage("take over the objects of", &self.path))
    }

    pub fn discard(mut self) -> Result<()> {
        self.kept = true;
        remove_tree(&self.path).map_err(storage("remove the quarantine", &self.path))
    }

    /// A reader of the quarantined objects and of the repository's.
    pub(super) fn objects(&self) -> Result<gix::odb::Handle> {
        open_objects(&self.path)
    }

    fn packs(&self) -> PathBuf {
        self.path.join("pack")
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now, the next sweep removes.
            let _ = remove_tree(&self.path);
        }
    }
}

/// A fresh, locked directory of objects whose alternate is the repository.
fn make(path: &Path) -> io::Result<File> {
    loop {
        remove_tree(path)?;
        fs::create_dir_all(path.join("pack"))?;
        fs::create_dir_all(path.join("info"))?;
        let alternates = path.join("info/alternates");
        fs::write(&alternates, "../../objects\n")?;
        File::open(&alternates)?.sync_all()?;
        sync_directory(&path.join("info"))?;
        let lock = File::open(path)?;
        lock.lock()?;
        // A sweep may have come between making and locking.
        if alternates.exists() {
            return Ok(lock);
        }
    }
}

pub(super) fn files(directory: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
