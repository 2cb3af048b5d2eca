//! An archive as a push: its files become the blobs, trees and one commit of a pack, which then goes the way of every pushed
//! pack, through the same limits and the same rules. Nothing of the archive is ever unpacked to a file of its name.
//!
//! Invariants: the same files give the same tree, whatever order, owner or time the archive has; what an entry is called
//! matters only as words of a path, never as a place on this machine.

mod packed;
mod tarred;
mod tree;
mod zipped;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use gix::ObjectId;

use super::disk::storage;
use super::export::TreeLimits;
use super::{GitError, Limits, Quarantine, Repository, Result};
use packed::Packed;
use tree::Tree;

/// Bytes of one name in a path.
const LONGEST_NAME: usize = 255;

/// What the commit says.
#[derive(Debug, Clone)]
pub struct Imported<'a> {
    pub message: &'a str,
    /// Seconds since 1970.
    pub time: i64,
}

/// What an entry is.
enum What {
    File { executable: bool, id: ObjectId },
    Link(ObjectId),
    Directory,
}

/// Reads the archive at `path` (tar, tar.gz or zip, by what it begins with) into the quarantine `key`. The quarantine is
/// checked as that of a push; `scratch` is a directory for a file as large as the packed archive.
pub fn import_archive(
    repo: &Repository,
    key: &str,
    path: &Path,
    scratch: &Path,
    limits: (&TreeLimits, &Limits),
    imported: &Imported<'_>,
) -> Result<(Quarantine, ObjectId)> {
    let archive = File::open(path).map_err(storage("open the archive", path))?;
    import_file(repo, key, archive, scratch, limits, imported)
}

/// As `import_archive`, of an open file.
pub fn import_file(
    repo: &Repository,
    key: &str,
    mut archive: File,
    scratch: &Path,
    (tree_limits, limits): (&TreeLimits, &Limits),
    imported: &Imported<'_>,
) -> Result<(Quarantine, ObjectId)> {
    let path = scratch;
    let mut start = [0; 4];
    let length = read_up_to(&mut archive, &mut start).map_err(storage("read the archive", path))?;
    archive.seek(SeekFrom::Start(0)).map_err(storage("read the archive", path))?;
    let mut writer = Writer {
        packed: Packed::new(scratch)?,
        tree: Tree::default(),
        limits: tree_limits,
        entries: 0,
        bytes: 0,
        whole: file_size(&archive, path)?,
    };
    match &start[..length] {
        [0x1f, 0x8b, ..] => tarred::read(flate2::read::MultiGzDecoder::new(BufReader::new(archive)), &mut writer)?,
        [b'P', b'K', 3 | 5, 4 | 6] => zipped::read(BufReader::new(archive), &mut writer)?,
        _ => tarred::read(BufReader::new(archive), &mut writer)?,
    }
    let Writer { mut packed, tree, .. } = writer;
    if tree.is_empty() {
        return Err(refused("the archive has no files; pack the directory of the app, such as: git archive HEAD"));
    }
    let root = tree.without_wrapper().write(&mut packed)?;
    let tip = packed.commit(&root, imported)?;
    let mut pack = packed.finish()?;
    let quarantine = Quarantine::receive(repo, key, &mut pack, limits, &mut |_| {})?;
    quarantine.check(&[tip])?;
    Ok((quarantine, tip))
}

/// Takes entries as they come, and counts.
struct Writer<'a> {
    packed: Packed,
    tree: Tree,
    limits: &'a TreeLimits,
    entries: usize,
    bytes: u64,
    /// Bytes of the archive itself.
    whole: u64,
}

impl Writer<'_> {
    fn directory(&mut self, path: &[u8]) -> Result<()> {
        self.counted(0, path)?;
        self.put(path, What::Directory)
    }

    /// `size` is what the archive says; a file that has more or less is refused.
    fn file(&mut self, path: &[u8], executable: bool, size: u64, content: impl Read) -> Result<()> {
        self.counted(size, path)?;
        let mut data = Vec::with_capacity(usize::try_from(size.min(self.whole)).unwrap_or(0));
        content.take(size + 1).read_to_end(&mut data).map_err(damaged)?;
        if data.len() as u64 != size {
            return Err(refused(format!("the archive is damaged: {} is not as long as it says", text(path))));
        }
        let id = self.packed.blob(&data)?;
        self.put(path, What::File { executable, id })
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        self.counted(target.len() as u64, path)?;
        let id = self.packed.blob(target)?;
        self.put(path, What::Link(id))
    }

    /// As another entry before it: what tar calls a hard link.
    fn same(&mut self, path: &[u8], other: &[u8]) -> Result<()> {
        self.counted(0, path)?;
        let Some((executable, id)) = self.tree.file(&words(other)?) else {
            return Err(refused(format!(
                "{} is a hard link to {}, which is no file before it in the archive",
                text(path),
                text(other)
            )));
        };
        self.put(path, What::File { executable, id })
    }

    fn counted(&mut self, size: u64, path: &[u8]) -> Result<()> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(size);
        let limits = self.limits;
        if self.entries > limits.entries {
            return Err(GitError::TooLarge(format!("the archive has more than {} entries", limits.entries)));
        }
        if size > limits.file_bytes {
            let most = limits.file_bytes;
            return Err(GitError::TooLarge(format!("{} has {size} bytes; a file may have {most}", text(path))));
        }
        if self.bytes > limits.total_bytes {
            let most = limits.total_bytes;
            return Err(GitError::TooLarge(format!("the files of the archive have more than {most} bytes together")));
        }
        Ok(())
    }

    fn put(&mut self, path: &[u8], what: What) -> Result<()> {
        let words = words(path)?;
        if words.len() > self.limits.depth {
            return Err(GitError::TooLarge(format!(
                "{} lies more than {} directories deep",
                text(path),
                self.limits.depth
            )));
        }
        self.tree
            .put(&words, what)
            .map_err(|()| refused(format!("{} is in the archive as a file and as a directory", text(path))))
    }
}

/// A path of an archive in words; `./` in front and `/` at the end are customary.
fn words(path: &[u8]) -> Result<Vec<&[u8]>> {
    let words: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|word| !word.is_empty() && *word != b".").collect();
    let bad = path.first() == Some(&b'/') || words.contains(&b"..".as_slice()) || path.contains(&0);
    if bad {
        return Err(refused(format!(
            "{} leads out of the archive; paths in it must be relative, without ..",
            text(path)
        )));
    }
    if words.iter().any(|word| word.len() > LONGEST_NAME) {
        return Err(refused(format!(
            "{}… is too long a name: no file system has more than {LONGEST_NAME} bytes",
            text(path)
        )));
    }
    Ok(words)
}

fn text(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let short: String = path.chars().take(200).flat_map(char::escape_debug).collect();
    format!("\"{short}\"")
}

fn refused(text: impl Into<String>) -> GitError {
    GitError::Refused(text.into())
}

fn damaged(error: io::Error) -> GitError {
    refused(format!("the archive cannot be read: {error}"))
}

fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn file_size(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(storage("read the archive", path))?.len())
}
