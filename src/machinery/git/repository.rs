//! Bare repositories by app id, and their refs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use gix::ObjectId;

use super::Result;

/// All repositories: `<root>/<app id>.git`.
#[derive(Debug, Clone)]
pub struct Repositories {
    root: PathBuf,
}

impl Repositories {
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self { root: root.into() })
    }

    pub fn path(&self, app_id: &str) -> PathBuf {
        self.root.join(format!("{app_id}.git"))
    }

    /// Makes the repository, or opens it where it exists. Never leaves half a repository.
    pub fn create(&self, _app_id: &str) -> Result<Repository> {
        todo!()
    }

    pub fn find(&self, _app_id: &str) -> Result<Option<Repository>> {
        todo!()
    }

    /// Already gone is success.
    pub fn remove(&self, _app_id: &str) -> Result<()> {
        todo!()
    }
}

/// One bare repository. Cheap to clone; clones share nothing that is mutable.
#[derive(Debug, Clone)]
pub struct Repository {
    path: PathBuf,
}

impl Repository {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Compare and swap. The null id as `old` means "must not exist", as `new` "delete". Already being `new` is success.
    pub fn update_ref(&self, _name: &str, _old: &ObjectId, _new: &ObjectId) -> Result<()> {
        todo!()
    }

    /// The commit that `refs/heads/<branch>` points to.
    pub fn head_of(&self, _branch: &str) -> Result<Option<ObjectId>> {
        todo!()
    }

    /// Removes every quarantine whose key is not in `live`. Returns how many.
    pub fn sweep(&self, _live: &HashSet<String>) -> Result<usize> {
        todo!()
    }
}
