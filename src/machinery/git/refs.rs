//! Refs of a repository: listed, compared and swapped. All changes of one repository pass one lock, which dies with its
//! holder, so that neither a race nor a crash can leave a ref that nobody may move any more.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::objs::Kind;
use gix::odb::HeaderExt;
use gix::refs::transaction::{PreviousValue, RefEdit};
use gix::refs::{FullName, Target};

use super::disk::{storage, sync_directory, write_atomically};
use super::receive::is_ref_name;
use super::repository::gix_fault;
use super::{Command, GitError, Repository, Result};

const MAIN: &str = "refs/heads/main";
const LOCK: &str = "hythe.lock";
/// Refs that keep objects for the platform; no client sees them or pushes to them.
pub(super) const OWN: &str = "refs/hythe/";

impl Repository {
    /// All refs by name, symbolic ones and names that are not UTF-8 aside.
    pub fn refs(&self) -> Result<Vec<(String, ObjectId)>> {
        let store = self.ref_store();
        let platform = store.iter().map_err(gix_fault("list the refs of", self.path()))?;
        let all = platform.all().map_err(storage("list the refs of", self.path()))?;
        let mut refs = Vec::new();
        for found in all {
            // One unreadable file must not take all other refs away.
            let Ok(found) = found else { continue };
            if let (Target::Object(id), Ok(name)) = (found.target, found.name.as_bstr().to_str()) {
                refs.push((name.to_owned(), id));
            }
        }
        refs.sort();
        Ok(refs)
    }

    /// The commit that `refs/heads/<branch>` points to.
    pub fn head_of(&self, branch: &str) -> Result<Option<ObjectId>> {
        self.ref_value(&format!("refs/heads/{branch}"))
    }

    /// Where HEAD points, whether that branch exists or not.
    pub fn head(&self) -> Result<Option<String>> {
        let path = self.path().join("HEAD");
        let text = fs::read_to_string(&path).map_err(storage("read", &path))?;
        Ok(text.strip_prefix("ref:").map(|name| name.trim().to_owned()))
    }

    /// Keeps a commit, and all that it leads to, for `word`; what was kept for it before is not kept any more. No client sees it.
    pub fn keep(&self, word: &str, commit: &ObjectId) -> Result<()> {
        let name = format!("{OWN}{word}");
        let before = self.ref_value(&name)?.unwrap_or_else(|| ObjectId::null(gix::hash::Kind::Sha1));
        self.update_ref(&name, &before, commit)
    }

    /// Compare and swap. The null id as `old` means "must not exist", as `new` "delete". Already being `new` is success.
    pub fn update_ref(&self, name: &str, old: &ObjectId, new: &ObjectId) -> Result<()> {
        self.update_refs(&[Command { old: *old, new: *new, name: name.to_owned() }])
    }

    /// As [`update_ref`](Self::update_ref) for several: either all can be done, or none is.
    pub fn update_refs(&self, commands: &[Command]) -> Result<()> {
        let lock_path = self.path().join(LOCK);
        let lock = File::create(&lock_path).map_err(storage("open", &lock_path))?;
        lock.lock().map_err(storage("lock", &lock_path))?;

        let mut todo = Vec::new();
        for command in commands {
            if !is_ref_name(&command.name) {
                return Err(GitError::Name { name: command.name.clone() });
            }
            let current = self.ref_value(&command.name)?;
            if current.unwrap_or(null()) == command.new {
                continue;
            }
            if current.unwrap_or(null()) != command.old {
                return Err(GitError::Moved { name: command.name.clone() });
            }
            todo.push(command);
        }
        self.check_targets(&todo)?;
        self.check_names(&todo)?;
        // Deletions first, so that `a` can make way for `a/b` in one push.
        todo.sort_by_key(|command| !command.is_delete());
        for command in todo {
            let path = self.path().join(&command.name);
            if command.is_delete() {
                self.delete_ref(command)?;
            } else {
                write_ref(&path, &command.new).map_err(storage("write the ref", &path))?;
                self.point_head(&command.name)?;
            }
        }
        Ok(())
    }

    fn ref_value(&self, name: &str) -> Result<Option<ObjectId>> {
        if !is_ref_name(name) {
            return Ok(None);
        }
        let found = self.ref_store().try_find(name).map_err(gix_fault("read a ref of", self.path()))?;
        Ok(found.and_then(|found| found.target.try_into_id().ok()))
    }

    /// Branches hold commits; nothing may point at what is not there.
    fn check_targets(&self, todo: &[&Command]) -> Result<()> {
        let objects = self.objects()?;
        for command in todo.iter().filter(|command| !command.is_delete()) {
            let Command { name, new, .. } = command;
            let header = objects.header(new).map_err(gix_fault("find the new value of a ref in", self.path()))?;
            if name.starts_with("refs/heads/") && header.kind() != Kind::Commit {
                return Err(GitError::Refused(format!(
                    "{name} cannot point to {new}, which is a {}; a branch needs a commit",
                    header.kind()
                )));
            }
        }
        Ok(())
    }

    /// A ref cannot be a file and a directory: `a` and `a/b` exclude each other.
    fn check_names(&self, todo: &[&Command]) -> Result<()> {
        let mut names: Vec<String> = self.refs()?.into_iter().map(|(name, _)| name).collect();
        names.retain(|name| !todo.iter().any(|command| command.is_delete() && command.name == *name));
        for command in todo.iter().filter(|command| !command.is_delete()) {
            let below =
                |longer: &str, shorter: &str| longer.strip_prefix(shorter).is_some_and(|rest| rest.starts_with('/'));
            if let Some(other) = names.iter().find(|name| below(name, &command.name) || below(&command.name, name)) {
                return Err(GitError::Refused(format!(
                    "{} cannot exist beside {other}; delete that one first or choose another name",
                    command.name
                )));
            }
            names.push(command.name.clone());
        }
        Ok(())
    }

    fn delete_ref(&self, command: &Command) -> Result<()> {
        let fault = || gix_fault("delete a ref of", self.path());
        let name =
            FullName::try_from(command.name.as_str()).map_err(|_| GitError::Name { name: command.name.clone() })?;
        // What a crash left; the lock of the repository says that nobody is at work.
        for stale in [self.path().join(format!("{}.lock", command.name)), self.path().join("packed-refs.lock")] {
            let _ = fs::remove_file(stale);
        }
        let edit = RefEdit::delete(name, PreviousValue::MustExistAndMatch(Target::Object(command.old)));
        let store = self.ref_store();
        let fail = gix::lock::acquire::Fail::Immediately;
        store.transaction().prepare([edit], fail, fail).map_err(fault())?.commit(None).map_err(fault())?;
        let parent = self.path().join(&command.name).parent().map(Path::to_owned);
        if let Some(parent) = parent.filter(|parent| parent.is_dir()) {
            sync_directory(&parent).map_err(storage("sync", &parent))?;
        }
        Ok(())
    }

    /// HEAD is what a clone checks out: `main` where it exists, else the first branch that came.
    fn point_head(&self, name: &str) -> Result<()> {
        if !name.starts_with("refs/heads/") {
            return Ok(());
        }
        let head = self.head()?;
        if head.as_deref() == Some(name) {
            return Ok(());
        }
        let born = match &head {
            Some(head) => self.ref_value(head)?.is_some(),
            None => false,
        };
        if born && name != MAIN {
            return Ok(());
        }
        let path = self.path().join("HEAD");
        write_atomically(&path, format!("ref: {name}\n").as_bytes()).map_err(storage("write", &path))
    }
}

fn write_ref(path: &Path, id: &ObjectId) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    remove_empty_directories(path);
    write_atomically(path, format!("{id}\n").as_bytes())
}

/// Directories that deleted refs left where the new ref's file has to be.
fn remove_empty_directories(path: &Path) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten() {
            remove_empty_directories(&entry.path());
        }
        let _ = fs::remove_dir(path);
    }
}

fn null() -> ObjectId {
    ObjectId::null(gix::hash::Kind::Sha1)
}
