//! A commit's tree as a tar stream. The tree is walked and judged as a whole before the first byte is written, so whoever
//! unpacks the stream meets no name, link or size that was not allowed.

mod archive;
mod attributes;
mod links;
mod walk;

use std::io::{self, Write};

use gix::ObjectId;
use gix::objs::{Find, FindExt, Kind};

use super::fsck::{self, Mode};
use super::pack::bytes_text;
use super::repository::gix_fault;
use super::{GitError, Quarantine, Repository, Result};
use walk::{What, walk};

#[derive(Debug, Clone)]
pub struct TreeLimits {
    /// Files, directories and links.
    pub entries: usize,
    pub total_bytes: u64,
    pub file_bytes: u64,
    /// Directories below each other.
    pub depth: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeSummary {
    pub entries: usize,
    /// Sum of the sizes of all files.
    pub bytes: u64,
    pub tree_id: ObjectId,
}

/// Writes the tree of `commit` as tar: sorted as git sorts, directories included, owner 0, time 0, modes 0644 or 0755, so that
/// one tree always gives the same bytes. What `.gitattributes` marks `export-ignore` is left out. A tree that breaks a limit or
/// a rule is refused before the first byte is written.
pub fn export_tree(
    repo: &Repository,
    quarantine: Option<&Quarantine>,
    commit: &ObjectId,
    limits: &TreeLimits,
    out: impl Write,
) -> Result<TreeSummary> {
    export_tree_but(repo, quarantine, commit, limits, &Changes::default(), out)
}

/// Whether a path is left out.
pub type Hides<'a> = dyn Fn(&[u8]) -> bool + 'a;

/// How what is written differs from the tree.
#[derive(Default)]
pub struct Changes<'a> {
    /// Files and links, by path, that are left out. Directories are left out when nothing is left in them.
    pub hides: Option<&'a Hides<'a>>,
    /// Files that stand at the root, in place of the tree's own of that name.
    pub instead: &'a [(String, Vec<u8>)],
}

/// As `export_tree`, with these changes.
pub fn export_tree_but(
    repo: &Repository,
    quarantine: Option<&Quarantine>,
    commit: &ObjectId,
    limits: &TreeLimits,
    changes: &Changes<'_>,
    out: impl Write,
) -> Result<TreeSummary> {
    let objects = Objects::open(repo, quarantine)?;
    let tree_id = objects.tree_of(commit)?;
    let mut entries = walk(&objects, tree_id, limits)?;
    links::check(&entries)?;
    changes.apply(&mut entries);

    let mut tar = archive::Writer::new(io::BufWriter::with_capacity(64 << 10, out));
    let mut buffer = Vec::new();
    let mut bytes = 0;
    for (path, content) in changes.instead {
        tar.file(path.as_bytes(), false, content).map_err(GitError::Disconnected)?;
    }
    for entry in &entries {
        match &entry.what {
            What::Directory => tar.directory(&entry.path),
            What::Link(target) => tar.link(&entry.path, target),
            What::File { id, executable, size } => {
                let content = objects.read(id, Kind::Blob, &mut buffer)?;
                if content.len() as u64 != *size {
                    return Err(objects.broken(id));
                }
                bytes += size;
                tar.file(&entry.path, *executable, content)
            }
        }
        .map_err(GitError::Disconnected)?;
    }
    tar.finish().map_err(GitError::Disconnected)?;
    Ok(TreeSummary { entries: entries.len(), bytes, tree_id })
}

impl Changes<'_> {
    fn apply(&self, entries: &mut Vec<walk::Item>) {
        let replaced = |path: &[u8]| {
            let below = |name: &str| path.strip_prefix(name.as_bytes()).is_some_and(|r| r.is_empty() || r[0] == b'/');
            self.instead.iter().any(|(name, _)| below(name))
        };
        entries.retain(|entry| !replaced(&entry.path));
        let Some(hides) = self.hides else { return };
        // From the end: what is in a directory stands behind it.
        let mut kept: std::collections::HashSet<Vec<u8>> = std::collections::HashSet::new();
        let mut keep = vec![false; entries.len()];
        for (entry, keep) in entries.iter().zip(&mut keep).rev() {
            *keep = match entry.what {
                What::Directory => kept.contains(&entry.path),
                _ => !hides(&entry.path),
            };
            if *keep && let Some(slash) = entry.path.iter().rposition(|b| *b == b'/') {
                kept.insert(entry.path[..slash].to_vec());
            }
        }
        let mut keep = keep.into_iter();
        entries.retain(|_| keep.next().unwrap_or(false));
    }
}

/// Names the content of the tree of `commit`.
pub fn tree_of(repo: &Repository, quarantine: Option<&Quarantine>, commit: &ObjectId) -> Result<ObjectId> {
    Objects::open(repo, quarantine)?.tree_of(commit)
}

/// The file at `path` in the tree of `commit`; none when it is absent or no file. Larger than `max_bytes` is an error.
pub fn read_file(
    repo: &Repository,
    quarantine: Option<&Quarantine>,
    commit: &ObjectId,
    path: &str,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>> {
    let objects = Objects::open(repo, quarantine)?;
    let mut id = objects.tree_of(commit)?;
    let mut buffer = Vec::new();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let tree = objects.read(&id, Kind::Tree, &mut buffer)?;
        let Some(entry) = fsck::entries(tree).flatten().find(|entry| entry.name == part.as_bytes()) else {
            return Ok(None);
        };
        match (entry.mode, parts.peek()) {
            (Mode::Directory, Some(_)) => id = entry.id,
            (Mode::File | Mode::Executable, None) => {
                let size = objects.blob_size(&entry.id)?;
                if size > max_bytes {
                    return Err(GitError::TooLarge(format!(
                        "{path} has {}, the limit is {}",
                        bytes_text(size),
                        bytes_text(max_bytes)
                    )));
                }
                return Ok(Some(objects.read(&entry.id, Kind::Blob, &mut Vec::new())?.to_vec()));
            }
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Stored objects, with the quarantine's where there is one.
struct Objects {
    from: gix::odb::Handle,
}

impl Objects {
    fn open(repo: &Repository, quarantine: Option<&Quarantine>) -> Result<Self> {
        let from = match quarantine {
            Some(quarantine) => quarantine.objects()?,
            None => repo.objects()?,
        };
        Ok(Self { from })
    }

    fn read<'b>(&self, id: &ObjectId, kind: Kind, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        let found = self.from.try_find(id, buffer).map_err(|error| self.fault(error))?;
        match found {
            Some(object) if object.kind == kind => Ok(object.data),
            _ => Err(self.broken(id)),
        }
    }

    fn blob_size(&self, id: &ObjectId) -> Result<u64> {
        let header = gix::odb::Header::try_header(&self.from, id).map_err(|error| self.fault(error))?;
        match header {
            Some(header) if header.kind() == Kind::Blob => Ok(header.size()),
            _ => Err(self.broken(id)),
        }
    }

    /// The tree of a commit, or of the commit that a tag names.
    fn tree_of(&self, id: &ObjectId) -> Result<ObjectId> {
        let mut id = *id;
        let mut buffer = Vec::new();
        for _ in 0..10 {
            let object = self.from.find(&id, &mut buffer).map_err(|error| self.fault(error))?;
            let next = match object.kind {
                Kind::Commit => {
                    return object
                        .try_into_commit_iter()
                        .and_then(|mut c| c.tree_id().ok())
                        .ok_or_else(|| self.broken(&id));
                }
                Kind::Tag => object.try_into_tag_iter().and_then(|t| t.target_id().ok()),
                Kind::Tree | Kind::Blob => None,
            };
            id = next.ok_or_else(|| GitError::Refused(format!("{id} is not a commit; push a branch")))?;
        }
        Err(GitError::Refused(format!("{id} lies behind too many tags; push a branch")))
    }

    fn fault(&self, error: gix::Error) -> GitError {
        gix_fault("read an object from", self.from.store_ref().path())(error)
    }

    /// Checked when they were pushed, so a missing or changed object is the disk's fault.
    fn broken(&self, id: &ObjectId) -> GitError {
        self.fault(gix::Error::from_error(io::Error::other(format!("object {id} is missing or not of its kind"))))
    }
}

/// A path for people: as it is, unless something in it does not print.
fn shown(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(path) if !path.chars().any(char::is_control) => path.to_owned(),
        _ => format!("{:?}", String::from_utf8_lossy(path)),
    }
}
