//! Layers: any tar stream in, one deterministic tar out.

use std::io::Read;

use super::{BlobStore, Layer, Result};

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
    /// Where the tree's root lies in the image. Directories above it that the stream does not hold are added, owned by root;
    /// with an empty prefix the root entry itself is left out.
    pub prefix: String,
    pub owner: Owner,
    /// Paths in the tree, after stripping: these and all below are left out.
    pub exclude: Vec<String>,
    /// Whether names that start with `.wh.` mean that something of a lower layer is gone. If not, they are refused.
    pub whiteouts: bool,
    pub max_entries: u64,
    /// Sum of the sizes of all files.
    pub max_bytes: u64,
}

impl Default for LayerRules {
    /// An application's tree at the root of the image, owned by 1000:1000, bounded at a million entries and 16 GiB.
    fn default() -> Self {
        Self {
            strip_prefix: String::new(),
            prefix: String::new(),
            owner: Owner::All(1000, 1000),
            exclude: Vec::new(),
            whiteouts: false,
            max_entries: 1_000_000,
            max_bytes: 16 << 30,
        }
    }
}

/// Stores the tree in `tar` as a layer; it needs not be sorted.
///
/// The layer is sorted by path, modification times are constant, there are no user names; hard links stay (the first path in
/// order carries the content). Refused with the path in question, before the layer has a name: absolute paths, `..`,
/// devices, pipes, sockets, anything below a link or a file, hard links to something outside of the stream, one path twice.
pub fn write_layer(blobs: &BlobStore, tar: impl Read, rules: &LayerRules) -> Result<Layer> {
    let mut writer = LayerWriter::new(blobs)?;
    writer.add_tar(tar, rules)?;
    writer.finish()
}

/// A layer in the making, for what does not come as one tar stream. Order of the calls does not matter.
pub struct LayerWriter {}

impl LayerWriter {
    pub fn new(_blobs: &BlobStore) -> Result<Self> {
        todo!()
    }

    /// Adds all entries of a tar stream.
    pub fn add_tar(&mut self, _tar: impl Read, _rules: &LayerRules) -> Result<()> {
        todo!()
    }

    /// Adds a directory; one that is there already gets this mode and owner (user id, group id).
    pub fn directory(&mut self, _path: &str, _mode: u32, _owner: (u64, u64)) -> Result<()> {
        todo!()
    }

    pub fn file(&mut self, _path: &str, _mode: u32, _owner: (u64, u64), _content: &[u8]) -> Result<()> {
        todo!()
    }

    pub fn symlink(&mut self, _path: &str, _target: &str, _owner: (u64, u64)) -> Result<()> {
        todo!()
    }

    pub fn finish(self) -> Result<Layer> {
        todo!()
    }
}
