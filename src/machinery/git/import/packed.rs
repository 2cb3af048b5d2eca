//! Objects as a pack of version 2 (git's Documentation/gitformat-pack): written once to a file without a name, then read as
//! if it came over the wire. Each object is in it once.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use gix::ObjectId;
use gix::hash::Kind::Sha1;
use gix::objs::Kind;

use super::super::disk::storage;
use super::{Imported, Result};

pub(super) struct Packed {
    file: BufWriter<File>,
    scratch: PathBuf,
    known: HashSet<ObjectId>,
}

impl Packed {
    pub(super) fn new(scratch: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(scratch).map_err(storage("make a file in", scratch))?;
        Ok(Self { file: BufWriter::new(file), scratch: scratch.to_owned(), known: HashSet::new() })
    }

    pub(super) fn blob(&mut self, data: &[u8]) -> Result<ObjectId> {
        self.object(Kind::Blob, data)
    }

    /// Without a parent: nothing is known of what was before.
    pub(super) fn commit(&mut self, tree: &ObjectId, imported: &Imported<'_>) -> Result<ObjectId> {
        let who = format!("Hythe <hythe@localhost> {} +0000", imported.time);
        let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\n{}\n", imported.message);
        self.object(Kind::Commit, text.as_bytes())
    }

    pub(super) fn object(&mut self, kind: Kind, data: &[u8]) -> Result<ObjectId> {
        let id = gix::objs::compute_hash(Sha1, kind, data).map_err(storage("name an object in", &self.scratch))?;
        if self.known.insert(id) {
            let number = match kind {
                Kind::Commit => 1,
                Kind::Tree => 2,
                Kind::Blob => 3,
                Kind::Tag => 4,
            };
            let mut write = || {
                self.file.write_all(&header(number, data.len() as u64))?;
                let mut encoder = ZlibEncoder::new(&mut self.file, Compression::fast());
                encoder.write_all(data)?;
                encoder.finish().map(drop)
            };
            write().map_err(storage("write a file in", &self.scratch))?;
        }
        Ok(id)
    }

    /// The whole pack, header and checksum included.
    pub(super) fn finish(self) -> Result<impl BufRead> {
        let objects = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let mut header = b"PACK\0\0\0\x02".to_vec();
        header.extend_from_slice(&objects.to_be_bytes());
        let fault = storage("read a file in", &self.scratch);
        let mut file = match self.file.into_inner() {
            Ok(file) => file,
            Err(error) => return Err(fault(error.into_error())),
        };
        let mut sum = || -> std::io::Result<Vec<u8>> {
            let mut hasher = gix::hash::hasher(Sha1);
            hasher.update(&header);
            file.seek(SeekFrom::Start(0))?;
            let mut buffer = vec![0; 64 << 10];
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    length => hasher.update(&buffer[..length]),
                }
            }
            file.seek(SeekFrom::Start(0))?;
            Ok(hasher.try_finalize().map_err(std::io::Error::other)?.as_slice().to_vec())
        };
        let sum = sum().map_err(fault)?;
        Ok(BufReader::with_capacity(64 << 10, Cursor::new(header).chain(file).chain(Cursor::new(sum))))
    }
}

/// Type and size, four bits and then seven at a time, the lowest first.
fn header(kind: u8, size: u64) -> Vec<u8> {
    let mut bytes = vec![(kind << 4) | (size & 0x0f) as u8];
    let mut rest = size >> 4;
    while rest > 0 {
        if let Some(last) = bytes.last_mut() {
            *last |= 0x80;
        }
        bytes.push((rest & 0x7f) as u8);
        rest >>= 7;
    }
    bytes
}
