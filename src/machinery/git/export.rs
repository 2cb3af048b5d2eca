//! A commit's tree as a tar stream.

use std::io::Write;

use gix::ObjectId;

use super::{Quarantine, Repository, Result};

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

/// Writes the tree of `commit` as tar: sorted, owner 0, time 0, so that one tree always gives the same bytes. A tree that
/// breaks a limit or a rule is refused before the first byte is written.
pub fn export_tree(
    _repo: &Repository,
    _quarantine: Option<&Quarantine>,
    _commit: &ObjectId,
    _limits: &TreeLimits,
    _out: impl Write,
) -> Result<TreeSummary> {
    todo!()
}

/// The file at `path` in the tree of `commit`; none when it is absent or no file. Larger than `max_bytes` is an error.
pub fn read_file(
    _repo: &Repository,
    _quarantine: Option<&Quarantine>,
    _commit: &ObjectId,
    _path: &str,
    _max_bytes: u64,
) -> Result<Option<Vec<u8>>> {
    todo!()
}
