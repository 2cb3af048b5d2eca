//! The files of an archive as directories within directories, and those as git trees (git's Documentation/gitformat-pack and
//! `tree` objects: mode, name, id; sorted as if directories ended in `/`).

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::objs::Kind;

use super::packed::Packed;
use super::{Result, What};

#[derive(Default)]
pub(super) struct Tree {
    entries: BTreeMap<Vec<u8>, Node>,
}

enum Node {
    Directory(Tree),
    File { executable: bool, id: ObjectId },
    Link(ObjectId),
}

impl Tree {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.values().all(|node| matches!(node, Node::Directory(tree) if tree.is_empty()))
    }

    /// The last of several with one name counts, as it does where an archive is unpacked.
    pub(super) fn put(&mut self, words: &[&[u8]], what: What) -> std::result::Result<(), ()> {
        let Some((first, rest)) = words.split_first() else {
            return if matches!(what, What::Directory) { Ok(()) } else { Err(()) };
        };
        let is_directory = matches!(what, What::Directory);
        if rest.is_empty() && !is_directory {
            let node = match what {
                What::File { executable, id } => Node::File { executable, id },
                What::Link(id) => Node::Link(id),
                What::Directory => return Err(()),
            };
            return match self.entries.get(*first) {
                Some(Node::Directory(_)) => Err(()),
                _ => {
                    self.entries.insert(first.to_vec(), node);
                    Ok(())
                }
            };
        }
        let node = self.entries.entry(first.to_vec()).or_insert_with(|| Node::Directory(Self::default()));
        match node {
            Node::Directory(tree) => tree.put(rest, what),
            _ => Err(()),
        }
    }

    pub(super) fn file(&self, words: &[&[u8]]) -> Option<(bool, ObjectId)> {
        let (first, rest) = words.split_first()?;
        match self.entries.get(*first)? {
            Node::Directory(tree) => tree.file(rest),
            Node::File { executable, id } if rest.is_empty() => Some((*executable, *id)),
            _ => None,
        }
    }

    /// Many tools put one directory around all: what is in it is meant.
    pub(super) fn without_wrapper(mut self) -> Self {
        let alone = self.entries.len() == 1;
        match self.entries.pop_first() {
            Some((name, Node::Directory(inner))) if alone && !name.starts_with(b".") => inner,
            Some((name, node)) => {
                self.entries.insert(name, node);
                self
            }
            None => self,
        }
    }

    /// Directories without files are left out: git has none.
    pub(super) fn write(&self, packed: &mut Packed) -> Result<ObjectId> {
        let mut all = Vec::new();
        for (name, node) in &self.entries {
            let (mode, id) = match node {
                Node::Directory(tree) if tree.is_empty() => continue,
                Node::Directory(tree) => ("40000", tree.write(packed)?),
                Node::File { executable: true, id } => ("100755", *id),
                Node::File { executable: false, id } => ("100644", *id),
                Node::Link(id) => ("120000", *id),
            };
            let mut key = name.clone();
            if mode == "40000" {
                key.push(b'/');
            }
            all.push((key, mode, name, id));
        }
        all.sort();
        let mut data = Vec::new();
        for (_, mode, name, id) in all {
            data.extend_from_slice(mode.as_bytes());
            data.push(b' ');
            data.extend_from_slice(name);
            data.push(0);
            data.extend_from_slice(id.as_slice());
        }
        packed.object(Kind::Tree, &data)
    }
}
