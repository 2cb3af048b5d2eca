//! Bare repositories by app id: made, found, removed, and opened for reading.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Kind::Sha1;
use gix::odb::pack::cache::lru::MemoryCappedHashmap;
use gix::refs::file::Store as RefStore;

use super::disk::{remove_tree, storage, sync_directory};
use super::{GitError, Result};

/// Directory of quarantines in a repository.
pub(super) const INCOMING: &str = "incoming";
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n";
/// Decoded delta bases that one reader keeps.
const PACK_CACHE_BYTES: usize = 32 << 20;

/// All repositories: `<root>/<app id>.git`.
#[derive(Debug, Clone)]
pub struct Repositories {
    root: PathBuf,
}

impl Repositories {
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(storage("create", &root))?;
        let root = root.canonicalize().map_err(storage("resolve", &root))?;
        Ok(Self { root })
    }

    pub fn path(&self, app_id: &str) -> PathBuf {
        self.root.join(format!("{app_id}.git"))
    }

    /// Makes the repository, or opens it where it exists. Never leaves half a repository.
    pub fn create(&self, app_id: &str) -> Result<Repository> {
        if let Some(existing) = self.find(app_id)? {
            return Ok(existing);
        }
        if !is_plain_word(app_id) {
            return Err(storage("create the repository", &self.path(app_id))(io::Error::from(
                io::ErrorKind::InvalidInput,
            )));
        }
        let draft = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&self.root)
            .map_err(storage("create a repository in", &self.root))?;
        let path = self.path(app_id);
        let build = || -> io::Result<()> {
            for directory in ["objects/pack", "objects/info", "refs/heads", "refs/tags", INCOMING] {
                fs::create_dir_all(draft.path().join(directory))?;
            }
            for (file, content) in [("config", CONFIG), ("HEAD", "ref: refs/heads/main\n")] {
                fs::write(draft.path().join(file), content)?;
                File::open(draft.path().join(file))?.sync_all()?;
            }
            // Git takes the empty tree for granted, so a push need not bring it.
            let objects = gix::odb::at(draft.path().join("objects"), Sha1)?;
            gix::objs::Write::write_buf(&objects, gix::objs::Kind::Tree, &[]).map_err(io::Error::other)?;
            sync_directory(draft.path())?;
            match fs::rename(draft.path(), &path) {
                // Somebody else was faster, and theirs is as good.
                Err(_) if path.join("HEAD").is_file() => Ok(()),
                other => other,
            }?;
            sync_directory(&self.root)
        };
        build().map_err(storage("create the repository", &path))?;
        self.find(app_id)?
            .ok_or_else(|| storage("find the new repository", &path)(io::Error::from(io::ErrorKind::NotFound)))
    }

    pub fn find(&self, app_id: &str) -> Result<Option<Repository>> {
        if !is_plain_word(app_id) {
            return Ok(None);
        }
        let path = self.path(app_id);
        match fs::metadata(path.join("HEAD")) {
            Ok(_) => Ok(Some(Repository { path })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(storage("open the repository", &path)(error)),
        }
    }

    /// Ids of the apps that have a repository.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.root).map_err(storage("list", &self.root))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".git")?.to_owned())).collect();
        ids.sort();
        Ok(ids)
    }

    /// Already gone is success. The name is free at once, whatever happens while the files are removed.
    pub fn remove(&self, app_id: &str) -> Result<()> {
        if self.find(app_id)?.is_none() {
            return Ok(());
        }
        let path = self.path(app_id);
        let grave = tempfile::Builder::new()
            .prefix(".gone-")
            .tempdir_in(&self.root)
            .map_err(storage("remove a repository from", &self.root))?;
        match fs::rename(&path, grave.path().join("repository")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(storage("remove the repository", &path)(error))
            }
            _ => grave.close().map_err(storage("remove the repository", &path)),
        }
    }

    /// Removes what a crash in [`create`](Self::create) or [`remove`](Self::remove) left behind. For the start of the server,
    /// when neither is under way.
    pub fn sweep(&self) -> Result<()> {
        let entries = fs::read_dir(&self.root).map_err(storage("list", &self.root))?;
        for entry in entries {
            let entry = entry.map_err(storage("list", &self.root))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(".new-") || name.starts_with(".gone-")) {
                remove_tree(&entry.path()).map_err(storage("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

/// One bare repository: a path that is known to exist. Configuration files, hooks and the environment are never read.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(super) path: PathBuf,
}

impl Repository {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn contains(&self, id: &ObjectId) -> Result<bool> {
        Ok(gix::odb::pack::Find::contains(&self.objects()?, id))
    }

    /// Removes every quarantine whose key is not in `live`, but for those that are being received. Returns how many.
    pub fn sweep(&self, live: &HashSet<String>) -> Result<usize> {
        let incoming = self.path.join(INCOMING);
        let entries = match fs::read_dir(&incoming) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other.map_err(storage("list", &incoming))?,
        };
        let mut removed = 0;
        for entry in entries {
            let entry = entry.map_err(storage("list", &incoming))?;
            if entry.file_name().to_str().is_some_and(|key| live.contains(key)) {
                continue;
            }
            let path = entry.path();
            let sweep = || -> io::Result<bool> {
                match File::open(&path)?.try_lock() {
                    Err(TryLockError::WouldBlock) => Ok(false),
                    Err(TryLockError::Error(error)) => Err(error),
                    Ok(()) => remove_tree(&path).map(|()| true),
                }
            };
            removed += usize::from(sweep().map_err(storage("remove the quarantine", &path))?);
        }
        Ok(removed)
    }

    pub(super) fn objects_path(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// A reader of the stored objects as they are now.
    pub(super) fn objects(&self) -> Result<gix::odb::Handle> {
        open_objects(&self.objects_path())
    }

    pub(super) fn ref_store(&self) -> RefStore {
        let options = gix::refs::store::init::Options {
            write_reflog: gix::refs::store::WriteReflog::Disable,
            ..Default::default()
        };
        RefStore::at_opts(self.path.clone(), Sha1, options)
    }
}

/// Opens a directory of objects, with its alternates. What appears in it later may stay unseen.
pub(super) fn open_objects(directory: &Path) -> Result<gix::odb::Handle> {
    let mut objects = gix::odb::at(directory, Sha1).map_err(storage("open the objects in", directory))?;
    objects.refresh_never();
    objects.ignore_replacements = true;
    objects.set_pack_cache(|| Box::new(MemoryCappedHashmap::new(PACK_CACHE_BYTES)));
    Ok(objects)
}

/// What may become a part of a path here: ids and keys, never a name that a person chose freely.
pub(super) fn is_plain_word(word: &str) -> bool {
    (1..=128).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

pub(super) fn gix_fault(operation: &'static str, path: &Path) -> impl FnOnce(gix::Error) -> GitError {
    let path = path.to_owned();
    // The alternate form prints the whole tree of causes.
    move |error| GitError::Storage { operation, path, source: format!("{error:#?}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_made_once_found_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let all = Repositories::open(root.path().join("repos")).unwrap();
        assert!(all.find("app_1").unwrap().is_none());
        let made = all.create("app_1").unwrap();
        fs::write(made.path().join("marker"), "").unwrap();
        assert!(all.create("app_1").unwrap().path().join("marker").exists());
        all.remove("app_1").unwrap();
        all.remove("app_1").unwrap();
        assert!(all.find("app_1").unwrap().is_none());
        assert_eq!(fs::read_dir(root.path().join("repos")).unwrap().count(), 0);
    }

    #[test]
    fn ids_cannot_leave_the_root() {
        let root = tempfile::tempdir().unwrap();
        let all = Repositories::open(root.path()).unwrap();
        for id in ["", "..", "a/b", "../x", "a.b", "ä"] {
            assert!(all.find(id).unwrap().is_none(), "{id}");
            assert!(all.create(id).is_err(), "{id}");
        }
    }

    #[test]
    fn the_sweep_takes_what_no_job_owns_and_leaves_what_is_being_received() {
        let root = tempfile::tempdir().unwrap();
        let repo = Repositories::open(root.path()).unwrap().create("app_1").unwrap();
        for key in ["live", "dead", "busy"] {
            fs::create_dir_all(repo.path().join(INCOMING).join(key).join("pack")).unwrap();
        }
        let busy = File::open(repo.path().join(INCOMING).join("busy")).unwrap();
        busy.lock().unwrap();
        assert_eq!(repo.sweep(&HashSet::from(["live".to_owned()])).unwrap(), 1);
        // Said aloud, because a process that another test is starting may hold a copy of the file.
        busy.unlock().unwrap();
        assert_eq!(repo.sweep(&HashSet::from(["live".to_owned()])).unwrap(), 1);
        assert!(repo.path().join(INCOMING).join("live").exists());
    }
}
