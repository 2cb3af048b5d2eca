//! From a tree to the flat list of what is exported, within the limits. Shared subtrees are counted as often as they appear,
//! so a tree that would unfold without end stops at the limit of entries.

use gix::ObjectId;
use gix::objs::Kind;

use super::super::fsck::{self, Mode};
use super::super::pack::bytes_text;
use super::super::{GitError, Result};
use super::attributes::ExportIgnore;
use super::{Objects, TreeLimits, shown};

const MAX_NAME_BYTES: usize = 255;
const MAX_PATH_BYTES: usize = 4_096;
/// What a symbolic link can hold on the systems that run here.
const MAX_TARGET_BYTES: u64 = 4_095;
const MAX_ATTRIBUTES_BYTES: u64 = 64 << 10;

pub(super) struct Item {
    pub(super) path: Vec<u8>,
    pub(super) what: What,
}

pub(super) enum What {
    Directory,
    File { id: ObjectId, executable: bool, size: u64 },
    Link(Vec<u8>),
}

pub(super) fn walk(objects: &Objects, root: ObjectId, limits: &TreeLimits) -> Result<Vec<Item>> {
    let mut walk = Walk { objects, limits, ignored: ExportIgnore::default(), found: Vec::new(), bytes: 0 };
    walk.directory(root, &[], 0)?;
    Ok(walk.found)
}

struct Walk<'a> {
    objects: &'a Objects,
    limits: &'a TreeLimits,
    ignored: ExportIgnore,
    found: Vec<Item>,
    bytes: u64,
}

impl Walk<'_> {
    /// Recursion is bounded by the limit of depth.
    fn directory(&mut self, id: ObjectId, path: &[u8], depth: usize) -> Result<()> {
        if depth > self.limits.depth.min(512) {
            return Err(refused(path, &format!("lies deeper than {} directories", self.limits.depth)));
        }
        let mut buffer = Vec::new();
        let tree = self.objects.read(&id, Kind::Tree, &mut buffer)?;
        fsck::check(Kind::Tree, tree, |_| {}).map_err(|fault| GitError::Refused(format!("tree {id} {fault}")))?;
        self.attributes(tree, path)?;
        for entry in fsck::entries(tree).flatten() {
            let mut child = path.to_vec();
            if !child.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(entry.name);
            if self.ignored.hides(&child, entry.mode == Mode::Directory) {
                continue;
            }
            self.entry(child, &entry, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: Vec<u8>, entry: &fsck::TreeEntry<'_>, depth: usize) -> Result<()> {
        if entry.name.len() > MAX_NAME_BYTES || path.len() > MAX_PATH_BYTES {
            return Err(refused(&path, "is too long a name"));
        }
        if self.found.len() == self.limits.entries {
            return Err(GitError::TooLarge(format!(
                "the tree has more than {} files and directories; leave generated files and dependencies out of the repository",
                self.limits.entries
            )));
        }
        let what = match entry.mode {
            Mode::Submodule => {
                return Err(refused(
                    &path,
                    "is a submodule, and submodules are not supported; remove it (`git rm`) or commit its files instead",
                ));
            }
            Mode::Directory => {
                self.found.push(Item { path: path.clone(), what: What::Directory });
                return self.directory(entry.id, &path, depth + 1);
            }
            Mode::Link => What::Link(self.target(&path, &entry.id)?),
            Mode::File | Mode::Executable => {
                let size = self.objects.blob_size(&entry.id)?;
                self.count(&path, size)?;
                What::File { id: entry.id, executable: entry.mode == Mode::Executable, size }
            }
        };
        self.found.push(Item { path, what });
        Ok(())
    }

    fn count(&mut self, path: &[u8], size: u64) -> Result<()> {
        let most = self.limits.file_bytes.min(super::archive::MAX_FILE_BYTES);
        if size > most {
            return Err(GitError::TooLarge(format!(
                "{} has {}, the limit for one file is {}; take it out of the repository and fetch it when needed",
                shown(path),
                bytes_text(size),
                bytes_text(most)
            )));
        }
        self.bytes += size;
        if self.bytes > self.limits.total_bytes {
            return Err(GitError::TooLarge(format!(
                "the files have more than {} together; take large files out of the repository",
                bytes_text(self.limits.total_bytes)
            )));
        }
        Ok(())
    }

    fn target(&self, path: &[u8], id: &ObjectId) -> Result<Vec<u8>> {
        if self.objects.blob_size(id)? > MAX_TARGET_BYTES {
            return Err(refused(path, "is a symbolic link with too long a target"));
        }
        let target = self.objects.read(id, Kind::Blob, &mut Vec::new())?.to_vec();
        if target.is_empty() || target.contains(&0) {
            return Err(refused(path, "is a symbolic link with a target that cannot be"));
        }
        Ok(target)
    }

    fn attributes(&mut self, tree: &[u8], directory: &[u8]) -> Result<()> {
        let named = |entry: &fsck::TreeEntry<'_>| entry.name == b".gitattributes";
        let Some(entry) = fsck::entries(tree).flatten().find(named) else { return Ok(()) };
        if !matches!(entry.mode, Mode::File | Mode::Executable) {
            return Ok(());
        }
        if self.objects.blob_size(&entry.id)? > MAX_ATTRIBUTES_BYTES {
            let limit = bytes_text(MAX_ATTRIBUTES_BYTES);
            return Err(refused(directory, &format!("has a .gitattributes file of more than {limit}; shorten it")));
        }
        let mut buffer = Vec::new();
        let content = self.objects.read(&entry.id, Kind::Blob, &mut buffer)?;
        self.ignored.add(directory, content);
        Ok(())
    }
}

fn refused(path: &[u8], fault: &str) -> GitError {
    let path = if path.is_empty() { "the root".to_owned() } else { shown(path) };
    GitError::Refused(format!("{path} {fault}"))
}
