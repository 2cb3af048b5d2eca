//! What of a tar stream goes into a layer, where, and whose it is. What may not be in any layer is refused here.

use std::sync::Arc;

use tar::EntryType;

use super::entry::{Entry, Kind, below, clean, join};
use super::source::RawEntry;
use super::{Batch, ImageError, Result};

/// Who owns the entries of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// As the stream says, with set-id bits and file capabilities: for system files.
    Kept,
    /// All entries belong to this user and group id, without set-id bits or capabilities: for applications.
    All(u64, u64),
}

/// How a tar stream becomes a layer. Paths have neither a leading nor a trailing slash.
#[derive(Debug, Clone)]
pub struct LayerRules {
    /// Every entry's path must start with it, and loses it. The entry with exactly this path is the tree's root.
    pub strip_prefix: String,
    /// Entries outside of `strip_prefix` are left out instead of refused.
    pub rest_left_out: bool,
    /// Where the tree's root lies in the image; with an empty prefix the root entry itself is left out. Directories that the
    /// stream does not hold are added with mode 0755: above the prefix owned by root, from it on by `owner`.
    pub prefix: String,
    pub owner: Owner,
    /// Paths in the tree, after stripping: these and all below are left out.
    pub exclude: Vec<String>,
    /// Whether names that start with `.wh.` mean that something of a lower layer is gone. If not, they are refused.
    pub whiteouts: bool,
    pub max_entries: u64,
    /// Sum of the sizes of all files.
    pub max_bytes: u64,
    /// What it is made together with.
    pub batch: Option<Arc<Batch>>,
}

impl Default for LayerRules {
    /// An application's tree at the root of the image, owned by 1000:1000, bounded at a million entries and 16 GiB.
    fn default() -> Self {
        Self {
            strip_prefix: String::new(),
            rest_left_out: false,
            prefix: String::new(),
            owner: Owner::All(1000, 1000),
            exclude: Vec::new(),
            whiteouts: false,
            max_entries: 1_000_000,
            max_bytes: 16 << 30,
            batch: None,
        }
    }
}

/// Who owns directories that are made up: `owner` from `prefix` on, root above.
#[derive(Clone, Copy)]
pub(super) struct Implied<'a> {
    pub prefix: &'a [u8],
    pub owner: (u64, u64),
}

impl Implied<'static> {
    pub(super) const ROOT: Self = Self { prefix: b"", owner: (0, 0) };
}

impl LayerRules {
    pub(super) fn implied(&self) -> Implied<'_> {
        let owner = if let Owner::All(uid, gid) = self.owner { (uid, gid) } else { (0, 0) };
        Implied { prefix: self.prefix.as_bytes(), owner }
    }

    /// `None` for what is left out.
    pub(super) fn apply(&self, raw: RawEntry) -> Result<Option<Entry>> {
        let Some(path) = self.place(&raw.path)? else { return Ok(None) };
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or(&path);
        if !self.whiteouts && name.starts_with(b".wh.") {
            return Err(ImageError::entry(&raw.path, "has a name that would hide files of lower layers"));
        }
        let kind = match raw.kind {
            EntryType::Regular | EntryType::Continuous => Kind::File(raw.size),
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink if raw.link.is_empty() || raw.link.contains(&0) => {
                return Err(ImageError::entry(&raw.path, "is a symbolic link without a usable target"));
            }
            EntryType::Symlink => Kind::Symlink(raw.link),
            EntryType::Link => match self.place(&raw.link)? {
                Some(target) => Kind::Link(target),
                None => return Err(ImageError::entry(&raw.path, "is a hard link to something left out")),
            },
            EntryType::Char | EntryType::Block => return Err(ImageError::entry(&raw.path, "is a device")),
            EntryType::Fifo => return Err(ImageError::entry(&raw.path, "is a pipe")),
            _ => return Err(ImageError::entry(&raw.path, "is of a type that no layer holds")),
        };
        let mode = match (&kind, self.owner) {
            (Kind::Symlink(_), _) => 0o777,
            (_, Owner::Kept) => raw.mode & 0o7777,
            (Kind::Directory, Owner::All(..)) => raw.mode & 0o1777,
            (_, Owner::All(..)) => raw.mode & 0o777,
        };
        let (uid, gid, mut attributes) = match self.owner {
            Owner::Kept => (raw.uid, raw.gid, raw.attributes),
            Owner::All(uid, gid) => (uid, gid, Vec::new()),
        };
        attributes.sort_unstable();
        Ok(Some(Entry { path, kind, mode, uid, gid, attributes }))
    }

    /// Where a path of the stream lies in the layer; `None` if nowhere.
    fn place(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let full = clean(path)?;
        let Some(rest) = below(&full, self.strip_prefix.as_bytes()) else {
            return match below(self.strip_prefix.as_bytes(), &full) {
                Some(_) => Ok(None),
                None if self.rest_left_out => Ok(None),
                None => Err(ImageError::entry(path, format!("lies outside of {:?}", self.strip_prefix))),
            };
        };
        if self.exclude.iter().any(|left_out| !left_out.is_empty() && below(rest, left_out.as_bytes()).is_some()) {
            return Ok(None);
        }
        let placed = join(self.prefix.as_bytes(), rest);
        Ok(if placed.is_empty() { None } else { Some(placed) })
    }
}
