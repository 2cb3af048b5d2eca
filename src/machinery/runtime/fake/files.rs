//! The files of a sandbox in memory: enough for what is put, written and read back in tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::super::tarball::{self, Kind, Reader};
use super::super::{ByteStream, EngineError, Result};

/// Directories that the images of the platform have.
const BASE: [&str; 12] = [
    "/bin",
    "/cnb",
    "/etc",
    "/home",
    "/home/app",
    "/layers",
    "/opt",
    "/platform",
    "/tmp",
    "/usr",
    "/var",
    "/workspace",
];

#[derive(Clone, Default)]
pub struct Files(Arc<Mutex<BTreeMap<String, Node>>>);

#[derive(Clone)]
struct Node {
    kind: Kind,
    mode: u32,
    link: String,
    content: Bytes,
}

impl Files {
    /// Writes a file, and the directories above it. `path` is absolute.
    pub fn write(&self, path: &str, content: impl Into<Bytes>) {
        let mut nodes = self.lock();
        for (at, _) in path.match_indices('/').skip(1) {
            nodes.entry(path[..at].to_owned()).or_insert_with(|| directory(0o755));
        }
        let node = Node { kind: Kind::File, mode: 0o644, link: String::new(), content: content.into() };
        nodes.insert(path.to_owned(), node);
    }

    pub fn read(&self, path: &str) -> Option<Bytes> {
        self.lock().get(path).filter(|n| n.kind == Kind::File).map(|n| n.content.clone())
    }

    /// Of all contents together.
    pub fn bytes(&self) -> u64 {
        self.lock().values().map(|node| node.content.len() as u64).sum()
    }

    /// Removes a file, or a directory and all below it.
    pub fn remove(&self, path: &str) {
        let below = format!("{path}/");
        self.lock().retain(|known, _| known != path && !known.starts_with(&below));
    }

    /// Everything that was put or written, directories included.
    pub fn paths(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn is_directory(&self, path: &str) -> bool {
        path == "/" || BASE.contains(&path) || self.lock().get(path).is_some_and(|n| n.kind == Kind::Directory)
    }

    pub(super) async fn unpack(&self, path: &str, tar: ByteStream) -> Result<()> {
        let path = path.trim_end_matches('/');
        if !self.is_directory(if path.is_empty() { "/" } else { path }) {
            return Err(EngineError::NotFound { subject: path.to_owned() });
        }
        let broken = |source: std::io::Error| EngineError::Refused {
            operation: "read archive for",
            subject: path.to_owned(),
            source: source.into(),
        };
        let mut reader = Reader::new(tar);
        while let Some(entry) = reader.next_entry().await.map_err(broken)? {
            let content = reader.whole().await.map_err(broken)?;
            let name = entry.path.trim_start_matches("./").trim_matches('/');
            if name.is_empty() || name == "." {
                continue;
            }
            let node = Node { kind: entry.kind, mode: entry.mode, link: entry.link, content: content.into() };
            self.lock().insert(format!("{path}/{name}"), node);
        }
        Ok(())
    }

    pub(super) fn pack(&self, path: &str) -> Result<Vec<u8>> {
        let path = path.trim_end_matches('/');
        let missing = || EngineError::NotFound { subject: path.to_owned() };
        let name = path.rsplit('/').next().unwrap_or_default();
        let mut out = Vec::new();
        let nodes = self.lock().clone();
        match nodes.get(path) {
            Some(node) => append(&mut out, name, node),
            None if self.is_directory(path) => append(&mut out, name, &directory(0o755)),
            None => return Err(missing()),
        }
        let below = format!("{path}/");
        for (known, node) in nodes.iter().filter(|(known, _)| known.starts_with(&below)) {
            append(&mut out, &format!("{name}/{}", &known[below.len()..]), node);
        }
        tarball::finish(&mut out);
        Ok(out)
    }

    /// All of it, as a layer.
    pub(super) fn layer(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, node) in self.lock().iter() {
            append(&mut out, path.trim_start_matches('/'), node);
        }
        tarball::finish(&mut out);
        out
    }
}

fn directory(mode: u32) -> Node {
    Node { kind: Kind::Directory, mode, link: String::new(), content: Bytes::new() }
}

fn append(out: &mut Vec<u8>, name: &str, node: &Node) {
    let name = if node.kind == Kind::Directory { format!("{name}/") } else { name.to_owned() };
    tarball::append(out, &name, node.kind, node.mode, &node.link, &node.content);
}
